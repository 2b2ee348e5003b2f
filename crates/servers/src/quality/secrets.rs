//! Secrets in texts: by their form, and by names whose values look random. What is found is never shown.

use std::sync::LazyLock;

use regex::Regex;

use super::finding::{Said, Severity};

pub(super) const PRIVATE_KEY: &str = "secret-private-key";
pub(super) const PEM: &str = "secret-pem-key";
pub(super) const PHRASE: &str = "secret-recovery-phrase";
pub(super) const TOKEN: &str = "secret-token";
pub(super) const CREDENTIALS: &str = "secret-in-url";
pub(super) const ASSIGNED: &str = "secret-assigned";
pub(super) const DEVELOPMENT: &str = "development-key";
/// The tool's name.
pub(super) const TOOL: &str = "secrets";
/// The longest line that is looked at, in bytes; longer ones are made by programs, and cut.
const LINE_BYTES_MAX: usize = 4 << 10;
/// From so many bits for each character on a value looks random.
const ENTROPY_MIN: f64 = 3.2;
/// Beginnings of the private keys that anvil and hardhat print when they start.
const KNOWN_KEYS: [&str; 10] = [
    "ac0974be", "59c6995e", "5de4111a", "7c852118", "47e179ec", "8b3a350c", "92db14e4", "4bbbf85c", "dbda1821",
    "2a871d07",
];
/// What the recovery phrase of development chains begins with.
const KNOWN_PHRASE: &str = "test test test test test test";

/// A form of secrets: its rule, and where the secret itself is in what it matches.
struct Form {
    rule: &'static str,
    regex: Regex,
}

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let forms = [
        (PEM, r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY(-----)"),
        (TOKEN, r"\b((?:AKIA|ASIA)[0-9A-Z]{16})\b"),
        (TOKEN, r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,})"),
        (TOKEN, r"\b(xox[abeprs]-[A-Za-z0-9-]{10,}|(?:sk|rk)_live_[A-Za-z0-9]{20,}|AIza[0-9A-Za-z_-]{35})"),
        (
            TOKEN,
            r"\b(sk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|hf_[A-Za-z0-9]{30,})",
        ),
        (TOKEN, r"\b([MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,})"),
        (TOKEN, r"\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})"),
        (CREDENTIALS, r"[a-z][a-z0-9+.-]*://[^\s/:@]{1,64}:([^\s/:@'\x22{}$<>]{3,128})@"),
        (
            PRIVATE_KEY,
            r#"(?i)(?:key|secret|priv|deployer|signer|wallet)[a-z0-9_."']*\s*[:=(]+\s*["']?((?:0x)?[0-9a-f]{64})\b"#,
        ),
        (PHRASE, r#"(?i)(?:mnemonic|seed|phrase)[a-z0-9_."']*\s*[:=]+\s*["']?((?:[a-z]{3,8} ){11,23}[a-z]{3,8})\b"#),
        (
            ASSIGNED,
            r#"(?i)(?:passw(?:or)?d|secret|token|api_?key|access_?key|private_?key|credential)[a-z0-9_]*["']?\s*(?::=|=>|[:=])\s*["']?([^\s"',;(){}\[\]<>$]{8,256})"#,
        ),
    ];
    forms.into_iter().filter_map(|(rule, form)| Some(Form { rule, regex: Regex::new(form).ok()? })).collect()
});

/// A secret's place in a line.
struct Seen {
    rule: &'static str,
    from: usize,
    to: usize,
}

/// The secrets of a line, the surest form first, none within another.
fn seen(line: &str) -> Vec<Seen> {
    let mut found: Vec<Seen> = Vec::new();
    for form in FORMS.iter() {
        for captures in form.regex.captures_iter(line) {
            let Some(secret) = captures.get(1) else { continue };
            let (from, to) = (secret.start(), secret.end());
            let within = found.iter().any(|other| from < other.to && other.from < to);
            let looks = form.rule != ASSIGNED || looks_random(secret.as_str());
            if !within && looks && !is_placeholder(secret.as_str()) {
                found.push(Seen { rule: form.rule, from, to });
            }
        }
    }
    found
}

/// Whether a value under a secret's name looks like one: not a word, a path, a type or a call.
fn looks_random(value: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| value.bytes().any(|byte| kind(&byte));
    let mixed = has(u8::is_ascii_digit) && (has(u8::is_ascii_lowercase) || has(u8::is_ascii_uppercase));
    let code = value.contains("::") || value.contains("->") || value.starts_with(['/', '.', '&', '%', '@']);
    mixed && !code && entropy(value) >= ENTROPY_MIN
}

/// Bits for each character, by how often each comes.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let all = text.len() as f64;
    let share = |count: &u32| f64::from(*count) / all;
    counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum()
}

fn is_placeholder(value: &str) -> bool {
    let value = value.to_lowercase();
    let same = value.trim_start_matches("0x").bytes().collect::<std::collections::BTreeSet<_>>().len() <= 2;
    let words = [
        "example",
        "changeme",
        "change-me",
        "placeholder",
        "your",
        "xxxx",
        "dummy",
        "redacted",
        "process.env",
        "os.environ",
        "env.",
    ];
    (same && value != "-----") || words.iter().any(|word| value.contains(word))
}

/// What a file's text holds.
pub(super) fn scan(file: &str, text: &str) -> Vec<Said> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = &line[..line.floor_char_boundary(LINE_BYTES_MAX)];
        for one in seen(line) {
            let secret = &line[one.from..one.to];
            let known = KNOWN_KEYS.iter().any(|key| secret.trim_start_matches("0x").to_lowercase().starts_with(key));
            let known = (one.rule == PRIVATE_KEY && known) || secret.starts_with(KNOWN_PHRASE);
            let (rule, severity) = match (known, one.rule) {
                (true, _) => (DEVELOPMENT, Severity::Info),
                (false, ASSIGNED) => (ASSIGNED, Severity::Medium),
                (false, rule) => (rule, Severity::High),
            };
            let message = match rule {
                PEM => "a private key in PEM".to_owned(),
                DEVELOPMENT => "a development key that everybody knows".to_owned(),
                _ => format!("{} of {} characters, not shown", words(rule), secret.chars().count()),
            };
            let line = u32::try_from(number + 1).unwrap_or(u32::MAX);
            found.push(Said { tool: TOOL, rule: rule.to_owned(), file: file.to_owned(), line, severity, message });
        }
    }
    found
}

fn words(rule: &str) -> &'static str {
    match rule {
        PRIVATE_KEY => "a private key",
        PHRASE => "a recovery phrase",
        TOKEN => "a token of a known form",
        CREDENTIALS => "a password in a URL",
        _ => "a value that looks random under a secret's name",
    }
}

/// A text with `***` for every secret in it.
pub(super) fn hidden(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut places = seen(line);
        places.sort_by_key(|one| one.from);
        let mut at = 0;
        for one in places {
            shown.push_str(&line[at..one.from]);
            shown.push_str(if one.rule == PEM { "-----" } else { kernel::mask::MASK });
            at = one.to;
        }
        shown.push_str(&line[at..]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_by_form_and_by_name_and_what_is_none_is_not() {
        let key = format!("0x{}", "8f2a55949038a9610f50fb23b5883af3b4ecb3c3bb792cbcefbd1542c692be63");
        for (line, want) in [
            (format!("PRIVATE_KEY={key}"), Some(PRIVATE_KEY)),
            (format!("bytes32 constant HASH = {key};"), None),
            ("key = 0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80".into(), Some(DEVELOPMENT)),
            ("-----BEGIN EC PRIVATE KEY-----".into(), Some(PEM)),
            ("url: https://bob:hunter22@example.org/x".into(), Some(CREDENTIALS)),
            ("url: https://bob:${PASSWORD}@example.org/x".into(), None),
            ("id = AKIAQ7Z5JX3LMNOPRSTU".into(), Some(TOKEN)),
            (
                "mnemonic = \"legal winner thank year wave sausage worth useful legal winner thank yellow\"".into(),
                Some(PHRASE),
            ),
            ("mnemonic: test test test test test test test test test test test junk".into(), Some(DEVELOPMENT)),
            ("password: 'x7Kp2mQ9vL4z'".into(), Some(ASSIGNED)),
            ("password: String".into(), None),
            ("token_address = token0::deployed()".into(), None),
            ("api_key = your_api_key_1".into(), None),
            ("PASSWORD=changeme".into(), None),
        ] {
            let found = scan("a", &line);
            assert_eq!(found.first().map(|one| one.rule.as_str()), want, "{line}: {found:?}");
            assert!(found.iter().all(|one| !one.message.contains("8f2a")), "{found:?}");
        }
    }

    #[test]
    fn what_is_said_of_lines_hides_secrets() {
        let text = "a\npassword: 'x7Kp2mQ9vL4z' and https://bob:hunter22@h/\nb";
        assert_eq!(hidden(text), "a\npassword: '***' and https://bob:***@h/\nb");
    }
}
