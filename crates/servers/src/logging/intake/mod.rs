//! Log lines out of other programs' words: the Loki push API, OTLP over HTTP, and the output of containers.
//!
//! Pure functions from a body to lines. Bodies are foreign: everything is bounded, nothing panics, fields that are named like secrets
//! are masked, and a body is taken whole or refused whole. A body under `Content-Encoding` is unpacked at the door.

mod hints;
mod loki;
mod ndjson;
mod otlp;
mod protobuf;
#[cfg(test)]
mod tests;

use kernel::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX};
use kernel::logs::{Level, Line, TEXT_BYTES_MAX};
use kernel::mask::masked;
use kernel::{Fault, UnixMs};
use serde_json::{Map, Value};

pub use hints::{level_of, time_of};

/// Reads a body of a content type; the time is for lines that have none.
pub type Reader = fn(&[u8], &str, UnixMs) -> Result<Vec<Line>, Fault>;

/// The doors, and what each reads.
pub const PATHS: [(&str, &str); 3] = [
    ("/loki/api/v1/push", "the Loki push API, JSON or Snappy protobuf"),
    ("/v1/logs", "OTLP logs, JSON or protobuf"),
    ("/ingest", "container output, one JSON object or text a line"),
];
/// Most lines of one body.
pub const LINES_MAX: usize = 10_000;
/// Most memory that the lines of one body may take: a few labels stand for many lines.
const LINES_BYTES_MAX: usize = 64 << 20;
/// The service of a line that does not say whose it is.
pub const UNKNOWN_SERVICE: &str = "unknown";

/// Lines of a Loki push request (`POST /loki/api/v1/push`): JSON, or protobuf in a Snappy block. `now_ms` is for lines without a time.
///
/// # Errors
/// [`Code::Unsupported`](kernel::Code::Unsupported) for another content type (HTTP 415),
/// [`Code::TooLarge`](kernel::Code::TooLarge) past the limits, [`Code::InvalidArgument`](kernel::Code::InvalidArgument) for anything
/// that is not such a request.
pub fn loki(body: &[u8], content_type: &str, now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    check_size(body.len())?;
    match essence(content_type).as_str() {
        "application/json" => loki::json(&json(body)?, now_ms),
        "application/x-protobuf" | "" => loki::snappy(body, now_ms),
        other => Err(unsupported(other, "application/json or application/x-protobuf")),
    }
}

/// Lines of an OTLP logs export (`POST /v1/logs`): JSON or protobuf. Errors as for [`loki`].
///
/// # Errors
/// As for [`loki`].
pub fn otlp(body: &[u8], content_type: &str, now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    check_size(body.len())?;
    match essence(content_type).as_str() {
        "application/json" => otlp::json(&json(body)?, now_ms),
        "application/x-protobuf" => otlp::protobuf(body, now_ms),
        other => Err(unsupported(other, "application/json or application/x-protobuf")),
    }
}

/// Lines of a container's output (`POST /ingest`): one JSON object or one plain text a line, or one JSON array of objects.
///
/// # Errors
/// As for [`loki`].
pub fn ndjson(body: &[u8], content_type: &str, now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    check_size(body.len())?;
    match essence(content_type).as_str() {
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/json-lines"
        | "text/plain"
        | "" => ndjson::lines(body, now_ms),
        "application/json" => ndjson::json(body, now_ms),
        other => Err(unsupported(other, "application/x-ndjson, application/json or text/plain")),
    }
}

/// A content type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn unsupported(given: &str, wanted: &str) -> Fault {
    Fault::unsupported(format!("log lines as `{given}` are not read here")).hint(format!("send {wanted}"))
}

fn check_size(bytes: usize) -> Result<(), Fault> {
    if bytes <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(Fault::too_large(format!("a body of {bytes} bytes")).hint(format!("at most {BODY_BYTES_MAX} bytes at once")))
}

fn json(body: &[u8]) -> Result<Value, Fault> {
    mcp::wire::check_depth(body, JSON_DEPTH_MAX).map_err(|error| Fault::invalid(error.message.into_owned()))?;
    serde_json::from_slice(body).map_err(|error| Fault::invalid(format!("the body is not JSON: {error}")))
}

/// A line on its way: what was said outright; the rest is found out in [`Draft::finish`].
#[derive(Default, Clone)]
struct Draft {
    at_ms: Option<UnixMs>,
    level: Option<Level>,
    /// The service, and how good the label's name was that gave it (0 is best).
    service: Option<(usize, String)>,
    message: String,
    trace_id: Option<String>,
    fields: Map<String, Value>,
}

impl Draft {
    /// Takes a label or attribute: those with a meaning here become it, all others are fields.
    fn take(&mut self, name: &str, value: Value) {
        let Some(text) = value.as_str() else {
            self.fields.insert(name.to_owned(), value);
            return;
        };
        let rank = hints::SERVICE_NAMES.iter().position(|known| *known == name);
        if let Some(rank) = rank.filter(|_| !text.is_empty()) {
            if self.service.as_ref().is_none_or(|(held, _)| rank < *held) {
                self.service = Some((rank, text.to_owned()));
            }
            // Only the outright names say nothing beside the service.
            if rank < hints::OUTRIGHT_SERVICE_NAMES {
                return;
            }
        }
        if hints::LEVEL_NAMES.contains(&name) && self.level.is_none() {
            self.level = text.parse().ok();
            if self.level.is_some() {
                return;
            }
        }
        if hints::TRACE_NAMES.contains(&name) && self.trace_id.is_none() {
            self.trace_id = hints::trace_id(text);
            if self.trace_id.is_some() {
                return;
            }
        }
        self.fields.insert(name.to_owned(), value);
    }

    /// What many lines share, before it is copied for each: cut to what one line may keep.
    fn shared(mut self) -> Self {
        let bytes = Value::Object(self.fields.clone()).to_string().len();
        if bytes > TEXT_BYTES_MAX {
            self.fields = Map::from_iter([("cut".to_owned(), format!("{bytes} bytes of labels").into())]);
        }
        self
    }

    fn finish(self, now_ms: UnixMs) -> Line {
        let message = self.message.trim_end_matches(['\n', '\r']).to_owned();
        Line {
            seq: 0,
            at_ms: self.at_ms.unwrap_or(now_ms),
            level: self.level.unwrap_or_else(|| level_of(&message)),
            service: self.service.map_or_else(|| UNKNOWN_SERVICE.into(), |(_, service)| service),
            message,
            trace_id: self.trace_id,
            fields: if self.fields.is_empty() { Value::Null } else { masked(&Value::Object(self.fields)) },
        }
        .within_limits()
        .into_owned()
    }
}

/// Collects lines up to the limits.
#[derive(Default)]
struct Lines {
    lines: Vec<Line>,
    bytes: usize,
}

impl Lines {
    fn push(&mut self, draft: Draft, now_ms: UnixMs) -> Result<(), Fault> {
        if self.lines.len() >= LINES_MAX {
            return Err(
                Fault::too_large(format!("more than {LINES_MAX} lines in one body")).hint("send smaller batches")
            );
        }
        let line = draft.finish(now_ms);
        self.bytes += line.weight();
        if self.bytes > LINES_BYTES_MAX {
            return Err(Fault::too_large("labels repeated for every line are too much").hint("send smaller batches"));
        }
        self.lines.push(line);
        Ok(())
    }
}
