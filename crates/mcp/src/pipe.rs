//! A client at the other end of a channel that carries messages both ways, one client for its whole life: what stdio and the oldest
//! HTTP transport have in common.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use kernel::{Caller, OnEnd, Tasks};
use parking_lot::Mutex;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::conversation::{Conversation, Seat, cancelled_id, context, negotiate, welcome};
use crate::ctx::Ctx;
use crate::error::{RpcError, codes};
use crate::handler::Handler;
use crate::listen::{Listener, Subscription};
use crate::peer::Peer;
use crate::reply::Reply;
use crate::revision::Revision;
use crate::stateless::{self, answer_text};
use crate::wire::{self, Id, Message, Notification, Request};

/// Requests of one client that may be under way at once.
const REQUESTS_MAX: usize = 1_024;
/// Messages in one batch.
pub(crate) const BATCH_MAX: usize = 100;

/// One client.
pub(crate) struct Pipe {
    handler: Arc<dyn Handler>,
    caller: Arc<Caller>,
    /// Owner of the client's requests.
    tasks: Tasks,
    out: mpsc::Sender<String>,
    /// There from the handshake on, if the client shakes hands.
    conversation: OnceLock<Arc<Conversation>>,
    /// Requests that stand alone, while they are being worked on.
    alone: Mutex<HashMap<Id, CancellationToken>>,
}

impl Pipe {
    /// A client that hears what is sent to `out`.
    pub(crate) fn new(
        handler: Arc<dyn Handler>,
        caller: Caller,
        tasks: &Tasks,
        out: mpsc::Sender<String>,
    ) -> Arc<Self> {
        let (caller, tasks) = (Arc::new(caller), tasks.child());
        Arc::new(Self { handler, caller, tasks, out, conversation: OnceLock::new(), alone: Mutex::default() })
    }

    /// Ends everything the client has under way. Subscriptions end at once; requests have `time` to end by themselves.
    pub(crate) async fn close(&self, time: Duration) {
        if self.tasks.drain(time).await > 0 {
            self.alone.lock().values().for_each(CancellationToken::cancel);
            if let Some(conversation) = self.conversation.get() {
                conversation.take_all_back();
            }
            self.tasks.drain(time).await;
        }
        if let Some(conversation) = self.conversation.get() {
            conversation.ended().cancel();
        }
    }

    /// Takes what the client sent: a message, or (in the revisions that have them) a batch. Answers go out when they are there.
    pub(crate) async fn take(self: &Arc<Self>, body: &[u8]) {
        if body.trim_ascii_start().first() == Some(&b'[') {
            return self.take_batch(body).await;
        }
        match Message::parse(body) {
            Ok(Message::Request(request)) => self.request(request).await,
            Ok(other) => self.other(other),
            Err(unreadable) => self.send(wire::error_text(unreadable.id.as_ref(), &unreadable.error)).await,
        }
    }

    async fn send(&self, text: String) {
        // An error means that the client left; whoever reads it finds out by himself.
        self.out.send(wire::one_line(text)).await.ok();
    }

    async fn request(self: &Arc<Self>, request: Request) {
        if self.tasks.running() > REQUESTS_MAX {
            let error = RpcError::internal(format!("more than {REQUESTS_MAX} requests are under way"));
            return self.send(wire::error_text(Some(&request.id), &error)).await;
        }
        let work = self.work_on(request);
        let pipe = Arc::clone(self);
        self.tasks.spawn("request", OnEnd::Done, async move {
            if let Some(text) = work.await {
                pipe.send(text).await;
            }
        });
    }

    /// The work on a request, and the text of its answer at the end; none when the client took it back.
    fn work_on(self: &Arc<Self>, request: Request) -> BoxFuture<'static, Option<String>> {
        let pipe = Arc::clone(self);
        if stateless::is_stated(&request.params.meta) || request.method == "server/discover" {
            async move { pipe.stand_alone(request).await }.boxed()
        } else {
            // Said before anything else of the client is read, so that what follows finds the conversation begun.
            let began = (request.method == "initialize").then(|| self.begin(&request));
            async move { pipe.converse(request, began).await }.boxed()
        }
    }

    /// A request of the current revision.
    async fn stand_alone(&self, request: Request) -> Option<String> {
        let identity = self.handler.identity();
        let id = request.id.clone();
        let meta = &request.params.meta;
        let answer = match stateless::stated(meta).and_then(|stated| stateless::made_in(meta, stated)) {
            Err(error) => Err(error),
            Ok(_) if request.method == "server/discover" => Ok(stateless::discover(&identity)),
            Ok(_) if stateless::REMOVED.contains(&request.method.as_str()) => {
                Err(RpcError::method_not_found(&request.method))
            }
            Ok(made) => {
                let ctx = context(meta, self.seat(Peer::new(self.out.clone())), made);
                let cancel = ctx.cancel.clone();
                let twice = self.alone.lock().contains_key(&id);
                if twice {
                    Err(RpcError::invalid_request(format!("a request with id {id} is under way")))
                } else {
                    self.alone.lock().insert(id.clone(), cancel.clone());
                    let answer = self.run(request, ctx).await;
                    self.alone.lock().remove(&id);
                    // None is wanted by a client that took the request back.
                    answer.filter(|_| !cancel.is_cancelled())?
                }
            }
        };
        Some(answer_text(&id, &answer, &identity))
    }

    async fn run(&self, request: Request, ctx: Ctx) -> Option<Result<Reply, RpcError>> {
        if request.method == "subscriptions/listen" {
            return self.listen(&request, &ctx).await.err().map(Err);
        }
        Some(self.handler.handle(request, ctx).await)
    }

    /// Tells of changes until the client has heard enough or the pipe closes.
    async fn listen(&self, request: &Request, ctx: &Ctx) -> Result<(), RpcError> {
        let subscription = Subscription::open(request, ctx, &*self.handler).await?;
        let mut listener = Listener::new(subscription, self.handler.changes(), self.tasks.stopping());
        loop {
            let message = tokio::select! {
                message = listener.next() => message,
                () = ctx.cancel.cancelled() => return Ok(()),
            };
            let Some(message) = message else { break };
            self.send(message).await;
        }
        // On a channel that is shared by all requests an end is announced beside the answer.
        let ended = wire::raw(&json!({ "requestId": request.id }));
        self.send(wire::notification_text("notifications/cancelled", Some(&ended))).await;
        Ok(())
    }

    fn seat(&self, peer: Peer) -> Seat {
        Seat { caller: Arc::clone(&self.caller), peer, traceparent: None }
    }

    /// Begins the conversation.
    fn begin(&self, request: &Request) -> Result<Reply, RpcError> {
        let (revision, client) = negotiate(&request.params)?;
        let id = kernel::ids::new_id("session");
        let conversation = Arc::new(Conversation::new(&id, revision, client, self.out.clone()));
        let reply = welcome(&self.handler.identity(), revision);
        if self.conversation.set(Arc::clone(&conversation)).is_err() {
            return Err(RpcError::invalid_request("this session has been initialized already"));
        }
        let (out, stopping, mut changes) = (self.out.clone(), self.tasks.stopping(), self.handler.changes());
        self.tasks.spawn("changes", OnEnd::Done, async move {
            loop {
                let change = tokio::select! {
                    change = changes.recv() => change,
                    () = stopping.cancelled() => return,
                };
                let news = match change {
                    Ok(change) => conversation.news(&change).into_iter().collect(),
                    Err(RecvError::Lagged(_)) => conversation.missed(),
                    Err(RecvError::Closed) => return,
                };
                for text in news {
                    out.send(text).await.ok();
                }
            }
        });
        Ok(reply)
    }

    /// A request of a client that shook hands, or does so now.
    async fn converse(&self, request: Request, began: Option<Result<Reply, RpcError>>) -> Option<String> {
        let id = request.id.clone();
        let answer = match (began, self.conversation.get()) {
            (Some(began), _) => began,
            (None, Some(conversation)) => {
                let peer = Peer::with_calls(self.out.clone(), Arc::clone(&conversation.calls));
                match conversation.begin(&request, self.seat(peer)) {
                    Ok((ctx, _under_way)) => {
                        let cancel = ctx.cancel.clone();
                        let answer = conversation.answer(&*self.handler, request, ctx).await;
                        if cancel.is_cancelled() {
                            return None;
                        }
                        answer
                    }
                    Err(error) => Err(error),
                }
            }
            (None, None) if request.method == "ping" => Ok(Reply::complete(&json!({}))),
            (None, None) => {
                let message = "send `initialize` first, or make requests of revision 2026-07-28, which stand alone";
                Err(RpcError::invalid_request(message))
            }
        };
        Some(match answer {
            Ok(reply) => wire::result_text(&id, &reply.body),
            Err(error) => wire::error_text(Some(&id), &error),
        })
    }

    /// Takes what wants no answer.
    fn other(self: &Arc<Self>, message: Message) {
        match message {
            Message::Notification(notification) => self.hear(notification),
            Message::Response(response) => {
                if let Some(conversation) = self.conversation.get() {
                    // One that nobody waits for any more came too late; that is nobody's fault.
                    conversation.calls.answered(response);
                }
            }
            Message::Request(_) => {}
        }
    }

    fn hear(self: &Arc<Self>, notification: Notification) {
        if notification.method == "notifications/cancelled"
            && let Some(id) = cancelled_id(&notification.params)
            && let Some(cancel) = self.alone.lock().get(&id)
        {
            return cancel.cancel();
        }
        let Some(conversation) = self.conversation.get().map(Arc::clone) else { return };
        let pipe = Arc::clone(self);
        let hear = async move {
            conversation.hear(&*pipe.handler, notification, pipe.seat(Peer::none())).await;
        };
        // A handler that takes its time over a notification must not keep the next message waiting.
        self.tasks.spawn("notification", OnEnd::Done, hear);
    }

    async fn take_batch(self: &Arc<Self>, body: &[u8]) {
        let has_batches = self.conversation.get().is_some_and(|one| one.revision <= Revision::V2025_03_26);
        let messages = if has_batches {
            read_batch(body)
        } else {
            Err(RpcError::invalid_request("there are no batches here: send one message at a time"))
        };
        let messages = match messages {
            Ok(messages) => messages,
            Err(error) => return self.send(wire::error_text(None, &error)).await,
        };
        let mut answers: Vec<BoxFuture<'static, Option<String>>> = Vec::new();
        for message in messages {
            match Message::parse(message.get().as_bytes()) {
                Ok(Message::Request(request)) => answers.push(self.work_on(request)),
                Ok(other) => self.other(other),
                Err(unreadable) => {
                    let text = wire::error_text(unreadable.id.as_ref(), &unreadable.error);
                    answers.push(std::future::ready(Some(text)).boxed());
                }
            }
        }
        if answers.is_empty() {
            return;
        }
        let pipe = Arc::clone(self);
        self.tasks.spawn("batch", OnEnd::Done, async move {
            let texts: Vec<String> = join_all(answers).await.into_iter().flatten().collect();
            pipe.send(format!("[{}]", texts.join(","))).await;
        });
    }
}

/// Reads a batch.
pub(crate) fn read_batch(body: &[u8]) -> Result<Vec<&RawValue>, RpcError> {
    wire::check_depth(body, kernel::limits::JSON_DEPTH_MAX)?;
    let messages: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|error| RpcError::new(codes::PARSE, format!("not JSON: {error}")))?;
    match messages.len() {
        1..=BATCH_MAX => Ok(messages),
        0 => Err(RpcError::invalid_request("an empty batch")),
        more => Err(RpcError::invalid_request(format!("{more} messages in a batch; at most {BATCH_MAX} are taken"))),
    }
}
