//! Loki's push API.

use kernel::limits::ANSWER_BYTES_MAX;
use kernel::logs::Line;
use kernel::{Fault, UnixMs};
use serde_json::Value;

use super::protobuf::{Wire, fields};
use super::{Draft, Lines, hints};

/// `{"streams": [{"stream": {labels}, "values": [["nanoseconds", "line", {metadata}?], …]}, …]}`
pub(super) fn json(body: &Value, now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    let mut lines = Lines::default();
    let streams = body.get("streams").and_then(Value::as_array).ok_or_else(|| shape("`streams` must be a list"))?;
    for stream in streams {
        let mut draft = Draft::default();
        for (name, value) in stream.get("stream").and_then(Value::as_object).into_iter().flatten() {
            draft.take(name, value.clone());
        }
        let draft = draft.shared();
        let values = stream.get("values").and_then(Value::as_array).ok_or_else(|| shape("`values` must be a list"))?;
        for value in values {
            let entry = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let [time, Value::String(text), rest @ ..] = entry else {
                return Err(shape("a value must be [\"nanoseconds\", \"line\"]"));
            };
            let nanos = time.as_str().and_then(|text| text.parse().ok()).or_else(|| time.as_u64());
            let nanos = nanos.ok_or_else(|| shape("a time must be nanoseconds since the epoch, as text"))?;
            let mut draft = Draft { at_ms: hints::millis_of_nanos(nanos), message: text.clone(), ..draft.clone() };
            for (name, value) in rest.first().and_then(Value::as_object).into_iter().flatten() {
                draft.take(name, value.clone());
            }
            lines.push(draft, now_ms)?;
        }
    }
    Ok(lines.lines)
}

fn shape(what: &str) -> Fault {
    Fault::invalid(format!("not a Loki push request: {what}")).hint("Loki's HTTP API, POST /loki/api/v1/push")
}

/// `logproto.PushRequest` in a Snappy block.
pub(super) fn snappy(body: &[u8], now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    let bad = |error: snap::Error| Fault::invalid(format!("the body is not a Snappy block: {error}"));
    let length = snap::raw::decompress_len(body).map_err(bad)?;
    if length > ANSWER_BYTES_MAX {
        return Err(Fault::too_large(format!("a body of {length} bytes once unpacked"))
            .hint(format!("at most {ANSWER_BYTES_MAX} bytes")));
    }
    let body = snap::raw::Decoder::new().decompress_vec(body).map_err(bad)?;
    let mut lines = Lines::default();
    let mut request = fields(&body);
    while let Some((number, value)) = request.next()? {
        if number == 1 {
            stream(value.bytes(), now_ms, &mut lines)?;
        }
    }
    Ok(lines.lines)
}

fn stream(bytes: &[u8], now_ms: UnixMs, lines: &mut Lines) -> Result<(), Fault> {
    let mut draft = Draft::default();
    // Labels may stand after the entries.
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        if number == 1 {
            for (name, value) in labels(&value.text())? {
                draft.take(&name, value.into());
            }
        }
    }
    let draft = draft.shared();
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        if number == 2 {
            lines.push(entry(value.bytes(), draft.clone())?, now_ms)?;
        }
    }
    Ok(())
}

fn entry(bytes: &[u8], mut draft: Draft) -> Result<Draft, Fault> {
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        match number {
            1 => draft.at_ms = Some(timestamp(value.bytes())?),
            2 => draft.message = value.text(),
            3 => {
                let (name, value) = pair(value)?;
                draft.take(&name, value.into());
            }
            _ => {}
        }
    }
    Ok(draft)
}

fn timestamp(bytes: &[u8]) -> Result<UnixMs, Fault> {
    let (mut seconds, mut nanos) = (0u64, 0u64);
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        match number {
            1 => seconds = value.number(),
            2 => nanos = value.number(),
            _ => {}
        }
    }
    Ok(i64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(1_000)
        .saturating_add((nanos % 1_000_000_000 / 1_000_000) as i64))
}

fn pair(value: Wire<'_>) -> Result<(String, String), Fault> {
    let (mut name, mut text) = (String::new(), String::new());
    let mut parts = fields(value.bytes());
    while let Some((number, value)) = parts.next()? {
        match number {
            1 => name = value.text(),
            2 => text = value.text(),
            _ => {}
        }
    }
    Ok((name, text))
}

/// `{a="b", c="d"}` with Go's escapes.
fn labels(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let bad = || shape("labels must be written {name=\"value\", …}");
    let mut rest = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(bad)?.trim();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(bad)?;
        let quoted = after.trim_start().strip_prefix('"').ok_or_else(bad)?;
        let (value, after) = unquoted(quoted).ok_or_else(bad)?;
        pairs.push((name.trim().to_owned(), value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(bad()),
        };
    }
    Ok(pairs)
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
