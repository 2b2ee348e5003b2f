//! How deep pools are: what moves their price by so much.

use kernel::chain::{Address, Amount};
use market::feed::At;
use market::pool::Pool;
use mcp::prelude::*;

use super::DexServices;
use crate::trading::coins::{Coin, Sum};
use crate::trading::depth::{ALL_BPS, within};
use crate::trading::path;

/// Levels looked at when the request names none, in basis points.
const LEVELS_BPS: [u32; 5] = [10, 50, 100, 200, 500];
/// Most levels.
const LEVELS_MAX: usize = 10;

/// What [`LIQUIDITY_DEPTH`](super::LIQUIDITY_DEPTH) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthRequest {
    /// What goes in: a token's address or symbol.
    pub token_in: String,
    /// What comes out: a token's address or symbol.
    pub token_out: String,
    /// Only this pool; every pool that trades the two directly when absent.
    #[serde(default)]
    pub pool: Option<Address>,
    /// By how much the price at the margin may fall, in basis points, 1 to 9999 each, at most ten; 10, 50, 100, 200 and 500 when there are none.
    #[serde(default)]
    pub levels_bps: Vec<u32>,
}

/// What moves a price by so much.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// By how much the price at the margin falls at most, in basis points.
    pub level_bps: u32,
    /// The most that can go in.
    pub amount_in: Sum,
    /// What comes out for it.
    pub amount_out: Sum,
}

/// How deep a pool is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolDepth {
    /// The pool.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// The fee on what goes in, in millionths: 3000 is 0.3 %.
    pub fee_millionths: u32,
    /// Level by level.
    pub levels: Vec<Level>,
}

/// What [`LIQUIDITY_DEPTH`](super::LIQUIDITY_DEPTH) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DepthAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// What goes in.
    pub token_in: Coin,
    /// What comes out.
    pub token_out: Coin,
    /// Pool by pool.
    pub pools: Vec<PoolDepth>,
    /// All together, each pool moved by as much.
    pub total: Vec<Level>,
}

impl DexServices {
    pub(super) async fn liquidity_depth(&self, request: DepthRequest) -> Result<DepthAnswer, Fault> {
        let levels_bps = levels(request.levels_bps)?;
        let (from, to) = self.pair(&request.token_in, &request.token_out)?;
        let (at, legs) = match request.pool {
            None => self.direct(from, to)?,
            Some(pool) => {
                let (at, legs) = self.pools.read(|at, book| (at, path::along(book, from, to, &[pool])))?;
                (at, legs?)
            }
        };
        let (token_in, token_out) = tokio::join!(self.coins.coin(from), self.coins.coin(to));
        let level = |level_bps: u32, (amount_in, amount_out): (Amount, Amount)| Level {
            level_bps,
            amount_in: token_in.sum(amount_in),
            amount_out: token_out.sum(amount_out),
        };
        let mut totals = vec![(Amount::default(), Amount::default()); levels_bps.len()];
        let mut pools = Vec::with_capacity(legs.len());
        for leg in &legs {
            let mut levels = Vec::with_capacity(levels_bps.len());
            for (bps, total) in levels_bps.iter().zip(&mut totals) {
                let (amount_in, amount_out) = within(leg, *bps);
                total.0 = Amount(total.0.saturating_add(amount_in.0));
                total.1 = Amount(total.1.saturating_add(amount_out.0));
                levels.push(level(*bps, (amount_in, amount_out)));
            }
            let dex = leg.pool.identity().protocol.as_str().into();
            pools.push(PoolDepth { pool: leg.pool.address(), dex, fee_millionths: leg.pool.fee_millionths(), levels });
        }
        let total = levels_bps.iter().zip(totals).map(|(bps, total)| level(*bps, total)).collect();
        Ok(DepthAnswer { at, pools, total, token_in, token_out })
    }
}

fn levels(mut asked: Vec<u32>) -> Result<Vec<u32>, Fault> {
    if asked.is_empty() {
        return Ok(LEVELS_BPS.to_vec());
    }
    if let Some(bad) = asked.iter().find(|bps| !(1..ALL_BPS).contains(*bps)) {
        return Err(Fault::invalid(format!("a level of {bad} basis points")).hint(format!("1 to {}", ALL_BPS - 1)));
    }
    if asked.len() > LEVELS_MAX {
        return Err(Fault::too_large(format!("{} levels", asked.len())).hint(format!("at most {LEVELS_MAX}")));
    }
    asked.sort_unstable();
    asked.dedup();
    Ok(asked)
}
