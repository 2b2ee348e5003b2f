//! What each source is asked and how its documented answers are read. The samples have the shapes of the pages that the modules name.

use expect_test::{Expect, expect};

use super::*;

fn exchange(source: SourceName) -> Box<dyn Exchange> {
    of(source, &Coingecko::default()).unwrap()
}

fn pair(text: &str) -> Symbols {
    let (base, quote) = text.split_once('/').unwrap();
    Symbols { base: base.into(), quote: quote.into() }
}

fn told<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> String {
    outcome.map_or_else(|fault| fault.to_string(), |value| format!("{value:?}"))
}

/// What is asked for the last price, and what is read from `body`.
fn last(source: SourceName, text: &str, body: &str, expected: Expect) {
    let (exchange, pair) = (exchange(source), pair(text));
    let asked = exchange.last(&pair).map(|get| format!("{} ({})", get.path, get.cost));
    let read = exchange.read_last(&pair, body.as_bytes()).map(|tick| {
        format!(
            "{} of {} at {}{}",
            tick.price,
            tick.instrument,
            tick.at_ms,
            tick.note.map(|note| format!(", {note}")).unwrap_or_default()
        )
    });
    expected.assert_eq(&format!(
        "{}\n{}",
        asked.unwrap_or_else(|fault| fault.to_string()),
        read.unwrap_or_else(|fault| fault.to_string())
    ));
}

#[test]
fn last_trades() {
    use SourceName::{Binance, Coinbase, Kraken};
    let trade =
        r#"[{"a":26129,"p":"2503.41000000","q":"4.70443515","f":27781,"l":27781,"T":1794729599153,"m":true,"M":true}]"#;
    last(
        Binance,
        "ETH/USD",
        trade,
        expect![[r#"
        /api/v3/aggTrades?symbol=ETHUSDT&limit=1 (4)
        2503.41 of ETHUSDT at 1794729599153, USDT stands for USD"#]],
    );
    last(
        Binance,
        "ETH/BTC",
        "[]",
        expect![[r#"
        /api/v3/aggTrades?symbol=ETHBTC&limit=1 (4)
        upstream: it names no trade"#]],
    );
    let ticker = r#"{"ask":"2503.5","bid":"2503.4","volume":"1.5","trade_id":86326522,"price":"2503.45","size":"0.00698254","time":"2026-11-15T07:59:58.097724Z","rfq_volume":"1"}"#;
    last(
        Coinbase,
        "ETH/USD",
        ticker,
        expect![[r#"
        /products/ETH-USD/ticker (1)
        2503.45 of ETH-USD at 1794729598097"#]],
    );
    last(
        Coinbase,
        "ETH/USD",
        r#"{"price":"1","time":"yesterday"}"#,
        expect![[r#"
        /products/ETH-USD/ticker (1)
        upstream: "yesterday" is not a time"#]],
    );
    let trades = r#"{"error":[],"result":{"XXBTZUSD":[["68243.10000","0.00051170",1794729597.8277369,"b","m","",61044952]],"last":"1794729597827736900"}}"#;
    last(
        Kraken,
        "BTC/USD",
        trades,
        expect![[r#"
        /0/public/Trades?pair=XBTUSD&count=1 (1)
        68243.1 of XBTUSD at 1794729597828"#]],
    );
    last(
        Kraken,
        "ETH/USD",
        r#"{"error":[],"result":{"last":"1"}}"#,
        expect![[r#"
        /0/public/Trades?pair=ETHUSD&count=1 (1)
        upstream: an empty result"#]],
    );
}

#[test]
fn last_figures() {
    use SourceName::{Coingecko, Ecb};
    let simple = r#"{"ethereum":{"usd":2503.4121398217e0,"last_updated_at":1794729560}}"#;
    last(
        Coingecko,
        "ETH/USD",
        simple,
        expect![[r#"
        /simple/price?ids=ethereum&vs_currencies=usd&include_last_updated_at=true&precision=full (1)
        2503.4121398217 of ethereum at 1794729560000"#]],
    );
    last(
        Coingecko,
        "ETH/XYZ",
        r#"{"ethereum":{"last_updated_at":1794729560}}"#,
        expect![[r#"
        /simple/price?ids=ethereum&vs_currencies=xyz&include_last_updated_at=true&precision=full (1)
        not_found: it has no such currency"#]],
    );
    last(
        Coingecko,
        "SCAM/USD",
        "{}",
        expect![[r#"
        not_found: it has no id that is known here (`coingecko_ids` in the configuration gives symbols their ids)
        not_found: it has no id that is known here (`coingecko_ids` in the configuration gives symbols their ids)"#]],
    );
    let sheet = r#"<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
  <gesmes:subject>Reference rates</gesmes:subject>
  <Cube><Cube time='2026-11-13'>
    <Cube currency='USD' rate='1.0855'/>
    <Cube currency="JPY" rate="163.21"/>
  </Cube></Cube>
</gesmes:Envelope>"#;
    last(
        Ecb,
        "EUR/USD",
        sheet,
        expect![[r#"
        /eurofxref-daily.xml (1)
        1.0855 of EUR/USD at 1794575700000, a reference rate, set once each working day"#]],
    );
    last(
        Ecb,
        "USD/JPY",
        sheet,
        expect![[r#"
            /eurofxref-daily.xml (1)
            150.354675264854906 of USD/JPY at 1794575700000, a reference rate, crossed over EUR"#]],
    );
    last(
        Ecb,
        "ETH/USD",
        sheet,
        expect![[r#"
            not_found: it has no such currency
            not_found: it has no such currency"#]],
    );
    last(
        Ecb,
        "USDC/USD",
        "<html>",
        expect![[r#"
        not_found: it has no such currency
        upstream: not the sheet of rates that is documented: it has no date"#]],
    );
}

fn candles(source: SourceName, interval: Interval, body: &str, expected: Expect) {
    let exchange = exchange(source);
    let asked = exchange.candles(&pair("ETH/USD"), interval, 2).map(|get| get.path);
    let show = |candle: &Candle| {
        let Candle { open_ms, open, high, low, close, volume, .. } = candle;
        format!("{open_ms}: {open} {high} {low} {close} {volume:?}")
    };
    let read = exchange.read_candles(body.as_bytes()).map(|all| all.iter().map(show).collect::<Vec<_>>().join("\n"));
    expected.assert_eq(&format!(
        "{}\n{}",
        asked.unwrap_or_else(|fault| fault.to_string()),
        read.unwrap_or_else(|fault| fault.to_string())
    ));
}

#[test]
fn candles_are_read_the_oldest_first() {
    use SourceName::{Binance, Coinbase, Coingecko, Ecb, Kraken};
    let klines = r#"[[1794722400000,"2500.1","2510.0","2490.5","2503.4","148976.11",1794725999999,"2434.19",308,"1756.87","28.46","0"]]"#;
    candles(
        Binance,
        Interval::Hour,
        klines,
        expect![[r#"
        /api/v3/klines?symbol=ETHUSDT&interval=1h&limit=2
        1794722400000: 2500.1 2510 2490.5 2503.4 Some(148976.11)"#]],
    );
    let rows = "[[1794726000,2490.5,2510.0,2500.1,2503.4,148.5],[1794722400,2480,2505.5,2481.25,2500.1,99]]";
    candles(
        Coinbase,
        Interval::Hour,
        rows,
        expect![[r#"
        /products/ETH-USD/candles?granularity=3600
        1794722400000: 2481.25 2505.5 2480 2500.1 Some(99)
        1794726000000: 2500.1 2510 2490.5 2503.4 Some(148.5)"#]],
    );
    candles(
        Coinbase,
        Interval::Hours4,
        "[]",
        expect![[r#"
        unsupported: it has no candles of 4h (1m, 5m, 15m, 1h or 1d)
        "#]],
    );
    let ohlc = r#"{"error":[],"result":{"XETHZUSD":[[1794722400,"2500.1","2510.0","2490.5","2503.4","2501.7","12.5",23]],"last":1794722400}}"#;
    candles(
        Kraken,
        Interval::Hours4,
        ohlc,
        expect![[r#"
        /0/public/OHLC?pair=ETHUSD&interval=240
        1794722400000: 2500.1 2510 2490.5 2503.4 Some(12.5)"#]],
    );
    let ohlc = "[[1794724200000,2500.1,2510,2490.5,2503.4],[1794726000000,2503.4,2504,2502,2503]]";
    candles(
        Coingecko,
        Interval::Minutes30,
        ohlc,
        expect![[r#"
        /coins/ethereum/ohlc?vs_currency=usd&days=1&precision=full
        1794722400000: 2500.1 2510 2490.5 2503.4 None
        1794724200000: 2503.4 2504 2502 2503 None"#]],
    );
    candles(
        Coingecko,
        Interval::Minute,
        r#"[[1]]"#,
        expect![[r#"
        unsupported: it has no candles of 1m (30m or 4h)
        upstream: a row has no value 1"#]],
    );
    candles(
        Ecb,
        Interval::Day,
        "",
        expect![[r#"
        unsupported: it has no candles
        unsupported: it has no candles"#]],
    );
}

fn book(source: SourceName, levels: u32, body: &str, expected: Expect) {
    let exchange = exchange(source);
    let asked = exchange.book(&pair("ETH/USD"), levels).map(|get| format!("{} ({})", get.path, get.cost));
    let show = |side: &[Level]| {
        side.iter().map(|level| format!("{}@{}", level.size, level.price)).collect::<Vec<_>>().join(" ")
    };
    let read = exchange.read_book(body.as_bytes()).map(|book| format!("{} | {}", show(&book.bids), show(&book.asks)));
    expected.assert_eq(&format!(
        "{}\n{}",
        asked.unwrap_or_else(|fault| fault.to_string()),
        read.unwrap_or_else(|fault| fault.to_string())
    ));
}

#[test]
fn books_are_read_the_best_first() {
    use SourceName::{Binance, Coinbase, Coingecko, Kraken};
    let depth = r#"{"lastUpdateId":1027024,"bids":[["2503.40","431.0"],["2503.39","1"]],"asks":[["2503.50","12.5"]]}"#;
    book(
        Binance,
        500,
        depth,
        expect![[r#"
        /api/v3/depth?symbol=ETHUSDT&limit=500 (25)
        431@2503.4 1@2503.39 | 12.5@2503.5"#]],
    );
    let product = r#"{"bids":[["2503.4","1.5",3]],"asks":[["2503.5","2",1]],"sequence":13051505638,"auction_mode":false,"auction":null,"time":"2026-11-15T08:00:00Z"}"#;
    book(
        Coinbase,
        20,
        product,
        expect![[r#"
        /products/ETH-USD/book?level=2 (1)
        1.5@2503.4 | 2@2503.5"#]],
    );
    let depth = r#"{"error":[],"result":{"XETHZUSD":{"asks":[["2503.50000","1.521",1794729597]],"bids":[["2503.40000","0.3",1794729597]]}}}"#;
    book(
        Kraken,
        1_000,
        depth,
        expect![[r#"
        /0/public/Depth?pair=ETHUSD&count=500 (1)
        0.3@2503.4 | 1.521@2503.5"#]],
    );
    book(
        Coingecko,
        5,
        "",
        expect![[r#"
        unsupported: it has no order book
        unsupported: it has no order book"#]],
    );
}

#[test]
fn refusals_are_told_apart() {
    use SourceName::{Binance, Coinbase, Coingecko, Ecb, Kraken};
    for (source, status, body, want) in [
        (Binance, 200, "[]", "None"),
        (Binance, 400, r#"{"code":-1121,"msg":"Invalid symbol."}"#, "not_found: it has no such symbol"),
        (Binance, 400, r#"{"code":-1100,"msg":"Illegal characters."}"#, "upstream: Illegal characters. (-1100)"),
        (Binance, 404, "<html>", "upstream: status 404"),
        (Coinbase, 404, r#"{"message":"NotFound"}"#, "not_found: it has no such product"),
        (Coinbase, 400, r#"{"message":"Unsupported granularity"}"#, "upstream: Unsupported granularity (status 400)"),
        (Kraken, 200, r#"{"error":["EQuery:Unknown asset pair"]}"#, "not_found: it has no such pair"),
        (Kraken, 200, r#"{"error":["EGeneral:Too many requests"]}"#, "rate_limited: EGeneral:Too many requests"),
        (Kraken, 200, r#"{"error":["WGeneral:slow"],"result":{}}"#, "None"),
        (Kraken, 200, r#"{"error":["EService:Unavailable"]}"#, "upstream: EService:Unavailable"),
        (Kraken, 200, "<html>", "upstream: status 200, and no answer of its kind"),
        (Coingecko, 404, r#"{"error":"coin not found"}"#, "not_found: it has no such coin"),
        (Coingecko, 401, "", "upstream: status 401"),
        (Ecb, 302, "", "upstream: status 302"),
    ] {
        let refusal = exchange(source).refusal(status, body.as_bytes());
        assert_eq!(refusal.map_or("None".into(), |fault| fault.to_string()), want, "{source} {status} {body}");
    }
}

#[test]
fn what_is_not_documented_is_no_price() {
    for source in SourceName::ALL.into_iter().filter(|source| !source.on_chain()) {
        let exchange = exchange(source);
        for body in [
            "",
            "null",
            "{}",
            "[]",
            "[[]]",
            "[1]",
            r#"{"result":{"A":[["x"]]}}"#,
            r#"{"price":-1,"time":"2026-11-15T08:00:00Z"}"#,
            "\u{0}\u{0}",
        ] {
            let text = told(exchange.read_last(&pair("ETH/USD"), body.as_bytes()));
            assert!(text.starts_with("upstream") || text.starts_with("not_found"), "{source} {body}: {text}");
            let _ = (exchange.read_candles(body.as_bytes()), exchange.read_book(body.as_bytes()));
        }
    }
}
