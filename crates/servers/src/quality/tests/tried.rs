//! What takes the fetched tools: analysers, test runners, git, and a service of advisories.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn every_seeded_bug_is_found_and_told_once() {
    let Some(place) = real("seeded") else { return };
    let told = place.call("analyze", json!({ "path": "seeded" })).await;
    let findings = told["findings"].as_array().unwrap();
    let answers: Value =
        serde_json::from_str(&std::fs::read_to_string(place.file("seeded/answers.json")).unwrap()).unwrap();
    for answer in answers.as_array().unwrap() {
        let tool = format!("{}:", answer["said_by"].as_str().unwrap());
        let same = |one: &&Value| ["file", "line", "rule"].iter().all(|field| one[*field] == answer[*field]);
        let found: Vec<&Value> = findings.iter().filter(same).collect();
        assert_eq!(found.len(), 1, "{answer} in {told:#}");
        let by = found[0]["said_by"].as_array().unwrap();
        assert!(by.iter().any(|by| by.as_str().unwrap().starts_with(&tool)), "{answer}: {by:?}");
    }
    let outcome = |tool: &str| {
        let mut runs = told["tools"].as_array().unwrap().iter();
        runs.find(|run| run["tool"] == tool).map(|run| run["outcome"].clone()).unwrap()
    };
    for tool in ["secrets", "forge-lint", "slither", "solhint", "clippy", "ruff"] {
        assert_eq!(outcome(tool), "ran", "{tool}: {:#}", told["tools"]);
    }
    // It is in the project or nowhere, and said so.
    assert_eq!(outcome("eslint"), "not_installed", "{:#}", told["tools"]);
    let sarif = &told["sarif"];
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    let first = &results[0];
    assert_eq!(
        (&first["level"], &first["partialFingerprints"]["flotilla/v1"]),
        (&json!("error"), &findings[0]["fingerprint"])
    );
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let index = usize::try_from(first["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(rules[index]["id"], first["ruleId"]);
    assert!(!told.to_string().contains(TOKEN[1]), "a secret is shown");
}

#[tokio::test]
async fn a_gate_tells_why_it_fails_and_what_it_did_not_look_at() {
    let Some(place) = real("seeded") else { return };
    let asked = json!({
        "path": "seeded", "high_max": 0, "complexity_max": 10, "tests": ["pytest"], "dependencies": true, "require": ["eslint"],
    });
    let told = place.call("gate", asked).await;
    assert_eq!((&told["passed"], &told["complexity"]), (&json!(false), &json!(14)), "{told:#}");
    let reasons = told["reasons"].to_string();
    for reason in [
        " high findings, past 0",
        "src/Bank.sol:20 reentrancy",
        "rust/src/lib.rs:15 grade has complexity 14, past 10",
        "test scripts.test_report::test_wrong[2] failed",
        "dependencies cannot be checked: not_configured",
        "eslint is required and told nothing",
    ] {
        assert!(reasons.contains(reason), "{reason} in {told:#}");
    }
    assert!(
        told["not_checked"].to_string().contains("eslint is not installed (npm install --save-dev eslint"),
        "{told:#}"
    );
    place.call("compare", json!({ "path": "seeded", "save": true, "baseline": "now" })).await;
    let told = place.call("gate", json!({ "path": "seeded", "baseline": "now", "medium_max": 0 })).await;
    assert_eq!((&told["passed"], &told["reasons"]), (&json!(true), &json!([])), "{told:#}");
}

#[tokio::test]
async fn tests_are_told_case_by_case_whoever_runs_them() {
    let Some(place) = real("seeded") else { return };
    let told = place.call("run_tests", json!({ "path": "seeded" })).await;
    let line = |case: &Value| {
        let of = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        format!(
            "{} {} {} | {}",
            of("suite"),
            of("outcome"),
            of("name"),
            of("reason").lines().next().unwrap_or_default()
        )
    };
    let cases: Vec<String> = told["cases"].as_array().unwrap().iter().map(line).collect();
    for case in [
        "cargo failed rust: src/lib.rs::tests::a_fee_is_a_tenth | thread",
        "cargo passed rust: src/lib.rs::tests::nothing_is_nothing | ",
        "cargo skipped rust: src/lib.rs::tests::later | not yet",
        "forge passed test/Bank.t.sol:BankTest::test_deposits() | ",
        "forge failed test/Bank.t.sol:BankTest::test_shares() | not three and a half",
        "npm failed web: adds wrongly | one and one",
        "npm passed web: adds | ",
        "npm skipped web: later | ",
        "pytest passed scripts.test_report::test_value | ",
        "pytest failed scripts.test_report::test_wrong[2] | AssertionError: not one",
        "pytest skipped scripts.test_report::test_later | not yet",
    ] {
        assert!(cases.iter().any(|one| one.starts_with(case)), "{case} in {cases:#?} {:#}", told["trouble"]);
    }
    assert_eq!(
        (&told["failed"], &told["passed"], &told["skipped"], &told["trouble"]),
        (&json!(4), &json!(5), &json!(3), &json!([]))
    );
    let one = place.call("run_tests", json!({ "path": "seeded", "suite": "cargo", "filter": "nothing" })).await;
    assert_eq!((&one["success"], &one["passed"]), (&json!(true), &json!(1)), "{one:#}");
    place.edit("seeded/rust/src/lib.rs", "words.len() == 0", "words.len() == \"\"");
    let broken = place.call("run_tests", json!({ "path": "seeded", "suite": "cargo" })).await;
    assert_eq!(broken["success"], false);
    assert!(broken["trouble"][0].as_str().unwrap().contains("error[E0308]"), "{broken:#}");
}

#[tokio::test]
async fn a_test_or_a_build_that_reads_keys_reaches_out_or_does_not_end_is_denied_and_told_of() {
    let Some(place) = real("hostile") else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for file in ["hostile/test_hostile.py", "hostile/crate/build.rs"] {
        place.edit(file, "SECRET", secret.to_str().unwrap());
        place.edit(file, "PORT", &port);
    }
    place.edit("hostile/test_hostile.py", "PID", &std::process::id().to_string());
    let told = place.call("run_tests", json!({ "path": "hostile" })).await;
    assert_eq!((&told["failed"], &told["passed"], &told["trouble"]), (&json!(0), &json!(5), &json!([])), "{told:#}");
    assert!(!place.file("hostile/new").exists() && !place.file("hostile/crate/new").exists());
    place.write("hostile/test_endless.py", "def test_endless():\n    while True:\n        pass\n");
    let told = place.call("run_tests", json!({ "path": "hostile", "suite": "pytest", "time_limit_seconds": 5 })).await;
    assert_eq!(told["success"], false);
    let trouble = told["trouble"][0].as_str().unwrap();
    assert!(trouble.starts_with("pytest in .: timeout: it did not end within 5 s and was killed"), "{told:#}");
}

#[tokio::test]
async fn revisions_are_analysed_tested_and_compared_as_they_were() {
    let Some(place) = real("seeded") else { return };
    place.git("seeded", &["init", "-q"]);
    place.git("seeded", &["add", "."]);
    place.git("seeded", &["commit", "-q", "-m", "first"]);
    let first = place.git("seeded", &["rev-parse", "HEAD"]);
    place.edit("seeded/scripts/report.py", "return eval(text)", "return exec(text)");
    place.git("seeded", &["commit", "-q", "-a", "-m", "eval is exec"]);
    let told = place.call("changes", json!({ "path": "seeded", "from": first })).await;
    assert_eq!(told["files"], json!([{ "file": "scripts/report.py", "lines": [[12, 12]] }]), "{told:#}");
    assert_eq!((&told["revisions"][0]["subject"], &told["from"]), (&json!("eval is exec"), &json!(first)));
    assert!(told["diff"].as_str().unwrap().contains("+    return exec(text)"), "{told:#}");
    let asked = json!({ "path": "seeded", "revision": "main", "base_revision": first, "tools": ["ruff"] });
    let compared = place.call("compare", asked).await;
    assert_eq!(places(&compared, "new"), ["scripts/report.py:12 eval"], "{compared:#}");
    assert_eq!(compared["gone"].as_array().unwrap().len(), 1, "{compared:#}");
    // What is in the folder now is another matter.
    place.edit("seeded/scripts/report.py", "return exec(text)", "return 0");
    let asked = |revision: Option<&str>| json!({ "path": "seeded", "suite": "pytest", "filter": "value", "revision": revision });
    assert_eq!(place.call("run_tests", asked(Some(&first))).await["passed"], 1);
    assert_eq!(place.call("run_tests", asked(None)).await["failed"], 1);
    place
        .refused(
            "run_tests",
            asked(Some("nowhere")),
            expect!["not_found: git: no revision nowhere (a revision of the project's repository: a branch, a tag, a commit)"],
        )
        .await;
}

/// A lock file with a package that has a vulnerability.
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"time\"\nversion = \"0.1.42\"\nsource = \"registry+https://example.org/index\"\n";

fn advisory() -> Value {
    json!({
        "id": "RUSTSEC-2020-0071", "aliases": ["CVE-2020-26235"], "summary": "Potential segfault in the time crate",
        "affected": [{ "package": { "ecosystem": CRATES, "name": "time" },
            "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0.0.0-0" }, { "fixed": "0.2.23" }] }] }],
    })
}

/// What OSV calls the registry of Rust's packages.
const CRATES: &str = concat!("crates", ".io");

/// What is told of it.
fn found() -> Value {
    json!([{
        "package": "time", "version": "0.1.42", "ecosystem": CRATES, "id": "RUSTSEC-2020-0071", "aliases": ["CVE-2020-26235"],
        "summary": "Potential segfault in the time crate", "fixed_in": ["0.2.23"],
    }])
}

#[tokio::test]
async fn dependencies_are_held_against_a_folder_of_advisories() {
    let advisories = tempfile::tempdir().unwrap();
    let folder = advisories.path().to_owned();
    let place =
        place("seeded", PathBuf::from("/nonexistent"), Programs::default(), |config| config.advisories = Some(folder));
    place.write("seeded/rust/Cargo.lock", LOCK);
    let shown = place.bench.shown(&admin(), "audit_dependencies", json!({ "path": "seeded" })).await;
    assert!(shown.starts_with("not_configured: no advisories in "), "{shown}");
    std::fs::write(advisories.path().join("one.json"), advisory().to_string()).unwrap();
    let told = place.call("audit_dependencies", json!({ "path": "seeded" })).await;
    assert_eq!((&told["advisories"], &told["packages"]), (&found(), &json!(1)));
    place.edit("seeded/rust/Cargo.lock", "0.1.42", "0.3.0");
    assert_eq!(place.call("audit_dependencies", json!({ "path": "seeded" })).await["advisories"], json!([]));
}

/// Answers each request by its path, as OSV does; returns where.
async fn osv(tasks: &kernel::Tasks) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn("osv", kernel::OnEnd::Done, async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut buffer) = (String::new(), [0_u8; 4_096]);
            while !request.contains("\r\n\r\n") || (request.starts_with("POST") && !request.ends_with("]}")) {
                let got = stream.read(&mut buffer).await.unwrap();
                request.push_str(&String::from_utf8_lossy(&buffer[..got]));
            }
            let asked =
                json!({ "queries": [{ "package": { "name": "time", "ecosystem": CRATES }, "version": "0.1.42" }] });
            let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let same = serde_json::from_str::<Value>(body).is_ok_and(|body| body == asked);
            let answer = if request.starts_with("POST /v1/querybatch ") && same {
                json!({ "results": [{ "vulns": [{ "id": "RUSTSEC-2020-0071", "modified": "2023-06-13T13:10:24Z" }] }] })
            } else if request.starts_with("GET /v1/vulns/RUSTSEC-2020-0071 ") {
                advisory()
            } else {
                json!({ "code": 3, "message": request })
            };
            let body = answer.to_string();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn dependencies_are_held_against_a_service_that_speaks_osvs_protocol() {
    let tasks = kernel::Tasks::new();
    let url = osv(&tasks).await;
    let place = place("seeded", PathBuf::from("/nonexistent"), Programs::default(), |config| {
        config.advisories_url = url.clone()
    });
    place.write("seeded/rust/Cargo.lock", LOCK);
    let told = place.call("audit_dependencies", json!({ "path": "seeded" })).await;
    assert_eq!((&told["advisories"], &told["against"]), (&found(), &json!(url)));
}
