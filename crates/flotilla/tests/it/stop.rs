//! How a fleet stops: what is under way ends well, and nothing is left behind.

use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use crate::harness::{Fleet, LIMIT, http, process, wait_for};
use crate::upstream;

/// Sends `signal` while a call is under way.
fn drains_on(signal: i32) {
    let Some(mut fleet) = upstream::fleet("") else { return };
    let file = fleet.home.path("go");
    let call = upstream::begin(&fleet, "third__wait_for_file", json!({ "path": file.display().to_string() }));
    fleet.process.signal(signal);
    wait_for("the listener closes", LIMIT, || http::try_send("GET", fleet.url(), &[], b"").is_err().then_some(()));
    std::fs::write(file, "").unwrap();
    assert_eq!(call.join().unwrap().unwrap(), json!([{ "type": "text", "text": "done" }]));
    let children = fleet.process.children();
    let status = fleet.process.wait(LIMIT);
    assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", fleet.process.log());
    for (pid, line) in children {
        wait_for(&format!("{line} ends"), LIMIT, || (!process::lives(pid)).then_some(()));
    }
    assert_eq!(std::fs::read_dir(fleet.home.path("data/run")).unwrap().count(), 0, "its note is gone");
}

#[test]
fn sigterm_lets_a_call_under_way_finish() {
    drains_on(libc::SIGTERM);
}

#[test]
fn sigint_lets_a_call_under_way_finish() {
    drains_on(libc::SIGINT);
}

#[test]
fn open_streams_end_when_the_fleet_stops() {
    let mut fleet = Fleet::plain();
    let mut events = http::open("GET", &format!("{}/events", fleet.url()), &[], b"").unwrap();
    assert_eq!(events.status, 200);
    let mut listen = fleet
        .mcp("/mcp")
        .open("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }))
        .unwrap();
    assert_eq!(listen.body.event().unwrap().unwrap().json()["method"], "notifications/subscriptions/acknowledged");
    fleet.process.signal(libc::SIGTERM);
    while events.body.event().unwrap().is_some() {}
    let end = listen.body.event().unwrap().expect("a graceful end is a result");
    assert_eq!(end.json()["result"]["resultType"], "complete");
    assert_eq!(fleet.process.wait(LIMIT).code(), Some(0));
}

/// What cannot be written any more does not keep a fleet from ending.
#[test]
fn a_fleet_whose_data_folder_is_gone_still_stops() {
    let mut fleet = Fleet::plain();
    std::fs::remove_dir_all(fleet.home.path("data")).unwrap();
    fleet.process.signal(libc::SIGTERM);
    assert_eq!(fleet.process.wait(LIMIT).signal(), None, "{}", fleet.process.log());
}

#[test]
fn down_stops_every_process_of_the_folder_and_waits() {
    let mut fleet = Fleet::plain();
    let mut other = fleet.home.start(&["serve", "legacy", "--no-sandbox"]);
    let pids = [fleet.process.pid(), other.pid()];
    let told = fleet.cli(&["down", "--json"]).json();
    let mut stopped: Vec<i64> = told["stopped"].as_array().unwrap().iter().filter_map(|pid| pid.as_i64()).collect();
    stopped.sort_unstable();
    let mut expected = pids.map(i64::from).to_vec();
    expected.sort_unstable();
    assert_eq!((stopped, &told["running"]), (expected, &json!([])));
    for process in [&mut fleet.process, &mut other] {
        let status = process.wait(LIMIT);
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", process.log());
    }
    assert_eq!(std::fs::read_dir(fleet.home.path("data/run")).unwrap().count(), 0, "their notes are gone");
    let again = fleet.cli(&["down"]);
    assert!(again.code == Some(0) && again.err.contains("nothing runs on"), "{again:?}");
}

#[test]
fn down_says_when_a_process_does_not_end_in_time() {
    let mut fleet = Fleet::plain();
    // Stopped by the system, it hears nothing.
    fleet.process.signal(libc::SIGSTOP);
    let late = fleet.cli(&["down", "--timeout", "1"]);
    assert!(late.code == Some(7) && late.err.contains("has not ended within 1 s"), "{late:?}");
    fleet.process.signal(libc::SIGCONT);
    assert_eq!(fleet.process.wait(LIMIT).code(), Some(0), "it was told, and ends when it can");
}

#[test]
fn down_leaves_another_program_of_the_same_number_alone() {
    let home = crate::harness::Home::new("");
    home.cli(&["status"]);
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let notes = home.path("data/run");
    let note = json!({ "pid": other.id(), "coordinator": null, "dashboard": null, "services": {} });
    // Whatever this machine calls itself: a fleet's own note says it.
    let mut fleet = home.start(&["up", "--no-sandbox", "--mode", "dev"]);
    let own = std::fs::read_dir(&notes).unwrap().flatten().next().unwrap().file_name().into_string().unwrap();
    let named = own.replace(&fleet.pid().to_string(), &other.id().to_string());
    std::fs::write(notes.join(&named), note.to_string()).unwrap();
    let told = home.cli(&["down", "--json"]).json();
    assert_eq!(told["stopped"], json!([fleet.pid()]));
    assert!(!notes.join(named).exists(), "a note of nobody is taken away");
    assert_eq!(other.try_wait().unwrap(), None, "it still runs");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(fleet.wait(LIMIT).code(), Some(0));
}
