//! `gas_snapshot`: what each test costs, held against what it cost before.
//!
//! Snapshots are the fleet's, not files of the project: a name of a project is one entry of the store.

use std::collections::BTreeMap;

use kernel::store::Write;
use kernel::{Result, UnixMs};
use mcp::prelude::*;

use super::test::{TestOutcome, TestRequest, arguments};
use super::{FoundryIntegration, check_profile, text_argument};
use crate::workshop::places::Project;

/// Where they are in the store.
const SPACE: &str = "foundry.gas";
/// The most tests a snapshot has.
const TESTS_MAX: usize = 4_000;

/// What [`GAS_SNAPSHOT`](super::GAS_SNAPSHOT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GasSnapshotRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// The snapshot's name: 1 to 64 letters, digits, - and _; `main` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether to keep what was measured under that name, in place of what it was; it is only compared when absent.
    #[serde(default)]
    pub save: bool,
    /// Only tests whose name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_test: Option<String>,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How long it may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`GAS_SNAPSHOT`](super::GAS_SNAPSHOT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GasSnapshotResponse {
    /// The snapshot's name.
    pub name: String,
    /// When the snapshot compared with was kept, in milliseconds since the Unix epoch; absent when there was none.
    pub compared_with_ms: Option<UnixMs>,
    /// Whether what was measured is kept now.
    pub saved: bool,
    /// What each test that passed costs: those that changed most first.
    pub tests: Vec<GasRow>,
    /// Tests of the snapshot that are not there, or did not pass, now.
    pub gone: Vec<String>,
    /// How many tests failed and so were not measured.
    pub failed: usize,
    /// Gas of all tests that are in both.
    pub total: u64,
    /// Gas of the same tests in the snapshot.
    pub total_before: u64,
}

/// What a test costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GasRow {
    /// The test: file, contract and name.
    pub test: String,
    /// Gas now; the median of a fuzz test's runs.
    pub gas: u64,
    /// Gas in the snapshot.
    pub before: Option<u64>,
    /// The change, in hundredths of a percent.
    pub change_bps: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Snapshot {
    at_ms: UnixMs,
    tests: BTreeMap<String, u64>,
}

impl FoundryIntegration {
    pub(super) async fn gas_snapshot(&self, request: GasSnapshotRequest, ctx: Ctx) -> Result<GasSnapshotResponse> {
        check_profile(request.profile.as_deref())?;
        let name = request.name.clone().unwrap_or_else(|| "main".into());
        check_profile(Some(&name))
            .map_err(|_| Fault::invalid("name cannot name a snapshot").hint("1 to 64 letters, digits, - and _"))?;
        if let Some(text) = &request.match_test {
            text_argument("match_test", text)?;
        }
        let project = self.places.project(&request.project)?;
        let tests = TestRequest {
            project: request.project.clone(),
            match_test: request.match_test.clone(),
            profile: request.profile.clone(),
            time_limit_seconds: request.time_limit_seconds,
            ..TestRequest::default()
        };
        let (now, failed) = self.measured(&project, &tests, &ctx).await?;
        let key = format!("{}/{name}", kernel::ids::digest(project.path.as_os_str().as_encoded_bytes()));
        let before = match self.store.get(SPACE, &key).await? {
            None => None,
            Some(entry) => Some(
                serde_json::from_str::<Snapshot>(&entry.value)
                    .map_err(|error| Fault::internal(format!("snapshot `{name}` is damaged: {error}")))?,
            ),
        };
        if request.save {
            let kept = Snapshot { at_ms: self.clock.now_ms(), tests: now.clone() };
            let text = serde_json::to_string(&kept).map_err(|error| Fault::internal(format!("a snapshot: {error}")))?;
            self.store.commit(vec![Write::put(SPACE, &key, text)]).await?;
        }
        Ok(compared(name, &now, before, (failed, request.save)))
    }

    /// What each test that passes costs, and how many fail.
    async fn measured(
        &self,
        project: &Project,
        request: &TestRequest,
        ctx: &Ctx,
    ) -> Result<(BTreeMap<String, u64>, usize)> {
        let kept = self.places.keep(project).await?;
        let options = (request.profile.clone(), request.time_limit_seconds);
        self.built(project, &kept, options, ctx).await?.check()?;
        ctx.progress(1.0, None, Some("running the tests")).await;
        let tests = self.tests(project, &kept, arguments(request)?, request, ctx).await?;
        let failed = tests.iter().filter(|test| test.outcome == TestOutcome::Failed).count();
        let passed = tests.into_iter().filter(|test| test.outcome == TestOutcome::Passed);
        let costs: BTreeMap<String, u64> = passed
            .filter_map(|test| {
                let gas = test.median_gas.or(test.gas)?;
                Some((format!("{}:{}.{}", test.file, test.contract, test.name), gas))
            })
            .collect();
        if costs.len() > TESTS_MAX {
            return Err(Fault::too_large(format!("{} tests, past {TESTS_MAX}", costs.len())).hint("match_test"));
        }
        Ok((costs, failed))
    }
}

fn compared(
    name: String,
    now: &BTreeMap<String, u64>,
    before: Option<Snapshot>,
    (failed, saved): (usize, bool),
) -> GasSnapshotResponse {
    let compared_with_ms = before.as_ref().map(|snapshot| snapshot.at_ms);
    let before = before.unwrap_or_default().tests;
    let row = |(test, gas): (&String, &u64)| {
        let was = before.get(test).copied();
        let change_bps = was.filter(|was| *was > 0).map(|was| {
            let change = (i128::from(*gas) - i128::from(was)) * 10_000 / i128::from(was);
            i64::try_from(change).unwrap_or(i64::MAX)
        });
        GasRow { test: test.clone(), gas: *gas, before: was, change_bps }
    };
    let mut tests: Vec<GasRow> = now.iter().map(row).collect();
    tests.sort_by_key(|row| (std::cmp::Reverse(row.change_bps.map_or(0, i64::unsigned_abs)), row.test.clone()));
    let both = || tests.iter().filter(|row| row.before.is_some());
    GasSnapshotResponse {
        name,
        compared_with_ms,
        saved,
        gone: before.keys().filter(|test| !now.contains_key(*test)).cloned().collect(),
        failed,
        total: both().map(|row| row.gas).sum(),
        total_before: both().filter_map(|row| row.before).sum(),
        tests,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_most_comes_first_and_what_is_new_is_in_no_total() {
        let of = |rows: &[(&str, u64)]| rows.iter().map(|(name, gas)| ((*name).to_owned(), *gas)).collect();
        let before = Snapshot { at_ms: 7, tests: of(&[("a", 100), ("b", 200), ("c", 5)]) };
        let found = compared("main".into(), &of(&[("a", 101), ("b", 100), ("d", 9)]), Some(before), (0, false));
        let rows: Vec<_> = found.tests.iter().map(|row| (row.test.as_str(), row.change_bps)).collect();
        assert_eq!(rows, [("b", Some(-5_000)), ("a", Some(100)), ("d", None)]);
        assert_eq!((found.total, found.total_before, found.gone), (201, 300, vec!["c".to_owned()]));
    }
}
