//! `analyze` and `secrets_scan`: every analyser that applies, what they say as findings that are told once, and as SARIF.

use std::collections::BTreeMap;

use kernel::Result;
use mcp::prelude::*;
use serde_json::Value;

use super::analysers::{Analyser, ToolOutcome, ToolRun};
use super::finding::{self, Counts, Finding};
use super::source::Source;
use super::{Quality, suppressions};

/// The most findings that are answered; the worst come first.
const FINDINGS_MAX: usize = 1_000;

/// What [`ANALYZE`](super::ANALYZE) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalyzeRequest {
    /// The project's folder: an absolute path, or one from a root on.
    pub path: String,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Only these analysers; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Analyser>,
    /// Whether to leave the SARIF out, for who reads `findings`.
    #[serde(default)]
    pub without_sarif: bool,
    /// How long each analyser may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`SECRETS_SCAN`](super::SECRETS_SCAN) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretsScanRequest {
    /// The project's folder: an absolute path, or one from a root on.
    pub path: String,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// What [`ANALYZE`](super::ANALYZE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AnalyzeResponse {
    /// The project's folder.
    pub path: String,
    /// The revision that was looked at, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How many findings there are.
    pub counts: Counts,
    /// What was found, worst first, suppressed ones among them.
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub findings_left_out: usize,
    /// What became of each tool: what is not installed found nothing.
    pub tools: Vec<ToolRun>,
    /// What else to know: suppressions that have ended or cover nothing, files that were not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The findings as a SARIF 2.1.0 log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sarif: Option<Value>,
}

/// What was found in a source.
pub(super) struct Analysis {
    pub(super) findings: Vec<Finding>,
    pub(super) tools: Vec<ToolRun>,
    pub(super) notes: Vec<String>,
}

impl Analysis {
    /// The findings that nobody suppressed.
    pub(super) fn open(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.suppressed.is_none())
    }

    /// The tools that apply and told nothing, in words.
    pub(super) fn silent(&self) -> Vec<String> {
        let silent = self.tools.iter().filter_map(|run| match run.outcome {
            ToolOutcome::NotInstalled => Some(format!("{} is not installed ({})", run.tool.name(), run.note)),
            ToolOutcome::Failed => Some(format!("{} failed: {}", run.tool.name(), run.note)),
            ToolOutcome::Ran | ToolOutcome::NotApplicable => None,
        });
        silent.collect()
    }
}

impl Quality {
    pub(super) async fn analyze(&self, request: AnalyzeRequest, ctx: Ctx) -> Result<AnalyzeResponse> {
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        let analysis = self.analysed(&source, &request.tools, request.time_limit_seconds, &ctx).await?;
        Ok(answer(source, analysis, !request.without_sarif))
    }

    pub(super) async fn secrets_scan(&self, request: SecretsScanRequest, ctx: Ctx) -> Result<AnalyzeResponse> {
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        let analysis = self.analysed(&source, &[Analyser::Secrets], None, &ctx).await?;
        Ok(answer(source, analysis, false))
    }

    /// Runs the analysers on a source, one after another: they share what is built.
    pub(super) async fn analysed(
        &self,
        source: &Source,
        wanted: &[Analyser],
        seconds: Option<u32>,
        ctx: &Ctx,
    ) -> Result<Analysis> {
        let (mut tools, mut said) = (Vec::new(), Vec::new());
        let wanted: Vec<Analyser> =
            Analyser::ALL.into_iter().filter(|one| wanted.is_empty() || wanted.contains(one)).collect();
        for (number, analyser) in wanted.iter().enumerate() {
            ctx.progress(number as f64, Some(wanted.len() as f64), Some(analyser.name())).await;
            let (run, found) = self.find(*analyser, source, seconds, ctx).await?;
            tools.push(run);
            said.extend(found);
        }
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in &said {
            if !texts.contains_key(&one.file) {
                let file = source.files.iter().find(|file| file.name == one.file);
                let text = file.and_then(Source::text).unwrap_or_default();
                texts.insert(one.file.clone(), text.lines().map(str::to_owned).collect());
            }
        }
        // What is said of others' files is theirs to hear.
        said.retain(|one| texts.get(&one.file).is_some_and(|lines| !lines.is_empty()));
        let mut findings = finding::merged(said, |file, line| {
            let line = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
            texts.get(file).and_then(|lines| lines.get(line)).cloned().unwrap_or_default()
        });
        let mut notes = suppressions::apply(&source.root, &mut findings, self.clock.now_ms())?;
        if source.left_out > 0 {
            notes.push(format!("{} files were not looked at: too large, or too many", source.left_out));
        }
        Ok(Analysis { findings, tools, notes })
    }
}

fn answer(source: Source, analysis: Analysis, sarif: bool) -> AnalyzeResponse {
    let counts = Counts::of(&analysis.findings);
    let mut findings = analysis.findings;
    let findings_left_out = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    AnalyzeResponse {
        path: source.project.path.display().to_string(),
        sarif: sarif.then(|| finding::sarif(&findings, source.revision.as_deref())),
        revision: source.revision,
        counts,
        findings,
        findings_left_out,
        tools: analysis.tools,
        notes: analysis.notes,
    }
}
