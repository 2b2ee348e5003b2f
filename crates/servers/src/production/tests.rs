use expect_test::expect;
use kernel::chain::Ground;
use kernel::{Caller, Code, Role};
use market::gate::{Fill, Outcome};
use market::ledger::{Account, Postings};
use market::risk::{LimitsChange, Money, Proposal};
use serde_json::json;

use super::*;
use crate::testing::{Bench, admin, operator, viewer};

const STRATEGY: &str = "flash-arbitrage";

fn trader() -> Caller {
    Caller::new("tom", Role::Trader)
}

fn proposal(pair: &str) -> Proposal {
    serde_json::from_value(json!({
        "strategy": STRATEGY,
        "pair": pair,
        "notional": "100",
        "at_risk": "5",
        "gross": "20",
        "gas_cost": "5",
        "gas_price_wei": "1000000000",
        "slippage_bps": 10,
        "tokens": ["0x0101010101010101010101010101010101010101"],
        "protocols": ["uniswap-v2"],
        "pools": [{ "address": "0x0202020202020202020202020202020202020202" }],
        "oracle": { "deviation_bps": 3, "age_ms": 1000 },
        "atomic": true,
    }))
    .unwrap()
}

fn fill(units: i64, gross: &str) -> Fill {
    serde_json::from_value(json!({
        "asset": "0x0101010101010101010101010101010101010101",
        "units": units.to_string(),
        "simulated": "1000",
        "fee_units": "5",
        "gas_wei": "7",
        "tip_wei": "2",
        "gross": gross,
        "fee": "0.5",
        "gas": "2",
        "tip": "1",
        "block": 9,
    }))
    .unwrap()
}

async fn bench() -> (Bench, Gate) {
    let bench = Bench::new::<Production>();
    let gate = Gate::new(bench.world.store.clone(), bench.world.clock.clone(), Ground::Real);
    (bench, gate)
}

fn start() -> StrategyRequest {
    StrategyRequest { strategy: STRATEGY.into(), reason: "morning".into() }
}

/// Starts the strategy and makes a trade of each pair.
async fn trade(bench: &Bench, gate: &Gate, trades: &[(&str, &str, Outcome)]) {
    bench.call(&trader(), START_STRATEGY, start()).await.unwrap();
    for (id, pair, outcome) in trades {
        gate.reserve(id, &proposal(pair), &[]).await.unwrap().reservation.unwrap();
        gate.settle(id, outcome, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_strategy_trades_only_while_it_is_started() {
    let (bench, gate) = bench().await;
    let before = bench.call(&viewer("v"), LIST_STRATEGIES, ListStrategiesRequest {}).await.unwrap();
    assert!(!before.strategies[0].state.running);
    assert!(gate.reserve("a", &proposal("A/B"), &[]).await.unwrap().reservation.is_none());
    assert_eq!(bench.call(&operator("ann"), START_STRATEGY, start()).await.unwrap_err().code, Code::PermissionDenied);
    let started = bench.call(&trader(), START_STRATEGY, start()).await.unwrap();
    assert_eq!((started.state.running, started.state.set.by.as_str()), (true, "tom"));
    gate.reserve("a", &proposal("A/B"), &[]).await.unwrap().reservation.unwrap();
    let stopped = bench.call(&operator("ann"), STOP_STRATEGY, start()).await.unwrap();
    assert_eq!((stopped.state.running, stopped.open_notional), (false, Money::whole(100)));
    assert_eq!(gate.clear_to_send("a").await.unwrap_err().code, Code::PermissionDenied);
    let unknown = expect!["not_found: no strategy `yolo` (one of flash-arbitrage)"];
    bench.check("start_strategy", json!({ "strategy": "yolo", "reason": "x" }), unknown).await;
}

#[tokio::test]
async fn live_takes_limits_and_a_confirmation() {
    let (bench, gate) = bench().await;
    let ask = |confirmation: Option<String>| SetModeRequest { mode: Mode::Live, reason: "go".into(), confirmation };
    let mode = bench.call(&viewer("v"), GET_MODE, GetModeRequest {}).await.unwrap();
    assert_eq!((mode.mode, mode.missing_for_live.len()), (Mode::Paper, 1));
    assert_eq!(bench.call(&trader(), SET_MODE, ask(None)).await.unwrap_err().code, Code::PermissionDenied);
    gate.set_limits(&LimitsChange::default(), ("ann", None), None, false).await.unwrap();
    let asked = bench.call(&trader(), SET_MODE, ask(None)).await.unwrap();
    assert_eq!((asked.mode, asked.done), (Mode::Paper, false));
    let token = asked.confirmation.unwrap().token;
    assert_eq!(
        bench.call(&operator("ann"), SET_MODE, ask(Some(token.clone()))).await.unwrap_err().code,
        Code::PermissionDenied
    );
    let done = bench.call(&admin(), SET_MODE, ask(Some(token.clone()))).await.unwrap();
    assert_eq!((done.mode, done.done), (Mode::Live, true));
    let mode = bench.call(&viewer("v"), GET_MODE, GetModeRequest {}).await.unwrap();
    assert_eq!((mode.mode, mode.set.by.as_str()), (Mode::Live, "root"));
    let used = expect!["not_found: no such confirmation (set_mode without one asks for it; it lasts five minutes)"];
    bench.check("set_mode", json!({ "mode": "live", "reason": "again", "confirmation": token }), used).await;
    let told = bench.world.bus.read(RISK_TOPIC, 0, 10).await.unwrap();
    assert!(told.iter().all(|event| !event.data.to_string().contains(&token)));
}

#[tokio::test]
async fn the_kill_switch_stops_everything_until_somebody_resumes() {
    let (bench, gate) = bench().await;
    trade(&bench, &gate, &[]).await;
    gate.reserve("a", &proposal("A/B"), &[]).await.unwrap().reservation.unwrap();
    let agent = Caller::new("agent:risk", Role::Agent("risk".into()));
    let killed = bench.call(&agent, KILL_SWITCH, KillSwitchRequest { reason: "smoke".into() }).await.unwrap();
    assert_eq!((killed.kill.set.by.as_str(), killed.open), ("agent:risk", 1));
    assert_eq!(gate.clear_to_send("a").await.unwrap_err().code, Code::PermissionDenied);
    let resume = || ResumeRequest { reason: "it was the toaster".into(), accept_drawdown: false };
    assert_eq!(bench.call(&agent, RESUME, resume()).await.unwrap_err().code, Code::PermissionDenied);
    let resumed = bench.call(&trader(), RESUME, resume()).await.unwrap();
    assert_eq!(resumed.set.by, "tom");
    gate.clear_to_send("a").await.unwrap();
    bench
        .check(
            "kill_switch",
            json!({ "reason": "" }),
            expect!["invalid_argument: no reason (say why: others will read it)"],
        )
        .await;
}

#[tokio::test]
async fn an_agent_that_trades_may_stop_and_may_not_loosen() {
    let (bench, _) = bench().await;
    let agent = Caller::new("agent:execution", Role::Agent("execution".into()));
    let person = "it lets more be risked than before: a person decides that";
    for (tool, arguments, what) in [
        ("start_strategy", json!({ "strategy": STRATEGY, "reason": "x" }), "start_strategy"),
        ("set_mode", json!({ "mode": "live", "reason": "x" }), "set_mode to live"),
        ("resume", json!({ "reason": "x" }), "resume"),
    ] {
        let refusal = format!("permission_denied: role agent:execution may not use production.{what} ({person})");
        assert_eq!(bench.shown(&agent, tool, arguments).await, refusal);
    }
    let paper = SetModeRequest { mode: Mode::Paper, reason: "x".into(), confirmation: None };
    assert!(bench.call(&agent, SET_MODE, paper).await.unwrap().done);
    bench.call(&agent, KILL_SWITCH, KillSwitchRequest { reason: "x".into() }).await.unwrap();
}

/// Trades of every kind of ending.
fn every_outcome() -> [(&'static str, &'static str, Outcome); 4] {
    [
        ("a", "A/B", Outcome::Filled(fill(1_000, "10"))),
        ("b", "A/C", Outcome::Filled(fill(900, "8"))),
        ("c", "A/B", Outcome::Failed(fill(0, "0"))),
        ("d", "A/B", Outcome::Released { why: "too late".into() }),
    ]
}

#[tokio::test]
async fn profit_is_what_was_booked_with_fees_and_gas_apart() {
    let (bench, gate) = bench().await;
    trade(&bench, &gate, &every_outcome()).await;
    let by = |by: Vec<Grouping>| PnlRequest { by, ..PnlRequest::default() };
    let answer = bench.call(&viewer("v"), PNL, by(vec![Grouping::Day, Grouping::Pair])).await.unwrap();
    expect![[r#"{"trades":3,"filled":2,"won":2,"gross":"18","fees":"1.5","gas":"6","tips":"3","net":"7.5"}"#]]
        .assert_eq(&serde_json::to_string(&answer.total).unwrap());
    expect![[r#"[{"day":"2026-11-15","pair":"A/B","trades":2,"filled":1,"won":1,"gross":"10","fees":"1","gas":"4","tips":"2","net":"3"},{"day":"2026-11-15","pair":"A/C","trades":1,"filled":1,"won":1,"gross":"8","fees":"0.5","gas":"2","tips":"1","net":"4.5"}]"#]]
        .assert_eq(&serde_json::to_string(&answer.rows).unwrap());
    let empty = bench.call(&viewer("v"), PNL, PnlRequest { mode: Some(Mode::Live), ..by(vec![]) }).await.unwrap();
    assert_eq!((empty.total.trades, empty.rows.len()), (0, 0));
    let backwards = expect!["invalid_argument: from 2026-11-16 to 2026-11-15 (1 to 400 days, the first one first)"];
    bench.check("pnl", json!({ "from": "2026-11-16" }), backwards).await;

    let listed =
        bench.call(&viewer("v"), TRADES, TradesRequest { limit: Some(3), ..Default::default() }).await.unwrap();
    let shown: Vec<_> = listed.trades.iter().map(|row| (row.trade.id.as_str(), row.agrees)).collect();
    assert_eq!(shown, [("a", Some(true)), ("b", Some(false)), ("c", Some(false))]);
    let rest = TradesRequest { cursor: listed.next, ..Default::default() };
    let rest = bench.call(&viewer("v"), TRADES, rest).await.unwrap();
    assert_eq!((rest.trades.len(), rest.trades[0].agrees, rest.next), (1, None, None));
    let differing = TradesRequest { differing: true, ..Default::default() };
    assert_eq!(bench.call(&viewer("v"), TRADES, differing).await.unwrap().trades.len(), 2);

    let positions = bench.call(&viewer("v"), POSITIONS, PositionsRequest::default()).await.unwrap();
    expect![[r#"[{"asset":"native","symbol":null,"units":"-27","amount":"-0.000000000000000027"},{"asset":"0x0101010101010101010101010101010101010101","symbol":null,"units":"1900","amount":null}]"#]].assert_eq(&serde_json::to_string(&positions.assets).unwrap());
    expect![[r#"[{"account":"wallet","unit":"native","amount":"-27","value":"-9"},{"account":"wallet","unit":"0x0101010101010101010101010101010101010101","amount":"1900","value":"16.5"},{"account":"gains:flash-arbitrage","unit":"0x0101010101010101010101010101010101010101","amount":"-1915","value":"-18"},{"account":"fees","unit":"0x0101010101010101010101010101010101010101","amount":"15","value":"1.5"},{"account":"gas","unit":"native","amount":"21","value":"6"},{"account":"tips","unit":"native","amount":"6","value":"3"}]"#]].assert_eq(&serde_json::to_string(&positions.accounts).unwrap());
    let report = bench.call(&viewer("v"), REPORT, ReportRequest::default()).await.unwrap();
    assert_eq!((report.today, report.thirty_days), (answer.total, answer.total));
    assert_eq!(report.best[0].pair.as_deref(), Some("A/C"));
}

#[tokio::test]
async fn the_journal_is_what_profit_and_loss_are_made_of() {
    let (bench, gate) = bench().await;
    trade(&bench, &gate, &every_outcome()).await;
    gate.take_back("b", &[]).await.unwrap();
    let page = |cursor| TradesRequest { journal: true, limit: Some(3), cursor, ..Default::default() };
    let first = bench.call(&viewer("v"), TRADES, page(None)).await.unwrap();
    let rest = bench.call(&viewer("v"), TRADES, page(first.next)).await.unwrap();
    assert_eq!((first.trades.len(), first.journal.len(), rest.journal.len(), rest.next), (0, 3, 1, None));
    expect![[r#"[{"number":4,"at_ms":1794729600000,"trade":"b","strategy":"flash-arbitrage","pair":"A/C","block":9,"reverses":2,"postings":[{"account":"wallet","unit":"native","amount":"9","value":"3"},{"account":"wallet","unit":"0x0101010101010101010101010101010101010101","amount":"-900","value":"-7.5"},{"account":"gains:flash-arbitrage","unit":"0x0101010101010101010101010101010101010101","amount":"905","value":"8"},{"account":"fees","unit":"0x0101010101010101010101010101010101010101","amount":"-5","value":"-0.5"},{"account":"gas","unit":"native","amount":"-7","value":"-2"},{"account":"tips","unit":"native","amount":"-2","value":"-1"}]}]"#]].assert_eq(&serde_json::to_string(&rest.journal).unwrap());
    let mut sum = Postings::default();
    first.journal.iter().chain(&rest.journal).for_each(|entry| sum.add(&entry.postings));
    assert!(sum.unbalanced().is_empty());
    let pnl = bench.call(&viewer("v"), PNL, PnlRequest::default()).await.unwrap().total;
    let value = |account: Account| sum.value(|one| *one == account);
    assert_eq!(value(Account::Gains(STRATEGY.into())), Money::ZERO.minus(pnl.gross));
    let of = [value(Account::Fees), value(Account::Gas), value(Account::Tips), value(Account::Wallet)];
    assert_eq!(of, [pnl.fees, pnl.gas, pnl.tips, pnl.net]);
    let positions = bench.call(&viewer("v"), POSITIONS, PositionsRequest::default()).await.unwrap();
    assert_eq!(positions.accounts, sum.list());
    let wrong = expect![
        "invalid_argument: the journal is not asked for by strategy or difference (journal goes with mode, since, cursor and limit)"
    ];
    bench.check("trades", json!({ "journal": true, "differing": true }), wrong).await;
}
