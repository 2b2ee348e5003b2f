//! Server-sent events as text.

use bytes::Bytes;

use crate::wire;

/// A comment that keeps a quiet stream's connection open.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// A message.
pub(super) fn event(text: String) -> Bytes {
    let text = wire::one_line(text);
    let mut event = String::with_capacity(text.len() + 24);
    event.push_str("event: message\ndata: ");
    event.push_str(&text);
    event.push_str("\n\n");
    event.into()
}

/// A message a client can resume after.
pub(super) fn event_at(id: &str, text: String) -> Bytes {
    let text = wire::one_line(text);
    format!("event: message\nid: {id}\ndata: {text}\n\n").into()
}

/// Gives a client an id to resume after and how long to wait before it does, without a message.
pub(super) fn priming(id: &str, retry_ms: u64) -> Bytes {
    format!("id: {id}\nretry: {retry_ms}\ndata:\n\n").into()
}

/// Where messages are to be posted (2024-11-05).
pub(super) fn endpoint(uri: &str) -> Bytes {
    format!("event: endpoint\ndata: {uri}\n\n").into()
}
