//! Changes single fields of a JSON object; every other value stays byte for byte as it came.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

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

/// An object's fields in their order, values untouched.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    fields.push((key.0, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// `object` with `edits` made; without an object, a new one. New fields come last, in the order given.
///
/// # Errors
/// When `object` is not a JSON object.
pub fn edited(object: Option<&RawValue>, edits: &[(&str, Edit<'_>)]) -> serde_json::Result<String> {
    let fields = match object {
        Some(raw) => serde_json::from_str::<Fields<'_>>(raw.get())?.0,
        None => Vec::new(),
    };
    let room = edits
        .iter()
        .map(|(key, edit)| if let Edit::Set(v) | Edit::Default(v) = edit { key.len() + v.len() + 4 } else { 0 });
    let mut text = String::with_capacity(object.map_or(2, |raw| raw.get().len()) + room.sum::<usize>());
    text.push('{');
    for (key, value) in &fields {
        match edits.iter().find(|(edited, _)| edited == key) {
            Some((_, Edit::Set(_) | Edit::Remove)) => {}
            Some((_, Edit::Default(_))) | None => push(&mut text, key, value.get()),
        }
    }
    for (key, edit) in edits {
        match edit {
            Edit::Set(value) => push(&mut text, key, value),
            Edit::Default(value) if !fields.iter().any(|(present, _)| present == key) => push(&mut text, key, value),
            Edit::Default(_) | Edit::Remove => {}
        }
    }
    text.push('}');
    Ok(text)
}

fn push(text: &mut String, key: &str, value: &str) {
    if text.len() > 1 {
        text.push(',');
    }
    if key.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(key);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(key).to_string());
    }
    text.push(':');
    text.push_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let raw: Box<RawValue> = serde_json::from_str(r#"{"a": 1.50 ,"b\n":[ 1 ], "c":{"d" :1e400}}"#).unwrap();
        let edits =
            [("a", Edit::Remove), ("b\n", Edit::Default("0")), ("e", Edit::Set("true")), ("f", Edit::Default("{}"))];
        assert_eq!(edited(Some(&raw), &edits).unwrap(), r#"{"b\n":[ 1 ],"c":{"d" :1e400},"e":true,"f":{}}"#);
        assert_eq!(edited(None, &[("x", Edit::Remove)]).unwrap(), "{}");
        let array: Box<RawValue> = serde_json::from_str("[1]").unwrap();
        assert!(edited(Some(&array), &[]).is_err());
    }
}
