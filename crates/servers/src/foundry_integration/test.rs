//! `test`: forge's tests, one by one, with gas, and traces of those that fail.

use std::collections::BTreeMap;

use kernel::Result;
use mcp::prelude::*;
use serde_json::Value;

use super::run::{Chore, cut, refused};
use super::{FoundryIntegration, check_profile, text_argument};
use crate::workshop::places::{Kept, Project};

/// How much forge may write of tests, in bytes.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// The most tests that are answered; failures come first.
const TESTS_MAX: usize = 2_000;
/// How much is answered of a test's log, and of its reason, in bytes.
const LOG_BYTES_MAX: usize = 2 << 10;
/// How much is answered of a trace, in bytes.
const TRACE_BYTES_MAX: usize = 16 << 10;
/// How much is answered of all traces, in bytes.
const TRACES_BYTES_MAX: usize = 128 << 10;
/// Runs the tests; those that fail again, to see their traces. The first line is forge's JSON.
const TEST: &str = r#"
"$FORGE" test --json "$@" >/tmp/results || true
cat /tmp/results
if grep -q '"status":"Failure"' /tmp/results; then
  "$FORGE" test -vvv --rerun "$@" 2>/dev/null || true
fi
"#;
/// What tests begin with that are not said to be random: the same run is the same everywhere.
const SEED: &str = "0x1";

/// What [`TEST`](super::TEST) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// Only tests whose name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_test: Option<String>,
    /// Only contracts whose name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_contract: Option<String>,
    /// Only files whose path matches this pattern, like `test/unit/*.sol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_path: Option<String>,
    /// How many runs a fuzz test has; as the project says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fuzz_runs: Option<u32>,
    /// The seed of fuzz tests, in hexadecimal; 0x1 when absent, so that a run can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuzz_seed: Option<String>,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How long it may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`TEST`](super::TEST) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TestResponse {
    /// The project's folder.
    pub project: String,
    /// Whether there are tests and none failed.
    pub success: bool,
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// Each test, failures first.
    pub tests: Vec<TestRow>,
    /// How many more tests there are.
    pub tests_left_out: usize,
}

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestOutcome {
    /// It failed.
    Failed,
    /// It was skipped.
    Skipped,
    /// It passed.
    Passed,
}

/// What kind of test it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// Runs once.
    Unit,
    /// Runs on many random inputs.
    Fuzz,
    /// Looks at what must hold after many random calls.
    Invariant,
    /// Something else.
    Other,
}

/// A test.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TestRow {
    /// Its file, from the project's folder on.
    pub file: String,
    /// Its contract.
    pub contract: String,
    /// Its name with its parameters' types.
    pub name: String,
    /// How it went.
    pub outcome: TestOutcome,
    /// What kind it is.
    pub kind: TestKind,
    /// Gas: what it used, or the mean of a fuzz test's runs.
    pub gas: Option<u64>,
    /// The median of a fuzz test's runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub median_gas: Option<u64>,
    /// How many runs a fuzz or invariant test had.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runs: Option<u64>,
    /// How many calls an invariant test made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calls: Option<u64>,
    /// How many of those reverted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reverts: Option<u64>,
    /// Why it failed, in the contract's words: foreign text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The input that made it fail.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counterexample: Option<Value>,
    /// What it logged: foreign text.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub logs: String,
    /// The calls it made, where it failed: foreign text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace: Option<String>,
}

#[derive(Deserialize)]
struct Suite {
    test_results: BTreeMap<String, Said>,
}

#[derive(Deserialize)]
struct Said {
    status: String,
    reason: Option<String>,
    #[serde(default)]
    counterexample: Option<Value>,
    #[serde(default)]
    decoded_logs: Vec<String>,
    #[serde(default)]
    kind: BTreeMap<String, Figures>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Figures {
    gas: Option<u64>,
    mean_gas: Option<u64>,
    median_gas: Option<u64>,
    runs: Option<u64>,
    calls: Option<u64>,
    reverts: Option<u64>,
}

impl FoundryIntegration {
    pub(super) async fn test(&self, request: TestRequest, ctx: Ctx) -> Result<TestResponse> {
        check_profile(request.profile.as_deref())?;
        let arguments = arguments(&request)?;
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        let options = (request.profile.clone(), request.time_limit_seconds);
        self.built(&project, &kept, options, &ctx).await?.check()?;
        ctx.progress(1.0, None, Some("running the tests")).await;
        let mut tests = self.tests(&project, &kept, arguments, &request, &ctx).await?;
        let count = |outcome| tests.iter().filter(|test| test.outcome == outcome).count();
        let (passed, failed) = (count(TestOutcome::Passed), count(TestOutcome::Failed));
        let skipped = count(TestOutcome::Skipped);
        tests.sort_by(|one, other| {
            let key = |test: &TestRow| (test.outcome, test.file.clone(), test.contract.clone(), test.name.clone());
            key(one).cmp(&key(other))
        });
        let tests_left_out = tests.len().saturating_sub(TESTS_MAX);
        tests.truncate(TESTS_MAX);
        Ok(TestResponse {
            project: project.path.display().to_string(),
            success: failed == 0 && passed > 0,
            passed,
            failed,
            skipped,
            tests,
            tests_left_out,
        })
    }

    /// Runs the tests of a project that is built.
    pub(super) async fn tests(
        &self,
        project: &Project,
        kept: &Kept,
        arguments: Vec<String>,
        request: &TestRequest,
        ctx: &Ctx,
    ) -> Result<Vec<TestRow>> {
        let chore = Chore {
            text: TEST,
            arguments,
            stdin: String::new(),
            stdout_bytes: OUTPUT_BYTES_MAX,
            seconds: request.time_limit_seconds,
            profile: request.profile.clone(),
        };
        let ran = self.run(project, kept, chore, ctx).await?;
        let (results, traces) = ran.stdout.split_once('\n').unwrap_or((&ran.stdout, ""));
        let Some(mut tests) = read_results(results) else {
            let none = |text: &str| text.contains("No tests found") || text.contains("No tests match");
            return if none(&ran.stdout) || none(&ran.stderr) { Ok(Vec::new()) } else { Err(refused(&ran)) };
        };
        dress(&mut tests, &traces_in(&crate::scripts::cleaned(traces)));
        Ok(tests)
    }
}

/// forge's arguments for a request.
pub(super) fn arguments(request: &TestRequest) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    let texts = [
        ("--match-test", "match_test", &request.match_test),
        ("--match-contract", "match_contract", &request.match_contract),
        ("--match-path", "match_path", &request.match_path),
    ];
    for (option, field, text) in texts {
        if let Some(text) = text {
            text_argument(field, text)?;
            arguments.push(format!("{option}={text}"));
        }
    }
    if let Some(runs) = request.fuzz_runs {
        if !(1..=1_000_000).contains(&runs) {
            return Err(Fault::invalid(format!("fuzz_runs is {runs}")).hint("1 to 1,000,000"));
        }
        arguments.push(format!("--fuzz-runs={runs}"));
    }
    let seed = request.fuzz_seed.as_deref().unwrap_or(SEED);
    let digits = seed.strip_prefix("0x").unwrap_or_default();
    if !(1..=64).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Fault::invalid("fuzz_seed is no seed").hint("hexadecimal, like 0x1, up to 64 digits"));
    }
    arguments.push(format!("--fuzz-seed={seed}"));
    Ok(arguments)
}

/// The tests in what `forge test --json` writes; `None` when it is something else.
pub(crate) fn read_results(results: &str) -> Option<Vec<TestRow>> {
    let suites = serde_json::from_str::<BTreeMap<String, Suite>>(results).ok()?;
    Some(suites.into_iter().flat_map(|(suite, said)| rows(&suite, said)).collect())
}

fn rows(suite: &str, said: Suite) -> Vec<TestRow> {
    let (file, contract) = suite.rsplit_once(':').unwrap_or(("", suite));
    let row = |(name, said): (String, Said)| {
        let outcome = match said.status.as_str() {
            "Success" => TestOutcome::Passed,
            "Skipped" => TestOutcome::Skipped,
            _ => TestOutcome::Failed,
        };
        let (kind, figures) = said.kind.into_iter().next().unwrap_or_default();
        let kind = match kind.as_str() {
            "Unit" => TestKind::Unit,
            "Fuzz" => TestKind::Fuzz,
            "Invariant" => TestKind::Invariant,
            _ => TestKind::Other,
        };
        let short = |text: String| cut(crate::scripts::cleaned(&text), LOG_BYTES_MAX);
        TestRow {
            file: file.to_owned(),
            contract: contract.to_owned(),
            name,
            outcome,
            kind,
            gas: figures.gas.or(figures.mean_gas),
            median_gas: figures.median_gas,
            runs: figures.runs,
            calls: figures.calls,
            reverts: figures.reverts,
            reason: said.reason.map(short),
            counterexample: said.counterexample,
            logs: short(said.decoded_logs.join("\n")),
            trace: None,
        }
    };
    said.test_results.into_iter().map(row).collect()
}

/// The traces of tests that failed, by suite and name, out of what forge writes for people: a line that begins with `[FAIL`, and all up to the
/// next test's line or the suite's end.
fn traces_in(text: &str) -> BTreeMap<(String, String), String> {
    let (mut traces, mut suite, mut test) = (BTreeMap::new(), String::new(), None::<String>);
    for line in text.lines() {
        if let Some((_, name)) = line.strip_prefix("Ran ").and_then(|line| line.split_once(" for ")) {
            (suite, test) = (name.trim().to_owned(), None);
        } else if line.starts_with("[FAIL") {
            test = tested(line);
        } else if line.starts_with("[PASS]") || line.starts_with("[SKIP") || line.starts_with("Suite result:") {
            test = None;
        } else if line.starts_with("Failing tests:") {
            break;
        } else if let Some(test) = &test {
            let trace: &mut String = traces.entry((suite.clone(), test.clone())).or_default();
            if trace.len() <= TRACE_BYTES_MAX {
                trace.push_str(line);
                trace.push('\n');
            }
        }
    }
    traces
}

/// The test's name in `[FAIL: reason] test_name(uint256) (gas: 7)`: the word with brackets before the last one in brackets.
fn tested(line: &str) -> Option<String> {
    let (before, _) = line.rsplit_once(" (")?;
    let name = before.rsplit_once("] ").map_or(before, |(_, name)| name);
    Some(name.trim().to_owned())
}

fn dress(tests: &mut [TestRow], traces: &BTreeMap<(String, String), String>) {
    let mut left = TRACES_BYTES_MAX;
    for test in tests.iter_mut().filter(|test| test.outcome == TestOutcome::Failed) {
        let key = (format!("{}:{}", test.file, test.contract), test.name.clone());
        let Some(trace) = traces.get(&key) else { continue };
        let trace = cut(trace.trim_end().to_owned(), TRACE_BYTES_MAX.min(left));
        left = left.saturating_sub(trace.len());
        test.trace = (!trace.is_empty()).then_some(trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_name_is_found_whatever_its_reason_says() {
        for (line, name) in [
            ("[FAIL: a] b (c)] test_x(uint256) (runs: 0, μ: 0, ~: 0)", "test_x(uint256)"),
            ("[FAIL] test_y() (gas: 7)", "test_y()"),
        ] {
            assert_eq!(tested(line).as_deref(), Some(name));
        }
        assert_eq!(tested("[FAIL"), None);
    }
}
