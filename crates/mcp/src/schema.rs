//! JSON Schemas of tools, made from their types.

use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, ReplaceBoolSchemas, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

/// Makes a type's schema: its `JsonSchema::json_schema`. All that follows is compiled once and not for every type.
pub type Make = fn(&mut SchemaGenerator) -> Schema;

/// The schema of what a tool takes.
pub fn input<T: JsonSchema>() -> Value {
    input_of(T::json_schema)
}

/// The schema of what a tool answers.
pub fn output<T: JsonSchema>() -> Value {
    output_of(T::json_schema)
}

/// The schema of what a tool takes, by its type's maker.
pub fn input_of(make: Make) -> Value {
    whole(Contract::Deserialize, make)
}

/// The schema of what a tool answers, by its type's maker.
pub fn output_of(make: Make) -> Value {
    whole(Contract::Serialize, make)
}

fn whole(contract: Contract, make: Make) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.contract = contract;
    let mut generator = settings.into_generator();
    let mut schema = make(&mut generator);
    let definitions = generator.take_definitions(false);
    if !definitions.is_empty() {
        schema.insert("$defs".into(), definitions.into());
    }
    object(schema)
}

/// Leaves out what only tells of Rust: type names and integer formats. The dialect is not told: 2020-12 is MCP's default.
fn object(mut schema: Schema) -> Value {
    schema.remove("title");
    schema.remove("description");
    let mut tidy = RecursiveTransform(|schema: &mut Schema| {
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
