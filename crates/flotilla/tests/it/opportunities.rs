//! An opportunity taken to its receipt because somebody asked for it, on the sandbox.

use std::time::Duration;

use kernel::Clock;
use kernel::locks::Elections;
use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, tools, wait_for};

/// How long the market may take to offer something, and the chain to include it.
const TIME: Duration = Duration::from_secs(120);
/// How long the agent's duties are somebody else's: longer than the test takes.
const TERM: Duration = Duration::from_secs(3_600);

/// Takes the lead of an agent, so that none of its copies does its duties, and all do only what they are asked to.
fn keep_from_its_duties(home: &Home, agent: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Clock::system();
        let config = backends::sqlite::Config::default();
        let database = backends::sqlite::open(&config, &home.path("data"), clock.clone()).await.unwrap();
        let elections = Elections::new(database.store.clone(), clock);
        elections.campaign(&kernel::duties::election(agent), "a test", TERM, Duration::ZERO).await.unwrap();
    });
}

/// What gains now, the best first.
fn opportunities(fleet: &Fleet) -> Option<Vec<Value>> {
    let scan = fleet.mcp("/mcp").call("market-analysis__scan_opportunities", json!({})).ok()?;
    let together = scan["take_together"].as_array()?.clone();
    let all = scan["opportunities"].as_array()?.iter().filter(|one| together.contains(&one["id"]));
    Some(all.cloned().collect::<Vec<_>>()).filter(|all| !all.is_empty())
}

/// Has the agent take an opportunity: its task when that has ended.
fn executed(fleet: &Fleet, id: &Value) -> Value {
    let body = json!({ "task_type": "execute_opportunity", "payload": { "id": id } }).to_string();
    let task = fleet.rest("POST", "/agents/execution/tasks", &body).ok();
    wait_for("the task ends", TIME, || {
        let task = fleet.rest("GET", &format!("/tasks/{}", task["id"].as_str().unwrap()), "").ok();
        (task["state"] == "done" || task["state"] == "dead").then_some(task)
    })
}

#[test]
fn an_opportunity_that_is_asked_for_is_submitted_and_followed_to_its_receipt() {
    let Some(()) = tools::anvil() else { return };
    let home = Home::new("[chain.sandbox]\ntrader_seed = 7\n");
    // The store is there before the fleet is, and the lead is taken before the agent could.
    let mut before = home.start(&["serve", "coordination", "--no-sandbox"]);
    keep_from_its_duties(&home, "execution");
    before.signal(libc::SIGTERM);
    assert!(before.wait(LIMIT).success());
    let fleet = Fleet { process: home.start(&["up"]), home };
    // The market moves on meanwhile: what has gone by then is not there, which is said, and the next is asked for.
    let task = wait_for("one of them is taken", TIME, || {
        let best = opportunities(&fleet)?[0].clone();
        let task = executed(&fleet, &best["id"]);
        if task["state"] == "done" {
            return Some(task);
        }
        let code = task["failure"]["code"].as_str().unwrap().to_owned();
        assert!(["not_found", "reverted", "conflict", "permission_denied"].contains(&&*code), "{task}");
        None
    });
    let result = &task["result"];
    let transaction = result["transaction"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
    assert!(result["key"].as_str().unwrap().starts_with("opportunity-"), "{task}");
    let receipt = fleet.call("blockchain-integration__get_receipt", json!({ "hash": transaction }));
    assert_eq!((&receipt["success"], &receipt["block_number"]), (&json!(true), &result["block"]), "{receipt}");
    // It is booked as any trade is, and nothing else was traded.
    let filled = wait_for("it is booked", TIME, || {
        let trades = fleet.call("production__trades", json!({ "mode": "live" }))["trades"].clone();
        let filled = trades.as_array()?.iter().filter(|trade| trade["outcome"] == "filled");
        Some(filled.map(|trade| trade["transaction"].clone()).collect::<Vec<_>>()).filter(|filled| !filled.is_empty())
    });
    assert_eq!(filled, [json!(transaction)]);
    // The agent did it by these tools, and did nothing of its own accord.
    let runs = fleet.call("master-coordinator__agent_runs", json!({ "agent": "execution" }))["runs"].clone();
    let of_it = |run: &&Value| run["outcome"].as_str().is_some_and(|outcome| outcome.contains(&transaction));
    let run = runs.as_array().unwrap().iter().find(of_it).unwrap_or_else(|| panic!("{runs}"));
    let called: Vec<&str> =
        run["calls"].as_array().unwrap().iter().map(|call| call["tool"].as_str().unwrap()).collect();
    assert!(called.starts_with(&["status", "scan_opportunities"]) && called.contains(&"submit"), "{run}");
    assert!(runs.as_array().unwrap().iter().all(|run| run["duty"] == "execute_opportunity"), "{runs}");
}
