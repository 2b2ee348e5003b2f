//! Port: topics of events, read by cursor. What is published stays readable until retention removes it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::signal::Nudge;
use crate::store::check_size;
use crate::{Fault, Result, UnixMs};

/// Largest payload of one event, in bytes of JSON.
pub const EVENT_BYTES_MAX: usize = 256 << 10;
/// Most events one read returns.
pub const READ_MAX: usize = 1_000;
/// Longest topic, kind and source, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The topic of the fleet's own events (a service changed state, an upstream was quarantined, a new head).
pub const FLEET_TOPIC: &str = "fleet";
/// Stands for every topic where one waits for news; no topic is called so.
pub const ANY_TOPIC: &str = "*";

/// An event as published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place in its topic: 1, 2, 3, … without gaps other than those retention makes.
    pub seq: u64,
    /// The topic.
    pub topic: String,
    /// What happened, as dotted words: `service.restarted`.
    pub kind: String,
    /// Who published it.
    pub source: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// The trace it belongs to, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// Particulars.
    pub data: Value,
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The topic: 1 to 128 characters of `[A-Za-z0-9._:-]`.
    pub topic: String,
    /// See [`Event::kind`].
    pub kind: String,
    /// See [`Event::source`].
    pub source: String,
    /// See [`Event::trace_id`].
    pub trace_id: Option<String>,
    /// See [`Event::data`].
    pub data: Value,
}

impl NewEvent {
    /// An event of the fleet itself.
    pub fn fleet(kind: &str, source: &str, data: Value) -> Self {
        Self { topic: FLEET_TOPIC.into(), kind: kind.into(), source: source.into(), trace_id: None, data }
    }
}

/// A topic and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many events can be read.
    pub events: u64,
    /// The oldest readable event's place.
    pub first_seq: u64,
    /// The newest event's place.
    pub last_seq: u64,
    /// When the newest was published, in milliseconds since the Unix epoch.
    pub last_at_ms: UnixMs,
}

/// The port.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes; durable when it returns. Returns the event's place.
    async fn publish(&self, event: NewEvent) -> Result<u64>;

    /// Events after place `after`, oldest first, at most `limit` (≤ [`READ_MAX`]).
    async fn read(&self, topic: &str, after: u64, limit: usize) -> Result<Vec<Event>>;

    /// All topics ever published to, by name; one whose events are all forgotten keeps its place.
    async fn topics(&self) -> Result<Vec<Topic>>;

    /// How far each topic ever published to is, by name: the place of its newest event.
    async fn ends(&self) -> Result<Vec<(String, u64)>>;

    /// Removes events older than `before_ms`. Returns how many.
    async fn forget(&self, before_ms: UnixMs) -> Result<u64>;

    /// Resolves when something may have been published to one of `topics` ([`ANY_TOPIC`] is all) since the call (not since the first poll): from this process
    /// at once, from others within a second. May resolve early; without topics it does not.
    fn published<'a>(&'a self, topics: &[&str]) -> Nudge<'a>;
}

/// Refuses an event that breaks the rules of [`NewEvent`]; otherwise gives its data as JSON text.
pub fn check_event(event: &NewEvent) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if event.topic.is_empty() || !event.topic.bytes().all(fits) {
        return Err(Fault::invalid(format!("malformed topic `{}`", event.topic))
            .hint(format!("1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 . _ : -")));
    }
    for (what, text) in [("topic", &event.topic), ("kind", &event.kind), ("source", &event.source)] {
        check_size(&format!("the length of an event's {what}"), text.len(), NAME_BYTES_MAX)?;
        if text.contains('\0') {
            return Err(Fault::invalid(format!("an event's {what} holds a NUL character")).hint("text without U+0000"));
        }
    }
    let data = event.data.to_string();
    check_size("the size of an event's data in bytes", data.len(), EVENT_BYTES_MAX)?;
    Ok(data)
}

/// Refuses a page larger than [`READ_MAX`].
pub fn check_limit(limit: usize) -> Result<()> {
    check_size("a page's limit", limit, READ_MAX)
}
