//! A request while it is being worked on: plain JSON if the answer is all there is to say, events if something is said before it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{Response, StatusCode};
use kernel::{OnEnd, Tasks};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::{events, reply};

/// Events waiting for a slow client before the sender waits too.
const EVENTS_MAX: usize = 16;

/// How a request ended.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status, if it is all there is to say.
    pub(super) status: StatusCode,
    /// The message.
    pub(super) text: String,
}

/// A request's work. When it is dropped unfinished, because the client left, it goes on by itself until it has seen that it was
/// cancelled, so that it can end in good order: a call leaves its row in the audit trail however it ends.
pub(super) struct Work {
    future: Option<BoxFuture<'static, Answer>>,
    leaving_cancels: Option<CancellationToken>,
    tasks: Tasks,
}

impl Work {
    /// Work that is cancelled when its client leaves.
    pub(super) fn cancelled_by_leaving(
        future: BoxFuture<'static, Answer>,
        tasks: &Tasks,
        cancel: CancellationToken,
    ) -> Self {
        Self { future: Some(future), leaving_cancels: Some(cancel), tasks: tasks.clone() }
    }

    /// Work that goes on when its client leaves: in the revisions with a handshake a lost connection takes nothing back.
    pub(super) fn unmoved_by_leaving(future: BoxFuture<'static, Answer>, tasks: &Tasks) -> Self {
        Self { future: Some(future), leaving_cancels: None, tasks: tasks.clone() }
    }
}

impl Future for Work {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        let answer = ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(answer)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        if let Some(cancel) = &self.leaving_cancels {
            cancel.cancel();
        }
        self.tasks.spawn("request whose client left", OnEnd::Done, async move {
            future.await;
        });
    }
}

/// Waits for the answer or the first message before it, whichever is first.
pub(super) async fn first(work: &mut Work, messages: &mut Receiver<String>, let_go: &Notify) -> First {
    let answer = tokio::select! {
        biased;
        answer = &mut *work => answer,
        Some(message) = messages.recv() => return First::Message(message),
        () = let_go.notified() => return First::LetGo,
    };
    let mut before = Vec::new();
    while let Ok(message) = messages.try_recv() {
        before.push(message);
    }
    First::Answer(before, answer)
}

/// What comes first.
pub(super) enum First {
    /// The answer, after these messages.
    Answer(Vec<String>, Answer),
    /// A message, while the work goes on.
    Message(String),
    /// The work goes on, and wants the connection let go.
    LetGo,
}

/// The response to a request of the current revision.
pub(super) async fn respond(mut work: Work, mut messages: Receiver<String>, keep_alive: Duration) -> Response<Body> {
    // Nobody tells this one: in the current revision a connection that is gone takes its request along.
    match first(&mut work, &mut messages, &Notify::new()).await {
        First::Answer(before, answer) if before.is_empty() => reply::json(answer.status, answer.text),
        First::Answer(before, answer) => {
            let all: Vec<u8> =
                before.into_iter().chain([answer.text]).flat_map(|text| Vec::from(events::event(text))).collect();
            reply::events(Body::Whole(all.into()))
        }
        began => {
            let (out, body) = channel();
            if let First::Message(message) = began {
                // The channel is new and has room.
                out.try_send(events::event(message)).ok();
            }
            let tasks = work.tasks.clone();
            tasks.spawn("request with events", OnEnd::Done, pump(work, messages, out, keep_alive));
            reply::events(body)
        }
    }
}

/// A body of events and where to send them.
pub(super) fn channel() -> (Sender<Bytes>, Body) {
    let (out, events) = mpsc::channel(EVENTS_MAX);
    let next = |mut events: Receiver<Bytes>| async move { events.recv().await.map(|event| (event, events)) };
    (out, Body::Events(Box::pin(stream::unfold(events, next))))
}

async fn pump(mut work: Work, mut messages: Receiver<String>, out: Sender<Bytes>, keep_alive: Duration) {
    let answer = tokio::select! {
        answer = &mut work => answer,
        // Both end only when the client has left; dropping the work then cancels it and lets it end.
        () = forward(&mut messages, &out, keep_alive) => return,
        () = out.closed() => return,
    };
    while let Ok(message) = messages.try_recv() {
        if out.send(events::event(message)).await.is_err() {
            return;
        }
    }
    // An error means that the client left before the end.
    out.send(events::event(answer.text)).await.ok();
}

async fn forward(messages: &mut Receiver<String>, out: &Sender<Bytes>, keep_alive: Duration) {
    // Room first, then the message: a message taken can always be sent, so none is lost when the answer comes in between.
    while let Ok(room) = out.reserve().await {
        tokio::select! {
            biased;
            Some(message) = messages.recv() => room.send(events::event(message)),
            () = tokio::time::sleep(keep_alive) => room.send(events::KEEP_ALIVE),
        }
    }
}
