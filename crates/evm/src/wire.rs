//! What nodes send, read leniently: chains add fields and transaction types of their own.

use alloy_primitives::{Address as RawAddress, B256, Bytes, U64, U256};
use kernel::chain::{
    AccountOverride, Address, Amount, Block, BlockId, CallRequest, Data, Hash, Head, Log, Receipt, Syncing, Transaction,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireBlock {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U256>,
    gas_used: U64,
    gas_limit: U64,
    #[serde(default)]
    miner: RawAddress,
    state_root: B256,
    size: Option<U64>,
    #[serde(default)]
    transactions: Vec<B256>,
}

impl From<WireBlock> for Block {
    fn from(wire: WireBlock) -> Self {
        Self {
            fee_recipient: Address(wire.miner),
            state_root: Hash(wire.state_root),
            size_bytes: wire.size.map(|size| size.to()),
            transactions: wire.transactions.iter().copied().map(Hash).collect(),
            head: Head {
                number: wire.number.to(),
                hash: Hash(wire.hash),
                parent_hash: Hash(wire.parent_hash),
                timestamp_seconds: wire.timestamp.to(),
                base_fee_per_gas_wei: wire.base_fee_per_gas.map(Amount),
                gas_used: wire.gas_used.to(),
                gas_limit: wire.gas_limit.to(),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireTransaction {
    hash: B256,
    #[serde(default, rename = "type")]
    kind: U64,
    from: RawAddress,
    to: Option<RawAddress>,
    #[serde(default)]
    nonce: U64,
    #[serde(default)]
    value: U256,
    #[serde(default)]
    gas: U64,
    gas_price: Option<U256>,
    max_fee_per_gas: Option<U256>,
    max_priority_fee_per_gas: Option<U256>,
    #[serde(default)]
    input: Bytes,
    block_number: Option<U64>,
    block_hash: Option<B256>,
    transaction_index: Option<U64>,
}

impl From<WireTransaction> for Transaction {
    fn from(wire: WireTransaction) -> Self {
        Self {
            hash: Hash(wire.hash),
            kind: wire.kind.to(),
            from: Address(wire.from),
            to: wire.to.map(Address),
            nonce: wire.nonce.to(),
            value_wei: Amount(wire.value),
            gas_limit: wire.gas.to(),
            gas_price_wei: wire.gas_price.map(Amount),
            max_fee_per_gas_wei: wire.max_fee_per_gas.map(Amount),
            max_priority_fee_per_gas_wei: wire.max_priority_fee_per_gas.map(Amount),
            input: Data(wire.input),
            block_number: wire.block_number.map(|number| number.to()),
            block_hash: wire.block_hash.map(Hash),
            index: wire.transaction_index.map(|index| index.to()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireReceipt {
    transaction_hash: B256,
    status: Option<U64>,
    block_number: U64,
    block_hash: B256,
    transaction_index: U64,
    from: RawAddress,
    to: Option<RawAddress>,
    contract_address: Option<RawAddress>,
    gas_used: U64,
    #[serde(default)]
    effective_gas_price: U256,
    logs: Vec<WireLog>,
}

impl WireReceipt {
    /// The receipt as seen when `head` is the newest block.
    pub(crate) fn at_head(self, head: u64) -> Receipt {
        let block_number = self.block_number.to::<u64>();
        Receipt {
            transaction_hash: Hash(self.transaction_hash),
            // Before Byzantium receipts had no status; such a transaction is on the chain whatever became of it.
            success: self.status.is_none_or(|status| !status.is_zero()),
            block_number,
            block_hash: Hash(self.block_hash),
            index: self.transaction_index.to(),
            confirmations: (head + 1).saturating_sub(block_number).max(1),
            from: Address(self.from),
            to: self.to.map(Address),
            contract_address: self.contract_address.map(Address),
            gas_used: self.gas_used.to(),
            effective_gas_price_wei: Amount(self.effective_gas_price),
            fee_wei: Amount(self.effective_gas_price.saturating_mul(U256::from(self.gas_used))),
            logs: self.logs.into_iter().map(Log::from).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireLog {
    pub(crate) address: RawAddress,
    #[serde(default)]
    pub(crate) topics: Vec<B256>,
    #[serde(default)]
    pub(crate) data: Bytes,
    block_number: Option<U64>,
    block_hash: Option<B256>,
    transaction_hash: Option<B256>,
    log_index: Option<U64>,
}

impl From<WireLog> for Log {
    fn from(wire: WireLog) -> Self {
        Self {
            block_number: wire.block_number.map(|number| number.to()),
            block_hash: wire.block_hash.map(Hash),
            transaction_hash: wire.transaction_hash.map(Hash),
            index: wire.log_index.map(|index| index.to()),
            ..bare_log(wire.address, wire.topics, wire.data)
        }
    }
}

/// A log that no block holds.
pub(crate) fn bare_log(address: RawAddress, topics: Vec<B256>, data: Bytes) -> Log {
    Log {
        address: Address(address),
        topics: topics.into_iter().map(Hash).collect(),
        data: Data(data),
        block_number: None,
        block_hash: None,
        transaction_hash: None,
        index: None,
    }
}

/// What `eth_syncing` says: `false`, or how far the node is. Some nodes answer an object without figures; they are behind by an unknown
/// distance and say nothing that could be shown.
pub(crate) fn syncing(answer: &Value) -> Option<Syncing> {
    let figure =
        |name: &str| answer.get(name).and_then(|value| U64::deserialize(value).ok()).map(|figure| figure.to::<u64>());
    Some(Syncing { current_block: figure("currentBlock")?, highest_block: figure("highestBlock")? })
}

pub(crate) fn quantity(number: u64) -> Value {
    Value::String(format!("{number:#x}"))
}

/// A block as a parameter.
pub(crate) fn block(at: BlockId) -> Value {
    match at {
        BlockId::Number(number) => quantity(number),
        BlockId::Hash(hash) => json!({ "blockHash": hash }),
        named => Value::String(named.to_string()),
    }
}

/// A call as a parameter.
pub(crate) fn call(call: &CallRequest) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| value.map(|value| object.insert(key.into(), value));
    put("from", call.from.map(|from| json!(from)));
    put("to", call.to.map(|to| json!(to)));
    put("gas", call.gas_limit.map(quantity));
    put("value", (!call.value_wei.is_zero()).then(|| json!(format!("{:#x}", call.value_wei.0))));
    put("input", (!call.data.is_empty()).then(|| json!(call.data)));
    Value::Object(object)
}

/// Overrides as a parameter.
pub(crate) fn overrides(overrides: &[AccountOverride]) -> Value {
    let mut accounts = Map::new();
    for account in overrides {
        let mut object = Map::new();
        let mut put = |key: &str, value: Option<Value>| value.map(|value| object.insert(key.into(), value));
        put("balance", account.balance_wei.map(|balance| json!(format!("{:#x}", balance.0))));
        put("nonce", account.nonce.map(quantity));
        put("code", account.code.as_ref().map(|code| json!(code)));
        let slots: Map<_, _> = account.storage.iter().map(|slot| (slot.slot.to_string(), json!(slot.value))).collect();
        put("stateDiff", (!slots.is_empty()).then_some(Value::Object(slots)));
        accounts.insert(account.address.to_string(), Value::Object(object));
    }
    Value::Object(accounts)
}
