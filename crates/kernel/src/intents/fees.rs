//! What a replacement must offer. Development nodes take any increase; real ones do not, so the rule is kept here.

use alloy_primitives::U256;

use crate::chain::{Amount, Fees};
use crate::{Fault, Result};

/// By how many percent a replacement's fees must both exceed those of what it replaces: geth's `--txpool.pricebump`.
pub const BUMP_PERCENT_MIN: u64 = 10;

/// `fee` and `percent` of it, rounded up, and never `fee` itself.
fn bumped(fee: Amount, percent: u64) -> Amount {
    let more = fee.0.saturating_mul(U256::from(percent)).div_ceil(U256::from(100)).max(U256::from(1));
    Amount(fee.0.saturating_add(more))
}

/// `fees`, both higher by `percent`.
pub(super) fn bump(fees: Fees, percent: u64) -> Fees {
    Fees {
        max_fee_per_gas_wei: bumped(fees.max_fee_per_gas_wei, percent),
        max_priority_fee_per_gas_wei: bumped(fees.max_priority_fee_per_gas_wei, percent),
    }
}

/// The least that may replace a transaction that offers `fees`.
pub fn least_replacement(fees: Fees) -> Fees {
    bump(fees, BUMP_PERCENT_MIN)
}

/// Refuses what no pool would take in the place of `old`.
pub(super) fn check(old: Fees, new: Fees) -> Result<()> {
    let least = least_replacement(old);
    let enough = new.max_fee_per_gas_wei >= least.max_fee_per_gas_wei
        && new.max_priority_fee_per_gas_wei >= least.max_priority_fee_per_gas_wei;
    if enough && new.max_fee_per_gas_wei >= new.max_priority_fee_per_gas_wei {
        return Ok(());
    }
    Err(Fault::invalid("the replacement's fees are too low, or the priority fee is over the whole").hint(format!(
        "at least {} wei per gas, of which at least {} wei priority fee: {BUMP_PERCENT_MIN} % more of both",
        least.max_fee_per_gas_wei, least.max_priority_fee_per_gas_wei
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fees(whole: u64, priority: u64) -> Fees {
        Fees { max_fee_per_gas_wei: whole.into(), max_priority_fee_per_gas_wei: priority.into() }
    }

    #[test]
    fn a_replacement_offers_a_tenth_more_of_both_rounded_up() {
        for (old, new, fits) in [
            (fees(100, 10), fees(110, 11), true),
            (fees(100, 10), fees(109, 11), false),
            (fees(100, 10), fees(200, 10), false),
            (fees(101, 1), fees(112, 2), true),
            (fees(101, 1), fees(111, 2), false),
            (fees(100, 0), fees(110, 0), false),
            (fees(100, 0), fees(110, 1), true),
            (fees(100, 10), fees(110, 111), false),
        ] {
            assert_eq!(check(old, new).is_ok(), fits, "{old:?} {new:?}");
        }
        assert_eq!(
            least_replacement(Fees { max_fee_per_gas_wei: Amount(U256::MAX), ..fees(0, 1) }).max_fee_per_gas_wei.0,
            U256::MAX
        );
    }
}
