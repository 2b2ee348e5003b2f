//! The coordinator's REST doors on port 4000.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use flow::remote::Workers;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, header};
use kernel::bus::{Bus, FLEET_TOPIC};
use kernel::fleet::Kind;
use kernel::{Access, Caller, Fault, Secret};
use mcp::Handler;
use mcp::http::Door;
use serde::Deserialize;
use serde_json::Value;

use crate::access::{Guard, known_hosts};
use crate::dashboard::links::Links;
use crate::problem::Problem;
use crate::service::{ServiceDoors, health_routes};

/// What the REST doors ask of the fleet. Implemented in the binary over the gateway.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// `GET /status`.
    async fn status(&self) -> Result<Value, Fault>;
    /// `GET /servers`.
    async fn servers(&self) -> Result<Value, Fault>;
    /// `GET /agents`.
    async fn agents(&self) -> Result<Value, Fault>;
    /// `GET /upstreams`.
    async fn upstreams(&self) -> Result<Value, Fault>;
    /// `POST /command`: an answer per target.
    async fn command(&self, body: Value, caller: Caller) -> Result<Value, Fault>;
    /// `POST /servers/{name}/restart` and `POST /agents/{name}/restart`.
    async fn restart(&self, kind: Kind, name: &str, reason: &str, caller: Caller) -> Result<Value, Fault>;
    /// `POST /agents/{name}/tasks`.
    async fn submit_task(&self, agent: &str, body: Value, caller: Caller) -> Result<Value, Fault>;
    /// `GET /tasks/{name}`.
    async fn task(&self, id: &str, caller: Caller) -> Result<Value, Fault>;
    /// The MCP handler of an endpoint: all, one server or upstream, a toolset, or search mode.
    fn endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Handler>, Fault>;
    /// JSON Schemas of the answers above, by path, for the OpenAPI document.
    fn schemas(&self) -> HashMap<&'static str, Value>;
}

/// Which part of the fleet an MCP endpoint shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// `/mcp/{server}`.
    pub server: Option<String>,
    /// `?toolset=NAME`.
    pub toolset: Option<String>,
    /// `?mode=search`.
    pub mode: Option<String>,
}

/// What the doors stand on.
#[derive(Clone)]
pub struct Doors {
    /// The fleet.
    pub coordinator: Arc<dyn Coordinator>,
    /// Speaks MCP.
    pub door: Arc<Door>,
    /// Checks callers.
    pub guard: Guard,
    /// The coordinator's own health, metrics and v1 doors.
    pub service: ServiceDoors,
    /// Events.
    pub bus: Arc<dyn Bus>,
    /// Workers in other programs.
    pub workers: Workers,
    /// One-time links to the dashboard.
    pub links: Links,
}

/// All routes of port 4000.
pub fn routes(doors: Doors) -> Router {
    let rest = Router::new()
        .route("/", get(index))
        .route("/status", get(status))
        .route("/servers", get(servers))
        .route("/agents", get(agents))
        .route("/upstreams", get(upstreams))
        .route("/command", post(command))
        .route("/servers/{name}/restart", post(restart_server))
        .route("/agents/{name}/restart", post(restart_agent))
        .route("/agents/{name}/tasks", post(submit_task))
        .merge(crate::workers::routes())
        .route("/tasks/{name}", get(task))
        .route("/events", get(events))
        .route("/sign-in-links", post(sign_in_link))
        .route("/openapi.json", get(openapi))
        .route("/docs", get(docs))
        .layer(from_fn_with_state(Arc::clone(&doors.door), known_hosts))
        .route("/mcp", any(mcp_all))
        .route("/mcp/{server}", any(mcp_one))
        .route("/sse", any(sse))
        .route("/messages", any(sse))
        .with_state(Arc::new(doors.clone()));
    rest.merge(health_routes(&doors.service))
        .merge(crate::v1::routes(doors.service))
        .fallback(crate::service::not_found)
}

async fn index(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    doors.guard.admit(&headers, remote, Access::Read, "/").await?;
    Ok(Html(crate::plain::index()).into_response())
}

/// Makes a read-only JSON route out of a method of [`Coordinator`].
macro_rules! read {
    ($name:ident) => {
        async fn $name(
            State(doors): State<Arc<Doors>>,
            ConnectInfo(remote): ConnectInfo<SocketAddr>,
            headers: HeaderMap,
        ) -> Result<Response, Problem> {
            doors.guard.admit(&headers, remote, Access::Read, concat!("/", stringify!($name))).await?;
            Ok(axum::Json(doors.coordinator.$name().await?).into_response())
        }
    };
}
read!(status);
read!(servers);
read!(agents);
read!(upstreams);

async fn command(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let caller = doors.guard.admit(&headers, remote, Access::Read, "/command").await?;
    Ok(axum::Json(doors.coordinator.command(read_json(&body)?, caller).await?).into_response())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RestartBody {
    #[serde(default)]
    reason: String,
}

async fn restart_server(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    restart(&doors, remote, (Kind::Server, &name), &headers, &body).await
}

async fn restart_agent(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    restart(&doors, remote, (Kind::Agent, &name), &headers, &body).await
}

async fn restart(
    doors: &Doors,
    remote: SocketAddr,
    (kind, name): (Kind, &str),
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let caller = doors.guard.admit(headers, remote, Access::Operate, "restart").await?;
    let asked: RestartBody = if body.is_empty() { RestartBody::default() } else { read_json(body)? };
    let reason = if asked.reason.is_empty() { format!("asked for by {}", caller.name) } else { asked.reason };
    Ok(axum::Json(doors.coordinator.restart(kind, name, &reason, caller).await?).into_response())
}

async fn submit_task(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let caller = doors.guard.known(&headers, remote).await?;
    Ok(axum::Json(doors.coordinator.submit_task(&agent, read_json(&body)?, caller).await?).into_response())
}

async fn task(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = doors.guard.admit(&headers, remote, Access::Read, "tasks").await?;
    Ok(axum::Json(doors.coordinator.task(&id, caller).await?).into_response())
}

/// A one-time link that signs in at the dashboard as whoever asks for it: it stands for the key that this request carries.
async fn sign_in_link(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    doors.guard.known(&headers, remote).await?;
    let key = mcp::auth::key_of(&headers)?.ok_or_else(|| {
        Fault::unauthenticated("a link signs in with a key, and this request carries none")
            .hint("send `Authorization: Bearer flt_…`")
    })?;
    Ok(axum::Json(doors.links.make(&Secret::new(key)).await?).into_response())
}

/// A JSON body as a typed value; the fault names the field that is wrong.
pub fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::invalid(format!("body: {error}")))
}

#[derive(Deserialize)]
struct EventsQuery {
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    after: Option<u64>,
}

/// Events as they come, each with its place as the SSE id, so that a client that comes back misses none.
async fn events(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    doors.guard.admit(&headers, remote, Access::Read, "/events").await?;
    let topic = query.topic.unwrap_or_else(|| FLEET_TOPIC.into());
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let after = match resumed.or(query.after) {
        Some(after) => after,
        None => doors.bus.topics().await?.iter().find(|known| known.name == topic).map_or(0, |known| known.last_seq),
    };
    let stopping = doors.service.tasks.stopping().cancelled_owned();
    let events = follow(Arc::clone(&doors.bus), topic, after).take_until(stopping);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

/// A topic's events after a place, as SSE, without end.
fn follow(bus: Arc<dyn Bus>, topic: String, after: u64) -> impl Stream<Item = Result<Event, Infallible>> {
    const PAGE: usize = 100;
    stream::unfold((bus, topic, after), |(bus, topic, after)| async move {
        loop {
            match bus.read(&topic, after, PAGE).await {
                Ok(events) if events.is_empty() => bus.published(&[&topic]).await,
                Ok(events) => {
                    let last = events.last().map_or(after, |event| event.seq);
                    let page: Vec<_> = events
                        .iter()
                        .map(|event| {
                            let text = serde_json::to_string(event).unwrap_or_default();
                            Ok(Event::default().id(event.seq.to_string()).event(&event.kind).data(text))
                        })
                        .collect();
                    return Some((stream::iter(page), (bus, topic, last)));
                }
                Err(fault) => {
                    tracing::warn!(%fault, topic, "events cannot be read");
                    return None;
                }
            }
        }
    })
    .flatten()
}

async fn openapi(State(doors): State<Arc<Doors>>) -> Response {
    axum::Json(crate::openapi::document(&doors.coordinator.schemas())).into_response()
}

async fn docs() -> Response {
    let csp = [(header::CONTENT_SECURITY_POLICY, crate::plain::CSP)];
    (csp, Html(crate::openapi::page())).into_response()
}

#[derive(Deserialize, Default)]
struct McpQuery {
    #[serde(default)]
    toolset: Option<String>,
    #[serde(default)]
    mode: Option<String>,
}

async fn mcp_all(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Query(query): Query<McpQuery>,
    request: Request<axum::body::Body>,
) -> Result<Response, Problem> {
    let handler = doors.coordinator.endpoint(&Endpoint { server: None, toolset: query.toolset, mode: query.mode })?;
    Ok(doors.door.serve(handler, request, remote).await.map(axum::body::Body::new))
}

/// The transport of revision 2024-11-05, in front of the whole fleet.
async fn sse(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    request: Request<axum::body::Body>,
) -> Result<Response, Problem> {
    let handler = doors.coordinator.endpoint(&Endpoint::default())?;
    Ok(doors.service.past.sse.serve(handler, request, remote, "/messages").await.map(axum::body::Body::new))
}

async fn mcp_one(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(server): Path<String>,
    request: Request<axum::body::Body>,
) -> Result<Response, Problem> {
    let handler = doors.coordinator.endpoint(&Endpoint { server: Some(server), ..Endpoint::default() })?;
    Ok(doors.door.serve(handler, request, remote).await.map(axum::body::Body::new))
}
