//! The fleet on its sandbox by itself: finds, checks, executes, books; and the books are what the chain says.

use std::collections::BTreeMap;
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

fn block(fleet: &Fleet) -> u64 {
    fleet.call("blockchain-integration__chain_status", json!({}))["head"]["number"].as_u64().unwrap()
}

/// Waits until so many trades more are booked.
fn traded(fleet: &Fleet, more: u64) {
    let wanted = trades(fleet) + more;
    wait_for("trades are booked", TIME, || (trades(fleet) >= wanted).then_some(()));
}

/// Stops trading, waits until everything is settled, and holds the books against the chain: the ledger's balances are by what the wallet's
/// have changed, to the last unit, gas included; and profit and loss is what the journal adds up to.
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
    let assets = positions["assets"].as_array().unwrap();
    assert!(assets.len() > 1, "{positions}");
    for asset in assets {
        let changed = if asset["asset"] == "native" {
            number(&wallet["balance_wei"]) - GIVEN
        } else {
            let held = json!({ "account": wallet["address"], "token": asset["asset"] });
            number(&fleet.call("blockchain-integration__get_balance", held)["balance"])
        };
        assert_eq!(changed, number(&asset["units"]), "{asset}");
    }
    the_journal_adds_up(fleet, &positions["accounts"]);
    // Every trade stands for itself.
    let listed = pages(fleet, json!({ "mode": "live" }), "trades");
    let mut filled = listed.iter().filter(|trade| trade["outcome"] == "filled");
    assert!(filled.all(|trade| trade["transaction"].is_string()), "{listed:?}");
}

/// All rows of one of the lists that `trades` answers.
fn pages(fleet: &Fleet, mut request: Value, list: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    request["limit"] = json!(500);
    loop {
        let page = fleet.call("production__trades", request.clone());
        rows.extend(page[list].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => request["cursor"] = json!(next),
            None => return rows,
        }
    }
}

/// The journal's entries balance, add up to the accounts, and their values are profit and loss.
fn the_journal_adds_up(fleet: &Fleet, accounts: &Value) {
    let key = |posting: &Value| {
        (posting["account"].as_str().unwrap().to_owned(), posting["unit"].as_str().unwrap().to_owned())
    };
    let (mut sums, mut values) = (BTreeMap::new(), BTreeMap::new());
    for entry in pages(fleet, json!({ "mode": "live", "journal": true }), "journal") {
        let mut units = BTreeMap::new();
        for posting in entry["postings"].as_array().unwrap() {
            let (account, unit) = key(posting);
            *units.entry(unit.clone()).or_insert(0) += number(&posting["amount"]);
            *values.entry(account.clone()).or_insert(0) += millionths(&posting["value"]);
            *sums.entry((account, unit)).or_insert(0) += number(&posting["amount"]);
        }
        assert!(units.values().all(|sum| *sum == 0), "{entry}");
    }
    sums.retain(|_, sum| *sum != 0);
    let held: BTreeMap<_, _> =
        accounts.as_array().unwrap().iter().map(|one| (key(one), number(&one["amount"]))).collect();
    assert_eq!(sums, held);
    let total = fleet.call("production__pnl", json!({ "mode": "live" }))["total"].clone();
    let value = |account: &str| values.get(account).copied().unwrap_or_default();
    assert_eq!(value("gains:flash-arbitrage"), -millionths(&total["gross"]), "{total}");
    for (account, figure) in [("fees", "fees"), ("gas", "gas"), ("tips", "tips"), ("wallet", "net")] {
        assert_eq!(value(account), millionths(&total[figure]), "{account}: {total}");
    }
}

/// A value in the reference currency, in millionths.
fn millionths(value: &Value) -> i128 {
    let value: market::risk::Money = value.as_str().unwrap().parse().unwrap();
    value.in_millionths()
}

#[test]
fn two_minutes_of_the_market_are_booked_to_the_wei() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], CONFIG);
    // As many blocks as there are seconds in two minutes, three times what the sandbox's trader makes in them at its usual pace; in a hurry
    // they pass faster.
    let began = block(&fleet);
    wait_for("two minutes of blocks pass", TIME, || (block(&fleet) >= began + 120).then_some(()));
    wait_for("some trades are booked", TIME, || (trades(&fleet) >= 3).then_some(()));
    books_are_the_chains(&fleet);
}

#[test]
fn the_books_are_what_the_chain_says_to_the_wei_through_a_restart() {
    let Some(()) = tools::anvil() else { return };
    let mut fleet = Fleet::start(&[], CONFIG);
    // Pools younger than this are not traded: the sandbox's are older, and known to be.
    let old = json!({ "limits": { "pool_age_min_seconds": 1 }, "reason": "a test" });
    fleet.call("risk-management__set_limits", old);
    traded(&fleet, 3);
    // Stopped in order, so that the sandbox comes back as it was: in such a hurry a killed one may have saved nothing, and begins anew.
    fleet.process.signal(libc::SIGTERM);
    assert!(fleet.process.wait(LIMIT).success());
    fleet.process = fleet.home.start(&["up"]);
    traded(&fleet, 3);
    books_are_the_chains(&fleet);
}

#[test]
fn the_kill_switch_stops_submissions_until_a_person_resumes() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], CONFIG);
    traded(&fleet, 1);
    fleet.call("production__kill_switch", json!({ "reason": "drill" }));
    let nonce = || fleet.call("execution__wallet", json!({}))["nonce"].clone();
    wait_for("what was under way has ended", TIME, || {
        let open = fleet.call("execution__history", json!({ "open": true }));
        open["submissions"].as_array().unwrap().is_empty().then_some(())
    });
    let (sent, then) = (nonce(), block(&fleet));
    wait_for("the market moves on", TIME, || (block(&fleet) > then + 10).then_some(()));
    assert_eq!(nonce(), sent);
    wait_for("the agent says why", TIME, || {
        let runs = fleet.call("master-coordinator__agent_runs", json!({ "agent": "execution" }));
        runs.to_string().contains("kill_switch is on").then_some(())
    });
    fleet.call("production__resume", json!({ "reason": "the drill is over" }));
    traded(&fleet, 1);
}
