//! The best way from one token to another, over several tokens and divided over pools.

use kernel::Decimal;
use kernel::chain::{Address, Amount};
use market::feed::At;
use market::route::{Branch, Leg, Route, Spread, best_route};
use market::search::{HOPS_MAX, Search};
use market::{Book, PoolId};
use mcp::prelude::*;

use super::DexServices;
use crate::trading::coins::{Coin, Sum};
use crate::trading::path::HopView;
use crate::trading::ratio;

/// Most pools in a row.
const CHAIN_MAX: usize = 3;
/// Most branches, and most pools that a leg is divided over.
const WIDTH_MAX: usize = 8;

/// What [`BEST_ROUTE`](super::BEST_ROUTE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    /// What goes in: a token's address or symbol.
    pub token_in: String,
    /// What comes out: a token's address or symbol.
    pub token_out: String,
    /// How much goes in, in the smallest unit.
    pub amount_in: Amount,
    /// Most pools in a row, 1 to 3; 3 when absent.
    #[serde(default = "hops")]
    #[schemars(range(min = 1, max = 3))]
    pub max_hops: usize,
    /// Most branches over different tokens, 1 to 8; 3 when absent.
    #[serde(default = "branches")]
    #[schemars(range(min = 1, max = 8))]
    pub max_branches: usize,
    /// Most pools that one leg is divided over, 1 to 8; 4 when absent.
    #[serde(default = "parts")]
    #[schemars(range(min = 1, max = 8))]
    pub max_parts: usize,
}

fn hops() -> usize {
    Spread::default().hops_max
}

fn branches() -> usize {
    Spread::default().branches_max
}

fn parts() -> usize {
    Spread::default().parts_max
}

/// From one token to the next.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LegView {
    /// What goes in.
    pub token_in: Address,
    /// What comes out.
    pub token_out: Address,
    /// The pools it is divided over, the greatest part first.
    pub parts: Vec<HopView>,
}

/// A chain of legs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BranchView {
    /// How much goes in.
    pub amount_in: Sum,
    /// How much comes out.
    pub amount_out: Sum,
    /// What share of the whole goes in, in basis points.
    pub share_bps: f64,
    /// The legs in order; each takes all that the one before gives.
    pub legs: Vec<LegView>,
}

/// What [`BEST_ROUTE`](super::BEST_ROUTE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteAnswer {
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
    /// The branches, the greatest first.
    pub branches: Vec<BranchView>,
    /// An estimate of the gas burnt inside the pools.
    pub gas_estimate: u64,
    /// What the best single path without any division gives; absent where none takes the whole amount.
    pub undivided_amount_out: Option<Sum>,
    /// How much more the route gives than that, in basis points.
    pub better_by_bps: Option<f64>,
}

impl DexServices {
    pub(super) async fn best_route(&self, request: RouteRequest) -> Result<RouteAnswer, Fault> {
        let RouteRequest { amount_in, max_hops, max_branches, max_parts, .. } = request;
        let fits = (1..=CHAIN_MAX).contains(&max_hops)
            && [max_branches, max_parts].iter().all(|n| (1..=WIDTH_MAX).contains(n));
        if !fits {
            return Err(Fault::invalid(format!("{max_hops} hops, {max_branches} branches, {max_parts} parts"))
                .hint(format!("1 to {CHAIN_MAX} hops, 1 to {WIDTH_MAX} branches and parts")));
        }
        let (from, to) = self.pair(&request.token_in, &request.token_out)?;
        // Taken out whole, so that nothing waits while the route is found.
        let (at, book) = self.pools.read(|at, book| (at, book.clone()))?;
        // A search without a funding asset is a graph.
        let mut search = Search::new(&[], HOPS_MAX);
        let all: Vec<PoolId> = book.iter().map(|(id, _)| id).collect();
        search.follow(&book, &all);
        let spread =
            Spread { hops_max: max_hops, branches_max: max_branches, parts_max: max_parts, ..Spread::default() };
        let find = |spread: &Spread| best_route(&book, search.graph(), from, to, amount_in.0, spread);
        let route = find(&spread).map_err(|error| match error {
            market::Error::UnknownWay => {
                Fault::not_found(format!("no followed pools lead from {from} to {to} in {max_hops} hops"))
                    .hint("more hops, or other tokens; list_pools has the pools that are followed")
            }
            other => Fault::from(other),
        })?;
        let alone = find(&Spread { hops_max: max_hops, ..Spread::NONE }).ok().map(|route| Amount(route.output));
        let (token_in, token_out) = tokio::join!(self.coins.coin(from), self.coins.coin(to));
        let share = |over: Amount, under: Amount| ratio::ratio(ratio::whole(over), ratio::whole(under));
        let output = Amount(route.output);
        let decimals = token_in.decimals.zip(token_out.decimals);
        Ok(RouteAnswer {
            at,
            amount_in: token_in.sum(amount_in),
            amount_out: token_out.sum(output),
            price: decimals.and_then(|(before, after)| ratio::in_units(&share(output, amount_in), before, after)),
            branches: branch_views(&route, &book, &token_in, &token_out)?,
            gas_estimate: route.gas,
            undivided_amount_out: alone.map(|alone| token_out.sum(alone)),
            better_by_bps: alone.map(|alone| -ratio::bps(&ratio::short_of_one(&share(output, alone)))),
            token_in,
            token_out,
        })
    }
}

fn branch_views(route: &Route, book: &Book, token_in: &Coin, token_out: &Coin) -> Result<Vec<BranchView>, Fault> {
    let view = |branch: &Branch| -> Result<BranchView, Fault> {
        let (input, all) = (Amount(branch.input), Amount(route.input));
        Ok(BranchView {
            amount_in: token_in.sum(input),
            amount_out: token_out.sum(Amount(branch.output)),
            share_bps: ratio::bps(&ratio::ratio(ratio::whole(input), ratio::whole(all))),
            legs: branch.legs.iter().map(|leg| leg_view(leg, book)).collect::<Result<_, _>>()?,
        })
    };
    route.branches.iter().map(view).collect()
}

fn leg_view(leg: &Leg, book: &Book) -> Result<LegView, Fault> {
    let mut parts = Vec::with_capacity(leg.parts.len());
    for part in &leg.parts {
        let pool =
            book.get(part.hop.pool).ok_or_else(|| Fault::internal("a route through a pool that is not there"))?;
        parts.push(HopView::of(pool, part.hop.way, &part.quote));
    }
    Ok(LegView { token_in: leg.from, token_out: leg.to, parts })
}
