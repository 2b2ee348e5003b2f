//! The commit that broke a test: revisions between a good and a bad one are tested, half of what is left each time.

use std::future::Future;

use kernel::Fault;
use serde::{Deserialize, Serialize};
use servers::quality::{CHANGES, ChangesRequest, RUN_TESTS, Revision, TestResult};

use super::Suite;
use crate::hands::Hands;

/// What a bisection found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bisected {
    /// The test.
    pub case: String,
    /// The first revision that it fails at. Where some could not be tested, it is one from there back to the last good one.
    pub first_bad: String,
    /// Its message's first line: foreign text.
    pub subject: String,
    /// The last revision that it passes at.
    pub last_good: String,
    /// Revisions between the two that could not be tested.
    pub untested: Vec<String>,
    /// How many revisions were tested.
    pub tested: u32,
}

/// How a test goes at a revision; `None` where it cannot be told.
type Goes = Option<bool>;

/// Finds the first revision after `good` at which `case` fails.
pub(super) async fn first_bad(
    asked: &Suite,
    good: &str,
    case: &str,
    runs_max: u32,
    hands: &Hands,
) -> Result<Bisected, Fault> {
    let request = ChangesRequest { path: asked.path.clone(), from: good.into(), to: asked.revision.clone() };
    let changes = hands.call(CHANGES, &request).await?;
    let revisions = changes.revisions;
    if revisions.is_empty() {
        return Err(Fault::invalid(format!("no revision between {good} and what was tested")).hint("an older one"));
    }
    let goes = |at: usize| {
        let revision = if at == 0 { changes.from.clone() } else { revisions[at - 1].revision.clone() };
        hands.progress(0.75, format!("bisecting {case}: {revision}"));
        let request = asked.request(Some(revision));
        async move {
            let told = hands.call(RUN_TESTS, &request).await?;
            let outcome = told.cases.iter().find(|one| one.name == case).map(|one| one.outcome);
            Ok(match outcome {
                Some(TestResult::Passed) => Some(true),
                Some(TestResult::Failed) => Some(false),
                Some(TestResult::Skipped) | None => None,
            })
        }
    };
    let found = halved(revisions.len(), runs_max, goes).await?;
    let bad: &Revision = &revisions[found.bad - 1];
    let named = |at: usize| if at == 0 { changes.from.clone() } else { revisions[at - 1].revision.clone() };
    Ok(Bisected {
        case: case.to_owned(),
        first_bad: bad.revision.clone(),
        subject: bad.subject.clone(),
        last_good: named(found.good),
        untested: (found.good + 1..found.bad).map(named).collect(),
        tested: found.tested,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    good: usize,
    bad: usize,
    tested: u32,
}

/// The last good and the first bad one of 0 (good, as is looked at first) to `last` (bad, the same).
async fn halved<F: Future<Output = Result<Goes, Fault>>>(
    last: usize,
    runs_max: u32,
    goes: impl Fn(usize) -> F,
) -> Result<Found, Fault> {
    let (mut good, mut bad, mut tested) = (0, last, 2);
    if goes(last).await? != Some(false) {
        return Err(Fault::invalid("the test does not fail at the last revision")
            .hint("what is in the folder is not committed, or it is flaky"));
    }
    if goes(0).await? != Some(true) {
        return Err(Fault::invalid("the test does not pass at the good revision")
            .hint("an older one, or the test is newer than it"));
    }
    let mut unknown: Vec<usize> = Vec::new();
    while tested < runs_max {
        // The middle, or what is nearest to it and may be known.
        let middle = usize::midpoint(good, bad);
        let mut between: Vec<usize> = (good + 1..bad).filter(|at| !unknown.contains(at)).collect();
        between.sort_by_key(|at| at.abs_diff(middle));
        let Some(at) = between.first().copied() else { break };
        tested += 1;
        match goes(at).await? {
            Some(true) => good = at,
            Some(false) => bad = at,
            None => unknown.push(at),
        }
    }
    Ok(Found { good, bad, tested })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(last: usize, runs_max: u32, goes: impl Fn(usize) -> Goes) -> Result<Found, String> {
        let goes = |at: usize| std::future::ready(Ok(goes(at)));
        halved(last, runs_max, goes).await.map_err(|fault| fault.message)
    }

    #[tokio::test]
    async fn the_first_bad_one_is_found_in_few_runs() {
        for first in 1..=100 {
            let found = found(100, 32, |at| Some(at < first)).await.unwrap();
            assert_eq!((found.good, found.bad), (first - 1, first));
            assert!(found.tested <= 9, "{found:?}");
        }
        let broken = found(10, 32, |at| (!(3..=6).contains(&at)).then_some(at < 5)).await.unwrap();
        assert_eq!((broken.good, broken.bad), (2, 7), "3 to 6 cannot be tested");
        assert_eq!(found(100, 3, |at| Some(at < 70)).await.unwrap(), Found { good: 50, bad: 100, tested: 3 });
        assert!(found(3, 9, |_| Some(true)).await.unwrap_err().contains("does not fail"));
        assert!(found(3, 9, |_| Some(false)).await.unwrap_err().contains("does not pass"));
    }
}
