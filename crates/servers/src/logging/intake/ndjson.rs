//! What containers write: one line each, JSON or plain.

use kernel::limits::JSON_DEPTH_MAX;
use kernel::logs::Line;
use kernel::mask::masked;
use kernel::{Fault, UnixMs};
use serde_json::{Map, Value};

use super::{Draft, Lines, hints};

const MESSAGE_NAMES: [&str; 6] = ["message", "msg", "log", "text", "event", "MESSAGE"];
const TIME_NAMES: [&str; 7] = ["timestamp", "time", "ts", "@timestamp", "datetime", "date", "t"];

/// One line each; empty ones are passed over.
pub(super) fn lines(body: &[u8], now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    let mut lines = Lines::default();
    for line in body.split(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        if !text.trim().is_empty() {
            lines.push(draft_of_text(text), now_ms)?;
        }
    }
    Ok(lines.lines)
}

/// One JSON document: an object, an array of objects; several documents one after the other are lines.
pub(super) fn json(body: &[u8], now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    let drafts: Vec<Draft> = match super::json(body) {
        Ok(Value::Array(items)) => items.into_iter().map(draft_of_value).collect(),
        Ok(Value::Object(fields)) => vec![draft_of_object(fields)],
        Ok(_) => {
            return Err(
                Fault::invalid("the body is JSON, but not objects").hint("an object a line, or an array of them")
            );
        }
        Err(_) if body.contains(&b'\n') => return self::lines(body, now_ms),
        Err(fault) => return Err(fault),
    };
    let mut lines = Lines::default();
    for draft in drafts {
        lines.push(draft, now_ms)?;
    }
    Ok(lines.lines)
}

fn draft_of_value(value: Value) -> Draft {
    match value {
        Value::Object(fields) => draft_of_object(fields),
        Value::String(text) => draft_of_text(&text),
        other => Draft { message: other.to_string(), ..Draft::default() },
    }
}

/// A JSON object if it is one, otherwise the text itself.
fn draft_of_text(text: &str) -> Draft {
    let object = || -> Option<Map<String, Value>> {
        let looks_so = text.trim_start().starts_with('{');
        let flat = looks_so && mcp::wire::check_depth(text.as_bytes(), JSON_DEPTH_MAX).is_ok();
        flat.then(|| serde_json::from_str(text).ok()).flatten()
    };
    object().map_or_else(|| Draft { message: text.to_owned(), ..Draft::default() }, draft_of_object)
}

fn draft_of_object(mut object: Map<String, Value>) -> Draft {
    let mut draft = Draft::default();
    // `fields` of structured loggers is part of the line itself.
    if let Some(Value::Object(inner)) = object.remove("fields") {
        for (name, value) in inner {
            object.entry(name).or_insert(value);
        }
    }
    if let Some(name) = TIME_NAMES.into_iter().find(|name| object.get(*name).and_then(hints::time_of).is_some()) {
        draft.at_ms = object.remove(name).as_ref().and_then(hints::time_of);
    }
    if let Some(name) = MESSAGE_NAMES.into_iter().find(|name| object.get(*name).is_some_and(Value::is_string))
        && let Some(Value::String(text)) = object.remove(name)
    {
        draft.message = text;
    }
    for name in hints::LEVEL_NAMES {
        if draft.level.is_none()
            && let Some(level) = object.get(name).and_then(hints::level_of_value)
        {
            draft.level = Some(level);
            object.remove(name);
        }
    }
    for (name, value) in object {
        draft.take(&name, value);
    }
    if draft.message.is_empty() {
        draft.message = masked(&Value::Object(draft.fields.clone())).to_string();
    }
    draft
}
