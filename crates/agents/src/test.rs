//! `test`: runs suites, remembers how their tests went, tells which are flaky, and finds the commit that broke one.
//!
//! Tests run through the quality server, shut in. What is remembered is in the shared keys of coordination, one entry for each project and type of task, so that any copy
//! goes on from it and anybody can read it; it has the outcomes of tests that failed lately and of nothing else. Invariants:
//! - A task that is done again is one run of the history: its key is kept with it.
//! - What a bisection says was seen: it tests the revisions, and one that cannot be tested is neither good nor bad.

mod bisect;
mod history;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::{Access, Code, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use servers::coordination::{PUBLISH, PublishRequest};
use servers::quality::{RUN_TESTS, RunTestsRequest, RunTestsResponse, SuiteKind, TestResult};

use crate::agent::{Agent, Duties};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};
pub use bisect::Bisected;
use history::History;

/// How often a suite may be run in one task.
const REPEAT_MAX: u32 = 10;
/// The topic that is told of new failures, and what the event is called.
pub const TOPIC: &str = "quality";
/// A test fails that did not.
pub const FAILED_EVENT: &str = "test.failed";
/// The most names in an answer's list.
const NAMES_MAX: usize = 100;

/// `[agents.test]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many revisions a bisection may test: 1 to 32.
    pub bisect_runs_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { bisect_runs_max: 16 }
    }
}

/// The agent.
pub struct Test {
    config: Config,
}

impl Agent for Test {
    const NAME: &'static str = "test";
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        match config.bisect_runs_max {
            1..=32 => Ok(Self { config }),
            other => Err(Fault::invalid(format!("agents.test.bisect_runs_max is {other}")).hint("1 to 32")),
        }
    }

    fn duties(&self, _: &mut Duties<Self>) {}

    fn jobs(&self, set: &mut Jobs<Self>) {
        let job = |name, about, minutes: u64| {
            Job::new(name, about, Access::Operate).text("path").within(Duration::from_secs(minutes * 60))
        };
        let unit = job(
            "unit",
            "Runs a project's unit tests, remembers how they went, tells flaky ones, and finds the commit that broke one.",
            60,
        );
        let integration = job("integration", "The same for integration tests, which have a history of their own.", 90);
        let e2e = job("e2e", "The same for tests of the whole, which have a history of their own.", 120);
        set.add(unit, |agent: Arc<Self>, asked, hands| agent.suite("unit", asked, hands));
        set.add(integration, |agent: Arc<Self>, asked, hands| agent.suite("integration", asked, hands));
        set.add(e2e, |agent: Arc<Self>, asked, hands| agent.suite("e2e", asked, hands));
    }
}

/// What each type of task takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The project's folder, or that of the tests in it, as quality takes it.
    pub path: String,
    /// Whose tests; all that the project has when absent.
    #[serde(default)]
    pub suite: Option<SuiteKind>,
    /// Only tests whose name has this in it.
    #[serde(default)]
    pub filter: Option<String>,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default)]
    pub revision: Option<String>,
    /// How often to run them, to see which are flaky: 1 to 10; once when absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10))]
    pub repeat: Option<u32>,
    /// A git revision that was good: the commit since then that broke the first failing test is looked for. When absent, the last revision of the history that was good is, if a
    /// revision is tested and a test fails that did not.
    #[serde(default)]
    pub good: Option<String>,
    /// How long each run may take, in seconds: 1 to 900.
    #[serde(default)]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

impl Suite {
    fn request(&self, revision: Option<String>) -> RunTestsRequest {
        RunTestsRequest {
            path: self.path.clone(),
            suite: self.suite,
            filter: self.filter.clone(),
            revision,
            time_limit_seconds: self.time_limit_seconds,
        }
    }
}

/// What each type of task gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The project's folder.
    pub path: String,
    /// The revision, in full, where one was tested.
    pub revision: Option<String>,
    /// Whether all runs came to their end and no test failed in any.
    pub success: bool,
    /// How many tests passed, failed and were skipped in the last run.
    pub passed: usize,
    /// See `passed`.
    pub failed: usize,
    /// See `passed`.
    pub skipped: usize,
    /// Tests that fail, with their reasons: foreign text.
    pub failures: BTreeMap<String, String>,
    /// Those of them that did not fail in the run before.
    pub new_failures: Vec<String>,
    /// Tests that failed in the run before, and pass.
    pub mended: Vec<String>,
    /// Tests that pass and fail without a change: in this task's runs, or to and fro in the history.
    pub flaky: Vec<String>,
    /// Runs that did not come to their end.
    pub trouble: Vec<String>,
    /// The commit that broke the first new failure, where it was looked for.
    pub bisected: Option<Bisected>,
    /// Why it was not looked for, where that was to be.
    pub not_bisected: Option<String>,
    /// How many runs the history has, this one among them.
    pub runs: usize,
}

impl Test {
    async fn suite(self: Arc<Self>, kind: &'static str, asked: Suite, hands: Hands) -> Result<Report, Fault> {
        let repeat = asked.repeat.unwrap_or(1);
        if !(1..=REPEAT_MAX).contains(&repeat) {
            return Err(Fault::invalid(format!("repeat is {repeat}")).hint(format!("1 to {REPEAT_MAX}")));
        }
        let (mut told, mut to_and_fro) = (Vec::<RunTestsResponse>::new(), BTreeSet::new());
        for number in 0..repeat {
            hands.progress(f64::from(number) / f64::from(repeat) / 2.0, format!("run {} of {repeat}", number + 1));
            let run = hands.call(RUN_TESTS, &asked.request(asked.revision.clone())).await?;
            if let Some(before) = told.last() {
                to_and_fro.extend(differing(before, &run));
            }
            told.push(run);
        }
        let last = told.last().ok_or_else(|| Fault::internal("no run"))?;
        let history = History::read(&hands, &last.path, kind).await?;
        let before = history.before(&hands.key());
        // One that failed in any run has failed.
        let failing: BTreeMap<String, String> = told.iter().flat_map(failures).take(NAMES_MAX).collect();
        let passing: BTreeSet<&str> = named(last, TestResult::Passed).collect();
        let new_failures: Vec<String> =
            failing.keys().filter(|name| !before.failing.contains(*name)).cloned().collect();
        let mended =
            before.failing.iter().filter(|name| passing.contains(name.as_str()) && !failing.contains_key(*name));
        let mut report = Report {
            path: last.path.clone(),
            revision: last.revision.clone(),
            success: told.iter().all(|run| run.success),
            passed: last.passed,
            failed: last.failed,
            skipped: last.skipped,
            mended: mended.cloned().collect(),
            failures: failing,
            new_failures,
            flaky: Vec::new(),
            trouble: told.iter().flat_map(|run| run.trouble.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            bisected: None,
            not_bisected: None,
            runs: 0,
        };
        let good = before.good.clone();
        let kept = history::keep(&hands, &report, &passing, kind).await?;
        report.runs = kept.runs();
        to_and_fro.extend(kept.flaky());
        report.flaky = to_and_fro.into_iter().take(NAMES_MAX).collect();
        self.look_for_the_commit(&asked, good, &mut report, &hands).await?;
        tell(&report, kind, &hands).await?;
        Ok(report)
    }

    /// Looks for the commit that broke the first new failure that is not flaky.
    async fn look_for_the_commit(
        &self,
        asked: &Suite,
        good: Option<String>,
        report: &mut Report,
        hands: &Hands,
    ) -> Result<(), Fault> {
        let candidates = if asked.good.is_some() {
            report.failures.keys().collect()
        } else {
            report.new_failures.iter().collect::<Vec<_>>()
        };
        let Some(case) = candidates.into_iter().find(|name| !report.flaky.contains(name)).cloned() else {
            return Ok(());
        };
        let good = match (&asked.good, good) {
            (Some(good), _) => good.clone(),
            (None, Some(good)) if report.revision.is_some() => good,
            (None, _) => {
                report.not_bisected =
                    Some("no revision is known that was good: name one as good, and test a revision".into());
                return Ok(());
            }
        };
        match bisect::first_bad(asked, &good, &case, self.config.bisect_runs_max, hands).await {
            Ok(found) => report.bisected = Some(found),
            Err(fault) if matches!(fault.code, Code::Cancelled | Code::Unavailable) => return Err(fault),
            Err(fault) => report.not_bisected = Some(fault.to_string()),
        }
        Ok(())
    }
}

/// The names of tests that went so.
fn named(run: &RunTestsResponse, outcome: TestResult) -> impl Iterator<Item = &str> {
    run.cases.iter().filter(move |case| case.outcome == outcome).map(|case| case.name.as_str())
}

fn failures(run: &RunTestsResponse) -> BTreeMap<String, String> {
    let failed = run.cases.iter().filter(|case| case.outcome == TestResult::Failed);
    failed.map(|case| (case.name.clone(), case.reason.clone())).collect()
}

/// Tests that failed in one of two runs and passed in the other.
fn differing(one: &RunTestsResponse, other: &RunTestsResponse) -> BTreeSet<String> {
    let between = |one: &RunTestsResponse, other: &RunTestsResponse| -> BTreeSet<String> {
        let passed: BTreeSet<&str> = named(other, TestResult::Passed).collect();
        named(one, TestResult::Failed).filter(|name| passed.contains(name)).map(str::to_owned).collect()
    };
    between(one, other).union(&between(other, one)).cloned().collect()
}

/// Tells whoever follows the topic of tests that fail and did not.
async fn tell(report: &Report, kind: &str, hands: &Hands) -> Result<(), Fault> {
    if report.new_failures.is_empty() {
        return Ok(());
    }
    let data = json!({
        "path": report.path, "type": kind, "revision": report.revision, "new_failures": report.new_failures,
        "flaky": report.flaky, "bisected": report.bisected, "task": hands.key(),
    });
    let request = PublishRequest { topic: TOPIC.into(), kind: FAILED_EVENT.into(), data };
    hands.call(PUBLISH, &request).await.map(|_| ())
}
