//! One provider: its key, its connections, its breaker, and how a request of it is tried.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use kernel::backoff::Backoff;
use kernel::breaker::{Breaker, State};
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::mask::MASK;
use kernel::models::{Embedded, Listener, Provider, SAID_BYTES_MAX, Said, Stop, Wish};
use kernel::{Clock, Code, Fault, Result, Secret, Tasks};
use mcp::client::http::{Begun, Plain};
use mcp::client::sse::Reader;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::config::{Config, Kind, ProviderConfig};
use crate::retry::{Again, Trouble, wait_of};
use crate::wire::{Folded, unreadable};
use crate::{anthropic, openai};

/// Most tries of one request.
const TRIES_MAX: u32 = 4;
/// Longest wait that a provider may ask for; who must wait for longer is told so.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How tries after a failure spread out.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(8) };
/// How long a list of models may take.
const LIST_TIME: Duration = Duration::from_secs(10);
/// Most models of a provider that are told.
const MODELS_MAX: usize = 500;
/// How much of a refusal is read, in bytes, and quoted, in characters.
const REASON_BYTES_MAX: usize = 64 << 10;
const REASON_CHARS_MAX: usize = 300;
/// Largest event of a stream, in bytes.
const EVENT_BYTES_MAX: usize = SAID_BYTES_MAX + (1 << 20);

/// How long a provider may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    first: Duration,
    silence: Duration,
}

impl Times {
    pub(crate) fn of(config: &Config) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self { first: seconds(config.first_word_seconds), silence: seconds(config.silence_seconds) }
    }
}

/// A provider.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) serves: Vec<String>,
    /// Where its key should be, when there is none.
    pub(crate) missing: Option<String>,
    kind: Kind,
    http: Plain,
    key: Option<Secret>,
    breaker: Breaker,
    times: Times,
    clock: Clock,
}

impl Served {
    pub(crate) fn new(
        name: &str,
        about: &ProviderConfig,
        key: Option<Secret>,
        times: Times,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self> {
        let headers = match about.kind {
            Kind::Anthropic => anthropic::headers(key.as_ref()),
            Kind::Openai | Kind::Compatible => openai::headers(key.as_ref()),
        }?;
        let url = about.url.parse().map_err(|_| Fault::invalid("its url cannot be read"))?;
        let missing = about.key_place().filter(|_| key.is_none()).map(ToOwned::to_owned);
        Ok(Self {
            name: name.to_owned(),
            serves: about.models.clone(),
            missing,
            kind: about.kind,
            http: Plain::new(&url, headers, tasks)?,
            key,
            breaker: Breaker::default(),
            times,
            clock,
        })
    }

    pub(crate) async fn chat(&self, model: &str, wish: &Wish, listener: &dyn Listener) -> Result<Said> {
        let (path, body) = match self.kind {
            Kind::Anthropic => (anthropic::CHAT, anthropic::request(model, wish)),
            Kind::Openai => (openai::CHAT, openai::request(model, wish, true)),
            Kind::Compatible => (openai::CHAT, openai::request(model, wish, false)),
        };
        let body = Bytes::from(body.to_string());
        let mut tries = 0;
        loop {
            tries += 1;
            let ended = match self.begin(path, Some(body.clone()), self.times.first).await {
                Ok(begun) => self.heard(begun, listener).await,
                Err(trouble) => Err(trouble),
            };
            match ended {
                Ok((folded, broken)) => return Ok(self.said(model, folded, broken)),
                Err(trouble) => self.wait(trouble, tries).await?,
            }
        }
    }

    pub(crate) async fn embed(&self, model: &str, texts: &[String]) -> Result<Embedded> {
        if self.kind == Kind::Anthropic {
            return Err(Fault::unsupported(format!("{} has no embeddings", self.name))
                .hint("set models.embedding_model to a model of another provider"));
        }
        let body = json!({ "model": model, "input": texts, "encoding_format": "float" });
        let body = Bytes::from(body.to_string());
        let mut tries = 0;
        loop {
            tries += 1;
            let whole = match self.begin(openai::EMBED, Some(body.clone()), self.times.first).await {
                Ok(begun) => self.whole(begun, self.times.first).await,
                Err(trouble) => Err(trouble),
            };
            match whole {
                Ok(body) => {
                    let (vectors, usage) = openai::vectors(&body, texts.len()).map_err(|fault| self.named(fault))?;
                    return Ok(Embedded { provider: self.name.clone(), model: model.to_owned(), vectors, usage });
                }
                Err(trouble) => self.wait(trouble, tries).await?,
            }
        }
    }

    pub(crate) async fn row(&self, ask: bool) -> Provider {
        let mut row = Provider {
            name: self.name.clone(),
            ready: self.missing.is_none(),
            trouble: self.missing.as_ref().map(|place| format!("it needs a key: set {place}")),
            serves: self.serves.clone(),
            models: Vec::new(),
        };
        if self.breaker.state() != State::Closed {
            row.trouble = Some("it failed several times in a row and is left alone for a while".into());
        } else if ask && row.ready {
            match self.list().await {
                Ok(models) => row.models = models,
                Err(fault) => row.trouble = Some(fault.to_string()),
            }
        }
        row
    }

    async fn list(&self) -> Result<Vec<String>> {
        let path = if self.kind == Kind::Anthropic { anthropic::MODELS } else { openai::MODELS };
        let begun = self.begin(path, None, LIST_TIME).await.map_err(|trouble| trouble.fault)?;
        let body = self.whole(begun, LIST_TIME).await.map_err(|trouble| trouble.fault)?;
        let told: Value = serde_json::from_slice(&body)
            .map_err(|error| self.named(Fault::upstream(format!("its list of models cannot be read: {error}"))))?;
        let ids = told["data"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str());
        let mut models: Vec<String> = ids.take(MODELS_MAX).map(|id| self.clean(id)).collect();
        models.sort();
        Ok(models)
    }

    /// Waits until the next try, or gives the trouble up.
    async fn wait(&self, trouble: Trouble, tries: u32) -> Result<()> {
        let Trouble { fault, again } = trouble;
        let wait = match again {
            Again::Never => return Err(fault),
            _ if tries >= TRIES_MAX => return Err(fault),
            Again::After(wait) if wait > WAIT_MAX => return Err(fault),
            Again::After(wait) => wait,
            Again::Later => AGAIN.wait(tries),
        };
        sleep(wait).await;
        Ok(())
    }

    /// Sends a request and takes the head of a response that is an answer.
    async fn begin(&self, path: &str, body: Option<Bytes>, time: Duration) -> Result<Begun, Trouble> {
        let now_ms = self.clock.now_ms();
        if !self.breaker.admits(now_ms) {
            let fault = Fault::unavailable("it failed several times in a row and is left alone for a while");
            return Err(Trouble::never(self.named(fault)));
        }
        self.breaker.began(now_ms);
        let begun = timeout(time, self.http.send(path, body)).await;
        let begun = begun.unwrap_or_else(|_| Err(Fault::timeout(format!("no answer within {} s", time.as_secs()))));
        let begun = match begun {
            Ok(begun) => begun,
            Err(fault) => {
                self.breaker.failed(self.clock.now_ms());
                // Somebody may be paid already for what takes so long.
                let late = fault.code == Code::Timeout;
                let fault = self.named(fault);
                return Err(if late { Trouble::never(fault) } else { Trouble::later(fault) });
            }
        };
        if begun.status() == 200 {
            self.breaker.succeeded();
            return Ok(begun);
        }
        let trouble = self.refused(begun).await;
        match trouble.fault.code {
            Code::Unavailable => self.breaker.failed(self.clock.now_ms()),
            _ => self.breaker.succeeded(),
        };
        Err(trouble)
    }

    /// What came instead of an answer.
    async fn refused(&self, begun: Begun) -> Trouble {
        let (status, wait) = (begun.status(), wait_of(begun.headers(), self.clock.now_ms()));
        let body = timeout(self.times.silence, begun.whole(REASON_BYTES_MAX)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let told: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let words = told["error"]["message"].as_str().or(told["error"].as_str()).unwrap_or("no reason given");
        let spent = told["error"]["code"] == "insufficient_quota" || told["error"]["type"] == "insufficient_quota";
        let code = match status {
            300..=399 => Code::Upstream,
            400 | 422 => Code::InvalidArgument,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::NotFound,
            413 => Code::TooLarge,
            429 => Code::RateLimited,
            408 | 500.. => Code::Unavailable,
            _ => Code::Upstream,
        };
        let mut fault = Fault::new(code, format!("{status} {}", self.clean(words)));
        if let Some(wait) = wait {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            fault = fault.data(json!({ "retry_after_ms": ms }));
        }
        fault = match status {
            300..=399 => fault.hint("redirects are not followed: models.providers must have its own address"),
            401 | 403 => fault.hint(format!("see the key of models.providers.{}", self.name)),
            404 => fault.hint("list_models has the models that it serves"),
            _ => fault,
        };
        let again = match (code, wait) {
            (Code::RateLimited, _) if spent => Again::Never,
            (Code::RateLimited | Code::Unavailable, Some(wait)) => Again::After(wait),
            (Code::RateLimited | Code::Unavailable, None) => Again::Later,
            _ => Again::Never,
        };
        Trouble { fault: self.named(fault), again }
    }

    async fn whole(&self, begun: Begun, time: Duration) -> Result<Bytes, Trouble> {
        let whole = timeout(time, begun.whole(ANSWER_BYTES_MAX)).await;
        let late = || Fault::timeout(format!("its answer took longer than {} s", time.as_secs()));
        whole.unwrap_or_else(|_| Err(late())).map_err(|fault| Trouble::never(self.named(fault)))
    }

    /// Hears a stream to its end. What broke off after it had begun is told with what came.
    async fn heard(&self, mut begun: Begun, listener: &dyn Listener) -> Result<(Folded, Option<Fault>), Trouble> {
        let kind = header(begun.headers());
        if !kind.eq_ignore_ascii_case("text/event-stream") {
            let fault = Fault::upstream(format!("it answers with `{}` instead of a stream", self.clean(&kind)));
            return Err(Trouble::never(self.named(fault)));
        }
        let mut folded = Folded::default();
        let broken = match self.fold(&mut begun, &mut folded, listener).await {
            Ok(()) => None,
            Err(trouble) if folded.begun() => Some(self.named(trouble.fault)),
            Err(trouble) => return Err(Trouble { fault: self.named(trouble.fault), ..trouble }),
        };
        Ok((folded, broken))
    }

    async fn fold(&self, begun: &mut Begun, folded: &mut Folded, listener: &dyn Listener) -> Result<(), Trouble> {
        let mut reader = Reader::new(EVENT_BYTES_MAX);
        while !self.is_whole(folded) {
            let time = if folded.begun() { self.times.silence } else { self.times.first };
            let late = || Err(Fault::timeout(format!("it fell silent for {} s", time.as_secs())));
            let piece = timeout(time, begun.piece()).await.unwrap_or_else(|_| late()).map_err(Trouble::later)?;
            let Some(piece) = piece else { break };
            reader.push(&piece).map_err(|_| unreadable(&"it is too large"))?;
            while let Some(event) = reader.next_event() {
                if event.data.trim_ascii() == b"[DONE]" {
                    return self.ended(folded);
                }
                let event: Value = serde_json::from_slice(&event.data).map_err(|error| unreadable(&error))?;
                let news = match self.kind {
                    Kind::Anthropic => anthropic::event(folded, &event),
                    Kind::Openai | Kind::Compatible => openai::event(folded, &event),
                }?;
                if !news.words.is_empty() {
                    listener.hear(&news.words).await;
                }
            }
        }
        self.ended(folded)
    }

    /// OpenAI's figures come after the end of the words: only its own mark ends the stream.
    fn is_whole(&self, folded: &Folded) -> bool {
        self.kind == Kind::Anthropic && folded.whole
    }

    fn ended(&self, folded: &Folded) -> Result<(), Trouble> {
        if folded.whole {
            return Ok(());
        }
        Err(Trouble::later(Fault::unavailable("the answer broke off")))
    }

    fn said(&self, model: &str, mut folded: Folded, broken: Option<Fault>) -> Said {
        if broken.is_some() {
            folded.stop = Some(Stop::Broken);
            // Half a call is none.
            folded.calls.clear();
        }
        anthropic::close(&mut folded);
        folded.unwrap_answer();
        Said {
            provider: self.name.clone(),
            model: model.to_owned(),
            text: folded.text,
            calls: folded.calls,
            stop: folded.stop.unwrap_or(Stop::End),
            usage: folded.usage,
            broken,
        }
    }

    fn named(&self, mut fault: Fault) -> Fault {
        fault.message = format!("{}: {}", self.name, self.clean(&fault.message));
        fault
    }

    /// Somebody else's words without our key, control characters and endless length.
    fn clean(&self, words: &str) -> String {
        let key = self.key.as_ref().map(Secret::expose).filter(|key| !key.is_empty());
        let words = key.map_or_else(|| words.to_owned(), |key| words.replace(key, MASK));
        words.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

fn header(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_owned()
}
