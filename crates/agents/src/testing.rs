//! What the agents' tests share: an agent on a world of fakes, its tools those of real servers, time moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::audit::{Audit, AuditQuery, Record};
use kernel::duties::{Run, Runs};
use kernel::fake::World;
use kernel::{Fault, Tasks};
use mcp::phases::{Direct, LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::toolbox::Router;
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Handler, McpServer, Reply};
use parking_lot::RwLock;
use serde_json::json;
use serde_json::value::RawValue;
use servers::MarketPorts;
use servers::outbound::Reach;

use crate::agent::Agent;
use crate::presence::Secrets;
use crate::standing::{Means, Standing};

/// Calls servers as the gateway would.
#[derive(Default)]
pub(crate) struct Servers(RwLock<BTreeMap<&'static str, Arc<Service>>>);

#[async_trait]
impl Router for Servers {
    async fn call(&self, server: &str, tool: &str, arguments: Box<RawValue>, ctx: Ctx) -> Result<Reply, Fault> {
        let service = self.0.read().get(server).cloned();
        let service = service.ok_or_else(|| Fault::unavailable(format!("{server} does not serve now")))?;
        let params = Params::of(&json!({ "name": tool, "arguments": arguments })).unwrap();
        let request = Request { id: Id::Number(0), method: "tools/call".into(), params };
        service.handle(request, ctx).await.map_err(|error| Fault::upstream(error.to_string()))
    }
}

/// An agent, the servers it reaches, and the world under them.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) servers: Arc<Servers>,
    pub(crate) agent: Arc<Standing>,
    tasks: Tasks,
}

impl Bench {
    /// `A` with these servers, not started.
    pub(crate) async fn new<A: Agent>(config: A::Config, names: &[&str]) -> Self {
        let world = World::default();
        let bench = Self::beside::<A>(config, &world, Arc::default());
        for name in names {
            bench.serve(name).await;
        }
        bench
    }

    /// Another copy of `A` in the same fleet.
    pub(crate) fn beside<A: Agent>(config: A::Config, world: &World, servers: Arc<Servers>) -> Self {
        let world = world.clone();
        let means = Means {
            ports: world.ports(),
            router: Arc::clone(&servers) as Arc<dyn Router>,
            version: "0.0.0-test",
            reach: Reach::default(),
            secrets: Secrets::default(),
        };
        let agent = Standing::build::<A>(config, means).unwrap();
        Self { world, servers, agent, tasks: Tasks::new() }
    }

    /// Starts a server, anew if it ran.
    pub(crate) async fn serve(&self, name: &str) {
        let world = &self.world;
        let router = Arc::clone(&self.servers) as Arc<dyn Router>;
        let ports = MarketPorts { router, ..MarketPorts::without_pools(world.ports()) };
        let service = servers::build(name, &ports, &servers::ServersConfig::default(), self.shared()).unwrap();
        service.start(world.ports()).await.unwrap();
        self.servers.0.write().insert(service.name, service);
    }

    /// Puts a server of the test's own there.
    pub(crate) fn serve_this<S: McpServer>(&self, server: Arc<S>) {
        self.servers.0.write().insert(S::NAME, Service::of(server, self.shared()));
    }

    fn shared(&self) -> Shared {
        let world = &self.world;
        let trail = Arc::new(Direct(world.audit.clone()));
        Shared {
            phases: Phases::new(world.clock.clone(), world.metrics.clone(), trail, LimitsConfig::default()),
            sealer: Sealer::new(&[7; 32], world.clock.clone()),
            clock: world.clock.clone(),
            version: "0.0.0-test",
            tasks: None,
        }
    }

    /// Takes a server away.
    pub(crate) fn stop_serving(&self, name: &str) {
        self.servers.0.write().remove(name);
    }

    /// Begins with the duties.
    pub(crate) fn start(&self) {
        self.agent.start(&self.tasks);
    }

    /// Ends them; nothing may be left.
    pub(crate) async fn stop(&self) {
        assert_eq!(self.tasks.drain(Duration::from_secs(5)).await, 0);
    }

    /// Lets so many seconds pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.world.clock.advance_ms(1_000);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The runs kept, newest first.
    pub(crate) async fn runs(&self) -> Vec<Run> {
        Runs::new(self.world.store.clone()).newest(self.agent.name(), None, 500).await.unwrap()
    }

    /// The outcomes kept of a duty, oldest first.
    pub(crate) async fn outcomes(&self, duty: &str) -> Vec<String> {
        let runs = self.runs().await.into_iter().rev();
        runs.filter(|run| run.duty == duty).map(|run| run.outcome).collect()
    }

    /// The calls recorded in the audit trail, oldest first.
    pub(crate) async fn trail(&self) -> Vec<String> {
        let rows = self.world.audit.list(AuditQuery { limit: 1_000, ..Default::default() }).await.unwrap();
        let show = |record: &Record| format!("{} {}.{} {}", record.role, record.server, record.action, record.outcome);
        rows.iter().rev().map(|row| show(&row.record)).collect()
    }
}
