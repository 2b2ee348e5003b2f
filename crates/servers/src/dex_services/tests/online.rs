//! On a sandbox: quotes are what the contracts themselves answer, and built swaps do what they were quoted.

use std::sync::Arc;

use kernel::chain::{Abi, Address, BlockId, CallRequest};
use serde_json::{Value, json};

use crate::dex_services::{Config, DexServices};
use crate::testing::pools::book;
use crate::testing::sandbox::{Sandbox, sandbox};
use crate::testing::{Bench, viewer};

/// The first funded account: it has every token, and anvil signs for it.
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

struct Online {
    bench: Bench,
    sandbox: Sandbox,
}

async fn online() -> Option<Online> {
    let (world, sandbox) = sandbox()?;
    let pools = book(&sandbox).await;
    Some(Online { bench: Bench::on_pools::<DexServices>(world, pools, Config::default()), sandbox })
}

impl Online {
    async fn answer(&self, tool: &str, arguments: Value) -> Value {
        let shown = self.bench.shown(&viewer("ann"), tool, arguments).await;
        serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{tool} refused: {shown}"))
    }

    async fn read(&self, contract: &str, function: &str, args: &[Value]) -> Vec<Value> {
        let contract = self.sandbox.at(contract).await;
        let call = CallRequest::read(contract, evm::Encodings.encode_call(function, args).unwrap());
        let answer = self.sandbox.chain.call(&call, BlockId::Latest).await.unwrap();
        evm::Encodings.decode_output(function, &answer).unwrap().into_iter().map(|value| value.value).collect()
    }

    async fn at(&self, name: &str) -> Address {
        self.sandbox.at(name).await
    }

    async fn send(&self, to: &Value, data: &Value) {
        let transaction = json!([{ "from": ALICE, "to": to, "input": data, "gas": "0x7a1200" }]);
        let hash = self.sandbox.anvil("eth_sendTransaction", transaction).await;
        loop {
            let receipt = self.sandbox.anvil("eth_getTransactionReceipt", json!([hash])).await;
            if let Some(status) = receipt.get("status") {
                assert_eq!(status, "0x1", "reverted: {receipt}");
                return;
            }
        }
    }

    async fn balance(&self, token: &str, account: &str) -> u128 {
        let token = self.at(token).await;
        let balance = self.sandbox.chain.token_balance(token, account.parse().unwrap(), BlockId::Latest).await;
        balance.unwrap().to_string().parse().unwrap()
    }
}

/// An integer as the encodings write it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[tokio::test]
async fn quotes_of_pairs_are_the_routers_own() {
    let Some(online) = online().await else { return };
    let path = ["usdc", "weth", "dai"];
    let mut addresses = Vec::new();
    for name in path {
        addresses.push(online.at(name).await);
    }
    let pools = [online.at("uniswap-v2-pair-usdc-weth").await, online.at("uniswap-v2-pair-dai-weth").await];
    for amount in ["1000", "1000000", "123456789012", "9999999999999"] {
        let own = online
            .read(
                "uniswap-v2-router",
                "getAmountsOut(uint256,address[])(uint256[])",
                &[json!(amount), json!(addresses)],
            )
            .await;
        let request = json!({ "token_in": "usdc", "token_out": "DAI", "amount_in": amount, "pools": pools });
        let quote = online.answer("quote", request).await;
        assert_eq!(text(&own[0][1]), text(&quote["hops"][0]["amount_out"]), "{amount}");
        assert_eq!(text(&own[0][2]), text(&quote["amount_out"]["amount"]), "{amount}");
    }
    for amount in ["1", "1000000000000000000", "777777777777777777777"] {
        let own = online
            .read("uniswap-v2-router", "getAmountsIn(uint256,address[])(uint256[])", &[json!(amount), json!(addresses)])
            .await;
        let request = json!({ "token_in": "usdc", "token_out": "DAI", "amount_out": amount, "pools": pools });
        let quote = online.answer("quote", request).await;
        assert_eq!(text(&own[0][0]), text(&quote["amount_in"]["amount"]), "{amount}");
    }
}

#[tokio::test]
async fn quotes_of_concentrated_liquidity_are_the_quoters_own() {
    let Some(online) = online().await else { return };
    let (weth, usdc) = (online.at("weth").await, online.at("usdc").await);
    let exact_in = "quoteExactInputSingle((address,address,uint256,uint24,uint160))(uint256,uint160,uint32,uint256)";
    let exact_out = "quoteExactOutputSingle((address,address,uint256,uint24,uint160))(uint256,uint160,uint32,uint256)";
    for fee in [500, 3_000, 10_000] {
        let pool = online.at(&format!("uniswap-v3-pool-usdc-weth-{fee}")).await;
        for amount in ["1000000000", "1000000000000000000", "60000000000000000000"] {
            let own = online.read("uniswap-v3-quoter", exact_in, &[json!([weth, usdc, amount, fee, 0])]).await;
            let request = json!({ "token_in": "WETH", "token_out": "USDC", "amount_in": amount, "pools": [pool] });
            let quote = online.answer("quote", request).await;
            assert_eq!(text(&own[0]), text(&quote["amount_out"]["amount"]), "{fee} {amount}");
            let own =
                online.read("uniswap-v3-quoter", exact_out, &[json!([usdc, weth, amount_out(amount), fee, 0])]).await;
            let request =
                json!({ "token_in": "USDC", "token_out": "WETH", "amount_out": amount_out(amount), "pools": [pool] });
            let quote = online.answer("quote", request).await;
            assert_eq!(text(&own[0]), text(&quote["amount_in"]["amount"]), "{fee} {amount}");
        }
    }
}

/// A tenth: every pool has that much on both sides.
fn amount_out(amount: &str) -> &str {
    &amount[..amount.len() - 1]
}

#[tokio::test]
async fn built_swaps_do_what_they_were_quoted() {
    let Some(online) = online().await else { return };
    let v2 = vec![online.at("uniswap-v2-pair-usdc-weth").await, online.at("uniswap-v2-pair-dai-weth").await];
    let v3 = vec![online.at("uniswap-v3-pool-usdc-weth-500").await, online.at("uniswap-v3-pool-dai-weth-3000").await];
    let bob = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    for (dex, pools) in [("uniswap-v2", v2), ("uniswap-v3", v3)] {
        for (side, amount) in [("amount_in", "2500000000"), ("amount_out", "1234567890123456789012")] {
            // The swap before moved the pools.
            let pools_now = book(&online.sandbox).await;
            let world =
                kernel::fake::World::default().chain(Arc::clone(&online.sandbox.chain)).abi(Arc::new(evm::Encodings));
            let bench = Bench::on_pools::<DexServices>(world, pools_now, Config::default());
            let mut request = json!({
                "token_in": "usdc", "token_out": "dai", "pools": pools, "slippage_bps": 0, "recipient": bob, "sender": ALICE,
            });
            request[side] = json!(amount);
            let built = bench.shown(&viewer("ann"), "build_swap", request).await;
            let built: Value = serde_json::from_str(&built).unwrap_or_else(|_| panic!("refused: {built}"));
            assert_eq!(built["dex"], dex);
            let approval = &built["approval"];
            if approval["needed"] == true {
                online.send(&approval["token"], &approval["data"]).await;
            }
            let before = (online.balance("usdc", ALICE).await, online.balance("dai", bob).await);
            online.send(&built["to"], &built["data"]).await;
            let after = (online.balance("usdc", ALICE).await, online.balance("dai", bob).await);
            assert_eq!((before.0 - after.0).to_string(), text(&built["amount_in"]["amount"]), "{dex} {side}");
            assert_eq!((after.1 - before.1).to_string(), text(&built["amount_out"]["amount"]), "{dex} {side}");
        }
    }
}

#[tokio::test]
async fn what_the_factories_made_is_found() {
    let Some(online) = online().await else { return };
    let dexes = online.answer("list_dexes", json!({})).await;
    let names: Vec<&Value> = dexes["dexes"].as_array().unwrap().iter().map(|dex| &dex["name"]).collect();
    assert!(names.contains(&&json!("uniswap-v2")) && names.contains(&&json!("uniswap-v3")), "{dexes}");
    let found = online.answer("discover_pools", json!({ "from_block": "earliest", "limit": 500 })).await;
    let listed = online.answer("list_pools", json!({ "limit": 500 })).await;
    let pools = found["pools"].as_array().unwrap();
    assert!(pools.len() >= 16 && pools.iter().all(|pool| pool["followed"] == true || pool["dex"] == "sushiswap-v2"));
    assert_eq!(pools.iter().filter(|pool| pool["followed"] == true).count() as u64, listed["total"].as_u64().unwrap());
    let one = pools.iter().find(|pool| pool["fee_millionths"] == 10_000).unwrap();
    assert_eq!((&one["dex"], &one["tick_spacing"]), (&json!("uniswap-v3"), &json!(200)));
    let state = online.answer("pool_state", json!({ "pool": one["pool"] })).await;
    assert_eq!(state["state"], "concentrated_liquidity");
    let price = online.answer("price", json!({ "token": "weth", "quote_token": "usdc" })).await;
    let dollars: f64 = price["price"].as_str().unwrap().parse().unwrap();
    assert!((2_400.0..2_600.0).contains(&dollars) && price["pools"].as_array().unwrap().len() == 4, "{price}");
    let depth = online.answer("liquidity_depth", json!({ "token_in": "weth", "token_out": "usdc" })).await;
    assert_eq!(depth["total"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn depth_of_concentrated_liquidity_moves_the_price_just_so() {
    let Some(online) = online().await else { return };
    let pool = online.at("uniswap-v3-pool-usdc-weth-500").await;
    let request = json!({ "token_in": "weth", "token_out": "usdc", "pool": pool, "levels_bps": [100] });
    let depth = online.answer("liquidity_depth", request).await;
    let level = &depth["pools"][0]["levels"][0];
    let (weth, usdc) = (online.at("weth").await, online.at("usdc").await);
    let quoter = "quoteExactInputSingle((address,address,uint256,uint24,uint160))(uint256,uint160,uint32,uint256)";
    let own =
        online.read("uniswap-v3-quoter", quoter, &[json!([weth, usdc, level["amount_in"]["amount"], 500, 0])]).await;
    assert_eq!(text(&own[0]), text(&level["amount_out"]["amount"]));
    let before = online.answer("pool_state", json!({ "pool": pool })).await;
    let root = |value: &Value| text(value).parse::<f64>().unwrap();
    let moved = (root(&own[1]) / root(&before["sqrt_price_x96"])).powi(2);
    let fallen = if weth < usdc { moved } else { 1.0 / moved };
    assert!((0.989_999..0.990_001).contains(&fallen), "{fallen}");
}
