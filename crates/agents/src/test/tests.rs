use super::*;

#[test]
fn how_many_revisions_it_may_test_is_bounded() {
    for (bisect_runs_max, fits) in [(0, false), (1, true), (32, true), (33, false)] {
        assert_eq!(Test::new(Config { bisect_runs_max }).is_ok(), fits, "{bisect_runs_max}");
    }
}

/// A run in which these passed and those failed.
fn run(passed: &[&str], failed: &[&str]) -> RunTestsResponse {
    let case =
        |outcome: &'static str| move |name: &&str| json!({ "suite": "pytest", "name": name, "outcome": outcome });
    let cases: Vec<_> = passed.iter().map(case("passed")).chain(failed.iter().map(case("failed"))).collect();
    serde_json::from_value(json!({
        "path": "p", "success": failed.is_empty(), "passed": passed.len(), "failed": failed.len(), "skipped": 0,
        "cases": cases, "cases_left_out": 0, "trouble": [],
    }))
    .unwrap()
}

#[test]
fn what_fails_in_one_run_and_passes_in_another_is_flaky() {
    let flaky = |one, other| differing(&one, &other).into_iter().collect::<Vec<_>>();
    assert_eq!(flaky(run(&["a", "b"], &["c"]), run(&["b", "c"], &["a"])), ["a", "c"]);
    assert_eq!(flaky(run(&["a"], &["c"]), run(&["a"], &["c", "new"])), [""; 0]);
}
