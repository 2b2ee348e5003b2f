//! A server to be a client of, and a listener in front of it that can pretend to be older than it is.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kernel::audit::Record;
use kernel::fake::World;
use kernel::logs::Level;
use kernel::metrics::Metrics;
use kernel::{Caller, Clock, Fault, OnEnd, Ports, Role, Tasks, Trace};
use mcp::auth::Anonymous;
use mcp::client::AboutUs;
use mcp::client::http::{HttpServer, Target};
use mcp::ctx::{Client, Question};
use mcp::http::sse2024::SseDoor;
use mcp::http::{Body, Door, DoorConfig};
use mcp::peer::Peer;
use mcp::phases::{LimitsConfig, Phases, Trail};
use mcp::seal::Sealer;
use mcp::service::{Service, Shared};
use mcp::wire::{Id, Message, Params, Request};
use mcp::{Ctx, Features, Handler, Hints, Link, McpServer, Outcome, Reply, Tool, ToolSet};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What the server pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Itself: every revision of Streamable HTTP.
    All,
    /// One that knows nothing of the current revision.
    Sessions,
    /// One that only has the transport of 2024-11-05.
    Old,
    /// One that knows the current revision and no other.
    Current,
}

pub(crate) struct Shop {
    pub(crate) cancelled: Arc<AtomicBool>,
}

const SAY: Tool<Value, ()> = Tool::new("shop", "say", "says it", Hints::READ);
const COUNT: Tool<Value, ()> = Tool::new("shop", "count", "counts to three", Hints::READ);
const HANG: Tool<Value, ()> = Tool::new("shop", "hang", "hangs until it is cancelled", Hints::READ);
const ASK: Tool<Value, ()> = Tool::new("shop", "ask", "asks for a name, then for an age", Hints::READ);
const WHERE: Tool<Value, ()> = Tool::new("shop", "where", "has a mirrored argument", Hints::READ);
const LOG: Tool<Value, ()> = Tool::new("shop", "log", "logs", Hints::READ);
const REST: Tool<Value, ()> = Tool::new("shop", "rest", "lets its connection go and answers later", Hints::READ);

/// Says so when the call it belongs to ends.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn text(text: impl Into<String>) -> Result<Outcome, mcp::ToolError> {
    Ok(Outcome::contents(&[mcp::Content::text(text)]))
}

impl McpServer for Shop {
    const NAME: &'static str = "shop";
    const INSTRUCTIONS: &'static str = "A shop.";
    type Config = ();
    type Ports = kernel::Ports;

    fn new(_ports: &Ports, _config: ()) -> Result<Self, Fault> {
        Ok(Self { cancelled: Arc::default() })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add_content(SAY, |_, input: Value, _| async move { text(input["text"].as_str().unwrap_or_default()) });
        set.add_content(COUNT, |_, _: Value, ctx| async move {
            for n in 1..=3 {
                ctx.progress(f64::from(n), Some(3.0), None).await;
            }
            text("three")
        });
        set.add_content(HANG, |server, _: Value, ctx| async move {
            let _ended = Ended(Arc::clone(&server.cancelled));
            ctx.progress(1.0, None, None).await;
            std::future::pending().await
        });
        set.add_content(ASK, |_, _: Value, ctx| async move {
            let ask = async |key: &str| ctx.ask(key, Question::form(key, json!({ "type": "object" }))).await;
            let (name, age) = (ask("name").await?, ask("age").await?);
            text(format!("{} {}", name["content"]["value"], age["content"]["value"]))
        });
        set.add_content(WHERE, |_, input: Value, _| async move { text(input["region"].as_str().unwrap_or("nowhere")) });
        set.adjust(|def| {
            let region = json!({ "type": "string", "x-mcp-header": "Region" });
            def.input = json!({ "type": "object", "properties": { "region": region } });
        });
        set.add_content(LOG, |_, _: Value, ctx| async move {
            for level in [Level::Debug, Level::Warn] {
                ctx.log(level, "shop", &json!({ "at": level.as_str() })).await;
            }
            text("logged")
        });
        set.add_content(REST, |_, _: Value, ctx| async move {
            ctx.progress(1.0, None, None).await;
            ctx.peer.let_go();
            tokio::time::sleep(Duration::from_millis(50)).await;
            text("rested")
        });
    }
}

impl Features for Shop {}

struct NoTrail;

#[async_trait]
impl Trail for NoTrail {
    async fn record(&self, _record: Record) -> Result<(), Fault> {
        Ok(())
    }
}

/// Any free port of this machine.
pub(crate) const ANY: &str = "127.0.0.1:0";

pub(crate) struct Bench {
    pub(crate) url: String,
    pub(crate) tasks: Tasks,
    pub(crate) service: Arc<Service>,
    pub(crate) cancelled: Arc<AtomicBool>,
    front: Arc<Front>,
}

pub(crate) struct Front {
    era: Era,
    door: Mutex<Arc<Door>>,
    old: SseDoor,
    handler: Arc<dyn Handler>,
    /// Header lines of requests, as they came.
    seen: Mutex<Vec<String>>,
}

fn config(tasks: &Tasks, key: u8) -> DoorConfig {
    let clock = Clock::system();
    let auth = Arc::new(Anonymous::on(Ipv4Addr::LOCALHOST.into(), Role::Operator).unwrap());
    DoorConfig::new(auth, Sealer::new(&[key; 32], clock.clone()), tasks.clone(), clock)
}

impl Bench {
    pub(crate) async fn new(era: Era) -> Self {
        Self::at(ANY, era).await
    }

    /// At an address of the test's choice.
    pub(crate) async fn at(address: &str, era: Era) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let shared = Shared {
            phases: Phases::new(clock.clone(), Metrics::default(), Arc::new(NoTrail), LimitsConfig::default()),
            sealer: Sealer::new(&[5; 32], clock.clone()),
            clock,
            version: "1",
            tasks: None,
        };
        let shop = Arc::new(Shop::new(&World::default().ports(), ()).unwrap());
        let cancelled = Arc::clone(&shop.cancelled);
        let service = Service::of(shop, shared);
        let (url, front) = serve(address, Arc::clone(&service) as _, era, &tasks).await;
        Self { url, tasks, service, cancelled, front }
    }

    pub(crate) fn target(&self) -> Target {
        target(&self.url)
    }

    pub(crate) async fn probe(&self) -> HttpServer {
        HttpServer::probe(&self.target(), AboutUs::new("test"), self.tasks.child()).await.unwrap()
    }

    /// Forgets every session, as a server does that was started anew.
    pub(crate) fn forget(&self) {
        *self.front.door.lock() = Arc::new(Door::new(config(&self.tasks, 2)));
    }

    /// Closes the listener and every connection.
    pub(crate) async fn close(self) {
        assert_eq!(self.tasks.drain(Duration::from_secs(10)).await, 0);
    }

    /// Requests seen so far, as `METHOD mcp-method`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.front.seen.lock().clone()
    }
}

/// Serves a handler as one of an era. Returns its address.
pub(crate) async fn serve(address: &str, handler: Arc<dyn Handler>, era: Era, tasks: &Tasks) -> (String, Arc<Front>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (door, old) = (Mutex::new(Arc::new(Door::new(config(tasks, 1)))), SseDoor::new(config(tasks, 1)));
    let front = Arc::new(Front { era, door, old, handler, seen: Mutex::default() });
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tasks.spawn("listener", OnEnd::Done, listen(listener, Arc::clone(&front), tasks.clone()));
    (url, front)
}

pub(crate) fn target(url: &str) -> Target {
    let timeout = Duration::from_secs(5);
    Target {
        url: url.parse().unwrap(),
        headers: http::HeaderMap::new(),
        allow_private: true,
        timeout,
        credentials: None,
    }
}

async fn listen(listener: TcpListener, front: Arc<Front>, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let Ok((stream, remote)) = accepted else { continue };
        stream.set_nodelay(true).unwrap();
        let (front, stopping) = (Arc::clone(&front), stopping.clone());
        tasks.spawn("connection", OnEnd::Done, async move {
            let service = service_fn(|request| front.answer(request, remote));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // An error is a client that left.
                _ = connection => {}
                () = stopping.cancelled() => {}
            }
        });
    }
}

impl Front {
    async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
        remote: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let header =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        let line = format!("{} {} {}", request.method(), header("mcp-method"), header("mcp-param-region"));
        self.seen.lock().push(line);
        let plain = |status: StatusCode| {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = status;
            response
        };
        let handler = Arc::clone(&self.handler);
        Ok(match (self.era, request.method()) {
            (Era::Sessions, _) if request.headers().contains_key("mcp-method") => plain(StatusCode::BAD_REQUEST),
            (Era::Current, _) if !request.headers().contains_key("mcp-method") => plain(StatusCode::BAD_REQUEST),
            (Era::Old, &Method::POST) if request.uri().path() == "/mcp" => plain(StatusCode::METHOD_NOT_ALLOWED),
            (Era::Old, _) => self.old.serve(handler, request, remote, "/messages").await,
            _ => {
                let door = Arc::clone(&*self.door.lock());
                door.serve(handler, request, remote).await
            }
        })
    }
}

/// A request for a tool.
pub(crate) fn calling(tool: &str, arguments: Value) -> Request {
    let params = Params::of(&json!({ "name": tool, "arguments": arguments })).unwrap();
    Request { id: Id::Number(9), method: "tools/call".into(), params }
}

pub(crate) fn ctx() -> Ctx {
    Ctx::internal(Caller::new("ann", Role::Operator), Trace::root())
}

/// A context whose client takes what is said on the way.
pub(crate) fn listening() -> (Ctx, mpsc::Receiver<String>) {
    let (out, said) = mpsc::channel(64);
    let ctx = Ctx { peer: Peer::new(out), progress_token: Some(json!("mine")), ..ctx() };
    (ctx, said)
}

/// A client that can be asked, and answers every form with its message as the value.
pub(crate) fn answering(tasks: &Tasks) -> (Peer, Arc<Client>) {
    let (out, mut said) = mpsc::channel::<String>(64);
    let calls: Arc<mcp::peer::Calls> = Arc::default();
    let answers = Arc::clone(&calls);
    tasks.spawn("client", OnEnd::Done, async move {
        while let Some(text) = said.recv().await {
            let Ok(Message::Request(asked)) = Message::parse(text.as_bytes()) else { continue };
            let message: Value = asked.params.read::<Value>().unwrap()["message"].take();
            let result = mcp::wire::raw(&json!({ "action": "accept", "content": { "value": message } }));
            answers.answered(mcp::wire::Response { id: Some(asked.id), outcome: Ok(result) });
        }
    });
    let client = Client { capabilities: json!({ "elicitation": {} }), info: json!({ "name": "c", "version": "1" }) };
    (Peer::with_calls(out, calls), Arc::new(client))
}

/// What a tool says.
pub(crate) async fn call(link: &dyn Link, tool: &str, arguments: Value, ctx: &Ctx) -> String {
    match link.request(&calling(tool, arguments), ctx).await {
        Ok(reply) => said(&reply),
        Err(error) => format!("error: {error}"),
    }
}

pub(crate) fn said(reply: &Reply) -> String {
    let body: Value = serde_json::from_str(reply.body.get()).unwrap();
    body["content"][0]["text"].as_str().map_or_else(|| body.to_string(), ToOwned::to_owned)
}

pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
