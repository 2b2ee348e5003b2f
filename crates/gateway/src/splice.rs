//! Replaces single values inside JSON text and leaves every other byte as it was.
//!
//! What passes through the gateway belongs to others: fields we do not know, numbers written in their own way, order and white space
//! all stay. Keys are compared after unescaping, as every JSON reader does, so that no spelling of a key slips past.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use mcp::RpcError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// `object` with the value of every given key replaced; keys it does not have are added at its end.
///
/// `object` and the values must be JSON.
///
/// # Errors
/// When `object` is not a JSON object, or has one of the keys twice: readers disagree on which of the two counts.
pub fn set(object: &str, fields: &[(&str, &str)]) -> Result<String, RpcError> {
    let found = places(object, fields).map_err(unreadable)?;
    let mut edits: Vec<(Range<usize>, &str)> =
        found.iter().zip(fields).filter_map(|(place, (_, value))| Some((place.clone()?, *value))).collect();
    edits.sort_by_key(|(place, _)| place.start);

    let grown: usize = fields.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
    let mut out = String::with_capacity(object.len() + grown);
    let mut copied = 0;
    for (place, value) in edits {
        out.push_str(&object[copied..place.start]);
        out.push_str(value);
        copied = place.end;
    }
    out.push_str(&object[copied..]);
    for ((key, value), place) in fields.iter().zip(&found) {
        if place.is_none() {
            append(&mut out, key, value);
        }
    }
    Ok(out)
}

/// [`set`] on a whole value.
pub fn set_raw(object: &RawValue, fields: &[(&str, &str)]) -> Result<Box<RawValue>, RpcError> {
    RawValue::from_string(set(object.get(), fields)?).map_err(unreadable)
}

/// The text of one value of `object`, if it is an object and has the key.
pub fn get<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let place = places(object, &[(key, "")]).ok()?.pop()??;
    Some(&object[place])
}

fn unreadable(error: serde_json::Error) -> RpcError {
    RpcError::invalid_params(format!("not a plain object: {error}"))
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Adds a field before the closing brace.
fn append(object: &mut String, key: &str, value: &str) {
    let Some(end) = object.rfind('}') else { return };
    let empty = object[..end].trim_end().ends_with('{');
    let field = format!("{}{}:{value}", if empty { "" } else { "," }, quoted(key));
    object.insert_str(end, &field);
}

/// Where the value of each wanted key stands.
fn places(object: &str, wanted: &[(&str, &str)]) -> Result<Vec<Option<Range<usize>>>, serde_json::Error> {
    serde_json::Deserializer::from_str(object).deserialize_map(Places { object, wanted })
}

struct Places<'a> {
    object: &'a str,
    wanted: &'a [(&'a str, &'a str)],
}

impl<'de> Visitor<'de> for Places<'de> {
    type Value = Vec<Option<Range<usize>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.wanted.len()];
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &RawValue = map.next_value()?;
            let Some(at) = self.wanted.iter().position(|(wanted, _)| *wanted == key.0) else { continue };
            // The value is a slice of the object's own text, so its distance from the start is its place.
            let start = value.get().as_ptr() as usize - self.object.as_ptr() as usize;
            if found[at].replace(start..start + value.get().len()).is_some() {
                return Err(serde::de::Error::custom(format!("the key `{}` stands there twice", key.0)));
            }
        }
        Ok(found)
    }
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
