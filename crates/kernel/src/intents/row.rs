//! What is kept of an intent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chain::{
    Access, AccountOverride, Address, Amount, BundleSimulation, CallRequest, Data, Fees, Fork, Hash, Receipt, Refusal,
};
use crate::{Result, UnixMs};

/// What a caller wants on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The idempotency key: asked again under the same key, it is the same intent.
    pub key: String,
    /// The account or contract called; a contract's creation when absent.
    pub to: Option<Address>,
    /// Native coin sent along, in wei.
    pub value_wei: Amount,
    /// Calldata, or the code that creates a contract.
    pub data: Data,
    /// Gas it may use at most; half as much again as the simulation used when absent.
    pub gas_limit: Option<u64>,
    /// Its access list.
    pub access_list: Vec<Access>,
    /// What it offers per gas at first.
    pub fees: Fees,
    /// The most per gas that speeding it up may come to, in wei.
    pub fee_ceiling_wei: Amount,
    /// How it is sent.
    pub route: Route,
    /// The last block it is wanted in; after that it is cancelled.
    pub valid_until_block: Option<u64>,
    /// Whether it is only pretended: everything is done but the sending.
    pub paper: bool,
    /// What a pretended one finds otherwise than the chain has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
    /// What the caller wants to find with it again.
    pub memo: Value,
}

/// What a pretended transaction finds that the chain does not have: a wallet with money, a contract that is not deployed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Accounts as it finds them.
    pub accounts: Vec<AccountOverride>,
    /// What is done before it.
    pub before: Vec<CallRequest>,
}

impl Rehearsal {
    /// Makes a fork so.
    ///
    /// # Errors
    /// [`Code::Reverted`](crate::Code::Reverted) when what is to be done before reverts, and what the fork fails with.
    pub async fn prepare(&self, fork: &mut dyn Fork) -> Result<()> {
        fork.change(&self.accounts);
        for call in &self.before {
            if let Some(revert) = fork.apply(&call.clone().into()).await?.revert {
                return Err(revert.into_fault().context("rehearsal"));
            }
        }
        Ok(())
    }
}

/// How a transaction is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// To the public pool.
    Public,
    /// To a private relay, for so many blocks, each in turn.
    Private {
        /// How many blocks are tried.
        blocks: u64,
    },
}

/// Where an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is written down and has its nonce. No byte has left.
    Recorded,
    /// It is signed; from here on its bytes may have left.
    Signed,
    /// A pool or a relay has it.
    Sent,
    /// It is in a block and did what it should.
    Mined,
    /// It is in a block and failed there.
    Reverted,
    /// It is in a block, or in the place of it what cancels it; so deep that it stays. The end, unless the chain loses that block after all.
    Settled,
    /// Its cancellation is in a block; or it never left. The end, in the latter case.
    Cancelled,
    /// It was not included in time. Its nonce is free, and it is watched until another takes that.
    Dropped,
    /// Another transaction took its nonce. The end.
    Replaced,
    /// The gate or every node refused it. The end.
    Refused,
    /// Pretended, as asked. The end.
    Paper,
}

/// What holds an intent up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The base fee rose over what it offers.
    BaseFeeSpike,
    /// It is in the pool for too long.
    Stuck,
    /// The node has forgotten it; it is sent again.
    Forgotten,
    /// Something in the pool holds its nonce and asks for a higher fee to go.
    ReplacementUnderpriced,
    /// Its nonce seems to be taken by another.
    NonceTaken,
    /// The pool has no place for it, or finds its fee too low.
    PoolRefused,
    /// The sender cannot pay for it.
    InsufficientFunds,
    /// The block it was in is no longer on the chain.
    Reorganised,
    /// The node does not answer in time.
    NodeSilent,
    /// The node answers with errors.
    NodeFailing,
    /// The node's answers contradict each other: its head, its blocks and its receipts are not of one chain.
    NodeUnsure,
    /// The gate holds it back.
    HeldBack,
    /// Speeding it up further would go over its ceiling.
    CeilingReached,
}

/// What a signed transaction of an intent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To do what is wanted.
    Original,
    /// The same for a higher fee.
    SpeedUp,
    /// To take the nonce without doing anything.
    Cancel,
}

/// A signed transaction of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What for.
    pub purpose: Purpose,
    /// Its hash.
    pub hash: Hash,
    /// Its bytes; of the newest attempt only.
    pub raw: Option<Data>,
    /// What it offers per gas.
    pub fees: Fees,
    /// When it was signed.
    pub at_ms: UnixMs,
    /// The block it was last sent for, on a private route.
    pub target_block: Option<u64>,
    /// What a node said when it did not take it.
    pub refused: Option<(Refusal, String)>,
    /// What the relay said it would do, before it was last sent there, on a private route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<BundleSimulation>,
}

/// Where a transaction is on the chain, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mined {
    /// Which of the attempts.
    pub hash: Hash,
    /// What that was for.
    pub purpose: Purpose,
    /// Whether it succeeded.
    pub success: bool,
    /// Its block.
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: Hash,
    /// Gas it used.
    pub gas_used: u64,
    /// What it paid for gas, in wei.
    pub fee_wei: Amount,
}

impl Mined {
    pub(super) fn new(receipt: &Receipt, purpose: Purpose) -> Self {
        Self {
            hash: receipt.transaction_hash,
            purpose,
            success: receipt.success,
            block_number: receipt.block_number,
            block_hash: receipt.block_hash,
            gas_used: receipt.gas_used,
            fee_wei: receipt.fee_wei,
        }
    }

    /// The state of an intent that is in a block so.
    pub(super) fn state(&self) -> State {
        match (self.purpose, self.success) {
            (Purpose::Cancel, _) => State::Cancelled,
            (_, true) => State::Mined,
            (_, false) => State::Reverted,
        }
    }
}

/// What the simulation before the first signature said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// The block on whose state.
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: Hash,
    /// Gas it used.
    pub gas_used: u64,
    /// What it returned.
    pub return_data: Data,
}

/// An intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What is wanted.
    pub request: Request,
    /// The chain.
    pub chain_id: u64,
    /// Whose transaction it is.
    pub wallet: Address,
    /// The hash of the calldata: whoever asks again with other calldata is told.
    pub data_hash: Hash,
    /// Gas it may use at most.
    pub gas_limit: u64,
    /// Its nonce; a pretended one has none.
    pub nonce: Option<u64>,
    /// Where it stands.
    pub state: State,
    /// What holds it up.
    pub trouble: Option<Trouble>,
    /// Why it stands so, for people.
    pub why: Option<String>,
    /// What the simulation said.
    pub simulated: Simulated,
    /// Its signed transactions, oldest first.
    pub attempts: Vec<Attempt>,
    /// Where it is on the chain.
    pub mined: Option<Mined>,
    /// When it was written down.
    pub created_ms: UnixMs,
    /// When it changed last.
    pub updated_ms: UnixMs,
}

impl Intent {
    /// Whether something may still happen to it.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Recorded | State::Signed | State::Sent | State::Mined | State::Reverted => true,
            State::Cancelled => self.mined.is_some(),
            State::Dropped => !self.attempts.is_empty(),
            State::Settled | State::Replaced | State::Refused | State::Paper => false,
        }
    }

    /// Whether its nonce is its own: a dropped one has given it up.
    pub(super) fn holds_nonce(&self) -> bool {
        self.is_open() && self.state != State::Dropped
    }

    pub(super) fn newest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Whether it is being cancelled.
    pub(super) fn cancelling(&self) -> bool {
        self.newest().is_some_and(|attempt| attempt.purpose == Purpose::Cancel)
    }

    pub(super) fn expired(&self, head: u64) -> bool {
        self.request.valid_until_block.is_some_and(|last| head >= last)
    }
}
