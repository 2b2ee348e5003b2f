//! Gains that may be losses, and rates between units.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::{I256, U256};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::math::{mul_div, mul_div_up};

/// A whole number of smallest units that may be negative. Decimal in JSON. What does not fit is held at the ends of its range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Signed(pub I256);

impl Signed {
    /// Nothing.
    pub const ZERO: Self = Self(I256::ZERO);

    /// `gain` − `loss`.
    pub fn difference(gain: U256, loss: U256) -> Self {
        if gain >= loss { Self::gain(gain - loss) } else { Self::gain(loss - gain).negated() }
    }

    /// A number that is not negative.
    pub fn gain(amount: U256) -> Self {
        Self(I256::try_from(amount).unwrap_or(I256::MAX))
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The same with the other sign.
    pub fn negated(self) -> Self {
        Self(I256::ZERO.saturating_sub(self.0))
    }

    /// How much it is, without its sign.
    pub fn size(self) -> U256 {
        self.0.unsigned_abs()
    }

    /// Whether it is less than nothing.
    pub fn is_loss(self) -> bool {
        self.0.is_negative()
    }

    /// What is above nothing: zero for a loss.
    pub fn above_zero(self) -> U256 {
        if self.is_loss() { U256::ZERO } else { self.size() }
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Signed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        I256::from_str(&text).map(Self).map_err(|_| de::Error::custom("not a whole number, decimal, perhaps negative"))
    }
}

impl JsonSchema for Signed {
    fn schema_name() -> Cow<'static, str> {
        "Signed".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a whole number of smallest units, decimal, perhaps negative",
            "type": "string",
            "pattern": "^-?[0-9]+$",
        })
    }
}

/// What one smallest unit of one thing is worth in smallest units of another: a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Above the line.
    pub numerator: U256,
    /// Below the line; a rate of something by zero is no rate, and every conversion says so.
    pub denominator: U256,
}

impl Rate {
    /// One for one.
    pub const ONE: Self = Self { numerator: U256::ONE, denominator: U256::ONE };

    /// Rounded down; `None` when it does not fit 256 bits.
    pub fn down(&self, amount: U256) -> Option<U256> {
        mul_div(amount, self.numerator, self.denominator)
    }

    /// Rounded up: what a cost is.
    pub fn up(&self, amount: U256) -> Option<U256> {
        mul_div_up(amount, self.numerator, self.denominator)
    }

    /// Rounded towards what is worse: a gain down, a loss up.
    pub fn cautiously(&self, amount: Signed) -> Option<Signed> {
        if amount.is_loss() {
            Some(Signed::gain(self.up(amount.size())?).negated())
        } else {
            Some(Signed::gain(self.down(amount.size())?))
        }
    }
}
