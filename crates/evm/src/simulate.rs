//! What a transaction would do, by the best method the node has.
//!
//! A call trace tells the most and geth, reth, erigon and anvil have it, but public endpoints often do not; those have `eth_simulateV1`,
//! which anvil has too, but without telling reverts. A plain call is what every node has.

use std::collections::BTreeMap;

use alloy_primitives::{Address as RawAddress, B256, Bytes, U64, U256, U512, address, b256};
use kernel::chain::{
    AccountOverride, Address, BalanceChange, BlockId, CallRequest, Data, Log, Revert, Simulation, TokenChange, Tracing,
};
use kernel::{Code, Fault, Result};
use serde::Deserialize;
use serde_json::json;

use crate::node::Node;
use crate::rpc::{halt, revert};
use crate::trace::{self, WireFrame};
use crate::wire::{self, WireLog};

/// From where `eth_simulateV1` logs transfers of the native coin.
pub(crate) const NATIVE: RawAddress = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// `Deposit(address,uint256)`: wrapped native coin appears without a `Transfer`.
const DEPOSIT: B256 = b256!("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c");
/// `Withdrawal(address,uint256)`: and goes without one.
const WITHDRAWAL: B256 = b256!("7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65");

pub(crate) async fn run(
    node: &Node,
    call: &CallRequest,
    overrides: &[AccountOverride],
    at: BlockId,
) -> Result<Simulation> {
    // Pinned by number, so that what is answered and the block it is said to be of are the same.
    let at = BlockId::Number(node.height(at).await?);
    let traced = by_trace(node, call, overrides, at).await;
    if !unsupported(&traced) {
        return traced;
    }
    let simulated = by_block(node, call, overrides, at).await;
    if !unsupported(&simulated) {
        return simulated;
    }
    by_call(node, call, overrides, at).await
}

fn unsupported(answer: &Result<Simulation>) -> bool {
    answer.as_ref().is_err_and(|fault| fault.code == Code::Unsupported)
}

fn height(at: BlockId) -> u64 {
    if let BlockId::Number(number) = at { number } else { 0 }
}

async fn by_trace(node: &Node, call: &CallRequest, overrides: &[AccountOverride], at: BlockId) -> Result<Simulation> {
    let mut options = trace::tracer();
    if !overrides.is_empty() {
        options["stateOverrides"] = wire::overrides(overrides);
    }
    let root: WireFrame = node.rpc.read("debug_traceCall", json!([wire::call(call), wire::block(at), options])).await?;
    let failure = root.failure();
    let logs = trace::logs(&root);
    let mut native = Changes::default();
    for (frame, _, held) in trace::walk(&root) {
        // A delegated call repeats its caller's value without moving it.
        let moves = matches!(frame.kind.as_str(), "CALL" | "CREATE" | "CREATE2" | "SELFDESTRUCT");
        if let (true, true, Some(value), Some(to)) = (held, moves, frame.value, frame.to) {
            native.transfer(NATIVE, frame.from, to, value);
        }
    }
    Ok(Simulation {
        success: failure.is_none(),
        block_number: height(at),
        method: Tracing::DebugTraceCall,
        gas_used: root.gas_used.to(),
        return_data: if failure.is_none() { Data(root.output.clone()) } else { Data::default() },
        revert: failure,
        native_changes: Some(native.native()),
        token_changes: Some(token_changes(&logs)),
        logs: Some(logs),
    })
}

#[derive(Deserialize)]
struct WireSimulatedBlock {
    calls: Vec<WireSimulatedCall>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSimulatedCall {
    status: U64,
    gas_used: U64,
    #[serde(default)]
    return_data: Bytes,
    #[serde(default)]
    logs: Vec<WireLog>,
    error: Option<WireSimulatedError>,
}

#[derive(Deserialize)]
struct WireSimulatedError {
    #[serde(default)]
    message: String,
    data: Option<Bytes>,
}

impl WireSimulatedCall {
    fn failure(&self) -> Option<Revert> {
        if !self.status.is_zero() {
            return None;
        }
        let (message, data) = match &self.error {
            Some(error) => (error.message.as_str(), error.data.clone().unwrap_or_else(|| self.return_data.clone())),
            None => ("", self.return_data.clone()),
        };
        Some(halt(message).unwrap_or_else(|| revert(&data, message)))
    }
}

pub(crate) async fn by_block(
    node: &Node,
    call: &CallRequest,
    overrides: &[AccountOverride],
    at: BlockId,
) -> Result<Simulation> {
    let block = json!({ "stateOverrides": wire::overrides(overrides), "calls": [wire::call(call)] });
    let request = json!({ "blockStateCalls": [block], "traceTransfers": true, "validation": false });
    let blocks: Vec<WireSimulatedBlock> = node.rpc.read("eth_simulateV1", json!([request, wire::block(at)])).await?;
    let made = blocks.into_iter().next().and_then(|block| block.calls.into_iter().next());
    let made = made.ok_or_else(|| Fault::upstream("eth_simulateV1 answered without the call asked for"))?;
    let failure = made.failure();
    let mut native = Changes::default();
    let mut logs = Vec::new();
    for log in if failure.is_none() { made.logs } else { Vec::new() } {
        match transfer(&log.topics, &log.data) {
            Some((from, to, value)) if log.address == NATIVE => native.transfer(NATIVE, from, to, value),
            _ => logs.push(wire::bare_log(log.address, log.topics, log.data)),
        }
    }
    Ok(Simulation {
        success: failure.is_none(),
        block_number: height(at),
        method: Tracing::SimulateV1,
        gas_used: made.gas_used.to(),
        return_data: if failure.is_none() { Data(made.return_data) } else { Data::default() },
        revert: failure,
        native_changes: Some(native.native()),
        token_changes: Some(token_changes(&logs)),
        logs: Some(logs),
    })
}

pub(crate) async fn by_call(
    node: &Node,
    call: &CallRequest,
    overrides: &[AccountOverride],
    at: BlockId,
) -> Result<Simulation> {
    let mut params = vec![wire::call(call), wire::block(at)];
    if !overrides.is_empty() {
        params.push(wire::overrides(overrides));
    }
    let answer = node.rpc.read::<Bytes>("eth_call", json!(params)).await;
    let (return_data, failure) = match answer {
        Ok(data) => (Data(data), None),
        Err(fault) => (Data::default(), Some(Revert::of(&fault).ok_or(fault)?)),
    };
    let gas_used =
        if failure.is_none() { node.rpc.read::<U64>("eth_estimateGas", json!(params)).await?.to() } else { 0 };
    Ok(Simulation {
        success: failure.is_none(),
        block_number: height(at),
        method: Tracing::Call,
        gas_used,
        return_data,
        revert: failure,
        logs: None,
        native_changes: None,
        token_changes: None,
    })
}

/// What came in and what went out, by asset and account; wide enough that no sum overflows.
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<(RawAddress, RawAddress), (U512, U512)>);

impl Changes {
    pub(crate) fn gain(&mut self, asset: RawAddress, account: RawAddress, value: U256) {
        self.0.entry((asset, account)).or_default().0 += U512::from(value);
    }

    pub(crate) fn lose(&mut self, asset: RawAddress, account: RawAddress, value: U256) {
        self.0.entry((asset, account)).or_default().1 += U512::from(value);
    }

    fn transfer(&mut self, asset: RawAddress, from: RawAddress, to: RawAddress, value: U256) {
        self.lose(asset, from, value);
        self.gain(asset, to, value);
    }

    fn changed(self) -> impl Iterator<Item = (RawAddress, Address, String)> {
        let changed = self.0.into_iter().filter(|(_, (gained, lost))| gained != lost);
        changed.map(|((asset, account), (gained, lost))| {
            let change = if gained > lost { (gained - lost).to_string() } else { format!("-{}", lost - gained) };
            (asset, Address(account), change)
        })
    }

    pub(crate) fn native(self) -> Vec<BalanceChange> {
        self.changed().map(|(_, account, change_wei)| BalanceChange { account, change_wei }).collect()
    }
}

/// The parties and the amount of a fungible transfer; a non-fungible one has a fourth topic and no data.
fn transfer(topics: &[B256], data: &[u8]) -> Option<(RawAddress, RawAddress, U256)> {
    let [TRANSFER, from, to] = topics else { return None };
    let value = U256::from_be_bytes(*data.first_chunk::<32>()?);
    Some((RawAddress::from_word(*from), RawAddress::from_word(*to), value))
}

/// The account and the amount of wrapping (`TRUE`) or unwrapping.
fn wrapping(topics: &[B256], data: &[u8]) -> Option<(RawAddress, U256, bool)> {
    let [kind @ (DEPOSIT | WITHDRAWAL), account] = topics else { return None };
    let value = U256::from_be_bytes(*data.first_chunk::<32>()?);
    Some((RawAddress::from_word(*account), value, *kind == DEPOSIT))
}

/// Net changes as the tokens' own events tell them. The zero address stands for what is minted and burnt and is left out.
pub(crate) fn token_changes(logs: &[Log]) -> Vec<TokenChange> {
    let read = |log: &Log| {
        let topics: Vec<B256> = log.topics.iter().map(|topic| topic.0).collect();
        (log.address.0, transfer(&topics, &log.data), wrapping(&topics, &log.data))
    };
    let read: Vec<_> = logs.iter().map(read).collect();
    let mut changes = Changes::default();
    for (token, moved, wrapped) in &read {
        if let Some((from, to, value)) = moved {
            changes.transfer(*token, *from, *to, *value);
        }
        if let Some((account, value, appears)) = wrapped {
            // Some wrapped coins write both events for one change.
            let told = read.iter().any(|(other, moved, _)| {
                let (from, to) = if *appears { (RawAddress::ZERO, *account) } else { (*account, RawAddress::ZERO) };
                other == token && *moved == Some((from, to, *value))
            });
            if !told {
                let change = if *appears { Changes::gain } else { Changes::lose };
                change(&mut changes, *token, *account, *value);
            }
        }
    }
    let shown = changes.changed().filter(|(_, account, _)| !account.is_zero());
    shown.map(|(token, account, change)| TokenChange { token: Address(token), account, change }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WETH: RawAddress = RawAddress::repeat_byte(1);
    const ALICE: RawAddress = RawAddress::repeat_byte(0xa);
    const BOB: RawAddress = RawAddress::repeat_byte(0xb);

    fn log(topics: Vec<B256>, value: U256) -> Log {
        wire::bare_log(WETH, topics, value.to_be_bytes_vec().into())
    }

    fn changes(logs: &[Log]) -> Vec<(RawAddress, String)> {
        token_changes(logs).into_iter().map(|change| (change.account.0, change.change)).collect()
    }

    #[test]
    fn transfers_add_up_and_wrapping_counts_once() {
        let (alice, bob) = (ALICE.into_word(), BOB.into_word());
        let deposit = log(vec![DEPOSIT, alice], U256::from(10));
        let sent = log(vec![TRANSFER, alice, bob], U256::from(4));
        let minted = log(vec![TRANSFER, B256::ZERO, alice], U256::from(10));
        assert_eq!(changes(&[deposit.clone(), sent.clone()]), [(ALICE, "6".into()), (BOB, "4".into())]);
        assert_eq!(changes(&[deposit, minted]), [(ALICE, "10".into())]);
        assert_eq!(
            changes(&[log(vec![WITHDRAWAL, bob], U256::from(3)), sent]),
            [(ALICE, "-4".into()), (BOB, "1".into())]
        );
    }

    #[test]
    fn sums_beyond_256_bits_and_foreign_shapes() {
        let (alice, bob) = (ALICE.into_word(), BOB.into_word());
        let most = log(vec![TRANSFER, alice, bob], U256::MAX);
        let twice = (U512::from(U256::MAX) + U512::from(U256::MAX)).to_string();
        assert_eq!(changes(&[most.clone(), most]), [(ALICE, format!("-{twice}")), (BOB, twice)]);
        let nft = wire::bare_log(WETH, vec![TRANSFER, alice, bob, B256::ZERO], Bytes::new());
        let cut = wire::bare_log(WETH, vec![TRANSFER, alice, bob], Bytes::from_static(&[1]));
        assert!(changes(&[nft, cut]).is_empty());
    }
}
