//! Walks through the graph that stop where nothing can be gained any more.

use super::{Cycle, HOPS_MAX, Hop};
use crate::PoolId;
use crate::graph::{Edge, Graph, TokenId};
use crate::pool::Way;

/// For every token, bounds on the weight of the best way between it and the funding asset.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// From the token home.
    home: Reach,
    /// From home to the token.
    away: Reach,
}

#[derive(Debug, Clone, Default)]
struct Reach {
    /// In one hop: exact.
    one: Vec<f64>,
    /// In one or two hops: never too low.
    two: Vec<f64>,
}

impl Reach {
    fn grow(&mut self, tokens: usize) {
        self.one.resize(tokens, f64::NEG_INFINITY);
        self.two.resize(tokens, f64::NEG_INFINITY);
    }
}

impl Bounds {
    /// A pool between these tokens changed: whatever it makes better is better now.
    pub(super) fn raise(&mut self, graph: &Graph, home: TokenId, pool: PoolId, ends: [TokenId; 2]) {
        self.home.grow(graph.tokens());
        self.away.grow(graph.tokens());
        let [first, second] = ends;
        if first == home || second == home {
            let token = if first == home { second } else { first };
            self.one_hop(graph, home, token);
            let (one_home, one_away) = (self.home.one[at(token)], self.away.one[at(token)]);
            for edge in graph.edges(token).iter().filter(|edge| edge.to != home) {
                raise(&mut self.home.two[at(edge.to)], edge.back + one_home);
                raise(&mut self.away.two[at(edge.to)], edge.out + one_away);
            }
        } else if let Some(edge) = graph.edge(pool, first) {
            raise(&mut self.home.two[at(first)], edge.out + self.home.one[at(second)]);
            raise(&mut self.home.two[at(second)], edge.back + self.home.one[at(first)]);
            raise(&mut self.away.two[at(first)], edge.back + self.away.one[at(second)]);
            raise(&mut self.away.two[at(second)], edge.out + self.away.one[at(first)]);
        }
    }

    /// The best pool between a token and home, both ways.
    fn one_hop(&mut self, graph: &Graph, home: TokenId, token: TokenId) {
        let direct = || graph.edges(token).iter().filter(|edge| edge.to == home);
        self.home.one[at(token)] = direct().map(|edge| edge.out).fold(f64::NEG_INFINITY, f64::max);
        self.away.one[at(token)] = direct().map(|edge| edge.back).fold(f64::NEG_INFINITY, f64::max);
        raise(&mut self.home.two[at(token)], self.home.one[at(token)]);
        raise(&mut self.away.two[at(token)], self.away.one[at(token)]);
    }

    /// Makes every bound as low as it can be.
    pub(super) fn tighten(&mut self, graph: &Graph, home: TokenId) {
        let tokens = graph.tokens();
        self.home.grow(tokens);
        self.away.grow(tokens);
        for (place, edges) in graph.all_edges().iter().enumerate() {
            let best = |reach: &Reach, weight: fn(&Edge) -> f64| {
                let home = edges
                    .iter()
                    .map(|edge| if edge.to == home { weight(edge) } else { weight(edge) + reach.one[at(edge.to)] });
                home.fold(f64::NEG_INFINITY, f64::max)
            };
            self.home.two[place] = best(&self.home, |edge| edge.out);
            self.away.two[place] = best(&self.away, |edge| edge.back);
        }
    }
}

fn at(token: TokenId) -> usize {
    token.0 as usize
}

fn raise(bound: &mut f64, weight: f64) {
    if weight > *bound {
        *bound = weight;
    }
}

/// Pools in a row and the tokens between them.
#[derive(Debug, Clone, Copy)]
struct Trail {
    pools: [PoolId; HOPS_MAX],
    tokens: [TokenId; HOPS_MAX],
    length: usize,
}

impl Trail {
    fn new() -> Self {
        Self { pools: [PoolId(0); HOPS_MAX], tokens: [TokenId(0); HOPS_MAX], length: 0 }
    }

    fn push(&mut self, pool: PoolId, token: TokenId) {
        (self.pools[self.length], self.tokens[self.length]) = (pool, token);
        self.length += 1;
    }

    fn has_pool(&self, pool: PoolId) -> bool {
        self.pools[..self.length].contains(&pool)
    }

    fn has_token(&self, token: TokenId) -> bool {
        self.tokens[..self.length].contains(&token)
    }
}

/// One search from one funding asset.
pub(super) struct Walk<'a> {
    graph: &'a Graph,
    home: TokenId,
    bounds: &'a mut Bounds,
    hops_max: usize,
    found: &'a mut Vec<Cycle>,
    /// Whether the walk goes against the cycle's direction: from a pool back to where it must have begun.
    backwards: bool,
    /// What is given: the changed pool, and what closes the other side.
    fixed: Trail,
    trail: Trail,
    /// The changed pools' turns, and the present one: cycles through a pool with an earlier turn were found then.
    turns: &'a [u32],
    turn: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        home: TokenId,
        bounds: &'a mut Bounds,
        hops_max: usize,
        found: &'a mut Vec<Cycle>,
    ) -> Self {
        let (fixed, trail) = (Trail::new(), Trail::new());
        Self { graph, home, bounds, hops_max, found, backwards: false, fixed, trail, turns: &[], turn: 0 }
    }

    /// All cycles.
    pub(super) fn everywhere(&mut self) {
        self.go(self.home, 0.0, self.hops_max, 1);
    }

    /// All cycles through a pool, whichever hop it is, but for those through a pool whose turn was before.
    pub(super) fn through(&mut self, pool: PoolId, turns: &'a [u32]) {
        self.turns = turns;
        self.turn = turns.get(pool.0 as usize).copied().unwrap_or(0);
        let Some(ends) = self.graph.ends(pool) else { return };
        for [from, to] in [ends, [ends[1], ends[0]]] {
            let Some(edge) = self.graph.edge(pool, from) else { continue };
            if edge.out == f64::NEG_INFINITY {
                continue;
            }
            let left = self.hops_max - 1;
            if from == self.home {
                // First: only the way home is open.
                self.fix(&[(pool, to)], false);
                self.go(to, edge.out, left, 1);
            } else if to == self.home {
                // Last: only the way there is open.
                self.fix(&[(pool, from)], true);
                self.go(from, edge.out, left, 1);
            } else if left >= 2 {
                self.between(pool, edge.out, from, to, left);
            }
        }
    }

    /// The pool is neither first nor last. With one hop before it there may be more after it; with two before it one is left.
    fn between(&mut self, pool: PoolId, weight: f64, from: TokenId, to: TokenId, left: usize) {
        let (graph, home) = (self.graph, self.home);
        let reach = self.bounds.home.two[at(to)];
        for before in graph.edges(from).iter().filter(|edge| edge.to == home) {
            if before.back + weight + reach > 0.0 && !self.earlier(before.pool) {
                self.fix(&[(before.pool, from), (pool, to)], false);
                self.go(to, before.back + weight, left - 1, 1);
            }
        }
        let reach = self.bounds.away.two[at(from)];
        if left < 3 || self.bounds.home.one[at(to)] + weight + reach <= 0.0 {
            return;
        }
        for after in graph.edges(to).iter().filter(|edge| edge.to == home) {
            if after.out + weight + reach > 0.0 && !self.earlier(after.pool) {
                self.fix(&[(pool, from), (after.pool, to)], true);
                self.go(from, after.out + weight, 2, 2);
            }
        }
    }

    fn fix(&mut self, given: &[(PoolId, TokenId)], backwards: bool) {
        (self.fixed, self.trail, self.backwards) = (Trail::new(), Trail::new(), backwards);
        for &(pool, token) in given {
            self.fixed.push(pool, token);
        }
    }

    /// On from a token: home in at least `least` and at most `left` hops.
    fn go(&mut self, from: TokenId, sum: f64, left: usize, least: usize) {
        let graph = self.graph;
        // The best way home in at most two hops, seen while looking.
        let mut best = f64::NEG_INFINITY;
        for edge in graph.edges(from) {
            let weight = if self.backwards { edge.back } else { edge.out };
            let total = sum + weight;
            if edge.to == self.home {
                best = best.max(weight);
                if total > 0.0 && least <= 1 && !self.passed(edge.pool) {
                    self.note(edge.pool);
                }
                continue;
            }
            let reach = if self.backwards { &self.bounds.away } else { &self.bounds.home };
            let rest = match left {
                1 => continue,
                2 => reach.one[at(edge.to)],
                3 => reach.two[at(edge.to)],
                _ => f64::INFINITY,
            };
            if left == 2 {
                best = best.max(weight + rest);
            }
            if total + rest > 0.0 && !self.passed(edge.pool) && !self.visited(edge.to) {
                self.trail.push(edge.pool, edge.to);
                self.go(edge.to, total, left - 1, least.saturating_sub(1));
                self.trail.length -= 1;
            }
        }
        if left == 2 && from != self.home {
            let reach = if self.backwards { &mut self.bounds.away } else { &mut self.bounds.home };
            reach.two[at(from)] = best;
        }
    }

    fn passed(&self, pool: PoolId) -> bool {
        self.trail.has_pool(pool) || self.fixed.has_pool(pool) || self.earlier(pool)
    }

    fn earlier(&self, pool: PoolId) -> bool {
        self.turns.get(pool.0 as usize).is_some_and(|turn| *turn < self.turn)
    }

    fn visited(&self, token: TokenId) -> bool {
        self.trail.has_token(token) || self.fixed.has_token(token)
    }

    /// The walk is home, by this pool.
    fn note(&mut self, last: PoolId) {
        let fixed = &self.fixed.pools[..self.fixed.length];
        let trail = &self.trail.pools[..self.trail.length];
        let mut pools = [last; HOPS_MAX];
        let length = fixed.len() + trail.len() + 1;
        let slots = pools[..length].iter_mut();
        if self.backwards {
            let order = std::iter::once(&last).chain(trail.iter().rev()).chain(fixed);
            slots.zip(order).for_each(|(slot, pool)| *slot = *pool);
        } else {
            let order = fixed.iter().chain(trail).chain([&last]);
            slots.zip(order).for_each(|(slot, pool)| *slot = *pool);
        }
        let mut hops = [Hop { pool: PoolId(0), way: Way::ZeroForOne }; HOPS_MAX];
        let mut token = self.home;
        for (hop, &pool) in hops.iter_mut().zip(&pools[..length]) {
            let (Some(way), Some(ends)) = (self.graph.way(pool, token), self.graph.ends(pool)) else { return };
            *hop = Hop { pool, way };
            token = ends[way.output()];
        }
        self.found.push(Cycle { start: self.home, length: length as u8, hops });
    }
}
