//! From configuration to a chain.

use std::sync::Arc;
use std::time::Duration;

use kernel::bus::Bus;
use kernel::chain::{Chain, Ground, Sender, Unconfigured};
use kernel::metrics::Metrics;
use kernel::{Clock, Fault, Result, Secret, Tasks};
use market::feed::{Pools, Unfollowed};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::config::{Config, Places};
use crate::heads::{self, Heads, Publisher};
use crate::node::Node;
use crate::pools::Follower;
use crate::rpc::{self, Door, Rpc, open_door};
use crate::sandbox::{self, Sandbox, Tools};

/// What a chain needs of the fleet.
#[derive(Clone)]
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// Owns the head tracking and the sandbox.
    pub tasks: Tasks,
    /// Figures.
    pub metrics: Metrics,
    /// Where heads and reorganisations are published.
    pub bus: Arc<dyn Bus>,
}

/// A chain's ports.
#[derive(Clone)]
pub struct Opened {
    /// For reading.
    pub chain: Arc<dyn Chain>,
    /// For sending.
    pub sender: Arc<dyn Sender>,
    /// Its pools.
    pub pools: Arc<dyn Pools>,
}

/// The chain that the configuration asks for: the endpoints given, else the sandbox, else one that says what to set or install.
/// Makes no request and does not wait: a sandbox starts in the background and requests wait for it.
pub fn open(config: &Config, places: &Places, parts: &Parts) -> Opened {
    match open_node(config, places, parts) {
        Ok(node) => {
            let pools = open_pools(&node, config, places, parts);
            Opened { chain: Arc::new(node.clone()), sender: Arc::new(node), pools }
        }
        Err(fault) => {
            tracing::warn!(error = %fault, "no chain");
            let none = Arc::new(Unconfigured::because(fault));
            Opened { chain: Arc::clone(&none) as _, sender: none, pools: Arc::new(Unfollowed) }
        }
    }
}

/// The pools of a chain, followed from now on; none where the configuration names none and there is no sandbox.
pub fn open_pools(node: &Node, config: &Config, places: &Places, parts: &Parts) -> Arc<dyn Pools> {
    if !places.endpoints.is_empty() && config.pools.exchanges.is_empty() {
        return Arc::new(Unfollowed);
    }
    let every_ms = if places.endpoints.is_empty() { config.sandbox.poll_ms } else { config.poll_ms };
    let follower =
        Arc::new(Follower::new(node.clone(), config.pools.clone(), Arc::clone(&parts.bus), places.data.clone()));
    Arc::clone(&follower).follow(Duration::from_millis(every_ms), &parts.tasks);
    follower
}

/// The same, with the reason when there is none.
///
/// # Errors
/// A URL cannot be read, or there is none and the sandbox is off or not installed.
pub fn open_node(config: &Config, places: &Places, parts: &Parts) -> Result<Node> {
    if !places.endpoints.is_empty() {
        let node = node(config, Ground::Real, places.endpoints.clone(), open_door(), parts)?;
        heads::follow(node.clone(), publisher(places, parts), Duration::from_millis(config.poll_ms), &parts.tasks);
        return Ok(node);
    }
    if !config.sandbox.enabled {
        return Err(Fault::not_configured("no EVM node is configured and the sandbox chain is off")
            .hint("set ETHEREUM_RPC_URL to a node's URL, or `enabled = true` under [chain.sandbox]"));
    }
    let tools = Tools::find(&places.tools)?;
    let (door, watched) = watch::channel(Door::Opening);
    let ground = Ground::Sandbox { trades: config.sandbox.trades };
    // The port is known once it listens; until then the door is closed.
    let node = node(config, ground, vec![Secret::new("http://127.0.0.1:1")], watched, parts)?;
    heads::follow(node.clone(), publisher(places, parts), Duration::from_millis(config.sandbox.poll_ms), &parts.tasks);
    let sandbox = Sandbox {
        tools,
        store: sandbox::state_in(&places.data),
        port: config.sandbox.port,
        config: config.sandbox.clone(),
        request_time: config.request_time(),
        clock: parts.clock.clone(),
        metrics: parts.metrics.clone(),
        tasks: parts.tasks.clone(),
        rpc: Arc::clone(&node.rpc),
        door,
        market: Arc::clone(&node.market),
    };
    sandbox.supervise();
    Ok(node)
}

fn publisher(places: &Places, parts: &Parts) -> Publisher {
    Publisher::new(Arc::clone(&parts.bus), places.data.join("chain-head.lock"))
}

fn node(
    config: &Config,
    ground: Ground,
    urls: Vec<Secret>,
    door: watch::Receiver<Door>,
    parts: &Parts,
) -> Result<Node> {
    let rpc = Rpc::new(rpc::Parts {
        urls,
        chain_id: config.chain_id,
        request_time: config.request_time(),
        door,
        clock: parts.clock.clone(),
        metrics: parts.metrics.clone(),
    })?;
    Ok(Node {
        rpc: Arc::new(rpc),
        heads: Arc::new(Heads::new(parts.metrics.clone())),
        clock: parts.clock.clone(),
        log_blocks_max: config.log_blocks_max,
        lenders: Arc::new(config.lenders.clone()),
        cache: Arc::default(),
        lent: Arc::default(),
        market: Arc::new(RwLock::new(None)),
        ground,
    })
}
