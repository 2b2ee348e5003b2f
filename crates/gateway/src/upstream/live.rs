//! An upstream while it is there: the link that all callers share, and the sessions of callers who have their own.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::{Code, Fault, OnEnd, Tasks};
use mcp::client::http::HttpServer;
use mcp::client::stdio::{Eras, StdioLink};
use mcp::client::{AboutUs, User};
use mcp::ctx::Session;
use mcp::{Change, Ctx, Link, Revision};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, broadcast, mpsc};

use super::spec::{Means, UpstreamSpec};
use super::tools::as_fault;

/// Sessions of callers at one upstream.
const SESSIONS_MAX: usize = 1_000;

type Slot = Arc<OnceCell<Arc<dyn Link>>>;

/// The upstream, connected.
pub(super) struct Live {
    /// For everybody.
    pub(super) shared: Arc<dyn Link>,
    /// The process, when it is a child of ours.
    pub(super) pid: Option<u32>,
    /// Set for a server that may give each caller's session one of its own.
    sessions_of: Option<HttpServer>,
    sessions: Mutex<HashMap<Arc<str>, Slot>>,
    /// What sessions hear of.
    heard: mpsc::Sender<Change>,
    tasks: Tasks,
}

impl Live {
    /// Reaches the upstream. `was` is the revision it spoke last time. Changes that only callers' sessions hear of go to `heard`.
    pub(super) async fn connect(
        spec: &UpstreamSpec,
        means: &Means,
        was: Option<Revision>,
        about_us: &AboutUs,
        heard: mpsc::Sender<Change>,
        tasks: Tasks,
    ) -> Result<Self, Fault> {
        let live = |shared, pid, sessions_of| Self {
            shared,
            pid,
            sessions_of,
            sessions: Mutex::default(),
            heard,
            tasks: tasks.clone(),
        };
        match means {
            Means::Program(program) => {
                let eras = if was.is_some_and(|revision| !revision.is_modern()) { Eras::Legacy } else { Eras::All };
                let (about_us, limit) = (about_us.clone(), spec.timeout());
                let child = StdioLink::start(&spec.name, program, eras, about_us, limit, tasks.clone())
                    .await
                    .map_err(as_fault)?;
                Ok(live(child.link, Some(child.pid), None))
            }
            Means::Http(target) => {
                let server = HttpServer::probe(target, about_us.clone(), tasks.clone()).await.map_err(as_fault)?;
                let shared: Arc<dyn Link> = match server.modern() {
                    Some(link) => link,
                    None => server.session(User::default()).await.map_err(as_fault)?,
                };
                let sessions_of = server.may_have_sessions().then_some(server);
                Ok(live(shared, None, sessions_of))
            }
        }
    }

    /// The link that serves `ctx`: a session of its own for a client that has one here, because there it can be asked and told things;
    /// else the shared one. Sessions are never shared between clients.
    pub(super) async fn link_for(self: &Arc<Self>, ctx: &Ctx) -> Result<Arc<dyn Link>, Fault> {
        let (Some(session), Some(server)) = (&ctx.session, &self.sessions_of) else {
            return Ok(Arc::clone(&self.shared));
        };
        let slot = self.slot(session)?;
        let opened = slot.get_or_try_init(|| async {
            let user = User {
                client: Some(Arc::clone(&ctx.client)),
                revision: Some(ctx.revision),
                session: Some(session.clone()),
            };
            match server.session(user).await.map_err(as_fault) {
                Ok(link) => {
                    self.attend(&link);
                    Ok(link)
                }
                // It has none after all; one that speaks the current revision needs none.
                Err(fault) if self.shared.revision().is_modern() && fault.code != Code::Unavailable => {
                    tracing::debug!(%fault, "no session at an upstream; the shared link serves");
                    Ok(Arc::clone(&self.shared))
                }
                Err(fault) => Err(fault),
            }
        });
        opened.await.cloned()
    }

    fn slot(self: &Arc<Self>, session: &Session) -> Result<Slot, Fault> {
        let mut sessions = self.sessions.lock();
        if let Some(slot) = sessions.get(&session.id) {
            return Ok(Arc::clone(slot));
        }
        if sessions.len() >= SESSIONS_MAX {
            return Err(Fault::new(Code::RateLimited, format!("{SESSIONS_MAX} sessions with this upstream are open"))
                .hint("end some, or make requests of revision 2026-07-28, which need none"));
        }
        let slot = Slot::default();
        sessions.insert(Arc::clone(&session.id), Arc::clone(&slot));
        let (live, session, stopping) = (Arc::downgrade(self), session.clone(), self.tasks.stopping());
        self.tasks.spawn("session at an upstream", OnEnd::Done, async move {
            tokio::select! {
                () = session.ended.cancelled() => {}
                () = stopping.cancelled() => return,
            }
            let Some(live) = live.upgrade() else { return };
            let slot = live.sessions.lock().remove(&session.id);
            live.end(slot).await;
        });
        Ok(slot)
    }

    /// Passes on what a session hears of.
    fn attend(&self, link: &Arc<dyn Link>) {
        let (mut changes, heard, link) = (link.changes(), self.heard.clone(), Arc::downgrade(link));
        let stopping = self.tasks.stopping();
        self.tasks.spawn("changes heard by a session", OnEnd::Done, async move {
            let hear = async {
                loop {
                    match changes.recv().await {
                        Ok(change) => {
                            if heard.send(change).await.is_err() {
                                return;
                            }
                        }
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            };
            let ended = async {
                if let Some(link) = link.upgrade() {
                    link.ended().await;
                }
            };
            tokio::select! {
                () = hear => {}
                () = ended => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn end(&self, slot: Option<Slot>) {
        if let Some(link) = slot.and_then(|slot| slot.get().cloned())
            && !Arc::ptr_eq(&link, &self.shared)
        {
            link.close().await;
        }
    }

    /// How many callers have a session of their own.
    pub(super) fn sessions(&self) -> usize {
        let own = |slot: &&Slot| slot.get().is_some_and(|link| !Arc::ptr_eq(link, &self.shared));
        self.sessions.lock().values().filter(own).count()
    }

    /// Ends everything that hangs on it.
    pub(super) async fn close(&self) {
        let slots: Vec<Slot> = self.sessions.lock().drain().map(|(_, slot)| slot).collect();
        futures_util::future::join_all(slots.into_iter().map(|slot| self.end(Some(slot)))).await;
        self.shared.close().await;
        self.tasks.stop_because("the upstream was let go");
    }
}
