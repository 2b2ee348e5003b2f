//! Blocks that have been, replayed by their logs or from a [recording](super::recording).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use kernel::chain::{Address, Amount, BlockId, Hash, LogFilter};
use market::feed::At;
use market::pool::{AnyPool, EVENT_TOPICS, Event, Pool};
use market::search::Search;
use market::{Book, PoolId};
use mcp::prelude::*;

use super::MarketAnalysis;
use super::costs::Terms;
use super::follow::excerpt;
use super::scan::{priced, together};
use super::view::{Net, OpportunityView};
use crate::trading::coins::Coin;

/// Most blocks replayed at once.
const BLOCKS_MAX: u64 = 1_000;
/// Candidates of a block that are evaluated to the unit: the best by estimate.
const EVALUATED_MAX: usize = 20;
/// Most blocks shown: those that left most.
const SHOWN_MAX: usize = 50;

/// What [`BACKTEST`](super::BACKTEST) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BacktestRequest {
    /// The first block. Either this or `recording`.
    #[serde(default)]
    pub from_block: Option<u64>,
    /// The last block, itself included; the newest that is known when absent.
    #[serde(default)]
    pub to_block: Option<u64>,
    /// A recording to replay instead of blocks of the chain: its name, as recordings lists it.
    #[serde(default)]
    pub recording: Option<String>,
    /// The funding asset: address or symbol; the first of the configuration when absent.
    #[serde(default)]
    pub funding: Option<String>,
    /// Only what leaves at least so much, in the funding asset's smallest unit; 1 when absent.
    #[serde(default)]
    pub min_net: Option<Amount>,
}

/// A block and what it offered.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BacktestBlock {
    /// Its height.
    pub block: u64,
    /// Its base fee per gas, in wei.
    pub base_fee_per_gas_wei: Amount,
    /// Opportunities that left enough after it.
    pub opportunities: usize,
    /// What the best of them that share no pool would have left together.
    pub net: Net,
    /// The best.
    pub best: OpportunityView,
}

/// What [`BACKTEST`](super::BACKTEST) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BacktestAnswer {
    /// The first block replayed.
    pub from_block: u64,
    /// The last.
    pub to_block: u64,
    /// The funding asset.
    pub funding: Coin,
    /// Logs that changed pools.
    pub events: usize,
    /// Blocks in which pools changed.
    pub changed_blocks: usize,
    /// Blocks after which something left enough.
    pub profitable_blocks: usize,
    /// What the cycles would have left, each counted only in the first block that offered it: nobody takes the same twice.
    pub net: Net,
    /// The same if it stood open for everyone after every block: the sum over blocks, the same opportunity again and again.
    pub net_every_block: Net,
    /// The blocks that left most, at most 50, in chain order.
    pub blocks: Vec<BacktestBlock>,
    /// What is not as it was: what the figures leave out.
    pub assumptions: Vec<String>,
}

/// What is replayed: the pools before the first block, and what changed them.
pub(super) struct History {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) book: Book,
    pub(super) blocks: BTreeMap<u64, Changes>,
}

/// A block in which pools changed.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    pub(super) hash: Hash,
    pub(super) base_fee_per_gas_wei: Amount,
    pub(super) events: Vec<(Address, Event)>,
}

/// What replaying needs beside the book.
struct Replay {
    asset: Address,
    terms: Terms,
    least: Amount,
    search: Search,
    taken: HashSet<String>,
}

impl MarketAnalysis {
    pub(super) async fn backtest(&self, request: BacktestRequest, ctx: &Ctx) -> Result<BacktestAnswer, Fault> {
        let asset = match &request.funding {
            Some(word) => self.funded(word)?,
            None => self.funding()?[0],
        };
        let history = match (request.from_block, &request.recording) {
            (Some(from), None) => self.history(from, request.to_block, ctx).await?,
            (None, Some(name)) if request.to_block.is_none() => self.recorded(name).await?,
            _ => return Err(Fault::invalid("blocks and a recording, or neither").hint("from_block, or recording")),
        };
        let History { from, to, mut book, blocks: history } = history;
        let rate = self.pricing.wei_in(asset, &book)?;
        let terms = self.terms(asset, rate, Amount::default()).await?;
        let mut search = Search::new(&[(asset, 1.0)], self.config.max_hops);
        let all: Vec<PoolId> = book.iter().map(|(id, _)| id).collect();
        search.follow(&book, &all);
        book.take_changed();
        let least = request.min_net.unwrap_or_else(|| Amount::from(1));
        let mut replay = Replay { asset, terms, least, search, taken: HashSet::new() };
        let (events, changed_blocks) = (history.values().map(|changes| changes.events.len()).sum(), history.len());
        let (mut blocks, mut first, mut every) = (Vec::new(), market::Signed::ZERO, market::Signed::ZERO);
        for (block, Changes { hash, base_fee_per_gas_wei: base_fee, events }) in history {
            for (pool, event) in events {
                book.apply(block, pool, &event)?;
            }
            let changed = book.take_changed();
            replay.search.follow(&book, &changed);
            if ctx.cancel.is_cancelled() {
                return Err(Fault::cancelled("the caller took the request back"));
            }
            replay.terms.costs.gas_price_wei = base_fee.saturating_add(self.config.priority_fee_wei.0);
            if let Some((row, new)) = replay.look(&book, At { block, hash }, base_fee)? {
                (first, every) = (first.plus(new), every.plus(row.net.amount));
                blocks.push(row);
            }
            let said = format!("block {block}: {} profitable so far", blocks.len());
            ctx.progress((block - from + 1) as f64, Some((to - from + 1) as f64), Some(&said)).await;
        }
        let profitable_blocks = blocks.len();
        blocks.sort_by_key(|row: &BacktestBlock| std::cmp::Reverse(row.net.amount));
        blocks.truncate(SHOWN_MAX);
        blocks.sort_by_key(|row| row.block);
        let funding = replay.terms.coin.clone();
        Ok(BacktestAnswer {
            from_block: from,
            to_block: to,
            events,
            changed_blocks,
            profitable_blocks,
            net: Net::of(&funding, first),
            net_every_block: Net::of(&funding, every),
            blocks,
            assumptions: [
                "trades stand at the end of a block and compete with nobody",
                "lenders, their fees and liquidity are today's",
                "what gas costs in the funding asset is as before the first block, its reference price today's; the base fee is the block's own",
                "pools that are followed now, or were when it was recorded",
            ]
            .map(str::to_owned)
            .to_vec(),
            funding,
        })
    }

    /// What these blocks were, by the chain's logs.
    pub(super) async fn history(&self, from: u64, to: Option<u64>, ctx: &Ctx) -> Result<History, Fault> {
        let (at, book) = self.pools.read(|at, book| (at, book.clone()))?;
        let to = to.unwrap_or(at.block);
        check_range(from, to, at)?;
        let mut history = History { from, to, book: back_to(book, from)?, blocks: BTreeMap::new() };
        let filter = LogFilter {
            from: BlockId::Number(from),
            to: BlockId::Number(to),
            addresses: history.book.iter().map(|(_, pool)| pool.address()).collect(),
            topics: vec![EVENT_TOPICS.to_vec()],
        };
        for log in self.chain.logs(&filter).await? {
            let event = Event::from_log(&log.topics, &log.data);
            let (Some(block), Some(event)) = (log.block_number, event) else { continue };
            let changes = match history.blocks.entry(block) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    if ctx.cancel.is_cancelled() {
                        return Err(Fault::cancelled("the caller took the request back"));
                    }
                    let head = self.chain.block(BlockId::Number(block)).await?.head;
                    let base_fee_per_gas_wei = head.base_fee_per_gas_wei.unwrap_or_default();
                    entry.insert(Changes { hash: head.hash, base_fee_per_gas_wei, events: Vec::new() })
                }
            };
            changes.events.push((log.address, event));
        }
        Ok(history)
    }
}

fn check_range(from: u64, to: u64, at: At) -> Result<(), Fault> {
    if from > to || to > at.block {
        return Err(
            Fault::invalid(format!("blocks {from} to {to}")).hint(format!("the newest that is known is {}", at.block))
        );
    }
    if to - from + 1 > BLOCKS_MAX {
        return Err(Fault::too_large(format!("{} blocks", to - from + 1)).hint(format!("at most {BLOCKS_MAX} at once")));
    }
    Ok(())
}

/// The pools as they were before this block, in a book of their own.
fn back_to(mut book: Book, first: u64) -> Result<Book, Fault> {
    let oldest = book.oldest_block();
    book.roll_back(first).map_err(|error| {
        Fault::from(error).hint(format!("the pools are remembered back to block {oldest}: begin there or later"))
    })?;
    Ok(own_book(first, book.iter().map(|(_, pool)| pool.clone()))?)
}

/// A book of these pools, as they are before this block.
pub(super) fn own_book(first: u64, pools: impl Iterator<Item = AnyPool>) -> market::Result<Book> {
    let mut book = Book::default();
    for pool in pools {
        book.join(first.saturating_sub(1), pool)?;
    }
    book.forget_before(first);
    book.take_changed();
    Ok(book)
}

impl Replay {
    /// What a block offers, and what of that no block before it did.
    fn look(
        &mut self,
        book: &Book,
        at: At,
        base_fee: Amount,
    ) -> Result<Option<(BacktestBlock, market::Signed)>, Fault> {
        let asset = self.asset;
        let excerpt = excerpt(at, book, &self.search, |_| true, EVALUATED_MAX)?;
        let mut found = Vec::new();
        for cycle in &excerpt.candidates {
            let opportunity = priced(&excerpt.book, cycle, &self.terms)?;
            let enough = opportunity.filter(|one| !one.net.is_loss() && one.net.size() >= self.least.0);
            found.extend(enough.map(|one| (asset, one)));
        }
        found.sort_by_key(|(_, one)| std::cmp::Reverse(one.net));
        if found.is_empty() {
            return Ok(None);
        }
        let views: Vec<OpportunityView> = found
            .iter()
            .map(|(_, one)| OpportunityView::of(one, &excerpt.book, &self.terms))
            .collect::<Result<_, _>>()?;
        let (mut net, mut new) = (market::Signed::ZERO, market::Signed::ZERO);
        for place in together(&found, |_| self.terms.costs.wei_in_asset) {
            net = net.plus(found[place].1.net);
            if self.taken.insert(views[place].id.clone()) {
                new = new.plus(found[place].1.net);
            }
        }
        let opportunities = found.len();
        let best = views.into_iter().next().ok_or_else(|| Fault::internal("no best of some"))?;
        let net = Net::of(&self.terms.coin, net);
        Ok(Some((BacktestBlock { block: at.block, base_fee_per_gas_wei: base_fee, opportunities, net, best }, new)))
    }
}
