//! Blocks that have been, replayed by their logs.

use std::collections::{BTreeMap, HashSet};

use kernel::chain::{Address, Amount, BlockId, LogFilter};
use market::feed::At;
use market::pool::{EVENT_TOPICS, Event, Pool};
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
    /// The first block.
    pub from_block: u64,
    /// The last block, itself included; the newest that is known when absent.
    #[serde(default)]
    pub to_block: Option<u64>,
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
        let from = request.from_block;
        let (at, book) = self.pools.read(|at, book| (at, book.clone()))?;
        let to = request.to_block.unwrap_or(at.block);
        check_range(from, to, at)?;
        let rate = self.wei_in(asset, &book)?;
        let mut book = back_to(book, from)?;
        let mut events = self.events(&book, from, to).await?;
        let terms = self.terms(asset, rate, Amount::default(), at.block).await?;
        let mut search = Search::new(&[(asset, 1.0)], self.config.max_hops);
        let all: Vec<PoolId> = book.iter().map(|(id, _)| id).collect();
        search.follow(&book, &all);
        book.take_changed();
        let least = request.min_net.unwrap_or_else(|| Amount::from(1));
        let mut replay = Replay { asset, terms, least, search, taken: HashSet::new() };
        let (total_events, changed_blocks) = (events.values().map(Vec::len).sum(), events.len());
        let (mut blocks, mut first, mut every) = (Vec::new(), market::Signed::ZERO, market::Signed::ZERO);
        for (done, block) in (from..=to).enumerate() {
            let Some(changes) = events.remove(&block) else { continue };
            for (pool, event) in changes {
                book.apply(block, pool, &event)?;
            }
            let changed = book.take_changed();
            replay.search.follow(&book, &changed);
            let head = self.chain.block(BlockId::Number(block)).await?.head;
            if ctx.cancel.is_cancelled() {
                return Err(Fault::cancelled("the caller took the request back"));
            }
            let base_fee = head.base_fee_per_gas_wei.unwrap_or_default();
            replay.terms.costs.gas_price_wei = base_fee.saturating_add(self.config.priority_fee_wei.0);
            if let Some((row, new)) = replay.look(&book, At { block, hash: head.hash }, base_fee)? {
                (first, every) = (first.plus(new), every.plus(row.net.amount));
                blocks.push(row);
            }
            let said = format!("block {block}: {} profitable so far", blocks.len());
            ctx.progress((done + 1) as f64, Some((to - from + 1) as f64), Some(&said)).await;
        }
        let profitable_blocks = blocks.len();
        blocks.sort_by_key(|row: &BacktestBlock| std::cmp::Reverse(row.net.amount));
        blocks.truncate(SHOWN_MAX);
        blocks.sort_by_key(|row| row.block);
        let funding = replay.terms.coin.clone();
        Ok(BacktestAnswer {
            from_block: from,
            to_block: to,
            events: total_events,
            changed_blocks,
            profitable_blocks,
            net: Net::of(&funding, first),
            net_every_block: Net::of(&funding, every),
            blocks,
            assumptions: [
                "trades stand at the end of a block and compete with nobody",
                "lenders, their fees and liquidity are today's",
                "what gas costs in the funding asset, and its reference price, are today's; the base fee is the block's own",
                "pools that are followed now",
            ]
            .map(str::to_owned)
            .to_vec(),
            funding,
        })
    }

    /// What the logs of these pools say, by block.
    async fn events(&self, book: &Book, from: u64, to: u64) -> Result<BTreeMap<u64, Vec<(Address, Event)>>, Fault> {
        let filter = LogFilter {
            from: BlockId::Number(from),
            to: BlockId::Number(to),
            addresses: book.iter().map(|(_, pool)| pool.address()).collect(),
            topics: vec![EVENT_TOPICS.to_vec()],
        };
        let mut events: BTreeMap<u64, Vec<(Address, Event)>> = BTreeMap::new();
        for log in self.chain.logs(&filter).await? {
            let event = Event::from_log(&log.topics, &log.data);
            if let (Some(block), Some(event)) = (log.block_number, event) {
                events.entry(block).or_default().push((log.address, event));
            }
        }
        Ok(events)
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

/// The book as it was before this block.
fn back_to(mut book: Book, first: u64) -> Result<Book, Fault> {
    let oldest = book.oldest_block();
    book.roll_back(first).map_err(|error| {
        Fault::from(error).hint(format!("the pools are remembered back to block {oldest}: begin there or later"))
    })?;
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
