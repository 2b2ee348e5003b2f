//! The sources: their names, what is set for each, and what they answer.

use std::fmt;

use kernel::{Decimal, Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many significant digits a price that was divided keeps.
pub(super) const PRICE_DIGITS: u8 = 18;

/// Where prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceName {
    /// Chainlink's feeds, read on the chain.
    Chainlink,
    /// Uniswap V3 pools: a mean over time, from their own observations.
    UniswapV3,
    /// Uniswap V2 pairs and those of forks: the reserves now.
    UniswapV2,
    /// Binance's spot market.
    Binance,
    /// Coinbase Exchange.
    Coinbase,
    /// Kraken's spot market.
    Kraken,
    /// `CoinGecko`'s figures over many exchanges.
    Coingecko,
    /// The European Central Bank's reference rates: currencies, once each working day.
    Ecb,
}

impl SourceName {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 8] = [
        Self::Chainlink,
        Self::UniswapV3,
        Self::UniswapV2,
        Self::Binance,
        Self::Coinbase,
        Self::Kraken,
        Self::Coingecko,
        Self::Ecb,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chainlink => "chainlink",
            Self::UniswapV3 => "uniswap-v3",
            Self::UniswapV2 => "uniswap-v2",
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
            Self::Coingecko => "coingecko",
            Self::Ecb => "ecb",
        }
    }

    /// Whether it is read on the chain; the others are asked over HTTP.
    pub fn on_chain(self) -> bool {
        matches!(self, Self::Chainlink | Self::UniswapV3 | Self::UniswapV2)
    }

    /// What holds for it unless the configuration or an administrator says otherwise.
    pub(super) fn defaults(self) -> Settings {
        let (base_url, per_minute, burst, weight, stale_after_seconds) = match self {
            // A feed has a heartbeat of its own, which is checked beside this.
            Self::Chainlink => ("", 0, 0, 3, 86_400 + 3_600),
            Self::UniswapV3 => ("", 0, 0, 2, 300),
            // One block's reserves can be moved by one trade: it counts less.
            Self::UniswapV2 => ("", 0, 0, 1, 300),
            // 6,000 of weight a minute for an address; half of it, because others may share it.
            Self::Binance => ("https://api.binance.com", 3_000, 3_000, 2, 60),
            // 10 a second, 15 at once.
            Self::Coinbase => ("https://api.exchange.coinbase.com", 600, 15, 2, 60),
            // 1 a second.
            Self::Kraken => ("https://api.kraken.com", 60, 5, 2, 120),
            // Without a key the limit moves between 5 and 15 a minute.
            Self::Coingecko => ("https://api.coingecko.com/api/v3", 10, 5, 1, 300),
            // Rates stand over weekends and holidays: Easter takes four days.
            Self::Ecb => ("https://www.ecb.europa.eu/stats/eurofxref", 6, 3, 1, 5 * 86_400),
        };
        Settings { enabled: true, weight, base_url: base_url.into(), per_minute, burst, stale_after_seconds }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What holds for a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) enabled: bool,
    /// How much its answer counts among the others'.
    pub(super) weight: u32,
    /// Without a slash at the end.
    pub(super) base_url: String,
    /// Requests a minute; for Binance, weight.
    pub(super) per_minute: u32,
    /// Of them, at once.
    pub(super) burst: u32,
    pub(super) stale_after_seconds: u32,
}

/// What is changed of a source's settings; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceChange {
    /// Whether it is asked at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How much its answer counts among the others': 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Where it answers, like `https://api.example.com`; only for sources over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Most requests to it in a minute, 1 to 100,000; for Binance their weight. Only for sources over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// After how long an answer of its is stale, in seconds: 1 to 2,592,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_after_seconds: Option<u32>,
}

impl SourceChange {
    /// # Errors
    /// When a figure is out of its bounds, the address is none, or the source has no such setting.
    pub(super) fn check(&self, source: SourceName) -> Result<(), Fault> {
        let bounds = [
            ("weight", self.weight, 100),
            ("requests_per_minute", self.requests_per_minute, 100_000),
            ("stale_after_seconds", self.stale_after_seconds, 30 * 86_400),
        ];
        for (name, value, max) in bounds {
            if value.is_some_and(|value| value == 0 || value > max) {
                return Err(
                    Fault::invalid(format!("{name} of {source} is {}", value.unwrap_or(0))).hint(format!("1 to {max}"))
                );
            }
        }
        if source.on_chain() && (self.base_url.is_some() || self.requests_per_minute.is_some()) {
            return Err(Fault::invalid(format!("{source} is read on the chain"))
                .hint("base_url and requests_per_minute are for sources over HTTP"));
        }
        if let Some(url) = &self.base_url {
            let parsed =
                url.parse().map_err(|_| Fault::invalid(format!("base_url of {source}: `{url}` is not a URL")))?;
            crate::outbound::host_port(&parsed)?;
            if parsed.query().is_some() {
                return Err(
                    Fault::invalid(format!("base_url of {source} has a query")).hint("like https://api.example.com")
                );
            }
        }
        Ok(())
    }

    /// These settings with the change made.
    pub(super) fn made(&self, mut settings: Settings) -> Settings {
        settings.enabled = self.enabled.unwrap_or(settings.enabled);
        settings.weight = self.weight.unwrap_or(settings.weight);
        settings.stale_after_seconds = self.stale_after_seconds.unwrap_or(settings.stale_after_seconds);
        if let Some(per_minute) = self.requests_per_minute {
            settings.per_minute = per_minute;
            settings.burst = settings.burst.min(per_minute);
        }
        if let Some(url) = &self.base_url {
            settings.base_url = url.trim_end_matches('/').to_owned();
        }
        settings
    }

    /// This change, and what `later` changes after it.
    pub(super) fn and(self, later: Self) -> Self {
        Self {
            enabled: later.enabled.or(self.enabled),
            weight: later.weight.or(self.weight),
            base_url: later.base_url.or(self.base_url),
            requests_per_minute: later.requests_per_minute.or(self.requests_per_minute),
            stale_after_seconds: later.stale_after_seconds.or(self.stale_after_seconds),
        }
    }
}

/// A price as a source gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) price: Decimal,
    /// When it was true.
    pub(super) at_ms: UnixMs,
    /// What it is a price of, in the source's words: `ETHUSDT`, a feed's or a pool's address.
    pub(super) instrument: String,
    /// What one should know of it.
    pub(super) note: Option<String>,
    /// What makes it unfit, though it was given.
    pub(super) problem: Option<String>,
}

/// One candle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candle {
    /// When it opens, in milliseconds since the Unix epoch.
    pub open_ms: UnixMs,
    /// The first price in it.
    pub open: Decimal,
    /// The highest.
    pub high: Decimal,
    /// The lowest.
    pub low: Decimal,
    /// The last.
    pub close: Decimal,
    /// How much of the base asset was traded, in whole units; absent where the source does not say.
    pub volume: Option<Decimal>,
    /// Whether its time is over, so that it changes no more.
    pub complete: bool,
}

/// Orders at one price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// The price.
    pub price: Decimal,
    /// How much of the base asset is offered or wanted there, in whole units.
    pub size: Decimal,
}

/// Both sides of an order book, the best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Book {
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
}

/// How long a candle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Interval {
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    Minutes5,
    /// Fifteen minutes.
    #[serde(rename = "15m")]
    Minutes15,
    /// Half an hour.
    #[serde(rename = "30m")]
    Minutes30,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// Four hours.
    #[serde(rename = "4h")]
    Hours4,
    /// A day.
    #[serde(rename = "1d")]
    Day,
}

impl Interval {
    pub(super) fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Minutes5 => 5,
            Self::Minutes15 => 15,
            Self::Minutes30 => 30,
            Self::Hour => 60,
            Self::Hours4 => 240,
            Self::Day => 1_440,
        }
    }

    pub(super) fn ms(self) -> i64 {
        i64::from(self.minutes()) * 60_000
    }

    /// As it is written here and by Binance.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Minutes5 => "5m",
            Self::Minutes15 => "15m",
            Self::Minutes30 => "30m",
            Self::Hour => "1h",
            Self::Hours4 => "4h",
            Self::Day => "1d",
        }
    }
}
