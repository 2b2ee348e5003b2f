//! How much to put through a cycle: the input after which what comes out exceeds what must be paid back by the most.
//!
//! Every pool's output is a concave function of its input, and so is a chain of them; what is looked for is the top of a hill.
//! - Through constant products alone the chain is one map x ↦ A·x / (B + C·x), and with a loan's rate r its best input is
//!   (√(A·B / (1 + r)) − B) / C, in closed form.
//! - Through ranges too, the chain is such a map as far as the next tick: its best input is stepped to, range by range ([`slope`]). Where rounding
//!   hides the slope, among few units, the hill is climbed by golden section.
//!
//! Both are then refined on whole units, because contracts round every hop down: what is found is within the worth of one unit at each hop
//! of the best there is, and the amounts told are exact.

mod closed;
mod slope;

use alloy_primitives::{I256, U256};
use kernel::chain::{Amount, FeeRule};
use serde::{Deserialize, Serialize};

use crate::pool::{AnyPool, Pool, Quote, Way};
use crate::search::Hop;
use crate::{Book, Error, Result, Signed};

/// Longest path sized, in hops.
pub const PATH_HOPS_MAX: usize = 8;

/// What a path does with an input, hop by hop, to the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// What goes in.
    pub input: U256,
    /// What comes out at the end.
    pub output: U256,
    /// Each hop's quote.
    pub quotes: Vec<Quote>,
    /// An estimate of the gas burnt inside the pools.
    pub gas: u64,
}

/// The pools of a path with the ways through them.
#[derive(Debug, Clone)]
pub struct Path<'a> {
    legs: Vec<(&'a AnyPool, Way)>,
}

/// How an input fares.
enum Fate {
    /// So much comes out.
    Through(U256),
    /// So little that nothing comes out somewhere.
    TooSmall,
    /// More than the pools can take.
    TooLarge,
}

impl<'a> Path<'a> {
    /// The path along these hops. Refuses pools that are not there, and hops that do not join.
    pub fn new(book: &'a Book, hops: &[Hop]) -> Result<Self> {
        let mut legs = Vec::with_capacity(hops.len());
        let mut at = None;
        for hop in hops {
            let pool = book.get(hop.pool).ok_or(Error::NotThere(hop.pool))?;
            let (from, to) = pool.identity().ends(hop.way);
            if at.is_some_and(|at| at != from) {
                return Err(Error::UnknownWay);
            }
            at = Some(to);
            legs.push((pool, hop.way));
        }
        if legs.is_empty() || legs.len() > PATH_HOPS_MAX { Err(Error::UnknownWay) } else { Ok(Self { legs }) }
    }

    /// What comes of an input, exactly. Refuses an input that any pool would not take whole.
    pub fn trade(&self, input: U256) -> Result<Trade> {
        let mut amount = input;
        let mut quotes = Vec::with_capacity(self.legs.len());
        let mut gas = 0;
        for (pool, way) in &self.legs {
            let quote = pool.quote_exact_in(*way, amount)?;
            if !quote.filled {
                return Err(Error::InsufficientLiquidity);
            }
            amount = quote.amount_out;
            gas += quote.gas;
            quotes.push(quote);
        }
        Ok(Trade { input, output: amount, quotes, gas })
    }

    fn fate(&self, input: U256) -> Fate {
        let mut amount = input;
        for (pool, way) in &self.legs {
            amount = match pool.quote_exact_in(*way, amount) {
                Ok(quote) if !quote.filled => return Fate::TooLarge,
                Ok(quote) => quote.amount_out,
                Err(Error::ZeroAmount | Error::NoOutput) => return Fate::TooSmall,
                Err(_) => return Fate::TooLarge,
            };
        }
        if amount.is_zero() { Fate::TooSmall } else { Fate::Through(amount) }
    }

    /// The least input for which at least `amount` enters hop `place`, as exact-out quotes have it.
    fn input_for(&self, place: usize, mut amount: U256) -> Option<U256> {
        for (pool, way) in self.legs[..place].iter().rev() {
            let quote = pool.quote_exact_out(*way, amount).ok().filter(|quote| quote.filled)?;
            amount = quote.amount_in;
        }
        Some(amount)
    }
}

/// The best size of a cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sized {
    /// What to trade.
    pub trade: Trade,
    /// What must be paid back of the output.
    pub repayment: U256,
    /// What is left: more than nothing.
    pub gain: U256,
}

/// The input that leaves most after paying the loan back, at most `cap`; `None` when none leaves anything.
///
/// `guess` is where to begin looking where there is no closed form; any number will do, a good one is faster.
pub fn best(path: &Path<'_>, fee: &FeeRule, cap: U256, guess: U256) -> Option<Sized> {
    let mut climb = Climb { path, fee, cap, best: None };
    match closed::optimum(&path.legs, fee) {
        Some(optimum) => {
            climb.look(optimum.min(cap));
        }
        None => {
            let guess = guess.min(cap).max(U256::ONE);
            let top = slope::top(path, fee, cap, guess);
            if let Some(top) = top {
                climb.look(top);
            }
            if climb.leaves() <= Signed::ZERO || climb.units() < FEW {
                climb.hill(top.unwrap_or(guess));
            }
        }
    }
    climb.refine();
    let Top { input, output, repayment } = climb.best?;
    let gain = output.checked_sub(repayment).filter(|gain| !gain.is_zero())?;
    Some(Sized { trade: path.trade(input).ok()?, repayment, gain })
}

/// The best input seen so far.
#[derive(Clone, Copy)]
struct Top {
    input: U256,
    output: U256,
    repayment: U256,
}

/// The best seen so far, and the means to look elsewhere.
struct Climb<'a> {
    path: &'a Path<'a>,
    fee: &'a FeeRule,
    cap: U256,
    best: Option<Top>,
}

/// A way that moves fewer units than this anywhere has steps that rounding makes and that are worth looking for wherever they are.
const FEW: U256 = U256::from_limbs([1 << 12, 0, 0, 0]);
/// One that moves fewer than this has some beside the top; beyond it a unit is less than a millionth.
const SOME: U256 = U256::from_limbs([1 << 20, 0, 0, 0]);

/// How an input compares: on which side of all that is possible it fell, or what it leaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Height {
    TooSmall,
    TooLarge,
    Leaves(Signed),
}

impl Climb<'_> {
    /// Tries an input and remembers it if it is the best.
    fn look(&mut self, input: U256) -> Height {
        if input.is_zero() {
            return Height::TooSmall;
        }
        if input > self.cap {
            return Height::TooLarge;
        }
        let output = match self.path.fate(input) {
            Fate::Through(output) => output,
            Fate::TooSmall => return Height::TooSmall,
            Fate::TooLarge => return Height::TooLarge,
        };
        let Some(repayment) = self.fee.repayment(Amount(input)).map(|amount| amount.0) else { return Height::TooLarge };
        let leaves = Signed::difference(output, repayment);
        if leaves > self.leaves() {
            self.best = Some(Top { input, output, repayment });
        }
        Height::Leaves(leaves)
    }

    /// The fewest units that the best moves anywhere on its way.
    fn units(&self) -> U256 {
        let trade = self.best.and_then(|best| self.path.trade(best.input).ok());
        let fewest = |trade: Trade| trade.quotes.iter().map(|quote| quote.amount_in).chain([trade.output]).min();
        trade.and_then(fewest).unwrap_or_default()
    }

    fn leaves(&self) -> Signed {
        let leaves = |top: &Top| Signed::difference(top.output, top.repayment);
        self.best.as_ref().map_or(Signed(I256::MIN), leaves)
    }

    /// Climbs from the guess; if that leads nowhere, from the best of all powers of two: among a few units rounding hides the slope.
    fn hill(&mut self, guess: U256) {
        self.climb(guess);
        if self.leaves() > Signed::ZERO {
            return;
        }
        let cap = self.cap;
        let powers = (0..255).map(|power| U256::ONE << power).take_while(|input: &U256| *input <= cap);
        let heights: Vec<(Height, U256)> = powers.map(|input| (self.look(input), input)).collect();
        if let Some((_, best)) = heights.into_iter().max() {
            self.climb(best);
        }
    }

    /// Brackets the top by doubling and halving, then narrows the bracket by golden section.
    fn climb(&mut self, guess: U256) {
        let two = U256::from(2);
        let (mut at, mut top) = (guess, self.look(guess));
        let (mut low, mut high) = (at / two, at);
        loop {
            let next = at.saturating_mul(two).min(self.cap);
            let height = self.look(next);
            high = high.max(next);
            if next == at || height == Height::TooLarge || (height <= top && top != Height::TooSmall) {
                break;
            }
            (low, at, top) = (at, next, height);
        }
        while at > U256::ONE {
            let half = at / two;
            let height = self.look(half);
            low = half;
            if height != Height::TooLarge && height < top {
                break;
            }
            (high, at, top) = (at, half, height);
        }
        self.golden(low, high);
    }

    /// The top lies between. Stops when what is left matters no more: near the top the loss is the square of the distance.
    fn golden(&mut self, mut low: U256, mut high: U256) {
        /// 2^32 · (3 − √5)/2.
        const SHORT: u64 = 1_640_531_527;
        let cut = |low: U256, high: U256| -> U256 {
            let (width, short) = (high - low, U256::from(SHORT));
            // The shift comes first only where the product would not fit: among few units it would leave nothing of the width.
            if width.bit_len() > 224 { (width >> 32) * short } else { (width * short) >> 32 }
        };
        let precise: U256 = high >> 36;
        let stop = precise.max(U256::from(8));
        let (mut left, mut right) = (low + cut(low, high), high - cut(low, high));
        let (mut at_left, mut at_right) = (self.look(left), self.look(right));
        while high - low > stop {
            if at_left == Height::TooSmall || (at_left < at_right && at_right != Height::TooLarge) {
                (low, left, at_left) = (left, right, at_right);
                right = high - cut(low, high);
                at_right = self.look(right);
            } else {
                (high, right, at_right) = (right, left, at_left);
                left = low + cut(low, high);
                at_left = self.look(left);
            }
        }
    }

    /// Looks around the best on whole units: of the input, and of what enters every later hop, where one unit may be worth many of the input.
    /// Where some hop moves few units, rounding makes steps that are worth looking for; elsewhere a unit is next to nothing.
    fn refine(&mut self) {
        let (rounds_max, around) = match self.units() {
            units if units < FEW => {
                self.sweep();
                (32, 8)
            }
            units if units < SOME => (2, 1),
            _ => (1, 0),
        };
        for _ in 0..rounds_max {
            let Some(best) = self.best else { return };
            self.look_around(best.input, around);
            if self.best.is_some_and(|now| now.input == best.input) {
                return;
            }
        }
    }

    /// Looks on both sides of the best in strides that halve, in case rounding led the climb astray on a flat slope.
    fn sweep(&mut self) {
        const STRIDES_EACH_SIDE: u64 = 8;
        let mut stride = self.best.map_or(U256::ZERO, |best| best.input) / U256::from(STRIDES_EACH_SIDE);
        while !stride.is_zero() {
            let Some(Top { input, .. }) = self.best else { return };
            for steps in 1..=STRIDES_EACH_SIDE {
                let far = stride * U256::from(steps);
                self.look(input.saturating_add(far));
                self.look(input.saturating_sub(far));
            }
            stride /= U256::from(2);
        }
    }

    fn look_around(&mut self, input: U256, around: u64) {
        let Ok(trade) = self.path.trade(input) else { return };
        let near = |amount: U256, step: u64| {
            [amount.saturating_add(U256::from(step)), amount.saturating_sub(U256::from(step))]
        };
        for step in 1..=around.max(1) {
            for input in near(input, step) {
                self.look(input);
            }
        }
        // What enters each later hop, and the same output for less.
        let entering = trade.quotes.iter().map(|quote| quote.amount_in).chain([trade.output]).enumerate().skip(1);
        for (place, amount) in entering {
            for step in 0..=around {
                let amounts = near(amount, step).into_iter().take(if step == 0 { 1 } else { 2 });
                for input in amounts.filter_map(|amount| self.path.input_for(place, amount)) {
                    self.look(input);
                    self.look(input.saturating_sub(U256::ONE));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
