use servers::coordination::KvEntry;

use super::*;
use crate::testing::Bench;

#[test]
fn what_it_is_told_to_do_is_bounded() {
    for (every_seconds, count, fits) in [(299, 0, false), (300, 50, true), (300, 51, false), (2_592_001, 1, false)] {
        let config = Config { repositories: vec!["p".into(); count], every_seconds };
        assert_eq!(CodeAnalysis::new(config).is_ok(), fits, "{every_seconds} {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_registered_project_is_a_task_once_in_a_period() {
    let config = Config { repositories: vec!["one".into(), "other".into()], every_seconds: 300 };
    let bench = Bench::new::<CodeAnalysis>(config, &["task-management"]).await;
    bench.start();
    bench.pass(95).await;
    let outcomes = bench.outcomes("watch").await;
    assert_eq!(outcomes, ["2 projects registered; 2 are analysed now", "2 projects registered"]);
    bench.pass(300).await;
    let again = bench.outcomes("watch").await;
    assert_eq!(again.iter().filter(|one| one.contains("analysed now")).count(), 2, "{again:?}");
    bench.stop().await;
}

fn analysis(fingerprints: &[&str], slither: &str) -> AnalyzeResponse {
    let finding = |fingerprint: &&str| json!({ "file": "a", "line": 1, "rule": "eval", "severity": "high", "message": "m", "said_by": ["ruff:S307"], "fingerprint": fingerprint });
    let findings: Vec<Value> = fingerprints.iter().map(finding).collect();
    serde_json::from_value(json!({
        "path": "/p", "counts": { "high": findings.len(), "medium": 0, "low": 0, "info": 0, "suppressed": 0 },
        "findings": findings, "findings_left_out": 0, "tools": [{ "tool": "slither", "outcome": slither, "said": 0 }],
    }))
    .unwrap()
}

#[test]
fn only_what_was_not_found_the_last_time_is_new_and_a_tool_that_is_away_forgets_nothing() {
    let mut before: Option<report::Kept> = None;
    for (found, slither, new, gone) in [
        (&["a", "b"][..], "ran", &["a", "b"][..], 0),
        (&["a", "c"], "ran", &["c"], 1),
        (&["a"], "not_installed", &[], 0),
        (&["a", "c"], "ran", &[], 0),
        (&["a"], "ran", &[], 1),
    ] {
        let mut report = Report::of(analysis(found, slither), Vec::new(), 7);
        report.compare(before.as_ref());
        let told: Vec<&str> = report.new.iter().map(|one| one.fingerprint.as_str()).collect();
        assert_eq!((told.as_slice(), report.gone), (new, gone), "{found:?} {slither}");
        let entry = json!({ "key": "k", "value": report, "revision": 3, "updated_ms": 0 });
        let entry: KvEntry = serde_json::from_value(entry).unwrap();
        before = Some(report::kept("/p", entry).unwrap());
    }
}
