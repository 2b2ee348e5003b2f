//! The engine: asks the sources that know a pair, all at once, and judges their answers. The port [`Prices`] is made of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};
use kernel::chain::{Abi, Chain};
use kernel::prices::{Asset, Prices, ReferencePrice};
use kernel::store::{Expect, Store, Write};
use kernel::{Clock, Code, Fault, Result};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Config;
use super::aggregate::{Given, Judged, Verdict, judge};
use super::exchange::client::{Asking, Client};
use super::exchange::{self, Coingecko, Exchange, Get};
use super::onchain::{Moment, OnChain};
use super::pair::{Pair, Symbols, symbol};
use super::pools;
use super::price::{PriceAnswer, SourceAnswer};
use super::source::{Settings, SourceChange, SourceName, Tick};
use crate::outbound::{Allowed, Reach};

/// Where changes of sources are kept in the store, by their names.
const SPACE: &str = "data-providers";
/// For how long prices that the fleet itself goes by are kept, at most: until the next block is seen. Their age is told all the same.
const KEPT_MS: i64 = 1_000;
/// Longest key, in bytes.
const KEY_BYTES_MAX: u64 = 4_096;

/// What the engine stands on.
pub struct EngineParts {
    /// Time.
    pub clock: Clock,
    /// Where what administrators set is kept.
    pub store: Arc<dyn Store>,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Encodings.
    pub abi: Arc<dyn Abi>,
}

/// See the module.
pub struct Engine {
    pub(super) config: Config,
    pub(super) on_chain: OnChain,
    pub(super) pools: pools::Known,
    store: Arc<dyn Store>,
    clients: BTreeMap<SourceName, (Client, Box<dyn Exchange>)>,
    allowed: Vec<Allowed>,
    kept: tokio::sync::Mutex<Option<Arc<Kept>>>,
}

/// The prices that the fleet goes by after a block, each read once.
struct Kept {
    moment: Moment,
    since_ms: i64,
    prices: Mutex<HashMap<Pair, Arc<OnceCell<ReferencePrice>>>>,
}

/// How a source's asking went.
struct Asked {
    source: SourceName,
    settings: Settings,
    outcome: Result<Tick>,
    took_ms: u64,
}

impl Engine {
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(parts: EngineParts, config: Config) -> Result<Self> {
        config.check()?;
        let ids = config.coingecko_ids.iter().map(|(name, id)| Ok((symbol(name)?, id.clone())));
        let coingecko = Coingecko { ids: ids.collect::<Result<_>>()? };
        let clock = parts.clock;
        let client = |source: SourceName| {
            let exchange = exchange::of(source, &coingecko)?;
            Some((source, (Client::new(source, clock.clone()), exchange)))
        };
        Ok(Self {
            on_chain: OnChain::new(parts.chain, parts.abi, clock.clone(), config.tokens.clone())?,
            pools: Mutex::new(HashMap::new()),
            store: parts.store,
            clients: SourceName::ALL.into_iter().filter_map(client).collect(),
            allowed: config.allow.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            config,
            kept: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.on_chain.clock.now_ms()
    }

    pub(super) fn client(&self, source: SourceName) -> Option<&Client> {
        self.clients.get(&source).map(|(client, _)| client)
    }

    /// What an administrator changed of a source, with the entry's revision.
    pub(super) async fn stored(&self, source: SourceName) -> Result<(SourceChange, Option<u64>)> {
        let Some(entry) = self.store.get(SPACE, source.as_str()).await? else { return Ok(Default::default()) };
        let change = serde_json::from_str(&entry.value).map_err(|error| {
            Fault::internal(format!("what was set of {source} cannot be read: {error}"))
                .hint("set_source with reset sets it anew")
        })?;
        Ok((change, Some(entry.revision)))
    }

    /// Keeps what an administrator changes of a source; nothing means that the configuration holds again.
    pub(super) async fn keep(
        &self,
        source: SourceName,
        change: Option<&SourceChange>,
        revision: Option<u64>,
    ) -> Result<()> {
        let write = match change {
            Some(change) => {
                let text = serde_json::to_string(change)
                    .map_err(|error| Fault::internal(format!("cannot write what is set of {source}: {error}")))?;
                Write::put(SPACE, source.as_str(), text)
            }
            None => Write::delete(SPACE, source.as_str()),
        };
        let expect = if change.is_none() { Expect::Any } else { revision.map_or(Expect::Absent, Expect::Revision) };
        self.store.commit(vec![write.expecting(expect)]).await.map(|_| ())
    }

    /// What holds for a source: the defaults, the configuration's changes, the administrator's.
    pub(super) async fn settings(&self, source: SourceName) -> Result<Settings> {
        let (stored, _) = self.stored(source).await?;
        let configured = self.config.sources.get(&source).cloned().unwrap_or_default();
        Ok(configured.and(stored).made(source.defaults()))
    }

    /// The same for all sources, in their order.
    pub(super) async fn all_settings(&self) -> Result<Vec<(SourceName, Settings)>> {
        let stored = self.store.list(SPACE, "", None, SourceName::ALL.len()).await?;
        let mut all = Vec::with_capacity(SourceName::ALL.len());
        for source in SourceName::ALL {
            let settings = match stored.iter().find(|entry| entry.key == source.as_str()) {
                None => self.config.sources.get(&source).cloned().unwrap_or_default().made(source.defaults()),
                Some(_) => self.settings(source).await?,
            };
            all.push((source, settings));
        }
        Ok(all)
    }

    /// The pair by symbols, as feeds and exchanges know it; `None` for a token that is not known.
    pub(super) async fn symbols(&self, pair: &Pair) -> Result<Option<Symbols>> {
        let base = match &pair.base {
            Asset::Symbol(symbol) => Some(symbol.clone()),
            Asset::Token(token) => self.on_chain.symbol_of(*token).await?,
        };
        Ok(base.filter(|base| *base != pair.quote).map(|base| Symbols { base, quote: pair.quote.clone() }))
    }

    /// Makes a request to a source over HTTP.
    pub(super) async fn fetch<T>(
        &self,
        source: SourceName,
        settings: &Settings,
        get: impl FnOnce(&dyn Exchange) -> Result<Get>,
        read: impl FnOnce(&dyn Exchange, &[u8]) -> Result<T>,
    ) -> Result<(T, String)> {
        let (client, exchange) =
            self.clients.get(&source).ok_or_else(|| Fault::unsupported(format!("{source} is read on the chain")))?;
        let get = get(exchange.as_ref()).map_err(|fault| fault.context(source))?;
        // The configuration is believed; what was set through a tool may not lead into the networks behind us unless they are allowed.
        let configured = self.config.sources.get(&source).cloned().unwrap_or_default().made(source.defaults());
        let anywhere = configured.base_url == settings.base_url;
        let reach = Reach { anywhere, allowed: self.allowed.clone() };
        let time = Duration::from_millis(u64::from(self.config.source_time_ms));
        let key = self.key(source).await?;
        let asking = Asking { exchange: exchange.as_ref(), settings, reach: &reach, time, key };
        let answer = client.ask(asking, &get, |body| read(exchange.as_ref(), body)).await?;
        Ok((answer, get.instrument))
    }

    /// `CoinGecko`'s key, where there is one.
    async fn key(&self, source: SourceName) -> Result<Option<(HeaderName, HeaderValue)>> {
        let Some(path) = self.config.coingecko_key_file.as_ref().filter(|_| source == SourceName::Coingecko) else {
            return Ok(None);
        };
        let bad =
            |what: &dyn std::fmt::Display| Fault::unavailable(format!("coingecko_key_file {}: {what}", path.display()));
        let size = tokio::fs::metadata(path).await.map_err(|error| bad(&error))?.len();
        if size > KEY_BYTES_MAX {
            return Err(bad(&"larger than any key"));
        }
        let key = tokio::fs::read_to_string(path).await.map_err(|error| bad(&error))?;
        let mut value = HeaderValue::from_str(key.trim()).map_err(|_| bad(&"not a key"))?;
        value.set_sensitive(true);
        Ok(Some((HeaderName::from_static("x-cg-demo-api-key"), value)))
    }

    /// Asks one source.
    async fn ask(
        &self,
        source: SourceName,
        settings: Settings,
        pair: &Pair,
        symbols: Option<&Symbols>,
        moment: Option<&Moment>,
    ) -> Asked {
        let began = Instant::now();
        let unknown = || Fault::not_found(format!("{source} goes by symbols, and the token's is not known"));
        let work = async {
            match source {
                SourceName::UniswapV3 => self.uniswap_v3(pair, moment).await,
                SourceName::UniswapV2 => self.uniswap_v2(pair, moment).await,
                SourceName::Chainlink => self.chainlink(symbols.ok_or_else(unknown)?, moment).await,
                _ => {
                    let symbols = symbols.ok_or_else(unknown)?;
                    let (get, read) = (
                        |it: &dyn Exchange| it.last(symbols),
                        |it: &dyn Exchange, body: &[u8]| it.read_last(symbols, body),
                    );
                    self.fetch(source, &settings, get, read).await.map(|(tick, _)| tick)
                }
            }
        };
        let time = Duration::from_millis(u64::from(self.config.source_time_ms));
        let slow = |_| Err(Fault::timeout(format!("{source} did not answer within {} ms", time.as_millis())));
        let outcome = tokio::time::timeout(time, work).await.unwrap_or_else(slow);
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Asked { source, settings, outcome, took_ms }
    }

    /// The price of a pair by these sources, or by all that are enabled.
    ///
    /// On the sandbox play money is priced by what is on its chain: only where that knows nothing of the pair are exchanges asked.
    ///
    /// # Errors
    /// `not_found` when no source knows the pair, `unavailable` when those that do gave no answer that counts; each one's own answer is in
    /// the data.
    pub(super) async fn price(&self, pair: &Pair, only: &[SourceName]) -> Result<PriceAnswer> {
        self.price_at(pair, only, None).await
    }

    /// The same, the chain's sources at this moment.
    async fn price_at(&self, pair: &Pair, only: &[SourceName], moment: Option<&Moment>) -> Result<PriceAnswer> {
        let symbols = match self.symbols(pair).await {
            Ok(symbols) => symbols,
            // Without a chain there still are exchanges, for what is asked by symbols.
            Err(fault) => match &pair.base {
                Asset::Symbol(base) => Some(Symbols { base: base.clone(), quote: pair.quote.clone() }),
                Asset::Token(_) => return Err(fault),
            },
        };
        let (mut asked, mut left_out) = (Vec::new(), Vec::new());
        for (source, settings) in self.all_settings().await? {
            let reason = match only {
                [] if !settings.enabled => Some("it is turned off"),
                [] => None,
                some if !some.contains(&source) => Some("not among the sources asked for"),
                _ => None,
            };
            match reason {
                None => asked.push((source, settings)),
                Some(reason) => left_out.push(SourceAnswer::not_asked(source, &settings, reason)),
            }
        }
        let mut outcomes = Vec::new();
        if only.is_empty() && self.on_chain.sandbox() {
            let (on_chain, off_chain): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(source, _)| source.on_chain());
            outcomes = self.ask_all(on_chain, pair, symbols.as_ref(), moment).await;
            let known = outcomes.iter().any(|asked| !is_unknown(&asked.outcome));
            if known {
                let reason = "the sandbox's money is play money, its prices are on its chain";
                left_out.extend(
                    off_chain.iter().map(|(source, settings)| SourceAnswer::not_asked(*source, settings, reason)),
                );
                asked = Vec::new();
            } else {
                asked = off_chain;
            }
        }
        outcomes.extend(self.ask_all(asked, pair, symbols.as_ref(), moment).await);
        self.answer(pair, outcomes, left_out)
    }

    async fn ask_all(
        &self,
        sources: Vec<(SourceName, Settings)>,
        pair: &Pair,
        symbols: Option<&Symbols>,
        moment: Option<&Moment>,
    ) -> Vec<Asked> {
        join_all(sources.into_iter().map(|(source, settings)| self.ask(source, settings, pair, symbols, moment))).await
    }

    /// What is kept of the block that head tracking saw last; nothing where it saw none, or its state cannot be had.
    async fn kept(&self) -> Option<Arc<Kept>> {
        let head = self.on_chain.chain.head()?;
        let mut kept = self.kept.lock().await;
        let now_ms = self.now_ms();
        let fresh =
            |kept: &&Arc<Kept>| kept.moment.head.hash == head.hash && (0..KEPT_MS).contains(&(now_ms - kept.since_ms));
        if let Some(kept) = kept.as_ref().filter(fresh) {
            return Some(Arc::clone(kept));
        }
        let moment = self.on_chain.seen(head).await.ok()?;
        let new = Arc::new(Kept { moment, since_ms: now_ms, prices: Mutex::default() });
        *kept = Some(Arc::clone(&new));
        Some(new)
    }

    fn answer(&self, pair: &Pair, outcomes: Vec<Asked>, left_out: Vec<SourceAnswer>) -> Result<PriceAnswer> {
        let now_ms = self.now_ms();
        let mut given = Vec::new();
        let mut failed_weight = 0;
        for asked in &outcomes {
            match &asked.outcome {
                Ok(tick) => given.push(Given {
                    price: tick.price,
                    at_ms: tick.at_ms,
                    weight: asked.settings.weight,
                    stale_after_ms: i64::from(asked.settings.stale_after_seconds) * 1_000,
                    sound: tick.problem.is_none(),
                }),
                outcome if !is_unknown(outcome) => failed_weight += asked.settings.weight,
                Err(_) => {}
            }
        }
        let judged = judge(&given, now_ms, u64::from(self.config.deviation_max_bps), failed_weight);
        let mut sources = shown(outcomes, &judged, now_ms);
        sources.extend(left_out);
        sources.sort_by_key(|source| source.source);
        PriceAnswer::of(pair, &judged, sources, now_ms)
    }
}

fn is_unknown<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|fault| matches!(fault.code, Code::NotFound | Code::Unsupported | Code::NotConfigured))
}

fn shown(outcomes: Vec<Asked>, judged: &Judged, now_ms: i64) -> Vec<SourceAnswer> {
    let mut verdicts = judged.verdicts.iter();
    let show = |asked: Asked| {
        let unknown = is_unknown(&asked.outcome);
        let mut answer = SourceAnswer::asked(asked.source, &asked.settings, asked.took_ms);
        match asked.outcome {
            Ok(tick) => {
                answer.verdict = verdicts.next().copied().unwrap_or(Verdict::Failed);
                answer.deviation_bps = judged.price.map(|price| tick.price.deviation_bps(price));
                (answer.price, answer.at_ms, answer.age_ms) =
                    (Some(tick.price), Some(tick.at_ms), Some(now_ms - tick.at_ms));
                (answer.instrument, answer.note, answer.error) = (Some(tick.instrument), tick.note, tick.problem);
            }
            Err(fault) => {
                answer.verdict = if unknown { Verdict::Unknown } else { Verdict::Failed };
                answer.error = Some(fault.to_string());
            }
        }
        answer
    };
    outcomes.into_iter().map(show).collect()
}

#[async_trait]
impl Prices for Engine {
    async fn reference(&self, asset: &Asset, currency: &str) -> Result<ReferencePrice> {
        let pair = Pair::of(asset.clone(), currency)?;
        let Some(kept) = self.kept().await else { return Ok(self.price(&pair, &[]).await?.reference) };
        let cell = Arc::clone(kept.prices.lock().entry(pair.clone()).or_default());
        let read = async || Ok::<_, Fault>(self.price_at(&pair, &[], Some(&kept.moment)).await?.reference);
        let price = cell.get_or_try_init(read).await?;
        Ok(ReferencePrice { age_ms: self.now_ms() - price.at_ms, ..price.clone() })
    }
}
