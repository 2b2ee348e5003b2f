//! `CoinGecko`: <https://docs.coingecko.com/reference/simple-price> and `coins-id-ohlc`; its limits:
//! <https://docs.coingecko.com/docs/common-errors-rate-limit>.
//!
//! Coins go by ids there, not by symbols, which are not unique: what has none in the table or the configuration is not asked for.

use std::collections::BTreeMap;

use kernel::Fault;
use serde_json::value::RawValue;

use super::{Candle, Exchange, Get, Interval, Number, Symbols, Tick, at, json, seconds, unknown};

/// Ids of widely held coins.
const IDS: [(&str, &str); 18] = [
    ("AAVE", "aave"),
    ("ADA", "cardano"),
    ("ARB", "arbitrum"),
    ("AVAX", "avalanche-2"),
    ("BNB", "binancecoin"),
    ("BTC", "bitcoin"),
    ("CRV", "curve-dao-token"),
    ("DAI", "dai"),
    ("DOGE", "dogecoin"),
    ("ETH", "ethereum"),
    ("LINK", "chainlink"),
    ("MKR", "maker"),
    ("SOL", "solana"),
    ("UNI", "uniswap"),
    ("USDC", "usd-coin"),
    ("USDT", "tether"),
    ("WBTC", "wrapped-bitcoin"),
    ("XRP", "ripple"),
];
/// Its figures move once a minute at most.
const KEEP_MS: i64 = 30_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(in crate::data_providers) struct Coingecko {
    /// Ids by symbol, beside the table's.
    pub(in crate::data_providers) ids: BTreeMap<String, String>,
}

impl Coingecko {
    fn id(&self, symbol: &str) -> Result<String, Fault> {
        let known = || IDS.iter().find(|(known, _)| *known == symbol).map(|(_, id)| (*id).to_owned());
        let id = self.ids.get(symbol).cloned().or_else(known);
        id.ok_or_else(|| {
            unknown("id that is known here").hint("`coingecko_ids` in the configuration gives symbols their ids")
        })
    }
}

impl Exchange for Coingecko {
    fn last(&self, pair: &Symbols) -> Result<Get, Fault> {
        let (id, quote) = (self.id(&pair.base)?, pair.quote.to_lowercase());
        let path = format!("/simple/price?ids={id}&vs_currencies={quote}&include_last_updated_at=true&precision=full");
        Ok(Get::new(id, path).kept(KEEP_MS))
    }

    /// An unknown id is an empty object, an unknown currency one without the price.
    fn read_last(&self, pair: &Symbols, body: &[u8]) -> Result<Tick, Fault> {
        let coins: BTreeMap<String, BTreeMap<String, Number>> = json(body)?;
        let id = self.id(&pair.base)?;
        let coin = coins.get(&id).ok_or_else(|| unknown("such coin"))?;
        let price = coin.get(&pair.quote.to_lowercase()).ok_or_else(|| unknown("such currency"))?.0;
        let at = coin.get("last_updated_at").ok_or_else(|| Fault::upstream("it does not say since when"))?;
        Ok(Tick { price, at_ms: seconds(*at)?, instrument: id, note: None, problem: None })
    }

    /// How long candles are hangs on how many days are asked for.
    fn candles(&self, pair: &Symbols, interval: Interval, _limit: u32) -> Result<Get, Fault> {
        let days = match interval {
            Interval::Minutes30 => 1,
            Interval::Hours4 => 30,
            other => {
                let what = format!("it has no candles of {}", other.as_str());
                return Err(Fault::unsupported(what).hint("30m or 4h"));
            }
        };
        let (id, quote) = (self.id(&pair.base)?, pair.quote.to_lowercase());
        let path = format!("/coins/{id}/ohlc?vs_currency={quote}&days={days}&precision=full");
        Ok(Get::new(id, path).kept(KEEP_MS))
    }

    /// Rows are the time in milliseconds at which it ends, open, high, low, close; the newest last.
    fn read_candles(&self, body: &[u8]) -> Result<Vec<Candle>, Fault> {
        let rows: Vec<Vec<Box<RawValue>>> = json(body)?;
        // The times are the ends; the step between two of them is a candle's length.
        let ends = rows.iter().map(|row| at::<i64>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let length_ms = ends.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(0);
        rows.iter()
            .zip(&ends)
            .map(|(row, end_ms)| {
                let number = |place| at::<Number>(row, place).map(|number| number.0);
                Ok(Candle {
                    open_ms: end_ms - length_ms,
                    open: number(1)?,
                    high: number(2)?,
                    low: number(3)?,
                    close: number(4)?,
                    volume: None,
                    complete: false,
                })
            })
            .collect()
    }

    fn refusal(&self, status: u16, _body: &[u8]) -> Option<Fault> {
        match status {
            200 => None,
            404 => Some(unknown("such coin")),
            other => Some(Fault::upstream(format!("status {other}"))),
        }
    }
}
