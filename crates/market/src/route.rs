//! The best way from one token to another: several branches, each a chain of legs, each leg split over the pools between its two tokens.
//!
//! What comes out is a concave function of how the input is divided (Angeris, Evans, Chitra, Boyd, "Optimal Routing for Constant Function
//! Market Makers", 2022), and it is greatest where the last unit earns the same everywhere.
//! - Within a leg that price is found by bisection, each pool telling what it takes until its price has come down to it.
//! - Between branches, which share no pair of tokens and so no pool, input is moved from one to another as long as that helps.
//!
//! Division is guided by floating point; every amount told is the pools' own to the unit.

mod split;

use std::cmp::Reverse;

use alloy_primitives::U256;
use kernel::chain::Address;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, TokenId};
use crate::pool::Quote;
use crate::search::Hop;
use crate::{Book, Error, Result};

/// Most chains of tokens looked at closely: the best by their price at the margin.
const CHAINS_MAX: usize = 48;

/// How far a route may spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Most pools in a row: 1 to 3.
    pub hops_max: usize,
    /// Most branches.
    pub branches_max: usize,
    /// Most pools that one leg is divided over.
    pub parts_max: usize,
    /// A part smaller than this share of its leg is not worth its gas, in basis points.
    pub part_min_bps: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { hops_max: 3, branches_max: 3, parts_max: 4, part_min_bps: 10 }
    }
}

impl Spread {
    /// One chain of single pools.
    pub const NONE: Self = Self { hops_max: 3, branches_max: 1, parts_max: 1, part_min_bps: 0 };
}

/// One pool's part of a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The pool and the way through it.
    pub hop: Hop,
    /// What it takes and gives.
    pub quote: Quote,
}

/// From one token to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// What goes in.
    pub from: Address,
    /// What comes out.
    pub to: Address,
    /// The pools it is divided over, the greatest part first.
    pub parts: Vec<Part>,
}

/// A chain of legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// What goes in.
    pub input: U256,
    /// What comes out.
    pub output: U256,
    /// The legs in order; each takes all that the one before gives.
    pub legs: Vec<Leg>,
}

/// A way from one token to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// What goes in.
    pub input: U256,
    /// What comes out.
    pub output: U256,
    /// An estimate of the gas burnt inside the pools.
    pub gas: u64,
    /// The branches, the greatest first.
    pub branches: Vec<Branch>,
}

/// The route that gives most for an input.
///
/// # Errors
/// [`Error::ZeroAmount`]; [`Error::UnknownWay`] where no pools lead there within the hops; [`Error::InsufficientLiquidity`] where those that
/// do cannot take it all.
pub fn best_route(
    book: &Book,
    graph: &Graph,
    from: Address,
    to: Address,
    amount: U256,
    spread: &Spread,
) -> Result<Route> {
    if amount.is_zero() {
        return Err(Error::ZeroAmount);
    }
    let ends = graph.find(from).zip(graph.find(to)).filter(|(from, to)| from != to);
    let (from, to) = ends.ok_or(Error::UnknownWay)?;
    let chains = chains(graph, from, to, spread.hops_max.clamp(1, 3));
    if chains.is_empty() {
        return Err(Error::UnknownWay);
    }
    let router = Router { book, graph, spread };
    let mut ranked: Vec<(U256, bool, Vec<TokenId>)> = Vec::new();
    for chain in chains {
        // What a chain can do is told by a part of the amount where it cannot take all of it.
        let tries = [amount, amount / U256::from(4), amount / U256::from(64)];
        let output = tries.into_iter().find_map(|part| Some((part, router.branch(&chain, part)?.output)));
        if let Some((part, output)) = output {
            ranked.push((output.saturating_mul(amount / part.max(U256::ONE)), part == amount, chain));
        }
    }
    ranked.sort_by_key(|(output, ..)| Reverse(*output));
    // The best that takes it all comes first, so that there is an answer; then whatever is best.
    let sure = ranked.iter().position(|(_, whole, _)| *whole).map(|place| ranked.remove(place));
    let mut chosen: Vec<Vec<TokenId>> = Vec::new();
    for (.., chain) in sure.into_iter().chain(ranked) {
        if chosen.len() < spread.branches_max.max(1) && chosen.iter().all(|other| apart(other, &chain)) {
            chosen.push(chain);
        }
    }
    router.divide(&chosen, amount).ok_or(Error::InsufficientLiquidity)
}

/// Whether two chains have no pair of neighbouring tokens in common.
fn apart(a: &[TokenId], b: &[TokenId]) -> bool {
    let pairs = |chain: &[TokenId]| {
        chain.windows(2).map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1]))).collect::<Vec<_>>()
    };
    let others = pairs(b);
    pairs(a).iter().all(|pair| !others.contains(pair))
}

/// The chains of tokens from one to another, the best at the margin first.
fn chains(graph: &Graph, from: TokenId, to: TokenId, hops_max: usize) -> Vec<Vec<TokenId>> {
    let best = |a: TokenId, b: TokenId| {
        let rates = graph.edges(a).iter().filter(|edge| edge.to == b).map(|edge| edge.out.rate);
        rates.fold(0.0, f64::max)
    };
    let last = graph.neighbours(to);
    let mut found: Vec<(f64, Vec<TokenId>)> = vec![(best(from, to), vec![from, to])];
    if hops_max >= 2 {
        for first in graph.neighbours(from).into_iter().filter(|token| *token != to) {
            let begun = best(from, first);
            if last.binary_search(&first).is_ok() {
                found.push((begun * best(first, to), vec![from, first, to]));
            }
            if hops_max >= 3 {
                let onward = graph.neighbours(first).into_iter();
                for second in onward.filter(|token| *token != from && *token != to && last.binary_search(token).is_ok())
                {
                    found.push((begun * best(first, second) * best(second, to), vec![from, first, second, to]));
                }
            }
        }
    }
    found.retain(|(rate, _)| *rate > 0.0);
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.truncate(CHAINS_MAX);
    found.into_iter().map(|(_, chain)| chain).collect()
}

struct Router<'a> {
    book: &'a Book,
    graph: &'a Graph,
    spread: &'a Spread,
}

impl Router<'_> {
    /// An input through a chain, each leg divided at its best; `None` where it does not go through whole.
    fn branch(&self, chain: &[TokenId], input: U256) -> Option<Branch> {
        let mut amount = input;
        let mut legs = Vec::with_capacity(chain.len() - 1);
        for pair in chain.windows(2) {
            let pools = self.graph.between(pair[0], pair[1]);
            let pools = pools.filter_map(|(id, way)| Some((Hop { pool: id, way }, self.book.get(id)?))).collect();
            let parts = split::leg(pools, amount, self.spread)?;
            amount = parts.iter().map(|part| part.quote.amount_out).sum();
            let [from, to] = [pair[0], pair[1]].map(|token| self.graph.address(token));
            legs.push(Leg { from, to, parts });
        }
        Some(Branch { input, output: amount, legs })
    }

    /// Divides an input over chains: begins with all in the best that takes it, and moves ever smaller amounts to where they bring more.
    fn divide(&self, chains: &[Vec<TokenId>], amount: U256) -> Option<Route> {
        const HALVINGS: usize = 24;
        let mut shares = vec![U256::ZERO; chains.len()];
        let mut outputs = vec![U256::ZERO; chains.len()];
        let output = |chain: usize, share: U256| match share.is_zero() {
            true => Some(U256::ZERO),
            false => self.branch(&chains[chain], share).map(|branch| branch.output),
        };
        // No chain may take it all alone; then each begins with an equal part.
        match (0..chains.len()).find(|chain| output(*chain, amount).is_some()) {
            Some(chain) => shares[chain] = amount,
            None => {
                shares.fill(amount / U256::from(chains.len()));
                shares[0] += amount % U256::from(chains.len());
            }
        }
        for (chain, share) in shares.iter().enumerate() {
            outputs[chain] = output(chain, *share)?;
        }
        let mut step = amount / U256::from(2);
        for _ in 0..HALVINGS {
            if step.is_zero() || chains.len() < 2 {
                break;
            }
            while let Some((from, to, left, more)) = best_move(&shares, &outputs, step, &output) {
                (shares[from], shares[to]) = (shares[from] - step, shares[to] + step);
                (outputs[from], outputs[to]) = (left, more);
            }
            step /= U256::from(2);
        }
        let shares = chains.iter().zip(shares).filter(|(_, share)| !share.is_zero());
        let mut branches: Vec<Branch> =
            shares.map(|(chain, share)| self.branch(chain, share)).collect::<Option<_>>()?;
        branches.sort_by_key(|branch| Reverse(branch.input));
        let parts = branches.iter().flat_map(|branch| &branch.legs).flat_map(|leg| &leg.parts);
        let gas = parts.map(|part| part.quote.gas).sum();
        let output = branches.iter().map(|branch| branch.output).sum();
        Some(Route { input: amount, output, gas, branches })
    }
}

/// The move of `step` from one share to another that brings most, if any brings more than it takes; with what both give then.
fn best_move(
    shares: &[U256],
    outputs: &[U256],
    step: U256,
    output: &impl Fn(usize, U256) -> Option<U256>,
) -> Option<(usize, usize, U256, U256)> {
    let ends = 0..shares.len();
    let lefts: Vec<Option<U256>> = ends.clone().map(|from| output(from, shares[from].checked_sub(step)?)).collect();
    let mores: Vec<Option<U256>> = ends.map(|to| output(to, shares[to] + step)).collect();
    let mut best = None;
    let mut most = U256::ZERO;
    for (from, left) in lefts.iter().enumerate() {
        for (to, more) in mores.iter().enumerate() {
            let (Some(left), Some(more), true) = (left, more, from != to) else { continue };
            let gain = (*left + *more).saturating_sub(outputs[from] + outputs[to]);
            if gain > most {
                (most, best) = (gain, Some((from, to, *left, *more)));
            }
        }
    }
    best
}

/// Every pool of a book joined to a graph.
impl Graph {
    /// The graph of all pools in a book.
    pub fn of(book: &Book) -> Self {
        let mut graph = Self::default();
        for (id, pool) in book.iter() {
            graph.set(id, Some(pool));
        }
        graph
    }
}

#[cfg(test)]
mod tests;
