//! Quotes: what a swap takes and gives, to the unit.

use kernel::Decimal;
use kernel::chain::{Address, Amount};
use market::feed::At;
use mcp::prelude::*;

use super::DexServices;
use crate::trading::coins::{Coin, Sum};
use crate::trading::path::{self, Exact, HopView, Leg, Trade};
use crate::trading::ratio;

/// Declares a request about a swap: what all of them ask, and what is its own. (Flattening would let unknown fields through.)
macro_rules! about_a_swap {
    ($(#[doc = $about:literal])+ $name:ident { $($own:tt)* }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// What goes in: a token's address or symbol.
            pub token_in: String,
            /// What comes out: a token's address or symbol.
            pub token_out: String,
            /// Exactly so much goes in, in the smallest unit. Either this or `amount_out`.
            #[serde(default)]
            pub amount_in: Option<Amount>,
            /// Exactly so much comes out, in the smallest unit.
            #[serde(default)]
            pub amount_out: Option<Amount>,
            /// The pools to go through, in order, each once. When there are none, the best one that trades the two tokens directly.
            #[serde(default)]
            pub pools: Vec<Address>,
            $($own)*
        }
    };
}
pub(super) use about_a_swap;

about_a_swap! {
    /// What [`QUOTE`](super::QUOTE) and [`PRICE_IMPACT`](super::PRICE_IMPACT) take.
    QuoteRequest {}
}

/// What [`QUOTE`](super::QUOTE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QuoteAnswer {
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
    /// What one whole token in really gives, in whole tokens out; absent where decimals are not known.
    pub price: Option<Decimal>,
    /// The pools on the way.
    pub hops: Vec<HopView>,
    /// An estimate of the gas burnt inside the pools.
    pub gas_estimate: u64,
    /// How many other pools trade the two directly and quote worse, or not at all; nothing when the request named the pools.
    pub others_worse: usize,
}

/// A quoted request.
pub(super) struct Quoted {
    pub(super) at: At,
    pub(super) trade: Trade,
    pub(super) token_in: Coin,
    pub(super) token_out: Coin,
    pub(super) others: usize,
}

impl DexServices {
    pub(super) async fn quote(&self, request: QuoteRequest) -> Result<QuoteAnswer, Fault> {
        let Quoted { at, trade, token_in, token_out, others } = self.quoted(&request).await?;
        let price = token_in.decimals.zip(token_out.decimals);
        let price = price.and_then(|(before, after)| ratio::in_units(&trade.effective(), before, after));
        Ok(QuoteAnswer {
            at,
            amount_in: token_in.sum(trade.amount_in()),
            amount_out: token_out.sum(trade.amount_out()),
            price,
            hops: trade.hops(),
            gas_estimate: trade.gas(),
            others_worse: others,
            token_in,
            token_out,
        })
    }

    pub(super) async fn quoted(&self, request: &QuoteRequest) -> Result<Quoted, Fault> {
        let exact = Exact::of(request.amount_in, request.amount_out)?;
        let (from, to) = self.pair(&request.token_in, &request.token_out)?;
        let (at, legs) = if request.pools.is_empty() {
            let (at, legs) = self.direct(from, to)?;
            (at, legs.into_iter().map(|leg| vec![leg]).collect())
        } else {
            let (at, legs) = self.pools.read(|at, book| (at, path::along(book, from, to, &request.pools)))?;
            (at, vec![legs?])
        };
        let others = legs.len() - 1;
        let trade = best(legs, exact)?;
        let (token_in, token_out) = tokio::join!(self.coins.coin(from), self.coins.coin(to));
        Ok(Quoted { at, trade, token_in, token_out, others })
    }

    /// Two tokens that differ.
    pub(super) fn pair(&self, token_in: &str, token_out: &str) -> Result<(Address, Address), Fault> {
        let from = self.coins.find(token_in).map_err(|fault| fault.context("token_in"))?;
        let to = self.coins.find(token_out).map_err(|fault| fault.context("token_out"))?;
        if from == to {
            return Err(Fault::invalid(format!("{from} for itself")).hint("two tokens that differ"));
        }
        Ok((from, to))
    }

    /// Every pool that trades the two directly; at least one.
    pub(super) fn direct(&self, from: Address, to: Address) -> Result<(At, Vec<Leg>), Fault> {
        let (at, legs) = self.pools.read(|at, book| (at, path::direct(book, from, to)))?;
        if legs.is_empty() {
            return Err(Fault::not_found(format!("no followed pool trades {from} for {to} directly"))
                .hint("best_route finds a way over other tokens; or name the pools of one"));
        }
        Ok((at, legs))
    }
}

/// The one that gives most or takes least. Where none can, the first one's refusal.
fn best(paths: Vec<Vec<Leg>>, exact: Exact) -> Result<Trade, Fault> {
    let (mut best, mut refusal) = (None::<Trade>, None);
    for legs in paths {
        match Trade::along(legs, exact) {
            Ok(trade) if best.as_ref().is_none_or(|best| better(&trade, best, exact)) => best = Some(trade),
            Ok(_) => {}
            Err(fault) => refusal = refusal.or(Some(fault)),
        }
    }
    best.ok_or_else(|| refusal.unwrap_or_else(|| Fault::not_found("no pool to quote")))
}

fn better(one: &Trade, other: &Trade, exact: Exact) -> bool {
    match exact {
        Exact::In(_) => one.amount_out() > other.amount_out(),
        Exact::Out(_) => one.amount_in() < other.amount_in(),
    }
}
