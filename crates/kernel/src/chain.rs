//! Ports: an EVM chain, and contract encodings that need no node.
//!
//! Invariants: every answer of [`Chain`] comes from a node, none is made up or remembered past its truth; amounts are whole numbers of the
//! smallest unit; a refusal by a contract is [`Code::Reverted`](crate::Code::Reverted) with a [`Revert`] as its data.

use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

mod abi;
mod creation;
mod facts;
mod flash;
mod fork;
mod sender;
mod signer;
mod simulation;
mod unconfigured;
mod words;

pub use abi::{
    Abi, AbiValue, DecodedCall, DecodedLog, EncodedLog, Param, Revert, RevertKind, Signature, SignatureKind,
};
pub use creation::created;
pub use facts::{
    Block, BlockFees, ChainStatus, Deployment, EndpointState, EndpointStatus, FeeHistory, Head, Log, LogFilter,
    Receipt, Syncing, Token, Transaction,
};
pub use flash::{FeeRule, FlashMarket, FlashSource, UnreadSource};
pub use fork::{Access, Fees, Fork, NextBlock, TRANSACTION_GAS_MAX, Trial};
pub use sender::{Bundle, BundleSimulation, Refusal, Relay, Sender, Verdict};
pub use signer::{Signed, Signer, Unsigned};
pub use simulation::{
    AccountOverride, BalanceChange, CallRequest, Frame, Simulation, SlotValue, TokenChange, Tracing, TransactionTrace,
};
pub use unconfigured::Unconfigured;
pub use words::{Address, Amount, BlockId, Data, EXACT_INTEGER_MAX, Hash};

/// The topic on which heads and reorganisations are published.
pub const CHAIN_TOPIC: &str = "chain";
/// The kind of event that a new block is: its data is a [`Head`].
pub const HEAD_EVENT: &str = "chain.head";
/// The kind of event that a reorganisation is: its data is a [`Reorg`].
pub const REORG_EVENT: &str = "chain.reorg";
/// Most logs one answer holds.
pub const LOGS_MAX: usize = 10_000;
/// Most blocks whose fees one answer holds: what nodes give at once.
pub const FEE_BLOCKS_MAX: u64 = 1_024;
/// Most frames one trace holds.
pub const FRAMES_MAX: usize = 2_000;

/// What stands behind a chain's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ground {
    /// Something: it is a chain that others use too, or that somebody else runs.
    #[default]
    Real,
    /// Nothing: it is the sandbox of this fleet.
    Sandbox {
        /// Whether the fleet trades there from the start.
        trades: bool,
    },
}

/// Blocks that were on the chain and no longer are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Reorg {
    /// How many blocks were taken back.
    pub depth: u64,
    /// The newest block that stayed; absent when the change goes deeper than the blocks remembered.
    pub ancestor: Option<u64>,
    /// The blocks taken back, oldest first, as far as they are remembered.
    pub removed: Vec<Hash>,
    /// The blocks in their place, oldest first; fewer than were removed when the chain was rolled back.
    pub added: Vec<Hash>,
}

/// The port to an EVM chain. All of it reads; sending is [`Sender`]'s.
#[async_trait]
pub trait Chain: Send + Sync {
    /// What chain it is and how it stands, endpoint by endpoint.
    async fn status(&self) -> Result<ChainStatus>;

    /// What was deployed to the sandbox; empty on any other chain, and until the sandbox stands. No request is made.
    fn deployments(&self) -> Vec<Deployment>;

    /// What stands behind its money; known from the start, no request is made.
    fn ground(&self) -> Ground {
        Ground::Real
    }

    /// What tells this sandbox from one that was made anew: its first block. `None` on any other chain, and until the sandbox stands. No request is
    /// made.
    fn origin(&self) -> Option<Hash> {
        None
    }

    /// The newest block that head tracking saw; no request is made.
    fn head(&self) -> Option<Head>;

    /// How long ago head tracking saw the block of this height, as it stands now; `None` where it did not. No request is made.
    fn seen(&self, block: u64) -> Option<Duration> {
        let _ = block;
        None
    }

    /// A block. `NotFound` when the chain has none such.
    async fn block(&self, at: BlockId) -> Result<Block>;

    /// A transaction, pending or mined. `NotFound` when the node knows none such.
    async fn transaction(&self, hash: Hash) -> Result<Transaction>;

    /// A mined transaction's receipt. `NotFound` until it is mined.
    async fn receipt(&self, hash: Hash) -> Result<Receipt>;

    /// Logs in chain order. `TooLarge` when the range or the answer is (see [`LOGS_MAX`]).
    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>>;

    /// An account's balance of the native coin.
    async fn balance(&self, account: Address, at: BlockId) -> Result<Amount>;

    /// How many transactions of an account there are, which is its next one's nonce.
    async fn nonce(&self, account: Address, at: BlockId) -> Result<u64>;

    /// An account's balance of an ERC-20 token.
    async fn token_balance(&self, token: Address, account: Address, at: BlockId) -> Result<Amount>;

    /// What an ERC-20 token says of itself. `NotFound` when there is no contract, `InvalidArgument` when it is no token.
    async fn token(&self, token: Address, at: BlockId) -> Result<Token>;

    /// A contract's code; empty where there is none.
    async fn code(&self, account: Address, at: BlockId) -> Result<Data>;

    /// The content of a storage slot.
    async fn storage(&self, account: Address, slot: Hash, at: BlockId) -> Result<Hash>;

    /// Runs a call without a transaction and returns what it returns. `Reverted` when it reverts.
    async fn call(&self, call: &CallRequest, at: BlockId) -> Result<Data>;

    /// Gas that the transaction would need. `Reverted` when it would revert.
    async fn estimate_gas(&self, call: &CallRequest, at: BlockId) -> Result<u64>;

    /// What the newest `blocks` blocks (at most [`FEE_BLOCKS_MAX`]) charged for gas, with the tips at these percentiles (ascending, up
    /// to 100).
    async fn fee_history(&self, blocks: u64, percentiles: &[u8]) -> Result<FeeHistory>;

    /// Runs a transaction without sending it and tells all that it would do. A revert is an answer, not a fault.
    async fn simulate(&self, call: &CallRequest, overrides: &[AccountOverride], at: BlockId) -> Result<Simulation>;

    /// The state after a block, to run transactions on in this process. For one answer about one transaction [`Chain::simulate`] is cheaper and
    /// has the node's own word; this is for many on the same state.
    async fn fork(&self, at: BlockId) -> Result<Box<dyn Fork>>;

    /// The calls a mined transaction made, in order.
    async fn trace(&self, hash: Hash) -> Result<TransactionTrace>;

    /// Who lends this asset within one transaction: contract, liquidity, fee. As of the newest block, or as they were read for somebody else at
    /// most `blocks_old_max` blocks from it.
    async fn flash_sources(&self, asset: Address, blocks_old_max: u64) -> Result<FlashMarket>;
}
