//! Port: log lines kept, searched and forgotten.

mod sink;
mod text;

pub use sink::LogSink;
pub use text::{Term, terms, words};

use std::borrow::Cow;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::check_size;
use crate::{Fault, Result, UnixMs};

/// Most lines one search returns.
pub const SEARCH_MAX: usize = 10_000;
/// Longest kept message and longest kept fields (as JSON), in bytes each.
pub const TEXT_BYTES_MAX: usize = 32 << 10;
/// Longest kept name of a service and longest trace id, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// One day, in milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// How many low bits of a line's place count lines within a day; the day since the epoch is above. Places stay below 2⁵³, which
/// JavaScript can count to, until the year 2059.
pub const SEQ_DAY_BITS: u32 = 38;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For following one step.
    Trace,
    /// For finding a bug.
    Debug,
    /// Normal life.
    Info,
    /// Something is not right; nothing failed yet.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// In lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// All levels, by rank.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// 0 for trace to 4 for error.
    pub fn rank(self) -> i64 {
        self as i64
    }
}

impl std::str::FromStr for Level {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" | "information" | "notice" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "err" | "critical" | "fatal" | "alert" | "emergency" => Ok(Self::Error),
            _ => Err(Fault::invalid(format!("unknown level `{text}`")).hint("one of trace, debug, info, warn, error")),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Its place in the store, for paging; 0 until stored.
    #[serde(default)]
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// How grave.
    pub level: Level,
    /// Which service said it.
    pub service: String,
    /// What it said.
    pub message: String,
    /// The trace it belongs to, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// Structured fields.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub fields: Value,
}

impl Line {
    /// The line with what is too long cut, and the cut said.
    pub fn within_limits(&self) -> Cow<'_, Self> {
        let names = self.service.len().max(self.trace_id.as_ref().map_or(0, String::len));
        // Escaping makes at most six bytes of one, so small fields need not be written out to know that they fit.
        let fields_fit = weight(&self.fields) * 6 <= TEXT_BYTES_MAX || self.fields.to_string().len() <= TEXT_BYTES_MAX;
        if self.message.len() <= TEXT_BYTES_MAX && names <= NAME_BYTES_MAX && fields_fit {
            return Cow::Borrowed(self);
        }
        let mut line = self.clone();
        cut(&mut line.message, TEXT_BYTES_MAX);
        cut(&mut line.service, NAME_BYTES_MAX);
        if let Some(trace_id) = &mut line.trace_id {
            cut(trace_id, NAME_BYTES_MAX);
        }
        if !fields_fit {
            line.fields = serde_json::json!({"cut": format!("more than {TEXT_BYTES_MAX} bytes of fields")});
        }
        Cow::Owned(line)
    }

    /// About how many bytes the line takes in memory.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.message.len() + self.service.len() + weight(&self.fields)
    }
}

fn weight(value: &Value) -> usize {
    const EACH: usize = 8;
    EACH + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| EACH + name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => EACH * 2,
    }
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - '…'.len_utf8()));
        text.push('…');
    }
}

/// What to look for. Everything given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogQuery {
    /// Words that must all stand in the message or the fields; `"a phrase"` in double quotes; a trailing `*` matches a prefix.
    pub text: Option<String>,
    /// Only this service.
    pub service: Option<String>,
    /// This level or graver.
    pub level: Option<Level>,
    /// Only this trace.
    pub trace_id: Option<String>,
    /// At or after.
    pub from_ms: Option<UnixMs>,
    /// Before.
    pub until_ms: Option<UnixMs>,
    /// After this place, oldest first (for tailing); without it the newest come first.
    pub after_seq: Option<u64>,
    /// Before this place (for the next page of the newest).
    pub before_seq: Option<u64>,
    /// At most this many lines (≤ [`SEARCH_MAX`]).
    pub limit: usize,
}

impl LogQuery {
    /// Refuses a page larger than [`SEARCH_MAX`]; otherwise gives the text's terms.
    pub fn check(&self) -> Result<Vec<Term>> {
        check_size("a search's limit", self.limit, SEARCH_MAX)?;
        self.text.as_deref().map_or(Ok(Vec::new()), terms)
    }
}

/// How many lines of what there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// Which service.
    pub service: String,
    /// Which level.
    pub level: Level,
    /// How many lines.
    pub lines: u64,
    /// When the newest of them was said, in milliseconds since the Unix epoch.
    pub last_ms: UnixMs,
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogUsage {
    /// Lines kept.
    pub lines: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The oldest line's time, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<UnixMs>,
    /// Days kept, oldest first, as `YYYY-MM-DD`.
    pub days: Vec<String>,
}

/// The port.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Keeps `lines`, in order, each cut to the limits ([`Line::within_limits`]); gives them their places.
    async fn append(&self, lines: &[Line]) -> Result<()>;

    /// Finds lines.
    async fn search(&self, query: LogQuery) -> Result<Vec<Line>>;

    /// Counts by service and level over a time range.
    async fn counts(&self, from_ms: UnixMs, until_ms: UnixMs) -> Result<Vec<Count>>;

    /// What is kept.
    async fn usage(&self) -> Result<LogUsage>;

    /// Removes the days that ended at or before `before_ms`, never the current one. A line belongs to the day it arrived. Returns how
    /// many days went.
    async fn forget(&self, before_ms: UnixMs) -> Result<u64>;

    /// Resolves when lines may have been appended since the call (not since the first poll), within a second. May resolve early.
    async fn appended(&self);
}
