//! On a sandbox, whose pools do not agree from the beginning.

use std::sync::Arc;

use kernel::bus::{Bus, NewEvent};
use kernel::chain::{Abi, Address, BlockId};
use kernel::fake::World;
use market::feed::{APPLIED_EVENT, Applied, POOLS_TOPIC, Pools};
use serde_json::{Value, json};

use super::{Config, MarketAnalysis};
use crate::testing::pools::{Still, address, book, pair};
use crate::testing::sandbox::{Sandbox, sandbox};
use crate::testing::{Bench, operator, viewer};

/// The first funded account: it has every token, its routers are approved, and anvil signs for it.
const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SWAP: &str = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)";

struct Online {
    bench: Bench,
    pools: Arc<Still>,
    sandbox: Sandbox,
}

fn bench(sandbox: &Sandbox, pools: &Arc<Still>) -> Bench {
    let world = World::default().chain(Arc::clone(&sandbox.chain)).abi(Arc::new(evm::Encodings));
    Bench::on_pools::<MarketAnalysis>(world, Arc::clone(pools) as Arc<dyn Pools>, Config::default())
}

async fn online() -> Option<Online> {
    let (_, sandbox) = sandbox()?;
    let pools = book(&sandbox).await;
    Some(Online { bench: bench(&sandbox, &pools), pools, sandbox })
}

async fn answer(bench: &Bench, tool: &str, arguments: Value) -> Value {
    let shown = bench.shown(&viewer("ann"), tool, arguments).await;
    serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{tool} refused: {shown}"))
}

fn number(value: &Value) -> i128 {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).parse().unwrap()
}

impl Online {
    async fn answer(&self, tool: &str, arguments: Value) -> Value {
        answer(&self.bench, tool, arguments).await
    }

    /// Sells so much of a token at Uniswap V2.
    async fn sell(&self, from: &str, to: &str, amount: &str) {
        let path = [self.sandbox.at(from).await, self.sandbox.at(to).await];
        let args = [json!(amount), json!("0"), json!(path), json!(ALICE), json!("0xffffffffffffffff")];
        let data = evm::Encodings.encode_call(SWAP, &args).unwrap();
        let router = self.sandbox.at("uniswap-v2-router").await;
        let transaction = json!([{ "from": ALICE, "to": router, "input": data, "gas": "0x7a1200" }]);
        let hash = self.sandbox.anvil("eth_sendTransaction", transaction).await;
        loop {
            let receipt = self.sandbox.anvil("eth_getTransactionReceipt", json!([hash])).await;
            if let Some(status) = receipt.get("status") {
                assert_eq!(status, "0x1", "reverted: {receipt}");
                return;
            }
        }
    }

    /// The pools as they are now, told on the bus as the feed tells them.
    async fn apply(&self, changed: Vec<Address>) {
        let now = book(&self.sandbox).await;
        self.pools.become_of(&now);
        let at = self.pools.status().at.unwrap();
        let data = serde_json::to_value(Applied { at, changed, rolled_back: 0 }).unwrap();
        let event = NewEvent {
            topic: POOLS_TOPIC.into(),
            kind: APPLIED_EVENT.into(),
            source: "test".into(),
            trace_id: None,
            data,
        };
        self.bench.world.bus.publish(event).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_scan_finds_adds_up_and_is_explained_alike() {
    let Some(online) = online().await else { return };
    let scan = online.answer("scan_opportunities", json!({ "limit": 50 })).await;
    let found = scan["opportunities"].as_array().unwrap();
    assert!(!found.is_empty(), "{scan}");
    for one in found {
        let amount = |field: &str| number(&one[field]["amount"]);
        let costs = amount("amount_in") + amount("flash_fee") + amount("gas_cost") + amount("tip");
        assert_eq!(amount("amount_out") - costs, amount("net"), "{one}");
        assert!(amount("net") > 0);
        let hops = one["hops"].as_array().unwrap();
        assert_eq!(
            (&hops[0]["amount_in"], &hops[hops.len() - 1]["amount_out"]),
            (&one["amount_in"]["amount"], &one["amount_out"]["amount"])
        );
        assert!(
            hops.windows(2).all(
                |pair| pair[0]["amount_out"] == pair[1]["amount_in"] && pair[0]["token_out"] == pair[1]["token_in"]
            )
        );
    }
    assert!(!scan["take_together"].as_array().unwrap().is_empty());
    let best = &found[0];
    let pools: Vec<&Value> = best["hops"].as_array().unwrap().iter().map(|hop| &hop["pool"]).collect();
    let explained =
        online.answer("explain_opportunity", json!({ "funding": best["funding"]["address"], "pools": pools })).await;
    assert_eq!(explained["verdict"], "gains", "{explained}");
    assert!(explained["margin_bps"].as_f64().unwrap() > 0.0);
    assert_eq!((&explained["opportunity"]["id"], &explained["opportunity"]["net"]), (&best["id"], &best["net"]));
    let back: Vec<&Value> = pools.into_iter().rev().collect();
    let loses =
        online.answer("explain_opportunity", json!({ "funding": best["funding"]["address"], "pools": back })).await;
    assert_eq!((&loses["verdict"], &loses["opportunity"]), (&json!("loses"), &Value::Null), "{loses}");
}

#[tokio::test]
async fn following_what_changed_finds_what_a_fresh_look_finds() {
    let Some(online) = online().await else { return };
    let before = online.answer("scan_opportunities", json!({ "min_net": "0", "limit": 100 })).await;
    online.sell("weth", "dai", "40000000000000000000").await;
    online.apply(vec![online.sandbox.at("uniswap-v2-pair-dai-weth").await]).await;
    let followed = online.answer("scan_opportunities", json!({ "min_net": "0", "limit": 100 })).await;
    let fresh =
        answer(&bench(&online.sandbox, &online.pools), "scan_opportunities", json!({ "min_net": "0", "limit": 100 }))
            .await;
    assert_ne!(before["opportunities"], followed["opportunities"]);
    assert_eq!(followed, fresh);
}

#[tokio::test]
async fn prices_that_moved_are_measured_and_blocks_replayed() {
    let Some(online) = online().await else { return };
    let first = online.sandbox.chain.block(BlockId::Latest).await.unwrap().head.number + 1;
    for amount in ["30000000000000000000", "5000000000000000000", "20000000000000000000"] {
        online.sell("weth", "dai", amount).await;
        online.sell("weth", "usdc", amount).await;
    }
    let (dai, usdc) =
        (online.sandbox.at("uniswap-v2-pair-dai-weth").await, online.sandbox.at("uniswap-v2-pair-usdc-weth").await);
    online.apply(vec![dai, usdc]).await;
    let request = json!({ "token": "weth", "quote_token": "dai", "pool": dai, "blocks": 6 });
    let volatility = online.answer("volatility", request).await;
    assert_eq!(volatility["series"]["observations"], 3, "{volatility}");
    let price = |field: &str| volatility["series"][field].as_str().unwrap().parse::<f64>().unwrap();
    assert!(price("first") > price("last") && price("last") == price("low") && price("first") == price("high"));
    let realised = volatility["realised"].as_f64().unwrap();
    assert!(realised > 0.0 && realised <= (price("first") / price("last")).ln(), "{volatility}");

    let request = json!({ "token": "dai", "other_token": "usdc", "quote_token": "weth", "blocks": 6 });
    let correlation = online.answer("correlation", request).await;
    assert!(correlation["series"][0]["pool"].is_string(), "{correlation}");

    let replayed = online.answer("backtest", json!({ "from_block": first, "funding": "weth" })).await;
    assert_eq!((&replayed["changed_blocks"], &replayed["events"]), (&json!(6), &json!(6)), "{replayed}");
    let blocks = replayed["blocks"].as_array().unwrap();
    assert_eq!(replayed["profitable_blocks"], json!(blocks.len()));
    assert!(
        number(&replayed["net"]["amount"]) > 0
            && number(&replayed["net_every_block"]["amount"]) >= number(&replayed["net"]["amount"])
    );
    // The last block's best is what a scan of it finds.
    let scan = online.answer("scan_opportunities", json!({ "funding": "weth" })).await;
    assert_eq!(blocks.last().unwrap()["best"]["id"], scan["opportunities"][0]["id"]);
    let early = online.bench.shown(&viewer("ann"), "backtest", json!({ "from_block": 1_000_000 })).await;
    assert!(early.starts_with("invalid_argument: blocks 1000000 to "), "{early}");
}

#[tokio::test]
async fn a_recording_replays_as_its_blocks_did_and_a_damaged_one_is_refused() {
    let Some(online) = online().await else { return };
    let first = online.sandbox.chain.block(BlockId::Latest).await.unwrap().head.number + 1;
    for amount in ["30000000000000000000", "5000000000000000000"] {
        online.sell("weth", "dai", amount).await;
        online.sell("weth", "usdc", amount).await;
    }
    let pairs =
        [online.sandbox.at("uniswap-v2-pair-dai-weth").await, online.sandbox.at("uniswap-v2-pair-usdc-weth").await];
    online.apply(pairs.to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    let world = World::default().chain(Arc::clone(&online.sandbox.chain)).abi(Arc::new(evm::Encodings));
    let ports = crate::MarketPorts {
        pools: Arc::clone(&online.pools) as Arc<dyn Pools>,
        recordings: Some(folder.path().join("recordings")),
        ..crate::MarketPorts::without_pools(world.ports())
    };
    let shared = crate::testing::shared(&world);
    let bench = Bench::of(world, mcp::Service::build::<MarketAnalysis>(&ports, Config::default(), shared).unwrap());
    let shown = async |tool: &str, arguments: Value| bench.shown(&operator("ann"), tool, arguments).await;
    let recorded = shown("record", json!({ "name": "sales", "from_block": first })).await;
    let recorded: Value = serde_json::from_str(&recorded).unwrap_or_else(|_| panic!("{recorded}"));
    assert_eq!((&recorded["holds"]["from_block"], &recorded["holds"]["to_block"]), (&json!(first), &json!(first + 3)));
    let again = shown("record", json!({ "name": "sales", "from_block": first })).await;
    assert_eq!(again, "already_exists: there is a recording `sales` (choose another name)");
    let listed = answer(&bench, "recordings", json!({})).await;
    assert_eq!(listed["recordings"], json!([recorded]));

    let range = answer(&bench, "backtest", json!({ "from_block": first, "funding": "usdc" })).await;
    assert!(range["profitable_blocks"].as_u64().unwrap() > 0 && range["events"] == 4, "{range}");
    let replayed = answer(&bench, "backtest", json!({ "recording": "sales", "funding": "usdc" })).await;
    assert_eq!(replayed, range);

    let file = folder.path().join("recordings/sales.jsonl.gz");
    let whole = std::fs::read(&file).unwrap();
    let refused = async |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let refusal = shown("backtest", json!({ "recording": "sales" })).await;
        refusal.strip_prefix("invalid_argument: the recording `sales` is refused: ").unwrap_or(&refusal).to_owned()
    };
    for (bytes, start) in damaged(&whole) {
        let refusal = refused(&bytes).await;
        assert!(refusal.starts_with(start), "{refusal}, not {start}");
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(answer(&bench, "backtest", json!({ "recording": "sales", "funding": "usdc" })).await, range);
    for (arguments, refusal) in [
        (
            json!({ "recording": "../sales" }),
            "invalid_argument: not a recording's name (a-z, 0-9, - and _, at most 64 characters)",
        ),
        (json!({ "recording": "none" }), "not_found: no recording `none` (recordings lists them)"),
        (json!({}), "invalid_argument: blocks and a recording, or neither (from_block, or recording)"),
        (
            json!({ "recording": "sales", "from_block": first }),
            "invalid_argument: blocks and a recording, or neither (from_block, or recording)",
        ),
    ] {
        assert_eq!(shown("backtest", arguments).await, refusal);
    }
}

/// A recording torn, altered, of another version or none at all, each with what is said of it.
fn damaged(whole: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (whole[..whole.len() / 2].to_vec(), "it is torn or altered: "),
        (whole[..whole.len() - 1].to_vec(), "it is torn or altered: "),
        (b"not a recording".to_vec(), "it is torn or altered: "),
        (
            repacked(whole, |text| text.replace(r#""reserve0":""#, r#""reserve0":"1"#)),
            "it was altered: its lines have not the hash",
        ),
        (
            repacked(whole, |text| text.lines().next().unwrap().to_owned() + "\n"),
            "it is torn: its last line is not the last",
        ),
        (repacked(whole, |text| text.trim_end().to_owned()), "it is torn: its last line does not end"),
        (
            repacked(whole, |text| text.replace(r#""version":1"#, r#""version":2"#)),
            "it is of version 2, and version 1 is read here",
        ),
        (repacked(whole, |_| "{}\n".to_owned()), "it is no recording"),
    ]
}

/// The recording with its text changed.
fn repacked(packed: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(change(text).as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn pools_are_compared_by_liquidity_depth_and_price() {
    let Some(online) = online().await else { return };
    let liquidity = online.answer("liquidity", json!({ "token": "weth", "within_bps": 100 })).await;
    let pools = liquidity["pools"].as_array().unwrap();
    let sum: i128 = pools.iter().map(|pool| number(&pool["can_sell"]["amount"])).sum();
    assert_eq!(sum, number(&liquidity["can_sell"]["amount"]));
    let spreads = online.answer("spreads", json!({ "token": "weth" })).await;
    let rows = spreads["spreads"].as_array().unwrap();
    assert!(rows.len() >= 4 && rows.iter().all(|row| row["spread_bps"].as_f64() >= Some(0.0)), "{spreads}");
    assert!(rows.windows(2).all(|pair| pair[0]["after_fees_bps"].as_f64() >= pair[1]["after_fees_bps"].as_f64()));
    online.sell("weth", "dai", "1000000000000000000").await;
    online.apply(vec![online.sandbox.at("uniswap-v2-pair-dai-weth").await]).await;
    let top = online.answer("top_pools", json!({ "limit": 100, "blocks": 1 })).await;
    let pools = top["pools"].as_array().unwrap();
    let pair = json!(online.sandbox.at("uniswap-v2-pair-dai-weth").await);
    let traded = pools.iter().find(|pool| pool["pool"] == pair).unwrap();
    assert_eq!(traded["swaps"], 1);
    assert!(traded["volume_in"].as_array().unwrap().iter().any(|sum| sum["units"] == "1"), "{traded}");
    assert!(pools.windows(2).all(|pair| number(&pair[0]["depth"]["amount"]) >= number(&pair[1]["depth"]["amount"])));
}

#[tokio::test]
async fn blocks_are_watched_and_what_they_offered_is_kept() {
    let Some(online) = online().await else { return };
    let watched = online.answer("watch", json!({ "blocks": 1, "seconds": 50 })).await;
    let block = &watched["blocks"][0];
    assert!(block["count"].as_u64().unwrap() > 0, "{watched}");
    online.bench.start().await;
    let history = loop {
        let history = online.answer("opportunity_history", json!({ "limit": 1 })).await;
        if !history["seen"].as_array().unwrap().is_empty() {
            break history;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&history["seen"][0]["opportunity"]["id"], &history["seen"][0]["block"]),
        (&block["best"][0]["id"], &block["block"])
    );
    let one = json!({ "id": block["best"][0]["id"] });
    assert_eq!(online.answer("opportunity_history", one).await["seen"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let pools = Still::new([pair(1, [1, 2], [1_000_000, 2_000_000]), pair(2, [1, 2], [500_000, 1_010_000])]);
    let named = Config { funding: vec![address(1).to_string()], native: address(1).to_string(), ..Config::default() };
    let bench = Bench::on_pools::<MarketAnalysis>(World::default(), pools, named);
    for (tool, arguments, refusal) in [
        ("scan_opportunities", json!({ "limit": 0 }), "invalid_argument: limit is 0 (1 to 100)"),
        (
            "scan_opportunities",
            json!({ "funding": address(2) }),
            "invalid_argument: 0x0202020202020202020202020202020202020202 is no funding asset here (one of 0x0101010101010101010101010101010101010101)",
        ),
        (
            "explain_opportunity",
            json!({ "funding": address(1), "pools": [address(101)] }),
            "invalid_argument: a cycle of fewer than two pools (two pools at least)",
        ),
        (
            "liquidity",
            json!({ "token": address(1), "within_bps": 0 }),
            "invalid_argument: within 0 basis points (1 to 9999)",
        ),
        (
            "liquidity",
            json!({ "token": address(9) }),
            "not_found: no followed pool trades 0x0909090909090909090909090909090909090909 so (list_pools of dex-services has the pools that are followed)",
        ),
        (
            "volatility",
            json!({ "token": address(1), "quote_token": address(2), "blocks": 1 }),
            "invalid_argument: 1 blocks (2 to 10000)",
        ),
        ("watch", json!({ "blocks": 0 }), "invalid_argument: 0 blocks within 30 s (1 to 100 blocks, 1 to 50 seconds)"),
        ("opportunity_history", json!({ "limit": 201 }), "invalid_argument: limit is 201 (1 to 200)"),
        ("backtest", json!({ "from_block": 8 }), "invalid_argument: blocks 8 to 7 (the newest that is known is 7)"),
    ] {
        assert_eq!(bench.shown(&viewer("ann"), tool, arguments).await, refusal);
    }
    let spreads = answer(&bench, "spreads", json!({})).await;
    assert_eq!(
        (&spreads["spreads"][0]["spread_bps"], &spreads["spreads"][0]["after_fees_bps"]),
        (&json!(100.0), &json!(39.49)),
        "{spreads}"
    );
    assert_eq!(
        (&spreads["spreads"][0]["buy_at"], &spreads["spreads"][0]["sell_at"]),
        (&json!(address(101)), &json!(address(102)))
    );
    let unfollowed = Bench::new::<MarketAnalysis>();
    let refusal = unfollowed.shown(&viewer("ann"), "scan_opportunities", json!({})).await;
    assert!(
        refusal.starts_with("not_configured: none of the funding assets is known here: WETH, USDC, DAI"),
        "{refusal}"
    );
}
