//! Pools as sources: which are known, what their tokens are, and what they say of a pair.

use std::collections::HashMap;

use kernel::chain::{Address, Amount, BlockId, Head};
use kernel::prices::Asset;
use kernel::{Decimal, Fault};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::onchain::{Moment, value};
use super::pair::{DOLLARS, Pair};
use super::source::{PRICE_DIGITS, Tick};

/// The kinds of pools that prices are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// A constant-product pair: Uniswap V2, `SushiSwap` and other forks.
    UniswapV2,
    /// A pool of Uniswap V3.
    UniswapV3,
}

/// A pool that the configuration knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Its kind.
    pub kind: PoolKind,
    /// Its contract.
    pub address: Address,
}

/// One token of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) token: Address,
    /// Only where it is known, not as the token calls itself.
    pub(super) symbol: Option<String>,
    pub(super) decimals: u8,
}

/// A pool and its tokens, which never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) kind: PoolKind,
    pub(super) address: Address,
    pub(super) sides: [Side; 2],
}

/// A pool seen from a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) pool: Pool,
    /// Which side is priced: 0 or 1.
    pub(super) base: usize,
    /// The coin that stands for the currency, where one does.
    pub(super) stand_in: Option<String>,
}

impl View {
    pub(super) fn base(&self) -> &Side {
        &self.pool.sides[self.base]
    }

    pub(super) fn quote(&self) -> &Side {
        &self.pool.sides[1 - self.base]
    }

    /// `worth` of the quote for 10^`exponent` of the base, both in smallest units, as a price of whole units.
    pub(super) fn price(&self, worth: Amount, exponent: u8) -> Option<Decimal> {
        let places = i64::from(exponent) - i64::from(self.base().decimals) + i64::from(self.quote().decimals);
        Decimal::new(worth, places).map(|price| price.to_significant(PRICE_DIGITS))
    }

    pub(super) fn note(&self, what: &str, currency: &str) -> String {
        let stand_in = self.stand_in.as_ref().map(|coin| format!("; {coin} stands for {currency}"));
        format!("{what}{}", stand_in.unwrap_or_default())
    }
}

/// What was read of pools and does not change.
pub(super) type Known = Mutex<HashMap<Address, Pool>>;

impl Engine {
    /// The pools that are known on this chain: the sandbox's and the configuration's.
    fn listed(&self) -> Vec<PoolConfig> {
        let mut pools = self.config.pools.clone();
        for deployment in self.on_chain.chain.deployments() {
            let kind = if deployment.name.contains("-pair-") {
                PoolKind::UniswapV2
            } else if deployment.name.contains("-v3-pool-") {
                PoolKind::UniswapV3
            } else {
                continue;
            };
            pools.push(PoolConfig { kind, address: deployment.address });
        }
        pools
    }

    /// A pool's tokens.
    pub(super) async fn pool(&self, kind: PoolKind, address: Address) -> Result<Pool, Fault> {
        if let Some(pool) = self.pools.lock().get(&address).filter(|pool| pool.kind == kind) {
            return Ok(pool.clone());
        }
        let (zero, one) = tokio::try_join!(
            self.on_chain.read(address, "token0()(address)", &[], BlockId::Latest),
            self.on_chain.read(address, "token1()(address)", &[], BlockId::Latest),
        )?;
        let (zero, one) = tokio::try_join!(self.side(value(&zero, 0)?), self.side(value(&one, 0)?))?;
        let pool = Pool { kind, address, sides: [zero, one] };
        self.pools.lock().insert(address, pool.clone());
        Ok(pool)
    }

    async fn side(&self, token: Address) -> Result<Side, Fault> {
        let (read, symbol) =
            tokio::try_join!(self.on_chain.chain.token(token, BlockId::Latest), self.on_chain.symbol_of(token))?;
        let decimals =
            read.decimals.ok_or_else(|| Fault::upstream(format!("token {token} does not say its decimals")))?;
        Ok(Side { token, symbol, decimals })
    }

    /// The known pools of a kind that hold the two of a pair.
    pub(super) async fn views(&self, kind: PoolKind, pair: &Pair) -> Result<Vec<View>, Fault> {
        let mut views = Vec::new();
        for listed in self.listed().into_iter().filter(|pool| pool.kind == kind) {
            let pool = self.pool(kind, listed.address).await?;
            views.extend(view(pool, pair));
        }
        if views.is_empty() {
            return Err(Fault::not_found(format!("no pool of {pair} is known")));
        }
        Ok(views)
    }

    /// The spot price in the pair with the deepest reserves.
    pub(super) async fn uniswap_v2(&self, pair: &Pair, at: Option<&Moment>) -> Result<Tick, Fault> {
        let views = self.views(PoolKind::UniswapV2, pair).await?;
        let moment = self.on_chain.moment(at).await?;
        let mut deepest: Option<(Decimal, View, Amount, Amount)> = None;
        for view in views {
            let (base, quote) = self.reserves(&view, &moment).await?;
            let depth = Decimal::new(quote, i64::from(view.quote().decimals)).unwrap_or_default();
            if deepest.as_ref().is_none_or(|(before, ..)| depth > *before) {
                deepest = Some((depth, view, base, quote));
            }
        }
        let (_, view, base, quote) = deepest.ok_or_else(|| Fault::not_found(format!("no pool of {pair} is known")))?;
        let whole = |amount: Amount, decimals: u8| Decimal::new(amount, i64::from(decimals));
        let price =
            whole(quote, view.quote().decimals).zip(whole(base, view.base().decimals)).and_then(|(q, b)| q.over(b));
        Ok(Tick {
            price: price.unwrap_or_default().to_significant(PRICE_DIGITS),
            at_ms: at_ms(&moment.head),
            instrument: view.pool.address.to_string(),
            note: Some(view.note("the reserves at one block, which one trade can move", &pair.quote)),
            problem: price.is_none().then(|| "the pool is empty".to_owned()),
        })
    }

    /// The reserves of the base and of the quote.
    async fn reserves(&self, view: &View, moment: &Moment) -> Result<(Amount, Amount), Fault> {
        const RESERVES: &str = "getReserves()(uint112 reserve0,uint112 reserve1,uint32 blockTimestampLast)";
        let read = self.on_chain.read_at(moment, view.pool.address, RESERVES, &[]).await?;
        Ok((value(&read, view.base)?, value(&read, 1 - view.base)?))
    }
}

/// When a block was made, in milliseconds.
pub(super) fn at_ms(head: &Head) -> i64 {
    i64::try_from(head.timestamp_seconds).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000)
}

pub(super) fn view(pool: Pool, pair: &Pair) -> Option<View> {
    let is_base = |side: &Side| match &pair.base {
        Asset::Token(address) => side.token == *address,
        Asset::Symbol(symbol) => side.symbol.as_ref() == Some(symbol),
    };
    let base = pool.sides.iter().position(is_base)?;
    let quote = pool.sides[1 - base].symbol.clone()?;
    if quote == pair.quote {
        return Some(View { pool, base, stand_in: None });
    }
    let stands_in = pair.quote == "USD" && DOLLARS.contains(&quote.as_str());
    stands_in.then_some(View { pool, base, stand_in: Some(quote) })
}
