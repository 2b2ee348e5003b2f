//! `[models]` in `flotilla.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Uri;
use kernel::{Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most providers.
const PROVIDERS_MAX: usize = 32;

/// `[models]` in `flotilla.toml`. Keys are variables: `ANTHROPIC_API_KEY` and `OPENAI_API_KEY`, best as files (`…_FILE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The model that is asked when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// The model that makes embeddings when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_model: Option<String>,
    /// Models that are asked, in this order, when the one that was meant does not begin to answer.
    pub fallback: Vec<String>,
    /// A file of prices, in JSON (docs/models.md). What a model costs that is not in it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_file: Option<PathBuf>,
    /// How long a model may think before its first words, in seconds: 1 to 600.
    pub first_word_seconds: u32,
    /// How long it may fall silent after that, in seconds: 1 to 600.
    pub silence_seconds: u32,
    /// Who serves models, by a name of your own: `[models.providers.NAME]` with `url` and `models`.
    pub providers: BTreeMap<String, ProviderConfig>,
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's chat completions, in OpenAI's newest words.
    Openai,
    /// The same in the words that Ollama, vLLM, llama.cpp and others know.
    #[default]
    Compatible,
}

/// `[models.providers.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// What it speaks.
    pub kind: Kind,
    /// Where it is: `https://api.anthropic.com`, `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`.
    pub url: String,
    /// The models that it serves: names, `*` for any characters.
    pub models: Vec<String>,
    /// Where its key is: `env:NAME` or `file:PATH`. Absent when it needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let provider = |kind, url: &str, key: &str, models: &[&str]| ProviderConfig {
            kind,
            url: url.into(),
            models: models.iter().map(|model| (*model).into()).collect(),
            key: Some(format!("env:{key}")),
        };
        let openai = ["gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*"];
        Self {
            default_model: None,
            embedding_model: None,
            fallback: Vec::new(),
            price_file: None,
            first_word_seconds: 120,
            silence_seconds: 60,
            providers: BTreeMap::from([
                (
                    "anthropic".to_owned(),
                    provider(Kind::Anthropic, "https://api.anthropic.com", "ANTHROPIC_API_KEY", &["claude-*"]),
                ),
                ("openai".to_owned(), provider(Kind::Openai, "https://api.openai.com/v1", "OPENAI_API_KEY", &openai)),
            ]),
        }
    }
}

impl Config {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](kernel::Code::InvalidArgument).
    pub fn check(&self) -> Result<()> {
        for (name, seconds) in
            [("first_word_seconds", self.first_word_seconds), ("silence_seconds", self.silence_seconds)]
        {
            if !(1..=600).contains(&seconds) {
                return Err(Fault::invalid(format!("models.{name} is {seconds}")).hint("1 to 600"));
            }
        }
        if self.providers.len() > PROVIDERS_MAX {
            return Err(Fault::invalid(format!("models.providers has {}", self.providers.len()))
                .hint(format!("at most {PROVIDERS_MAX}")));
        }
        self.providers.iter().try_for_each(|(name, provider)| provider.check(name))
    }
}

impl ProviderConfig {
    fn check(&self, name: &str) -> Result<()> {
        let wrong = |what: &str, hint: &str| {
            Err(Fault::invalid(format!("models.providers.{name}{what}")).hint(hint.to_owned()))
        };
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(fits) {
            return wrong(": not a name", "1 to 32 lower-case letters, digits and `-`");
        }
        let place = self.url.parse::<Uri>().ok().filter(|url| {
            let authority = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            matches!(url.scheme_str(), Some("http" | "https")) && authority && url.query().is_none()
        });
        let Some(place) = place else {
            return wrong(&format!(".url is `{}`", self.url), "like http://127.0.0.1:11434/v1");
        };
        let here = matches!(place.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if self.key.is_some() && place.scheme_str() == Some("http") && !here {
            return wrong(".url is to be told a key in clear", "https://…, or a provider that needs no key");
        }
        let reference = |key: &String| key.starts_with("env:") || key.starts_with("file:");
        if self.key.as_ref().is_some_and(|key| !reference(key)) {
            // It is not shown: somebody may have written the key itself there.
            return wrong(".key is not a reference to a secret", "env:NAME or file:PATH");
        }
        if self.models.iter().any(String::is_empty) {
            return wrong(".models has an empty name", "names, `*` for any characters");
        }
        Ok(())
    }

    /// What has to be set for its key, as people write it; nothing when it needs none.
    pub(crate) fn key_place(&self) -> Option<&str> {
        self.key.as_deref().map(|key| key.trim_start_matches("env:").trim_start_matches("file:"))
    }
}
