//! What a call costs on its way to an upstream: CPU microseconds of a link over HTTP, the system's share for the sockets among them.
//! The upstream runs on a thread of its own that is not counted; it answers with the same bytes always.
//!
//! `cargo run --release -p mcp --example link_cost`

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kernel::{Caller, OnEnd, Role, Tasks, Trace};
use mcp::client::AboutUs;
use mcp::client::http::{ModernLink, Target};
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Identity, Link};
use serde_json::json;
use tokio::net::TcpListener;

const CALLS: u32 = 60_000;
const AT_ONCE: u32 = 32;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    std::thread::spawn(move || serve(listener));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&url))
}

async fn measure(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let tasks = Tasks::new();
    let timeout = Duration::from_secs(60);
    let target =
        Target { url: url.parse()?, headers: HeaderMap::new(), allow_private: true, timeout, credentials: None };
    let (name, title, version) = ("x".into(), "X".into(), "1".into());
    let identity = Identity { name, title, version, instructions: None, capabilities: json!({}) };
    let link = ModernLink::to_known(&target, Arc::new(identity), AboutUs::new("1"), tasks.child())?;
    let params = Params::of(&json!({
        "name": "add",
        "arguments": { "a": 1, "b": 2 },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
            "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
        },
    }))?;
    let request = Request { id: Id::Number(1), method: "tools/call".into(), params };
    for at_once in [1, AT_ONCE] {
        let worker = async || {
            let ctx = Ctx::internal(Caller::new("ann", Role::Operator), Trace::root());
            for _ in 0..CALLS / at_once {
                link.request(&request, &ctx).await?;
            }
            Ok::<(), mcp::LinkError>(())
        };
        let began = cpu_ns()?;
        for done in join_all((0..at_once).map(|_| worker())).await {
            done.map_err(|error| error.to_string())?;
        }
        report(at_once, (cpu_ns()? - began) as f64 / 1_000.0 / f64::from(CALLS));
    }
    Ok(())
}

fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let tasks = Tasks::new();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tasks.spawn("connection", OnEnd::Done, async move {
                // An error is a client that left.
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
            });
        }
    })
}

async fn answer(request: http::Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    // The id is the only part that differs.
    let id = text.split(r#""id":"#).nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("null");
    let result = r#"{"resultType":"complete","content":[{"type":"text","text":"{\"total\":3}"}],"structuredContent":{"total":3}}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn report(at_once: u32, us: f64) {
    println!("{at_once} at once: {us:.2} µs of CPU a call");
}

/// CPU time of this thread, which other work on the machine does not distort.
fn cpu_ns() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}
