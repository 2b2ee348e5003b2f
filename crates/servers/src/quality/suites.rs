//! `run_tests`: the project's tests, shut in, case by case: cargo's, nextest's, forge's, npm's and pytest's.

mod read;

use kernel::Result;
use mcp::prelude::*;

use super::source::{Part, Source};
use super::{Quality, secrets};
use crate::workshop::{cut, last_words};

/// The most cases that are answered; failures come first.
const CASES_MAX: usize = 2_000;
/// How much is answered of a case's reason, and of a name, in bytes.
const REASON_BYTES_MAX: usize = 2 << 10;
const NAME_BYTES_MAX: usize = 400;
/// The longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 200;
/// What a script ends with whose runner is not installed.
const ABSENT: i32 = 119;

/// Whose tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuiteKind {
    /// `cargo test`.
    Cargo,
    /// `cargo nextest run`; only when it is asked for.
    Nextest,
    /// `forge test`.
    Forge,
    /// `npm test`: node's runner, Jest, Vitest or Mocha.
    Npm,
    /// `pytest`.
    Pytest,
}

/// How a case went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// It failed.
    Failed,
    /// It was skipped.
    Skipped,
    /// It passed.
    Passed,
}

/// What [`RUN_TESTS`](super::RUN_TESTS) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTestsRequest {
    /// The project's folder, or one in it: an absolute path, or one from a root on.
    pub path: String,
    /// Whose tests; all that the project has when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<SuiteKind>,
    /// Only tests whose name has this in it; a regular expression for forge. npm has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How long each run may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`RUN_TESTS`](super::RUN_TESTS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunTestsResponse {
    /// The project's folder.
    pub path: String,
    /// The revision that was tested, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether there are tests, all that was to run ran, and none failed.
    pub success: bool,
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// Each case, failures first.
    pub cases: Vec<CaseRow>,
    /// How many more cases there are.
    pub cases_left_out: usize,
    /// Runs that did not come to their end, or told nothing of cases, and why: foreign text.
    pub trouble: Vec<String>,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaseRow {
    /// Whose it is.
    pub suite: SuiteKind,
    /// Its name: the part's folder, the file or module, and its own: foreign text.
    pub name: String,
    /// How it went.
    pub outcome: TestResult,
    /// How long it took, where the runner tells, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Why it failed or was skipped: foreign text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

const CARGO: &str = r#"command -v cargo >/dev/null || exit 119
cargo test --offline --locked --workspace --no-fail-fast --target-dir /keep/cargo "$@" 2>&1
"#;
const NEXTEST: &str = r#"command -v cargo-nextest >/dev/null || exit 119
cargo nextest run --offline --locked --workspace --no-fail-fast --target-dir /keep/cargo "$@" 2>&1
"#;
const FORGE: &str = r#"[ -n "$FORGE" ] || exit 119
"$FORGE" test --json --fuzz-seed 0x1 ${1:+--match-test "$1"} 2>/tmp/complaint || code=$?
tail -c 4000 /tmp/complaint >&2
exit "${code:-0}"
"#;
const NPM: &str = r#"command -v npm >/dev/null || exit 119
script=$(node -p 'String((require("./package.json").scripts || {}).test || "")')
export NODE_OPTIONS= npm_config_update_notifier=false CI=1
case $script in
  *vitest*) set -- -- --reporter=tap-flat ;;
  *jest*) set -- -- --json ;;
  *mocha*) set -- -- --reporter tap ;;
  *) set --; NODE_OPTIONS=--test-reporter=tap ;;
esac
npm test --silent "$@"
"#;
const PYTEST: &str = r#"paths=
for folder in .venv/lib/python3*/site-packages venv/lib/python3*/site-packages; do [ -d "$folder" ] && paths="$paths$PWD/$folder:"; done
export PYTHONPATH="$paths/analysis/python" PYTHONDONTWRITEBYTECODE=1
python3 -c 'import pytest' 2>/dev/null || exit 119
python3 -m pytest -q -p no:cacheprovider --junitxml=/tmp/junit.xml ${1:+-k "$1"} . >/tmp/out 2>&1 || code=$?
cat /tmp/junit.xml 2>/dev/null || true
tail -c 4000 /tmp/out >&2
exit "${code:-0}"
"#;

impl SuiteKind {
    /// Those that run when nobody says which.
    const USUAL: [Self; 4] = [Self::Cargo, Self::Forge, Self::Npm, Self::Pytest];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Nextest => "nextest",
            Self::Forge => "forge",
            Self::Npm => "npm",
            Self::Pytest => "pytest",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Cargo => CARGO,
            Self::Nextest => NEXTEST,
            Self::Forge => FORGE,
            Self::Npm => NPM,
            Self::Pytest => PYTEST,
        }
    }

    /// How to get its runner.
    fn get(self) -> &'static str {
        match self {
            Self::Cargo => "install Rust for the user that the fleet runs as",
            Self::Nextest => "install cargo-nextest in /usr/local/bin",
            Self::Forge => "install Node.js and run cargo xtask fetch",
            Self::Npm => "install Node.js and npm in the system's folders",
            Self::Pytest => "cargo xtask fetch analysis, or pytest in the project's .venv or the system's Python",
        }
    }

    /// The parts of the project that have such tests.
    fn parts(self, source: &Source) -> Vec<String> {
        match self {
            Self::Cargo | Self::Nextest => source.parts(Part::Cargo),
            Self::Forge => source.parts(Part::Foundry),
            Self::Npm => {
                let scripted = |part: &String| {
                    let name = if part.is_empty() { "package.json".to_owned() } else { format!("{part}/package.json") };
                    let file = source.files.iter().find(|file| file.name == name);
                    let text = file.and_then(Source::text).unwrap_or_default();
                    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                    manifest["scripts"]["test"].is_string()
                };
                source.parts(Part::Npm).into_iter().filter(scripted).collect()
            }
            Self::Pytest => {
                let test =
                    |name: &str| name.starts_with("test_") && name.ends_with(".py") || name.ends_with("_test.py");
                let any = source.files.iter().any(|file| test(file.name.rsplit('/').next().unwrap_or_default()));
                if any { vec![String::new()] } else { Vec::new() }
            }
        }
    }
}

impl Quality {
    pub(super) async fn run_tests(&self, request: RunTestsRequest, ctx: Ctx) -> Result<RunTestsResponse> {
        check(&request)?;
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        self.tested(&source, &request, &ctx).await
    }

    /// Runs the tests of a source that is held.
    pub(super) async fn tested(
        &self,
        source: &Source,
        request: &RunTestsRequest,
        ctx: &Ctx,
    ) -> Result<RunTestsResponse> {
        let kinds = request.suite.map_or_else(|| SuiteKind::USUAL.to_vec(), |one| vec![one]);
        let runs: Vec<(SuiteKind, String)> =
            kinds.iter().flat_map(|kind| kind.parts(source).into_iter().map(|part| (*kind, part))).collect();
        if runs.is_empty() {
            let what = request.suite.map_or("of any kind", SuiteKind::name);
            return Err(Fault::not_found(format!("no tests {what} in this project"))
                .hint("a Cargo.toml, a foundry.toml, a package.json with a test script, or test_*.py"));
        }
        let (mut cases, mut trouble) = (Vec::new(), Vec::new());
        for (number, (kind, part)) in runs.iter().enumerate() {
            let name = format!("{} in {}", kind.name(), if part.is_empty() { "." } else { part });
            ctx.progress(number as f64, Some(runs.len() as f64), Some(&name)).await;
            let filter = request.filter.clone().into_iter().collect();
            let ran = self.run_in(source, part, kind.script(), filter, String::new(), request.time_limit_seconds, ctx);
            let ran = match ran.await {
                Ok(ran) => ran,
                Err(fault) if matches!(fault.code, Code::Cancelled | Code::Unsupported) => return Err(fault),
                Err(fault) => {
                    trouble.push(format!("{name}: {fault}"));
                    continue;
                }
            };
            if ran.exit_code == Some(ABSENT) {
                trouble.push(format!("{name}: not installed ({})", kind.get()));
                continue;
            }
            let found = read::cases(*kind, &ran.stdout);
            let failed = found.iter().any(|case| case.outcome == TestResult::Failed);
            if ran.exit_code != Some(0) && !failed {
                let words =
                    if ran.stderr.trim().is_empty() { read::errors(&ran.stdout) } else { last_words(&ran.stderr) };
                trouble.push(format!("{name}: {}", secrets::hidden(&words)));
            }
            cases.extend(found.into_iter().map(|case| dressed(case, part)));
        }
        Ok(response(source, cases, trouble))
    }
}

/// A case as it is answered: with its part, cut, and without secrets.
fn dressed(case: CaseRow, part: &str) -> CaseRow {
    let name = if part.is_empty() { case.name } else { format!("{part}: {}", case.name) };
    let shown = |text: &str, bytes| cut(secrets::hidden(&crate::scripts::cleaned(text)), bytes);
    CaseRow { name: shown(&name, NAME_BYTES_MAX), reason: shown(case.reason.trim(), REASON_BYTES_MAX), ..case }
}

fn response(source: &Source, mut cases: Vec<CaseRow>, trouble: Vec<String>) -> RunTestsResponse {
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    let (passed, failed, skipped) = (count(TestResult::Passed), count(TestResult::Failed), count(TestResult::Skipped));
    cases.sort_by(|one, other| (one.outcome, one.suite, &one.name).cmp(&(other.outcome, other.suite, &other.name)));
    let cases_left_out = cases.len().saturating_sub(CASES_MAX);
    cases.truncate(CASES_MAX);
    RunTestsResponse {
        path: source.project.path.display().to_string(),
        revision: source.revision.clone(),
        success: failed == 0 && passed > 0 && trouble.is_empty(),
        passed,
        failed,
        skipped,
        cases,
        cases_left_out,
        trouble,
    }
}

pub(super) fn check(request: &RunTestsRequest) -> Result<()> {
    let Some(filter) = &request.filter else { return Ok(()) };
    if request.suite == Some(SuiteKind::Npm) {
        return Err(Fault::invalid("npm has no filter").hint("all its tests run"));
    }
    let plain =
        (1..=FILTER_BYTES_MAX).contains(&filter.len()) && !filter.contains(['\0', '\n']) && !filter.starts_with('-');
    if plain {
        return Ok(());
    }
    Err(Fault::invalid("filter is no part of a test's name")
        .hint(format!("1 to {FILTER_BYTES_MAX} bytes of one line, not beginning with -")))
}
