//! A backup of a fleet that works, put back into an empty folder: the same fleet.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::postgres::schema;
use crate::harness::{Fleet, Home};
use crate::postgres::machine;

/// The ids and types of all tasks of a queue.
fn tasks(fleet: &Fleet) -> Vec<(String, String)> {
    let listed = fleet.call("task-management__list_tasks", json!({ "queue": "nightly", "limit": 200 }));
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    listed["tasks"].as_array().unwrap().iter().map(|row| (text(row, "id"), text(row, "task_type"))).collect()
}

/// Backs a fleet up that works, ends it, and puts the backup into a new home: the same fleet.
fn is_the_same_in(from: Home, home: Home) -> (Fleet, String) {
    let process = from.start(&["up", "--no-sandbox"]);
    let mut fleet = Fleet { process, home: from };
    let submit = |number: usize| {
        let body = json!({ "queue": "nightly", "task_type": format!("t{number}") });
        fleet.call("task-management__submit_task", body)
    };
    for number in 0..20 {
        submit(number);
    }
    fleet.call("coordination__kv_put", json!({ "key": "colour", "value": "blue" }));
    let key = fleet.home.cli(&["token", "create", "laptop", "--role", "viewer", "--json"]).json();
    let before = tasks(&fleet);
    let (file, stop) = (home.path("one.backup"), AtomicBool::new(false));
    let file = file.to_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let more = (20..).take_while(|_| !stop.load(Ordering::Relaxed)).take(150);
            more.for_each(|number| drop(submit(number)));
        });
        let said = fleet.home.cli(&["backup", &file]).ok();
        assert!(said.is_empty(), "what is said goes to stderr: {said}");
        stop.store(true, Ordering::Relaxed);
    });
    let after = tasks(&fleet);
    fleet.process.kill();

    assert_eq!(home.cli(&["restore", &file, "--check", "--json"]).json()["whole"], true);
    let restored = home.cli(&["restore", &file, "--json"]).json();
    assert!(restored["audit_rows"].as_u64().unwrap() > 20, "{restored}");
    let process = home.start(&["up", "--no-sandbox"]);
    let again = Fleet { process, home };
    let kept = tasks(&again);
    assert!(before.iter().all(|task| kept.contains(task)), "what had returned before is in it: {kept:?}");
    assert!(kept.iter().all(|task| after.contains(task)), "and nothing that never was: {kept:?}");
    assert_eq!(again.call("coordination__kv_get", json!({ "key": "colour" }))["entry"]["value"], "blue");
    // A key of then works.
    again.home.cli(&["--token", key["token"].as_str().unwrap(), "ps"]).ok();
    again.home.cli(&["audit", "verify"]).ok();
    (again, file)
}

#[test]
fn a_backup_taken_under_load_is_the_same_fleet_in_another_folder() {
    let (again, file) = is_the_same_in(Home::new(""), Home::new(""));
    let refused = again.home.cli(&["restore", &file]);
    assert!(refused.code == Some(1) && refused.err.contains("is not empty"), "{}", refused.shown());
}

#[test]
fn a_backup_of_a_fleet_on_postgres_is_the_same_fleet_in_another_database() {
    let (Some(one), Some(other)) = (schema(), schema()) else { return };
    let (again, file) = is_the_same_in(machine(&one, ""), machine(&other, ""));
    assert!(again.process.screen["storage"].as_str().unwrap().starts_with("PostgreSQL "));
    assert!(!again.home.path("data/flotilla.db").exists());
    // What has something in it stays as it is, be it the folder or the database.
    let refused = machine(&one, "").cli(&["restore", &file]);
    assert!(refused.code == Some(1) && refused.err.contains("the database is not empty"), "{}", refused.shown());
    let refused = again.home.cli(&["restore", &file]);
    assert!(refused.code == Some(1) && refused.err.contains("is not empty"), "{}", refused.shown());
}
