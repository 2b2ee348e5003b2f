//! A2A v1 on an agent's port: its card, and its JSON-RPC endpoint with answers that are whole or come as events.
//!
//! Each call goes through the phases of every call of the fleet (limits, time, metrics, a row of the audit trail, as `agent:NAME` and the method); what
//! a method means is [`flow::a2a`]'s affair. A stream that breaks off is taken up again with `SubscribeToTask`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use flow::a2a::{Answer, CALL_TIME, Desk, Refusal, VERSION_HEADER};
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use kernel::limits::{JSON_DEPTH_MAX, check_json_depth};
use kernel::queue::Task;
use kernel::{Access, Caller, Fault, Tasks, Trace};
use mcp::Ctx;
use mcp::http::Door;
use mcp::phases::{CallSpec, Phases};
use mcp::reply::Outcome;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::access::{Guard, known_hosts};
use crate::problem::Problem;

/// Where the endpoint is.
pub const PATH: &str = "/a2a";
/// How long a stream goes on at most.
const STREAM_TIME: Duration = Duration::from_secs(3_600);
/// How long a stream looks for a change before it looks whether anybody listens.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// How often a quiet stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Most streams of one agent in this process.
const STREAMS_MAX: usize = 256;

/// What an agent's A2A doors stand on.
#[derive(Clone)]
pub struct AgentDoors {
    desk: Desk,
    /// `agent:NAME`, for the audit trail and the metrics.
    label: Arc<str>,
    about: &'static str,
    version: &'static str,
    url: Arc<str>,
    guard: Guard,
    door: Arc<Door>,
    phases: Phases,
    tasks: Tasks,
    streams: Arc<Semaphore>,
}

/// What they are made of.
pub struct Parts {
    /// What the methods mean.
    pub desk: Desk,
    /// The agent's name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The binary's version.
    pub version: &'static str,
    /// Where the agent answers, without a path.
    pub url: String,
    /// Checks callers.
    pub guard: Guard,
    /// Knows the hosts that are ours.
    pub door: Arc<Door>,
    /// What every call goes through.
    pub phases: Phases,
    /// Stops streams when the process stops.
    pub tasks: Tasks,
}

impl AgentDoors {
    /// The doors of an agent.
    pub fn new(parts: Parts) -> Self {
        let Parts { desk, name, about, version, url, guard, door, phases, tasks } = parts;
        let (label, url) = (format!("{}{name}", kernel::catalog::AGENT).into(), format!("{url}{PATH}").into());
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self { desk, label, about, version, url, guard, door, phases, tasks, streams }
    }
}

/// The routes, to be put among those of the agent's port.
pub fn routes(doors: AgentDoors) -> Router {
    Router::new()
        .route("/.well-known/agent-card.json", get(card))
        .route(PATH, post(endpoint))
        .layer(from_fn_with_state(Arc::clone(&doors.door), known_hosts))
        .with_state(doors)
}

async fn card(
    State(doors): State<AgentDoors>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    doors.guard.admit(&headers, remote, Access::Read, "agent card").await?;
    Ok(axum::Json(doors.desk.card(&doors.url, doors.version, doors.about).await?).into_response())
}

async fn endpoint(
    State(doors): State<AgentDoors>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    // Not even reading is open here: what is said is said by somebody.
    let caller = doors.guard.known(&headers, remote).await?;
    let (id, asked) = match read(&headers, &body) {
        Ok(asked) => asked,
        Err(early) => return Ok(refused(&early.0, &early.1)),
    };
    let ended = doors.call(&asked, caller).await;
    Ok(match ended {
        Ok(Answer::Whole(result)) => whole(&id, &result),
        Ok(Answer::Follow(task)) => match Arc::clone(&doors.streams).try_acquire_owned() {
            Ok(permit) => doors.stream(id, *task, permit),
            Err(_) => {
                let many = Fault::new(kernel::Code::RateLimited, format!("{STREAMS_MAX} streams are open"));
                refused(&id, &many.hint("the task goes on: GetTask tells how it stands").into())
            }
        },
        Err(refusal) => refused(&id, &refusal),
    })
}

/// A request of the protocol.
struct Asked {
    method: String,
    params: Value,
}

/// Reads a request; the id is for whom the answer is, as far as one could be read.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Value, Asked), Box<(Value, Refusal)>> {
    let fail = |id: Value, refusal: Refusal| Box::new((id, refusal));
    check_json_depth(body, JSON_DEPTH_MAX).map_err(|fault| fail(Value::Null, Refusal::no_request(fault)))?;
    let no_request =
        || Fault::invalid("the body is no JSON-RPC 2.0 request").hint("{jsonrpc: \"2.0\", id, method, params}");
    let mut request: Value = serde_json::from_slice(body).map_err(|error| {
        fail(Value::Null, Refusal::not_json(Fault::invalid(format!("the body is no JSON: {error}"))))
    })?;
    if !request.is_object() {
        return Err(fail(Value::Null, Refusal::no_request(no_request())));
    }
    let id = request["id"].take();
    let id = if matches!(id, Value::String(_) | Value::Number(_)) { id } else { Value::Null };
    let method = request["method"].as_str().map(str::to_owned);
    let (Some(method), true) = (method, request["jsonrpc"] == "2.0" && !id.is_null()) else {
        return Err(fail(id, Refusal::no_request(no_request())));
    };
    if let Some(said) = headers.get(VERSION_HEADER) {
        let said = said.to_str().unwrap_or("?");
        if !["", "1", flow::a2a::VERSION].contains(&said) {
            return Err(fail(id, Refusal::version(said)));
        }
    }
    let params = match request["params"].take() {
        Value::Null => json!({}),
        params => params,
    };
    Ok((id, Asked { method, params }))
}

impl AgentDoors {
    /// Does what is asked, as a call of the fleet.
    async fn call(&self, asked: &Asked, caller: Caller) -> Result<Answer, Refusal> {
        let ctx = Ctx::internal(caller, Trace::root());
        let spec =
            CallSpec { server: &self.label, tool: name_of(&asked.method), access: Access::Read, time: CALL_TIME };
        let arguments: Box<RawValue> = mcp::wire::raw(&asked.params);
        let work = self.desk.call(&asked.method, asked.params.clone(), &ctx.caller);
        let shown = |answer: &Answer| match answer {
            Answer::Whole(result) => Outcome::typed(result),
            Answer::Follow(task) => Outcome::typed(&json!({ "task": task.id })),
        };
        let refused = |refusal: &Refusal| refusal.fault.clone();
        self.phases.around(&spec, Some(&arguments), &ctx, work, (shown, refused)).await
    }

    /// The task as it stands, and its changes until it ends.
    fn stream(&self, id: Value, task: Task, permit: OwnedSemaphorePermit) -> Response {
        let stopping = self.tasks.stopping().cancelled_owned();
        let first = stream::iter([event(&id, &flow::a2a::first(&task))]);
        let until = Instant::now() + STREAM_TIME;
        let going = (!task.state.is_ended()).then(|| (self.desk.clone(), task, permit));
        let changes = stream::unfold((going, id), move |(going, id)| async move {
            let (desk, before, permit) = going?;
            let next = next(&desk, &before, until).await?;
            let events: Vec<_> = flow::a2a::updates(&next).iter().map(|update| event(&id, update)).collect();
            let going = (!next.state.is_ended()).then_some((desk, next, permit));
            Some((stream::iter(events), (going, id)))
        });
        let events = first.chain(changes.flatten()).take_until(stopping);
        Sse::new(boxed(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }
}

fn boxed(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>> {
    Box::pin(events)
}

/// The next change; none when the stream has gone on for long enough, or nothing can be read.
async fn next(desk: &Desk, before: &Task, until: Instant) -> Option<Task> {
    while Instant::now() < until {
        match desk.changed(before, (Instant::now() + LOOK_TIME).min(until)).await {
            Ok(task) if flow::a2a::differs(before, &task) => return Some(task),
            Ok(_) => {}
            Err(fault) => {
                tracing::warn!(%fault, task = %before.id, "a stream of a task ends");
                return None;
            }
        }
    }
    None
}

/// The method's name, for the trail and the metrics: nothing that a client made up.
fn name_of(method: &str) -> &str {
    if flow::a2a::is_method(method) { method } else { "unknown" }
}

fn event(id: &Value, result: &impl serde::Serialize) -> Result<Event, Infallible> {
    Ok(Event::default().data(json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()))
}

fn whole(id: &Value, result: &Value) -> Response {
    axum::Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
}

fn refused(id: &Value, refusal: &Refusal) -> Response {
    axum::Json(json!({ "jsonrpc": "2.0", "id": id, "error": refusal.on_the_wire() })).into_response()
}
