//! How much there is to trade with, and where most of it is.

use std::cmp::Reverse;
use std::collections::HashMap;

use kernel::chain::{Address, Amount, BlockId, Hash, LogFilter};
use market::feed::At;
use market::pool::{AnyPool, Pool, VOLUME_TOPICS, Way, volume_in};
use mcp::prelude::*;
use num_rational::BigRational;

use super::MarketAnalysis;
use crate::trading::coins::{Coin, Sum};
use crate::trading::depth::within;
use crate::trading::path::{self, Leg};
use crate::trading::ratio;

/// The bound when the request names none, in basis points.
const WITHIN_BPS: u32 = 200;
/// Pools shown when the request does not say how many.
const SHOWN: usize = 20;
/// Most pools shown.
const SHOWN_MAX: usize = 100;
/// Blocks looked at for volumes when the request does not say how many.
const BLOCKS: u64 = 300;
/// Most blocks.
const BLOCKS_MAX: u64 = 10_000;

/// What [`LIQUIDITY`](super::LIQUIDITY) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiquidityRequest {
    /// The token: address or symbol.
    pub token: String,
    /// Only against this token: address or symbol.
    #[serde(default)]
    pub other_token: Option<String>,
    /// How far the price may move, in basis points, 1 to 9999; 200 when absent.
    #[serde(default = "within_bps")]
    #[schemars(range(min = 1, max = 9999))]
    pub within_bps: u32,
}

fn within_bps() -> u32 {
    WITHIN_BPS
}

/// How much of a token a pool takes and gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolLiquidity {
    /// The pool.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// The fee on what goes in, in millionths: 3000 is 0.3 %.
    pub fee_millionths: u32,
    /// What the token is traded against.
    pub other: Coin,
    /// How much of the token can be sold there until the price has moved that far.
    pub can_sell: Sum,
    /// How much of it can be bought.
    pub can_buy: Sum,
}

/// What [`LIQUIDITY`](super::LIQUIDITY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LiquidityAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// The token.
    pub token: Coin,
    /// How far prices are moved, in basis points.
    pub within_bps: u32,
    /// How much of the token can be sold in all, each pool moved that far.
    pub can_sell: Sum,
    /// How much of it can be bought in all.
    pub can_buy: Sum,
    /// The pools that trade it, where most can be sold first; at most 100.
    pub pools: Vec<PoolLiquidity>,
    /// How many pools are left out here; they count in the sums.
    pub omitted: usize,
}

/// What [`TOP_POOLS`](super::TOP_POOLS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopPoolsRequest {
    /// Only pools that trade this token: address or symbol.
    #[serde(default)]
    pub token: Option<String>,
    /// How many pools, at most 100; 20 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: usize,
    /// For how many of the newest blocks swaps are counted, at most 10000; 300 when absent.
    #[serde(default = "blocks")]
    #[schemars(range(min = 1, max = 10000))]
    pub blocks: u64,
}

fn shown() -> usize {
    SHOWN
}

fn blocks() -> u64 {
    BLOCKS
}

/// A pool, how deep it is and how much is traded there.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TopPool {
    /// The pool.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// The fee on what goes in, in millionths: 3000 is 0.3 %.
    pub fee_millionths: u32,
    /// What it trades, in the contract's order.
    pub tokens: [Coin; 2],
    /// What its curve holds of each around the price.
    pub holds: [Sum; 2],
    /// What both together are worth in the wrapped native coin, by its own price or the deepest pool's.
    pub depth: Sum,
    /// Swaps in the blocks looked at.
    pub swaps: u64,
    /// How much of each token went in, in the blocks looked at.
    pub volume_in: [Sum; 2],
}

/// What [`TOP_POOLS`](super::TOP_POOLS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TopPoolsAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// The first block whose swaps are counted.
    pub swaps_from_block: u64,
    /// The deepest first.
    pub pools: Vec<TopPool>,
    /// Pools that no pool values in the wrapped native coin, or that are empty: they are not ranked.
    pub unranked: usize,
}

impl MarketAnalysis {
    pub(super) async fn liquidity(&self, request: LiquidityRequest) -> Result<LiquidityAnswer, Fault> {
        let bps = request.within_bps;
        if !(1..10_000).contains(&bps) {
            return Err(Fault::invalid(format!("within {bps} basis points")).hint("1 to 9999"));
        }
        let token = self.coins.find(&request.token)?;
        let other = request.other_token.map(|word| self.coins.find(&word)).transpose()?;
        let (at, legs) = self.pools.read(|at, book| {
            let leg = |pool: &AnyPool| {
                let way = pool.identity().way_from(token)?;
                let to = pool.identity().ends(way).1;
                other.is_none_or(|other| other == to).then(|| Leg { pool: pool.clone(), way })
            };
            (at, book.iter().filter_map(|(_, pool)| leg(pool)).collect::<Vec<_>>())
        })?;
        if legs.is_empty() {
            return Err(Fault::not_found(format!("no followed pool trades {token} so"))
                .hint("list_pools of dex-services has the pools that are followed"));
        }
        let mut measured: Vec<(Leg, Amount, Amount)> = Vec::with_capacity(legs.len());
        for leg in legs {
            let back = Leg { pool: leg.pool.clone(), way: leg.way.back() };
            let (sold, bought) = (within(&leg, bps).0, within(&back, bps).1);
            measured.push((leg, sold, bought));
        }
        measured.sort_by_key(|(leg, sold, _)| (Reverse(*sold), leg.pool.address()));
        let total = |amounts: &mut dyn Iterator<Item = Amount>| {
            amounts.fold(Amount::default(), |all, one| Amount(all.saturating_add(one.0)))
        };
        let coin = self.coins.coin(token).await;
        let can_sell = coin.sum(total(&mut measured.iter().map(|one| one.1)));
        let can_buy = coin.sum(total(&mut measured.iter().map(|one| one.2)));
        let omitted = measured.len().saturating_sub(SHOWN_MAX);
        measured.truncate(SHOWN_MAX);
        let others = self.coins.coins(measured.iter().map(|(leg, ..)| leg.ends().1)).await;
        let view = |(leg, sold, bought): &(Leg, Amount, Amount)| PoolLiquidity {
            pool: leg.pool.address(),
            dex: leg.pool.identity().protocol.as_str().into(),
            fee_millionths: leg.pool.fee_millionths(),
            other: others[&leg.ends().1].clone(),
            can_sell: coin.sum(*sold),
            can_buy: coin.sum(*bought),
        };
        let pools = measured.iter().map(view).collect();
        Ok(LiquidityAnswer { at, within_bps: bps, can_sell, can_buy, pools, omitted, token: coin })
    }

    pub(super) async fn top_pools(&self, request: TopPoolsRequest) -> Result<TopPoolsAnswer, Fault> {
        let TopPoolsRequest { token, limit, blocks } = request;
        if !(1..=SHOWN_MAX).contains(&limit) || !(1..=BLOCKS_MAX).contains(&blocks) {
            return Err(Fault::invalid(format!("{limit} pools over {blocks} blocks"))
                .hint(format!("1 to {SHOWN_MAX} pools, 1 to {BLOCKS_MAX} blocks")));
        }
        let native = self.coins.find(&self.config.native)?;
        let token = token.map(|word| self.coins.find(&word)).transpose()?;
        let (at, ranked, unranked) = self.pools.read(|at, book| {
            let prices = prices_in(book, native);
            let wanted = |pool: &AnyPool| token.is_none_or(|token| pool.tokens().contains(&token));
            let (mut ranked, mut unranked) = (Vec::new(), 0);
            for (_, pool) in book.iter().filter(|(_, pool)| wanted(pool)) {
                match ranked_by(pool, &prices) {
                    Some((depth, holds)) => ranked.push((depth, holds, pool)),
                    None => unranked += 1,
                }
            }
            ranked.sort_by_key(|(depth, _, pool)| (Reverse(*depth), pool.address()));
            ranked.truncate(limit);
            let kept = ranked.into_iter().map(|(depth, holds, pool)| (depth, holds, *pool.identity()));
            (at, kept.collect::<Vec<_>>(), unranked)
        })?;
        let from = at.block.saturating_sub(blocks - 1);
        let traded =
            self.traded(ranked.iter().map(|(.., identity)| identity.address).collect(), from, at.block).await?;
        let coins = self.coins.coins(ranked.iter().flat_map(|(.., identity)| identity.tokens).chain([native])).await;
        let pools = ranked.into_iter().map(|(depth, holds, identity)| {
            let tokens = identity.tokens.map(|token| coins[&token].clone());
            let (swaps, volume) = traded.get(&identity.address).copied().unwrap_or_default();
            let sums = |amounts: [Amount; 2]| [tokens[0].sum(amounts[0]), tokens[1].sum(amounts[1])];
            TopPool {
                pool: identity.address,
                dex: identity.protocol.as_str().into(),
                fee_millionths: identity.fee_millionths,
                holds: sums(holds),
                depth: coins[&native].sum(depth),
                swaps,
                volume_in: sums(volume),
                tokens,
            }
        });
        Ok(TopPoolsAnswer { at, swaps_from_block: from, pools: pools.collect(), unranked })
    }

    /// Swaps and what went in, by pool.
    async fn traded(
        &self,
        addresses: Vec<Address>,
        from: u64,
        to: u64,
    ) -> Result<HashMap<Address, (u64, [Amount; 2])>, Fault> {
        let mut traded: HashMap<Address, (u64, [Amount; 2])> = HashMap::new();
        if addresses.is_empty() {
            return Ok(traded);
        }
        let topics: Vec<Hash> = VOLUME_TOPICS.to_vec();
        let filter =
            LogFilter { from: BlockId::Number(from), to: BlockId::Number(to), addresses, topics: vec![topics] };
        for log in self.chain.logs(&filter).await? {
            let Some(volume) = volume_in(&log.topics, &log.data) else { continue };
            let (swaps, sums) = traded.entry(log.address).or_default();
            *swaps += 1;
            for (sum, amount) in sums.iter_mut().zip(volume) {
                *sum = Amount(sum.saturating_add(amount.0));
            }
        }
        Ok(traded)
    }
}

/// What one smallest unit of each token is worth in the wrapped native coin, by the deepest pool between them.
fn prices_in(book: &market::Book, native: Address) -> HashMap<Address, BigRational> {
    let mut deepest: HashMap<Address, (Amount, BigRational)> = HashMap::new();
    for (_, pool) in book.iter() {
        let Some(back) = pool.identity().way_from(native) else { continue };
        let leg = Leg { pool: pool.clone(), way: back.back() };
        let (Some(depth), Ok(price)) = (path::depth(&leg), leg.price()) else { continue };
        let token = leg.ends().0;
        if deepest.get(&token).is_none_or(|(before, _)| *before < depth) {
            deepest.insert(token, (depth, price));
        }
    }
    let mut prices: HashMap<Address, BigRational> =
        deepest.into_iter().map(|(token, (_, price))| (token, price)).collect();
    prices.insert(native, ratio::kept(0));
    prices
}

/// What a pool's curve is worth in the wrapped native coin, and what it holds of each token.
fn ranked_by(pool: &AnyPool, prices: &HashMap<Address, BigRational>) -> Option<(Amount, [Amount; 2])> {
    let held = |way: Way| path::depth(&Leg { pool: pool.clone(), way });
    // What comes out that way is what is held on that side.
    let holds = [held(Way::OneForZero)?, held(Way::ZeroForOne)?];
    let worth = |side: usize| Some(prices.get(&pool.tokens()[side])? * BigRational::from(ratio::whole(holds[side])));
    // Both sides of a curve are worth the same at its own price: one known side is enough.
    let depth = match (worth(0), worth(1)) {
        (Some(first), Some(second)) => first + second,
        (Some(one), None) | (None, Some(one)) => &one + &one,
        (None, None) => return None,
    };
    Some((depth.to_integer().to_string().parse().ok()?, holds))
}
