//! Prices over HTTP: aggregation, limits, bans, breakers, settings.

use expect_test::expect;
use serde_json::{Value, json};

use super::world::{Market, summary};
use crate::testing::{admin, operator, viewer};

#[tokio::test]
async fn the_middle_of_the_exchanges_is_the_price() {
    let market = Market::new().await;
    market.trade("2503.41", "2503.45", "2502.9", "2504.1");
    expect!["2503.41 0.995: binance used, coinbase used, kraken used, coingecko used"].assert_eq(&market.price().await);
    let shown = market.bench.shown(&viewer("ann"), "price", json!({ "pair": "eth/usd", "sources": ["binance"] })).await;
    let answer: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&answer["pair"], &answer["age_ms"], &answer["lone"]), (&json!("ETH/USD"), &json!(1_000), &json!(true)));
    assert_eq!(answer["warnings"], json!(["one source only: binance"]));
    let binance = answer["sources"].as_array().unwrap().iter().find(|source| source["source"] == "binance").unwrap();
    assert_eq!((&binance["instrument"], &binance["note"]), (&json!("ETHUSDT"), &json!("USDT stands for USD")));
    let chainlink = &answer["sources"][0];
    assert_eq!(chainlink["note"], "not among the sources asked for");
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_said_and_does_not_count() {
    let market = Market::new().await;
    market.trade("2503.41", "2503.45", "2502.9", "3504.1");
    expect!["2503.41 0.853: binance used, coinbase used, kraken used, coingecko outlier"]
        .assert_eq(&market.price().await);
    market.refuse("/kraken/", "502 Bad Gateway", "");
    // CoinGecko's answer is kept for half a minute, the trades grow old.
    expect!["2503.43 0.571: binance used, coinbase used, kraken failed, coingecko outlier"]
        .assert_eq(&market.price().await);
    market.bench.world.clock.advance_ms(59_001);
    expect![[r#"unavailable: no answer for ETH/USD that counts (stale: binance, coinbase; without an answer: kraken) (each source's own answer is in the data; sources tells how they stand)"#]]
        .assert_eq(&{
            market.refuse("/coingecko/", "500 Oops", "");
            let shown = market.bench.shown(&admin(), "price", json!({ "pair": "ETH/USD", "sources": ["binance", "coinbase", "kraken"] })).await;
            summary(&shown)
        });
}

#[tokio::test]
async fn two_that_contradict_each_other_are_a_dispute() {
    let market = Market::new().await;
    market.trade("2500", "2700", "1", "1");
    market.refuse("/kraken/", "500 Oops", "");
    market.refuse("/coingecko/", "500 Oops", "");
    expect!["2600 0.023 disputed: binance used, coinbase used, kraken failed, coingecko failed"]
        .assert_eq(&market.price().await);
}

#[tokio::test]
async fn pairs_that_nobody_knows_and_nonsense() {
    let market = Market::new().await;
    market.answer("/kraken/", r#"{"error":["EQuery:Unknown asset pair"]}"#);
    market
        .script
        .lock()
        .insert("/binance/", ("400 Bad Request", "", r#"{"code":-1121,"msg":"Invalid symbol."}"#.into()));
    for (arguments, want) in [
        (json!({ "pair": "ABC/DEFG" }), "not_found: no source knows ABC/DEFG ("),
        (json!({ "pair": "ETH" }), "invalid_argument: not a pair: \"ETH\" (like ETH/USD"),
        (json!({ "pair": "USD/usd" }), "invalid_argument: USD in USD is always 1"),
        (
            json!({ "pair": "ETH/USD", "sources": ["nasdaq"] }),
            "invalid_argument: arguments.sources[0]: unknown variant `nasdaq`",
        ),
        (
            json!({ "pair": "0x5FbDB2315678afecb367f032d93F642f64180aa3/USD" }),
            "not_configured: no EVM node is configured",
        ),
    ] {
        let shown = market.bench.shown(&viewer("ann"), "price", arguments).await;
        assert!(shown.starts_with(want), "{shown}");
    }
    let shown = market.bench.shown(&viewer("ann"), "prices", json!({ "pairs": ["ETH", "ABC/DEFG"] })).await;
    let rows: Value = serde_json::from_str(&shown).unwrap();
    assert!(
        rows["prices"].as_array().unwrap().iter().all(|row| row["price"].is_null() && row["error"].is_string()),
        "{rows}"
    );
    market.bench.check("prices", json!({ "pairs": [] }), expect!["invalid_argument: 0 pairs (1 to 20)"]).await;
}

/// What `price` says of Binance alone.
async fn binance(market: &Market) -> String {
    let shown = market.bench.shown(&admin(), "price", json!({ "pair": "ETH/USD", "sources": ["binance"] })).await;
    if serde_json::from_str::<Value>(&shown).is_ok() {
        return summary(&shown);
    }
    let sources = market.bench.shown(&admin(), "sources", json!({ "source": "binance" })).await;
    let row: Value = serde_json::from_str(&sources).unwrap();
    let row = &row["sources"][0];
    format!("{} {} {}", row["breaker"].as_str().unwrap(), row["requests"], row["last_failure"].as_str().unwrap_or("-"))
}

#[tokio::test]
async fn who_says_it_is_too_much_is_left_alone_as_long_as_it_says() {
    let market = Market::new().await;
    market.refuse("/binance/", "429 Too Many Requests", "Retry-After: 30\r\n");
    expect!["closed 1 too many requests"].assert_eq(&binance(&market).await);
    market.trade("2500", "1", "1", "1");
    market.bench.world.clock.advance_ms(29_999);
    expect!["closed 1 too many requests"].assert_eq(&binance(&market).await);
    market.bench.world.clock.advance_ms(1);
    market.refuse("/binance/", "418 I'm a teapot", "Retry-After: 259200\r\n");
    expect!["closed 2 it bans this address for not slowing down"].assert_eq(&binance(&market).await);
    market.bench.world.clock.advance_ms(3 * 86_400_000 - 1);
    expect!["closed 2 it bans this address for not slowing down"].assert_eq(&binance(&market).await);
    market.script.lock().remove("/binance/");
    market.bench.world.clock.advance_ms(1);
    market.trade("2500", "1", "1", "1");
    expect!["2500 0.5 lone: binance used"].assert_eq(&binance(&market).await);
}

#[tokio::test]
async fn our_own_limit_is_kept_and_so_is_the_sources_count() {
    let market = Market::new().await;
    market.trade("2500", "2500", "2500", "2500");
    let set = json!({ "source": "binance", "change": { "requests_per_minute": 8 } });
    market.bench.shown(&admin(), "set_source", set).await;
    for _ in 0..2 {
        expect!["2500 0.5 lone: binance used"].assert_eq(&binance(&market).await);
    }
    expect!["closed 2 -"].assert_eq(&binance(&market).await);
    market.bench.world.clock.advance_ms(30_000);
    market.trade("2500", "2500", "2500", "2500");
    // It says that others used up what was left.
    let body = market.script.lock()["/binance/api/v3/aggTrades?symbol=ETHUSDT"].2.clone();
    market
        .script
        .lock()
        .insert("/binance/api/v3/aggTrades?symbol=ETHUSDT", ("200 OK", "X-MBX-USED-WEIGHT-1M: 8\r\n", body));
    expect!["2500 0.5 lone: binance used"].assert_eq(&binance(&market).await);
    market.bench.world.clock.advance_ms(29_000);
    expect!["closed 3 -"].assert_eq(&binance(&market).await);
}

#[tokio::test]
async fn a_source_that_fails_is_left_alone_and_tried_again() {
    let market = Market::new().await;
    market.refuse("/binance/", "503 Service Unavailable", "");
    for _ in 0..5 {
        binance(&market).await;
    }
    expect!["open 5 status 503"].assert_eq(&binance(&market).await);
    market.script.lock().remove("/binance/");
    market.bench.world.clock.advance_ms(1_000);
    market.trade("2500", "1", "1", "1");
    expect!["2500 0.5 lone: binance used"].assert_eq(&binance(&market).await);
    let health = market.bench.service.health().await;
    expect!["8 enabled"].assert_eq(&health.checks[0].detail);
}

#[tokio::test]
async fn settings_are_kept_and_only_administrators_change_them() {
    let market = Market::new().await;
    market.trade("2503.41", "2503.45", "2502.9", "2504.1");
    let off = json!({ "source": "kraken", "change": { "enabled": false, "weight": 7 } });
    let refused = market.bench.shown(&operator("bob"), "set_source", off.clone()).await;
    assert!(refused.starts_with("permission_denied"), "{refused}");
    let row: Value = serde_json::from_str(&market.bench.shown(&admin(), "set_source", off).await).unwrap();
    assert_eq!(
        (&row["enabled"], &row["weight"], &row["set"]),
        (&json!(false), &json!(7), &json!({ "enabled": false, "weight": 7 }))
    );
    expect!["2503.45 0.995: binance used, coinbase used, coingecko used"].assert_eq(&market.price().await);
    // Another process of the fleet reads the same.
    let other = crate::build(
        "data-providers",
        &crate::MarketPorts::without_pools(market.bench.world.ports()),
        &crate::ServersConfig::default(),
        crate::testing::shared(&market.bench.world),
    )
    .unwrap();
    expect!["7 enabled"].assert_eq(&other.health().await.checks[0].detail);
    let row: Value = serde_json::from_str(
        &market.bench.shown(&admin(), "set_source", json!({ "source": "kraken", "reset": true })).await,
    )
    .unwrap();
    assert_eq!((&row["enabled"], &row["weight"], &row["set"]), (&json!(true), &json!(2), &json!({})));
    for (arguments, want) in [
        (
            json!({ "source": "kraken" }),
            expect![
                "invalid_argument: nothing to change (give enabled, weight, base_url, requests_per_minute, stale_after_seconds, or reset)"
            ],
        ),
        (
            json!({ "source": "kraken", "change": { "weight": 0 } }),
            expect!["invalid_argument: weight of kraken is 0 (1 to 100)"],
        ),
        (
            json!({ "source": "chainlink", "change": { "base_url": "https://example.com" } }),
            expect![
                "invalid_argument: chainlink is read on the chain (base_url and requests_per_minute are for sources over HTTP)"
            ],
        ),
        (
            json!({ "source": "kraken", "change": { "base_url": "file:///etc/passwd" } }),
            expect!["invalid_argument: base_url of kraken: `file:///etc/passwd` is not a URL"],
        ),
    ] {
        market.bench.check("set_source", arguments, want).await;
    }
}

#[tokio::test]
async fn an_address_set_by_a_tool_does_not_lead_into_the_networks_behind_us() {
    let market = Market::new().await;
    let elsewhere = format!("http://{}/other", market.address);
    market
        .bench
        .shown(&admin(), "set_source", json!({ "source": "kraken", "change": { "base_url": elsewhere } }))
        .await;
    let shown = market
        .bench
        .shown(&admin(), "candles", json!({ "pair": "ETH/USD", "interval": "1h", "source": "kraken" }))
        .await;
    assert!(shown.starts_with("permission_denied: kraken: 127.0.0.1:") && shown.contains("private address"), "{shown}");
    assert!(market.asked.lock().is_empty());
}

#[tokio::test]
async fn candles_and_books_come_from_the_first_that_has_them() {
    let market = Market::new().await;
    market.refuse("/coinbase/", "500 Oops", "");
    market.answer("/kraken/0/public/OHLC", r#"{"error":[],"result":{"XETHZUSD":[[1794722400,"1","4","0.5","2","2","12.5",23],[1794726000,"2","3","1","2.5","2","1",2],[1794729600,"2.5","3","2","2","2","1",2]],"last":1}}"#);
    let expected = expect![[
        r#"{"pair":"ETH/USD","source":"kraken","instrument":"ETHUSD","interval":"1h","candles":[{"open_ms":1794726000000,"open":"2","high":"3","low":"1","close":"2.5","volume":"1","complete":true},{"open_ms":1794729600000,"open":"2.5","high":"3","low":"2","close":"2","volume":"1","complete":false}],"tried":["upstream: coinbase: status 500"]}"#
    ]];
    market.bench.check("candles", json!({ "pair": "ETH/USD", "interval": "1h", "limit": 2 }), expected).await;
    market.answer(
        "/binance/api/v3/depth",
        r#"{"lastUpdateId":1,"bids":[["99.9","1"],["99.8","2"]],"asks":[["100.1","3"],["100.2","4"]]}"#,
    );
    let expected = expect![[
        r#"{"pair":"ETH/USD","source":"binance","instrument":"ETHUSDT","bids":[{"price":"99.9","size":"1"}],"asks":[{"price":"100.1","size":"3"}],"mid":"100","spread_bps":20,"tried":[]}"#
    ]];
    market.bench.check("order_book", json!({ "pair": "ETH/USD", "levels": 1, "source": "binance" }), expected).await;
    market.answer("/binance/api/v3/depth", r#"{"bids":[["100.2","1"]],"asks":[["100.1","3"]]}"#);
    market
        .bench
        .check(
            "order_book",
            json!({ "pair": "ETH/USD", "source": "binance" }),
            expect!["upstream: binance: the book is crossed: 100.2 wanted, 100.1 offered"],
        )
        .await;
    market
        .bench
        .check(
            "order_book",
            json!({ "pair": "ETH/USD", "source": "coingecko" }),
            expect!["unsupported: coingecko: it has no order book"],
        )
        .await;
    market
        .bench
        .check(
            "order_book",
            json!({ "pair": "ETH/USD", "source": "chainlink" }),
            expect!["unsupported: chainlink is read on the chain"],
        )
        .await;
    market
        .bench
        .check(
            "candles",
            json!({ "pair": "ETH/USD", "interval": "1h", "limit": 5000 }),
            expect!["invalid_argument: limit is 5000 (1 to 1000)"],
        )
        .await;
}

#[tokio::test]
async fn currencies_by_the_central_banks_sheet() {
    let market = Market::new().await;
    market.answer(
        "/ecb/eurofxref-daily.xml",
        "<Cube time='2026-11-13'><Cube currency='USD' rate='1.25'/><Cube currency='GBP' rate='0.8'/></Cube>",
    );
    let shown =
        market.bench.shown(&viewer("ann"), "fx", json!({ "from": "GBP", "to": "USD", "amount": "100.50" })).await;
    let answer: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&answer["converted"], &answer["rate"]["price"], &answer["rate"]["lone"]),
        (&json!("157.03125"), &json!("1.5625"), &json!(true))
    );
    market.bench.world.clock.advance_ms(5 * 86_400_000);
    let stale = market.bench.shown(&viewer("ann"), "fx", json!({ "from": "EUR", "to": "USD" })).await;
    assert!(stale.starts_with("unavailable: no answer for EUR/USD that counts (stale: ecb)"), "{stale}");
    market
        .bench
        .check(
            "fx",
            json!({ "from": "EURO", "to": "USD" }),
            expect![[r#"invalid_argument: not a currency: "EURO" (three letters, like EUR)"#]],
        )
        .await;
    market.bench.check("fx", json!({ "from": "EUR", "to": "USD", "amount": "-1" }), expect![[r#"invalid_argument: arguments.amount: not a decimal number: "-1" (the tool's inputSchema says what it takes)"#]]).await;
}
