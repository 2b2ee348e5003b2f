//! Tokens joined by pools, with what a search needs of each pool to rank it.
//!
//! A pool is a curve here, and so is a chain of them. A cycle whose rate is not above one gains at no size, since every pool's price only
//! worsens with size. Floating point is right here, because nothing is priced by it.

use std::collections::HashMap;

use alloy_primitives::U256;
use kernel::chain::Address;

use crate::PoolId;
use crate::pool::{AnyPool, Pool, Way};

/// A token's place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u32);

/// What an input x gives around the present price: rate·x / (1 + wear·x), as constant products do, one or a chain of them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Curve {
    /// What the first unit gives, after the fee; zero where nothing can be traded.
    pub(crate) rate: f64,
    /// How soon that worsens.
    pub(crate) wear: f64,
}

impl Curve {
    /// Concentrated liquidity from this price on, as far as the next tick.
    pub(crate) fn along(sqrt_price: U256, liquidity: u128, fee_millionths: u32, way: Way) -> Self {
        let kept = 1.0 - f64::from(fee_millionths) / 1e6;
        let (held_in, held_out) = held(sqrt_price, liquidity, way);
        Self { rate: kept * held_out / held_in, wear: kept / held_in }
    }

    /// Gives what it takes.
    pub(crate) const WHOLE: Self = Self { rate: 1.0, wear: 0.0 };

    fn of(pool: &AnyPool, way: Way) -> Self {
        let kept = 1.0 - f64::from(pool.fee_millionths()) / 1e6;
        let (held_in, held_out) = match pool {
            AnyPool::ConstantProduct(pair) => {
                let reserves = pair.reserves();
                (reserves[way.input()] as f64, reserves[way.output()] as f64)
            }
            AnyPool::ConcentratedLiquidity(pool) => {
                let Some((sqrt_price, liquidity)) = pool.begins_at(way) else { return Self::default() };
                held(sqrt_price, liquidity, way)
            }
        };
        let curve = Self { rate: kept * held_out / held_in, wear: kept / held_in };
        if curve.rate.is_finite() && curve.wear.is_finite() { curve } else { Self::default() }
    }

    /// What this gives goes into another.
    pub(crate) fn then(self, next: Self) -> Self {
        Self { rate: self.rate * next.rate, wear: self.wear + self.rate * next.wear }
    }

    /// What can be gained where what comes out is what went in: at most (√rate − 1)² / wear, at the input (√rate − 1) / wear.
    pub(crate) fn best(self) -> (f64, f64) {
        let excess = self.rate.sqrt() - 1.0;
        (excess / self.wear, excess * excess / self.wear)
    }
}

/// What liquidity at a price seems to hold of what goes in and of what comes out: a constant product of that would trade the same.
fn held(sqrt_price: U256, liquidity: u128, way: Way) -> (f64, f64) {
    let root = f64::from(sqrt_price) / f64::from(U256::ONE << 96);
    let held = [liquidity as f64 / root, liquidity as f64 * root];
    (held[way.input()], held[way.output()])
}

/// One way out of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) to: TokenId,
    pub(crate) pool: PoolId,
    /// Going.
    pub(crate) out: Curve,
    /// Coming back through the same pool.
    pub(crate) back: Curve,
}

/// A pool's place in the graph.
#[derive(Debug, Clone, Copy)]
struct Joint {
    tokens: [TokenId; 2],
    /// Where its edge is among those of each token.
    slots: [u32; 2],
}

/// The tokens and the pools between them.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    tokens: Vec<Address>,
    places: HashMap<Address, TokenId>,
    edges: Vec<Vec<Edge>>,
    joints: Vec<Option<Joint>>,
}

impl Graph {
    /// The token of this address, known from now on.
    pub fn token(&mut self, address: Address) -> TokenId {
        *self.places.entry(address).or_insert_with(|| {
            self.tokens.push(address);
            self.edges.push(Vec::new());
            TokenId(self.tokens.len() as u32 - 1)
        })
    }

    /// The token of this address, if it was ever in a pool.
    pub fn find(&self, address: Address) -> Option<TokenId> {
        self.places.get(&address).copied()
    }

    /// Where a token is.
    pub fn address(&self, token: TokenId) -> Address {
        self.tokens[token.0 as usize]
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// How many pools there are.
    pub fn pools(&self) -> usize {
        self.joints.iter().flatten().count()
    }

    /// The pools between two tokens, each with the way from the first to the second.
    pub fn between(&self, from: TokenId, to: TokenId) -> impl Iterator<Item = (PoolId, Way)> {
        let edges = self.edges(from).iter().filter(move |edge| edge.to == to);
        edges.filter_map(move |edge| Some((edge.pool, self.way(edge.pool, from)?)))
    }

    /// The tokens one pool away, each once.
    pub fn neighbours(&self, token: TokenId) -> Vec<TokenId> {
        let mut near: Vec<TokenId> = self.edges(token).iter().map(|edge| edge.to).collect();
        near.sort_unstable();
        near.dedup();
        near
    }

    /// Bytes on the heap, near enough.
    pub fn heap_bytes(&self) -> usize {
        let edges: usize = self.edges.iter().map(|edges| edges.capacity() * size_of::<Edge>()).sum();
        edges
            + self.edges.capacity() * size_of::<Vec<Edge>>()
            + self.joints.capacity() * size_of::<Option<Joint>>()
            + self.tokens.capacity() * (2 * size_of::<Address>() + size_of::<TokenId>())
    }

    pub(crate) fn edges(&self, token: TokenId) -> &[Edge] {
        &self.edges[token.0 as usize]
    }

    pub(crate) fn all_edges(&self) -> &[Vec<Edge>] {
        &self.edges
    }

    /// The tokens a pool joins.
    pub(crate) fn ends(&self, pool: PoolId) -> Option<[TokenId; 2]> {
        Some(self.joint(pool)?.tokens)
    }

    /// The edge of a pool out of one of its tokens.
    pub(crate) fn edge(&self, pool: PoolId, from: TokenId) -> Option<Edge> {
        let joint = self.joint(pool)?;
        let side = joint.tokens.iter().position(|token| *token == from)?;
        self.edges(from).get(joint.slots[side] as usize).copied()
    }

    pub(crate) fn way(&self, pool: PoolId, from: TokenId) -> Option<Way> {
        let [first, _] = self.joint(pool)?.tokens;
        Some(if first == from { Way::ZeroForOne } else { Way::OneForZero })
    }

    fn joint(&self, pool: PoolId) -> Option<&Joint> {
        self.joints.get(pool.0 as usize)?.as_ref()
    }

    /// A pool joined or changed (`Some`), or left (`None`). Returns its tokens, if it is or was in the graph.
    pub(crate) fn set(&mut self, id: PoolId, pool: Option<&AnyPool>) -> Option<[TokenId; 2]> {
        let Some(pool) = pool else { return self.take_out(id) };
        let curves = Way::BOTH.map(|way| Curve::of(pool, way));
        let place = id.0 as usize;
        if self.joints.len() <= place {
            self.joints.resize(place + 1, None);
        }
        if let Some(joint) = &self.joints[place] {
            for side in 0..2 {
                let edge = &mut self.edges[joint.tokens[side].0 as usize][joint.slots[side] as usize];
                (edge.out, edge.back) = (curves[side], curves[1 - side]);
            }
            return Some(joint.tokens);
        }
        let tokens = pool.tokens().map(|address| self.token(address));
        if tokens[0] == tokens[1] {
            return None;
        }
        let slots = [0, 1].map(|side| {
            let edges = &mut self.edges[tokens[side].0 as usize];
            edges.push(Edge { to: tokens[1 - side], pool: id, out: curves[side], back: curves[1 - side] });
            edges.len() as u32 - 1
        });
        self.joints[place] = Some(Joint { tokens, slots });
        Some(tokens)
    }

    fn take_out(&mut self, id: PoolId) -> Option<[TokenId; 2]> {
        let joint = self.joints.get_mut(id.0 as usize)?.take()?;
        for (token, slot) in joint.tokens.into_iter().zip(joint.slots) {
            let edges = &mut self.edges[token.0 as usize];
            edges.swap_remove(slot as usize);
            let Some(moved) = edges.get(slot as usize).map(|edge| edge.pool) else { continue };
            if let Some(other) = self.joints[moved.0 as usize].as_mut() {
                let side = usize::from(other.tokens[0] != token);
                other.slots[side] = slot;
            }
        }
        Some(joint.tokens)
    }
}
