//! `compare` and `gate`: what is new against a baseline, and whether a project passes.
//!
//! A baseline is the fingerprints of the findings that there were, kept in the fleet's store under the project's folder and a name; no text of the project is
//! in it.

use std::collections::BTreeSet;

use kernel::Result;
use kernel::store::Write;
use mcp::prelude::*;

use super::analyse::Analysis;
use super::analysers::{Analyser, ToolOutcome, ToolRun};
use super::finding::{Counts, Finding, Severity};
use super::source::Source;
use super::suites::{self, RunTestsRequest, SuiteKind};
use super::{Quality, complexity};

/// Where baselines are kept in the store.
const SPACE: &str = "quality_baselines";
/// The most findings of a baseline.
const BASELINE_MAX: usize = 20_000;
/// The longest name of a baseline, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The most findings that are answered.
const FINDINGS_MAX: usize = 500;
/// The most reasons of one kind.
const REASONS_MAX: usize = 20;

/// What [`COMPARE`](super::COMPARE) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// The project's folder: an absolute path, or one from a root on.
    pub path: String,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The baseline's name, 1 to 64 characters of `a-z 0-9 - _`; `main` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// A git revision to compare with, instead of a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_revision: Option<String>,
    /// Whether to keep what is found now as the baseline, after comparing.
    #[serde(default)]
    pub save: bool,
    /// Only these analysers; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Analyser>,
    /// How long each analyser may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`COMPARE`](super::COMPARE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompareResponse {
    /// What it was compared with: `baseline main`, `revision …`, or `nothing` where no baseline was kept yet: then all is new.
    pub compared_with: String,
    /// The findings that were not there, worst first, without suppressed ones.
    pub new: Vec<Finding>,
    /// How many more new findings there are.
    pub new_left_out: usize,
    /// The fingerprints of those that are gone.
    pub gone: Vec<String>,
    /// How many are still there.
    pub unchanged: usize,
    /// Whether this was kept as the baseline.
    pub saved: bool,
    /// What became of each tool: what one did not look for is neither new nor gone.
    pub tools: Vec<ToolRun>,
}

/// What [`GATE`](super::GATE) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateRequest {
    /// The project's folder: an absolute path, or one from a root on.
    pub path: String,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Only findings that are not in this baseline count; all count when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// How many high findings pass; 0 when absent.
    #[serde(default)]
    pub high_max: usize,
    /// How many medium findings pass; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium_max: Option<usize>,
    /// How many low findings pass; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_max: Option<usize>,
    /// The largest complexity of a function that passes; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complexity_max: Option<u32>,
    /// Whose tests must pass; none are run when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<SuiteKind>,
    /// Whether no dependency may have a known vulnerability.
    #[serde(default)]
    pub dependencies: bool,
    /// Analysers without which it does not pass, if they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Analyser>,
    /// How long each analyser and test run may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`GATE`](super::GATE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GateResponse {
    /// Whether it passes.
    pub passed: bool,
    /// Why it does not.
    pub reasons: Vec<String>,
    /// The findings that count.
    pub counts: Counts,
    /// The largest complexity of a function.
    pub complexity: u32,
    /// How many tests passed and failed, where they were run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<(usize, usize)>,
    /// What was not looked at, and why: it neither passed nor failed.
    pub not_checked: Vec<String>,
}

impl Quality {
    pub(super) async fn compare(&self, request: CompareRequest, ctx: Ctx) -> Result<CompareResponse> {
        let name = request.baseline.as_deref().unwrap_or("main");
        check_name(name)?;
        if request.base_revision.is_some() && (request.baseline.is_some() || request.save) {
            return Err(Fault::invalid("base_revision with baseline or save").hint("one to compare with"));
        }
        let (tools, seconds) = (&request.tools, request.time_limit_seconds);
        // The base first: one project's tree is held at a time.
        let base = match &request.base_revision {
            None => None,
            Some(revision) => {
                let source = self.open(&request.path, Some(revision), &ctx).await?;
                let analysis = self.analysed(&source, tools, seconds, &ctx).await?;
                let known: BTreeSet<String> = analysis.findings.into_iter().map(|one| one.fingerprint).collect();
                Some((format!("revision {}", source.revision.unwrap_or_default()), known))
            }
        };
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        let analysis = self.analysed(&source, tools, seconds, &ctx).await?;
        let (compared_with, known) = match base {
            Some(base) => base,
            None => match self.baseline(&source, name).await? {
                Some(known) => (format!("baseline {name}"), known),
                None => ("nothing".into(), BTreeSet::new()),
            },
        };
        if request.save {
            self.keep_baseline(&source, name, &analysis).await?;
        }
        Ok(compared(compared_with, &known, analysis, request.save))
    }

    pub(super) async fn gate(&self, request: GateRequest, ctx: Ctx) -> Result<GateResponse> {
        if let Some(name) = &request.baseline {
            check_name(name)?;
        }
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        let analysis = self.analysed(&source, &[], request.time_limit_seconds, &ctx).await?;
        let known = match &request.baseline {
            None => BTreeSet::new(),
            Some(name) => self.baseline(&source, name).await?.ok_or_else(|| {
                Fault::not_found(format!("no baseline `{name}` of this project")).hint("compare with save keeps one")
            })?,
        };
        let counted: Vec<&Finding> = analysis.findings.iter().filter(|one| !known.contains(&one.fingerprint)).collect();
        let counts = Counts::of(counted.iter().copied());
        let mut reasons = findings_over(&request, &counts, &counted);
        for run in analysis.tools.iter().filter(|run| request.require.contains(&run.tool)) {
            if matches!(run.outcome, ToolOutcome::NotInstalled | ToolOutcome::Failed) {
                reasons.push(format!("{} is required and told nothing: {}", run.tool.name(), run.note));
            }
        }
        let rows = complexity::measured(&source).await?;
        let most = request.complexity_max.unwrap_or(u32::MAX);
        let complex = rows.iter().take_while(|row| row.complexity > most).take(REASONS_MAX);
        reasons.extend(complex.map(|row| {
            format!("{}:{} {} has complexity {}, past {most}", row.file, row.line, row.name, row.complexity)
        }));
        let mut not_checked = analysis.silent();
        let tests = self.gate_tests(&source, &request, &mut reasons, &ctx).await?;
        if request.dependencies {
            self.gate_dependencies(&source, &mut reasons, &mut not_checked).await?;
        }
        let complexity = rows.first().map_or(0, |row| row.complexity);
        Ok(GateResponse { passed: reasons.is_empty(), reasons, counts, complexity, tests, not_checked })
    }

    async fn gate_tests(
        &self,
        source: &Source,
        request: &GateRequest,
        reasons: &mut Vec<String>,
        ctx: &Ctx,
    ) -> Result<Option<(usize, usize)>> {
        let mut tests = None;
        for suite in &request.tests {
            let (suite, time_limit_seconds) = (Some(*suite), request.time_limit_seconds);
            let asked = RunTestsRequest { suite, time_limit_seconds, ..RunTestsRequest::default() };
            suites::check(&asked)?;
            let told = self.tested(source, &asked, ctx).await?;
            let failed = told.cases.iter().filter(|case| case.outcome == suites::TestResult::Failed);
            reasons.extend(failed.take(REASONS_MAX).map(|case| format!("test {} failed", case.name)));
            reasons.extend(told.trouble);
            let (passed, failed) = tests.unwrap_or_default();
            tests = Some((passed + told.passed, failed + told.failed));
        }
        Ok(tests)
    }

    async fn gate_dependencies(
        &self,
        source: &Source,
        reasons: &mut Vec<String>,
        not_checked: &mut Vec<String>,
    ) -> Result<()> {
        // Asked for, and not possible: it does not pass.
        match self.audited(source).await {
            Ok(told) => {
                let found = told.advisories.iter().take(REASONS_MAX);
                reasons.extend(
                    found.map(|one| format!("{} {} has {}: {}", one.package, one.version, one.id, one.summary)),
                );
                not_checked.extend(told.not_checked);
            }
            Err(fault) => reasons.push(format!("dependencies cannot be checked: {fault}")),
        }
        Ok(())
    }

    async fn baseline(&self, source: &Source, name: &str) -> Result<Option<BTreeSet<String>>> {
        let Some(entry) = self.store.get(SPACE, &key(source, name)).await? else { return Ok(None) };
        let known = serde_json::from_str(&entry.value);
        known.map(Some).map_err(|error| Fault::internal(format!("baseline {name} is damaged: {error}")))
    }

    async fn keep_baseline(&self, source: &Source, name: &str, analysis: &Analysis) -> Result<()> {
        let known: BTreeSet<&str> = analysis.findings.iter().map(|one| one.fingerprint.as_str()).collect();
        if known.len() > BASELINE_MAX {
            return Err(Fault::too_large(format!("{} findings, past {BASELINE_MAX} of a baseline", known.len())));
        }
        let value = serde_json::to_string(&known).map_err(|error| Fault::internal(format!("baseline: {error}")))?;
        self.store.commit(vec![Write::put(SPACE, &key(source, name), value)]).await?;
        Ok(())
    }
}

fn compared(compared_with: String, known: &BTreeSet<String>, analysis: Analysis, saved: bool) -> CompareResponse {
    let now: BTreeSet<&str> = analysis.findings.iter().map(|one| one.fingerprint.as_str()).collect();
    // What a tool that told nothing now would have said is not known to be gone.
    let whole = analysis.silent().is_empty();
    let gone = known.iter().filter(|one| whole && !now.contains(one.as_str())).take(FINDINGS_MAX).cloned().collect();
    let unchanged = known.iter().filter(|one| now.contains(one.as_str())).count();
    let mut new: Vec<Finding> = analysis.open().filter(|one| !known.contains(&one.fingerprint)).cloned().collect();
    let new_left_out = new.len().saturating_sub(FINDINGS_MAX);
    new.truncate(FINDINGS_MAX);
    CompareResponse { compared_with, new, new_left_out, gone, unchanged, saved, tools: analysis.tools }
}

/// Where the findings are more than may be.
fn findings_over(request: &GateRequest, counts: &Counts, counted: &[&Finding]) -> Vec<String> {
    let bounds = [
        ("high", Severity::High, counts.high, Some(request.high_max)),
        ("medium", Severity::Medium, counts.medium, request.medium_max),
        ("low", Severity::Low, counts.low, request.low_max),
    ];
    let mut reasons = Vec::new();
    for (word, severity, count, most) in bounds {
        let Some(most) = most.filter(|most| count > *most) else { continue };
        reasons.push(format!("{count} {word} findings, past {most}"));
        let of_it = counted.iter().filter(|one| one.severity == severity && one.suppressed.is_none());
        reasons.extend(of_it.take(REASONS_MAX).map(|one| format!("{}:{} {}", one.file, one.line, one.rule)));
    }
    reasons
}

fn key(source: &Source, name: &str) -> String {
    format!("{}/{name}", kernel::ids::digest(source.project.path.as_os_str().as_encoded_bytes()))
}

fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Fault::invalid("baseline is no name of one").hint(format!("1 to {NAME_BYTES_MAX} characters of a-z 0-9 - _")))
}
