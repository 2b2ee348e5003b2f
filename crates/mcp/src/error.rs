//! The two ways of saying no: a protocol error, and a tool's refusal.

use std::borrow::Cow;
use std::fmt;

use kernel::{Code, Fault};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ctx::Ask;

/// JSON-RPC and MCP error codes.
pub mod codes {
    /// The body is not JSON.
    pub const PARSE: i64 = -32700;
    /// The body is not a JSON-RPC message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Wrong parameters; also an unknown tool, prompt or resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A fault of ours.
    pub const INTERNAL: i64 = -32603;
    /// A header disagrees with the body.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client did not declare a capability the request needs.
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The revision asked for is not spoken here.
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// Resource not found, in revisions up to 2025-11-25 only.
    pub const LEGACY_RESOURCE_NOT_FOUND: i64 = -32002;
}

/// A protocol error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RpcError {
    /// See [`codes`].
    pub code: i64,
    /// What is wrong, for people.
    pub message: Cow<'static, str>,
    /// Particulars.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Box<Value>>,
}

impl RpcError {
    /// An error of any code.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// Wrong parameters.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::INVALID_PARAMS, message)
    }

    /// A body that is JSON, but not a message of the protocol.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::INVALID_REQUEST, message)
    }

    /// No such method.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(codes::METHOD_NOT_FOUND, format!("method not found: {method}"))
    }

    /// A fault of ours.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::INTERNAL, message)
    }

    /// Adds particulars.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}

/// A fault where only a protocol error fits (outside `tools/call`). The stable code travels in the data.
impl From<Fault> for RpcError {
    fn from(fault: Fault) -> Self {
        let code = match fault.code {
            Code::InvalidArgument | Code::NotFound | Code::TooLarge => codes::INVALID_PARAMS,
            _ => codes::INTERNAL,
        };
        let data = serde_json::json!({ "code": fault.code, "hint": fault.hint, "data": fault.data });
        Self::new(code, fault.message).data(data)
    }
}

/// Why a handler gave no answer of its type.
#[derive(Debug)]
pub enum ToolError {
    /// It refuses or failed: becomes a tool result with `isError`.
    Fault(Box<Fault>),
    /// It needs answers from the client first: becomes `input_required`.
    Ask(Box<Ask>),
    /// A protocol fault.
    Rpc(Box<RpcError>),
}

impl From<Fault> for ToolError {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<RpcError> for ToolError {
    fn from(error: RpcError) -> Self {
        Self::Rpc(Box::new(error))
    }
}

impl From<Ask> for ToolError {
    fn from(ask: Ask) -> Self {
        Self::Ask(Box::new(ask))
    }
}
