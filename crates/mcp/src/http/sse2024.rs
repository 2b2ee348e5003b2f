//! The transport of revision 2024-11-05: a GET opens a stream of events, whose first event says where to POST messages.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use kernel::deprecations::Surface;
use kernel::{Caller, Code, Fault, OnEnd, Tasks};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::body::{self, Body};
use super::{Accepted, DoorConfig, acceptable, events, guard, not_acceptable, reply};
use crate::auth;
use crate::handler::Handler;
use crate::peer::QUEUE_MAX;
use crate::pipe::Pipe;

/// How long requests under way may take to end once their client has left.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The door.
pub struct SseDoor {
    config: DoorConfig,
    guard: guard::Guard,
    clients: Clients,
}

type Clients = Arc<Mutex<HashMap<String, (Caller, Arc<Pipe>)>>>;

impl SseDoor {
    /// A door.
    pub fn new(config: DoorConfig) -> Self {
        let guard = guard::Guard::new(&config.hosts, &config.origins);
        Self { config, guard, clients: Clients::default() }
    }

    /// Answers one HTTP request: a GET opens a stream to `handler`, whose messages are to be POSTed to the path `messages`; a POST
    /// brings a message.
    pub async fn serve<B>(
        &self,
        handler: Arc<dyn Handler>,
        request: Request<B>,
        remote: SocketAddr,
        messages: &str,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: fmt::Display,
    {
        if let Err(fault) = self.guard.admit(request.headers(), request.uri()) {
            return reply::fault(&fault);
        }
        let caller = match self.config.auth.authenticate(request.headers(), remote.ip()).await {
            Ok(caller) => caller,
            Err(fault) => return reply::unauthenticated(&fault, auth::has_credentials(request.headers())),
        };
        match *request.method() {
            Method::GET if !Accepted::of(request.headers()).events => not_acceptable("text/event-stream"),
            Method::GET => {
                self.config.saw(&caller, &Surface::HttpSse);
                self.open(handler, caller, messages)
            }
            Method::POST => self.post(request, &caller).await,
            _ => reply::method_not_allowed(),
        }
    }

    fn open(&self, handler: Arc<dyn Handler>, caller: Caller, messages: &str) -> Response<Body> {
        let (out, lines) = mpsc::channel(QUEUE_MAX);
        let pipe = Pipe::new(handler, caller.clone(), &self.config.tasks, out);
        let id = kernel::ids::random_token(24);
        let endpoint = events::endpoint(&format!("{messages}?sessionId={id}"));
        self.clients.lock().insert(id.clone(), (caller, Arc::clone(&pipe)));
        let client = Client {
            id,
            pipe,
            clients: Arc::clone(&self.clients),
            tasks: self.config.tasks.clone(),
            stopping: self.config.tasks.stopping(),
            keep_alive: self.config.keep_alive,
            first: Some(endpoint),
            lines,
        };
        let next = |mut client: Client| async move { client.next().await.map(|event| (event, client)) };
        reply::events(Body::Events(Box::pin(stream::unfold(client, next))))
    }

    async fn post<B>(&self, request: Request<B>, caller: &Caller) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: fmt::Display,
    {
        let any = Accepted { json: true, events: true };
        if let Err(response) = acceptable(request.headers(), &any) {
            return *response;
        }
        let id = request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("sessionId="));
        let client = id.and_then(|id| self.clients.lock().get(id).cloned());
        let Some((_, pipe)) = client.filter(|(owner, _)| owner.name == caller.name) else {
            let fault = Fault::not_found("no stream of this sessionId is open").hint("open one with GET first");
            return reply::fault(&fault);
        };
        match body::read(request.into_body(), self.config.body_bytes_max, self.config.body_time).await {
            Ok(body) => {
                pipe.take(&body).await;
                reply::empty(StatusCode::ACCEPTED)
            }
            Err(fault) if fault.code == Code::Timeout => reply::refused(StatusCode::REQUEST_TIMEOUT, &fault),
            Err(fault) => reply::fault(&fault),
        }
    }
}

/// A client as long as its stream is open.
struct Client {
    id: String,
    pipe: Arc<Pipe>,
    clients: Clients,
    tasks: Tasks,
    stopping: CancellationToken,
    keep_alive: Duration,
    first: Option<Bytes>,
    lines: mpsc::Receiver<String>,
}

impl Client {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            line = self.lines.recv() => line.map(events::event),
            () = tokio::time::sleep(self.keep_alive) => Some(events::KEEP_ALIVE),
            () = self.stopping.cancelled() => None,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.id);
        let pipe = Arc::clone(&self.pipe);
        self.tasks.spawn("client that left", OnEnd::Done, async move { pipe.close(CLOSE_TIME).await });
    }
}
