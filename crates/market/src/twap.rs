//! Means over time from what pools record of themselves.
//!
//! V3: `OracleLibrary.sol` of Uniswap v3-periphery (`consult`, `getQuoteAtTick`). V2: `UniswapV2OracleLibrary.sol` and
//! `ExampleOracleSimple.sol` of Uniswap v2-periphery; cumulative prices are UQ112x112 times seconds and wrap at 256 bits, times at 32.

use alloy_primitives::U256;
use kernel::chain::Amount;

use crate::math::{mul_div, tick::sqrt_price_at};

/// The mean tick of a time, rounded down, from the cumulative ticks at its ends; `None` when it has no length.
pub fn mean_tick(then: i64, now: i64, seconds: u32) -> Option<i32> {
    let (sum, seconds) = (i128::from(now) - i128::from(then), i128::from(seconds));
    if seconds == 0 {
        return None;
    }
    i32::try_from(sum.div_euclid(seconds)).ok()
}

/// What `amount` of one token is worth in the other at a tick, rounded as `getQuoteAtTick` rounds; `None` for a tick out of range or a
/// worth beyond 256 bits.
pub fn quote_at_tick(tick: i32, amount: u128, of_token0: bool) -> Option<Amount> {
    let (root, amount) = (sqrt_price_at(tick)?, U256::from(amount));
    // The square is kept to 192 bits after the point while it fits, then to 128.
    let (ratio, unit) = if root.bit_len() <= 128 {
        (root * root, U256::ONE << 192)
    } else {
        (mul_div(root, root, U256::ONE << 64)?, U256::ONE << 128)
    };
    let worth = if of_token0 { mul_div(ratio, amount, unit) } else { mul_div(unit, amount, ratio) };
    worth.map(Amount)
}

/// A pair's cumulative price as it is `seconds` after its last update, though nobody has written it down: what the reserves since then
/// add. `over` is the reserve that the price is in, `under` the one that is priced; `None` when that one is empty.
pub fn cumulative_after(cumulative: Amount, over: u128, under: u128, seconds: u32) -> Option<Amount> {
    let over: U256 = U256::from(over) << 112;
    let price = over.checked_div(U256::from(under))?;
    Some(Amount(cumulative.0.wrapping_add(price.wrapping_mul(U256::from(seconds)))))
}

/// What `amount` of the priced token is worth at a pair's mean price of a time, from its cumulative prices at the ends; `None` when the
/// time has no length or the worth does not fit 256 bits.
pub fn quote_at_mean(then: Amount, now: Amount, seconds: u32, amount: u128) -> Option<Amount> {
    let mean = now.0.wrapping_sub(then.0).checked_div(U256::from(seconds))?;
    mul_div(mean, U256::from(amount), U256::ONE << 112).map(Amount)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mean_ticks_are_rounded_down() {
        for (then, now, seconds, want) in [
            (0, 100, 10, Some(10)),
            (0, -101, 10, Some(-11)),
            (0, -100, 10, Some(-10)),
            (7, 7, 1, Some(0)),
            (0, 1, 0, None),
        ] {
            assert_eq!(mean_tick(then, now, seconds), want, "{then} to {now} in {seconds} s");
        }
        assert_eq!(mean_tick(-887_272 * 600, 0, 600), Some(887_272));
    }

    /// By hand: 1.0001^tick × amount. The contract's own results for these are in v3-periphery's tests of `getQuoteAtTick`.
    #[test]
    fn quotes_at_ticks() {
        for (tick, amount, of_token0, want) in [
            (0, 1_000_000, true, "1000000"),
            (0, 1_000_000, false, "1000000"),
            (-1, 1_000_000_000_000_000_000, true, "999900009999000099"),
            (1, 1_000_000_000_000_000_000, true, "1000100000000000000"),
            (-887_272, u128::MAX, true, "1"),
            (
                -887_272,
                u128::MAX,
                false,
                "115783384738768196242144082653949453838306988932806144552194799290216044976282",
            ),
            (
                887_272,
                u128::MAX,
                true,
                "115783384785599357996676985412062652720342362943929506828539444553934033845703",
            ),
            (887_272, u128::MAX, false, "1"),
        ] {
            let worth = quote_at_tick(tick, amount, of_token0).unwrap().to_string();
            assert_eq!(worth, want, "{amount} at {tick}");
        }
        assert_eq!(quote_at_tick(887_273, 1, true), None);
    }

    #[test]
    fn pairs_remember_their_mean_price() {
        // 100 s at 2, then 300 s at 4: the mean of 400 s is 3.5.
        let start = Amount(U256::MAX - U256::from(5));
        let middle = cumulative_after(start, 2_000, 1_000, 100).unwrap();
        let end = cumulative_after(middle, 4_000, 1_000, 300).unwrap();
        assert!(end.0 < start.0, "it wraps, and that is meant");
        assert_eq!(quote_at_mean(start, end, 400, 1_000).unwrap(), Amount::from(3_500));
        assert_eq!(quote_at_mean(start, end, 0, 1_000), None);
        assert_eq!(cumulative_after(start, 1, 0, 1), None);
    }

    proptest! {
        #[test]
        fn quotes_are_powers_of_the_base(tick in -400_000i32..400_000) {
            let amount = 10u128.pow(30);
            let worth: f64 = quote_at_tick(tick, amount, true).unwrap().to_string().parse().unwrap();
            let want: f64 = 1.0001f64.powi(tick) * 1e30;
            prop_assert!((worth / want - 1.0).abs() < 1e-9, "{} instead of {}", worth, want);
            let back: f64 = quote_at_tick(tick, amount, false).unwrap().to_string().parse().unwrap();
            prop_assert!((back * worth / 1e60 - 1.0).abs() < 1e-9);
        }
    }
}
