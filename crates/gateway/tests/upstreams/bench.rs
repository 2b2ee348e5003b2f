//! A gateway on a world of fakes, with real processes behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::gateway::{Config, Gateway, Setup};
use gateway::remote::OverHttp;
use gateway::upstream::{Secrets, Upstream, UpstreamSpec, Upstreams};
use kernel::fake::World;
use kernel::{Caller, Fault, Role, Secret, Trace};
use mcp::phases::{Direct, LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::Shared;
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Handler, Reply, Revision, RpcError};
use serde_json::{Value, json};

pub(crate) struct Bench {
    pub(crate) world: World,
    /// Kept alive: the upstreams do not own it.
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) folder: tempfile::TempDir,
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &str) -> Result<Secret, Fault> {
        Err(Fault::not_configured(format!("{reference}: nothing there")))
    }
}

pub(crate) fn admin() -> Caller {
    Caller::new("root", Role::Admin)
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::on(World::default()).await
    }

    /// A gateway of its own on a world that others may share.
    pub(crate) async fn on(world: World) -> Self {
        let trail = Arc::new(Direct(world.audit.clone()));
        let shared = Shared {
            phases: Phases::new(world.clock.clone(), world.metrics.clone(), trail, LimitsConfig::default()),
            sealer: Sealer::new(&[7; 32], world.clock.clone()),
            clock: world.clock.clone(),
            version: "0.0.0-test",
            tasks: None,
        };
        let gateway = Gateway::new(Setup {
            config: Config::default(),
            ports: world.ports(),
            shared,
            mode: "test".into(),
            expected: Vec::new(),
            process: "here".into(),
            reach: Arc::new(OverHttp::new(Sealer::new(&[7; 32], world.clock.clone()), "0.0.0-test")),
            settings: Vec::new(),
        });
        // What the binary would read from its own environment.
        let inherited = BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]);
        let upstreams = Upstreams::start(&gateway, &world.ports(), Arc::new(NoSecrets), inherited).await.unwrap();
        Self { world, gateway, upstreams, folder: tempfile::tempdir().unwrap() }
    }

    /// Adds the misbehaving server in a mode, under its mode's name.
    pub(crate) async fn add(&self, mode: &str) -> Arc<Upstream> {
        self.add_with(mode, json!({})).await
    }

    pub(crate) async fn add_with(&self, mode: &str, more: Value) -> Arc<Upstream> {
        let upstream = self.upstreams.add(self.spec(mode, more), &admin()).await.unwrap();
        upstream.settled(Duration::from_secs(10)).await;
        upstream
    }

    pub(crate) fn spec(&self, mode: &str, more: Value) -> UpstreamSpec {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/upstreams/server.py");
        let mut spec = json!({ "name": mode, "command": "python3", "args": [script, mode, self.state(mode)] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    /// The file a server of this mode shares with its test.
    pub(crate) fn state(&self, mode: &str) -> String {
        self.folder.path().join(mode).to_string_lossy().into_owned()
    }

    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let events = kernel::bus::Bus::read(&*self.world.bus, "fleet", 0, 1_000).await.unwrap();
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.data).collect()
    }

    pub(crate) async fn stop(self) {
        self.world.tasks.drain(Duration::from_secs(20)).await;
    }
}

/// A context of a client of the current revision.
pub(crate) fn ctx() -> Ctx {
    let mut ctx = Ctx::internal(Caller::new("ann", Role::Operator), Trace::root());
    ctx.revision = Revision::CURRENT;
    ctx
}

pub(crate) async fn ask(handler: &dyn Handler, method: &str, params: Value, ctx: Ctx) -> Result<Reply, RpcError> {
    let request = Request { id: Id::Number(1), method: method.into(), params: Params::of(&params).unwrap() };
    handler.handle(request, ctx).await
}

/// What a tool says, or the stable code of its refusal.
pub(crate) async fn call(handler: &dyn Handler, tool: &str, arguments: Value, ctx: Ctx) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    match ask(handler, "tools/call", params, ctx).await {
        Ok(reply) => {
            let body: Value = serde_json::from_str(reply.body.get()).unwrap();
            let refused = body["_meta"]["flotilla/error"]["code"].as_str().map(|code| format!("refused: {code}"));
            refused.unwrap_or_else(|| body["content"][0]["text"].as_str().unwrap_or_default().to_owned())
        }
        Err(error) => format!("error {}", error.code),
    }
}

/// A call that goes on while the test does something else.
#[expect(clippy::disallowed_methods, reason = "the test itself owns the task and waits for its end")]
pub(crate) fn aside(
    up: &Arc<Upstream>,
    tool: &'static str,
    arguments: Value,
    ctx: Ctx,
) -> tokio::task::JoinHandle<String> {
    let up = Arc::clone(up);
    tokio::spawn(async move { call(&*up, tool, arguments, ctx).await })
}

/// Waits for `what` to become true. Gives up, with a message, long before a test runner would.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(110), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether a process is there.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; only its parent has not looked yet.
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Processes whose parent this one is, zombies among them.
pub(crate) fn children() -> usize {
    let us = std::process::id().to_string();
    let is_ours = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in brackets come the state and the parent.
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&us)
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)).count()
}
