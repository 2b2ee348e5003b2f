//! What a run did, in the kernel's words.

use alloy_primitives::{Address, U256};
use kernel::chain::{Data, Fees, Head, NextBlock, Revert, RevertKind, Simulation, Tracing};
use kernel::{Fault, Result};
use revm::context_interface::result::{ExecutionResult, HaltReason, InvalidTransaction};
use revm::state::EvmState;

use super::view::{Missing, View};
use crate::rpc::revert;
use crate::simulate::{Changes, NATIVE, token_changes};
use crate::wire;

/// The sender of a run, and what it paid for gas.
pub(super) struct Payer<'a> {
    pub(super) sender: Address,
    pub(super) fees: Option<Fees>,
    pub(super) block: &'a NextBlock,
}

pub(super) fn simulation(
    base: &Head,
    payer: &Payer<'_>,
    result: ExecutionResult,
    state: &EvmState,
    view: &mut View,
) -> Result<Simulation> {
    let gas_used = result.tx_gas_used();
    let native = native_changes(payer, gas_used, state, view).map_err(lost)?;
    let (logs, output, failure) = match result {
        ExecutionResult::Success { logs, output, .. } => (logs, output.into_data(), None),
        ExecutionResult::Revert { output, .. } => (Vec::new(), Default::default(), Some(revert(&output, ""))),
        ExecutionResult::Halt { reason, .. } => (Vec::new(), Default::default(), Some(halted(&reason))),
    };
    let logs: Vec<_> = logs
        .into_iter()
        .map(|log| {
            let (topics, data) = log.data.split();
            wire::bare_log(log.address, topics, data)
        })
        .collect();
    Ok(Simulation {
        success: failure.is_none(),
        block_number: base.number,
        method: Tracing::InProcess,
        gas_used,
        return_data: Data(output),
        revert: failure,
        native_changes: Some(native.native()),
        token_changes: Some(token_changes(&logs)),
        logs: Some(logs),
    })
}

/// Balances before and after, without what was paid for gas.
fn native_changes(payer: &Payer<'_>, gas_used: u64, state: &EvmState, view: &mut View) -> Result<Changes, Missing> {
    let base_fee = payer.block.base_fee_per_gas_wei;
    let price = payer.fees.and_then(|fees| fees.price_at(base_fee)).map(|price| price.0);
    let (spent, tip) = match price {
        Some(price) => (price * U256::from(gas_used), (price - base_fee.0) * U256::from(gas_used)),
        None => (U256::ZERO, U256::ZERO),
    };
    let mut changes = Changes::default();
    for (address, account) in state.iter().filter(|(_, account)| account.is_touched()) {
        let left = if account.is_selfdestructed() { U256::ZERO } else { account.info.balance };
        changes.lose(NATIVE, *address, view.find(*address)?.balance);
        changes.gain(NATIVE, *address, left);
        if *address == payer.sender {
            changes.gain(NATIVE, *address, spent);
        }
        if *address == payer.block.fee_recipient.0 {
            changes.lose(NATIVE, *address, tip);
        }
    }
    Ok(changes)
}

fn halted(reason: &HaltReason) -> Revert {
    match reason {
        HaltReason::OutOfGas(_) => Revert::without_data(RevertKind::OutOfGas, "out of gas"),
        reason => Revert::without_data(RevertKind::Halt, format!("the machine stopped: {reason}")),
    }
}

/// No block could hold the transaction.
pub(super) fn refused(why: &InvalidTransaction) -> Fault {
    let fault = Fault::invalid(format!("no block could hold the transaction: {why}"));
    match why {
        InvalidTransaction::LackOfFundForMaxFee { .. } => {
            fault.hint("the sender cannot pay: fund it, or override its balance")
        }
        InvalidTransaction::GasPriceLessThanBasefee => fault.hint("offer more per gas than the block's base fee"),
        InvalidTransaction::TxGasLimitGreaterThanCap { .. } | InvalidTransaction::CallerGasLimitMoreThanBlock => {
            fault.hint("give it less gas, or leave the limit out")
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
        | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => fault.hint("give it more gas, or leave the limit out"),
        _ => fault,
    }
}

/// What a run has touched is in memory; should it ever not be, that is a bug.
pub(super) fn lost(missing: Missing) -> Fault {
    Fault::internal(format!("{missing} was touched by a run and is not in memory"))
}
