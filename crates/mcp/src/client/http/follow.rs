//! One call in a session, from its POST to its answer, through broken streams and questions to the client.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderName, HeaderValue};
use kernel::{Fault, OnEnd};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout_at};

use super::super::patience::Patience;
use super::super::{LinkError, answer, ask, outgoing, side};
use super::legacy::{Broken, Current, Inner};
use super::{Events, Posted, sort};
use crate::ctx::Ctx;
use crate::error::RpcError;
use crate::reply::Reply;
use crate::wire::{self, Id, Message, Request, Response};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often a stream is taken up again without anything having come by it.
const RESUMES_MAX: u32 = 5;
/// How long to wait before that, unless the upstream says otherwise; and the longest it may say.
const RESUME_AFTER: Duration = Duration::from_millis(500);
const RESUME_AFTER_MAX: Duration = Duration::from_secs(30);

/// Tells the upstream that nobody waits any more, unless the call has ended.
struct Unfinished<'a> {
    inner: &'a Arc<Inner>,
    current: &'a Arc<Current>,
    id: i64,
    over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.over || self.current.over.is_cancelled() {
            return;
        }
        let (inner, current, id) = (Arc::clone(self.inner), Arc::clone(self.current), self.id);
        self.inner.tasks.spawn("cancellation at an upstream", OnEnd::Done, async move {
            let params = wire::raw(&json!({ "requestId": id, "reason": "nobody waits for the answer any more" }));
            let text = wire::notification_text("notifications/cancelled", Some(&params));
            if let Err(Broken::Other(error)) = inner.post(&current, text).await {
                tracing::debug!(host = inner.endpoint.host, %error, "cancellation not delivered");
            }
        });
    }
}

/// Sends a request and follows it to its answer.
pub(super) async fn call(
    inner: &Arc<Inner>,
    current: &Arc<Current>,
    request: &Request,
    ctx: &Ctx,
) -> Result<Reply, Broken> {
    let id = inner.next_id();
    let params = outgoing::legacy(&request.params, ctx, id)?;
    let text = wire::request_text(&Id::Number(id), &request.method, Some(&params));
    let mut unfinished = Unfinished { inner, current, id, over: false };
    let response = answered(inner, current, text, request, id, ctx).await;
    // Any end that the upstream brought about needs no word to it.
    let timed_out =
        matches!(&response, Err(Broken::Other(LinkError::Fault(fault))) if fault.code == kernel::Code::Timeout);
    unfinished.over = !timed_out;
    let outcome = response?.outcome.map_err(LinkError::from)?;
    Ok(answer::legacy(&request.method, outcome).map_err(|fault| fault.context(&inner.endpoint.host))?)
}

async fn answered(
    inner: &Arc<Inner>,
    current: &Arc<Current>,
    text: String,
    request: &Request,
    id: i64,
    ctx: &Ctx,
) -> Result<Response, Broken> {
    let patience = Patience::new(inner.endpoint.timeout);
    let slow = |_| slow(inner, &request.method);
    match timeout_at(patience.until(), inner.post(current, text)).await.map_err(slow)?? {
        Posted::Message(_, message) => match *message {
            // A refusal may come without an id: the upstream could not read ours.
            Message::Response(response) if response.id.as_ref().is_none_or(|given| *given == Id::Number(id)) => {
                Ok(response)
            }
            _ => Err(Fault::upstream(format!("{}: not an answer to {}", inner.endpoint.host, request.method)).into()),
        },
        Posted::Stream(events) => follow(inner, current, events, request, id, ctx, patience).await,
        Posted::Accepted => {
            Err(Fault::upstream(format!("{}: no answer to {}", inner.endpoint.host, request.method)).into())
        }
        Posted::Refused(_, fault) => Err(fault.into()),
    }
}

fn slow(inner: &Inner, method: &str) -> Fault {
    Fault::timeout(format!(
        "{} did not answer {method} in {} s",
        inner.endpoint.host,
        inner.endpoint.timeout.as_secs_f32()
    ))
}

/// Reads the call's stream. Questions are put to the client while it goes on; they stop the upstream's clock.
async fn follow(
    inner: &Arc<Inner>,
    current: &Arc<Current>,
    mut events: Box<Events>,
    request: &Request,
    id: i64,
    ctx: &Ctx,
    patience: Patience,
) -> Result<Response, Broken> {
    let mut questions = FuturesUnordered::new();
    let mut resumes = 0;
    loop {
        let until = if questions.is_empty() { patience.until() } else { patience.end() };
        let message = tokio::select! {
            message = timeout_at(until, events.message(&inner.endpoint.host)) => {
                message.map_err(|_| slow(inner, &request.method))?
            }
            Some(()) = questions.next() => continue,
        };
        match message {
            Ok(Some(Message::Response(response))) if response.id == Some(Id::Number(id)) => return Ok(response),
            Ok(Some(Message::Notification(notification))) => side::pass_on(&notification, id, ctx).await,
            Ok(Some(Message::Request(asked))) => questions.push(put(inner, current, asked, ctx)),
            Ok(Some(Message::Response(_))) => {}
            Err(fault) if fault.code != kernel::Code::Unavailable => return Err(fault.into()),
            Ok(None) | Err(_) => {
                let broken = message.err().map(|fault| fault.message);
                if broken.is_none() {
                    // An upstream that lets our connection go for a while means it for whoever waits behind us.
                    ctx.peer.let_go();
                }
                events = resume(inner, current, &events, &mut resumes, &request.method, broken).await?;
                continue;
            }
        }
        resumes = 0;
    }
}

/// Puts a question of the upstream to the client and takes the answer back.
async fn put(inner: &Arc<Inner>, current: &Arc<Current>, asked: Request, ctx: &Ctx) {
    // Only a client with a session of its own at this upstream can be meant.
    let peer = inner.user.session.as_ref().map(|_| &ctx.peer);
    let outcome: Result<Box<RawValue>, RpcError> = ask::answered(&asked, peer).await;
    if let Err(Broken::Other(error)) = inner.post(current, ask::answer_text(&asked.id, &outcome)).await {
        tracing::debug!(host = inner.endpoint.host, method = asked.method, %error, "an answer was not taken");
    }
}

/// Takes a stream up again after its last event.
async fn resume(
    inner: &Arc<Inner>,
    current: &Arc<Current>,
    events: &Events,
    resumes: &mut u32,
    method: &str,
    broken: Option<String>,
) -> Result<Box<Events>, Broken> {
    let why = broken.unwrap_or_else(|| format!("{} ended its answer to {method} too early", inner.endpoint.host));
    let place = events.last_id().and_then(|id| HeaderValue::from_str(id).ok());
    let Some(place) = place.filter(|_| *resumes < RESUMES_MAX) else {
        return Err(Fault::unavailable(why).into());
    };
    *resumes += 1;
    sleep(events.retry().unwrap_or(RESUME_AFTER).min(RESUME_AFTER_MAX)).await;
    let mut headers = current.headers();
    headers.insert(LAST_EVENT_ID, place);
    let again = async { sort(&inner.endpoint, inner.endpoint.get(headers).await?).await };
    match again.await? {
        Posted::Stream(resumed) => Ok(Box::new(resumed.going_on_from(events))),
        _ => Err(Fault::unavailable(why).into()),
    }
}
