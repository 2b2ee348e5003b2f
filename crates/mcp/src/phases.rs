//! The phases of every tool call: authorise, limit, run, record.
//!
//! Whoever runs a tool runs its phases: a service for its own tools, the gateway for those of upstreams. So each call leaves one row
//! in the audit trail and one count in the metrics, wherever it came in.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kernel::audit::{Audit, Record, Recorder, hex, kept_arguments};
use kernel::meters::{Meters, Rate, Shared};
use kernel::metrics::Metrics;
use kernel::tasks::catch_panic;
use kernel::trace::{Span, SpanSink, Spans, within};
use kernel::{Access, Clock, Code, Fault};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::ctx::Ctx;
use crate::error::{RpcError, ToolError};
use crate::reply::{Outcome, Reply};

/// `[limits]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls per second that one key may make of one tool, on average: of one process, or of all together where they share buckets (`REDIS_URL`).
    pub calls_per_second: f64,
    /// Calls that one key may make of one tool at once, above the average.
    pub burst: u32,
    /// Calls of one key that may be under way in one process at the same time, over all tools.
    pub concurrent_per_key: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        // A safety net against loops gone wild, far above what agents do: one process answers about 20,000 calls a second.
        Self { calls_per_second: 50_000.0, burst: 100_000, concurrent_per_key: 1_024 }
    }
}

/// Where the phases write their rows.
#[async_trait]
pub trait Trail: Send + Sync {
    /// Takes a row; waits while the trail cannot keep up. A row taken is never lost.
    async fn record(&self, record: Record) -> Result<(), Fault>;
}

#[async_trait]
impl Trail for Recorder {
    async fn record(&self, record: Record) -> Result<(), Fault> {
        Self::record(self, record).await
    }
}

/// Writes each row at once, each for itself: where calls are few.
pub struct Direct(pub Arc<dyn Audit>);

#[async_trait]
impl Trail for Direct {
    async fn record(&self, record: Record) -> Result<(), Fault> {
        self.0.append(&[record]).await
    }
}

/// What the phases need to know of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallSpec<'a> {
    /// The server.
    pub server: &'a str,
    /// The tool.
    pub tool: &'a str,
    /// What it asks of its caller.
    pub access: Access,
    /// How long it may take.
    pub time: Duration,
}

/// The phases. Cloning shares them.
#[derive(Clone)]
pub struct Phases {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    metrics: Metrics,
    trail: Arc<dyn Trail>,
    config: LimitsConfig,
    kept: Spans,
    meters: Meters,
    under_way: Mutex<HashMap<String, u32>>,
}

struct UnderWay<'a> {
    inner: &'a Inner,
    key: String,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.inner.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.key);
            }
        }
    }
}

impl Phases {
    /// The phases of a process.
    pub fn new(clock: Clock, metrics: Metrics, trail: Arc<dyn Trail>, config: LimitsConfig) -> Self {
        let (meters, under_way) = (Meters::new(clock.clone(), None), Mutex::default());
        let kept = Spans::default();
        Self { inner: Arc::new(Inner { clock, metrics, trail, config, kept, meters, under_way }) }
    }

    /// Has calls metered together with the processes that share these buckets. To be said before the phases are shared.
    #[must_use]
    pub fn with_shared_limits(mut self, shared: Shared) -> Self {
        match Arc::get_mut(&mut self.inner) {
            Some(inner) => inner.meters = Meters::new(inner.clock.clone(), Some(shared)),
            None => tracing::error!("shared limits were asked for too late; this process keeps to them alone"),
        }
        self
    }

    /// Has every span sent to `spans`. To be said before the phases are shared.
    #[must_use]
    pub fn with_spans(mut self, spans: SpanSink) -> Self {
        match Arc::get_mut(&mut self.inner) {
            Some(inner) => inner.kept = Spans::with_sink(spans),
            None => tracing::error!("spans were asked for too late; none are sent"),
        }
        self
    }

    /// The newest spans of this process, without those of standing looks.
    pub fn kept(&self) -> &Spans {
        &self.inner.kept
    }

    /// Runs `work` as a call of `spec`'s tool. Refusals, time-outs and panics become results with `isError`.
    pub async fn run<F>(
        &self,
        spec: &CallSpec<'_>,
        arguments: Option<&RawValue>,
        ctx: &Ctx,
        work: F,
    ) -> Result<Reply, ToolError>
    where
        F: Future<Output = Result<Outcome, ToolError>>,
    {
        let began = Instant::now();
        let outcome = match self.admit(spec, ctx).await {
            Ok(_under_way) if ctx.caller.standing => run_bounded(spec, ctx, work).await,
            Ok(_under_way) => within(ctx.trace, self.inner.kept.clone(), run_bounded(spec, ctx, work)).await,
            Err(fault) => Err(fault.into()),
        };
        let outcome = match outcome {
            Err(ToolError::Fault(fault)) => Ok(Outcome::refused(&fault)),
            other => other,
        };
        let (code, body) = match &outcome {
            Ok(outcome) => (outcome.code, outcome.body.get()),
            Err(ToolError::Ask(_)) => ("input_required", ""),
            Err(_) => ("protocol_error", ""),
        };
        self.record(spec, arguments, ctx, code, body, began.elapsed()).await;
        outcome.map(Outcome::into_reply)
    }

    /// Runs `work` as a call of `spec` that answers in words of its own: its answer and its refusal come back as they are. The phases see
    /// what `outcome` and `fault` make of them.
    ///
    /// # Errors
    /// The work's refusal, or that of a phase.
    pub async fn around<T, E: From<Fault>>(
        &self,
        spec: &CallSpec<'_>,
        arguments: Option<&RawValue>,
        ctx: &Ctx,
        work: impl Future<Output = Result<T, E>>,
        (outcome, fault): (impl Fn(&T) -> Result<Outcome, Fault>, impl Fn(&E) -> Fault),
    ) -> Result<T, E> {
        // What the phases pass on is a tool's result: the answer itself goes beside it.
        let told: Mutex<Option<Result<T, E>>> = Mutex::new(None);
        let work = async {
            let ended = work.await;
            let shown = match &ended {
                Ok(answer) => outcome(answer)?,
                Err(refusal) => {
                    let fault = fault(refusal);
                    *told.lock() = Some(ended);
                    return Err(fault.into());
                }
            };
            *told.lock() = Some(ended);
            Ok(shown)
        };
        let reply = self.run(spec, arguments, ctx, work).await;
        match (told.into_inner(), reply) {
            (Some(ended), _) => ended,
            // Refused before the work, or cut off in it.
            (None, Ok(reply)) => {
                let refused = crate::toolbox::structured(&reply).err();
                Err(refused.unwrap_or_else(|| Fault::internal("an answer without a result")).into())
            }
            (None, Err(_)) => Err(Fault::internal("a refusal that is none of a call's").into()),
        }
    }

    async fn admit<'a>(&'a self, spec: &CallSpec<'_>, ctx: &Ctx) -> Result<UnderWay<'a>, Fault> {
        ctx.caller.require(spec.access, &format_args!("{}.{}", spec.server, spec.tool).to_string())?;
        let inner = &*self.inner;
        self.meter(spec, ctx).await?;
        let mut under_way = inner.under_way.lock();
        let count = under_way.entry(ctx.caller.name.clone()).or_insert(0);
        if *count >= inner.config.concurrent_per_key {
            let text = format!("{count} calls of key {} are under way", ctx.caller.name);
            return Err(Fault::new(Code::RateLimited, text)
                .hint("wait for some to end")
                .data(json!({ "retry_after_ms": 100 })));
        }
        *count += 1;
        Ok(UnderWay { inner, key: ctx.caller.name.clone() })
    }

    async fn meter(&self, spec: &CallSpec<'_>, ctx: &Ctx) -> Result<(), Fault> {
        let inner = &*self.inner;
        let rate = Rate { per_second: inner.config.calls_per_second, burst: inner.config.burst };
        // Neither servers nor tools have line ends in their names, so no two meters have one name.
        let name = format!("{}\n{}\n{}", spec.server, spec.tool, ctx.caller.name);
        inner.meters.take(name, rate).await.map_err(|retry_after_ms| {
            Fault::new(Code::RateLimited, format!("too many calls of {}.{}", spec.server, spec.tool))
                .hint(format!("try again in {retry_after_ms} ms"))
                .data(json!({ "retry_after_ms": retry_after_ms }))
        })
    }

    /// Counts and records a call that ended.
    pub async fn record(
        &self,
        spec: &CallSpec<'_>,
        arguments: Option<&RawValue>,
        ctx: &Ctx,
        outcome: &str,
        body: &str,
        took: Duration,
    ) {
        let inner = &*self.inner;
        inner.metrics.call_ended(spec.server, spec.tool, outcome, took);
        let now_ms = inner.clock.now_ms();
        let span = || {
            let start_ms = now_ms - i64::try_from(took.as_millis()).unwrap_or(0);
            let (server, tool, outcome) = (spec.server.to_owned(), spec.tool.to_owned(), outcome.to_owned());
            Span { trace: ctx.trace, server, tool, outcome, start_ms, took }
        };
        // See `Caller::standing`: what the fleet looks at by itself, all the time, would bury what anybody did.
        if ctx.caller.standing && spec.access == Access::Read && outcome == "ok" {
            inner.kept.send(span);
            return;
        }
        inner.kept.keep(span());
        let result_sha256 =
            if body.is_empty() { String::new() } else { hex(digest(&SHA256, body.as_bytes()).as_ref()) };
        let record = Record {
            at_ms: now_ms,
            caller: ctx.caller.name.clone(),
            role: ctx.caller.role.to_string(),
            server: spec.server.into(),
            action: spec.tool.into(),
            arguments: arguments.map_or_else(|| "{}".into(), |raw| kept_arguments(raw.get())),
            outcome: outcome.into(),
            result_sha256,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            trace_id: ctx.trace.id(),
        };
        if let Err(fault) = inner.trail.record(record).await {
            tracing::error!(%fault, server = spec.server, tool = spec.tool, "call not recorded in the audit trail");
        }
    }
}

async fn run_bounded<F>(spec: &CallSpec<'_>, ctx: &Ctx, work: F) -> Result<Outcome, ToolError>
where
    F: Future<Output = Result<Outcome, ToolError>>,
{
    let name = || format!("{}.{}", spec.server, spec.tool);
    let guarded = catch_panic(work);
    tokio::select! {
        ended = guarded => ended.unwrap_or_else(|panic| {
            tracing::error!(server = spec.server, tool = spec.tool, %panic, trace_id = %ctx.trace.id(), "tool panicked");
            Err(Fault::internal(format!("{} failed unexpectedly", name())).hint(format!("search the logs for trace {}", ctx.trace.id())).into())
        }),
        () = tokio::time::sleep(spec.time) => {
            Err(Fault::timeout(format!("{} took longer than {} s", name(), spec.time.as_secs())).into())
        }
        () = ctx.cancel.cancelled() => Err(Fault::cancelled(format!("{} was cancelled by its caller", name())).into()),
    }
}

impl From<ToolError> for RpcError {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::Rpc(error) => *error,
            ToolError::Fault(fault) => (*fault).into(),
            ToolError::Ask(_) => Self::internal("a question where none can be asked"),
        }
    }
}
