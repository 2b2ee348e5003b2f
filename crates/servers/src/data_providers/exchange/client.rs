//! Asks one source: within its limits, past its breaker, bounded in time and size, and remembers how that went.
//!
//! Invariants: nothing is asked beyond the source's own limit, nor before the time it told us to come back at (429, and Binance's 418 for those
//! who did not listen). A source that does not answer is left alone for a while. What a limit refuses costs no request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, RETRY_AFTER};
use http::{HeaderName, HeaderValue};
use kernel::breaker::{Breaker, State};
use kernel::limits::Bucket;
use kernel::{Clock, Code, Fault, UnixMs};
use parking_lot::Mutex;
use serde_json::json;

use super::{Exchange, Get};
use crate::data_providers::source::{Settings, SourceName};
use crate::outbound::{Ask, Reach, Told, fetch};

/// Largest answer, in bytes: a whole order book of Coinbase is the largest there is.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Most answers kept for use again.
const KEPT_MAX: usize = 256;
/// How long a source is left alone that said it is too much, and not for how long.
const HOLD_MS: i64 = 60_000;
/// The longest that is believed.
const HOLD_MS_MAX: i64 = 3 * 86_400_000;

/// See the module.
pub(in crate::data_providers) struct Client {
    source: SourceName,
    clock: Clock,
    breaker: Breaker,
    state: Mutex<Work>,
}

/// How it went so far.
#[derive(Debug, Clone, Default)]
pub(in crate::data_providers) struct Stats {
    pub(in crate::data_providers) requests: u64,
    pub(in crate::data_providers) failures: u64,
    pub(in crate::data_providers) latency_ms: Option<u64>,
    pub(in crate::data_providers) last_answer_ms: Option<UnixMs>,
    pub(in crate::data_providers) last_failure_ms: Option<UnixMs>,
    pub(in crate::data_providers) last_failure: Option<String>,
    /// Until when the source wants not to be asked.
    pub(in crate::data_providers) held_until_ms: Option<UnixMs>,
}

struct Work {
    /// The limit it was made for, and what is left of it.
    limit: (u32, u32, Bucket),
    kept: HashMap<String, (UnixMs, Bytes)>,
    stats: Stats,
}

/// What asking takes, beside the request.
pub(in crate::data_providers) struct Asking<'a> {
    pub(in crate::data_providers) exchange: &'a dyn Exchange,
    pub(in crate::data_providers) settings: &'a Settings,
    pub(in crate::data_providers) reach: &'a Reach,
    pub(in crate::data_providers) time: Duration,
    /// A header with a key.
    pub(in crate::data_providers) key: Option<(HeaderName, HeaderValue)>,
}

fn bucket(settings: &Settings, now_ms: UnixMs) -> (u32, u32, Bucket) {
    let per_second = f64::from(settings.per_minute) / 60.0;
    (settings.per_minute, settings.burst, Bucket::new(per_second, f64::from(settings.burst), now_ms))
}

impl Client {
    pub(in crate::data_providers) fn new(source: SourceName, clock: Clock) -> Self {
        let limit = bucket(&source.defaults(), clock.now_ms());
        let state = Mutex::new(Work { limit, kept: HashMap::new(), stats: Stats::default() });
        Self { source, clock, breaker: Breaker::default(), state }
    }

    pub(in crate::data_providers) fn breaker(&self) -> State {
        self.breaker.state()
    }

    pub(in crate::data_providers) fn stats(&self) -> Stats {
        self.state.lock().stats.clone()
    }

    /// Makes the request and reads the answer, or reads one that may be used again.
    ///
    /// # Errors
    /// `rate_limited` when it is too much (the data say when to come back), `unavailable` when the source is left alone or does not
    /// answer, `upstream` when it answers with a failure or with what is not documented; what `read` refuses.
    pub(in crate::data_providers) async fn ask<T>(
        &self,
        asking: Asking<'_>,
        get: &Get,
        read: impl FnOnce(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let url = format!("{}{}", asking.settings.base_url, get.path);
        if let Some(body) = self.kept(&url) {
            return read(&body);
        }
        self.admit(asking.settings, get.cost).map_err(|fault| fault.context(self.source))?;
        let began = Instant::now();
        let outcome = match self.exchange(&asking, &url).await {
            Ok(body) => read(&body).map(|value| (value, body)),
            Err(fault) => Err(fault),
        };
        self.note(&outcome, began);
        let (value, body) = outcome.map_err(|fault| fault.context(self.source))?;
        if get.keep_ms > 0 {
            self.keep(url, get.keep_ms, body);
        }
        Ok(value)
    }

    fn kept(&self, url: &str) -> Option<Bytes> {
        let (now_ms, state) = (self.clock.now_ms(), self.state.lock());
        state.kept.get(url).filter(|(until_ms, _)| now_ms < *until_ms).map(|(_, body)| body.clone())
    }

    fn keep(&self, url: String, keep_ms: i64, body: Bytes) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        if state.kept.len() >= KEPT_MAX {
            state.kept.retain(|_, (until_ms, _)| now_ms < *until_ms);
        }
        if state.kept.len() < KEPT_MAX {
            state.kept.insert(url, (now_ms + keep_ms, body));
        }
    }

    /// Whether a request may leave, by what the source said, its limit and the breaker, in this order.
    fn admit(&self, settings: &Settings, cost: u32) -> Result<(), Fault> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        if let Some(until_ms) = state.stats.held_until_ms.filter(|until_ms| now_ms < *until_ms) {
            return Err(too_much("it asked to be left alone", until_ms - now_ms));
        }
        if !self.breaker.admits(now_ms) {
            let last = state.stats.last_failure.as_deref().unwrap_or("it did not answer");
            return Err(Fault::unavailable(format!("left alone for a moment after failures: {last}")));
        }
        let limit = &mut state.limit;
        if (limit.0, limit.1) != (settings.per_minute, settings.burst) {
            *limit = bucket(settings, now_ms);
        }
        limit
            .2
            .take_many(cost, now_ms)
            .map_err(|wait_ms| too_much("our own limit towards it is reached", wait_ms as i64))?;
        state.stats.requests += 1;
        self.breaker.began(now_ms);
        Ok(())
    }

    async fn exchange(&self, asking: &Asking<'_>, url: &str) -> Result<Bytes, Fault> {
        let url = url.parse().map_err(|_| Fault::invalid(format!("`{url}` is not a URL")))?;
        let mut ask = Ask::get(url, asking.time, ANSWER_BYTES_MAX);
        ask.headers.push((ACCEPT, HeaderValue::from_static("application/json, application/xml")));
        ask.headers.extend(asking.key.clone());
        let told = fetch(asking.reach, ask).await?;
        if let Some(used) = asking.exchange.used(&told.headers) {
            let left = f64::from(asking.settings.per_minute) - f64::from(used);
            self.state.lock().limit.2.hold_at_most(left);
        }
        match told.status {
            418 | 429 => return Err(self.hold(&told)),
            403 | 451 => {
                return Err(Fault::upstream(format!("it refuses this address (status {})", told.status))
                    .hint("some exchanges do not serve every country; set_source turns the source off"));
            }
            500.. => return Err(Fault::upstream(format!("status {}", told.status))),
            _ => {}
        }
        match asking.exchange.refusal(told.status, &told.body) {
            Some(fault) if fault.code == Code::RateLimited => Err(self.hold(&told)),
            Some(fault) => Err(fault),
            None => Ok(told.body),
        }
    }

    /// Leaves the source alone for as long as it says.
    fn hold(&self, told: &Told) -> Fault {
        let seconds = told.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
        let wait_ms = seconds.map_or(HOLD_MS, |seconds| seconds.saturating_mul(1_000)).clamp(1_000, HOLD_MS_MAX);
        self.state.lock().stats.held_until_ms = Some(self.clock.now_ms() + wait_ms);
        let why = if told.status == 418 { "it bans this address for not slowing down" } else { "too many requests" };
        too_much(why, wait_ms)
    }

    fn note<T>(&self, outcome: &Result<T, Fault>, began: Instant) {
        let now_ms = self.clock.now_ms();
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        let stats = &mut state.stats;
        match outcome {
            Err(fault) if matches!(fault.code, Code::Unavailable | Code::Timeout | Code::Upstream | Code::TooLarge) => {
                self.breaker.failed(now_ms);
                stats.failures += 1;
                (stats.last_failure_ms, stats.last_failure) = (Some(now_ms), Some(fault.message.clone()));
            }
            outcome => {
                // A refusal is an answer too.
                self.breaker.succeeded();
                // An average that favours the newest.
                stats.latency_ms = Some(stats.latency_ms.map_or(took_ms, |before| (before * 7 + took_ms) / 8));
                match outcome {
                    Ok(_) => stats.last_answer_ms = Some(now_ms),
                    Err(fault) if fault.code == Code::RateLimited => {
                        stats.failures += 1;
                        (stats.last_failure_ms, stats.last_failure) = (Some(now_ms), Some(fault.message.clone()));
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

fn too_much(why: &str, wait_ms: i64) -> Fault {
    Fault::new(Code::RateLimited, why)
        .hint(format!("come back in {wait_ms} ms"))
        .data(json!({ "retry_after_ms": wait_ms }))
}
