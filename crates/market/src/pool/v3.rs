//! Concentrated liquidity (Uniswap v3-core `UniswapV3Pool.sol`, `TickBitmap.sol`; whitepaper, chapter 6).
//!
//! A swap goes step by step as the contract's does: to the next initialised tick or to the end of the bitmap's word, whichever is nearer,
//! since every step rounds for itself. The bitmap is not kept: it follows from the sorted ticks.

mod ticks;
mod trade;

use alloy_primitives::{U256, U512};
use serde::{Deserialize, Serialize};

pub use ticks::Tick;
use ticks::Ticks;
pub use trade::{Limit, V3Swap};

use super::{Event, Identity, Kind, Pool, Price, Quote, Way};
use crate::math::swap::Remaining;
use crate::math::tick::{MAX_TICK, MIN_TICK, sqrt_price_at, tick_at};
use crate::{Error, Result};

/// What a swap inside one range burns, both transfers included, with ordinary tokens and storage that was touched before.
const SWAP_GAS: u64 = 75_000;
/// What crossing an initialised tick adds.
const CROSSING_GAS: u64 = 25_000;

/// A concentrated-liquidity pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Shape", into = "Shape")]
pub struct V3 {
    identity: Identity,
    tick_spacing: i32,
    sqrt_price: U256,
    tick: i32,
    liquidity: u128,
    fee_protocol: [u8; 2],
    ticks: Ticks,
}

/// How a pool stands: what a snapshot of its storage is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct V3State {
    /// The root of the price, Q64.96; zero before initialisation. `slot0.sqrtPriceX96`.
    pub sqrt_price: U256,
    /// `slot0.tick`.
    pub tick: i32,
    /// The liquidity in range. `liquidity`.
    #[serde(with = "crate::text")]
    pub liquidity: u128,
    /// The protocol's share of the fee on each token, as 1/n; zero is none. `slot0.feeProtocol`, low and high half.
    pub fee_protocol: [u8; 2],
    /// The initialised ticks in ascending order.
    pub ticks: Vec<Tick>,
}

#[derive(Serialize, Deserialize)]
struct Shape {
    #[serde(flatten)]
    identity: Identity,
    tick_spacing: i32,
    state: V3State,
}

impl TryFrom<Shape> for V3 {
    type Error = Error;

    fn try_from(shape: Shape) -> Result<Self> {
        Self::new(shape.identity, shape.tick_spacing, shape.state)
    }
}

impl From<V3> for Shape {
    fn from(pool: V3) -> Self {
        Self { identity: pool.identity, tick_spacing: pool.tick_spacing, state: pool.state() }
    }
}

impl V3 {
    /// A pool in this state; [`V3State::default`] is one that was just created. Refuses what no contract's storage can be.
    pub fn new(identity: Identity, tick_spacing: i32, state: V3State) -> Result<Self> {
        let V3State { sqrt_price, tick, liquidity, fee_protocol, ticks } = state;
        if identity.fee_millionths >= 1_000_000 {
            return Err(Error::BadState("the fee is all of the input"));
        }
        if !(1..=16_383).contains(&tick_spacing) {
            return Err(Error::BadState("the tick spacing is out of range"));
        }
        if !fee_protocol.iter().all(fee_protocol_fits) {
            return Err(Error::BadState("the protocol's share of the fee is neither none nor 1/4 to 1/10"));
        }
        let ticks = Ticks::new(ticks, tick_spacing)?;
        if sqrt_price.is_zero() {
            if tick != 0 || liquidity != 0 || !ticks.is_empty() {
                return Err(Error::BadState("liquidity before initialisation"));
            }
        } else {
            check_price(sqrt_price, tick)?;
            if ticks.net_up_to(tick) != i128::try_from(liquidity).ok() {
                return Err(Error::BadState("the ticks do not add up to the liquidity in range"));
            }
        }
        Ok(Self { identity, tick_spacing, sqrt_price, tick, liquidity, fee_protocol, ticks })
    }

    /// The state, as a snapshot.
    pub fn state(&self) -> V3State {
        V3State {
            sqrt_price: self.sqrt_price,
            tick: self.tick,
            liquidity: self.liquidity,
            fee_protocol: self.fee_protocol,
            ticks: self.ticks.all().to_vec(),
        }
    }

    /// The root of the price, Q64.96; zero before initialisation.
    pub fn sqrt_price(&self) -> U256 {
        self.sqrt_price
    }

    /// The current tick.
    pub fn tick(&self) -> i32 {
        self.tick
    }

    /// The liquidity in range.
    pub fn liquidity(&self) -> u128 {
        self.liquidity
    }

    /// The least distance between initialised ticks.
    pub fn tick_spacing(&self) -> i32 {
        self.tick_spacing
    }

    /// The protocol's share of the fee on each token, as 1/n.
    pub fn fee_protocol(&self) -> [u8; 2] {
        self.fee_protocol
    }

    /// The initialised ticks in ascending order.
    pub fn ticks(&self) -> &[Tick] {
        self.ticks.all()
    }

    /// The bitmap's word at this place, as the contract's `tickBitmap` has it.
    pub fn bitmap_word(&self, place: i16) -> U256 {
        self.ticks.word(place, self.tick_spacing)
    }

    /// Where a trade that way begins: the price and liquidity here, or, with none in range, at the next tick that has some. `None` where
    /// there is nothing to trade with.
    pub fn begins_at(&self, way: Way) -> Option<(U256, u128)> {
        if self.liquidity > 0 {
            return Some((self.sqrt_price, self.liquidity));
        }
        let below = self.ticks.count_up_to(self.tick);
        let tick = match way {
            Way::ZeroForOne => self.ticks.all()[..below].last()?,
            Way::OneForZero => self.ticks.all().get(below)?,
        };
        // Nothing is in range before it, so all that is after it begins with it.
        Some((sqrt_price_at(tick.index)?, tick.liquidity_net.unsigned_abs()))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.ticks.heap_bytes()
    }

    fn quote(&self, way: Way, asked: Remaining) -> Result<Quote> {
        let swap = self.trade(way, asked, None)?;
        Ok(quote_of(asked, &swap))
    }

    fn swap(&mut self, way: Way, asked: Remaining) -> Result<(Quote, Event)> {
        let swap = self.trade(way, asked, None)?;
        let undo = self.apply(&swap.event()?)?;
        Ok((quote_of(asked, &swap), undo))
    }

    /// A position's range must be one the contract takes.
    fn check_range(&self, lower: i32, upper: i32) -> Result<()> {
        let fits = |tick: i32| tick % self.tick_spacing == 0;
        if MIN_TICK <= lower && lower < upper && upper <= MAX_TICK && fits(lower) && fits(upper) {
            return Ok(());
        }
        Err(Error::EventMismatch)
    }

    fn add(&mut self, lower: i32, upper: i32, amount: i128) -> Result<()> {
        self.check_range(lower, upper)?;
        if self.sqrt_price.is_zero() {
            return Err(Error::EventMismatch);
        }
        let mut liquidity = self.liquidity;
        if lower <= self.tick && self.tick < upper {
            liquidity = liquidity.checked_add_signed(amount).ok_or(Error::EventMismatch)?;
        }
        self.ticks.update(lower, upper, amount)?;
        self.liquidity = liquidity;
        Ok(())
    }
}

/// A tick goes with a price, or lies one below it where a swap down ended exactly on an initialised tick.
fn check_price(sqrt_price: U256, tick: i32) -> Result<()> {
    let exact = tick_at(sqrt_price).ok_or(Error::BadState("the price is out of range"))?;
    if exact == tick || (exact == tick + 1 && sqrt_price_at(exact) == Some(sqrt_price)) {
        return Ok(());
    }
    Err(Error::BadState("the tick is not the price's"))
}

/// `setFeeProtocol` takes no other shares.
fn fee_protocol_fits(share: &u8) -> bool {
    matches!(share, 0 | 4..=10)
}

fn quote_of(asked: Remaining, swap: &V3Swap) -> Quote {
    let filled = match asked {
        Remaining::In(amount) => amount == swap.amount_in,
        Remaining::Out(amount) => amount == swap.amount_out,
    };
    Quote {
        amount_in: swap.amount_in,
        amount_out: swap.amount_out,
        ticks_crossed: swap.ticks_crossed,
        filled,
        gas: SWAP_GAS + CROSSING_GAS * u64::from(swap.ticks_crossed),
    }
}

impl Pool for V3 {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn kind(&self) -> Kind {
        Kind::ConcentratedLiquidity
    }

    fn quote_exact_in(&self, way: Way, amount: U256) -> Result<Quote> {
        self.quote(way, Remaining::In(amount))
    }

    fn quote_exact_out(&self, way: Way, amount: U256) -> Result<Quote> {
        self.quote(way, Remaining::Out(amount))
    }

    fn swap_exact_in(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)> {
        self.swap(way, Remaining::In(amount))
    }

    fn swap_exact_out(&mut self, way: Way, amount: U256) -> Result<(Quote, Event)> {
        self.swap(way, Remaining::Out(amount))
    }

    fn apply(&mut self, event: &Event) -> Result<Event> {
        let signed = |amount: u128| i128::try_from(amount).map_err(|_| Error::EventMismatch);
        let (old_price, old_tick, old_liquidity) = (self.sqrt_price, self.tick, self.liquidity);
        match *event {
            Event::Initialize { sqrt_price, tick } => {
                let taken_back = sqrt_price.is_zero() && tick == 0;
                if self.liquidity != 0 || !self.ticks.is_empty() || taken_back == self.sqrt_price.is_zero() {
                    return Err(Error::EventMismatch);
                }
                if !taken_back {
                    check_price(sqrt_price, tick)?;
                }
                (self.sqrt_price, self.tick) = (sqrt_price, tick);
                Ok(Event::Initialize { sqrt_price: old_price, tick: old_tick })
            }
            Event::Swap { sqrt_price, liquidity, tick } => {
                // The liquidity is said by the log and by our own ticks: where they differ, a log was missed.
                if self.sqrt_price.is_zero() || self.ticks.net_up_to(tick) != Some(signed(liquidity)?) {
                    return Err(Error::EventMismatch);
                }
                check_price(sqrt_price, tick)?;
                (self.sqrt_price, self.tick, self.liquidity) = (sqrt_price, tick, liquidity);
                Ok(Event::Swap { sqrt_price: old_price, liquidity: old_liquidity, tick: old_tick })
            }
            Event::Mint { tick_lower, tick_upper, amount } => {
                self.add(tick_lower, tick_upper, signed(amount)?)?;
                Ok(Event::Burn { tick_lower, tick_upper, amount })
            }
            Event::Burn { tick_lower, tick_upper, amount } => {
                self.add(tick_lower, tick_upper, -signed(amount)?)?;
                Ok(Event::Mint { tick_lower, tick_upper, amount })
            }
            Event::SetFeeProtocol { fee_protocol0, fee_protocol1 } => {
                let new = [fee_protocol0, fee_protocol1];
                if !new.iter().all(fee_protocol_fits) {
                    return Err(Error::EventMismatch);
                }
                let [fee_protocol0, fee_protocol1] = std::mem::replace(&mut self.fee_protocol, new);
                Ok(Event::SetFeeProtocol { fee_protocol0, fee_protocol1 })
            }
            Event::Sync { .. } => Err(Error::EventMismatch),
        }
    }

    fn spot_price(&self, way: Way) -> Result<Price> {
        if self.sqrt_price.is_zero() {
            return Err(Error::NoLiquidity);
        }
        let root = U512::from(self.sqrt_price);
        let (square, one) = (root * root, U512::ONE << 192);
        Ok(match way {
            Way::ZeroForOne => Price { numerator: square, denominator: one },
            Way::OneForZero => Price { numerator: one, denominator: square },
        })
    }

    fn gas(&self) -> u64 {
        SWAP_GAS
    }
}

#[cfg(test)]
mod tests;
