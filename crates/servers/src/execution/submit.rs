//! `submit`, `bundle`, `cancel`, `speed_up`.

use kernel::chain::{Amount, Fees};
use kernel::intents::{Request, Route, State};
use kernel::{Fault, Result};
use market::gate::Mode;
use mcp::prelude::{Deserialize, JsonSchema, Serialize};

use super::Execution;
use super::appraise::Appraisal;
use super::look::IntentView;
use super::plan::PlanView;

/// Longest that a submission may be wanted, in blocks.
const BLOCKS_MAX: u64 = 1_000;

/// What [`SUBMIT`](super::SUBMIT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The idempotency key: the same key is the same submission. 1 to 128 characters of A-Z a-z 0-9 . _ : -
    pub key: String,
    /// The plan, as build_arbitrage made it.
    pub plan: PlanView,
    /// What it offers per gas; what is usual now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
    /// For how many blocks it is wanted, 1 to 1,000; by the configuration when absent. After that it is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub valid_blocks: Option<u64>,
    /// The block that the opportunity was found in, for the figures of how soon after it this came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_in: Option<u64>,
}

/// What [`BUNDLE`](super::BUNDLE) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleRequest {
    /// The idempotency key, as submit takes it.
    pub key: String,
    /// The plan, as build_arbitrage made it.
    pub plan: PlanView,
    /// For how many blocks the relay is asked, each in turn, 1 to 25.
    #[schemars(range(min = 1, max = 25))]
    pub blocks: u64,
    /// What it offers per gas; what is usual now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
}

/// What [`CANCEL`](super::CANCEL) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The submission's key.
    pub key: String,
}

/// What [`SPEED_UP`](super::SPEED_UP) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeedUpRequest {
    /// The submission's key.
    pub key: String,
    /// What it is to offer per gas: a tenth more of both than now, at least.
    pub fees: Fees,
}

/// Most blocks that a relay is asked for.
const BUNDLE_BLOCKS_MAX: u64 = 25;

impl Execution {
    pub(super) async fn submit(&self, request: SubmitRequest) -> Result<IntentView> {
        let blocks = request.valid_blocks.unwrap_or(self.config.valid_blocks);
        if !(1..=BLOCKS_MAX).contains(&blocks) {
            return Err(Fault::invalid(format!("valid_blocks is {blocks}")).hint(format!("1 to {BLOCKS_MAX}")));
        }
        self.send(request.key, &request.plan, request.fees, Route::Public, blocks, request.found_in).await
    }

    pub(super) async fn bundle(&self, request: BundleRequest) -> Result<IntentView> {
        let blocks = request.blocks;
        if !(1..=BUNDLE_BLOCKS_MAX).contains(&blocks) {
            return Err(Fault::invalid(format!("blocks is {blocks}")).hint(format!("1 to {BUNDLE_BLOCKS_MAX}")));
        }
        self.send(request.key, &request.plan, request.fees, Route::Private { blocks }, blocks, None).await
    }

    async fn send(
        &self,
        key: String,
        plan: &PlanView,
        fees: Option<Fees>,
        route: Route,
        blocks: u64,
        found_in: Option<u64>,
    ) -> Result<IntentView> {
        let engine = self.engine().await?;
        let after = || found_in.and_then(|block| self.chain.seen(block));
        let decided = after();
        // Told again, it is what it was: what it would be by now does not matter.
        let (known, appraisal, desk) = tokio::join!(engine.get(&key), self.appraise(plan, fees), self.gate.desk());
        match known {
            Ok(intent)
                if super::memo::Memo::of(&intent)?.trade.is_some_and(|trade| PlanView::of(&trade.plan) == *plan) =>
            {
                return self.view(intent).await;
            }
            Ok(_) => {
                return Err(Fault::conflict(format!("`{key}` is another submission")).hint("use a new key"));
            }
            Err(fault) if fault.code == kernel::Code::NotFound => {}
            Err(fault) => return Err(fault),
        }
        self.figures.decided(decided);
        let request = self.request(key, appraisal?, route, blocks, desk?.mode)?;
        let intent = engine.submit(request).await.map_err(|fault| self.in_words(fault))?;
        if intent.state == State::Sent {
            self.figures.submitted(after());
        }
        self.view(intent).await
    }

    fn request(&self, key: String, appraisal: Appraisal, route: Route, blocks: u64, mode: Mode) -> Result<Request> {
        let (paper, executor) = (mode == Mode::Paper, &appraisal.executor);
        if executor.rehearsal.is_some() && !paper {
            return Err(Fault::not_configured("no flash executor is deployed").hint("deploy_executor first"));
        }
        Ok(Request {
            key,
            to: Some(executor.address),
            value_wei: Amount::default(),
            data: appraisal.planned.plan.calldata(self.abi.as_ref())?,
            gas_limit: None,
            access_list: Vec::new(),
            fees: appraisal.offer.fees,
            fee_ceiling_wei: appraisal.offer.ceiling_wei,
            route,
            valid_until_block: Some(appraisal.at.block.saturating_add(blocks)),
            paper,
            rehearsal: executor.rehearsal.clone(),
            memo: appraisal.memo.value()?,
        })
    }

    /// A revert of the executor in its own words.
    pub(super) fn in_words(&self, fault: Fault) -> Fault {
        let Some(revert) = kernel::chain::Revert::of(&fault) else { return fault };
        match market::executor::refusal(self.abi.as_ref(), &revert.data) {
            Ok(known) => known.into_fault().hint("the pools have moved: build it anew"),
            Err(_) => fault,
        }
    }

    pub(super) async fn cancel(&self, request: CancelRequest) -> Result<IntentView> {
        let intent = self.engine().await?.cancel(&request.key).await?;
        self.view(intent).await
    }

    pub(super) async fn speed_up(&self, request: SpeedUpRequest) -> Result<IntentView> {
        let intent = self.engine().await?.speed_up(&request.key, request.fees).await?;
        self.view(intent).await
    }
}
