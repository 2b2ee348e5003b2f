//! What failed, and the ways back, at the fleet's endpoint.

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, Mcp, wait_for};

#[test]
fn a_service_is_killed_measured_told_of_and_restarted() {
    let fleet = Fleet::start(&["--no-sandbox"], "[supervision]\nrestart_first_ms = 50");
    let drilled = fleet.call("recovery__drill", json!({ "service": "logging", "within_ms": 100000 }));
    assert_eq!(
        (&drilled["in_time"], &drilled["instances"][0]["status"]),
        (&json!(true), &json!("healthy")),
        "{drilled}"
    );
    let took = drilled["recovery_ms"].as_u64().unwrap();
    // It was down, and its supervisor waited before it brought it back.
    assert!((1..100_000).contains(&took) && drilled["instances"][0]["restarts"] == 1, "{drilled}");
    let incident = wait_for("it is over", LIMIT, || {
        let told = fleet.call("recovery__incident", json!({ "id": drilled["incident"] }));
        told["resolved_ms"].is_i64().then_some(told)
    });
    let what: Vec<&str> =
        incident["timeline"].as_array().unwrap().iter().map(|moment| moment["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["recovery.drill", "service.failed", "service.started"], "{incident}");
    assert_eq!((&incident["kind"], &incident["subject"]), (&json!("drill"), &json!("logging")));
    assert!(fleet.mcp("/mcp").call("logging__stats", json!({})).is_ok(), "it does its work again");

    let agent = fleet.call("recovery__drill", json!({ "service": "agent:risk", "within_ms": 100000 }));
    assert_eq!(agent["instances"][0]["kind"], "agent", "{agent}");
    let again = fleet.call("recovery__restart", json!({ "service": "logging", "reason": "a test" }));
    assert_eq!(again["instances"][0]["restarts"], 2, "{again}");
    let playbooks = fleet.call("recovery__playbooks", json!({}));
    assert_eq!(playbooks["playbooks"].as_array().unwrap().len(), 5, "{playbooks}");
    let run = fleet.call(
        "recovery__run_playbook",
        json!({ "name": "incident-response", "input": { "service": "logging" }, "wait_seconds": 45 }),
    );
    assert_eq!(run["run"]["workflow"], "playbooks/incident-response/1.0.0", "{run}");
}

#[test]
fn settings_go_back_and_a_backup_is_the_same_fleet() {
    let fleet = Fleet::plain();
    let save = |code: &str| {
        fleet.call("scripts__save_script", json!({ "name": "tidy", "language": "sh", "code": code }));
    };
    let code = |fleet: &Fleet| fleet.call("scripts__get_script", json!({ "name": "tidy" }))["code"].clone();
    save("echo good");
    fleet.call("recovery__create_snapshot", json!({ "name": "good" }));
    save("echo bad");
    let rolled = fleet.call("recovery__rollback_config", json!({ "part": "scripts", "snapshot": "good" }));
    assert!(rolled["before"].is_string(), "{rolled}");
    assert_eq!(code(&fleet), "echo good");

    let key = fleet.home.cli(&["token", "create", "ann", "--role", "operator", "--json"]).json();
    let ann = Mcp::new(&format!("{}/mcp", fleet.url()), key["token"].as_str().map(Into::into));
    let made = ann.call("recovery__backup", json!({})).unwrap();
    let name = made["name"].as_str().unwrap();
    assert_eq!(ann.call("recovery__verify_backup", json!({ "name": name })).unwrap()["files"], made["files"]);
    let refused = ann.call("recovery__restore", json!({ "name": name })).unwrap_err();
    assert!(refused.starts_with("permission_denied"), "{refused}");
    save("echo later");
    let restored = fleet.call("recovery__restore", json!({ "name": name }));
    assert!(restored["audit_rows"].as_u64().unwrap() > 3, "{restored}");

    // Torn or altered, it is refused.
    let file = fleet.home.path(format!("data/backups/{name}"));
    let whole = std::fs::read(&file).unwrap();
    for (bad, what) in [(&whole[..whole.len() / 2], "torn"), (&altered(&whole), "altered")] {
        std::fs::write(&file, bad).unwrap();
        let refused = fleet.mcp("/mcp").call("recovery__verify_backup", json!({ "name": name })).unwrap_err();
        assert!(refused.contains("is not a whole backup"), "{what}: {refused}");
    }

    let folder = restored["data_dir"].as_str().unwrap().to_owned();
    let home = Home::new("");
    std::fs::rename(folder, home.path("data")).unwrap();
    let again = Fleet { process: home.start(&["up", "--no-sandbox"]), home };
    assert_eq!(code(&again), "echo good", "as it was when the backup was made");
}

fn altered(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes
}

#[test]
fn a_drill_reaches_a_service_of_another_process() {
    let home = Home::new("");
    let core = home.start(&["serve", "coordination", "recovery", "utilities"]);
    let other = home.start(&["serve", "legacy"]);
    let coordinator = home.start(&["serve", "master-coordinator"]);
    let mcp = Mcp::new(&format!("{}/mcp", coordinator.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    wait_for("all are met", LIMIT, || {
        (mcp.call("legacy__list_aliases", json!({})).is_ok() && mcp.call("recovery__incidents", json!({})).is_ok())
            .then_some(())
    });
    let drilled: Value = mcp.call("recovery__drill", json!({ "service": "legacy", "within_ms": 100000 })).unwrap();
    assert_eq!(drilled["instances"][0]["restarts"], 1, "killed in its own process: {drilled}");
    assert_eq!(mcp.call("recovery__circuit_breakers", json!({})).unwrap(), json!({ "breakers": [] }));
    drop((core, other));
}
