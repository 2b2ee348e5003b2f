//! Exact ratios between amounts, and how they are shown.

use kernel::Decimal;
use kernel::chain::Amount;
use market::pool::Price;
use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// Significant digits of a price that is shown.
const DIGITS: i64 = 18;

/// A whole number of anything.
pub(crate) fn whole(amount: Amount) -> BigInt {
    BigUint::from_bytes_be(&amount.to_be_bytes_vec()).into()
}

/// A number that the contracts keep in 128 bits, as an amount.
pub(crate) fn amount(number: u128) -> Amount {
    let (high, low) = ((number >> 64) as u64, number as u64);
    let high: Amount = Amount::from(high);
    Amount((high.0 << 64) | Amount::from(low).0)
}

/// How much of one there is for each of the other; nothing where there is nothing to divide by.
pub(crate) fn ratio(over: BigInt, under: BigInt) -> BigRational {
    if under.is_zero() { BigRational::zero() } else { BigRational::new(over, under) }
}

/// A pool's price: smallest units of the output for one of the input.
pub(crate) fn of(price: &Price) -> BigRational {
    let number = |bytes: Vec<u8>| BigInt::from(BigUint::from_bytes_be(&bytes));
    ratio(number(price.numerator.to_be_bytes_vec()), number(price.denominator.to_be_bytes_vec()))
}

/// The part of an input that a fee in millionths leaves.
pub(crate) fn kept(fee_millionths: u32) -> BigRational {
    ratio(BigInt::from(1_000_000u32.saturating_sub(fee_millionths)), BigInt::from(1_000_000))
}

/// In whole units of both: what one whole unit of the input is in whole units of the output.
pub(crate) fn in_units(ratio: &BigRational, decimals_in: u8, decimals_out: u8) -> Option<Decimal> {
    let ten_to = |decimals: u8| BigInt::from(10).pow(decimals.into());
    shown(&(ratio * BigRational::new(ten_to(decimals_in), ten_to(decimals_out))))
}

/// To 18 significant digits, at most 36 places; `None` when it is below zero or too great for a decimal.
pub(crate) fn shown(ratio: &BigRational) -> Option<Decimal> {
    if ratio.is_negative() {
        return None;
    }
    let length = |number: &BigInt| number.to_string().len() as i64;
    let places = (DIGITS - length(ratio.numer()) + length(ratio.denom())).clamp(0, 36);
    let scaled = ratio * BigRational::from(BigInt::from(10).pow(places as u32));
    Decimal::new(scaled.round().to_integer().to_string().parse().ok()?, places)
}

/// A share of one in basis points, to two places, for comparing.
pub(crate) fn bps(share: &BigRational) -> f64 {
    let hundredths = (share * BigRational::from(BigInt::from(1_000_000))).round().to_integer();
    hundredths.to_f64().unwrap_or(f64::INFINITY) / 100.0
}

/// How much less than one a ratio is.
pub(crate) fn short_of_one(ratio: &BigRational) -> BigRational {
    BigRational::one() - ratio
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(over: i64, under: i64) -> BigRational {
        ratio(over.into(), under.into())
    }

    #[test]
    fn ratios_are_shown_to_eighteen_digits() {
        for (over, under, text) in [
            (1, 3, "0.333333333333333333"),
            (2_500_000_000, 1_000_000, "2500"),
            (1, 2_500, "0.0004"),
            (0, 7, "0"),
            (7, 0, "0"),
            (123_456_789_012_345_678, 1, "123456789012345678"),
        ] {
            assert_eq!(shown(&fraction(over, under)).unwrap().to_string(), text, "{over}/{under}");
        }
        assert_eq!(shown(&fraction(-1, 2)), None);
        assert_eq!(in_units(&fraction(2_500_000_000, 1_000_000_000_000_000_000), 18, 6).unwrap().to_string(), "2500");
    }

    #[test]
    fn shares_are_in_basis_points() {
        assert_eq!(bps(&short_of_one(&kept(3_000))), 30.0);
        assert_eq!(bps(&fraction(1, 3)), 3_333.33);
        assert_eq!(bps(&fraction(-1, 10_000)), -1.0);
    }
}
