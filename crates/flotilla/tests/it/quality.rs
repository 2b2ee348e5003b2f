//! A project under the fleet's eyes: its tests run by the test agent, which finds the commit that broke one; analysed and reviewed by the code-analysis agent.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Fleet, LIMIT, tools, wait_for};

fn git(project: &Path, words: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]);
    let done = git.current_dir(project).args(words).output().unwrap();
    assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn commit(project: &Path, text: &str, subject: &str) -> String {
    std::fs::write(project.join("fee.py"), text).unwrap();
    git(project, &["add", "."]);
    git(project, &["commit", "-q", "-m", subject]);
    git(project, &["rev-parse", "HEAD"])
}

/// A task's result, once it is done.
fn done(fleet: &Fleet, agent: &str, task_type: &str, payload: &Value) -> Value {
    let payload = payload.to_string();
    let asked = fleet.cli(&["agent", "submit", agent, task_type, &payload, "--json"]).json();
    let id = asked["id"].as_str().unwrap().to_owned();
    let row = wait_for("the task ends", LIMIT * 5, || {
        let row = fleet.cli(&["task", "get", &id, "--json"]).json();
        ["done", "dead"].iter().any(|state| row["state"] == *state).then_some(row)
    });
    assert_eq!(row["state"], "done", "{row:#}");
    row["result"].clone()
}

/// The events of the topic `quality`, by kind.
fn events(fleet: &Fleet) -> Vec<String> {
    let read = fleet.call("coordination__read_topic", json!({ "topic": "quality" }));
    read["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_broken_test_is_traced_to_its_commit_and_what_a_change_brings_is_told() {
    let Some(()) = tools::analysis() else { return };
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("fees");
    std::fs::create_dir(&project).unwrap();
    git(&project, &["init", "-q"]);
    let test = "import fee\n\n\ndef test_fee():\n    assert fee.fee(100) == 10\n\n\ndef test_none():\n    assert fee.fee(0) == 0\n";
    std::fs::write(project.join("test_fee.py"), test).unwrap();
    let good = commit(&project, "def fee(amount):\n    return amount // 10\n", "a tenth");
    commit(&project, "def fee(amount):\n    return amount // 10  # the fee\n", "said why");
    let bad = commit(&project, "def fee(amount):\n    return amount // 20  # the fee\n", "half of it");
    let head = commit(
        &project,
        "def fee(amount):\n    return amount // 20  # the fee\n\n\ndef run(text):\n    return eval(text)\n",
        "runs",
    );
    let roots = format!("[servers.quality]\nroots = [{:?}]", folder.path());
    let fleet = Fleet::start(&["--no-sandbox"], &roots);

    let first = done(&fleet, "test", "unit", &json!({ "path": "fees", "revision": good }));
    assert_eq!(
        (&first["success"], &first["passed"], &first["runs"]),
        (&json!(true), &json!(2), &json!(1)),
        "{first:#}"
    );
    let broken = done(&fleet, "test", "unit", &json!({ "path": "fees", "revision": "main", "repeat": 2 }));
    assert_eq!(broken["new_failures"], json!(["test_fee::test_fee"]), "{broken:#}");
    let found = &broken["bisected"];
    assert_eq!((&found["first_bad"], &found["subject"]), (&json!(bad), &json!("half of it")), "{broken:#}");
    assert_eq!((&broken["flaky"], &broken["runs"]), (&json!([]), &json!(2)), "{broken:#}");
    assert_eq!(events(&fleet), ["test.failed"]);
    let again = done(&fleet, "test", "unit", &json!({ "path": "fees" }));
    assert_eq!((&again["failed"], &again["new_failures"]), (&json!(1), &json!([])), "{again:#}");

    let review = done(&fleet, "code-analysis", "review_change", &json!({ "path": "fees", "from": bad }));
    assert_eq!(review["to"], head);
    let rules: Vec<&str> =
        review["findings"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["eval"], "{review:#}");
    assert!(review["no_model"].is_string() || review["model"].is_object(), "{review:#}");
    let analysed = done(&fleet, "code-analysis", "analyze", &json!({ "path": "fees" }));
    assert_eq!(analysed["new"].as_array().unwrap().len(), 1, "{analysed:#}");
    let analysed = done(&fleet, "code-analysis", "analyze", &json!({ "path": "fees" }));
    assert_eq!(analysed["new"], json!([]), "only what is new is raised");
    assert_eq!(events(&fleet), ["test.failed", "findings.new"]);
    let scanned = done(&fleet, "code-analysis", "scan_vulnerabilities", &json!({ "path": "fees" }));
    assert_eq!(scanned["findings"][0]["rule"], "eval", "{scanned:#}");
    assert!(scanned["not_checked"][0].as_str().unwrap().starts_with("dependencies: "), "{scanned:#}");
}
