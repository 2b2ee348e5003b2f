//! One trace id from the client to the chain and back: W3C Trace Context, `traceparent` version 00.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ids::random_bytes;
use crate::{Clock, Fault, UnixMs};

/// A piece of work that ended: one call of one tool, its way through the gateway, or one request to the chain's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where in its trace.
    pub trace: Trace,
    /// The server; [`GATEWAY`] or [`NODE`] for what is no tool's.
    pub server: String,
    /// The tool; at the node the method.
    pub tool: String,
    /// `ok`, or the stable code of the refusal or failure.
    pub outcome: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub start_ms: UnixMs,
    /// How long it took.
    pub took: Duration,
}

/// Where a trace's spans go, once they end. Must not wait.
pub type SpanSink = Arc<dyn Fn(Span) + Send + Sync>;

/// The server of a span that is a call's way through the gateway.
pub const GATEWAY: &str = "gateway";
/// The server of a span that is a request to the chain's node.
pub const NODE: &str = "node";

/// Spans that a process keeps for reading: some megabyte.
pub const SPANS_MAX: usize = 8_192;

/// The newest spans of a process, for whoever asks how a call went. What the fleet looks at by itself over and over is not among them
/// ([`crate::Caller::standing`]): it would push out what somebody did. Cloning shares them.
#[derive(Clone, Default)]
pub struct Spans {
    newest: Arc<Mutex<VecDeque<Span>>>,
    sink: Option<SpanSink>,
}

impl Spans {
    /// Spans that `sink` gets too.
    pub fn with_sink(sink: SpanSink) -> Self {
        Self { sink: Some(sink), ..Self::default() }
    }

    /// Has the sink have a span, where there is one, and keeps nothing.
    pub fn send(&self, span: impl FnOnce() -> Span) {
        if let Some(sink) = &self.sink {
            sink(span());
        }
    }

    /// Keeps a span, in place of the oldest when there is no room.
    pub fn keep(&self, span: Span) {
        self.send(|| span.clone());
        let mut kept = self.newest.lock();
        if kept.len() == SPANS_MAX {
            kept.pop_front();
        }
        kept.push_back(span);
    }

    /// What is kept of a trace, in the order in which it ended.
    pub fn of(&self, trace_id: u128) -> Vec<Span> {
        self.newest.lock().iter().filter(|span| span.trace.trace_id == trace_id).cloned().collect()
    }
}

tokio::task_local! {
    /// The call that this task works on, and where its spans are kept.
    static HERE: (Trace, Spans);
}

/// Does `work` as part of `trace`: what it asks of the node is kept in `spans` under it ([`note`]). Tasks that it spawns are not part of it.
pub async fn within<F: Future>(trace: Trace, spans: Spans, work: F) -> F::Output {
    HERE.scope((trace, spans), work).await
}

/// Keeps a piece of work that just ended under the call that this task works on; nothing where it works on none.
pub fn note(server: &str, tool: &str, outcome: &str, clock: &Clock, began: Instant) {
    // An error means that this task works on no call that is kept.
    HERE.try_with(|(trace, spans)| spans.keep(Span::ended(trace.child(), (server, tool), outcome, clock, began))).ok();
}

impl Span {
    /// A span that ends now.
    pub fn ended(trace: Trace, (server, tool): (&str, &str), outcome: &str, clock: &Clock, began: Instant) -> Self {
        let took = began.elapsed();
        let start_ms = clock.now_ms() - i64::try_from(took.as_millis()).unwrap_or(0);
        Self { trace, server: server.into(), tool: tool.into(), outcome: outcome.into(), start_ms, took }
    }
}

/// Where in a trace a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The whole request's id, 16 bytes, never zero.
    pub trace_id: u128,
    /// This span's id, 8 bytes, never zero.
    pub span_id: u64,
    /// The span that caused this one, 0 at the root.
    pub parent_id: u64,
}

impl Trace {
    /// A new trace.
    pub fn root() -> Self {
        Self { trace_id: u128::from_be_bytes(random_bytes()) | 1, span_id: new_span(), parent_id: 0 }
    }

    /// A span under this one.
    #[must_use]
    pub fn child(self) -> Self {
        Self { trace_id: self.trace_id, span_id: new_span(), parent_id: self.span_id }
    }

    /// Continues the trace of a `traceparent` header, or starts one when there is none or it is malformed.
    pub fn continue_from(traceparent: Option<&str>) -> Self {
        traceparent.and_then(|text| text.parse::<Self>().ok()).map_or_else(Self::root, Self::child)
    }

    /// The trace id as 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

fn new_span() -> u64 {
    u64::from_be_bytes(random_bytes()) | 1
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

impl FromStr for Trace {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = || Fault::invalid("malformed traceparent").hint("00-{32 hex}-{16 hex}-{2 hex}");
        let mut parts = text.trim().split('-');
        let mut part = |width: usize| {
            let part = parts.next().filter(|part| part.len() == width)?;
            part.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(part)
        };
        let (version, trace_id, span_id) = (part(2), part(32), part(16));
        part(2).ok_or_else(bad)?;
        let trace_id = u128::from_str_radix(trace_id.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        let span_id = u64::from_str_radix(span_id.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        if version.is_none_or(|version| version == "ff") || trace_id == 0 || span_id == 0 {
            return Err(bad());
        }
        Ok(Self { trace_id, span_id, parent_id: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_call_asks_is_kept_under_it_and_the_oldest_goes() {
        let (spans, clock, call) = (Spans::default(), Clock::manual(5), Trace::root());
        note(NODE, "eth_call", "ok", &clock, Instant::now());
        within(call, spans.clone(), async { note(NODE, "eth_call", "ok", &clock, Instant::now()) }).await;
        let kept = spans.of(call.trace_id);
        assert_eq!(kept.len(), 1, "nothing outside of a call: {kept:?}");
        assert_eq!((kept[0].trace.parent_id, kept[0].tool.as_str()), (call.span_id, "eth_call"));
        for _ in 0..SPANS_MAX {
            spans.keep(Span::ended(Trace::root(), ("a", "b"), "ok", &clock, Instant::now()));
        }
        assert!(spans.of(call.trace_id).is_empty());
        assert_eq!(spans.newest.lock().len(), SPANS_MAX);
    }

    #[test]
    fn continues_a_good_header_and_ignores_a_bad_one() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::continue_from(Some(header));
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent_id, 0xb7ad6b7169203331);
        for bad in [
            "",
            "00-",
            "00-0-0-0",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "é",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(bad.parse::<Trace>().is_err(), "{bad}");
        }
    }
}
