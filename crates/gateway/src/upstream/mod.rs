//! Upstreams: third parties' MCP servers that joined the fleet.
//!
//! - Each is described by an [`UpstreamSpec`] in the store, so that every process with a gateway has the same ones.
//! - Each has a supervisor that reaches it, listens to it, and reaches it again when it is gone; callers only wait a moment.
//! - What it says of its tools is pinned ([`pins`]): what changes is held until a person approves it.
//! - It is a [`Part`](crate::part::Part) of the gateway. Callers share one link to it, except those who have a session here and can have
//!   one there.

mod handler;
mod live;
pub mod pins;
pub mod spec;
pub mod status;
mod supervise;
mod tools;
mod upstreams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::metrics::Metrics;
use kernel::{Clock, Fault, OnEnd, Tasks, UnixMs};
use mcp::client::AboutUs;
use mcp::handler::{CHANGES_MAX, Identity};
use mcp::phases::Phases;
use mcp::{Change, Revision};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;

pub use spec::{Secrets, UpstreamSpec};
pub use status::{State, UpstreamStatus};
pub use tools::{HeldTool, Tools, UpstreamTool};
pub use upstreams::Upstreams;

use crate::events::Events;
use live::Live;
use pins::Pins;
use supervise::Nudge;

/// How long a call waits for an upstream that is on its way.
const WAIT_TIME: Duration = Duration::from_secs(2);
/// How long an upstream may take to be let go.
const STOP_TIME: Duration = Duration::from_secs(10);
/// What the supervisor is told and has not heard yet. More of the same changes nothing.
const NUDGES_MAX: usize = 16;

/// What all upstreams of a process share.
#[derive(Clone)]
pub(crate) struct Means {
    clock: Clock,
    metrics: Metrics,
    phases: Phases,
    events: Events,
    pins: Pins,
    secrets: Arc<dyn Secrets>,
    /// The environment every program gets.
    inherited: Arc<BTreeMap<String, String>>,
    about_us: AboutUs,
}

/// Where it stands, as its supervisor says.
#[derive(Debug, Clone)]
struct Stand {
    state: State,
    since_ms: UnixMs,
    failures: u32,
    restarts: u32,
    last_error: Option<Fault>,
    /// What it spoke when it was last reached.
    revision: Option<Revision>,
}

/// One upstream.
pub struct Upstream {
    spec: UpstreamSpec,
    means: Means,
    stand: watch::Sender<Stand>,
    live: RwLock<Option<Arc<Live>>>,
    tools: RwLock<Arc<Tools>>,
    /// One judgement at a time, so that an older one does not undo a newer one.
    judging: tokio::sync::Mutex<()>,
    identity: RwLock<Arc<Identity>>,
    changes: broadcast::Sender<Change>,
    nudges: mpsc::Sender<Nudge>,
    tasks: Tasks,
}

impl Upstream {
    /// Starts an upstream under `tasks`.
    fn start(spec: UpstreamSpec, means: Means, tasks: Tasks) -> Arc<Self> {
        let (nudges, nudged) = mpsc::channel(NUDGES_MAX);
        let since_ms = means.clock.now_ms();
        let stand =
            Stand { state: State::Starting, since_ms, failures: 0, restarts: 0, last_error: None, revision: None };
        let identity = Identity {
            name: spec.name.clone(),
            title: spec.name.clone(),
            version: String::new(),
            instructions: None,
            capabilities: json!({}),
        };
        let upstream = Arc::new(Self {
            spec,
            means,
            stand: watch::channel(stand).0,
            live: RwLock::default(),
            tools: RwLock::default(),
            judging: tokio::sync::Mutex::default(),
            identity: RwLock::new(Arc::new(identity)),
            changes: broadcast::channel(CHANGES_MAX).0,
            nudges,
            tasks,
        });
        upstream.tasks.spawn("upstream", OnEnd::Done, Arc::clone(&upstream).supervise(nudged));
        upstream
    }

    /// What it is.
    pub fn spec(&self) -> &UpstreamSpec {
        &self.spec
    }

    /// Its tools as known now, held ones among them.
    pub fn tools(&self) -> Arc<Tools> {
        Arc::clone(&self.tools.read())
    }

    /// How it stands.
    pub fn status(&self) -> UpstreamStatus {
        let stand = self.stand.borrow().clone();
        let (tools, live) = (self.tools(), self.live.read().clone());
        let held = tools.held();
        let identity = self.seen_identity();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        UpstreamStatus {
            name: self.spec.name.clone(),
            place: self.spec.place(),
            state: stand.state,
            since_ms: stand.since_ms,
            revision: stand.revision.map(|revision| revision.to_string()),
            server: stand.revision.map(|_| format!("{} {}", identity.name, identity.version).trim().to_owned()),
            pid: live.as_ref().and_then(|live| live.pid),
            failures: stand.failures,
            restarts: stand.restarts,
            last_error: stand.last_error.map(|fault| fault.to_string()),
            tools: count(tools.all().len() - held.len()),
            held,
            sessions: count(live.map_or(0, |live| live.sessions())),
            toolsets: self.spec.toolsets.clone(),
        }
    }

    /// Waits until it serves, or has failed, or `limit` is over. Returns how it stands then.
    pub async fn settled(&self, limit: Duration) -> UpstreamStatus {
        let mut stand = self.stand.subscribe();
        let settled = stand.wait_for(|stand| stand.state != State::Starting);
        // When time is over it stands as it stands.
        drop(timeout(limit, settled).await);
        self.status()
    }

    /// Has it begin anew: stopped and started, or let go and reached again.
    pub fn restart(&self) {
        self.nudge(Nudge::Restart);
    }

    fn nudge(&self, nudge: Nudge) {
        // A full queue means that the supervisor has enough to do already.
        self.nudges.try_send(nudge).ok();
    }

    /// Has the supervisor look whether it is still there.
    fn look_after(&self) {
        self.nudge(Nudge::Look);
    }

    /// Stops it: what is under way fails, nothing is left behind.
    async fn stop(&self) {
        self.tasks.stop_because("the upstream was removed");
        let left = self.tasks.drain(STOP_TIME).await;
        if left > 0 {
            tracing::warn!(upstream = self.spec.name, left, "tasks of an upstream did not end in time");
        }
    }

    /// The upstream, connected. Waits a moment for one that is on its way.
    async fn live(&self) -> Result<Arc<Live>, Fault> {
        self.awaited(|_| true).await.ok_or_else(|| self.absent())
    }

    /// The connection that comes after one that ended, if it comes within a moment.
    async fn live_after(&self, ended: &Arc<Live>) -> Option<Arc<Live>> {
        self.look_after();
        self.awaited(|now| !Arc::ptr_eq(now, ended)).await
    }

    /// The connection once it is a good one. What counts is the connection: how it stands is said a little later.
    async fn awaited(&self, good: impl Fn(&Arc<Live>) -> bool) -> Option<Arc<Live>> {
        let now = || self.live.read().clone().filter(&good);
        if let Some(live) = now() {
            return Some(live);
        }
        let mut stand = self.stand.subscribe();
        let settled = stand.wait_for(|stand| now().is_some() || matches!(stand.state, State::Failed | State::Stopped));
        drop(timeout(WAIT_TIME, settled).await);
        now()
    }

    fn absent(&self) -> Fault {
        let stand = self.stand.borrow();
        let state = match stand.state {
            State::Starting => "is being started",
            State::Failed => "failed too often",
            State::Stopped => "is stopped",
            _ => "is not there",
        };
        let mut text = format!("upstream {} {state}", self.spec.name);
        if let Some(fault) = &stand.last_error {
            text.push_str(&format!(": {}", fault.message));
        }
        Fault::unavailable(text).hint("it is tried again by itself; list_upstreams says more")
    }

    fn announce(&self, change: Change) {
        // An error means that nobody listens.
        self.changes.send(change).ok();
    }

    fn heard_changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn seen_identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read())
    }

    /// Lets calls through.
    fn serve(&self, live: &Arc<Live>) {
        let revision = live.shared.revision();
        let mut identity = (*live.shared.identity()).clone();
        if let Some(tools) = identity.capabilities.get_mut("tools").filter(|tools| tools.is_object()) {
            // The supervisor reads them again now and then, whether the upstream announces changes or not.
            tools["listChanged"] = true.into();
        }
        *self.identity.write() = Arc::new(identity);
        self.stand.send_modify(|stand| stand.revision = Some(revision));
        *self.live.write() = Some(Arc::clone(live));
    }

    async fn let_go(&self) {
        let live = self.live.write().take();
        if let Some(live) = live {
            live.close().await;
        }
    }

    fn take_tools(&self, fresh: Tools) -> Arc<Tools> {
        std::mem::replace(&mut *self.tools.write(), Arc::new(fresh))
    }

    fn is_serving(&self) -> bool {
        self.live.read().is_some()
    }

    fn serving(&self) -> State {
        if self.tools().held().is_empty() { State::Ready } else { State::Quarantined }
    }

    fn revision(&self) -> Option<Revision> {
        self.stand.borrow().revision
    }

    fn forget_revision(&self) {
        self.stand.send_modify(|stand| stand.revision = None);
    }

    fn restarted(&self) {
        self.stand.send_modify(|stand| stand.restarts += 1);
    }

    fn stands(&self, state: State, failures: u32, fault: Option<Fault>) {
        let now_ms = self.means.clock.now_ms();
        self.stand.send_modify(|stand| {
            if stand.state != state {
                stand.since_ms = now_ms;
            }
            (stand.state, stand.failures) = (state, failures);
            stand.last_error = fault.or(stand.last_error.take());
        });
    }
}
