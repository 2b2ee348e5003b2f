//! Values in the reference currency, exact to a millionth, gains and losses.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::U256;
use kernel::Fault;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Decimal places.
const PLACES: usize = 6;
/// Millionths in a whole unit.
const UNIT: i128 = 1_000_000;
/// The largest value of either sign, in whole units: what no market has, and what sums of many cannot leave an i128 with.
const WHOLE_MAX: i128 = 1_000_000_000_000_000_000;

/// A whole number of millionths of the reference currency. `12.5` in JSON's text. Sums that leave its range are held at the range's ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i128);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest value that is read: 10^18.
    pub const MAX: Self = Self(WHOLE_MAX * UNIT);

    /// So many whole units.
    pub const fn whole(units: i64) -> Self {
        Self(units as i128 * UNIT)
    }

    /// So many millionths, held within the range.
    pub fn millionths(millionths: i128) -> Self {
        Self(millionths.clamp(-Self::MAX.0, Self::MAX.0))
    }

    /// The same, of an amount that may be past the range, which holds it.
    pub fn of_millionths(millionths: U256) -> Self {
        i128::try_from(millionths).map_or(Self::MAX, Self::millionths)
    }

    /// In millionths.
    pub fn in_millionths(self) -> i128 {
        self.0
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// How much it is, without its sign.
    pub fn size(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Whether it is a loss.
    pub fn is_loss(self) -> bool {
        self.0 < 0
    }

    /// What is above nothing.
    pub fn above_zero(self) -> Self {
        Self(self.0.max(0))
    }

    /// What is below nothing, without its sign.
    pub fn loss(self) -> Self {
        Self(self.0.min(0).saturating_neg())
    }

    /// So many basis points of it, rounded away from nothing.
    pub fn bps_up(self, bps: u64) -> Self {
        let product = self.0.saturating_mul(i128::from(bps));
        let rest = i128::from(product % 10_000 != 0) * product.signum();
        Self(product / 10_000 + rest)
    }

    /// What share of `whole` it is, in basis points rounded up; `None` when `whole` is not more than nothing.
    pub fn share_bps(self, whole: Self) -> Option<u64> {
        (whole.0 > 0).then(|| {
            let bps = (self.0.max(0).saturating_mul(10_000).saturating_add(whole.0 - 1)) / whole.0;
            u64::try_from(bps).unwrap_or(u64::MAX)
        })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let (whole, part) = (size / UNIT.unsigned_abs(), size % UNIT.unsigned_abs());
        let part = format!("{part:0PLACES$}");
        match part.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            part => write!(f, "{sign}{whole}.{part}"),
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Money {
    type Err = Fault;

    /// Reads `12`, `12.5`, `-0.000001`.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = || {
            let shown: String = text.chars().take(40).collect();
            Fault::invalid(format!("not a value: {shown:?}"))
                .hint("a decimal number like 12 or -0.5, at most six decimal places, below 10^18")
        };
        let (negative, size) = text.strip_prefix('-').map_or((false, text), |size| (true, size));
        let (whole, part) = size.split_once('.').unwrap_or((size, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 30) || !digits(part, PLACES) {
            return Err(bad());
        }
        let whole: i128 = whole.parse().map_err(|_| bad())?;
        let part: i128 = format!("{part:0<PLACES$}").parse().map_err(|_| bad())?;
        if whole >= WHOLE_MAX {
            return Err(bad());
        }
        let size = whole * UNIT + part;
        Ok(Self(if negative { -size } else { size }))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|fault: Fault| de::Error::custom(format!("{}: {}", fault.message, fault.hint.unwrap_or_default())))
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a value in the reference currency, decimal text exact to a millionth",
            "type": "string",
            "pattern": "^-?[0-9]{1,30}(\\.[0-9]{1,6})?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_and_written_exactly() {
        for (text, want) in [
            ("0", "0"),
            ("-0", "0"),
            ("12.50", "12.5"),
            ("-0.000001", "-0.000001"),
            ("0012", "12"),
            ("999999999999999999.999999", "999999999999999999.999999"),
        ] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), want);
        }
        for bad in ["", "-", ".5", "5.", "1e3", "+1", "1.0000001", "1000000000000000000", "--1", "1,5", "٣"] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_round_against_us() {
        let money = |text: &str| text.parse::<Money>().unwrap();
        assert_eq!(money("1").share_bps(money("3")), Some(3_334));
        assert_eq!(money("-1").share_bps(money("3")), Some(0));
        assert_eq!(money("1").share_bps(Money::ZERO), None);
        assert_eq!(money("0.000001").bps_up(1), money("0.000001"));
        assert_eq!(money("-0.000001").bps_up(1), money("-0.000001"));
        assert_eq!(money("200").bps_up(50), money("1"));
        assert_eq!(
            (money("-2").loss(), money("2").loss(), money("-2").above_zero()),
            (money("2"), money("0"), money("0"))
        );
    }
}
