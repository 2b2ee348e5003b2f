//! The pools of the chain, followed: found by their factories' events, read once, kept by their own events, rolled back with the chain.
//!
//! Invariants:
//! - Who looks sees the book after one block, never between two: a step is worked out first and then applied under the lock.
//! - A step's logs are used only when the block they end at had the same hash before and after they were read.
//! - A pool that an event does not fit, or that an audit finds otherwise on the chain, leaves the book with an event, and is back when the next
//!   audit has read it anew.
//! - What was followed is in a file of the data folder, so a restart reads what happened since, not the world. One process of a data folder
//!   writes that file and tells on the bus; each has its own book.
//! - Bounded: pools, blocks per step, calls per request, what is remembered for the way back.

mod audit;
mod follow;
mod read;
mod save;
mod words;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::{Bus, NewEvent};
use kernel::chain::Address;
use kernel::{Fault, OnEnd, Result, Tasks};
use market::Book;
use market::feed::{Applied, At, FeedStatus, POOLS_TOPIC, Pools, Quarantined};
use market::pool::{AnyPool, Protocol};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::PoolsConfig;
use crate::lock;
use crate::node::Node;

/// How many steps are remembered, to go back along a reorganisation.
const REMEMBERED: usize = 256;
/// Most addresses in one event.
const TOLD_MAX: usize = 500;
/// Who tells.
const SOURCE: &str = "pools";

/// An exchange whose pools are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exchange {
    protocol: Protocol,
    factory: Address,
    /// The first block in which it may have made pools.
    from_block: u64,
    /// Its pairs' fee in millionths; its pools say theirs themselves.
    fee_millionths: u32,
}

/// What is followed, as of one block.
struct Followed {
    at: At,
    /// Where earlier steps ended, oldest first.
    recent: VecDeque<At>,
    book: Book,
    /// The block in which each pool was made, by its factory's event.
    made: HashMap<Address, At>,
    /// The pools taken out of use, as they stood when they were.
    quarantined: Vec<(Quarantined, AnyPool)>,
    last_audit: u64,
    last_save: u64,
    /// How many pools audits have gone through.
    audited: usize,
}

/// Follows the pools; shared by all who look.
pub(crate) struct Follower {
    node: Node,
    config: PoolsConfig,
    bus: Arc<dyn Bus>,
    folder: PathBuf,
    /// Held by the process that tells and writes.
    teller: Mutex<Option<File>>,
    state: RwLock<Option<Followed>>,
    last_failure: Mutex<Option<String>>,
}

impl Follower {
    pub(crate) fn new(node: Node, config: PoolsConfig, bus: Arc<dyn Bus>, data: PathBuf) -> Self {
        Self {
            node,
            config,
            bus,
            folder: data.join("pools"),
            teller: Mutex::default(),
            state: RwLock::default(),
            last_failure: Mutex::default(),
        }
    }

    /// Follows until `tasks` stops: at once when head tracking sees a change, and every `every` while they are not where it is.
    pub(crate) fn follow(self: Arc<Self>, every: Duration, tasks: &Tasks) {
        let stopping = tasks.stopping();
        tasks.spawn("pools", OnEnd::StopOwner, async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let watch = async {
                loop {
                    tokio::select! {
                        _ = ticks.tick(), if self.is_behind() => {}
                        () = self.node.heads.moved.notified() => {}
                    }
                    self.catch_up().await;
                }
            };
            stopping.run_until_cancelled(watch).await;
            if let Err(fault) = self.save() {
                tracing::warn!(error = %fault, "the pools could not be saved");
            }
        });
    }

    /// Whether the pools are of another block than the newest that head tracking has seen.
    fn is_behind(&self) -> bool {
        let at = self.state.read().as_ref().map(|followed| followed.at.hash);
        at.is_none() || at != self.node.heads.tip().map(|tip| tip.hash)
    }

    /// Goes on until the head is reached or something fails.
    pub(crate) async fn catch_up(&self) {
        let outcome = loop {
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(fault) => break Err(fault),
            }
        };
        let failure = outcome.err().map(|fault| fault.to_string());
        let mut last = self.last_failure.lock();
        match (&failure, &*last) {
            (Some(failure), None) => tracing::warn!(error = failure, "the pools cannot be followed"),
            (None, Some(_)) => tracing::info!("the pools are followed again"),
            _ => {}
        }
        *last = failure;
    }

    /// The exchanges configured, else those of the sandbox.
    fn exchanges(&self) -> Vec<Exchange> {
        if self.config.exchanges.is_empty() {
            let market = self.node.market.read();
            return market.iter().flat_map(|market| sandboxed(&market.deployments)).collect();
        }
        let exchange = |config: &crate::config::ExchangeConfig| Exchange {
            protocol: config.protocol,
            factory: config.factory,
            from_block: config.from_block,
            fee_millionths: config.fee_millionths,
        };
        self.config.exchanges.iter().map(exchange).collect()
    }

    /// Whether this process is the one that tells and writes.
    fn tells(&self) -> Result<bool> {
        let mut teller = self.teller.lock();
        if teller.is_none() {
            *teller = lock::take(&self.folder.join("lock"))?;
        }
        Ok(teller.is_some())
    }

    async fn tell(&self, kind: &str, data: &impl Serialize) -> Result<()> {
        if !self.tells()? {
            return Ok(());
        }
        let event = NewEvent {
            topic: POOLS_TOPIC.into(),
            kind: kind.into(),
            source: SOURCE.into(),
            trace_id: None,
            data: json!(data),
        };
        self.bus.publish(event).await.map(|_| ())
    }

    async fn tell_applied(&self, at: At, changed: Vec<Address>, rolled_back: u64) -> Result<()> {
        let mut parts: Vec<_> = changed.chunks(TOLD_MAX).map(<[_]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        for changed in parts {
            self.tell(market::feed::APPLIED_EVENT, &Applied { at, changed, rolled_back }).await?;
        }
        Ok(())
    }
}

/// The exchanges among what is deployed on the sandbox.
fn sandboxed(deployments: &[kernel::chain::Deployment]) -> impl Iterator<Item = Exchange> {
    let known = [
        ("uniswap-v2-factory", Protocol::UniswapV2, 3_000),
        ("sushiswap-v2-factory", Protocol::SushiswapV2, 3_000),
        ("uniswap-v3-factory", Protocol::UniswapV3, 0),
    ];
    known.into_iter().filter_map(|(name, protocol, fee_millionths)| {
        let factory = deployments.iter().find(|deployment| deployment.name == name)?.address;
        Some(Exchange { protocol, factory, from_block: 0, fee_millionths })
    })
}

impl Pools for Follower {
    fn status(&self) -> FeedStatus {
        let state = self.state.read();
        FeedStatus {
            at: state.as_ref().map(|followed| followed.at),
            pools: state.as_ref().map_or(0, |followed| followed.book.len() as u64),
            quarantined: state.iter().flat_map(|followed| &followed.quarantined).map(|(why, _)| why.clone()).collect(),
            last_failure: self.last_failure.lock().clone(),
        }
    }

    fn look(&self, look: &mut dyn FnMut(At, &Book)) -> Result<()> {
        let state = self.state.read();
        let followed = state.as_ref().ok_or_else(|| {
            let why = self.last_failure.lock().clone().unwrap_or_else(|| "they are being read".into());
            Fault::unavailable("the pools have not been read yet").hint(why)
        })?;
        look(followed.at, &followed.book);
        Ok(())
    }

    fn made_in(&self, pool: Address) -> Option<At> {
        self.state.read().as_ref()?.made.get(&pool).copied()
    }
}
