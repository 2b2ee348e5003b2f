//! `sources` and `set_source`.

use kernel::breaker::State;
use kernel::{Fault, UnixMs};
use mcp::{Ctx, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::exchange::client::Stats;
use super::source::{SourceChange, SourceName};

/// What [`SOURCES`](super::SOURCES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesRequest {
    /// Only this one; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceName>,
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Requests go through.
    Closed,
    /// One is under way to see whether more may follow.
    HalfOpen,
    /// None goes through for a moment.
    Open,
}

/// A source, what is set of it and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SourceRow {
    /// The source.
    pub source: SourceName,
    /// Whether it is asked.
    pub enabled: bool,
    /// Whether it is read on the chain; the others are asked over HTTP.
    pub on_chain: bool,
    /// How much its answer counts among the others'.
    pub weight: u32,
    /// After how long an answer of its is stale, in seconds.
    pub stale_after_seconds: u32,
    /// Where it answers; absent for sources on the chain.
    pub base_url: Option<String>,
    /// Most requests to it in a minute; for Binance their weight. Absent for sources on the chain.
    pub requests_per_minute: Option<u32>,
    /// What an administrator set; empty when nothing.
    pub set: SourceChange,
    /// How its breaker stands in this process; absent for sources on the chain, which chain_status tells of.
    pub breaker: Option<BreakerState>,
    /// Requests made by this process.
    pub requests: u64,
    /// Those that failed for reasons of the source's.
    pub failures: u64,
    /// How long an answer takes, in milliseconds: an average that favours the newest.
    pub latency_ms: Option<u64>,
    /// When it last answered, in milliseconds since the Unix epoch.
    pub last_answer_ms: Option<UnixMs>,
    /// When it last failed, in milliseconds since the Unix epoch.
    pub last_failure_ms: Option<UnixMs>,
    /// How.
    pub last_failure: Option<String>,
    /// Until when it wants not to be asked, in milliseconds since the Unix epoch.
    pub held_until_ms: Option<UnixMs>,
}

/// What [`SOURCES`](super::SOURCES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourcesAnswer {
    /// The sources.
    pub sources: Vec<SourceRow>,
    /// Whether the chain is the sandbox, whose own prices go before the exchanges'.
    pub sandbox: bool,
}

/// What [`SET_SOURCE`](super::SET_SOURCE) takes. What is absent stays as it is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSourceRequest {
    /// The source.
    pub source: SourceName,
    /// What to change.
    #[serde(default)]
    pub change: SourceChange,
    /// Whether to forget first what was set before, so that the configuration holds again.
    #[serde(default)]
    pub reset: bool,
}

impl Engine {
    pub(super) async fn sources(&self, request: SourcesRequest) -> Result<SourcesAnswer, Fault> {
        let wanted = SourceName::ALL.into_iter().filter(|source| request.source.is_none_or(|only| only == *source));
        let mut sources = Vec::new();
        for source in wanted {
            sources.push(self.row(source).await?);
        }
        Ok(SourcesAnswer { sources, sandbox: self.on_chain.sandbox() })
    }

    pub(super) async fn row(&self, source: SourceName) -> Result<SourceRow, Fault> {
        let (set, _) = self.stored(source).await?;
        let settings = self.settings(source).await?;
        let client = self.client(source);
        let stats = client.map_or_else(Stats::default, |client| client.stats());
        let now_ms = self.now_ms();
        Ok(SourceRow {
            source,
            enabled: settings.enabled,
            on_chain: source.on_chain(),
            weight: settings.weight,
            stale_after_seconds: settings.stale_after_seconds,
            base_url: client.map(|_| settings.base_url),
            requests_per_minute: client.map(|_| settings.per_minute),
            set,
            breaker: client.map(|client| match client.breaker() {
                State::Closed => BreakerState::Closed,
                State::HalfOpen => BreakerState::HalfOpen,
                State::Open => BreakerState::Open,
            }),
            requests: stats.requests,
            failures: stats.failures,
            latency_ms: stats.latency_ms,
            last_answer_ms: stats.last_answer_ms,
            last_failure_ms: stats.last_failure_ms,
            last_failure: stats.last_failure,
            held_until_ms: stats.held_until_ms.filter(|until_ms| now_ms < *until_ms),
        })
    }

    pub(super) async fn set_source(&self, request: SetSourceRequest, ctx: &Ctx) -> Result<SourceRow, ToolError> {
        let SetSourceRequest { source, change, reset } = request;
        change.check(source)?;
        if reset {
            self.keep(source, None, None).await?;
        }
        if change != SourceChange::default() {
            let (before, revision) = self.stored(source).await?;
            self.keep(source, Some(&before.and(change)), revision).await?;
        } else if !reset {
            return Err(Fault::invalid("nothing to change")
                .hint("give enabled, weight, base_url, requests_per_minute, stale_after_seconds, or reset")
                .into());
        }
        tracing::info!(%source, by = ctx.caller.name, "a source of prices was set");
        Ok(self.row(source).await?)
    }
}
