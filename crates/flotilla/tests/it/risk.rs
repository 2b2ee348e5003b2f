//! The risk agent on the real fleet: a limit is driven to its bound, and the kill switch trips and stays.

use std::sync::Arc;

use kernel::Clock;
use kernel::chain::Ground;
use market::gate::{Gate, Outcome};
use market::risk::Proposal;
use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, wait_for};

const STRATEGY: &str = "flash-arbitrage";

/// Makes trades of these outcomes in whoever's name, the way whoever trades does: at the gate over the fleet's own store.
fn trade(home: &Home, gross: &[i64], gas: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Clock::system();
        let (config, folder) = (backends::sqlite::Config::default(), home.path("data"));
        let database = backends::sqlite::open(&config, &folder, clock.clone()).await.unwrap();
        let gate = Gate::new(Arc::clone(&database.store), clock, Ground::Real);
        let trade: Proposal = serde_json::from_value(json!({
            "strategy": STRATEGY, "pair": "WETH/USDC", "notional": "100", "at_risk": "5", "gross": "20", "gas_cost": "5",
            "gas_price_wei": "1000000000", "slippage_bps": 10,
            "tokens": ["0x0101010101010101010101010101010101010101"], "protocols": ["uniswap-v2"],
            "pools": [{ "address": "0x0202020202020202020202020202020202020202" }],
            "oracle": { "deviation_bps": 3, "age_ms": 1000 }, "atomic": true,
        }))
        .unwrap();
        for number in 0..gross.len() {
            let admission = gate.reserve(&format!("trade-{number}"), &trade, &[]).await.unwrap();
            assert!(admission.verdict.allowed, "{:?}", admission.verdict.reasons);
        }
        for (number, gross) in gross.iter().enumerate() {
            let fill = serde_json::from_value(json!({
                "asset": "0x0101010101010101010101010101010101010101", "units": gross.to_string(), "gas_wei": "7",
                "tip_wei": "0", "gross": gross.to_string(), "fee": "0", "gas": gas.to_string(), "tip": "0",
            }))
            .unwrap();
            gate.settle(&format!("trade-{number}"), &Outcome::Filled(fill), &[]).await.unwrap();
        }
    });
}

fn states(fleet: &Fleet) -> Value {
    fleet.call("risk-management__kill_switch_state", json!({}))
}

/// Waits until the kill switch is on.
fn killed(fleet: &Fleet) -> Value {
    wait_for("the kill switch trips", LIMIT, || Some(states(fleet)).filter(|states| states["on"] == true))
}

#[test]
fn a_limit_at_its_bound_trips_the_kill_switch_which_stays_until_a_person_resumes() {
    let fleet = Fleet::start(&["--no-sandbox"], "[agents.risk]\nwatch_seconds = 1\n");
    fleet.call("production__start_strategy", json!({ "strategy": STRATEGY, "reason": "a test" }));
    trade(&fleet.home, &[0, 0, 0], 80);
    let states = killed(&fleet);
    assert_eq!(states["kill"]["by"], "agent:risk");
    assert_eq!(states["kill"]["reason"], "daily_loss_max: 240 USD lost today, bound 200 USD");
    // It outlives the agent, and the agent does not pull it again.
    fleet.cli(&["restart", "agent:risk", "--reason", "a test"]).ok();
    let runs =
        || fleet.call("master-coordinator__agent_runs", json!({ "agent": "risk", "duty": "limits" }))["runs"].clone();
    let outcome = |run: &Value| run["outcome"].as_str().unwrap().to_owned();
    let trip =
        runs().as_array().unwrap().iter().find(|run| outcome(run).contains("kill switch pulled")).unwrap().clone();
    assert_eq!(
        (&trip["standing"], &trip["calls"].as_array().unwrap().last().unwrap()["tool"]),
        (&json!("done"), &json!("kill_switch")),
        "{trip}"
    );
    wait_for("the agent looks again", LIMIT, || outcome(&runs()[0]).ends_with("the kill switch is on").then_some(()));
    assert_eq!(fleet.call("risk-management__kill_switch_state", json!({})), states);
    let rows = fleet.cli(&["audit", "list", "--json", "500"]).json();
    let pulled = rows.as_array().unwrap().iter().filter(|row| row["action"] == "kill_switch");
    assert_eq!(pulled.map(|row| row["role"].as_str().unwrap()).collect::<Vec<_>>(), ["agent:risk"], "{rows}");
    let events = fleet.call("coordination__read_topic", json!({ "topic": "fleet.risk" }))["events"].clone();
    let told = events.as_array().unwrap().iter().find(|event| event["kind"] == "kill_switch").unwrap();
    assert_eq!(told["data"]["reason"], states["kill"]["reason"], "{told}");
    // A person may resume, and what was lost today still stands.
    fleet.call("production__resume", json!({ "reason": "a test" }));
    assert_eq!(killed(&fleet)["kill"]["by"], "agent:risk");
}
