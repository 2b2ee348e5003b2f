//! What the tools answer on a sandbox chain.

use evm::Encodings;
use kernel::chain::{Abi, RevertKind};
use kernel::health::Status;
use serde_json::{Value, json};

use super::world::online;
use super::{ALICE, BOB, TRANSFER};

#[tokio::test]
async fn status_blocks_and_balances() {
    let Some(online) = online() else { return };
    let status = online.answer("chain_status", json!({})).await;
    assert_eq!(
        (&status["chain_id"], &status["sandbox"], &status["accounts"][0]),
        (&json!(31_337), &json!(true), &json!(ALICE))
    );
    assert!(status["gas_price_wei"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(online.bench.service.health().await.status, Status::Healthy);

    let block = online.answer("get_block", json!({ "block": 1, "include_transactions": true })).await;
    let made = block["transactions"].as_array().unwrap().len();
    assert_eq!((&block["number"], &block["transaction_count"]), (&json!(1), &json!(made)), "all of the market");
    assert!(made > 50, "{made}");
    assert_eq!(online.answer("get_block", json!({})).await["transactions"], Value::Null);
    assert!(
        online.refusal("get_block", json!({ "block": 10_000_000 })).await.starts_with("not_found: no block 10000000")
    );

    let native = online.answer("get_balance", json!({ "account": BOB })).await;
    assert_eq!((&native["balance"], &native["balance_units"]), (&json!("10000000000000000000000"), &json!("10000")));
    let (weth, pair) = (online.at("weth").await, online.at("uniswap-v2-pair-usdc-weth").await);
    let token = online.answer("get_balance", json!({ "account": pair, "token": weth })).await;
    assert_eq!((&token["symbol"], &token["balance_units"]), (&json!("WETH"), &json!("1000")));
    assert!(
        online
            .refusal("get_balance", json!({ "account": pair, "token": BOB }))
            .await
            .starts_with("not_found: no contract")
    );

    let usdc = online.answer("token_info", json!({ "token": online.at("usdc").await })).await;
    assert_eq!(
        (&usdc["symbol"], &usdc["decimals"], &usdc["total_supply_units"]),
        (&json!("USDC"), &json!(6), &json!("300000000"))
    );
}

#[tokio::test]
async fn a_pairs_reserves_and_a_reverts_reason() {
    let Some(online) = online() else { return };
    let pair = online.at("uniswap-v2-pair-dai-usdc").await;
    let function = "getReserves()(uint112 reserve0,uint112 reserve1,uint32 at)";
    let reserves = online.answer("call_contract", json!({ "contract": pair, "function": function })).await;
    let mut values: Vec<_> = reserves["returned"].as_array().unwrap()[..2].iter().map(|v| v["value"].clone()).collect();
    values.sort_by_key(Value::to_string);
    assert_eq!(values, [json!("5000000000000"), json!("5000000000000000000000000")], "of one type, so of one kind");
    assert!(reserves["returned"][2]["value"].is_u64(), "a uint32 is a number: {reserves}");

    let (router, usdc, dai) = (online.at("uniswap-v2-router").await, online.at("usdc").await, online.at("dai").await);
    let out = "getAmountsOut(uint256,address[])(uint256[])";
    let none =
        online.refusal("call_contract", json!({ "contract": router, "function": out, "args": [0, [usdc, dai]] })).await;
    assert_eq!(
        none,
        "reverted: execution failed: UniswapV2Library: INSUFFICIENT_INPUT_AMOUNT (simulate_transaction shows what happened before it)"
    );
    let some = online
        .answer("call_contract", json!({ "contract": router, "function": out, "args": ["1000000", [usdc, dai]] }))
        .await;
    assert_eq!(some["returned"][0]["value"][0], json!("1000000"));

    let missing = online.refusal("call_contract", json!({ "contract": BOB, "function": "owner()(address)" })).await;
    assert!(missing.starts_with("not_found: no contract at"), "{missing}");
    let foreign = online.refusal("call_contract", json!({ "contract": pair, "function": "owner()(address)" })).await;
    assert!(foreign.starts_with("reverted: execution failed: reverted without a reason"), "{foreign}");
}

#[tokio::test]
async fn logs_are_found_by_event_and_indexed_value_and_decoded() {
    let Some(online) = online() else { return };
    let usdc = online.at("usdc").await;
    let paid = json!({ "from_block": 0, "addresses": [usdc], "event": TRANSFER, "indexed": { "from": ALICE } });
    let logs = online.answer("get_logs", paid).await;
    assert!(logs["total"].as_u64().unwrap() > 2 && logs["omitted"] == json!(0), "{}", logs["total"]);
    assert_eq!(logs["logs"][0]["decoded"]["args"][2]["value"], json!("2500000000000"));
    let all = online.answer("get_logs", json!({ "from_block": 0, "limit": 3 })).await;
    assert_eq!(all["total"].as_u64().unwrap(), all["omitted"].as_u64().unwrap() + 3);
    let factory = online.at("uniswap-v2-factory").await;
    let pairs = online.answer("get_logs", json!({ "from_block": "earliest", "addresses": [factory], "event": "PairCreated(address indexed a,address indexed b,address pair,uint256 n)" })).await;
    assert_eq!(pairs["total"], json!(6));
    assert!(
        online.refusal("get_logs", json!({ "from_block": 0, "to_block": 100_000 })).await.contains("is not there yet")
    );

    // The transaction behind a log, its receipt and its trace.
    let hash = &pairs["logs"][0]["transaction_hash"];
    let transaction = online.answer("get_transaction", json!({ "hash": hash })).await;
    assert_eq!(
        transaction["call"]["function"],
        json!("addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)")
    );
    let receipt = online.answer("get_receipt", json!({ "hash": hash })).await;
    assert_eq!((&receipt["success"], &receipt["failure"]), (&json!(true), &Value::Null));
    assert!(receipt["logs"].as_array().unwrap().iter().all(|log| !log["decoded"].is_null()), "{receipt:#}");
    let trace = online.answer("trace_transaction", json!({ "hash": hash, "limit": 2 })).await;
    assert_eq!(trace["frames"].as_array().unwrap().len(), 2);
    assert!(trace["frames_omitted"].as_u64().unwrap() > 3);
    assert!(
        online
            .refusal("get_receipt", json!({ "hash": format!("0x{}", "0".repeat(64)) }))
            .await
            .starts_with("not_found")
    );
}

#[tokio::test]
async fn a_simulation_tells_all_and_changes_nothing() {
    let Some(online) = online() else { return };
    // A pair works more on the first swap of a later second: let it be one for simulation and estimate.
    online.chain.status().await.unwrap();
    online.anvil("evm_increaseTime", json!([10])).await;
    online.anvil("evm_mine", json!([])).await;
    let swap = online.swap("0").await;
    let simulation = online.answer("simulate_transaction", json!({ "transaction": swap })).await;
    assert_eq!((&simulation["success"], &simulation["method"]), (&json!(true), &json!("debug_traceCall")));
    let bought = simulation["returned"][0]["value"][1].as_str().unwrap().parse::<u64>().unwrap();
    assert!((2_489_000_000..2_490_100_000).contains(&bought), "{bought}");
    let events: Vec<_> =
        simulation["logs"].as_array().unwrap().iter().map(|log| log["decoded"]["event"].as_str().unwrap()).collect();
    assert_eq!(events.last().unwrap(), &"Swap(address,uint256,uint256,uint256,uint256,address)");
    let mine =
        simulation["token_changes"].as_array().unwrap().iter().find(|change| change["account"] == json!(BOB)).unwrap();
    assert_eq!(mine["change"], json!(bought.to_string()));
    assert_eq!(online.answer("get_balance", json!({ "account": BOB })).await["balance_units"], json!("10000"));

    let gas = online.answer("estimate_gas", json!({ "transaction": swap })).await;
    assert!(gas["gas"].as_u64() >= simulation["gas_used"].as_u64() && gas["cost_at_base_fee_wei"].is_string());

    let greedy = online.swap("9999999999").await;
    let failed = online.answer("simulate_transaction", json!({ "transaction": greedy })).await;
    assert_eq!(
        (&failed["success"], &failed["revert"]["reason"]),
        (&json!(false), &json!("UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT"))
    );
    let refused = online.refusal("estimate_gas", json!({ "transaction": greedy })).await;
    assert!(
        refused.starts_with("reverted: execution failed: UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_custom_error_is_named_where_its_signature_is_given() {
    let Some(online) = online() else { return };
    // CODECOPY what follows the code, REVERT with it.
    let data = Encodings.encode_call("Paused(uint256)", &[json!(12)]).unwrap().to_string();
    let code = format!("0x602460 0c 6000 39 6024 6000 fd{}", &data[2..]).replace(' ', "");
    let stub = "0x7777777777777777777777777777777777777777";
    let request = |errors: Value| json!({ "transaction": { "to": stub }, "state_overrides": [{ "address": stub, "code": code }], "errors": errors });
    let named = online.answer("simulate_transaction", request(json!(["error Paused(uint256 until)"]))).await;
    assert_eq!(
        (&named["revert"]["reason"], &named["revert"]["kind"]),
        (&json!("Paused(until: 12)"), &json!(RevertKind::Custom))
    );
    let unnamed = online.answer("simulate_transaction", request(json!([]))).await;
    assert_eq!(unnamed["revert"]["kind"], json!(RevertKind::Unknown));
    assert!(online.refusal("simulate_transaction", request(json!(["error ("]))).await.starts_with("invalid_argument"));
}

#[tokio::test]
async fn flash_loans_are_quoted_to_the_last_unit() {
    let Some(online) = online() else { return };
    let weth = online.at("weth").await;
    let lenders = online.answer("flash_loan_providers", json!({ "asset": weth })).await;
    assert_eq!(lenders["symbol"], json!("WETH"));
    let pair = online.at("uniswap-v2-pair-usdc-weth").await;
    let first = lenders["providers"].as_array().unwrap().iter().find(|row| row["contract"] == json!(pair)).unwrap();
    assert_eq!(
        (&first["provider"], &first["fee_bps"], &first["liquidity_units"]),
        (&json!("uniswap-v2"), &json!(30.09), &json!("999.999999999999999999"))
    );

    let from_pairs = |amount: &str| json!({ "asset": weth, "amount": amount, "provider": "uniswap-v2" });
    let quote = online.answer("flash_loan_quote", from_pairs("600000000000000000000")).await;
    assert_eq!((quote["quotes"].as_array().unwrap().len(), &quote["too_small"]), (1, &json!(4)));
    let (fee, repayment) =
        (quote["quotes"][0]["fee"].as_str().unwrap(), quote["quotes"][0]["repayment"].as_str().unwrap());
    // ⌊600·10^18 · 1000 / 997⌋ + 1
    assert_eq!((fee, repayment), ("1805416248746238717", "601805416248746238717"));

    let none = online.refusal("flash_loan_quote", from_pairs("1000000000000000000000")).await;
    assert!(
        none.starts_with("not_found: nobody lends 1000000000000000000000") && none.contains("999999999999999999999"),
        "{none}"
    );
    let other = json!({ "asset": weth, "amount": "1", "provider": "no-lender" });
    assert!(online.refusal("flash_loan_quote", other).await.starts_with("not_found: nobody lends"));
}

#[tokio::test]
async fn contracts_show_their_functions_and_interfaces() {
    let Some(online) = online() else { return };
    for (name, interfaces) in [
        ("weth", vec!["erc20", "wrapped-native"]),
        ("usdc", vec!["erc20", "erc20-permit"]),
        ("uniswap-v2-factory", vec!["uniswap-v2-factory"]),
        ("uniswap-v2-router", vec!["uniswap-v2-router"]),
        ("uniswap-v2-pair-dai-usdc", vec!["erc20", "erc20-permit", "uniswap-v2-pair"]),
    ] {
        let address = online.at(name).await;
        let contract = online.answer("resolve_contract", json!({ "address": address })).await;
        assert_eq!((&contract["interfaces"], &contract["is_contract"]), (&json!(interfaces), &json!(true)), "{name}");
        assert_eq!((&contract["deployment"]["name"], &contract["implementation"]), (&json!(name), &json!(address)));
        assert_eq!(contract["proxies"], json!([]));
    }
    let account = online.answer("resolve_contract", json!({ "address": BOB })).await;
    assert_eq!((&account["is_contract"], &account["functions"]), (&json!(false), &json!([])));
}

/// A storage slot's content that is an address.
fn word(address: &str) -> String {
    format!("0x{:0>64}", &address[2..].to_lowercase())
}

#[tokio::test]
async fn proxies_are_seen_through() {
    let Some(online) = online() else { return };
    let usdc = online.at("usdc").await;
    let at = |digit: &str| format!("0x{}", digit.repeat(40));
    let (by_slot, by_beacon, beacon, minimal, delegated, old) = (at("1"), at("2"), at("3"), at("4"), at("5"), at("6"));
    let implementation = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";
    let admin = "0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103";
    let beacon_slot = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50";
    let zeppelin = "0x7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3";
    let usdc_digits = usdc.to_string()[2..].to_lowercase();
    for (address, code) in [
        (&by_slot, "0x00".to_owned()),
        (&by_beacon, "0x00".to_owned()),
        // Answers every call with the token's address.
        (&beacon, format!("0x73{usdc_digits}60005260206000f3")),
        (&minimal, format!("0x363d3d373d3d3d363d73{}5af43d82803e903d91602b57fd5bf3", &by_slot[2..])),
        (&delegated, format!("0xef0100{usdc_digits}")),
        (&old, "0x00".to_owned()),
    ] {
        online.anvil("anvil_setCode", json!([address, code])).await;
    }
    for (address, slot, content) in [
        (&by_slot, implementation, usdc.to_string()),
        (&by_slot, admin, ALICE.to_owned()),
        (&by_beacon, beacon_slot, beacon.clone()),
        (&old, zeppelin, old.clone()),
    ] {
        online.anvil("anvil_setStorageAt", json!([address, slot, word(&content)])).await;
    }
    for (address, kinds) in [
        (&by_slot, vec!["eip1967"]),
        (&by_beacon, vec!["eip1967-beacon"]),
        (&minimal, vec!["eip1167", "eip1967"]),
        (&delegated, vec!["eip7702"]),
    ] {
        let contract = online.answer("resolve_contract", json!({ "address": address })).await;
        let found: Vec<_> =
            contract["proxies"].as_array().unwrap().iter().map(|proxy| proxy["kind"].as_str().unwrap()).collect();
        assert_eq!((found, &contract["implementation"]), (kinds, &json!(usdc)), "{address}");
        assert_eq!(contract["interfaces"], json!(["erc20", "erc20-permit"]), "{address}");
    }
    let contract = online.answer("resolve_contract", json!({ "address": by_slot })).await;
    assert_eq!(contract["proxies"][0]["admin"], json!(ALICE));
    let itself = online.answer("resolve_contract", json!({ "address": old })).await;
    assert_eq!(itself["proxies"].as_array().unwrap().len(), 1, "a proxy of itself is not followed for ever");
}

#[tokio::test]
async fn a_failed_transactions_receipt_says_why() {
    let Some(online) = online() else { return };
    let weth = online.at("weth").await;
    let usdc = online.at("usdc").await;
    let call =
        online.answer("encode_call", json!({ "function": "transfer(address,uint256)", "args": [ALICE, 5] })).await;
    let transaction = json!([{ "from": BOB, "to": usdc, "input": call["data"], "gas": "0x30d40" }]);
    let hash = online.anvil("eth_sendTransaction", transaction).await;
    let receipt = online.mined(&hash).await;
    assert_eq!(
        (&receipt["success"], &receipt["failure"]),
        (&json!(false), &json!("ERC20: transfer amount exceeds balance"))
    );
    let deposit = json!([{ "from": BOB, "to": weth, "input": "0xd0e30db0", "value": "0x1", "gas": "0x61a8" }]);
    let hash = online.anvil("eth_sendTransaction", deposit).await;
    assert_eq!(online.mined(&hash).await["failure"], json!("out of gas"));
}
