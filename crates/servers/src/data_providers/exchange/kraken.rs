//! Kraken, spot: <https://docs.kraken.com/api/docs/rest-api/get-recent-trades>, `get-ohlc-data`, `get-order-book`.
//!
//! Refusals come with status 200 and a list of errors (<https://docs.kraken.com/api/docs/guides/spot-errors>). One request a second is
//! within the limits of its public part.

use std::collections::BTreeMap;

use kernel::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Book, Candle, Exchange, Get, Interval, Number, Symbols, Tick, at, json, only, seconds, sides, unknown};

/// Most levels of each side.
const LEVELS_MAX: u32 = 500;

/// See the module.
pub(super) struct Kraken;

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    error: Vec<String>,
    #[serde(default)]
    result: Option<BTreeMap<String, Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Depth {
    bids: Vec<Vec<Box<RawValue>>>,
    asks: Vec<Vec<Box<RawValue>>>,
}

/// Kraken's own words for some.
fn asset(symbol: &str) -> &str {
    match symbol {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

fn instrument(pair: &Symbols) -> String {
    format!("{}{}", asset(&pair.base), asset(&pair.quote))
}

fn result(body: &[u8]) -> Result<Box<RawValue>, Fault> {
    let envelope: Envelope = json(body)?;
    only(envelope.result.ok_or_else(|| Fault::upstream("neither a result nor an error"))?)
}

fn rows(body: &[u8]) -> Result<Vec<Vec<Box<RawValue>>>, Fault> {
    json(result(body)?.get().as_bytes())
}

impl Exchange for Kraken {
    fn last(&self, pair: &Symbols) -> Result<Get, Fault> {
        let pair = instrument(pair);
        Ok(Get::new(pair.clone(), format!("/0/public/Trades?pair={pair}&count=1")))
    }

    /// Rows are price, volume, time, side, kind, and more; the newest last.
    fn read_last(&self, pair: &Symbols, body: &[u8]) -> Result<Tick, Fault> {
        let rows = rows(body)?;
        let trade = rows.last().ok_or_else(|| Fault::upstream("it names no trade"))?;
        let at_ms = seconds(at(trade, 2)?)?;
        Ok(Tick { price: at::<Number>(trade, 0)?.0, at_ms, instrument: instrument(pair), note: None, problem: None })
    }

    fn candles(&self, pair: &Symbols, interval: Interval, _limit: u32) -> Result<Get, Fault> {
        let pair = instrument(pair);
        Ok(Get::new(pair.clone(), format!("/0/public/OHLC?pair={pair}&interval={}", interval.minutes())))
    }

    /// Rows are time, open, high, low, close, mean price, volume, count; the newest last.
    fn read_candles(&self, body: &[u8]) -> Result<Vec<Candle>, Fault> {
        rows(body)?
            .iter()
            .map(|row| {
                let number = |place| at::<Number>(row, place).map(|number| number.0);
                Ok(Candle {
                    open_ms: seconds(at(row, 0)?)?,
                    open: number(1)?,
                    high: number(2)?,
                    low: number(3)?,
                    close: number(4)?,
                    volume: Some(number(6)?),
                    complete: false,
                })
            })
            .collect()
    }

    fn book(&self, pair: &Symbols, limit: u32) -> Result<Get, Fault> {
        let pair = instrument(pair);
        Ok(Get::new(pair.clone(), format!("/0/public/Depth?pair={pair}&count={}", limit.min(LEVELS_MAX))))
    }

    fn read_book(&self, body: &[u8]) -> Result<Book, Fault> {
        let depth: Depth = json(result(body)?.get().as_bytes())?;
        sides(&depth.bids, &depth.asks)
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Option<Fault> {
        let Ok(envelope) = json::<Envelope>(body) else {
            return Some(Fault::upstream(format!("status {status}, and no answer of its kind")));
        };
        // Those that begin with W are warnings.
        let error = envelope.error.iter().find(|error| error.starts_with('E'))?;
        Some(match error.as_str() {
            "EQuery:Unknown asset pair" | "EQuery:Invalid asset pair" => unknown("such pair"),
            limit if limit.contains("Too many requests") || limit.contains("Rate limit") => {
                Fault::new(kernel::Code::RateLimited, limit)
            }
            other => Fault::upstream(other),
        })
    }
}
