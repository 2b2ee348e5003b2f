//! Decimal numbers as text has them, exact to the last digit.

use kernel::Fault;
use num_bigint::BigInt;
use num_traits::{Pow, Signed, Zero};

use flow::bounded::shown;

/// Largest exponent read, either way.
const EXPONENT_MAX: i64 = 10_000;

/// `digits` × 10^−`places`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) digits: BigInt,
    pub(crate) places: u32,
}

impl Decimal {
    /// Reads `-12.50`, `.5`, `1e18`. The number of places is what was written, trailing zeros left out.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let bad =
            || Fault::invalid(format!("not a decimal number: {}", shown(text))).hint("digits like 12 or -0.5 or 1e18");
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| bad())?),
            None => (text, 0),
        };
        if exponent.abs() > EXPONENT_MAX {
            return Err(
                Fault::too_large(format!("exponent {exponent}")).hint(format!("at most {EXPONENT_MAX} either way"))
            );
        }
        let (negative, unsigned) = match mantissa.as_bytes() {
            [b'-', ..] => (true, &mantissa[1..]),
            [b'+', ..] => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad());
        }
        let fraction = fraction.trim_end_matches('0');
        let mut digits: BigInt = format!("0{whole}{fraction}").parse().map_err(|_| bad())?;
        if negative {
            digits = -digits;
        }
        let places = fraction.len() as i64 - exponent;
        let places = if digits.is_zero() { 0 } else { places };
        let Ok(places) = u32::try_from(places) else {
            return Ok(Self { digits: digits * power_of_ten(places.unsigned_abs() as u32), places: 0 });
        };
        Ok(Self { digits, places }.trimmed())
    }

    fn trimmed(mut self) -> Self {
        let ten = BigInt::from(10);
        while self.places > 0 && (&self.digits % &ten).is_zero() {
            self.digits /= &ten;
            self.places -= 1;
        }
        self
    }
}

/// 10^`exponent`.
pub(crate) fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places = self.places as usize;
        let digits = format!("{:0>width$}", self.digits.abs().to_string(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.digits.is_negative() { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes_what_people_write() {
        for (text, shown) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("007.5000", "7.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e18", "1000000000000000000"),
            ("-1.5e-3", "-0.0015"),
            ("1.20e1", "12"),
            ("100e-2", "1"),
            ("0e5", "0"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for bad in ["", ".", "-", "1,000", "0x10", "1e", "e1", "1e1.5", "--1", "1 ", "٣", "NaN", "1_000"] {
            assert!(Decimal::parse(bad).is_err(), "{bad}");
        }
        assert!(Decimal::parse("1e10001").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(digits in any::<i128>(), places in 0u32..60) {
            let number = Decimal { digits: digits.into(), places }.trimmed();
            prop_assert_eq!(Decimal::parse(&number.to_string()).unwrap(), number);
        }
    }
}
