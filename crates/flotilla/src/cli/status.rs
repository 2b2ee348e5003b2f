//! `status` and `ps`.

use std::process::ExitCode;

use kernel::catalog::AGENT;
use kernel::{Code, Fault, catalog};
use serde_json::{Value, json};

use super::{Global, api::Api, output};

/// Show how the fleet, or one service, stands.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// A service, an agent as `agent:NAME`; the whole fleet when absent
    service: Option<String>,
}

/// The exit code for "it runs, but not well".
const UNHEALTHY: u8 = 6;

impl Status {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let status = match &self.service {
            None => whole(&api).await?,
            Some(role) => {
                let (kind, name) = catalog::of_role(role);
                api.call("master-coordinator__service_status", json!({ "service": name, "kind": kind })).await?
            }
        };
        if global.json {
            output::json(&status)?;
        } else if self.service.is_some() {
            output::line(&serde_json::to_string_pretty(&status).unwrap_or_default())?;
        } else {
            summary(&status, &api.url)?;
        }
        let healthy = matches!(status["status"].as_str(), Some("healthy"));
        Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(UNHEALTHY) })
    }
}

/// The whole fleet's state. While its database is away no key can be looked up; on its own machine it tells its state to everybody.
async fn whole(api: &Api) -> Result<Value, Fault> {
    match api.get("/status").await {
        Err(fault) if fault.code == Code::Unavailable => {
            let nobody = Api::at(api.url.clone(), None);
            nobody.get("/status").await.map_err(|_| fault)
        }
        told => told,
    }
}

fn summary(status: &Value, url: &str) -> Result<(), Fault> {
    let cell = |pointer: &str| output::cell(status.pointer(pointer).unwrap_or(&Value::Null));
    output::line(&format!("{} at {url}, mode {}, version {}", cell("/status"), cell("/mode"), cell("/version")))?;
    output::line(&format!("servers   {} of {} healthy", cell("/servers/healthy"), cell("/servers/total")))?;
    for part in ["agents", "upstreams"] {
        let (healthy, total) = (cell(&format!("/{part}/healthy")), cell(&format!("/{part}/total")));
        if total != "0" {
            output::line(&format!("{part:<9} {healthy} of {total} healthy"))?;
        }
    }
    output::line(&format!("up for    {} s", cell("/uptime_seconds")))?;
    for (part, state) in status["infrastructure"].as_object().into_iter().flatten() {
        let by = state["backend"].as_str().map(|backend| format!(" ({backend})")).unwrap_or_default();
        let (stands, seen) = (output::cell(&state["status"]), output::cell(&state["detail"]));
        output::line(&format!("{part:<9} {stands}: {seen}{by}"))?;
    }
    Ok(())
}

/// Lists what runs.
pub async fn ps(global: &Global) -> Result<ExitCode, Fault> {
    list(global, &["/servers", "/agents", "/upstreams"]).await
}

/// Lists what these pages of the coordinator do.
pub async fn list(global: &Global, pages: &[&str]) -> Result<ExitCode, Fault> {
    let api = Api::connect(global)?;
    let mut all: Vec<Value> = Vec::new();
    for page in pages {
        all.extend(api.get(page).await?.as_array().cloned().unwrap_or_default());
    }
    if global.json {
        output::json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|service| {
            let cell = |name: &str| output::cell(&service[name]);
            // An upstream counts its tools and has a place, which may be a program.
            let (tools, place) = match service["tools"].as_array() {
                Some(tools) => (tools.len().to_string(), cell("url")),
                None => (cell("tools"), cell("place")),
            };
            let name = match service["kind"].as_str() {
                Some("agent") => format!("{AGENT}{}", cell("name")),
                Some(_) => cell("name"),
                None => format!("upstream:{}", cell("name")),
            };
            vec![name, cell("status"), cell("port"), cell("instances"), tools, place, cell("last_error")]
        })
        .collect();
    output::table(&["service", "status", "port", "instances", "tools", "url", "last error"], &rows)?;
    Ok(ExitCode::SUCCESS)
}
