//! The initialised ticks of a pool, in order (Uniswap v3-core, `Tick.sol`, `TickBitmap.sol`).

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

use crate::math::tick::{MAX_TICK, MIN_TICK};
use crate::{Error, Result};

/// An initialised tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Where it is.
    pub index: i32,
    /// The liquidity of all positions that begin or end here. `liquidityGross`.
    #[serde(with = "crate::text")]
    pub liquidity_gross: u128,
    /// What comes into range when the price rises over it, and leaves when it falls under. `liquidityNet`.
    #[serde(with = "crate::text")]
    pub liquidity_net: i128,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticks(Vec<Tick>);

/// Where a step may go at most.
pub(super) struct Next {
    /// The tick.
    pub(super) index: i32,
    /// Its place among the initialised ticks, if it is one.
    pub(super) place: Option<usize>,
}

impl Ticks {
    /// Refuses ticks that no set of positions makes.
    pub(super) fn new(ticks: Vec<Tick>, spacing: i32) -> Result<Self> {
        let mut sum = 0i128;
        for tick in &ticks {
            if !(MIN_TICK..=MAX_TICK).contains(&tick.index) || tick.index % spacing != 0 {
                return Err(Error::BadState("a tick is out of range or off the spacing"));
            }
            if tick.liquidity_gross == 0 || tick.liquidity_net.unsigned_abs() > tick.liquidity_gross {
                return Err(Error::BadState("a tick's net liquidity is more than its gross"));
            }
            sum = sum.checked_add(tick.liquidity_net).ok_or(Error::Overflow)?;
            if sum < 0 {
                return Err(Error::BadState("the ticks add up to less than nothing"));
            }
        }
        if sum != 0 {
            return Err(Error::BadState("a range begins and does not end"));
        }
        if !ticks.is_sorted_by(|a, b| a.index < b.index) {
            return Err(Error::BadState("the ticks are not in order"));
        }
        Ok(Self(ticks))
    }

    pub(super) fn all(&self) -> &[Tick] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Tick>()
    }

    /// How many ticks are at or under this one.
    pub(super) fn count_up_to(&self, tick: i32) -> usize {
        self.0.partition_point(|known| known.index <= tick)
    }

    /// The liquidity in range at a tick: the sum of all that began and did not end at or under it.
    pub(super) fn net_up_to(&self, tick: i32) -> Option<i128> {
        self.0[..self.count_up_to(tick)].iter().try_fold(0i128, |sum, known| sum.checked_add(known.liquidity_net))
    }

    /// Adds a position's liquidity at both its ends, or takes it away; all or nothing.
    pub(super) fn update(&mut self, lower: i32, upper: i32, amount: i128) -> Result<()> {
        if amount == 0 {
            return Ok(());
        }
        let low = self.changed(lower, amount, amount)?;
        let high = self.changed(upper, amount, amount.checked_neg().ok_or(Error::EventMismatch)?)?;
        self.put(low);
        self.put(high);
        Ok(())
    }

    fn changed(&self, index: i32, gross: i128, net: i128) -> Result<Tick> {
        let new = Tick { index, liquidity_gross: 0, liquidity_net: 0 };
        let old = self.0.binary_search_by_key(&index, |tick| tick.index).map_or(new, |place| self.0[place]);
        Ok(Tick {
            index,
            liquidity_gross: old.liquidity_gross.checked_add_signed(gross).ok_or(Error::EventMismatch)?,
            liquidity_net: old.liquidity_net.checked_add(net).ok_or(Error::EventMismatch)?,
        })
    }

    fn put(&mut self, tick: Tick) {
        match (self.0.binary_search_by_key(&tick.index, |known| known.index), tick.liquidity_gross) {
            (Ok(place), 0) => drop(self.0.remove(place)),
            (Ok(place), _) => self.0[place] = tick,
            (Err(_), 0) => {}
            (Err(place), _) => self.0.insert(place, tick),
        }
    }

    /// `nextInitializedTickWithinOneWord`, with `below` the number of ticks at or under the current one.
    ///
    /// With no liquidity in range a step moves no amounts, so where words end does not matter and they are jumped over.
    pub(super) fn next(&self, tick: i32, below: usize, down: bool, spacing: i32, empty: bool) -> Next {
        let word = tick.div_euclid(spacing);
        let place = if down { below.checked_sub(1) } else { (below < self.0.len()).then_some(below) };
        let known = place.map(|place| (place, self.0[place].index));
        let edge = match (down, empty) {
            (true, true) => MIN_TICK,
            (true, false) => (word >> 8 << 8).saturating_mul(spacing),
            (false, true) => MAX_TICK,
            (false, false) => ((word + 1) | 255).saturating_mul(spacing),
        };
        match known {
            Some((place, index)) if (down && index >= edge) || (!down && index <= edge) => {
                Next { index, place: Some(place) }
            }
            _ => Next { index: edge.clamp(MIN_TICK, MAX_TICK), place: None },
        }
    }

    /// 256 ticks as the contract's bitmap has them.
    pub(super) fn word(&self, place: i16, spacing: i32) -> U256 {
        let first = i32::from(place) * 256;
        let mut word = U256::ZERO;
        let start = self.0.partition_point(|tick| tick.index / spacing < first);
        for tick in self.0[start..].iter().take_while(|tick| tick.index / spacing < first + 256) {
            word.set_bit((tick.index / spacing - first) as usize, true);
        }
        word
    }
}
