//! Prices at the margin, and how far a swap is from them.

use kernel::Decimal;
use kernel::chain::{Address, Amount};
use market::feed::At;
use market::pool::Pool;
use mcp::prelude::*;
use num_rational::BigRational;

use super::quote::Quoted;
use super::{DexServices, QuoteRequest};
use crate::trading::coins::{Coin, Sum};
use crate::trading::path;
use crate::trading::ratio;

/// What [`PRICE`](super::PRICE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceRequest {
    /// What is priced: a token's address or symbol.
    pub token: String,
    /// In which token: address or symbol.
    pub quote_token: String,
}

/// What a token costs at a pool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolPrice {
    /// The pool.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// The fee on what goes in, in millionths: 3000 is 0.3 %.
    pub fee_millionths: u32,
    /// One whole token in whole quote tokens, at the margin before the fee; absent where decimals are not known.
    pub price: Option<Decimal>,
    /// The same in smallest units of both.
    pub price_smallest_units: Option<Decimal>,
    /// What the pool's curve holds of the quote token around the price: how deep it is, for comparing.
    pub depth: Sum,
}

/// What [`PRICE`](super::PRICE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PriceAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// What is priced.
    pub token: Coin,
    /// In which token.
    pub quote_token: Coin,
    /// One whole token in whole quote tokens at the deepest pool; absent where decimals are not known.
    pub price: Option<Decimal>,
    /// How far the dearest pool's price is above the cheapest's, in basis points.
    pub spread_bps: f64,
    /// The pools, the deepest first. Pools without liquidity are left out.
    pub pools: Vec<PoolPrice>,
}

/// What [`PRICE_IMPACT`](super::PRICE_IMPACT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ImpactAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// What goes in.
    pub token_in: Coin,
    /// How much.
    pub amount_in: Sum,
    /// What comes out.
    pub token_out: Coin,
    /// How much.
    pub amount_out: Sum,
    /// What one whole token in would give at the margin before fees, in whole tokens out.
    pub spot_price: Option<Decimal>,
    /// What it really gives.
    pub effective_price: Option<Decimal>,
    /// How much less that is, in basis points: fees and size together.
    pub total_bps: f64,
    /// The part that the pools' fees take, in basis points.
    pub fee_bps: f64,
    /// How much the trade's size worsens what the fees leave, in basis points.
    pub impact_bps: f64,
    /// The pools on the way.
    pub pools: Vec<Address>,
}

impl DexServices {
    pub(super) async fn price(&self, request: PriceRequest) -> Result<PriceAnswer, Fault> {
        let (from, to) = self.pair(&request.token, &request.quote_token)?;
        let (at, legs) = self.direct(from, to)?;
        let (token, quote_token) = tokio::join!(self.coins.coin(from), self.coins.coin(to));
        let decimals = token.decimals.zip(quote_token.decimals);
        let mut priced: Vec<(BigRational, Amount, PoolPrice)> = Vec::with_capacity(legs.len());
        for leg in &legs {
            let (Ok(exact), Some(depth)) = (leg.price(), path::depth(leg)) else { continue };
            let view = PoolPrice {
                pool: leg.pool.address(),
                dex: leg.pool.identity().protocol.as_str().into(),
                fee_millionths: leg.pool.fee_millionths(),
                price: decimals.and_then(|(before, after)| ratio::in_units(&exact, before, after)),
                price_smallest_units: ratio::shown(&exact),
                depth: quote_token.sum(depth),
            };
            priced.push((exact, depth, view));
        }
        priced.sort_by_key(|(_, depth, _)| std::cmp::Reverse(*depth));
        let prices = || priced.iter().map(|(exact, ..)| exact);
        let (Some(low), Some(high)) = (prices().min(), prices().max()) else {
            return Err(Fault::not_found(format!("no pool with liquidity trades {from} for {to} directly"))
                .hint("list_pools has the pools that are followed"));
        };
        let spread_bps = -ratio::bps(&ratio::short_of_one(&(high / low)));
        let pools: Vec<PoolPrice> = priced.into_iter().map(|(.., view)| view).collect();
        let price = pools.first().and_then(|pool| pool.price);
        Ok(PriceAnswer { at, token, quote_token, price, spread_bps, pools })
    }

    pub(super) async fn price_impact(&self, request: QuoteRequest) -> Result<ImpactAnswer, Fault> {
        let Quoted { at, trade, token_in, token_out, .. } = self.quoted(&request).await?;
        let (spot, effective, kept) = (trade.spot()?, trade.effective(), trade.kept());
        let decimals = token_in.decimals.zip(token_out.decimals);
        let shown = |price: &BigRational| decimals.and_then(|(before, after)| ratio::in_units(price, before, after));
        let all = &effective / &spot;
        Ok(ImpactAnswer {
            at,
            amount_in: token_in.sum(trade.amount_in()),
            amount_out: token_out.sum(trade.amount_out()),
            spot_price: shown(&spot),
            effective_price: shown(&effective),
            total_bps: ratio::bps(&ratio::short_of_one(&all)),
            fee_bps: ratio::bps(&ratio::short_of_one(&kept)),
            impact_bps: ratio::bps(&ratio::short_of_one(&(all / kept))),
            pools: trade.legs.iter().map(|leg| leg.pool.address()).collect(),
            token_in,
            token_out,
        })
    }
}
