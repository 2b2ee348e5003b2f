//! Port and arithmetic of the audit trail: who called what, append-only and hash-chained.
//!
//! Each row's hash covers the row and the hash before it, so that a changed, removed or reordered row breaks every later one.

mod recorder;

pub use recorder::Recorder;

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::check_size;
use crate::{Result, UnixMs};

/// One call, as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// The name of the caller's key.
    pub caller: String,
    /// The caller's role.
    pub role: String,
    /// Which server.
    pub server: String,
    /// Which tool, or `-` for what is not a tool.
    pub action: String,
    /// The arguments as JSON, secrets masked, cut at [`ARGUMENTS_BYTES_MAX`].
    pub arguments: String,
    /// `ok`, or the stable code of the refusal or failure.
    pub outcome: String,
    /// SHA-256 of the answer, hexadecimal; empty when there was none.
    pub result_sha256: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// The trace it belongs to, 32 hexadecimal digits.
    pub trace_id: String,
}

/// Most rows one list answer has.
pub const LIST_MAX: usize = 1_000;
/// Longest kept form of a call's arguments, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 4 << 10;

/// Arguments (JSON) as they are kept: secrets masked, cut with a mark at [`ARGUMENTS_BYTES_MAX`].
pub fn kept_arguments(json: &str) -> String {
    let Ok(value) = serde_json::from_str(json) else { return "{}".into() };
    let mut text = crate::mask::masked(&value).to_string();
    if text.len() > ARGUMENTS_BYTES_MAX {
        let cut = (0..=ARGUMENTS_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// A record in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// 1, 2, 3, … without a gap.
    pub seq: u64,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// Hash of this row and all before it, hexadecimal.
    pub hash: String,
}

/// The hash before the first row.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hash of the row in place `seq` after a row with hash `previous`: SHA-256 over every field, each preceded by its length.
pub fn chain_hash(previous: &str, seq: u64, record: &Record) -> String {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    part(previous.as_bytes());
    part(&seq.to_be_bytes());
    part(&record.at_ms.to_be_bytes());
    part(&record.took_us.to_be_bytes());
    for text in [
        &record.caller,
        &record.role,
        &record.server,
        &record.action,
        &record.arguments,
        &record.outcome,
        &record.result_sha256,
        &record.trace_id,
    ] {
        part(text.as_bytes());
    }
    hex(context.finish().as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}

/// What to list. Everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only this caller.
    pub caller: Option<String>,
    /// Only this server.
    pub server: Option<String>,
    /// Only this outcome.
    pub outcome: Option<String>,
    /// Only this trace.
    pub trace_id: Option<String>,
    /// Rows before this place, newest first.
    pub before_seq: Option<u64>,
    /// At most this many (≤ [`LIST_MAX`]).
    pub limit: usize,
}

impl AuditQuery {
    /// Refuses a page larger than [`LIST_MAX`].
    pub fn check(&self) -> Result<()> {
        check_size("a page's limit", self.limit, LIST_MAX)
    }

    /// Whether `row` is asked for.
    pub fn matches(&self, row: &Row) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.caller, &row.record.caller)
            && is(&self.server, &row.record.server)
            && is(&self.outcome, &row.record.outcome)
            && is(&self.trace_id, &row.record.trace_id)
            && self.before_seq.is_none_or(|before| row.seq < before)
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Rows whose hash was recomputed.
    pub rows: u64,
    /// The first row that does not fit, if one does not.
    pub broken_at: Option<u64>,
    /// What is wrong with it.
    pub reason: Option<String>,
    /// The last good row's hash: note it elsewhere to detect a cut tail.
    pub head: String,
}

/// Recomputes a chain row by row.
#[derive(Debug)]
pub struct Verifier {
    verdict: Verdict,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { verdict: Verdict { rows: 0, broken_at: None, reason: None, head: GENESIS.into() } }
    }
}

impl Verifier {
    /// Looks at the next row in order. False once the chain is broken: further rows say nothing.
    pub fn row(&mut self, row: &Row) -> bool {
        if self.verdict.broken_at.is_some() {
            return false;
        }
        let seq = self.verdict.rows + 1;
        if row.seq != seq {
            return self.broken(seq, format!("row {seq} is missing: row {} follows", row.seq));
        }
        if row.hash != chain_hash(&self.verdict.head, seq, &row.record) {
            return self.broken(seq, format!("row {seq} was changed, or stands in another's place"));
        }
        self.verdict.rows = seq;
        self.verdict.head.clone_from(&row.hash);
        true
    }

    /// Says that the next row is there, but is not a row.
    pub fn unreadable(&mut self) {
        let seq = self.verdict.rows + 1;
        self.broken(seq, format!("row {seq} cannot be read"));
    }

    /// The verdict on a trail whose head, kept apart from its rows, is row `seq` with `hash`: a cut tail does not reach it.
    pub fn finish(mut self, seq: u64, hash: &str) -> Verdict {
        let Verdict { rows, broken_at, head, .. } = &self.verdict;
        let next = rows + 1;
        if broken_at.is_none() && *rows < seq {
            self.broken(next, format!("row {next} is missing: the trail was cut, it had {seq} rows"));
        } else if broken_at.is_none() && head != hash {
            let reason = format!("row {rows} is not the head that was noted");
            self.broken(*rows, reason);
        }
        self.verdict
    }

    fn broken(&mut self, seq: u64, reason: String) -> bool {
        self.verdict.broken_at = Some(seq);
        self.verdict.reason = Some(reason);
        false
    }
}

/// The port. Several processes may append to one trail.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Appends in order; durable when it returns.
    async fn append(&self, records: &[Record]) -> Result<()>;

    /// Rows, newest first.
    async fn list(&self, query: AuditQuery) -> Result<Vec<Row>>;

    /// Recomputes the chain from the first row.
    async fn verify(&self) -> Result<Verdict>;
}
