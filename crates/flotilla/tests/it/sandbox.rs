//! The main job on a real node: the sandbox chain, asked through a real client at the fleet's one endpoint.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Fleet, process, tools, wait_for};

/// How long a chain may take to come back.
const RECOVERY: Duration = Duration::from_secs(10);

/// A tool called by Inspector's command line at `/mcp`: the whole result.
fn call(fleet: &Fleet, tool: &str, arguments: &Value) -> Option<Value> {
    let mut inspector = tools::inspector(&fleet.home.path(""))?;
    let (url, key) = (format!("{}/mcp", fleet.url()), format!("Authorization: Bearer {}", fleet.home.key()));
    inspector.args([&url, "--transport", "http", "--protocol-era", "modern", "--header", &key]);
    let (name, arguments) = (format!("blockchain-integration__{tool}"), arguments.to_string());
    inspector.args([
        "--format",
        "json",
        "-q",
        "--method",
        "tools/call",
        "--tool-name",
        &name,
        "--tool-args-json",
        &arguments,
    ]);
    let ran = tools::run(&mut inspector, &[]);
    let text = if ran.out.trim().is_empty() { &ran.err } else { &ran.out };
    Some(serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {ran:?}"))["result"].take())
}

/// An integer: a number where every reader keeps it exact, text beyond.
fn whole(value: &Value) -> u128 {
    value.as_u64().map_or_else(|| value.as_str().unwrap().parse().unwrap(), u128::from)
}

/// The address of a deployment by its name.
fn address(status: &Value, name: &str) -> String {
    let found = status["deployments"].as_array().unwrap().iter().find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {status}"))["address"].as_str().unwrap().to_owned()
}

#[test]
fn balance_reserves_and_a_revert_reason_through_inspector() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], "[chain.sandbox]\ntrader_ms = 0\ntrades = false\n");
    assert!(fleet.process.screen["chain"].as_str().unwrap().contains("sandbox"), "{}", fleet.process.screen);
    // The pools of the new chain are read after it stands.
    wait_for("the fleet is well", RECOVERY, || (fleet.get("/status").ok()["status"] == "healthy").then_some(()));
    let Some(status) = call(&fleet, "chain_status", &json!({})) else { return };
    let status = &status["structuredContent"];

    let account = status["accounts"][1].as_str().unwrap();
    let balance = call(&fleet, "get_balance", &json!({ "account": account })).unwrap();
    assert_eq!(balance["structuredContent"]["balance"], "10000000000000000000000", "{balance}");

    let pair = address(status, "uniswap-v2-pair-usdc-weth");
    let reserves =
        json!({ "contract": pair, "function": "getReserves()(uint112 reserve0, uint112 reserve1, uint32 at)" });
    let reserves = call(&fleet, "call_contract", &reserves).unwrap();
    let returned = reserves["structuredContent"]["returned"].as_array().unwrap();
    let mut values: Vec<u128> = returned[..2].iter().map(|value| whole(&value["value"])).collect();
    values.sort_unstable();
    assert_eq!(values, [2_500_000_000_000, 1_000_000_000_000_000_000_000], "2,500,000 USDC and 1,000 WETH: {reserves}");

    // A swap whose deadline has passed, as the router itself puts it.
    let router = address(status, "uniswap-v2-router");
    let path = [address(status, "weth"), address(status, "usdc")];
    let swap = json!({
        "contract": router,
        "function": "swapExactETHForTokens(uint256,address[],address,uint256)(uint256[])",
        "args": ["0", path, account, "1"],
        "from": account,
        "value_wei": "1",
    });
    let refused = call(&fleet, "call_contract", &swap).unwrap();
    let text = refused["content"][0]["text"].as_str().unwrap();
    assert!(
        refused["isError"] == true && text.starts_with("reverted: ") && text.contains("UniswapV2Router: EXPIRED"),
        "{refused}"
    );
}

#[test]
fn a_killed_chain_comes_back_with_its_contracts() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], "");
    let balance =
        |account: &str| fleet.mcp("/mcp").call("blockchain-integration__get_balance", json!({ "account": account }));
    let status = fleet.call("blockchain-integration__chain_status", json!({}));
    let account = status["accounts"][1].as_str().unwrap();
    let (pid, _) = anvil(&fleet).expect("anvil is a child of the fleet");
    process::send(pid, libc::SIGKILL);
    let refused = wait_for("a caller is told", RECOVERY, || {
        balance(account).err().or_else(|| anvil(&fleet).filter(|(new, _)| *new != pid).map(|_| String::new()))
    });
    assert!(refused.is_empty() || refused.starts_with("unavailable: "), "{refused}");
    wait_for("the chain is back", RECOVERY, || balance(account).ok());
    let again = fleet.call("blockchain-integration__chain_status", json!({}));
    assert_eq!(again["deployments"], status["deployments"], "the same contracts at the same places");
    let pair = address(&again, "uniswap-v2-pair-usdc-weth");
    let reserves = json!({ "contract": pair, "function": "getReserves()(uint112,uint112,uint32)" });
    assert!(fleet.call("blockchain-integration__call_contract", reserves)["returned"][0]["value"].is_string());
    wait_for("the fleet is well again", RECOVERY, || (fleet.get("/status").ok()["status"] == "healthy").then_some(()));
}

/// The fleet's chain, if it runs.
fn anvil(fleet: &Fleet) -> Option<(i32, String)> {
    fleet.process.children().into_iter().find(|(_, line)| line.contains("anvil"))
}

#[test]
fn the_chain_ends_with_the_fleet_however_it_ends() {
    let Some(()) = tools::anvil() else { return };
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let mut fleet = Fleet::start(&["--mode", "dev"], "");
        let (pid, line) = anvil(&fleet).expect("anvil is a child of the fleet");
        fleet.process.signal(signal);
        fleet.process.wait(crate::harness::LIMIT);
        wait_for(&format!("{line} ends"), RECOVERY, || (!process::lives(pid)).then_some(()));
    }
}
