//! What fails is contained, what dies comes back, what comes and goes leaves nothing behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Fleet, LIMIT, http, wait_for};
use crate::upstream;

/// How often a service's supervisor has restarted it.
fn restarts(fleet: &Fleet, service: &str) -> u64 {
    let rows = fleet.get("/servers").ok();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == service).unwrap().clone();
    assert_eq!(row["status"], "healthy", "{row}");
    row["restarts"].as_u64().unwrap()
}

#[test]
fn a_service_is_restarted_from_the_command_line_by_rest_and_by_a_tool() {
    let fleet = Fleet::plain();
    assert_eq!(restarts(&fleet, "legacy"), 0);
    fleet.cli(&["restart", "legacy", "--reason", "a test"]).ok();
    assert_eq!(restarts(&fleet, "legacy"), 1);
    fleet.cli(&["server", "restart", "legacy"]).ok();
    assert_eq!(restarts(&fleet, "legacy"), 2);
    assert_eq!(fleet.rest("POST", "/servers/legacy/restart", "").status, 200);
    assert_eq!(restarts(&fleet, "legacy"), 3);
    fleet.call("master-coordinator__restart_service", json!({ "service": "legacy", "reason": "a test" }));
    assert_eq!(restarts(&fleet, "legacy"), 4);
    assert!(fleet.mcp("/mcp").call("legacy__list_aliases", json!({})).is_ok());
    assert!(fleet.mcp("/mcp/legacy").call("list_aliases", json!({})).is_ok());
}

#[test]
fn a_service_that_keeps_failing_is_given_up_and_hurts_no_other() {
    let config =
        "[supervision]\nrestart_first_ms = 1\ngive_up_after = 3\n[servers.monitoring]\nprometheus_url = \"nowhere\"";
    let fleet = Fleet::start(&["--no-sandbox"], config);
    let row = || {
        let rows = fleet.get("/servers").ok();
        rows.as_array().unwrap().iter().find(|row| row["name"] == "monitoring").unwrap().clone()
    };
    let row = wait_for("it is given up", LIMIT, || Some(row()).filter(|row| row["status"] == "failed"));
    assert!(row["last_error"].as_str().unwrap().contains("nowhere"), "{row}");
    let events = fleet.call("master-coordinator__list_events", json!({}));
    let of_it = |kind: &str| {
        let all = events["events"].as_array().unwrap().iter();
        all.filter(|event| event["kind"] == kind && event["data"]["service"] == "monitoring").count()
    };
    assert_eq!((of_it("service.failed"), of_it("service.given_up")), (2, 1), "{events}");
    assert_eq!(fleet.get("/status").ok()["status"], "degraded");
    assert_eq!(http::send("GET", &format!("{}/health", fleet.url_of("monitoring")), &[], b"").status, 503);
    assert!(fleet.mcp("/mcp").call("monitoring__health", json!({})).unwrap_err().starts_with("unavailable: "));
    assert!(fleet.mcp("/mcp").call("utilities__keccak256", json!({ "data": "x" })).is_ok());
    let again = fleet.cli(&["restart", "monitoring"]);
    assert!(again.code == Some(2) && again.err.contains("nowhere"), "a restart that fails says why: {again:?}");
}

#[test]
fn calls_beside_a_restart_are_answered_or_refused_in_words() {
    let fleet = Fleet::plain();
    let mcp = fleet.mcp("/mcp");
    let url = fleet.url().to_owned();
    let key = format!("Bearer {}", fleet.home.key());
    let restart = std::thread::spawn(move || {
        for _ in 0..5 {
            let headers = [("authorization", key.as_str())];
            assert_eq!(http::send("POST", &format!("{url}/servers/utilities/restart"), &headers, b"").status, 200);
        }
    });
    let (mut answered, mut refused) = (0, Vec::new());
    while !restart.is_finished() || answered == 0 {
        match mcp.call("utilities__keccak256", json!({ "data": "x" })) {
            Ok(_) => answered += 1,
            Err(why) => refused.push(why),
        }
    }
    restart.join().unwrap();
    assert!(refused.iter().all(|why| why.starts_with("unavailable: ")), "{refused:?}");
    assert!(mcp.call("utilities__keccak256", json!({ "data": "x" })).is_ok());
}

#[test]
fn a_tool_that_hangs_meets_its_time_limit_and_hurts_no_other() {
    let Some(fleet) = upstream::fleet("timeout_seconds = 1") else { return };
    let began = Instant::now();
    let hung = upstream::begin(&fleet, "third__hang", json!({}));
    assert!(fleet.mcp("/mcp").call("third__echo", json!({ "text": "beside it" })).is_ok());
    let refused = hung.join().unwrap().unwrap_err();
    assert!(refused.starts_with("timeout: "), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(fleet.mcp("/mcp").call("third__echo", json!({ "text": "after it" })).is_ok());
}

/// One client of revision 2025-11-25: comes, calls a tool of the upstream, goes; by the rules, or without a word.
fn come_and_go(fleet: &Fleet, politely: bool) {
    let (url, key) = (format!("{}/mcp", fleet.url()), format!("Bearer {}", fleet.home.key()));
    let send = |method: &str, session: &str, body: Value| {
        let mut headers = vec![
            ("authorization", key.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        if !session.is_empty() {
            headers.extend([("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")]);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        http::open(method, &url, &headers, body.as_bytes()).unwrap()
    };
    let info = json!({ "name": "visitor", "version": "1" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let opened = send("POST", "", hello).finish().unwrap();
    let session = opened.header("mcp-session-id").to_owned();
    assert!(opened.status == 200 && !session.is_empty(), "{opened:?}");
    send("POST", &session, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).finish().unwrap();
    let stream = send("GET", &session, Value::Null);
    assert_eq!(stream.status, 200);
    let params = json!({ "name": "third__echo", "arguments": { "text": "hi" } });
    let called = send("POST", &session, json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params }));
    assert_eq!(called.status, 200);
    if politely {
        let answer = called.finish().unwrap();
        assert!(answer.body.contains("\"hi\""), "{answer:?}");
        assert!(send("DELETE", &session, Value::Null).finish().unwrap().status < 300);
    }
}

#[test]
fn a_thousand_clients_that_come_and_go_leave_no_process_and_no_descriptor() {
    let Some(fleet) = upstream::fleet("") else { return };
    for _ in 0..10 {
        come_and_go(&fleet, true);
    }
    let (children, before) = (fleet.process.children(), fleet.process.descriptors());
    for number in 0..1_000 {
        come_and_go(&fleet, number % 2 == 0);
    }
    let few = 16;
    wait_for("their descriptors are closed", LIMIT, || (fleet.process.descriptors() <= before + few).then_some(()));
    assert_eq!(fleet.process.children(), children, "the same children as before, and no more");
    assert!(fleet.mcp("/mcp").call("third__echo", json!({ "text": "still here" })).is_ok());
}
