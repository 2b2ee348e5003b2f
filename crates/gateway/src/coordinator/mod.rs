//! `master-coordinator`: the fleet as tools: how it stands, what it has, what to do to it.
//!
//! Keeps nothing of its own: every answer is the gateway's, the registry's or the bus's. What it does to services it does through the
//! fleet's supervisor.

mod agents;
mod fleet;
mod guide;
mod records;
mod search;
mod upstreams;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use kernel::catalog;
use kernel::health::Check;
use mcp::prelude::*;
use mcp::prompt::{Arguments, Message, Prompt};
use mcp::resource::{Contents, Resource, Template};

use crate::gateway::Gateway;

pub use agents::*;
pub use fleet::*;
pub use records::*;
pub use search::*;
pub use upstreams::*;

/// `[servers.master-coordinator]` in `flotilla.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// The server.
pub struct Coordinator {
    /// Not owned: the gateway holds the service made of this.
    gateway: Weak<Gateway>,
}

impl Coordinator {
    /// The coordinator of `gateway`.
    pub fn of(gateway: &Arc<Gateway>) -> Self {
        Self { gateway: Arc::downgrade(gateway) }
    }

    fn gateway(&self) -> Result<Arc<Gateway>, Fault> {
        self.gateway.upgrade().ok_or_else(|| Fault::unavailable("the gateway is being stopped"))
    }
}

impl Gateway {
    /// Puts the coordinator's own tools into the gateway. Returns the service.
    pub fn add_coordinator(self: &Arc<Self>) -> Arc<mcp::Service> {
        let service = mcp::Service::of(Arc::new(Coordinator::of(self)), self.shared.clone());
        self.add_local(Arc::clone(&service));
        service
    }
}

impl McpServer for Coordinator {
    const NAME: &'static str = catalog::COORDINATOR;
    const INSTRUCTIONS: &'static str = "The fleet itself: how its services stand (system_status, list_services, service_status), which tool does a job \
        (find_tools, describe_tool, call_tool), one command for many services (route_command), restarts and copies \
        (restart_service, scale_service), what happened (list_events), what agents did by themselves (agent_runs), \
        what anybody called (list_audit) and how it went piece by piece (spans), and third parties' servers (list_upstreams, add_upstream).";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(_ports: &Ports, _config: Config) -> Result<Self, Fault> {
        Err(Fault::unsupported("a coordinator is made around a gateway").hint("Gateway::add_coordinator"))
    }

    fn tools(set: &mut ToolSet<Self>) {
        fleet::tools(set);
        agents::tools(set);
        records::tools(set);
        search::tools(set);
        upstreams::tools(set);
    }
}

#[async_trait]
impl Features for Coordinator {
    async fn health(&self) -> Vec<Check> {
        let Ok(gateway) = self.gateway() else { return vec![Check::down("gateway", "is being stopped")] };
        let parts = gateway.table().parts.len();
        let mut checks = vec![Check::healthy("gateway", format!("{parts} servers and upstreams"))];
        checks.push(match gateway.ports.fleet.instances().await {
            Ok(all) => Check::healthy("registry", format!("{} instances", all.len())),
            Err(fault) => Check::degraded("registry", fault.to_string()),
        });
        if let Ok(upstreams) = gateway.upstreams() {
            let all = upstreams.list();
            let away: Vec<_> = all.iter().filter(|one| !one.state.serves()).map(|one| one.name.as_str()).collect();
            checks.push(match away.is_empty() {
                true => Check::healthy("upstreams", format!("{} serve", all.len())),
                false => Check::degraded("upstreams", format!("not there now: {}", away.join(", "))),
            });
        }
        checks
    }

    async fn resources(&self, _ctx: &Ctx) -> Result<Vec<Resource>, Fault> {
        Ok(guide::resources())
    }

    fn resource_templates(&self) -> Vec<Template> {
        guide::templates()
    }

    async fn read_resource(&self, uri: &str, _ctx: &Ctx) -> Result<Option<Vec<Contents>>, ToolError> {
        Ok(guide::read(&*self.gateway()?, uri).await?)
    }

    fn prompts(&self) -> Vec<Prompt> {
        guide::prompts()
    }

    async fn prompt(&self, name: &str, arguments: Arguments, ctx: &Ctx) -> Result<Vec<Message>, ToolError> {
        Ok(guide::prompt(&*self.gateway()?, name, &arguments, ctx).await?)
    }

    async fn complete(&self, _reference: &str, argument: &str, typed: &str) -> Result<Vec<String>, Fault> {
        Ok(guide::complete(&*self.gateway()?, argument, typed).await)
    }
}

#[cfg(test)]
mod tests;
