//! Port: what an asset is worth in a currency, by several sources, and how sure that is.

use std::any::Any;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Address;
use crate::{Decimal, Fault, Result, UnixMs};

/// What is priced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// By its symbol: `ETH`, `EUR`. A contract's own word for itself is never trusted as one.
    Symbol(String),
    /// By its contract on the chain.
    Token(Address),
}

/// A price that several sources were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReferencePrice {
    /// What one whole unit of the asset costs, in whole units of the currency.
    pub price: Decimal,
    /// When the oldest answer that counts was true, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// How old that is, in milliseconds.
    pub age_ms: i64,
    /// 0 to 1: how well the sources support it.
    pub confidence: f64,
    /// How far the answers that count lie from the price at most, in basis points.
    pub spread_bps: u64,
    /// Whether only one source stands behind it.
    pub lone: bool,
    /// Whether the sources contradict each other, so that it cannot be said which is right.
    pub disputed: bool,
    /// The sources whose answers count.
    pub used: Vec<String>,
}

/// The port. One engine per process, so that its limits towards the sources hold for all who ask: whoever made it finds it again
/// through [`Any`].
#[async_trait]
pub trait Prices: Any + Send + Sync {
    /// What one whole unit of `asset` costs in `currency`, a symbol like `USD`.
    ///
    /// # Errors
    /// [`Code::NotFound`](crate::Code::NotFound) when no source knows the two, [`Code::Unavailable`](crate::Code::Unavailable) when
    /// those that do gave no answer that is fresh enough.
    async fn reference(&self, asset: &Asset, currency: &str) -> Result<ReferencePrice>;
}

/// The prices that are not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unpriced;

#[async_trait]
impl Prices for Unpriced {
    async fn reference(&self, _: &Asset, _: &str) -> Result<ReferencePrice> {
        Err(Fault::not_configured("no prices here").hint("data-providers has them"))
    }
}
