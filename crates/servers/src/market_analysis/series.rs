//! How prices moved: read from the logs of the deepest pool, trade by trade. Statistics are floating point; no trade is priced by them.

use kernel::Decimal;
use kernel::chain::{Address, BlockId, LogFilter};
use market::feed::At;
use market::pool::{EVENT_TOPICS, Event, Pool, Price};
use mcp::prelude::*;

use super::MarketAnalysis;
use crate::trading::coins::Coin;
use crate::trading::path::{self, Leg};
use crate::trading::ratio;

/// Blocks looked at when the request does not say how many.
const BLOCKS: u64 = 1_000;
/// Most blocks.
const BLOCKS_MAX: u64 = 10_000;
/// Seconds of a year of 365.25 days.
const YEAR_SECONDS: f64 = 31_557_600.0;

/// What [`VOLATILITY`](super::VOLATILITY) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolatilityRequest {
    /// Whose price: a token's address or symbol.
    pub token: String,
    /// In which token: address or symbol.
    pub quote_token: String,
    /// At this pool; the deepest that trades the two when absent.
    #[serde(default)]
    pub pool: Option<Address>,
    /// Over how many of the newest blocks, 2 to 10000; 1000 when absent.
    #[serde(default = "blocks")]
    #[schemars(range(min = 2, max = 10000))]
    pub blocks: u64,
}

fn blocks() -> u64 {
    BLOCKS
}

/// A price over time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SeriesView {
    /// The token.
    pub token: Coin,
    /// The pool it was read from.
    pub pool: Address,
    /// Blocks in which the price changed.
    pub observations: usize,
    /// The first price of the range, in whole quote tokens; absent without observations or decimals.
    pub first: Option<Decimal>,
    /// The last.
    pub last: Option<Decimal>,
    /// The lowest.
    pub low: Option<Decimal>,
    /// The highest.
    pub high: Option<Decimal>,
}

/// What [`VOLATILITY`](super::VOLATILITY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VolatilityAnswer {
    /// The block it is true at: the last of the range.
    #[serde(flatten)]
    pub at: At,
    /// The first block of the range.
    pub from_block: u64,
    /// How long the range lasted, in seconds.
    pub seconds: u64,
    /// In which token prices are.
    pub quote_token: Coin,
    /// The price.
    pub series: SeriesView,
    /// The root of the sum of squared logarithmic returns: how far the price moved about over the range. 0.01 is one percent. Absent with
    /// fewer than two observations.
    pub realised: Option<f64>,
    /// The same for a year, if it went on so; absent where the range lasted no second.
    pub annualised: Option<f64>,
}

/// What [`CORRELATION`](super::CORRELATION) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationRequest {
    /// One token: address or symbol.
    pub token: String,
    /// The other: address or symbol.
    pub other_token: String,
    /// The token that both are priced in: address or symbol.
    pub quote_token: String,
    /// Over how many of the newest blocks, 2 to 10000; 1000 when absent.
    #[serde(default = "blocks")]
    #[schemars(range(min = 2, max = 10000))]
    pub blocks: u64,
}

/// What [`CORRELATION`](super::CORRELATION) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CorrelationAnswer {
    /// The block it is true at: the last of the range.
    #[serde(flatten)]
    pub at: At,
    /// The first block of the range.
    pub from_block: u64,
    /// In which token prices are.
    pub quote_token: Coin,
    /// The two prices.
    pub series: [SeriesView; 2],
    /// Blocks in which one of them changed after both were known.
    pub moves: usize,
    /// Pearson's coefficient of the logarithmic returns over those blocks, −1 to 1; absent with fewer than three, or where one price stood
    /// still.
    pub correlation: Option<f64>,
}

/// The price after each block in which it changed.
struct Series {
    leg: Leg,
    prices: Vec<(u64, Price)>,
}

impl Series {
    fn logarithms(&self) -> Vec<(u64, f64)> {
        self.prices.iter().map(|(block, price)| (*block, price.approximate().ln())).collect()
    }

    fn view(&self, token: Coin, quote_token: &Coin) -> SeriesView {
        let exact: Vec<_> = self.prices.iter().map(|(_, price)| ratio::of(price)).collect();
        let decimals = token.decimals.zip(quote_token.decimals);
        let shown = |price: Option<&num_rational::BigRational>| ratio::in_units(price?, decimals?.0, decimals?.1);
        SeriesView {
            pool: self.leg.pool.address(),
            observations: exact.len(),
            first: shown(exact.first()),
            last: shown(exact.last()),
            low: shown(exact.iter().min()),
            high: shown(exact.iter().max()),
            token,
        }
    }
}

impl MarketAnalysis {
    pub(super) async fn volatility(&self, request: VolatilityRequest) -> Result<VolatilityAnswer, Fault> {
        let (token, quote) = (self.coins.find(&request.token)?, self.coins.find(&request.quote_token)?);
        let (at, leg) = self.deepest(token, quote, request.pool)?;
        let from = first_block(at, request.blocks)?;
        let series = self.series(leg, from, at.block).await?;
        let [begun, ended] = [from, at.block].map(BlockId::Number);
        let (begun, ended) = tokio::try_join!(self.chain.block(begun), self.chain.block(ended))?;
        let seconds = ended.head.timestamp_seconds.saturating_sub(begun.head.timestamp_seconds);
        let logarithms = series.logarithms();
        let squares: f64 = logarithms.windows(2).map(|pair| (pair[1].1 - pair[0].1).powi(2)).sum();
        let realised = (logarithms.len() > 1).then(|| squares.sqrt());
        let annualised = realised.filter(|_| seconds > 0).map(|one| one * (YEAR_SECONDS / seconds as f64).sqrt());
        let (token, quote_token) = tokio::join!(self.coins.coin(token), self.coins.coin(quote));
        let series = series.view(token, &quote_token);
        Ok(VolatilityAnswer { at, from_block: from, seconds, quote_token, series, realised, annualised })
    }

    pub(super) async fn correlation(&self, request: CorrelationRequest) -> Result<CorrelationAnswer, Fault> {
        let [one, other, quote] =
            [&request.token, &request.other_token, &request.quote_token].map(|word| self.coins.find(word));
        let (one, other, quote) = (one?, other?, quote?);
        if one == other {
            return Err(Fault::invalid("a token and itself move together").hint("two tokens that differ"));
        }
        let (at, first) = self.deepest(one, quote, None)?;
        let (_, second) = self.deepest(other, quote, None)?;
        let from = first_block(at, request.blocks)?;
        let (first, second) =
            tokio::try_join!(self.series(first, from, at.block), self.series(second, from, at.block))?;
        let (moves, correlation) = pearson(&first.logarithms(), &second.logarithms());
        let (one, other, quote_token) =
            tokio::join!(self.coins.coin(one), self.coins.coin(other), self.coins.coin(quote));
        let series = [first.view(one, &quote_token), second.view(other, &quote_token)];
        Ok(CorrelationAnswer { at, from_block: from, quote_token, series, moves, correlation })
    }

    /// The deepest pool that trades one for the other, or this one.
    fn deepest(&self, token: Address, quote: Address, pool: Option<Address>) -> Result<(At, Leg), Fault> {
        let found = self.pools.read(|at, book| match pool {
            Some(pool) => path::along(book, token, quote, &[pool]).map(|legs| (at, legs)),
            None => Ok((at, path::direct(book, token, quote))),
        });
        let (at, legs) = found??;
        let leg = legs.into_iter().max_by_key(path::depth).ok_or_else(|| {
            Fault::not_found(format!("no followed pool trades {token} for {quote} directly"))
                .hint("another quote token; list_pools of dex-services has the pools that are followed")
        })?;
        Ok((at, leg))
    }

    /// The price after each block of the range in which the pool's logs change it.
    async fn series(&self, leg: Leg, from: u64, to: u64) -> Result<Series, Fault> {
        let filter = LogFilter {
            from: BlockId::Number(from),
            to: BlockId::Number(to),
            addresses: vec![leg.pool.address()],
            topics: vec![EVENT_TOPICS.to_vec()],
        };
        let logs = self.chain.logs(&filter).await?;
        let mut prices: Vec<(u64, Price)> = Vec::new();
        for log in logs {
            let price = Event::from_log(&log.topics, &log.data).and_then(|event| event.price(leg.way));
            let (Some(block), Some(price)) = (log.block_number, price) else { continue };
            match prices.last_mut() {
                Some(last) if last.0 == block => last.1 = price,
                _ => prices.push((block, price)),
            }
        }
        Ok(Series { leg, prices })
    }
}

fn first_block(at: At, blocks: u64) -> Result<u64, Fault> {
    if !(2..=BLOCKS_MAX).contains(&blocks) {
        return Err(Fault::invalid(format!("{blocks} blocks")).hint(format!("2 to {BLOCKS_MAX}")));
    }
    Ok(at.block.saturating_sub(blocks - 1))
}

/// How many blocks moved one of two prices, and how far the moves agree. A price stands until it changes.
fn pearson(first: &[(u64, f64)], second: &[(u64, f64)]) -> (usize, Option<f64>) {
    let mut blocks: Vec<u64> = first.iter().chain(second).map(|(block, _)| *block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let at = |series: &[(u64, f64)], block: u64| {
        let known = series.partition_point(|(other, _)| *other <= block);
        Some(series[..known].last()?.1)
    };
    let both: Vec<(f64, f64)> =
        blocks.iter().filter_map(|block| Some((at(first, *block)?, at(second, *block)?))).collect();
    let moves: Vec<(f64, f64)> = both.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1)).collect();
    if moves.len() < 3 {
        return (moves.len(), None);
    }
    let count = moves.len() as f64;
    let mean = |side: fn(&(f64, f64)) -> f64| moves.iter().map(side).sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(|one| one.0), mean(|one| one.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| moves.iter().map(|(a, b)| of(a - mean_a, b - mean_b)).sum::<f64>();
    let spread = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    let together = sum(&|a, b| a * b);
    (moves.len(), (spread > 0.0).then(|| (together / spread).clamp(-1.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_that_move_together_against_each_other_and_not_at_all() {
        let up: Vec<(u64, f64)> =
            [0.0, 1.0, 0.5, 2.0, 1.0].into_iter().enumerate().map(|(n, x)| (n as u64, x)).collect();
        let down: Vec<(u64, f64)> = up.iter().map(|(block, x)| (*block, -x)).collect();
        let still = [(0, 3.0)];
        let (moves, same) = pearson(&up, &up);
        assert!(moves == 4 && (same.unwrap() - 1.0).abs() < 1e-12);
        assert!((pearson(&up, &down).1.unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&up, &still), (4, None));
        assert_eq!(pearson(&up[..2], &down[..2]), (1, None));
        assert_eq!(pearson(&[], &up), (0, None));
    }
}
