//! `build_arbitrage` and `simulate`.

use kernel::chain::{Address, Amount, BlockId, CallRequest, Data, Fees, TokenChange, Trial};
use kernel::{Fault, Result};
use market::executor;
use market::feed::At;
use market::lender::{Costs, evaluate};
use market::risk::Verdict;
use market::search::Hop;
use market::{Book, Signed};
use mcp::prelude::{Deserialize, JsonSchema, Serialize};

use super::Execution;
use super::appraise::Appraisal;
use super::plan::{LegView, PlanView, lender_for};
use crate::trading::coins::{Coin, Sum};
use crate::trading::path::{self, HopView, Leg};

/// For how long a plan is good, in seconds, unless told otherwise.
const GOOD_FOR_SECONDS: u64 = 120;

/// What [`BUILD_ARBITRAGE`](super::BUILD_ARBITRAGE) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// The asset that is borrowed and paid back: address or symbol.
    pub funding: String,
    /// The pools in order, two at least, each once.
    pub pools: Vec<Address>,
    /// How much to borrow, in the asset's smallest unit; what leaves most after all costs when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The contract to borrow from; the cheapest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Address>,
    /// The least that must be gained beyond what is owed, in the asset's smallest unit; by the configuration when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_profit: Option<Amount>,
    /// Near the best amount, where it is known: scan_opportunities tells it. It makes the search for the size short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<Amount>,
    /// Whether a size that the risk limits let no single trade have is cut down to one that they do.
    #[serde(default)]
    pub within_limits: bool,
    /// How long the plan is good, in seconds: 120 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_for_seconds: Option<u64>,
}

/// What [`BUILD_ARBITRAGE`](super::BUILD_ARBITRAGE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BuildAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// The plan, as simulate and submit take it.
    pub plan: PlanView,
    /// The flash executor.
    pub to: Address,
    /// The call that has it carried out.
    pub calldata: Data,
    /// The asset.
    pub funding: Coin,
    /// The lender's protocol.
    pub lender: String,
    /// The pools on the way.
    pub hops: Vec<HopView>,
    /// What the lender takes.
    pub flash_fee: Sum,
    /// What is left after the lender, gas not counted, by the pools' state; negative for a loss.
    pub predicted_profit: Signed,
    /// All gas, estimated.
    pub gas_estimate: u64,
    /// What that gas costs at the next block's price, in the asset.
    pub gas_cost: Sum,
    /// What is left after gas too; negative for a loss.
    pub net: Signed,
    /// What it would offer per gas.
    pub fees: Fees,
    /// What the risk rules say of it now, gas as estimated.
    pub verdict: Verdict,
}

/// What [`SIMULATE`](super::SIMULATE) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    /// The plan, as build_arbitrage made it.
    pub plan: PlanView,
    /// What it offers per gas; what is usual now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fees: Option<Fees>,
}

/// What [`SIMULATE`](super::SIMULATE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SimulateAnswer {
    /// The block on whose state it was run.
    pub block_number: u64,
    /// Whether it would succeed.
    pub success: bool,
    /// Why it would not, in the executor's words.
    pub reason: Option<String>,
    /// What is left after the lender, gas not counted, by the pools' state.
    pub predicted_profit: Signed,
    /// The same as it came out of the run; absent when it would not succeed.
    pub simulated_profit: Option<Amount>,
    /// Gas it would use.
    pub gas_used: u64,
    /// What that costs at the next block's price, in wei.
    pub gas_cost_wei: Amount,
    /// What is left after gas, in the asset's smallest unit; negative for a loss.
    pub net: Signed,
    /// The same in the reference currency.
    pub net_in_reference: market::risk::Money,
    /// Whose token balances it would change, and by how much.
    pub token_changes: Vec<TokenChange>,
    /// Whether the executor was pretended for it: none is deployed yet.
    pub rehearsed: bool,
    /// What the risk rules say of it now.
    pub verdict: Verdict,
}

impl Execution {
    pub(super) async fn build_arbitrage(&self, request: BuildRequest) -> Result<BuildAnswer> {
        let asset = self.coins.find(&request.funding)?;
        if request.pools.len() < 2 {
            return Err(Fault::invalid("a cycle of fewer than two pools").hint("two pools at least"));
        }
        let (legs, rate) = self
            .pools
            .read(|_, book| {
                let legs = path::along(book, asset, asset, &request.pools)?;
                Ok::<_, Fault>((legs, self.pricing.wei_in(asset, book)?))
            })
            .and_then(|found| found)?;
        let lenders = self.pricing.lenders(asset).await?;
        let (amount, source) = match request.amount {
            Some(amount) => (amount, lender_for(&lenders, request.source, amount, &legs)?.contract),
            None => {
                let wanted: Vec<_> = match request.source {
                    None => lenders.clone(),
                    Some(_) => vec![lender_for(&lenders, request.source, Amount::default(), &legs)?.clone()],
                };
                let offer = self.offer(None).await?;
                let costs = Costs {
                    gas_price_wei: offer.expected_wei.0,
                    gas_overhead: self.config.gas_overhead,
                    tip_wei: Amount::default().0,
                    wei_in_asset: rate,
                    asset_in_reference: None,
                };
                best(asset, &legs, &wanted, &costs, request.near)?
            }
        };
        let seconds = request.good_for_seconds.unwrap_or(GOOD_FOR_SECONDS);
        let now_seconds = u64::try_from(self.clock.now_ms() / 1_000).unwrap_or_default();
        let chain_seconds = self.chain.head().map_or(0, |head| head.timestamp_seconds);
        let mut plan = PlanView {
            source,
            asset,
            amount,
            min_profit: request.min_profit.unwrap_or_default(),
            deadline_s: now_seconds.max(chain_seconds).saturating_add(seconds),
            legs: legs.iter().map(|leg| LegView { pool: pool(leg), token_out: leg.ends().1 }).collect(),
        };
        let mut appraisal = self.appraise(&plan, None).await?;
        if request.within_limits && self.cut(&mut plan, &appraisal).await? {
            appraisal = self.appraise(&plan, None).await?;
        }
        if request.min_profit.is_none() {
            let least = self.least_profit(&appraisal)?;
            appraisal.hold_to(least);
        }
        self.built(appraisal).await
    }

    /// Cuts the amount down to what the limits let one trade put through the market; says whether that changed it.
    async fn cut(&self, plan: &mut PlanView, appraisal: &Appraisal) -> Result<bool> {
        let most = self.gate.desk().await?.limits().trade_notional_max;
        if appraisal.memo.proposal.notional <= most {
            return Ok(false);
        }
        plan.amount = appraisal.memo.units_of(most)?;
        Ok(true)
    }

    /// What the contract must see: a share of what is predicted, and the gas's cost at least, but never more than is predicted.
    fn least_profit(&self, appraisal: &Appraisal) -> Result<Amount> {
        let predicted = appraisal.predicted.above_zero();
        let share = Amount(predicted).times(self.config.min_profit_bps.into());
        let share = share.unwrap_or_default().0 / Amount::from(10_000).0;
        let gas = appraisal.wei_in_asset.up(appraisal.gas_wei().0.0).unwrap_or(predicted);
        Ok(Amount(share.max(gas).min(predicted)))
    }

    async fn built(&self, appraisal: Appraisal) -> Result<BuildAnswer> {
        let coin = &appraisal.coin;
        let (gas_wei, _) = appraisal.gas_wei();
        let gas_cost = appraisal.wei_in_asset.up(gas_wei.0).map(Amount).unwrap_or_default();
        Ok(BuildAnswer {
            at: appraisal.at,
            plan: PlanView::of(&appraisal.planned.plan),
            to: appraisal.executor.address,
            calldata: appraisal.planned.plan.calldata(self.abi.as_ref())?,
            funding: coin.clone(),
            lender: appraisal.planned.lender.provider.clone(),
            hops: appraisal.trade.hops(),
            flash_fee: coin.sum(appraisal.flash_fee),
            predicted_profit: appraisal.predicted,
            gas_estimate: appraisal.gas_estimate,
            gas_cost: coin.sum(gas_cost),
            net: appraisal.net(appraisal.predicted, gas_wei)?,
            fees: appraisal.offer.fees,
            verdict: self.gate.check(&appraisal.proposal()).await?,
        })
    }

    pub(super) async fn simulate(&self, request: SimulateRequest) -> Result<SimulateAnswer> {
        let appraisal = self.appraise(&request.plan, request.fees).await?;
        let executor = &appraisal.executor;
        let mut fork = self.chain.fork(BlockId::Latest).await?;
        if let Some(rehearsal) = &executor.rehearsal {
            rehearsal.prepare(fork.as_mut()).await?;
        }
        let data = appraisal.planned.plan.calldata(self.abi.as_ref())?;
        let call = CallRequest { from: Some(self.address()), ..CallRequest::read(executor.address, data) };
        // Gas is priced beside the run, so that a wallet without money can be told what would come of it.
        let simulation = fork.attempt(&Trial::from(call)).await?;
        let profit = if simulation.success { executor::profit(&simulation.return_data) } else { None };
        let gas_cost_wei = Amount(appraisal.offer.expected_wei.saturating_mul(Amount::from(simulation.gas_used).0));
        let most_wei = Amount(appraisal.offer.ceiling_wei.saturating_mul(Amount::from(simulation.gas_used).0));
        let gained = profit.map_or(Signed::ZERO, |profit| Signed::gain(profit.0));
        let proposal = appraisal.memo.proposed(gained, gas_cost_wei, most_wei);
        let reason = match &simulation.revert {
            None => None,
            Some(revert) => Some(executor::refusal(self.abi.as_ref(), &revert.data)?.reason),
        };
        Ok(SimulateAnswer {
            block_number: simulation.block_number,
            success: simulation.success,
            reason,
            predicted_profit: appraisal.predicted,
            simulated_profit: profit,
            gas_used: simulation.gas_used,
            gas_cost_wei,
            net: appraisal.net(gained, gas_cost_wei)?,
            net_in_reference: proposal.net(),
            token_changes: simulation.token_changes.unwrap_or_default(),
            rehearsed: executor.rehearsal.is_some(),
            verdict: self.gate.check(&proposal).await?,
        })
    }
}

fn pool(leg: &Leg) -> Address {
    market::pool::Pool::address(&leg.pool)
}

/// The amount and the lender that leave most.
fn best(
    asset: Address,
    legs: &[Leg],
    lenders: &[kernel::chain::FlashSource],
    costs: &Costs,
    near: Option<Amount>,
) -> Result<(Amount, Address)> {
    let mut book = Book::default();
    let mut hops = Vec::with_capacity(legs.len());
    for leg in legs {
        hops.push(Hop { pool: book.join(0, leg.pool.clone())?, way: leg.way });
    }
    let guess = near.unwrap_or_else(|| path::estimated(path::near_best(&book, asset, &hops, &legs[0])));
    let found = evaluate(&book, &hops, lenders, costs, guess.0)?;
    found.map(|found| (Amount(found.trade.input), found.lender.contract)).ok_or_else(|| {
        Fault::not_found("no size and no lender lets anything remain of this cycle now")
            .hint("explain_opportunity of market-analysis says why; give `amount` to build it all the same")
    })
}
