//! What leaves the fleet: one trace id from the door to the tool, in the logs, in the trail, and in what is exported.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::process::Group;
use crate::harness::receiver::Receiver;
use crate::harness::{Fleet, Home, LIMIT, Mcp, http, wait_for};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn call(mcp: &Mcp) {
    let params = json!({ "name": "utilities__keccak256", "arguments": { "data": "x" } });
    assert_eq!(mcp.send_with("tools/call", params, &[("traceparent", PARENT)]).status, 200);
}

/// The spans of one OTLP request that belong to the test's trace.
fn spans(body: &Value) -> Vec<Value> {
    let all =
        body.pointer("/resourceSpans/0/scopeSpans/0/spans").and_then(Value::as_array).cloned().unwrap_or_default();
    all.into_iter().filter(|span| span["traceId"] == TRACE).collect()
}

#[test]
fn traces_and_logs_reach_a_receiver() {
    let receiver = Receiver::start();
    let fleet = Fleet::start(&["--no-sandbox"], &format!("[telemetry]\notlp_endpoint = \"{}\"", receiver.url));
    call(&fleet.mcp("/mcp"));
    let (mut seen, mut line) = (Vec::new(), None);
    while seen.len() < 2 || line.is_none() {
        let (path, body) = receiver.wait_for("an export", |path, body| Some((path.to_owned(), body.clone())));
        match path.as_str() {
            "/v1/traces" => seen.extend(spans(&body)),
            "/v1/logs" => line = line.or(body.pointer("/resourceLogs/0/scopeLogs/0/logRecords/0").cloned()),
            other => panic!("an export to {other}"),
        }
    }
    // The way through the gateway, the tool's work: the one under the other, and both in the client's trace.
    let of = |name: &str| seen.iter().find(|span| span["name"].as_str().unwrap().starts_with(name)).unwrap();
    let (way, tool) = (of("gateway."), of("utilities.keccak256"));
    assert!(way["parentSpanId"].is_string(), "{way}");
    assert_eq!(tool["parentSpanId"], way["spanId"], "{tool}");
    assert!(line.unwrap()["body"]["stringValue"].is_string());
}

#[test]
fn an_export_that_nobody_takes_hurts_nothing() {
    let fleet = Fleet::start(&["--no-sandbox"], "[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"");
    for _ in 0..20 {
        call(&fleet.mcp("/mcp"));
    }
    assert_eq!(fleet.get("/health").ok()["status"], "healthy");
}

/// One trace across processes: the row of the call carries the id that its caller sent to the coordinator.
#[test]
fn a_trace_id_crosses_processes() {
    let receiver = Receiver::start();
    let home = Home::new(&format!("[telemetry]\notlp_endpoint = \"{}\"", receiver.url));
    let _other = home.start(&["serve", "utilities", "--no-sandbox"]);
    let coordinator = home.start(&["serve", "master-coordinator", "--no-sandbox"]);
    let mcp = Mcp::new(&format!("{}/mcp", coordinator.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    wait_for("utilities is found", LIMIT, || mcp.call("utilities__keccak256", json!({ "data": "x" })).ok());
    call(&mcp);
    let span =
        receiver.wait_for("the call's span", |path, body| (path == "/v1/traces").then(|| spans(body).pop()).flatten());
    assert!(span["name"].as_str().unwrap().contains("keccak256"), "{span}");
    let row = wait_for("the call's row", LIMIT, || {
        home.cli(&["audit", "list", "--trace", TRACE, "--json"]).json().as_array().unwrap().first().cloned()
    });
    assert_eq!(row["server"], "utilities");
}

/// Log lines of every process are found by the fleet's own log search.
#[test]
fn log_lines_are_found_by_search_and_on_the_command_line() {
    let fleet = Fleet::plain();
    fleet.cli(&["restart", "legacy", "--reason", "to be found again"]).ok();
    let found = wait_for("the line is kept", LIMIT, || {
        let ran = fleet.cli(&["logs", "--json", "-s", "found again"]);
        (!ran.out.is_empty()).then_some(ran.out)
    });
    let line: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    assert_eq!(line["fields"]["reason"], "to be found again", "{line}");
}

#[test]
fn lines_are_followed_as_they_come() {
    let fleet = Fleet::plain();
    let mut command = fleet.home.command(&["logs", "legacy", "--json", "-f"]);
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let group = Group::of(&child);
    let (tell, told) = std::sync::mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let marked = |line: &str| line.contains("Starting") && line.contains("legacy");
    wait_for("what was before", LIMIT, || told.try_recv().ok());
    while told.try_recv().is_ok() {}
    fleet.cli(&["restart", "legacy"]).ok();
    wait_for("the new line", LIMIT, || told.try_recv().ok().filter(|line| marked(line)));
    drop(group);
    child.wait().unwrap();
}

#[test]
fn lines_of_other_programs_are_taken_in() {
    let fleet = Fleet::plain();
    let (url, key) = (fleet.url_of("logging"), format!("Bearer {}", fleet.home.key()));
    let at = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos().to_string();
    let streams = json!([{ "stream": { "app": "web-shop", "level": "error" }, "values": [[at, "the till is open"]] }]);
    let body = json!({ "streams": streams }).to_string();
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let pushed = http::send("POST", &format!("{url}/loki/api/v1/push"), &headers, body.as_bytes());
    assert!(pushed.status < 300, "{pushed:?}");
    assert_eq!(http::send("POST", &format!("{url}/loki/api/v1/push"), &[], body.as_bytes()).problem().0, 401);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(body.replace("open", "shut").as_bytes()).unwrap();
    let gzip = [headers[0], headers[1], ("content-encoding", "gzip")];
    let pushed = http::send("POST", &format!("{url}/loki/api/v1/push"), &gzip, &packed.finish().unwrap());
    assert!(pushed.status < 300, "{pushed:?}");
    for unread in [("content-type", "text/html"), ("content-encoding", "zstd")] {
        let headers = [("authorization", key.as_str()), unread];
        let refused = http::send("POST", &format!("{url}/loki/api/v1/push"), &headers, body.as_bytes());
        assert_eq!((refused.status, refused.problem().1), (415, "unsupported".into()), "{unread:?}");
    }
    for message in ["the till is open", "the till is shut"] {
        let found = wait_for("the line is kept", LIMIT, || {
            let found = fleet.call("logging__search", json!({ "text": message }));
            found["lines"].as_array().unwrap().first().cloned()
        });
        assert_eq!((&found["message"], &found["level"]), (&json!(message), &json!("error")), "{found}");
    }
}

#[test]
fn each_call_is_counted_once() {
    let fleet = Fleet::start(&["--no-sandbox"], "[servers.monitoring]\nscrape_seconds = 1");
    for _ in 0..3 {
        call(&fleet.mcp("/mcp"));
    }
    assert!(fleet.mcp("/mcp").call("utilities__keccak256", json!({})).is_err());
    let metrics = fleet.get("/metrics").body;
    let ok = r#"mcp_commands_total{server="utilities",tool="keccak256",outcome="ok"} 3"#;
    let wrong = r#"mcp_commands_total{server="utilities",tool="keccak256",outcome="invalid_argument"} 1"#;
    assert!(metrics.contains(ok) && metrics.contains(wrong), "{metrics}");
    assert!(metrics.contains(r#"mcp_response_time_seconds_count{server="utilities",tool="keccak256"} 4"#), "{metrics}");
    let query = json!({ "query": "sum(mcp_commands_total{server=\"utilities\"})" });
    wait_for("the recorder has it", LIMIT, || {
        let answer = fleet.call("monitoring__query_metrics", query.clone());
        (answer["series"][0]["value"] == 4.0).then_some(())
    });
}
