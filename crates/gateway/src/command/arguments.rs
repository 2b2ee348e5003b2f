//! The v1 form of arguments: words, as people type them, made into what a tool takes.

use kernel::Fault;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use mcp::splice;

/// The arguments object for the tool with this entry in `tools/list`, from an object (as it is), nothing, or a list of words:
/// `name=value` names its parameter, a bare word is the next parameter that has no value yet, required ones first.
///
/// # Errors
/// When there are more words than parameters, or `args` is neither.
pub fn arguments_for(listing: &RawValue, args: &Value) -> Result<Value, Fault> {
    let words = match args {
        Value::Null => return Ok(Value::Object(Map::new())),
        Value::Object(_) => return Ok(args.clone()),
        Value::Array(words) => words.clone(),
        Value::String(text) => text.split_whitespace().map(Value::from).collect(),
        _ => return Err(Fault::invalid("args is a bare number or boolean").hint("an object, or a list of words")),
    };
    let schema: Value = splice::get(listing.get(), "inputSchema")
        .and_then(|schema| serde_json::from_str(schema).ok())
        .unwrap_or(Value::Null);
    let parameters = parameters(&schema);
    let mut given = Map::new();
    let mut bare = Vec::new();
    for word in words {
        let named = word.as_str().and_then(|text| text.split_once('='));
        match named.filter(|(name, _)| parameters.iter().any(|parameter| parameter == name)) {
            Some((name, value)) => {
                given.insert(name.to_owned(), typed(&schema, name, Value::from(value)));
            }
            None => bare.push(word),
        }
    }
    let open: Vec<&String> = parameters.iter().filter(|name| !given.contains_key(*name)).collect();
    if bare.len() > open.len() {
        let hint =
            if parameters.is_empty() { "it takes none".into() } else { format!("it takes {}", parameters.join(", ")) };
        return Err(Fault::invalid(format!(
            "more words than the tool has parameters: {} too many",
            bare.len() - open.len()
        ))
        .hint(hint));
    }
    let filled: Vec<(String, Value)> =
        open.into_iter().zip(bare).map(|(name, word)| (name.clone(), typed(&schema, name, word))).collect();
    given.extend(filled);
    Ok(Value::Object(given))
}

/// The tool's parameters: the required ones in their order, then the others in theirs.
fn parameters(schema: &Value) -> Vec<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut names: Vec<String> = required.map(ToOwned::to_owned).collect();
    for name in schema["properties"].as_object().into_iter().flat_map(Map::keys) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// A word as the parameter's type wants it; one that does not fit stays text, and the tool says what is wrong with it.
fn typed(schema: &Value, name: &str, word: Value) -> Value {
    let Some(text) = word.as_str() else { return word };
    let kinds = &schema["properties"][name]["type"];
    let may_be =
        |kind: &str| kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind));
    let read = || serde_json::from_str::<Value>(text).ok();
    let fits = |value: &Value| {
        (value.is_number() && (may_be("integer") || may_be("number")))
            || (value.is_boolean() && may_be("boolean"))
            || (value.is_array() && may_be("array"))
            || (value.is_object() && may_be("object"))
    };
    if may_be("string") { word } else { read().filter(fits).unwrap_or(word) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(args: Value, want: Result<Value, &str>) {
        let listing = mcp::wire::raw(&json!({ "name": "x", "inputSchema": {
            "properties": {
                "limit": { "type": "integer" },
                "service": { "type": "string" },
                "level": { "type": ["string", "null"] },
                "tail": { "type": "boolean" },
            },
            "required": ["service"],
        } }));
        let got = arguments_for(&listing, &args);
        assert_eq!(got.map_err(|fault| fault.to_string()), want.map_err(ToOwned::to_owned), "{args}");
    }

    #[test]
    fn words_become_arguments() {
        check(json!(null), Ok(json!({})));
        check(json!({ "anything": 1.0 }), Ok(json!({ "anything": 1.0 })));
        check(json!(["utilities", "50"]), Ok(json!({ "service": "utilities", "limit": 50 })));
        check(json!("utilities 50"), Ok(json!({ "service": "utilities", "limit": 50 })));
        check(json!(["limit=5", "7"]), Ok(json!({ "limit": 5, "service": "7" })));
        check(json!(["a=b", "tail=true", "level=3"]), Ok(json!({ "tail": true, "level": "3", "service": "a=b" })));
        check(json!(["x", "many"]), Ok(json!({ "service": "x", "limit": "many" })));
        check(
            json!(["1", "2", "3", "4", "5"]),
            Err(
                "invalid_argument: more words than the tool has parameters: 1 too many (it takes service, limit, level, tail)",
            ),
        );
        check(json!(3), Err("invalid_argument: args is a bare number or boolean (an object, or a list of words)"));
    }
}
