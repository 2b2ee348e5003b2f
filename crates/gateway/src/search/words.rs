//! From text to the words that are compared: split, lower case, without endings.

/// Words that say nothing about which tool is meant.
const STOP: [&str; 68] = [
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for",
    "from", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "let", "like", "many", "me", "much",
    "my", "need", "of", "on", "one", "or", "our", "out", "please", "s", "should", "so", "some", "t", "that", "the",
    "their", "them", "then", "there", "this", "to", "up", "use", "using", "want", "was", "we", "went", "what", "when",
    "where", "who", "with", "you",
];

/// The words of `text`, in order: split at everything that is not a letter or digit and where a small letter meets a capital; a word
/// that mixes letters and digits (`keccak256`) also gives its letters.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric()) {
        for word in humps(run) {
            let word = word.to_lowercase();
            if STOP.binary_search(&word.as_str()).is_ok() || word.is_empty() {
                continue;
            }
            let parts = by_kind(&word);
            if parts.len() > 1 {
                all.extend(parts.into_iter().filter(|part| !part.starts_with(|c: char| c.is_ascii_digit())).map(stem));
            }
            all.push(stem(&word));
        }
    }
    all
}

/// `getBlockByHTTPUrl` as `get`, `Block`, `By`, `HTTP`, `Url`.
fn humps(run: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = run.char_indices().collect();
    let mut cuts = vec![0];
    for at in 1..chars.len() {
        let (before, here) = (chars[at - 1].1, chars[at].1);
        let word_ends = here.is_uppercase() && before.is_lowercase();
        let acronym_ends = before.is_uppercase() && here.is_lowercase() && at >= 2 && chars[at - 2].1.is_uppercase();
        if word_ends {
            cuts.push(chars[at].0);
        } else if acronym_ends {
            cuts.push(chars[at - 1].0);
        }
    }
    cuts.push(run.len());
    cuts.windows(2).map(|pair| &run[pair[0]..pair[1]]).collect()
}

/// Splits where letters meet digits.
fn by_kind(word: &str) -> Vec<&str> {
    let mut cuts = vec![0];
    let mut before: Option<bool> = None;
    for (at, c) in word.char_indices() {
        if before.is_some_and(|digit| digit != c.is_ascii_digit()) {
            cuts.push(at);
        }
        before = Some(c.is_ascii_digit());
    }
    cuts.push(word.len());
    cuts.windows(2).map(|pair| &word[pair[0]..pair[1]]).collect()
}

/// A word without its English ending, so that `hashes`, `hashing` and `hashed` are `hash`. Crude on purpose: what counts is that the
/// forms of one word fall together.
fn stem(word: &str) -> String {
    if !word.is_ascii() {
        return word.to_owned();
    }
    let word = singular(word);
    let cut = ["ing", "ed"].iter().find_map(|ending| word.strip_suffix(ending)).filter(|head| is_stem(head));
    let word = cut.map_or(word, undoubled);
    match (word.strip_suffix('e'), word.strip_suffix('y')) {
        (Some(head), _) if head.len() >= 3 => head.to_owned(),
        // `queries` has lost its `es` by now.
        (_, Some(head)) if head.len() >= 3 => format!("{head}i"),
        _ => word.to_owned(),
    }
}

fn singular(word: &str) -> &str {
    let keep = ["ss", "us", "is"].iter().any(|ending| word.ends_with(ending));
    if keep || word.len() < 4 || !word.ends_with('s') {
        return word;
    }
    let bare = &word[..word.len() - 1];
    match bare.strip_suffix('e') {
        Some(head) if ["s", "x", "z", "ch", "sh"].iter().any(|end| head.ends_with(end)) && !head.ends_with("as") => {
            head
        }
        _ => bare,
    }
}

/// Whether what is left of a word is long enough to mean something, and has a vowel: `string` is not the `str` of `stringing`.
fn is_stem(head: &str) -> bool {
    head.len() >= 3 && head.bytes().any(|byte| b"aeiouy".contains(&byte))
}

/// `runn` as `run`; `call` stays.
fn undoubled(head: &str) -> &str {
    let bytes = head.as_bytes();
    let doubled = bytes.len() >= 3 && bytes[bytes.len() - 1] == bytes[bytes.len() - 2];
    if doubled && !b"lsz".contains(&bytes[bytes.len() - 1]) { &head[..head.len() - 1] } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_words_are_sorted() {
        assert!(STOP.is_sorted());
    }

    #[test]
    fn forms_of_a_word_fall_together() {
        for forms in [
            &["hash", "hashes", "hashing", "hashed"][..],
            &["encode", "encodes", "encoding", "encoded"],
            &["price", "prices", "pricing", "priced"],
            &["log", "logs", "logging", "logged"],
            &["run", "runs", "running"],
            &["call", "calls", "calling", "called"],
            &["address", "addresses"],
            &["balance", "balances"],
            &["query", "queries", "querying"],
            &["release", "releases"],
            &["status"],
        ] {
            let stems: std::collections::BTreeSet<_> = forms.iter().flat_map(|form| words(form)).collect();
            assert_eq!(stems.len(), 1, "{stems:?}");
        }
        assert_ne!(words("string"), words("str"));
    }

    #[test]
    fn names_are_taken_apart() {
        for (text, want) in [
            ("blockchain-integration__get_balance", "blockchain integration get balanc"),
            ("getBlockByHTTPUrl", "get block http url"),
            ("keccak256", "keccak keccak256"),
            ("the ERC-20's decimals", "erc 20 decimal"),
            ("größe", "größe"),
        ] {
            assert_eq!(words(text).join(" "), want);
        }
    }
}
