//! The fleet on its sandbox by itself: finds, checks, executes, books; and the books are what the chain says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Fleet, LIMIT, tools, wait_for};

/// How long the fleet may take for some trades, on a machine that has more to do.
const TIME: Duration = Duration::from_secs(90);
/// A trader who is in a hurry, and the same swaps in every run.
const CONFIG: &str = "[chain.sandbox]\ntrader_ms = 150\ntrader_seed = 7\n";
/// What the sandbox gives its wallet, in wei.
const GIVEN: i128 = 10_000 * 10i128.pow(18);

fn number(value: &Value) -> i128 {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).parse().unwrap()
}

fn trades(fleet: &Fleet) -> u64 {
    fleet.call("production__pnl", json!({ "mode": "live" }))["total"]["trades"].as_u64().unwrap()
}

/// Waits until so many trades more are booked.
fn traded(fleet: &Fleet, more: u64) {
    let wanted = trades(fleet) + more;
    wait_for("trades are booked", TIME, || (trades(fleet) >= wanted).then_some(()));
}

/// Stops trading, waits until everything is settled, and holds the books against the chain.
fn books_are_the_chains(fleet: &Fleet) {
    let stop = json!({ "strategy": "flash-arbitrage", "reason": "the books are looked at" });
    fleet.call("production__stop_strategy", stop);
    wait_for("everything is settled", TIME, || {
        let open = fleet.call("execution__history", json!({ "open": true }));
        open["submissions"].as_array().unwrap().is_empty().then_some(())
    });
    let positions = fleet.call("production__positions", json!({ "mode": "live" }));
    assert_eq!(positions["open"], json!([]), "{positions}");
    let wallet = fleet.call("execution__wallet", json!({}));
    let (assets, mut spent) = (positions["assets"].as_array().unwrap(), 0);
    assert!(!assets.is_empty(), "{positions}");
    for asset in assets {
        let held = json!({ "account": wallet["address"], "token": asset["asset"] });
        let held = fleet.call("blockchain-integration__get_balance", held);
        assert_eq!(number(&held["balance"]), number(&asset["units"]), "{asset}");
        spent += number(&asset["spent_wei"]);
    }
    assert_eq!(GIVEN - number(&wallet["balance_wei"]), spent, "gas, to the wei: {positions}");
    // Every trade stands for itself, and all of them for the sum.
    let listed = fleet.call("production__trades", json!({ "mode": "live", "limit": 500 }));
    let listed = listed["trades"].as_array().unwrap();
    let filled: Vec<&Value> = listed.iter().filter(|trade| trade["outcome"] == "filled").collect();
    assert!(filled.iter().all(|trade| trade["transaction"].is_string()), "{listed:?}");
    let total: i128 =
        listed.iter().filter_map(|trade| trade["units"].as_str()).map(|units| units.parse::<i128>().unwrap()).sum();
    assert_eq!(total, assets.iter().map(|asset| number(&asset["units"])).sum::<i128>());
}

#[test]
fn the_books_are_what_the_chain_says_to_the_wei_through_a_restart() {
    let Some(()) = tools::anvil() else { return };
    let mut fleet = Fleet::start(&[], CONFIG);
    traded(&fleet, 5);
    // Stopped in order: killed, the sandbox itself would come back as it was some seconds before, and with it all that was on it.
    fleet.process.signal(libc::SIGTERM);
    assert!(fleet.process.wait(LIMIT).success());
    fleet.process = fleet.home.start(&["up"]);
    traded(&fleet, 5);
    books_are_the_chains(&fleet);
}

#[test]
fn the_kill_switch_stops_submissions_until_a_person_resumes() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], CONFIG);
    traded(&fleet, 1);
    fleet.call("production__kill_switch", json!({ "reason": "drill" }));
    let nonce = || fleet.call("execution__wallet", json!({}))["nonce"].clone();
    let block = || fleet.call("blockchain-integration__chain_status", json!({}))["head"]["number"].as_u64().unwrap();
    wait_for("what was under way has ended", TIME, || {
        let open = fleet.call("execution__history", json!({ "open": true }));
        open["submissions"].as_array().unwrap().is_empty().then_some(())
    });
    let (sent, then) = (nonce(), block());
    wait_for("the market moves on", TIME, || (block() > then + 10).then_some(()));
    assert_eq!(nonce(), sent);
    wait_for("the agent says why", TIME, || {
        let runs = fleet.call("master-coordinator__agent_runs", json!({ "agent": "execution" }));
        runs.to_string().contains("kill_switch is on").then_some(())
    });
    fleet.call("production__resume", json!({ "reason": "the drill is over" }));
    traded(&fleet, 1);
}
