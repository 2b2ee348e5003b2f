//! What needs no chain, and what each tool says without one.

use std::sync::Arc;

use evm::Encodings;
use expect_test::expect;
use kernel::fake::World;
use kernel::health::Status;
use mcp::Ctx;
use serde_json::json;

use super::{ALICE, BOB, TRANSFER, anyone};
use crate::blockchain_integration::{BlockchainIntegration, Config};
use crate::testing::Bench;

/// The server with encodings and no chain.
fn offline() -> Bench {
    Bench::on::<BlockchainIntegration>(World::default().abi(Arc::new(Encodings)), Config::default())
}

#[tokio::test]
async fn encodings_answer_without_a_chain() {
    let bench = offline();
    let transfer = json!({ "function": "transfer(address to,uint256 amount)", "args": [BOB, "1000000000000000000"] });
    bench.check_as(&anyone(), "encode_call", transfer, expect![[r#"{"data":"0xa9059cbb00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000de0b6b3a7640000","selector":"0xa9059cbb","function":"transfer(address,uint256)"}"#]]).await;
    let data = "0xa9059cbb00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000de0b6b3a7640000";
    bench.check_as(&anyone(), "decode_call", json!({ "data": data }), expect![[r#"{"function":"transfer(address,uint256)","args":[{"name":"to","type":"address","value":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8"},{"name":"amount","type":"uint256","value":"1000000000000000000"}]}"#]]).await;
    bench.check_as(&anyone(), "decode_call", json!({ "data": "0xdeadbeef" }), expect!["not_found: no widely known function fits the calldata, which begins with 0xdeadbeef (give the function's signature)"]).await;
    let topics = json!([
        "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        "0x000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "0x00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c8",
    ]);
    let five = "0x0000000000000000000000000000000000000000000000000000000000000005";
    bench.check_as(&anyone(), "decode_log", json!({ "topics": topics, "data": five }), expect![[r#"{"event":"Transfer(address,address,uint256)","args":[{"name":"from","type":"address","value":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"},{"name":"to","type":"address","value":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8"},{"name":"value","type":"uint256","value":"5"}]}"#]]).await;
    bench
        .check_as(
            &anyone(),
            "decode_log",
            json!({ "topics": [] }),
            expect![
                "not_found: no widely known event fits the log, whose first topic is none (give the event's signature)"
            ],
        )
        .await;
}

#[tokio::test]
async fn without_a_chain_every_other_tool_says_what_to_set() {
    let bench = offline();
    let hash = format!("0x{}", "0".repeat(64));
    for (tool, arguments) in [
        ("chain_status", json!({})),
        ("get_block", json!({})),
        ("get_balance", json!({ "account": ALICE })),
        ("get_transaction", json!({ "hash": hash })),
        ("get_receipt", json!({ "hash": hash })),
        ("get_logs", json!({})),
        ("call_contract", json!({ "contract": ALICE, "function": "owner()(address)" })),
        ("estimate_gas", json!({ "transaction": { "to": BOB } })),
        ("simulate_transaction", json!({ "transaction": { "to": BOB } })),
        ("trace_transaction", json!({ "hash": hash })),
        ("token_info", json!({ "token": ALICE })),
        ("flash_loan_providers", json!({ "asset": ALICE })),
        ("flash_loan_quote", json!({ "asset": ALICE, "amount": "1" })),
        ("resolve_contract", json!({ "address": ALICE })),
    ] {
        let said = bench.shown(&anyone(), tool, arguments).await;
        assert!(said.starts_with("not_configured: ") && said.contains("ETHEREUM_RPC_URL"), "{tool}: {said}");
    }
    let health = bench.service.health().await;
    assert_eq!(health.status, Status::Degraded);
    assert_eq!(bench.service.tools().count(), 17);
}

#[tokio::test]
async fn wrong_arguments_are_refused_with_their_place_and_what_would_be_right() {
    let bench = offline();
    let wrong = BOB.replacen('C', "c", 1);
    for (tool, arguments, says) in [
        ("get_balance", json!({ "account": wrong }), vec!["arguments.account", "does not hold", BOB]),
        ("get_balance", json!({ "account": "vitalik.eth" }), vec!["not an address", "40 hexadecimal digits"]),
        ("get_balance", json!({ "account": ALICE, "unit": "eth" }), vec!["unknown field `unit`"]),
        ("get_balance", json!({}), vec!["missing field `account`"]),
        ("get_block", json!({ "block": "newest" }), vec!["arguments.block", "latest, pending"]),
        ("get_receipt", json!({ "hash": "0x12" }), vec!["not a hash", "64 hexadecimal digits"]),
        ("get_logs", json!({ "limit": 0 }), vec!["limit is 0", "1 to 1000"]),
        ("get_logs", json!({ "event": TRANSFER, "indexed": { "value": 1 } }), vec!["no indexed parameter \"value\""]),
        ("get_logs", json!({ "indexed": { "from": ALICE } }), vec!["without the event's signature"]),
        ("get_logs", json!({ "event": TRANSFER, "indexed": { "from": "0x1" } }), vec!["from: ", "not an address"]),
        ("encode_call", json!({ "function": "f(uint8)", "args": [256] }), vec!["args[0]", "0 to 2^8 - 1"]),
        ("encode_call", json!({ "function": "f(uint256" }), vec!["cannot read", "like `balanceOf"]),
        (
            "call_contract",
            json!({ "contract": ALICE, "function": "f(address)", "args": [wrong] }),
            vec!["args[0]", BOB],
        ),
        (
            "estimate_gas",
            json!({ "transaction": { "to": BOB, "value_wei": "1 ether" } }),
            vec!["arguments.transaction.value_wei", "not a whole number"],
        ),
        ("simulate_transaction", json!({ "transaction": {} }), vec!["neither a receiver nor"]),
        ("simulate_transaction", json!({ "transaction": { "function": "f()" } }), vec!["give `to`"]),
        (
            "simulate_transaction",
            json!({ "transaction": { "to": BOB, "function": "f()", "data": "0x" } }),
            vec!["both a function and data"],
        ),
        (
            "simulate_transaction",
            json!({ "transaction": { "to": BOB, "args": [1] } }),
            vec!["arguments without a function"],
        ),
        (
            "simulate_transaction",
            json!({ "transaction": { "to": BOB }, "state_overrides": [{ "address": BOB }, { "address": BOB }] }),
            vec!["twice"],
        ),
        ("trace_transaction", json!({ "hash": format!("0x{}", "0".repeat(64)), "limit": 0 }), vec!["limit is 0"]),
        ("flash_loan_quote", json!({ "asset": ALICE, "amount": "0" }), vec!["a loan of nothing"]),
        ("flash_loan_quote", json!({ "asset": ALICE, "amount": -1 }), vec!["arguments.amount"]),
    ] {
        let said = bench.shown(&anyone(), tool, arguments.clone()).await;
        assert!(said.starts_with("invalid_argument: "), "{tool} {arguments}: {said}");
        for part in says {
            assert!(said.contains(part), "{tool} {arguments}: {said}");
        }
    }
}

#[tokio::test]
async fn prompts_name_the_tools_that_exist() {
    let bench = offline();
    let hash = format!("0x{}", "1".repeat(64));
    let ctx = || Ctx::internal(anyone(), kernel::Trace::root());
    for (name, arguments) in
        [("explain-transaction", json!({ "hash": hash })), ("inspect-contract", json!({ "address": ALICE }))]
    {
        let reply = bench.request("prompts/get", json!({ "name": name, "arguments": arguments }), ctx()).await.unwrap();
        let text = reply.body.get().to_owned();
        let named = bench.service.tools().filter(|tool| text.contains(&tool.name)).count();
        assert!(named >= 2, "{text}");
    }
    let wrong = bench
        .request("prompts/get", json!({ "name": "inspect-contract", "arguments": { "address": "x" } }), ctx())
        .await;
    assert!(wrong.is_err());
}
