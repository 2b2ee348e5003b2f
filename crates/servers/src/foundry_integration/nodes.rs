//! Development nodes: each has an owner and an end.
//!
//! A node belongs to the process that started it and is gone with it; copies of this server have nodes of their own. Its accounts hold test
//! money that everybody on this machine may spend.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::foundry::{Fork, NodeSpec};
use kernel::{OnEnd, Result, Tasks, UnixMs};
use mcp::prelude::*;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::FoundryIntegration;
use crate::workshop::places::shown;

/// The most accounts a node has.
const ACCOUNTS_MAX: u32 = 100;
/// How long a node lives that does not say otherwise, and at most, in seconds.
const LIFE_SECONDS: u32 = 3_600;
const LIFE_SECONDS_MAX: u32 = 86_400;

/// What [`START_NODE`](super::START_NODE) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartNodeRequest {
    /// Whether it starts from the fleet's chain as it is; it starts empty otherwise.
    pub fork: bool,
    /// The block that it forks; the newest when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork_block: Option<u64>,
    /// Its chain id; 31337, or that of the chain that it forks, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// How many accounts with test money it has: 1 to 100, 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub accounts: Option<u32>,
    /// A block every so many seconds, 1 to 3,600; one for each transaction when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600))]
    pub block_seconds: Option<u32>,
    /// How long it may live, in seconds: 10 to 86,400; an hour when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400))]
    pub life_seconds: Option<u32>,
}

/// What [`STOP_NODE`](super::STOP_NODE) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopNodeRequest {
    /// The node.
    pub node: String,
}

/// What [`LIST_NODES`](super::LIST_NODES) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListNodesRequest {}

/// What [`LIST_NODES`](super::LIST_NODES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListNodesResponse {
    /// The nodes that run, the oldest first.
    pub nodes: Vec<NodeRow>,
    /// How many may run at once.
    pub nodes_max: usize,
    /// How many of them one caller may have.
    pub nodes_per_caller: usize,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodeRow {
    /// What other tools take as `node`.
    pub node: String,
    /// Who started it.
    pub owner: String,
    /// Where it answers, on the fleet's machine.
    pub url: String,
    /// Whether it started from the fleet's chain.
    pub forked: bool,
    /// When it was started, in milliseconds since the Unix epoch.
    pub started_ms: UnixMs,
    /// When it ends by itself.
    pub ends_ms: UnixMs,
}

/// The nodes that run, and those about to.
#[derive(Default)]
pub(super) struct Nodes(Mutex<BTreeMap<String, Slot>>);

struct Slot {
    row: NodeRow,
    stop: CancellationToken,
    gone: CancellationToken,
}

impl Nodes {
    /// Keeps a place for a node of `owner`.
    fn reserve(&self, row: NodeRow, (most, each): (usize, usize)) -> Result<CancellationToken> {
        let mut nodes = self.0.lock();
        if nodes.len() >= most {
            return Err(Fault::new(Code::RateLimited, format!("{most} nodes run already"))
                .hint("stop_node ends one; servers.foundry-integration.nodes allows more"));
        }
        if nodes.values().filter(|slot| slot.row.owner == row.owner).count() >= each {
            return Err(Fault::new(Code::RateLimited, format!("{each} nodes of yours run already"))
                .hint("stop_node ends one; servers.foundry-integration.nodes_per_caller allows more"));
        }
        let stop = CancellationToken::new();
        let slot = Slot { row: row.clone(), stop: stop.clone(), gone: CancellationToken::new() };
        nodes.insert(row.node, slot);
        Ok(stop)
    }

    fn remove(&self, node: &str) {
        if let Some(slot) = self.0.lock().remove(node) {
            slot.gone.cancel();
        }
    }

    /// The URL of a node that runs.
    pub(super) fn url(&self, node: &str) -> Result<String> {
        Ok(self.row(node)?.url)
    }

    pub(super) fn row(&self, node: &str) -> Result<NodeRow> {
        let nodes = self.0.lock();
        let found = nodes.get(node).map(|slot| slot.row.clone()).filter(|row| !row.url.is_empty());
        found.ok_or_else(|| {
            Fault::not_found(format!("no node `{}` runs here", shown(node))).hint("list_nodes tells which do")
        })
    }

    fn rows(&self) -> Vec<NodeRow> {
        let mut rows: Vec<NodeRow> = self.0.lock().values().map(|slot| slot.row.clone()).collect();
        rows.retain(|row| !row.url.is_empty());
        rows.sort_by_key(|row| row.started_ms);
        rows
    }
}

/// Gives a reserved place back unless it was taken.
struct Reserved<'a> {
    nodes: &'a Nodes,
    node: String,
    taken: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.nodes.remove(&self.node);
        }
    }
}

impl FoundryIntegration {
    pub(super) async fn start_node(self: Arc<Self>, request: StartNodeRequest, ctx: Ctx) -> Result<NodeRow> {
        let (spec, life) = spec(&request)?;
        let tasks = self.tasks.clone();
        let node = kernel::ids::new_id("node");
        let started_ms = self.clock.now_ms();
        let mut row = NodeRow {
            node: node.clone(),
            owner: ctx.caller.name.clone(),
            url: String::new(),
            forked: spec.fork.is_some(),
            started_ms,
            ends_ms: started_ms + i64::from(life) * 1_000,
        };
        let stop = self.nodes.reserve(row.clone(), (self.config.nodes, self.config.nodes_per_caller))?;
        let mut reserved = Reserved { nodes: &self.nodes, node: node.clone(), taken: false };
        let started = self.foundry.start(&spec).await?;
        row.url = format!("http://127.0.0.1:{}", started.port());
        if let Some(slot) = self.nodes.0.lock().get_mut(&node) {
            slot.row = row.clone();
        }
        reserved.taken = true;
        self.watch(started, node, (stop, tasks.stopping()), Duration::from_secs(life.into()), &tasks);
        Ok(row)
    }

    /// Keeps a node until its end, whatever that is.
    fn watch(
        self: &Arc<Self>,
        mut node: Box<dyn kernel::foundry::Node>,
        name: String,
        (stop, stopping): (CancellationToken, CancellationToken),
        life: Duration,
        tasks: &Tasks,
    ) {
        let server = Arc::clone(self);
        tasks.spawn("development node", OnEnd::Done, async move {
            let fault = tokio::select! {
                fault = node.ended() => Some(fault),
                () = stop.cancelled() => None,
                () = stopping.cancelled() => None,
                () = tokio::time::sleep(life) => None,
            };
            match fault {
                Some(fault) => tracing::warn!(node = %name, %fault, "a development node ended by itself"),
                None => node.stop().await,
            }
            server.nodes.remove(&name);
        });
    }

    pub(super) async fn stop_node(&self, request: StopNodeRequest, ctx: Ctx) -> Result<NodeRow> {
        let row = self.nodes.row(&request.node)?;
        self.own_node(&row, &ctx)?;
        let gone = self.nodes.0.lock().get(&request.node).map(|slot| {
            slot.stop.cancel();
            slot.gone.clone()
        });
        if let Some(gone) = gone {
            gone.cancelled().await;
        }
        Ok(row)
    }

    /// Refuses whoever neither started a node nor is an administrator.
    pub(super) fn own_node(&self, row: &NodeRow, ctx: &Ctx) -> Result<()> {
        if row.owner == ctx.caller.name || ctx.caller.allows(Access::Admin) {
            return Ok(());
        }
        Err(Fault::denied(format!("node `{}` is {}'s", row.node, row.owner)).hint("its owner or an administrator may"))
    }

    pub(super) fn list_nodes(&self) -> ListNodesResponse {
        let (nodes_max, nodes_per_caller) = (self.config.nodes, self.config.nodes_per_caller);
        ListNodesResponse { nodes: self.nodes.rows(), nodes_max, nodes_per_caller }
    }
}

fn spec(request: &StartNodeRequest) -> Result<(NodeSpec, u32)> {
    let within = |name: &str, figure: u32, least: u32, most: u32| {
        if (least..=most).contains(&figure) {
            return Ok(figure);
        }
        Err(Fault::invalid(format!("{name} is {figure}")).hint(format!("{least} to {most}")))
    };
    if request.fork_block.is_some() && !request.fork {
        return Err(Fault::invalid("fork_block without fork").hint("fork = true"));
    }
    if request.chain_id == Some(0) {
        return Err(Fault::invalid("chain_id is 0").hint("1 or more"));
    }
    let spec = NodeSpec {
        accounts: within("accounts", request.accounts.unwrap_or(10), 1, ACCOUNTS_MAX)?,
        chain_id: request.chain_id,
        block_seconds: request.block_seconds.map(|s| within("block_seconds", s, 1, 3_600)).transpose()?,
        fork: request.fork.then_some(Fork { block: request.fork_block }),
    };
    Ok((spec, within("life_seconds", request.life_seconds.unwrap_or(LIFE_SECONDS), 10, LIFE_SECONDS_MAX)?))
}
