//! An upstream of an older revision over Streamable HTTP (2025-03-26 to 2025-11-25): one session.
//!
//! The session is begun again, unseen, when the upstream has forgotten it. A stream that breaks before its answer is taken up again
//! where the upstream gave it a place to go on from.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kernel::logs::Level;
use kernel::{Fault, OnEnd, Tasks};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::end::End;
use super::super::handshake;
use super::super::outgoing::AboutUs;
use super::super::watches::Watches;
use super::super::{Link, LinkError, User, outgoing, unless_cancelled};
use super::{Endpoint, PROTOCOL_VERSION, Posted, follow, sort, standing};
use crate::ctx::Ctx;
use crate::handler::{CHANGES_MAX, Change, Identity, Watch};
use crate::reply::Reply;
use crate::revision::Revision;
use crate::wire::{self, Id, Message, Notification, Params, Request, Response};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Why a session did not begin.
pub(super) enum Refusal {
    /// There is no Streamable HTTP here.
    NotThisTransport,
    /// Anything else.
    Other(LinkError),
}

impl<E: Into<LinkError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Why a message did not get through.
pub(super) enum Broken {
    /// The upstream has forgotten the session. Nothing was done.
    Forgotten,
    /// Anything else.
    Other(LinkError),
}

impl<E: Into<LinkError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// A session as the upstream knows it.
pub(super) struct Current {
    id: Option<HeaderValue>,
    pub(super) revision: Revision,
    identity: Arc<Identity>,
    /// Cancelled when it is of no more use.
    pub(super) over: CancellationToken,
}

impl Current {
    /// The headers of its messages.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
        // Before that revision there was no such header.
        if self.revision >= Revision::V2025_06_18 {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(self.revision.as_str()));
        }
        headers
    }

    /// Whether the upstream gave it a name by which it can be forgotten.
    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    fn is_forgotten(&self, status: StatusCode, reason: &str) -> bool {
        // Not all follow the rule that a forgotten session is a 404.
        let says_so = status == StatusCode::BAD_REQUEST && reason.to_ascii_lowercase().contains("session");
        self.id.is_some() && (status == StatusCode::NOT_FOUND || says_so)
    }
}

/// The link.
pub struct LegacyLink(Arc<Inner>);

pub(super) struct Inner {
    pub(super) endpoint: Endpoint,
    pub(super) user: User,
    about_us: AboutUs,
    next_id: AtomicI64,
    current: RwLock<Option<Arc<Current>>>,
    /// Who was there last: known even between two sessions.
    seen: RwLock<(Revision, Arc<Identity>)>,
    opening: tokio::sync::Mutex<()>,
    level: Mutex<Option<Level>>,
    changes: broadcast::Sender<Change>,
    watches: Watches,
    pub(super) tasks: Tasks,
    end: End,
}

impl LegacyLink {
    /// Begins a session.
    pub(super) async fn open(
        endpoint: Endpoint,
        user: User,
        about_us: AboutUs,
        tasks: Tasks,
    ) -> Result<Arc<Self>, Refusal> {
        let first = shake_hands(&endpoint, &user, &about_us).await?;
        let inner = Arc::new(Inner {
            endpoint,
            user,
            about_us,
            next_id: AtomicI64::new(1),
            seen: RwLock::new((first.revision, first.identity.clone())),
            current: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
            level: Mutex::default(),
            changes: broadcast::channel(CHANGES_MAX).0,
            watches: Watches::default(),
            tasks,
            end: End::default(),
        });
        inner.begin(first);
        Ok(Arc::new(Self(inner)))
    }
}

async fn shake_hands(endpoint: &Endpoint, user: &User, about_us: &AboutUs) -> Result<Current, Refusal> {
    let wanted = user.revision.filter(|revision| !revision.is_modern()).unwrap_or(Revision::NEWEST_LEGACY);
    let params = handshake::initialize_params(wanted, user.client.as_deref(), about_us);
    let text = wire::request_text(&Id::Number(0), "initialize", Some(&params));
    let slow = |_| Fault::timeout(format!("{} did not answer initialize in time", endpoint.host));
    let exchange = timeout(endpoint.timeout, endpoint.post(text, HeaderMap::new())).await.map_err(slow)??;
    let id = exchange.head.headers.get(SESSION_ID).cloned();
    let response = async {
        match sort(endpoint, exchange).await? {
            Posted::Message(_, message) => match *message {
                Message::Response(response) => Ok(response),
                _ => Err(not_an_answer(endpoint)),
            },
            Posted::Stream(mut events) => loop {
                match events.message(&endpoint.host).await? {
                    Some(Message::Response(response)) => break Ok(response),
                    Some(_) => {}
                    None => break Err(not_an_answer(endpoint)),
                }
            },
            Posted::Accepted => Err(not_an_answer(endpoint)),
            Posted::Refused(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
                Err(Refusal::NotThisTransport)
            }
            Posted::Refused(_, fault) => Err(fault.into()),
        }
    };
    let response: Response = timeout(endpoint.timeout, response).await.map_err(slow)??;
    let (revision, identity) = handshake::initialized(&response.outcome.map_err(LinkError::from)?)
        .map_err(|fault| fault.context(&endpoint.host))?;
    let current = Current { id, revision, identity, over: CancellationToken::new() };
    let text = wire::notification_text("notifications/initialized", None);
    let told = async { sort(endpoint, endpoint.post(text, current.headers()).await?).await };
    timeout(endpoint.timeout, told).await.map_err(slow)??;
    Ok(current)
}

fn not_an_answer(endpoint: &Endpoint) -> Refusal {
    Fault::upstream(format!("{}: not an answer to initialize", endpoint.host)).into()
}

impl Inner {
    fn begin(self: &Arc<Self>, current: Current) -> Arc<Current> {
        let current = Arc::new(current);
        *self.seen.write() = (current.revision, current.identity.clone());
        *self.level.lock() = None;
        *self.current.write() = Some(Arc::clone(&current));
        standing::start(self, &current);
        current
    }

    /// The session; a new one if there is none.
    pub(super) async fn session(self: &Arc<Self>) -> Result<Arc<Current>, LinkError> {
        if let Some(current) = self.current.read().clone() {
            return Ok(current);
        }
        let _opening = self.opening.lock().await;
        if let Some(current) = self.current.read().clone() {
            return Ok(current);
        }
        if let Some(fault) = self.end.reason() {
            return Err(LinkError::unsent(fault).into());
        }
        let fresh = shake_hands(&self.endpoint, &self.user, &self.about_us).await.map_err(|refusal| match refusal {
            Refusal::Other(error) => error,
            Refusal::NotThisTransport => {
                Fault::unavailable(format!("{} takes no sessions any more", self.endpoint.host)).into()
            }
        })?;
        tracing::debug!(host = self.endpoint.host, "session begun again");
        let current = self.begin(fresh);
        for (uri, _) in self.watches.all() {
            self.subscribe(&current, "resources/subscribe", &uri).await.map_err(give_up)?;
            self.announce(Change::Resource(uri));
        }
        for change in [Change::Tools, Change::Prompts, Change::Resources] {
            self.announce(change);
        }
        Ok(current)
    }

    /// Lets go of a session that the upstream has forgotten.
    pub(super) fn forget(&self, current: &Arc<Current>) {
        let mut held = self.current.write();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, current)) {
            *held = None;
        }
        current.over.cancel();
    }

    /// Runs `work` in the session; when the upstream has forgotten it, once more in a new one.
    async fn in_session<T, F: Future<Output = Result<T, Broken>>>(
        self: &Arc<Self>,
        work: impl Fn(Arc<Current>) -> F,
    ) -> Result<T, LinkError> {
        let current = self.session().await?;
        match work(Arc::clone(&current)).await {
            Err(Broken::Forgotten) => {
                self.forget(&current);
                work(self.session().await?).await.map_err(give_up)
            }
            done => done.map_err(give_up),
        }
    }

    /// Posts a message of the session and sorts what comes back.
    pub(super) async fn post(&self, current: &Current, text: String) -> Result<Posted, Broken> {
        let posted = sort(&self.endpoint, self.endpoint.post(text, current.headers()).await?).await?;
        match posted {
            Posted::Refused(status, fault) if current.is_forgotten(status, &fault.message) => Err(Broken::Forgotten),
            Posted::Refused(_, fault) => Err(fault.into()),
            Posted::Message(status, message) if !status.is_success() => match *message {
                Message::Response(Response { outcome: Err(error), .. })
                    if current.is_forgotten(status, &error.message) =>
                {
                    Err(Broken::Forgotten)
                }
                message => Ok(Posted::Message(status, Box::new(message))),
            },
            posted => Ok(posted),
        }
    }

    /// A request of our own.
    async fn own(
        self: &Arc<Self>,
        current: &Arc<Current>,
        method: &str,
        params: serde_json::Value,
    ) -> Result<(), Broken> {
        let request = Request { id: Id::Number(0), method: method.into(), params: Params::of(&params)? };
        let caller = kernel::Caller::new("flotilla", kernel::Role::Viewer);
        let ctx = Ctx::internal(caller, kernel::Trace::root());
        follow::call(self, current, &request, &ctx).await.map(drop)
    }

    async fn subscribe(self: &Arc<Self>, current: &Arc<Current>, method: &str, uri: &str) -> Result<(), Broken> {
        self.own(current, method, json!({ "uri": uri })).await
    }

    /// Has the upstream log as much as this caller wants to hear. Others may hear less: what they get is sifted on the way.
    async fn level_for(self: &Arc<Self>, current: &Arc<Current>, ctx: &Ctx) -> Result<(), Broken> {
        let Some(wanted) = ctx.log_level else { return Ok(()) };
        let told = *self.level.lock();
        if current.identity.capabilities.get("logging").is_none() || told.is_some_and(|told| told <= wanted) {
            return Ok(());
        }
        *self.level.lock() = Some(wanted);
        self.own(current, "logging/setLevel", json!({ "level": outgoing::level_text(wanted) })).await
    }

    pub(super) fn next_id(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn announce(&self, change: Change) {
        // An error means that nobody listens.
        self.changes.send(change).ok();
    }
}

fn give_up(broken: Broken) -> LinkError {
    match broken {
        Broken::Other(error) => error,
        Broken::Forgotten => Fault::unavailable("the upstream forgets its sessions as soon as they begin").into(),
    }
}

#[async_trait]
impl Link for LegacyLink {
    fn identity(&self) -> Arc<Identity> {
        self.0.seen.read().1.clone()
    }

    fn revision(&self) -> Revision {
        self.0.seen.read().0
    }

    async fn request(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        let inner = &self.0;
        if let Some(fault) = inner.end.reason() {
            return Err(fault.into());
        }
        let work = inner.in_session(|current| async move {
            inner.level_for(&current, ctx).await?;
            follow::call(inner, &current, request, ctx).await
        });
        tokio::select! {
            done = unless_cancelled(ctx, &request.method, work) => done,
            fault = inner.end.wait() => Err(fault.into()),
        }
    }

    async fn notify(&self, notification: &Notification, _ctx: &Ctx) -> Result<(), LinkError> {
        let inner = &self.0;
        let sent = inner.in_session(|current| async move {
            let text = wire::notification_text(&notification.method, notification.params.raw.as_deref());
            inner.post(&current, text).await.map(drop)
        });
        let slow = |_| Fault::timeout(format!("{} did not take {} in time", inner.endpoint.host, notification.method));
        timeout(inner.endpoint.timeout, sent).await.map_err(slow)?
    }

    async fn watch(&self, uri: &str, _ctx: &Ctx) -> Result<Watch, LinkError> {
        let (watch, begun) = self.0.watches.add(uri)?;
        let Some(over) = begun else { return Ok(watch) };
        let inner = &self.0;
        inner.in_session(|current| async move { inner.subscribe(&current, "resources/subscribe", uri).await }).await?;
        let (inner, uri, stopping) = (Arc::clone(inner), uri.to_owned(), inner.tasks.stopping());
        self.0.tasks.spawn("watch at an upstream", OnEnd::Done, async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = stopping.cancelled() => return,
            }
            let current = inner.current.read().clone();
            // A session that is gone has no subscriptions either.
            if let Some(current) = current
                && let Err(Broken::Other(error)) = inner.subscribe(&current, "resources/unsubscribe", &uri).await
            {
                tracing::debug!(host = inner.endpoint.host, uri, %error, "unsubscribing failed");
            }
        });
        Ok(watch)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    async fn ended(&self) -> Fault {
        self.0.end.wait().await
    }

    async fn close(&self) {
        let inner = &self.0;
        inner.end.because(Fault::unavailable(format!("the session with {} was closed", inner.endpoint.host)));
        let current = inner.current.write().take();
        if let Some(current) = current.filter(|current| current.id.is_some()) {
            current.over.cancel();
            // Upstreams need not allow it; then the session dies of age.
            let told = timeout(std::time::Duration::from_secs(2), inner.endpoint.delete(current.headers())).await;
            tracing::debug!(host = inner.endpoint.host, told = told.is_ok_and(|told| told.is_ok()), "session ended");
        }
        inner.tasks.stop_because("the session was closed");
    }
}
