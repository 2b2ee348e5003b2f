//! jq programs over JSON: [`flow::jq`] as a tool.

use std::collections::BTreeMap;

use flow::bounded::check_size;
use flow::jq::{Program, STACK};
use kernel::UnixMs;
use mcp::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::value::RawValue;

use super::Utilities;
use super::encodings::TEXT_MAX;

/// Most outputs of one program.
const OUTPUTS_MAX: usize = 10_000;
/// Most variables.
const VARIABLES_MAX: usize = 100;

/// Any JSON, kept to the last digit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exact(pub Box<RawValue>);

impl Default for Exact {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl JsonSchema for Exact {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exact".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// What [`QUERY_JSON`](super::QUERY_JSON) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryJsonRequest {
    /// The jq program, at most 8 KiB: `.items[] | select(.price > 10) | {name, price}`.
    pub program: String,
    /// What it runs on: any JSON, at most 1 MiB. Whole numbers keep all their digits.
    #[serde(default)]
    pub input: Exact,
    /// Variables: `{"min": 3}` is `$min` in the program.
    #[serde(default)]
    pub variables: BTreeMap<String, Exact>,
    /// At most this many outputs, 1 to 10,000.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 10000))]
    pub limit: usize,
}

fn thousand() -> usize {
    1_000
}

/// What [`QUERY_JSON`](super::QUERY_JSON) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueryJsonResponse {
    /// The outputs, in order.
    pub outputs: Vec<Exact>,
    /// Whether the limit ended the program.
    pub limited: bool,
}

impl Utilities {
    pub(super) async fn query_json(
        self: Arc<Self>,
        request: QueryJsonRequest,
        _ctx: Ctx,
    ) -> Result<QueryJsonResponse, ToolError> {
        let now_ms = self.clock.now_ms();
        Ok(self.gate.run("query_json", STACK, move || query(&request, now_ms)).await?)
    }
}

fn query(request: &QueryJsonRequest, now_ms: UnixMs) -> Result<QueryJsonResponse, Fault> {
    check_size("program", &request.program, flow::jq::PROGRAM_MAX)?;
    check_size("input", request.input.0.get(), TEXT_MAX)?;
    if !(1..=OUTPUTS_MAX).contains(&request.limit) {
        return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {OUTPUTS_MAX}")));
    }
    check_variables(request)?;
    let names: Vec<String> = request.variables.keys().map(|name| format!("${name}")).collect();
    let program = Program::compile(&request.program, &names)?;
    let places: Vec<String> = request.variables.keys().map(|name| format!("variables.{name}")).collect();
    let values = request.variables.values().map(|value| value.0.get());
    let values: Vec<(&str, &str)> = places.iter().map(String::as_str).zip(values).collect();
    let outputs = program.run(request.input.0.get(), &values, now_ms, request.limit)?;
    Ok(QueryJsonResponse { outputs: outputs.values.into_iter().map(Exact).collect(), limited: outputs.limited })
}

fn check_variables(request: &QueryJsonRequest) -> Result<(), Fault> {
    if request.variables.len() > VARIABLES_MAX {
        let text = format!("{} variables", request.variables.len());
        return Err(Fault::too_large(text).hint(format!("at most {VARIABLES_MAX}")));
    }
    for (name, value) in &request.variables {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !letters || name.is_empty() || name.len() > 64 || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(
                Fault::invalid("a variable's name").hint("1 to 64 letters, digits and _, not beginning with a digit")
            );
        }
        check_size("a variable", value.0.get(), TEXT_MAX)?;
    }
    Ok(())
}
