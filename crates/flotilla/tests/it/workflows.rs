//! Workflows as people have them: defined and started on the command line, and gone on with after `kill -9`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Home, LIMIT, Mcp, Process, wait_for};

/// Puts a key for each item, waiting in between.
const WORKFLOW: &str = "
document: { dsl: '1.0.3', namespace: test, name: counted, version: 1.0.0 }
do:
- each:
    for: { in: '[range(6)]', at: i }
    do:
    - put:
        call: mcp
        with:
          method: tools/call
          parameters: { name: coordination__kv_put, arguments: { key: '${ \"done/\\($i)\" }', value: '${ $task.idempotencyKey }' } }
        output: { as: .structuredContent.key }
    - rest: { wait: { milliseconds: 300 } }
";

fn mcp(process: &Process, home: &Home) -> Mcp {
    Mcp::new(&format!("{}/mcp", process.screen["coordinator"].as_str().unwrap()), Some(home.key()))
}

fn put_keys(mcp: &Mcp) -> Vec<Value> {
    mcp.call("coordination__kv_list", json!({ "prefix": "done/" })).unwrap()["entries"].as_array().unwrap().clone()
}

#[test]
fn shipped_playbooks_fit_the_tools_of_the_fleet() {
    let home = Home::new("");
    let process = home.start(&["up", "--no-sandbox"]);
    let mcp = mcp(&process, &home);
    let shipped = mcp.call("orchestration__list_workflows", json!({ "shipped": true })).unwrap();
    let names: Vec<&str> =
        shipped["workflows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    let known = ["deploy-contract", "flash-arbitrage", "incident-response", "nightly-report", "rotate-executor"];
    assert_eq!(names, known);
    for name in names {
        let found = mcp.call("orchestration__validate_workflow", json!({ "playbook": name })).unwrap();
        assert_eq!((&found["valid"], &found["warnings"]), (&json!(true), &json!([])), "{name}: {found}");
        assert!(!found["tools"].as_array().unwrap().is_empty(), "{name}: {found}");
        assert_eq!(found["missing_tools"], json!([]), "{name}");
    }
}

#[test]
fn a_run_goes_on_where_it_was_after_kill_9() {
    let home = Home::new("[servers.orchestration]\nlease_ms = 500");
    let file = home.path("counted.yaml");
    std::fs::write(&file, WORKFLOW).unwrap();
    let mut process = home.start(&["up", "--no-sandbox"]);
    let file = file.display().to_string();
    assert!(home.cli(&["workflow", "validate", &file]).ok().is_empty());
    home.cli(&["workflow", "define", &file]).ok();
    let run = home.cli(&["workflow", "start", "test/counted", "--json"]).json()["run"].as_str().unwrap().to_owned();
    for kill in 1..=3 {
        let mcp = mcp(&process, &home);
        wait_for("the run comes further", LIMIT, || (put_keys(&mcp).len() > kill).then_some(()));
        process.signal(libc::SIGKILL);
        process.wait(LIMIT);
        process = home.start(&["up", "--no-sandbox"]);
    }
    let mcp = mcp(&process, &home);
    let done = wait_for("the run ends", LIMIT, || {
        let run = mcp.call("orchestration__status", json!({ "run": run, "wait_seconds": 5 })).unwrap();
        run["ended_ms"].is_i64().then_some(run)
    });
    assert_eq!((&done["status"], &done["output"]), (&json!("completed"), &json!("done/5")), "{done}");
    let keys = put_keys(&mcp);
    assert_eq!(keys.len(), 6, "{keys:?}");
    // One for each item, whichever process put it.
    let known_by: BTreeSet<&str> = keys.iter().map(|entry| entry["value"].as_str().unwrap()).collect();
    assert!(known_by.len() == 6 && known_by.iter().all(|key| key.starts_with(&format!("{run}-"))), "{keys:?}");
    let history = home.cli(&["workflow", "history", &run]).ok();
    assert!(history.lines().last().unwrap().contains(r#""transition":"ended""#), "{history}");
}
