//! The server that the official conformance suite is run against: every feature of the protocol, under the names the suite expects.
//!
//! `conformance_fixture [PORT]` prints its URL on the first line of stdout and serves until it is stopped. Callers need no key. It is also
//! an upstream for the gateway's own conformance run.

#![expect(unreachable_pub, reason = "`tools!` writes public constants, which in a binary nobody reaches")]

mod content;
mod features;
mod long;
mod rounds;

#[path = "../../tests/common/mod.rs"]
mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kernel::fake::World;
use kernel::metrics::Metrics;
use kernel::{Clock, Fault, Ports, Role, Tasks};
use mcp::auth::Anonymous;
use mcp::http::{Door, DoorConfig};
use mcp::phases::{LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::tasks::TaskStore;
use mcp::{Change, McpServer, ToolSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// The server.
pub struct Everything {
    changes: broadcast::Sender<Change>,
}

/// What a tool takes that takes nothing.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}

impl McpServer for Everything {
    const NAME: &'static str = "everything";
    const INSTRUCTIONS: &'static str = "Has one of each thing the protocol knows.";
    type Config = ();
    type Ports = kernel::Ports;

    fn new(_ports: &Ports, _config: ()) -> Result<Self, Fault> {
        Ok(Self { changes: broadcast::channel(mcp::handler::CHANGES_MAX).0 })
    }

    fn tools(set: &mut ToolSet<Self>) {
        content::add(set);
        rounds::add(set);
        long::add(set);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |port| port.parse())?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr()?;

    let (clock, tasks, world) = (Clock::system(), Tasks::new(), World::default());
    let store = Arc::new(kernel::fake::MemoryStore::new(clock.clone()));
    let sealer = Sealer::new(&kernel::ids::random_bytes(), clock.clone());
    let shared = Shared {
        phases: Phases::new(clock.clone(), Metrics::default(), Arc::new(common::NoTrail), LimitsConfig::default()),
        sealer: sealer.clone(),
        clock: clock.clone(),
        version: "1.0.0",
        tasks: Some(TaskStore::new(store, clock.clone(), tasks.clone())),
    };
    let service = Service::build::<Everything>(&world.ports(), (), shared)?;
    let auth = Arc::new(Anonymous::on(address.ip(), Role::Admin)?);
    let door = Door::new(DoorConfig::new(auth, sealer, tasks.clone(), clock));
    announce(&address);
    common::listen(listener, Arc::new(door), service, tasks).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever started this reads where it listens")]
fn announce(address: &SocketAddr) {
    println!("http://{address}/mcp");
}
