//! From a name to an answer: how a tool call reaches the part that has the tool.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use kernel::trace::{GATEWAY, Span};
use kernel::{Access, Caller, Code, Fault};
use mcp::toolbox::{Offered, Router};
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Reply, RpcError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::part::Origin;
use crate::table::{Entry, Table};
use mcp::splice;

/// Calls `entry`'s tool. Of the client's parameters only the name is changed; `call_tool` is the call it stands for.
pub(crate) async fn call(
    gateway: &Gateway,
    table: &Arc<Table>,
    entry: &Entry,
    request: Request,
    ctx: Ctx,
) -> Result<Reply, RpcError> {
    if entry.is_call_tool() {
        return unwrapped(gateway, table, request, ctx).await;
    }
    let params = named(request.params, &entry.own)?;
    let request = Request { params, ..request };
    // What the fleet looks at by itself, over and over, is not kept.
    if ctx.caller.standing {
        return entry.part.handle(request, ctx).await;
    }
    let (way, began) = (ctx.trace.child(), Instant::now());
    let answer = entry.part.handle(request, Ctx { trace: way.child(), ..ctx }).await;
    // What the tool itself made of it is its own span's to say.
    let outcome = if answer.is_ok() { "ok" } else { "protocol_error" };
    let span = Span::ended(way, (GATEWAY, &entry.name), outcome, &gateway.ports.clock, began);
    gateway.shared.phases.kept().keep(span);
    answer
}

/// `params` with another name.
fn named(mut params: Params, name: &str) -> Result<Params, RpcError> {
    if params.name.as_deref() == Some(name) {
        return Ok(params);
    }
    let raw = params.raw.as_deref().ok_or_else(|| RpcError::invalid_params("params are missing"))?;
    params.raw = Some(splice::set_raw(raw, &[("name", &splice::quoted(name))])?);
    params.name = Some(name.to_owned());
    Ok(params)
}

/// What `call_tool` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    name: String,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// The call that a call of `call_tool` stands for: the same request with the inner name and arguments, so that progress, questions,
/// state and tasks work as in a direct call, under the same caller.
fn unwrapped<'a>(
    gateway: &'a Gateway,
    table: &'a Arc<Table>,
    request: Request,
    ctx: Ctx,
) -> BoxFuture<'a, Result<Reply, RpcError>> {
    Box::pin(async move {
        let given = request.params.arguments.as_deref().map_or("{}", RawValue::get);
        let wrapped: Wrapped<'_> = serde_json::from_str(given)
            .map_err(|error| RpcError::invalid_params(format!("call_tool takes {{name, arguments}}: {error}")))?;
        let entry = table.get(&wrapped.name).ok_or_else(|| {
            let known = table.entries.iter().filter(|entry| ctx.caller.allows(entry.access));
            unknown_tool(gateway, table, &wrapped.name, &known.map(|entry| entry.name.as_str()).collect::<Vec<_>>())
        })?;
        if entry.is_call_tool() {
            return Err(RpcError::invalid_params("call_tool cannot call itself"));
        }
        let raw = request.params.raw.as_deref().ok_or_else(|| RpcError::invalid_params("params are missing"))?;
        let arguments = wrapped.arguments.map_or("{}", RawValue::get);
        let raw = splice::set_raw(raw, &[("name", &splice::quoted(&wrapped.name)), ("arguments", arguments)])?;
        let request = Request { params: Params::parse(Some(&raw))?, ..request };
        call(gateway, table, entry, request, ctx).await
    })
}

/// No tool of this name, for this caller, in this view. `table` is the one that was looked in: by now its server may be there again.
pub(crate) fn unknown_tool(gateway: &Gateway, table: &Table, name: &str, known: &[&str]) -> RpcError {
    if let Some(fault) = crate::names::split(name).and_then(|(service, _)| silent(gateway, table, service)) {
        return fault.into();
    }
    let near = kernel::limits::nearest(name, known).map(|near| format!("; did you mean `{near}`?"));
    RpcError::invalid_params(format!("unknown tool: {name}{}", near.unwrap_or_default())).data(
        json!({ "code": Code::NotFound, "phase": "find", "hint": "tools/list or find_tools name the tools there are" }),
    )
}

/// While a server of ours is being started it has no tools; that is no reason to forget that it has them.
fn silent(gateway: &Gateway, table: &Table, service: &str) -> Option<Fault> {
    let known = table.entries.iter().any(|entry| entry.part.name() == service);
    (!known && gateway.may_serve(service)).then(|| {
        Fault::unavailable(format!("{service} does not serve now"))
            .hint("its supervisor starts it again, try in a second; service_status says more")
            .data(json!({ "phase": "route" }))
    })
}

/// Agents, workflows and servers' duties reach every tool this way.
#[async_trait]
impl Router for Gateway {
    async fn call(&self, server: &str, tool: &str, arguments: Box<RawValue>, ctx: Ctx) -> Result<Reply, Fault> {
        let table = self.table();
        let entry = table.get(&crate::names::tool(server, tool)).ok_or_else(|| {
            let unknown = || Fault::not_found(format!("no tool {server}.{tool}"));
            silent(self, &table, server).unwrap_or_else(unknown)
        })?;
        let params = Params::of(&json!({ "name": tool, "arguments": arguments })).map_err(fault_of)?;
        let request = Request { id: Id::Number(0), method: "tools/call".into(), params };
        call(self, &table, entry, request, ctx).await.map_err(fault_of)
    }

    fn takes(&self, server: &str, tool: &str) -> Option<Option<Value>> {
        let table = self.table();
        let entry = table.get(&crate::names::tool(server, tool));
        let schema = |entry: &Entry| serde_json::from_str(splice::get(entry.listing.get(), "inputSchema")?).ok();
        // A schema that is not there takes anything.
        Some(entry.map(|entry| schema(entry).unwrap_or(Value::Bool(true))))
    }

    fn offered(&self, caller: &Caller, patterns: &[String]) -> Vec<Offered> {
        let table = self.table();
        let wanted = |entry: &&Entry| {
            let named = patterns.iter().any(|pattern| crate::names::matches(pattern, &entry.name));
            entry.held.is_none() && caller.allows(entry.access) && named
        };
        table.entries.iter().filter(wanted).map(offered).collect()
    }

    fn toolset(&self, name: &str) -> Option<Vec<String>> {
        self.toolsets().get(name).map(|set| set.tools.clone())
    }

    fn asks(&self, server: &str, tool: &str) -> Option<Access> {
        Some(self.table().get(&crate::names::tool(server, tool))?.access)
    }
}

/// A tool as a model may be offered it. Its annotations are believed where they are our own.
fn offered(entry: &Entry) -> Offered {
    let listing: Value = serde_json::from_str(entry.listing.get()).unwrap_or(Value::Null);
    let ours = entry.part.origin() == Origin::Server;
    let hint = |name: &str| listing["annotations"][name] == true;
    let looks = entry.access == Access::Read;
    let schema = listing.get("inputSchema").filter(|schema| schema.is_object()).cloned();
    Offered {
        name: entry.name.clone(),
        server: entry.part.name().to_owned(),
        tool: entry.own.clone(),
        about: listing["description"].as_str().unwrap_or_default().to_owned(),
        takes: schema.unwrap_or_else(|| json!({ "type": "object" })),
        changes: !looks || (ours && hint("destructiveHint")),
        repeatable: if ours { hint("idempotentHint") } else { looks },
    }
}

/// A protocol error where only a fault fits.
pub(crate) fn fault_of(error: RpcError) -> Fault {
    let code = error.data.as_ref().and_then(|data| Code::deserialize(&data["code"]).ok());
    let by_number =
        if error.code == mcp::error::codes::INVALID_PARAMS { Code::InvalidArgument } else { Code::Upstream };
    let mut fault = Fault::new(code.unwrap_or(by_number), error.message.into_owned());
    if let Some(hint) = error.data.as_ref().and_then(|data| data["hint"].as_str()) {
        fault = fault.hint(hint);
    }
    fault
}
