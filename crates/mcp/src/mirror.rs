//! Arguments that are mirrored into HTTP headers: `x-mcp-header` in a tool's input schema (2026-07-28).
//!
//! A client writes them, a server compares them with the body. Both sides of ours use the same reading of the schema and of the values.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

/// The annotation.
const KEYWORD: &str = "x-mcp-header";
/// What stands before the annotation's value in the header's name.
pub const HEADER_PREFIX: &str = "Mcp-Param-";
/// Integers outside of this are not exact for every reader.
const SAFE_INTEGER: i64 = (1 << 53) - 1;
const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// One argument that is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// Where it is in the arguments.
    pub path: Vec<String>,
    /// The header, `Mcp-Param-…`.
    pub header: String,
}

impl Mirrored {
    /// The value it has in `arguments`, as the header says it (not yet encoded); `None` when there is none, or it is `null`.
    ///
    /// # Errors
    /// When the value is not text, a boolean or a safe integer.
    pub fn value(&self, arguments: &Value) -> Result<Option<String>, String> {
        let mut value = arguments;
        for step in &self.path {
            match value.get(step) {
                Some(inner) => value = inner,
                None => return Ok(None),
            }
        }
        let wrong = || Err(format!("`{}` must be text, a boolean or a safe integer", self.path.join(".")));
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            Value::Bool(flag) => Ok(Some(flag.to_string())),
            Value::Number(number) => match whole(number) {
                Some(whole) => Ok(Some(whole.to_string())),
                None => wrong(),
            },
            Value::Array(_) | Value::Object(_) => wrong(),
        }
    }
}

/// A number as a safe integer: `42`, and also `42.0`.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= SAFE_INTEGER as f64)?;
        Some(float as i64)
    })?;
    (whole.abs() <= SAFE_INTEGER).then_some(whole)
}

/// Whether a decoded header says the same as the body's value: integers are compared as numbers.
pub fn same(header: &str, body: &str) -> bool {
    header == body || matches!((header.parse::<f64>(), body.parse::<i64>()), (Ok(a), Ok(b)) if a == b as f64)
}

/// The mirrored arguments of an input schema, in its order.
///
/// # Errors
/// When an annotation is not allowed where it stands or is malformed; such a tool must not be offered.
pub fn mirrored(schema: &Value) -> Result<Vec<Mirrored>, String> {
    let mut found = Vec::new();
    walk(schema, &mut Vec::new(), true, &mut found)?;
    let mut names = HashSet::new();
    match found.iter().find(|mirrored| !names.insert(mirrored.header.to_ascii_lowercase())) {
        Some(twice) => Err(format!("{KEYWORD}: {} is used twice", twice.header)),
        None => Ok(found),
    }
}

/// `reachable` as long as only `properties` lead here from the root.
fn walk(schema: &Value, path: &mut Vec<String>, reachable: bool, found: &mut Vec<Mirrored>) -> Result<(), String> {
    let Some(fields) = schema.as_object() else {
        return schema.as_array().into_iter().flatten().try_for_each(|inner| walk(inner, path, false, found));
    };
    if let Some(name) = fields.get(KEYWORD) {
        found.push(annotated(name, fields, path, reachable)?);
    }
    for (keyword, inner) in fields {
        match (keyword.as_str(), inner.as_object()) {
            // Data, not schemas: whatever stands there is no annotation.
            ("const" | "enum" | "default" | "examples", _) | (KEYWORD, _) => {}
            ("properties", Some(properties)) => {
                for (property, inner) in properties {
                    path.push(property.clone());
                    walk(inner, path, reachable, found)?;
                    path.pop();
                }
            }
            ("patternProperties" | "$defs" | "definitions" | "dependentSchemas", Some(named)) => {
                named.values().try_for_each(|inner| walk(inner, path, false, found))?;
            }
            _ => walk(inner, path, false, found)?,
        }
    }
    Ok(())
}

fn annotated(
    name: &Value,
    fields: &serde_json::Map<String, Value>,
    path: &[String],
    reachable: bool,
) -> Result<Mirrored, String> {
    let name = name.as_str().filter(|name| !name.is_empty() && name.bytes().all(is_token));
    let name = name.ok_or_else(|| format!("{KEYWORD} must be a header token"))?;
    if !reachable || path.is_empty() {
        return Err(format!("{KEYWORD} `{name}` may only stand on properties reached through `properties`"));
    }
    let primitive = |kind: &Value| matches!(kind.as_str(), Some("string" | "integer" | "boolean"));
    let fits = match fields.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().all(|kind| primitive(kind) || kind == "null"),
        Some(kind) => primitive(kind),
        None => false,
    };
    if !fits {
        return Err(format!("{KEYWORD} `{name}` may only stand on a string, an integer or a boolean"));
    }
    Ok(Mirrored { path: path.to_vec(), header: format!("{HEADER_PREFIX}{name}") })
}

/// RFC 9110's `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A value as a header may carry it: as it is, or in Base64 between marks.
pub fn encode(value: &str) -> Cow<'_, str> {
    let visible = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'));
    let padded = value.trim_matches([' ', '\t']).len() != value.len();
    if visible && !padded && !(value.starts_with(OPEN) && value.ends_with(CLOSE)) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(value)))
}

/// A header's value as it was before [`encode`].
///
/// # Errors
/// When it is marked as Base64, but is not, or not of UTF-8.
pub fn decode(header: &str) -> Result<Cow<'_, str>, String> {
    let Some(inner) = header.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)) else {
        return Ok(Cow::Borrowed(header));
    };
    let bytes = STANDARD.decode(inner).map_err(|error| format!("not Base64: {error}"))?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| "not UTF-8 in Base64".into())
}

/// Holds a call's headers to its arguments.
///
/// # Errors
/// What disagrees.
pub fn check(mirrored: &[Mirrored], headers: &HeaderMap, arguments: Option<&RawValue>) -> Result<(), String> {
    let arguments: Value = arguments.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    for one in mirrored {
        let header = &one.header;
        match (headers.get(header), one.value(&arguments)?) {
            (None, None) => {}
            (None, Some(_)) => return Err(format!("{header} is missing, and its argument is there")),
            (Some(_), None) => return Err(format!("{header} is there, and its argument is missing")),
            (Some(given), Some(wanted)) => {
                let given = text_of(given).map_err(|error| format!("{header}: {error}"))?;
                if !same(&given, &wanted) {
                    return Err(format!("{header} is `{given}`, the body has `{wanted}`"));
                }
            }
        }
    }
    Ok(())
}

/// The text of a header as it came, marks and white space around it taken off.
///
/// # Errors
/// As [`decode`], and when it is not visible ASCII.
pub fn text_of(header: &HeaderValue) -> Result<Cow<'_, str>, String> {
    decode(header.to_str().map_err(|_| "not visible ASCII")?.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_survive_a_header() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("", ""),
        ] {
            assert_eq!(encode(value), header);
            assert_eq!(decode(header).unwrap(), value);
        }
        assert!(decode("=?base64?%%?=").is_err());
    }

    #[test]
    fn reads_annotations_where_they_may_stand() {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
            "data": { "type": "object", "default": { "x-mcp-header": 3 } },
        } });
        let found = mirrored(&schema).unwrap();
        let headers: Vec<_> = found.iter().map(|one| one.header.as_str()).collect();
        assert_eq!(headers, ["Mcp-Param-Region", "Mcp-Param-N"]);
        let arguments = json!({ "region": null, "deep": { "n": 42.0 } });
        assert_eq!(found[0].value(&arguments), Ok(None));
        assert_eq!(found[1].value(&arguments), Ok(Some("42".into())));
        assert!(same("42.0", "42") && !same("43", "42"));
    }

    #[test]
    fn headers_are_held_to_the_arguments() {
        let schema = json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" }, "n": { "type": "integer", "x-mcp-header": "N" } } });
        let mirrored = mirrored(&schema).unwrap();
        let check_one = |arguments: &str, headers: &[(&'static str, &str)]| {
            let raw = RawValue::from_string(arguments.to_owned()).unwrap();
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            check(&mirrored, &headers.collect(), Some(&raw))
        };
        assert_eq!(
            check_one(r#"{"region":"x","n":42}"#, &[("mcp-param-region", "x"), ("mcp-param-n", "42.0")]),
            Ok(())
        );
        assert_eq!(check_one(r#"{"n":null}"#, &[]), Ok(()));
        assert_eq!(check_one(r#"{"region":"é"}"#, &[("mcp-param-region", "=?base64?w6k=?=")]), Ok(()));
        assert!(check_one(r#"{"region":"x"}"#, &[]).is_err());
        assert!(check_one(r#"{}"#, &[("mcp-param-region", "x")]).is_err());
        assert!(check_one(r#"{"region":"x"}"#, &[("mcp-param-region", "y")]).is_err());
        assert!(check_one(r#"{"region":"Hello"}"#, &[("mcp-param-region", "=?base64?SGVsbG8?=")]).is_err());
    }

    #[test]
    fn refuses_annotations_elsewhere() {
        let string = |name: &str| json!({ "type": "string", "x-mcp-header": name });
        for bad in [
            json!({ "properties": { "a": string("") } }),
            json!({ "properties": { "a": string("a b") } }),
            json!({ "properties": { "a": { "type": "number", "x-mcp-header": "A" } } }),
            json!({ "properties": { "a": { "x-mcp-header": "A" } } }),
            json!({ "properties": { "a": { "type": "array", "items": string("A") } } }),
            json!({ "anyOf": [{ "properties": { "a": string("A") } }] }),
            json!({ "$defs": { "a": { "properties": { "b": string("A") } } } }),
            json!({ "properties": { "a": string("A"), "b": string("a") } }),
            json!({ "type": "string", "x-mcp-header": "A" }),
        ] {
            assert!(mirrored(&bad).is_err(), "{bad}");
        }
    }
}
