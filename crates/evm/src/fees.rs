//! What recent blocks charged for gas, as `eth_feeHistory` tells it (execution-apis, `eth/fee_market`).

use alloy_primitives::{U64, U256};
use kernel::chain::{Amount, BlockFees, FEE_BLOCKS_MAX, FeeHistory};
use kernel::{Fault, Result};
use serde::Deserialize;
use serde_json::json;

use crate::node::{Node, latest};
use crate::wire::quantity;

/// What a node says. The base fees are one more than the blocks: the last is the next block's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFees {
    oldest_block: U64,
    #[serde(default)]
    base_fee_per_gas: Option<Vec<U256>>,
    gas_used_ratio: Vec<f64>,
    #[serde(default)]
    reward: Option<Vec<Vec<U256>>>,
}

/// Reads it from the node.
pub(crate) async fn read(node: &Node, blocks: u64, percentiles: &[u8]) -> Result<FeeHistory> {
    if blocks == 0 || blocks > FEE_BLOCKS_MAX {
        return Err(Fault::invalid(format!("the fees of {blocks} blocks")).hint(format!("1 to {FEE_BLOCKS_MAX}")));
    }
    if percentiles.last().is_some_and(|last| *last > 100) || !percentiles.is_sorted() {
        return Err(Fault::invalid(format!("percentiles {percentiles:?}")).hint("ascending, 0 to 100"));
    }
    node.rpc.read::<WireFees>("eth_feeHistory", json!([quantity(blocks), latest(), percentiles])).await.map(history)
}

fn history(wire: WireFees) -> FeeHistory {
    // Chains without a base fee either leave the list out or fill it with noughts.
    let base_fees = wire.base_fee_per_gas.filter(|fees| fees.iter().any(|fee| !fee.is_zero())).unwrap_or_default();
    let rewards = wire.reward.unwrap_or_default();
    let oldest: u64 = wire.oldest_block.to();
    let block = |(at, ratio): (usize, &f64)| BlockFees {
        number: oldest + at as u64,
        base_fee_per_gas_wei: base_fees.get(at).copied().map(Amount),
        gas_used_bps: (ratio * 10_000.0).round() as u32,
        tips_wei: rewards
            .get(at)
            .filter(|_| *ratio > 0.0)
            .map(|tips| tips.iter().copied().map(Amount).collect())
            .unwrap_or_default(),
    };
    FeeHistory {
        blocks: wire.gas_used_ratio.iter().enumerate().map(block).collect(),
        next_base_fee_per_gas_wei: base_fees.get(wire.gas_used_ratio.len()).copied().map(Amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_is_read_block_by_block() {
        let wire = json!({
            "oldestBlock": "0x10",
            "baseFeePerGas": ["0x3b9aca00", "0x3b9aca08", "0x3b9aca10"],
            "gasUsedRatio": [0.5, 0],
            "reward": [["0x1", "0x2"], ["0x0", "0x0"]],
        });
        let fees = history(serde_json::from_value(wire).unwrap());
        assert_eq!(fees.next_base_fee_per_gas_wei, Some(Amount::from(1_000_000_016)));
        let [full, empty] = &fees.blocks[..] else { panic!("{fees:?}") };
        assert_eq!((full.number, full.gas_used_bps, full.tips_wei.len()), (16, 5_000, 2));
        assert_eq!((empty.number, empty.gas_used_bps, empty.tips_wei.len()), (17, 0, 0), "an empty block has no tips");
        let bare =
            json!({ "oldestBlock": "0x0", "baseFeePerGas": ["0x0", "0x0"], "gasUsedRatio": [0.1], "reward": null });
        let bare = history(serde_json::from_value(bare).unwrap());
        assert_eq!((bare.blocks[0].base_fee_per_gas_wei, bare.next_base_fee_per_gas_wei), (None, None));
    }
}
