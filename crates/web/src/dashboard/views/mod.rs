//! The views: which there are, and which page a path is of.

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod find;
pub mod logs;
pub mod market;
pub mod overview;
pub mod playground;
pub mod service;
pub mod services;
pub mod settings;
pub mod topology;
pub mod traces;
pub mod trading;
pub mod workflows;

use kernel::Fault;

use super::look::Look;
use super::page::Page;
use super::query::decoded;

/// A view of the navigation.
#[derive(Debug)]
pub struct View {
    /// Its path.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The key after `g` that leads to it.
    pub key: &'static str,
}

/// The views, in the navigation's order.
pub const VIEWS: &[View] = &[
    View { path: overview::PATH, name: "Overview", key: "o" },
    View { path: topology::PATH, name: "Topology", key: "y" },
    View { path: services::PATH, name: "Services", key: "s" },
    View { path: agents::PATH, name: "Agents and tasks", key: "a" },
    View { path: workflows::PATH, name: "Workflows", key: "w" },
    View { path: market::PATH, name: "Market", key: "m" },
    View { path: trading::PATH, name: "Trading and risk", key: "t" },
    View { path: logs::PATH, name: "Logs", key: "l" },
    View { path: traces::PATH, name: "Traces", key: "x" },
    View { path: playground::PATH, name: "Playground", key: "p" },
    View { path: alerts::PATH, name: "Alerts", key: "e" },
    View { path: audit::PATH, name: "Audit", key: "u" },
    View { path: settings::PATH, name: "Settings", key: "c" },
];

/// The page at a path, as this look sees it.
///
/// # Errors
/// When there is no such page, or what it is of is not there.
pub async fn page(look: &Look) -> Result<Page, Fault> {
    let path = look.here.split('?').next().unwrap_or_default();
    let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] | ["ui"] => Ok(overview::page(look).await),
        ["ui", "services"] => Ok(services::page(look).await),
        ["ui", "services", role] => service::page(look, role).await,
        ["ui", "agents"] => Ok(agents::page(look).await),
        ["ui", "tasks", id] => agents::task(look, id).await,
        ["ui", "workflows"] => Ok(workflows::page(look).await),
        ["ui", "workflows", run] => workflows::run(look, run).await,
        ["ui", "trading"] => Ok(trading::page(look).await),
        ["ui", "trading", "kill"] => Ok(trading::kill(look).await),
        ["ui", "topology"] => Ok(topology::page(look).await),
        ["ui", "market"] => Ok(market::page(look).await),
        ["ui", "market", id] => market::one(look, id).await,
        ["ui", "logs"] => Ok(logs::page(look).await),
        ["ui", "traces"] => Ok(traces::page(look).await),
        ["ui", "traces", "by-id"] => traces::one(look, look.query().get("id").unwrap_or_default().trim()).await,
        ["ui", "traces", id] => traces::one(look, id).await,
        ["ui", "playground"] => Ok(playground::page(look).await),
        ["ui", "playground", name] => playground::tool(look, name).await,
        ["ui", "alerts"] => Ok(alerts::page(look).await),
        ["ui", "audit"] => Ok(audit::page(look).await),
        ["ui", "settings"] => Ok(settings::page(look).await),
        ["ui", "find"] => Ok(find::page(look).await),
        _ => Err(Fault::not_found(format!("no page at {path}")).hint("the views are at the top of every page")),
    }
}
