//! The same servers in one process and behind real HTTP: the same answers, and everything that travels beside them.

use std::net::SocketAddr;

use http::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kernel::fake::FakeFleet;
use kernel::fleet::Instance;
use kernel::{OnEnd, Role, Tasks, Trace};
use mcp::auth::{Gate, Keys};
use mcp::client::http::FleetHost;
use mcp::ctx::{Client, Question};
use mcp::http::{Body, Door, DoorConfig};
use mcp::peer::{Calls, Peer};
use mcp::prelude::*;
use mcp::wire::{Message, Response as Answer};
use mcp::{Revision, Service};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::gateway::{Gateway, Setup};
use crate::selector::Selector;
use crate::testing::{Bench, caller, request, shared, toy};

/// A server that talks while it works.
struct Talker {
    cancelled: Arc<tokio::sync::Notify>,
}

struct TellsWhenDropped(Arc<tokio::sync::Notify>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl McpServer for Talker {
    const NAME: &'static str = "coordination";
    const INSTRUCTIONS: &'static str = "Talks.";
    type Config = Empty;
    type Ports = kernel::Ports;

    fn new(_: &Ports, _: Empty) -> Result<Self, Fault> {
        Err(Fault::unsupported("made by hand"))
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(tool::WHO, |_, _, ctx: Ctx| async move {
            let (name, role) = (ctx.caller.name.clone(), ctx.caller.role.to_string());
            Ok(Who { name, role, trace: ctx.trace.id() })
        });
        set.add(tool::ASK, |_, _, ctx: Ctx| async move {
            let answer = ctx.ask("name", Question::form("who?", json!({ "type": "object" }))).await?;
            Ok(Said { text: answer["content"]["name"].as_str().unwrap_or_default().into() })
        });
        set.add(tool::COUNT, |_, _, ctx: Ctx| async move {
            for step in 1..=3 {
                ctx.progress(f64::from(step), Some(3.0), None).await;
            }
            Ok(Said { text: "three".into() })
        });
        set.add(tool::HANG, |server: Arc<Self>, _, ctx: Ctx| async move {
            let _told = TellsWhenDropped(Arc::clone(&server.cancelled));
            ctx.progress(1.0, None, None).await;
            std::future::pending().await
        });
    }
}

impl Features for Talker {}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Empty {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Who {
    name: String,
    role: String,
    trace: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Said {
    text: String,
}

mod tool {
    use super::*;

    tools! { "coordination";
        /// Tells who calls.
        WHO = "who": fn(Empty) -> Who, Hints::READ;
        /// Asks the client.
        ASK = "ask": fn(Empty) -> Said, Hints::READ;
        /// Reports progress.
        COUNT = "count": fn(Empty) -> Said, Hints::READ;
        /// Waits until it is cancelled.
        HANG = "hang": fn(Empty) -> Said, Hints::READ;
    }
}

/// Nobody has a key: only assertions of the fleet pass.
struct NoKeys;

#[async_trait]
impl Keys for NoKeys {
    async fn caller_of(&self, _: &str) -> Result<Option<Caller>, Fault> {
        Ok(None)
    }
}

use kernel::Caller;

/// A process that serves one service. Stop its tasks to kill it.
async fn process(service: Arc<Service>, shared: &mcp::service::Shared, tasks: &Tasks) -> Instance {
    let gate = Gate::new(Arc::new(NoKeys), shared.sealer.clone());
    let config = DoorConfig::new(Arc::new(gate), shared.sealer.clone(), tasks.child(), shared.clock.clone());
    let door = Arc::new(Door::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (name, stopping, owner) = (service.name, tasks.stopping(), tasks.clone());
    tasks.spawn("listener", OnEnd::Done, async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => break,
            };
            let (stream, remote) = accepted.unwrap();
            let (door, service, stopping) = (Arc::clone(&door), Arc::clone(&service), owner.stopping());
            owner.spawn("connection", OnEnd::Done, async move {
                let answer = service_fn(|request| answer(&door, &service, request, remote));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::select! {
                    _ = connection => {}
                    () = stopping.cancelled() => {}
                }
            });
        }
    });
    let url = format!("http://{address}");
    let started = FakeFleet::server(name, &url, 0);
    Instance {
        id: format!("{name}-{}", address.port()),
        process: "elsewhere".into(),
        version: "0.0.0-test".into(),
        ..started
    }
}

async fn answer(
    door: &Door,
    service: &Arc<Service>,
    request: http::Request<hyper::body::Incoming>,
    remote: SocketAddr,
) -> Result<Response<Body>, std::convert::Infallible> {
    if request.uri().path() == "/health" {
        let report = serde_json::to_string(&service.health().await).unwrap();
        return Ok(Response::new(Body::Whole(report.into())));
    }
    Ok(door.serve(Arc::clone(service) as Arc<dyn Handler>, request, remote).await)
}

/// The talker and a toy behind a gateway: in its process, or each in its own.
struct Fleet {
    bench: Bench,
    processes: Tasks,
    cancelled: Arc<tokio::sync::Notify>,
}

impl Fleet {
    async fn new(one_process: bool) -> Self {
        let world = kernel::fake::World::default();
        let all = shared(&world);
        let setup = Setup {
            config: crate::Config::default(),
            ports: world.ports(),
            shared: all.clone(),
            mode: "test".into(),
            expected: Vec::new(),
            process: "here".into(),
            reach: Arc::new(OverHttp::new(all.sealer.clone(), "0.0.0-test")),
            settings: Vec::new(),
        };
        let cancelled = Arc::new(tokio::sync::Notify::new());
        let talker = Service::of(Arc::new(Talker { cancelled: Arc::clone(&cancelled) }), all.clone());
        let fleet = Self { bench: Bench { gateway: Gateway::new(setup), world }, processes: Tasks::new(), cancelled };
        let gateway = &fleet.bench.gateway;
        for service in [talker, toy(0, all.clone())] {
            if one_process {
                gateway.add_local(service);
            } else {
                fleet.bench.world.fleet.set(process(service, &all, &fleet.processes).await);
            }
        }
        gateway.set_instances(fleet.bench.world.ports().fleet.instances().await.unwrap());
        while fleet.bench.tools(Selector::All, Role::Admin).await.len() < 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fleet
    }

    async fn ask(&self, selector: Selector, method: &str, params: Value, ctx: Ctx) -> Value {
        match request(&*self.bench.handler(selector), method, params, ctx).await {
            Ok(reply) => {
                let (kind, cache) = (reply.kind.as_str(), reply.cache.map(|cache| cache.ttl_ms));
                let mut body: Value = serde_json::from_str(reply.body.get()).unwrap();
                // Sealed with a fresh nonce each time.
                if let Some(state) = body.get_mut("requestState") {
                    *state = "sealed".into();
                }
                json!({ "kind": kind, "cache": cache, "dressed": reply.dressed, "body": body })
            }
            Err(error) => json!(error),
        }
    }

    async fn call(&self, tool: &str, ctx: Ctx) -> Value {
        self.ask(Selector::All, "tools/call", json!({ "name": format!("coordination__{tool}"), "arguments": {} }), ctx)
            .await
    }
}

fn ctx(role: Role) -> Ctx {
    Ctx::internal(caller(role), Trace { trace_id: 7, span_id: 8, parent_id: 0 })
}

#[tokio::test]
async fn one_process_and_several_give_the_same() {
    let (near, far) = (Fleet::new(true).await, Fleet::new(false).await);
    let one = |name: &str| Selector::One(name.into());
    for (selector, method, params) in [
        (Selector::All, "tools/list", json!({})),
        (one("utilities"), "tools/list", json!({})),
        (one("utilities"), "prompts/list", json!({})),
        (Selector::All, "resources/list", json!({})),
        (Selector::Toolset("helpers".into()), "tools/list", json!({})),
        (Selector::All, "tools/call", json!({ "name": "utilities__echo", "arguments": { "text": "é\u{1f600}\"" } })),
        (Selector::All, "tools/call", json!({ "name": "utilities__echo", "arguments": { "text": 1 } })),
        (Selector::All, "tools/call", json!({ "name": "utilities__trust", "arguments": {} })),
        (one("utilities"), "tools/call", json!({ "name": "echo", "arguments": { "text": "x" } })),
        (Selector::All, "tools/call", json!({ "name": "coordination__who", "arguments": {} })),
        (Selector::All, "tools/call", json!({ "name": "coordination__nothing", "arguments": {} })),
        (Selector::All, "resources/read", json!({ "uri": "utilities+loose://x" })),
        (one("utilities"), "resources/read", json!({ "uri": "box://utilities/3" })),
        (one("utilities"), "resources/read", json!({ "uri": "nothing://x" })),
        (Selector::All, "prompts/get", json!({ "name": "utilities__greet", "arguments": { "who": "bob" } })),
        (Selector::All, "nonsense/method", json!({})),
    ] {
        for revision in [Revision::CURRENT, Revision::V2025_06_18] {
            let ctx = || Ctx { revision, ..ctx(Role::Operator) };
            let want = near.ask(selector.clone(), method, params.clone(), ctx()).await;
            let got = far.ask(selector.clone(), method, params.clone(), ctx()).await;
            assert_eq!(got, want, "{method} {params} {revision}");
        }
    }
    assert_eq!(far.bench.trail().await, near.bench.trail().await, "each call left one row");
    for fleet in [&near, &far] {
        let identity = fleet.bench.handler(one("coordination")).identity();
        assert_eq!(identity.instructions.as_deref(), Some("Talks."));
        let detail = fleet.bench.gateway.service(kernel::fleet::Kind::Server, "utilities").await.unwrap();
        assert_eq!((detail.row.status, detail.checks.len()), (kernel::health::Status::Healthy, 0));
    }
}

#[tokio::test]
async fn caller_and_trace_go_along() {
    let far = Fleet::new(false).await;
    let answer = far.call("who", ctx(Role::Agent("risk".into()))).await;
    assert_eq!(
        answer["body"]["structuredContent"],
        json!({ "name": "ann", "role": "agent:risk", "trace": format!("{:032x}", 7) })
    );
}

#[tokio::test]
async fn questions_reach_the_client_in_its_own_revision() {
    for one_process in [true, false] {
        let fleet = Fleet::new(one_process).await;
        let client = Arc::new(Client { capabilities: json!({ "elicitation": {} }), info: json!({ "name": "c" }) });

        // Today's client gets the question as the answer, and comes again with what the user said.
        let now = Ctx { client: Arc::clone(&client), ..ctx(Role::Viewer) };
        let handler = fleet.bench.handler(Selector::All);
        let call = json!({ "name": "coordination__ask", "arguments": {} });
        let asked = request(&*handler, "tools/call", call.clone(), now.clone()).await.unwrap();
        assert_eq!(asked.kind, mcp::reply::ResultType::InputRequired);
        let asked: Value = serde_json::from_str(asked.body.get()).unwrap();
        let mut retry = call.clone();
        retry["requestState"] = asked["requestState"].clone();
        retry["inputResponses"] = json!({ "name": { "action": "accept", "content": { "name": "bob" } } });
        let answer = request(&*handler, "tools/call", retry, now).await.unwrap();
        assert!(answer.body.get().contains("\"bob\""), "{}", answer.body);

        // An older client is asked while it waits.
        let (out, mut messages) = mpsc::channel(8);
        let calls = Arc::new(Calls::default());
        let peer = Peer::with_calls(out, Arc::clone(&calls));
        let then = Ctx { revision: Revision::V2025_06_18, client, peer, ..ctx(Role::Viewer) };
        let answering = async {
            let text = messages.recv().await.unwrap();
            let Ok(Message::Request(question)) = Message::parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(question.method, "elicitation/create");
            let outcome = Ok(mcp::wire::raw(&json!({ "action": "accept", "content": { "name": "eve" } })));
            assert!(calls.answered(Answer { id: Some(question.id), outcome }));
        };
        let (answer, ()) = tokio::join!(request(&*handler, "tools/call", call, then), answering);
        assert!(answer.unwrap().body.get().contains("\"eve\""));
    }
}

#[tokio::test]
async fn progress_comes_back_and_cancelling_goes_there() {
    for one_process in [true, false] {
        let fleet = Fleet::new(one_process).await;
        let (out, mut messages) = mpsc::channel(8);
        let watched =
            |token: &str| Ctx { peer: Peer::new(out.clone()), progress_token: Some(json!(token)), ..ctx(Role::Viewer) };
        fleet.call("count", watched("a")).await;
        for step in 1..=3 {
            let told: Value = serde_json::from_str(&messages.recv().await.unwrap()).unwrap();
            assert_eq!(
                (&told["params"]["progressToken"], &told["params"]["progress"]),
                (&json!("a"), &json!(f64::from(step)))
            );
        }
        let hanging = watched("b");
        let cancel = hanging.cancel.clone();
        let calling = fleet.call("hang", hanging);
        let cancelling = async {
            messages.recv().await.unwrap();
            cancel.cancel();
            fleet.cancelled.notified().await;
        };
        let (answer, ()) = tokio::join!(calling, cancelling);
        assert_eq!(answer["body"]["_meta"]["flotilla/error"]["code"], "cancelled", "{answer}");
    }
}

#[tokio::test]
async fn a_process_that_is_gone_is_a_clear_refusal() {
    let far = Fleet::new(false).await;
    far.processes.drain(Duration::from_secs(5)).await;
    let answer = far.call("who", ctx(Role::Viewer)).await;
    assert_eq!(answer["body"]["_meta"]["flotilla/error"]["code"], "unavailable", "{answer}");
    assert_eq!(far.bench.trail().await, ["coordination.who unavailable"]);
}

#[tokio::test]
async fn only_the_fleet_gets_in() {
    let world = kernel::fake::World::default();
    let (all, tasks) = (shared(&world), Tasks::new());
    let instance = process(toy(0, all.clone()), &all, &tasks).await;
    let stranger = mcp::seal::Sealer::new(&[8; 32], world.clock.clone());
    let host = FleetHost::of(&instance, stranger, mcp::client::AboutUs::new("0"), tasks.clone()).unwrap();
    let request =
        Request { id: mcp::wire::Id::Number(1), method: "tools/list".into(), params: mcp::wire::Params::default() };
    let error = mcp::Link::request(&*host.link().unwrap(), &request, &ctx(Role::Admin)).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
}
