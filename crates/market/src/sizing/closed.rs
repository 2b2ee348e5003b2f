//! The best input of a chain of constant products, in closed form.

use alloy_primitives::{U256, U512};
use kernel::chain::FeeRule;

use crate::math::swap::FEE_UNIT;
use crate::pool::{AnyPool, Pool, Way};

/// Widest coefficient kept, in bits: its product with another stays under 512.
const WIDTH: usize = 250;

/// x ↦ a·x / (b + c·x); a common factor changes nothing.
struct Map {
    a: U512,
    b: U512,
    c: U512,
}

impl Map {
    /// Drops low bits that are common to all, and more than are needed.
    fn narrow(self) -> Self {
        let widest = self.a.bit_len().max(self.b.bit_len()).max(self.c.bit_len());
        let shift = widest.saturating_sub(WIDTH);
        Self { a: self.a >> shift, b: self.b >> shift, c: self.c >> shift }
    }
}

/// The input at which the last unit borrowed earns what it costs; zero where not even the first does. `None` when some pool is not a
/// constant product.
pub(super) fn optimum(legs: &[(&AnyPool, Way)], fee: &FeeRule) -> Option<U256> {
    let mut map = Map { a: U512::ONE, b: U512::ONE, c: U512::ZERO };
    for (pool, way) in legs {
        let AnyPool::ConstantProduct(pair) = pool else { return None };
        let reserves = pair.reserves();
        let kept = FEE_UNIT - U256::from(pair.fee_millionths());
        // y ↦ kept·out·y / (in·10^6 + kept·y), after y = a·x / (b + c·x).
        let gain = U512::from(kept * U256::from(reserves[way.output()]));
        let held = U512::from(FEE_UNIT * U256::from(reserves[way.input()]));
        map = Map { a: gain * map.a, b: held * map.b, c: held * map.c + U512::from(kept) * map.a }.narrow();
    }
    // a/(1 + r), for the loan's rate r.
    let rate = U512::from(fee.millionths());
    let unit = U512::from(FEE_UNIT);
    let earning = map.a * unit / (unit + rate);
    let root = (earning * map.b).root(2);
    if map.c.is_zero() || root <= map.b {
        return Some(U256::ZERO);
    }
    U256::checked_from_limbs_slice(((root - map.b) / map.c).as_limbs())
}
