//! `status`, `history`, `wallet`.

use futures_util::future::try_join_all;
use kernel::chain::{Address, Amount, BlockId, BundleSimulation, Hash};
use kernel::intents::{Intent, Purpose, Route, State, Trouble};
use kernel::{Fault, Result, UnixMs};
use market::Signed;
use market::gate::{Mode, Outcome, Trade};
use market::risk::Money;
use mcp::prelude::{Deserialize, JsonSchema, Serialize};

use super::Execution;
use super::deploy::Origin;
use crate::when::When;

/// Most submissions of one answer.
const LISTED_MAX: u32 = 200;
/// Submissions listed unless told otherwise.
const LISTED: u32 = 50;
/// From when on, unless told otherwise: a day ago.
const SINCE: When = When::Ago(86_400_000);

/// What [`STATUS`](super::STATUS) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// The submission's key.
    pub key: String,
}

/// A signed transaction of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// What it is for.
    pub purpose: Purpose,
    /// Its hash.
    pub hash: Hash,
    /// What it offers per gas.
    pub fees: kernel::chain::Fees,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// What a node said when it did not take it.
    pub refused: Option<String>,
    /// What the private relay said it would do, before it was sent there.
    pub rehearsed: Option<BundleSimulation>,
}

/// What a trade brought, as the books have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TradeView {
    /// `filled`, `failed` or `released`.
    pub outcome: String,
    /// Profit after the lender, gas not counted, in the asset's smallest unit, by the pools' state before.
    pub predicted: Option<Signed>,
    /// The same by the simulation before the send.
    pub simulated: Option<Signed>,
    /// The same by the executor's own log in the block; in paper mode the simulation's.
    pub realised: Option<Signed>,
    /// Whether the three are one number; absent for what was never tried.
    pub agrees: Option<bool>,
    /// What is left after everything, in the reference currency.
    pub net: Money,
}

/// A submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntentView {
    /// Its key.
    pub key: String,
    /// Where it stands.
    pub state: State,
    /// Whether something may still happen to it.
    pub open: bool,
    /// What holds it up.
    pub trouble: Option<Trouble>,
    /// Why it stands so.
    pub why: Option<String>,
    /// Whether it is only pretended, or real.
    pub mode: Mode,
    /// What is traded.
    pub pair: String,
    /// The pools that it goes through; none for the fleet's own work on the chain.
    pub pools: Vec<Address>,
    /// How it is sent.
    pub route: Route,
    /// Its nonce; a pretended one has none.
    pub nonce: Option<u64>,
    /// Its signed transactions, oldest first.
    pub attempts: Vec<AttemptView>,
    /// The transaction that is in a block.
    pub transaction: Option<Hash>,
    /// That block, or the one whose state it was simulated on.
    pub block: u64,
    /// Gas used: in the block, else by the simulation.
    pub gas_used: u64,
    /// Paid for gas, in wei, once it is in a block.
    pub fee_wei: Option<Amount>,
    /// The last block it is wanted in.
    pub valid_until_block: Option<u64>,
    /// What it brought; absent until it ended or is in a block.
    pub trade: Option<TradeView>,
    /// When it was written down, in milliseconds since the Unix epoch.
    pub created_ms: UnixMs,
    /// When it changed last.
    pub updated_ms: UnixMs,
}

/// What [`HISTORY`](super::HISTORY) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryRequest {
    /// From when on: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch; a day ago unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<When>,
    /// Only those that something may still happen to: all of them, whatever the other fields say.
    pub open: bool,
    /// The `next` of the answer before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many are looked at: 1 to 200, 50 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

/// What [`HISTORY`](super::HISTORY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HistoryAnswer {
    /// The oldest first.
    pub submissions: Vec<IntentView>,
    /// Where to go on, when there may be more.
    pub next: Option<String>,
}

/// What [`WALLET`](super::WALLET) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletRequest {}

/// The flash executor in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorView {
    /// Where it is; where it would be, while it is only pretended.
    pub address: Address,
    /// Where it comes from.
    pub origin: Origin,
    /// Whose it is; absent while it is only pretended.
    pub owner: Option<Address>,
    /// Whether it is paused; absent while it is only pretended.
    pub paused: Option<bool>,
}

/// What [`WALLET`](super::WALLET) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WalletAnswer {
    /// Its address; a pretended one where there is no key.
    pub address: Address,
    /// Where the key comes from; `none` where there is no key, and only paper trades are possible.
    pub key: String,
    /// The chain.
    pub chain_id: u64,
    /// Its balance of the native coin, in wei.
    pub balance_wei: Amount,
    /// How many of its transactions are in blocks.
    pub nonce: u64,
    /// Submissions that something may still happen to.
    pub open: usize,
    /// The flash executor.
    pub executor: ExecutorView,
    /// Whether there is a private relay.
    pub relay: bool,
    /// The fleet's mode.
    pub mode: Mode,
}

impl Execution {
    pub(super) async fn status(&self, request: StatusRequest) -> Result<IntentView> {
        let intent = self.engine().await?.get(&request.key).await?;
        self.view(intent).await
    }

    pub(super) async fn history(&self, request: HistoryRequest) -> Result<HistoryAnswer> {
        let limit = request.limit.unwrap_or(LISTED);
        if !(1..=LISTED_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {LISTED_MAX}")));
        }
        let since = request.since.unwrap_or(SINCE).resolve(self.clock.now_ms());
        let engine = self.engine().await?;
        let (intents, next) = match request.open {
            true => (engine.list_open().await?, None),
            false => engine.list(since, request.cursor.as_deref(), limit as usize).await?,
        };
        let submissions = try_join_all(intents.into_iter().map(|intent| self.view(intent))).await?;
        Ok(HistoryAnswer { submissions, next })
    }

    pub(super) async fn wallet(&self) -> Result<WalletAnswer> {
        let (address, engine) = (self.address(), self.engine().await?);
        let executor = self.executor().await?;
        let deployed = executor.rehearsal.is_none();
        let (owner, paused) = match deployed {
            false => (None, None),
            true => {
                let owner = self.read(executor.address, "owner()(address)").await?;
                let paused = self.read(executor.address, "paused()(bool)").await?;
                (Some(owner), Some(paused))
            }
        };
        let (balance_wei, nonce) =
            tokio::try_join!(self.chain.balance(address, BlockId::Latest), self.chain.nonce(address, BlockId::Latest))?;
        Ok(WalletAnswer {
            address,
            key: self.wallet.origin.into(),
            chain_id: engine.chain_id(),
            balance_wei,
            nonce,
            open: engine.list_open().await?.len(),
            executor: ExecutorView { address: executor.address, origin: executor.origin, owner, paused },
            relay: self.wallet.relay.is_some(),
            mode: self.gate.desk().await?.mode,
        })
    }

    /// What a function of a contract without arguments answers.
    async fn read<T: serde::de::DeserializeOwned>(&self, contract: Address, function: &str) -> Result<T> {
        let call = kernel::chain::CallRequest::read(contract, self.abi.encode_call(function, &[])?);
        let answer = self.chain.call(&call, BlockId::Latest).await?;
        let values = self
            .abi
            .decode_output(function, &answer)
            .map_err(|fault| fault.context(format!("{contract} does not answer as a flash executor does")))?;
        let value = values.into_iter().next().map(|value| value.value).unwrap_or_default();
        serde_json::from_value(value).map_err(|error| {
            Fault::upstream(format!("{contract} does not answer {function} as a flash executor does: {error}"))
        })
    }

    /// A submission as it is shown.
    pub(super) async fn view(&self, intent: Intent) -> Result<IntentView> {
        // What is on its way to a block has not ended.
        let ended = intent.mined.is_some() || !intent.is_open();
        let trade = if ended { self.gate.trade(&intent.request.key).await? } else { None };
        let memo = super::memo::Memo::of(&intent)?;
        let pools = memo.trade.iter().flat_map(|trade| trade.plan.legs.iter().map(|leg| leg.pool)).collect();
        let attempt = |attempt: &kernel::intents::Attempt| AttemptView {
            purpose: attempt.purpose,
            hash: attempt.hash,
            fees: attempt.fees,
            at_ms: attempt.at_ms,
            refused: attempt.refused.as_ref().map(|(_, words)| words.clone()),
            rehearsed: attempt.rehearsed.clone(),
        };
        let mined = intent.mined.as_ref();
        Ok(IntentView {
            state: intent.state,
            open: intent.is_open(),
            trouble: intent.trouble,
            why: intent.why.clone(),
            mode: if intent.request.paper { Mode::Paper } else { Mode::Live },
            pair: memo.proposal.pair,
            pools,
            route: intent.request.route,
            nonce: intent.nonce,
            attempts: intent.attempts.iter().map(attempt).collect(),
            transaction: mined.map(|mined| mined.hash),
            block: mined.map_or(intent.simulated.block_number, |mined| mined.block_number),
            gas_used: mined.map_or(intent.simulated.gas_used, |mined| mined.gas_used),
            fee_wei: mined.map(|mined| mined.fee_wei),
            valid_until_block: intent.request.valid_until_block,
            trade: trade.as_ref().map(TradeView::of),
            created_ms: intent.created_ms,
            updated_ms: intent.updated_ms,
            key: intent.request.key,
        })
    }
}

impl TradeView {
    fn of(trade: &Trade) -> Self {
        let (outcome, fill) = match &trade.outcome {
            Outcome::Filled(fill) => ("filled", Some(fill)),
            Outcome::Failed(fill) => ("failed", Some(fill)),
            Outcome::Released { .. } => ("released", None),
        };
        Self {
            outcome: outcome.into(),
            predicted: fill.and_then(|fill| fill.predicted),
            simulated: fill.and_then(|fill| fill.simulated),
            realised: fill.map(|fill| fill.units),
            agrees: fill.map(market::gate::Fill::agrees),
            net: trade.net,
        }
    }
}
