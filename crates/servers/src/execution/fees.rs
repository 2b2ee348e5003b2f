//! What is offered for gas, and `gas_strategy`.
//!
//! The next block's base fee follows from the newest block (EIP-1559) and rises by an eighth a block at most. What is offered holds for some full
//! blocks in a row; what speeding up may come to is bounded from the start, because the risk rules judge a trade by it.

use kernel::chain::{Amount, BlockId, Fees};
use kernel::{Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Execution;

/// Blocks whose tips are looked at.
const BLOCKS: u64 = 20;
/// The percentiles of tips that the three paces go by.
const PERCENTILES: [u8; 3] = [10, 50, 90];
const PACES: [Pace; 3] = [Pace::Slow, Pace::Usual, Pace::Fast];

/// What a transaction offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) fees: Fees,
    /// The most that speeding it up may come to, per gas.
    pub(super) ceiling_wei: Amount,
    /// What it will pay per gas in the next block.
    pub(super) expected_wei: Amount,
}

/// How soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// When blocks have room: a tip as the lowest tenth pays.
    Slow,
    /// As most do: the middle tip.
    Usual,
    /// Before most: a tip as the highest tenth pays.
    Fast,
}

/// What to offer for a pace.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PaceView {
    /// How soon.
    pub pace: Pace,
    /// What it offers per gas.
    #[serde(flatten)]
    pub fees: Fees,
}

/// What [`GAS_STRATEGY`](super::GAS_STRATEGY) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GasStrategyRequest {}

/// What [`GAS_STRATEGY`](super::GAS_STRATEGY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GasStrategyAnswer {
    /// The newest block.
    pub block: u64,
    /// The next block's base fee per gas, in wei.
    pub next_base_fee_per_gas_wei: Amount,
    /// What is offered when a submission does not say.
    pub offered: Fees,
    /// The most per gas that speeding that up may come to, in wei.
    pub ceiling_wei: Amount,
    /// The most per gas that the risk limits allow, in wei.
    pub limit_wei: Amount,
    /// What the tips of the last blocks suggest.
    pub paces: Vec<PaceView>,
    /// By how many percent speeding up raises both fees.
    pub bump_percent: u64,
    /// After how many seconds in the pool a transaction is sped up by itself.
    pub stuck_after_seconds: u32,
}

impl Execution {
    /// What a transaction offers now: what was asked for, or what is usual.
    pub(super) async fn offer(&self, wanted: Option<Fees>) -> Result<Offer> {
        let base_fee = self.next_base_fee().await?;
        let tip = self.config.priority_fee_wei;
        let (fees, ceiling_wei) = match wanted {
            Some(fees) => {
                (fees, fees.max_fee_per_gas_wei.max(self.ceiling(base_fee, fees.max_priority_fee_per_gas_wei)))
            }
            None => (self.usual(base_fee, tip), self.ceiling(base_fee, tip)),
        };
        let expected_wei = fees.price_at(base_fee).ok_or_else(|| {
            Fault::invalid(format!(
                "max_fee_per_gas_wei is {}, below the next block's base fee",
                fees.max_fee_per_gas_wei
            ))
            .hint(format!("{base_fee} wei at least, and a priority fee"))
        })?;
        Ok(Offer { fees, ceiling_wei, expected_wei })
    }

    async fn next_base_fee(&self) -> Result<Amount> {
        let head = match self.chain.head() {
            Some(head) => head,
            None => self.chain.block(BlockId::Latest).await?.head,
        };
        Ok(head.next_base_fee_per_gas_wei().unwrap_or_default())
    }

    fn usual(&self, base_fee: Amount, tip: Amount) -> Fees {
        let most = Amount(base_fee.saturating_add(base_fee.0).saturating_add(tip.0));
        Fees { max_fee_per_gas_wei: most, max_priority_fee_per_gas_wei: tip }
    }

    /// Twice what is usual: some three replacements.
    fn ceiling(&self, base_fee: Amount, tip: Amount) -> Amount {
        let usual = self.usual(base_fee, tip).max_fee_per_gas_wei;
        Amount(usual.saturating_add(usual.0))
    }

    pub(super) async fn gas_strategy(&self) -> Result<GasStrategyAnswer> {
        let history = self.chain.fee_history(BLOCKS, &PERCENTILES).await?;
        let newest = history.blocks.last().ok_or_else(|| Fault::upstream("the node told of no block"))?;
        let base_fee = history.next_base_fee_per_gas_wei.unwrap_or_default();
        let tip = self.config.priority_fee_wei;
        let paces = PACES.iter().enumerate().filter_map(|(place, pace)| {
            let mut tips: Vec<Amount> =
                history.blocks.iter().filter_map(|block| block.tips_wei.get(place).copied()).collect();
            tips.sort_unstable();
            let middle = tips.get(tips.len().checked_sub(1)? / 2)?;
            Some(PaceView { pace: *pace, fees: self.usual(base_fee, *middle) })
        });
        Ok(GasStrategyAnswer {
            block: newest.number,
            next_base_fee_per_gas_wei: base_fee,
            offered: self.usual(base_fee, tip),
            ceiling_wei: self.ceiling(base_fee, tip),
            limit_wei: self.gate.desk().await?.limits().gas_price_max_wei,
            paces: paces.collect(),
            bump_percent: self.config.bump_percent,
            stuck_after_seconds: self.config.stuck_after_seconds,
        })
    }
}
