//! A trade as tools take and give it: who lends, how much, and the way through the pools.

use kernel::chain::{Address, Amount, FlashSource};
use kernel::{Fault, Result};
use market::Book;
use market::executor::{Leg as Step, Lender, Plan, Venue};
use market::lender::cheapest;
use market::pool::{AnyPool, Pool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::trading::path::{self, Leg};

/// One pool on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LegView {
    /// The pool.
    pub pool: Address,
    /// What is bought there.
    pub token_out: Address,
}

/// A flash arbitrage: what is borrowed, which way it is traded, what must come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanView {
    /// The contract that lends; it must not be a pool on the way.
    pub source: Address,
    /// What is borrowed, and what the last pool must give.
    pub asset: Address,
    /// How much is borrowed, in the asset's smallest unit.
    pub amount: Amount,
    /// The least that must be gained beyond what is owed, in the asset's smallest unit, gas not counted: otherwise all of it reverts.
    pub min_profit: Amount,
    /// When it is too late, in seconds since the Unix epoch.
    pub deadline_s: u64,
    /// The pools in order.
    pub legs: Vec<LegView>,
}

/// A plan and all that the pools say of it.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) legs: Vec<Leg>,
    pub(super) lender: FlashSource,
}

impl PlanView {
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            source: plan.source,
            asset: plan.asset,
            amount: plan.amount,
            min_profit: plan.min_profit,
            deadline_s: plan.deadline_s,
            legs: plan.legs.iter().map(|leg| LegView { pool: leg.pool, token_out: leg.token_out }).collect(),
        }
    }

    /// The legs, as the book has their pools.
    pub(super) fn legs(&self, book: &Book) -> Result<Vec<Leg>> {
        let pools: Vec<Address> = self.legs.iter().map(|leg| leg.pool).collect();
        let legs = path::along(book, self.asset, self.asset, &pools)?;
        for (place, (leg, wanted)) in legs.iter().zip(&self.legs).enumerate() {
            let token_out = leg.ends().1;
            if token_out != wanted.token_out {
                return Err(Fault::invalid(format!(
                    "legs[{place}]: pool {} gives {token_out} there, not {}",
                    wanted.pool, wanted.token_out
                ))
                .hint("each pool takes what the one before it gave"));
            }
        }
        Ok(legs)
    }

    /// With its lender.
    pub(super) fn planned(&self, legs: Vec<Leg>, lenders: &[FlashSource]) -> Result<Planned> {
        if self.amount.is_zero() {
            return Err(Fault::invalid("amount is 0").hint("build_arbitrage finds the best"));
        }
        if self.legs.iter().any(|leg| leg.pool == self.source) {
            return Err(Fault::invalid(format!("{} lends and is on the way", self.source))
                .hint("a lender is locked for the time of the loan"));
        }
        let lender = lenders.iter().find(|lender| lender.contract == self.source);
        let lender = lender.ok_or_else(|| {
            Fault::not_found(format!("{} does not lend {} now", self.source, self.asset))
                .hint("flash_loan_providers of blockchain-integration lists who does")
        })?;
        if lender.liquidity < self.amount {
            return Err(Fault::invalid(format!("{} is more than {} has", self.amount, self.source))
                .hint(format!("it has {}", lender.liquidity)));
        }
        Ok(Planned { plan: plan(self, &legs, lender)?, legs, lender: lender.clone() })
    }
}

/// The lender to take for an amount: the one asked for, else the cheapest.
pub(super) fn lender_for<'a>(
    lenders: &'a [FlashSource],
    wanted: Option<Address>,
    amount: Amount,
    legs: &[Leg],
) -> Result<&'a FlashSource> {
    if let Some(contract) = wanted {
        return lenders.iter().find(|lender| lender.contract == contract).ok_or_else(|| {
            Fault::not_found(format!("{contract} does not lend this asset now"))
                .hint("flash_loan_providers of blockchain-integration lists who does")
        });
    }
    let in_use: Vec<Address> = legs.iter().map(|leg| leg.pool.address()).collect();
    cheapest(lenders, amount.0, &in_use).map(|(lender, _)| lender).ok_or_else(|| {
        Fault::not_found(format!("nobody lends {amount} of this asset now")).hint("a smaller amount, or another asset")
    })
}

fn plan(view: &PlanView, legs: &[Leg], lender: &FlashSource) -> Result<Plan> {
    let step = |leg: &Leg| Step {
        pool: leg.pool.address(),
        venue: match &leg.pool {
            AnyPool::ConstantProduct(pair) => Venue::V2 { fee_millionths: pair.fee_millionths() },
            AnyPool::ConcentratedLiquidity(_) => Venue::V3,
        },
        token_out: leg.ends().1,
    };
    Ok(Plan {
        lender: Lender::of(lender)?,
        source: lender.contract,
        asset: view.asset,
        amount: view.amount,
        min_profit: view.min_profit,
        deadline_s: view.deadline_s,
        legs: legs.iter().map(step).collect(),
    })
}
