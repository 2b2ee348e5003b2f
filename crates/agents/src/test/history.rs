//! How a project's tests went: the newest runs, and of tests that failed lately each outcome.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Code, Fault, UnixMs};
use serde::{Deserialize, Serialize};
use servers::coordination::{KV_GET, KV_PUT, KvGetRequest, KvPutRequest};

use super::Report;
use crate::hands::Hands;

/// The most runs that are kept.
const RUNS_MAX: usize = 50;
/// The most tests whose outcomes are kept; those that failed longest ago go first.
const CASES_MAX: usize = 300;
/// The most outcomes of a test.
const OUTCOMES_MAX: usize = 20;
/// How often a test must have gone over from passing to failing or back to be flaky.
const TURNS_MIN: usize = 3;
/// How often it is tried to write while others write too.
const ATTEMPTS_MAX: usize = 5;

/// One project's history of one type of task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    /// Oldest first.
    runs: Vec<Run>,
    /// By name of the test: `P` and `F`, oldest first.
    outcomes: BTreeMap<String, String>,
    #[serde(skip)]
    revision: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Run {
    /// The task's key.
    key: String,
    at_ms: UnixMs,
    revision: Option<String>,
    success: bool,
    passed: usize,
    failed: usize,
    failing: BTreeSet<String>,
}

/// What was before a run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Before {
    /// The tests that failed in the run before.
    pub(super) failing: BTreeSet<String>,
    /// The newest revision that was good.
    pub(super) good: Option<String>,
}

impl History {
    pub(super) async fn read(hands: &Hands, path: &str, kind: &str) -> Result<Self, Fault> {
        let Some(entry) = hands.call(KV_GET, &KvGetRequest { key: key(path, kind) }).await?.entry else {
            return Ok(Self::default());
        };
        let kept = serde_json::from_value(entry.value.unwrap_or_default());
        let kept: Self = kept.map_err(|error| Fault::internal(format!("history of {path} is damaged: {error}")))?;
        Ok(Self { revision: entry.revision, ..kept })
    }

    /// What was before the run of this key, whether that is kept already or not.
    pub(super) fn before(&self, key: &str) -> Before {
        let earlier = || self.runs.iter().rev().filter(move |run| run.key != key);
        Before {
            failing: earlier().next().map(|run| run.failing.clone()).unwrap_or_default(),
            good: earlier().find(|run| run.success && run.revision.is_some()).and_then(|run| run.revision.clone()),
        }
    }

    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Tests that went to and fro.
    pub(super) fn flaky(&self) -> Vec<String> {
        let turns = |outcomes: &str| outcomes.as_bytes().windows(2).filter(|two| two[0] != two[1]).count();
        let flaky = self.outcomes.iter().filter(|(_, outcomes)| turns(outcomes) >= TURNS_MIN);
        flaky.map(|(name, _)| name.clone()).collect()
    }

    /// The history with one run more.
    fn with(mut self, run: Run, passing: &BTreeSet<&str>) -> Self {
        if self.runs.iter().any(|kept| kept.key == run.key) {
            return self;
        }
        for name in &run.failing {
            // What never failed has passed as often as it ran.
            let before = if self.runs.is_empty() { "" } else { "P" };
            self.outcomes.entry(name.clone()).or_insert_with(|| before.to_owned()).push('F');
        }
        for (name, outcomes) in &mut self.outcomes {
            if passing.contains(name.as_str()) && !run.failing.contains(name) {
                outcomes.push('P');
            }
            let surplus = outcomes.len().saturating_sub(OUTCOMES_MAX);
            outcomes.drain(..surplus);
        }
        self.outcomes.retain(|_, outcomes| outcomes.contains('F'));
        if self.outcomes.len() > CASES_MAX {
            let mut by_age: Vec<(usize, String)> = self
                .outcomes
                .iter()
                .map(|(name, outcomes)| (outcomes.len() - outcomes.rfind('F').unwrap_or(0), name.clone()))
                .collect();
            by_age.sort();
            for (_, name) in by_age.drain(CASES_MAX..) {
                self.outcomes.remove(&name);
            }
        }
        // The names are needed of the newest two only.
        let older = self.runs.len().saturating_sub(1);
        self.runs[..older].iter_mut().for_each(|run| run.failing.clear());
        self.runs.push(run);
        let surplus = self.runs.len().saturating_sub(RUNS_MAX);
        self.runs.drain(..surplus);
        self
    }
}

/// Keeps a run.
pub(super) async fn keep(
    hands: &Hands,
    report: &Report,
    passing: &BTreeSet<&str>,
    kind: &str,
) -> Result<History, Fault> {
    let run = Run {
        key: hands.key(),
        at_ms: hands.now_ms(),
        revision: report.revision.clone(),
        success: report.success,
        passed: report.passed,
        failed: report.failed,
        failing: report.failures.keys().cloned().collect(),
    };
    for _ in 0..ATTEMPTS_MAX {
        let before = History::read(hands, &report.path, kind).await?;
        let if_revision = Some(before.revision);
        let history = before.with(run.clone(), passing);
        let value = serde_json::to_value(&history).map_err(|error| Fault::internal(format!("history: {error}")))?;
        let put = KvPutRequest { key: key(&report.path, kind), value, if_revision, ttl_seconds: None };
        match hands.call(KV_PUT, &put).await {
            Ok(_) => return Ok(history),
            Err(fault) if fault.code == Code::Conflict => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::conflict(format!("the history of {} changes all the time", report.path)))
}

/// Where a project's history is.
pub(super) fn key(path: &str, kind: &str) -> String {
    format!("test/{kind}/{}", kernel::ids::digest(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(key: &str, revision: &str, failing: &[&str]) -> Run {
        let failing: BTreeSet<String> = failing.iter().map(|name| (*name).to_owned()).collect();
        let (success, failed) = (failing.is_empty(), failing.len());
        Run { key: key.into(), at_ms: 0, revision: Some(revision.into()), success, passed: 1, failed, failing }
    }

    #[test]
    fn a_test_that_goes_to_and_fro_is_flaky_and_a_run_is_kept_once() {
        let all = BTreeSet::from(["a", "b"]);
        let mut history = History::default();
        for (number, failing) in [&[][..], &["a"], &[], &["a", "b"]].into_iter().enumerate() {
            let key = format!("k{number}");
            history = history.with(run(&key, &format!("r{number}"), failing), &all);
            history = history.with(run(&key, "again", &["b"]), &all);
        }
        assert_eq!(history.outcomes, BTreeMap::from([("a".into(), "PFPF".into()), ("b".into(), "PF".into())]));
        assert_eq!((history.runs(), history.flaky()), (4, vec!["a".to_owned()]));
        let before = history.before("k3");
        assert_eq!((before.failing.len(), before.good.as_deref()), (0, Some("r2")));
        let before = history.before("k4");
        assert_eq!((before.failing.len(), before.good.as_deref()), (2, Some("r2")));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let names: Vec<String> = (0..CASES_MAX + 50).map(|number| format!("t{number}")).collect();
        let failing: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut history = History::default();
        for number in 0..RUNS_MAX + 5 {
            history = history.with(run(&number.to_string(), "r", &failing), &BTreeSet::new());
        }
        assert_eq!((history.runs(), history.outcomes.len()), (RUNS_MAX, CASES_MAX));
        assert!(history.outcomes.values().all(|outcomes| outcomes.len() == OUTCOMES_MAX));
    }
}
