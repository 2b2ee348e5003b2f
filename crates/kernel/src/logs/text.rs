//! The query language of a log search: words, `"phrases"`, `prefix*`. Whatever is typed is either that or refused with a hint.

use crate::store::check_size;
use crate::{Fault, Result};

/// Longest query text, in bytes.
const QUERY_BYTES_MAX: usize = 1_024;
/// Most terms of one query.
const TERMS_MAX: usize = 32;

/// One thing that must stand in a line: these words, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// As typed, without quotes; it holds at least one letter or digit.
    pub text: String,
    /// One or more words, each of letters and digits only, in lower case.
    pub words: Vec<String>,
    /// Whether the last word is the beginning of one.
    pub prefix: bool,
}

/// The words of a text: runs of letters and digits, in lower case. Everything else separates.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Reads a query. What holds no letter or digit is passed over, unless nothing else is there.
///
/// # Errors
/// [`Code::TooLarge`](crate::Code::TooLarge) past 1,024 bytes or 32 terms; [`Code::InvalidArgument`](crate::Code::InvalidArgument) when
/// there is text, but no word in it.
pub fn terms(text: &str) -> Result<Vec<Term>> {
    check_size("the search text, in bytes,", text.len(), QUERY_BYTES_MAX)?;
    let mut terms = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (piece, after) = next_piece(rest);
        let quoted = rest.starts_with('"');
        let prefix = if quoted { after.starts_with('*') } else { piece.ends_with('*') };
        let words: Vec<String> = words(piece).collect();
        if !words.is_empty() {
            terms.push(Term { text: piece.trim_end_matches('*').to_owned(), words, prefix });
        }
        rest = after.trim_start_matches('*').trim_start();
    }
    if terms.is_empty() && !text.trim().is_empty() {
        return Err(Fault::invalid(format!("no word to search for in `{text}`"))
            .hint("words, \"a phrase\" or a prefix*, of letters and digits"));
    }
    check_size("the number of search terms", terms.len(), TERMS_MAX)?;
    Ok(terms)
}

/// The first phrase or word of `text`, and what follows it. A quote that is never closed reaches to the end.
fn next_piece(text: &str) -> (&str, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').unwrap_or((quoted, ""));
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[&str]) {
        let show = |term: Term| format!("{}{}", term.words.join(" "), if term.prefix { "*" } else { "" });
        assert_eq!(terms(text).unwrap().into_iter().map(show).collect::<Vec<_>>(), want, "{text}");
    }

    #[test]
    fn words_phrases_and_prefixes() {
        check("Rust  server", &["rust", "server"]);
        check("\"connection refused\" anvil", &["connection refused", "anvil"]);
        check("conn* \"a b\"* \"c*\"", &["conn*", "a b*", "c"]);
        check("master-coordinator 0xAB", &["master coordinator", "0xab"]);
        check("", &[]);
    }

    #[test]
    fn what_looks_like_syntax_is_text() {
        check("a AND (b OR NOT c)", &["a", "and", "b", "or", "not", "c"]);
        check("NEAR(a b, 3) ^x col:y {z} \"open", &["near a", "b", "3", "x", "col y", "z", "open"]);
        check("a\0b\" c", &["a b", "c"]);
        check("** x -- '", &["x"]);
    }

    #[test]
    fn refuses_what_holds_no_word_and_what_is_too_much() {
        assert_eq!(terms(" - \"\" ").unwrap_err().code, crate::Code::InvalidArgument);
        assert_eq!(terms(&"a ".repeat(33)).unwrap_err().code, crate::Code::TooLarge);
        assert_eq!(terms(&"a".repeat(1_025)).unwrap_err().code, crate::Code::TooLarge);
    }
}
