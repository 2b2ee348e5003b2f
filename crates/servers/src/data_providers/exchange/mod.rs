//! Sources over HTTP: what each is asked, and how what it says is read. Pure: [`client`] does the asking.

mod binance;
pub(super) mod client;
mod coinbase;
mod coingecko;
mod ecb;
mod kraken;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kernel::{Decimal, Fault, UnixMs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::pair::Symbols;
use super::source::{Book, Candle, Interval, Level, SourceName, Tick};

pub(super) use coingecko::Coingecko;

/// A request to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Get {
    /// What follows the source's address.
    pub(super) path: String,
    /// What it costs of the source's limit.
    pub(super) cost: u32,
    /// What it is about, in the source's words.
    pub(super) instrument: String,
    /// How long the answer may be used again, in milliseconds.
    pub(super) keep_ms: i64,
}

impl Get {
    fn new(instrument: String, path: String) -> Self {
        Self { path, cost: 1, instrument, keep_ms: 0 }
    }

    fn costing(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    fn kept(self, keep_ms: i64) -> Self {
        Self { keep_ms, ..self }
    }
}

/// A source over HTTP.
pub(super) trait Exchange: Send + Sync {
    /// Asks for the last price.
    fn last(&self, pair: &Symbols) -> Result<Get, Fault>;

    /// Reads it.
    fn read_last(&self, pair: &Symbols, body: &[u8]) -> Result<Tick, Fault>;

    /// Asks for the newest candles, `limit` of them if it can be said.
    fn candles(&self, _pair: &Symbols, _interval: Interval, _limit: u32) -> Result<Get, Fault> {
        Err(Fault::unsupported("it has no candles"))
    }

    /// Reads them, the oldest first. Whether they are complete is seen later.
    fn read_candles(&self, _body: &[u8]) -> Result<Vec<Candle>, Fault> {
        Err(Fault::unsupported("it has no candles"))
    }

    /// Asks for the order book, `limit` levels of each side if it can be said.
    fn book(&self, _pair: &Symbols, _limit: u32) -> Result<Get, Fault> {
        Err(Fault::unsupported("it has no order book"))
    }

    /// Reads it, the best first.
    fn read_book(&self, _body: &[u8]) -> Result<Book, Fault> {
        Err(Fault::unsupported("it has no order book"))
    }

    /// What an answer that is none says; `None` when it is one. 403, 418, 429, 451 and 5xx are seen to before.
    fn refusal(&self, status: u16, body: &[u8]) -> Option<Fault>;

    /// How much of the limit is used up by its own count, as its headers say.
    fn used(&self, _headers: &http::HeaderMap) -> Option<u32> {
        None
    }
}

/// What asks and reads for this source; `None` for those on the chain.
pub(super) fn of(source: SourceName, coingecko: &Coingecko) -> Option<Box<dyn Exchange>> {
    match source {
        SourceName::Binance => Some(Box::new(binance::Binance)),
        SourceName::Coinbase => Some(Box::new(coinbase::Coinbase)),
        SourceName::Kraken => Some(Box::new(kraken::Kraken)),
        SourceName::Coingecko => Some(Box::new(coingecko.clone())),
        SourceName::Ecb => Some(Box::new(ecb::Ecb)),
        SourceName::Chainlink | SourceName::UniswapV3 | SourceName::UniswapV2 => None,
    }
}

/// A number as JSON has it, in quotes or bare, without a detour over floating point.
#[derive(Debug, Clone, Copy)]
struct Number(Decimal);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        raw.get().trim_matches('"').parse().map(Self).map_err(|fault: Fault| de::Error::custom(fault.message))
    }
}

/// A JSON body.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::upstream(format!("not the answer that is documented: {error}")))
}

/// One value of a list whose values are of several kinds.
fn at<T: DeserializeOwned>(row: &[Box<RawValue>], place: usize) -> Result<T, Fault> {
    let value = row.get(place).ok_or_else(|| Fault::upstream(format!("a row has no value {place}")))?;
    serde_json::from_str(value.get()).map_err(|error| Fault::upstream(format!("value {place} of a row: {error}")))
}

/// Seconds since the Unix epoch, with or without a fraction, in milliseconds.
fn seconds(time: Number) -> Result<UnixMs, Fault> {
    let ms = time.0.in_units(3).and_then(|ms| i64::try_from(ms.0).ok());
    ms.ok_or_else(|| Fault::upstream("a time beyond all calendars"))
}

/// A level that is a list of price and size, and perhaps more.
fn level(row: &[Box<RawValue>]) -> Result<Level, Fault> {
    Ok(Level { price: at::<Number>(row, 0)?.0, size: at::<Number>(row, 1)?.0 })
}

/// Both sides as lists of levels.
fn sides(bids: &[Vec<Box<RawValue>>], asks: &[Vec<Box<RawValue>>]) -> Result<Book, Fault> {
    let side = |rows: &[Vec<Box<RawValue>>]| rows.iter().map(|row| level(row)).collect::<Result<_, _>>();
    Ok(Book { bids: side(bids)?, asks: side(asks)? })
}

/// Nothing of that pair there.
fn unknown(what: &str) -> Fault {
    Fault::not_found(format!("it has no {what}"))
}

/// The one value of an object that is not called `last`.
fn only(result: BTreeMap<String, Box<RawValue>>) -> Result<Box<RawValue>, Fault> {
    let found = result.into_iter().find(|(name, _)| name != "last");
    found.map(|(_, value)| value).ok_or_else(|| Fault::upstream("an empty result"))
}
