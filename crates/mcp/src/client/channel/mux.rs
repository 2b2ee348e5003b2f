//! Many requests over one channel: answers find their callers by number, and what comes on the way finds the call it belongs to.
//!
//! Nothing here waits for a slow caller: what a caller does not take in time is dropped and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use kernel::{Fault, OnEnd, Tasks};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::super::changes::change_of;
use super::super::{LinkError, ask, side};
use crate::error::RpcError;
use crate::handler::{CHANGES_MAX, Change};
use crate::peer::Peer;
use crate::wire::{self, Id, Message, Notification, Request};

/// Messages waiting to be written before callers wait.
const OUT_MAX: usize = 256;
/// Notifications waiting for one caller.
const SIDE_MAX: usize = 64;
/// Questions of the upstream being answered at once.
const QUESTIONS_MAX: usize = 16;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Heard {
    /// Somebody waited for it.
    Wanted,
    /// Nobody did.
    Unwanted,
    /// It is no message.
    Garbage,
}

struct Pending {
    answer: oneshot::Sender<Result<Box<RawValue>, LinkError>>,
    side: mpsc::Sender<Notification>,
    takes_logs: bool,
}

/// One channel's traffic.
pub(in super::super) struct Mux {
    /// Who is at the other end, for messages.
    pub(in super::super) name: String,
    out: mpsc::Sender<String>,
    next_id: AtomicI64,
    pending: Mutex<HashMap<i64, Pending>>,
    changes: broadcast::Sender<Change>,
    /// Whom the upstream may ask.
    peer: Option<Peer>,
    questions: AtomicU64,
    dropped: AtomicU64,
    tasks: Tasks,
}

/// A request under way.
pub(super) struct Open {
    /// Its number.
    pub(super) id: i64,
    /// What the upstream says on the way.
    pub(super) side: mpsc::Receiver<Notification>,
    /// How it ends.
    pub(super) answer: oneshot::Receiver<Result<Box<RawValue>, LinkError>>,
    /// Forgets the request when dropped, and says so to the upstream unless it was answered.
    pub(super) unfinished: Unfinished,
}

pub(super) struct Unfinished {
    mux: Arc<Mux>,
    id: i64,
    /// Whether the upstream needs not be told.
    pub(super) over: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let waiting = self.mux.pending.lock().remove(&self.id).is_some();
        if waiting && !self.over {
            let params = wire::raw(&json!({ "requestId": self.id, "reason": "nobody waits for the answer any more" }));
            let text = wire::notification_text("notifications/cancelled", Some(&params));
            // When even this finds no room the upstream reads nothing at all, and its end is near.
            if self.mux.out.try_send(text).is_err() {
                tracing::debug!(upstream = self.mux.name, "cancellation not delivered");
            }
        }
    }
}

impl Mux {
    /// A channel to `name`, and what is to be written into it. The writer ends when the channel's owner does.
    pub(in super::super) fn new(name: &str, peer: Option<Peer>, tasks: Tasks) -> (Arc<Self>, mpsc::Receiver<String>) {
        let (out, written) = mpsc::channel(OUT_MAX);
        let mux = Self {
            name: name.into(),
            out,
            next_id: AtomicI64::new(1),
            pending: Mutex::default(),
            changes: broadcast::channel(CHANGES_MAX).0,
            peer,
            questions: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            tasks,
        };
        (Arc::new(mux), written)
    }

    /// Begins a request. `params` is given the request's number.
    pub(super) async fn open(
        self: &Arc<Self>,
        method: &str,
        takes_logs: bool,
        params: impl FnOnce(i64) -> Result<Box<RawValue>, RpcError>,
    ) -> Result<Open, LinkError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let text = wire::request_text(&Id::Number(id), method, Some(&*params(id)?));
        let (answer, answered) = oneshot::channel();
        let (side, sided) = mpsc::channel(SIDE_MAX);
        self.pending.lock().insert(id, Pending { answer, side, takes_logs });
        let mut unfinished = Unfinished { mux: Arc::clone(self), id, over: true };
        self.send(text).await?;
        unfinished.over = false;
        Ok(Open { id, side: sided, answer: answered, unfinished })
    }

    /// Sends a whole message.
    pub(in super::super) async fn send(&self, text: String) -> Result<(), Fault> {
        self.out.send(text).await.map_err(|_| Fault::unavailable(format!("{} is gone", self.name)))
    }

    /// Takes a line that came.
    pub(in super::super) fn hear(self: &Arc<Self>, line: &[u8]) -> Heard {
        match Message::read(line) {
            Ok(Message::Response(response)) => match response.id {
                Some(Id::Number(id)) => self.settle(id, response.outcome.map_err(LinkError::from)),
                _ => Heard::Unwanted,
            },
            Ok(Message::Notification(notification)) => self.told(notification),
            Ok(Message::Request(asked)) => self.asked(asked),
            Err(unreadable) => match unreadable.id {
                Some(Id::Number(id)) if self.pending.lock().contains_key(&id) => {
                    let text = format!("{}: not an answer: {}", self.name, unreadable.error.message);
                    self.settle(id, Err(Fault::upstream(text).into()))
                }
                _ => Heard::Garbage,
            },
        }
    }

    /// Ends one request.
    pub(in super::super) fn settle(&self, id: i64, outcome: Result<Box<RawValue>, LinkError>) -> Heard {
        let pending = self.pending.lock().remove(&id);
        match pending.map(|pending| pending.answer.send(outcome)) {
            Some(Ok(())) => Heard::Wanted,
            // Its caller left, or it was never asked.
            _ => Heard::Unwanted,
        }
    }

    /// Ends all requests.
    pub(in super::super) fn fail_all(&self, fault: &Fault) {
        let pending: Vec<Pending> = self.pending.lock().drain().map(|(_, pending)| pending).collect();
        for pending in pending {
            // An error means that its caller left.
            pending.answer.send(Err(fault.clone().into())).ok();
        }
    }

    /// The only request under way, if there is one.
    pub(in super::super) fn only(&self) -> Option<i64> {
        let pending = self.pending.lock();
        let mut ids = pending.keys();
        ids.next().copied().filter(|_| ids.next().is_none())
    }

    fn told(&self, notification: Notification) -> Heard {
        if let Some(change) = change_of(&notification) {
            // An error means that nobody listens.
            self.changes.send(change).ok();
            return Heard::Wanted;
        }
        let sender = {
            let pending = self.pending.lock();
            let call = match notification.method.as_str() {
                "notifications/progress" => side::token_of(&notification).and_then(|id| pending.get(&id)),
                "notifications/subscriptions/acknowledged" => {
                    subscription_of(&notification).and_then(|id| pending.get(&id))
                }
                // Nothing says which call a log line belongs to. With one that takes them there is no doubt.
                "notifications/message" => {
                    let mut taking = pending.values().filter(|pending| pending.takes_logs);
                    taking.next().filter(|_| taking.next().is_none())
                }
                _ => None,
            };
            call.map(|pending| pending.side.clone())
        };
        let Some(sender) = sender else { return Heard::Unwanted };
        if sender.try_send(notification).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(upstream = self.name, dropped, "notifications dropped: a caller cannot keep up");
            }
            return Heard::Unwanted;
        }
        Heard::Wanted
    }

    fn asked(self: &Arc<Self>, asked: Request) -> Heard {
        if self.questions.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX as u64 {
            self.questions.fetch_sub(1, Ordering::Relaxed);
            return Heard::Unwanted;
        }
        let (mux, stopping) = (Arc::clone(self), self.tasks.stopping());
        self.tasks.spawn("question of an upstream", OnEnd::Done, async move {
            let answered = async {
                let outcome = ask::answered(&asked, mux.peer.as_ref()).await;
                if let Err(fault) = mux.send(ask::answer_text(&asked.id, &outcome)).await {
                    tracing::debug!(upstream = mux.name, %fault, "an answer was not taken");
                }
            };
            tokio::select! {
                () = answered => {}
                () = stopping.cancelled() => {}
            }
            mux.questions.fetch_sub(1, Ordering::Relaxed);
        });
        Heard::Wanted
    }

    /// Changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

fn subscription_of(notification: &Notification) -> Option<i64> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "_meta")]
        meta: ToldMeta,
    }
    #[derive(Deserialize)]
    struct ToldMeta {
        #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
        id: i64,
    }
    serde_json::from_str::<Told>(notification.params.raw.as_deref()?.get()).ok().map(|told| told.meta.id)
}
