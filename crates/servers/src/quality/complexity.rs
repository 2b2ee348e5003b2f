//! `complexity`: how many ways there are through each function, counted on the text: one, and one more for each place where it forks. Comments and strings
//! do not count, and what forks in a function within another counts for the inner one.

use std::sync::LazyLock;

use kernel::Result;
use mcp::prelude::*;
use regex::Regex;

use super::Quality;
use super::source::{Source, aside};

/// The most functions that are answered.
const FUNCTIONS_MAX: usize = 500;
/// The most functions of one file.
const FUNCTIONS_OF_FILE_MAX: usize = 2_000;

/// What [`COMPLEXITY`](super::COMPLEXITY) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComplexityRequest {
    /// The project's folder: an absolute path, or one from a root on.
    pub path: String,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Only functions with at least so many ways through; 1 when absent.
    #[serde(default)]
    pub at_least: u32,
    /// At most this many functions, 1 to 500; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
}

/// What [`COMPLEXITY`](super::COMPLEXITY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ComplexityResponse {
    /// How many functions there are in Solidity, Rust, JavaScript, TypeScript and Python.
    pub functions: usize,
    /// Their mean complexity, in hundredths.
    pub mean_hundredths: u64,
    /// The most complex ones first.
    pub rows: Vec<FunctionRow>,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionRow {
    /// Its file, from the project's folder on.
    pub file: String,
    /// Its first line, from 1.
    pub line: u32,
    /// Its name.
    pub name: String,
    /// How many ways there are through it.
    pub complexity: u32,
    /// How many lines it has.
    pub lines: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    Solidity,
    Script,
    Python,
}

/// How functions begin, and where they fork.
struct Grammar {
    head: Regex,
    fork: Regex,
}

static GRAMMARS: LazyLock<Vec<(Language, Grammar)>> = LazyLock::new(|| {
    let texts = [
        (Language::Rust, r"\bfn\s+([A-Za-z_]\w*)", r"\b(?:if|while|for)\b|=>|&&|\|\|"),
        (
            Language::Solidity,
            r"\bfunction\s+(\w+)|\bmodifier\s+(\w+)|\b(constructor|fallback|receive)\s*\(",
            r"\b(?:if|while|for|catch)\b|&&|\|\||\?",
        ),
        (
            Language::Script,
            r"\bfunction\b\s*\*?\s*(\w*)\s*\(|(\w+)\s*[=:]\s*(?:async\s*)?(?:\([^()]*\)|\w+)\s*=>|(?m)^[ \t]+(?:async |static |get |set )*(\w+)\s*\([^;{}()]*\)\s*\{",
            r"\b(?:if|while|for|case|catch)\b|&&|\|\||\?\?|\?[^.?:,)]",
        ),
        (Language::Python, r"(?m)^[ \t]*(?:async\s+)?def\s+(\w+)", r"\b(?:if|elif|while|for|except|and|or|case)\b"),
    ];
    let grammar = |(language, head, fork)| {
        Some((language, Grammar { head: Regex::new(head).ok()?, fork: Regex::new(fork).ok()? }))
    };
    texts.into_iter().filter_map(grammar).collect()
});

fn language(file: &str) -> Option<Language> {
    match file.rsplit_once('.')?.1 {
        "rs" => Some(Language::Rust),
        "sol" => Some(Language::Solidity),
        "js" | "mjs" | "cjs" | "jsx" | "ts" | "tsx" => Some(Language::Script),
        "py" => Some(Language::Python),
        _ => None,
    }
}

impl Quality {
    pub(super) async fn complexity(&self, request: ComplexityRequest, ctx: Ctx) -> Result<ComplexityResponse> {
        let limit = request.limit.unwrap_or(100);
        if !(1..=FUNCTIONS_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {FUNCTIONS_MAX}")));
        }
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        let mut rows = measured(&source).await?;
        let functions = rows.len();
        let sum: u64 = rows.iter().map(|row| u64::from(row.complexity)).sum();
        rows.retain(|row| row.complexity >= request.at_least);
        rows.truncate(limit);
        Ok(ComplexityResponse { functions, mean_hundredths: sum * 100 / (functions as u64).max(1), rows })
    }
}

/// All functions of a source, the most complex first.
pub(super) async fn measured(source: &Source) -> Result<Vec<FunctionRow>> {
    let files = Arc::clone(&source.files);
    aside(move || {
        let mut rows: Vec<FunctionRow> = Vec::new();
        for file in files.iter() {
            let Some(language) = language(&file.name) else { continue };
            if let Some(text) = Source::text(file) {
                rows.extend(functions(&file.name, language, &text));
            }
        }
        rows.sort_by(|one, other| {
            let key = |row: &FunctionRow| (std::cmp::Reverse(row.complexity), row.file.clone(), row.line);
            key(one).cmp(&key(other))
        });
        rows
    })
    .await
}

/// A function's name and where its text is.
struct Span {
    name: String,
    from: usize,
    to: usize,
    forks: u32,
}

fn functions(file: &str, language: Language, text: &str) -> Vec<FunctionRow> {
    let Some((_, grammar)) = GRAMMARS.iter().find(|(one, _)| *one == language) else { return Vec::new() };
    let text = bare(text, language);
    let mut spans: Vec<Span> = Vec::new();
    for captures in grammar.head.captures_iter(&text).take(FUNCTIONS_OF_FILE_MAX) {
        let Some(whole) = captures.get(0) else { continue };
        let name = captures.iter().skip(1).flatten().map(|name| name.as_str()).find(|name| !name.is_empty());
        let name = name.unwrap_or("(anonymous)");
        if matches!(name, "if" | "for" | "while" | "switch" | "catch" | "return" | "else" | "function") {
            continue;
        }
        let end = match language {
            Language::Python => Some(indented(&text, whole.start())),
            _ => braced(&text, whole.end() - usize::from(whole.as_str().ends_with('{')), language),
        };
        if let Some(to) = end {
            spans.push(Span { name: name.to_owned(), from: whole.start(), to, forks: 0 });
        }
    }
    let matches_of_rust = language == Language::Rust;
    for fork in grammar.fork.find_iter(&text) {
        // The innermost function is the last one that began and has not ended.
        if let Some(span) = spans.iter_mut().rev().find(|span| span.from <= fork.start() && fork.start() < span.to) {
            span.forks += 1;
        }
    }
    let line_of = |at: usize| u32::try_from(text[..at].matches('\n').count() + 1).unwrap_or(u32::MAX);
    let row = |span: Span| {
        let body = &text[span.from..span.to];
        let first = span.from + (body.len() - body.trim_start().len());
        // Of a match's arms all but one are a fork.
        let whole = if matches_of_rust { words(body, "match ") } else { 0 };
        let line = line_of(first);
        let lines = line_of(span.to.saturating_sub(1).max(first)) - line + 1;
        FunctionRow {
            file: file.to_owned(),
            line,
            name: span.name,
            complexity: 1 + span.forks.saturating_sub(whole),
            lines,
        }
    };
    spans.into_iter().map(row).collect()
}

fn words(text: &str, word: &str) -> u32 {
    let begins =
        |at: usize| text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '_');
    u32::try_from(text.match_indices(word).filter(|(at, _)| begins(*at)).count()).unwrap_or(u32::MAX)
}

/// The end of the body in braces that begins after `from`; none where it has none.
fn braced(text: &str, from: usize, language: Language) -> Option<usize> {
    let (mut depth, mut round) = (0_u32, 0_u32);
    for (at, byte) in text.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' if depth == 0 => round += 1,
            b')' | b']' if depth == 0 => round = round.saturating_sub(1),
            b'{' if round == 0 || depth > 0 => depth += 1,
            b'}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b';' | b'}' if depth == 0 && round == 0 => return None,
            // An arrow's body without braces.
            b'\n' if depth == 0 && round == 0 && language == Language::Script => return None,
            _ => {}
        }
    }
    None
}

/// The end of the block that is further in than the line at `from`.
fn indented(text: &str, from: usize) -> usize {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let start = from + text[from..].len() - text[from..].trim_start_matches('\n').len();
    let (mut at, mut end, mut own, mut open) = (start, text.len(), None, false);
    for line in text[start..].split_inclusive('\n') {
        let blank = line.trim().is_empty();
        match own {
            None => own = Some(depth(line)),
            // The head may go on over lines.
            Some(own) if !blank && !open && depth(line) <= own => return end.min(at),
            Some(_) => {}
        }
        let count = |of: char| line.matches(of).count();
        open = (open || count('(') > 0) && count('(') + usize::from(open) > count(')');
        at += line.len();
        if !blank {
            end = at;
        }
    }
    end
}

/// A text with comments and strings blank, byte for byte.
fn bare(text: &str, language: Language) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match (language, rest[0]) {
            (Language::Python, b'#') => line_end(rest),
            (Language::Python, b'"' | b'\'') if rest.starts_with(b"\"\"\"") || rest.starts_with(b"'''") => {
                find(&rest[3..], &rest[..3]).map_or(rest.len(), |end| end + 6)
            }
            (Language::Python, b'"' | b'\'') => quoted(rest),
            (_, b'/') if rest.starts_with(b"//") => line_end(rest),
            (_, b'/') if rest.starts_with(b"/*") => find(&rest[2..], b"*/").map_or(rest.len(), |end| end + 4),
            (Language::Rust, b'r') if rest.starts_with(b"r#\"") => find(rest, b"\"#").map_or(rest.len(), |end| end + 2),
            // A lifetime is no character.
            (Language::Rust, b'\'') => match rest {
                [_, b'\\', ..] => quoted(rest),
                [_, _, b'\'', ..] => 3,
                _ => 0,
            },
            (_, b'"') | (Language::Solidity | Language::Script, b'\'') | (Language::Script, b'`') => quoted(rest),
            _ => 0,
        };
        let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
        if end == 0 {
            out.push(if rest[0].is_ascii() { rest[0] } else { b'_' });
            at += 1;
        } else {
            let end = end.min(rest.len());
            out.extend(rest[..end].iter().map(blank));
            at += end;
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn line_end(text: &[u8]) -> usize {
    find(text, b"\n").unwrap_or(text.len())
}

/// Where the string that begins here ends.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            byte if byte == text[0] => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(language: Language, text: &str) -> Vec<String> {
        let rows = functions("f", language, text).into_iter();
        rows.map(|row| format!("{}@{} {} {}", row.name, row.line, row.complexity, row.lines)).collect()
    }

    #[test]
    fn forks_are_counted_in_each_language() {
        let rust = "fn a<'x>(s: &'x str) -> u8 {\n    // if\n    match s {\n        \"if\" => 1,\n        'c' if true => 2,\n        _ => 3,\n    }\n}\ntrait T { fn b(); }\nfn c() { if x && y { } fn d() { while z {} } }\n";
        assert_eq!(told(Language::Rust, rust), ["a@1 4 8", "c@10 3 1", "d@10 2 1"]);
        let solidity = "interface I { function x() external; }\ncontract C {\n  constructor() { if (a) {} }\n  function f(uint a) external returns (uint) {\n    for (;;) { a = a > 1 ? 2 : 3; }\n  }\n}";
        assert_eq!(told(Language::Solidity, solidity), ["constructor@3 2 1", "f@4 3 3"]);
        let script = "function a() { return x ?? y?.z; }\nconst b = async (q) => {\n  if (q || r) {}\n};\nclass K {\n  m(x) { switch (x) { case 1: case 2: } }\n}\nconst c = (x) => x + 1;\n";
        assert_eq!(told(Language::Script, script), ["a@1 2 1", "b@2 3 3", "m@6 3 1"]);
        let python = "def a(x,\n      y):\n    \"\"\"if\"\"\"\n    if x and y:\n        return 1\n\n    return [z for z in x if z]\n\n\nclass K:\n    async def b(self):\n        pass  # or\n\nx = 1\n";
        assert_eq!(told(Language::Python, python), ["a@1 5 7", "b@11 1 2"]);
    }
}
