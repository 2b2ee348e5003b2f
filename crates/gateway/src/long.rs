//! Work that outlasts its request (the tasks extension), across parts.
//!
//! Tasks of the fleet's own servers live in the store they share, so whoever is asked can answer. An upstream keeps its own; their ids
//! get its name in front, `NAME~id`, so that the next request finds the way, through any replica.

use std::sync::Arc;

use mcp::reply::ResultType;
use mcp::wire::{Params, Request};
use mcp::{Ctx, Reply, RpcError};
use serde_json::value::RawValue;

use crate::gateway::Gateway;
use crate::part::{Origin, Part};
use mcp::splice;

/// Stands between an upstream's name and its task's id.
const MARK: char = '~';

/// The aggregate's id of a task of `part`.
fn outward(part: &dyn Part, id: &str) -> String {
    format!("{}{MARK}{id}", part.name())
}

/// Answers `tasks/get`, `tasks/update` or `tasks/cancel`.
pub(crate) async fn task(
    gateway: &Gateway,
    parts: &[Arc<dyn Part>],
    request: Request,
    ctx: Ctx,
) -> Result<Reply, RpcError> {
    let id = request.params.task_id.as_deref().ok_or_else(|| RpcError::invalid_params("params.taskId is missing"))?;
    let owner = id.split_once(MARK).and_then(|(name, own)| {
        let part = parts.iter().find(|part| part.name() == name && part.origin() == Origin::Upstream)?;
        Some((part, own.to_owned()))
    });
    let Some((part, own)) = owner else {
        let tasks = gateway.shared.tasks.as_ref().ok_or_else(|| RpcError::method_not_found(&request.method))?;
        return tasks.answer(&request, &ctx).await;
    };
    let raw = request.params.raw.as_deref().ok_or_else(|| RpcError::invalid_params("params are missing"))?;
    let raw = splice::set_raw(raw, &[("taskId", &splice::quoted(&own))])?;
    let request = Request { params: Params::parse(Some(&raw))?, ..request };
    let reply = part.handle(request, ctx).await?;
    Ok(shown(&**part, reply))
}

/// An answer to `tools/call`: the handle of an upstream's task under the aggregate's id.
pub(crate) fn handle_of(part: &dyn Part, reply: Reply) -> Reply {
    if reply.kind == ResultType::Task { shown(part, reply) } else { reply }
}

fn shown(part: &dyn Part, mut reply: Reply) -> Reply {
    if part.origin() == Origin::Server {
        return reply;
    }
    if let Some(body) = with_outward_id(part, &reply.body) {
        reply.body = body;
    }
    reply
}

/// `body` with its `taskId` as the aggregate's; `None` when it has none.
fn with_outward_id(part: &dyn Part, body: &RawValue) -> Option<Box<RawValue>> {
    let id: String = serde_json::from_str(splice::get(body.get(), "taskId")?).ok()?;
    splice::set_raw(body, &[("taskId", &splice::quoted(&outward(part, &id)))]).ok()
}
