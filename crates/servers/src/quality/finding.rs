//! A finding: what one or several tools say of a line; and all of them as SARIF.

use std::collections::BTreeMap;

use mcp::prelude::*;
use serde_json::{Value, json};

use super::{rules, secrets};
use crate::workshop::cut;

/// The longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 600;
/// Who says the findings, in SARIF.
const DRIVER: &str = "flotilla quality";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Funds, keys or what the code is for are at stake.
    High,
    /// Wrong, or will be.
    Medium,
    /// Bad practice that may become wrong.
    Low,
    /// Something to know.
    Info,
}

impl Severity {
    /// SARIF's level.
    fn level(self) -> &'static str {
        match self {
            Self::High => "error",
            Self::Medium => "warning",
            Self::Low => "note",
            Self::Info => "none",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The file, from the project's folder on.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The rule: the name that explain_rule knows, the same whichever tool says it.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it says: foreign text.
    pub message: String,
    /// Which tools say it, each with its own name for the rule: `slither:tx-origin`.
    pub said_by: Vec<String>,
    /// Its name in baselines and suppressions: the same while the line says the same, wherever it moves to in its file.
    pub fingerprint: String,
    /// Why it is suppressed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<String>,
}

/// What a tool says of a line, before it is held against what others say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) tool: &'static str,
    pub(super) rule: String,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) severity: Severity,
    pub(super) message: String,
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// High ones.
    pub high: usize,
    /// Medium ones.
    pub medium: usize,
    /// Low ones.
    pub low: usize,
    /// Ones to know of.
    pub info: usize,
    /// Those that are suppressed, which are not in the other figures.
    pub suppressed: usize,
}

impl Counts {
    pub(super) fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            let count = match (&finding.suppressed, finding.severity) {
                (Some(_), _) => &mut counts.suppressed,
                (None, Severity::High) => &mut counts.high,
                (None, Severity::Medium) => &mut counts.medium,
                (None, Severity::Low) => &mut counts.low,
                (None, Severity::Info) => &mut counts.info,
            };
            *count += 1;
        }
        counts
    }
}

/// Findings out of what tools say: one for each rule and line, whoever says it, worst first. `line` gives a line's text.
pub(super) fn merged(said: Vec<Said>, line: impl Fn(&str, u32) -> String) -> Vec<Finding> {
    let mut by_place: BTreeMap<(String, u32, String), Finding> = BTreeMap::new();
    for one in said {
        let rule = rules::common(one.tool, &one.rule);
        let finding = by_place.entry((one.file.clone(), one.line, rule.clone())).or_insert_with(|| Finding {
            file: one.file,
            line: one.line,
            rule,
            severity: one.severity,
            message: cut(secrets::hidden(&crate::scripts::cleaned(&one.message)), MESSAGE_BYTES_MAX),
            said_by: Vec::new(),
            fingerprint: String::new(),
            suppressed: None,
        });
        // Who takes it for worst may be right.
        finding.severity = finding.severity.min(one.severity);
        let name = format!("{}:{}", one.tool, one.rule);
        if !finding.said_by.contains(&name) {
            finding.said_by.push(name);
        }
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut findings: Vec<Finding> = by_place.into_values().collect();
    for finding in &mut findings {
        let words: Vec<String> =
            secrets::hidden(&line(&finding.file, finding.line)).split_whitespace().map(str::to_owned).collect();
        let place = format!("{}\n{}\n{}", finding.rule, finding.file, words.join(" "));
        // The same line again in the same file is another finding.
        let ordinal = seen.entry(place.clone()).and_modify(|count| *count += 1).or_insert(0);
        finding.fingerprint = kernel::ids::digest(format!("{place}\n{ordinal}").as_bytes());
        finding.said_by.sort();
    }
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.severity, finding.file.clone(), finding.line, finding.rule.clone());
        key(one).cmp(&key(other))
    });
    findings
}

/// The findings as a SARIF 2.1.0 log of one run.
pub(super) fn sarif(findings: &[Finding], version: Option<&str>) -> Value {
    let mut names: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let rules: Vec<Value> = names.iter().map(|name| rules::sarif(name)).collect();
    let result = |finding: &Finding| {
        let index = names.binary_search(&finding.rule.as_str()).unwrap_or_default();
        let mut result = json!({
            "ruleId": finding.rule,
            "ruleIndex": index,
            "level": finding.severity.level(),
            "message": { "text": finding.message },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": uri(&finding.file), "uriBaseId": "PROJECT" },
                "region": { "startLine": finding.line },
            } }],
            "partialFingerprints": { "flotilla/v1": finding.fingerprint },
            "properties": { "severity": finding.severity, "saidBy": finding.said_by },
        });
        if let Some(reason) = &finding.suppressed {
            result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": reason }]);
        }
        result
    };
    let mut run = json!({
        "tool": { "driver": { "name": DRIVER, "rules": rules } },
        "columnKind": "unicodeCodePoints",
        "results": findings.iter().map(result).collect::<Vec<_>>(),
    });
    if let Some(revision) = version {
        run["properties"] = json!({ "revision": revision });
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    })
}

/// A file's name as a URI is written.
fn uri(file: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    file.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
