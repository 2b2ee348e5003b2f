//! A fleet on PostgreSQL: the same to its users, over several machines, and through the server's death.

use serde_json::{Value, json};

use crate::harness::postgres::{Own, schema};
use crate::harness::{Fleet, Home, LIMIT, Mcp, Process, http, wait_for};

/// A workflow that leaves a key, by a tool of another service.
const WORKFLOW: &str = "
document: { dsl: '1.0.3', namespace: test, name: leaves, version: 1.0.0 }
do:
- put:
    call: mcp
    with:
      method: tools/call
      parameters: { name: coordination__kv_put, arguments: { key: by/workflow, value: '${ $task.idempotencyKey }' } }
";

/// A machine whose fleet keeps its things there.
pub(crate) fn machine(url: &str, config: &str) -> Home {
    let home = Home::new(config);
    std::fs::write(home.path(".env"), format!("DATABASE_URL={url}\n")).unwrap();
    home
}

fn mcp(process: &Process, home: &Home) -> Mcp {
    Mcp::new(&format!("{}/mcp", process.screen["coordinator"].as_str().unwrap()), Some(home.key()))
}

/// Each part of what `status` says that the fleet stands on, and what serves it.
fn parts(fleet: &Fleet) -> Vec<(String, String, String)> {
    let status: Value = serde_json::from_str(&fleet.cli(&["status", "--json"]).out).unwrap();
    let text = |part: &Value, field: &str| part[field].as_str().unwrap_or("-").to_owned();
    let parts = status["infrastructure"].as_object().unwrap().iter();
    parts.map(|(name, part)| (name.clone(), text(part, "status"), text(part, "backend"))).collect()
}

#[test]
fn a_fleet_on_postgres_is_the_same_to_its_users_and_says_what_it_stands_on() {
    let Some(url) = schema() else { return };
    let home = machine(&url, "");
    let process = home.start(&["up", "--no-sandbox"]);
    let fleet = Fleet { process, home };
    assert!(fleet.process.screen["storage"].as_str().unwrap().starts_with("PostgreSQL "), "{}", fleet.process.screen);
    let backed = |port: &str, by: &str| {
        let all = parts(&fleet);
        let (_, status, backend) = all.iter().find(|(name, ..)| name == port).unwrap();
        assert!(status == "healthy" && backend.starts_with(by), "{all:?}");
    };
    for port in ["store", "bus", "queue", "audit", "registry"] {
        backed(port, "PostgreSQL ");
    }
    backed("logs", "SQLite");
    assert!(fleet.cli(&["status"]).out.contains("(PostgreSQL "));
    assert!(!fleet.home.path("data/flotilla.db").exists(), "nothing is kept beside it");
    // A call, and its row in the trail.
    fleet.call("coordination__kv_put", json!({ "key": "colour", "value": "blue" }));
    assert_eq!(fleet.call("coordination__kv_get", json!({ "key": "colour" }))["entry"]["value"], "blue");
    wait_for("the calls are recorded", LIMIT, || {
        fleet.cli(&["audit", "list"]).ok().contains("coordination.kv_put").then_some(())
    });
    let verified = fleet.cli(&["audit", "verify", "--json"]).json();
    assert!(verified["broken_at"].is_null() && verified["rows"].as_u64() > Some(1), "{verified}");
    // A task, done by an agent.
    let submitted = fleet.rest("POST", "/agents/monitoring/tasks", r#"{"task_type":"summary","payload":{}}"#).ok();
    let task = format!("/tasks/{}", submitted["id"].as_str().unwrap());
    let done = wait_for("the task is done", LIMIT, || {
        Some(fleet.rest("GET", &task, "").ok()).filter(|task| task["state"] == "done")
    });
    assert!(done["result"].is_object(), "{done}");
    // A workflow, which uses a tool.
    let file = fleet.home.path("leaves.yaml");
    std::fs::write(&file, WORKFLOW).unwrap();
    fleet.cli(&["workflow", "define", file.to_str().unwrap()]).ok();
    fleet.cli(&["workflow", "start", "test/leaves", "--json"]).ok();
    wait_for("the workflow has left its key", LIMIT, || {
        fleet.mcp("/mcp").call("coordination__kv_get", json!({ "key": "by/workflow" })).ok()
    });
    let doctor = fleet.cli(&["doctor", "--json"]);
    assert!(doctor.out.contains("socket/flotilla answers"), "{doctor:?}");
    // Backups, by the server that makes them: a folder by itself comes of one.
    let made = fleet.call("recovery__backup", json!({}));
    assert_eq!(fleet.call("recovery__verify_backup", json!({ "name": made["name"] })), made);
    let restored = fleet.call("recovery__restore", json!({ "name": made["name"] }));
    assert!(restored["audit_rows"].as_u64() > Some(1), "{restored}");
    assert!(std::path::Path::new(restored["data_dir"].as_str().unwrap()).join("flotilla.db").exists());
}

#[test]
fn machines_that_share_a_database_are_one_fleet() {
    let Some(url) = schema() else { return };
    let (here, there) = (machine(&url, ""), machine(&url, ""));
    let coordinator = here.start(&["serve", "master-coordinator", "utilities", "--no-sandbox"]);
    let mut other = there.start(&["serve", "coordination", "logging", "--no-sandbox"]);
    let mcp = mcp(&coordinator, &here);
    let put = |value: u32| mcp.call("coordination__kv_put", json!({ "key": "k", "value": value }));
    wait_for("the other machine's service is found", LIMIT, || put(1).ok());
    assert_eq!(mcp.call("coordination__kv_get", json!({ "key": "k" })).unwrap()["entry"]["value"], 1);
    let keys = there.cli(&["token", "list", "--json"]).json();
    let names: Vec<&str> = keys.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("cli-")), "one for each machine: {names:?}");
    other.kill();
    let refused = put(2).unwrap_err();
    assert!(refused.starts_with("unavailable: "), "{refused}");
    let _again = there.start(&["serve", "coordination", "logging", "--no-sandbox"]);
    wait_for("it is found again", LIMIT, || put(3).ok());
}

/// The names of the parts that are down.
fn down(fleet: &Fleet) -> Vec<String> {
    let status = fleet.get("/status").ok();
    let parts = status["infrastructure"].as_object().unwrap().iter();
    parts.filter(|(_, part)| part["status"] == "down").map(|(name, _)| name.clone()).collect()
}

#[test]
fn a_database_that_dies_is_told_of_and_found_again() {
    const ON_IT: [&str; 5] = ["audit", "bus", "queue", "registry", "store"];
    let Some((server, url)) = Own::start() else { return };
    let home = machine(&url, "[auth]\nanonymous_role = \"viewer\"");
    let process = home.start(&["up", "--no-sandbox"]);
    let fleet = Fleet { process, home };
    let (mcp, nobody) = (fleet.mcp("/mcp"), Mcp::new(&format!("{}/mcp", fleet.url()), None));
    mcp.call("coordination__kv_put", json!({ "key": "k", "value": "kept" })).unwrap();
    let health = || http::send("GET", &format!("{}/health", fleet.url_of("utilities")), &[], b"").ok();
    assert_eq!(health()["status"], "healthy");
    let servers = fleet.get("/status").ok()["servers"].clone();
    server.kill();
    wait_for("it is said that the database is away", LIMIT, || (down(&fleet) == ON_IT).then_some(()));
    assert_eq!(fleet.get("/status").ok()["status"], "degraded");
    assert!(fleet.cli(&["status"]).out.contains("cannot be reached"));
    let (said, checks) = (health(), health()["checks"].to_string());
    assert!(said["status"] == "degraded" && checks.contains("PostgreSQL at "), "{said}");
    let doctor = fleet.cli(&["doctor"]);
    assert!(doctor.code == Some(1) && doctor.out.contains("✗ database: PostgreSQL at "), "{doctor:?}");
    // Whether a key still holds cannot be asked; who needs none is answered by what needs no database.
    let refused = wait_for("what was known of the key is too old", LIMIT, || {
        mcp.call("utilities__keccak256", json!({ "data": "x" })).err()
    });
    assert!(refused.starts_with("unavailable: "), "{refused}");
    assert!(nobody.call("utilities__keccak256", json!({ "data": "beside it" })).is_ok());
    let refused = nobody.call("coordination__kv_get", json!({ "key": "k" })).unwrap_err();
    assert!(refused.starts_with("unavailable: PostgreSQL at "), "{refused}");
    server.again().unwrap();
    wait_for("it is found again", LIMIT, || down(&fleet).is_empty().then_some(()));
    let entry =
        wait_for("what was kept is there", LIMIT, || mcp.call("coordination__kv_get", json!({ "key": "k" })).ok());
    assert_eq!(entry["entry"]["value"], "kept");
    wait_for("every service stands as before", LIMIT, || {
        (fleet.get("/status").ok()["servers"] == servers).then_some(())
    });
    wait_for("the call in between is recorded too", LIMIT, || {
        let trail = fleet.cli(&["audit", "list"]);
        (trail.code == Some(0) && trail.out.contains("utilities.keccak256") && trail.out.contains("beside it"))
            .then_some(())
    });
    assert!(fleet.cli(&["audit", "verify", "--json"]).json()["broken_at"].is_null());
}
