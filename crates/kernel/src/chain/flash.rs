//! Flash loans: who lends, how much, and the fee to the last unit.

use alloy_primitives::U256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Amount};

/// How a lender computes its fee, rounding included: a fee wrong by one unit is a repayment refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "rule")]
pub enum FeeRule {
    /// Basis points, halves rounded up: (amount·bps + 5000) / 10000. Aave V3.
    BpsHalfUp {
        /// The fee in basis points.
        bps: u64,
    },
    /// Millionths, rounded up: ⌈amount·millionths / 10^6⌉. Uniswap V3.
    MillionthsUp {
        /// The fee in millionths.
        millionths: u64,
    },
    /// A fraction of 10^18, rounded up. Balancer V2.
    WadUp {
        /// The fee as a fraction of 10^18.
        wad: Amount,
    },
    /// What keeps a constant-product pair's invariant when the same token is given back: ⌊amount·1000 / (1000 − per_mille)⌋ + 1 in all. Uniswap V2.
    PairPerMille {
        /// The pair's fee in thousandths.
        per_mille: u64,
    },
}

impl FeeRule {
    /// The fee on a loan of `amount`, in the asset's smallest unit; `None` when the sum does not fit 256 bits.
    pub fn fee(&self, amount: Amount) -> Option<Amount> {
        self.fee_of(amount.0).map(Amount)
    }

    /// What must be given back for a loan of `amount`: loan and fee.
    pub fn repayment(&self, amount: Amount) -> Option<Amount> {
        Some(Amount(amount.checked_add(self.fee(amount)?.0)?))
    }

    fn fee_of(&self, amount: U256) -> Option<U256> {
        let part = |numerator: U256, round: U256, denominator: U256| {
            Some(amount.checked_mul(numerator)?.checked_add(round)? / denominator)
        };
        match *self {
            Self::BpsHalfUp { bps } => part(U256::from(bps), U256::from(5_000), U256::from(10_000)),
            Self::MillionthsUp { millionths } => {
                part(U256::from(millionths), U256::from(999_999), U256::from(1_000_000))
            }
            Self::WadUp { wad } => {
                let one = U256::from(10).pow(U256::from(18));
                part(wad.0, one - U256::ONE, one)
            }
            Self::PairPerMille { per_mille } => {
                let kept = U256::from(1_000u64.checked_sub(per_mille).filter(|kept| *kept > 0)?);
                let repaid = (amount.checked_mul(U256::from(1_000))? / kept).checked_add(U256::ONE)?;
                Some(repaid - amount)
            }
        }
    }

    /// The fee's rate, in hundredths of a basis point, rounded to the nearest: for ranking and showing, never for paying.
    pub fn millionths(&self) -> u64 {
        match *self {
            Self::BpsHalfUp { bps } => bps.saturating_mul(100),
            Self::MillionthsUp { millionths } => millionths,
            Self::WadUp { wad } => {
                let unit = U256::from(10).pow(U256::from(12));
                u64::try_from((wad.0 + unit / U256::from(2)) / unit).unwrap_or(u64::MAX)
            }
            Self::PairPerMille { per_mille } => {
                let kept = 1_000u64.saturating_sub(per_mille).max(1);
                (per_mille.saturating_mul(1_000_000) + kept / 2) / kept
            }
        }
    }
}

/// One place that lends an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSource {
    /// Which protocol: `aave-v3`, `balancer-v2`, `uniswap-v4`, `uniswap-v3`, `uniswap-v2`, `sushiswap-v2`.
    pub provider: String,
    /// The contract to borrow from: a pool, a pair, a vault.
    pub contract: Address,
    /// For a pair or pool, the other token in it.
    pub paired_with: Option<Address>,
    /// The most that can be borrowed now, in the asset's smallest unit.
    pub liquidity: Amount,
    /// How its fee is computed.
    pub fee: FeeRule,
}

/// A lender that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadSource {
    /// Which protocol.
    pub provider: String,
    /// Why not.
    pub reason: String,
}

/// All who lend an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlashMarket {
    /// The block at which this was read.
    pub block_number: u64,
    /// The lenders with something to lend, the cheapest first.
    pub sources: Vec<FlashSource>,
    /// The lenders known on this chain that could not be read.
    pub unread: Vec<UnreadSource>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fee(rule: FeeRule, amount: u64) -> u64 {
        rule.fee(Amount::from(amount)).unwrap().to::<u64>()
    }

    #[test]
    fn each_lender_rounds_its_own_way() {
        let aave = FeeRule::BpsHalfUp { bps: 5 };
        assert_eq!([fee(aave, 999), fee(aave, 1_000), fee(aave, 10_000)], [0, 1, 5]);
        let v3 = FeeRule::MillionthsUp { millionths: 500 };
        assert_eq!([fee(v3, 0), fee(v3, 1), fee(v3, 2_000), fee(v3, 2_001)], [0, 1, 1, 2]);
        let balancer = FeeRule::WadUp { wad: Amount::from(1_000_000_000_000_000u64) };
        assert_eq!([fee(balancer, 1), fee(balancer, 1_000), fee(balancer, 1_001)], [1, 1, 2]);
        assert_eq!(fee(FeeRule::WadUp { wad: Amount::from(0) }, 1_000), 0);
        let pair = FeeRule::PairPerMille { per_mille: 3 };
        assert_eq!([fee(pair, 1), fee(pair, 997), fee(pair, 1_000_000)], [1, 4, 3_010]);
        assert_eq!(pair.repayment(Amount::from(997)), Some(Amount::from(1_001)));
    }

    #[test]
    fn a_fee_that_does_not_fit_is_none_and_a_nonsense_rule_too() {
        assert_eq!(FeeRule::BpsHalfUp { bps: 5 }.fee(Amount(U256::MAX)), None);
        assert_eq!(FeeRule::PairPerMille { per_mille: 1_000 }.fee(Amount::from(1)), None);
    }

    #[test]
    fn rates_compare_across_rules() {
        let rates = [
            FeeRule::WadUp { wad: Amount::from(0) },
            FeeRule::BpsHalfUp { bps: 5 },
            FeeRule::MillionthsUp { millionths: 3_000 },
            FeeRule::PairPerMille { per_mille: 3 },
        ];
        assert_eq!(rates.map(|rule| rule.millionths()), [0, 500, 3_000, 3_009]);
    }
}
