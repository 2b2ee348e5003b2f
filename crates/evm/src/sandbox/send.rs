//! A plan's transactions, sent together and mined in as few blocks as their senders allow, so that every run makes the same blocks.

use alloy_primitives::U64;
use futures_util::future::try_join_all;
use kernel::chain::Hash;
use kernel::{Fault, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::plan::{Plan, Transaction};
use crate::node::latest;
use crate::rpc::Rpc;
use crate::wire::{WireReceipt, quantity};

/// Gas each transaction may use: more than the largest does, and than a transaction may use on the public chains.
const GAS: u64 = 16_000_000;
/// Gas of a block into which all of it goes.
const BLOCK_GAS: u64 = 1_000_000_000_000;

/// Sends all of it through the node's unlocked accounts and mines it; the first that failed is the fault.
pub(super) async fn carry_out(plan: &Plan<'_>, rpc: &Rpc) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Block {
        gas_limit: U64,
    }
    let block: Block = rpc.read("eth_getBlockByNumber", json!([latest(), false])).await?;
    rpc.once::<Value>("evm_setAutomine", json!([false])).await?;
    rpc.once::<Value>("evm_setBlockGasLimit", json!([quantity(BLOCK_GAS)])).await?;
    // Of several senders a block has its own order, so each has a block of its own.
    for batch in plan.transactions.chunk_by(|one, next| one.from == next.from) {
        mine(batch, rpc).await?;
    }
    rpc.once::<Value>("evm_setBlockGasLimit", json!([block.gas_limit])).await?;
    rpc.once::<Value>("evm_setAutomine", json!([true])).await?;
    Ok(())
}

async fn mine(batch: &[Transaction], rpc: &Rpc) -> Result<()> {
    let mut sent = Vec::with_capacity(batch.len());
    for one in batch {
        let mut transaction = json!({
            "from": one.from, "input": one.input, "nonce": quantity(one.nonce), "gas": quantity(GAS),
            "value": format!("{:#x}", one.value),
        });
        if let Some(to) = one.to {
            transaction["to"] = json!(to);
        }
        let hash = rpc.once::<Hash>("eth_sendTransaction", json!([transaction])).await;
        sent.push((one.what.as_str(), hash.map_err(|fault| fault.context(one.what.clone()))?));
    }
    rpc.once::<Value>("evm_mine", json!([])).await?;
    try_join_all(sent.iter().map(|(what, hash)| succeeded(rpc, what, *hash))).await.map(|_| ())
}

async fn succeeded(rpc: &Rpc, what: &str, hash: Hash) -> Result<()> {
    let receipt: Option<WireReceipt> = rpc.read("eth_getTransactionReceipt", json!([hash])).await?;
    match receipt.map(|receipt| receipt.at_head(0).success) {
        Some(true) => Ok(()),
        Some(false) => Err(Fault::upstream(format!("{what} reverted"))),
        None => Err(Fault::upstream(format!("{what} was not mined"))),
    }
}
