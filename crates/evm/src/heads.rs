//! Follows the chain's head: publishes each new block and every reorganisation, which it knows by parent hashes.
//!
//! The newest block is known as soon as it is seen, and who waits for one is woken then. What is remembered of the way to it changes only after the
//! events about it are published, so a bus that is away delays events and loses none.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::bus::{Bus, NewEvent};
use kernel::chain::{BlockId, CHAIN_TOPIC, HEAD_EVENT, Hash, Head, REORG_EVENT, Reorg};
use kernel::metrics::Metrics;
use kernel::{Code, OnEnd, Result, Tasks};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::lock;
use crate::machine;
use crate::node::Node;

/// How many of the newest blocks are remembered, and how far back a reorganisation's ancestor is looked for.
const REMEMBERED: usize = 256;
/// Who publishes.
const SOURCE: &str = "blockchain-integration";

/// What is known of the newest blocks.
pub(crate) struct Heads {
    state: Mutex<State>,
    metrics: Metrics,
    /// Told of every change: the pools follow at once.
    pub(crate) moved: Notify,
    /// The newest block, and when it was seen: before it is told and remembered.
    newest: watch::Sender<Option<(Head, Instant)>>,
}

#[derive(Default)]
struct State {
    /// The newest that was told of.
    tip: Option<Head>,
    /// The newest blocks, oldest first, without gaps.
    blocks: VecDeque<Known>,
    reorgs: u64,
}

/// A block that is remembered.
struct Known {
    number: u64,
    hash: Hash,
    /// When it was seen.
    at: Instant,
}

/// What a look at the head found.
struct Change {
    /// New blocks, oldest first.
    added: Vec<Head>,
    reorg: Option<Reorg>,
    /// Whether `added` does not connect to what was known.
    gap: bool,
}

impl Heads {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { state: Mutex::default(), metrics, moved: Notify::new(), newest: watch::Sender::default() }
    }

    /// The newest block.
    pub(crate) fn tip(&self) -> Option<Head> {
        self.newest.borrow().as_ref().map(|(head, _)| head.clone())
    }

    pub(crate) fn reorgs_seen(&self) -> u64 {
        self.state.lock().reorgs
    }

    fn knows(&self, number: u64, hash: Hash) -> bool {
        self.state.lock().blocks.iter().rev().any(|known| (known.number, known.hash) == (number, hash))
    }

    /// How long ago the block of this height, as it stands now, was seen.
    pub(crate) fn seen(&self, number: u64) -> Option<Duration> {
        if let Some((_, at)) = self.newest.borrow().as_ref().filter(|(head, _)| head.number == number) {
            return Some(at.elapsed());
        }
        let state = self.state.lock();
        state.blocks.iter().rev().find(|known| known.number == number).map(|known| known.at.elapsed())
    }

    /// Looks once: publishes what changed since the last look, where there is a bus, then remembers it.
    pub(crate) async fn look(&self, node: &Node, bus: Option<&dyn Bus>) -> Result<()> {
        let head = node.wire_block(BlockId::Latest).await?.head;
        let at = Instant::now();
        let Some(change) = self.change(node, head.clone()).await? else { return Ok(()) };
        // Where telling fails, the same block is found again: nobody is woken for it a second time.
        let new = |newest: &mut Option<(Head, Instant)>| {
            let new = newest.as_ref().is_none_or(|(known, _)| known.hash != head.hash);
            if new {
                *newest = Some((head, at));
            }
            new
        };
        if self.newest.send_if_modified(new) {
            self.moved.notify_one();
        }
        if let Some(bus) = bus {
            Self::tell(&change, bus).await?;
        }
        self.remember(node, change, at).await
    }

    async fn tell(change: &Change, bus: &dyn Bus) -> Result<()> {
        if let Some(reorg) = &change.reorg {
            publish(bus, REORG_EVENT, reorg).await?;
        }
        for head in &change.added {
            publish(bus, HEAD_EVENT, head).await?;
        }
        Ok(())
    }

    async fn change(&self, node: &Node, head: Head) -> Result<Option<Change>> {
        let told = self.state.lock().tip.clone();
        let Some(tip) = told else { return Ok(Some(Change { added: vec![head], reorg: None, gap: true })) };
        if head.hash == tip.hash {
            return Ok(None);
        }
        if self.knows(head.number, head.hash) {
            // The chain was rolled back, or an endpoint is behind the one asked before. Only development nodes roll back without
            // putting other blocks in place; anywhere else the blocks that follow will tell.
            let rolled_back = development_node(node).await?;
            let reorg = || Change { added: Vec::new(), reorg: Some(self.reorg(Some(head.number), &[])), gap: false };
            return Ok(rolled_back.then(reorg));
        }
        let (added, ancestor) = self.back_to_known(node, head).await?;
        match ancestor {
            Some(number) if number == tip.number => Ok(Some(Change { added, reorg: None, gap: false })),
            Some(_) => Ok(Some(Change { reorg: Some(self.reorg(ancestor, &added)), added, gap: false })),
            None => {
                // Too far to walk: either much was missed, or more changed than is remembered.
                let stands = match node.wire_block(BlockId::Number(tip.number)).await {
                    Ok(block) => block.head.hash == tip.hash,
                    Err(fault) if fault.code == Code::NotFound => false,
                    Err(fault) => return Err(fault),
                };
                let reorg = (!stands).then(|| self.reorg(None, &added));
                Ok(Some(Change { added, reorg, gap: true }))
            }
        }
    }

    /// The blocks from `head` back to one that is known, oldest first, and that one's height.
    async fn back_to_known(&self, node: &Node, head: Head) -> Result<(Vec<Head>, Option<u64>)> {
        let mut oldest = head.clone();
        let mut added = vec![head];
        loop {
            let below = oldest.number.checked_sub(1);
            if let Some(below) = below.filter(|below| self.knows(*below, oldest.parent_hash)) {
                added.reverse();
                return Ok((added, Some(below)));
            }
            if below.is_none() || added.len() >= REMEMBERED {
                added.reverse();
                return Ok((added, None));
            }
            oldest = node.wire_block(BlockId::Hash(oldest.parent_hash)).await?.head;
            added.push(oldest.clone());
        }
    }

    fn reorg(&self, ancestor: Option<u64>, added: &[Head]) -> Reorg {
        let state = self.state.lock();
        let removed = state.blocks.iter().filter(|known| ancestor.is_none_or(|ancestor| known.number > ancestor));
        let removed: Vec<Hash> = removed.map(|known| known.hash).collect();
        Reorg { depth: removed.len() as u64, ancestor, removed, added: added.iter().map(|head| head.hash).collect() }
    }

    async fn remember(&self, node: &Node, change: Change, at: Instant) -> Result<()> {
        let tip = match (change.added.last(), change.reorg.as_ref().and_then(|reorg| reorg.ancestor)) {
            (Some(newest), _) => newest.clone(),
            (None, Some(ancestor)) => node.wire_block(BlockId::Number(ancestor)).await?.head,
            (None, None) => return Ok(()),
        };
        let mut state = self.state.lock();
        if let Some(reorg) = &change.reorg {
            state.reorgs += 1;
            self.metrics.chain_reorgs.inc();
            tracing::warn!(depth = reorg.depth, ancestor = reorg.ancestor, "the chain was reorganised");
            state.blocks.retain(|known| reorg.ancestor.is_some_and(|ancestor| known.number <= ancestor));
        }
        if change.gap {
            state.blocks.clear();
        }
        let known = |head: &Head| Known { number: head.number, hash: head.hash, at };
        state.blocks.extend(change.added.iter().map(known));
        let excess = state.blocks.len().saturating_sub(REMEMBERED);
        state.blocks.drain(..excess);
        self.metrics.chain_head.set(tip.number as i64);
        state.tip = Some(tip);
        Ok(())
    }
}

/// Whether the node is one that a developer may roll back by hand.
async fn development_node(node: &Node) -> Result<bool> {
    let version: String = node.rpc.read("web3_clientVersion", json!([])).await?;
    let version = version.to_lowercase();
    Ok(["anvil", "hardhat", "ganache"].iter().any(|name| version.contains(name)))
}

async fn publish(bus: &dyn Bus, kind: &str, data: &impl Serialize) -> Result<()> {
    let event = NewEvent {
        topic: CHAIN_TOPIC.into(),
        kind: kind.into(),
        source: SOURCE.into(),
        trace_id: None,
        data: json!(data),
    };
    bus.publish(event).await.map(|_| ())
}

/// Who is told of the head: the processes of one data folder all follow it, the one that holds the lock publishes.
pub(crate) struct Publisher {
    bus: Arc<dyn Bus>,
    lock: PathBuf,
    held: Option<File>,
}

impl Publisher {
    pub(crate) fn new(bus: Arc<dyn Bus>, lock: PathBuf) -> Self {
        Self { bus, lock, held: None }
    }

    /// The bus, if this process is the one to publish.
    fn bus(&mut self) -> Result<Option<&dyn Bus>> {
        if self.held.is_none() {
            self.held = lock::take(&self.lock)?;
        }
        Ok(self.held.as_ref().map(|_| self.bus.as_ref()))
    }
}

/// Looks every `every` until `tasks` stops, and asks endpoints that failed whether they are well again.
pub(crate) fn follow(node: Node, mut publisher: Publisher, every: Duration, tasks: &Tasks) {
    let stopping = tasks.stopping();
    let renewed = machine::keep_renewed(node.clone(), node.heads.newest.subscribe());
    let renewed = stopping.clone().run_until_cancelled_owned(renewed);
    tasks.spawn("chain state", OnEnd::StopOwner, async move {
        renewed.await;
    });
    let watch = async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            node.rpc.probe().await;
            let looked = match publisher.bus() {
                Ok(bus) => node.heads.look(&node, bus).await,
                Err(fault) => Err(fault),
            };
            match &looked {
                Err(fault) if !failing => tracing::warn!(error = %fault, "the chain's head cannot be read"),
                Ok(()) if failing => tracing::info!("the chain's head can be read again"),
                _ => {}
            }
            failing = looked.is_err();
        }
    };
    tasks.spawn("chain head", OnEnd::StopOwner, async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = watch => {}
        }
    });
}
