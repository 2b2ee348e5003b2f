//! Addresses inside answers: what an upstream gave under its own address is shown under the aggregate's.

use mcp::{Reply, RpcError};
use serde_json::value::RawValue;

use crate::part::{Origin, Part};
use crate::uris;
use mcp::splice;

/// An answer to `resources/read`, its contents under the aggregate's addresses.
pub(crate) fn contents(part: &dyn Part, reply: Reply) -> Reply {
    rewritten(part, reply, |body| items(body, "contents", |item| moved(part, item)))
}

/// An answer to `tools/call`, its links and embedded resources under the aggregate's addresses.
pub(crate) fn tool_result(part: &dyn Part, reply: Reply) -> Reply {
    rewritten(part, reply, |body| items(body, "content", |item| piece(part, item)))
}

/// An answer to `prompts/get`, the same.
pub(crate) fn prompt_result(part: &dyn Part, reply: Reply) -> Reply {
    rewritten(part, reply, |body| {
        items(body, "messages", |message| match splice::get(message, "content") {
            Some(content) if content.starts_with('{') => splice::set(message, &[("content", &piece(part, content)?)]),
            _ => Ok(message.to_owned()),
        })
    })
}

/// One piece of content.
fn piece(part: &dyn Part, item: &str) -> Result<String, RpcError> {
    match splice::get(item, "resource") {
        Some(resource) => splice::set(item, &[("resource", &moved(part, resource)?)]),
        None => moved(part, item),
    }
}

fn rewritten(part: &dyn Part, mut reply: Reply, rewrite: impl FnOnce(&str) -> Result<String, RpcError>) -> Reply {
    // Servers of the fleet use addresses that stay; the quick look spares most answers of upstreams.
    if part.origin() == Origin::Server || !reply.body.get().contains("\"uri\"") {
        return reply;
    }
    // An answer that cannot be read is passed on as it is: its reader will say what is wrong with it.
    if let Ok(body) = rewrite(reply.body.get())
        && let Ok(body) = RawValue::from_string(body)
    {
        reply.body = body;
    }
    reply
}

/// `body` with every item of its array `field` changed.
fn items(body: &str, field: &str, change: impl Fn(&str) -> Result<String, RpcError>) -> Result<String, RpcError> {
    let Some(array) = splice::get(body, field) else { return Ok(body.to_owned()) };
    let items: Vec<&RawValue> =
        serde_json::from_str(array).map_err(|error| RpcError::internal(format!("{field}: {error}")))?;
    let changed: Result<Vec<String>, RpcError> = items.iter().map(|item| change(item.get())).collect();
    splice::set(body, &[(field, &format!("[{}]", changed?.join(",")))])
}

fn moved(part: &dyn Part, item: &str) -> Result<String, RpcError> {
    let uri = splice::get(item, "uri").and_then(|uri| serde_json::from_str::<String>(uri).ok());
    match uri {
        Some(uri) => splice::set(item, &[("uri", &splice::quoted(&uris::outward(part.name(), part.origin(), &uri)))]),
        None => Ok(item.to_owned()),
    }
}
