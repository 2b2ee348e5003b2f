//! A gateway with one upstream, for the official conformance suite: what passes at the upstream must pass through here.
//!
//! `conformance_gateway UPSTREAM-URL [PORT]` prints the URL under which the upstream is served, and serves until it is stopped. Callers
//! need no key.

#[path = "../../mcp/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::remote::OverHttp;
use gateway::upstream::{Secrets, UpstreamSpec, Upstreams};
use gateway::{Config, Gateway, Selector, Setup};
use kernel::fake::World;
use kernel::metrics::Metrics;
use kernel::{Caller, Clock, Fault, Role, Secret};
use mcp::auth::Anonymous;
use mcp::http::{Door, DoorConfig};
use mcp::phases::{LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::Shared;
use serde_json::json;
use tokio::net::TcpListener;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &str) -> Result<Secret, Fault> {
        Err(Fault::not_configured(format!("{reference}: there are no secrets here")))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: conformance_gateway UPSTREAM-URL [PORT]")?;
    let port = std::env::args().nth(2).map_or(Ok(0), |port| port.parse())?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr()?;

    let (clock, world) = (Clock::system(), World::default());
    let mut ports = world.ports();
    ports.clock = clock.clone();
    let sealer = Sealer::new(&kernel::ids::random_bytes(), clock.clone());
    let shared = Shared {
        phases: Phases::new(clock.clone(), Metrics::default(), Arc::new(common::NoTrail), LimitsConfig::default()),
        sealer: sealer.clone(),
        clock: clock.clone(),
        version: "1.0.0",
        tasks: None,
    };
    let gateway = Gateway::new(Setup {
        config: Config::default(),
        ports: ports.clone(),
        shared,
        mode: "conformance".into(),
        expected: Vec::new(),
        process: "here".into(),
        reach: Arc::new(OverHttp::new(sealer.clone(), "1.0.0")),
        settings: Vec::new(),
    });
    let upstreams = Upstreams::start(&gateway, &ports, Arc::new(NoSecrets), BTreeMap::new()).await?;
    let spec: UpstreamSpec = serde_json::from_value(json!({ "name": "fixture", "url": url, "allow_private": true }))?;
    let upstream = upstreams.add(spec, &Caller::new("conformance", Role::Admin)).await?;
    let status = upstream.settled(Duration::from_secs(10)).await;
    if !status.state.serves() {
        return Err(format!("the upstream does not serve: {}", status.last_error.unwrap_or_default()).into());
    }

    let auth = Arc::new(Anonymous::on(address.ip(), Role::Admin)?);
    let door = Door::new(DoorConfig::new(auth, sealer, ports.tasks.clone(), clock));
    announce(&address);
    let handler = gateway.handler(Selector::One("fixture".into()))?;
    common::listen(listener, Arc::new(door), handler, ports.tasks.clone()).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever started this reads where it listens")]
fn announce(address: &SocketAddr) {
    println!("http://{address}/mcp/fixture");
}
