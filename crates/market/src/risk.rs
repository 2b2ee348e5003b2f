//! The rules that every trade passes before it may be made: each a pure function with a figure, a bound and a verdict.
//!
//! A rule's name is its stable reason code. All rules are always judged, so that who is refused learns everything at once. A figure that
//! is not known does not pass. Values are in the reference currency ([`Money`]).

mod limits;
mod money;
mod rules;
mod stress;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kernel::chain::{Address, Amount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use limits::{Limits, LimitsChange};
pub use money::Money;
pub use stress::{Stress, StressOutcome, share_bps, stress, value_at_risk};

/// A trade that somebody wants to make, as far as the rules look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The strategy that wants it.
    pub strategy: String,
    /// What is traded, for people: `WETH/USDC`.
    pub pair: String,
    /// What it puts through the market, in the reference currency.
    pub notional: Money,
    /// The most that may be lost by it: for one that reverts as a whole, its gas at the highest price; otherwise its notional and gas.
    pub at_risk: Money,
    /// Expected gain before gas and tip, after the lender's fee.
    pub gross: Money,
    /// Expected gas and tip.
    pub gas_cost: Money,
    /// The most paid for a unit of gas, in wei.
    pub gas_price_wei: Amount,
    /// How far below the quoted output the least accepted one is, in basis points.
    pub slippage_bps: u32,
    /// Every token that it goes through.
    pub tokens: BTreeSet<Address>,
    /// Every protocol that it goes through, the lender's too: `uniswap-v3`, `aave-v3`.
    pub protocols: BTreeSet<String>,
    /// Every pool that it goes through.
    pub pools: Vec<PoolFacts>,
    /// The worst of the reference prices that the values stand on; absent when there is none.
    #[serde(default)]
    pub oracle: Option<OracleFacts>,
    /// Whether it only turns holdings back into funding assets: all that is let through when the trading state is REDUCING.
    #[serde(default)]
    pub reduces: bool,
    /// Whether it reverts as a whole when it does not gain.
    #[serde(default)]
    pub atomic: bool,
    /// Whether it is no trade but the fleet's own work on the chain, such as deploying its contract: it is held to the switches, the price of
    /// gas and what may be lost, and to nothing that asks for a gain.
    #[serde(default)]
    pub upkeep: bool,
}

impl Proposal {
    /// Expected gain after everything.
    pub fn net(&self) -> Money {
        self.gross.minus(self.gas_cost)
    }
}

/// What is known of a pool that a trade goes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolFacts {
    /// Its contract.
    pub address: Address,
    /// How long it has existed, in seconds; absent when that is not known.
    #[serde(default)]
    pub age_seconds: Option<u64>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub age_unknown: Option<String>,
    /// What it holds, in the reference currency; absent when that is not known.
    #[serde(default)]
    pub liquidity: Option<Money>,
}

/// What is known of a reference price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OracleFacts {
    /// How far the pools' own price is from it, in basis points.
    pub deviation_bps: u64,
    /// How old it is, in milliseconds.
    pub age_ms: i64,
}

/// Whether trades are made at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TradingState {
    /// They are.
    #[default]
    Active,
    /// Only those that reduce exposure.
    Reducing,
    /// None.
    Halted,
}

/// Values held open by trades that are reserved and not yet settled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exposure {
    /// How many trades.
    pub trades: u64,
    /// All their notionals.
    pub notional: Money,
    /// The most that they may lose together.
    pub at_risk: Money,
    /// Notional by token: each trade counts whole for every token that it goes through.
    pub by_token: BTreeMap<Address, Money>,
    /// Notional by protocol, counted likewise.
    pub by_protocol: BTreeMap<String, Money>,
    /// Notional by strategy.
    pub by_strategy: BTreeMap<String, Money>,
}

impl Exposure {
    /// With this trade too.
    pub fn add(&mut self, trade: &Proposal) {
        self.trades += 1;
        self.shift(trade, Money::plus);
    }

    /// Without this trade, which was added before.
    pub fn remove(&mut self, trade: &Proposal) {
        self.trades = self.trades.saturating_sub(1);
        self.shift(trade, Money::minus);
        self.by_token.retain(|_, value| *value != Money::ZERO);
        self.by_protocol.retain(|_, value| *value != Money::ZERO);
        self.by_strategy.retain(|_, value| *value != Money::ZERO);
    }

    fn shift(&mut self, trade: &Proposal, by: fn(Money, Money) -> Money) {
        self.notional = by(self.notional, trade.notional);
        self.at_risk = by(self.at_risk, trade.at_risk);
        let shifted = |value: &mut Money| *value = by(*value, trade.notional);
        trade.tokens.iter().for_each(|token| shifted(self.by_token.entry(*token).or_default()));
        trade.protocols.iter().for_each(|name| shifted(self.by_protocol.entry(name.clone()).or_default()));
        shifted(self.by_strategy.entry(trade.strategy.clone()).or_default());
    }
}

/// What the rules look at beside the trade and the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether trades are made at all.
    pub trading: TradingState,
    /// Whether the kill switch is on.
    pub killed: bool,
    /// Whether real funds are at stake.
    pub live: bool,
    /// Whether a person set the limits; otherwise they are the defaults.
    pub limits_set: bool,
    /// Whether the trade's strategy was started.
    pub strategy_runs: bool,
    /// What is held open without the trade.
    pub open: Exposure,
    /// What was lost since midnight UTC, gains counted against it; nothing when there was a gain.
    pub lost_today: Money,
    /// How far all realised profit is below its peak.
    pub drawdown: Money,
    /// Failures since the last success.
    pub failures: u32,
}

/// The rules. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The kill switch is off.
    KillSwitch,
    /// Trading is ACTIVE, or REDUCING and the trade reduces exposure.
    TradingState,
    /// The strategy was started.
    StrategyRunning,
    /// With real funds, limits were set by a person.
    LimitsSet,
    /// Nothing about the trade is negative, empty or too large to be true.
    WellFormed,
    /// Notional of one trade.
    TradeNotional,
    /// Open notional of each token.
    TokenExposure,
    /// Open notional of each protocol.
    ProtocolExposure,
    /// Open notional of all.
    OpenExposure,
    /// Loss of the day, if everything open fails too.
    DailyLoss,
    /// Distance from the peak of realised profit, if everything open fails too.
    Drawdown,
    /// Expected gain after everything.
    NetProfit,
    /// Price of gas.
    GasPrice,
    /// Gas as a share of the gain before it.
    GasShare,
    /// Accepted slippage.
    Slippage,
    /// Distance of the pools' price from the reference price.
    OracleDeviation,
    /// Age of the reference price.
    OracleAge,
    /// Failures in a row.
    ConsecutiveFailures,
    /// Age of the youngest pool.
    PoolAge,
    /// Value in the thinnest pool.
    PoolLiquidity,
    /// Tokens are allowed, and none is denied.
    TokenList,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule: the reason's stable code.
    pub rule: Rule,
    /// Whether the trade passes it.
    pub passed: bool,
    /// The figure judged; absent when it is not known.
    pub figure: Option<String>,
    /// What it is held to.
    pub bound: String,
    /// What the two are in: `reference` (the reference currency), `bps`, `wei`, `seconds`, `ms`, `count`, `state`.
    pub unit: String,
    /// The token, protocol or pool that the figure belongs to, where there are several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// Why the figure is not known, where that was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unknown: Option<String>,
}

impl Finding {
    /// In a few words: `trade_notional is 12000, bound 10000 reference`.
    pub fn in_words(&self) -> String {
        let rule = serde_json::to_value(self.rule).unwrap_or_default();
        let rule = rule.as_str().unwrap_or_default();
        let unknown =
            || self.unknown.as_ref().map_or_else(|| "not known".to_owned(), |why| format!("not known ({why})"));
        let figure = self.figure.clone().unwrap_or_else(unknown);
        let about = self.about.as_ref().map(|about| format!(" ({about})")).unwrap_or_default();
        let unit = if self.unit == "state" { String::new() } else { format!(" {}", self.unit) };
        format!("{rule} is {figure}, bound {}{unit}{about}", self.bound)
    }
}

/// What all the rules say of a trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether it may be made.
    pub allowed: bool,
    /// The rules that it does not pass.
    pub reasons: Vec<Rule>,
    /// Every rule with its figure and bound.
    pub rules: Vec<Finding>,
}

/// Judges a trade by every rule that it is held to.
pub fn check(trade: &Proposal, limits: &Limits, standing: &Standing) -> Verdict {
    let apply = if trade.upkeep { rules::UPKEEP } else { rules::ALL };
    let rules: Vec<Finding> = apply.iter().map(|rule| rule(trade, limits, standing)).collect();
    let reasons: Vec<Rule> = rules.iter().filter(|finding| !finding.passed).map(|finding| finding.rule).collect();
    Verdict { allowed: reasons.is_empty(), reasons, rules }
}
