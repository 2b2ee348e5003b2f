//! JSON Schemas of tools, made from their types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, ReplaceBoolSchemas, Transform};
use serde_json::{Value, json};

/// The schema of what a tool takes.
pub fn input<T: JsonSchema>() -> Value {
    object(SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>())
}

/// The schema of what a tool answers.
pub fn output<T: JsonSchema>() -> Value {
    object(SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>())
}

/// Leaves out what only tells of Rust: the dialect (2020-12 is MCP's default), type names and integer formats.
fn object(mut schema: schemars::Schema) -> Value {
    schema.remove("$schema");
    schema.remove("title");
    schema.remove("description");
    let mut tidy = RecursiveTransform(|schema: &mut schemars::Schema| {
        let rust_format = schema.get("format").and_then(Value::as_str).is_some_and(is_rust_format);
        if rust_format {
            schema.remove("format");
        }
    });
    tidy.transform(&mut schema);
    // A bare `true` for "anything" is a schema, but model providers refuse it where they want an object.
    let mut objects = ReplaceBoolSchemas::default();
    objects.skip_additional_properties = true;
    objects.transform(&mut schema);
    let mut value = schema.to_value();
    if value.get("type").is_none() {
        value["type"] = json!("object");
    }
    value
}

fn is_rust_format(format: &str) -> bool {
    matches!(
        format,
        "int8"
            | "int16"
            | "int32"
            | "int64"
            | "uint"
            | "uint8"
            | "uint16"
            | "uint32"
            | "uint64"
            | "int"
            | "double"
            | "float"
    )
}
