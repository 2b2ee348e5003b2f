//! The standing stream of a session: what the upstream says outside of any call.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use kernel::OnEnd;
use kernel::backoff::Backoff;
use tokio::time::sleep;

use super::super::ask;
use super::super::changes::change_of;
use super::legacy::{Broken, Current, Inner};
use super::{Events, Posted, sort};
use crate::wire::{Message, Notification, Request, notification_text};

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(30) };

/// Reads the stream for as long as the session lasts.
pub(super) fn start(inner: &Arc<Inner>, current: &Arc<Current>) {
    let (inner, current) = (Arc::clone(inner), Arc::clone(current));
    let tasks = inner.tasks.clone();
    let stopping = tasks.stopping();
    tasks.spawn("standing stream of an upstream", OnEnd::Done, async move {
        let over = current.over.clone();
        tokio::select! {
            () = read(&inner, &current) => {}
            () = over.cancelled() => {}
            () = stopping.cancelled() => {}
        }
    });
}

async fn read(inner: &Arc<Inner>, current: &Arc<Current>) {
    let (mut failures, mut last_id) = (0, None);
    loop {
        match open(inner, current, last_id.take()).await {
            Opened::Stream(mut events) => {
                failures = 0;
                hear(inner, current, &mut events).await;
                last_id = events.last_id().map(ToOwned::to_owned);
                sleep(events.retry().unwrap_or_default().min(BACKOFF.max)).await;
            }
            // Upstreams need not have such a stream.
            Opened::Never => return,
            Opened::Forgotten => {
                inner.forget(current);
                // Begun again at once, so that what is watched stays watched. If that fails, the next call tries.
                if let Err(error) = inner.session().await {
                    tracing::debug!(host = inner.endpoint.host, %error, "session not begun again");
                }
                return;
            }
            Opened::NotNow => {}
        }
        failures += 1;
        sleep(BACKOFF.wait(failures)).await;
    }
}

enum Opened {
    Stream(Box<Events>),
    Never,
    Forgotten,
    NotNow,
}

async fn open(inner: &Inner, current: &Current, last_id: Option<String>) -> Opened {
    let mut headers = current.headers();
    if let Some(place) = last_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        headers.insert(HeaderName::from_static("last-event-id"), place);
    }
    let sorted = match inner.endpoint.get(headers).await {
        Ok(exchange) => sort(&inner.endpoint, exchange).await,
        Err(fault) => Err(fault),
    };
    match sorted {
        Ok(Posted::Stream(events)) => Opened::Stream(events),
        Ok(Posted::Refused(StatusCode::NOT_FOUND, _) | Posted::Message(StatusCode::NOT_FOUND, _))
            if current.has_id() =>
        {
            Opened::Forgotten
        }
        Ok(_) => Opened::Never,
        Err(_) => Opened::NotNow,
    }
}

async fn hear(inner: &Arc<Inner>, current: &Arc<Current>, events: &mut Events) {
    loop {
        match events.message(&inner.endpoint.host).await {
            Ok(Some(Message::Notification(notification))) => tell(inner, &notification).await,
            Ok(Some(Message::Request(asked))) => put(inner, current, asked),
            Ok(Some(Message::Response(_))) => {}
            Ok(None) => return,
            Err(fault) => {
                tracing::debug!(host = inner.endpoint.host, %fault, "standing stream broke off");
                return;
            }
        }
    }
}

async fn tell(inner: &Inner, notification: &Notification) {
    if let Some(change) = change_of(notification) {
        inner.announce(change);
    } else if let Some(session) = inner.user.session.as_ref().filter(|_| notification.method == "notifications/message")
    {
        session.peer.send_text(notification_text(&notification.method, notification.params.raw.as_deref())).await;
    }
}

fn put(inner: &Arc<Inner>, current: &Arc<Current>, asked: Request) {
    let (inner, current) = (Arc::clone(inner), Arc::clone(current));
    let tasks = inner.tasks.clone();
    tasks.spawn("question of an upstream", OnEnd::Done, async move {
        let peer = inner.user.session.as_ref().map(|session| &session.peer);
        let outcome = ask::answered(&asked, peer).await;
        if let Err(Broken::Other(error)) = inner.post(&current, ask::answer_text(&asked.id, &outcome)).await {
            tracing::debug!(host = inner.endpoint.host, method = asked.method, %error, "an answer was not taken");
        }
    });
}
