//! What clients get wrong or mean ill, through a real socket: each a clear error, and the door as good as before.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::fake::World;
use kernel::metrics::Metrics;
use kernel::{Caller, Clock, Fault, OnEnd, Ports, Role, Tasks};
use mcp::auth::{Gate, Keys};
use mcp::http::{Door, DoorConfig};
use mcp::phases::{LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::{Features, Hints, McpServer, Tool, ToolError, ToolSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a body may take here.
const BODY_TIME: Duration = Duration::from_millis(300);
const BODY_BYTES_MAX: usize = 64 << 10;

struct Adder {
    began: Arc<AtomicBool>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sum {
    a: u32,
    b: u32,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Total {
    total: u64,
}

const ADD: Tool<Sum, Total> = Tool::new("adder", "add", "adds", Hints::READ);
const HANG: Tool<Value, Total> = Tool::new("adder", "hang", "hangs until it is cancelled", Hints::READ);

/// Says so when the call it belongs to ends.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl McpServer for Adder {
    const NAME: &'static str = "adder";
    const INSTRUCTIONS: &'static str = "Adds.";
    type Config = ();
    type Ports = kernel::Ports;

    fn new(_ports: &Ports, _config: ()) -> Result<Self, Fault> {
        Ok(Self { began: Arc::default(), cancelled: Arc::default() })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_pure(ADD, |_, Sum { a, b }| Ok(Total { total: u64::from(a) + u64::from(b) }));
        set.add(HANG, |server, _, ctx| async move {
            let _ended = Ended(Arc::clone(&server.cancelled));
            ctx.progress(1.0, None, None).await;
            server.began.store(true, Ordering::SeqCst);
            std::future::pending::<Result<Total, ToolError>>().await
        });
    }
}

impl Features for Adder {}

struct OneKey;

#[async_trait]
impl Keys for OneKey {
    async fn caller_of(&self, key: &str) -> Result<Option<Caller>, Fault> {
        Ok((key == "flt_good").then(|| Caller::new("ann", Role::Operator)))
    }
}

struct Bench {
    address: SocketAddr,
    began: Arc<AtomicBool>,
    cancelled: Arc<AtomicBool>,
    tasks: Tasks,
}

impl Bench {
    async fn new() -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let sealer = Sealer::new(&[5; 32], clock.clone());
        let shared = Shared {
            phases: Phases::new(clock.clone(), Metrics::default(), Arc::new(common::NoTrail), LimitsConfig::default()),
            sealer: sealer.clone(),
            clock: clock.clone(),
            version: "1",
            tasks: None,
        };
        let server = Arc::new(Adder::new(&World::default().ports(), ()).unwrap());
        let (began, cancelled) = (Arc::clone(&server.began), Arc::clone(&server.cancelled));
        let auth = Arc::new(Gate::new(Arc::new(OneKey), sealer.clone()));
        let config = DoorConfig {
            body_time: BODY_TIME,
            body_bytes_max: BODY_BYTES_MAX,
            ..DoorConfig::new(auth, sealer, tasks.clone(), clock)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listen = common::listen(listener, Arc::new(Door::new(config)), Service::of(server, shared), tasks.clone());
        tasks.spawn("listener", OnEnd::Done, listen);
        Self { address, began, cancelled, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request of these header lines and this body; gives back the response's status, head and body.
    async fn raw(&self, head: &str, body: &[u8]) -> (u16, String, Value) {
        let mut stream = self.connect().await;
        // One that is refused before its end is read may be cut off while it is sent.
        let request = [head.as_bytes(), b"connection: close\r\n\r\n", body].concat();
        stream.write_all(&request).await.ok();
        read(&mut stream).await
    }

    async fn post(&self, headers: &str, body: &[u8]) -> (u16, Value) {
        let head = format!("{HEAD}{KEY}{headers}content-length: {}\r\n", body.len());
        let (status, _, body) = self.raw(&head, body).await;
        (status, body)
    }

    async fn call(&self, tool: &str, arguments: &str) -> (u16, Value) {
        self.post(&modern("tools/call", tool), call(tool, arguments).as_bytes()).await
    }

    /// Everything still works.
    async fn is_well(&self) {
        let (status, body) = self.call("add", r#"{"a":1,"b":2}"#).await;
        assert_eq!((status, &body["result"]["structuredContent"]["total"]), (200, &json!(3)));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.stop_because("test over");
    }
}

const HEAD: &str = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
const KEY: &str = "authorization: Bearer flt_good\r\n";

fn modern(method: &str, name: &str) -> String {
    format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n")
}

fn call(tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"progressToken":1}}}}}}"#
    )
}

async fn read(stream: &mut TcpStream) -> (u16, String, Value) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn what_is_no_message_is_refused_by_name() {
    let bench = Bench::new().await;
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    for (body, code) in [
        (&b"{"[..], -32700),
        (b"", -32700),
        (b"nonsense", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700),
        (deep.as_bytes(), -32600),
        (b"3", -32600),
        (br#"{"id":1,"method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":99999999999999999999999999,"method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[1]}"#, -32602),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, -32602),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":7}}"#, -32602),
    ] {
        let (status, answer) = bench.post(&modern("tools/list", "x"), body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!((status, answer["error"]["code"].as_i64()), (400, Some(code)), "{shown}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap_or_default().is_empty(), "{shown}");
    }
    bench.is_well().await;
}

#[tokio::test]
async fn what_is_no_call_is_refused_with_a_hint() {
    let bench = Bench::new().await;
    let (status, answer) = bench.call("ad", "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32602)));
    assert_eq!(answer["error"]["message"], "unknown tool: ad; did you mean `add`?");
    for (arguments, message) in [
        (r#"{"a":1}"#, "arguments: missing field `b`"),
        (r#"{"a":1,"b":2,"c":3}"#, "arguments.c: unknown field `c`, expected `a` or `b`"),
        (r#"{"a":"1","b":2}"#, "arguments.a: invalid type: string \"1\", expected u32"),
        (r#"{"a":1.5,"b":2}"#, "arguments.a: invalid type: floating point `1.5`, expected u32"),
        (r#"{"a":-1,"b":2}"#, "arguments.a: invalid value: integer `-1`, expected u32"),
        (r#"{"a":123456789012345678901234567890,"b":2}"#, "arguments.a: "),
    ] {
        let (status, answer) = bench.call("add", arguments).await;
        let result = &answer["result"];
        assert_eq!((status, &result["isError"]), (200, &json!(true)), "{arguments}: {answer}");
        assert_eq!(result["_meta"]["flotilla/error"]["code"], "invalid_argument", "{arguments}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(message), "{arguments}: {text}");
    }
    let (status, answer) = bench.call("add", "[1,2]").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32602)), "{answer}");
    bench.is_well().await;
}

#[tokio::test]
async fn headers_that_disagree_with_the_body_or_come_from_elsewhere_are_refused() {
    let bench = Bench::new().await;
    let body = call("add", r#"{"a":1,"b":2}"#);
    for headers in [
        modern("tools/list", "add"),
        modern("tools/call", "hang"),
        modern("tools/call", "add").replace("2026-07-28", "2025-06-18"),
        "mcp-protocol-version: 2026-07-28\r\n".into(),
    ] {
        let (status, answer) = bench.post(&headers, body.as_bytes()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32020)), "{headers}");
    }
    for (head, status) in [
        (HEAD.replace("localhost", "evil.example"), 403),
        (HEAD.replace("localhost", "localhost.evil.example"), 403),
        (format!("{HEAD}origin: http://evil.example\r\n"), 403),
        (format!("{HEAD}origin: null\r\n"), 403),
        (HEAD.replace("application/json", "text/plain"), 415),
        (format!("{HEAD}accept: text/html\r\n"), 406),
        (HEAD.replace("POST", "PATCH"), 405),
    ] {
        let head = format!("{head}{KEY}{}content-length: {}\r\n", modern("tools/call", "add"), body.len());
        let (seen, _, problem) = bench.raw(&head, body.as_bytes()).await;
        assert_eq!(seen, status, "{head}");
        assert!(problem["detail"].is_string() && problem["code"].is_string(), "{head}: {problem}");
    }
    for key in ["", "authorization: Bearer flt_bad\r\n", "authorization: Basic eDp5\r\n", "x-api-key: flt_bad\r\n"] {
        let head = format!("{HEAD}{key}content-length: {}\r\n", body.len());
        let (status, head, problem) = bench.raw(&head, body.as_bytes()).await;
        assert_eq!((status, &problem["code"]), (401, &json!("unauthenticated")), "{key}");
        assert!(head.contains("www-authenticate: Bearer"), "{head}");
    }
    bench.is_well().await;
}

#[tokio::test]
async fn bodies_too_large_or_too_slow_are_not_waited_for() {
    let bench = Bench::new().await;
    let head = format!("{HEAD}{KEY}{}", modern("tools/call", "add"));
    let (status, _, problem) = bench.raw(&format!("{head}content-length: 999999999\r\n"), b"{").await;
    assert_eq!((status, &problem["code"]), (413, &json!("too_large")));
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000));
    let chunks = format!("{chunk}{chunk}0\r\n\r\n");
    let (status, _, problem) = bench.raw(&format!("{head}transfer-encoding: chunked\r\n"), chunks.as_bytes()).await;
    assert_eq!((status, &problem["code"]), (413, &json!("too_large")));
    let (status, _, problem) = bench.raw(&format!("{head}content-length: 10\r\n"), b"{").await;
    assert_eq!((status, &problem["code"]), (408, &json!("timeout")));
    bench.is_well().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_call_along() {
    // In the middle of a stream, and before anything was said.
    for token in [r#""progressToken":1"#, r#""other":1"#] {
        let bench = Bench::new().await;
        let body = call("hang", "{}").replace(r#""progressToken":1"#, token);
        let headers = modern("tools/call", "hang");
        let request = format!("{HEAD}{KEY}{headers}content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = bench.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        while !bench.began.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let mut seen = Vec::new();
        while token.contains("progress") && !String::from_utf8_lossy(&seen).contains("notifications/progress") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        assert!(!bench.cancelled.load(Ordering::SeqCst));
        drop(stream);
        while !bench.cancelled.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        bench.is_well().await;
    }
}

#[tokio::test]
async fn a_thousand_clients_at_once_are_all_answered() {
    raise_file_limit();
    let bench = Arc::new(Bench::new().await);
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        streams.push(bench.connect().await);
    }
    let body = call("add", r#"{"a":1,"b":2}"#);
    let headers = modern("tools/call", "add");
    let request = format!("{HEAD}{KEY}{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    for stream in &mut streams {
        let (status, _, answer) = read(stream).await;
        assert_eq!((status, &answer["result"]["structuredContent"]["total"]), (200, &json!(3)));
    }
    drop(streams);
    bench.is_well().await;
}

/// Both ends of a thousand connections are in this process, and some systems start it with 1,024 descriptors or fewer.
#[expect(unsafe_code, reason = "the standard library has no call for a process's limits")]
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one struct given, for the time of the call.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < 4_096 {
            limit.rlim_cur = limit.rlim_max.min(4_096);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
