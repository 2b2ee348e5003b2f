//! Walks through the graph that stop where too little can be gained any more.

use super::found::Found;
use super::{Candidate, Cycle, HOPS_MAX, Hop};
use crate::PoolId;
use crate::graph::{Curve, Edge, Graph, TokenId};
use crate::pool::Way;

/// Rounding differs with the order of multiplying: a walk stops a little later than it might.
const SLACK: f64 = 1.0 - 1e-9;

/// For every token, its pools with the funding asset.
#[derive(Debug, Clone, Default)]
pub(super) struct Direct(Vec<Vec<Edge>>);

impl Direct {
    pub(super) fn pools(&self, token: TokenId) -> &[Edge] {
        &self.0[at(token)]
    }

    /// A pool of this token's changed, joined or left.
    fn set(&mut self, pool: PoolId, token: TokenId, edge: Option<Edge>) {
        let pools = &mut self.0[at(token)];
        pools.retain(|old| old.pool != pool);
        pools.extend(edge);
    }

    fn best(&self, token: TokenId, rate: fn(&Edge) -> f64) -> f64 {
        self.pools(token).iter().map(rate).fold(0.0, f64::max)
    }
}

/// For every token, bounds on the rate of the best way between it and the funding asset.
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
        self.one.resize(tokens, 0.0);
        self.two.resize(tokens, 0.0);
    }
}

impl Bounds {
    fn grow(&mut self, direct: &mut Direct, tokens: usize) {
        self.home.grow(tokens);
        self.away.grow(tokens);
        direct.0.resize_with(tokens, Vec::new);
    }

    /// A pool between these tokens changed: whatever it makes better is better now.
    pub(super) fn raise(
        &mut self,
        direct: &mut Direct,
        graph: &Graph,
        home: TokenId,
        pool: PoolId,
        ends: [TokenId; 2],
    ) {
        self.grow(direct, graph.tokens());
        let [first, second] = ends;
        if first == home || second == home {
            let token = if first == home { second } else { first };
            direct.set(pool, token, graph.edge(pool, token));
            let one_home = direct.best(token, |edge| edge.out.rate);
            let one_away = direct.best(token, |edge| edge.back.rate);
            let better = one_home > self.home.one[at(token)] || one_away > self.away.one[at(token)];
            (self.home.one[at(token)], self.away.one[at(token)]) = (one_home, one_away);
            raise(&mut self.home.two[at(token)], one_home);
            raise(&mut self.away.two[at(token)], one_away);
            if better {
                for edge in graph.edges(token).iter().filter(|edge| edge.to != home) {
                    raise(&mut self.home.two[at(edge.to)], edge.back.rate * one_home);
                    raise(&mut self.away.two[at(edge.to)], edge.out.rate * one_away);
                }
            }
        } else if let Some(edge) = graph.edge(pool, first) {
            raise(&mut self.home.two[at(first)], edge.out.rate * self.home.one[at(second)]);
            raise(&mut self.home.two[at(second)], edge.back.rate * self.home.one[at(first)]);
            raise(&mut self.away.two[at(first)], edge.back.rate * self.away.one[at(second)]);
            raise(&mut self.away.two[at(second)], edge.out.rate * self.away.one[at(first)]);
        }
    }

    /// Makes every bound as low as it can be.
    pub(super) fn tighten(&mut self, direct: &mut Direct, graph: &Graph, home: TokenId) {
        self.grow(direct, graph.tokens());
        for (place, edges) in graph.all_edges().iter().enumerate() {
            let best = |reach: &Reach, rate: fn(&Edge) -> f64| {
                let rates = edges.iter().filter(|edge| edge.to != home);
                rates.map(|edge| rate(edge) * reach.one[at(edge.to)]).fold(reach.one[place], f64::max)
            };
            self.home.two[place] = best(&self.home, |edge| edge.out.rate);
            self.away.two[place] = best(&self.away, |edge| edge.back.rate);
        }
    }
}

fn at(token: TokenId) -> usize {
    token.0 as usize
}

fn raise(bound: &mut f64, rate: f64) {
    if rate > *bound {
        *bound = rate;
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
    /// What a unit of the funding asset is worth.
    worth: f64,
    direct: &'a Direct,
    bounds: &'a mut Bounds,
    hops_max: usize,
    found: &'a mut Found,
    /// The least gain that is looked for, in the funding asset.
    least: f64,
    /// What is given: the changed pool, and what closes the other side.
    fixed: Trail,
    trail: Trail,
    /// The changed pools' turns, and the present one: cycles through a pool with an earlier turn were found then.
    turns: &'a [u32],
    turn: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(graph: &'a Graph, home: &'a mut super::Home, hops_max: usize, found: &'a mut Found) -> Self {
        let super::Home { token, worth, direct, bounds } = home;
        let least = found.least(*worth) * SLACK;
        Self {
            graph,
            home: *token,
            worth: *worth,
            direct,
            bounds,
            hops_max,
            found,
            least,
            fixed: Trail::new(),
            trail: Trail::new(),
            turns: &[],
            turn: 0,
        }
    }

    /// All cycles.
    pub(super) fn everywhere(&mut self) {
        self.go::<false>(self.home, Curve::WHOLE, self.hops_max, 1);
    }

    /// All cycles through a pool, whichever hop it is, but for those through a pool whose turn was before.
    pub(super) fn through(&mut self, pool: PoolId, turns: &'a [u32]) {
        self.turns = turns;
        self.turn = turns.get(pool.0 as usize).copied().unwrap_or(0);
        let Some(ends) = self.graph.ends(pool) else { return };
        for [from, to] in [ends, [ends[1], ends[0]]] {
            let Some(edge) = self.graph.edge(pool, from) else { continue };
            if edge.out.rate <= 0.0 {
                continue;
            }
            let left = self.hops_max - 1;
            if from == self.home {
                // First: only the way home is open.
                self.fix(&[(pool, to)]);
                self.go::<false>(to, edge.out, left, 1);
            } else if to == self.home {
                // Last: only the way there is open.
                self.fix(&[(pool, from)]);
                self.go::<true>(from, edge.out, left, 1);
            } else if left >= 2 {
                self.between(pool, edge.out, from, to, left);
            }
        }
    }

    /// The pool is neither first nor last. With one hop before it there may be more after it; with two before it one is left.
    fn between(&mut self, pool: PoolId, curve: Curve, from: TokenId, to: TokenId, left: usize) {
        let direct = self.direct;
        for before in direct.pools(from).iter().filter(|before| before.back.rate > 0.0) {
            let sum = before.back.then(curve);
            if self.bounds.home.two[at(to)] > self.needed::<false>(sum) && !self.earlier(before.pool) {
                self.fix(&[(before.pool, from), (pool, to)]);
                self.go::<false>(to, sum, left - 1, 1);
            }
        }
        if left < 3 {
            return;
        }
        for after in direct.pools(to).iter().filter(|after| after.out.rate > 0.0) {
            let sum = curve.then(after.out);
            if self.bounds.away.two[at(from)] > self.needed::<true>(sum) && !self.earlier(after.pool) {
                self.fix(&[(pool, from), (after.pool, to)]);
                self.go::<true>(from, sum, 2, 2);
            }
        }
    }

    fn fix(&mut self, given: &[(PoolId, TokenId)]) {
        (self.fixed, self.trail) = (Trail::new(), Trail::new());
        for &(pool, token) in given {
            self.fixed.push(pool, token);
        }
    }

    /// On from a token: home in at least `least` and at most `left` hops. `BACK` goes against the cycle's direction, from a pool back to where
    /// the cycle must have begun.
    fn go<const BACK: bool>(&mut self, from: TokenId, sum: Curve, left: usize, least: usize) {
        let (graph, direct) = (self.graph, self.direct);
        let needed = self.needed::<BACK>(sum);
        if least <= 1 && self.reach::<BACK>().one[at(from)] > needed {
            for last in direct.pools(from) {
                let hop = if BACK { last.back } else { last.out };
                if hop.rate > needed && !self.passed(last.pool) {
                    let whole = if BACK { hop.then(sum) } else { sum.then(hop) };
                    // Few of those whose rate would do wear slowly enough.
                    if whole.best().1 >= self.least {
                        self.note::<BACK>(last.pool);
                    }
                }
            }
        }
        if left < 2 || (from != self.home && self.rest::<BACK>(from, left) <= needed) {
            return;
        }
        // The best way home in at most two hops, seen while looking.
        let mut best = self.reach::<BACK>().one[at(from)];
        for edge in graph.edges(from) {
            let hop = if BACK { edge.back } else { edge.out };
            let way = hop.rate * self.rest::<BACK>(edge.to, left - 1);
            raise(&mut best, way);
            if way > needed && edge.to != self.home && !self.passed(edge.pool) && !self.visited(edge.to) {
                let longer = if BACK { hop.then(sum) } else { sum.then(hop) };
                self.trail.push(edge.pool, edge.to);
                self.go::<BACK>(edge.to, longer, left - 1, least.saturating_sub(1));
                self.trail.length -= 1;
            }
        }
        if left == 2 && from != self.home {
            let reach = if BACK { &mut self.bounds.away } else { &mut self.bounds.home };
            reach.two[at(from)] = best;
        }
    }

    fn reach<const BACK: bool>(&self) -> &Reach {
        if BACK { &self.bounds.away } else { &self.bounds.home }
    }

    /// The best rate there may be between a token and home in so many hops. (Home itself is no hop away from home.)
    fn rest<const BACK: bool>(&self, token: TokenId, hops: usize) -> f64 {
        match hops {
            1 => self.reach::<BACK>().one[at(token)],
            2 => self.reach::<BACK>().two[at(token)],
            _ => f64::INFINITY,
        }
    }

    /// The rate that what is not known of a cycle must have for the whole to gain enough. What wears there is not known either and only
    /// lessens a gain, so: (√(known · rest) − 1)² ≥ least · wear, where what is known wears by as much more as the rest multiplies before it.
    fn needed<const BACK: bool>(&self, known: Curve) -> f64 {
        let worn = (self.least * known.wear).sqrt();
        let root = if BACK { 1.0 / (known.rate.sqrt() - worn).max(0.0) } else { (1.0 + worn) / known.rate.sqrt() };
        root * root * SLACK
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
    fn note<const BACK: bool>(&mut self, last: PoolId) {
        let fixed = &self.fixed.pools[..self.fixed.length];
        let trail = &self.trail.pools[..self.trail.length];
        let mut pools = [last; HOPS_MAX];
        let length = fixed.len() + trail.len() + 1;
        let slots = pools[..length].iter_mut();
        if BACK {
            let order = std::iter::once(&last).chain(trail.iter().rev()).chain(fixed);
            slots.zip(order).for_each(|(slot, pool)| *slot = *pool);
        } else {
            let order = fixed.iter().chain(trail).chain([&last]);
            slots.zip(order).for_each(|(slot, pool)| *slot = *pool);
        }
        if let Some(candidate) = estimate(self.graph, self.home, self.worth, &pools[..length]) {
            self.found.add(candidate);
            self.least = self.found.least(self.worth) * SLACK;
        }
    }
}

/// A cycle with what it may gain, if that is a unit.
pub(super) fn estimate(graph: &Graph, home: TokenId, worth: f64, pools: &[PoolId]) -> Option<Candidate> {
    let mut hops = [Hop { pool: PoolId(0), way: Way::ZeroForOne }; HOPS_MAX];
    let (mut token, mut curve) = (home, Curve::WHOLE);
    for (hop, &pool) in hops.iter_mut().zip(pools) {
        *hop = Hop { pool, way: graph.way(pool, token)? };
        let edge = graph.edge(pool, token)?;
        (token, curve) = (edge.to, curve.then(edge.out));
    }
    let (input, gain) = curve.best();
    let cycle = Cycle { start: home, length: pools.len() as u8, hops };
    (curve.rate > 1.0 && gain >= 1.0).then_some(Candidate { cycle, input, gain: gain * worth })
}
