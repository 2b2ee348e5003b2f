//! What is done: signing, sending, replacing. Each on a row that was read, so that of two who do it one counts.

use super::row::{Attempt, Intent, Purpose, Route, State, Trouble};
use super::rows::Row;
use super::{ATTEMPTS_MAX, Engine, fees};
use crate::chain::{Amount, Bundle, Data, Fees, Refusal, Relay, Signed, Unsigned, Verdict};
use crate::{Code, Fault, Result};

/// Gas of a transaction that does nothing.
const NOTHING_GAS: u64 = 21_000;

impl Engine {
    /// Signs and sends what is written down.
    pub(super) async fn begin(&self, row: Row) -> Result<()> {
        let fees = row.intent.request.fees;
        let Some(signed) = self.sign(row, Purpose::Original, fees).await? else { return Ok(()) };
        self.dispatch(signed).await
    }

    /// Offers more for an intent that is in the pool.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the fees are below the least that pools take, or over the intent's ceiling; [`Code::Conflict`] when it
    /// is not in a state to be sped up, or another process changed it.
    pub async fn speed_up(&self, key: &str, fees: Fees) -> Result<Intent> {
        self.supersede(key, Purpose::SpeedUp, Some(fees)).await
    }

    /// Takes an intent back: at once when no byte has left, otherwise by a transaction that does nothing in its place, or by asking the
    /// relay. That may come too late; how it ended the intent says.
    ///
    /// # Errors
    /// [`Code::Conflict`] when it is not in a state to be cancelled, or another process changed it.
    pub async fn cancel(&self, key: &str) -> Result<Intent> {
        let intent = self.get(key).await?;
        if intent.state == State::Recorded {
            let row = self.row(key).await?.filter(|row| row.intent.state == State::Recorded);
            let mut intent = intent;
            (intent.state, intent.why) = (State::Cancelled, Some("taken back before it was signed".into()));
            return match row {
                Some(row) => self.settled(self.replace(row, intent).await?),
                None => self.settled(None),
            };
        }
        if matches!(intent.request.route, Route::Private { .. }) && matches!(intent.state, State::Signed | State::Sent)
        {
            return self.withdraw(key).await;
        }
        self.supersede(key, Purpose::Cancel, None).await
    }

    fn settled(&self, row: Option<Row>) -> Result<Intent> {
        let changed = || Fault::conflict("the intent was changed meanwhile").hint("look at it again");
        row.map(|row| row.intent).ok_or_else(changed)
    }

    async fn supersede(&self, key: &str, purpose: Purpose, wanted: Option<Fees>) -> Result<Intent> {
        let row = self.row(key).await?;
        let row = row.ok_or_else(|| Fault::not_found(format!("no intent `{key}`")))?;
        let replaceable = matches!(row.intent.state, State::Signed | State::Sent) && !row.intent.cancelling();
        let Some(newest) = row.intent.newest().filter(|_| replaceable) else {
            return Err(Fault::conflict(
                format!("intent `{key}` is {:?} and cannot be replaced", row.intent.state).to_lowercase(),
            )
            .hint("only what is in the pool and not yet being cancelled can be"));
        };
        let fees = wanted.unwrap_or_else(|| fees::bump(newest.fees, self.parts.policy.bump_percent));
        fees::check(newest.fees, fees)?;
        // To get out, the ceiling does not count.
        if purpose == Purpose::SpeedUp && fees.max_fee_per_gas_wei > row.intent.request.fee_ceiling_wei {
            let ceiling = row.intent.request.fee_ceiling_wei;
            return Err(Fault::invalid(format!("more than the intent's ceiling of {ceiling} wei per gas"))
                .hint("cancel it instead"));
        }
        let signed = self.sign(row, purpose, fees).await?;
        if let Some(signed) = signed {
            self.dispatch(signed).await?;
        }
        self.get(key).await
    }

    /// Replaces by the policy, as far as the ceiling goes; `why` is what for.
    pub(super) async fn bump(&self, mut row: Row, why: Trouble) -> Result<()> {
        let Some(newest) = row.intent.newest() else { return Ok(()) };
        let ceiling = row.intent.request.fee_ceiling_wei;
        let fees = fees::bump(newest.fees, self.parts.policy.bump_percent);
        let purpose = if row.intent.cancelling() { Purpose::Cancel } else { Purpose::SpeedUp };
        if row.intent.attempts.len() >= ATTEMPTS_MAX
            || (purpose == Purpose::SpeedUp && fees.max_fee_per_gas_wei > ceiling)
        {
            return self
                .note(row, Trouble::CeilingReached, format!("{why:?}: it offers all it may").to_lowercase())
                .await;
        }
        row.intent.trouble = Some(why);
        match self.sign(row, purpose, fees).await? {
            Some(signed) => self.dispatch(signed).await,
            None => Ok(()),
        }
    }

    /// Cancels what has come too late.
    pub(super) async fn give_up(&self, row: Row, why: &str) -> Result<()> {
        let Some(newest) = row.intent.newest().filter(|_| !row.intent.cancelling()) else { return Ok(()) };
        let fees = fees::bump(newest.fees, self.parts.policy.bump_percent);
        let mut row = row;
        row.intent.why = Some(why.to_owned());
        match self.sign(row, Purpose::Cancel, fees).await? {
            Some(signed) => self.dispatch(signed).await,
            None => Ok(()),
        }
    }

    /// Signs and commits. `None` when somebody else changed the intent first: then what was signed is forgotten here and never leaves.
    async fn sign(&self, row: Row, purpose: Purpose, fees: Fees) -> Result<Option<Row>> {
        let (Some(signer), Some(nonce)) = (&self.parts.signer, row.intent.nonce) else {
            return Err(Fault::not_configured("there is no key to sign with").hint("give the wallet's key"));
        };
        let request = &row.intent.request;
        let cancel = purpose == Purpose::Cancel;
        let unsigned = Unsigned {
            chain_id: row.intent.chain_id,
            nonce,
            to: if cancel { Some(row.intent.wallet) } else { request.to },
            value_wei: if cancel { Amount::default() } else { request.value_wei },
            data: if cancel { Data::default() } else { request.data.clone() },
            gas_limit: if cancel { NOTHING_GAS } else { row.intent.gas_limit },
            fees,
            access_list: if cancel { Vec::new() } else { request.access_list.clone() },
        };
        let Signed { hash, raw } = signer.sign(&unsigned).await?;
        let mut intent = row.intent.clone();
        intent.attempts.iter_mut().for_each(|attempt| attempt.raw = None);
        let at_ms = self.parts.clock.now_ms();
        let raw = Some(raw);
        let attempt = Attempt { purpose, hash, raw, fees, at_ms, target_block: None, refused: None, rehearsed: None };
        intent.attempts.push(attempt);
        if intent.state == State::Recorded {
            intent.state = State::Signed;
        }
        self.replace(row, intent).await
    }

    /// Asks the gate, then sends the newest signed bytes, then writes down what came of it. A relay is first asked what they would do.
    pub(super) async fn dispatch(&self, mut row: Row) -> Result<()> {
        let Some((purpose, Some(raw))) = row.intent.newest().map(|newest| (newest.purpose, newest.raw.clone())) else {
            return Ok(());
        };
        let target = match row.intent.request.route {
            Route::Private { .. } if purpose != Purpose::Cancel => match self.next_block().await {
                Ok(number) => Some(number),
                Err(fault) => return self.node_failed(row, &fault).await,
            },
            _ => None,
        };
        let uuid = uuid(&row.intent);
        let bundle = target.map(|block_number| Bundle { transactions: vec![raw.clone()], block_number, uuid });
        let private = bundle.as_ref().zip(self.parts.relay.as_ref());
        if let Some((bundle, relay)) = private {
            match self.rehearse(row, purpose, bundle, relay.as_ref()).await? {
                Some(rehearsed) => row = rehearsed,
                None => return Ok(()),
            }
        } else if bundle.is_some() {
            // Never to the public pool instead.
            let gone = Fault::not_configured("there is no private relay any more").hint("configure it again");
            return self.node_failed(row, &gone).await;
        }
        if let Err(refused) = self.parts.gate.allow(&row.intent, purpose).await {
            return self.held_back(row, &refused).await;
        }
        let verdict = match private {
            Some((bundle, relay)) => relay.send(bundle).await.map(|_| Verdict::Taken),
            None => self.parts.sender.send(&raw).await,
        };
        self.sent(row, verdict, target).await
    }

    /// Has the relay run a bundle, which the gate must allow: from then on its bytes may have left. What would fail there is dropped. Not every
    /// relay runs bundles; one that does not is sent it all the same.
    async fn rehearse(
        &self,
        mut row: Row,
        purpose: Purpose,
        bundle: &Bundle,
        relay: &dyn Relay,
    ) -> Result<Option<Row>> {
        if let Err(refused) = self.parts.gate.allow(&row.intent, purpose).await {
            self.held_back(row, &refused).await?;
            return Ok(None);
        }
        let told = match relay.simulate(bundle).await {
            Ok(told) => told,
            Err(fault) if fault.code == Code::Unsupported => return Ok(Some(row)),
            Err(fault) => {
                self.node_failed(row, &fault).await?;
                return Ok(None);
            }
        };
        let failed = (!told.success).then(|| told.error.clone().unwrap_or_else(|| "no reason given".into()));
        if let Some(newest) = row.intent.attempts.last_mut() {
            newest.rehearsed = Some(told);
        }
        let Some(why) = failed else { return Ok(Some(row)) };
        self.becomes(row, State::Dropped, &format!("by the relay it would fail: {why}")).await?;
        Ok(None)
    }

    async fn next_block(&self) -> Result<u64> {
        Ok(self.parts.chain.block(crate::chain::BlockId::Latest).await?.head.number + 1)
    }

    async fn held_back(&self, row: Row, refused: &Fault) -> Result<()> {
        let mut intent = row.intent.clone();
        intent.why = Some(refused.message.clone());
        if row.intent.trouble == Some(Trouble::HeldBack) && row.intent.why == intent.why {
            return Ok(());
        }
        // What has never left ends here; what may have left is watched, and asked for again.
        let shown = intent.newest().is_some_and(|newest| newest.rehearsed.is_some());
        if intent.state == State::Signed && intent.attempts.len() == 1 && intent.trouble.is_none() && !shown {
            intent.state = State::Refused;
        } else {
            intent.trouble = Some(Trouble::HeldBack);
        }
        self.replace(row, intent).await.map(|_| ())
    }

    async fn sent(&self, row: Row, verdict: Result<Verdict>, target: Option<u64>) -> Result<()> {
        let mut intent = row.intent.clone();
        let Some(newest) = intent.attempts.last_mut() else { return Ok(()) };
        match verdict {
            Ok(Verdict::Taken) => {
                newest.target_block = target;
                newest.refused = None;
                (intent.state, intent.trouble, intent.why) = (State::Sent, None, None);
            }
            Ok(Verdict::Refused { why, words }) => {
                newest.refused = Some((why, words.clone()));
                // One node does not want it; another that was asked before may have it, so it is watched.
                let hopeless = matches!(why, Refusal::InsufficientFunds | Refusal::Invalid);
                intent.state = if hopeless && intent.attempts.len() == 1 { State::Dropped } else { State::Sent };
                intent.trouble = Some(trouble_of(why));
                intent.why = Some(words);
            }
            Err(fault) => return self.node_failed(row, &fault).await,
        }
        self.replace(row, intent).await.map(|_| ())
    }

    /// Asks the relay to forget, frees the nonce, and watches on: a block's maker may have it already.
    async fn withdraw(&self, key: &str) -> Result<Intent> {
        let row = self.row(key).await?;
        let row = row.ok_or_else(|| Fault::not_found(format!("no intent `{key}`")))?;
        if let Some(relay) = &self.parts.relay {
            relay.cancel(&uuid(&row.intent)).await?;
        }
        let mut intent = row.intent.clone();
        (intent.state, intent.why) = (State::Dropped, Some("taken back from the relay".into()));
        self.settled(self.replace(row, intent).await?)
    }

    /// Writes down what holds an intent up, once.
    pub(super) async fn note(&self, row: Row, trouble: Trouble, why: String) -> Result<()> {
        if row.intent.trouble == Some(trouble) {
            return Ok(());
        }
        let mut intent = row.intent.clone();
        (intent.trouble, intent.why) = (Some(trouble), Some(why));
        self.replace(row, intent).await.map(|_| ())
    }

    /// Names what a node failed with.
    pub(super) async fn node_failed(&self, row: Row, fault: &Fault) -> Result<()> {
        let silent = fault.code == Code::Timeout;
        let trouble = if silent { Trouble::NodeSilent } else { Trouble::NodeFailing };
        self.note(row, trouble, fault.message.clone()).await
    }
}

fn trouble_of(why: Refusal) -> Trouble {
    match why {
        Refusal::NonceTooLow => Trouble::NonceTaken,
        Refusal::ReplacementUnderpriced => Trouble::ReplacementUnderpriced,
        Refusal::FeeTooLow | Refusal::PoolFull | Refusal::Invalid => Trouble::PoolRefused,
        Refusal::InsufficientFunds => Trouble::InsufficientFunds,
    }
}

/// The name of an intent's bundles: a UUID (version 8) of what it is.
fn uuid(intent: &Intent) -> String {
    let name = format!("{}/{}/{}", intent.chain_id, intent.wallet, intent.request.key);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&alloy_primitives::keccak256(name)[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = alloy_primitives::hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
