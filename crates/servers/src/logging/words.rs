//! What the tools of `logging` take and answer.

use kernel::logs::{Level, Line, LogQuery, LogUsage};
use kernel::{Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::Pattern;
use crate::when::When;

/// Declares a request that has the filter's fields and its own.
macro_rules! filtered {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// Words that must all stand in the message or the fields; "a phrase" in double quotes; a trailing * matches a prefix.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub text: Option<String>,
            /// Only this service.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub service: Option<String>,
            /// This level or graver.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub level: Option<Level>,
            /// Only this trace: 32 hexadecimal digits.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub trace_id: Option<String>,
            /// At or after: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub from: Option<When>,
            /// Before: the same forms.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub until: Option<When>,
            $($(#[$field_about])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
        }

        impl $name {
            /// The query of the filter's fields.
            pub(super) fn query(&self, now_ms: UnixMs, limit: usize) -> Result<LogQuery, Fault> {
                let moment = |when: Option<When>| when.map(|when| when.resolve(now_ms));
                let (from_ms, until_ms) = (moment(self.from), moment(self.until));
                if let (Some(from_ms), Some(until_ms)) = (from_ms, until_ms) {
                    check_range(from_ms, until_ms)?;
                }
                let text = self.text.clone().filter(|text| !text.trim().is_empty());
                let trace_id = self.trace_id.as_ref().map(|id| id.to_ascii_lowercase());
                let (service, level) = (self.service.clone(), self.level);
                Ok(LogQuery { text, service, level, trace_id, from_ms, until_ms, limit, ..LogQuery::default() })
            }
        }
    };
}

/// Refuses a range that ends before it starts.
pub(super) fn check_range(from_ms: UnixMs, until_ms: UnixMs) -> Result<(), Fault> {
    if from_ms < until_ms {
        return Ok(());
    }
    Err(Fault::invalid("`until` is not after `from`").hint("from is the older end of the range"))
}

/// The given number if it is in `1..=max`, `default` if none was.
pub(super) fn bounded(given: Option<u32>, default: u32, max: u32, what: &str) -> Result<usize, Fault> {
    let given = given.unwrap_or(default);
    if (1..=max).contains(&given) {
        return Ok(given as usize);
    }
    Err(Fault::invalid(format!("{what} is {given}")).hint(format!("1 to {max}")))
}

/// Most bytes of lines in one answer.
const ANSWER_BYTES: usize = 4 << 20;

/// Cuts lines to what one answer may hold, at least one. Returns whether some were cut.
pub(super) fn fit(lines: &mut Vec<Line>) -> bool {
    let mut bytes = 0;
    let fitting = lines.iter().take_while(|line| {
        bytes += line.weight();
        bytes <= ANSWER_BYTES
    });
    let fitting = fitting.count().max(1);
    let cut = fitting < lines.len();
    lines.truncate(fitting);
    cut
}

filtered! {
    /// What [`SEARCH`](super::SEARCH) takes.
    SearchRequest {
        /// At most this many lines: 1 to 1,000, 100 unless given.
        #[schemars(range(min = 1, max = 1000))]
        limit: u32,
        /// `next` of the page before, for the page of older lines after it.
        before: u64,
    }
}

/// What [`SEARCH`](super::SEARCH) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SearchResponse {
    /// The lines, newest first.
    pub lines: Vec<Line>,
    /// Give this as `before` for older lines; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

filtered! {
    /// What [`TAIL`](super::TAIL) takes.
    TailRequest {
        /// `cursor` of the call before: only lines that arrived after it. Without it the newest lines come first.
        after: u64,
        /// Without `after`: how many of the newest lines to begin with, 0 to 1,000; 10 unless given.
        #[schemars(range(max = 1000))]
        lines: u32,
        /// How long to wait for lines when there are none, in seconds: 0 to 300, 0 unless given.
        #[schemars(range(max = 300))]
        wait_seconds: u32,
        /// Whether to stay for the whole `wait_seconds` (or until `limit`) rather than answer at the first lines. Each line is reported as
        /// progress to clients that ask for progress.
        follow: bool,
        /// At most this many lines: 1 to 1,000, 200 unless given.
        #[schemars(range(min = 1, max = 1000))]
        limit: u32,
    }
}

/// What [`TAIL`](super::TAIL) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TailResponse {
    /// The lines, oldest first.
    pub lines: Vec<Line>,
    /// Give this as `after` next time.
    pub cursor: u64,
}

/// What [`CONTEXT`](super::CONTEXT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextRequest {
    /// `seq` of a line.
    pub seq: u64,
    /// How many lines before it, and as many after it: 1 to 200, 10 unless given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 200))]
    pub lines: Option<u32>,
    /// Whether to show other services' lines too.
    #[serde(default)]
    pub all_services: bool,
}

/// What [`CONTEXT`](super::CONTEXT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextResponse {
    /// What was said before, oldest first.
    pub before: Vec<Line>,
    /// The line itself.
    pub line: Line,
    /// What was said after, oldest first.
    pub after: Vec<Line>,
}

/// A range of time, the last day unless given.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatsRequest {
    /// At or after: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch; -24h unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    /// Before: the same forms; now unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Only this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many equal parts of the range to count apart: 0 to 60, 0 unless given.
    #[schemars(range(max = 60))]
    pub buckets: u32,
}

/// Lines by level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Levels {
    /// All.
    pub lines: u64,
    /// Of these, errors.
    pub errors: u64,
    /// Of these, warnings.
    pub warnings: u64,
}

/// A service's lines.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStats {
    /// Which.
    pub service: String,
    /// How many.
    #[serde(flatten)]
    pub levels: Levels,
    /// The newest one's time, in milliseconds since the Unix epoch.
    pub last_ms: UnixMs,
}

/// A part of the range.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// Where it starts, in milliseconds since the Unix epoch.
    pub from_ms: UnixMs,
    /// How many.
    #[serde(flatten)]
    pub levels: Levels,
}

/// What [`STATS`](super::STATS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatsResponse {
    /// The range, in milliseconds since the Unix epoch.
    pub from_ms: UnixMs,
    /// Its end.
    pub until_ms: UnixMs,
    /// All lines of the range.
    pub total: Levels,
    /// By service, most lines first.
    pub services: Vec<ServiceStats>,
    /// The parts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub timeline: Vec<Bucket>,
    /// What the store holds in all.
    pub kept: LogUsage,
    /// How many days are kept.
    pub retention_days: u32,
}

filtered! {
    /// What [`PATTERNS`](super::PATTERNS) takes.
    PatternsRequest {
        /// How many of the newest matching lines to look at: 1 to 10,000, 5,000 unless given.
        #[schemars(range(min = 1, max = 10000))]
        scan: u32,
        /// At most this many patterns: 1 to 200, 20 unless given.
        #[schemars(range(min = 1, max = 200))]
        limit: u32,
    }
}

/// What [`PATTERNS`](super::PATTERNS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PatternsResponse {
    /// How many lines were looked at.
    pub scanned: u64,
    /// The patterns, most frequent first.
    pub patterns: Vec<Pattern>,
    /// How many of the lines are in none of these patterns.
    pub others: u64,
}

/// What [`ERROR_SUMMARY`](super::ERROR_SUMMARY) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorSummaryRequest {
    /// At or after: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch; -1h unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    /// Before: the same forms; now unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Only this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether warnings count too.
    pub warnings: bool,
    /// At most this many patterns: 1 to 100, 10 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
}

/// A service's errors beside those of the range of the same length before.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceErrors {
    /// Which.
    pub service: String,
    /// Errors in the range.
    pub errors: u64,
    /// Warnings in the range.
    pub warnings: u64,
    /// Errors in the range before.
    pub errors_before: u64,
}

/// What [`ERROR_SUMMARY`](super::ERROR_SUMMARY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorSummaryResponse {
    /// The range, in milliseconds since the Unix epoch.
    pub from_ms: UnixMs,
    /// Its end.
    pub until_ms: UnixMs,
    /// Errors in the range.
    pub errors: u64,
    /// Warnings in the range.
    pub warnings: u64,
    /// Errors in the range of the same length before.
    pub errors_before: u64,
    /// Services with errors or warnings, most errors first.
    pub services: Vec<ServiceErrors>,
    /// Kinds of errors, most frequent first.
    pub patterns: Vec<Pattern>,
    /// Errors in none of these patterns, or older than what was looked at.
    pub others: u64,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
}

/// How an export is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Inside the answer.
    #[default]
    Embedded,
    /// As a link to a resource that is made when it is read.
    Link,
}

filtered! {
    /// What [`EXPORT`](super::EXPORT) takes.
    ExportRequest {
        /// ndjson (unless given) or csv.
        format: Format,
        /// embedded (unless given) in the answer, or a link to a resource that is made when it is read.
        delivery: Delivery,
        /// At most this many lines: 1 to 10,000, 1,000 unless given.
        #[schemars(range(min = 1, max = 10000))]
        limit: u32,
        /// `next` of the export before, for older lines.
        before: u64,
    }
}

/// What [`SET_RETENTION`](super::SET_RETENTION) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRetentionRequest {
    /// How many days to keep beside today: 1 to 3,650.
    #[schemars(range(min = 1, max = 3650))]
    pub days: u32,
}

/// What [`SET_RETENTION`](super::SET_RETENTION) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SetRetentionResponse {
    /// How many days were kept until now.
    pub previous_days: u32,
    /// How many are kept from now on.
    pub days: u32,
    /// How many days' lines were removed at once.
    pub removed_days: u64,
    /// What the store holds now.
    pub kept: LogUsage,
}

/// What [`SOURCES`](super::SOURCES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesRequest {
    /// How far to look back, in hours: 1 to 720, 24 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 720))]
    pub hours: Option<u32>,
}

/// Who says lines.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogSource {
    /// Its name.
    pub service: String,
    /// Whether it is a service of this fleet; otherwise its lines came by intake.
    pub fleet: bool,
    /// Whether an instance of it runs now, as far as the fleet knows.
    pub running: bool,
    /// How many lines.
    #[serde(flatten)]
    pub levels: Levels,
    /// The newest one's time, in milliseconds since the Unix epoch; absent when it said nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_ms: Option<UnixMs>,
}

/// What [`SOURCES`](super::SOURCES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourcesResponse {
    /// By name.
    pub sources: Vec<LogSource>,
    /// The doors by which other programs' lines come in, as paths on this server's port.
    pub intake: Vec<String>,
}
