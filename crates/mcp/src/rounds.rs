//! Requests that take several rounds (2026-07-28): answers and state come back sealed, bound to the caller and to the request.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ctx::{Answers, Ctx};
use crate::error::{RpcError, ToolError};
use crate::reply::Reply;
use crate::seal::{Binding, Sealer};
use crate::wire::Params;

/// How long a client may take to answer, in milliseconds.
const ASK_TTL_MS: i64 = 3_600_000;

/// Puts what a retry brought along into the context.
///
/// # Errors
/// When the state was changed, has expired, or belongs to another caller or request.
pub fn open(sealer: &Sealer, method: &str, params: Params, mut ctx: Ctx) -> Result<(Params, Ctx), RpcError> {
    if params.input_responses.is_none() && params.request_state.is_none() {
        return Ok((params, ctx));
    }
    let mut answers = Answers::default();
    if let Some(text) = &params.request_state {
        let subject = subject(&params);
        let binding = Binding { caller: &ctx.caller.name, purpose: method, subject: &subject };
        let mut kept =
            sealer.open(binding, text).map_err(|fault| RpcError::invalid_params(format!("requestState: {fault}")))?;
        answers.given = serde_json::from_value(kept["given"].take()).unwrap_or_default();
        answers.state = kept["state"].take();
    }
    if let Some(raw) = &params.input_responses {
        let fresh: std::collections::BTreeMap<String, Value> = serde_json::from_str(raw.get())
            .map_err(|error| RpcError::invalid_params(format!("inputResponses: {error}")))?;
        if let Some((key, _)) = fresh.iter().find(|(_, answer)| !answer.is_object()) {
            return Err(RpcError::invalid_params(format!("inputResponses.{key} must be an object")));
        }
        answers.given.extend(fresh);
    }
    ctx.answers = Arc::new(answers);
    Ok((params, ctx))
}

/// Turns a handler's questions into `input_required`; everything else stays.
pub fn close(
    sealer: &Sealer,
    method: &str,
    params: &Params,
    ctx: &Ctx,
    outcome: Result<Reply, ToolError>,
) -> Result<Reply, RpcError> {
    match outcome {
        Ok(reply) => Ok(reply),
        Err(ToolError::Rpc(error)) => Err(*error),
        Err(ToolError::Fault(fault)) => Err((*fault).into()),
        Err(ToolError::Ask(ask)) => {
            let subject = subject(params);
            let binding = Binding { caller: &ctx.caller.name, purpose: method, subject: &subject };
            let kept = json!({ "given": ctx.answers.given, "state": ask.state });
            let sealed = sealer.seal(binding, ASK_TTL_MS, kept)?;
            Ok(Reply::input_required(&ask.requests, &sealed))
        }
    }
}

/// What makes a retry the same request: its name or URI, and a digest of its arguments.
fn subject(params: &Params) -> String {
    let arguments = params.arguments.as_deref().map_or("", RawValue::get);
    // Clients may write the same arguments with other white space or key order.
    let canonical = serde_json::from_str::<Value>(arguments).map(|value| canonical(&value)).unwrap_or_default();
    let name = params.name.as_deref().or(params.uri.as_deref()).unwrap_or_default();
    format!("{name}:{}", kernel::audit::hex(digest(&SHA256, canonical.as_bytes()).as_ref()))
}

/// A value as text that is the same for every order of keys and every use of white space.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let parts: Vec<_> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
