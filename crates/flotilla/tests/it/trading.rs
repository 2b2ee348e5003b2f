//! The fleet on its sandbox by itself: finds, checks, executes, books; and the books are what the chain says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::{Fleet, LIMIT, http, process, tools, wait_for};

/// How long the fleet may take for some trades, on a machine that has more to do.
const TIME: Duration = Duration::from_secs(180);
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
    fleet.process.signal(libc::SIGTERM);
    assert!(fleet.process.wait(LIMIT).success());
    fleet.process = fleet.home.start(&["up"]);
    traded(&fleet, 3);
    books_are_the_chains(&fleet);
}

/// When the sandbox's state was saved last.
fn saved(fleet: &Fleet) -> Option<SystemTime> {
    std::fs::metadata(fleet.home.path("data/sandbox/chain.gz")).ok()?.modified().ok()
}

/// Waits until the sandbox's state is saved anew, while blocks come.
fn saved_anew(fleet: &Fleet) {
    let before = saved(fleet);
    wait_for("the sandbox is saved", TIME, || (saved(fleet) != before).then_some(()));
}

#[test]
fn the_books_are_what_the_chain_says_though_the_chain_and_then_the_fleet_are_killed() {
    let Some(()) = tools::anvil() else { return };
    let mut fleet = Fleet::start(&[], CONFIG);
    traded(&fleet, 2);
    saved_anew(&fleet);
    let chains = |fleet: &Fleet| fleet.process.children().into_iter().filter(|(_, line)| line.contains("anvil"));
    let (pid, _) = chains(&fleet).next().expect("anvil is a child of the fleet");
    process::send(pid, libc::SIGKILL);
    wait_for("the chain is back", TIME, || chains(&fleet).find(|(now, _)| *now != pid));
    traded(&fleet, 2);
    saved_anew(&fleet);
    fleet.process.kill();
    fleet.process = fleet.home.start(&["up"]);
    traded(&fleet, 2);
    books_are_the_chains(&fleet);
}

#[test]
fn a_sandbox_that_nothing_is_left_of_is_followed_by_one_with_books_of_its_own() {
    let Some(()) = tools::anvil() else { return };
    let mut fleet = Fleet::start(&[], CONFIG);
    let mine = json!({ "limits": { "pool_age_min_seconds": 1 }, "reason": "a test" });
    fleet.call("risk-management__set_limits", mine);
    traded(&fleet, 2);
    fleet.process.kill();
    // As if it had been killed before anything was saved.
    std::fs::remove_dir_all(fleet.home.path("data/sandbox")).unwrap();
    fleet.process = fleet.home.start(&["up"]);
    traded(&fleet, 2);
    books_are_the_chains(&fleet);
    let limits = fleet.call("risk-management__get_limits", json!({}));
    assert_eq!(limits["limits"]["pool_age_min_seconds"], 1, "what people set stays: {limits}");
}

/// A request of the sandbox's own chain.
fn anvil(fleet: &Fleet, method: &str, params: &Value) -> Value {
    let status = fleet.call("blockchain-integration__chain_status", json!({}));
    let url = format!("http://{}", status["endpoints"][0]["endpoint"].as_str().unwrap());
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    http::send("POST", &url, &[("content-type", "application/json")], body.as_bytes()).json()
}

/// Takes the newest trade that is in a block out of it again, by a reorganisation. Returns its transaction.
fn take_a_trade_back(fleet: &Fleet) -> Value {
    wait_for("a trade leaves the chain", TIME, || {
        let trades = pages(fleet, json!({ "mode": "live" }), "trades");
        let newest = trades.iter().rev().find(|trade| trade["outcome"] == "filled")?;
        let number = newest["block"].as_u64().unwrap();
        let hash = |number: u64| {
            let block = anvil(fleet, "eth_getBlockByNumber", &json!([format!("{number:#x}"), false]));
            block["result"]["hash"].clone()
        };
        let before = hash(number);
        // No block is made meanwhile: anvil would put one on what it has just taken away, and then have a chain with a hole.
        anvil(fleet, "evm_setAutomine", &json!([false]));
        // Some blocks more, and if they were not enough, again.
        let depth = block(fleet).saturating_sub(number) + 10;
        anvil(fleet, "anvil_reorg", &json!([depth, []]));
        anvil(fleet, "evm_setAutomine", &json!([true]));
        anvil(fleet, "evm_mine", &json!([]));
        (hash(number) != before).then(|| newest["transaction"].clone())
    })
}

#[test]
fn a_trade_that_a_reorganisation_takes_back_is_an_alert_and_off_the_books_and_the_next_one_works() {
    let Some(()) = tools::anvil() else { return };
    let quick = "[servers.monitoring]\nscrape_seconds = 1\n[agents.monitoring]\nevaluate_seconds = 1\n";
    let fleet = Fleet::start(&[], &format!("{CONFIG}{quick}"));
    // What a reorganisation puts back into the pool is mined again, later, and fails there; what was gained is lost. Enough of either and the risk
    // agent pulls the kill switch, which is right, and not what is looked at here.
    let loose = json!({ "consecutive_failures_max": 1_000, "daily_loss_max": "1000000", "drawdown_max": "1000000" });
    fleet.call("risk-management__set_limits", json!({ "limits": loose, "reason": "a reorganisation is looked at" }));
    traded(&fleet, 2);
    wait_for("the chain is long enough", TIME, || (block(&fleet) > 60).then_some(()));
    let count = json!({ "query": "sum(flotilla_trades_taken_back_total)" });
    wait_for("none was taken back as yet", TIME, || {
        (fleet.call("monitoring__query_metrics", count.clone())["series"][0]["value"] == 0.0).then_some(())
    });
    let transaction = take_a_trade_back(&fleet);
    let alert = wait_for("the alert fires", TIME, || {
        let alerts = fleet.call("monitoring__list_alerts", json!({ "rule": "trade-taken-back" }));
        alerts["alerts"].as_array().unwrap().first().cloned()
    });
    assert_eq!((&alert["state"], &alert["severity"]), (&json!("firing"), &json!("critical")), "{alert}");
    // What it had brought is reversed in the journal, entry against entry.
    let journal = pages(&fleet, json!({ "mode": "live", "journal": true }), "journal");
    let of = |entry: &&Value| entry["transaction"] == transaction;
    let booked: Vec<&Value> = journal.iter().filter(of).filter(|entry| entry["reverses"].is_null()).collect();
    let reversed = |entry: &&Value| journal.iter().any(|other| other["reverses"] == entry["number"]);
    assert!(booked.first().is_some_and(reversed), "{journal:?}");
    // The next ones work, under the right nonces: each that the chain has is one of our transactions'.
    traded(&fleet, 2);
    books_are_the_chains(&fleet);
    let (mut mined, mut request) = (BTreeSet::new(), json!({ "limit": 200 }));
    loop {
        let page = fleet.call("execution__history", request.clone());
        let settled = page["submissions"].as_array().unwrap().iter().filter(|one| one["transaction"].is_string());
        mined.extend(settled.map(|one| one["nonce"].as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => request["cursor"] = json!(next),
            None => break,
        }
    }
    let nonce = fleet.call("execution__wallet", json!({}))["nonce"].as_u64().unwrap();
    assert!(mined.iter().copied().eq(0..nonce), "{nonce} transactions, {mined:?}");
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
