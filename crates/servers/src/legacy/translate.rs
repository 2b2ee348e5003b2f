//! From what is sent until now to what to send today.

mod command;
mod message;

use std::collections::BTreeMap;

use kernel::Fault;
use kernel::aliases::Aliases;
use mcp::Revision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Most messages of one batch.
const BATCH_MAX: usize = 50;
/// Longest message, in bytes of JSON.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// What to send today.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Translated {
    /// What the message was taken for: `v1-execute`, `chat-command`, `json-rpc-batch`, `mcp-handshake-era`, `mcp-current`.
    pub understood_as: String,
    /// What to send, in order; nothing when it has no counterpart and needs none.
    pub steps: Vec<Step>,
    /// What changed and why.
    pub explanation: Vec<String>,
}

/// One thing to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Where: a method and a path on the coordinator's port.
    pub to: String,
    /// With which headers, beside authorization and content type.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
}

/// Translates whatever it is.
pub(super) async fn translate(aliases: &Aliases, message: &Value, server: Option<&str>) -> Result<Translated, Fault> {
    let bytes = message.to_string().len();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(
            Fault::too_large(format!("a message of {bytes} bytes")).hint("shorten its arguments; their names suffice")
        );
    }
    match message {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            // JSON as text is what people paste.
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => Box::pin(translate(aliases, &inner, server)).await,
            _ => command::chat(aliases, text).await,
        },
        Value::Array(batch) => translate_batch(aliases, batch, server).await,
        Value::Object(fields) if fields.contains_key("command") => command::v1(aliases, fields, server).await,
        Value::Object(fields) if fields.contains_key("jsonrpc") => message::message(aliases, fields).await,
        _ => Err(Fault::invalid("neither a v1 command, nor a chat command, nor a JSON-RPC message")
            .hint(r#"{"command": …, "args": …}, "!status", or {"jsonrpc": "2.0", …}"#)),
    }
}

async fn translate_batch(aliases: &Aliases, batch: &[Value], server: Option<&str>) -> Result<Translated, Fault> {
    if batch.len() > BATCH_MAX {
        return Err(
            Fault::too_large(format!("a batch of {} messages", batch.len())).hint(format!("at most {BATCH_MAX}"))
        );
    }
    if batch.iter().any(Value::is_array) {
        return Err(Fault::invalid("a batch inside a batch").hint("a list of messages"));
    }
    let mut steps = Vec::new();
    let mut explanation = vec!["batches existed in revision 2025-03-26 only: each message goes by itself".to_owned()];
    for message in batch {
        let one = Box::pin(translate(aliases, message, server)).await?;
        steps.extend(one.steps);
        for text in one.explanation {
            if !explanation.contains(&text) {
                explanation.push(text);
            }
        }
    }
    Ok(Translated { understood_as: "json-rpc-batch".into(), steps, explanation })
}

/// A request of the current revision to the coordinator.
fn request(id: Value, method: &str, name: Option<&str>, mut params: Map<String, Value>) -> Step {
    let revision = Revision::CURRENT.as_str();
    let meta = params.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.insert("io.modelcontextprotocol/protocolVersion".into(), revision.into());
        meta.entry("io.modelcontextprotocol/clientCapabilities").or_insert_with(|| json!({}));
    }
    let mut headers = BTreeMap::from([
        ("MCP-Protocol-Version".to_owned(), revision.to_owned()),
        ("Mcp-Method".to_owned(), method.to_owned()),
    ]);
    if let Some(name) = name {
        headers.insert("Mcp-Name".into(), name.to_owned());
    }
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    Step { to: "POST /mcp".into(), headers, body }
}

/// A call of a tool by its name in the aggregate.
fn call(id: Value, tool: &str, arguments: Value) -> Step {
    let params = Map::from_iter([("name".to_owned(), tool.into()), ("arguments".to_owned(), arguments)]);
    request(id, "tools/call", Some(tool), params)
}
