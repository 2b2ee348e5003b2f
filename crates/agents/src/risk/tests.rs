//! The agent at its duties, on real risk-management and production servers; what prices and gas are is said by the test.

use expect_test::{Expect, expect};
use kernel::bus::{Bus, NewEvent};
use kernel::chain::Ground;
use kernel::duties::{Cause, Standing as RunStanding};
use kernel::health::Status;
use market::gate::{Gate, Outcome};
use market::risk::{LimitsChange, Money, Proposal};
use mcp::Features;
use mcp::prelude::*;
use serde_json::{Value, json};
use servers::data_providers::{GasPrice, PriceRow, PricesAnswer};

use super::*;
use crate::testing::Bench;

const STRATEGY: &str = "flash-arbitrage";

/// What the toy answers; nothing is an error.
#[derive(Default)]
struct Answers {
    price: Option<Value>,
    gas: Option<Value>,
}

/// In the place of data-providers: tells what the test set.
#[derive(Default)]
struct Toy(Mutex<Answers>);

impl Toy {
    fn price(&self, age_seconds: i64, feed: &Value) {
        let mut source = json!({ "source": "chainlink", "verdict": "used", "weight": 1 });
        source.as_object_mut().unwrap().extend(feed.as_object().unwrap().clone());
        self.0.lock().price = Some(json!({
            "pair": "ETH/USD", "price": "2500", "at_ms": 0, "age_ms": age_seconds * 1_000, "confidence": 1.0,
            "spread_bps": 3, "lone": false, "disputed": false, "used": [], "warnings": [], "sources": [source],
        }));
    }

    fn prices(&self, request: PricesRequest) -> PricesAnswer {
        let row = |pair| {
            let price = self.0.lock().price.clone().map(|price| serde_json::from_value(price).unwrap());
            PriceRow { pair, error: price.is_none().then(|| "nobody knows".into()), price }
        };
        PricesAnswer { prices: request.pairs.into_iter().map(row).collect() }
    }

    fn gas_price(&self) -> Result<GasPrice, Fault> {
        let gas = self.0.lock().gas.clone().ok_or_else(|| Fault::unavailable("nobody knows"))?;
        Ok(serde_json::from_value(gas).unwrap())
    }

    fn gas(&self, wei: &str) {
        self.0.lock().gas = Some(json!({
            "block_number": 1, "next_base_fee_per_gas_wei": wei, "gas_used_bps": 0, "tips": [], "blocks_with_transactions": 0,
        }));
    }
}

impl Features for Toy {}

impl McpServer for Toy {
    const NAME: &'static str = "data-providers";
    const INSTRUCTIONS: &'static str = "A toy.";
    type Config = ();
    type Ports = kernel::Ports;

    fn new(_: &Ports, (): ()) -> Result<Self, Fault> {
        Ok(Self::default())
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_pure(PRICES, |toy, request| Ok(toy.prices(request)));
        set.add_pure(GAS_PRICE, |toy, _| toy.gas_price());
    }
}

/// The agent looks once a second; prices and gas are sound.
async fn bench() -> (Bench, Gate, Arc<Toy>) {
    let config = Config { watch_seconds: 1, oracle_seconds: 5, gas_seconds: 1, ..Config::default() };
    let bench = Bench::new::<Risk>(config, &["risk-management", "production"]).await;
    let toy = Arc::new(Toy::default());
    toy.price(1, &json!({}));
    toy.gas("1000000000");
    bench.serve_this(Arc::clone(&toy));
    let gate = Gate::new(bench.world.store.clone(), bench.world.clock.clone(), Ground::Real);
    gate.set_strategy(STRATEGY, true, "ann", None).await.unwrap();
    (bench, gate, toy)
}

async fn reserve(gate: &Gate, ids: &[&str]) {
    let trade: Proposal = serde_json::from_value(json!({
        "strategy": STRATEGY, "pair": "WETH/USDC", "notional": "100", "at_risk": "5", "gross": "20", "gas_cost": "5",
        "gas_price_wei": "1000000000", "slippage_bps": 10, "tokens": ["0x0101010101010101010101010101010101010101"],
        "protocols": ["uniswap-v2"], "pools": [{ "address": "0x0202020202020202020202020202020202020202" }],
        "oracle": { "deviation_bps": 3, "age_ms": 1000 }, "atomic": true,
    }))
    .unwrap();
    for id in ids {
        gate.reserve(id, &trade, &[]).await.unwrap().reservation.unwrap();
    }
}

/// Ends a trade: made when it brought something, otherwise failed.
async fn end(gate: &Gate, id: &str, gross: i64, gas: i64) {
    let fill = serde_json::from_value(json!({
        "asset": "0x0101010101010101010101010101010101010101", "units": gross.to_string(), "gas_wei": "7", "tip_wei": "0",
        "gross": gross.to_string(), "fee": "0", "gas": gas.to_string(), "tip": "0",
    }))
    .unwrap();
    let outcome = if gross > 0 { Outcome::Filled(fill) } else { Outcome::Failed(fill) };
    gate.settle(id, &outcome, &[]).await.unwrap();
}

async fn check(bench: &Bench, duty: &str, expected: Expect) {
    expected.assert_eq(&bench.outcomes(duty).await.join("\n"));
}

async fn told(bench: &Bench) -> Vec<String> {
    let events = bench.world.bus.read(RISK_TOPIC, 0, 1_000).await.unwrap();
    events.iter().map(|event| format!("{} {}", event.kind, event.data["reason"].as_str().unwrap_or(""))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_limit_driven_to_its_bound_reduces_halts_and_pulls_the_kill_switch_which_stays() {
    let (bench, gate, _) = bench().await;
    reserve(&gate, &["a", "b", "c", "d", "e"]).await;
    bench.start();
    for (id, loss) in [("a", 100), ("b", 50), ("c", 35), ("d", 15)] {
        end(&gate, id, 0, loss).await;
        bench.pass(5).await;
    }
    let kill = gate.desk().await.unwrap().kill.unwrap().set;
    assert_eq!(kill.by, "agent:risk");
    expect!["daily_loss_max: 200 USD lost today, bound 200 USD"].assert_eq(&kill.reason.unwrap());
    check(
        &bench,
        "limits",
        expect![[r#"
            within the limits
            close to their limits or past them: daily_loss_max; trading set to REDUCING: daily_loss_max: 150 USD lost today, bound 200 USD
            close to their limits or past them: daily_loss_max
            close to their limits or past them: daily_loss_max; trading set to HALTED: daily_loss_max: 185 USD lost today, bound 200 USD
            close to their limits or past them: daily_loss_max
            close to their limits or past them: daily_loss_max; kill switch pulled: daily_loss_max: 200 USD lost today, bound 200 USD
            close to their limits or past them: daily_loss_max; the kill switch is on"#]],
    )
    .await;
    expect![[r#"
        risk.trading_state daily_loss_max: 150 USD lost today, bound 200 USD
        risk.trading_state daily_loss_max: 185 USD lost today, bound 200 USD
        kill_switch daily_loss_max: 200 USD lost today, bound 200 USD"#]]
    .assert_eq(&told(&bench).await.join("\n"));
    let runs = bench.runs().await;
    let trip = runs.iter().find(|run| run.outcome.contains("pulled")).unwrap();
    let last = trip.calls.last().unwrap();
    assert_eq!(
        (last.tool.as_str(), last.outcome.as_deref(), trip.standing),
        ("kill_switch", Some("ok"), RunStanding::Done)
    );
    assert!(last.arguments.contains("200 USD lost today"), "{}", last.arguments);
    // A gain does not bring it back, and the agent does nothing more.
    end(&gate, "e", 190, 0).await;
    bench.pass(60).await;
    assert!(gate.desk().await.unwrap().kill.is_some());
    let trail = bench.trail().await;
    let acts = ["set_trading_state", "set_trading_state", "kill_switch"];
    assert_eq!(trail.len(), acts.len(), "{trail:?}");
    assert!(trail.iter().zip(acts).all(|(row, act)| row.starts_with("agent:risk ") && row.contains(act)), "{trail:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_holds_only_where_the_figure_is_below_its_bound_again() {
    let (bench, gate, _) = bench().await;
    reserve(&gate, &["a", "b", "c", "d", "e"]).await;
    bench.start();
    for id in ["a", "b", "c", "d", "e"] {
        end(&gate, id, 0, 1).await;
    }
    bench.pass(3).await;
    let reason = gate.desk().await.unwrap().kill.unwrap().set.reason.unwrap();
    expect!["consecutive_failures_max: 5 failures in a row, bound 5"].assert_eq(&reason);
    gate.resume("ann", Some("a bad node"), false).await.unwrap();
    bench.pass(30).await;
    assert!(gate.desk().await.unwrap().kill.is_none(), "failures are counted anew");
    let tight = LimitsChange { daily_loss_max: Some(Money::whole(5)), ..LimitsChange::default() };
    gate.set_limits(&tight, ("ann", None), None, false).await.unwrap();
    bench.pass(3).await;
    gate.resume("ann", Some("try"), false).await.unwrap();
    bench.pass(3).await;
    let kill = gate.desk().await.unwrap().kill.unwrap().set;
    assert_eq!(
        (kill.by.as_str(), kill.reason.as_deref()),
        ("agent:risk", Some("daily_loss_max: 5 USD lost today, bound 5 USD"))
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn exposure_past_a_limit_lets_only_through_what_reduces_it() {
    let (bench, gate, _) = bench().await;
    reserve(&gate, &["a"]).await;
    bench.start();
    bench.pass(3).await;
    let tight = |most: i64| LimitsChange { open_notional_max: Some(Money::whole(most)), ..LimitsChange::default() };
    gate.set_limits(&tight(100), ("ann", None), None, false).await.unwrap();
    bench.pass(3).await;
    gate.set_limits(&tight(99), ("ann", None), None, false).await.unwrap();
    bench.pass(3).await;
    check(
        &bench,
        "limits",
        expect![[r#"
            within the limits
            close to their limits or past them: open_notional_max
            close to their limits or past them: open_notional_max; trading set to REDUCING: open_notional_max: 100 USD open, bound 99 USD
            close to their limits or past them: open_notional_max"#]],
    )
    .await;
    check(
        &bench,
        "trades",
        expect![[r#"
            trades stand as they should
            a: would be refused now by trading_state, open_exposure"#]],
    )
    .await;
    bench.pass(600).await;
    let last = bench.outcomes("trades").await.pop().unwrap();
    expect!["a: would be refused now by trading_state, open_exposure, under way for more than 600 s"].assert_eq(&last);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn prices_that_stay_out_of_bounds_stop_trading_and_those_that_come_back_do_not() {
    let (bench, gate, toy) = bench().await;
    bench.start();
    bench.pass(10).await;
    toy.price(3_601, &json!({}));
    bench.pass(40).await;
    toy.price(1, &json!({}));
    bench.pass(40).await;
    toy.price(1, &json!({ "verdict": "outlier", "deviation_bps": 501 }));
    bench.pass(50).await;
    assert!(gate.desk().await.unwrap().kill.is_none());
    bench.pass(20).await;
    check(
        &bench,
        "oracles",
        expect![[r#"
            ETH/USD sound
            ETH/USD stale
            ETH/USD sound
            ETH/USD in dispute
            ETH/USD in dispute; kill switch pulled: ETH/USD: oracle_deviation_max_bps: sources lie 501 bps from the price, bound 500 bps, for 60 s
            ETH/USD in dispute; the kill switch is on"#]],
    )
    .await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_known_stops_only_what_trades() {
    let (bench, gate, toy) = bench().await;
    gate.set_strategy(STRATEGY, false, "ann", None).await.unwrap();
    (toy.0.lock().price, toy.0.lock().gas) = (None, None);
    bench.start();
    bench.pass(80).await;
    assert!(gate.desk().await.unwrap().kill.is_none());
    assert!(
        bench.trail().await.is_empty(),
        "what nobody trades by is not asked for, so that nothing fails all the time"
    );
    gate.set_strategy(STRATEGY, true, "ann", None).await.unwrap();
    bench.pass(55).await;
    assert!(gate.desk().await.unwrap().kill.is_none());
    bench.pass(15).await;
    let reason = gate.desk().await.unwrap().kill.unwrap().set.reason.unwrap();
    assert!(
        reason.starts_with("gas: no price (unavailable: data-providers.gas_price: nobody knows), for 6"),
        "{reason}"
    );
    gate.resume("ann", None, false).await.unwrap();
    toy.gas("1");
    bench.pass(10).await;
    let reason = gate.desk().await.unwrap().kill.unwrap().set.reason.unwrap();
    assert!(reason.starts_with("ETH/USD: no price (nobody knows), for "), "{reason}");
    assert_eq!(bench.agent.health().status, Status::Healthy, "{:?}", bench.agent.health());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unsound_feed_stops_trading() {
    let (bench, gate, toy) = bench().await;
    toy.price(1, &json!({ "verdict": "unsound", "error": "round not complete", "age_ms": 90_000 }));
    bench.start();
    bench.pass(70).await;
    let reason = gate.desk().await.unwrap().kill.unwrap().set.reason.unwrap();
    expect!["ETH/USD: its feed is not to be relied on (round not complete, 90 s old), for 60 s"].assert_eq(&reason);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn gas_that_stays_above_its_limit_stops_trading() {
    let (bench, gate, toy) = bench().await;
    bench.start();
    toy.gas("200000000000");
    bench.pass(70).await;
    toy.gas("200000000001");
    bench.pass(58).await;
    assert!(gate.desk().await.unwrap().kill.is_none());
    bench.pass(5).await;
    let reason = gate.desk().await.unwrap().kill.unwrap().set.reason.unwrap();
    assert!(
        reason
            .starts_with("gas_price_max_wei: the next block asks for 200000000001 wei, bound 200000000000 wei, for 6"),
        "{reason}"
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_kill_switchs_server_trading_is_halted_and_the_switch_pulled_later() {
    let (bench, gate, _) = bench().await;
    reserve(&gate, &["a"]).await;
    bench.start();
    bench.pass(3).await;
    bench.stop_serving("production");
    end(&gate, "a", 0, 200).await;
    bench.pass(5).await;
    let desk = gate.desk().await.unwrap();
    assert_eq!((desk.trading, desk.kill.is_some()), (TradingState::Halted, false));
    let report = bench.agent.health();
    assert_eq!(report.status, Status::Degraded);
    assert!(report.checks.iter().any(|check| check.detail.contains("the kill switch is not pulled")), "{report:?}");
    bench.serve("production").await;
    bench.pass(3).await;
    assert!(gate.desk().await.unwrap().kill.is_some());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_looks_at_once_when_something_happens() {
    let config = Config { watch_seconds: 60, ..Config::default() };
    let bench = Bench::new::<Risk>(config, &["risk-management", "production"]).await;
    let toy = Arc::new(Toy::default());
    bench.serve_this(toy);
    let gate = Gate::new(bench.world.store.clone(), bench.world.clock.clone(), Ground::Real);
    gate.set_strategy(STRATEGY, true, "ann", None).await.unwrap();
    bench.start();
    bench.pass(3).await;
    let event = |topic: &str, kind: &str| NewEvent {
        topic: topic.into(),
        kind: kind.into(),
        source: "a test".into(),
        trace_id: None,
        data: json!({ "pool": "0x0404040404040404040404040404040404040404" }),
    };
    let seq = bench.world.bus.publish(event(INTENTS_TOPIC, "intent.changed")).await.unwrap();
    bench.world.bus.publish(event(POOLS_TOPIC, "pools.applied")).await.unwrap();
    bench.pass(2).await;
    let cause = Cause::Events { kinds: vec!["intent.changed".into()], first_seq: seq, last_seq: seq };
    let runs = bench.runs().await.into_iter().filter(|run| run.cause != Cause::Schedule);
    let mut woken: Vec<_> = runs.map(|run| (run.duty, run.cause)).collect();
    woken.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(woken, [("limits".to_owned(), cause.clone()), ("trades".to_owned(), cause)]);
    bench.world.bus.publish(event(POOLS_TOPIC, QUARANTINED_EVENT)).await.unwrap();
    bench.pass(2).await;
    let last = bench.outcomes("oracles").await.pop().unwrap();
    expect!["ETH/USD without a price, pool 0x0404040404040404040404040404040404040404 taken out of use"]
        .assert_eq(&last);
    bench.stop().await;
}

#[test]
fn settings_have_bounds() {
    let refused = |config: Config| Risk::new(config).map(|_| ()).unwrap_err().to_string();
    expect!["invalid_argument: agents.risk.halted_bps is 7000 (7500 to 10000)"]
        .assert_eq(&refused(Config { halted_bps: 7_000, ..Config::default() }));
    expect!["invalid_argument: agents.risk.assets has 21 (1 to 20)"]
        .assert_eq(&refused(Config { assets: vec!["ETH".into(); 21], ..Config::default() }));
}

#[test]
fn a_reason_has_room_for_all_that_fit_and_for_one_always() {
    let long = "é".repeat(2_000);
    for whys in [vec!["a", "b"], vec![long.as_str()], vec![long.as_str(); 9]] {
        let reason = reason(whys.into_iter());
        assert!(!reason.is_empty() && reason.len() <= 1_000, "{}", reason.len());
    }
    assert_eq!(reason(["a", "b"].into_iter()), "a; b");
}
