//! Suppressions: findings that a project's people have looked at and keep, each with a reason and an end. They are in the project, so they are reviewed like
//! its code.

use std::fs;
use std::path::Path;

use kernel::clock::day_of_date;
use kernel::{Result, UnixMs};
use mcp::prelude::*;

use super::finding::Finding;
use crate::workshop::cut;
use crate::workshop::places::shown;

/// Where they are in a project.
pub(super) const FILE: &str = ".flotilla-quality.json";
/// The largest such file, in bytes, and the most of them.
const FILE_BYTES_MAX: u64 = 256 << 10;
const SUPPRESSIONS_MAX: usize = 1_000;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// How long a day is, in milliseconds.
const DAY_MS: i64 = 86_400_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    suppressions: Vec<Suppression>,
}

/// A suppression, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suppression {
    rule: String,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    fingerprint: Option<String>,
    reason: String,
    expires: String,
}

impl Suppression {
    fn covers(&self, finding: &Finding) -> bool {
        let file = self.file.as_ref().is_none_or(|file| match file.strip_suffix('*') {
            Some(folder) => finding.file.starts_with(folder),
            None => finding.file == *file,
        });
        file && self.rule == finding.rule && self.fingerprint.as_ref().is_none_or(|one| *one == finding.fingerprint)
    }
}

/// Marks the findings that are suppressed, and tells which suppressions have ended or cover nothing.
pub(super) fn apply(root: &Path, findings: &mut [Finding], now_ms: UnixMs) -> Result<Vec<String>> {
    let path = root.join(FILE);
    let Ok(about) = fs::symlink_metadata(&path) else { return Ok(Vec::new()) };
    let wrong = |why: String| {
        Fault::invalid(format!("{FILE}: {why}")).hint(
            r#"{"suppressions": [{"rule": "tx-origin", "file": "src/A.sol", "reason": "why", "expires": "2027-06-30"}]}, with an optional fingerprint"#,
        )
    };
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("no file of at most {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if kept.suppressions.len() > SUPPRESSIONS_MAX {
        return Err(wrong(format!("more than {SUPPRESSIONS_MAX} suppressions")));
    }
    let mut notes = Vec::new();
    for one in kept.suppressions {
        let name =
            format!("suppression of {} in {}", shown(&one.rule), shown(one.file.as_deref().unwrap_or("all files")));
        let day = day_of_date(&one.expires).ok_or_else(|| wrong(format!("`{}` is no date", shown(&one.expires))))?;
        if one.reason.trim().is_empty() {
            return Err(wrong(format!("{name} has no reason")));
        }
        // It holds until the end of its day.
        if now_ms >= (day + 1) * DAY_MS {
            notes.push(format!("{name} ended on {}", one.expires));
            continue;
        }
        let mut any = false;
        for finding in findings.iter_mut().filter(|finding| one.covers(finding)) {
            finding.suppressed = Some(cut(one.reason.clone(), REASON_BYTES_MAX));
            any = true;
        }
        if !any {
            notes.push(format!("{name} covers nothing"));
        }
    }
    Ok(notes)
}
