//! Constant product: x·y = k (Uniswap v2-core `UniswapV2Pair.sol`, v2-periphery `UniswapV2Library.sol`; whitepaper, 3.2).
//!
//! The fee is a fraction of the input that is kept out of the product. The library's roundings do not depend on how that fraction is
//! written, so thousandths, ten-thousandths and millionths give the same amounts, and one type serves every fork.

use alloy_primitives::{U256, U512};
use serde::{Deserialize, Serialize};

use super::{Event, Identity, Kind, Pool, Price, Quote, Way};
use crate::math::swap::FEE_UNIT;
use crate::{Error, Result};

/// The greatest reserve: the contract keeps them as `uint112`.
pub const RESERVE_MAX: u128 = (1 << 112) - 1;

/// What a swap burns inside a pair, both transfers included, with ordinary tokens and storage that was touched before.
const SWAP_GAS: u64 = 60_000;

/// A constant-product pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Shape", into = "Shape")]
pub struct V2 {
    identity: Identity,
    reserves: [u128; 2],
}

/// What a pair holds, by its own books. In the contract's order; each at most [`RESERVE_MAX`].
pub type V2Reserves = [u128; 2];

#[derive(Serialize, Deserialize)]
struct Shape {
    #[serde(flatten)]
    identity: Identity,
    // As text: JSON readers lose digits of numbers.
    reserves: [U256; 2],
}

impl TryFrom<Shape> for V2 {
    type Error = Error;

    fn try_from(shape: Shape) -> Result<Self> {
        let [first, second] = shape.reserves.map(|reserve| u128::try_from(reserve).map_err(|_| Error::Overflow));
        Self::new(shape.identity, [first?, second?])
    }
}

impl From<V2> for Shape {
    fn from(pool: V2) -> Self {
        Self { identity: pool.identity, reserves: pool.reserves.map(U256::from) }
    }
}

impl V2 {
    /// A pair with these reserves.
    pub fn new(identity: Identity, reserves: V2Reserves) -> Result<Self> {
        if identity.fee_millionths >= 1_000_000 {
            return Err(Error::BadState("the fee is all of the input"));
        }
        if reserves.iter().any(|reserve| *reserve > RESERVE_MAX) {
            return Err(Error::Overflow);
        }
        Ok(Self { identity, reserves })
    }

    /// What it holds, in the contract's order.
    pub fn reserves(&self) -> V2Reserves {
        self.reserves
    }

    fn sides(&self, way: Way) -> Result<(U256, U256)> {
        let [held_in, held_out] = [way.input(), way.output()].map(|side| U256::from(self.reserves[side]));
        if held_in.is_zero() || held_out.is_zero() { Err(Error::NoLiquidity) } else { Ok((held_in, held_out)) }
    }

    /// The part of the input that counts, in millionths.
    fn kept(&self) -> U256 {
        FEE_UNIT - U256::from(self.identity.fee_millionths)
    }

    /// Refuses what the pair's `_update` refuses: a balance over `uint112`.
    fn quote(&self, held_in: U256, amount_in: U256, amount_out: U256) -> Result<Quote> {
        if held_in.checked_add(amount_in).is_none_or(|held| held > U256::from(RESERVE_MAX)) {
            return Err(Error::Overflow);
        }
        Ok(Quote { amount_in, amount_out, ticks_crossed: 0, filled: true, gas: SWAP_GAS })
    }

    fn settle(&mut self, way: Way, quote: Quote) -> Result<(Quote, Event)> {
        let mut reserves = self.reserves;
        let amount = |amount: U256| u128::try_from(amount).map_err(|_| Error::Overflow);
        reserves[way.input()] += amount(quote.amount_in)?;
        reserves[way.output()] -= amount(quote.amount_out)?;
        let before = std::mem::replace(&mut self.reserves, reserves);
        Ok((quote, Event::Sync { reserve0: before[0], reserve1: before[1] }))
    }
}

impl Pool for V2 {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn kind(&self) -> Kind {
        Kind::ConstantProduct
    }

    /// ⌊a·f·y / (x·10^6 + a·f)⌋: `getAmountOut`.
    fn quote_exact_in(&self, way: Way, amount: U256) -> Result<Quote> {
        if amount.is_zero() {
            return Err(Error::ZeroAmount);
        }
        let (held_in, held_out) = self.sides(way)?;
        // No more than this fits the pair, and the products below stay under 256 bits.
        if amount > U256::from(RESERVE_MAX) {
            return Err(Error::Overflow);
        }
        let counted = amount * self.kept();
        let amount_out = counted * held_out / (held_in * FEE_UNIT + counted);
        if amount_out.is_zero() {
            return Err(Error::NoOutput);
        }
        self.quote(held_in, amount, amount_out)
    }

    /// ⌊x·a·10^6 / ((y − a)·f)⌋ + 1: `getAmountIn`.
    fn quote_exact_out(&self, way: Way, amount: U256) -> Result<Quote> {
        if amount.is_zero() {
            return Err(Error::ZeroAmount);
        }
        let (held_in, held_out) = self.sides(way)?;
        if amount >= held_out {
            return Err(Error::InsufficientLiquidity);
        }
        let amount_in = held_in * amount * FEE_UNIT / ((held_out - amount) * self.kept()) + U256::ONE;
        self.quote(held_in, amount_in, amount)
    }

    fn swap_exact_in(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)> {
        let quote = self.quote_exact_in(way, amount)?;
        self.settle(way, quote)
    }

    fn swap_exact_out(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)> {
        let quote = self.quote_exact_out(way, amount)?;
        self.settle(way, quote)
    }

    fn apply(&mut self, event: &Event) -> Result<Event> {
        let Event::Sync { reserve0, reserve1 } = *event else { return Err(Error::EventMismatch) };
        let before = std::mem::replace(self, Self::new(self.identity, [reserve0, reserve1])?).reserves;
        Ok(Event::Sync { reserve0: before[0], reserve1: before[1] })
    }

    fn spot_price(&self, way: Way) -> Result<Price> {
        let (held_in, held_out) = self.sides(way)?;
        Ok(Price { numerator: U512::from(held_out), denominator: U512::from(held_in) })
    }

    fn gas(&self) -> u64 {
        SWAP_GAS
    }
}

#[cfg(test)]
mod tests;
