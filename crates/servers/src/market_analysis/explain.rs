//! A cycle taken apart.

use kernel::Decimal;
use kernel::chain::{Address, Amount};
use market::Book;
use market::feed::At;
use market::pool::Pool;
use market::search::Hop;
use mcp::prelude::*;
use num_rational::BigRational;
use num_traits::One;

use super::MarketAnalysis;
use super::costs::CostsView;
use super::follow::Cycle;
use super::scan::priced;
use super::view::OpportunityView;
use crate::trading::coins::Coin;
use crate::trading::path::{self, Leg};
use crate::trading::ratio;

/// What [`EXPLAIN_OPPORTUNITY`](super::EXPLAIN_OPPORTUNITY) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The asset that the cycle begins and ends at: address or symbol.
    pub funding: String,
    /// The pools in order, two at least, each once.
    pub pools: Vec<Address>,
}

/// What becomes of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It leaves something after all costs.
    Gains,
    /// It gains in the pools, but costs more than that.
    CostsMore,
    /// At no size does it give back what it takes and the lender's fee.
    Loses,
}

/// A hop and its price.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HopPrice {
    /// The pool.
    pub pool: Address,
    /// What goes in.
    pub token_in: Coin,
    /// What comes out.
    pub token_out: Coin,
    /// What one whole token in is worth in whole tokens out, at the margin before the fee; absent where decimals are not known.
    pub spot_price: Option<Decimal>,
    /// The pool's fee, in basis points.
    pub fee_bps: f64,
    /// How much less than the price at the margin the best size gets there, fee included, in basis points; absent when the cycle loses.
    pub impact_bps: Option<f64>,
}

/// What [`EXPLAIN_OPPORTUNITY`](super::EXPLAIN_OPPORTUNITY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExplainAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
    /// What the smallest amounts gain after the pools' fees, in basis points; negative when they lose.
    pub margin_bps: f64,
    /// Hop by hop.
    pub hops: Vec<HopPrice>,
    /// With the best size and the best lender; absent when it loses at every size.
    pub opportunity: Option<OpportunityView>,
    /// How many lenders could lend for it.
    pub lenders: usize,
    /// What was reckoned with.
    pub costs: CostsView,
}

impl MarketAnalysis {
    pub(super) async fn explain_opportunity(&self, request: ExplainRequest) -> Result<ExplainAnswer, Fault> {
        let funding = self.coins.find(&request.funding)?;
        if request.pools.len() < 2 {
            return Err(Fault::invalid("a cycle of fewer than two pools").hint("two pools at least"));
        }
        let (at, (legs, rate)) = self
            .pools
            .read(|at, book| {
                let legs = path::along(book, funding, funding, &request.pools);
                (at, legs.and_then(|legs| Ok((legs, self.pricing.wei_in(funding, book)?))))
            })
            .and_then(|(at, found)| Ok((at, found?)))?;
        let base_fee = self.pricing.base_fee(at.block).await?;
        let terms = self.terms(funding, rate, base_fee).await?;
        let mut book = Book::default();
        let mut hops = Vec::with_capacity(legs.len());
        for leg in &legs {
            hops.push(Hop { pool: book.join(at.block, leg.pool.clone())?, way: leg.way });
        }
        let guess = path::near_best(&book, funding, &hops, &legs[0]);
        let opportunity = priced(&book, &Cycle { hops, start: funding, guess }, &terms)?;
        let margin = legs.iter().try_fold(BigRational::one(), |all, leg| {
            Ok::<_, Fault>(all * leg.price()? * ratio::kept(leg.pool.fee_millionths()))
        })?;
        let verdict = match &opportunity {
            None => Verdict::Loses,
            Some(one) if one.net.above_zero().is_zero() => Verdict::CostsMore,
            Some(_) => Verdict::Gains,
        };
        let margin_bps = -ratio::bps(&ratio::short_of_one(&margin));
        let mut views = Vec::with_capacity(legs.len());
        for (place, leg) in legs.iter().enumerate() {
            let quote = opportunity.as_ref().and_then(|one| one.trade.quotes.get(place));
            views.push(self.hop_price(leg, quote).await?);
        }
        Ok(ExplainAnswer {
            at,
            verdict,
            why: why(verdict, margin_bps),
            margin_bps,
            hops: views,
            opportunity: opportunity.map(|one| OpportunityView::of(&one, &book, &terms)).transpose()?,
            lenders: terms.lenders.len(),
            costs: self.costs_view(base_fee, std::iter::once(&terms)),
        })
    }

    async fn hop_price(&self, leg: &Leg, quote: Option<&market::pool::Quote>) -> Result<HopPrice, Fault> {
        let (from, to) = leg.ends();
        let (token_in, token_out) = tokio::join!(self.coins.coin(from), self.coins.coin(to));
        let (spot, kept) = (leg.price()?, ratio::kept(leg.pool.fee_millionths()));
        let impact = |quote: &market::pool::Quote| {
            let whole = |amount| ratio::whole(Amount(amount));
            ratio::bps(&ratio::short_of_one(&(ratio::ratio(whole(quote.amount_out), whole(quote.amount_in)) / &spot)))
        };
        let decimals = token_in.decimals.zip(token_out.decimals);
        Ok(HopPrice {
            pool: leg.pool.address(),
            spot_price: decimals.and_then(|(before, after)| ratio::in_units(&spot, before, after)),
            fee_bps: ratio::bps(&ratio::short_of_one(&kept)),
            impact_bps: quote.map(impact),
            token_in,
            token_out,
        })
    }
}

fn why(verdict: Verdict, margin_bps: f64) -> String {
    match verdict {
        Verdict::Gains => {
            format!("the smallest amounts gain {margin_bps} bps, and at the best size all costs are covered")
        }
        Verdict::CostsMore => {
            format!("the smallest amounts gain {margin_bps} bps, but gas and tip cost more than the best size gains")
        }
        Verdict::Loses if margin_bps > 0.0 => {
            format!(
                "the smallest amounts gain {margin_bps} bps, but no lender's fee or liquidity lets anything remain of it"
            )
        }
        Verdict::Loses => {
            format!("the smallest amounts lose {} bps after the pools' fees, and larger ones more", -margin_bps)
        }
    }
}
