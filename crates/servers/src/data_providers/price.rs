//! `price` and `prices`.

use futures_util::future::join_all;
use kernel::prices::ReferencePrice;
use kernel::{Decimal, Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Engine;
use super::aggregate::{Judged, Verdict};
use super::pair::Pair;
use super::source::{Settings, SourceName};

/// Most pairs of one call.
const PAIRS_MAX: usize = 20;

/// What [`PRICE`](super::PRICE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceRequest {
    /// The pair: ETH/USD, or a token's address and a currency, 0x…/USD.
    pub pair: String,
    /// Only these sources, even if they are turned off; all that are enabled when absent or empty.
    #[serde(default)]
    pub sources: Vec<SourceName>,
}

/// What [`PRICES`](super::PRICES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PricesRequest {
    /// The pairs, 20 at most: ETH/USD, or a token's address and a currency, 0x…/USD.
    pub pairs: Vec<String>,
    /// Only these sources, even if they are turned off; all that are enabled when absent or empty.
    #[serde(default)]
    pub sources: Vec<SourceName>,
}

/// A source's own answer, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SourceAnswer {
    /// The source.
    pub source: SourceName,
    /// Whether it counts, or why not.
    pub verdict: Verdict,
    /// Its price.
    pub price: Option<Decimal>,
    /// When that was true, in milliseconds since the Unix epoch.
    pub at_ms: Option<UnixMs>,
    /// How old that is, in milliseconds.
    pub age_ms: Option<i64>,
    /// How far it is from the price, in basis points.
    pub deviation_bps: Option<u64>,
    /// How much it counts among the others.
    pub weight: u32,
    /// What it is a price of, in the source's words: a symbol, a feed's or a pool's address.
    pub instrument: Option<String>,
    /// What one should know of it.
    pub note: Option<String>,
    /// Why there is none, or why it is unsound.
    pub error: Option<String>,
    /// How long the source took, in milliseconds; absent when it was not asked.
    pub took_ms: Option<u64>,
}

impl SourceAnswer {
    pub(super) fn asked(source: SourceName, settings: &Settings, took_ms: u64) -> Self {
        Self {
            source,
            verdict: Verdict::Failed,
            price: None,
            at_ms: None,
            age_ms: None,
            deviation_bps: None,
            weight: settings.weight,
            instrument: None,
            note: None,
            error: None,
            took_ms: Some(took_ms),
        }
    }

    pub(super) fn not_asked(source: SourceName, settings: &Settings, reason: &str) -> Self {
        let blank = Self::asked(source, settings, 0);
        Self { verdict: Verdict::NotAsked, note: Some(reason.into()), took_ms: None, ..blank }
    }
}

/// What [`PRICE`](super::PRICE) answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PriceAnswer {
    /// The pair.
    pub pair: String,
    /// The price, and how sure it is: the weighted median of the answers that count.
    #[serde(flatten)]
    pub reference: ReferencePrice,
    /// What one should know before relying on it.
    pub warnings: Vec<String>,
    /// Each source's own answer.
    pub sources: Vec<SourceAnswer>,
}

impl PriceAnswer {
    /// # Errors
    /// When nothing counts.
    pub(super) fn of(pair: &Pair, judged: &Judged, sources: Vec<SourceAnswer>, now_ms: UnixMs) -> Result<Self, Fault> {
        let names = |verdict: Verdict| {
            let found = sources.iter().filter(|source| source.verdict == verdict);
            found.map(|source| source.source.as_str()).collect::<Vec<_>>().join(", ")
        };
        let said = |verdict: Verdict, what: &str| {
            Some(names(verdict)).filter(|names| !names.is_empty()).map(|names| format!("{what}: {names}"))
        };
        let troubles = [
            said(Verdict::Stale, "stale"),
            said(Verdict::Outlier, "outliers"),
            said(Verdict::Unsound, "unsound"),
            said(Verdict::Failed, "without an answer"),
        ];
        let troubles: Vec<String> = troubles.into_iter().flatten().collect();
        let Some(price) = judged.price else {
            let known = sources.iter().any(|source| !matches!(source.verdict, Verdict::Unknown | Verdict::NotAsked));
            let data = json!({ "sources": sources });
            return Err(if known {
                Fault::unavailable(format!("no answer for {pair} that counts ({})", troubles.join("; ")))
                    .hint("each source's own answer is in the data; sources tells how they stand")
                    .data(data)
            } else {
                Fault::not_found(format!("no source knows {pair}"))
                    .hint("feeds, pools, tokens and coingecko_ids of the configuration name more; sources tells what is turned off")
                    .data(data)
            });
        };
        let used = sources.iter().filter(|source| source.verdict == Verdict::Used);
        let used = used.map(|source| source.source.to_string()).collect();
        let mut warnings = Vec::new();
        if judged.lone {
            warnings.push(format!("one source only: {}", names(Verdict::Used)));
        }
        if judged.disputed {
            warnings.push(format!("the sources contradict each other, by {} basis points and more", judged.spread_bps));
        }
        warnings.extend(troubles);
        Ok(Self {
            pair: pair.to_string(),
            reference: ReferencePrice {
                price,
                at_ms: judged.at_ms,
                age_ms: now_ms - judged.at_ms,
                confidence: (judged.confidence * 1_000.0).round() / 1_000.0,
                spread_bps: judged.spread_bps,
                lone: judged.lone,
                disputed: judged.disputed,
                used,
            },
            warnings,
            sources,
        })
    }
}

/// One of several prices.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PriceRow {
    /// The pair, as it was given.
    pub pair: String,
    /// Its price; absent when there is none.
    pub price: Option<PriceAnswer>,
    /// Why there is none.
    pub error: Option<String>,
}

/// What [`PRICES`](super::PRICES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PricesAnswer {
    /// One for each pair, in the order given.
    pub prices: Vec<PriceRow>,
}

impl Engine {
    pub(super) async fn one_price(&self, request: PriceRequest) -> Result<PriceAnswer, Fault> {
        self.price(&request.pair.parse()?, &request.sources).await
    }

    pub(super) async fn prices(&self, request: PricesRequest) -> Result<PricesAnswer, Fault> {
        let PricesRequest { pairs, sources } = request;
        if pairs.is_empty() || pairs.len() > PAIRS_MAX {
            return Err(Fault::invalid(format!("{} pairs", pairs.len())).hint(format!("1 to {PAIRS_MAX}")));
        }
        let rows = pairs.into_iter().map(|pair| async {
            let outcome = match pair.parse::<Pair>() {
                Ok(pair) => self.price(&pair, &sources).await,
                Err(fault) => Err(fault),
            };
            let (price, error) = match outcome {
                Ok(price) => (Some(price), None),
                Err(fault) => (None, Some(fault.to_string())),
            };
            PriceRow { pair, price, error }
        });
        Ok(PricesAnswer { prices: join_all(rows).await })
    }
}
