//! Tools that answer with every kind of content, and that talk while they work.

use std::sync::Arc;
use std::time::Duration;

use kernel::Fault;
use kernel::logs::Level;
use mcp::{Change, Content, Ctx, Hints, McpServer, Outcome, RpcError, ToolError, ToolSet, tools};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Everything, Nothing};

/// A red pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// Silence.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
/// Between two things said, so that they can be told apart.
const PAUSE: Duration = Duration::from_millis(50);

/// What [`GREET`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Greet {
    /// Whom.
    #[serde(default)]
    pub name: String,
}

/// What [`MIRRORED`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Region {
    /// Where.
    #[serde(default)]
    #[schemars(extend("x-mcp-header" = "Region"))]
    pub region: String,
}

/// What [`SCHEMA_2020_12`] takes, as far as it is read.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Anything(serde_json::Value);

tools! { Everything::NAME;
    /// Answers text.
    TEXT = "test_simple_text": fn(Nothing) -> (), Hints::READ;
    /// Answers a picture.
    IMAGE = "test_image_content": fn(Nothing) -> (), Hints::READ;
    /// Answers a sound.
    AUDIO = "test_audio_content": fn(Nothing) -> (), Hints::READ;
    /// Answers an embedded resource.
    EMBEDDED = "test_embedded_resource": fn(Nothing) -> (), Hints::READ;
    /// Answers content of several kinds.
    MIXED = "test_multiple_content_types": fn(Nothing) -> (), Hints::READ;
    /// Logs three times while it works.
    WITH_LOGGING = "test_tool_with_logging": fn(Nothing) -> (), Hints::READ;
    /// Logs once.
    LOGGING = "test_logging_tool": fn(Nothing) -> (), Hints::READ;
    /// Reports progress three times while it works.
    WITH_PROGRESS = "test_tool_with_progress": fn(Nothing) -> (), Hints::READ;
    /// Always refuses.
    FAILS = "test_error_handling": fn(Nothing) -> (), Hints::READ;
    /// Lets its connection go and answers later: the client comes back for it.
    RECONNECTION = "test_reconnection": fn(Nothing) -> (), Hints::READ;
    /// Has an input schema with everything that JSON Schema 2020-12 knows.
    SCHEMA_2020_12 = "json_schema_2020_12_tool": fn(Anything) -> (), Hints::READ;
    /// Has an argument that is repeated in a header.
    MIRRORED = "test_mirrored_argument": fn(Region) -> (), Hints::READ;
    /// Greets.
    GREET = "greet": fn(Greet) -> (), Hints::READ;
    /// Announces that the list of tools changed.
    TOOLS_CHANGE = "test_trigger_tool_change": fn(Nothing) -> (), Hints::OPERATE;
    /// Announces that the list of prompts changed.
    PROMPTS_CHANGE = "test_trigger_prompt_change": fn(Nothing) -> (), Hints::OPERATE;
}

/// An outcome of one piece of text.
pub fn text(text: impl Into<String>) -> Result<Outcome, ToolError> {
    Ok(Outcome::contents(&[Content::text(text)]))
}

fn image() -> Content {
    Content::Image { data: PNG.into(), mime_type: "image/png".into() }
}

fn resource(uri: &str, mime_type: &str, text: &str) -> Content {
    Content::Resource { resource: json!({ "uri": uri, "mimeType": mime_type, "text": text }) }
}

/// Adds them.
pub fn add(set: &mut ToolSet<Everything>) {
    set.add_content(TEXT, |_, _, _| async { text("This is a simple text response for testing.") });
    set.add_content(IMAGE, |_, _, _| async { Ok(Outcome::contents(&[image()])) });
    set.add_content(AUDIO, |_, _, _| async {
        Ok(Outcome::contents(&[Content::Audio { data: WAV.into(), mime_type: "audio/wav".into() }]))
    });
    set.add_content(EMBEDDED, |_, _, _| async {
        let text = "This is an embedded resource content.";
        Ok(Outcome::contents(&[resource("test://embedded-resource", "text/plain", text)]))
    });
    set.add_content(MIXED, |_, _, _| async {
        let data = resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#);
        Ok(Outcome::contents(&[Content::text("Multiple content types test:"), image(), data]))
    });
    set.add_content(FAILS, |_, _, _| async {
        Ok(Outcome::failed("This tool intentionally returns an error for testing"))
    });
    set.add_content(SCHEMA_2020_12, |_, Anything(given), _| async move { text(format!("called with {given}")) });
    set.adjust(|def| def.input = schema_2020_12());
    set.add_content(MIRRORED, |_, Region { region }, _| async move { text(region) });
    set.add_content(GREET, |_, Greet { name }, _| async move { text(format!("Hello, {name}!")) });
    add_talking(set);
}

fn add_talking(set: &mut ToolSet<Everything>) {
    set.add_content(WITH_LOGGING, |_, _, ctx| async move {
        for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
            ctx.log(Level::Info, "everything", &line).await;
            tokio::time::sleep(PAUSE).await;
        }
        text("Tool with logging executed successfully")
    });
    set.add_content(LOGGING, |_, _, ctx| async move {
        ctx.log(Level::Info, "everything", &"Diagnostic trace logging activated").await;
        text("Logging evaluated")
    });
    set.add_content(WITH_PROGRESS, |_, _, ctx| async move {
        for done in [0.0, 50.0, 100.0] {
            ctx.progress(done, Some(100.0), Some(&format!("Completed step {done} of 100"))).await;
            tokio::time::sleep(PAUSE).await;
        }
        text("Tool with progress executed successfully")
    });
    set.add_content(RECONNECTION, |_, _, ctx| async move {
        ctx.peer.let_go();
        tokio::time::sleep(2 * PAUSE).await;
        text("Reconnection test completed successfully")
    });
    set.add_content(TOOLS_CHANGE, |server, _, _| announce(server, Change::Tools));
    set.add_content(PROMPTS_CHANGE, |server, _, _| announce(server, Change::Prompts));
}

async fn announce(server: Arc<Everything>, change: Change) -> Result<Outcome, ToolError> {
    // An error means that nobody listens.
    server.changes.send(change).ok();
    text("Mutation triggered")
}

fn schema_2020_12() -> serde_json::Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": { "$anchor": "addressDef", "type": "object", "properties": {
            "street": { "type": "string" }, "city": { "type": "string" },
        } } },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}

/// A tool cannot go on without what `ctx` lacks.
pub fn protocol_error(message: &'static str) -> ToolError {
    RpcError::internal(message).into()
}

/// A tool's own refusal.
pub fn refusal(message: &str) -> ToolError {
    Fault::upstream(message).into()
}

/// Waits for `ms` milliseconds, or less if the call is taken back.
pub async fn rest(ms: u64, ctx: &Ctx) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => {}
        () = ctx.cancel.cancelled() => {}
    }
}
