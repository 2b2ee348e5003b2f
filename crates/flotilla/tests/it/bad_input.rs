//! Bad input through the real port: each is refused with a clear error, and the fleet is well after.

use std::io::{Read, Write};
use std::net::TcpStream;

use expect_test::expect_file;
use serde_json::{Value, json};

use crate::harness::mcp::CURRENT;
use crate::harness::{Fleet, LIMIT, http, wait_for};

/// Descriptors that come and go with the databases, whoever calls.
const FEW: usize = 16;

/// Sends bytes as the body of a request of the current revision; status and error of the answer.
fn refusal(fleet: &Fleet, method: &str, name: &str, body: &[u8]) -> String {
    let key = format!("Bearer {}", fleet.home.key());
    let mut headers = vec![
        ("authorization", key.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", CURRENT),
        ("mcp-method", method),
    ];
    if !name.is_empty() {
        headers.push(("mcp-name", name));
    }
    let answer = http::send("POST", &format!("{}/mcp", fleet.url()), &headers, body);
    let body = answer.json();
    let shown = match &body["error"] {
        Value::Null if body["result"].is_object() => format!("isError: {}", body["result"]["content"][0]["text"]),
        Value::Null => format!("{}: {}", body["code"], body["detail"]),
        error => format!("{} {}", error["code"], error["message"]),
    };
    format!("{} {shown}", answer.status)
}

/// A `tools/call` of the current revision.
fn call(tool: &str, arguments: &str) -> Vec<u8> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": CURRENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{meta}}}}}"#
    )
    .into_bytes()
}

#[test]
fn whatever_comes_is_answered() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let (hash, uuid) = ("utilities__keccak256", "utilities__uuid");
    let huge = format!(r#"{{"count":{}}}"#, "9".repeat(400));
    let nested = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    let cases = [
        ("cut JSON", "tools/call", hash, b"{".to_vec()),
        ("nothing", "tools/call", hash, Vec::new()),
        ("an empty batch", "tools/call", hash, b"[]".to_vec()),
        ("null", "tools/call", hash, b"null".to_vec()),
        ("another JSON-RPC", "tools/call", hash, br#"{"jsonrpc":"1.0","id":1,"method":"tools/call"}"#.to_vec()),
        ("no UTF-8", "tools/call", hash, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec()),
        ("a bottomless body", "tools/call", hash, "[".repeat(100_000).into_bytes()),
        ("deep arguments", "tools/call", hash, call(hash, &nested)),
        ("no argument", "tools/call", hash, call(hash, "{}")),
        ("a wrong type", "tools/call", hash, call(hash, r#"{"data":7}"#)),
        ("an argument too many", "tools/call", hash, call(hash, r#"{"data":"x","more":1}"#)),
        ("arguments in a list", "tools/call", hash, call(hash, "[]")),
        ("an unknown tool", "tools/call", "utilities__kecak256", call("utilities__kecak256", "{}")),
        ("a number past all numbers", "tools/call", uuid, call(uuid, r#"{"count":1e400}"#)),
        ("an integer of 400 digits", "tools/call", uuid, call(uuid, &huge)),
        ("a negative count", "tools/call", uuid, call(uuid, r#"{"count":-1}"#)),
        ("another method in the header", "tools/list", hash, call(hash, r#"{"data":"x"}"#)),
        ("another name in the header", "tools/call", uuid, call(hash, r#"{"data":"x"}"#)),
        ("no metadata", "no/method", "", br#"{"jsonrpc":"2.0","id":1,"method":"no/method","params":{}}"#.to_vec()),
    ];
    let mut transcript = String::new();
    for (what, method, name, body) in cases {
        transcript.push_str(&format!("{what}\n  {}\n", refusal(&fleet, method, name, &body)));
        assert_eq!(fleet.get("/health").ok()["status"], "healthy", "after {what}");
    }
    expect_file!["golden/bad_input.txt"].assert_eq(&transcript);
}

/// A body that is too large is refused before it is sent.
#[test]
fn a_body_too_large_is_refused_at_its_head() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let (address, _) = http::split(fleet.url());
    let mut stream = http::connect(address).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nauthorization: Bearer {}\r\n\r\n",
        5 << 20,
        fleet.home.key(),
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(http::answer(stream).unwrap().status, 413);
    assert_eq!(fleet.get("/health").ok()["status"], "healthy");
}

#[test]
fn a_slow_client_is_let_go_and_a_thousand_others_are_served() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let (address, _) = http::split(fleet.url());
    let mut slow = http::connect(address).unwrap();
    slow.write_all(b"POST /mcp HTTP/1.1\r\nhost: ").unwrap();

    const CONNECTIONS: usize = 1_000;
    let before = fleet.process.descriptors();
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let open: Vec<TcpStream> = (0..CONNECTIONS).map(|_| http::connect(address).unwrap()).collect();
    wait_for("all are held", LIMIT, || (fleet.process.descriptors() >= before + CONNECTIONS).then_some(()));
    assert_eq!(fleet.get("/health").status, 200, "one more is served beside them");
    for mut stream in open {
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(http::answer(stream).unwrap().finish().unwrap().status, 200);
    }
    wait_for("all are let go", LIMIT, || (fleet.process.descriptors() <= before + FEW).then_some(()));

    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    let said = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_stream_leaves_nothing_behind() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let before = fleet.process.descriptors();
    for _ in 0..50 {
        let events = http::open("GET", &format!("{}/events", fleet.url()), &[], b"").unwrap();
        assert_eq!(events.status, 200);
        let listen = json!({ "notifications": { "toolsListChanged": true } });
        let mut stream = fleet.mcp("/mcp").open("subscriptions/listen", listen).unwrap();
        stream.body.event().unwrap().unwrap();
        drop((stream, events));
    }
    wait_for("their connections are closed", LIMIT, || (fleet.process.descriptors() <= before + FEW).then_some(()));
    assert_eq!(fleet.get("/health").ok()["status"], "healthy");
}
