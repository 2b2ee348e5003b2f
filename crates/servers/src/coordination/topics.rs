//! Topics: events that everybody may read, in order, as often as they like.

use kernel::bus::{Event, NewEvent, READ_MAX, Topic};
use mcp::prelude::*;
use serde_json::Value;

use super::{ANSWER_BYTES_MAX, Coordination, names, wait_until};

/// Events fetched at a time: what may be large comes in small portions.
const PORTION: usize = 32;

/// What [`PUBLISH`](super::PUBLISH) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The topic: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`.
    pub topic: String,
    /// What happened, as dotted words: `order.filled`.
    #[serde(default = "message")]
    pub kind: String,
    /// Particulars, at most 256 KiB of JSON.
    #[serde(default)]
    pub data: Value,
}

fn message() -> String {
    "message".into()
}

/// What [`PUBLISH`](super::PUBLISH) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PublishResponse {
    /// The topic.
    pub topic: String,
    /// The event's place in it.
    pub seq: u64,
}

/// What [`READ_TOPIC`](super::READ_TOPIC) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadTopicRequest {
    /// The topic.
    pub topic: String,
    /// The cursor: events after this place. 0 for the oldest kept; the last answer's `next` to go on.
    #[serde(default)]
    pub after: u64,
    /// Instead of `after`: the newest so many events.
    #[serde(default)]
    pub last: Option<u64>,
    /// At most this many, 1 to 1,000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: usize,
    /// How long to wait for an event if there is none yet, at most 300 seconds.
    #[serde(default)]
    #[schemars(range(max = 300))]
    pub wait_seconds: u64,
}

fn hundred() -> usize {
    100
}

/// What [`READ_TOPIC`](super::READ_TOPIC) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadTopicResponse {
    /// The events, oldest first. Fewer than the limit when they are large.
    pub events: Vec<Event>,
    /// The cursor to go on with.
    pub next: u64,
}

/// What [`LIST_TOPICS`](super::LIST_TOPICS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTopicsRequest {
    /// Only those that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Only those after this one, by name.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What [`LIST_TOPICS`](super::LIST_TOPICS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListTopicsResponse {
    /// The topics, by name, at most 1,000.
    pub topics: Vec<Topic>,
    /// The cursor to go on with, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Coordination {
    pub(super) async fn publish(
        self: Arc<Self>,
        request: PublishRequest,
        ctx: Ctx,
    ) -> Result<PublishResponse, ToolError> {
        let PublishRequest { topic, kind, data } = request;
        names::check_own("topic", &topic)?;
        let seq = self.publish_as(&ctx, &topic, kind, data).await?;
        Ok(PublishResponse { topic, seq })
    }

    pub(super) async fn publish_as(&self, ctx: &Ctx, topic: &str, kind: String, data: Value) -> Result<u64, Fault> {
        names::check("kind", &kind)?;
        let (topic, source, trace_id) = (topic.to_owned(), ctx.caller.name.clone(), Some(ctx.trace.id()));
        self.bus.publish(NewEvent { topic, kind, source, trace_id, data }).await
    }

    pub(super) async fn read_topic(
        self: Arc<Self>,
        request: ReadTopicRequest,
        _ctx: Ctx,
    ) -> Result<ReadTopicResponse, ToolError> {
        let ReadTopicRequest { topic, mut after, last, limit, wait_seconds } = request;
        names::check("topic", &topic)?;
        if !(1..=READ_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {READ_MAX}")).into());
        }
        let until = wait_until(wait_seconds)?;
        if let Some(last) = last {
            if after > 0 {
                return Err(Fault::invalid("after and last").hint("give one of the two").into());
            }
            let topics = self.bus.topics().await?;
            after =
                topics.iter().find(|known| known.name == topic).map_or(0, |known| known.last_seq.saturating_sub(last));
        }
        loop {
            // Asked for before reading, so that nothing published in between is missed.
            let published = self.bus.published(&[&topic]);
            let events = self.events(&topic, after, limit).await?;
            if !events.is_empty() || tokio::time::Instant::now() >= until {
                let next = events.last().map_or(after, |event| event.seq);
                return Ok(ReadTopicResponse { events, next });
            }
            tokio::select! {
                () = published => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Events after `after`, as many as the limit and an answer's size allow, at least one if there is one.
    async fn events(&self, topic: &str, mut after: u64, limit: usize) -> Result<Vec<Event>, Fault> {
        let mut events = Vec::new();
        let mut bytes = 0;
        while events.len() < limit {
            let portion = self.bus.read(topic, after, PORTION.min(limit - events.len())).await?;
            let ended = portion.len() < PORTION;
            for event in portion {
                bytes += event.data.to_string().len();
                if bytes > ANSWER_BYTES_MAX && !events.is_empty() {
                    return Ok(events);
                }
                after = event.seq;
                events.push(event);
            }
            if ended {
                break;
            }
        }
        Ok(events)
    }

    pub(super) async fn list_topics(
        self: Arc<Self>,
        request: ListTopicsRequest,
        _ctx: Ctx,
    ) -> Result<ListTopicsResponse, ToolError> {
        const PAGE: usize = 1_000;
        names::check_prefix("topic", &request.prefix)?;
        let after = request.cursor.unwrap_or_default();
        let mut topics = self.bus.topics().await?;
        topics.retain(|topic| topic.name.starts_with(&request.prefix) && topic.name > after);
        let more = topics.len() > PAGE;
        topics.truncate(PAGE);
        let next = topics.last().filter(|_| more).map(|topic| topic.name.clone());
        Ok(ListTopicsResponse { topics, next })
    }
}
