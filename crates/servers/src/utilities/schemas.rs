//! Documents held to a JSON Schema: [`flow::schema`] as a tool.

use flow::schema::{STACK, validate};
use mcp::prelude::*;
use serde_json::Value;

pub use flow::schema::SchemaError;

use super::Utilities;

/// What [`VALIDATE_JSON_SCHEMA`](super::VALIDATE_JSON_SCHEMA) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateJsonSchemaRequest {
    /// The schema, draft 2020-12 unless its `$schema` says otherwise. References reach only inside it.
    pub schema: Value,
    /// The document to hold to it.
    pub document: Value,
    /// Whether `format` is checked too (`email`, `date-time`, `uri`, …).
    #[serde(default)]
    pub formats: bool,
}

/// What [`VALIDATE_JSON_SCHEMA`](super::VALIDATE_JSON_SCHEMA) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ValidateJsonSchemaResponse {
    /// Whether the document fits.
    pub valid: bool,
    /// What does not fit, at most 100 places.
    pub errors: Vec<SchemaError>,
    /// Whether there are more.
    pub more: bool,
}

impl Utilities {
    pub(super) async fn validate_json_schema(
        self: Arc<Self>,
        request: ValidateJsonSchemaRequest,
        _ctx: Ctx,
    ) -> Result<ValidateJsonSchemaResponse, ToolError> {
        let work = move || validate(request.schema, &request.document, request.formats);
        let verdict = self.gate.run("validate_json_schema", STACK, work).await?;
        Ok(ValidateJsonSchemaResponse { valid: verdict.valid, errors: verdict.errors, more: verdict.more })
    }
}
