//! Language models behind the port [`Models`]: Anthropic's Messages API, OpenAI's chat completions, and all that speaks the latter (Ollama, vLLM,
//! llama.cpp).
//!
//! Both are spoken by ourselves over the HTTP client that is here anyway: of either we need one request and one stream. Invariants:
//! - A key goes to the configured host and nowhere else, in clear only to this machine. It is in no message of ours, nor in what a provider's words are
//!   quoted with.
//! - Nothing is asked again once a model has begun to answer. Before that it is, a few times, and no sooner than the provider says.
//! - Every request, answer, wait and silence is bounded.

mod anthropic;
mod config;
mod openai;
mod prices;
mod provider;
mod retry;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::models::{Chosen, Embedded, Listener, Models, Provider, Said, Wish};
use kernel::pattern::matches;
use kernel::{Clock, Fault, Result, Secret, Tasks};

pub use config::{Config, Kind, ProviderConfig};
use prices::Prices;
use provider::{Served, Times};

/// Opens what is configured; `keys` has the providers' keys, by their names. Does no I/O but to read the file of prices.
///
/// # Errors
/// When the configuration or the file of prices is wrong.
pub fn open(config: &Config, keys: &BTreeMap<String, Secret>, clock: &Clock, tasks: &Tasks) -> Result<Arc<dyn Models>> {
    config.check()?;
    let times = Times::of(config);
    let providers = config.providers.iter().map(|(name, about)| {
        Served::new(name, about, keys.get(name).cloned(), times, clock.clone(), tasks.child())
            .map_err(|fault| fault.context(format!("models.providers.{name}")))
    });
    Ok(Arc::new(Fleet {
        providers: providers.collect::<Result<_>>()?,
        prices: Prices::read(config.price_file.as_deref())?,
        default: config.default_model.clone(),
        embedding: config.embedding_model.clone(),
        fallback: config.fallback.clone(),
    }))
}

/// All providers.
struct Fleet {
    providers: Vec<Served>,
    prices: Prices,
    default: Option<String>,
    embedding: Option<String>,
    fallback: Vec<String>,
}

impl Fleet {
    /// Who serves a model, and its name there: the provider that is named before the name, or all whose patterns have it, in the order of their names.
    fn serving(&self, model: &str) -> Vec<(&Served, String)> {
        if let Some((name, rest)) = model.split_once('/')
            && let Some(named) = self.providers.iter().find(|served| served.name == name)
        {
            return vec![(named, rest.to_owned())];
        }
        let has = |served: &&Served| served.serves.iter().any(|pattern| matches(pattern, model));
        self.providers.iter().filter(has).map(|served| (served, model.to_owned())).collect()
    }

    fn wanted<'a>(&'a self, model: &'a str, embed: bool) -> Result<&'a str> {
        let (set, key) = if embed { (&self.embedding, "embedding_model") } else { (&self.default, "default_model") };
        match (model, set) {
            ("", Some(set)) => Ok(set),
            ("", None) if self.ready() => Err(Fault::not_configured("no model is named, and there is no default")
                .hint(format!("name one (list_models has them), or set models.{key}"))),
            // Which key is missing matters more than which model would be meant.
            ("", None) => Err(self.nothing_ready()),
            (named, _) => Ok(named),
        }
    }

    fn nothing_ready(&self) -> Fault {
        let missing: Vec<&str> = self.providers.iter().filter_map(|served| served.missing.as_deref()).collect();
        Fault::not_configured("no language model is configured").hint(if missing.is_empty() {
            "name an endpoint in [models.providers]".to_owned()
        } else {
            format!("set {}, or name an endpoint in [models.providers]", missing.join(" or "))
        })
    }

    fn provider(&self, chosen: &Chosen) -> Result<&Served> {
        let named = self.providers.iter().find(|served| served.name == chosen.provider);
        named.ok_or_else(|| Fault::not_found(format!("no provider `{}`", chosen.provider)))
    }
}

#[async_trait]
impl Models for Fleet {
    fn ready(&self) -> bool {
        self.providers.iter().any(|served| served.missing.is_none())
    }

    fn chosen(&self, model: &str, embed: bool) -> Result<Vec<Chosen>> {
        let wanted = self.wanted(model, embed)?;
        let first = self.serving(wanted);
        if first.is_empty() {
            let known: Vec<&str> =
                self.providers.iter().flat_map(|served| &served.serves).map(String::as_str).collect();
            return Err(Fault::not_found(format!("no provider serves the model `{wanted}`"))
                .hint(format!("models.providers has {}; or say provider/model", known.join(", "))));
        }
        if let Some(missing) = first.iter().all(|(served, _)| served.missing.is_some()).then(|| &first[0].0) {
            let place = missing.missing.as_deref().unwrap_or_default();
            let ours = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"].contains(&place);
            let file = if ours { format!(", or {place}_FILE to a file that holds it") } else { String::new() };
            return Err(Fault::not_configured(format!("the model `{wanted}` of {} needs a key", missing.name))
                .hint(format!("set {place}{file}")));
        }
        // A fall-back is for what fails; embeddings of another model are of no use beside those that are there.
        let others = if embed { &[][..] } else { &self.fallback[..] };
        let mut all: Vec<Chosen> = Vec::new();
        for (served, model) in first.into_iter().chain(others.iter().flat_map(|name| self.serving(name))) {
            let known = all.iter().any(|chosen| chosen.provider == served.name && chosen.model == model);
            if served.missing.is_none() && !known {
                let price = self.prices.of(&served.name, &model);
                all.push(Chosen { provider: served.name.clone(), model, price });
            }
        }
        Ok(all)
    }

    async fn chat(&self, chosen: &Chosen, wish: &Wish, listener: &dyn Listener) -> Result<Said> {
        self.provider(chosen)?.chat(&chosen.model, wish, listener).await
    }

    async fn embed(&self, chosen: &Chosen, texts: &[String]) -> Result<Embedded> {
        self.provider(chosen)?.embed(&chosen.model, texts).await
    }

    async fn providers(&self, ask: bool) -> Vec<Provider> {
        let mut all = Vec::new();
        for served in &self.providers {
            all.push(served.row(ask).await);
        }
        all
    }
}
