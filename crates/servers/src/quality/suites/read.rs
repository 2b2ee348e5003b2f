//! What test runners write, read as cases. It is foreign text: what is not as expected is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{CaseRow, SuiteKind, TestResult};
use crate::foundry_integration::{TestOutcome, read_results};

/// The most cases of one run that are read.
const READ_MAX: usize = 20_000;

/// The cases that a runner told.
pub(super) fn cases(kind: SuiteKind, output: &str) -> Vec<CaseRow> {
    let mut cases = match kind {
        SuiteKind::Cargo => cargo(output),
        SuiteKind::Nextest => nextest(output),
        SuiteKind::Forge => forge(output),
        SuiteKind::Npm => jest(output).unwrap_or_else(|| tap(output)),
        SuiteKind::Pytest => junit(output),
    };
    cases.truncate(READ_MAX);
    cases
}

fn case(suite: SuiteKind, name: String, outcome: TestResult) -> CaseRow {
    CaseRow { suite, name, outcome, took_ms: None, reason: String::new() }
}

/// The lines of an output that say what is wrong.
pub(super) fn errors(output: &str) -> String {
    let mut lines: Vec<&str> = output.lines().filter(|line| line.trim_start().starts_with("error")).take(5).collect();
    if lines.is_empty() {
        lines = output.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        lines.reverse();
    }
    if lines.is_empty() { "it said nothing".into() } else { lines.join("; ") }
}

/// `test name ... ok`, under the binary that runs it; and what failures wrote, below.
fn cargo(output: &str) -> Vec<CaseRow> {
    let (mut cases, mut binary, mut reason_of) = (Vec::<CaseRow>::new(), String::new(), None::<usize>);
    for line in output.lines() {
        let plain = line.trim();
        if let Some(rest) = plain.strip_prefix("Running ") {
            binary = rest.split(" (").next().unwrap_or(rest).trim_start_matches("unittests ").to_owned();
            reason_of = None;
        } else if let Some(name) = plain.strip_prefix("Doc-tests ") {
            (binary, reason_of) = (format!("doc-tests {name}"), None);
        } else if let Some(name) = plain.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            let full = format!("{binary}::{name}");
            reason_of = cases.iter().position(|case| case.name == full);
        } else if plain == "failures:" || plain.starts_with("test result:") {
            reason_of = None;
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            let (outcome, reason) = match outcome.split([',', ' ', '<']).next().unwrap_or_default() {
                "ok" => (TestResult::Passed, ""),
                "ignored" => (TestResult::Skipped, outcome.trim_start_matches("ignored").trim_start_matches(", ")),
                "FAILED" | "failed" => (TestResult::Failed, ""),
                _ => continue,
            };
            let name = format!("{binary}::{}", name.trim_end_matches(" - should panic"));
            cases.push(CaseRow { reason: reason.to_owned(), ..case(SuiteKind::Cargo, name, outcome) });
        } else if let Some(case) = reason_of.and_then(|at| cases.get_mut(at)) {
            case.reason.push_str(line);
            case.reason.push('\n');
        }
    }
    cases
}

/// `PASS [   0.005s] (1/3) package::binary name`, failures again at the end.
fn nextest(output: &str) -> Vec<CaseRow> {
    let (mut cases, mut seen) = (Vec::new(), BTreeSet::new());
    for line in output.lines() {
        let Some((word, rest)) = line.trim().split_once(" [") else { continue };
        let Some((took, name)) = rest.split_once(']') else { continue };
        let outcome = match word.trim() {
            "PASS" | "LEAK" => TestResult::Passed,
            "SKIP" => TestResult::Skipped,
            "FAIL" | "TIMEOUT" | "ABORT" | "SIGABRT" | "SIGSEGV" => TestResult::Failed,
            _ => continue,
        };
        let name = name.trim();
        let name = match name.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((_, name)) => name.trim(),
            None => name,
        };
        if seen.insert(name.to_owned()) {
            let took_ms = milliseconds(took.trim().trim_end_matches('s'), 1_000.0);
            cases.push(CaseRow { took_ms, ..case(SuiteKind::Nextest, name.replacen(' ', "::", 1), outcome) });
        }
    }
    cases
}

fn forge(output: &str) -> Vec<CaseRow> {
    let rows = read_results(output.lines().next().unwrap_or_default()).unwrap_or_default();
    let row = |row: crate::foundry_integration::TestRow| {
        let outcome = match row.outcome {
            TestOutcome::Failed => TestResult::Failed,
            TestOutcome::Skipped => TestResult::Skipped,
            TestOutcome::Passed => TestResult::Passed,
        };
        let name = format!("{}:{}::{}", row.file, row.contract, row.name);
        CaseRow { reason: row.reason.unwrap_or_default(), ..case(SuiteKind::Forge, name, outcome) }
    };
    rows.into_iter().map(row).collect()
}

/// Jest's JSON, where it is that.
fn jest(output: &str) -> Option<Vec<CaseRow>> {
    let line = output.lines().find(|line| line.starts_with('{') && line.contains("\"testResults\""))?;
    let told: Value = serde_json::from_str(line).ok()?;
    let mut cases = Vec::new();
    for file in told["testResults"].as_array()? {
        let place = file["name"].as_str().unwrap_or_default().trim_start_matches("/project/");
        for one in file["assertionResults"].as_array().into_iter().flatten() {
            let outcome = match one["status"].as_str().unwrap_or_default() {
                "passed" => TestResult::Passed,
                "failed" => TestResult::Failed,
                _ => TestResult::Skipped,
            };
            let name = format!("{place} > {}", one["fullName"].as_str().unwrap_or_default());
            let reason = one["failureMessages"][0].as_str().unwrap_or_default().to_owned();
            cases.push(CaseRow { took_ms: one["duration"].as_u64(), reason, ..case(SuiteKind::Npm, name, outcome) });
        }
    }
    Some(cases)
}

/// The Test Anything Protocol, with subtests by how far lines are in: what has some is no case itself.
fn tap(output: &str) -> Vec<CaseRow> {
    let mut cases: Vec<(usize, CaseRow)> = Vec::new();
    // Whether the lines are of the particulars of the last case, and within the text of its error.
    let (mut within, mut error) = (false, None::<usize>);
    // What is said of a case that has subtests is said of them already.
    let mut of_parent = false;
    for line in output.lines() {
        let (depth, plain) = (line.len() - line.trim_start().len(), line.trim());
        if within {
            let Some((_, case)) = cases.last_mut().filter(|_| !of_parent || plain == "...") else { continue };
            match (error, plain) {
                (_, "...") => (within, error) = (false, None),
                (Some(of), _) if plain.is_empty() || depth > of => {
                    case.reason.push_str(plain);
                    case.reason.push('\n');
                }
                _ => {
                    error = None;
                    if let Some(text) = plain.strip_prefix("error:").or_else(|| plain.strip_prefix("message:")) {
                        let text = text.trim().trim_matches(['\'', '"']);
                        if text.starts_with(['|', '>']) { error = Some(depth) } else { case.reason = text.to_owned() }
                    } else if let Some(took) = plain.strip_prefix("duration_ms:") {
                        case.took_ms = milliseconds(took.trim(), 1.0);
                    }
                }
            }
            continue;
        }
        if plain == "---" {
            within = !cases.is_empty();
            continue;
        }
        let (passed, rest) = match (plain.strip_prefix("ok "), plain.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => continue,
        };
        let (words, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let name = words
            .trim_start_matches(|one: char| one.is_ascii_digit())
            .trim_start_matches([' ', '-'])
            .trim_end_matches(" {")
            .to_owned();
        let directive = directive.to_lowercase();
        let outcome = match passed {
            _ if directive.starts_with("skip") || directive.starts_with("todo") => TestResult::Skipped,
            true => TestResult::Passed,
            false => TestResult::Failed,
        };
        of_parent = cases.last().is_some_and(|(of, _)| *of > depth);
        if of_parent {
            for (of, case) in cases.iter_mut().rev().take_while(|(of, _)| *of > depth) {
                (*of, case.name) = (depth, format!("{name} > {}", case.name));
            }
        } else {
            cases.push((depth, case(SuiteKind::Npm, name, outcome)));
        }
    }
    cases.into_iter().map(|(_, case)| case).collect()
}

/// JUnit's XML as pytest writes it.
fn junit(output: &str) -> Vec<CaseRow> {
    let mut cases = Vec::new();
    for piece in output.split("<testcase ").skip(1) {
        let Some((head, rest)) = piece.split_once('>') else { continue };
        let inside = if head.ends_with('/') { "" } else { rest.split("</testcase>").next().unwrap_or_default() };
        let told = attributes(head.trim_end_matches('/'));
        let of = |name: &str| told.get(name).cloned().unwrap_or_default();
        let tag =
            ["failure", "error", "skipped"].into_iter().find(|tag| inside.trim_start().starts_with(&format!("<{tag}")));
        let outcome = match tag {
            None => TestResult::Passed,
            Some("skipped") => TestResult::Skipped,
            Some(_) => TestResult::Failed,
        };
        let reason = tag.and_then(|_| inside.split_once('<')?.1.split_once('>')).map(|(head, _)| attributes(head));
        let reason = reason.and_then(|told| told.get("message").cloned()).unwrap_or_default();
        let name = format!("{}::{}", of("classname"), of("name"));
        let took_ms = milliseconds(&of("time"), 1_000.0);
        cases.push(CaseRow { took_ms, reason, ..case(SuiteKind::Pytest, name, outcome) });
    }
    cases
}

/// The attributes in a tag's head.
fn attributes(head: &str) -> BTreeMap<String, String> {
    let (mut found, mut rest) = (BTreeMap::new(), head);
    while let Some((name, after)) = rest.split_once("=\"") {
        let Some((value, next)) = after.split_once('"') else { break };
        let name = name.rsplit([' ', '\n']).next().unwrap_or_default();
        found.insert(name.to_owned(), plain(value));
        rest = next;
    }
    found
}

/// A text without XML's escapes.
fn plain(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&#10;", "\n").replace("&#9;", "\t").replace("&#13;", "").replace("&amp;", "&")
}

fn milliseconds(text: &str, each: f64) -> Option<u64> {
    let took: f64 = text.parse().ok()?;
    (took.is_finite() && took >= 0.0).then(|| (took * each).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: SuiteKind, output: &str) -> Vec<String> {
        let line = |case: CaseRow| {
            format!("{:?} {} {:?} {}", case.outcome, case.name, case.took_ms, case.reason.trim().replace('\n', "|"))
        };
        cases(kind, output).into_iter().map(line).collect()
    }

    #[test]
    fn cargos_tests_have_their_binary_and_their_reason() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/a-1)\n\nrunning 3 tests\ntest tests::a ... ok\ntest tests::b ... FAILED\ntest tests::c ... ignored, later\n\nfailures:\n\n---- tests::b stdout ----\n\nthread 'tests::b' panicked at src/lib.rs:1:1:\nno\n\n\nfailures:\n    tests::b\n\ntest result: FAILED.\n\n   Doc-tests a\n\ntest src/lib.rs - x (line 3) ... ok\n";
        assert_eq!(
            told(SuiteKind::Cargo, output),
            [
                "Passed src/lib.rs::tests::a None ",
                "Failed src/lib.rs::tests::b None thread 'tests::b' panicked at src/lib.rs:1:1:|no",
                "Skipped src/lib.rs::tests::c None later",
                "Passed doc-tests a::src/lib.rs - x (line 3) None ",
            ]
        );
        let output = "        PASS [   0.005s] (1/2) a tests::a\n        FAIL [   1.250s] (2/2) a::it b\n  stdout ───\n        FAIL [   1.250s] a::it b\n";
        assert_eq!(told(SuiteKind::Nextest, output), ["Passed a::tests::a Some(5) ", "Failed a::it::b Some(1250) "]);
    }

    #[test]
    fn subtests_are_named_by_what_they_are_in() {
        let output = "TAP version 13\n# Subtest: sums\n    # Subtest: adds\n    ok 1 - adds\n      ---\n      duration_ms: 2.6\n      ...\n    not ok 2 - adds wrongly\n      ---\n      error: |-\n        one and one\n        2 !== 3\n      code: 'X'\n      ...\n    1..2\nnot ok 1 - sums\n  ---\n  error: '1 subtest failed'\n  ...\nok 2 - later # SKIP\n1..2\n";
        assert_eq!(
            told(SuiteKind::Npm, output),
            [
                "Passed sums > adds Some(3) ",
                "Failed sums > adds wrongly None one and one|2 !== 3",
                "Skipped later None ",
            ]
        );
        let jest = "{\"testResults\":[{\"name\":\"/project/a.test.js\",\"assertionResults\":[{\"fullName\":\"a b\",\"status\":\"failed\",\"duration\":4,\"failureMessages\":[\"no\"]}]}]}";
        assert_eq!(told(SuiteKind::Npm, jest), ["Failed a.test.js > a b Some(4) no"]);
    }

    #[test]
    fn pytests_xml_is_read() {
        let output = "<?xml version=\"1.0\"?><testsuites><testsuite><testcase classname=\"t\" name=\"a[1]\" time=\"0.005\" /><testcase classname=\"t\" name=\"b\" time=\"0.1\"><failure message=\"AssertionError: &lt;x&gt;&#10;assert 1\">long</failure></testcase><testcase classname=\"t\" name=\"c\" time=\"0\"><skipped type=\"pytest.skip\" message=\"not yet\">x</skipped></testcase></testsuite></testsuites>";
        assert_eq!(
            told(SuiteKind::Pytest, output),
            [
                "Passed t::a[1] Some(5) ",
                "Failed t::b Some(100) AssertionError: <x>|assert 1",
                "Skipped t::c Some(0) not yet",
            ]
        );
    }
}
