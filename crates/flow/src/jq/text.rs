//! Values as JSON text, and text as values. Numbers keep every digit they were given with.

use std::fmt::{self, Write};
use std::rc::Rc;

use indexmap::IndexMap;
use jaq_json::Num;
use kernel::Fault;
use kernel::limits::{JSON_DEPTH_MAX, check_json_depth};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::value::{Val, float};
use kernel::fault::lower;

/// Digits from which on a whole number is kept as text: reading it takes time that grows with the square.
const DIGITS_MAX: usize = 1_200;

/// Reads one JSON document.
pub(super) fn read(text: &str) -> Result<Val, Fault> {
    let mut values = read_all(text)?;
    match values.len() {
        1 => Ok(values.swap_remove(0)),
        count => Err(Fault::invalid(format!("{count} JSON documents where one should be"))),
    }
}

/// Reads JSON documents, one after the other.
pub(super) fn read_all(text: &str) -> Result<Vec<Val>, Fault> {
    check_json_depth(text.as_bytes(), JSON_DEPTH_MAX)?;
    let documents = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    documents.map(|raw| value(raw.map_err(unreadable)?)).collect()
}

fn unreadable(error: serde_json::Error) -> Fault {
    Fault::invalid(lower(&error.to_string()))
}

fn parsed<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(unreadable)
}

/// A level at a time, so that numbers are seen as they were written. How many levels there are is known to be few.
fn value(raw: &RawValue) -> Result<Val, Fault> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let fields: IndexMap<String, &RawValue> = parsed(text)?;
            let fields = fields.into_iter().map(|(name, raw)| Ok((name.into(), value(raw)?)));
            Val::object(fields.collect::<Result<_, Fault>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = parsed(text)?;
            Val::array(items.into_iter().map(value).collect::<Result<_, Fault>>()?)
        }
        Some(b'"') => Val::text(parsed::<String>(text)?),
        Some(b't' | b'f') => Val::Bool(parsed(text)?),
        Some(b'n') => Val::Null,
        _ => Val::number(number(text)),
    })
}

/// A value that was read already.
pub(super) fn of_value(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(truth) => Val::Bool(*truth),
        Value::Number(digits) => match digits.as_i64() {
            Some(whole) => Val::Num(Num::from_integral(whole)),
            None => Val::number(number(&digits.to_string())),
        },
        Value::String(text) => Val::text(text.as_str()),
        Value::Array(items) => Val::array(items.iter().map(of_value).collect()),
        Value::Object(fields) => {
            Val::object(fields.iter().map(|(name, value)| (name.as_str().into(), of_value(value))).collect())
        }
    }
}

/// Reads a number as a program or JSON has it.
pub(super) fn number(digits: &str) -> Num {
    let whole =
        Some(digits).filter(|digits| digits.len() <= DIGITS_MAX).and_then(|digits| Num::from_str_radix(digits, 10));
    whole.unwrap_or_else(|| Num::Dec(Rc::new(digits.to_owned())))
}

/// Writes a value as JSON, without white space.
pub(super) fn write(value: &Val, out: &mut impl Write) -> fmt::Result {
    match value {
        Val::Null => out.write_str("null"),
        Val::Bool(truth) => write!(out, "{truth}"),
        Val::Num(number) => write_number(number, out),
        Val::Str(text) => write_text(&text.it, out),
        Val::Arr(items) => {
            out.write_char('[')?;
            for (place, item) in items.it.iter().enumerate() {
                if place > 0 {
                    out.write_char(',')?;
                }
                write(item, out)?;
            }
            out.write_char(']')
        }
        Val::Obj(fields) => {
            out.write_char('{')?;
            for (place, (name, field)) in fields.it.iter().enumerate() {
                if place > 0 {
                    out.write_char(',')?;
                }
                write_text(name, out)?;
                out.write_char(':')?;
                write(field, out)?;
            }
            out.write_char('}')
        }
    }
}

/// As jq does: what is no number is null, what is infinite the greatest there is, and a whole number has no point.
fn write_number(number: &Num, out: &mut impl Write) -> fmt::Result {
    match number {
        Num::Int(whole) => write!(out, "{whole}"),
        Num::BigInt(whole) => write!(out, "{whole}"),
        // Programs may write numbers that JSON does not have: `.5`.
        Num::Dec(digits) if serde_json::from_str::<&RawValue>(digits).is_ok() => out.write_str(digits),
        other => {
            let float = float(other);
            if float.is_nan() {
                return out.write_str("null");
            }
            let float = float.clamp(f64::MIN, f64::MAX);
            if float.fract() == 0.0 && float.abs() < 1e17 {
                write!(out, "{float:.0}")
            } else {
                write!(out, "{}", Num::Float(float))
            }
        }
    }
}

fn write_text(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if (c as u32) < 0x20 || c == '\u{7f}' => write!(out, "\\u{:04x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// A value as JSON.
pub(super) fn json(value: &Val) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    write(value, &mut text).ok();
    text
}

/// Text that stops at a length.
struct Short {
    text: String,
    left: usize,
}

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = part.char_indices().nth(self.left).map_or(part.len(), |(at, _)| at);
        self.text.push_str(&part[..end]);
        self.left -= part[..end].chars().count();
        if end < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// For messages: the beginning is enough.
impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut short = Short { text: String::new(), left: 60 };
        let whole = write(self, &mut short).is_ok();
        f.write_str(&short.text)?;
        if whole { Ok(()) } else { f.write_str("…") }
    }
}
