//! The revisions with a handshake, over HTTP: sessions, the standing stream, resumable streams, batches.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use kernel::OnEnd;
use kernel::deprecations::Surface;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver};

use super::body::Body;
use super::replay::Replay;
use super::sessions::HttpSession;
use super::work::{Answer, First, Work, first};
use super::{Door, SESSION_ID, Visit, reply};
use crate::conversation::{Seat, negotiate, welcome};
use crate::error::RpcError;
use crate::peer::{Peer, QUEUE_MAX};
use crate::pipe::read_batch;
use crate::revision::Revision;
use crate::wire::{self, Id, Message, Request};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers a POST of one message.
pub(super) async fn post(door: &Door, visit: Visit, message: Message) -> Response<Body> {
    let message = match message {
        Message::Request(request) if request.method == "initialize" => return initialize(door, &visit, &request),
        other => other,
    };
    let id = match &message {
        Message::Request(request) => Some(&request.id),
        _ => None,
    };
    let session = match session_of(door, &visit) {
        Ok(session) => session,
        Err((status, error)) => return reply::rpc(status, id, &error),
    };
    match message {
        Message::Request(request) => call(door, visit, &session, request).await,
        other => {
            take(&visit, &session, other).await;
            reply::empty(StatusCode::ACCEPTED)
        }
    }
}

fn initialize(door: &Door, visit: &Visit, request: &Request) -> Response<Body> {
    let identity = visit.handler.identity();
    let minted = negotiate(&request.params).and_then(|(revision, client)| {
        let id = door.sessions.mint(&visit.caller, &identity.name, revision, &client)?;
        let id = HeaderValue::from_str(&id).map_err(|_| RpcError::internal("a session id does not fit a header"))?;
        Ok((revision, id))
    });
    match minted {
        Ok((revision, id)) => {
            door.config.saw(&visit.caller, &Surface::Revision(revision.to_string()));
            let text = wire::result_text(&request.id, &welcome(&identity, revision).body);
            let mut response = reply::json(StatusCode::OK, text);
            response.headers_mut().insert(SESSION_ID, id);
            response
        }
        Err(error) => reply::rpc(StatusCode::BAD_REQUEST, Some(&request.id), &error),
    }
}

type Refusal = (StatusCode, RpcError);

fn session_of(door: &Door, visit: &Visit) -> Result<Arc<HttpSession>, Refusal> {
    let Some(id) = visit.header(&SESSION_ID) else {
        let message = "no session: send `initialize` first and then its Mcp-Session-Id with every request, or make requests of \
                       revision 2026-07-28, which stand alone";
        return Err((StatusCode::BAD_REQUEST, RpcError::invalid_request(message)));
    };
    door.sessions.find(id, &visit.caller, &visit.handler).ok_or_else(|| {
        (StatusCode::NOT_FOUND, RpcError::invalid_request("the session is unknown or over: send `initialize` again"))
    })
}

fn seat(visit: &Visit, peer: Peer) -> Seat {
    Seat { caller: Arc::clone(&visit.caller), peer, traceparent: visit.traceparent() }
}

/// Takes what wants no answer.
async fn take(visit: &Visit, session: &HttpSession, message: Message) {
    match message {
        Message::Notification(notification) => {
            session.conversation.hear(&*visit.handler, notification, seat(visit, Peer::none())).await;
        }
        Message::Response(response) => {
            // One that nobody waits for any more came too late; that is nobody's fault.
            session.conversation.calls.answered(response);
        }
        Message::Request(_) => {}
    }
}

/// The work on a request, and its answer's text at the end.
fn work_on(visit: &Visit, session: &HttpSession, request: Request, peer: Peer) -> BoxFuture<'static, String> {
    let conversation = Arc::clone(&session.conversation);
    let handler = Arc::clone(&visit.handler);
    let seat = seat(visit, peer);
    let work = async move {
        let id = request.id.clone();
        let answer = match conversation.begin(&request, seat) {
            Ok((ctx, _under_way)) => conversation.answer(&*handler, request, ctx).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(reply) => wire::result_text(&id, &reply.body),
            Err(error) => wire::error_text(Some(&id), &error),
        }
    };
    work.boxed()
}

async fn call(door: &Door, visit: Visit, session: &HttpSession, request: Request) -> Response<Body> {
    let (peer, back) = way_back(&visit, session);
    let work = work_on(&visit, session, request, peer);
    respond(door, session, work, back).await
}

/// What comes back from a handler beside its answer.
struct Back {
    messages: Receiver<String>,
    let_go: Arc<Notify>,
}

fn way_back(visit: &Visit, session: &HttpSession) -> (Peer, Back) {
    let (out, messages) = mpsc::channel(QUEUE_MAX);
    let let_go = Arc::new(Notify::new());
    let peer = if visit.takes_events {
        let peer = Peer::with_calls(out, Arc::clone(&session.conversation.calls));
        if resumes(session) { peer.resumable(Arc::clone(&let_go)) } else { peer }
    } else {
        Peer::none()
    };
    (peer, Back { messages, let_go })
}

/// Whether the client knows how to come back. Older ones take an event without a message for a broken one.
fn resumes(session: &HttpSession) -> bool {
    session.conversation.revision >= Revision::V2025_11_25
}

async fn respond(
    door: &Door,
    session: &HttpSession,
    work: BoxFuture<'static, String>,
    mut back: Back,
) -> Response<Body> {
    let tasks = &door.config.tasks;
    let work = work.map(|text| Answer { status: StatusCode::OK, text });
    let mut work = Work::unmoved_by_leaving(work.boxed(), tasks);
    let began = match first(&mut work, &mut back.messages, &back.let_go).await {
        First::Answer(before, answer) if before.is_empty() => return reply::json(answer.status, answer.text),
        began => began,
    };
    let stream = session.stream();
    if resumes(session) {
        stream.prime();
    }
    let body = stream.read(None, door.config.keep_alive);
    match began {
        First::Answer(before, answer) => {
            before.into_iter().chain([answer.text]).for_each(|text| stream.append(text));
            stream.end();
            return reply::events(body);
        }
        First::Message(message) => stream.append(message),
        First::LetGo => stream.let_go(),
    }
    tasks.spawn("request with events", OnEnd::Done, pump(work, back, stream));
    reply::events(body)
}

async fn pump(mut work: Work, back: Back, stream: Arc<Replay>) {
    let Back { mut messages, let_go } = back;
    let forward = async {
        loop {
            stream.room().await;
            tokio::select! {
                Some(message) = messages.recv() => stream.append(message),
                () = let_go.notified() => stream.let_go(),
            }
        }
    };
    let answer = tokio::select! {
        answer = &mut work => answer,
        () = forward => return,
    };
    while let Ok(message) = messages.try_recv() {
        stream.append(message);
    }
    stream.append(answer.text);
    stream.end();
}

/// Answers a POST of several messages at once, which only 2025-03-26 and what came before it have.
pub(super) async fn batch(door: &Door, visit: Visit, body: &[u8]) -> Response<Body> {
    let refuse = |(status, error): Refusal| reply::rpc(status, None, &error);
    let messages = match read_batch(body) {
        Ok(messages) => messages,
        Err(error) => return refuse((StatusCode::BAD_REQUEST, error)),
    };
    let session = match session_of(door, &visit) {
        Ok(session) => session,
        Err(refusal) => return refuse(refusal),
    };
    let revision = session.conversation.revision;
    if revision > Revision::V2025_03_26 {
        let error =
            RpcError::invalid_request(format!("revision {revision} has no batches: send one message at a time"));
        return refuse((StatusCode::BAD_REQUEST, error));
    }
    door.config.saw(&visit.caller, &Surface::Batch);
    let (peer, back) = way_back(&visit, &session);
    let mut answers: Vec<BoxFuture<'static, String>> = Vec::new();
    for message in messages {
        match Message::parse(message.get().as_bytes()) {
            Ok(Message::Request(request)) if request.method == "initialize" => {
                let error = RpcError::invalid_request("`initialize` may not be part of a batch");
                answers.push(std::future::ready(wire::error_text(Some(&request.id), &error)).boxed());
            }
            Ok(Message::Request(request)) => answers.push(work_on(&visit, &session, request, peer.clone())),
            Ok(other) => take(&visit, &session, other).await,
            Err(unreadable) => {
                let id: Option<Id> = unreadable.id;
                answers.push(std::future::ready(wire::error_text(id.as_ref(), &unreadable.error)).boxed());
            }
        }
    }
    drop(peer);
    if answers.is_empty() {
        return reply::empty(StatusCode::ACCEPTED);
    }
    let work = async move { format!("[{}]", join_all(answers).await.join(",")) };
    respond(door, &session, work.boxed(), back).await
}

/// Answers a GET: the standing stream, or one that was lost, from where it was.
pub(super) fn get(door: &Door, visit: &Visit) -> Response<Body> {
    let session = match session_of(door, visit) {
        Ok(session) => session,
        Err((status, error)) => return reply::rpc(status, None, &error),
    };
    let lost = visit.header(&LAST_EVENT_ID).and_then(|id| session.stream_of(id));
    let body = match lost {
        Some((stream, seen)) => stream.read(Some(seen), door.config.keep_alive),
        None => {
            if resumes(&session) {
                session.standing.prime();
            }
            session.standing.read(None, door.config.keep_alive)
        }
    };
    reply::events(body)
}

/// Answers a DELETE: the session is over.
pub(super) fn delete(door: &Door, visit: &Visit) -> Response<Body> {
    match session_of(door, visit) {
        Ok(session) => {
            door.sessions.end(visit.header(&SESSION_ID).unwrap_or_default(), &session);
            reply::empty(StatusCode::NO_CONTENT)
        }
        Err((status, error)) => reply::rpc(status, None, &error),
    }
}
