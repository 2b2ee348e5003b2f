//! The way back to a client while its request is being worked on: notifications, and (before 2026-07-28) requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::error::RpcError;
use crate::wire::{self, Id, Response};

/// How long a client may take to answer a request of ours: a person may be asked.
pub const CLIENT_ANSWER_TIME: Duration = Duration::from_secs(600);
/// Messages waiting for a slow client before the sender waits too.
pub const QUEUE_MAX: usize = 64;

/// Requests sent to one client and not answered yet.
#[derive(Debug, Default)]
pub struct Calls {
    next: AtomicI64,
    waiting: Mutex<HashMap<Id, oneshot::Sender<Response>>>,
}

impl Calls {
    fn start(&self) -> (Id, oneshot::Receiver<Response>) {
        let id = Id::Text(format!("flotilla-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(id.clone(), sender);
        (id, receiver)
    }

    fn forget(&self, id: &Id) {
        self.waiting.lock().remove(id);
    }

    /// Hands an answer to whoever waits for it. Returns whether somebody did.
    pub fn answered(&self, response: Response) -> bool {
        let waiting = response.id.as_ref().and_then(|id| self.waiting.lock().remove(id));
        waiting.is_some_and(|sender| sender.send(response).is_ok())
    }
}

/// The way back. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    out: Option<mpsc::Sender<String>>,
    calls: Option<Arc<Calls>>,
    let_go: Option<Arc<Notify>>,
}

impl Peer {
    /// A way back for messages only.
    pub fn new(out: mpsc::Sender<String>) -> Self {
        Self { out: Some(out), ..Self::default() }
    }

    /// A way back that also carries requests, whose answers arrive in `calls`.
    pub fn with_calls(out: mpsc::Sender<String>, calls: Arc<Calls>) -> Self {
        Self { out: Some(out), calls: Some(calls), let_go: None }
    }

    /// No way back: nothing is delivered.
    pub fn none() -> Self {
        Self::default()
    }

    /// A way back whose connection can be let go: `let_go` is told when.
    #[must_use]
    pub fn resumable(mut self, let_go: Arc<Notify>) -> Self {
        self.let_go = Some(let_go);
        self
    }

    /// Lets the client's connection go where it knows how to come back for the answer (2025-11-25): for work that will be silent for
    /// long. Does nothing elsewhere.
    pub fn let_go(&self) {
        if let Some(let_go) = &self.let_go {
            let_go.notify_one();
        }
    }

    /// Whether requests can be sent.
    pub fn takes_requests(&self) -> bool {
        self.calls.is_some()
    }

    /// Sends a whole message. Waits while the client is slow; a client that left gets nothing.
    pub async fn send_text(&self, text: String) {
        if let Some(out) = &self.out {
            // An error means that the client left; its request is being cancelled already.
            out.send(text).await.ok();
        }
    }

    /// Sends a notification.
    pub async fn notify(&self, method: &str, params: &impl Serialize) {
        if self.out.is_some() {
            self.send_text(wire::notification_text(method, Some(&wire::raw(params)))).await;
        }
    }

    /// Sends a request and waits for its answer.
    pub async fn request(&self, method: &str, params: &impl Serialize) -> Result<Box<RawValue>, RpcError> {
        let Some(calls) = &self.calls else {
            return Err(RpcError::internal(format!("this client cannot be asked: {method}")));
        };
        let (id, answer) = calls.start();
        self.send_text(wire::request_text(&id, method, Some(&wire::raw(params)))).await;
        let outcome = tokio::time::timeout(CLIENT_ANSWER_TIME, answer).await;
        calls.forget(&id);
        match outcome {
            Ok(Ok(response)) => response.outcome,
            Ok(Err(_)) => Err(RpcError::internal(format!("the client left before it answered {method}"))),
            Err(_) => Err(RpcError::internal(format!("the client did not answer {method} in time"))),
        }
    }
}
