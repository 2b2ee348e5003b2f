//! Binance, spot: <https://developers.binance.com/docs/binance-spot-api-docs/rest-api> (market data endpoints; limits).
//!
//! 6,000 of weight a minute for an address; `X-MBX-USED-WEIGHT-1M` says how much is used. 429 says to wait, 418 that one has not.
//! Dollars are not traded there: USDT stands for them, and the answer says so.

use kernel::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Book, Candle, Exchange, Get, Interval, Number, Symbols, Tick, at, json, sides, unknown};

/// See the module.
pub(super) struct Binance;

#[derive(Deserialize)]
struct Trade {
    #[serde(rename = "p")]
    price: Number,
    #[serde(rename = "T")]
    at_ms: i64,
}

#[derive(Deserialize)]
struct Depth {
    bids: Vec<Vec<Box<RawValue>>>,
    asks: Vec<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    msg: String,
}

/// The code of a symbol that is not there.
const INVALID_SYMBOL: i64 = -1_121;

fn instrument(pair: &Symbols) -> String {
    format!("{}{}", pair.base, if pair.quote == "USD" { "USDT" } else { &pair.quote })
}

impl Exchange for Binance {
    fn last(&self, pair: &Symbols) -> Result<Get, Fault> {
        let symbol = instrument(pair);
        Ok(Get::new(symbol.clone(), format!("/api/v3/aggTrades?symbol={symbol}&limit=1")).costing(4))
    }

    fn read_last(&self, pair: &Symbols, body: &[u8]) -> Result<Tick, Fault> {
        let trades: Vec<Trade> = json(body)?;
        let trade = trades.last().ok_or_else(|| Fault::upstream("it names no trade"))?;
        let note = (pair.quote == "USD").then(|| "USDT stands for USD".to_owned());
        Ok(Tick { price: trade.price.0, at_ms: trade.at_ms, instrument: instrument(pair), note, problem: None })
    }

    fn candles(&self, pair: &Symbols, interval: Interval, limit: u32) -> Result<Get, Fault> {
        let symbol = instrument(pair);
        let path = format!("/api/v3/klines?symbol={symbol}&interval={}&limit={limit}", interval.as_str());
        Ok(Get::new(symbol, path).costing(2))
    }

    fn read_candles(&self, body: &[u8]) -> Result<Vec<Candle>, Fault> {
        let rows: Vec<Vec<Box<RawValue>>> = json(body)?;
        rows.iter()
            .map(|row| {
                let number = |place| at::<Number>(row, place).map(|number| number.0);
                Ok(Candle {
                    open_ms: at(row, 0)?,
                    open: number(1)?,
                    high: number(2)?,
                    low: number(3)?,
                    close: number(4)?,
                    volume: Some(number(5)?),
                    complete: false,
                })
            })
            .collect()
    }

    fn book(&self, pair: &Symbols, limit: u32) -> Result<Get, Fault> {
        let symbol = instrument(pair);
        let cost = match limit {
            ..=100 => 5,
            101..=500 => 25,
            _ => 50,
        };
        Ok(Get::new(symbol.clone(), format!("/api/v3/depth?symbol={symbol}&limit={limit}")).costing(cost))
    }

    fn read_book(&self, body: &[u8]) -> Result<Book, Fault> {
        let depth: Depth = json(body)?;
        sides(&depth.bids, &depth.asks)
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Option<Fault> {
        if status == 200 {
            return None;
        }
        Some(match json::<Refusal>(body) {
            Ok(refusal) if refusal.code == INVALID_SYMBOL => unknown("such symbol"),
            Ok(refusal) => Fault::upstream(format!("{} ({})", refusal.msg, refusal.code)),
            Err(_) => Fault::upstream(format!("status {status}")),
        })
    }

    fn used(&self, headers: &http::HeaderMap) -> Option<u32> {
        headers.get("x-mbx-used-weight-1m")?.to_str().ok()?.parse().ok()
    }
}
