//! What is kept with an intent, so that whoever finds it later can judge and book it.

use kernel::chain::{Address, Amount, Receipt};
use kernel::intents::{Intent, Mined};
use kernel::{Fault, Result};
use market::executor::{self, Plan};
use market::gate::Fill;
use market::risk::{Money, Proposal};
use market::{Rate, Signed};
use serde::{Deserialize, Serialize};

/// What a wei and a smallest unit of the funding asset were worth when it was built: in millionths of the reference currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rates {
    pub(super) asset: Rate,
    pub(super) wei: Rate,
}

/// What an intent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memo {
    /// What it is held to; what only a simulation knows is filled in then.
    pub(super) proposal: Proposal,
    pub(super) rates: Rates,
    /// Absent for the fleet's own work on the chain.
    pub(super) trade: Option<Trade>,
    /// The asset that it is booked under.
    pub(super) asset: Address,
}

/// A flash arbitrage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trade {
    pub(super) plan: Plan,
    pub(super) executor: Address,
    /// Profit beyond what is owed, by the pools' state when it was built.
    pub(super) predicted: Signed,
    /// What the lender takes.
    pub(super) flash_fee: Amount,
}

impl Memo {
    pub(super) fn of(intent: &Intent) -> Result<Self> {
        let key = &intent.request.key;
        serde_json::from_value(intent.request.memo.clone())
            .map_err(|error| Fault::internal(format!("the memo of intent `{key}` is damaged: {error}")))
    }

    pub(super) fn value(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(|error| Fault::internal(format!("memo: {error}")))
    }

    /// So many wei in the reference currency, rounded up.
    pub(super) fn gas(&self, wei: Amount) -> Money {
        self.rates.wei.up(wei.0).map_or(Money::MAX, Money::of_millionths)
    }

    /// So much of the asset in the reference currency, rounded against us.
    pub(super) fn worth(&self, units: Signed) -> Money {
        match self.rates.asset.cautiously(units) {
            Some(value) if value.is_loss() => Money::ZERO.minus(Money::of_millionths(value.size())),
            Some(value) => Money::of_millionths(value.size()),
            None if units.is_loss() => Money::ZERO.minus(Money::MAX),
            None => Money::MAX,
        }
    }

    /// How much of the asset so much of the reference currency is, rounded down.
    pub(super) fn units_of(&self, value: Money) -> Result<Amount> {
        let back = Rate { numerator: self.rates.asset.denominator, denominator: self.rates.asset.numerator };
        let millionths: Amount = value.above_zero().in_millionths().to_string().parse()?;
        let units = back.down(millionths.0).map(Amount);
        units.ok_or_else(|| Fault::too_large(format!("{value} is out of range in the asset")))
    }

    /// The proposal with what a simulation told.
    pub(super) fn proposed(&self, profit: Signed, gas_wei: Amount, most_wei: Amount) -> Proposal {
        Proposal {
            gross: self.worth(profit),
            gas_cost: self.gas(gas_wei),
            at_risk: self.gas(most_wei),
            ..self.proposal.clone()
        }
    }

    /// What a transaction brought and cost: `profit` beyond what was owed, nothing for one that failed.
    pub(super) fn fill(&self, profit: Option<Amount>, simulated: Option<Signed>, gas_wei: Amount) -> Fill {
        let units = profit.map_or(Signed::ZERO, |profit| Signed::gain(profit.0));
        let flash_fee = self.trade.as_ref().filter(|_| profit.is_some()).map_or(Amount::default(), |one| one.flash_fee);
        let fee = Signed::gain(flash_fee.0);
        let gross = self.worth(units.plus(fee));
        Fill {
            asset: self.asset,
            units,
            predicted: self.trade.as_ref().map(|trade| trade.predicted),
            simulated,
            fee_units: flash_fee,
            gas_wei,
            tip_wei: Amount::default(),
            gross,
            // What is left of the gross is the gain, to the last millionth.
            fee: gross.minus(self.worth(units)),
            gas: self.gas(gas_wei),
            tip: Money::ZERO,
            transaction: None,
            block: None,
        }
    }
}

/// The profit that an intent's simulation returned.
pub(super) fn simulated(intent: &Intent) -> Option<Signed> {
    executor::profit(&intent.simulated.return_data).map(|profit| Signed::gain(profit.0))
}

/// What a mined transaction brought, by what the executor wrote in its logs.
pub(super) fn realised(
    abi: &dyn kernel::chain::Abi,
    trade: &Trade,
    mined: &Mined,
    receipt: &Receipt,
) -> Result<Option<Amount>> {
    if !mined.success {
        return Ok(None);
    }
    let told = receipt.logs.iter().filter(|log| log.address == trade.executor);
    let told = told.filter_map(|log| executor::executed(abi, log)).next();
    told.map(|told| Some(told.profit)).ok_or_else(|| {
        Fault::upstream(format!("transaction {} succeeded and its receipt has no trace of the trade", mined.hash))
    })
}
