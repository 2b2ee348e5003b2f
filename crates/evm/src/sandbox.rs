//! The sandbox: a local development chain under supervision, with a small market on it.
//!
//! Invariants:
//! - It is anvil as its makers ship it, in a process group of its own, and it ends with this process whatever way that ends.
//! - Requests wait while it is being started; no caller sees it half made.
//! - Its state is saved within seconds of every change. A chain that was killed comes back with it; the market is deployed again only
//!   when there is no state, or one of another market than this version makes.
//! - One process of a data folder keeps it and has its trader trade, others use it and take over when that one is gone.
//! - Its accounts are the ones whose keys everybody knows. It listens on this machine only.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::backoff::Backoff;
use kernel::chain::{Address, Block, Deployment, Hash};
use kernel::metrics::Metrics;
use kernel::{Clock, Code, Fault, OnEnd, Result, Secret, Tasks};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod anvil;
mod artefact;
mod deploy;
mod plan;
mod reporter;
mod send;
mod state;
mod tools;
mod trader;

pub(crate) use anvil::Anvil;
use reporter::Reporter;
use state::Store;
pub(crate) use tools::{Tools, platform};
use trader::Trader;

use crate::config::SandboxConfig;
use crate::known::Lenders;
use crate::rpc::{Door, Parts, Rpc, SharedRpc, open_door};
use crate::wire::WireBlock;

/// Waits between attempts to start.
const RESTART: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(30) };
/// After this many failed starts in a row callers are told instead of kept waiting.
const STARTS_BEFORE_SHUT: u32 = 3;
/// Having run this long, it is taken for well.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// How often its head is looked at, to save its state: with a trader there is always something to save, and it is written whole.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Saving takes at most this part of the time.
const SAVE_SHARE: u32 = 20;

/// What was deployed.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    /// The first block's hash: of this chain, and of no other.
    pub(crate) origin: Hash,
    pub(crate) deployments: Vec<Deployment>,
    /// Funded accounts.
    pub(crate) accounts: Vec<Address>,
    pub(crate) lenders: Lenders,
}

/// The market as it is written to the data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where the process that keeps the chain has it; others of the same data folder find it by this.
    pub(crate) url: String,
    pub(crate) chain_id: u64,
    /// The first block's hash.
    #[serde(default)]
    pub(crate) origin: Hash,
    /// The hash of all transactions that made the market.
    #[serde(default)]
    pub(crate) made_of: Hash,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) accounts: Vec<Address>,
}

impl From<Record> for Market {
    fn from(record: Record) -> Self {
        let lenders = deploy::lenders(&record.deployments);
        Self { origin: record.origin, deployments: record.deployments, accounts: record.accounts, lenders }
    }
}

/// What the sandbox needs to run.
pub(crate) struct Sandbox {
    pub(crate) tools: Tools,
    pub(crate) store: Store,
    pub(crate) port: u16,
    pub(crate) config: SandboxConfig,
    pub(crate) request_time: Duration,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    /// Where callers' requests go; told of the port at every start.
    pub(crate) rpc: SharedRpc,
    pub(crate) door: watch::Sender<Door>,
    pub(crate) market: Arc<RwLock<Option<Market>>>,
}

/// How often a process that does not keep the chain looks for the one that does.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// How a run of the chain ended.
enum Ended {
    Stopped,
    Died { fault: Fault, lived: Duration },
}

impl Sandbox {
    /// Keeps the chain running until its owner stops.
    pub(crate) fn supervise(self) {
        let tasks = self.tasks.clone();
        tasks.spawn("sandbox chain", OnEnd::StopOwner, async move {
            let stopping = self.tasks.stopping();
            let kept = tokio::select! {
                () = stopping.cancelled() => return,
                kept = self.follow() => kept,
            };
            self.keep_running(&stopping).await;
            drop(kept);
        });
    }

    /// Uses the chain that another process of this data folder keeps, until that process is gone and this one is to keep it.
    async fn follow(&self) -> File {
        let mut known = None;
        loop {
            match self.store.lock() {
                Ok(Some(lock)) => {
                    self.door.send_replace(Door::Opening);
                    return lock;
                }
                Ok(None) => {}
                Err(fault) => {
                    self.door.send_replace(Door::Shut(fault));
                }
            }
            // A record that cannot be read is being replaced; the next look finds it whole.
            if let Ok(Some(record)) = self.store.record().await
                && known.as_ref() != Some(&(record.url.clone(), record.origin))
                && self.rpc.retarget(&Secret::new(record.url.as_str())).is_ok()
            {
                tracing::info!("the sandbox chain is kept by another process, and used from here");
                known = Some((record.url.clone(), record.origin));
                *self.market.write() = Some(record.into());
                self.door.send_replace(Door::Open);
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    async fn keep_running(mut self, stopping: &CancellationToken) {
        let mut failures = 0;
        loop {
            let (fault, lived) = match self.run(stopping).await {
                Ended::Stopped => return,
                Ended::Died { fault, lived } => (fault, lived),
            };
            failures = if lived >= WELL_AFTER { 1 } else { failures + 1 };
            tracing::warn!(error = %fault, failures, "the sandbox chain ended and is started again");
            let told = failures > STARTS_BEFORE_SHUT;
            self.door.send_replace(if told {
                Door::Shut(fault.context("the sandbox chain does not start"))
            } else {
                Door::Opening
            });
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(RESTART.wait(failures)) => {}
            }
        }
    }

    /// Starts the chain, opens the door, and stays until it ends.
    async fn run(&mut self, stopping: &CancellationToken) -> Ended {
        let began = Instant::now();
        let ready = tokio::select! {
            () = stopping.cancelled() => return Ended::Stopped,
            ready = self.start() => ready,
        };
        let (mut anvil, own) = match ready {
            Ok(ready) => ready,
            Err(fault) => return Ended::Died { fault, lived: Duration::ZERO },
        };
        tracing::info!(port = anvil.port(), took_ms = began.elapsed().as_millis() as u64, "the sandbox chain is ready");
        self.door.send_replace(Door::Open);
        let ready_at = Instant::now();
        let fault = tokio::select! {
            () = stopping.cancelled() => {
                self.door.send_replace(Door::Shut(Fault::unavailable("the sandbox chain was stopped")));
                self.store.save_if_changed(&own, self.holds()).await;
                anvil.stop().await;
                return Ended::Stopped;
            }
            fault = anvil.ended() => fault,
            () = self.keep_saving(&own) => Fault::internal("saving the sandbox chain's state ended"),
            () = self.trade(&own) => Fault::internal("the sandbox chain's trader ended"),
        };
        Ended::Died { fault, lived: ready_at.elapsed() }
    }

    /// A running chain with its market, and a client of it for our own use.
    async fn start(&mut self) -> Result<(Anvil, Rpc)> {
        let anvil = Anvil::start(&self.tools.anvil, self.port, &self.store.cache(), &self.tasks).await?;
        let url = Secret::new(format!("http://127.0.0.1:{}", anvil.port()));
        let own = Rpc::new(Parts {
            urls: vec![url.clone()],
            chain_id: None,
            request_time: self.request_time,
            door: open_door(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        })?;
        own.once::<Option<bool>>("anvil_setLoggingEnabled", json!([false])).await?;
        let record = self.market(&own, &url).await.map_err(|f| f.context("cannot deploy the sandbox's market"))?;
        *self.market.write() = Some(record.into());
        self.rpc.retarget(&url)?;
        // The same port again after a restart, so that others who use the chain find it.
        self.port = anvil.port();
        Ok((anvil, own))
    }

    /// What is on the chain: what was saved, when that is of the market that this version makes, else a new market.
    async fn market(&self, own: &Rpc, url: &Secret) -> Result<Record> {
        let accounts: Vec<Address> = own.read("eth_accounts", json!([])).await?;
        let plan = deploy::market(&self.tools, &accounts, self.config.executor_owner)?;
        let made_of = plan.key();
        let mut record = match self.store.restore(own, made_of).await {
            Some(record) => record,
            None => {
                own.once::<Option<bool>>("anvil_reset", json!([])).await?;
                send::carry_out(&plan, own).await?;
                let chain_id = own.chain_id().await?;
                let origin = Hash::default();
                Record { url: String::new(), chain_id, origin, made_of, deployments: plan.deployments, accounts }
            }
        };
        record.url = url.expose().to_owned();
        let first: WireBlock = own.read("eth_getBlockByNumber", json!(["0x1", false])).await?;
        record.origin = Block::from(first).head.hash;
        self.store.keep(&record).await?;
        Ok(record)
    }

    /// Swaps at random, and tells the feeds what comes of it, if that is wanted.
    async fn trade(&self, own: &Rpc) {
        let trader = self.market.read().as_ref().and_then(|market| {
            let (seed, every_ms) = (self.config.trader_seed, self.config.trader_ms);
            Trader::new(&market.accounts, &market.deployments, seed, every_ms)
        });
        let (market, swap) = (self.market.read().clone(), Duration::from_millis(self.config.trader_ms));
        let reporter = market.and_then(|market| Reporter::new(&market.accounts, &market.deployments, swap));
        match (trader, reporter) {
            (Some(trader), Some(reporter)) => {
                tokio::join!(trader.trade(own), reporter.report(own));
            }
            _ => std::future::pending().await,
        }
    }

    /// Whether the chain may be told to make no blocks for the time of a save: where its own trader trades, nobody else says when blocks are made.
    fn holds(&self) -> bool {
        self.config.trader_ms > 0
    }

    /// Saves the state whenever it changed, in a bounded share of the time.
    async fn keep_saving(&self, own: &Rpc) {
        loop {
            let took = self.store.save_if_changed(own, self.holds()).await;
            tokio::time::sleep(SAVE_EVERY.max(took * SAVE_SHARE)).await;
        }
    }
}

/// The fault when the sandbox's parts are not there.
pub(crate) fn not_installed(what: &str, path: &Path) -> Fault {
    Fault::new(Code::NotConfigured, format!("the sandbox chain needs {what}, which is not at {}", path.display()))
        .hint("install Node.js and run `cargo xtask up`, or set ETHEREUM_RPC_URL to a node's URL")
}

/// The sandbox's files within the data folder.
pub(crate) fn state_in(data: &Path) -> Store {
    Store::new(data.join("sandbox"))
}
