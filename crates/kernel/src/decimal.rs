//! A non-negative decimal number, exact as it was written: what prices are made of.
//!
//! At most 38 significant digits and 36 decimal places, so that any two can be compared, added and multiplied within 256 bits. What has
//! more is rounded to that, half up. No floating point anywhere.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::U256;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::chain::Amount;
use crate::{Fault, Result};

/// Most significant digits.
const DIGITS_MAX: usize = 38;
/// Most decimal places.
const PLACES_MAX: i64 = 36;
/// Most digits that any 256 bits hold.
const WIDE_DIGITS_MAX: usize = 77;
/// Longest text read, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// `digits` × 10^−`places`, in lowest terms: no zeros at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    digits: U256,
    places: u8,
}

fn ten_to(exponent: usize) -> U256 {
    U256::from(10).pow(U256::from(exponent))
}

fn length(digits: U256) -> usize {
    digits.to_string().len()
}

/// `digits` / 10^`places`, rounded half up.
fn rounded(digits: U256, places: usize) -> U256 {
    if places >= WIDE_DIGITS_MAX {
        return U256::ZERO;
    }
    let unit = ten_to(places);
    let (whole, rest) = digits.div_rem(unit);
    if rest >= unit - rest && places > 0 { whole + U256::from(1) } else { whole }
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self { digits: U256::ZERO, places: 0 };
    /// One.
    pub const ONE: Self = Self { digits: U256::from_limbs([1, 0, 0, 0]), places: 0 };

    /// `digits` × 10^−`places`; `None` when it is too great: 10^38 or more.
    pub fn new(digits: Amount, places: i64) -> Option<Self> {
        let (mut digits, mut places) = (digits.0, places);
        let excess = (length(digits).saturating_sub(DIGITS_MAX) as i64).max(places - PLACES_MAX);
        if excess > 0 {
            // Digits before the point are never given up.
            let dropped = excess.min(places.max(0));
            digits = rounded(digits, usize::try_from(dropped).ok()?);
            places -= dropped;
        }
        if digits.is_zero() {
            return Some(Self::ZERO);
        }
        while places > 0 && (digits % U256::from(10)).is_zero() {
            digits /= U256::from(10);
            places -= 1;
        }
        if places < 0 {
            let zeros = usize::try_from(-places).ok().filter(|zeros| *zeros < DIGITS_MAX)?;
            digits = digits.checked_mul(ten_to(zeros))?;
            places = 0;
        }
        (length(digits) <= DIGITS_MAX).then_some(Self { digits, places: u8::try_from(places).ok()? })
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.digits.is_zero()
    }

    /// As a whole number of units of 10^−`places`, rounded half up; `None` when that does not fit 256 bits.
    pub fn in_units(&self, places: u8) -> Option<Amount> {
        let digits = match places.checked_sub(self.places) {
            Some(more) => self.digits.checked_mul(U256::from(10).checked_pow(U256::from(more))?)?,
            None => rounded(self.digits, usize::from(self.places - places)),
        };
        Some(Amount(digits))
    }

    /// The product.
    pub fn times(&self, other: Self) -> Option<Self> {
        Self::new(Amount(self.digits * other.digits), i64::from(self.places) + i64::from(other.places))
    }

    /// The quotient, to 37 digits at least; `None` when `other` is nothing.
    pub fn over(&self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let scale = WIDE_DIGITS_MAX - 1 - length(self.digits);
        let digits = self.digits * ten_to(scale) / other.digits;
        Self::new(Amount(digits), i64::from(self.places) - i64::from(other.places) + scale as i64)
    }

    /// This with at most so many significant digits, rounded half up: for what was divided, whose last digits say nothing.
    #[must_use]
    pub fn to_significant(self, digits: u8) -> Self {
        let excess = length(self.digits).saturating_sub(usize::from(digits)).min(usize::from(self.places));
        let less = Self::new(Amount(rounded(self.digits, excess)), i64::from(self.places) - excess as i64);
        less.unwrap_or(self)
    }

    /// The number half way between two.
    pub fn midway(&self, other: Self) -> Option<Self> {
        let (a, b, places) = self.aligned(other);
        Self::new(Amount((a + b) * U256::from(5)), i64::from(places) + 1)
    }

    /// How far this is from `reference`, in whole basis points of that; the most there is when `reference` is nothing.
    pub fn deviation_bps(&self, reference: Self) -> u64 {
        let (a, b, places) = self.aligned(reference);
        let apart = Self::new(Amount(a.abs_diff(b)), i64::from(places));
        let of_it =
            apart.and_then(|apart| apart.over(reference)?.times(Self { digits: U256::from(10_000), places: 0 }));
        of_it.map_or(u64::MAX, |bps| (bps.digits / ten_to(usize::from(bps.places))).saturating_to())
    }

    /// Both as whole numbers of the same unit, and how many places that has.
    fn aligned(&self, other: Self) -> (U256, U256, u8) {
        let places = self.places.max(other.places);
        let at = |one: &Self| one.digits * ten_to(usize::from(places - one.places));
        (at(self), at(&other), places)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b, _) = self.aligned(*other);
        a.cmp(&b)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Decimal {
    type Err = Fault;

    /// Reads `12.50`, `.5`, `1.2e-7`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            let shown: String = text.chars().take(40).collect();
            Fault::invalid(format!("not a decimal number: {shown:?}"))
                .hint("digits like 12 or 0.5, nothing negative, below 10^38")
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(bad());
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().map_err(|_| bad())?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad());
        }
        let whole = whole.trim_start_matches('0');
        // More digits than 256 bits hold say nothing that a price could keep.
        let fraction = &fraction[..fraction.len().min((WIDE_DIGITS_MAX - 1).saturating_sub(whole.len()))];
        let digits = U256::from_str_radix(&format!("0{whole}{fraction}"), 10).map_err(|_| bad())?;
        Self::new(Amount(digits), fraction.len() as i64 - i64::from(exponent)).ok_or_else(bad)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Amount(self.digits).in_units(self.places))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self { digits: U256::from(number), places: 0 }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|fault: Fault| de::Error::custom(fault.message))
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "a decimal number, exact", "type": "string", "pattern": "^[0-9]*(\\.[0-9]*)?([eE][+-]?[0-9]+)?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_writes_what_exchanges_write() {
        for (text, want) in [
            ("0", "0"),
            ("0.000", "0"),
            ("2503.4100", "2503.41"),
            (".5", "0.5"),
            ("007.50", "7.5"),
            ("1.2e-07", "0.00000012"),
            ("1.5E3", "1500"),
            ("100e-2", "1"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
            ("0.123456789012345678901234567890123456789", "0.123456789012345678901234567890123457"),
            ("1.99999999999999999999999999999999999999999", "2"),
            ("1e-40", "0"),
        ] {
            assert_eq!(decimal(text).to_string(), want, "{text}");
        }
        let long = "9".repeat(39);
        for bad in ["", ".", "-1", "+1", "1,5", "NaN", "inf", "0x10", "1e", "1e38", "1e99999", &long, "1 ", "٣"] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_is_exact_where_it_can_be() {
        assert_eq!(decimal("2500.5").times(decimal("0.2")).unwrap(), decimal("500.1"));
        assert_eq!(decimal("1").over(decimal("8")).unwrap(), decimal("0.125"));
        assert_eq!(decimal("2").over(decimal("3")).unwrap().to_string(), format!("0.{}7", "6".repeat(35)));
        assert_eq!(decimal("1").over(Decimal::ZERO), None);
        assert_eq!(decimal("1").midway(decimal("2")).unwrap(), decimal("1.5"));
        assert_eq!(decimal("0.01").midway(decimal("100")).unwrap(), decimal("50.005"));
        assert_eq!(decimal("2").over(decimal("3")).unwrap().to_significant(5), decimal("0.66667"));
        assert_eq!(decimal("99.996").to_significant(4), decimal("100"));
        assert_eq!(decimal("123456").to_significant(3), decimal("123456"), "digits before the point are kept");
        assert!(decimal("1e37").times(decimal("10")).is_none());
        assert_eq!(decimal("1.5").in_units(6), Some(Amount::from(1_500_000)));
        assert_eq!(decimal("1.55").in_units(1), Some(Amount::from(16)));
        assert!(decimal("1e30").in_units(255).is_none());
        assert!(decimal("10.01") > decimal("10.009") && decimal("1.0") == decimal("1"));
    }

    #[test]
    fn deviations_are_in_basis_points() {
        for (price, reference, bps) in [
            ("101", "100", 100),
            ("99", "100", 100),
            ("100.0099", "100", 0),
            ("0.00000101", "0.000001", 100),
            ("2", "1", 10_000),
            ("1", "0", u64::MAX),
            ("99999999999999999999999999999999999999", "0.000000000000000000000000000000000001", u64::MAX),
        ] {
            assert_eq!(decimal(price).deviation_bps(decimal(reference)), bps, "{price} of {reference}");
        }
    }
}
