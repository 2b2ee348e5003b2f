//! What a node says: status, blocks, transactions, receipts, logs, tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Amount, BlockId, Data, Hash};

/// A block's place and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// The hash of the block before it.
    pub parent_hash: Hash,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp_seconds: u64,
    /// The base fee per gas, in wei; absent on chains without one.
    pub base_fee_per_gas_wei: Option<Amount>,
    /// Gas its transactions used.
    pub gas_used: u64,
    /// Gas its transactions may use at most.
    pub gas_limit: u64,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Its place, time and gas.
    #[serde(flatten)]
    pub head: Head,
    /// Who received its fees.
    pub fee_recipient: Address,
    /// The root of the state after it.
    pub state_root: Hash,
    /// The size of its encoding, in bytes, where the node says.
    pub size_bytes: Option<u64>,
    /// The hashes of its transactions, in order.
    pub transactions: Vec<Hash>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transaction {
    /// Its hash.
    pub hash: Hash,
    /// Its type: 0 legacy, 1 access list, 2 dynamic fee, 3 blob, 4 set code, others as the chain has them.
    pub kind: u64,
    /// Who sent it.
    pub from: Address,
    /// The account or contract called; absent when it creates a contract.
    pub to: Option<Address>,
    /// The sender's nonce.
    pub nonce: u64,
    /// Native coin sent along, in wei.
    pub value_wei: Amount,
    /// Gas it may use at most.
    pub gas_limit: u64,
    /// Price per gas, in wei: offered while pending, paid once mined, as the node says.
    pub gas_price_wei: Option<Amount>,
    /// The most it pays per gas, in wei.
    pub max_fee_per_gas_wei: Option<Amount>,
    /// The most of that which goes to the block's maker, in wei.
    pub max_priority_fee_per_gas_wei: Option<Amount>,
    /// Calldata, or the code that creates a contract.
    pub input: Data,
    /// The block it is in; absent while pending.
    pub block_number: Option<u64>,
    /// That block's hash.
    pub block_hash: Option<Hash>,
    /// Its place in that block.
    pub index: Option<u64>,
}

/// What a mined transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The transaction's hash.
    pub transaction_hash: Hash,
    /// Whether it succeeded.
    pub success: bool,
    /// The block it is in.
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: Hash,
    /// Its place in that block.
    pub index: u64,
    /// Blocks made since, this one counted: 1 for the newest block.
    pub confirmations: u64,
    /// Who sent it.
    pub from: Address,
    /// The account or contract called.
    pub to: Option<Address>,
    /// The contract it created.
    pub contract_address: Option<Address>,
    /// Gas it used.
    pub gas_used: u64,
    /// What it paid per gas, in wei.
    pub effective_gas_price_wei: Amount,
    /// What it paid for gas in all, in wei.
    pub fee_wei: Amount,
    /// The logs it wrote.
    pub logs: Vec<Log>,
}

/// A log that a contract wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// The indexed values; the first names the event unless it is anonymous.
    pub topics: Vec<Hash>,
    /// The other values, encoded.
    pub data: Data,
    /// The block; absent in a simulation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub block_number: Option<u64>,
    /// That block's hash.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub block_hash: Option<Hash>,
    /// The transaction.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction_hash: Option<Hash>,
    /// Its place among the block's logs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u64>,
}

/// Which logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFilter {
    /// The first block.
    pub from: BlockId,
    /// The last block, itself included.
    pub to: BlockId,
    /// Any of these contracts; every contract when empty.
    pub addresses: Vec<Address>,
    /// For each topic's place, any of these values; every value when empty.
    pub topics: Vec<Vec<Hash>>,
}

/// What recent blocks charged for gas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeeHistory {
    /// The blocks, oldest first.
    pub blocks: Vec<BlockFees>,
    /// The base fee per gas of the block after the newest, in wei; absent on chains without one.
    pub next_base_fee_per_gas_wei: Option<Amount>,
}

/// What a block charged for gas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockFees {
    /// Its height.
    pub number: u64,
    /// Its base fee per gas, in wei; absent on chains without one.
    pub base_fee_per_gas_wei: Option<Amount>,
    /// How full it was: gas used of its limit, in hundredths of a percent.
    pub gas_used_bps: u32,
    /// The priority fee per gas at each percentile asked for, weighted by gas, in wei; empty where the block has no transactions.
    pub tips_wei: Vec<Amount>,
}

/// An ERC-20 token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its contract.
    pub address: Address,
    /// Its name; absent when the contract does not say.
    pub name: Option<String>,
    /// Its symbol; absent when the contract does not say.
    pub symbol: Option<String>,
    /// How many decimal digits a whole token has; absent when the contract does not say.
    pub decimals: Option<u8>,
    /// All there is, in the smallest unit.
    pub total_supply: Amount,
}

/// How the chain stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainStatus {
    /// The chain's number: 1 for Ethereum, 31337 for a development chain.
    pub chain_id: u64,
    /// The node's software and version.
    pub client_version: String,
    /// Whether this is the local sandbox: its accounts' keys are public knowledge and its money is play money.
    pub sandbox: bool,
    /// The newest block.
    pub head: Head,
    /// Seconds since the newest block was made.
    pub head_age_seconds: u64,
    /// What the node would pay per gas for a legacy transaction, in wei.
    pub gas_price_wei: Amount,
    /// The base fee per gas of the newest block, in wei.
    pub base_fee_per_gas_wei: Option<Amount>,
    /// The priority fee per gas that the node suggests, in wei; absent where it suggests none.
    pub priority_fee_per_gas_wei: Option<Amount>,
    /// How far the node still is behind; absent when it is not.
    pub syncing: Option<Syncing>,
    /// Reorganisations seen since the start.
    pub reorgs_seen: u64,
    /// Every endpoint, in the order of preference.
    pub endpoints: Vec<EndpointStatus>,
    /// What was deployed to the sandbox; empty elsewhere.
    pub deployments: Vec<Deployment>,
    /// The sandbox's funded accounts; empty elsewhere.
    pub accounts: Vec<Address>,
}

/// A node that has not all blocks yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Syncing {
    /// The newest block it has.
    pub current_block: u64,
    /// The newest block it knows of.
    pub highest_block: u64,
}

/// How an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Not asked yet.
    Untried,
    /// Its last answer was good.
    Healthy,
    /// It failed; it is left alone until its waiting time is over.
    Down,
    /// It answers for another chain and is never asked again until it says otherwise.
    WrongChain,
}

/// An endpoint, seen from here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointStatus {
    /// Its host and port; a URL's path may be a key and is never shown.
    pub endpoint: String,
    /// How it stands.
    pub state: EndpointState,
    /// How long an answer takes, in milliseconds: an average that favours the newest.
    pub latency_ms: Option<f64>,
    /// Requests made.
    pub requests: u64,
    /// Requests that failed for reasons of the endpoint's.
    pub failures: u64,
    /// Failures since the last good answer.
    pub failures_in_a_row: u32,
    /// What the last failure was.
    pub last_failure: Option<String>,
}

/// A contract of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// A short name: `weth`, `usdc`, `uniswap-v2-router`.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// What it is, and from which package its code came.
    pub what: String,
}
