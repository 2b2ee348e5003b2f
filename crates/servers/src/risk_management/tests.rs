use expect_test::expect;
use kernel::chain::Ground;
use kernel::{Code, Role};
use market::gate::{Fill, Gate, Outcome};
use market::risk::{LimitsChange, Money, Proposal};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Bench, admin, operator, viewer};

fn trade(notional: i64) -> Value {
    json!({
        "strategy": "flash-arbitrage",
        "pair": "WETH/USDC",
        "notional": notional.to_string(),
        "at_risk": "5",
        "gross": "20",
        "gas_cost": "5",
        "gas_price_wei": "1000000000",
        "slippage_bps": 10,
        "tokens": ["0x0101010101010101010101010101010101010101"],
        "protocols": ["uniswap-v2", "balancer-v2"],
        "pools": [{ "address": "0x0202020202020202020202020202020202020202" }],
        "oracle": { "deviation_bps": 3, "age_ms": 1000 },
        "atomic": true,
    })
}

fn proposal(notional: i64) -> Proposal {
    serde_json::from_value(trade(notional)).unwrap()
}

fn fill(gross: i64, gas: i64) -> Fill {
    serde_json::from_value(json!({
        "asset": "0x0101010101010101010101010101010101010101",
        "units": gross.to_string(),
        "gas_wei": "7",
        "tip_wei": "0",
        "gross": gross.to_string(),
        "fee": "0",
        "gas": gas.to_string(),
        "tip": "0",
    }))
    .unwrap()
}

async fn bench() -> (Bench, Gate) {
    let bench = Bench::new::<RiskManagement>();
    let gate = Gate::new(bench.world.store.clone(), bench.world.clock.clone(), Ground::Real);
    gate.set_strategy("flash-arbitrage", true, "ann", None).await.unwrap();
    (bench, gate)
}

#[tokio::test]
async fn a_trade_is_judged_by_every_rule_and_nothing_is_reserved() {
    let (bench, gate) = bench().await;
    let answer = bench.call(&viewer("v"), CHECK_TRADE, CheckTradeRequest { trade: proposal(100) }).await.unwrap();
    assert!(answer.verdict.allowed && answer.verdict.rules.len() == 21);
    let answer = bench.call(&viewer("v"), CHECK_TRADE, CheckTradeRequest { trade: proposal(20_000) }).await.unwrap();
    expect![[r#"["trade_notional"]"#]].assert_eq(&serde_json::to_string(&answer.verdict.reasons).unwrap());
    let rule = answer.verdict.rules.iter().find(|rule| !rule.passed).unwrap();
    expect![[r#"{"rule":"trade_notional","passed":false,"figure":"20000","bound":"10000","unit":"reference"}"#]]
        .assert_eq(&serde_json::to_string(rule).unwrap());
    assert_eq!(gate.desk().await.unwrap().paper.open.trades, 0);
    let mut misspelt = trade(1);
    misspelt["nocional"] = json!("1");
    let refusal = bench.shown(&viewer("v"), "check_trade", json!({ "trade": misspelt })).await;
    assert!(refusal.starts_with("invalid_argument"), "{refusal}");
}

#[tokio::test]
async fn tightening_is_an_operators_and_loosening_an_administrators() {
    let (bench, _) = bench().await;
    let set = |value: &str| json!({ "limits": { "daily_loss_max": value }, "reason": "quiet week" });
    let looser = expect![
        "permission_denied: looser than before: daily_loss_max (tightening is an operator's, loosening an administrator's)"
    ];
    bench.check_as(&operator("ann"), "set_limits", set("201"), looser).await;
    let shown = bench.shown(&operator("ann"), "set_limits", set("100")).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((shown["version"].as_u64(), shown["by"].as_str()), (Some(1), Some("ann")));
    assert_eq!(
        (shown["limits"]["daily_loss_max"].as_str(), shown["reason"].as_str()),
        (Some("100"), Some("quiet week"))
    );
    bench.shown(&admin(), "set_limits", set("300")).await;
    let answer = bench.call(&viewer("v"), GET_LIMITS, GetLimitsRequest { history: 10 }).await.unwrap();
    assert_eq!(answer.record.version, 2);
    assert_eq!(answer.history.iter().map(|one| one.set.by.as_str()).collect::<Vec<_>>(), ["root", "ann"]);
    let stale = json!({ "limits": {}, "reason": "x", "if_version": 1 });
    let moved = expect!["conflict: the limits are at version 2 (get_limits, and decide again)"];
    bench.check("set_limits", stale, moved).await;
    let silent = expect!["invalid_argument: no reason (say why: others will read it)"];
    bench.check("set_limits", json!({ "limits": {}, "reason": " " }), silent).await;
    let request = SetLimitsRequest { limits: LimitsChange::default(), reason: "x".into(), if_version: None };
    assert_eq!(bench.call(&viewer("v"), SET_LIMITS, request).await.unwrap_err().code, Code::PermissionDenied);
    let told = bench.world.bus.read(RISK_TOPIC, 0, 10).await.unwrap();
    assert_eq!(told.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["risk.limits", "risk.limits"]);
}

#[tokio::test]
async fn what_is_open_is_shown_beside_its_limits() {
    let (bench, gate) = bench().await;
    gate.reserve("a", &proposal(5_000), &[]).await.unwrap().reservation.unwrap();
    let answer = bench.call(&viewer("v"), EXPOSURE, ModeRequest::default()).await.unwrap();
    assert_eq!((answer.exposure.notional, answer.open.len()), (Money::whole(5_000), 1));
    expect![[r#"[{"limit":"open_notional_max","figure":"5000","bound":"50000","used_bps":1000},{"limit":"token_notional_max","figure":"5000","bound":"25000","used_bps":2000,"about":"0x0101010101010101010101010101010101010101"},{"limit":"protocol_notional_max","figure":"5000","bound":"25000","used_bps":2000,"about":"uniswap-v2"}]"#]]
        .assert_eq(&serde_json::to_string(&answer.limits).unwrap());
    let live = bench.call(&viewer("v"), EXPOSURE, ModeRequest { mode: Some(Mode::Live) }).await.unwrap();
    assert_eq!((live.exposure.trades, live.open.len()), (0, 0));
    let spread = bench.call(&viewer("v"), CONCENTRATION, ModeRequest::default()).await.unwrap();
    assert_eq!((spread.tokens.index_bps, spread.protocols.index_bps), (Some(10_000), Some(5_000)));
    assert_eq!(
        (spread.protocols.shares[0].name.as_str(), spread.protocols.shares[0].share_bps),
        ("balancer-v2", 10_000)
    );
    let stress = bench.call(&viewer("v"), STRESS, StressRequest::default()).await.unwrap();
    let losses: Vec<Money> = stress.shocks.iter().map(|shock| shock.loss).collect();
    assert_eq!(losses, [5, 15, 5].map(Money::whole));
    bench.check("stress", json!({ "price_bps": 0 }), expect!["invalid_argument: price_bps is 0 (1 to 10000)"]).await;
}

#[tokio::test]
async fn the_ledger_says_what_a_bad_day_is_and_on_how_many_it_stands() {
    let (bench, gate) = bench().await;
    let ask = ValueAtRiskRequest::default;
    let none = bench.call(&viewer("v"), VALUE_AT_RISK, ask()).await.unwrap();
    assert_eq!((none.value_at_risk, none.days), (None, 0));
    for (day, gross) in [20, 0, 20, 0].into_iter().enumerate() {
        let id = format!("d{day}");
        gate.reserve(&id, &proposal(10), &[]).await.unwrap().reservation.unwrap();
        gate.settle(&id, &Outcome::Filled(fill(gross, 5)), &[]).await.unwrap();
        bench.world.clock.advance_ms(86_400_000);
    }
    let answer = bench.call(&viewer("v"), VALUE_AT_RISK, ask()).await.unwrap();
    assert_eq!(
        (answer.value_at_risk, answer.days, answer.worst_day),
        (Some(Money::whole(5)), 4, Some(Money::whole(-5)))
    );
    assert_eq!(answer.since.as_deref(), Some("2026-11-15"));
    assert!(answer.caution.is_some());
    let marks = bench.call(&viewer("v"), DRAWDOWN, DrawdownRequest::default()).await.unwrap();
    assert_eq!((marks.total_net, marks.peak, marks.drawdown), (Money::whole(20), Money::whole(25), Money::whole(5)));
    let days: Vec<Money> = marks.days.iter().map(|day| day.drawdown).collect();
    assert_eq!(days, [0, 5, 0, 5, 5].map(Money::whole));
    let report = bench.call(&viewer("v"), RISK_REPORT, ModeRequest::default()).await.unwrap();
    assert_eq!((report.total_net, report.value_at_risk), (Money::whole(20), answer));
    expect!["paper mode, trading ACTIVE, kill switch off, limits version 0"].assert_eq(&report.summary);
}

#[tokio::test]
async fn the_states_are_told_and_tightened() {
    let (bench, gate) = bench().await;
    let set = |state: &str| json!({ "state": state, "reason": "night" });
    let agent = kernel::Caller::new("agent:risk", Role::Agent("risk".into()));
    let shown = bench.shown(&agent, "set_trading_state", set("REDUCING")).await;
    assert!(shown.contains(r#""trading":"REDUCING","trading_set":{"by":"agent:risk""#), "{shown}");
    let looser = expect!["permission_denied: looser than the trading state now (resume does that)"];
    bench.check_as(&agent, "set_trading_state", set("ACTIVE"), looser).await;
    gate.kill("ben", Some("smoke")).await.unwrap();
    let states = bench.call(&viewer("v"), KILL_SWITCH_STATE, KillSwitchStateRequest {}).await.unwrap();
    assert!(states.on && states.kill.is_some_and(|kill| kill.set.reason.as_deref() == Some("smoke")));
    assert_eq!(
        bench.service.health().await.checks[0].detail,
        "paper mode, trading REDUCING, kill switch on, limits version 0"
    );
}
