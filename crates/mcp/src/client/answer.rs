//! Results of upstreams as replies: looked at as little as can be, passed on as they are.

use kernel::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::reply::{Reply, ResultType};
use crate::service::LIST_TTL_MS;

/// What our own answers, and many others', begin with: the common case is settled without reading the rest.
const COMPLETE: &str = r#"{"resultType":"complete""#;

/// A result of the current revision. It carries its own type and hints.
///
/// # Errors
/// When it is not an object, or of a type nobody here knows.
pub(super) fn modern(result: Box<RawValue>) -> Result<Reply, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        #[serde(default)]
        result_type: Option<String>,
    }
    let mut kind = ResultType::Complete;
    if !result.get().starts_with('{') {
        return Err(no_object());
    }
    if !result.get().starts_with(COMPLETE) {
        let probe: Probe = serde_json::from_str(result.get()).map_err(|_| no_object())?;
        kind = match probe.result_type.as_deref() {
            None | Some("complete") => ResultType::Complete,
            Some("input_required") => ResultType::InputRequired,
            Some("task") => ResultType::Task,
            Some(other) => return Err(Fault::upstream(format!("an answer of the unknown type `{other}`"))),
        };
    }
    Ok(Reply { body: result, kind, cache: None, dressed: true })
}

/// A result of an older revision: doors add what clients of the current one expect, hints where they are required.
///
/// # Errors
/// When it is not an object.
pub(super) fn legacy(method: &str, result: Box<RawValue>) -> Result<Reply, Fault> {
    if !result.get().starts_with('{') {
        return Err(no_object());
    }
    let reply = Reply::raw(result);
    Ok(match method {
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
            reply.cached(LIST_TTL_MS, false)
        }
        // Whether a resource has changed is not known without asking.
        "resources/read" => reply.cached(0, false),
        _ => reply,
    })
}

fn no_object() -> Fault {
    Fault::upstream("an answer whose result is not an object")
}
