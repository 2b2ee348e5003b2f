//! Port: language models, whoever serves them, in words of our own.
//!
//! Figures are integers: tokens, and nano-dollars (a thousand millionth of a dollar). What is not known is `None`, never zero.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fault, Result};

/// Most texts that one call of [`Models::embed`] takes.
pub const EMBED_TEXTS_MAX: usize = 64;
/// Largest text that one answer may have, in bytes.
pub const SAID_BYTES_MAX: usize = 4 << 20;
/// Most calls of tools that one answer may want.
pub const CALLS_MAX: usize = 32;

/// A call of a tool that a model wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// The model's own name for this call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments as the model wrote them: meant to be the JSON text of an object.
    pub arguments: String,
}

/// What came of a call that a model wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call's id.
    pub id: String,
    /// The answer or the refusal.
    pub text: String,
    /// Whether it was refused or failed.
    pub failed: bool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Message {
    /// Said to the model.
    User {
        /// What.
        text: String,
    },
    /// Said by the model.
    Model {
        /// What.
        text: String,
        /// The calls that it wanted then.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// What came of the calls of the message before.
    Results {
        /// One for each of them.
        results: Vec<ToolResult>,
    },
}

/// A tool that a model may want to call.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The JSON Schema of its arguments.
    pub takes: Value,
}

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wish {
    /// Which model: its name, or `provider/name`; the configured default when empty.
    pub model: String,
    /// What it should know and keep to throughout.
    pub system: String,
    /// The conversation; the last is said to the model.
    pub messages: Vec<Message>,
    /// What it may want to call.
    pub tools: Vec<Offer>,
    /// Most tokens that it may answer with.
    pub tokens_max: u32,
    /// How freely it chooses its words, in hundredths: 0 to 200; the provider's own when absent.
    pub temperature_percent: Option<u8>,
    /// The JSON Schema of an object that it should answer with, as text.
    pub schema: Option<Value>,
}

/// Tokens that went back and forth, as far as the provider told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens that the model read, those from its cache among them; absent when it was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Those among them that came from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens that the model wrote; absent when it was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// All tokens, if both counts are known.
    pub fn total(&self) -> Option<u64> {
        Some(self.input_tokens?.saturating_add(self.output_tokens?))
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It had said everything.
    End,
    /// It may not say more: `tokens_max`, or its own bound.
    Length,
    /// It wants tools called.
    Tools,
    /// It refuses to answer.
    Refusal,
    /// The answer broke off; what had come by then is there.
    Broken,
}

/// What a model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Who serves the model.
    pub provider: String,
    /// The model, by the name that was asked for.
    pub model: String,
    /// Its words.
    pub text: String,
    /// The calls that it wants; none when it broke off.
    pub calls: Vec<ToolCall>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it took.
    pub usage: Usage,
    /// What it broke off of.
    pub broken: Option<Fault>,
}

/// Hears a model's words as they come.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next piece.
    async fn hear(&self, piece: &str);
}

/// Hears nothing.
pub struct Deaf;

#[async_trait]
impl Listener for Deaf {
    async fn hear(&self, _: &str) {}
}

/// What tokens of a model cost, in nano-dollars each: a dollar for a million tokens is 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// A token that the model reads, in nano-dollars.
    pub input_nano_usd: u64,
    /// A token that it reads from the provider's cache; as `input_nano_usd` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_nano_usd: Option<u64>,
    /// A token that it writes, in nano-dollars; those of a model of embeddings write none.
    #[serde(default)]
    pub output_nano_usd: u64,
}

impl Price {
    /// What a use of these tokens costs.
    pub fn of(&self, input: u64, cached: u64, output: u64) -> u64 {
        let cached = cached.min(input);
        let cached_price = self.cached_nano_usd.unwrap_or(self.input_nano_usd);
        let each = [(input - cached, self.input_nano_usd), (cached, cached_price), (output, self.output_nano_usd)];
        each.into_iter().fold(0u64, |sum, (tokens, price)| sum.saturating_add(tokens.saturating_mul(price)))
    }
}

/// A model that a wish leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Who serves it.
    pub provider: String,
    /// Its name there.
    pub model: String,
    /// What its tokens cost, if that is known.
    pub price: Option<Price>,
}

/// What a wish for embeddings gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Who serves the model.
    pub provider: String,
    /// The model.
    pub model: String,
    /// A vector for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// What it took.
    pub usage: Usage,
}

/// Who serves models, and how that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it can be asked: it has its key, or needs none.
    pub ready: bool,
    /// What is missing, or why it is left alone for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The models that lead to it: names, `*` for any characters.
    pub serves: Vec<String>,
    /// The models that it says it has, where it was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// The port.
#[async_trait]
pub trait Models: Send + Sync {
    /// Whether any provider can be asked.
    fn ready(&self) -> bool;

    /// The models that a wish for `model` may lead to, in the order in which they are tried: the one named (or the default), then those of the fall-back
    /// order. `embed` asks for those that make embeddings.
    ///
    /// # Errors
    /// [`Code::NotFound`](crate::Code::NotFound) when no provider serves it, [`Code::NotConfigured`](crate::Code::NotConfigured) when none of them can
    /// be asked; the hint names the variable to set.
    fn chosen(&self, model: &str, embed: bool) -> Result<Vec<Chosen>>;

    /// Asks one model. What it says before it breaks off is an answer too ([`Stop::Broken`]); nothing is asked twice once it has begun to speak.
    ///
    /// # Errors
    /// It refused or did not begin to answer, after the tries that there are.
    async fn chat(&self, chosen: &Chosen, wish: &Wish, listener: &dyn Listener) -> Result<Said>;

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// It refused, does not answer, or has no embeddings.
    async fn embed(&self, chosen: &Chosen, texts: &[String]) -> Result<Embedded>;

    /// The providers; `ask` asks each for its models.
    async fn providers(&self, ask: bool) -> Vec<Provider>;
}

/// Where no models are.
pub struct NoModels;

impl NoModels {
    /// Nothing here, as a port.
    pub fn port() -> Arc<dyn Models> {
        Arc::new(Self)
    }

    fn refused() -> Fault {
        Fault::not_configured("no language model is configured").hint(
            "set ANTHROPIC_API_KEY or OPENAI_API_KEY (or the same with _FILE), or name an endpoint in [models.providers]",
        )
    }
}

#[async_trait]
impl Models for NoModels {
    fn ready(&self) -> bool {
        false
    }

    fn chosen(&self, _: &str, _: bool) -> Result<Vec<Chosen>> {
        Err(Self::refused())
    }

    async fn chat(&self, _: &Chosen, _: &Wish, _: &dyn Listener) -> Result<Said> {
        Err(Self::refused())
    }

    async fn embed(&self, _: &Chosen, _: &[String]) -> Result<Embedded> {
        Err(Self::refused())
    }

    async fn providers(&self, _: bool) -> Vec<Provider> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_of_every_kind_of_token() {
        let price = Price { input_nano_usd: 3_000, cached_nano_usd: Some(300), output_nano_usd: 15_000 };
        assert_eq!(price.of(1_000, 0, 100), 4_500_000);
        assert_eq!(price.of(1_000, 400, 100), 3_420_000);
        assert_eq!(price.of(10, 400, 0), 3_000, "no more came from the cache than was read");
        let plain = Price { cached_nano_usd: None, ..price };
        assert_eq!(plain.of(1_000, 400, 100), 4_500_000);
        assert_eq!(price.of(u64::MAX, 0, u64::MAX), u64::MAX);
    }
}
