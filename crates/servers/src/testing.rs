//! What the servers' tests share: one server on a world of fakes, called the way a client calls it.

pub(crate) mod pools;
pub(crate) mod sandbox;

use std::collections::HashMap;
use std::sync::Arc;

use crate::MarketPorts;
use expect_test::Expect;
use kernel::audit::Audit as _;
use kernel::fake::World;
use kernel::{Caller, Fault, Role, Trace};
use market::feed::{Pools, Unfollowed};
use mcp::handler::Handler;
use mcp::phases::{Direct, LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, McpServer, Reply, RpcError, Tool, toolbox};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A server on its own world.
pub(crate) struct Bench {
    /// The fakes behind the server; `world.clock` is moved by hand.
    pub(crate) world: World,
    /// The server.
    pub(crate) service: Arc<Service>,
    answers: HashMap<String, jsonschema::Validator>,
}

/// What the services of a test share.
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

/// A caller who may do everything.
pub(crate) fn admin() -> Caller {
    Caller::new("root", Role::Admin)
}

/// A caller who may read and operate.
pub(crate) fn operator(name: &str) -> Caller {
    Caller::new(name, Role::Operator)
}

/// A caller who may only look.
pub(crate) fn viewer(name: &str) -> Caller {
    Caller::new(name, Role::Viewer)
}

impl Bench {
    /// `S` with its default configuration on a new world.
    pub(crate) fn new<S: McpServer>() -> Self
    where
        MarketPorts: AsRef<S::Ports>,
    {
        Self::on::<S>(World::default(), S::Config::default())
    }

    /// `S` on a world that the test made.
    pub(crate) fn on<S: McpServer>(world: World, config: S::Config) -> Self
    where
        MarketPorts: AsRef<S::Ports>,
    {
        Self::on_pools::<S>(world, Arc::new(Unfollowed), config)
    }

    /// `S` on a world and on pools that the test made.
    pub(crate) fn on_pools<S: McpServer>(world: World, pools: Arc<dyn Pools>, config: S::Config) -> Self
    where
        MarketPorts: AsRef<S::Ports>,
    {
        let ports = MarketPorts { pools, ..MarketPorts::without_pools(world.ports()) };
        let service = Service::build::<S>(ports.as_ref(), config, shared(&world)).unwrap();
        Self::of(world, service)
    }

    /// A service that the test built.
    pub(crate) fn of(world: World, service: Arc<Service>) -> Self {
        let answers = service.tools().filter_map(|def| {
            let schema = def.output.as_ref()?;
            Some((def.name.clone(), jsonschema::validator_for(schema).unwrap()))
        });
        Self { answers: answers.collect(), world, service }
    }

    /// Starts the server's standing work.
    pub(crate) async fn start(&self) {
        self.service.start(self.world.ports()).await.unwrap();
    }

    /// Any request of the protocol, in a context that the test made.
    pub(crate) async fn request(&self, method: &str, params: Value, ctx: Ctx) -> Result<Reply, RpcError> {
        let params = Params::of(&params).unwrap();
        self.service.handle(Request { id: Id::Number(1), method: method.into(), params }, ctx).await
    }

    /// Calls a tool under `caller`'s role.
    ///
    /// # Errors
    /// The protocol's own. What a tool refuses is a reply.
    pub(crate) async fn reply(&self, caller: &Caller, tool: &str, arguments: Value) -> Result<Reply, RpcError> {
        let ctx = Ctx::internal(caller.clone(), Trace::root());
        let reply = self.request("tools/call", json!({ "name": tool, "arguments": arguments }), ctx).await?;
        self.check_schema(tool, &reply);
        Ok(reply)
    }

    /// Holds a structured answer to the `outputSchema` that its tool promises.
    fn check_schema(&self, tool: &str, reply: &Reply) {
        let (Some(schema), Ok(answer)) = (self.answers.get(tool), toolbox::structured(reply)) else { return };
        let answer: Value = serde_json::from_str(answer.get()).unwrap();
        if let Some(error) = schema.iter_errors(&answer).next() {
            panic!("the answer of {tool} breaks its schema at `{}`: {error}\n{answer:#}", error.instance_path());
        }
    }

    /// Calls a tool by its typed name.
    ///
    /// # Errors
    /// What the tool refuses with.
    pub(crate) async fn call<I: Serialize, O: DeserializeOwned>(
        &self,
        caller: &Caller,
        tool: Tool<I, O>,
        input: I,
    ) -> Result<O, Fault> {
        let arguments = serde_json::to_value(input).unwrap();
        let reply = self.reply(caller, tool.name, arguments).await.unwrap();
        Ok(serde_json::from_str(toolbox::structured(&reply)?.get()).unwrap())
    }

    /// What a client would see of a call: the structured answer (or else the content) as JSON, a refusal's text, or a protocol
    /// error.
    pub(crate) async fn shown(&self, caller: &Caller, tool: &str, arguments: Value) -> String {
        let reply = match self.reply(caller, tool, arguments).await {
            Ok(reply) => reply,
            Err(error) => return error.to_string(),
        };
        let body: Value = serde_json::from_str(reply.body.get()).unwrap();
        if body["isError"] == true {
            return body["content"][0]["text"].as_str().unwrap().to_owned();
        }
        body.get("structuredContent").unwrap_or(&body["content"]).to_string()
    }

    /// One line of a table of cases: calls `tool` as an administrator and compares what a client would see.
    pub(crate) async fn check(&self, tool: &str, arguments: Value, expected: Expect) {
        expected.assert_eq(&self.shown(&admin(), tool, arguments).await);
    }

    /// The same for another caller.
    pub(crate) async fn check_as(&self, caller: &Caller, tool: &str, arguments: Value, expected: Expect) {
        expected.assert_eq(&self.shown(caller, tool, arguments).await);
    }
}

#[tokio::test]
async fn every_call_leaves_a_row_in_the_audit_trail() {
    let bench = Bench::new::<crate::utilities::Utilities>();
    bench.start().await;
    bench
        .check_as(
            &operator("ann"),
            "uuid",
            json!({ "count": 0 }),
            expect_test::expect!["invalid_argument: count is 0 (1 to 1,000)"],
        )
        .await;
    let rows = bench.world.audit.list(kernel::audit::AuditQuery { limit: 10, ..Default::default() }).await.unwrap();
    let row = &rows[0].record;
    assert_eq!((row.caller.as_str(), row.action.as_str(), row.outcome.as_str()), ("ann", "uuid", "invalid_argument"));
    assert_eq!(row.arguments, r#"{"count":0}"#);
}

#[tokio::test]
async fn what_the_fleet_looks_at_by_itself_is_not_recorded_but_what_it_does_or_may_not_do_is() {
    let bench = Bench::new::<crate::monitoring::Monitoring>();
    let itself = Caller::standing("agent:monitoring", Role::Agent("monitoring".into()));
    for (tool, arguments) in
        [("evaluate_rules", json!({})), ("settle_alerts", json!({})), ("query_metrics", json!({ "query": "1 +" }))]
    {
        bench.reply(&itself, tool, arguments).await.unwrap();
    }
    let rows = bench.world.audit.list(kernel::audit::AuditQuery { limit: 10, ..Default::default() }).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.record.action.as_str(), row.record.outcome.as_str())).collect();
    assert_eq!(rows, [("query_metrics", "invalid_argument"), ("settle_alerts", "ok")]);
}

/// A model chooses a tool, and fills in what it takes, by these texts alone.
#[test]
fn every_tool_and_everything_it_takes_is_described() {
    let world = World::default();
    let mut bare = Vec::new();
    for name in crate::NAMES {
        let service = crate::build(
            name,
            &MarketPorts::without_pools(world.ports()),
            &crate::ServersConfig::default(),
            shared(&world),
        )
        .unwrap();
        for def in service.tools() {
            let tool = format!("{name}.{}", def.name);
            jsonschema::validator_for(&def.input).unwrap_or_else(|error| panic!("inputSchema of {tool}: {error}"));
            if def.about.len() < 20 {
                bare.push(tool.clone());
            }
            let fields = def.input["properties"].as_object().into_iter().flatten();
            bare.extend(
                fields.filter(|(_, schema)| !is_described(schema)).map(|(field, _)| format!("{tool}: {field}")),
            );
        }
    }
    assert!(bare.is_empty(), "without a description: {}", bare.join(", "));
}

fn is_described(schema: &Value) -> bool {
    schema["description"].as_str().is_some_and(|text| !text.is_empty()) || schema.get("$ref").is_some()
}
