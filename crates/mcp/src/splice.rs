//! Changes single fields of a JSON object inside its text, and leaves every other byte as it was.
//!
//! What passes through belongs to others: fields we do not know, numbers written in their own way, order and white space all stay.
//! Keys are compared after unescaping, as every JSON reader does, so that no spelling of a key slips past.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::RpcError;

/// What happens to a field. Values are JSON.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// It has this value, whatever it had.
    Set(&'a str),
    /// It has this value unless it has one.
    Default(&'a str),
    /// It goes.
    Remove,
}

/// `object` with `edits` made; without an object, a new one. New fields come last, in the order given.
///
/// # Errors
/// When `object` is not a JSON object, or has a field to be edited twice: readers disagree on which of the two counts.
pub fn edited(object: Option<&RawValue>, edits: &[(&str, Edit<'_>)]) -> serde_json::Result<String> {
    edited_text(object.map_or("{}", RawValue::get), edits)
}

/// `object` with these fields set. The values must be JSON.
///
/// # Errors
/// As those of [`edited`].
pub fn set(object: &str, fields: &[(&str, &str)]) -> Result<String, RpcError> {
    let edits: Vec<_> = fields.iter().map(|(key, value)| (*key, Edit::Set(value))).collect();
    edited_text(object, &edits).map_err(unreadable)
}

/// [`set`] on a whole value.
///
/// # Errors
/// As those of [`edited`].
pub fn set_raw(object: &RawValue, fields: &[(&str, &str)]) -> Result<Box<RawValue>, RpcError> {
    RawValue::from_string(set(object.get(), fields)?).map_err(unreadable)
}

/// The text of one value of `object`; `None` when it is no object or has no such key.
pub fn get<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let place = places(object, &[key]).ok()?.into_iter().next()?.1;
    Some(&object[place])
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn unreadable(error: serde_json::Error) -> RpcError {
    RpcError::invalid_params(format!("not a plain object: {error}"))
}

fn edited_text(object: &str, edits: &[(&str, Edit<'_>)]) -> serde_json::Result<String> {
    let removes = edits.iter().any(|(_, edit)| matches!(edit, Edit::Remove));
    let keys: Vec<&str> = edits.iter().map(|(key, _)| *key).collect();
    // To take a field out, its neighbours must be known.
    let fields = places(object, if removes { &[] } else { &keys })?;
    let size = |edit: &Edit<'_>| if let Edit::Set(value) | Edit::Default(value) = edit { value.len() } else { 0 };
    let grown: usize = edits.iter().map(|(key, edit)| key.len() + size(edit) + 4).sum();
    let mut out = String::with_capacity(object.len() + grown);
    let mut seen = vec![false; edits.len()];
    let (mut copied, mut before, mut any_kept) = (0, object.find('{').map_or(0, |at| at + 1), false);
    for (at, (key, place)) in fields.iter().enumerate() {
        let edit = edits.iter().position(|(edited, _)| edited == key);
        if let Some(edit) = edit
            && std::mem::replace(&mut seen[edit], true)
        {
            return Err(serde_json::Error::custom(format!("the key `{key}` stands there twice")));
        }
        match edit.map(|edit| edits[edit].1) {
            Some(Edit::Set(value)) => {
                out.push_str(&object[copied..place.start]);
                out.push_str(value);
                (copied, any_kept) = (place.end, true);
            }
            Some(Edit::Remove) => {
                out.push_str(&object[copied..before]);
                // With nothing before it, the comma behind it goes too. Only white space stands between the two.
                let comma = if any_kept || at + 1 == fields.len() { None } else { object[place.end..].find(',') };
                copied = comma.map_or(place.end, |comma| place.end + comma + 1);
            }
            Some(Edit::Default(_)) | None => any_kept = true,
        }
        before = copied.max(place.end);
    }
    out.push_str(&object[copied..]);
    for ((key, edit), seen) in edits.iter().zip(seen) {
        match edit {
            Edit::Set(value) | Edit::Default(value) if !seen => append(&mut out, key, value),
            _ => {}
        }
    }
    Ok(out)
}

/// Adds a field before the closing brace.
fn append(object: &mut String, key: &str, value: &str) {
    let Some(end) = object.rfind('}') else { return };
    let empty = object[..end].trim_end().ends_with('{');
    object.truncate(end);
    object.push_str(if empty { "" } else { "," });
    object.push_str(&quoted(key));
    object.push(':');
    object.push_str(value);
    object.push('}');
}

/// Fields and the places of their values.
type Fields<'a> = Vec<(Cow<'a, str>, Range<usize>)>;

/// The fields of an object with these keys; all of them when no key is given.
fn places<'a>(object: &'a str, wanted: &'a [&'a str]) -> serde_json::Result<Fields<'a>> {
    serde_json::Deserializer::from_str(object).deserialize_map(Places { object, wanted })
}

struct Places<'a> {
    object: &'a str,
    wanted: &'a [&'a str],
}

impl<'de> Visitor<'de> for Places<'de> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &RawValue = map.next_value()?;
            if !self.wanted.is_empty() && !self.wanted.contains(&&*key.0) {
                continue;
            }
            // The value is a slice of the object's own text, so its distance from the start is its place.
            let start = value.get().as_ptr() as usize - self.object.as_ptr() as usize;
            fields.push((key.0, start..start + value.get().len()));
        }
        Ok(fields)
    }
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
