//! What the sources on the chain say on a sandbox: pools against their own bytecode, feeds, gas.

use kernel::chain::{Abi, Address, BlockId, CallRequest};
use serde_json::{Value, json};

use crate::data_providers::{Config, DataProviders, FeedConfig};
use crate::testing::sandbox::{Sandbox, sandbox};
use crate::testing::{Bench, viewer};

/// The first funded account; anvil signs for it.
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// A feed by hand: `decimals()` is 8, `description()` is `XAU / USD`, every other call is answered with storage slots 0 to 4.
const FEED: &str = concat!(
    "0x60003560e01c",                                   // the selector
    "8063313ce56714603957",                             // decimals(): jump to 0x39
    "637284e41614604257",                               // description(): jump to 0x42
    "5f545f52",                                         // slot 0
    "600154602052600254604052600354606052600454608052", // slots 1 to 4
    "60a05ff3",                                         // return five words
    "5b60085f5260205ff3",                               // 0x39: return 8
    "5b60205f526009602052",                             // 0x42: a string of nine bytes
    "68584155202f2055534460b81b60405260605ff3",
);

struct Online {
    bench: Bench,
    sandbox: Sandbox,
}

fn online(config: Config) -> Option<Online> {
    let (world, sandbox) = sandbox()?;
    Some(Online { bench: Bench::on::<DataProviders>(world, config), sandbox })
}

impl Online {
    async fn shown(&self, tool: &str, arguments: Value) -> String {
        // The world's clock stands where the chain's does.
        let head = self.sandbox.chain.block(BlockId::Latest).await.unwrap().head;
        let clock = &self.bench.world.clock;
        clock.advance_ms(i64::try_from(head.timestamp_seconds).unwrap() * 1_000 - clock.now_ms());
        self.bench.shown(&viewer("ann"), tool, arguments).await
    }

    async fn answer(&self, tool: &str, arguments: Value) -> Value {
        let shown = self.shown(tool, arguments).await;
        serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{tool} refused: {shown}"))
    }

    /// Lets so much time pass on the chain, and makes a block.
    async fn pass(&self, seconds: u64) {
        self.sandbox.anvil("evm_increaseTime", json!([seconds])).await;
        self.sandbox.anvil("evm_mine", json!([])).await;
    }

    async fn send(&self, to: Address, function: &str, args: &[Value], value: &str) {
        let data = evm::Encodings.encode_call(function, args).unwrap();
        let transaction = json!([{ "from": ALICE, "to": to, "input": data, "value": value, "gas": "0x7a1200" }]);
        let hash = self.sandbox.anvil("eth_sendTransaction", transaction).await;
        loop {
            let receipt = self.sandbox.anvil("eth_getTransactionReceipt", json!([hash])).await;
            if let Some(status) = receipt.get("status") {
                assert_eq!(status, "0x1", "{function} reverted");
                return;
            }
        }
    }

    async fn read(&self, contract: Address, function: &str, args: &[Value]) -> Vec<Value> {
        let call = CallRequest::read(contract, evm::Encodings.encode_call(function, args).unwrap());
        let answer = self.sandbox.chain.call(&call, BlockId::Latest).await.unwrap();
        evm::Encodings.decode_output(function, &answer).unwrap().into_iter().map(|value| value.value).collect()
    }

    /// A pool's tick and the time of the newest block.
    async fn tick(&self, pool: Address) -> (i64, u64) {
        let slot0 = self.read(pool, "slot0()(uint160,int24,uint16,uint16,uint16,uint8,bool)", &[]).await;
        let head = self.sandbox.chain.block(BlockId::Latest).await.unwrap().head;
        (slot0[1].as_i64().or_else(|| slot0[1].as_str()?.parse().ok()).unwrap(), head.timestamp_seconds)
    }
}

const POOL: &str = "uniswap-v3-pool-usdc-weth-3000";
const SWAP: &str = "exactInputSingle((address tokenIn,address tokenOut,uint24 fee,address recipient,uint256 deadline,uint256 amountIn,uint256 amountOutMinimum,uint160 sqrtPriceLimitX96))";

#[tokio::test]
async fn a_v3_mean_is_what_the_pool_went_through() {
    let Some(online) = online(Config::default()) else { return };
    let (pool, router) = (online.sandbox.at(POOL).await, online.sandbox.at("uniswap-v3-router").await);
    let (weth, usdc) = (online.sandbox.at("weth").await, online.sandbox.at("usdc").await);
    online.send(pool, "increaseObservationCardinalityNext(uint16)", &[json!(10)], "0x0").await;
    online.pass(100).await;
    // A swap of 20 coins moves the tick; what was before is written down.
    let swap = json!([weth, usdc, 3_000, ALICE, "0xffffffffffff", "20000000000000000000", "0", "0"]);
    let (before, _) = online.tick(pool).await;
    online.send(router, SWAP, &[swap], "0x1158e460913d00000").await;
    let (after, swapped_at) = online.tick(pool).await;
    assert_ne!(before, after);
    online.pass(300).await;
    let (_, now) = online.tick(pool).await;
    let since = now - swapped_at;
    let seconds = since + 50;
    let answer = online.answer("twap", json!({ "pair": "ETH/USDC", "pool": pool, "seconds": seconds })).await;
    let sum = before * 50 + after * i64::try_from(since).unwrap();
    assert_eq!(answer["mean_tick"], sum.div_euclid(i64::try_from(seconds).unwrap()), "{answer}");
    let oldest = answer["oldest_seconds"].as_u64().unwrap();
    let price: f64 = answer["price"].as_str().unwrap().parse().unwrap();
    // token0 and token1 are by address: the tick's price is of token0.
    let raw = 1.0001f64.powi(i32::try_from(answer["mean_tick"].as_i64().unwrap()).unwrap());
    let want = if usdc < weth { 1e12 / raw } else { raw * 1e12 };
    assert!((price / want - 1.0).abs() < 1e-9, "{price} instead of {want}");
    let back = online.answer("twap", json!({ "pair": "USDC/ETH", "pool": pool, "seconds": seconds })).await;
    let back: f64 = back["price"].as_str().unwrap().parse().unwrap();
    assert!((back * price - 1.0).abs() < 1e-9);
    // By itself it finds the deepest pool of the pair.
    let found = online.answer("twap", json!({ "pair": "ETH/USDC", "seconds": 60 })).await;
    assert_eq!(found["pool"], json!(online.sandbox.at("uniswap-v3-pool-usdc-weth-500").await));
    let shown = online.shown("twap", json!({ "pair": "ETH/USDC", "pool": pool, "seconds": 80_000 })).await;
    assert!(shown.starts_with(&format!("unavailable: pool {pool} remembers {oldest} s, not 80000")), "{shown}");
    let shown = online.shown("twap", json!({ "pair": "ETH/DAI", "pool": pool })).await;
    assert!(shown.starts_with(&format!("invalid_argument: pool {pool} holds ")), "{shown}");
}

#[tokio::test]
async fn a_v2_mean_is_what_the_pair_went_through() {
    let Some(online) = online(Config::default()) else { return };
    let (pair, router) =
        (online.sandbox.at("uniswap-v2-pair-usdc-weth").await, online.sandbox.at("uniswap-v2-router").await);
    let (weth, usdc) = (online.sandbox.at("weth").await, online.sandbox.at("usdc").await);
    let price = async || {
        let reserves = online.read(pair, "getReserves()(uint112,uint112,uint32)", &[]).await;
        let figure =
            |place: usize| reserves[place].as_f64().or_else(|| reserves[place].as_str()?.parse().ok()).unwrap();
        let (dollars, coins) = if usdc < weth { (figure(0), figure(1)) } else { (figure(1), figure(0)) };
        dollars / coins * 1e12
    };
    let at = async || online.sandbox.chain.block(BlockId::Latest).await.unwrap().head.timestamp_seconds;
    online.pass(60).await;
    let (first, began) = (price().await, at().await);
    online.pass(100).await;
    let swap = [json!("0"), json!([weth, usdc]), json!(ALICE), json!("0xffffffffffff")];
    online.send(router, "swapExactETHForTokens(uint256,address[],address,uint256)", &swap, "0x1158e460913d00000").await;
    let (second, swapped) = (price().await, at().await);
    online.pass(250).await;
    let ended = at().await;
    let asked = json!({ "pair": "ETH/USD", "kind": "uniswap-v2", "pool": pair, "seconds": ended - began });
    let answer = online.answer("twap", asked).await;
    assert_eq!((&answer["from_seconds"], &answer["seconds"]), (&json!(began), &json!(ended - began)));
    assert_eq!(answer["stand_in"], "USDC");
    let want = (first * (swapped - began) as f64 + second * (ended - swapped) as f64) / (ended - began) as f64;
    let mean: f64 = answer["price"].as_str().unwrap().parse().unwrap();
    assert!(second < first && (mean / want - 1.0).abs() < 1e-9, "{mean} instead of {want}");
    let shown =
        online.shown("twap", json!({ "pair": "ETH/USD", "kind": "uniswap-v2", "pool": pair, "seconds": 86_400 })).await;
    assert!(shown.starts_with("unavailable: "), "{shown}");
}

#[tokio::test]
async fn the_sandbox_prices_its_own_money() {
    let Some(online) = online(Config::default()) else { return };
    online.pass(700).await;
    let answer = online.answer("price", json!({ "pair": "ETH/USD" })).await;
    let verdict = |name: &str| {
        let sources = answer["sources"].as_array().unwrap();
        sources.iter().find(|source| source["source"] == name).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    let price: f64 = answer["price"].as_str().unwrap().parse().unwrap();
    assert!((2_400.0..2_600.0).contains(&price), "{answer}");
    for source in ["chainlink", "uniswap-v2", "uniswap-v3"] {
        assert_eq!(verdict(source), "used", "{source}: {answer}");
    }
    assert_eq!((verdict("binance").as_str(), verdict("ecb").as_str()), ("not_asked", "not_asked"));
    assert_eq!((&answer["lone"], &answer["disputed"]), (&json!(false), &json!(false)));
    let feed = online.answer("oracle_price", json!({ "pair": "WETH/USD" })).await;
    assert_eq!(
        (&feed["pair"], &feed["sound"], &feed["decimals"]),
        (&json!("ETH/USD"), &json!(true), &json!(8)),
        "{feed}"
    );
    // By its address a token is the same.
    let weth = online.sandbox.at("weth").await;
    let by_address = online.answer("price", json!({ "pair": format!("{weth}/USD") })).await;
    assert_eq!(by_address["price"], answer["price"]);
    // What calls itself ETH is not ETH: only known tokens have symbols, and this one is none.
    let stranger = online.sandbox.at("uniswap-v2-router").await;
    let shown = online.shown("price", json!({ "pair": format!("{stranger}/USD") })).await;
    assert!(shown.starts_with("not_found: no source knows") || shown.starts_with("unavailable"), "{shown}");
}

#[tokio::test]
async fn feeds_are_checked_before_they_are_believed() {
    let feed: Address = "0x00000000000000000000000000000000000feed1".parse().unwrap();
    let config = Config {
        feeds: vec![FeedConfig { pair: "XAU/USD".into(), address: feed, heartbeat_seconds: 3_600 }],
        ..Config::default()
    };
    let Some(online) = online(config) else { return };
    let head = online.sandbox.chain.block(BlockId::Latest).await.unwrap().head.timestamp_seconds;
    online.sandbox.anvil("anvil_setCode", json!([feed, FEED])).await;
    let set = async |round: u64, answer: &str, updated: u64, answered: u64| {
        let words = [
            format!("{round:#x}"),
            answer.to_owned(),
            format!("{updated:#x}"),
            format!("{updated:#x}"),
            format!("{answered:#x}"),
        ];
        for (slot, word) in words.iter().enumerate() {
            let digits = word.trim_start_matches("0x");
            let full = format!("0x{digits:0>64}");
            online.sandbox.anvil("anvil_setStorageAt", json!([feed, format!("{slot:#x}"), full])).await;
        }
        online.sandbox.anvil("evm_mine", json!([])).await;
    };
    set(5, "0x3be3e9a8c5", head, 5).await;
    let answer = online.answer("oracle_price", json!({ "pair": "XAU/USD" })).await;
    assert_eq!(
        (&answer["price"], &answer["sound"], &answer["round_id"]),
        (&json!("2572.26811589"), &json!(true), &json!("5")),
        "{answer}"
    );
    let price = online.answer("price", json!({ "pair": "XAU/USD" })).await;
    assert_eq!((&price["price"], &price["lone"]), (&json!("2572.26811589"), &json!(true)));
    for (round, answer, updated, answered, problem) in [
        (5, "0x0", head, 5, "the answer 0 is no price"),
        (5, &format!("0x{}", "f".repeat(64)), head, 5, "the answer -1 is no price"),
        (5, "0x1", 0, 5, "the round is not complete"),
        (5, "0x1", head, 4, "the answer is carried over from round 4"),
        (5, "0x1", head - 4_300, 5, "beyond the heartbeat of 3600 s"),
        (5, "0x1", head + 1_000, 5, "in the future"),
    ] {
        set(round, answer, updated, answered).await;
        let shown = online.answer("oracle_price", json!({ "feed": feed })).await;
        assert_eq!(shown["sound"], false, "{shown}");
        assert!(shown["problems"].to_string().contains(problem), "{problem}: {shown}");
        let shown = online.shown("price", json!({ "pair": "XAU/USD" })).await;
        assert!(shown.starts_with("unavailable: no answer for XAU/USD that counts (unsound: chainlink)"), "{shown}");
    }
    let shown = online.shown("oracle_price", json!({ "pair": "BTC/EUR" })).await;
    assert!(shown.starts_with("not_found: no feed for BTC/EUR is known on this chain (known are XAU/USD"), "{shown}");
    let shown = online.shown("oracle_price", json!({})).await;
    assert!(shown.starts_with("invalid_argument: give a pair or a feed"), "{shown}");
}

#[tokio::test]
async fn gas_is_what_the_blocks_charged() {
    let Some(online) = online(Config::default()) else { return };
    online.pass(1).await;
    let chain = &online.sandbox.chain;
    let head = chain.block(BlockId::Latest).await.unwrap().head;
    // The node writes its fee history after it has told of the block.
    while chain.fee_history(1, &[]).await.unwrap().blocks.last().is_none_or(|last| last.number < head.number) {}
    let answer = online.answer("gas_price", json!({ "blocks": 5, "percentiles": [0, 50, 100], "history": true })).await;
    let figure = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
    let base = figure(&answer["base_fee_per_gas_wei"]);
    assert_eq!(answer["block_number"], head.number);
    // EIP-1559, from the newest block: an empty one lets the fee fall by an eighth.
    let (used, target) = (u128::from(head.gas_used), u128::from(head.gas_limit / 2));
    let next = if used >= target {
        base + base * (used - target) / target / 8
    } else {
        base - base * (target - used) / target / 8
    };
    assert_eq!(figure(&answer["next_base_fee_per_gas_wei"]), next, "{answer}");
    let history = answer["history"].as_array().unwrap();
    assert!(history.iter().any(|block| block["gas_used_bps"].as_u64() > Some(0)), "{answer}");
    for tip in answer["tips"].as_array().unwrap() {
        assert_eq!(figure(&tip["max_fee_per_gas_wei"]), 2 * next + figure(&tip["tip_wei"]), "{tip}");
    }
    for (arguments, want) in [
        (json!({ "blocks": 0 }), "invalid_argument: 0 blocks (1 to 200)"),
        (json!({ "percentiles": [50, 10] }), "invalid_argument: percentiles [50, 10] (ascending, 0 to 100)"),
    ] {
        assert_eq!(online.shown("gas_price", arguments).await, want);
    }
}
