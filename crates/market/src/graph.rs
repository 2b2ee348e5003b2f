//! Tokens joined by pools, with what a search needs of each pool to rank it.
//!
//! Weights are logarithms of the price at the margin after the fee: a cycle whose weights add up to no more than zero gains at no size, since
//! every pool's price only worsens with size. Floating point is right here, because nothing is priced by it.

use std::collections::HashMap;

use alloy_primitives::U256;
use kernel::chain::Address;

use crate::PoolId;
use crate::pool::{AnyPool, Pool, Way};

/// A token's place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u32);

/// One way out of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) to: TokenId,
    pub(crate) pool: PoolId,
    /// The weight of going.
    pub(crate) out: f64,
    /// The weight of coming back through the same pool.
    pub(crate) back: f64,
}

/// A pool as a constant product around its present price: the input and output it holds, and the part of an input that counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Curve {
    pub(crate) held_in: f64,
    pub(crate) held_out: f64,
    pub(crate) kept: f64,
}

impl Curve {
    fn of(pool: &AnyPool, way: Way) -> Self {
        let kept = 1.0 - f64::from(pool.fee_millionths()) / 1e6;
        let (held_in, held_out) = match pool {
            AnyPool::ConstantProduct(pair) => {
                let reserves = pair.reserves();
                (reserves[way.input()] as f64, reserves[way.output()] as f64)
            }
            AnyPool::ConcentratedLiquidity(pool) => {
                let Some((sqrt_price, liquidity)) = pool.begins_at(way) else { return Self::default() };
                let root = f64::from(sqrt_price) / f64::from(U256::ONE << 96);
                let held = [liquidity as f64 / root, liquidity as f64 * root];
                (held[way.input()], held[way.output()])
            }
        };
        Self { held_in, held_out, kept }
    }

    /// The weight; minus infinity where nothing can be traded.
    fn weight(&self) -> f64 {
        let price = self.held_out * self.kept / self.held_in;
        if price.is_finite() { price.ln() } else { f64::NEG_INFINITY }
    }
}

/// A pool's place in the graph.
#[derive(Debug, Clone, Copy)]
struct Joint {
    tokens: [TokenId; 2],
    /// Where its edge is among those of each token.
    slots: [u32; 2],
    curves: [Curve; 2],
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

    pub(crate) fn curve(&self, pool: PoolId, way: Way) -> Curve {
        self.joint(pool).map_or_else(Curve::default, |joint| joint.curves[way.input()])
    }

    fn joint(&self, pool: PoolId) -> Option<&Joint> {
        self.joints.get(pool.0 as usize)?.as_ref()
    }

    /// A pool joined or changed (`Some`), or left (`None`). Returns its tokens, if it is or was in the graph.
    pub(crate) fn set(&mut self, id: PoolId, pool: Option<&AnyPool>) -> Option<[TokenId; 2]> {
        let Some(pool) = pool else { return self.take_out(id) };
        let curves = Way::BOTH.map(|way| Curve::of(pool, way));
        let weights = curves.map(|curve| curve.weight());
        let place = id.0 as usize;
        if self.joints.len() <= place {
            self.joints.resize(place + 1, None);
        }
        if let Some(joint) = &mut self.joints[place] {
            joint.curves = curves;
            for side in 0..2 {
                let edge = &mut self.edges[joint.tokens[side].0 as usize][joint.slots[side] as usize];
                (edge.out, edge.back) = (weights[side], weights[1 - side]);
            }
            return Some(joint.tokens);
        }
        let tokens = pool.tokens().map(|address| self.token(address));
        if tokens[0] == tokens[1] {
            return None;
        }
        let slots = [0, 1].map(|side| {
            let edges = &mut self.edges[tokens[side].0 as usize];
            edges.push(Edge { to: tokens[1 - side], pool: id, out: weights[side], back: weights[1 - side] });
            edges.len() as u32 - 1
        });
        self.joints[place] = Some(Joint { tokens, slots, curves });
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
