//! What stands between an intent and the chain: the risk rules, the simulation, the kill switch; and the books that follow what became of it.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::bus::{Bus, NewEvent};
use kernel::chain::{Abi, Address, Amount, BlockId, CallRequest, Chain, Hash, Simulation, Trial};
use kernel::intents::{self, Intent, Purpose, State};
use kernel::store::Write;
use kernel::{Fault, Result};
use market::Signed;
use market::executor;
use market::gate::{Gate, Mode, Outcome, RISK_TOPIC};
use market::risk::Proposal;
use serde_json::json;

use super::deploy::UPKEEP;
use super::figures::Figures;
use super::memo::{self, Memo};

/// Where what the fleet deployed is kept in the store.
pub(super) const DEPLOYED: &str = "execution.deployed";

/// The gate as the engine of intents asks it.
pub(super) struct TradeGate {
    pub(super) gate: Gate,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) abi: Arc<dyn Abi>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) figures: Figures,
    /// The sandbox that the trades are meant for.
    pub(super) origin: Option<Hash>,
}

#[async_trait]
impl intents::Gate for TradeGate {
    async fn admit(&self, intent: &Intent, simulation: &Simulation) -> Result<Vec<Write>> {
        let memo = Memo::of(intent)?;
        let base_fee = self.next_base_fee(simulation.block_number).await?;
        let proposal = proposal(&memo, intent, simulation, base_fee)?;
        let key = &intent.request.key;
        if !intent.request.paper {
            return self.gate.admission(key, &proposal, Mode::Live).await;
        }
        let profit = memo.trade.as_ref().and_then(|_| executor::profit(&simulation.return_data));
        let mut fill = memo.fill(
            profit,
            profit.map(|profit| Signed::gain(profit.0)),
            gas_wei(intent, simulation.gas_used, base_fee),
        );
        fill.block = Some(simulation.block_number);
        self.gate.pretended(key, &proposal, &Outcome::Filled(fill)).await
    }

    async fn allow(&self, intent: &Intent, purpose: Purpose) -> Result<()> {
        if self.chain.origin() != self.origin {
            return Err(Fault::denied("the sandbox that it was meant for is gone"));
        }
        // Taking back is never held back: it sends nothing anywhere.
        if purpose == Purpose::Cancel {
            return Ok(());
        }
        self.holds_still(intent).await?;
        // The kill switch is read last.
        self.gate.clear_to_send(&intent.request.key).await.map(|_| ())
    }

    async fn change(&self, was: &Intent, now: &Intent) -> Result<Vec<Write>> {
        let key = &now.request.key;
        match (&was.mined, &now.mined) {
            (None, Some(_)) => {
                let outcome = self.outcome(now).await?;
                let (_, mut writes) = self.gate.settlement(key, &outcome).await?;
                writes.extend(self.deployed(now).await?);
                Ok(writes)
            }
            (Some(_), None) => {
                let (_, mut writes) = self.gate.taking_back(key).await?;
                if is_deployment(now) {
                    writes.push(Write::delete(DEPLOYED, &deployed_key(now.chain_id, now.wallet)));
                }
                Ok(writes)
            }
            (None, None) if was.is_open() && !now.is_open() => {
                let why = now.why.clone().unwrap_or_else(|| format!("{:?}", now.state).to_lowercase());
                Ok(self.gate.settlement(key, &Outcome::Released { why }).await?.1)
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn changed(&self, was: Option<&Intent>, now: &Intent) {
        self.figures.count(was, now);
        let mined_now = now.mined.is_some() && was.is_none_or(|was| was.mined.is_none());
        if now.state == State::Paper || mined_now {
            self.reconcile(now).await;
        }
        if now.mined.is_none() && was.is_some_and(|was| was.mined.is_some()) {
            self.figures.taken_back();
            let why = now.why.as_deref().unwrap_or_default();
            self.tell("trade.taken_back", json!({ "key": now.request.key, "why": why })).await;
        }
    }
}

impl TradeGate {
    /// The base fee of the block after this one.
    async fn next_base_fee(&self, block: u64) -> Result<Amount> {
        let head = crate::trading::head_at(self.chain.as_ref(), block).await?;
        Ok(head.next_base_fee_per_gas_wei().unwrap_or_default())
    }

    /// Whether what was simulated still holds on the newest block.
    async fn holds_still(&self, intent: &Intent) -> Result<()> {
        let head = self.chain.block(BlockId::Latest).await?.head;
        if head.hash == intent.simulated.block_hash {
            return Ok(());
        }
        let mut fork = self.chain.fork(BlockId::Latest).await?;
        let request = &intent.request;
        let call = CallRequest {
            from: Some(intent.wallet),
            to: request.to,
            data: request.data.clone(),
            value_wei: request.value_wei,
            gas_limit: Some(intent.gas_limit),
        };
        let trial = Trial { call, fees: None, access_list: request.access_list.clone() };
        match fork.attempt(&trial).await?.revert {
            None => Ok(()),
            Some(revert) => Err(revert.into_fault().context("it does not hold on the newest block any more")),
        }
    }

    /// What became of an intent that is in a block.
    async fn outcome(&self, intent: &Intent) -> Result<Outcome> {
        let mined = intent.mined.as_ref().ok_or_else(|| Fault::internal("an intent that is not in a block"))?;
        let memo = Memo::of(intent)?;
        let done = mined.success && mined.purpose != Purpose::Cancel;
        let profit = match &memo.trade {
            Some(trade) if done => {
                let receipt = self.chain.receipt(mined.hash).await?;
                memo::realised(self.abi.as_ref(), trade, mined, &receipt)?
            }
            _ => None,
        };
        let mut fill = memo.fill(profit, memo::simulated(intent).filter(|_| memo.trade.is_some()), mined.fee_wei);
        (fill.transaction, fill.block) = (Some(mined.hash), Some(mined.block_number));
        Ok(if done { Outcome::Filled(fill) } else { Outcome::Failed(fill) })
    }

    /// Where the contract is that an intent created.
    async fn deployed(&self, intent: &Intent) -> Result<Vec<Write>> {
        let Some(mined) = intent.mined.as_ref().filter(|mined| mined.success && is_deployment(intent)) else {
            return Ok(Vec::new());
        };
        if mined.purpose == Purpose::Cancel {
            return Ok(Vec::new());
        }
        let address = self.chain.receipt(mined.hash).await?.contract_address;
        let address = address.ok_or_else(|| Fault::upstream(format!("{} created no contract", mined.hash)))?;
        Ok(vec![Write::put(DEPLOYED, &deployed_key(intent.chain_id, intent.wallet), address.to_string())])
    }

    /// Holds what was predicted, simulated and realised against each other.
    async fn reconcile(&self, intent: &Intent) {
        let trade = match self.gate.trade(&intent.request.key).await {
            Ok(Some(trade)) => trade,
            Ok(None) => return,
            Err(fault) => {
                tracing::error!(%fault, key = intent.request.key, "a trade could not be held against its prediction");
                return;
            }
        };
        let (Outcome::Filled(fill) | Outcome::Failed(fill)) = &trade.outcome else { return };
        self.figures.ended(&trade);
        if fill.predicted.is_none() || fill.agrees() {
            return;
        }
        self.figures.differs();
        let data = json!({
            "key": trade.id, "pair": trade.pair, "predicted": fill.predicted, "simulated": fill.simulated, "realised": fill.units,
            "asset": fill.asset, "transaction": fill.transaction,
        });
        tracing::warn!(key = trade.id, predicted = ?fill.predicted, realised = %fill.units, "a trade came out otherwise than predicted");
        self.tell("trade.differs", data).await;
    }

    async fn tell(&self, kind: &str, data: serde_json::Value) {
        let event =
            NewEvent { topic: RISK_TOPIC.into(), kind: kind.into(), source: "execution".into(), trace_id: None, data };
        if let Err(fault) = self.bus.publish(event).await {
            tracing::warn!(%fault, kind, "what became of a trade could not be told");
        }
    }
}

/// What the rules are asked, with what the simulation told.
fn proposal(memo: &Memo, intent: &Intent, simulation: &Simulation, base_fee: Amount) -> Result<Proposal> {
    let profit = match &memo.trade {
        None => Signed::ZERO,
        Some(_) => {
            let profit = executor::profit(&simulation.return_data);
            let profit = profit.ok_or_else(|| {
                Fault::upstream("the contract called is no flash executor: it returned no profit")
                    .hint("deploy_executor, or name the right one under [servers.execution]")
            })?;
            Signed::gain(profit.0)
        }
    };
    let most = intent.request.fee_ceiling_wei.saturating_mul(Amount::from(intent.gas_limit).0);
    // What is sent along is gone when it is not a trade that reverts as a whole.
    let most = Amount(most.saturating_add(intent.request.value_wei.0));
    Ok(memo.proposed(profit, gas_wei(intent, simulation.gas_used, base_fee), most))
}

/// What so much gas costs at what the intent offers, in a block with this base fee.
fn gas_wei(intent: &Intent, gas: u64, base_fee: Amount) -> Amount {
    let fees = intent.request.fees;
    let price = fees.price_at(base_fee).unwrap_or(fees.max_fee_per_gas_wei);
    Amount(price.saturating_mul(Amount::from(gas).0))
}

/// Whether it creates the fleet's own executor: other contracts are nobody's business here.
fn is_deployment(intent: &Intent) -> bool {
    let own = || Memo::of(intent).is_ok_and(|memo| memo.proposal.strategy == UPKEEP);
    intent.request.to.is_none() && own()
}

/// By chain and wallet.
pub(super) fn deployed_key(chain_id: u64, wallet: Address) -> String {
    format!("{chain_id}/{wallet}")
}
