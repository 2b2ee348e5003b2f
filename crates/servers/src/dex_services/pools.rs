//! The pools that are followed, and how one stands.

use kernel::Decimal;
use kernel::chain::{Address, Amount};
use market::feed::At;
use market::pool::{AnyPool, Identity, Kind, Pool, Way};
use mcp::prelude::*;

use super::DexServices;
use crate::trading::coins::{Coin, Sum};
use crate::trading::{path, ratio};

/// Pools shown when the request does not say how many.
const SHOWN: usize = 100;
/// Most pools shown.
const SHOWN_MAX: usize = 500;

/// What [`LIST_POOLS`](super::LIST_POOLS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPools {
    /// Only pools of this exchange, by its name in list_dexes.
    #[serde(default)]
    pub dex: Option<String>,
    /// Only pools that trade this token: address or symbol.
    #[serde(default)]
    pub token: Option<String>,
    /// Only pools that trade this token too: address or symbol.
    #[serde(default)]
    pub other_token: Option<String>,
    /// How many to pass over first, for the next page.
    #[serde(default)]
    pub offset: usize,
    /// How many pools to show, at most 500; 100 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// How a pool prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// x·y = k.
    ConstantProduct,
    /// Liquidity in ranges of ticks.
    ConcentratedLiquidity,
}

/// What of a pool never changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PoolFacts {
    /// Where it is.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// How it prices.
    pub kind: PoolKind,
    /// What it trades, in the contract's order.
    pub tokens: [Coin; 2],
    /// The fee on what goes in, in millionths: 3000 is 0.3 %.
    pub fee_millionths: u32,
}

/// What [`LIST_POOLS`](super::LIST_POOLS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolsAnswer {
    /// The block up to which the pools are known.
    #[serde(flatten)]
    pub at: At,
    /// How many pools match.
    pub total: usize,
    /// How many of them are left out here, before and after.
    pub omitted: usize,
    /// The pools, in the order they were first followed.
    pub pools: Vec<PoolFacts>,
}

/// What [`POOL_STATE`](super::POOL_STATE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolRequest {
    /// The pool.
    pub pool: Address,
}

/// What changes in a pool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Of a constant product.
    ConstantProduct {
        /// What it holds by its own books, in the contract's order.
        reserves: [Sum; 2],
    },
    /// Of concentrated liquidity.
    ConcentratedLiquidity {
        /// The square root of the price of the first token in the second, times 2^96.
        sqrt_price_x96: Amount,
        /// The price's tick.
        tick: i32,
        /// The liquidity in range.
        liquidity: Amount,
        /// The least distance between initialised ticks.
        tick_spacing: i32,
        /// How many ticks are initialised.
        initialised_ticks: usize,
        /// The nearest initialised tick at or below the price's; absent when there is none.
        tick_below: Option<i32>,
        /// The nearest above; absent when there is none.
        tick_above: Option<i32>,
    },
}

/// What [`POOL_STATE`](super::POOL_STATE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolStateAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// What it is.
    #[serde(flatten)]
    pub facts: PoolFacts,
    /// How it stands.
    #[serde(flatten)]
    pub state: State,
    /// One of the first token in whole ones of the second, at the margin before the fee; absent while the pool has no price.
    pub price: Option<Decimal>,
    /// The same the other way.
    pub price_inverse: Option<Decimal>,
}

impl DexServices {
    pub(super) async fn list_pools(&self, request: ListPools) -> Result<PoolsAnswer, Fault> {
        let ListPools { dex, token, other_token, offset, limit } = request;
        if !(1..=SHOWN_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {SHOWN_MAX}")));
        }
        let tokens = [token, other_token].into_iter().flatten().map(|word| self.coins.find(&word));
        let tokens = tokens.collect::<Result<Vec<Address>, Fault>>()?;
        let wanted = |identity: &Identity| {
            dex.as_ref().is_none_or(|dex| dex == identity.protocol.as_str())
                && tokens.iter().all(|token| identity.tokens.contains(token))
        };
        let (at, total, page) = self.pools.read(|at, book| {
            let pools = || book.iter().map(|(_, pool)| (*pool.identity(), pool.kind())).filter(|(one, _)| wanted(one));
            (at, pools().count(), pools().skip(offset).take(limit).collect::<Vec<_>>())
        })?;
        if total == 0
            && let Some(dex) = dex
        {
            // A name that nobody bears is a slip; an exchange without pools is an answer.
            self.exchanges.named(&dex).await?;
        }
        let pools = self.facts(&page).await;
        Ok(PoolsAnswer { at, total, omitted: total - pools.len(), pools })
    }

    /// What these pools are, with their tokens' own words.
    pub(super) async fn facts(&self, pools: &[(Identity, Kind)]) -> Vec<PoolFacts> {
        let coins = self.coins.coins(pools.iter().flat_map(|(identity, _)| identity.tokens)).await;
        let coin = |address| coins.get(&address).cloned().unwrap_or(Coin { address, symbol: None, decimals: None });
        let facts = |(identity, kind): &(Identity, Kind)| PoolFacts {
            pool: identity.address,
            dex: identity.protocol.as_str().into(),
            kind: match kind {
                Kind::ConstantProduct => PoolKind::ConstantProduct,
                Kind::ConcentratedLiquidity => PoolKind::ConcentratedLiquidity,
            },
            tokens: identity.tokens.map(coin),
            fee_millionths: identity.fee_millionths,
        };
        pools.iter().map(facts).collect()
    }

    pub(super) async fn pool_state(&self, request: PoolRequest) -> Result<PoolStateAnswer, Fault> {
        let (at, pool) =
            self.pools.read(|at, book| Ok::<_, Fault>((at, path::find(book, request.pool)?.clone())))??;
        let facts = self.facts(&[(*pool.identity(), pool.kind())]).await.remove(0);
        let state = state(&pool, &facts.tokens);
        let price = |way: Way| {
            let [first, second] = [way.input(), way.output()].map(|side| facts.tokens[side].decimals);
            ratio::in_units(&ratio::of(&pool.spot_price(way).ok()?), first?, second?)
        };
        let [price, price_inverse] = Way::BOTH.map(price);
        Ok(PoolStateAnswer { at, state, price, price_inverse, facts })
    }
}

fn state(pool: &AnyPool, tokens: &[Coin; 2]) -> State {
    match pool {
        AnyPool::ConstantProduct(pair) => {
            let [first, second] = pair.reserves().map(ratio::amount);
            State::ConstantProduct { reserves: [tokens[0].sum(first), tokens[1].sum(second)] }
        }
        AnyPool::ConcentratedLiquidity(pool) => {
            let below = pool.ticks().partition_point(|tick| tick.index <= pool.tick());
            State::ConcentratedLiquidity {
                sqrt_price_x96: Amount(pool.sqrt_price()),
                tick: pool.tick(),
                liquidity: ratio::amount(pool.liquidity()),
                tick_spacing: pool.tick_spacing(),
                initialised_ticks: pool.ticks().len(),
                tick_below: pool.ticks()[..below].last().map(|tick| tick.index),
                tick_above: pool.ticks().get(below).map(|tick| tick.index),
            }
        }
    }
}
