//! What names and texts of other programs' log lines mean here.

use kernel::UnixMs;
use kernel::logs::Level;
use serde_json::Value;

use crate::when::rfc3339;

/// Names of labels and fields that say whose a line is, best first.
pub(super) const SERVICE_NAMES: [&str; 15] = [
    "service",
    "service_name",
    "service.name",
    "app",
    "application",
    "container",
    "container_name",
    "compose_service",
    "k8s.container.name",
    "k8s.deployment.name",
    "job",
    "unit",
    "syslog_identifier",
    "logger",
    "name",
];
/// How many of them mean nothing else.
pub(super) const OUTRIGHT_SERVICE_NAMES: usize = 3;
/// Names that say how grave a line is.
pub(super) const LEVEL_NAMES: [&str; 7] =
    ["level", "severity", "lvl", "detected_level", "loglevel", "log.level", "severity_text"];
/// Names that say which trace a line belongs to.
pub(super) const TRACE_NAMES: [&str; 5] = ["trace_id", "traceID", "traceId", "traceid", "trace.id"];

/// A trace id as we write it: 32 hexadecimal digits in lower case, not all zero.
pub(super) fn trace_id(text: &str) -> Option<String> {
    let hex =
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0');
    hex.then(|| text.to_ascii_lowercase())
}

/// How grave a text is, by the first word that says so among its beginning; [`Level::Info`] when none does.
pub fn level_of(message: &str) -> Level {
    /// How far into a line its level stands: after a time, a thread, a file.
    const WORDS: usize = 12;
    let head = &message[..message.floor_char_boundary(512)];
    let words = head.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).take(WORDS);
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "error" | "err" | "fatal" | "panic" | "panicked" | "critical" | "crit" | "emerg" | "alert" => {
                return Level::Error;
            }
            "warn" | "warning" => return Level::Warn,
            "info" | "information" | "notice" => return Level::Info,
            "debug" => return Level::Debug,
            "trace" => return Level::Trace,
            _ => {}
        }
    }
    Level::Info
}

/// How grave a JSON value says a line is: a name, or pino's and bunyan's numbers.
pub(super) fn level_of_value(value: &Value) -> Option<Level> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => Some(match number.as_u64()? {
            0..=10 => Level::Trace,
            11..=20 => Level::Debug,
            21..=30 => Level::Info,
            31..=40 => Level::Warn,
            41..=60 => Level::Error,
            _ => return None,
        }),
        _ => None,
    }
}

/// The level of an OpenTelemetry severity number.
pub(super) fn level_of_severity(number: u64) -> Option<Level> {
    Some(match number {
        1..=4 => Level::Trace,
        5..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warn,
        17..=24 => Level::Error,
        _ => return None,
    })
}

/// Nanoseconds since the epoch as milliseconds; 0 means "not said".
pub(super) fn millis_of_nanos(nanos: u64) -> Option<UnixMs> {
    (nanos > 0).then(|| i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX))
}

/// The time a JSON value says: RFC 3339 text, or a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, told
/// apart by their size.
pub fn time_of(value: &Value) -> Option<UnixMs> {
    match value {
        Value::String(text) => rfc3339(text.trim()).or_else(|| of_number(text.parse().ok()?)),
        Value::Number(number) => of_number(number.as_f64()?),
        _ => None,
    }
}

fn of_number(number: f64) -> Option<UnixMs> {
    // Each unit is a thousand times the next; 1e11 seconds are the year 5138, 1e11 milliseconds the year 1973.
    let millis = match number {
        _ if !number.is_finite() || number <= 0.0 => return None,
        _ if number < 1e11 => number * 1e3,
        _ if number < 1e14 => number,
        _ if number < 1e17 => number / 1e3,
        _ => number / 1e6,
    };
    Some(millis as i64)
}
