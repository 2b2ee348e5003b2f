//! What a plan would bring at the newest block, by the pools' own arithmetic, and what the risk rules will be asked about it.

use std::collections::BTreeSet;

use kernel::chain::{Address, Amount, Fees};
use kernel::{Fault, Result};
use market::feed::At;
use market::gate::STRATEGIES;
use market::pool::Pool;
use market::risk::{Money, OracleFacts, PoolFacts, Proposal};
use market::{Rate, Signed};
use num_rational::BigRational;

use super::Execution;
use super::deploy::Executor;
use super::fees::Offer;
use super::memo::{Memo, Rates, Trade};
use super::plan::{PlanView, Planned};
use crate::trading::coins::Coin;
use crate::trading::path::{self, Exact, Leg};
use crate::trading::pricing::Worth;
use crate::trading::ratio;

/// A plan, what it would bring, and what it is held to.
pub(super) struct Appraisal {
    pub(super) at: At,
    pub(super) planned: Planned,
    pub(super) coin: Coin,
    pub(super) trade: path::Trade,
    pub(super) flash_fee: Amount,
    /// What must be paid back.
    owed: Amount,
    pub(super) predicted: Signed,
    /// What a wei is worth in the asset.
    pub(super) wei_in_asset: Rate,
    pub(super) offer: Offer,
    pub(super) gas_estimate: u64,
    pub(super) executor: Executor,
    pub(super) memo: Memo,
}

impl Appraisal {
    /// The estimated gas's price in wei, and the most it may come to.
    pub(super) fn gas_wei(&self) -> (Amount, Amount) {
        let gas = Amount::from(self.gas_estimate);
        let times = |price: Amount| Amount(price.saturating_mul(gas.0));
        (times(self.offer.expected_wei), times(self.offer.ceiling_wei))
    }

    /// Has the executor give up below this profit beyond what is owed.
    pub(super) fn hold_to(&mut self, min_profit: Amount) {
        self.planned.plan.min_profit = min_profit;
        self.memo.trade.iter_mut().for_each(|trade| trade.plan.min_profit = min_profit);
        self.memo.proposal.slippage_bps = slippage_bps(self.trade.amount_out(), self.owed, min_profit);
    }

    /// What the rules are asked before anything is simulated.
    pub(super) fn proposal(&self) -> Proposal {
        let (gas_wei, most_wei) = self.gas_wei();
        self.memo.proposed(self.predicted, gas_wei, most_wei)
    }

    /// What is left after gas, in the asset.
    pub(super) fn net(&self, profit: Signed, gas_wei: Amount) -> Result<Signed> {
        let cost =
            self.wei_in_asset.up(gas_wei.0).ok_or_else(|| Fault::too_large("the gas's worth is out of range"))?;
        Ok(profit.minus(Signed::gain(cost)))
    }
}

impl Execution {
    /// Appraises a plan on the newest block. What it offers per gas is `fees`, or what is usual now.
    pub(super) async fn appraise(&self, view: &PlanView, fees: Option<Fees>) -> Result<Appraisal> {
        let (at, legs, rate, held) = self
            .pools
            .read(|at, book| {
                let legs = view.legs(book)?;
                let held = legs.iter().map(|leg| self.pricing.held_by(leg, book)).collect::<Vec<_>>();
                Ok::<_, Fault>((at, legs, self.pricing.wei_in(view.asset, book)?, held))
            })
            .and_then(|found| found)?;
        let coin = self.coins.coin(view.asset).await;
        let (lenders, (worth, native), offer, executor) =
            tokio::try_join!(self.pricing.lenders(view.asset), self.worths(&coin), self.offer(fees), self.executor())?;
        let planned = view.planned(legs, &lenders)?;
        let trade = path::Trade::along(planned.legs.clone(), Exact::In(view.amount))?;
        let beyond = || Fault::too_large("the lender's fee is out of range");
        let flash_fee = planned.lender.fee.fee(view.amount).ok_or_else(beyond)?;
        let owed = planned.lender.fee.repayment(view.amount).ok_or_else(beyond)?;
        let predicted = Signed::difference(trade.amount_out().0, owed.0);
        let rates = Rates { asset: worth.rate, wei: native.rate };
        let oracle = self.oracle(&worth, &native, rate, &coin)?;
        let gas_estimate = trade
            .gas()
            .saturating_add(market::lender::loan_gas(&planned.lender.provider))
            .saturating_add(self.config.gas_overhead);
        let mut memo = Memo {
            proposal: Proposal { oracle: Some(oracle), ..self.draft(&planned, &trade, &offer).await },
            rates,
            trade: Some(Trade { plan: planned.plan.clone(), executor: executor.address, predicted, flash_fee }),
            asset: view.asset,
        };
        memo.proposal.notional = memo.worth(Signed::gain(view.amount.0));
        self.ages.tell(at, &mut memo.proposal.pools).await;
        for (facts, held) in memo.proposal.pools.iter_mut().zip(held) {
            facts.liquidity = held.and_then(|wei| native.rate.down(wei.0)).map(Money::of_millionths);
        }
        let mut appraisal = Appraisal {
            at,
            planned,
            coin,
            trade,
            flash_fee,
            owed,
            predicted,
            wei_in_asset: rate,
            offer,
            gas_estimate,
            executor,
            memo,
        };
        appraisal.hold_to(view.min_profit);
        Ok(appraisal)
    }

    /// What the asset and the native coin are worth in the reference currency.
    pub(super) async fn worths(&self, coin: &Coin) -> Result<(Worth, Worth)> {
        let native = self.coins.coin(self.pricing.native()?).await;
        tokio::try_join!(self.pricing.worth(coin), self.pricing.worth(&native))
    }

    /// The proposal as far as the way tells it.
    async fn draft(&self, planned: &Planned, trade: &path::Trade, offer: &Offer) -> Proposal {
        let mut tokens: BTreeSet<Address> = BTreeSet::new();
        let mut protocols: BTreeSet<String> = [planned.lender.provider.clone()].into();
        for leg in &planned.legs {
            tokens.extend(leg.pool.tokens());
            protocols.insert(leg.pool.identity().protocol.as_str().into());
        }
        let mut names = Vec::with_capacity(trade.legs.len());
        for leg in &planned.legs {
            let coin = self.coins.coin(leg.ends().0).await;
            names.push(coin.symbol.unwrap_or_else(|| coin.address.to_string()));
        }
        // A token's own word for itself is foreign text: only its letters and digits, and not too many of them.
        let plain = |name: &String| name.chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>();
        Proposal {
            strategy: STRATEGIES[0].0.into(),
            pair: names.iter().map(plain).collect::<Vec<_>>().join("/"),
            gas_price_wei: offer.ceiling_wei,
            tokens,
            protocols,
            pools: planned.legs.iter().map(pool_facts).collect(),
            atomic: true,
            ..Proposal::default()
        }
    }

    /// The worse of the two reference prices; and how far the pools' own price between the two assets is from theirs.
    fn oracle(&self, worth: &Worth, native: &Worth, wei_in_asset: Rate, coin: &Coin) -> Result<OracleFacts> {
        let age_ms = worth.price.age_ms.max(native.price.age_ms);
        if coin.address == self.pricing.native()? {
            return Ok(OracleFacts { deviation_bps: worth.price.spread_bps, age_ms });
        }
        // A wei in the asset, by the pools and by the reference prices.
        let ratio_of =
            |rate: Rate| ratio::ratio(ratio::whole(Amount(rate.numerator)), ratio::whole(Amount(rate.denominator)));
        let by_prices = ratio_of(native.rate) / ratio_of(worth.rate);
        let apart = ratio_of(wei_in_asset) / by_prices;
        let one = BigRational::from_integer(1.into());
        let off = if apart > one { apart - one } else { one - apart };
        let off = (off * BigRational::from_integer(10_000.into())).ceil().to_integer();
        let deviation_bps = u64::try_from(off).unwrap_or(u64::MAX).max(worth.price.spread_bps);
        Ok(OracleFacts { deviation_bps, age_ms })
    }
}

fn pool_facts(leg: &Leg) -> PoolFacts {
    PoolFacts { address: leg.pool.address(), age_seconds: None, age_unknown: None, liquidity: None }
}

/// How far below the quoted output the least accepted one is, in basis points rounded up.
fn slippage_bps(output: Amount, owed: Amount, min_profit: Amount) -> u32 {
    let least = owed.0.saturating_add(min_profit.0);
    let Some(off) = output.0.checked_sub(least).filter(|_| !output.is_zero()) else { return 0 };
    let bps = off.saturating_mul(Amount::from(10_000).0).div_ceil(output.0);
    u32::try_from(bps).unwrap_or(u32::MAX)
}
