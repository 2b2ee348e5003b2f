//! What a call costs in the gateway: CPU microseconds from the view's handler to the answer, phases, metrics and audit included, for a
//! server of the same process and for one of another. The other process is a thread of its own that is not counted.
//!
//! `cargo run --release -p gateway --example call_cost`

use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use gateway::remote::OverHttp;
use gateway::{Gateway, Selector, Setup};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kernel::audit::{Record, Recorder};
use kernel::fake::{FakeFleet, World};
use kernel::fleet::Instance;
use kernel::{Caller, OnEnd, Role, Tasks, Trace};
use mcp::auth::{Gate, Keys};
use mcp::http::{Door, DoorConfig};
use mcp::phases::{LimitsConfig, Phases, Trail};
use mcp::prelude::*;
use mcp::seal::Sealer;
use mcp::service::Shared;
use mcp::wire::{Id, Params, Request};
use mcp::{Handler, Service};
use serde_json::json;
use tokio::net::TcpListener;

const CALLS: u32 = 60_000;
const AT_ONCE: u32 = 32;

/// A server with one small tool.
struct Adder;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Empty {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Two {
    a: i64,
    b: i64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Total {
    total: i64,
}

tools! { "utilities";
    /// Adds two numbers.
    ADD = "add": fn(Two) -> Total, Hints::READ;
}

impl McpServer for Adder {
    const NAME: &'static str = "utilities";
    const INSTRUCTIONS: &'static str = "Adds.";
    type Config = Empty;
    type Ports = kernel::Ports;

    fn new(_: &Ports, _: Empty) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_pure(ADD, |_, two| Ok(Total { total: two.a + two.b }));
    }
}

impl Features for Adder {}

struct Rows(Recorder);

#[async_trait]
impl Trail for Rows {
    async fn record(&self, record: Record) -> Result<(), Fault> {
        self.0.record(record).await
    }
}

struct NoKeys;

#[async_trait]
impl Keys for NoKeys {
    async fn caller_of(&self, _: &str) -> Result<Option<Caller>, Fault> {
        Ok(None)
    }
}

fn shared(world: &World) -> Shared {
    let trail = Arc::new(Rows(Recorder::start(world.audit.clone(), &world.tasks)));
    let limits = LimitsConfig { calls_per_second: 1e9, burst: u32::MAX, concurrent_per_key: 1_024 };
    Shared {
        phases: Phases::new(world.clock.clone(), world.metrics.clone(), trail, limits),
        sealer: Sealer::new(&[7; 32], world.clock.clone()),
        clock: world.clock.clone(),
        version: "1",
        tasks: None,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || serve(listener));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        measure("in the same process", None).await?;
        measure("in another process", Some(address)).await
    })
}

async fn measure(place: &str, elsewhere: Option<SocketAddr>) -> Result<(), Box<dyn Error>> {
    let world = World::default();
    let shared = shared(&world);
    let gateway = Gateway::new(Setup {
        config: gateway::Config::default(),
        ports: world.ports(),
        shared: shared.clone(),
        mode: "bench".into(),
        expected: Vec::new(),
        process: "here".into(),
        reach: Arc::new(OverHttp::new(shared.sealer.clone(), "1")),
        settings: Vec::new(),
    });
    match elsewhere {
        None => gateway.add_local(Service::of(Arc::new(Adder), shared)),
        Some(address) => {
            let instance = FakeFleet::server("utilities", &format!("http://{address}"), 0);
            gateway.set_instances(vec![Instance { process: "there".into(), ..instance }]);
        }
    }
    while gateway.table().entries.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let handler = gateway.handler(Selector::All)?;
    for at_once in [1, AT_ONCE] {
        let (began, wall) = (cpu_ns()?, Instant::now());
        let each = CALLS / at_once;
        for done in join_all((0..at_once).map(|_| work(&*handler, each))).await {
            done?;
        }
        let (cpu, wall) = ((cpu_ns()? - began) as f64 / 1_000.0, wall.elapsed().as_secs_f64());
        report(place, at_once, cpu / f64::from(CALLS), f64::from(CALLS) / wall);
    }
    world.tasks.drain(Duration::from_secs(5)).await;
    Ok(())
}

async fn work(handler: &dyn Handler, calls: u32) -> Result<(), Box<dyn Error>> {
    let params = Params::of(&json!({
        "name": "utilities__add",
        "arguments": { "a": 1, "b": 2 },
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
            "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
        },
    }))?;
    let request = Request { id: Id::Number(1), method: "tools/call".into(), params };
    let ctx = Ctx::internal(Caller::new("ann", Role::Operator), Trace::root());
    for _ in 0..calls {
        let reply = handler.handle(request.clone(), ctx.clone()).await?;
        if !reply.body.get().contains(r#""total":3"#) {
            return Err(format!("not the answer: {}", reply.body).into());
        }
    }
    Ok(())
}

fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let (world, tasks) = (World::default(), Tasks::new());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let shared = shared(&world);
        let gate = Gate::new(Arc::new(NoKeys), shared.sealer.clone());
        let config = DoorConfig::new(Arc::new(gate), shared.sealer.clone(), tasks.child(), shared.clock.clone());
        let (door, service) = (Arc::new(Door::new(config)), Service::of(Arc::new(Adder), shared));
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, remote) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (door, service) = (Arc::clone(&door), Arc::clone(&service));
            tasks.spawn("connection", OnEnd::Done, async move {
                let answer = service_fn(|request| async {
                    Ok::<_, Infallible>(door.serve(Arc::clone(&service) as Arc<dyn Handler>, request, remote).await)
                });
                // An error is a client that left.
                http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
            });
        }
    })
}

#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn report(place: &str, at_once: u32, us: f64, per_second: f64) {
    println!("{place}, {at_once} at once: {us:.2} µs of CPU a call, {per_second:.0} calls/s");
}

/// CPU time of this thread, which other work on the machine does not distort.
fn cpu_ns() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}
