//! `gas_price`: what gas costs now, from what the last blocks charged.
//!
//! The next base fee follows from the newest block alone (EIP-1559): up by at most an eighth when it was fuller than half, down when
//! emptier. The most to offer is twice that and the tip, which stays enough for about six full blocks in a row.

use kernel::Fault;
use kernel::chain::{Amount, BlockFees};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Engine;

/// Blocks looked at unless told otherwise.
const BLOCKS: u32 = 20;
/// Most blocks looked at.
const BLOCKS_MAX: u32 = 200;
/// Most percentiles of one answer.
const PERCENTILES_MAX: usize = 10;
/// The percentiles of tips told unless others are asked for.
const PERCENTILES: [u8; 3] = [10, 50, 90];
/// Decimal places of a gwei.
const GWEI_DECIMALS: u8 = 9;

/// What [`GAS_PRICE`](super::GAS_PRICE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GasPriceRequest {
    /// How many of the newest blocks to look at, 1 to 200; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u32>,
    /// Percentiles of tips, ascending, 0 to 100, at most 10; 10, 50 and 90 when empty.
    pub percentiles: Vec<u8>,
    /// Whether to list every block.
    pub history: bool,
}

/// A tip and what to offer with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tip {
    /// The percentile of the tips paid.
    pub percentile: u8,
    /// The tip per gas, in wei: the median over the blocks of that percentile in each.
    pub tip_wei: Amount,
    /// The same in gwei, exact.
    pub tip_gwei: String,
    /// The most to offer per gas, in wei: twice the next base fee, and the tip. Absent on chains without a base fee.
    pub max_fee_per_gas_wei: Option<Amount>,
}

/// What [`GAS_PRICE`](super::GAS_PRICE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GasPrice {
    /// The newest block.
    pub block_number: u64,
    /// Its base fee per gas, in wei; absent on chains without one.
    pub base_fee_per_gas_wei: Option<Amount>,
    /// The next block's base fee per gas, in wei; absent on chains without one.
    pub next_base_fee_per_gas_wei: Option<Amount>,
    /// The same in gwei, exact.
    pub next_base_fee_gwei: Option<String>,
    /// How full the blocks were on average: gas used of their limits, in hundredths of a percent.
    pub gas_used_bps: u32,
    /// What was paid beyond the base fee; empty when no block had a transaction.
    pub tips: Vec<Tip>,
    /// How many of the blocks had transactions.
    pub blocks_with_transactions: usize,
    /// The blocks, oldest first, where asked for.
    pub history: Option<Vec<BlockFees>>,
}

impl Engine {
    pub(super) async fn gas_price(&self, request: GasPriceRequest) -> Result<GasPrice, Fault> {
        let blocks = request.blocks.unwrap_or(BLOCKS);
        if blocks == 0 || blocks > BLOCKS_MAX {
            return Err(Fault::invalid(format!("{blocks} blocks")).hint(format!("1 to {BLOCKS_MAX}")));
        }
        let percentiles = if request.percentiles.is_empty() { PERCENTILES.to_vec() } else { request.percentiles };
        if percentiles.len() > PERCENTILES_MAX {
            return Err(
                Fault::invalid(format!("{} percentiles", percentiles.len())).hint(format!("at most {PERCENTILES_MAX}"))
            );
        }
        let fees = self.on_chain.chain.fee_history(u64::from(blocks), &percentiles).await?;
        let newest = fees.blocks.last().ok_or_else(|| Fault::upstream("the node told of no block"))?;
        let next = fees.next_base_fee_per_gas_wei;
        let tip = |(place, percentile): (usize, &u8)| {
            let tip_wei = median(fees.blocks.iter().filter_map(|block| block.tips_wei.get(place).copied()).collect())?;
            let most = next.and_then(|base| base.times(2)?.0.checked_add(tip_wei.0)).map(Amount);
            let tip_gwei = tip_wei.in_units(GWEI_DECIMALS);
            Some(Tip { percentile: *percentile, tip_wei, tip_gwei, max_fee_per_gas_wei: most })
        };
        let used: u64 = fees.blocks.iter().map(|block| u64::from(block.gas_used_bps)).sum();
        Ok(GasPrice {
            block_number: newest.number,
            base_fee_per_gas_wei: newest.base_fee_per_gas_wei,
            next_base_fee_per_gas_wei: next,
            next_base_fee_gwei: next.map(|fee| fee.in_units(GWEI_DECIMALS)),
            gas_used_bps: u32::try_from(used / fees.blocks.len() as u64).unwrap_or(u32::MAX),
            tips: percentiles.iter().enumerate().filter_map(tip).collect(),
            blocks_with_transactions: fees.blocks.iter().filter(|block| block.gas_used_bps > 0).count(),
            history: request.history.then_some(fees.blocks),
        })
    }
}

/// The lower middle.
fn median(mut tips: Vec<Amount>) -> Option<Amount> {
    tips.sort();
    tips.get(tips.len().checked_sub(1)? / 2).copied()
}
