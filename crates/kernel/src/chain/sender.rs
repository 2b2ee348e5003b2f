//! Ports: where signed transactions are sent. What a pool says of them is an answer; only silence is a fault.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, Hash};
use crate::Result;

/// Why a node does not take a transaction into its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A transaction with this nonce is on the chain already.
    NonceTooLow,
    /// Another with this nonce is in the pool, and this one does not offer enough more to take its place.
    ReplacementUnderpriced,
    /// It offers less than the base fee, or than the pool's least.
    FeeTooLow,
    /// The pool is full of better ones.
    PoolFull,
    /// The sender cannot pay for it.
    InsufficientFunds,
    /// No block could ever hold it.
    Invalid,
}

/// What a node says of a transaction that it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It took it, or had it already: the same bytes sent twice are one transaction.
    Taken,
    /// It did not.
    Refused {
        /// Why.
        why: Refusal,
        /// In the node's own words.
        words: String,
    },
}

/// The port to the public pool.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Sends a signed transaction.
    ///
    /// # Errors
    /// When it cannot be known whether any node has it. Sending the same bytes again does no harm.
    async fn send(&self, raw: &Data) -> Result<Verdict>;
}

/// Signed transactions that are to be in one block together, in this order, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The transactions' bytes.
    pub transactions: Vec<Data>,
    /// The only block that may hold them.
    pub block_number: u64,
    /// A name by which it can be replaced and cancelled: a UUID.
    pub uuid: String,
}

/// What a relay says a bundle would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleSimulation {
    /// Whether all of it would succeed.
    pub success: bool,
    /// Gas that all of it would use.
    pub gas_used: u64,
    /// Why it would fail, in the relay's words.
    pub error: Option<String>,
    /// The block on whose state it was run.
    pub state_block: u64,
}

/// The port to a private relay: who builds blocks sees the bundle, the public pool does not.
#[async_trait]
pub trait Relay: Send + Sync {
    /// Runs a bundle on the relay without sending it on.
    async fn simulate(&self, bundle: &Bundle) -> Result<BundleSimulation>;

    /// Sends a bundle; the same again does no harm. Returns the relay's hash of it.
    async fn send(&self, bundle: &Bundle) -> Result<Hash>;

    /// Takes back the bundles of this name, as far as the relay still can.
    async fn cancel(&self, uuid: &str) -> Result<()>;
}
