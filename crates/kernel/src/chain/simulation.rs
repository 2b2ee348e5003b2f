//! Calls: what to run, with which state changed, and all that it did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Amount, Data, Hash, Log, Revert};

/// A call or a transaction to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// Who calls; the zero address when absent.
    #[serde(default)]
    pub from: Option<Address>,
    /// The account or contract called; a contract's creation when absent.
    #[serde(default)]
    pub to: Option<Address>,
    /// Calldata, or the code that creates a contract.
    #[serde(default)]
    pub data: Data,
    /// Native coin sent along, in wei.
    #[serde(default)]
    pub value_wei: Amount,
    /// Gas it may use at most; the node's own limit when absent.
    #[serde(default)]
    pub gas_limit: Option<u64>,
}

impl CallRequest {
    /// A plain read of a contract.
    pub fn read(to: Address, data: Data) -> Self {
        Self { to: Some(to), data, ..Self::default() }
    }
}

/// An account as a simulation should find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountOverride {
    /// The account.
    pub address: Address,
    /// Its balance of the native coin, in wei.
    #[serde(default)]
    pub balance_wei: Option<Amount>,
    /// Its nonce.
    #[serde(default)]
    pub nonce: Option<u64>,
    /// Its code.
    #[serde(default)]
    pub code: Option<Data>,
    /// Storage slots to change; the others stay.
    #[serde(default)]
    pub storage: Vec<SlotValue>,
}

/// A storage slot's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotValue {
    /// The slot.
    pub slot: Hash,
    /// What it holds.
    pub value: Hash,
}

/// By which of a node's methods something was found out; which parts of the answer exist hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tracing {
    /// A call trace: everything is known.
    #[serde(rename = "debug_traceCall")]
    DebugTraceCall,
    /// A simulated block: everything is known but the frames.
    #[serde(rename = "eth_simulateV1")]
    SimulateV1,
    /// A plain call: only success, returned data and gas are known; logs and balance changes are not.
    #[serde(rename = "eth_call")]
    Call,
    /// Run in this process on the node's state: everything is known but the frames.
    #[serde(rename = "in_process")]
    InProcess,
}

/// What a transaction would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Simulation {
    /// Whether it would succeed.
    pub success: bool,
    /// The block on whose state it was run.
    pub block_number: u64,
    /// How it was found out. With `eth_call`, logs and balance changes are unknown and their lists are absent.
    pub method: Tracing,
    /// Gas it would use.
    pub gas_used: u64,
    /// What it would return.
    pub return_data: Data,
    /// Why it would fail; absent when it succeeds.
    pub revert: Option<Revert>,
    /// The logs it would write.
    pub logs: Option<Vec<Log>>,
    /// Net changes of native balances by transfers; gas is not counted.
    pub native_changes: Option<Vec<BalanceChange>>,
    /// Net changes of ERC-20 balances, as the tokens' own events tell them.
    pub token_changes: Option<Vec<TokenChange>>,
}

/// A native balance's net change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalanceChange {
    /// Whose.
    pub account: Address,
    /// By how much, in wei, with a sign when less.
    pub change_wei: String,
}

/// A token balance's net change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenChange {
    /// Of which token.
    pub token: Address,
    /// Whose.
    pub account: Address,
    /// By how much, in the token's smallest unit, with a sign when less.
    pub change: String,
}

/// The calls a transaction made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionTrace {
    /// The transaction.
    pub transaction_hash: Hash,
    /// Its calls in the order they began; the first is the transaction itself.
    pub frames: Vec<Frame>,
    /// Calls left out because there were too many.
    pub frames_omitted: u64,
}

/// One call within a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// How deep: 0 for the transaction itself.
    pub depth: u32,
    /// `CALL`, `DELEGATECALL`, `STATICCALL`, `CREATE`, `CREATE2`, `SELFDESTRUCT`.
    pub kind: String,
    /// Who called.
    pub from: Address,
    /// Who was called or created.
    pub to: Option<Address>,
    /// Native coin sent along, in wei.
    pub value_wei: Amount,
    /// Gas it was given.
    pub gas: u64,
    /// Gas it used.
    pub gas_used: u64,
    /// Calldata.
    pub input: Data,
    /// What it returned, or its revert's data.
    pub output: Data,
    /// Why it failed, decoded; absent when it did not.
    pub error: Option<String>,
    /// The logs it wrote itself.
    pub logs: Vec<Log>,
}
