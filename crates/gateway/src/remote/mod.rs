//! A server of the fleet that runs in other processes: its copies, and which of them gets a call.
//!
//! - A call goes to the copy with the fewest calls under way, among those that serve and whose breaker lets calls through.
//! - It is tried again on another copy only when it never left, or the first gave no answer and doing the work twice does no harm.
//! - The copy runs the phases of the call (role, limits, audit). Only a call that no copy answered is recorded here.

mod copies;
mod reach;
mod tools;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use kernel::{Access, Code, Fault, Ports, Tasks, breaker};
use mcp::error::codes;
use mcp::handler::{CHANGES_MAX, Identity, Watch};
use mcp::mirror::Mirrored;
use mcp::phases::{CallSpec, Phases};
use mcp::wire::{Notification, Request};
use mcp::{Change, Ctx, Handler, LinkError, Outcome, Reply, Revision, RpcError};
use parking_lot::RwLock;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use crate::events::Events;
use crate::part::{Origin, Part, PartTool};

use copies::{Copies, Copy};
use tools::Tools;

pub use reach::{OverHttp, Reach};

/// What is added to a tool's own limit before the copy itself is given up: it enforces the limit and says so.
const GRACE: Duration = Duration::from_secs(2);
/// How long anything but a tool call may take.
const OTHER_TIME: Duration = Duration::from_secs(30);

/// What every remote server of a gateway shares.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) ports: Ports,
    pub(crate) phases: Phases,
    pub(crate) events: Events,
    pub(crate) reach: Arc<dyn Reach>,
}

/// The server.
pub struct Remote {
    name: String,
    means: Means,
    copies: RwLock<Arc<Copies>>,
    tools: RwLock<Arc<Tools>>,
    identity: RwLock<Arc<Known>>,
    changes: broadcast::Sender<Change>,
    /// One reading of the tools at a time.
    reading: tokio::sync::Mutex<()>,
    tasks: Tasks,
}

/// Who answers, and how its answers name it.
struct Known {
    identity: Arc<Identity>,
    server_info: Box<RawValue>,
}

impl Known {
    fn of(identity: Arc<Identity>) -> Arc<Self> {
        Arc::new(Self { server_info: identity.server_info_text(), identity })
    }
}

impl Remote {
    /// A server of this name with these copies; its tools are not known yet.
    pub(crate) fn new(name: &str, means: Means, tasks: Tasks) -> Arc<Self> {
        let identity = Identity {
            name: name.into(),
            title: format!("Flotilla {name}"),
            version: String::new(),
            instructions: None,
            capabilities: json!({}),
        };
        Arc::new(Self {
            name: name.into(),
            means,
            copies: RwLock::default(),
            tools: RwLock::default(),
            identity: RwLock::new(Known::of(Arc::new(identity))),
            changes: broadcast::channel(CHANGES_MAX).0,
            reading: tokio::sync::Mutex::default(),
            tasks,
        })
    }

    /// Works on a request by a copy; the answer is as its handler there made it.
    async fn work(&self, request: &Request, ctx: &Ctx, again: bool, time: Duration) -> Result<Reply, LinkError> {
        let reply =
            self.send(request, ctx, again, time).await.map_err(|error| in_words_of(ctx.revision, request, error))?;
        let known = Arc::clone(&self.identity.read());
        Ok(reply.undressed(&known.server_info))
    }

    /// Sends a request to a copy, and to another one where that is safe.
    async fn send(&self, request: &Request, ctx: &Ctx, again: bool, time: Duration) -> Result<Reply, LinkError> {
        let copies = Arc::clone(&self.copies.read());
        let mut tried: Vec<&str> = Vec::new();
        let mut last: Option<LinkError> = None;
        while let Some(copy) = copies.choose(self.means.ports.clock.now_ms(), &tried) {
            match self.send_to(copy, request, ctx, time).await {
                Err(error) if (error.is_unsent() || again && error.may_pass()) && !ctx.cancel.is_cancelled() => {
                    tracing::info!(service = self.name, copy = copy.id(), %error, method = request.method, "tried elsewhere");
                    tried.push(copy.id());
                    last = Some(error);
                }
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| self.nobody(&copies).into()))
    }

    async fn send_to(&self, copy: &Copy, request: &Request, ctx: &Ctx, time: Duration) -> Result<Reply, LinkError> {
        let clock = &self.means.ports.clock;
        let _under_way = copy.enter();
        self.breaker_changed(copy, copy.breaker.began(clock.now_ms()));
        let sent = tokio::time::timeout(time, copy.link.request(request, ctx)).await.unwrap_or_else(|_| {
            let text = format!("{} did not answer {} within {} s", self.name, request.method, time.as_secs());
            Err(Fault::timeout(text).into())
        });
        let change = match &sent {
            Err(LinkError::Fault(fault)) if is_silence(fault.code) => copy.breaker.failed(clock.now_ms()),
            // What the caller took back says nothing of the copy.
            Err(LinkError::Fault(fault)) if fault.code == Code::Cancelled => None,
            _ => copy.breaker.succeeded(),
        };
        self.breaker_changed(copy, change);
        sent
    }

    /// Closes the breaker of a copy, if there is such a copy.
    pub(crate) fn reset_breaker(&self, instance: &str) {
        let copies = Arc::clone(&self.copies.read());
        if let Some(copy) = copies.all.iter().find(|copy| copy.id() == instance) {
            self.breaker_changed(copy, copy.breaker.succeeded());
        }
    }

    fn breaker_changed(&self, copy: &Copy, change: Option<breaker::State>) {
        let Some(state) = change else { return };
        self.means.ports.metrics.breaker.get_or_create(&copy.label()).set(state.gauge());
        let kind = match state {
            breaker::State::Open => "breaker.opened",
            breaker::State::Closed => "breaker.closed",
            breaker::State::HalfOpen => return,
        };
        tracing::warn!(service = self.name, copy = copy.id(), kind, "breaker");
        self.means.events.publish(kind, json!({ "name": self.name, "instance": copy.id(), "url": copy.instance.url }));
    }

    fn announce(&self, change: Change) {
        // An error means that nobody listens.
        self.changes.send(change).ok();
    }

    fn nobody(&self, copies: &Copies) -> Fault {
        let text = match copies.all.len() {
            0 => format!("no copy of {} runs", self.name),
            count => format!("none of the {count} copies of {} answers now", self.name),
        };
        Fault::unavailable(text)
            .hint(format!("it is tried again by itself; service_status of {} says more", self.name))
            .data(json!({ "phase": "route" }))
    }

    async fn call(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        let name = request.params.name.as_deref().unwrap_or_default();
        let tools = Arc::clone(&self.tools.read());
        let known = tools.get(name);
        // A tool we have not heard of yet: its server will say whether there is one; nothing is presumed of it.
        let (access, time) = known.map_or((Access::Admin, kernel::limits::TOOL_TIME), |tool| (tool.access, tool.time));
        let again = known.is_some_and(|tool| tool.idempotent);
        let began = tokio::time::Instant::now();
        let fault = match self.work(&request, &ctx, again, time + GRACE).await {
            Ok(reply) => return Ok(reply),
            Err(LinkError::Rpc(error)) => return Err(*error),
            Err(LinkError::Fault(fault)) => fault,
        };
        let outcome = Outcome::refused(&fault);
        let spec = CallSpec { server: &self.name, tool: name, access, time };
        self.means
            .phases
            .record(&spec, request.params.arguments.as_deref(), &ctx, outcome.code, outcome.body.get(), began.elapsed())
            .await;
        Ok(Reply::raw(outcome.body))
    }

    /// Whether its tools are known.
    pub(crate) fn has_tools(&self) -> bool {
        !self.tools.read().is_empty()
    }

    /// Calls under way, over all copies.
    pub fn under_way(&self) -> usize {
        self.copies.read().all.iter().map(|copy| copy.under_way.load(Ordering::Relaxed)).sum()
    }
}

/// Older revisions have a code of their own for a resource that is not there.
fn in_words_of(revision: Revision, request: &Request, mut error: LinkError) -> LinkError {
    if let LinkError::Rpc(error) = &mut error
        && !revision.is_modern()
        && request.method == "resources/read"
        && error.code == codes::INVALID_PARAMS
        && error.data.as_ref().is_some_and(|data| data.get("uri").is_some())
    {
        error.code = codes::LEGACY_RESOURCE_NOT_FOUND;
    }
    error
}

/// Whether a fault means that nobody answered, rather than that the answer was no.
fn is_silence(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Timeout | Code::Upstream)
}

#[async_trait]
impl Handler for Remote {
    fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().identity)
    }

    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        if request.method == "tools/call" {
            return self.call(request, ctx).await;
        }
        // Everything else reads.
        Ok(self.work(&request, &ctx, true, OTHER_TIME).await?)
    }

    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, RpcError> {
        let copies = Arc::clone(&self.copies.read());
        let copy = copies.choose(self.means.ports.clock.now_ms(), &[]).ok_or_else(|| self.nobody(&copies))?;
        Ok(copy.link.watch(uri, ctx).await?)
    }

    fn mirrored(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.tools.read().get(tool)?.mirrored.clone()
    }

    async fn notified(&self, notification: Notification, ctx: Ctx) {
        let copies = Arc::clone(&self.copies.read());
        let Some(copy) = copies.choose(self.means.ports.clock.now_ms(), &[]) else { return };
        if let Err(error) = copy.link.notify(&notification, &ctx).await {
            tracing::debug!(service = self.name, %error, "notification not delivered");
        }
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

impl Part for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn origin(&self) -> Origin {
        Origin::Server
    }

    fn tools(&self) -> Vec<PartTool> {
        self.tools.read().listed()
    }
}

#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod tests;
