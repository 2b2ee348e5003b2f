//! Refusals in the protocol's codes, each with our own stable one beside it.

use a2a::errordetails::TypedDetail;
use a2a::{A2AError, JsonRpcError, error_code};
use kernel::{Code, Fault};
use serde_json::json;

/// JSON-RPC's code for what the protocol has none for: who may not, or too often.
const SERVER_ERROR: i32 = -32000;
/// Whose error codes ours are.
const DOMAIN: &str = "flotilla";

/// Why not.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The protocol's code.
    pub code: i32,
    /// What is wrong.
    pub fault: Fault,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let code = match fault.code {
            Code::InvalidArgument | Code::NotFound | Code::Conflict | Code::AlreadyExists | Code::TooLarge => {
                error_code::INVALID_PARAMS
            }
            Code::Unsupported => error_code::UNSUPPORTED_OPERATION,
            Code::Internal => error_code::INTERNAL_ERROR,
            _ => SERVER_ERROR,
        };
        Self { code, fault }
    }
}

impl Refusal {
    fn new(code: i32, fault: Fault) -> Self {
        Self { code, fault }
    }

    /// No such task, for this caller.
    pub(super) fn no_task(agent: &str, id: &str) -> Self {
        let shown: String = id.chars().take(40).flat_map(char::escape_debug).collect();
        let fault = Fault::not_found(format!("agent {agent} has no task `{shown}` of yours"));
        Self::new(error_code::TASK_NOT_FOUND, fault.hint("it never was, it is another's, or it ended and was purged"))
    }

    pub(super) fn not_cancelable(fault: Fault) -> Self {
        Self::new(error_code::TASK_NOT_CANCELABLE, fault)
    }

    pub(super) fn unsupported(fault: Fault) -> Self {
        Self::new(error_code::UNSUPPORTED_OPERATION, fault)
    }

    pub(super) fn content(fault: Fault) -> Self {
        Self::new(error_code::CONTENT_TYPE_NOT_SUPPORTED, fault)
    }

    pub(super) fn no_extended_card() -> Self {
        let fault = Fault::unsupported("there is no card for authenticated callers").hint("the public one is whole");
        Self::new(error_code::EXTENDED_CARD_NOT_CONFIGURED, fault)
    }

    /// No such method.
    pub fn no_method(method: &str) -> Self {
        let shown: String = method.chars().take(60).flat_map(char::escape_debug).collect();
        let fault = Fault::unsupported(format!("no method `{shown}`")).hint("SendMessage, GetTask, … of A2A 1.0");
        Self::new(error_code::METHOD_NOT_FOUND, fault)
    }

    /// The client speaks another version.
    pub fn version(said: &str) -> Self {
        let shown: String = said.chars().take(20).flat_map(char::escape_debug).collect();
        let fault = Fault::unsupported(format!("A2A version `{shown}`")).hint(format!("version {}", super::VERSION));
        Self::new(error_code::VERSION_NOT_SUPPORTED, fault)
    }

    /// What came is no JSON.
    pub fn not_json(fault: Fault) -> Self {
        Self::new(error_code::PARSE_ERROR, fault)
    }

    /// What came is no request.
    pub fn no_request(fault: Fault) -> Self {
        Self::new(error_code::INVALID_REQUEST, fault)
    }

    /// As it travels.
    pub fn on_the_wire(&self) -> JsonRpcError {
        let mut message = self.fault.message.clone();
        if let Some(hint) = &self.fault.hint {
            message.push_str(&format!(" ({hint})"));
        }
        let reason = self.fault.code.as_str().to_uppercase();
        let own = TypedDetail::error_info(reason, DOMAIN, None);
        let mut error = A2AError::new(self.code, message).to_jsonrpc_error();
        if let Some(serde_json::Value::Array(details)) = &mut error.data {
            details.push(json!(own));
        }
        error
    }
}
