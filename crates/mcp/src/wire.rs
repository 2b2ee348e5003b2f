//! JSON-RPC messages: the envelope is read once, payloads stay raw.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{RpcError, codes};
use crate::typed;

/// A request's id: text or an integer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer.
    Number(i64),
    /// Text.
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A message from the other side.
#[derive(Debug)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Answers a request of ours.
    Response(Response),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id, echoed in the answer.
    pub id: Id,
    /// What is asked.
    pub method: String,
    /// With what.
    pub params: Params,
}

/// A notification.
#[derive(Debug, Clone)]
pub struct Notification {
    /// What happened.
    pub method: String,
    /// Particulars.
    pub params: Params,
}

/// An answer to a request of ours.
#[derive(Debug, Clone)]
pub struct Response {
    /// Which request; `None` when the other side could not read it.
    pub id: Option<Id>,
    /// The result, untouched, or the error.
    pub outcome: Result<Box<RawValue>, RpcError>,
}

/// A message's parameters: as they came, and the fields the protocol itself reads.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// As they came; `None` when absent.
    pub raw: Option<Box<RawValue>>,
    /// `_meta`.
    pub meta: Meta,
    /// `name` of a tool or prompt.
    pub name: Option<String>,
    /// `uri` of a resource.
    pub uri: Option<String>,
    /// `arguments` of a tool or prompt.
    pub arguments: Option<Box<RawValue>>,
    /// `cursor` of a list.
    pub cursor: Option<String>,
    /// `taskId`.
    pub task_id: Option<String>,
    /// `inputResponses` of a retry.
    pub input_responses: Option<Box<RawValue>>,
    /// `requestState` of a retry.
    pub request_state: Option<String>,
}

/// `_meta` of a request, the keys the protocol defines. All others stay in [`Params::raw`].
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Meta {
    /// The revision this request is made in.
    #[serde(rename = "io.modelcontextprotocol/protocolVersion", default)]
    pub protocol_version: Option<Value>,
    /// What the client can do.
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities", default)]
    pub client_capabilities: Option<Value>,
    /// Which client.
    #[serde(rename = "io.modelcontextprotocol/clientInfo", default)]
    pub client_info: Option<Value>,
    /// From which level log messages are wanted.
    #[serde(rename = "io.modelcontextprotocol/logLevel", default)]
    pub log_level: Option<Value>,
    /// Where progress is to be reported.
    #[serde(rename = "progressToken", default)]
    pub progress_token: Option<Value>,
    /// W3C trace context.
    #[serde(default)]
    pub traceparent: Option<Value>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// Tells `null` from absent.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(rename = "_meta", borrow, default)]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    task_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

/// A message that cannot be read, with its id when that much could be.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// The id, if it was readable.
    pub id: Option<Id>,
    /// What is wrong.
    pub error: RpcError,
}

impl Message {
    /// Reads one message of a client: bounded in depth.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        check_depth(body, kernel::limits::JSON_DEPTH_MAX).map_err(|error| Unreadable { id: None, error })?;
        Self::read(body)
    }

    /// Reads one message of a server. Its payload stays raw however deep it is: nothing here descends into it.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let unreadable = |id, error| Unreadable { id, error };
        let text = std::str::from_utf8(body).map_err(|error| {
            unreadable(None, RpcError::new(codes::PARSE, format!("the body is not UTF-8: {error}")))
        })?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err(unreadable(None, not_an_object(text)));
        }
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| {
            let code = if error.is_data() { codes::INVALID_REQUEST } else { codes::PARSE };
            unreadable(None, RpcError::new(code, format!("not a JSON-RPC message: {error}")))
        })?;
        let id = match envelope.id.map(RawValue::get) {
            None => None,
            Some("null") if envelope.error.is_some() => None,
            Some(raw) => Some(
                serde_json::from_str::<Id>(raw)
                    .map_err(|_| unreadable(None, RpcError::invalid_request("id must be text or an integer")))?,
            ),
        };
        let fail = |error| Err(Unreadable { id: id.clone(), error });
        if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            return fail(RpcError::invalid_request("jsonrpc must be \"2.0\""));
        }
        match (envelope.method, envelope.result, envelope.error) {
            (Some(method), None, None) => match Params::parse(envelope.params) {
                Err(error) => fail(error),
                Ok(params) => Ok(match id {
                    Some(id) => Self::Request(Request { id, method: method.into_owned(), params }),
                    None => Self::Notification(Notification { method: method.into_owned(), params }),
                }),
            },
            (None, Some(result), None) if id.is_some() => {
                Ok(Self::Response(Response { id, outcome: Ok(result.to_owned()) }))
            }
            (None, None, Some(error)) => Ok(Self::Response(Response { id, outcome: Err(error) })),
            _ => fail(RpcError::invalid_request("a message has a method, or an id and one of result and error")),
        }
    }
}

impl Params {
    /// Reads the protocol's own fields; keeps everything.
    pub fn parse(raw: Option<&RawValue>) -> Result<Self, RpcError> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
            return Ok(Self::default());
        };
        if !raw.get().starts_with('{') {
            return Err(RpcError::invalid_params("params must be an object"));
        }
        let bad = |what: &str| RpcError::invalid_params(format!("params: {what}"));
        let head: Head<'_> = serde_json::from_str(raw.get()).map_err(|error| bad(&error.to_string()))?;
        let text = |field: Option<&RawValue>, name: &str| -> Result<Option<String>, RpcError> {
            field
                .map(|raw| serde_json::from_str(raw.get()).map_err(|_| bad(&format!("`{name}` must be a string"))))
                .transpose()
        };
        let object = |field: Option<&RawValue>, name: &str| match field {
            Some(raw) if raw.get().starts_with('{') => Ok(Some(raw.to_owned())),
            Some(raw) if raw.get() != "null" => Err(bad(&format!("`{name}` must be an object"))),
            _ => Ok(None),
        };
        let meta = match object(head.meta, "_meta")? {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| bad(&format!("_meta: {error}")))?,
            None => Meta::default(),
        };
        Ok(Self {
            meta,
            name: text(head.name, "name")?,
            uri: text(head.uri, "uri")?,
            arguments: object(head.arguments, "arguments")?,
            cursor: text(head.cursor, "cursor")?,
            task_id: text(head.task_id, "taskId")?,
            input_responses: object(head.input_responses, "inputResponses")?,
            request_state: text(head.request_state, "requestState")?,
            raw: Some(raw.to_owned()),
        })
    }

    /// Parameters made here.
    ///
    /// # Errors
    /// When `value` is not a JSON object.
    pub fn of(value: &impl Serialize) -> Result<Self, RpcError> {
        let raw = to_raw_value(value).map_err(|error| RpcError::internal(error.to_string()))?;
        Self::parse(Some(&raw))
    }

    /// The parameters as a typed value.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, RpcError> {
        let raw = self.raw.as_deref().map_or("{}", RawValue::get);
        typed::read(raw).map_err(|misfit| RpcError::invalid_params(format!("params{misfit}")))
    }
}

fn not_an_object(text: &str) -> RpcError {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => RpcError::invalid_request("a message must be a JSON object"),
        Err(error) => RpcError::new(codes::PARSE, format!("not JSON: {error}")),
    }
}

/// Refuses JSON nested deeper than `max`, before anything recursive reads it.
pub fn check_depth(body: &[u8], max: usize) -> Result<(), RpcError> {
    kernel::limits::check_json_depth(body, max).map_err(|fault| RpcError::invalid_request(fault.message))
}

/// A result message.
pub fn result_text(id: &Id, result: &RawValue) -> String {
    let mut text = String::with_capacity(result.get().len() + 48);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    push_id(&mut text, id);
    text.push_str(r#","result":"#);
    text.push_str(result.get());
    text.push('}');
    text
}

/// An error message; without an id when the request's could not be read.
pub fn error_text(id: Option<&Id>, error: &RpcError) -> String {
    let mut message = serde_json::json!({ "jsonrpc": "2.0", "error": error });
    if let Some(id) = id {
        message["id"] = serde_json::json!(id);
    }
    message.to_string()
}

/// A request message; `params` must be a JSON object.
pub fn request_text(id: &Id, method: &str, params: Option<&RawValue>) -> String {
    let mut text = String::with_capacity(params.map_or(0, |params| params.get().len()) + 64);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    push_id(&mut text, id);
    push_call(&mut text, method, params);
    text
}

/// A notification message.
pub fn notification_text(method: &str, params: Option<&RawValue>) -> String {
    let mut text = String::from(r#"{"jsonrpc":"2.0""#);
    push_call(&mut text, method, params);
    text
}

fn push_call(text: &mut String, method: &str, params: Option<&RawValue>) {
    text.push_str(r#","method":"#);
    text.push_str(&Value::from(method).to_string());
    if let Some(params) = params {
        text.push_str(r#","params":"#);
        text.push_str(params.get());
    }
    text.push('}');
}

fn push_id(text: &mut String, id: &Id) {
    match id {
        Id::Number(number) => text.push_str(&number.to_string()),
        Id::Text(id) => text.push_str(&Value::from(id.as_str()).to_string()),
    }
}

/// JSON text without line breaks, as transports that end messages by line need it. In JSON a break can only be white space.
pub fn one_line(text: String) -> String {
    if text.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) { text.replace(['\n', '\r'], " ") } else { text }
}

/// JSON that cannot fail to be written: our own types, without maps keyed by anything but text.
pub fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a value of ours cannot be written as JSON");
        RawValue::NULL.to_owned()
    })
}

#[cfg(test)]
mod tests;
