//! `data-providers`: what assets are worth, by oracles and pools on the chain and by exchanges.
//!
//! One [`Engine`] per process asks the sources and [judges](aggregate) their answers; it is also the fleet's [`Prices`](kernel::prices::Prices)
//! port. Exchanges are asked over HTTP by the shapes that they document (each module of [`exchange`] names its page), within their limits.
//! What administrators set of a source is in the store and holds for every process.
//!
//! Invariants: prices are decimals, exact as they were given, never floating point. A stale answer never counts, a lone or disputed price
//! says so, and a source that fails is its own error, not the tool's, while others answer. A token's word for itself is not believed. On
//! the sandbox, play money and real money are never mixed.

mod aggregate;
mod chainlink;
mod engine;
mod exchange;
mod exchanges;
mod fx;
mod gas;
mod onchain;
mod pair;
mod pools;
mod price;
mod source;
mod sources;
#[cfg(test)]
mod tests;
mod twap;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use kernel::breaker::State;
use kernel::chain::Address;
use kernel::health::Check;
use mcp::prelude::*;

pub use aggregate::Verdict;
pub use chainlink::{FeedConfig, OraclePrice, OraclePriceRequest};
pub use engine::{Engine, EngineParts};
pub use exchanges::{CandlesAnswer, CandlesRequest, OrderBookAnswer, OrderBookRequest};
pub use fx::{FxAnswer, FxRequest};
pub use gas::{GasPrice, GasPriceRequest, Tip};
pub use pools::{PoolConfig, PoolKind};
pub use price::{PriceAnswer, PriceRequest, PriceRow, PricesAnswer, PricesRequest, SourceAnswer};
pub use source::{Candle, Interval, Level, SourceChange, SourceName};
pub use sources::{BreakerState, SetSourceRequest, SourceRow, SourcesAnswer, SourcesRequest};
pub use twap::{Twap, TwapRequest};

/// `[servers.data-providers]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What differs of the sources, by name, like `sources.binance = { enabled = false }`. What `set_source` changes holds above it.
    pub sources: BTreeMap<SourceName, SourceChange>,
    /// How far an answer may lie from the others' middle before it is an outlier, in basis points: 1 to 5,000.
    pub deviation_max_bps: u32,
    /// How long a source may take, in milliseconds: 100 to 30,000.
    pub source_time_ms: u32,
    /// Over how long Uniswap V3's mean is taken, in seconds: 30 to 86,400. Less where a pool remembers less.
    pub twap_seconds: u32,
    /// Chainlink's feeds beside Ethereum's best known: pair, address and heartbeat.
    pub feeds: Vec<FeedConfig>,
    /// Pools to read prices from, beside the sandbox's.
    pub pools: Vec<PoolConfig>,
    /// Tokens whose symbols are trusted, by symbol, beside Ethereum's best known.
    pub tokens: BTreeMap<String, Address>,
    /// `CoinGecko`'s ids of coins, by symbol, beside the best known.
    pub coingecko_ids: BTreeMap<String, String>,
    /// A file with a demo key of `CoinGecko`'s; without it fewer requests are allowed.
    pub coingecko_key_file: Option<PathBuf>,
    /// Private addresses that `set_source` may point a source to: host, host:port, an IP address or a network like 10.0.0.0/8.
    pub allow: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            deviation_max_bps: 200,
            source_time_ms: 5_000,
            twap_seconds: 600,
            feeds: Vec::new(),
            pools: Vec::new(),
            tokens: BTreeMap::new(),
            coingecko_ids: BTreeMap::new(),
            coingecko_key_file: None,
            allow: Vec::new(),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), Fault> {
        let bounds = [
            ("deviation_max_bps", self.deviation_max_bps, 1, 5_000),
            ("source_time_ms", self.source_time_ms, 100, 30_000),
            ("twap_seconds", self.twap_seconds, 30, 86_400),
        ];
        if let Some((name, value, min, max)) =
            bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value))
        {
            return Err(
                Fault::invalid(format!("servers.data-providers.{name} is {value}")).hint(format!("{min} to {max}"))
            );
        }
        for feed in &self.feeds {
            feed.pair.parse::<pair::Pair>().map_err(|fault| fault.context("servers.data-providers.feeds"))?;
        }
        let changes = self.sources.iter().map(|(source, change)| change.check(*source));
        changes.collect::<Result<(), _>>().map_err(|fault| fault.context("servers.data-providers.sources"))
    }
}

/// The server.
pub struct DataProviders {
    engine: Arc<Engine>,
}

impl McpServer for DataProviders {
    const NAME: &'static str = "data-providers";
    const INSTRUCTIONS: &'static str = "What assets are worth. price answers with the middle of what the sources say, each one's own answer \
        beside it; read confidence, lone, disputed and warnings before relying on it. Pairs are ETH/USD, or a token's address and a currency, \
        0x…/USD. Prices are exact decimal numbers as text. oracle_price and twap show one feed or one pool in full; candles and order_book \
        come from exchanges; fx converts currencies; gas_price says what to offer for gas; sources tells how the sources stand. On the sandbox \
        chain the prices are its own: play money.";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, config: Config) -> Result<Self, Fault> {
        // The engine that others reach through the port is this one, where there is one: its limits hold for all who ask.
        let port: Arc<dyn Any + Send + Sync> = Arc::clone(&ports.prices) as _;
        if let Ok(engine) = port.downcast::<Engine>() {
            return Ok(Self { engine });
        }
        let parts = EngineParts {
            clock: ports.clock.clone(),
            store: Arc::clone(&ports.store),
            chain: Arc::clone(&ports.chain),
            abi: Arc::clone(&ports.abi),
        };
        Ok(Self { engine: Arc::new(Engine::new(parts, config)?) })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(PRICE, |server, request, _| async move { Ok(server.engine.one_price(request).await?) });
        set.add(PRICES, |server, request, _| async move { Ok(server.engine.prices(request).await?) });
        set.add(ORACLE_PRICE, |server, request, _| async move { Ok(server.engine.oracle_price(request).await?) });
        set.add(TWAP, |server, request, _| async move { Ok(server.engine.twap(request).await?) });
        set.add(CANDLES, |server, request, _| async move { Ok(server.engine.candles(request).await?) });
        set.add(ORDER_BOOK, |server, request, _| async move { Ok(server.engine.order_book(request).await?) });
        set.add(GAS_PRICE, |server, request, _| async move { Ok(server.engine.gas_price(request).await?) });
        set.add(FX, |server, request, _| async move { Ok(server.engine.fx(request).await?) });
        set.add(SOURCES, |server, request, _| async move { Ok(server.engine.sources(request).await?) });
        set.add(SET_SOURCE, |server, request, ctx| async move { server.engine.set_source(request, &ctx).await });
    }
}

tools! { DataProviders::NAME;
    /// Says what an asset is worth: the weighted median of all sources that know it, after staleness and deviation checks, with each
    /// source's own answer, a confidence, and warnings where only one stands behind it or they disagree.
    PRICE = "price": fn(PriceRequest) -> PriceAnswer, Hints::READ_WORLD;
    /// Says what several assets are worth, up to 20 pairs at once; a pair without a price is that row's error only.
    PRICES = "prices": fn(PricesRequest) -> PricesAnswer, Hints::READ_WORLD;
    /// Reads a Chainlink feed on the chain: answer, round, age, and whether it may be relied on.
    ORACLE_PRICE = "oracle_price": fn(OraclePriceRequest) -> OraclePrice, Hints::READ_WORLD;
    /// Computes a pool's mean price over time with the contracts' own arithmetic: from Uniswap V3's observations, or from a V2 pair's
    /// cumulative prices at two blocks.
    TWAP = "twap": fn(TwapRequest) -> Twap, Hints::READ_WORLD;
    /// Lists an exchange's candles (OHLCV) of a pair: open, high, low, close and volume.
    CANDLES = "candles": fn(CandlesRequest) -> CandlesAnswer, Hints::READ_WORLD;
    /// Shows an exchange's order book of a pair: bids, asks, the middle and the spread.
    ORDER_BOOK = "order_book": fn(OrderBookRequest) -> OrderBookAnswer, Hints::READ_WORLD;
    /// Says what gas costs now: base fee, the next block's base fee, tips by percentile over the last blocks, and what to offer.
    GAS_PRICE = "gas_price": fn(GasPriceRequest) -> GasPrice, Hints::READ_WORLD;
    /// Converts an amount between currencies of states by the European Central Bank's reference rates and the chain's currency feeds.
    FX = "fx": fn(FxRequest) -> FxAnswer, Hints::READ_WORLD;
    /// Lists the sources: what is set of each, its limits, breaker, latency, last answer and last failure.
    SOURCES = "sources": fn(SourcesRequest) -> SourcesAnswer, Hints::READ;
    /// Changes a source for every process: turns it on or off, sets its weight, limit, age limit or address.
    SET_SOURCE = "set_source": fn(SetSourceRequest) -> SourceRow, Hints { idempotent: true, ..Hints::ADMIN };
}

#[async_trait]
impl Features for DataProviders {
    async fn health(&self) -> Vec<Check> {
        let settings = match self.engine.all_settings().await {
            Ok(settings) => settings,
            Err(fault) => return vec![Check::degraded("sources", fault.to_string())],
        };
        let enabled: Vec<SourceName> =
            settings.into_iter().filter(|(_, settings)| settings.enabled).map(|(source, _)| source).collect();
        let is_open =
            |source: &SourceName| self.engine.client(*source).is_some_and(|client| client.breaker() == State::Open);
        let open: Vec<&str> = enabled.iter().copied().filter(is_open).map(SourceName::as_str).collect();
        // Exchanges that a machine cannot reach are no illness of this service: sources and price say which.
        let left_alone =
            if open.is_empty() { String::new() } else { format!(", left alone after failures: {}", open.join(", ")) };
        vec![Check::healthy("sources", format!("{} enabled{left_alone}", enabled.len()))]
    }
}
