//! OTLP over HTTP: `ExportLogsServiceRequest` as JSON or protobuf.

use kernel::logs::Line;
use kernel::{Fault, UnixMs};
use serde_json::{Map, Value};

use super::protobuf::fields;
use super::{Draft, Lines, hints};

/// Deepest nesting of an attribute's value.
const VALUE_DEPTH_MAX: usize = 16;

fn shape(what: &str) -> Fault {
    Fault::invalid(format!("not an OTLP logs export: {what}")).hint("OTLP/HTTP, POST /v1/logs")
}

fn items<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Fault> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(shape(&format!("`{name}` must be a list"))),
    }
}

/// The JSON encoding.
pub(super) fn json(body: &Value, now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    if !body.is_object() {
        return Err(shape("it must be an object"));
    }
    let mut lines = Lines::default();
    for resource in items(body, "resourceLogs")? {
        let mut base = Draft::default();
        take_attributes(&mut base, resource.get("resource").unwrap_or(&Value::Null))?;
        let base = base.shared();
        for scope in items(resource, "scopeLogs")? {
            let mut base = base.clone();
            if let Some(name) = scope.get("scope").and_then(|scope| scope.get("name")).and_then(Value::as_str) {
                base.take("scope", name.into());
            }
            let base = base.shared();
            for record in items(scope, "logRecords")? {
                lines.push(record_of_json(record, base.clone())?, now_ms)?;
            }
        }
    }
    Ok(lines.lines)
}

fn record_of_json(record: &Value, mut draft: Draft) -> Result<Draft, Fault> {
    take_attributes(&mut draft, record)?;
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    // 64-bit numbers are text in protobuf's JSON, but numbers are read too.
    let number =
        |name: &str| record.get(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let nanos = number("timeUnixNano").filter(|nanos| *nanos > 0).or_else(|| number("observedTimeUnixNano"));
    draft.at_ms = nanos.and_then(hints::millis_of_nanos);
    let level = number("severityNumber").and_then(hints::level_of_severity);
    draft.level = level.or_else(|| text("severityText")?.parse().ok()).or(draft.level);
    draft.trace_id = text("traceId").and_then(hints::trace_id).or(draft.trace_id);
    if let Some(span) = text("spanId").filter(|span| !span.is_empty()) {
        draft.take("span_id", span.into());
    }
    draft.message = message(&value_of_json(record.get("body").unwrap_or(&Value::Null)));
    Ok(draft)
}

fn take_attributes(draft: &mut Draft, holder: &Value) -> Result<(), Fault> {
    for attribute in items(holder, "attributes")? {
        let name = attribute.get("key").and_then(Value::as_str).ok_or_else(|| shape("an attribute needs a key"))?;
        draft.take(name, value_of_json(attribute.get("value").unwrap_or(&Value::Null)));
    }
    Ok(())
}

/// An `AnyValue` as plain JSON. Nesting is bounded by the body's.
fn value_of_json(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|fields| fields.iter().next()) else { return Value::Null };
    let list = || inner.get("values").and_then(Value::as_array).into_iter().flatten();
    match kind.as_str() {
        "intValue" => {
            inner.as_str().and_then(|text| text.parse::<i64>().ok()).map_or_else(|| inner.clone(), Value::from)
        }
        "arrayValue" => list().map(value_of_json).collect(),
        "kvlistValue" => {
            let pair = |pair: &Value| Some((pair.get("key")?.as_str()?.to_owned(), value_of_json(pair.get("value")?)));
            Value::Object(list().filter_map(pair).collect())
        }
        _ => inner.clone(),
    }
}

fn message(body: &Value) -> String {
    match body {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The protobuf encoding.
pub(super) fn protobuf(body: &[u8], now_ms: UnixMs) -> Result<Vec<Line>, Fault> {
    let mut lines = Lines::default();
    let mut request = fields(body);
    while let Some((number, resource)) = request.next()? {
        if number == 1 {
            resource_logs(resource.bytes(), now_ms, &mut lines)?;
        }
    }
    Ok(lines.lines)
}

fn resource_logs(bytes: &[u8], now_ms: UnixMs, lines: &mut Lines) -> Result<(), Fault> {
    let mut base = Draft::default();
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        if number == 1 {
            attributes(&mut base, value.bytes(), 1)?;
        }
    }
    let base = base.shared();
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        if number == 2 {
            scope_logs(value.bytes(), base.clone(), now_ms, lines)?;
        }
    }
    Ok(())
}

fn scope_logs(bytes: &[u8], mut base: Draft, now_ms: UnixMs, lines: &mut Lines) -> Result<(), Fault> {
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        match number {
            1 => {
                let mut scope = fields(value.bytes());
                while let Some((number, value)) = scope.next()? {
                    if number == 1 && !value.bytes().is_empty() {
                        base.take("scope", value.text().into());
                        base = base.shared();
                    }
                }
            }
            2 => lines.push(record(value.bytes(), base.clone())?, now_ms)?,
            _ => {}
        }
    }
    Ok(())
}

fn record(bytes: &[u8], mut draft: Draft) -> Result<Draft, Fault> {
    attributes(&mut draft, bytes, 6)?;
    let (mut time, mut observed) = (0, 0);
    let mut severity = None;
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        match number {
            1 => time = value.number(),
            11 => observed = value.number(),
            2 => severity = hints::level_of_severity(value.number()).or(severity),
            3 => severity = severity.or_else(|| value.text().parse().ok()),
            5 => draft.message = message(&any_value(value.bytes(), 0)?),
            9 => draft.trace_id = hints::trace_id(&kernel::audit::hex(value.bytes())).or(draft.trace_id),
            10 if !value.bytes().is_empty() => draft.take("span_id", kernel::audit::hex(value.bytes()).into()),
            _ => {}
        }
    }
    draft.level = severity.or(draft.level);
    draft.at_ms = hints::millis_of_nanos(if time > 0 { time } else { observed });
    Ok(draft)
}

/// Takes the attributes that stand in a message under `place`.
fn attributes(draft: &mut Draft, bytes: &[u8], place: u64) -> Result<(), Fault> {
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        if number == place {
            let (name, value) = key_value(value.bytes(), 0)?;
            draft.take(&name, value);
        }
    }
    Ok(())
}

fn key_value(bytes: &[u8], depth: usize) -> Result<(String, Value), Fault> {
    let (mut name, mut any) = (String::new(), Value::Null);
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        match number {
            1 => name = value.text(),
            2 => any = any_value(value.bytes(), depth)?,
            _ => {}
        }
    }
    Ok((name, any))
}

fn any_value(bytes: &[u8], depth: usize) -> Result<Value, Fault> {
    if depth > VALUE_DEPTH_MAX {
        return Err(shape(&format!("values nest deeper than {VALUE_DEPTH_MAX} levels")));
    }
    let mut any = Value::Null;
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        any = match number {
            1 => value.text().into(),
            2 => (value.number() != 0).into(),
            3 => value.number().cast_signed().into(),
            4 => f64::from_bits(value.number()).into(),
            5 => list(value.bytes(), |item| any_value(item, depth + 1))?.into(),
            6 => Value::Object(
                list(value.bytes(), |item| key_value(item, depth + 1))?.into_iter().collect::<Map<_, _>>(),
            ),
            7 => kernel::audit::hex(value.bytes()).into(),
            _ => any,
        };
    }
    Ok(any)
}

/// The items of a list message, whose only field is number 1.
fn list<T>(bytes: &[u8], item: impl Fn(&[u8]) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let mut items = Vec::new();
    let mut parts = fields(bytes);
    while let Some((number, value)) = parts.next()? {
        if number == 1 {
            items.push(item(value.bytes())?);
        }
    }
    Ok(items)
}
