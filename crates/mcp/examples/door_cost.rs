//! What a call costs at the door: CPU microseconds of `Door::serve` with a key, phases and a typed tool behind it, without a socket.
//!
//! `cargo run --release -p mcp --example door_cost`

#[path = "../tests/common/mod.rs"]
#[expect(dead_code, reason = "there is no listener here")]
mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use kernel::fake::World;
use kernel::metrics::Metrics;
use kernel::{Caller, Clock, Fault, Ports, Role, Tasks};
use mcp::auth::{Gate, Keys};
use mcp::http::{Door, DoorConfig};
use mcp::phases::{LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::{Features, Handler, Hints, McpServer, Tool, ToolSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const CALLS: u32 = 200_000;

struct Adder;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Sum {
    a: u32,
    b: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Total {
    total: u64,
}

impl McpServer for Adder {
    const NAME: &'static str = "adder";
    const INSTRUCTIONS: &'static str = "Adds.";
    type Config = ();
    type Ports = kernel::Ports;

    fn new(_ports: &Ports, _config: ()) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        let add: Tool<Sum, Total> = Tool::new("adder", "add", "adds", Hints::READ);
        set.add_pure(add, |_, Sum { a, b }| Ok(Total { total: u64::from(a) + u64::from(b) }));
    }
}

impl Features for Adder {}

struct OneKey;

#[async_trait]
impl Keys for OneKey {
    async fn caller_of(&self, _key: &str) -> Result<Option<Caller>, Fault> {
        Ok(Some(Caller::new("ann", Role::Operator)))
    }
}

const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}}}}"#;
const LEGACY: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}"#;
const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;

fn request(headers: &[(&str, &str)], body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::post("/mcp")
        .header("host", "localhost:4000")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("authorization", "Bearer flt_bench");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let sealer = Sealer::new(&[5; 32], clock.clone());
    let shared = Shared {
        phases: Phases::new(clock.clone(), Metrics::default(), Arc::new(common::NoTrail), LimitsConfig::default()),
        sealer: sealer.clone(),
        clock: clock.clone(),
        version: "1",
        tasks: None,
    };
    let service: Arc<dyn Handler> = Service::build::<Adder>(&World::default().ports(), (), shared)?;
    let auth = Arc::new(Gate::new(Arc::new(OneKey), sealer.clone()));
    let door = Door::new(DoorConfig::new(auth, sealer, tasks, clock));
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));

    let hello = door.serve(Arc::clone(&service), request(&[], HELLO), remote).await;
    let session = hello.headers()["mcp-session-id"].to_str()?.to_owned();
    let modern = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "add")];
    let legacy = [("mcp-protocol-version", "2025-11-25"), ("mcp-session-id", session.as_str())];
    for (what, headers, body) in [("2026-07-28", &modern[..], MODERN), ("2025-11-25", &legacy[..], LEGACY)] {
        let began = cpu_ns()?;
        for _ in 0..CALLS {
            let response = door.serve(Arc::clone(&service), request(headers, body), remote).await;
            let answer = response.into_body().collect().await?.to_bytes();
            if !answer.ends_with(b"}}") {
                return Err(String::from_utf8_lossy(&answer).into());
            }
        }
        report(what, (cpu_ns()? - began) as f64 / 1_000.0 / f64::from(CALLS));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn report(what: &str, us: f64) {
    println!("{what}: {us:.2} µs of CPU a call");
}

/// CPU time of this process, which other work on the machine does not distort.
fn cpu_ns() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}
