//! Text compared, and searched by regular expressions.

use std::collections::{BTreeMap, HashMap};

use mcp::prelude::*;
use regex::{Captures, Regex, RegexBuilder};
use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{DiffOp, DiffTag, diff_ratio, group_diff_ops};

use super::Utilities;
use super::encodings::TEXT_MAX;
use flow::bounded::{STACK, check, check_answer, check_size, ends};

/// Longest pattern, in bytes.
const PATTERN_MAX: usize = 4 << 10;
/// Largest compiled pattern, in bytes.
const COMPILED_MAX: usize = 2 << 20;
/// Most groups, the whole match counted.
const GROUPS_MAX: usize = 101;
/// Most matches or parts one call answers with.
const MATCHES_MAX: usize = 10_000;

/// What [`DIFF`](super::DIFF) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// The text before, at most 1 MiB.
    pub before: String,
    /// The text after, at most 1 MiB.
    pub after: String,
    /// How many unchanged lines to show around each change, at most 1,000.
    #[serde(default = "three")]
    #[schemars(range(max = 1000))]
    pub context: usize,
    /// What the text before is called in the diff's head.
    #[serde(default = "before")]
    pub before_name: String,
    /// What the text after is called in the diff's head.
    #[serde(default = "after")]
    pub after_name: String,
}

fn three() -> usize {
    3
}

fn before() -> String {
    "before".into()
}

fn after() -> String {
    "after".into()
}

/// What [`DIFF`](super::DIFF) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiffResponse {
    /// Whether both texts are the same.
    pub same: bool,
    /// A unified diff that `patch` can apply; empty when they are the same.
    pub diff: String,
    /// Lines added.
    pub added: usize,
    /// Lines removed.
    pub removed: usize,
    /// How much of both texts is common, 0 to 1, by lines.
    pub similarity: f32,
}

/// What to do with a pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegexOperation {
    /// Find the places where it matches.
    #[default]
    Match,
    /// Replace them.
    Replace,
    /// Take the text apart at them.
    Split,
}

/// What [`REGEX`](super::REGEX) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexRequest {
    /// The pattern, at most 4 KiB: Perl-like without back-references or look-around, so that every search takes linear time.
    pub pattern: String,
    /// The text, at most 1 MiB.
    pub text: String,
    /// What to do.
    #[serde(default)]
    pub operation: RegexOperation,
    /// For `replace`: what to put there; `$1` and `${name}` stand for groups, `$$` for a dollar sign.
    #[serde(default)]
    pub replacement: Option<String>,
    /// At most this many matches; for `split` cuts. All (up to 10,000) unless given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10000))]
    pub limit: Option<usize>,
    /// Letters match in either case.
    #[serde(default)]
    pub ignore_case: bool,
    /// `^` and `$` match at each line.
    #[serde(default)]
    pub multi_line: bool,
    /// `.` matches line ends too.
    #[serde(default)]
    pub dot_all: bool,
}

/// What [`REGEX`](super::REGEX) answers.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RegexResponse {
    /// How many matches there were, up to the limit.
    pub count: usize,
    /// Whether the limit ended it.
    pub limited: bool,
    /// For `match`: the matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<RegexMatch>>,
    /// For `replace`: the new text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// For `split`: the parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<String>>,
}

/// One match.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegexMatch {
    /// Where it begins, in bytes of UTF-8.
    pub start: usize,
    /// Where it ends, exclusive.
    pub end: usize,
    /// The text that matched.
    pub text: String,
    /// What the groups 1, 2, … matched; null for those that took no part.
    pub groups: Vec<Option<String>>,
    /// What the named groups matched.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub named: BTreeMap<String, String>,
}

impl Utilities {
    pub(super) async fn diff(self: Arc<Self>, request: DiffRequest, _ctx: Ctx) -> Result<DiffResponse, ToolError> {
        Ok(self.gate.run("diff", STACK, move || compare(&request)).await?)
    }

    pub(super) async fn regex(self: Arc<Self>, request: RegexRequest, _ctx: Ctx) -> Result<RegexResponse, ToolError> {
        Ok(self.gate.run("regex", STACK, move || search(&request)).await?)
    }
}

/// Two texts, compared.
pub(crate) fn compare(request: &DiffRequest) -> Result<DiffResponse, Fault> {
    let DiffRequest { before, after, context, before_name, after_name } = request;
    check_size("before", before, TEXT_MAX)?;
    check_size("after", after, TEXT_MAX)?;
    for (what, name) in [("before_name", before_name), ("after_name", after_name)] {
        check_size(what, name, 1_000)?;
        if name.contains(['\n', '\r']) {
            return Err(Fault::invalid(format!("{what} has a line end")).hint("a name of one line"));
        }
    }
    if *context > 1_000 {
        return Err(Fault::invalid(format!("context is {context}")).hint("at most 1,000"));
    }
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
    let ops = differences(&old, &new);
    let count =
        |lines: fn(&DiffOp) -> usize| -> usize { ops.iter().filter(|op| op.tag() != DiffTag::Equal).map(lines).sum() };
    let (added, removed) = (count(|op| op.new_range().len()), count(|op| op.old_range().len()));
    let similarity = diff_ratio(&ops, old.len(), new.len());
    let same = before == after;
    let mut diff = String::new();
    if !same {
        diff = format!("--- {before_name}\n+++ {after_name}\n");
        for hunk in group_diff_ops(ops, *context) {
            diff.push_str(&format!("{}\n", UnifiedHunkHeader::new(&hunk)));
            hunk.iter().for_each(|op| unified(op, &old, &new, &mut diff));
        }
    }
    Ok(DiffResponse { same, diff, added, removed, similarity })
}

/// What makes one list of lines of another. Lines are compared by numbers: the algorithm, of which there is a copy for every type, is there once.
fn differences<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<DiffOp> {
    let mut numbers: HashMap<&'a str, usize> = HashMap::new();
    let mut numbered = |lines: &[&'a str]| -> Vec<usize> {
        let number = |line: &&'a str| {
            let next = numbers.len();
            *numbers.entry(line).or_insert(next)
        };
        lines.iter().map(number).collect()
    };
    let (old, new) = (numbered(old), numbered(new));
    let mut found = Compact::new(Replace::new(Capture::new()), &old[..], &new[..]);
    // Past its time what is found is still right, if longer than it need be.
    let Ok(()) = myers::diff_deadline(&mut found, &old[..], 0..old.len(), &new[..], 0..new.len(), ends());
    found.into_inner().into_inner().into_ops()
}

/// A change as `patch` reads it: what goes before what comes.
fn unified(op: &DiffOp, old: &[&str], new: &[&str], text: &mut String) {
    let same = op.tag() == DiffTag::Equal;
    let gone = old[op.old_range()].iter().map(|line| (if same { ' ' } else { '-' }, line));
    let come = new[op.new_range()].iter().filter(|_| !same).map(|line| ('+', line));
    for (sign, line) in gone.chain(come) {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

fn search(request: &RegexRequest) -> Result<RegexResponse, Fault> {
    check_size("text", &request.text, TEXT_MAX)?;
    let regex = compile(request)?;
    let limit = request.limit.unwrap_or(MATCHES_MAX);
    if !(1..=MATCHES_MAX).contains(&limit) {
        return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {MATCHES_MAX}")));
    }
    match (request.operation, &request.replacement) {
        (RegexOperation::Match, None) => find(&regex, &request.text, limit),
        (RegexOperation::Split, None) => split(&regex, &request.text, limit),
        (RegexOperation::Replace, Some(replacement)) => replace(&regex, &request.text, replacement, limit),
        (RegexOperation::Replace, None) => {
            Err(Fault::invalid("replacement is missing").hint("say what to put there; it may be empty"))
        }
        (_, Some(_)) => {
            Err(Fault::invalid("replacement without operation replace").hint("say operation: replace, or leave it out"))
        }
    }
}

fn compile(request: &RegexRequest) -> Result<Regex, Fault> {
    check_size("pattern", &request.pattern, PATTERN_MAX)?;
    let built = RegexBuilder::new(&request.pattern)
        .case_insensitive(request.ignore_case)
        .multi_line(request.multi_line)
        .dot_matches_new_line(request.dot_all)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(COMPILED_MAX)
        .nest_limit(100)
        .build();
    let regex = built.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            Fault::too_large(format!("the compiled pattern has more than {limit} bytes")).hint("repeat less")
        }
        // The last line says what is wrong; those before it draw the place.
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Fault::invalid(format!("pattern: {reason}")).hint("Perl-like, without back-references and look-around")
        }
    })?;
    if regex.captures_len() > GROUPS_MAX {
        let text = format!("pattern: {} groups", regex.captures_len() - 1);
        return Err(Fault::too_large(text).hint("groups that need no number: (?:…)"));
    }
    Ok(regex)
}

/// The matches, one after the other: finding one takes linear time, finding all of them may not.
fn matches<'t>(regex: &Regex, text: &'t str, limit: usize) -> Result<(Vec<Captures<'t>>, bool), Fault> {
    let mut found = Vec::new();
    for captures in regex.captures_iter(text) {
        check()?;
        if found.len() == limit {
            return Ok((found, true));
        }
        found.push(captures);
    }
    Ok((found, false))
}

fn find(regex: &Regex, text: &str, limit: usize) -> Result<RegexResponse, Fault> {
    let (found, limited) = matches(regex, text, limit)?;
    let shape = |captures: &Captures<'_>| {
        let whole = captures.get_match();
        let named = regex.capture_names().flatten();
        let named = named.filter_map(|name| Some((name.to_owned(), captures.name(name)?.as_str().to_owned())));
        RegexMatch {
            start: whole.start(),
            end: whole.end(),
            text: whole.as_str().into(),
            groups: captures.iter().skip(1).map(|group| Some(group?.as_str().to_owned())).collect(),
            named: named.collect(),
        }
    };
    let mut size = 0;
    let mut answer = Vec::with_capacity(found.len());
    for captures in &found {
        let shaped = shape(captures);
        size += shaped.text.len() + shaped.groups.iter().flatten().map(String::len).sum::<usize>();
        check_answer(size)?;
        answer.push(shaped);
    }
    Ok(RegexResponse { count: found.len(), limited, matches: Some(answer), ..RegexResponse::default() })
}

fn replace(regex: &Regex, text: &str, replacement: &str, limit: usize) -> Result<RegexResponse, Fault> {
    check_size("replacement", replacement, TEXT_MAX)?;
    let (found, limited) = matches(regex, text, limit)?;
    let references = replacement.matches('$').count();
    let mut answer = String::with_capacity(text.len());
    let mut at = 0;
    for captures in &found {
        let whole = captures.get_match();
        // A group lies inside its match, so this is the most that expanding can add.
        check_answer(answer.len() + whole.start() - at + replacement.len() + references * whole.len())?;
        answer.push_str(&text[at..whole.start()]);
        captures.expand(replacement, &mut answer);
        at = whole.end();
    }
    answer.push_str(&text[at..]);
    Ok(RegexResponse { count: found.len(), limited, text: Some(answer), ..RegexResponse::default() })
}

fn split(regex: &Regex, text: &str, limit: usize) -> Result<RegexResponse, Fault> {
    let (found, limited) = matches(regex, text, limit)?;
    let mut parts = Vec::with_capacity(found.len() + 1);
    let mut at = 0;
    for captures in &found {
        let whole = captures.get_match();
        parts.push(text[at..whole.start()].to_owned());
        at = whole.end();
    }
    parts.push(text[at..].to_owned());
    Ok(RegexResponse { count: found.len(), limited, parts: Some(parts), ..RegexResponse::default() })
}
