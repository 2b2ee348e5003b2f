//! A price at the margin, exact.

use alloy_primitives::{U256, U512, Uint};

type U1024 = Uint<1024, 16>;

/// How much of the output one smallest unit of the input is worth, as a fraction. The denominator is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Above the line.
    pub numerator: U512,
    /// Below the line.
    pub denominator: U512,
}

impl Price {
    /// What `amount` is worth at this price, rounded down; `None` when it does not fit 256 bits.
    pub fn of(&self, amount: U256) -> Option<U256> {
        let product: U1024 = U1024::from(amount) * U1024::from(self.numerator);
        U256::checked_from_limbs_slice((product / U1024::from(self.denominator)).as_limbs())
    }

    /// The same price seen from the other side; `None` when this one is zero.
    pub fn inverse(&self) -> Option<Self> {
        (!self.numerator.is_zero()).then_some(Self { numerator: self.denominator, denominator: self.numerator })
    }

    /// Nearly the same, for ranking and showing.
    pub fn approximate(&self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }
}
