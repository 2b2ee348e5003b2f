//! The tools that a definition calls, as far as they stand in it, and whether what they are given fits what they take.

use kernel::Result;
use kernel::limits::nearest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Problem;
use super::read::inner;
use super::source::{Place, Source, segment};

/// A tool that a definition calls by a name that stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolUse {
    /// The server.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// Where it is called: a JSON Pointer.
    pub path: String,
    /// What it is given; none where only an expression tells.
    #[serde(skip)]
    given: Option<Vec<Argument>>,
    #[serde(skip)]
    place: Place,
}

/// An argument, as it stands in a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Argument {
    name: String,
    value: Value,
    place: Place,
}

impl ToolUse {
    /// The call at `path`, with these parameters of `tools/call`.
    pub(super) fn new(server: &str, tool: &str, path: &str, parameters: &Value, source: &Source) -> Self {
        let at = format!("{path}/with/parameters/arguments");
        let argument = |(name, value): (&String, &Value)| Argument {
            name: name.clone(),
            value: value.clone(),
            place: source.place(&format!("{at}/{}", segment(name))),
        };
        let given = match parameters.get("arguments") {
            None => Some(Vec::new()),
            Some(arguments) => arguments.as_object().map(|fields| fields.iter().map(argument).collect()),
        };
        Self { server: server.into(), tool: tool.into(), path: path.into(), given, place: source.place(&at) }
    }

    /// What of its arguments does not fit the tool's schema. What expressions give nobody knows before a run, so only the rest is held to it.
    /// Belongs inside [`Gate::run`](crate::bounded::Gate::run) with a stack of [`STACK`](crate::schema::STACK).
    ///
    /// # Errors
    /// When the limits of the computation are reached, or the tool's schema is none.
    pub fn misfits(&self, schema: &Value) -> Result<Vec<Problem>> {
        let Some(given) = &self.given else { return Ok(Vec::new()) };
        let called = format!("{}__{}", self.server, self.tool);
        let known: Vec<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
        let mut problems = Vec::new();
        for argument in given {
            let at = format!("{}/with/parameters/arguments/{}", self.path, segment(&argument.name));
            let mut wrong = |message: String, hint: String| {
                let Place { line, column } = argument.place;
                problems.push(Problem { path: at.clone(), line, column, message, hint });
            };
            match schema["properties"].get(&argument.name) {
                None if schema["additionalProperties"] == false => {
                    let near = nearest(&argument.name, &known).map(|near| format!("did you mean `{near}`?"));
                    let hint = near.unwrap_or_else(|| format!("it takes {}", known.join(", ")));
                    wrong(format!("`{called}` takes no `{}`", argument.name), hint);
                }
                Some(own) if !has_expression(&argument.value) => {
                    let verdict = crate::schema::validate(with_parts(own, schema), &argument.value, false)?;
                    if let Some(error) = verdict.errors.first() {
                        let message = format!("`{}` of `{called}`: {}", argument.name, error.message);
                        wrong(message, "as the tool's schema has it".into());
                    }
                }
                _ => {}
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if given.iter().all(|argument| argument.name != name) {
                let Place { line, column } = self.place;
                let message = format!("`{called}` is called without `{name}`");
                let path = format!("{}/with/parameters/arguments", self.path);
                problems.push(Problem { path, line, column, message, hint: format!("{name}: …") });
            }
        }
        Ok(problems)
    }
}

/// A part of a schema, with what it may refer to.
fn with_parts(own: &Value, whole: &Value) -> Value {
    let mut own = own.clone();
    for parts in ["$defs", "definitions"] {
        if let (Value::Object(fields), Some(defined)) = (&mut own, whole.get(parts)) {
            fields.entry(parts).or_insert_with(|| defined.clone());
        }
    }
    own
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => inner(text).is_some(),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(fields) => fields.values().any(has_expression),
        _ => false,
    }
}
