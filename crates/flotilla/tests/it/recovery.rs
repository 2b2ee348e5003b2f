//! What failed, and the ways back, at the fleet's endpoint.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, Mcp, Process, wait_for};

/// How long a playbook may take, and whoever takes it up after a crash.
const TIME: Duration = Duration::from_secs(120);

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
    let run = &run["run"];
    assert_eq!(run["workflow"], "playbooks/incident-response/1.1.0", "{run}");
    let ended = wait_for("the playbook ends", TIME, || {
        let run = fleet.call("orchestration__status", json!({ "run": run["run"], "wait_seconds": 20 }));
        run["ended_ms"].is_i64().then_some(run)
    });
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("completed"), &json!({ "service": "logging", "closed": true })),
        "{ended}"
    );
    assert_eq!(fleet.cli(&["status", "logging", "--json"]).json()["restarts"], 3, "by the playbook");
    let events = fleet.call("coordination__read_topic", json!({ "topic": "workflows" }));
    let kinds = events["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap());
    let told: Vec<&str> = kinds.filter(|kind| kind.starts_with("io.flotilla.")).collect();
    assert_eq!(told, ["io.flotilla.incident.opened", "io.flotilla.incident.closed"], "{events}");
}

#[test]
fn the_agent_recovers_what_its_supervisor_has_given_up_and_a_crash_in_between_repeats_nothing() {
    let home = Home::new("[supervision]\ngive_up_after = 1\n[agents.recovery]\nwatch_seconds = 1");
    let core = home.start(&["serve", "coordination", "legacy"]);
    let roles = ["serve", "master-coordinator", "orchestration", "recovery", "agent:recovery"];
    let mut crew = home.start(&roles);
    let mcp =
        |crew: &Process| Mcp::new(&format!("{}/mcp", crew.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    let first = mcp(&crew);
    wait_for("all are met", LIMIT, || first.call("legacy__list_aliases", json!({})).ok());
    // It answers when the agent has brought the service back, or not at all: its process is killed before.
    let drill = {
        let drilling = mcp(&crew);
        std::thread::spawn(move || drilling.call("recovery__drill", json!({ "service": "legacy" })))
    };
    let incident = |mcp: &Mcp| mcp.call("recovery__incident", json!({ "id": "inc_00000001" })).ok();
    // The playbook has restarted it, and waits to see whether that helped (or has ended, on a slow machine).
    let playbook = wait_for("the playbook waits", TIME, || {
        let incident = incident(&first)?;
        let restarted = |moment: &Value| moment["what"] == "recovery.restart";
        let playbook = incident["playbooks"][0].clone();
        let run = first.call("orchestration__status", json!({ "run": playbook["run"] })).ok()?;
        let waits = run["status"] == "waiting" || run["ended_ms"].is_i64();
        (waits && incident["timeline"].as_array()?.iter().any(restarted)).then_some(playbook)
    });
    crew.kill();
    // Whether it heard of its end or of the fleet's is the machine's affair.
    drill.join().unwrap().ok();
    let crew = home.start(&roles);
    let second = mcp(&crew);
    let over = wait_for("the playbook has ended and the incident is closed", TIME, || {
        let incident = incident(&second)?;
        (incident["playbooks"][0]["ended_ms"].is_i64() && incident["resolved_ms"].is_i64()).then_some(incident)
    });
    assert_eq!((&over["subject"], &over["kind"]), (&json!("legacy"), &json!("drill")), "{over}");
    let playbooks = over["playbooks"].as_array().unwrap();
    assert_eq!((playbooks.len(), &playbooks[0]["run"]), (1, &playbook["run"]), "{over}");
    assert_eq!((&playbooks[0]["status"], &playbooks[0]["by"]), (&json!("completed"), &json!("agent:recovery")));
    let mut what: Vec<&str> =
        over["timeline"].as_array().unwrap().iter().map(|moment| moment["what"].as_str().unwrap()).collect();
    // Events are taken in beside what is done.
    what.sort_unstable();
    let all = [
        "playbook.begun",
        "playbook.completed",
        "recovery.drill",
        "recovery.restart",
        "service.given_up",
        "service.started",
    ];
    assert_eq!(what, all, "{over}");
    assert!(second.call("legacy__list_aliases", json!({})).is_ok(), "it does its work again");
    drop(core);
}

#[test]
fn a_process_that_is_killed_is_back_with_all_its_services_when_it_is_started_again() {
    let home = Home::new("");
    let crew = home.start(&["serve", "master-coordinator", "coordination", "recovery"]);
    let mut other = home.start(&["serve", "legacy", "utilities"]);
    let mcp = Mcp::new(&format!("{}/mcp", crew.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    let answers =
        || mcp.call("legacy__list_aliases", json!({})).is_ok() && mcp.call("utilities__uuid", json!({})).is_ok();
    wait_for("all are met", LIMIT, || answers().then_some(()));
    other.kill();
    wait_for("it is missed", LIMIT, || {
        let told = mcp.call("master-coordinator__service_status", json!({ "service": "legacy" })).ok()?;
        (told["status"] == "down").then_some(())
    });
    let gone = mcp.call("recovery__drill", json!({ "service": "legacy" })).unwrap_err();
    assert!(gone.starts_with("unavailable: legacy does not serve"), "{gone}");
    let again = home.start(&["serve", "legacy", "utilities"]);
    wait_for("all are back", LIMIT, || answers().then_some(()));
    drop(again);
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
