//! Which flash executor is used, `deploy_executor`, and `transact`: what is sent that is no trade.

use kernel::chain::{Address, Amount, BlockId, Data, Fees};
use kernel::intents::{Rehearsal, Request, Route};
use kernel::{Access, Fault, Result};
use market::gate::Mode;
use market::risk::Proposal;
use mcp::prelude::{Ctx, Deserialize, JsonSchema, Serialize};

use super::Execution;
use super::gate::{DEPLOYED, deployed_key};
use super::look::IntentView;
use super::memo::{Memo, Rates};
use super::paper;

/// What the sandbox calls its executor.
const SANDBOX_EXECUTOR: &str = "flash-executor";
/// Who wants the fleet's own work on the chain.
pub(super) const UPKEEP: &str = "upkeep";
/// Who wants what people and workflows send by themselves.
const TRANSACT: &str = "transact";

/// What [`DEPLOY_EXECUTOR`](super::DEPLOY_EXECUTOR) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The idempotency key: the same key is the same deployment.
    pub key: String,
    /// What it offers per gas; what is usual now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
}

/// What [`TRANSACT`](super::TRANSACT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactRequest {
    /// The idempotency key: the same key is the same transaction.
    pub key: String,
    /// The contract or account; a contract's creation when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Address>,
    /// Calldata, or the code that creates a contract with its constructor's arguments.
    #[serde(default)]
    pub data: Data,
    /// Native coin sent along, in wei: it counts as what may be lost.
    #[serde(default)]
    pub value_wei: Amount,
    /// What it offers per gas; what is usual now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
}

/// A transaction that is no trade.
struct Plain {
    key: String,
    strategy: &'static str,
    about: String,
    to: Option<Address>,
    data: Data,
    value_wei: Amount,
    fees: Option<Fees>,
}

/// The executor that plans go to.
pub(super) struct Executor {
    pub(super) address: Address,
    /// Where it comes from.
    pub(super) origin: Origin,
    /// What a simulation needs where it is only pretended.
    pub(super) rehearsal: Option<Rehearsal>,
}

/// Where a flash executor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration names it.
    Configured,
    /// deploy_executor deployed it.
    Deployed,
    /// The sandbox has it.
    Sandbox,
    /// There is none yet: paper trades pretend one.
    Pretended,
}

impl Execution {
    /// The executor in use.
    pub(super) async fn executor(&self) -> Result<Executor> {
        let found = |address, origin| Executor { address, origin, rehearsal: None };
        if let Some(address) = self.config.executor {
            return Ok(found(address, Origin::Configured));
        }
        if let Some(address) = self.deployed().await? {
            return Ok(found(address, Origin::Deployed));
        }
        let deployed = self.chain.deployments();
        if let Some(sandbox) = deployed.iter().find(|deployment| deployment.name == SANDBOX_EXECUTOR) {
            return Ok(found(sandbox.address, Origin::Sandbox));
        }
        let (rehearsal, address) = paper::rehearsal(self.abi.as_ref(), self.address())?;
        Ok(Executor { address, origin: Origin::Pretended, rehearsal: Some(rehearsal) })
    }

    /// What deploy_executor deployed, if it is on this chain.
    async fn deployed(&self) -> Result<Option<Address>> {
        let chain_id = self.engine().await?.chain_id();
        let Some(entry) = self.store.get(DEPLOYED, &deployed_key(chain_id, self.address())).await? else {
            return Ok(None);
        };
        let address: Address = entry.value.parse()?;
        let here = (address, self.chain.origin());
        // What was there once is not asked for again: every plan is run before it is sent, and one whose contract is gone gains nothing there.
        if *self.stands.lock() == Some(here) {
            return Ok(Some(address));
        }
        let stands = !self.chain.code(address, BlockId::Latest).await?.is_empty();
        *self.stands.lock() = stands.then_some(here);
        Ok(stands.then_some(address))
    }

    pub(super) async fn deploy_executor(&self, request: DeployRequest) -> Result<IntentView> {
        self.plain(Plain {
            key: request.key,
            strategy: UPKEEP,
            about: "deploy flash executor".into(),
            to: None,
            data: market::executor::creation_code(self.abi.as_ref(), self.address())?,
            value_wei: Amount::default(),
            fees: request.fees,
        })
        .await
    }

    pub(super) async fn transact(&self, request: TransactRequest, ctx: &Ctx) -> Result<IntentView> {
        let TransactRequest { key, to, data, value_wei, fees } = request;
        // What a call moves of the wallet's tokens, or of its executor's, no limit counts.
        if to.is_some() && !ctx.caller.allows(Access::Admin) {
            return Err(Fault::denied("a call from the fleet's wallet takes an administrator")
                .hint("it could move all that the wallet and its executor hold; to create a contract a trader may"));
        }
        if to.is_none() && data.is_empty() {
            return Err(Fault::invalid("neither to nor data").hint("whom to send to, or the code of a new contract"));
        }
        let about = to.map_or_else(|| "deploy a contract".to_owned(), |to| format!("transact with {to}"));
        self.plain(Plain { key, strategy: TRANSACT, about, to, data, value_wei, fees }).await
    }

    async fn plain(&self, plain: Plain) -> Result<IntentView> {
        let engine = self.engine().await?;
        let offer = self.offer(plain.fees).await?;
        let native = self.coins.coin(self.pricing.native()?).await;
        let worth = self.pricing.worth(&native).await?;
        let proposal = Proposal {
            strategy: plain.strategy.into(),
            pair: plain.about,
            gas_price_wei: offer.ceiling_wei,
            tokens: [native.address].into(),
            protocols: [plain.strategy.to_owned()].into(),
            // It holds nothing open, so that REDUCING does not stop it.
            reduces: true,
            atomic: true,
            upkeep: true,
            ..Proposal::default()
        };
        let rates = Rates { asset: worth.rate, wei: worth.rate };
        let memo = Memo { proposal, rates, trade: None, asset: native.address };
        if self.gate.desk().await?.mode == Mode::Paper {
            return Err(Fault::denied("the fleet is in paper mode")
                .hint("paper trades pretend an executor, and nothing else is sent; set_mode of production"));
        }
        let intent = engine
            .submit(Request {
                key: plain.key,
                to: plain.to,
                value_wei: plain.value_wei,
                data: plain.data,
                gas_limit: None,
                access_list: Vec::new(),
                fees: offer.fees,
                fee_ceiling_wei: offer.ceiling_wei,
                route: Route::Public,
                valid_until_block: None,
                paper: false,
                rehearsal: None,
                memo: memo.value()?,
            })
            .await?;
        self.view(intent).await
    }
}
