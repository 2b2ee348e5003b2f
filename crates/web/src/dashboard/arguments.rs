//! What somebody typed into a form, as a tool takes it: its JSON Schema says what is a number and what is text.
//!
//! Whether it fits is the tool's own to say. What cannot be read as its type is sent as the text that it is, so that the refusal names it.

use serde_json::{Map, Value};

use super::query::Query;

/// What a form's field of an argument is called.
pub const PREFIX: &str = "arg.";
/// How deep references between schemas are followed.
const REFERENCES_MAX: usize = 16;

/// The arguments in `form` for a tool that takes `schema`.
pub fn arguments(schema: &Value, form: &Query) -> Value {
    let mut arguments = Map::new();
    for (name, text) in &form.0 {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        let types = types_of(schema, &schema["properties"][name]);
        if let Some(value) = value(&types, text) {
            arguments.insert(name.to_owned(), value);
        }
    }
    Value::Object(arguments)
}

/// The types that a property may have, through references and alternatives; none when it may have any.
pub fn types_of<'a>(schema: &'a Value, property: &'a Value) -> Vec<&'a str> {
    let mut types = Vec::new();
    gather(schema, property, REFERENCES_MAX, &mut types);
    types
}

fn gather<'a>(schema: &'a Value, property: &'a Value, depth: usize, types: &mut Vec<&'a str>) {
    if depth == 0 {
        return;
    }
    let target = property["$ref"].as_str().and_then(|at| schema.pointer(at.strip_prefix('#')?));
    if let Some(target) = target {
        gather(schema, target, depth - 1, types);
    }
    let own = &property["type"];
    types.extend(own.as_str().into_iter().chain(own.as_array().into_iter().flatten().filter_map(Value::as_str)));
    for kind in ["anyOf", "oneOf"] {
        for one in property[kind].as_array().into_iter().flatten() {
            gather(schema, one, depth - 1, types);
        }
    }
}

/// The values that a property is limited to, through references and alternatives; none when it is not.
pub fn choices(schema: &Value, property: &Value) -> Vec<String> {
    let mut found = Vec::new();
    choose(schema, property, REFERENCES_MAX, &mut found);
    found
}

fn choose(schema: &Value, property: &Value, depth: usize, found: &mut Vec<String>) {
    if depth == 0 {
        return;
    }
    if let Some(target) = property["$ref"].as_str().and_then(|at| schema.pointer(at.strip_prefix('#')?)) {
        choose(schema, target, depth - 1, found);
    }
    let own = property["enum"].as_array().into_iter().flatten().chain(property.get("const"));
    found.extend(own.filter_map(|one| one.as_str().map(ToOwned::to_owned)));
    for kind in ["anyOf", "oneOf"] {
        for one in property[kind].as_array().into_iter().flatten() {
            choose(schema, one, depth - 1, found);
        }
    }
}

/// A field's text as a value. An empty field is an argument that is not given.
fn value(types: &[&str], text: &str) -> Option<Value> {
    let takes = |kind: &str| types.contains(&kind);
    if text.trim().is_empty() {
        return None;
    }
    let as_text = || Value::String(text.to_owned());
    if takes("string") {
        return Some(as_text());
    }
    let json = serde_json::from_str::<Value>(text.trim()).ok();
    if takes("array") && !json.as_ref().is_some_and(Value::is_array) {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Some(lines.map(|line| Value::String(line.to_owned())).collect());
    }
    // A number of more digits than JSON's readers keep must not change on the way.
    let as_written = |value: &Value| serde_json::to_string(value).is_ok_and(|written| written == text.trim());
    let kept = json.filter(|value| !value.is_number() || as_written(value));
    Some(kept.unwrap_or_else(as_text))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(property: &Value, text: &str, expect: &Expect) {
        let schema = json!({ "properties": { "x": property }, "$defs": {
            "Level": { "oneOf": [{ "type": "string", "const": "warn" }] }, "Loop": { "$ref": "#/$defs/Loop" },
        } });
        let form = Query(vec![("token".into(), "t".into()), ("arg.x".into(), text.into())]);
        expect.assert_eq(&arguments(&schema, &form).to_string());
    }

    #[test]
    fn what_a_property_is_limited_to_is_offered() {
        let schema = json!({ "$defs": { "Level": { "oneOf": [{ "const": "warn" }, { "const": "error" }] } } });
        let offered = |property: Value| choices(&schema, &property).join(",");
        assert_eq!(offered(json!({ "anyOf": [{ "$ref": "#/$defs/Level" }, { "type": "null" }] })), "warn,error");
        assert_eq!(offered(json!({ "enum": ["a", "b", null] })), "a,b");
        assert_eq!(offered(json!({ "type": "string" })), "");
    }

    #[test]
    fn what_is_typed_is_what_the_schema_says() {
        let integer = json!({ "type": ["integer", "null"] });
        check(&integer, " 12 ", &expect![[r#"{"x":12}"#]]);
        check(&integer, "", &expect!["{}"]);
        check(&integer, "twelve", &expect![[r#"{"x":"twelve"}"#]]);
        check(
            &integer,
            "1267650600228229401496703205376000000000",
            &expect![[r#"{"x":"1267650600228229401496703205376000000000"}"#]],
        );
        check(&json!({ "type": "string" }), "12", &expect![[r#"{"x":"12"}"#]]);
        check(&json!({ "type": ["string", "integer"] }), "-15m", &expect![[r#"{"x":"-15m"}"#]]);
        check(&json!({ "type": "boolean" }), "true", &expect![[r#"{"x":true}"#]]);
        check(&json!({ "type": "array", "items": { "type": "string" } }), "a\n\n b ", &expect![[r#"{"x":["a","b"]}"#]]);
        check(&json!({ "type": "array" }), "[1,2]", &expect![[r#"{"x":[1,2]}"#]]);
        check(&json!({ "type": "object" }), r#"{"a":1}"#, &expect![[r#"{"x":{"a":1}}"#]]);
        check(
            &json!({ "anyOf": [{ "$ref": "#/$defs/Level" }, { "type": "null" }] }),
            "warn",
            &expect![[r#"{"x":"warn"}"#]],
        );
        check(&json!({ "$ref": "#/$defs/Loop" }), "x", &expect![[r#"{"x":"x"}"#]]);
        check(&json!(true), "<b>", &expect![[r#"{"x":"<b>"}"#]]);
    }
}
