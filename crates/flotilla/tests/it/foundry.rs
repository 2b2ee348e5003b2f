//! From a new project to a verified contract on the sandbox chain, at the fleet's endpoint.

use serde_json::{Value, json};

use crate::harness::{Fleet, Mcp, tools};

/// Calls a tool that may take longer than a client waits: asked again, it goes on.
fn call(fleet: &Fleet, tool: &str, arguments: &Value) -> Value {
    const ATTEMPTS: usize = 5;
    let asked = |_| match fleet.mcp("/mcp").call(tool, arguments.clone()) {
        Err(refused) if refused.starts_with("no answer") => None,
        answered => Some(answered),
    };
    let answered = (0..ATTEMPTS).find_map(asked).unwrap_or_else(|| panic!("{tool}: no answer"));
    answered.unwrap_or_else(|refused| panic!("{tool}: {refused}"))
}

#[test]
fn a_new_project_is_tested_deployed_by_executions_signing_and_verified() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], "");
    fleet.call("foundry-integration__new_project", json!({ "name": "counter" }));
    let tested = call(&fleet, "foundry-integration__test", &json!({ "project": "counter" }));
    assert_eq!((&tested["success"], &tested["passed"]), (&json!(true), &json!(2)), "{tested}");
    let deploy = json!({
        "project": "counter", "contract": "Counter", "constructor_arguments": ["7"], "idempotency_key": "counter-1",
    });
    let deployed = call(&fleet, "foundry-integration__deploy", &deploy);
    let again = call(&fleet, "foundry-integration__deploy", &deploy);
    assert_eq!((&deployed["address"], &deployed["transaction"]), (&again["address"], &again["transaction"]));
    let verify = json!({ "project": "counter", "contract": "Counter", "address": deployed["address"] });
    let verified = call(&fleet, "foundry-integration__verify", &verify);
    assert_eq!(verified["contract"], "src/Counter.sol:Counter", "{verified}");
    let read = json!({ "action": "call", "address": deployed["address"], "function": "number()(uint256)" });
    assert_eq!(fleet.call("foundry-integration__cast", read.clone())["values"][0]["value"], "7");
    let send = json!({
        "action": "send", "address": deployed["address"], "function": "count(uint256)", "arguments": ["3"], "key": "count-1",
    });
    let trader = fleet.cli(&["token", "create", "desk", "--role", "trader", "--json"]).json();
    let desk = Mcp::new(&format!("{}/mcp", fleet.url()), trader["token"].as_str().map(ToOwned::to_owned));
    let refused = desk.call("foundry-integration__cast", send.clone()).unwrap_err();
    assert!(refused.starts_with("permission_denied: ") && refused.contains("administrator"), "{refused}");
    let sent = fleet.call("foundry-integration__cast", send);
    assert_eq!(sent["submission"]["key"], "count-1", "{sent}");
    let wallet = fleet.call("execution__wallet", json!({}));
    assert_ne!(wallet["executor"]["address"], deployed["address"], "another contract is not the fleet's executor");
    let other = json!({ "project": "counter", "contract": "Counter", "address": wallet["executor"]["address"] });
    let refused = fleet.mcp("/mcp").call("foundry-integration__verify", other).unwrap_err();
    assert!(refused.starts_with("conflict: the code at 0x"), "{refused}");
}
