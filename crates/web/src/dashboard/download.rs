//! What is had as a file: what a tool answers, as whoever asks, with a name that a browser keeps it under.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use kernel::{Fault, Trace};
use mcp::Ctx;
use serde::Deserialize;
use serde_json::{Value, json};

use super::look::COORDINATOR;
use super::query::Query;
use super::views::{audit, logs};
use super::{Asked, Dashboard};

/// Lines of one file.
const LINES: usize = 10_000;

/// `GET /ui/logs/download?format=ndjson|csv` and the filters of the page.
pub(super) async fn lines(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let made = async {
        let asked = dashboard.asked(&headers, remote).await?;
        let query = Query::of(uri.query().unwrap_or_default());
        let mut arguments = logs::filters(&query);
        let csv = query.get("format") == Some("csv");
        arguments["format"] = if csv { "csv" } else { "ndjson" }.into();
        arguments["limit"] = LINES.into();
        let text = dashboard.contents(asked, "logging", "export", &arguments).await?;
        let (kind, name) = if csv { ("text/csv", "lines.csv") } else { ("application/x-ndjson", "lines.ndjson") };
        Ok(file(kind, name, text))
    };
    dashboard.answered(made.await, &headers)
}

/// `GET /ui/audit/download` with the filters of the page: rows as NDJSON, newest first, each with its place and hash.
pub(super) async fn rows(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let made = async {
        let asked = dashboard.asked(&headers, remote).await?;
        let query = Query::of(uri.query().unwrap_or_default());
        let mut arguments = audit::filters(&query);
        arguments["limit"] = audit::FILE_ROWS.into();
        let found = dashboard.call(asked.caller, COORDINATOR, "list_audit", &arguments, Trace::root()).await?;
        let rows = found["rows"].as_array().into_iter().flatten();
        Ok(file("application/x-ndjson", "audit.ndjson", rows.map(|row| format!("{row}\n")).collect()))
    };
    dashboard.answered(made.await, &headers)
}

fn file(kind: &'static str, name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    (StatusCode::OK, headers, text).into_response()
}

impl Dashboard {
    /// The text of the resource that a tool's answer holds.
    async fn contents(&self, asked: Asked, server: &str, tool: &str, arguments: &Value) -> Result<String, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            #[serde(default)]
            is_error: bool,
            content: Vec<Value>,
        }
        let ctx = Ctx::internal(asked.caller, Trace::root());
        let reply = self.router.call(server, tool, mcp::wire::raw(arguments), ctx).await?;
        let answer: Answer = serde_json::from_str(reply.body.get())
            .map_err(|error| Fault::upstream(format!("{server}.{tool}: answer is no tool's: {error}")))?;
        if answer.is_error {
            return Err(mcp::toolbox::structured(&reply)
                .err()
                .unwrap_or_else(|| Fault::upstream(format!("{server}.{tool} failed"))));
        }
        let held = answer.content.iter().find_map(|part| part["resource"]["text"].as_str());
        held.map(ToOwned::to_owned).ok_or_else(|| {
            Fault::upstream(format!("{server}.{tool}: the answer holds no file"))
                .data(json!({ "parts": answer.content.len() }))
        })
    }
}
