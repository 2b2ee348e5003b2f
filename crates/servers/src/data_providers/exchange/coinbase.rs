//! Coinbase Exchange: <https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products> (ticker, candles, book), its rate limits:
//! <https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits> (10 a second for an address, 15 at once; 429 beyond).

use kernel::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Book, Candle, Exchange, Get, Interval, Number, Symbols, Tick, at, json, seconds, sides, unknown};
use crate::when::rfc3339;

/// Most candles of one answer.
const CANDLES_MAX: u32 = 300;

/// See the module.
pub(super) struct Coinbase;

#[derive(Deserialize)]
struct Ticker {
    price: Number,
    time: String,
}

#[derive(Deserialize)]
struct Product {
    bids: Vec<Vec<Box<RawValue>>>,
    asks: Vec<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

fn instrument(pair: &Symbols) -> String {
    format!("{}-{}", pair.base, pair.quote)
}

impl Exchange for Coinbase {
    fn last(&self, pair: &Symbols) -> Result<Get, Fault> {
        let product = instrument(pair);
        Ok(Get::new(product.clone(), format!("/products/{product}/ticker")))
    }

    fn read_last(&self, pair: &Symbols, body: &[u8]) -> Result<Tick, Fault> {
        let ticker: Ticker = json(body)?;
        let at_ms = rfc3339(&ticker.time).ok_or_else(|| Fault::upstream(format!("{:?} is not a time", ticker.time)))?;
        Ok(Tick { price: ticker.price.0, at_ms, instrument: instrument(pair), note: None, problem: None })
    }

    fn candles(&self, pair: &Symbols, interval: Interval, limit: u32) -> Result<Get, Fault> {
        if matches!(interval, Interval::Minutes30 | Interval::Hours4) {
            return Err(
                Fault::unsupported(format!("it has no candles of {}", interval.as_str())).hint("1m, 5m, 15m, 1h or 1d")
            );
        }
        if limit > CANDLES_MAX {
            return Err(Fault::unsupported(format!("{limit} candles at once")).hint(format!("at most {CANDLES_MAX}")));
        }
        let product = instrument(pair);
        let path = format!("/products/{product}/candles?granularity={}", interval.minutes() * 60);
        Ok(Get::new(product, path))
    }

    /// Rows are time, low, high, open, close, volume; the newest first.
    fn read_candles(&self, body: &[u8]) -> Result<Vec<Candle>, Fault> {
        let rows: Vec<Vec<Box<RawValue>>> = json(body)?;
        rows.iter()
            .rev()
            .map(|row| {
                let number = |place| at::<Number>(row, place).map(|number| number.0);
                Ok(Candle {
                    open_ms: seconds(at(row, 0)?)?,
                    low: number(1)?,
                    high: number(2)?,
                    open: number(3)?,
                    close: number(4)?,
                    volume: Some(number(5)?),
                    complete: false,
                })
            })
            .collect()
    }

    fn book(&self, pair: &Symbols, _limit: u32) -> Result<Get, Fault> {
        let product = instrument(pair);
        Ok(Get::new(product.clone(), format!("/products/{product}/book?level=2")))
    }

    fn read_book(&self, body: &[u8]) -> Result<Book, Fault> {
        let product: Product = json(body)?;
        sides(&product.bids, &product.asks)
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Option<Fault> {
        if status == 200 {
            return None;
        }
        if status == 404 {
            return Some(unknown("such product"));
        }
        Some(match json::<Refusal>(body) {
            Ok(refusal) => Fault::upstream(format!("{} (status {status})", refusal.message)),
            Err(_) => Fault::upstream(format!("status {status}")),
        })
    }
}
