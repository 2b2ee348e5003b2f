//! How far apart pools are that trade the same.

use std::collections::HashMap;

use kernel::Decimal;
use kernel::chain::Address;
use market::feed::At;
use market::pool::{Pool, Way};
use mcp::prelude::*;
use num_rational::BigRational;

use super::MarketAnalysis;
use crate::trading::coins::Coin;
use crate::trading::path::Leg;
use crate::trading::ratio;

/// Pairs shown when the request does not say how many.
const SHOWN: usize = 20;
/// Most pairs shown.
const SHOWN_MAX: usize = 100;

/// What [`SPREADS`](super::SPREADS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpreadsRequest {
    /// Only pairs with this token: address or symbol.
    #[serde(default)]
    pub token: Option<String>,
    /// How many pairs to show, at most 100; 20 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// Two tokens and the pools between them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The tokens, in the contracts' order; prices are of the first in the second.
    pub tokens: [Coin; 2],
    /// How many pools with liquidity trade the two.
    pub pools: usize,
    /// The pool where the first is cheapest, and its price at the margin; absent where decimals are not known.
    pub cheapest: Address,
    /// Its price, in whole units.
    pub low: Option<Decimal>,
    /// The pool where the first is dearest.
    pub dearest: Address,
    /// Its price, in whole units.
    pub high: Option<Decimal>,
    /// How far the dearest is above the cheapest, in basis points, before fees.
    pub spread_bps: f64,
    /// What buying at one pool and selling at another gains at the margin after both fees, in basis points, at best; negative when every
    /// way loses.
    pub after_fees_bps: f64,
    /// Where to buy for that.
    pub buy_at: Address,
    /// Where to sell.
    pub sell_at: Address,
}

/// What [`SPREADS`](super::SPREADS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SpreadsAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// The pairs with more than one pool, where most is gained after fees first.
    pub spreads: Vec<Spread>,
    /// How many more there are.
    pub omitted: usize,
}

/// A pool's price, and what the fee leaves.
type Priced = (Address, BigRational, BigRational);

impl MarketAnalysis {
    pub(super) async fn spreads(&self, request: SpreadsRequest) -> Result<SpreadsAnswer, Fault> {
        if !(1..=SHOWN_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {SHOWN_MAX}")));
        }
        let token = request.token.map(|word| self.coins.find(&word)).transpose()?;
        let (at, legs) = self.pools.read(|at, book| {
            let wanted = |pool: &&market::pool::AnyPool| token.is_none_or(|token| pool.tokens().contains(&token));
            let pools = book.iter().map(|(_, pool)| pool).filter(wanted);
            let mut pairs: HashMap<[Address; 2], Vec<Leg>> = HashMap::new();
            for pool in pools {
                pairs.entry(pool.tokens()).or_default().push(Leg { pool: pool.clone(), way: Way::ZeroForOne });
            }
            pairs.retain(|_, legs| legs.len() > 1);
            (at, pairs)
        })?;
        let priced = |leg: &Leg| -> Option<Priced> {
            Some((leg.pool.address(), leg.price().ok()?, ratio::kept(leg.pool.fee_millionths())))
        };
        let measured = legs
            .into_iter()
            .filter_map(|(tokens, legs)| measure(tokens, &legs.iter().filter_map(priced).collect::<Vec<_>>()));
        let mut measured: Vec<Measured> = measured.collect();
        measured.sort_by(|one, other| other.after_fees.cmp(&one.after_fees).then(one.tokens.cmp(&other.tokens)));
        let omitted = measured.len().saturating_sub(request.limit);
        measured.truncate(request.limit);
        let coins = self.coins.coins(measured.iter().flat_map(|one| one.tokens)).await;
        let view = |one: Measured| {
            let tokens = one.tokens.map(|token| coins[&token].clone());
            let shown = |price: &BigRational| ratio::in_units(price, tokens[0].decimals?, tokens[1].decimals?);
            Spread {
                pools: one.pools,
                cheapest: one.low.0,
                low: shown(&one.low.1),
                dearest: one.high.0,
                high: shown(&one.high.1),
                spread_bps: -ratio::bps(&ratio::short_of_one(&(&one.high.1 / &one.low.1))),
                after_fees_bps: -ratio::bps(&ratio::short_of_one(&one.after_fees)),
                buy_at: one.buy_at,
                sell_at: one.sell_at,
                tokens,
            }
        };
        Ok(SpreadsAnswer { at, spreads: measured.into_iter().map(view).collect(), omitted })
    }
}

struct Measured {
    tokens: [Address; 2],
    pools: usize,
    low: (Address, BigRational),
    high: (Address, BigRational),
    /// What one comes back as at the margin.
    after_fees: BigRational,
    buy_at: Address,
    sell_at: Address,
}

/// `None` with fewer than two prices.
fn measure(tokens: [Address; 2], priced: &[Priced]) -> Option<Measured> {
    if priced.len() < 2 {
        return None;
    }
    let low = priced.iter().min_by(|one, other| one.1.cmp(&other.1))?;
    let high = priced.iter().max_by(|one, other| one.1.cmp(&other.1))?;
    let round = |buy: &Priced, sell: &Priced| (&sell.1 * &sell.2) * (&buy.2 / &buy.1);
    let pairs =
        priced.iter().flat_map(|buy| priced.iter().map(move |sell| (buy, sell))).filter(|(buy, sell)| buy.0 != sell.0);
    let (after_fees, buy_at, sell_at) =
        pairs.map(|(buy, sell)| (round(buy, sell), buy.0, sell.0)).max_by(|one, other| one.0.cmp(&other.0))?;
    Some(Measured {
        tokens,
        pools: priced.len(),
        low: (low.0, low.1.clone()),
        high: (high.0, high.1.clone()),
        after_fees,
        buy_at,
        sell_at,
    })
}
