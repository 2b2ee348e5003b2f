//! What the playground's form does: a tool is called as whoever sent it, and the page that comes back shows its whole answer.
//!
//! Unlike an act ([`super::act`]) it does not lead back: an answer may be as long as it likes, and loading the page again must not call again,
//! which a browser asks about before it sends a form anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use kernel::{Fault, Trace};
use mcp::Ctx;
use mcp::toolbox::structured;
use serde_json::Value;

use super::Dashboard;
use super::arguments::arguments;
use super::query::{Query, encoded};
use super::views::playground::{self, Told};

/// Most of an answer that is shown, in bytes: a page of it.
const SHOWN_BYTES_MAX: usize = 256 << 10;

/// `POST /ui/playground-call`: `name`, and the arguments as fields or as `raw` JSON.
pub(super) async fn call(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let made = async {
        let (asked, form) = dashboard.posted(&headers, remote, &body).await?;
        let name = form.get("name").unwrap_or_default().to_owned();
        let here = format!("{}/{}", playground::PATH, encoded(&name));
        let look = dashboard.look(&asked, &here);
        let (given, told) = match given(&dashboard, &name, &form) {
            Ok(given) => {
                let trace = Trace::root();
                let began = Instant::now();
                let answer = dashboard.answer(asked.caller.clone(), &name, &given, trace).await;
                let told = Told { answer, trace: trace.id(), took: began.elapsed() };
                (given, told)
            }
            Err(fault) => {
                let raw = form.get("raw").unwrap_or_default().to_owned();
                (Value::String(raw), Told { answer: Err(fault), trace: String::new(), took: Duration::ZERO })
            }
        };
        dashboard.shown(&headers, &asked, &look, playground::told(&look, &name, given, told)).await
    };
    dashboard.answered(made.await, &headers)
}

/// The arguments that a form gives.
fn given(dashboard: &Dashboard, name: &str, form: &Query) -> Result<Value, Fault> {
    let (server, tool) = playground::split(name)?;
    let given = match form.get("raw") {
        Some(raw) => serde_json::from_str(raw).map_err(|error| {
            Fault::invalid(format!("the arguments are no JSON: {error}")).hint("an object: {\"name\": value}")
        })?,
        None => {
            let takes = dashboard.router.takes(server, tool).flatten().unwrap_or(Value::Bool(true));
            arguments(&takes, form)
        }
    };
    let asks = dashboard.router.asks(server, tool);
    if asks.is_some_and(|access| access != kernel::Access::Read) && form.get("sure") != Some("1") {
        return Err(Fault::invalid("this tool changes something, and nobody said that it should")
            .hint("tick `do it` beside the button")
            .data(given));
    }
    Ok(given)
}

impl Dashboard {
    /// A tool's answer in full, as it would be read: its structured content, or the parts it has instead.
    async fn answer(&self, caller: kernel::Caller, name: &str, given: &Value, trace: Trace) -> Result<String, Fault> {
        let (server, tool) = playground::split(name)?;
        let reply = self.router.call(server, tool, mcp::wire::raw(given), Ctx::internal(caller, trace)).await?;
        let whole: Value = serde_json::from_str(reply.body.get())
            .map_err(|error| Fault::upstream(format!("{name}: answer is not JSON: {error}")))?;
        if whole["isError"] == true {
            return Err(structured(&reply).err().unwrap_or_else(|| Fault::upstream(format!("{name} failed"))));
        }
        let shown = ["structuredContent", "content"].iter().find_map(|part| whole.get(*part)).unwrap_or(&whole);
        let mut text = serde_json::to_string_pretty(shown).unwrap_or_default();
        if text.len() > SHOWN_BYTES_MAX {
            text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
            text.push_str("\n… (cut: the command line has the rest)");
        }
        Ok(text)
    }
}
