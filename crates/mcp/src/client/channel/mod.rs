//! A link over one channel that all its messages share: a child's standard streams, or the old pair of a stream and an address.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::logs::Level;
use kernel::{Code, Fault, OnEnd, Tasks};
use parking_lot::Mutex;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub(super) mod mux;

use mux::{Mux, Open};

use super::changes;
use super::end::End;
use super::outgoing::{self, AboutUs};
use super::patience::Patience;
use super::rounds::Rounds;
use super::watches::Watches;
use super::{Link, LinkError, User, answer, handshake, side, unless_cancelled};
use crate::ctx::Ctx;
use crate::handler::{Change, Identity, Watch};
use crate::reply::Reply;
use crate::revision::Revision;
use crate::splice::{Edit, edited};
use crate::wire::{self, Notification, Request};

/// How long a server may take over a question of the current revision before it counts as an older one.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// How long to wait for the reason why a channel broke.
const REASON_TIME: Duration = Duration::from_millis(200);
/// How long to wait before a subscription that the upstream ended is made again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long an upstream may take to acknowledge a subscription.
const ACKNOWLEDGE_TIME: Duration = Duration::from_secs(10);

/// Which revisions to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eras {
    /// The current one, then those with a handshake.
    All,
    /// Those with a handshake.
    Legacy,
}

/// The link.
pub struct ChannelLink {
    mux: Arc<Mux>,
    revision: Revision,
    identity: Arc<Identity>,
    about_us: AboutUs,
    timeout: Duration,
    level: Mutex<Option<Level>>,
    watches: Watches,
    tasks: Tasks,
    end: Arc<End>,
    /// Cancelled to have the channel closed in good order.
    closing: CancellationToken,
    /// Cancelled once it is closed.
    closed: CancellationToken,
}

/// What a link is made of beside its channel.
pub(super) struct Setup {
    pub(super) about_us: AboutUs,
    pub(super) timeout: Duration,
    pub(super) tasks: Tasks,
    pub(super) end: Arc<End>,
    pub(super) closing: CancellationToken,
    pub(super) closed: CancellationToken,
}

impl ChannelLink {
    /// Finds out who is at the other end and in which revision to speak.
    pub(super) async fn establish(
        mux: Arc<Mux>,
        eras: Eras,
        user: &User,
        setup: Setup,
    ) -> Result<Arc<Self>, LinkError> {
        let met = async {
            let modern = if eras == Eras::All { discover(&mux, &setup.about_us).await? } else { None };
            match modern {
                Some(identity) => Ok((Revision::CURRENT, identity)),
                None => shake_hands(&mux, user, &setup).await,
            }
        };
        let met = tokio::select! {
            met = met => met,
            fault = setup.end.wait() => Err(fault.into()),
        };
        let (revision, identity) = match met {
            Ok(met) => met,
            // The channel may break a moment before it is known why.
            Err(error) if error.may_pass() => {
                return Err(timeout(REASON_TIME, setup.end.wait()).await.map_or(error, LinkError::from));
            }
            Err(error) => return Err(error),
        };
        let Setup { about_us, timeout, tasks, end, closing, closed } = setup;
        let (level, watches) = (Mutex::default(), Watches::default());
        let link = Self { mux, revision, identity, about_us, timeout, level, watches, tasks, end, closing, closed };
        if revision.is_modern()
            && let Some(filter) = changes::lists(&link.identity.capabilities)
        {
            let listening = Listen { mux: Arc::clone(&link.mux), about_us: link.about_us.clone(), filter };
            let over = link.tasks.stopping();
            // Nobody waits for the acknowledgement: changes of lists are heard of from when they can be.
            link.tasks.spawn("subscription at an upstream", OnEnd::Done, listening.hold(over, oneshot::channel().0));
        }
        Ok(Arc::new(link))
    }

    async fn ask(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        self.level_for(ctx).await?;
        let takes_logs = ctx.log_level.is_some();
        let patience = Patience::new(self.timeout);
        let params = |id| match self.revision.is_modern() {
            true => outgoing::modern(&request.params, ctx, id, &self.about_us),
            false => outgoing::legacy(&request.params, ctx, id),
        };
        let slow = |_| self.slow(&request.method);
        let open = self.mux.open(&request.method, takes_logs, params);
        let mut open = timeout_at(patience.until(), open).await.map_err(slow)??;
        let outcome = loop {
            tokio::select! {
                biased;
                Some(notification) = open.side.recv() => side::pass_on(&notification, open.id, ctx).await,
                outcome = timeout_at(patience.until(), &mut open.answer) => break outcome.map_err(slow)?,
            }
        };
        open.unfinished.over = true;
        while let Ok(notification) = open.side.try_recv() {
            side::pass_on(&notification, open.id, ctx).await;
        }
        let result = outcome.map_err(|_| self.gone())??;
        let reply = match self.revision.is_modern() {
            true => answer::modern(result),
            false => answer::legacy(&request.method, result),
        };
        Ok(reply.map_err(|fault| fault.context(&self.mux.name))?)
    }

    /// Has an upstream of a session log as much as this caller wants to hear; what others get is sifted on the way.
    async fn level_for(&self, ctx: &Ctx) -> Result<(), LinkError> {
        let Some(wanted) = ctx.log_level.filter(|_| !self.revision.is_modern()) else { return Ok(()) };
        let told = *self.level.lock();
        if self.identity.capabilities.get("logging").is_none() || told.is_some_and(|told| told <= wanted) {
            return Ok(());
        }
        *self.level.lock() = Some(wanted);
        let params = wire::raw(&json!({ "level": outgoing::level_text(wanted) }));
        own(&self.mux, "logging/setLevel", params, self.timeout).await.map(drop)
    }

    fn slow(&self, method: &str) -> Fault {
        Fault::timeout(format!("{} did not answer {method} in {} s", self.mux.name, self.timeout.as_secs_f32()))
    }

    fn gone(&self) -> Fault {
        self.end.reason().unwrap_or_else(|| Fault::unavailable(format!("{} is gone", self.mux.name)))
    }
}

/// A request of our own.
async fn own(mux: &Arc<Mux>, method: &str, params: Box<RawValue>, limit: Duration) -> Result<Box<RawValue>, LinkError> {
    let slow = |_| Fault::timeout(format!("{} did not answer {method} in {} s", mux.name, limit.as_secs_f32()));
    let asked = async {
        let mut open = mux.open(method, false, |_| Ok(params)).await?;
        // Ours are few and short: an upstream that does not answer them is not told that nobody waits.
        open.unfinished.over = true;
        (&mut open.answer).await.map_err(|_| Fault::unavailable(format!("{} is gone", mux.name)))?
    };
    timeout(limit, asked).await.map_err(slow)?
}

/// Asks in the current revision. `None`: whoever is there does not speak it.
async fn discover(mux: &Arc<Mux>, about_us: &AboutUs) -> Result<Option<Arc<Identity>>, LinkError> {
    let found = match own(mux, "server/discover", handshake::discover_params(about_us), PROBE_TIME).await {
        Ok(result) => handshake::spoken(&mux.name, Ok(result)),
        Err(LinkError::Rpc(error)) => handshake::spoken(&mux.name, Err(*error)),
        // Silence is how some older servers take a request they do not know.
        Err(LinkError::Fault(fault)) if fault.code == Code::Timeout => Ok(None),
        Err(error) => Err(error),
    };
    found.map(|found| found.map(|found| found.identity))
}

async fn shake_hands(mux: &Arc<Mux>, user: &User, setup: &Setup) -> Result<(Revision, Arc<Identity>), LinkError> {
    let wanted = user.revision.filter(|revision| !revision.is_modern()).unwrap_or(Revision::NEWEST_LEGACY);
    let params = handshake::initialize_params(wanted, user.client.as_deref(), &setup.about_us);
    let result = own(mux, "initialize", params, setup.timeout).await?;
    let met = handshake::initialized(&result).map_err(|fault| fault.context(&mux.name))?;
    mux.send(wire::notification_text("notifications/initialized", None)).await?;
    Ok(met)
}

/// A subscription of the current revision over a shared channel.
struct Listen {
    mux: Arc<Mux>,
    about_us: AboutUs,
    filter: serde_json::Value,
}

impl Listen {
    async fn open(&self) -> Result<Open, LinkError> {
        let filter = self.filter.to_string();
        let base = handshake::discover_params(&self.about_us);
        let params = edited(Some(&base), &[("notifications", Edit::Set(&filter))]).and_then(RawValue::from_string);
        let params = params.map_err(|error| Fault::internal(error.to_string()))?;
        self.mux.open("subscriptions/listen", false, |_| Ok(params)).await
    }

    /// Holds it until `over`; tells `acknowledged` when the upstream has taken it, or why it did not.
    async fn hold(self, over: CancellationToken, acknowledged: oneshot::Sender<Result<(), LinkError>>) {
        let mut acknowledged = Some(acknowledged);
        let mut tell = |told| acknowledged.take().is_some_and(|tell| tell.send(told).is_ok());
        loop {
            let error = match self.open().await {
                Ok(mut open) => loop {
                    tokio::select! {
                        Some(_) = open.side.recv() => {
                            tell(Ok(()));
                        }
                        outcome = &mut open.answer => break outcome.ok().and_then(Result::err),
                        () = over.cancelled() => return,
                    }
                },
                Err(error) => Some(error),
            };
            // Without an error the upstream ended it in good order; it may be asked again.
            if let Some(error) = error {
                tracing::debug!(upstream = self.mux.name, %error, "no subscription");
                tell(Err(error));
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

#[async_trait]
impl Link for ChannelLink {
    fn identity(&self) -> Arc<Identity> {
        self.identity.clone()
    }

    fn revision(&self) -> Revision {
        self.revision
    }

    async fn request(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        if let Some(fault) = self.end.reason() {
            return Err(LinkError::unsent(fault).into());
        }
        let work = async {
            let mut reply = self.ask(request, ctx).await?;
            let mut rounds = Rounds::default();
            while let Some(again) = rounds.next(request, &reply, ctx).await? {
                reply = self.ask(&again, ctx).await?;
            }
            Ok(reply)
        };
        unless_cancelled(ctx, &request.method, work).await
    }

    async fn notify(&self, notification: &Notification, _ctx: &Ctx) -> Result<(), LinkError> {
        let text = wire::notification_text(&notification.method, notification.params.raw.as_deref());
        let slow = |_| self.slow(&notification.method);
        Ok(timeout(self.timeout, self.mux.send(text)).await.map_err(slow)??)
    }

    async fn watch(&self, uri: &str, _ctx: &Ctx) -> Result<Watch, LinkError> {
        let (watch, begun) = self.watches.add(uri)?;
        let Some(over) = begun else { return Ok(watch) };
        if self.revision.is_modern() {
            let (tell, told) = oneshot::channel();
            let listen =
                Listen { mux: Arc::clone(&self.mux), about_us: self.about_us.clone(), filter: changes::resource(uri) };
            self.tasks.spawn("subscription at an upstream", OnEnd::Done, listen.hold(over, tell));
            let slow = |_| Fault::timeout(format!("{} did not acknowledge a subscription in time", self.mux.name));
            timeout(ACKNOWLEDGE_TIME, told).await.map_err(slow)?.map_err(|_| self.gone())??;
            return Ok(watch);
        }
        own(&self.mux, "resources/subscribe", wire::raw(&json!({ "uri": uri })), self.timeout).await?;
        let (mux, params, limit) = (Arc::clone(&self.mux), wire::raw(&json!({ "uri": uri })), self.timeout);
        let stopping = self.tasks.stopping();
        self.tasks.spawn("watch at an upstream", OnEnd::Done, async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = stopping.cancelled() => return,
            }
            if let Err(error) = own(&mux, "resources/unsubscribe", params, limit).await {
                tracing::debug!(upstream = mux.name, %error, "unsubscribing failed");
            }
        });
        Ok(watch)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.mux.changes()
    }

    async fn ended(&self) -> Fault {
        self.end.wait().await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
        self.tasks.stop_because("the link was closed");
    }
}
