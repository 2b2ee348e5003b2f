//! The rules one by one. Each looks at one figure and one bound.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Exposure, Finding, Limits, Money, Proposal, Rule, Standing, TradingState};

type Judge = fn(&Proposal, &Limits, &Standing) -> Finding;

/// Most tokens, protocols or pools of one trade.
const NAMES_MAX: usize = 16;
/// Longest name of a pair, a protocol or a strategy, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// All of them, in the order in which they are told.
pub(super) const ALL: &[Judge] = &[
    kill_switch,
    trading_state,
    strategy_running,
    limits_set,
    well_formed,
    trade_notional,
    token_exposure,
    protocol_exposure,
    open_exposure,
    daily_loss,
    drawdown,
    net_profit,
    gas_price,
    gas_share,
    slippage,
    oracle_deviation,
    oracle_age,
    consecutive_failures,
    pool_age,
    pool_liquidity,
    token_list,
];

/// Those that the fleet's own work on the chain is held to.
pub(super) const UPKEEP: &[Judge] = &[kill_switch, trading_state, limits_set, daily_loss, drawdown, gas_price];

fn finding(rule: Rule, passed: bool, figure: impl Display, bound: impl Display, unit: &str) -> Finding {
    Finding {
        rule,
        passed,
        figure: Some(figure.to_string()),
        bound: bound.to_string(),
        unit: unit.into(),
        about: None,
        unknown: None,
    }
}

/// A figure that may not be above a bound; one that is not known does not pass.
fn at_most<T: PartialOrd + Display>(rule: Rule, figure: Option<T>, bound: T, unit: &str) -> Finding {
    let passed = figure.as_ref().is_some_and(|figure| *figure <= bound);
    let figure = figure.map(|figure| figure.to_string());
    Finding { rule, passed, figure, bound: bound.to_string(), unit: unit.into(), about: None, unknown: None }
}

fn kill_switch(_: &Proposal, _: &Limits, standing: &Standing) -> Finding {
    let word = if standing.killed { "on" } else { "off" };
    finding(Rule::KillSwitch, !standing.killed, word, "off", "state")
}

fn trading_state(trade: &Proposal, _: &Limits, standing: &Standing) -> Finding {
    let (passed, word) = match standing.trading {
        TradingState::Active => (true, "ACTIVE"),
        TradingState::Reducing => (trade.reduces, "REDUCING"),
        TradingState::Halted => (false, "HALTED"),
    };
    finding(Rule::TradingState, passed, word, if trade.reduces { "ACTIVE or REDUCING" } else { "ACTIVE" }, "state")
}

fn strategy_running(trade: &Proposal, _: &Limits, standing: &Standing) -> Finding {
    let word = if standing.strategy_runs { "started" } else { "stopped" };
    let found = finding(Rule::StrategyRunning, standing.strategy_runs, word, "started", "state");
    Finding { about: Some(trade.strategy.clone()), ..found }
}

fn limits_set(_: &Proposal, _: &Limits, standing: &Standing) -> Finding {
    let word = if standing.limits_set { "set" } else { "defaults" };
    let bound = if standing.live { "set" } else { "set or defaults" };
    finding(Rule::LimitsSet, standing.limits_set || !standing.live, word, bound, "state")
}

fn well_formed(trade: &Proposal, _: &Limits, _: &Standing) -> Finding {
    let values = [trade.notional, trade.at_risk, trade.gas_cost];
    let wrong = if values.iter().any(|value| value.is_loss()) {
        "a negative notional, at_risk or gas_cost"
    } else if values.iter().chain([&trade.gross]).any(|value| value.size() > Money::MAX) {
        "a value out of range"
    } else if trade.at_risk < trade.gas_cost {
        "at_risk below gas_cost"
    } else if !trade.atomic && trade.at_risk < trade.notional {
        "at_risk below notional in a trade that is not atomic"
    } else if trade.notional == Money::ZERO {
        "no notional"
    } else if trade.tokens.is_empty() || trade.protocols.is_empty() || trade.pools.is_empty() {
        "no tokens, protocols or pools"
    } else if trade.tokens.len().max(trade.protocols.len()).max(trade.pools.len()) > NAMES_MAX
        || trade.protocols.iter().chain([&trade.pair, &trade.strategy]).any(|name| name.len() > NAME_BYTES_MAX)
    {
        "more or longer names than any trade has"
    } else {
        ""
    };
    finding(
        Rule::WellFormed,
        wrong.is_empty(),
        if wrong.is_empty() { "well formed" } else { wrong },
        "well formed",
        "state",
    )
}

fn trade_notional(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    at_most(Rule::TradeNotional, Some(trade.notional), limits.trade_notional_max, "reference")
}

/// The largest open notional of what the trade goes through, the trade included.
fn worst<'a, K: Ord + ToString + 'a>(
    rule: Rule,
    names: impl Iterator<Item = &'a K>,
    open: &BTreeMap<K, Money>,
    trade: &Proposal,
    bound: Money,
) -> Finding {
    let held = |name: &K| open.get(name).copied().unwrap_or_default().plus(trade.notional);
    let top = names.map(|name| (held(name), name.to_string())).max();
    let found = at_most(rule, top.as_ref().map(|(value, _)| *value), bound, "reference");
    Finding { about: top.map(|(_, name)| name), ..found }
}

fn token_exposure(trade: &Proposal, limits: &Limits, standing: &Standing) -> Finding {
    let Exposure { by_token, .. } = &standing.open;
    worst(Rule::TokenExposure, trade.tokens.iter(), by_token, trade, limits.token_notional_max)
}

fn protocol_exposure(trade: &Proposal, limits: &Limits, standing: &Standing) -> Finding {
    let Exposure { by_protocol, .. } = &standing.open;
    worst(Rule::ProtocolExposure, trade.protocols.iter(), by_protocol, trade, limits.protocol_notional_max)
}

fn open_exposure(trade: &Proposal, limits: &Limits, standing: &Standing) -> Finding {
    let figure = standing.open.notional.plus(trade.notional);
    at_most(Rule::OpenExposure, Some(figure), limits.open_notional_max, "reference")
}

fn daily_loss(trade: &Proposal, limits: &Limits, standing: &Standing) -> Finding {
    let figure = standing.lost_today.plus(standing.open.at_risk).plus(trade.at_risk);
    at_most(Rule::DailyLoss, Some(figure), limits.daily_loss_max, "reference")
}

fn drawdown(trade: &Proposal, limits: &Limits, standing: &Standing) -> Finding {
    let figure = standing.drawdown.plus(standing.open.at_risk).plus(trade.at_risk);
    at_most(Rule::Drawdown, Some(figure), limits.drawdown_max, "reference")
}

fn net_profit(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    let net = trade.net();
    finding(Rule::NetProfit, net >= limits.net_profit_min, net, limits.net_profit_min, "reference")
}

fn gas_price(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    at_most(Rule::GasPrice, Some(trade.gas_price_wei), limits.gas_price_max_wei, "wei")
}

fn gas_share(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    at_most(Rule::GasShare, trade.gas_cost.share_bps(trade.gross), limits.gas_share_max_bps, "bps")
}

fn slippage(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    at_most(Rule::Slippage, Some(u64::from(trade.slippage_bps)), limits.slippage_max_bps, "bps")
}

fn oracle_deviation(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    let figure = trade.oracle.as_ref().map(|oracle| oracle.deviation_bps);
    at_most(Rule::OracleDeviation, figure, limits.oracle_deviation_max_bps, "bps")
}

fn oracle_age(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    let figure = trade.oracle.as_ref().map(|oracle| u64::try_from(oracle.age_ms).unwrap_or(0));
    at_most(Rule::OracleAge, figure, limits.oracle_age_max_seconds.saturating_mul(1_000), "ms")
}

fn consecutive_failures(_: &Proposal, limits: &Limits, standing: &Standing) -> Finding {
    // The bound is how many it takes to stop: at the bound nothing more is tried.
    let passed = standing.failures < limits.consecutive_failures_max;
    let bound = format!("below {}", limits.consecutive_failures_max);
    finding(Rule::ConsecutiveFailures, passed, standing.failures, bound, "count")
}

/// The least figure among the pools, and whose it is; a pool whose figure is not known is the least of all.
fn least<T: Ord + Copy + Display + Default>(
    rule: Rule,
    trade: &Proposal,
    of: impl Fn(&super::PoolFacts) -> Option<T>,
    bound: T,
    unit: &str,
) -> Finding {
    let low = trade.pools.iter().map(|pool| (of(pool), pool.address)).min();
    let figure = low.and_then(|(figure, _)| figure);
    let passed = bound == T::default() || figure.is_some_and(|figure| figure >= bound);
    let figure = figure.map(|figure| figure.to_string());
    let about = low.map(|(_, address)| address.to_string());
    Finding { rule, passed, figure, bound: bound.to_string(), unit: unit.into(), about, unknown: None }
}

fn pool_age(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    let found = least(Rule::PoolAge, trade, |pool| pool.age_seconds, limits.pool_age_min_seconds, "seconds");
    let least = trade.pools.iter().find(|pool| found.about.as_ref() == Some(&pool.address.to_string()));
    Finding { unknown: least.and_then(|pool| pool.age_unknown.clone()), ..found }
}

fn pool_liquidity(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    least(Rule::PoolLiquidity, trade, |pool| pool.liquidity, limits.pool_liquidity_min, "reference")
}

fn token_list(trade: &Proposal, limits: &Limits, _: &Standing) -> Finding {
    let Limits { tokens_allowed: allowed, tokens_denied: denied, .. } = limits;
    let refused =
        trade.tokens.iter().find(|token| denied.contains(*token) || !(allowed.is_empty() || allowed.contains(*token)));
    let figure = refused.map_or_else(|| "all allowed".to_owned(), |_| "not allowed".to_owned());
    let bound = if allowed.is_empty() { "not denied" } else { "on the list and not denied" };
    let found = finding(Rule::TokenList, refused.is_none(), figure, bound, "state");
    Finding { about: refused.map(ToString::to_string), ..found }
}
