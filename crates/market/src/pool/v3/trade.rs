//! The loop of `UniswapV3Pool.swap`.

use alloy_primitives::U256;

use super::V3;
use crate::math::swap::{Remaining, step};
use crate::math::tick::{MAX_SQRT_PRICE, MIN_SQRT_PRICE, sqrt_price_at, tick_at};
use crate::pool::{Event, Way};
use crate::{Error, Result};

/// The root of the price at which a swap stops, Q64.96.
pub type Limit = U256;

/// What a swap did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V3Swap {
    /// What went in, fee included.
    pub amount_in: U256,
    /// What came out.
    pub amount_out: U256,
    /// The part of the input that was fee.
    pub fee: U256,
    /// The part of the fee that is the protocol's.
    pub protocol_fee: U256,
    /// The root of the price after it.
    pub sqrt_price: U256,
    /// The liquidity in range after it.
    pub liquidity: u128,
    /// Initialised ticks crossed.
    pub ticks_crossed: u32,
    /// The tick after it, where that is not simply the price's.
    boundary: Option<i32>,
}

impl V3Swap {
    /// The tick after it.
    pub fn tick(&self) -> Result<i32> {
        self.boundary.or_else(|| tick_at(self.sqrt_price)).ok_or(Error::Overflow)
    }

    /// The event the contract would log.
    pub fn event(&self) -> Result<Event> {
        Ok(Event::Swap { sqrt_price: self.sqrt_price, liquidity: self.liquidity, tick: self.tick()? })
    }
}

impl V3 {
    /// What a swap would do, to the price limit or, without one, as far as there are prices. Changes nothing: apply its
    /// [`event`](V3Swap::event) for that.
    pub fn trade(&self, way: Way, asked: Remaining, limit: Option<Limit>) -> Result<V3Swap> {
        let down = way.zero_for_one();
        let limit = self.check(asked, down, limit)?;
        let (Remaining::In(mut left) | Remaining::Out(mut left)) = asked;
        let mut swap = V3Swap {
            amount_in: U256::ZERO,
            amount_out: U256::ZERO,
            fee: U256::ZERO,
            protocol_fee: U256::ZERO,
            sqrt_price: self.sqrt_price,
            liquidity: self.liquidity,
            ticks_crossed: 0,
            boundary: Some(self.tick),
        };
        let (mut tick, mut below) = (self.tick, self.ticks.count_up_to(self.tick));
        let share = self.fee_protocol[way.input()];
        while !left.is_zero() && swap.sqrt_price != limit {
            let next = self.ticks.next(tick, below, down, self.tick_spacing, swap.liquidity == 0);
            let end = sqrt_price_at(next.index).ok_or(Error::Overflow)?;
            let target = if down { end.max(limit) } else { end.min(limit) };
            let start = swap.sqrt_price;
            let remaining = if matches!(asked, Remaining::In(_)) { Remaining::In(left) } else { Remaining::Out(left) };
            let step =
                step(start, target, swap.liquidity, remaining, self.identity.fee_millionths).ok_or(Error::Overflow)?;
            let taken = step.amount_in + step.fee;
            left -= if matches!(asked, Remaining::In(_)) { taken } else { step.amount_out };
            swap.amount_in += taken;
            swap.amount_out += step.amount_out;
            swap.fee += step.fee;
            if share > 0 {
                swap.protocol_fee += step.fee / U256::from(share);
            }
            swap.sqrt_price = step.sqrt_price;
            if step.sqrt_price == end {
                if let Some(place) = next.place {
                    let net = self.ticks.all()[place].liquidity_net;
                    let net = if down { -net } else { net };
                    swap.liquidity = swap.liquidity.checked_add_signed(net).ok_or(Error::Overflow)?;
                    swap.ticks_crossed += 1;
                    below = if down { place } else { place + 1 };
                }
                tick = if down { next.index - 1 } else { next.index };
                swap.boundary = Some(tick);
            } else if step.sqrt_price != start {
                // The amount or the limit ended it: the loop is over, and the tick is the price's.
                swap.boundary = None;
            }
        }
        Ok(swap)
    }

    /// What the contract requires before it begins; the limit that holds.
    fn check(&self, asked: Remaining, down: bool, limit: Option<Limit>) -> Result<Limit> {
        let (Remaining::In(amount) | Remaining::Out(amount)) = asked;
        if amount.is_zero() {
            return Err(Error::ZeroAmount);
        }
        // The contract's amounts are `int256`.
        if amount.bit_len() > 255 {
            return Err(Error::Overflow);
        }
        if self.sqrt_price.is_zero() {
            return Err(Error::NoLiquidity);
        }
        let last = if down { MIN_SQRT_PRICE + U256::ONE } else { MAX_SQRT_PRICE - U256::ONE };
        let limit = limit.unwrap_or(last);
        let ahead = if down { limit < self.sqrt_price } else { limit > self.sqrt_price };
        let inside = if down { limit >= last } else { limit <= last };
        if ahead && inside { Ok(limit) } else { Err(Error::PriceLimit) }
    }
}
