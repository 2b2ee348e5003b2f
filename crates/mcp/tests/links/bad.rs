//! Servers that answer nonsense, too much, too late or not at all: each a typed error, soon.

use std::net::Ipv4Addr;
use std::time::Duration;

use kernel::{Code, OnEnd, Tasks};
use mcp::client::AboutUs;
use mcp::client::http::{HttpServer, ModernLink, Target};
use mcp::{Identity, Link, LinkError};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::shop::{calling, ctx, target};

/// A server that answers every request with the same bytes, then closes.
async fn always(answer: Vec<u8>, tasks: &Tasks) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let each = tasks.clone();
    tasks.spawn("nonsense", OnEnd::Done, async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            each.spawn("one", OnEnd::Done, async move {
                let mut head = [0; 64 << 10];
                // One read has it all: the requests here are small.
                if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    stream.write_all(&answer).await.ok();
                }
            });
        }
    });
    url
}

fn known(target: &Target, tasks: &Tasks) -> std::sync::Arc<ModernLink> {
    let (name, title, version) = ("x".into(), "X".into(), "1".into());
    let identity = Identity { name, title, version, instructions: None, capabilities: json!({}) };
    ModernLink::to_known(target, identity.into(), AboutUs::new("test"), tasks.child()).unwrap()
}

fn http(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// What comes of an answer. Its server closes when it has said it, so nothing here waits for the time limit, which has room for a machine
/// that has more to do.
async fn outcome(answer: Vec<u8>) -> String {
    let tasks = Tasks::new();
    let url = always(answer, &tasks).await;
    let link = known(&Target { timeout: Duration::from_secs(60), ..target(&url) }, &tasks);
    let answered = link.request(&calling("x", json!({})), &ctx()).await;
    tasks.stop_because("test over");
    match answered {
        Ok(reply) => format!("ok: {}", reply.body),
        Err(LinkError::Rpc(error)) => format!("rpc: {error}"),
        Err(LinkError::Fault(fault)) => format!("{}: {}", fault.code, fault.message),
    }
}

#[tokio::test]
async fn every_nonsense_has_its_name() {
    let json = |body: &str| http("200 OK", "application/json", body);
    let events = |body: &str| http("200 OK", "text/event-stream", body);
    for (answer, want) in [
        (
            json(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","x":1e400}}"#),
            r#"ok: {"resultType":"complete","x":1e400}"#,
        ),
        (events("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"), "ok: {}"),
        (json(r#"{"jsonrpc":"2.0","id":1,"error":{"code":7,"message":"no"}}"#), "rpc: no (7)"),
        (
            http(
                "404 Not Found",
                "application/json",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"what"}}"#,
            ),
            "rpc: what (-32601)",
        ),
        (
            json("{"),
            "upstream: 127.0.0.1: not an answer: not a JSON-RPC message: EOF while parsing an object at line 1 column 1",
        ),
        (json(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#), "upstream: 127.0.0.1: not an answer to tools/call"),
        (
            json(r#"{"jsonrpc":"2.0","id":1,"result":[]}"#),
            "upstream: 127.0.0.1: an answer whose result is not an object",
        ),
        (
            json(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"magic"}}"#),
            "upstream: 127.0.0.1: an answer of the unknown type `magic`",
        ),
        (
            events("data: {\"jsonrpc\"\n\n"),
            "upstream: 127.0.0.1: not an answer: not a JSON-RPC message: EOF while parsing an object at line 1 column 10",
        ),
        (events(": nothing\n\n"), "unavailable: 127.0.0.1 ended its answer to tools/call too early"),
        (
            http("200 OK", "text/html", "<p>hello"),
            "upstream: 127.0.0.1 answers with text/html instead of JSON or events",
        ),
        (http("302 Found", "text/html", ""), "upstream: 127.0.0.1 answers 302 Found"),
        (
            http("401 Unauthorized", "text/plain", "who?"),
            "upstream: 127.0.0.1 refuses our credentials: 401 Unauthorized",
        ),
        (http("429 Too Many Requests", "text/plain", ""), "rate_limited: 127.0.0.1 wants fewer requests"),
        (http("503 Service Unavailable", "text/plain", ""), "unavailable: 127.0.0.1 answers 503 Service Unavailable"),
        (
            http("500 Internal Server Error", "text/plain", "a\u{7}b"),
            "upstream: 127.0.0.1 answers 500 Internal Server Error: a b",
        ),
        (
            Vec::new(),
            "unavailable: 127.0.0.1: connection lost before an answer: connection closed before message completed",
        ),
        (
            b"garbage\r\n\r\n".to_vec(),
            "unavailable: 127.0.0.1: connection lost before an answer: invalid HTTP version parsed",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{".to_vec(),
            "unavailable: 127.0.0.1: the answer broke off: end of file before message length reached",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{".to_vec(),
            "too_large: 127.0.0.1: the answer is larger than 16777216 bytes",
        ),
    ] {
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(outcome(answer).await, want, "{text}");
    }
}

#[tokio::test]
async fn endless_answers_are_bounded() {
    let endless = |head: &str| [head.as_bytes(), &vec![b'x'; 17 << 20]].concat();
    let json = endless("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
    assert!(outcome(json).await.starts_with("too_large"));
    let events = endless("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ");
    assert!(outcome(events).await.starts_with("too_large"));
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let tasks = Tasks::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let silent =
        Target { timeout: Duration::from_millis(100), ..target(&format!("http://{}", listener.local_addr().unwrap())) };
    let code = async |target: &Target| match known(target, &tasks).request(&calling("x", json!({})), &ctx()).await {
        Err(LinkError::Fault(fault)) => fault.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&silent).await, Code::Timeout);
    drop(listener);
    assert_eq!(code(&silent).await, Code::Unavailable);
    assert_eq!(code(&target("http://no-such-host.invalid/")).await, Code::Unavailable);
    tasks.stop_because("test over");
}

#[tokio::test]
async fn credentials_go_nowhere_else() {
    let tasks = Tasks::new();
    // It names another host as the place to post to, as the transport of 2024-11-05 allows.
    let elsewhere = http("200 OK", "text/event-stream", "event: endpoint\ndata: http://example.com/steal\n\n");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/sse", listener.local_addr().unwrap());
    tasks.spawn("old", OnEnd::Done, async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4 << 10];
            let read = stream.read(&mut head).await.unwrap();
            let answer = if head[..read].starts_with(b"GET") {
                elsewhere.clone()
            } else {
                http("405 Method Not Allowed", "text/plain", "")
            };
            stream.write_all(&answer).await.ok();
        }
    });
    let server = HttpServer::probe(&target(&url), AboutUs::new("test"), tasks.child()).await.unwrap();
    let error = server.session(mcp::client::User::default()).await.err().unwrap();
    assert!(error.to_string().contains("names an address that is not on it"), "{error}");
    tasks.stop_because("test over");
}
