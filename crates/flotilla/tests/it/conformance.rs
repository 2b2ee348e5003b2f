//! The official conformance suite against our own stack, directly and through the gateway, held to `docs/conformance.md`.
//!
//! The page is a golden: it has what passes, and why what does not pass does not. Reality that differs from it in either direction fails.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::Fixture;
use crate::harness::{Fleet, Home, Ran, tools};
use crate::upstream;

/// How long the suite may take.
const LIMIT: Duration = Duration::from_secs(240);

/// What came out of one run of the suite.
#[derive(Debug, Default)]
struct Outcome {
    /// Checks passed and made, in what the revision requires.
    required: (usize, usize),
    /// The same in what it does not: extensions, and scenarios the suite itself calls pending.
    beyond: (usize, usize),
    /// Scenario and check of each failure.
    failures: BTreeSet<(String, String)>,
}

/// Runs the suite's scenarios for `target`, the arguments that name it, at `revision`; nothing where the suite is not installed.
fn run(target: &[&str], revision: &str) -> Option<Outcome> {
    let home = Home::new("");
    let folder = home.path("results");
    let mut suite = tools::conformance()?;
    suite.args(target).args(["--requirements", revision, "-o"]).arg(&folder);
    let ran = Ran::run(&mut suite, "", LIMIT);
    let beyond = not_scored(&ran.out);
    let mut outcome = Outcome::default();
    let mut folders = vec![folder.clone()];
    while let Some(here) = folders.pop() {
        if let Ok(text) = std::fs::read_to_string(here.join("checks.json")) {
            let scenario = scenario_of(here.strip_prefix(&folder).unwrap());
            let checks: Vec<Value> = serde_json::from_str(&text).unwrap();
            outcome.count(&scenario, !beyond.contains(&scenario), &checks);
            continue;
        }
        let entries = std::fs::read_dir(&here).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err));
        folders.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    Some(outcome)
}

impl Outcome {
    fn count(&mut self, scenario: &str, required: bool, checks: &[Value]) {
        let tally = if required { &mut self.required } else { &mut self.beyond };
        for check in checks {
            match check["status"].as_str() {
                Some("SUCCESS") => *tally = (tally.0 + 1, tally.1 + 1),
                Some("FAILURE" | "WARNING") => {
                    tally.1 += 1;
                    self.failures.insert((scenario.to_owned(), check["id"].as_str().unwrap().to_owned()));
                }
                // What the suite only tells, or could not look at for want of an optional feature.
                _ => {}
            }
        }
    }
}

/// `server-SCENARIO-2026-11-22T17-58-00-366Z`, for clients without the first word, as the scenario's name.
fn scenario_of(folder: &Path) -> String {
    const STAMP: usize = "-2026-11-22T17-58-00-366Z".len();
    let name = folder.to_str().unwrap();
    let name = &name[..name.len() - STAMP];
    name.strip_prefix("server-").unwrap_or(name).to_owned()
}

/// The scenarios that the suite's summary lists as not required: `  ✓ NAME (reason)`.
fn not_scored(summary: &str) -> BTreeSet<String> {
    let list = summary.split("\nNot scored for ").nth(1).unwrap_or_default();
    let name = |line: &str| Some(line.trim().split_once(' ')?.1.split_once(" (")?.0.to_owned());
    list.lines().filter_map(name).collect()
}

/// Compares with the page: its row of figures, and its rows of failures, each with a reason.
fn compare(revision: &str, target: &str, outcome: &Outcome) {
    let page = std::fs::read_to_string(tools::root().join("docs/conformance.md")).unwrap_or_default();
    let start = format!("| {revision} | {target} | ");
    let kept: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(&start)).collect();
    let figures =
        format!("{} of {} | {} of {} |", outcome.required.0, outcome.required.1, outcome.beyond.0, outcome.beyond.1);
    assert!(kept.contains(&figures.as_str()), "docs/conformance.md has not the row\n{start}{figures}\nbut {kept:?}");
    let mut unexplained = outcome.failures.clone();
    for row in kept.iter().filter(|row| row.starts_with('`')) {
        let cells: Vec<&str> =
            row.trim_end_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        assert!(cells.len() == 3 && cells[2].len() > 20, "a failure without a reason: {row}");
        let before = unexplained.len();
        unexplained.retain(|(scenario, check)| !(is_like(cells[0], scenario) && is_like(cells[1], check)));
        assert_ne!(before, unexplained.len(), "docs/conformance.md explains what passes: {row}");
    }
    assert_eq!(unexplained, BTreeSet::new(), "docs/conformance.md does not explain these");
}

/// Whether `pattern`, whose last character may be `*`, stands for `name`.
fn is_like(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// The fixture itself.
fn direct(revision: &str) {
    let Some(fixture) = Fixture::start() else { return };
    if let Some(outcome) = run(&["server", "--url", &fixture.url], revision) {
        compare(revision, "server", &outcome);
    }
}

/// The fixture as an upstream.
fn through_the_gateway(revision: &str) {
    let Some(fixture) = Fixture::start() else { return };
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], &fixture.as_upstream());
    upstream::joined(&fleet, "fixture");
    if let Some(outcome) = run(&["server", "--url", &format!("{}/mcp/fixture", fleet.url())], revision) {
        compare(revision, "through the gateway", &outcome);
    }
}

/// The links that upstreams are reached by, as a client.
fn as_a_client(revision: &str) {
    let Some(client) = tools::example("conformance_client") else { return };
    if let Some(outcome) = run(&["client", "--command", client.to_str().unwrap()], revision) {
        compare(revision, "client", &outcome);
    }
}

#[test]
fn server_2025_11_25() {
    direct("2025-11-25");
}

#[test]
fn server_2026_07_28() {
    direct("2026-07-28");
}

#[test]
fn gateway_2025_11_25() {
    through_the_gateway("2025-11-25");
}

#[test]
fn gateway_2026_07_28() {
    through_the_gateway("2026-07-28");
}

#[test]
fn client_2025_11_25() {
    as_a_client("2025-11-25");
}

#[test]
fn client_2026_07_28() {
    as_a_client("2026-07-28");
}
