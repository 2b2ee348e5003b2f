//! The views: which there are, and which page a path is of.

pub mod agents;
pub mod find;
pub mod overview;
pub mod service;
pub mod services;
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
    View { path: services::PATH, name: "Services", key: "s" },
    View { path: agents::PATH, name: "Agents and tasks", key: "a" },
    View { path: workflows::PATH, name: "Workflows", key: "w" },
    View { path: trading::PATH, name: "Trading and risk", key: "t" },
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
        ["ui", "find"] => Ok(find::page(look).await),
        _ => Err(Fault::not_found(format!("no page at {path}")).hint("the views are at the top of every page")),
    }
}
