//! Opportunities as blocks come.

use std::time::Duration;

use kernel::chain::{Amount, CHAIN_TOPIC};
use market::feed::{At, POOLS_TOPIC};
use mcp::prelude::*;
use tokio::time::{Instant, timeout_at};

use super::MarketAnalysis;
use super::view::OpportunityView;

/// Blocks waited for when the request does not say how many.
const BLOCKS: usize = 5;
/// Most blocks.
const BLOCKS_MAX: usize = 100;
/// Seconds waited when the request does not say how many.
const SECONDS: u64 = 30;
/// Most seconds: a call ends before its own time limit.
const SECONDS_MAX: u64 = 50;
/// Most opportunities told of one block.
const PER_BLOCK_MAX: usize = 5;

/// What [`WATCH`](super::WATCH) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// Ends after so many blocks, 1 to 100; 5 when absent. The newest one counts as the first.
    #[serde(default = "blocks")]
    #[schemars(range(min = 1, max = 100))]
    pub blocks: usize,
    /// Ends after so many seconds in any case, 1 to 50; 30 when absent.
    #[serde(default = "seconds")]
    #[schemars(range(min = 1, max = 50))]
    pub seconds: u64,
    /// Only what leaves at least so much, in the funding asset's smallest unit; 1 when absent.
    #[serde(default)]
    pub min_net: Option<Amount>,
}

fn blocks() -> usize {
    BLOCKS
}

fn seconds() -> u64 {
    SECONDS
}

/// A block, and the best of what it offers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WatchedBlock {
    /// The block.
    #[serde(flatten)]
    pub at: At,
    /// How many opportunities leave enough.
    pub count: usize,
    /// The best of them, at most five.
    pub best: Vec<OpportunityView>,
}

/// What [`WATCH`](super::WATCH) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WatchAnswer {
    /// The blocks that were seen, oldest first. One that was overtaken before it could be looked at is not among them.
    pub blocks: Vec<WatchedBlock>,
}

impl MarketAnalysis {
    pub(super) async fn watch(&self, request: WatchRequest, ctx: &Ctx) -> Result<WatchAnswer, Fault> {
        let WatchRequest { blocks: wanted, seconds, min_net } = request;
        if !(1..=BLOCKS_MAX).contains(&wanted) || !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(Fault::invalid(format!("{wanted} blocks within {seconds} s"))
                .hint(format!("1 to {BLOCKS_MAX} blocks, 1 to {SECONDS_MAX} seconds")));
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let least = min_net.unwrap_or_else(|| Amount::from(1));
        let mut blocks: Vec<WatchedBlock> = Vec::new();
        while blocks.len() < wanted {
            // Before the look, so that nothing falls between it and the wait.
            let published = self.bus.published(&[POOLS_TOPIC, CHAIN_TOPIC]);
            let at = self.pools.status().at;
            if blocks.last().map(|block| block.at) != at || blocks.is_empty() {
                let block = self.watched(least).await?;
                if blocks.last().map(|last| last.at) != Some(block.at) {
                    let best = block.best.first().and_then(|one| one.net.units.clone());
                    let best = best.map_or_else(String::new, |net| format!(", the best leaves {net}"));
                    let said = format!("block {}: {} opportunities{best}", block.at.block, block.count);
                    blocks.push(block);
                    ctx.progress(blocks.len() as f64, Some(wanted as f64), Some(&said)).await;
                    continue;
                }
            }
            tokio::select! {
                () = ctx.cancel.cancelled() => return Err(Fault::cancelled("the caller took the request back")),
                waited = timeout_at(until, published) => if waited.is_err() { break },
            }
        }
        Ok(WatchAnswer { blocks })
    }

    async fn watched(&self, least: Amount) -> Result<WatchedBlock, Fault> {
        let scanned = self.scanned(None).await?;
        let mut found = scanned.those(|one| !one.net.is_loss() && one.net.size() >= least.0);
        let count = found.len();
        found.truncate(PER_BLOCK_MAX);
        Ok(WatchedBlock { at: scanned.at, count, best: scanned.views(&found)? })
    }
}
