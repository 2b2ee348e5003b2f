//! What this crate's tests share: a gateway on a world of fakes, and small servers to put behind it.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::audit::{Audit, AuditQuery};
use kernel::fake::World;
use kernel::fleet::Instance;
use kernel::health::Report;
use kernel::{Caller, Role, Tasks, Trace};
use mcp::phases::{Direct, LimitsConfig, Phases};
use mcp::prelude::*;
use mcp::prompt::{Argument, Arguments, Message, Prompt};
use mcp::resource::{Contents, Resource, Template};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::wire::{Id, Params, Request};
use mcp::{Handler, Link, Reply, RpcError};
use serde_json::{Value, json};

use crate::gateway::{Config, Gateway, SERVE, Setup};
use crate::remote::Reach;
use crate::selector::Selector;

/// A gateway and the world under it.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) gateway: Arc<Gateway>,
}

pub(crate) fn shared(world: &World) -> Shared {
    let trail = Arc::new(Direct(world.audit.clone()));
    Shared {
        phases: Phases::new(world.clock.clone(), world.metrics.clone(), trail, LimitsConfig::default()),
        sealer: Sealer::new(&[7; 32], world.clock.clone()),
        clock: world.clock.clone(),
        version: "0.0.0-test",
        tasks: None,
    }
}

pub(crate) fn caller(role: Role) -> Caller {
    Caller::new("ann", role)
}

pub(crate) fn ctx(role: Role) -> Ctx {
    Ctx::internal(caller(role), Trace::root())
}

impl Bench {
    /// A gateway without parts.
    pub(crate) fn empty() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::made(config, "test")
    }

    /// That of one process of a fleet, without parts.
    pub(crate) fn of_one_process() -> Self {
        Self::made(Config::default(), SERVE)
    }

    fn made(config: Config, mode: &str) -> Self {
        let world = World::default();
        let setup = Setup {
            config,
            ports: world.ports(),
            shared: shared(&world),
            mode: mode.into(),
            expected: ["utilities", "logging"].into_iter().filter_map(kernel::catalog::server_named).collect(),
            process: "here".into(),
            reach: Arc::new(Nowhere),
            settings: Vec::new(),
        };
        Self { gateway: Gateway::new(setup), world }
    }

    /// A gateway with the toys `utilities`, `logging` and `zebra`.
    pub(crate) fn full() -> Self {
        let bench = Self::empty();
        bench.add(2);
        bench.add(1);
        bench.add(0);
        bench
    }

    /// A gateway with every server that this version has.
    pub(crate) fn real() -> Self {
        let bench = Self::empty();
        bench.gateway.add_coordinator();
        for name in servers::NAMES {
            let ports = servers::MarketPorts::without_pools(bench.world.ports());
            let config = servers::ServersConfig::default();
            bench.gateway.add_local(servers::build(name, &ports, &config, shared(&bench.world)).unwrap());
        }
        bench
    }

    /// Adds a toy by its place in [`NAMES`].
    pub(crate) fn add(&self, place: usize) {
        self.gateway.add_local(toy(place, shared(&self.world)));
    }

    pub(crate) fn handler(&self, selector: Selector) -> Arc<dyn Handler> {
        self.gateway.handler(selector).unwrap()
    }

    /// What a client of this role gets from `handler`: the result's JSON.
    pub(crate) async fn ask(
        &self,
        selector: Selector,
        role: Role,
        method: &str,
        params: Value,
    ) -> Result<Value, RpcError> {
        let reply = request(&*self.handler(selector), method, params, ctx(role)).await?;
        Ok(serde_json::from_str(reply.body.get()).unwrap())
    }

    /// The names of a list.
    pub(crate) async fn names(
        &self,
        selector: Selector,
        role: Role,
        method: &str,
        field: &str,
        key: &str,
    ) -> Vec<String> {
        let list = self.ask(selector, role, method, json!({})).await.unwrap();
        list[field].as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn tools(&self, selector: Selector, role: Role) -> Vec<String> {
        self.names(selector, role, "tools/list", "tools", "name").await
    }

    /// The rows of the audit trail, oldest first.
    pub(crate) async fn trail(&self) -> Vec<String> {
        let query = AuditQuery { limit: 100, ..AuditQuery::default() };
        let rows = self.world.audit.list(query).await.unwrap();
        rows.iter()
            .rev()
            .map(|row| format!("{}.{} {}", row.record.server, row.record.action, row.record.outcome))
            .collect()
    }
}

/// For tests in which everything runs here.
struct Nowhere;

#[async_trait]
impl Reach for Nowhere {
    fn link(&self, instance: &Instance, _: &Tasks) -> Result<Arc<dyn Link>, Fault> {
        Err(Fault::unavailable(format!("{} is in no test", instance.url)))
    }

    async fn health(&self, instance: &Instance, _: &Tasks) -> Result<Report, Fault> {
        Err(Fault::unavailable(format!("{} is in no test", instance.url)))
    }
}

/// A toy by its place in [`NAMES`].
pub(crate) fn toy(place: usize, shared: Shared) -> Arc<Service> {
    match place {
        0 => Service::of(Arc::new(Toy::<0>), shared),
        1 => Service::of(Arc::new(Toy::<1>), shared),
        _ => Service::of(Arc::new(Toy::<2>), shared),
    }
}

pub(crate) async fn request(handler: &dyn Handler, method: &str, params: Value, ctx: Ctx) -> Result<Reply, RpcError> {
    let params = Params::of(&params).unwrap();
    handler.handle(Request { id: Id::Number(1), method: method.into(), params }, ctx).await
}

/// The names of the toys.
pub(crate) const NAMES: [&str; 3] = ["utilities", "logging", "zebra"];

/// A small server: one of several names.
pub(crate) struct Toy<const N: usize>;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EchoRequest {
    /// What comes back.
    text: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EchoResponse {
    from: String,
    text: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Nothing {}

mod tool {
    use super::*;

    tools! { "toy";
        /// Gives text back.
        ECHO = "echo": fn(EchoRequest) -> EchoResponse, Hints::READ;
        /// Empties everything.
        RESET = "reset": fn(Nothing) -> Nothing, Hints::OPERATE;
        /// Changes what is trusted.
        TRUST = "trust": fn(Nothing) -> Nothing, Hints::ADMIN;
    }
}

impl<const N: usize> McpServer for Toy<N> {
    const NAME: &'static str = NAMES[N];
    const INSTRUCTIONS: &'static str = "A toy.";
    type Config = NoConfig;
    type Ports = kernel::Ports;

    fn new(_: &Ports, _: NoConfig) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_pure(tool::ECHO, |_, request| Ok(EchoResponse { from: NAMES[N].into(), text: request.text }));
        set.add_pure(tool::RESET, |_, request| Ok(request));
        set.add_pure(tool::TRUST, |_, request| Ok(request));
    }
}

/// No configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NoConfig {}

#[async_trait]
impl<const N: usize> Features for Toy<N> {
    async fn resources(&self, _: &Ctx) -> Result<Vec<Resource>, Fault> {
        let resource = |uri: String| Resource { uri, name: "x".into(), description: None, mime_type: None };
        Ok(vec![resource(format!("box://{}/1", NAMES[N])), resource("loose://x".into())])
    }

    fn resource_templates(&self) -> Vec<Template> {
        let uri_template = format!("box://{}/{{id}}", NAMES[N]);
        vec![Template { uri_template, name: "boxes".into(), description: None, mime_type: None }]
    }

    async fn read_resource(&self, uri: &str, _: &Ctx) -> Result<Option<Vec<Contents>>, ToolError> {
        let known = uri == "loose://x" || uri.starts_with(&format!("box://{}/", NAMES[N]));
        Ok(known.then(|| vec![Contents::text(uri, "text/plain", NAMES[N])]))
    }

    fn prompts(&self) -> Vec<Prompt> {
        let argument = Argument { name: "who".into(), description: None, required: true };
        vec![Prompt { name: "greet".into(), description: None, arguments: vec![argument] }]
    }

    async fn prompt(&self, _: &str, arguments: Arguments, _: &Ctx) -> Result<Vec<Message>, ToolError> {
        Ok(vec![Message::user(format!("{} greets {}", NAMES[N], arguments["who"]))])
    }

    async fn complete(&self, reference: &str, argument: &str, typed: &str) -> Result<Vec<String>, Fault> {
        Ok(vec![format!("{}:{reference}:{argument}:{typed}", NAMES[N])])
    }
}
