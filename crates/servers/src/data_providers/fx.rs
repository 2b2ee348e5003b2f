//! `fx`: currencies of states in each other, by the same rules as every price.

use kernel::{Decimal, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::pair::Pair;
use super::price::PriceAnswer;
use super::source::SourceName;

/// Who knows currencies: the central bank, and the feeds.
const SOURCES: [SourceName; 2] = [SourceName::Chainlink, SourceName::Ecb];

/// What [`FX`](super::FX) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FxRequest {
    /// The currency that is given, by its three letters: EUR.
    pub from: String,
    /// The currency that is wanted: USD.
    pub to: String,
    /// How much is given, a decimal number; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amount: Option<Decimal>,
}

/// What [`FX`](super::FX) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FxAnswer {
    /// How much is given.
    pub amount: Decimal,
    /// What it comes to in the other currency, unrounded.
    pub converted: Decimal,
    /// The rate, who says so and how sure it is.
    pub rate: PriceAnswer,
}

impl Engine {
    pub(super) async fn fx(&self, request: FxRequest) -> Result<FxAnswer, Fault> {
        for code in [&request.from, &request.to] {
            if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                let shown: String = code.chars().take(20).collect();
                return Err(Fault::invalid(format!("not a currency: {shown:?}")).hint("three letters, like EUR"));
            }
        }
        let mut enabled = Vec::new();
        for source in SOURCES {
            if self.settings(source).await?.enabled {
                enabled.push(source);
            }
        }
        if enabled.is_empty() {
            return Err(Fault::unavailable("the sources of currencies are turned off").hint("set_source turns ecb on"));
        }
        let rate = self.price(&Pair::new(&request.from, &request.to)?, &enabled).await?;
        let amount = request.amount.unwrap_or(Decimal::ONE);
        let converted =
            amount.times(rate.reference.price).ok_or_else(|| Fault::invalid("the amount is beyond all measure"))?;
        Ok(FxAnswer { amount, converted, rate })
    }
}
