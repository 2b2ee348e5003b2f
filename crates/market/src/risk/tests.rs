use proptest::prelude::*;

use super::*;
use crate::fixtures::address;

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// A trade that passes every rule by default.
fn good() -> Proposal {
    Proposal {
        strategy: "flash-arbitrage".into(),
        pair: "WETH/USDC".into(),
        notional: Money::whole(1_000),
        at_risk: Money::whole(3),
        gross: Money::whole(10),
        gas_cost: Money::whole(2),
        gas_price_wei: Amount::from(1_000_000_000),
        slippage_bps: 10,
        tokens: [address(1), address(2)].into(),
        protocols: ["uniswap-v2".to_owned(), "uniswap-v3".to_owned()].into(),
        pools: vec![
            PoolFacts {
                address: address(8),
                age_seconds: Some(100),
                age_unknown: None,
                liquidity: Some(Money::whole(5_000)),
            },
            PoolFacts {
                address: address(9),
                age_seconds: None,
                age_unknown: Some("nobody saw it made".into()),
                liquidity: None,
            },
        ],
        oracle: Some(OracleFacts { deviation_bps: 20, age_ms: 5_000 }),
        reduces: false,
        atomic: true,
        upkeep: false,
    }
}

fn running() -> Standing {
    Standing { strategy_runs: true, ..Standing::default() }
}

/// The reasons for which a trade is refused after `change`.
fn reasons(change: impl FnOnce(&mut Proposal, &mut Limits, &mut Standing)) -> Vec<Rule> {
    let (mut trade, mut limits, mut standing) = (good(), Limits::default(), running());
    change(&mut trade, &mut limits, &mut standing);
    let verdict = check(&trade, &limits, &standing);
    assert_eq!(verdict.rules.len(), rules::ALL.len());
    assert_eq!(verdict.allowed, verdict.reasons.is_empty());
    verdict.reasons
}

#[test]
fn each_rule_refuses_just_past_its_bound() {
    assert_eq!(reasons(|_, _, _| {}), []);
    assert_eq!(reasons(|_, _, standing| standing.killed = true), [Rule::KillSwitch]);
    assert_eq!(reasons(|_, _, standing| standing.trading = TradingState::Halted), [Rule::TradingState]);
    assert_eq!(reasons(|_, _, standing| standing.trading = TradingState::Reducing), [Rule::TradingState]);
    let reducing = reasons(|trade, _, standing| {
        standing.trading = TradingState::Reducing;
        trade.reduces = true;
    });
    assert_eq!(reducing, []);
    assert_eq!(reasons(|_, _, standing| standing.strategy_runs = false), [Rule::StrategyRunning]);
    assert_eq!(reasons(|_, _, standing| standing.live = true), [Rule::LimitsSet]);
    assert_eq!(reasons(|trade, _, _| trade.at_risk = Money::whole(1)), [Rule::WellFormed]);
    assert_eq!(reasons(|trade, _, _| trade.atomic = false), [Rule::WellFormed]);
    assert_eq!(reasons(|_, limits, _| limits.trade_notional_max = money("999.999999")), [Rule::TradeNotional]);
    let crowded = |trade: &mut Proposal, limits: &mut Limits, standing: &mut Standing| {
        let mut other = trade.clone();
        other.tokens = [address(2), address(3)].into();
        standing.open.add(&other);
        limits.token_notional_max = Money::whole(1_999);
    };
    assert_eq!(reasons(crowded), [Rule::TokenExposure]);
    let same_venue = |trade: &mut Proposal, limits: &mut Limits, standing: &mut Standing| {
        standing.open.add(&trade.clone());
        limits.protocol_notional_max = Money::whole(1_999);
    };
    assert_eq!(reasons(same_venue), [Rule::ProtocolExposure]);
    assert_eq!(reasons(|_, _, standing| standing.open.notional = Money::whole(49_001)), [Rule::OpenExposure]);
    assert_eq!(reasons(|_, _, standing| standing.lost_today = money("197.000001")), [Rule::DailyLoss]);
    assert_eq!(reasons(|_, _, standing| standing.lost_today = Money::whole(197)), []);
    assert_eq!(reasons(|_, _, standing| standing.drawdown = money("497.000001")), [Rule::Drawdown]);
    assert_eq!(reasons(|_, limits, _| limits.net_profit_min = money("8.000001")), [Rule::NetProfit]);
    assert_eq!(reasons(|_, limits, _| limits.gas_price_max_wei = Amount::from(999_999_999)), [Rule::GasPrice]);
    assert_eq!(reasons(|_, limits, _| limits.gas_share_max_bps = 1_999), [Rule::GasShare]);
    assert_eq!(reasons(|_, limits, _| limits.slippage_max_bps = 9), [Rule::Slippage]);
    assert_eq!(reasons(|_, limits, _| limits.oracle_deviation_max_bps = 19), [Rule::OracleDeviation]);
    assert_eq!(reasons(|_, limits, _| limits.oracle_age_max_seconds = 4), [Rule::OracleAge]);
    assert_eq!(reasons(|_, _, standing| standing.failures = 5), [Rule::ConsecutiveFailures]);
    assert_eq!(reasons(|_, limits, _| limits.tokens_denied = [address(2)].into()), [Rule::TokenList]);
    assert_eq!(reasons(|_, limits, _| limits.tokens_allowed = [address(2)].into()), [Rule::TokenList]);
}

#[test]
fn every_rule_is_told_under_its_stable_code() {
    let verdict = check(&good(), &Limits::default(), &running());
    let code = |finding: &Finding| serde_json::to_value(finding.rule).unwrap().as_str().unwrap().to_owned();
    let codes = [
        "kill_switch",
        "trading_state",
        "strategy_running",
        "limits_set",
        "well_formed",
        "trade_notional",
        "token_exposure",
        "protocol_exposure",
        "open_exposure",
        "daily_loss",
        "drawdown",
        "net_profit",
        "gas_price",
        "gas_share",
        "slippage",
        "oracle_deviation",
        "oracle_age",
        "consecutive_failures",
        "pool_age",
        "pool_liquidity",
        "token_list",
    ];
    assert_eq!(verdict.rules.iter().map(code).collect::<Vec<_>>(), codes);
    for finding in &verdict.rules {
        assert!(!finding.bound.is_empty() && !finding.unit.is_empty(), "{finding:?}");
    }
}

#[test]
fn what_is_not_known_does_not_pass() {
    assert_eq!(reasons(|trade, _, _| trade.oracle = None), [Rule::OracleDeviation, Rule::OracleAge]);
    assert_eq!(reasons(|_, limits, _| limits.pool_age_min_seconds = 1), [Rule::PoolAge]);
    assert_eq!(reasons(|_, limits, _| limits.pool_liquidity_min = Money::whole(1)), [Rule::PoolLiquidity]);
    assert_eq!(reasons(|trade, _, _| trade.gross = Money::ZERO), [Rule::NetProfit, Rule::GasShare]);
    let none = reasons(|trade, _, _| trade.tokens.clear());
    assert_eq!(none, [Rule::WellFormed, Rule::TokenExposure]);
}

#[test]
fn a_finding_names_what_it_is_about() {
    let verdict = check(&good(), &Limits { pool_age_min_seconds: 1, ..Limits::default() }, &running());
    let of = |rule: Rule| verdict.rules.iter().find(|finding| finding.rule == rule).unwrap().clone();
    assert_eq!(of(Rule::PoolAge).about, Some(address(9).to_string()));
    assert_eq!(of(Rule::PoolAge).figure, None);
    let words = of(Rule::PoolAge).in_words();
    assert_eq!(words, format!("pool_age is not known (nobody saw it made), bound 1 seconds ({})", address(9)));
    assert_eq!(of(Rule::ProtocolExposure).about.as_deref(), Some("uniswap-v3"));
    assert_eq!((of(Rule::GasShare).figure.as_deref(), of(Rule::GasShare).bound.as_str()), (Some("2000"), "8000"));
    assert_eq!(serde_json::to_string(&Rule::DailyLoss).unwrap(), r#""daily_loss""#);
}

#[test]
fn a_change_is_looser_or_not() {
    let limits = Limits { tokens_allowed: [address(1), address(2)].into(), ..Limits::default() };
    let loosened = |change: LimitsChange| limits.loosened(&limits.clone().with(change));
    let none = LimitsChange::default();
    assert_eq!(loosened(none.clone()), [""; 0]);
    assert_eq!(loosened(LimitsChange { daily_loss_max: Some(Money::whole(100)), ..none.clone() }), [""; 0]);
    assert_eq!(loosened(LimitsChange { daily_loss_max: Some(Money::whole(300)), ..none.clone() }), ["daily_loss_max"]);
    assert_eq!(loosened(LimitsChange { net_profit_min: Some(Money::ZERO), ..none.clone() }), ["net_profit_min"]);
    assert_eq!(loosened(LimitsChange { tokens_allowed: Some([address(1)].into()), ..none.clone() }), [""; 0]);
    assert_eq!(loosened(LimitsChange { tokens_allowed: Some([].into()), ..none.clone() }), ["tokens_allowed"]);
    assert_eq!(loosened(LimitsChange { tokens_denied: Some([address(7)].into()), ..none }), [""; 0]);
    assert!(Limits { daily_loss_max: money("-1"), ..Limits::default() }.validate().is_err());
    assert!(serde_json::from_str::<LimitsChange>(r#"{"daily_los_max":"5"}"#).is_err());
}

#[test]
fn the_past_says_what_a_bad_day_is() {
    let days: Vec<Money> = (-10i64..90).map(Money::whole).collect();
    assert_eq!(value_at_risk(&days, 9_500), Some(Money::whole(5)));
    assert_eq!(value_at_risk(&days, 9_900), Some(Money::whole(9)));
    assert_eq!(value_at_risk(&days, 8_000), Some(Money::ZERO));
    assert_eq!(value_at_risk(&days, 0), Some(Money::ZERO));
    assert_eq!(value_at_risk(&days[..1], 9_900), Some(Money::whole(10)));
    assert_eq!(value_at_risk(&[], 9_500), None);
    let shares = |values: &[i64]| share_bps(values.iter().copied().map(Money::whole));
    assert_eq!((shares(&[5]), shares(&[2, 2]), shares(&[])), (Some(10_000), Some(5_000), None));
}

#[test]
fn shocks_cost_what_is_open() {
    let held = Proposal { atomic: false, at_risk: Money::whole(1_003), ..good() };
    let open = [good(), held];
    let outcome = |shock| stress(shock, &open, &Limits::default(), &running());
    let price = outcome(Stress::Price(500));
    // The atomic one fails for its gas, the other loses a twentieth of its notional and its gas.
    assert_eq!((price.loss, price.refused, price.breaks_daily_loss), (Money::whole(3 + 50 + 2), 2, false));
    let gas = outcome(Stress::Gas(30_000));
    assert_eq!((gas.loss, gas.refused), (Money::whole(9 + 1_003), 0));
    assert!(gas.breaks_daily_loss && gas.breaks_drawdown);
    assert_eq!(outcome(Stress::OracleFailure).refused, 2);
}

proptest! {
    #[test]
    fn exposure_is_the_sum_of_what_is_open(trades in prop::collection::vec((1i64..1_000, 0u8..4, 0u8..4, any::<bool>()), 0..20)) {
        let mut exposure = Exposure::default();
        let mut open = Vec::new();
        for (notional, token, other, close) in trades {
            let trade = Proposal { notional: Money::whole(notional), tokens: [address(token), address(other)].into(), ..good() };
            exposure.add(&trade);
            if close {
                exposure.remove(&trade);
            } else {
                open.push(trade);
            }
        }
        let mut summed = Exposure::default();
        open.iter().for_each(|trade| summed.add(trade));
        prop_assert_eq!(exposure, summed);
    }
}
