//! Which cycles of pools can gain, kept up to date block by block.
//!
//! Cycles begin and end at a funding asset, have two to four hops, and visit no token and no pool twice. They are not listed: there are
//! millions, and nearly all lose. Kept are, for every token, bounds on the rate of the best way home in one and in two hops, and a *floor*:
//! every cycle that gains as much is among the candidates. A walk that cannot gain so much any more stops: the rate it may still have bounds
//! the gain from above, and so does how soon the pools behind it wear. So every cycle is decided and few are visited. When pools change,
//! only walks through them are made again.
//! - A bound is raised at once and lowered when a walk looks at its token: it may be loose, never too low.
//! - The floor rises when there are too many candidates. When too few are left over it, all is looked at again and it is found anew.

mod found;
mod walk;

use std::cmp::Ordering;

use kernel::chain::Address;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, TokenId};
use crate::pool::Way;
use crate::{Book, PoolId};
use found::Found;
use walk::{Bounds, Direct, Walk};

/// The longest cycle, in hops.
pub const HOPS_MAX: usize = 4;
/// As many candidates as there always are, if so many cycles gain.
pub const CANDIDATES_MIN: usize = 512;
/// A scan keeps so many times as many, for blocks to wear away, and at most twice as many are kept before the worst are dropped.
const RESERVE: usize = 4;

/// The turn of a pool that did not change: after all that did.
const NO_TURN: u32 = u32::MAX;
/// Where more than one of so many pools changed, looking at all cycles is less work than looking at those through each.
const MANY: usize = 4;

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

/// A cycle that gains at least a unit of its funding asset, by an estimate that ranks it. The estimate prices nothing: sizing does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The cycle.
    pub cycle: Cycle,
    /// Near the best input, in the funding asset's smallest units.
    pub input: f64,
    /// Near the gain at that input before any cost, in the common unit.
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
    direct: Direct,
    bounds: Bounds,
}

/// The search: the graph, and the candidates as of the last change.
#[derive(Debug, Clone)]
pub struct Search {
    graph: Graph,
    homes: Vec<Home>,
    hops_max: usize,
    candidates: Vec<Candidate>,
    candidates_min: usize,
    /// Where some were left out: all before this one and it itself are among the candidates, and nothing after it.
    floor: Option<Candidate>,
    /// Where each pool stands among those that changed, by its id; all the same outside of [`Search::follow`].
    turns: Vec<u32>,
}

impl Search {
    /// A search for cycles of two to `hops_max` hops (at most [`HOPS_MAX`]) from these assets. With each, what one of its smallest units
    /// is worth in any common unit: it ranks candidates of different assets beside each other.
    pub fn new(funding: &[(Address, f64)], hops_max: usize) -> Self {
        let mut graph = Graph::default();
        let home = |&(address, worth): &(Address, f64)| Home {
            token: graph.token(address),
            worth,
            direct: Direct::default(),
            bounds: Bounds::default(),
        };
        let homes = funding.iter().map(home).collect();
        Self {
            graph,
            homes,
            hops_max: hops_max.clamp(2, HOPS_MAX),
            candidates: Vec::new(),
            candidates_min: CANDIDATES_MIN,
            floor: None,
            turns: Vec::new(),
        }
    }

    /// The tokens and pools.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What gains now, the best first: all of it, or all that gains more than anything that is left out.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The least estimated gain among the candidates where some that gain less are left out, in the common unit.
    pub fn floor(&self) -> Option<f64> {
        self.floor.map(|floor| floor.gain)
    }

    /// Follows the book: these pools changed, joined or left ([`Book::take_changed`]). Only cycles through them are looked at again.
    /// Returns how many cycles through them are candidates, or would be but for better ones.
    pub fn follow(&mut self, book: &Book, changed: &[PoolId]) -> usize {
        for (turn, &id) in changed.iter().enumerate() {
            let place = id.0 as usize;
            if self.turns.len() <= place {
                self.turns.resize(place + 1, NO_TURN);
            }
            self.turns[place] = turn as u32;
            let Some(ends) = self.graph.set(id, book.get(id)) else { continue };
            for home in &mut self.homes {
                home.bounds.raise(&mut home.direct, &self.graph, home.token, id, ends);
            }
        }
        let through = if changed.len() > self.graph.pools() / MANY {
            self.scan();
            self.candidates.iter().filter(|candidate| touched(&self.turns, candidate)).count()
        } else {
            self.look_again(changed)
        };
        for &id in changed {
            self.turns[id.0 as usize] = NO_TURN;
        }
        through
    }

    /// Takes cycles through these pools out and finds those that gain now.
    fn look_again(&mut self, changed: &[PoolId]) -> usize {
        let turns = &self.turns;
        self.candidates.retain(|candidate| !touched(turns, candidate));
        let most = RESERVE * self.candidates_min;
        let mut found = Found::new(most, self.floor);
        for home in &mut self.homes {
            let mut walk = Walk::new(&self.graph, home, self.hops_max, &mut found);
            for (turn, &pool) in changed.iter().enumerate() {
                // One that is named twice has its turn the last time.
                if turns[pool.0 as usize] == turn as u32 {
                    walk.through(pool, turns);
                }
            }
        }
        let (new, floor) = found.finish();
        let through = new.len();
        self.merge(new);
        self.floor = floor;
        if self.candidates.len() > 2 * most {
            self.floor = Some(self.candidates[most - 1]);
        }
        if let Some(floor) = &self.floor {
            let kept = self.candidates.partition_point(|candidate| candidate.order(floor).is_le());
            self.candidates.truncate(kept);
            if kept < self.candidates_min {
                self.scan();
            }
        }
        through
    }

    /// Looks at all cycles again, and tightens every bound. Returns how many candidates there are.
    pub fn scan(&mut self) -> usize {
        let mut found = Found::new(RESERVE * self.candidates_min, None);
        for home in &mut self.homes {
            home.bounds.tighten(&mut home.direct, &self.graph, home.token);
            Walk::new(&self.graph, home, self.hops_max, &mut found).everywhere();
        }
        (self.candidates, self.floor) = found.finish();
        self.candidates.len()
    }

    /// Puts new candidates, which are in order, among those that are there.
    fn merge(&mut self, mut new: Vec<Candidate>) {
        let mut old = self.candidates.len();
        let Some(&filler) = new.last() else { return };
        self.candidates.resize(old + new.len(), filler);
        // From the end on, so that each is moved once and what comes before all new ones stays where it is.
        while let Some(last) = new.last() {
            let place = old + new.len() - 1;
            if old > 0 && self.candidates[old - 1].order(last).is_gt() {
                old -= 1;
                self.candidates[place] = self.candidates[old];
            } else {
                self.candidates[place] = *last;
                new.pop();
            }
        }
    }
}

/// Whether a candidate goes through a pool that has its turn.
fn touched(turns: &[u32], candidate: &Candidate) -> bool {
    candidate.cycle.hops().iter().any(|hop| turns.get(hop.pool.0 as usize).is_some_and(|turn| *turn != NO_TURN))
}

#[cfg(test)]
mod tests;
