//! One trace id from the client to the chain and back: W3C Trace Context, `traceparent` version 00.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ids::random_bytes;
use crate::{Fault, UnixMs};

/// A piece of work that ended: one call of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where in its trace.
    pub trace: Trace,
    /// The server.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// `ok`, or the stable code of the refusal or failure.
    pub outcome: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub start_ms: UnixMs,
    /// How long it took.
    pub took: Duration,
}

/// Where a trace's spans go, once they end. Must not wait.
pub type SpanSink = std::sync::Arc<dyn Fn(Span) + Send + Sync>;

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
