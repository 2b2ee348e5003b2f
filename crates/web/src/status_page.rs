//! The status page on 8080 and the coordinator's index: server-rendered, no script.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use kernel::{Access, Code, Fault};
use maud::{DOCTYPE, Markup, html};
use mcp::http::Door;
use serde_json::Value;

use crate::access::{Guard, known_hosts};
use crate::coordinator::Coordinator;
use crate::problem::Problem;

/// Nothing runs on our pages, and nothing is loaded from elsewhere.
pub const CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One style for all pages, light and dark.
pub const STYLE: &str = "
:root { color-scheme: light dark; --edge: #8884; --dim: #888; --ok: #197a3e; --warn: #9a6700; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ok: #5bd68a; --warn: #e3b341; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--edge); }
th { color: var(--dim); font-weight: 600; } code { font-family: ui-monospace, monospace; }
.healthy { color: var(--ok); } .degraded, .starting, .stopping { color: var(--warn); } .down, .failed { color: var(--bad); }
.strip { display: flex; flex-wrap: wrap; gap: 1.5rem; } .strip div b { display: block; font-size: 1.3rem; }
.wide { overflow-x: auto; } .notice { border-left: 4px solid var(--warn); padding: .3rem .8rem; }
";

/// What the status page stands on.
#[derive(Clone)]
pub struct Page {
    /// The fleet.
    pub coordinator: Arc<dyn Coordinator>,
    /// Checks callers.
    pub guard: Guard,
    /// Knows which hosts it answers to.
    pub door: Arc<Door>,
}

/// The routes of port 8080.
pub fn routes(page: Page) -> Router {
    let hosts = from_fn_with_state(Arc::clone(&page.door), known_hosts);
    Router::new()
        .route("/", get(overview))
        .layer(hosts)
        .route("/health/live", get(|| async { "alive" }))
        .with_state(page)
        .fallback(crate::service::not_found)
}

async fn overview(
    State(page): State<Page>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = keyed(&headers);
    match page.guard.admit(&asked, remote, Access::Read, "the status page").await {
        Err(fault) if fault.code == Code::Unauthenticated => return Ok(ask(fault)),
        admitted => drop(admitted?),
    };
    let fleet = &page.coordinator;
    let (status, servers, agents) = (fleet.status().await?, fleet.servers().await?, fleet.agents().await?);
    let text = render(&status, &servers, &agents, &fleet.upstreams().await?).into_string();
    Ok(([(header::CONTENT_SECURITY_POLICY, CSP), (header::REFRESH, "5")], Html(text)).into_response())
}

/// The same headers with the key that a browser asked for, as its password, where the fleet expects it.
fn keyed(headers: &HeaderMap) -> HeaderMap {
    let mut keyed = headers.clone();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let pair = given.and_then(|text| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok());
    let bearer = pair.as_deref().and_then(|pair| {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", pair.split_once(':')?.1)).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    if let Some(bearer) = bearer {
        keyed.insert(header::AUTHORIZATION, bearer);
    }
    keyed
}

/// A refusal that has a browser ask for a key: any name, and the key as the password.
fn ask(fault: Fault) -> Response {
    let mut response = Problem(fault).into_response();
    let challenge = HeaderValue::from_static("Basic realm=\"flotilla: any name, and a key as the password\"");
    response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    response
}

fn render(status: &Value, servers: &Value, agents: &Value, upstreams: &Value) -> Markup {
    let some = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width"; title { "Flotilla" } style { (STYLE) } }
            body {
                h1 { "Flotilla " (state(&word(&status["status"]))) }
                @if let Some(notice) = status["notice"].as_str() { p.notice { (notice) } }
                div.strip {
                    (figure("mode", &word(&status["mode"])))
                    (figure("servers healthy", &format!("{} of {}", status["servers"]["healthy"], status["servers"]["total"])))
                    (figure("up for", &duration(status["uptime_seconds"].as_u64().unwrap_or(0))))
                    (figure("version", &word(&status["version"])))
                }
                h2 { "Servers" }
                (table_of(servers))
                @if some(agents) { h2 { "Agents" } (table_of(agents)) }
                @if some(upstreams) { h2 { "Upstreams" } (upstreams_table(upstreams)) }
                h2 { "Infrastructure" }
                div.wide { table {
                    tbody { @for (name, part) in status["infrastructure"].as_object().into_iter().flatten() {
                        tr { th scope="row" { (name) } td { (state(part["status"].as_str().unwrap_or("unknown"))) } td { (part["detail"].as_str().unwrap_or_default()) } td { (part["backend"].as_str().unwrap_or_default()) } }
                    } }
                } }
            }
        }
    }
}

fn table_of(services: &Value) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "service" } th { "state" } th { "port" } th { "instances" } th { "tools" } th { "last error" } } }
            tbody { @for service in services.as_array().into_iter().flatten() {
                tr {
                    td { (service["name"].as_str().unwrap_or_default()) }
                    td { (state(service["status"].as_str().unwrap_or("unknown"))) }
                    td { (service["port"]) }
                    td { (service["instances"]) }
                    td { (service["tools"].as_array().map_or(0, Vec::len)) }
                    td { (service["last_error"].as_str().unwrap_or_default()) }
                }
            } }
        } }
    }
}

fn upstreams_table(upstreams: &Value) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "upstream" } th { "state" } th { "tools" } th { "held" } th { "last error" } } }
            tbody { @for upstream in upstreams.as_array().into_iter().flatten() {
                tr {
                    td { (upstream["name"].as_str().unwrap_or_default()) }
                    td { (state(upstream["status"].as_str().unwrap_or("unknown"))) }
                    td { (upstream["tools"]) }
                    td { (upstream["held"].as_array().map_or(0, Vec::len)) }
                    td { (upstream["last_error"].as_str().unwrap_or_default()) }
                }
            } }
        } }
    }
}

/// A sign and a word beside the colour.
fn state(word: &str) -> Markup {
    let sign = match word {
        "healthy" => "●",
        "degraded" | "starting" | "stopping" => "◐",
        _ => "○",
    };
    html! { span class=(word) { (sign) " " (word) } }
}

fn figure(name: &str, value: &str) -> Markup {
    html! { div { b { (value) } (name) } }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `/` of the coordinator: a short list of what is there.
pub fn index() -> String {
    let rows = [
        ("/mcp", "the whole fleet as one MCP endpoint"),
        ("/mcp/{server}", "one server or upstream"),
        ("/mcp?toolset=NAME", "a named part of the tools"),
        ("/mcp?mode=search", "three tools that find and call all others"),
        ("/status", "the system's state"),
        ("/servers", "every MCP server"),
        ("/agents", "every agent"),
        ("/upstreams", "every third party's server"),
        ("/health", "health of the coordinator"),
        ("/metrics", "figures for Prometheus"),
        ("/events", "events as they come (SSE)"),
        ("/docs", "all of REST; /openapi.json for machines"),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Flotilla coordinator" } style { (STYLE) } }
            body {
                h1 { "Flotilla coordinator" }
                table { tbody { @for (path, what) in rows { tr { td { code { (path) } } td { (what) } } } } }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_text() {
        let servers =
            serde_json::json!([{ "name": "<script>alert(1)</script>", "status": "\"><img>", "last_error": "<b>" }]);
        let page = render(&serde_json::json!({}), &servers, &servers, &servers).into_string();
        assert!(!page.contains("<script>") && !page.contains("<img>") && !page.contains("<b></td>"), "{page}");
    }
}
