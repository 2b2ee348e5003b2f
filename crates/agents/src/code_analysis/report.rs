//! Reports: what an analysis found, and what of it is new.

use std::collections::BTreeSet;

use kernel::{Code, Fault, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servers::coordination::{KV_GET, KV_PUT, KvEntry, KvGetRequest, KvPutRequest};
use servers::quality::{
    Advisory, AnalyzeResponse, ChangedFile, ChangesResponse, Counts, Finding, FunctionRow, Revision, Severity,
    ToolOutcome, ToolRun,
};

use crate::hands::Hands;

/// The most findings that a report has.
const FINDINGS_MAX: usize = 100;
/// The most fingerprints that are kept.
const KNOWN_MAX: usize = 5_000;

/// What `analyze` gives, and what is kept of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) path: String,
    pub(super) revision: Option<String>,
    pub(super) at_ms: UnixMs,
    pub(super) counts: Counts,
    /// What was not found the last time, worst first, without suppressed ones.
    pub(super) new: Vec<Finding>,
    /// How many more of those there are.
    pub(super) new_left_out: usize,
    /// How many that were found the last time are not any more.
    pub(super) gone: usize,
    /// The worst findings of all.
    pub(super) worst: Vec<Finding>,
    /// Functions with many ways through.
    pub(super) complex: Vec<FunctionRow>,
    pub(super) tools: Vec<ToolRun>,
    pub(super) notes: Vec<String>,
    /// The fingerprints of all findings.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    known: BTreeSet<String>,
    #[serde(skip)]
    all: Vec<Finding>,
}

/// A report that was kept, and where it stands.
pub(super) struct Kept {
    report: Report,
    revision: u64,
}

impl Report {
    pub(super) fn of(analysis: AnalyzeResponse, complex: Vec<FunctionRow>, at_ms: UnixMs) -> Self {
        let open = analysis.findings.iter().filter(|one| one.suppressed.is_none());
        Self {
            path: analysis.path,
            revision: analysis.revision,
            at_ms,
            counts: analysis.counts,
            new: Vec::new(),
            new_left_out: 0,
            gone: 0,
            worst: open.take(FINDINGS_MAX / 4).cloned().collect(),
            complex,
            tools: analysis.tools,
            notes: analysis.notes,
            known: BTreeSet::new(),
            all: analysis.findings,
        }
    }

    /// Says what is new against a report.
    pub(super) fn compare(&mut self, before: Option<&Kept>) {
        let none = BTreeSet::new();
        let known = before.map_or(&none, |kept| &kept.report.known);
        let now: BTreeSet<String> = self.all.iter().map(|one| one.fingerprint.clone()).collect();
        let open = self.all.iter().filter(|one| one.suppressed.is_none());
        let mut new: Vec<Finding> = open.filter(|one| !known.contains(&one.fingerprint)).cloned().collect();
        self.new_left_out = new.len().saturating_sub(FINDINGS_MAX);
        new.truncate(FINDINGS_MAX);
        self.new = new;
        let silent =
            self.tools.iter().any(|run| matches!(run.outcome, ToolOutcome::NotInstalled | ToolOutcome::Failed));
        self.gone = if silent { 0 } else { known.difference(&now).count() };
        // What a tool that told nothing now would have said stays known, so that it is not new when the tool is back.
        let stays = known.iter().filter(|_| silent).cloned();
        self.known = now.into_iter().chain(stays).take(KNOWN_MAX).collect();
    }
}

/// The report that was kept of a project.
pub(super) async fn read(hands: &Hands, path: &str) -> Result<Option<Kept>, Fault> {
    let entry = hands.call(KV_GET, &KvGetRequest { key: key(path) }).await?.entry;
    entry.map(|entry| kept(path, entry)).transpose()
}

pub(super) fn kept(path: &str, entry: KvEntry) -> Result<Kept, Fault> {
    let report = serde_json::from_value(entry.value.unwrap_or_default());
    let report = report.map_err(|error| Fault::internal(format!("the report on {path} is damaged: {error}")))?;
    Ok(Kept { report, revision: entry.revision })
}

/// Keeps a report in place of the one that it was compared with.
pub(super) async fn keep(hands: &Hands, report: &Report, before: Option<&Kept>) -> Result<(), Fault> {
    let value = serde_json::to_value(report).map_err(|error| Fault::internal(format!("report: {error}")))?;
    let if_revision = Some(before.map_or(0, |kept| kept.revision));
    let put = KvPutRequest { key: key(&report.path), value, if_revision, ttl_seconds: None };
    match hands.call(KV_PUT, &put).await {
        // Another task has analysed it meanwhile, and its report is newer.
        Err(fault) if fault.code == Code::Conflict => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Where a project's report is.
pub(super) fn key(path: &str) -> String {
    format!("code-analysis/report/{}", kernel::ids::digest(path.as_bytes()))
}

/// What `scan_vulnerabilities` gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Scan {
    path: String,
    revision: Option<String>,
    /// Grave findings, worst first, without suppressed ones.
    findings: Vec<Finding>,
    findings_left_out: usize,
    dependencies: Vec<Advisory>,
    tools: Vec<ToolRun>,
    not_checked: Vec<String>,
}

impl Scan {
    pub(super) fn of(
        analysis: AnalyzeResponse,
        grave: impl Fn(Severity) -> bool,
        dependencies: Vec<Advisory>,
        not_checked: Vec<String>,
    ) -> Self {
        let open = analysis.findings.into_iter().filter(|one| one.suppressed.is_none() && grave(one.severity));
        let mut findings: Vec<Finding> = open.collect();
        let findings_left_out = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        let (path, revision) = (analysis.path, analysis.revision);
        Self { path, revision, findings, findings_left_out, dependencies, tools: analysis.tools, not_checked }
    }
}

/// What `review_change` gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Review {
    path: String,
    from: String,
    to: String,
    revisions: Vec<Revision>,
    files: Vec<ChangedFile>,
    /// Findings on lines that the change brought, worst first, without suppressed ones.
    findings: Vec<Finding>,
    /// Functions with many ways through that begin in changed lines, or have some.
    complex: Vec<FunctionRow>,
    tools: Vec<ToolRun>,
    /// What a model says: foreign text.
    model: Option<Value>,
    /// Why no model says something.
    no_model: Option<String>,
}

impl Review {
    pub(super) fn of(
        changes: ChangesResponse,
        analysis: AnalyzeResponse,
        complex: Vec<FunctionRow>,
        model: Result<Value, String>,
    ) -> Self {
        let touches = |file: &str, first: u32, last: u32| {
            let changed = changes.files.iter().filter(|one| one.file == file);
            changed.flat_map(|one| &one.lines).any(|(from, to)| *from <= last && first <= *to)
        };
        let open = analysis.findings.into_iter().filter(|one| one.suppressed.is_none());
        let findings = open.filter(|one| touches(&one.file, one.line, one.line)).take(FINDINGS_MAX).collect();
        let complex = complex
            .into_iter()
            .filter(|one| touches(&one.file, one.line, one.line + one.lines.saturating_sub(1)))
            .collect();
        let (model, no_model) = match model {
            Ok(told) => (Some(told), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            path: analysis.path,
            findings,
            complex,
            from: changes.from,
            to: changes.to,
            revisions: changes.revisions,
            files: changes.files,
            tools: analysis.tools,
            model,
            no_model,
        }
    }
}
