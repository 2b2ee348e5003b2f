//! What somebody does: a form that names a tool of the fleet, called under its sender. The dashboard has no other way of doing anything.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use kernel::{Caller, Fault, Trace};
use mcp::Ctx;
use mcp::toolbox::structured;
use serde_json::Value;

use super::arguments::arguments;
use super::session::{Said, Theme};
use super::{Dashboard, redirect};

/// A refusal as one line.
pub(super) fn line_of(fault: &Fault) -> String {
    match &fault.hint {
        Some(hint) => format!("{} [{}]: {hint}", fault.message, fault.code),
        None => format!("{} [{}]", fault.message, fault.code),
    }
}

/// `POST /ui/act`: calls a tool, and goes back to where the form was, which tells how it went.
pub(super) async fn act(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = async {
        let (asked, form) = dashboard.posted(&headers, remote, &body).await?;
        let of = |name: &str| form.get(name).unwrap_or_default();
        let (server, tool) = (of("server"), of("tool"));
        let trace = Trace::root();
        let takes = dashboard.router.takes(server, tool).flatten().unwrap_or(Value::Bool(true));
        let called = dashboard.call(asked.caller, server, tool, &arguments(&takes, &form), trace).await;
        let said = match called {
            Ok(_) => Said { done: true, text: if of("done").is_empty() { "done".into() } else { of("done").into() } },
            Err(fault) => {
                Said { done: false, text: format!("{server}.{tool}: {} (trace {})", line_of(&fault), trace.id()) }
            }
        };
        let cookie = dashboard.cookies.say(&headers, &said)?;
        Ok(redirect(of("back"), [cookie]))
    };
    dashboard.answered(done.await, &headers)
}

/// `POST /ui/theme`.
pub(super) async fn theme(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = async {
        let (_, form) = dashboard.posted(&headers, remote, &body).await?;
        let cookie = dashboard.cookies.choose(&headers, Theme::named(form.get("theme").unwrap_or_default()))?;
        Ok(redirect(form.get("back").unwrap_or_default(), [cookie]))
    };
    dashboard.answered(done.await, &headers)
}

impl Dashboard {
    /// Calls a tool as whoever asks, in its own trace: every phase, and a row in the audit trail.
    pub(super) async fn call(
        &self,
        caller: Caller,
        server: &str,
        tool: &str,
        arguments: &Value,
        trace: Trace,
    ) -> Result<Value, Fault> {
        let reply = self.router.call(server, tool, mcp::wire::raw(arguments), Ctx::internal(caller, trace)).await?;
        let content = structured(&reply)?;
        serde_json::from_str(content.get()).map_err(|error| Fault::upstream(format!("answer is not JSON: {error}")))
    }
}
