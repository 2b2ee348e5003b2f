//! `subscriptions/listen`: a stream of changes that is opened again whenever it breaks.

use std::time::Duration;

use kernel::backoff::Backoff;
use kernel::{Caller, Fault, OnEnd, Role, Tasks};
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::LinkError;
use super::super::changes::{all, change_of};
use super::super::handshake;
use super::super::outgoing::AboutUs;
use super::modern::modern_headers;
use super::{Endpoint, Events, Posted, sort};
use crate::handler::Change;
use crate::splice::{Edit, edited};
use crate::wire::{self, Id, Message};

/// How long an upstream may take to acknowledge.
const ACKNOWLEDGE_TIME: Duration = Duration::from_secs(10);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(30) };

/// How far the first stream came.
#[derive(Debug, Clone)]
enum State {
    Opening,
    Open,
    Refused(LinkError),
}

/// A subscription.
pub(super) struct Listening(watch::Receiver<State>);

impl Listening {
    /// Waits until the upstream has acknowledged it.
    ///
    /// # Errors
    /// When it refuses, or says nothing in time.
    pub(super) async fn acknowledged(mut self) -> Result<(), LinkError> {
        let slow = || LinkError::from(Fault::timeout("the upstream did not acknowledge a subscription in time"));
        let settled = self.0.wait_for(|state| !matches!(state, State::Opening));
        match timeout(ACKNOWLEDGE_TIME, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Refused(error) => Err(error.clone()),
                _ => Ok(()),
            },
            _ => Err(slow()),
        }
    }
}

/// Listens until `over`.
pub(super) fn start(
    endpoint: Endpoint,
    about_us: AboutUs,
    filter: Value,
    changes: broadcast::Sender<Change>,
    over: CancellationToken,
    tasks: &Tasks,
) -> Listening {
    let (state, listening) = watch::channel(State::Opening);
    let (stopping, all_over) = (tasks.stopping(), over);
    tasks.spawn("subscription at an upstream", OnEnd::Done, async move {
        let listener = Listener { endpoint, about_us, filter, changes, state };
        tokio::select! {
            () = listener.run() => {}
            () = all_over.cancelled() => {}
            () = stopping.cancelled() => {}
        }
    });
    Listening(listening)
}

struct Listener {
    endpoint: Endpoint,
    about_us: AboutUs,
    filter: Value,
    changes: broadcast::Sender<Change>,
    state: watch::Sender<State>,
}

impl Listener {
    /// Opens the stream again and again; ends only when the upstream does not know such streams.
    async fn run(self) {
        let mut failures = 0;
        loop {
            match self.listen(&mut failures).await {
                // A good end: the upstream is being stopped, and may be back.
                Ok(()) => failures += 1,
                Err(LinkError::Rpc(error)) => {
                    tracing::info!(host = self.endpoint.host, %error, "an upstream takes no subscriptions");
                    self.state.send_replace(State::Refused(LinkError::Rpc(error)));
                    return;
                }
                Err(LinkError::Fault(fault)) => {
                    failures += 1;
                    tracing::debug!(host = self.endpoint.host, %fault, failures, "subscription broke off");
                    if failures > 1 && matches!(*self.state.borrow(), State::Opening) {
                        self.state.send_replace(State::Refused(LinkError::Fault(fault)));
                    }
                }
            }
            tokio::time::sleep(BACKOFF.wait(failures)).await;
        }
    }

    async fn listen(&self, failures: &mut u32) -> Result<(), LinkError> {
        let mut events = timeout(ACKNOWLEDGE_TIME, self.open())
            .await
            .map_err(|_| Fault::timeout("the upstream did not answer subscriptions/listen in time"))??;
        while let Some(message) = events.message(&self.endpoint.host).await? {
            match message {
                Message::Notification(notification)
                    if notification.method == "notifications/subscriptions/acknowledged" =>
                {
                    *failures = 0;
                    if !matches!(self.state.send_replace(State::Open), State::Opening) {
                        // Not the first stream: what happened between the two is unknown.
                        all(&self.filter).into_iter().for_each(|change| self.announce(change));
                    }
                }
                Message::Notification(notification) => {
                    change_of(&notification).into_iter().for_each(|change| self.announce(change));
                }
                Message::Response(response) => return Ok(response.outcome.map(drop)?),
                Message::Request(_) => {}
            }
        }
        Err(Fault::unavailable("the stream of changes broke off").into())
    }

    async fn open(&self) -> Result<Box<Events>, LinkError> {
        let filter = self.filter.to_string();
        let base = handshake::discover_params(&self.about_us);
        let params = edited(Some(&base), &[("notifications", Edit::Set(&filter))])
            .and_then(serde_json::value::RawValue::from_string)
            .map_err(|error| Fault::internal(error.to_string()))?;
        let method = "subscriptions/listen";
        let text = wire::request_text(&Id::Text("listen".into()), method, Some(&params));
        let mut headers = modern_headers(method)?;
        // Nobody in particular listens: what is told goes to whoever may see it.
        self.endpoint.sign(&mut headers, &Caller::new("flotilla", Role::Viewer))?;
        let exchange = self.endpoint.post(text, headers).await?;
        match sort(&self.endpoint, exchange).await? {
            Posted::Stream(events) => Ok(events),
            Posted::Message(_, message) => match *message {
                Message::Response(response) => {
                    response.outcome?;
                    Err(Fault::upstream("an answer instead of a stream of changes").into())
                }
                _ => Err(Fault::upstream("not an answer to subscriptions/listen").into()),
            },
            Posted::Accepted => Err(Fault::upstream("not an answer to subscriptions/listen").into()),
            Posted::Refused(_, fault) => Err(fault.into()),
        }
    }

    fn announce(&self, change: Change) {
        // An error means that nobody listens.
        self.changes.send(change).ok();
    }
}
