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
