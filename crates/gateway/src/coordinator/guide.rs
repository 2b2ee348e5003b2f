//! The coordinator's prompts and resources.

use kernel::Fault;
use kernel::bus::FLEET_TOPIC;
use kernel::fleet::Kind;
use mcp::Ctx;
use mcp::prompt::{Argument, Arguments, Message, Prompt};
use mcp::resource::{Contents, Resource, Template};
use serde::Serialize;
use serde_json::json;

use crate::gateway::Gateway;

const SYSTEM: &str = "status://master-coordinator/system";
const SERVICES: &str = "status://master-coordinator/services";
const AGENTS: &str = "status://master-coordinator/agents";
const SERVICE_TEMPLATE: &str = "status://master-coordinator/services/{service}";
const JSON: &str = "application/json";
/// Events shown to explain a service's state.
const EVENTS_SHOWN: usize = 20;
/// Tools named for a job.
const TOOLS_SHOWN: usize = 8;

fn resource(uri: &str, name: &str, description: &str) -> Resource {
    Resource { uri: uri.into(), name: name.into(), description: Some(description.into()), mime_type: Some(JSON.into()) }
}

pub(super) fn resources() -> Vec<Resource> {
    vec![
        resource(SYSTEM, "system status", "how the whole fleet stands, as system_status answers it"),
        resource(SERVICES, "services", "every server of the fleet, as list_services answers it"),
        resource(AGENTS, "agents", "every agent of the fleet, as list_agents answers it"),
    ]
}

pub(super) fn templates() -> Vec<Template> {
    vec![Template {
        uri_template: SERVICE_TEMPLATE.into(),
        name: "service status".into(),
        description: Some("one server in full, as service_status answers it".into()),
        mime_type: Some(JSON.into()),
    }]
}

pub(super) async fn read(gateway: &Gateway, uri: &str) -> Result<Option<Vec<Contents>>, Fault> {
    let text = match uri {
        SYSTEM => pretty(&gateway.status().await)?,
        SERVICES => pretty(&json!({ "services": gateway.services(Kind::Server).await }))?,
        AGENTS => pretty(&json!({ "agents": gateway.services(Kind::Agent).await }))?,
        _ => match uri.strip_prefix(SERVICES).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) => pretty(&gateway.service(Kind::Server, name).await?)?,
            None => return Ok(None),
        },
    };
    Ok(Some(vec![Contents::text(uri, JSON, text)]))
}

fn pretty(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string_pretty(value).map_err(|error| Fault::internal(format!("status: {error}")))
}

pub(super) fn prompts() -> Vec<Prompt> {
    let prompt = |name: &str, description: &str, argument: &str, about: &str| Prompt {
        name: name.into(),
        description: Some(description.into()),
        arguments: vec![Argument { name: argument.into(), description: Some(about.into()), required: true }],
    };
    vec![
        prompt("why_unhealthy", "why is this service unhealthy, and what would help", "service", "the service's name"),
        prompt("find_a_tool", "find a tool for a job and use it", "job", "what is to be done, in a few words"),
    ]
}

pub(super) async fn prompt(
    gateway: &Gateway,
    name: &str,
    arguments: &Arguments,
    ctx: &Ctx,
) -> Result<Vec<Message>, Fault> {
    let argument = |key: &str| arguments.get(key).map(String::as_str).unwrap_or_default();
    let text = match name {
        "why_unhealthy" => why_unhealthy(gateway, argument("service")).await?,
        "find_a_tool" => find_a_tool(gateway, argument("job"), ctx),
        _ => return Err(Fault::not_found(format!("no prompt `{name}`"))),
    };
    Ok(vec![Message::user(text)])
}

async fn why_unhealthy(gateway: &Gateway, service: &str) -> Result<String, Fault> {
    let detail = gateway.service(Kind::Server, service).await?;
    let topics = gateway.ports.bus.topics().await?;
    let newest = topics.iter().find(|topic| topic.name == FLEET_TOPIC).map_or(0, |topic| topic.last_seq);
    let events = gateway.ports.bus.read(FLEET_TOPIC, newest.saturating_sub(200), 200).await?;
    let about: Vec<_> = events.iter().filter(|event| event.data["name"] == service).collect();
    let about = &about[about.len().saturating_sub(EVENTS_SHOWN)..];
    Ok(format!(
        "Explain how the service `{service}` of this fleet stands, and if it is not healthy, why, and what would help. Look further with \
         logging__search (service = {service}, level = warn) and monitoring__health where they are there. Do not restart anything \
         without asking me.\n\nIts status now:\n```json\n{}\n```\n\nIts newest events:\n```json\n{}\n```",
        pretty(&detail)?,
        pretty(&about)?
    ))
}

fn find_a_tool(gateway: &Gateway, job: &str, ctx: &Ctx) -> String {
    let table = gateway.table();
    let may_use = |place: usize| {
        let entry = &table.entries[place];
        entry.held.is_none() && ctx.caller.allows(entry.access)
    };
    let hits = table.index().search(job, may_use);
    let names: Vec<String> =
        hits.iter().take(TOOLS_SHOWN).map(|hit| format!("- {}", table.entries[hit.place].name)).collect();
    let likely = if names.is_empty() { "none found by these words; try others".into() } else { names.join("\n") };
    format!(
        "I want to do this: {job}\n\nChoose the tool of this fleet that does it, look at it with master-coordinator__describe_tool, tell me \
         what it would do, and call it once I agree (at once if it only reads). Likely ones, the best first:\n{likely}"
    )
}

/// Names of services that begin with what was typed.
pub(super) async fn complete(gateway: &Gateway, argument: &str, typed: &str) -> Vec<String> {
    if argument != "service" {
        return Vec::new();
    }
    let names = gateway.services(Kind::Server).await.into_iter().map(|row| row.name);
    names.filter(|name| name.starts_with(typed)).collect()
}
