//! The v1 REST form, kept for callers that have not moved: `POST /execute {"command", "args"}`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use kernel::aliases::SEPARATOR;
use kernel::deprecations::Surface;
use kernel::{Access, Caller, Fault, Trace};
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Handler};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::known_hosts;
use crate::coordinator::read_json;
use crate::problem::Problem;
use crate::service::ServiceDoors;

/// The route.
pub fn routes(doors: ServiceDoors) -> Router {
    let hosts = from_fn_with_state(Arc::clone(&doors.door), known_hosts);
    Router::new().route("/execute", post(execute)).layer(hosts).with_state(Arc::new(doors))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute {
    command: String,
    #[serde(default)]
    args: Value,
}

async fn execute(
    State(doors): State<Arc<ServiceDoors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    // What a command needs, its own phases check.
    let caller = doors.guard.admit(&headers, remote, Access::Read, "/execute").await?;
    let asked: Execute = read_json(&body)?;
    doors.past.deprecations.saw(&caller.name, &Surface::V1Execute);
    let trace = Trace::continue_from(headers.get("traceparent").and_then(|value| value.to_str().ok()));
    let arguments = if asked.args.is_null() { json!({}) } else { asked.args };
    let (handler, tool) = doors.command(&asked.command, &caller).await?;
    let params = Params::of(&json!({ "name": tool, "arguments": arguments }))
        .map_err(|error| Fault::invalid(error.message.into_owned()).hint("args must be an object"))?;
    let request = Request { id: Id::Number(1), method: "tools/call".into(), params };
    let reply = handler.handle(request, Ctx::internal(caller, trace)).await.map_err(|error| {
        Fault::invalid(error.message.into_owned()).hint(format!("the commands of {} are its tools", doors.name))
    })?;
    let result = mcp::toolbox::structured(&reply)?;
    let answer = json!({
        "status": "success",
        "service": doors.name,
        "command": asked.command,
        "result": result,
        "trace_id": trace.id(),
    });
    Ok(axum::Json(answer).into_response())
}

impl ServiceDoors {
    /// Who runs a command, and under which name: the service's own tool, or what an old name stands for now.
    async fn command(&self, command: &str, caller: &Caller) -> Result<(Arc<dyn Handler>, String), Fault> {
        let service = self.service()?;
        if service.tool(command).is_some() {
            return Ok((service, command.to_owned()));
        }
        let full =
            if command.contains(SEPARATOR) { command.to_owned() } else { format!("{}{SEPARATOR}{command}", self.name) };
        let now = match self.past.aliases.resolve(&full).await? {
            Some(now) => {
                self.past.deprecations.saw(&caller.name, &Surface::Alias(full));
                now
            }
            None => full,
        };
        match (now.strip_prefix(&format!("{}{SEPARATOR}", self.name)), &self.past.fleet) {
            (Some(own), _) => Ok((service, own.to_owned())),
            (None, Some(fleet)) => Ok((Arc::clone(fleet), now)),
            (None, None) => Err(Fault::not_found(format!("`{now}` is not a tool of {}", self.name))
                .hint("POST it to the coordinator, or to its own server")),
        }
    }
}
