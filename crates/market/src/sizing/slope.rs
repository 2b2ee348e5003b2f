//! The best input by the slope: where the last unit borrowed earns what it costs.
//!
//! Wherever a trade leaves a pool, from there on it is a constant product again, as far as the next tick. So around any input a chain of pools
//! is one map δ ↦ rate·δ / (1 + wear·δ), and the best δ has a closed form. Beyond a tick the map is another one and the step is made again from
//! there. A chain is concave, so a step's sign says on which side the top is; a step that leaves what is known to hold the top is replaced by
//! the middle of that. All this is in floating point: what is found is priced by integers afterwards.

use alloy_primitives::U256;
use kernel::chain::FeeRule;

use super::Path;
use crate::Error;
use crate::graph::Curve;
use crate::math::swap::Remaining;
use crate::pool::{AnyPool, Pool, Way};

/// Most steps. Where a tick is the top, each halves what is left.
const STEPS_MAX: usize = 96;
/// A step of so small a part of the input, as a power of two, ends it.
const PRECISE_BITS: usize = 48;
/// By how many bits an input is changed that no chain takes, or that nothing comes of.
const STRIDE_BITS: usize = 4;

/// How a chain goes on after an input.
enum Onward {
    Along(Curve),
    TooSmall,
    TooLarge,
}

/// The input at which the slope is what the loan costs, at most `cap`; `None` where no slope leads anywhere.
pub(super) fn top(path: &Path<'_>, fee: &FeeRule, cap: U256, guess: U256) -> Option<U256> {
    let cost = 1.0 + fee.millionths() as f64 / 1e6;
    // The top is above the one and below the other, or the cap.
    let (mut low, mut high) = (U256::ZERO, cap.saturating_add(U256::ONE));
    let (mut at, mut found) = (guess, None);
    for _ in 0..STEPS_MAX {
        let (up, wanted) = match path.onward(at) {
            Onward::TooSmall => (true, at.saturating_mul(U256::ONE << STRIDE_BITS)),
            Onward::TooLarge => (false, at >> STRIDE_BITS),
            Onward::Along(curve) => {
                let step = ((curve.rate / cost).sqrt() - 1.0) / curve.wear;
                if !step.is_finite() {
                    return None;
                }
                found = Some(at);
                let size = U256::from(step.abs() as u128);
                if size <= at >> PRECISE_BITS {
                    return found;
                }
                let up = step > 0.0;
                (up, if up { at.saturating_add(size) } else { at.saturating_sub(size) })
            }
        };
        if up {
            low = at
        } else {
            high = at
        }
        if high - low <= U256::ONE.max(at >> PRECISE_BITS) {
            return found;
        }
        at = match wanted {
            inside if inside > low && inside < high => inside,
            // Nothing was seen above: as much as there is to have.
            above if above >= high && high > cap => cap,
            _ => low + ((high - low) >> 1usize),
        };
    }
    found
}

impl Path<'_> {
    fn onward(&self, input: U256) -> Onward {
        let (mut amount, mut sum) = (input, Curve::WHOLE);
        for (pool, way) in &self.legs {
            let after = match pool {
                AnyPool::ConstantProduct(_) => pair_after(pool, *way, amount),
                AnyPool::ConcentratedLiquidity(pool) => pool.trade(*way, Remaining::In(amount), None).map(|swap| {
                    let curve = Curve::along(swap.sqrt_price, swap.liquidity, pool.fee_millionths(), *way);
                    (swap.amount_in, swap.amount_out, curve)
                }),
            };
            match after {
                Ok((taken, _, _)) if taken != amount => return Onward::TooLarge,
                Ok((_, out, _)) if out.is_zero() => return Onward::TooSmall,
                Ok((_, out, curve)) => (amount, sum) = (out, sum.then(curve)),
                Err(Error::ZeroAmount | Error::NoOutput) => return Onward::TooSmall,
                Err(_) => return Onward::TooLarge,
            }
        }
        Onward::Along(sum)
    }
}

/// What a pair takes and gives, and how it goes on. Its fee stays in it and out of the product.
fn pair_after(pool: &AnyPool, way: Way, amount: U256) -> crate::Result<(U256, U256, Curve)> {
    let quote = pool.quote_exact_in(way, amount)?;
    let AnyPool::ConstantProduct(pair) = pool else { return Err(Error::UnknownWay) };
    let reserves = pair.reserves();
    let kept = 1.0 - f64::from(pair.fee_millionths()) / 1e6;
    let held_in = reserves[way.input()] as f64 + kept * f64::from(amount);
    let held_out = reserves[way.output()] as f64 - f64::from(quote.amount_out);
    Ok((quote.amount_in, quote.amount_out, Curve { rate: kept * held_out / held_in, wear: kept / held_in }))
}
