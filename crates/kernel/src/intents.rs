//! Intents: transactions that are sent once, whatever breaks in between.
//!
//! An intent is written down, with its nonce and the hash of its calldata, before it is signed; its signed bytes are written down before the
//! first of them leaves. Whoever comes next, after a crash or in another process, finds in the store all that may have left, and the same
//! bytes sent twice are one transaction. Made of ports alone, so that servers can use it and tests can break any part of it.
//!
//! Invariants:
//! - Nothing leaves before its row is committed, and nothing new before the intents found at the start were looked at ([`Engine::reconcile`]).
//! - A row changes only from the revision that was read: of two processes one wins. A nonce is given with its row, in one commit.
//! - The gate is asked last before every send, the first, the repeated and the replacing ones.
//! - What may have left is watched until its nonce is taken for good, by it or by another. What had settled is opened again when the chain
//!   has lost its block.
//! - A replacement offers at least a tenth more of both fees; a transaction has no more gas than EIP-7825 allows.

mod act;
mod fees;
mod lost;
mod row;
mod rows;
mod step;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::keccak256;
use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde_json::json;

use crate::bus::{Bus, NewEvent};
use crate::chain::{
    Address, BlockId, CallRequest, Chain, Hash, Relay, Sender, Signer, Simulation, TRANSACTION_GAS_MAX, Trial,
};
use crate::store::{Expect, Store, Write};
use crate::{Clock, Code, Fault, Result};

pub use fees::{BUMP_PERCENT_MIN, least_replacement};
pub use row::{Attempt, Intent, Mined, Purpose, Rehearsal, Request, Route, Simulated, State, Trouble};
pub use rows::INTENTS;
use rows::{Row, lowest_free};

/// The topic on which intents are told.
pub const INTENTS_TOPIC: &str = "intents";
/// The kind of event that an intent's new state or trouble is.
pub const INTENT_EVENT: &str = "intent.changed";
/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 200;
/// Longest calldata, in bytes: the largest contract's creation code.
pub const DATA_BYTES_MAX: usize = 49_152;
/// Most signed transactions of one intent.
pub const ATTEMPTS_MAX: usize = 16;
/// Most times that a change is tried again because somebody else changed something beside it.
const TRIES_MAX: usize = 20;

/// Who has the last word. What the risk rules and the kill switch say comes in by this.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Before an intent is written down: refuses it, or gives writes that belong to the same commit (a reservation, say), with what they
    /// expect. Asked again when the commit lost to another.
    async fn admit(&self, intent: &Intent, simulation: &Simulation) -> Result<Vec<Write>>;

    /// Last before bytes leave. An error holds them back.
    async fn allow(&self, intent: &Intent, purpose: Purpose) -> Result<()>;

    /// When an intent changes: writes that belong to the same commit, with what they expect (the booking when it is in a block, its return
    /// when it no longer is, the reservation's release). Asked again when the commit lost to another.
    async fn change(&self, was: &Intent, now: &Intent) -> Result<Vec<Write>>;

    /// After an intent was written down or changed, once for each time: to count it and to tell of it. What is lost here is lost to counts.
    async fn changed(&self, was: Option<&Intent>, now: &Intent) {
        let _ = (was, now);
    }
}

/// When what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Blocks after which a transaction stays, its own counted.
    pub confirmations: u64,
    /// How long it may be in the pool before it is sped up, in milliseconds.
    pub stuck_after_ms: i64,
    /// By how many percent speeding up raises both fees; at least [`BUMP_PERCENT_MIN`].
    pub bump_percent: u64,
    /// How long another process's unfinished submission is left to it, in milliseconds.
    pub takeover_ms: i64,
    /// Most open intents of the wallet.
    pub open_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { confirmations: 6, stuck_after_ms: 45_000, bump_percent: 15, takeover_ms: 10_000, open_max: 64 }
    }
}

/// What the engine is made of.
#[derive(Clone)]
pub struct Parts {
    /// Where intents are kept.
    pub store: Arc<dyn Store>,
    /// Where they are told.
    pub bus: Arc<dyn Bus>,
    /// Time.
    pub clock: Clock,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Its number.
    pub chain_id: u64,
    /// What tells it from another chain of the same number, such as a sandbox that was made anew; empty where there is none.
    pub realm: String,
    /// The public pool.
    pub sender: Arc<dyn Sender>,
    /// The private relay, where there is one.
    pub relay: Option<Arc<dyn Relay>>,
    /// The wallet.
    pub wallet: Address,
    /// Its key; without one nothing but pretended intents is possible.
    pub signer: Option<Arc<dyn Signer>>,
    /// Who has the last word.
    pub gate: Arc<dyn Gate>,
    /// When what is done.
    pub policy: Policy,
}

/// The engine, for one wallet on one chain. Several processes may have one for the same wallet.
pub struct Engine {
    parts: Parts,
    reconciled: AtomicBool,
}

impl Engine {
    /// Looks at nothing yet: call [`Engine::reconcile`] first.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the policy's figures or the signer's address do not fit.
    pub fn new(parts: Parts) -> Result<Self> {
        let Policy { confirmations, bump_percent, .. } = parts.policy;
        if bump_percent < BUMP_PERCENT_MIN || confirmations == 0 {
            return Err(Fault::invalid("the execution policy's figures do not fit")
                .hint(format!("at least {BUMP_PERCENT_MIN} % more for a replacement, at least one confirmation")));
        }
        if parts.signer.as_ref().is_some_and(|signer| signer.address() != parts.wallet) {
            return Err(Fault::invalid("the signer is not the wallet's"));
        }
        Ok(Self { parts, reconciled: AtomicBool::new(false) })
    }

    /// Looks at every open intent: once before anything new is sent, then after every block. What stays open stays for the next time.
    /// Returns how many are open.
    ///
    /// # Errors
    /// When the store does not answer, or the chain when it is asked whether what had settled is still there. What nodes fail with otherwise
    /// is each intent's [`Trouble`].
    pub async fn reconcile(&self) -> Result<usize> {
        let lost = self.reopen_lost().await;
        let keys = self.open_keys().await?;
        for key in &keys {
            self.step(key).await?;
        }
        lost?;
        self.reconciled.store(true, Ordering::Release);
        Ok(keys.len())
    }

    /// Wants something on the chain: simulates it on the current head, asks the gate, writes it down, signs it, asks the gate again, sends
    /// it. Returns how it stands after that; the rest is [`Engine::reconcile`]'s. Under a key that is known nothing new is begun.
    ///
    /// # Errors
    /// [`Code::Reverted`] when the simulation reverts, what the gate refuses with, [`Code::Conflict`] when the key is another intent's,
    /// [`Code::NotConfigured`] without a signer. Once it is written down there is no error: what holds it up is its [`Trouble`].
    pub async fn submit(&self, request: Request) -> Result<Intent> {
        check(&request)?;
        if let Some(row) = self.row(&request.key).await? {
            return same(row.intent, &request);
        }
        if !self.reconciled.load(Ordering::Acquire) {
            return Err(Fault::unavailable("the wallet's earlier intents have not been looked at yet")
                .hint("try again in a moment"));
        }
        if !request.paper && self.parts.signer.is_none() {
            return Err(
                Fault::not_configured("there is no key to sign with").hint("give the wallet's key, or use paper mode")
            );
        }
        if matches!(request.route, Route::Private { .. }) && self.parts.relay.is_none() {
            return Err(
                Fault::not_configured("there is no private relay").hint("configure one, or use the public route")
            );
        }
        let key = request.key.clone();
        let row = self.admit(request).await?;
        if row.intent.request.paper {
            return Ok(row.intent);
        }
        self.begin(row).await?;
        self.get(&key).await
    }

    /// The chain's number.
    pub fn chain_id(&self) -> u64 {
        self.parts.chain_id
    }

    /// The wallet's intents that something may still happen to.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_open(&self) -> Result<Vec<Intent>> {
        let keys = self.open_keys().await?;
        let rows = try_join_all(keys.iter().map(|key| self.row(key))).await?;
        Ok(rows.into_iter().flatten().map(|row| row.intent).collect())
    }

    /// How an intent stands.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is none of this key.
    pub async fn get(&self, key: &str) -> Result<Intent> {
        let row = self.row(key).await?;
        row.map(|row| row.intent)
            .ok_or_else(|| Fault::not_found(format!("no intent `{key}`")).hint("keys are per wallet"))
    }

    /// Simulates and writes down.
    async fn admit(&self, request: Request) -> Result<Row> {
        let (simulation, mut ground) = tokio::try_join!(self.simulate(&request), self.nonce_ground(&request))?;
        for _ in 0..TRIES_MAX {
            let mut intent = self.intent(&request, &simulation);
            if let Some(ground) = &ground {
                self.give_nonce(&mut intent, ground)?;
            }
            let given = ground.map(|ground| ground.expect);
            let also = self.parts.gate.admit(&intent, &simulation.0).await?;
            if let Some(revision) = self.create(&intent, given, also).await? {
                self.tell(None, &intent).await;
                return Ok(Row { intent, revision });
            }
            if let Some(Row { intent, revision }) = self.row(&request.key).await? {
                return Ok(Row { intent: same(intent, &request)?, revision });
            }
            ground = self.nonce_ground(&request).await?;
        }
        Err(Fault::conflict("too many intents of this wallet are begun at once").hint("try again"))
    }

    /// What an intent's nonce stands on; nothing for what is only pretended.
    async fn nonce_ground(&self, request: &Request) -> Result<Option<Ground>> {
        if request.paper {
            return Ok(None);
        }
        let expect = self.nonce_given().await?;
        // Before the chain is asked: what has left these by then is in its number.
        let open = self.list_open().await?;
        let first = if expect == Expect::Absent { BlockId::Pending } else { BlockId::Latest };
        let used = self.parts.chain.nonce(self.parts.wallet, first).await?;
        Ok(Some(Ground { expect, open, used }))
    }

    /// Gives an intent its nonce.
    ///
    /// A dropped intent's transaction may come back. So that the one that has its nonce now cannot be taken for it, not even if it does the
    /// same, its bytes are made to differ: by a unit of gas.
    fn give_nonce(&self, intent: &mut Intent, Ground { open, used, .. }: &Ground) -> Result<()> {
        if open.len() >= self.parts.policy.open_max {
            let what = format!("{} intents of this wallet are open", self.parts.policy.open_max);
            return Err(Fault::new(Code::RateLimited, what).hint("wait until some have ended"));
        }
        let held = open.iter().filter(|other| other.holds_nonce()).filter_map(|other| other.nonce).collect();
        let nonce = lowest_free(*used, &held);
        intent.nonce = Some(nonce);
        let limits: Vec<u64> =
            open.iter().filter(|other| other.nonce == Some(nonce)).map(|other| other.gas_limit).collect();
        while limits.contains(&intent.gas_limit) {
            intent.gas_limit -= 1;
        }
        Ok(())
    }

    /// Runs it on the newest block that is known here, without asking: whether that still is the newest, the gate looks last before the send. What does
    /// not go well there is run on the newest block that the node has.
    async fn simulate(&self, request: &Request) -> Result<(Simulation, Hash)> {
        if let Some(head) = self.parts.chain.head()
            && let Ok(simulated) = self.simulate_at(request, BlockId::Hash(head.hash)).await
        {
            return Ok(simulated);
        }
        self.simulate_at(request, BlockId::Latest).await
    }

    async fn simulate_at(&self, request: &Request, block: BlockId) -> Result<(Simulation, Hash)> {
        let mut fork = self.parts.chain.fork(block).await?;
        if let Some(rehearsal) = &request.rehearsal {
            rehearsal.prepare(fork.as_mut()).await?;
        }
        let call = CallRequest {
            from: Some(self.parts.wallet),
            to: request.to,
            data: request.data.clone(),
            value_wei: request.value_wei,
            gas_limit: request.gas_limit,
        };
        let trial = Trial { call, fees: Some(request.fees), access_list: request.access_list.clone() };
        let simulation = fork.attempt(&trial).await?;
        match simulation.revert {
            Some(revert) => Err(revert.into_fault()),
            None => Ok((simulation, fork.base().hash)),
        }
    }

    fn intent(&self, request: &Request, (simulation, block_hash): &(Simulation, Hash)) -> Intent {
        let now = self.parts.clock.now_ms();
        let room = simulation.gas_used.saturating_mul(3).div_ceil(2).min(TRANSACTION_GAS_MAX);
        Intent {
            chain_id: self.parts.chain_id,
            wallet: self.parts.wallet,
            data_hash: Hash(keccak256(&request.data.0)),
            gas_limit: request.gas_limit.unwrap_or(room),
            nonce: None,
            state: if request.paper { State::Paper } else { State::Recorded },
            trouble: None,
            why: None,
            simulated: Simulated {
                block_number: simulation.block_number,
                block_hash: *block_hash,
                gas_used: simulation.gas_used,
                return_data: simulation.return_data.clone(),
            },
            attempts: Vec::new(),
            mined: None,
            created_ms: now,
            updated_ms: now,
            request: request.clone(),
        }
    }

    /// Tells of a change that people may want to know of. The row is the truth, so an event that is lost loses nothing.
    async fn tell(&self, old: Option<&Intent>, new: &Intent) {
        self.parts.gate.changed(old, new).await;
        let was = old.map(|old| old.state);
        // What is on its way out is told when it has left, or is held up, in a moment: who waits for the send waits for every telling before it.
        let begun = match old {
            None => new.state == State::Recorded,
            Some(old) => (old.state, new.state, new.trouble) == (State::Recorded, State::Signed, None),
        };
        if begun || old.is_some_and(|old| (old.state, old.trouble) == (new.state, new.trouble)) {
            return;
        }
        let event = NewEvent {
            topic: INTENTS_TOPIC.into(),
            kind: INTENT_EVENT.into(),
            source: "execution".into(),
            trace_id: None,
            data: json!({
                "key": new.request.key, "wallet": new.wallet, "nonce": new.nonce, "state": new.state, "was": was,
                "trouble": new.trouble, "why": new.why, "hash": new.newest().map(|attempt| attempt.hash), "memo": new.request.memo,
            }),
        };
        if let Err(fault) = self.parts.bus.publish(event).await {
            tracing::warn!(error = %fault, key = new.request.key, "an intent's change could not be told");
        }
    }
}

fn check(request: &Request) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if request.key.is_empty() || request.key.len() > KEY_BYTES_MAX || !request.key.bytes().all(fits) {
        return Err(Fault::invalid("the idempotency key cannot be used")
            .hint(format!("1 to {KEY_BYTES_MAX} characters of A-Z a-z 0-9 . _ : -")));
    }
    if request.data.len() > DATA_BYTES_MAX {
        return Err(Fault::too_large(format!("calldata of {} bytes, past {DATA_BYTES_MAX}", request.data.len())));
    }
    if request.gas_limit.is_some_and(|gas| gas > TRANSACTION_GAS_MAX) {
        return Err(Fault::invalid(format!("a gas limit past {TRANSACTION_GAS_MAX}"))
            .hint("no block may hold such a transaction (EIP-7825): split it"));
    }
    if request.rehearsal.is_some() && !request.paper {
        return Err(Fault::invalid("a rehearsal of what is to be sent").hint("only what is pretended is rehearsed"));
    }
    let fees = request.fees;
    if fees.max_priority_fee_per_gas_wei > fees.max_fee_per_gas_wei
        || fees.max_fee_per_gas_wei > request.fee_ceiling_wei
    {
        return Err(
            Fault::invalid("the fees are out of order").hint("priority fee ≤ whole fee ≤ ceiling, per gas in wei")
        );
    }
    Ok(())
}

/// What a nonce is given on.
struct Ground {
    /// That none was given since this was read.
    expect: Expect,
    /// The wallet's intents that something may still happen to.
    open: Vec<Intent>,
    /// How many the chain has used.
    used: u64,
}

/// The intent of a key that is asked for again.
fn same(intent: Intent, request: &Request) -> Result<Intent> {
    let was = &intent.request;
    if (&was.to, &was.value_wei, &was.data, was.paper)
        == (&request.to, &request.value_wei, &request.data, request.paper)
    {
        return Ok(intent);
    }
    Err(Fault::conflict(format!("intent `{}` is another one: its call is not this one", was.key)).hint("use a new key"))
}
