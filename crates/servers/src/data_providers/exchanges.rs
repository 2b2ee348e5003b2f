//! `candles` and `order_book`: what one exchange shows of a pair.

use kernel::{Decimal, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::pair::{Pair, Symbols};
use super::source::{Candle, Interval, Level, SourceName};

/// The exchanges in the order in which they are tried.
const ORDER: [SourceName; 4] = [SourceName::Coinbase, SourceName::Kraken, SourceName::Binance, SourceName::Coingecko];
/// Most candles of one answer.
const CANDLES_MAX: u32 = 1_000;
/// Most levels of each side.
const LEVELS_MAX: u32 = 1_000;

/// What [`CANDLES`](super::CANDLES) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CandlesRequest {
    /// The pair, like ETH/USD.
    pub pair: String,
    /// How long a candle is.
    pub interval: Interval,
    /// How many of the newest, 1 to 1,000; 100 when absent. Exchanges that give fewer at once say so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
    /// Which exchange; the first that has them when absent, in the order coinbase, kraken, binance, coingecko.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<SourceName>,
}

/// What [`CANDLES`](super::CANDLES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CandlesAnswer {
    /// The pair.
    pub pair: String,
    /// The exchange.
    pub source: SourceName,
    /// The pair in its words.
    pub instrument: String,
    /// How long a candle is.
    pub interval: Interval,
    /// The candles, the oldest first. Times without a trade are missing from some exchanges' lists.
    pub candles: Vec<Candle>,
    /// The exchanges tried before, and why they gave none.
    pub tried: Vec<String>,
}

/// What [`ORDER_BOOK`](super::ORDER_BOOK) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBookRequest {
    /// The pair, like ETH/USD.
    pub pair: String,
    /// How many levels of each side, 1 to 1,000; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub levels: Option<u32>,
    /// Which exchange; the first that has one when absent, in the order coinbase, kraken, binance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<SourceName>,
}

/// What [`ORDER_BOOK`](super::ORDER_BOOK) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct OrderBookAnswer {
    /// The pair.
    pub pair: String,
    /// The exchange.
    pub source: SourceName,
    /// The pair in its words.
    pub instrument: String,
    /// What is wanted, the highest price first.
    pub bids: Vec<Level>,
    /// What is offered, the lowest price first.
    pub asks: Vec<Level>,
    /// Half way between the best of both sides; absent when one is empty.
    pub mid: Option<Decimal>,
    /// How far apart they are, in basis points of the lower.
    pub spread_bps: Option<u64>,
    /// The exchanges tried before, and why they gave none.
    pub tried: Vec<String>,
}

impl Engine {
    /// The sources to try: the one that was asked for, or all that are enabled.
    async fn to_try(&self, asked: Option<SourceName>) -> Result<Vec<SourceName>, Fault> {
        if let Some(source) = asked {
            return Ok(vec![source]);
        }
        let mut enabled = Vec::new();
        for source in ORDER {
            if self.settings(source).await?.enabled {
                enabled.push(source);
            }
        }
        if enabled.is_empty() {
            return Err(Fault::unavailable("every exchange is turned off").hint("set_source turns them on"));
        }
        Ok(enabled)
    }

    async fn traded(&self, pair: &Pair) -> Result<Symbols, Fault> {
        let symbols = self.symbols(pair).await?;
        symbols.ok_or_else(|| {
            Fault::not_found(format!("the symbol of {pair} is not known")).hint("exchanges go by symbols, like ETH/USD")
        })
    }

    pub(super) async fn candles(&self, request: CandlesRequest) -> Result<CandlesAnswer, Fault> {
        let (pair, limit) =
            (request.pair.parse::<Pair>()?, bounded("limit", request.limit.unwrap_or(100), CANDLES_MAX)?);
        let symbols = self.traded(&pair).await?;
        let (interval, mut tried) = (request.interval, Vec::new());
        for source in self.to_try(request.source).await? {
            let settings = self.settings(source).await?;
            let read = self.fetch(
                source,
                &settings,
                |exchange| exchange.candles(&symbols, interval, limit),
                |exchange, body| exchange.read_candles(body),
            );
            match read.await {
                Ok((mut candles, instrument)) => {
                    candles.drain(..candles.len().saturating_sub(limit as usize));
                    let now_ms = self.now_ms();
                    candles.iter_mut().for_each(|candle| candle.complete = candle.open_ms + interval.ms() <= now_ms);
                    let pair = pair.to_string();
                    return Ok(CandlesAnswer { pair, source, instrument, interval, candles, tried });
                }
                Err(fault) if request.source.is_some() => return Err(fault),
                Err(fault) => tried.push(fault.to_string()),
            }
        }
        Err(none("candles", &pair, &tried))
    }

    pub(super) async fn order_book(&self, request: OrderBookRequest) -> Result<OrderBookAnswer, Fault> {
        let (pair, levels) =
            (request.pair.parse::<Pair>()?, bounded("levels", request.levels.unwrap_or(20), LEVELS_MAX)?);
        let symbols = self.traded(&pair).await?;
        let mut tried = Vec::new();
        for source in self.to_try(request.source).await? {
            let settings = self.settings(source).await?;
            let read = self.fetch(
                source,
                &settings,
                |exchange| exchange.book(&symbols, levels),
                |exchange, body| exchange.read_book(body),
            );
            match read.await {
                Ok((mut book, instrument)) => {
                    book.bids.truncate(levels as usize);
                    book.asks.truncate(levels as usize);
                    let best = book.bids.first().zip(book.asks.first()).map(|(bid, ask)| (bid.price, ask.price));
                    let crossed = best.filter(|(bid, ask)| bid >= ask);
                    if let Some((bid, ask)) = crossed {
                        return Err(Fault::upstream(format!(
                            "{source}: the book is crossed: {bid} wanted, {ask} offered"
                        )));
                    }
                    return Ok(OrderBookAnswer {
                        pair: pair.to_string(),
                        source,
                        instrument,
                        mid: best.and_then(|(bid, ask)| bid.midway(ask)),
                        spread_bps: best.map(|(bid, ask)| ask.deviation_bps(bid)),
                        bids: book.bids,
                        asks: book.asks,
                        tried,
                    });
                }
                Err(fault) if request.source.is_some() => return Err(fault),
                Err(fault) => tried.push(fault.to_string()),
            }
        }
        Err(none("order book", &pair, &tried))
    }
}

fn bounded(name: &str, value: u32, max: u32) -> Result<u32, Fault> {
    if (1..=max).contains(&value) {
        return Ok(value);
    }
    Err(Fault::invalid(format!("{name} is {value}")).hint(format!("1 to {max}")))
}

fn none(what: &str, pair: &Pair, tried: &[String]) -> Fault {
    Fault::unavailable(format!("no exchange gave {what} of {pair}: {}", tried.join("; ")))
        .hint("sources tells how they stand; price and twap read the chain")
}
