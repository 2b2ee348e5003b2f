//! Which cycles of pools can gain, kept up to date block by block.
//!
//! Cycles begin and end at a funding asset, have two to four hops, and visit no token and no pool twice. They are not listed: there are
//! millions, and nearly all lose. Kept are, for every token, bounds on the weight of the best way home in one and in two hops; a walk that
//! cannot reach a positive sum any more stops. So every cycle is decided and few are visited. When pools change, only walks through them
//! are made again. A bound is raised at once and lowered when a walk looks at its token: it may be loose, never too low.

mod walk;

use std::cmp::Ordering;

use kernel::chain::Address;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, TokenId};
use crate::pool::Way;
use crate::{Book, PoolId};
use walk::{Bounds, Walk};

/// The longest cycle, in hops.
pub const HOPS_MAX: usize = 4;
/// Most candidates kept: the best by estimate.
pub const CANDIDATES_MAX: usize = 4_096;

/// The turn of a pool that did not change: after all that did.
const NO_TURN: u32 = u32::MAX;

/// One pool of a path, and which way through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The pool.
    pub pool: PoolId,
    /// Which token goes in.
    pub way: Way,
}

/// A way from a funding asset back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cycle {
    start: TokenId,
    length: u8,
    hops: [Hop; HOPS_MAX],
}

impl Cycle {
    /// The pools in order.
    pub fn hops(&self) -> &[Hop] {
        &self.hops[..usize::from(self.length)]
    }

    /// The funding asset.
    pub fn start(&self) -> TokenId {
        self.start
    }
}

/// A cycle that gains at the margin, with an estimate that ranks it. The estimate prices nothing: sizing does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The cycle.
    pub cycle: Cycle,
    /// Near the best input, in the funding asset's smallest units.
    pub input: f64,
    /// Near the gain at that input, before any cost.
    pub gain: f64,
}

impl Candidate {
    /// The greatest estimated gain first; the cycle decides between equals, so that an order is always the same.
    fn order(&self, other: &Self) -> Ordering {
        other.gain.total_cmp(&self.gain).then_with(|| self.cycle.cmp(&other.cycle))
    }
}

/// A funding asset with its bounds.
#[derive(Debug, Clone)]
struct Home {
    token: TokenId,
    /// What a smallest unit is worth beside another funding asset's, for ranking them together.
    worth: f64,
    bounds: Bounds,
}

/// The search: the graph, and the candidates as of the last change.
#[derive(Debug, Clone)]
pub struct Search {
    graph: Graph,
    homes: Vec<Home>,
    hops_max: usize,
    candidates: Vec<Candidate>,
    left_out: usize,
    /// Where each pool stands among those that changed, by its id; all the same outside of [`Search::follow`].
    turns: Vec<u32>,
}

impl Search {
    /// A search for cycles of two to `hops_max` hops (at most [`HOPS_MAX`]) from these assets. With each, what one of its smallest units
    /// is worth in any common unit: it ranks candidates of different assets beside each other.
    pub fn new(funding: &[(Address, f64)], hops_max: usize) -> Self {
        let mut graph = Graph::default();
        let homes = funding
            .iter()
            .map(|&(address, worth)| Home { token: graph.token(address), worth, bounds: Bounds::default() })
            .collect();
        let hops_max = hops_max.clamp(2, HOPS_MAX);
        Self { graph, homes, hops_max, candidates: Vec::new(), left_out: 0, turns: Vec::new() }
    }

    /// The tokens and pools.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What gains now, the best first.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// How many candidates were left out at the last change, being more than [`CANDIDATES_MAX`].
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Follows the book: these pools changed, joined or left ([`Book::take_changed`]). Only cycles through them are looked at again.
    /// Returns how many candidates go through them.
    pub fn follow(&mut self, book: &Book, changed: &[PoolId]) -> usize {
        for (turn, &id) in changed.iter().enumerate() {
            let place = id.0 as usize;
            if self.turns.len() <= place {
                self.turns.resize(place + 1, NO_TURN);
            }
            self.turns[place] = turn as u32;
        }
        let touched = |hop: &Hop| self.turns.get(hop.pool.0 as usize).is_some_and(|turn| *turn != NO_TURN);
        self.candidates.retain(|candidate| !candidate.cycle.hops().iter().any(touched));
        for &id in changed {
            let Some(ends) = self.graph.set(id, book.get(id)) else { continue };
            for home in &mut self.homes {
                home.bounds.raise(&self.graph, home.token, id, ends);
            }
        }
        let mut found = Vec::new();
        for home in &mut self.homes {
            // One that is named twice has its turn the last time.
            let turns = changed.iter().enumerate().filter(|(turn, id)| self.turns[id.0 as usize] == *turn as u32);
            for (_, &pool) in turns {
                Walk::new(&self.graph, home.token, &mut home.bounds, self.hops_max, &mut found)
                    .through(pool, &self.turns);
            }
        }
        for &id in changed {
            self.turns[id.0 as usize] = NO_TURN;
        }
        self.keep(&found);
        found.len()
    }

    /// Looks at all cycles again, and tightens every bound.
    pub fn scan(&mut self) -> usize {
        self.candidates.clear();
        let found = self.cycles();
        self.keep(&found);
        found.len()
    }

    /// All cycles that gain at the margin.
    fn cycles(&mut self) -> Vec<Cycle> {
        let mut found = Vec::new();
        for home in &mut self.homes {
            home.bounds.tighten(&self.graph, home.token);
            Walk::new(&self.graph, home.token, &mut home.bounds, self.hops_max, &mut found).everywhere();
        }
        found
    }

    /// Takes new candidates among those that stay, which are in order.
    fn keep(&mut self, found: &[Cycle]) {
        let mut new: Vec<Candidate> = Vec::new();
        let (mut gaining, mut floor) = (0, f64::MIN_POSITIVE);
        for cycle in found {
            let candidate = self.estimate(*cycle);
            gaining += usize::from(candidate.gain > 0.0);
            if candidate.gain >= floor {
                new.push(candidate);
            }
            if new.len() == 2 * CANDIDATES_MAX {
                // What is worse than as many as are kept need not be looked at again.
                let (_, least, _) = new.select_nth_unstable_by(CANDIDATES_MAX - 1, Candidate::order);
                floor = least.gain;
                new.truncate(CANDIDATES_MAX);
            }
        }
        self.left_out = (gaining + self.candidates.len()).saturating_sub(CANDIDATES_MAX);
        new.sort_unstable_by(Candidate::order);
        let stay = std::mem::take(&mut self.candidates);
        let mut merged = Vec::with_capacity((new.len() + stay.len()).min(CANDIDATES_MAX));
        let (mut stay, mut new) = (stay.into_iter().peekable(), new.into_iter().peekable());
        while merged.len() < CANDIDATES_MAX {
            let first = match (stay.peek(), new.peek()) {
                (Some(old), Some(candidate)) if candidate.order(old).is_lt() => new.next(),
                (None, _) => new.next(),
                _ => stay.next(),
            };
            let Some(first) = first else { break };
            merged.push(first);
        }
        self.candidates = merged;
    }

    /// A chain of constant products is one map x ↦ A·x / (B + C·x), which is greatest over x at (√(A·B) − B)/C.
    fn estimate(&self, cycle: Cycle) -> Candidate {
        let (mut a, mut b, mut c) = (1.0f64, 1.0f64, 0.0f64);
        for hop in cycle.hops() {
            let curve = self.graph.curve(hop.pool, hop.way);
            // y = kept·out·x / (in + kept·x) after x = a·z / (b + c·z); scaled so that nothing overflows.
            (a, b, c) = (curve.kept * curve.held_out * a, curve.held_in * b, curve.held_in * c + curve.kept * a);
            let scale = b.max(1.0);
            (a, b, c) = (a / scale, b / scale, c / scale);
        }
        let input = ((a * b).sqrt() - b) / c;
        let worth = self.homes.iter().find(|home| home.token == cycle.start).map_or(1.0, |home| home.worth);
        let gain = (a * input / (b + c * input) - input) * worth;
        Candidate { cycle, input, gain: if gain.is_finite() { gain } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests;
