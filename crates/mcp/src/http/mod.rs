//! The HTTP door: Streamable HTTP in every revision from 2025-03-26 to the current one, from one URL, in front of any [`Handler`].
//!
//! - A request of the current revision stands alone; nothing is remembered of it.
//! - An older client shakes hands first. What it said is sealed into its session id, so any process of the fleet can go on with it; only
//!   what a connection is made of (streams, open questions, subscriptions) lives in one process's memory.
//! - An answer is plain JSON unless the handler said something first: then the response becomes a stream of events.

mod body;
mod events;
mod guard;
mod legacy;
mod modern;
mod replay;
mod reply;
mod sessions;
pub mod sse2024;
mod work;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use kernel::deprecations::{Deprecations, Surface};
use kernel::{Caller, Clock, Fault, Tasks, limits};

pub use body::Body;

use crate::auth::{self, Authenticate};
use crate::handler::Handler;
use crate::revision::Revision;
use crate::seal::Sealer;
use crate::stateless;
use crate::wire::Message;

/// Names the revision.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Repeats the method.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Repeats the name of what is called, read or asked for.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Names the session, in revisions that have them.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// How a door is set up.
#[derive(Clone)]
pub struct DoorConfig {
    /// Tells callers.
    pub auth: Arc<dyn Authenticate>,
    /// Seals session ids; the whole fleet shares its key.
    pub sealer: Sealer,
    /// Owner of streams; they close when it stops.
    pub tasks: Tasks,
    /// Time.
    pub clock: Clock,
    /// Host names to answer to, beside loopback names and addresses; `*` for all.
    pub hosts: Vec<String>,
    /// Origins of web pages that may use the door, beside those on loopback and its own; `*` for all.
    pub origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How often a quiet stream says that it is alive.
    pub keep_alive: Duration,
    /// Counts who still speaks what is on its way out.
    pub deprecations: Option<Deprecations>,
}

impl DoorConfig {
    /// A door with the limits of [`kernel::limits`], on loopback names only.
    pub fn new(auth: Arc<dyn Authenticate>, sealer: Sealer, tasks: Tasks, clock: Clock) -> Self {
        Self {
            auth,
            sealer,
            tasks,
            clock,
            hosts: Vec::new(),
            origins: Vec::new(),
            body_bytes_max: limits::BODY_BYTES_MAX,
            body_time: limits::BODY_TIME,
            keep_alive: Duration::from_secs(15),
            deprecations: None,
        }
    }

    fn saw(&self, caller: &Caller, surface: &Surface) {
        if let Some(deprecations) = &self.deprecations {
            deprecations.saw(&caller.name, surface);
        }
    }
}

/// The HTTP door of a listener or of a process. Share it: sessions live in it.
pub struct Door {
    config: DoorConfig,
    guard: guard::Guard,
    sessions: sessions::Sessions,
}

/// What is known of a request before its body is read.
struct Visit {
    handler: Arc<dyn Handler>,
    headers: HeaderMap,
    caller: Arc<Caller>,
    /// Whether the client takes events.
    takes_events: bool,
}

impl Visit {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    fn traceparent(&self) -> Option<String> {
        self.headers.get("traceparent").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
    }
}

impl Door {
    /// A door.
    pub fn new(config: DoorConfig) -> Self {
        let guard = guard::Guard::new(&config.hosts, &config.origins);
        let sessions = sessions::Sessions::new(config.sealer.clone(), config.clock.clone(), config.tasks.clone());
        Self { config, guard, sessions }
    }

    /// Whether a request for something else than MCP may pass: its host is ours and its page, if it comes from one, may call us.
    ///
    /// # Errors
    /// [`Code::PermissionDenied`](kernel::Code::PermissionDenied).
    pub fn check(&self, headers: &HeaderMap, uri: &http::Uri) -> Result<(), Fault> {
        self.guard.admit(headers, uri).map(|_| ())
    }

    /// Answers one HTTP request with `handler`. Any path: mounting is the caller's affair.
    pub async fn serve<B>(&self, handler: Arc<dyn Handler>, request: Request<B>, remote: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: fmt::Display,
    {
        let origin = match self.guard.admit(request.headers(), request.uri()) {
            Ok(origin) => origin,
            Err(fault) => return reply::fault(&fault),
        };
        let preflight = request.method() == Method::OPTIONS && origin.is_some();
        let mut response =
            if preflight { reply::empty(StatusCode::NO_CONTENT) } else { self.enter(handler, request, remote).await };
        if let Some(origin) = origin {
            guard::allow(response.headers_mut(), origin, preflight);
        }
        response
    }

    async fn enter<B>(&self, handler: Arc<dyn Handler>, request: Request<B>, remote: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: fmt::Display,
    {
        let (head, body) = request.into_parts();
        let caller = match self.config.auth.authenticate(&head.headers, remote.ip()).await {
            Ok(caller) => Arc::new(caller),
            Err(fault) => return reply::unauthenticated(&fault, auth::has_credentials(&head.headers)),
        };
        let accepted = Accepted::of(&head.headers);
        let visit = Visit { handler, headers: head.headers, caller, takes_events: accepted.events };
        match head.method {
            Method::POST => {
                if let Err(response) = acceptable(&visit.headers, &accepted) {
                    return *response;
                }
                match body::read(body, self.config.body_bytes_max, self.config.body_time).await {
                    Ok(body) => self.post(visit, &body).await,
                    Err(fault) if fault.code == kernel::Code::Timeout => {
                        reply::refused(StatusCode::REQUEST_TIMEOUT, &fault)
                    }
                    Err(fault) => reply::fault(&fault),
                }
            }
            Method::GET if !accepted.events => not_acceptable("text/event-stream"),
            Method::GET => legacy::get(self, &visit),
            Method::DELETE => legacy::delete(self, &visit),
            _ => reply::method_not_allowed(),
        }
    }

    async fn post(&self, visit: Visit, body: &[u8]) -> Response<Body> {
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Box::pin(legacy::batch(self, visit, body)).await;
        }
        let message = match Message::parse(body) {
            Ok(message) => message,
            Err(unreadable) => return reply::rpc(StatusCode::BAD_REQUEST, unreadable.id.as_ref(), &unreadable.error),
        };
        if is_modern(visit.header(&PROTOCOL_VERSION), &message) {
            modern::post(self, visit, message).await
        } else {
            legacy::post(self, visit, message).await
        }
    }
}

/// Which era a message is of: its header or its metadata says so; a client that says neither is an older one.
fn is_modern(header: Option<&str>, message: &Message) -> bool {
    let older = |text: &str| Revision::parse(text).is_some_and(|revision| !revision.is_modern());
    header.is_some_and(|header| !older(header))
        || match message {
            Message::Request(request) => stateless::is_stated(&request.params.meta),
            Message::Notification(notification) => stateless::is_stated(&notification.params.meta),
            Message::Response(_) => false,
        }
}

/// What a client takes.
struct Accepted {
    json: bool,
    events: bool,
}

impl Accepted {
    /// Reads `Accept`; a client that sends none takes everything.
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self { json: false, events: false };
        let mut any = false;
        for value in headers.get_all(ACCEPT) {
            any = true;
            for part in value.to_str().unwrap_or_default().split(',') {
                let kind = part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                accepted.json |= matches!(kind.as_str(), "application/json" | "application/*" | "*/*");
                accepted.events |= matches!(kind.as_str(), "text/event-stream" | "text/*" | "*/*");
            }
        }
        if any { accepted } else { Self { json: true, events: true } }
    }
}

fn acceptable(headers: &HeaderMap, accepted: &Accepted) -> Result<(), Box<Response<Body>>> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let fault = Fault::invalid(format!("the body's content type is `{kind}`")).hint("send application/json");
        return Err(Box::new(reply::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, &fault)));
    }
    if accepted.json { Ok(()) } else { Err(Box::new(not_acceptable("application/json, text/event-stream"))) }
}

fn not_acceptable(wanted: &str) -> Response<Body> {
    let fault =
        Fault::invalid("the answer would not be of a type the client accepts").hint(format!("send `Accept: {wanted}`"));
    reply::refused(StatusCode::NOT_ACCEPTABLE, &fault)
}

#[cfg(test)]
mod tests;
