//! The tools about what is written down of calls, and about who may make them: the audit trail, traces, keys and the configuration in effect.
//!
//! Whoever looks sees what they did themselves; what others did is for who operates the fleet, and keys and configuration are for who
//! administers it.

use std::collections::HashMap;

use kernel::audit::{AuditQuery, LIST_MAX, Row, Verdict};
use kernel::keys::{KeyInfo, Keys};
use kernel::{Caller, UnixMs};
use mcp::prelude::*;

use super::Coordinator;

/// Rows of the audit trail when the request does not say how many.
const ROWS: usize = 50;
/// How long it may take to compute the trail's hashes anew.
const VERIFY_TIME: std::time::Duration = std::time::Duration::from_secs(120);
/// Rows of the audit trail that one trace may have.
const TRACE_ROWS_MAX: usize = 500;

tools! { kernel::catalog::COORDINATOR;
    /// Lists the audit trail, newest first: who called what with which arguments (secrets masked), how it ended, and the hash that holds the row in its place. Who does not operate the fleet sees their own calls.
    LIST_AUDIT = "list_audit": fn(ListAuditRequest) -> ListAuditResponse, Hints::READ;
    /// Computes the audit trail's hashes anew from its first row: proves that no row was changed, removed or put in.
    VERIFY_AUDIT = "verify_audit": fn(VerifyAuditRequest) -> Verdict, Hints { access: Access::Operate, ..Hints::READ }.within(VERIFY_TIME);
    /// How one request went, piece by piece with times: the way through the gateway, the servers' tools, what was asked of the chain's node.
    SPANS = "spans": fn(SpansRequest) -> SpansResponse, Hints::READ;
    /// What the fleet was started with: each value in effect and where it came from, secrets masked; and who has API keys (never the keys), with which role, last used when.
    EFFECTIVE_CONFIG = "effective_config": fn(EffectiveConfigRequest) -> EffectiveConfigResponse, Hints { access: Access::Admin, ..Hints::READ };
}

/// Binds the tools of this file.
pub(super) fn tools(set: &mut ToolSet<Coordinator>) {
    set.add(LIST_AUDIT, Coordinator::list_audit);
    set.add(VERIFY_AUDIT, Coordinator::verify_audit);
    set.add(SPANS, Coordinator::spans);
    set.add(EFFECTIVE_CONFIG, Coordinator::effective_config);
}

/// What [`LIST_AUDIT`] takes. Everything given must hold.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListAuditRequest {
    /// Only calls of this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only calls of this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only calls that ended so: `ok`, `permission_denied`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Only calls of this trace: 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The `next` of the answer before: older rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most this many, 1 to 1,000; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

/// What [`LIST_AUDIT`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListAuditResponse {
    /// The rows, newest first.
    pub rows: Vec<Row>,
    /// Give this as `before` for older rows; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

/// What [`VERIFY_AUDIT`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyAuditRequest {}

/// What [`SPANS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpansRequest {
    /// The trace: 32 hexadecimal digits, as log lines, the audit trail and refusals tell it.
    pub trace_id: String,
}

/// A piece of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Piece {
    /// Its id, 16 hexadecimal digits; absent of a call that another process ran, which only the audit trail tells of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// The piece that led to it; absent at the root, and where that is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<String>,
    /// The server; `gateway` for the way there, `node` for a request to the chain's node.
    pub server: String,
    /// The tool; at the node the method.
    pub what: String,
    /// `ok`, or the stable code of the refusal or failure.
    pub outcome: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub start_ms: UnixMs,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// What [`SPANS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SpansResponse {
    /// The pieces, the first to begin first; where two began at once, the longer one first.
    pub pieces: Vec<Piece>,
}

/// What [`EFFECTIVE_CONFIG`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EffectiveConfigRequest {}

/// A value of the configuration in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The dotted key; of a secret the variable that gives it.
    pub key: String,
    /// Its value as JSON, secrets masked.
    pub value: String,
    /// Where the value came from: `default`, a file, a variable, a flag.
    pub origin: String,
}

/// What [`EFFECTIVE_CONFIG`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveConfigResponse {
    /// The keys, by name.
    pub keys: Vec<KeyInfo>,
    /// The configuration of the coordinator's process, by key.
    pub configuration: Vec<Setting>,
}

/// Whether this caller may see what others did.
fn sees_others(caller: &Caller) -> bool {
    caller.allows(Access::Operate) || caller.allows(Access::Admin)
}

impl Coordinator {
    async fn list_audit(self: Arc<Self>, request: ListAuditRequest, ctx: Ctx) -> Result<ListAuditResponse, ToolError> {
        let limit = request.limit.unwrap_or(ROWS);
        if !(1..=LIST_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint("1 to 1,000").into());
        }
        let own = &ctx.caller.name;
        let caller = match request.caller {
            caller if sees_others(&ctx.caller) => caller,
            Some(other) if other != *own => {
                return Err(Fault::denied(format!("what {other} called is for who operates the fleet"))
                    .hint(format!("leave `caller` out: what {own} called is yours to see"))
                    .into());
            }
            _ => Some(own.clone()),
        };
        let ListAuditRequest { server, outcome, before: before_seq, .. } = request;
        let trace_id = request.trace_id.map(|id| id.to_ascii_lowercase());
        let query = AuditQuery { caller, server, outcome, trace_id, before_seq, limit };
        let rows = self.gateway()?.ports.audit.list(query).await?;
        let next = rows.last().filter(|row| rows.len() == limit && row.seq > 1).map(|row| row.seq);
        Ok(ListAuditResponse { rows, next })
    }

    async fn verify_audit(self: Arc<Self>, _: VerifyAuditRequest, _ctx: Ctx) -> Result<Verdict, ToolError> {
        Ok(self.gateway()?.ports.audit.verify().await?)
    }

    async fn spans(self: Arc<Self>, request: SpansRequest, ctx: Ctx) -> Result<SpansResponse, ToolError> {
        let digits = request.trace_id.trim();
        let trace_id =
            Some(digits).filter(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let trace_id = trace_id.and_then(|digits| u128::from_str_radix(digits, 16).ok()).ok_or_else(|| {
            Fault::invalid(format!("no trace is called `{}`", &digits[..digits.floor_char_boundary(64)]))
                .hint("32 hexadecimal digits, as log lines and the audit trail tell it")
        })?;
        let gateway = self.gateway()?;
        let query = AuditQuery {
            trace_id: Some(format!("{trace_id:032x}")),
            caller: (!sees_others(&ctx.caller)).then(|| ctx.caller.name.clone()),
            limit: TRACE_ROWS_MAX,
            ..AuditQuery::default()
        };
        let rows = gateway.ports.audit.list(query).await?;
        // Who does not operate the fleet sees the traces in which they called something.
        if rows.is_empty() && !sees_others(&ctx.caller) {
            return Ok(SpansResponse { pieces: Vec::new() });
        }
        Ok(SpansResponse { pieces: pieces(gateway.shared.phases.kept().of(trace_id), &rows) })
    }

    async fn effective_config(
        self: Arc<Self>,
        _: EffectiveConfigRequest,
        _ctx: Ctx,
    ) -> Result<EffectiveConfigResponse, ToolError> {
        let gateway = self.gateway()?;
        let keys = Keys::new(Arc::clone(&gateway.ports.store), gateway.ports.clock.clone()).list().await?;
        Ok(EffectiveConfigResponse { keys, configuration: gateway.settings.to_vec() })
    }
}

/// The pieces that this process kept, and the calls that only the audit trail has: those that other processes ran.
fn pieces(spans: Vec<kernel::trace::Span>, rows: &[Row]) -> Vec<Piece> {
    let hex = |id: u64| (id != 0).then(|| format!("{id:016x}"));
    let mut ran: HashMap<(String, String, String), usize> = HashMap::new();
    let mut pieces: Vec<Piece> = spans
        .into_iter()
        .map(|span| {
            *ran.entry((span.server.clone(), span.tool.clone(), span.outcome.clone())).or_default() += 1;
            Piece {
                id: hex(span.trace.span_id),
                parent: hex(span.trace.parent_id),
                server: span.server,
                what: span.tool,
                outcome: span.outcome,
                start_ms: span.start_ms,
                took_us: u64::try_from(span.took.as_micros()).unwrap_or(u64::MAX),
            }
        })
        .collect();
    for row in rows.iter().map(|row| &row.record) {
        let name = (row.server.clone(), row.action.clone(), row.outcome.clone());
        match ran.get_mut(&name).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => pieces.push(Piece {
                id: None,
                parent: None,
                start_ms: row.at_ms - i64::try_from(row.took_us / 1_000).unwrap_or(0),
                took_us: row.took_us,
                server: name.0,
                what: name.1,
                outcome: name.2,
            }),
        }
    }
    pieces.sort_by(|one, other| one.start_ms.cmp(&other.start_ms).then(other.took_us.cmp(&one.took_us)));
    pieces
}
