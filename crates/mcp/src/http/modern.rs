//! The current revision over HTTP: headers are held to the body, a lost connection takes the request back.

use std::sync::Arc;

use futures_util::{FutureExt, stream};
use http::{HeaderName, Response, StatusCode};
use kernel::OnEnd;
use tokio::sync::mpsc;

use super::body::Body;
use super::work::{Answer, Work};
use super::{Door, METHOD, NAME, PROTOCOL_VERSION, Visit, events, reply, work};
use crate::conversation::{Made, Seat, context};
use crate::error::{RpcError, codes};
use crate::listen::{Listener, Subscription};
use crate::mirror;
use crate::peer::{Peer, QUEUE_MAX};
use crate::revision::Revision;
use crate::stateless::{self, answer_text};
use crate::wire::{Message, Notification, Request};

/// Answers a POST.
pub(super) async fn post(door: &Door, visit: Visit, message: Message) -> Response<Body> {
    match message {
        Message::Request(request) => match check(&visit, &request) {
            Ok(made) => serve(door, visit, request, made).await,
            Err(error) => reply::rpc(StatusCode::BAD_REQUEST, Some(&request.id), &error),
        },
        Message::Notification(notification) => notified(door, visit, notification),
        Message::Response(response) => {
            let error = RpcError::invalid_request("there are no requests to clients in this revision");
            reply::rpc(StatusCode::BAD_REQUEST, response.id.as_ref(), &error)
        }
    }
}

fn check(visit: &Visit, request: &Request) -> Result<Made, RpcError> {
    let made = check_revision(visit, request)?;
    let mismatch = |what: String| RpcError::new(codes::HEADER_MISMATCH, format!("header mismatch: {what}"));
    let text = |name: &HeaderName| {
        let header = visit.headers.get(name);
        header.map(|value| mirror::text_of(value).map_err(|why| mismatch(format!("{name} is {why}")))).transpose()
    };
    let agree = |name: &HeaderName, wanted: &str| match text(name)? {
        Some(given) if given == wanted => Ok(()),
        Some(given) => Err(mismatch(format!("{name} is `{given}`, the body has `{wanted}`"))),
        None => Err(mismatch(format!("{name} is missing"))),
    };
    agree(&METHOD, &request.method)?;
    let params = &request.params;
    let name = match request.method.as_str() {
        "tools/call" | "prompts/get" => params.name.as_deref(),
        "resources/read" => params.uri.as_deref(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id.as_deref(),
        _ => None,
    };
    let Some(name) = name else { return Ok(made) };
    agree(&NAME, name)?;
    if request.method == "tools/call"
        && let Some(mirrored) = visit.handler.mirrored(name)
    {
        mirror::check(&mirrored, &visit.headers, params.arguments.as_deref()).map_err(mismatch)?;
    }
    Ok(made)
}

/// Holds the header that names the revision to the body's metadata.
fn check_revision(visit: &Visit, request: &Request) -> Result<Made, RpcError> {
    let meta = &request.params.meta;
    let header = visit.header(&PROTOCOL_VERSION);
    if let Some(header) = header
        && Revision::parse(header).is_none()
        && meta.protocol_version.is_none()
    {
        return Err(stateless::unsupported(header));
    }
    let stated = stateless::stated(meta)?;
    let mismatch = |what: String| Err(RpcError::new(codes::HEADER_MISMATCH, format!("header mismatch: {what}")));
    match header {
        None => mismatch("mcp-protocol-version is missing".into()),
        Some(header) if header != stated => {
            mismatch(format!("mcp-protocol-version is `{header}`, the body's _meta has `{stated}`"))
        }
        Some(_) => stateless::made_in(meta, stated),
    }
}

async fn serve(door: &Door, visit: Visit, request: Request, made: Made) -> Response<Body> {
    let identity = visit.handler.identity();
    let method = request.method.as_str();
    if method == "server/discover" {
        let answer = Ok(stateless::discover(&identity));
        return reply::json(StatusCode::OK, answer_text(&request.id, &answer, &identity));
    }
    if stateless::REMOVED.contains(&method) {
        let error = RpcError::method_not_found(method);
        return reply::rpc(reply::status_of(&error), Some(&request.id), &error);
    }
    let (out, messages) = mpsc::channel(QUEUE_MAX);
    let peer = if visit.takes_events { Peer::new(out) } else { Peer::none() };
    let seat = Seat { caller: Arc::clone(&visit.caller), peer, traceparent: visit.traceparent() };
    let ctx = context(&request.params.meta, seat, made);
    if method == "subscriptions/listen" {
        return listen(door, &visit, &request, &ctx).await;
    }
    let cancel = ctx.cancel.clone();
    let handler = visit.handler;
    let work = async move {
        let id = request.id.clone();
        let answer = handler.handle(request, ctx).await;
        let status = answer.as_ref().err().map_or(StatusCode::OK, reply::status_of);
        Answer { status, text: answer_text(&id, &answer, &identity) }
    };
    let work = Work::cancelled_by_leaving(work.boxed(), &door.config.tasks, cancel);
    work::respond(work, messages, door.config.keep_alive).await
}

/// Opens a subscription: a stream that lasts until the client leaves or the door closes.
async fn listen(door: &Door, visit: &Visit, request: &Request, ctx: &crate::Ctx) -> Response<Body> {
    if !visit.takes_events {
        return super::not_acceptable("application/json, text/event-stream");
    }
    let subscription = match Subscription::open(request, ctx, &*visit.handler).await {
        Ok(subscription) => subscription,
        Err(error) => return reply::rpc(reply::status_of(&error), Some(&request.id), &error),
    };
    let listener = Listener::new(subscription, visit.handler.changes(), door.config.tasks.stopping());
    let keep_alive = door.config.keep_alive;
    let next = move |mut listener: Listener| async move {
        let event = match tokio::time::timeout(keep_alive, listener.next()).await {
            Ok(message) => events::event(message?),
            Err(_) => events::KEEP_ALIVE,
        };
        Some((event, listener))
    };
    reply::events(Body::Events(Box::pin(stream::unfold(listener, next))))
}

fn notified(door: &Door, visit: Visit, notification: Notification) -> Response<Body> {
    let made = stateless::stated(&notification.params.meta)
        .and_then(|stated| stateless::made_in(&notification.params.meta, stated));
    // The headers and metadata of notifications are not defined in this revision: one that lacks them is taken all the same.
    let made =
        made.unwrap_or(Made { revision: Revision::CURRENT, client: Arc::default(), session: None, log_level: None });
    let seat = Seat { caller: visit.caller, peer: Peer::none(), traceparent: None };
    let ctx = context(&notification.params.meta, seat, made);
    let handler = visit.handler;
    door.config.tasks.spawn("notification", OnEnd::Done, async move { handler.notified(notification, ctx).await });
    reply::empty(StatusCode::ACCEPTED)
}
