//! Without a chain: what is asked, what is refused, and figures that can be worked out by hand.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::dex_services::{Config, DexServices};
use crate::testing::pools::{Still, address, pair};
use crate::testing::{Bench, viewer};
use kernel::fake::World;

/// Tokens 1 (`one`), 2 (`two`) and 3; two pairs between 1 and 2, one between 2 and 3.
fn bench() -> Bench {
    let pools = [
        pair(1, [1, 2], [1_000_000, 2_000_000]),
        pair(2, [1, 2], [500_000, 1_010_000]),
        pair(3, [2, 3], [4_000_000, 4_000_000]),
    ];
    let tokens = BTreeMap::from([("ONE".to_owned(), address(1)), ("two".to_owned(), address(2))]);
    Bench::on_pools::<DexServices>(World::default(), Still::new(pools), Config { tokens, ..Config::default() })
}

async fn check(tool: &str, arguments: Value, expected: Expect) {
    bench().check_as(&viewer("ann"), tool, arguments, expected).await;
}

async fn answer(tool: &str, arguments: Value) -> Value {
    let shown = bench().shown(&viewer("ann"), tool, arguments).await;
    serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{tool} refused: {shown}"))
}

fn swap(amount_in: &str) -> Value {
    json!({ "token_in": "one", "token_out": "TWO", "amount_in": amount_in })
}

#[tokio::test]
async fn the_best_of_the_pools_between_two_tokens_is_quoted() {
    // ⌊9970·1010000 / (500000 + 9970)⌋ is more than ⌊9970·2000000 / (1000000 + 9970)⌋ = 19743.
    let quote = answer("quote", swap("10000")).await;
    assert_eq!(quote["amount_out"]["amount"], "19745");
    assert_eq!((&quote["hops"][0]["pool"], &quote["block"]), (&json!(address(102)), &json!(7)));
    assert_eq!(quote["others_worse"], 1);
    let deep = answer("quote", swap("100000")).await;
    assert_eq!(deep["hops"][0]["pool"], json!(address(101)), "the deeper pool is better for more");
    let out = answer("quote", json!({ "token_in": "one", "token_out": "two", "amount_out": "19745" })).await;
    assert_eq!(out["amount_in"]["amount"], "10000");
}

#[tokio::test]
async fn a_path_is_quoted_hop_by_hop() {
    let path = json!({
        "token_in": "one", "token_out": address(3), "amount_in": "10000", "pools": [address(101), address(103)],
    });
    let quote = answer("quote", path.clone()).await;
    // ⌊19743·0.997·4000000 / (4000000 + 19743·0.997)⌋.
    assert_eq!((&quote["hops"][0]["amount_out"], &quote["amount_out"]["amount"]), (&json!("19743"), &json!("19587")));
    let mut back = path;
    back["amount_in"].take();
    back["amount_out"] = json!("19587");
    assert_eq!(answer("quote", back).await["hops"][1]["amount_in"], "19743");
}

#[tokio::test]
async fn what_cannot_be_quoted_is_refused_with_what_would_be_right() {
    check(
        "quote",
        json!({ "token_in": "one", "token_out": "two" }),
        expect!["invalid_argument: no amount (give `amount_in` or `amount_out`)"],
    )
    .await;
    let both = json!({ "token_in": "one", "token_out": "two", "amount_in": "1", "amount_out": "1" });
    check("quote", both, expect!["invalid_argument: both an amount in and an amount out (give the one that is exact)"])
        .await;
    check(
        "quote",
        json!({ "token_in": "one", "token_out": "ONE", "amount_in": "1" }),
        expect!["invalid_argument: 0x0101010101010101010101010101010101010101 for itself (two tokens that differ)"],
    )
    .await;
    check("quote", json!({ "token_in": "wat", "token_out": "two", "amount_in": "1" }), expect![[r#"not_found: token_in: no token of the symbol "wat" is known here (give its address, a symbol of the configuration's `tokens` (one, two), or one of the sandbox's)"#]]).await;
    check(
        "quote",
        json!({ "token_in": "0x12", "token_out": "two", "amount_in": "1" }),
        expect![[r#"invalid_argument: token_in: not an address: "0x12" (0x and 40 hexadecimal digits)"#]],
    )
    .await;
    check("quote", json!({ "token_in": "one", "token_out": address(3), "amount_in": "1" }), expect!["not_found: no followed pool trades 0x0101010101010101010101010101010101010101 for 0x0303030303030303030303030303030303030303 directly (best_route finds a way over other tokens; or name the pools of one)"]).await;
    check("quote", swap("0"), expect!["invalid_argument: pool 0x6565656565656565656565656565656565656565: an amount of zero cannot be traded (reason: zero_amount)"]).await;
    let path = |pools: Value| json!({ "token_in": "one", "token_out": "two", "amount_in": "9", "pools": pools });
    check("quote", path(json!([address(103)])), expect!["invalid_argument: pool 0x6767676767676767676767676767676767676767 does not trade 0x0101010101010101010101010101010101010101 (it trades 0x0202020202020202020202020202020202020202 and 0x0303030303030303030303030303030303030303)"]).await;
    check("quote", path(json!([address(104)])), expect!["not_found: pool 0x6868686868686868686868686868686868686868 is not followed (list_pools of dex-services has those that are)"]).await;
    check(
        "quote",
        path(json!([address(101), address(101)])),
        expect![
            "invalid_argument: pool 0x6565656565656565656565656565656565656565 is in the path twice (each pool once)"
        ],
    )
    .await;
    check("quote", path(json!([address(101), address(103)])), expect!["invalid_argument: the path ends at 0x0303030303030303030303030303030303030303, not at 0x0202020202020202020202020202020202020202 (one more pool, or another last one)"]).await;
    check("quote", path(json!(vec![address(101); 9])), expect!["too_large: a path of 9 pools (at most 8)"]).await;
    let much = json!({ "token_in": "one", "token_out": "two", "amount_out": "2000000", "pools": [address(101)] });
    check("quote", much, expect!["invalid_argument: pool 0x6565656565656565656565656565656565656565: the pool does not hold that much (reason: insufficient_liquidity)"]).await;
}

#[tokio::test]
async fn an_impact_is_parted_into_fees_and_size() {
    let mut request = swap("10000");
    request["pools"] = json!([address(101)]);
    check("price_impact", request, expect![[r#"{"block":7,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000","token_in":{"address":"0x0101010101010101010101010101010101010101","symbol":null,"decimals":null},"amount_in":{"amount":"10000","units":null},"token_out":{"address":"0x0202020202020202020202020202020202020202","symbol":null,"decimals":null},"amount_out":{"amount":"19743","units":null},"spot_price":null,"effective_price":null,"total_bps":128.5,"fee_bps":30.0,"impact_bps":98.8,"pools":["0x6565656565656565656565656565656565656565"]}"#]]).await;
}

#[tokio::test]
async fn prices_of_all_pools_the_deepest_first() {
    check("price", json!({ "token": "one", "quote_token": "two" }), expect![[r#"{"block":7,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000","token":{"address":"0x0101010101010101010101010101010101010101","symbol":null,"decimals":null},"quote_token":{"address":"0x0202020202020202020202020202020202020202","symbol":null,"decimals":null},"price":null,"spread_bps":100.0,"pools":[{"pool":"0x6565656565656565656565656565656565656565","dex":"uniswap-v2","fee_millionths":3000,"price":null,"price_smallest_units":"2","depth":{"amount":"2000000","units":null}},{"pool":"0x6666666666666666666666666666666666666666","dex":"uniswap-v2","fee_millionths":3000,"price":null,"price_smallest_units":"2.02","depth":{"amount":"1010000","units":null}}]}"#]]).await;
}

#[tokio::test]
async fn depth_is_the_most_that_keeps_the_price_within_bounds() {
    let request = json!({ "token_in": "one", "token_out": "two", "pool": address(101), "levels_bps": [100] });
    check("liquidity_depth", request, expect![[r#"{"block":7,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000","token_in":{"address":"0x0101010101010101010101010101010101010101","symbol":null,"decimals":null},"token_out":{"address":"0x0202020202020202020202020202020202020202","symbol":null,"decimals":null},"pools":[{"pool":"0x6565656565656565656565656565656565656565","dex":"uniswap-v2","fee_millionths":3000,"levels":[{"level_bps":100,"amount_in":{"amount":"5045","units":null},"amount_out":{"amount":"10009","units":null}}]}],"total":[{"level_bps":100,"amount_in":{"amount":"5045","units":null},"amount_out":{"amount":"10009","units":null}}]}"#]]).await;
    let request = json!({ "token_in": "one", "token_out": "two", "levels_bps": [0] });
    check("liquidity_depth", request, expect!["invalid_argument: a level of 0 basis points (1 to 9999)"]).await;
}

#[tokio::test]
async fn pools_are_listed_page_by_page() {
    let page = answer("list_pools", json!({ "token": "two", "offset": 1, "limit": 1 })).await;
    assert_eq!((&page["total"], &page["omitted"]), (&json!(3), &json!(2)));
    assert_eq!(page["pools"][0]["pool"], json!(address(102)));
    let both = answer("list_pools", json!({ "token": "two", "other_token": address(3) })).await;
    assert_eq!(both["pools"][0]["fee_millionths"], 3_000);
    check("list_pools", json!({ "limit": 0 }), expect!["invalid_argument: limit is 0 (1 to 500)"]).await;
    check("pool_state", json!({ "pool": address(101) }), expect![[r#"{"block":7,"hash":"0x0000000000000000000000000000000000000000000000000000000000000000","pool":"0x6565656565656565656565656565656565656565","dex":"uniswap-v2","kind":"constant_product","tokens":[{"address":"0x0101010101010101010101010101010101010101","symbol":null,"decimals":null},{"address":"0x0202020202020202020202020202020202020202","symbol":null,"decimals":null}],"fee_millionths":3000,"state":"constant_product","reserves":[{"amount":"1000000","units":null},{"amount":"2000000","units":null}],"price":null,"price_inverse":null}"#]]).await;
    check("pool_state", json!({ "pool": address(99) }), expect!["not_found: pool 0x6363636363636363636363636363636363636363 is not followed (list_pools of dex-services has those that are)"]).await;
}

#[tokio::test]
async fn what_needs_the_chain_or_the_pools_says_so() {
    check("list_dexes", json!({}), expect!["not_configured: no EVM node is configured and no sandbox chain runs (set ETHEREUM_RPC_URL to a node's URL, or install Node.js and run `cargo xtask up` to get the sandbox chain)"]).await;
    check("discover_pools", json!({}), expect!["not_configured: no EVM node is configured and no sandbox chain runs (set ETHEREUM_RPC_URL to a node's URL, or install Node.js and run `cargo xtask up` to get the sandbox chain)"]).await;
    let build = json!({ "token_in": "one", "token_out": "two", "amount_in": "9", "slippage_bps": 9_999, "recipient": address(9) });
    check("build_swap", build, expect!["invalid_argument: a slippage of 9999 basis points (0 to 5000)"]).await;
    let unfollowed = Bench::new::<DexServices>();
    unfollowed
        .check_as(
            &viewer("ann"),
            "list_pools",
            json!({}),
            expect!["not_configured: no pools are followed here (set ETHEREUM_RPC_URL, or start with the sandbox)"],
        )
        .await;
}

#[tokio::test]
async fn a_route_is_divided_where_that_gives_more() {
    let request = json!({ "token_in": "one", "token_out": address(3), "amount_in": "200000" });
    let route = answer("best_route", request).await;
    let legs = route["branches"][0]["legs"].as_array().unwrap();
    let parts = legs[0]["parts"].as_array().unwrap();
    assert_eq!((legs.len(), parts.len()), (2, 2), "{route}");
    let sum: u64 = parts.iter().map(|part| part["amount_in"].as_str().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!((sum, &route["branches"][0]["share_bps"]), (200_000, &json!(10_000.0)));
    let amount = |field: &str| route[field]["amount"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(
        amount("amount_out") > amount("undivided_amount_out") && route["better_by_bps"].as_f64() > Some(0.0),
        "{route}"
    );
    let nowhere = json!({ "token_in": "one", "token_out": address(3), "amount_in": "1", "max_hops": 1 });
    check("best_route", nowhere, expect!["not_found: no followed pools lead from 0x0101010101010101010101010101010101010101 to 0x0303030303030303030303030303030303030303 in 1 hops (more hops, or other tokens; list_pools has the pools that are followed)"]).await;
}
