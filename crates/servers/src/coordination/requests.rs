//! Requests and replies over topics. A request waits in the store under its id until one reply takes its place; so there is never more than
//! one, whoever else tries, and none after the time is over.

use std::time::Duration;

use kernel::store::{Expect, Write};
use mcp::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Coordination, WAIT_SECONDS_MAX, names};

/// Where requests wait in the store, by id.
const SPACE: &str = "requests";
/// What the topic of the replies to a topic's requests begins with.
const REPLIES: &str = "_replies.";
/// How long a reply stays for its requester to take, in milliseconds.
const REPLY_KEPT_MS: i64 = 60_000;

/// What [`REQUEST`](super::REQUEST) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRequest {
    /// The topic that those who answer read: 1 to 119 characters of `A-Z a-z 0-9 . _ : -`.
    pub topic: String,
    /// What is asked, as dotted words.
    #[serde(default = "request")]
    pub kind: String,
    /// Particulars, at most 200 KiB of JSON.
    #[serde(default)]
    pub data: Value,
    /// How long to wait for the reply, 1 to 300 seconds.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 300))]
    pub wait_seconds: u64,
}

fn request() -> String {
    "request".into()
}

fn ten() -> u64 {
    10
}

/// What [`REQUEST`](super::REQUEST) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequestResponse {
    /// The request's id.
    pub request_id: String,
    /// The reply.
    pub data: Value,
    /// Who replied.
    pub from: String,
}

/// What [`REPLY`](super::REPLY) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplyRequest {
    /// The id in the request's event: `data.request.id`.
    pub request_id: String,
    /// The answer, at most 200 KiB of JSON.
    #[serde(default)]
    pub data: Value,
    /// Instead of an answer: why there is none. The requester gets it as an error.
    #[serde(default)]
    pub error: Option<String>,
}

/// What [`REPLY`](super::REPLY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReplyResponse {
    /// The request.
    pub request_id: String,
    /// The topic on which the reply was published too, for whoever follows along.
    pub topic: String,
    /// Its place there.
    pub seq: u64,
}

/// Largest data of a request or a reply, in bytes of JSON: their envelope has to fit the event too.
const DATA_MAX: usize = 200 << 10;

/// What the store keeps of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    /// Nobody has replied.
    Waiting { reply_topic: String },
    /// Somebody has.
    Replied { from: String, data: Value, error: Option<String> },
}

fn stored(entry: &kernel::store::Entry) -> Result<Stored, Fault> {
    serde_json::from_str(&entry.value)
        .map_err(|error| Fault::internal(format!("the entry of request `{}` is damaged: {error}", entry.key)))
}

fn write(id: &str, stored: &Stored, expires_ms: i64) -> Result<Write, Fault> {
    let value = serde_json::to_string(stored).map_err(|error| Fault::internal(format!("request: {error}")))?;
    Ok(Write::put(SPACE, id, value).expiring_at(expires_ms))
}

fn check_data(data: &Value) -> Result<(), Fault> {
    let bytes = data.to_string().len();
    if bytes <= DATA_MAX {
        return Ok(());
    }
    Err(Fault::too_large(format!("data has {bytes} bytes")).hint(format!("at most {DATA_MAX}")))
}

impl Coordination {
    pub(super) async fn request(
        self: Arc<Self>,
        request: RequestRequest,
        ctx: Ctx,
    ) -> Result<RequestResponse, ToolError> {
        let RequestRequest { topic, kind, data, wait_seconds } = request;
        names::check_own("topic", &topic)?;
        let reply_topic = format!("{REPLIES}{topic}");
        if reply_topic.len() > names::TOPIC_MAX {
            let max = names::TOPIC_MAX - REPLIES.len();
            return Err(Fault::invalid("the topic's name is too long for requests")
                .hint(format!("at most {max} characters"))
                .into());
        }
        if !(1..=WAIT_SECONDS_MAX).contains(&wait_seconds) {
            let text = format!("wait_seconds is {wait_seconds}");
            return Err(Fault::invalid(text).hint(format!("1 to {WAIT_SECONDS_MAX}")).into());
        }
        check_data(&data)?;
        let until = Instant::now() + Duration::from_secs(wait_seconds);
        let expires_ms = self.clock.now_ms() + wait_seconds as i64 * 1_000;
        let id = kernel::ids::new_id("req");
        let waiting = Stored::Waiting { reply_topic: reply_topic.clone() };
        self.store.commit(vec![write(&id, &waiting, expires_ms)?.expecting(Expect::Absent)]).await?;
        let envelope =
            json!({ "request": { "id": id, "reply_topic": reply_topic, "expires_ms": expires_ms }, "data": data });
        self.publish_as(&ctx, &topic, kind, envelope).await?;
        let reply = self.reply_to(&id, until).await?;
        // What is left is of no use to anybody; it would also end by itself.
        self.store.commit(vec![Write::delete(SPACE, &id)]).await?;
        match reply {
            Some((from, _, Some(error))) => Err(Fault::upstream(format!("`{from}` cannot answer: {error}"))
                .hint("the reason is the responder's")
                .into()),
            Some((from, data, None)) => Ok(RequestResponse { request_id: id, data, from }),
            None => {
                let text = format!("nobody replied on topic `{topic}` within {wait_seconds} s");
                Err(Fault::timeout(text).hint("see with read_topic whether anybody reads it").into())
            }
        }
    }

    /// The reply, if one comes in time: from whom, what, or why not.
    async fn reply_to(&self, id: &str, until: Instant) -> Result<Option<(String, Value, Option<String>)>, Fault> {
        loop {
            let changed = self.store.changed(&[SPACE]);
            let entry = self.store.get(SPACE, id).await?;
            if let Some(Stored::Replied { from, data, error }) = entry.as_ref().map(stored).transpose()? {
                return Ok(Some((from, data, error)));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    pub(super) async fn reply(self: Arc<Self>, request: ReplyRequest, ctx: Ctx) -> Result<ReplyResponse, ToolError> {
        let ReplyRequest { request_id, data, error } = request;
        names::check("request", &request_id)?;
        check_data(&data)?;
        check_data(&json!(error))?;
        if error.is_some() && !data.is_null() {
            return Err(Fault::invalid("data and error").hint("give one of the two").into());
        }
        let Some(entry) = self.store.get(SPACE, &request_id).await? else {
            return Err(nobody_waits(&request_id).into());
        };
        let Stored::Waiting { reply_topic } = stored(&entry)? else {
            return Err(answered(&request_id).into());
        };
        let from = ctx.caller.name.clone();
        let replied = Stored::Replied { from, data: data.clone(), error: error.clone() };
        let write = write(&request_id, &replied, self.clock.now_ms() + REPLY_KEPT_MS)?;
        match self.store.commit(vec![write.expecting(Expect::Revision(entry.revision))]).await {
            Err(fault) if fault.code == Code::Conflict => return Err(answered(&request_id).into()),
            other => other?,
        };
        let envelope = json!({ "request_id": request_id, "data": data, "error": error });
        let seq = self.publish_as(&ctx, &reply_topic, "reply".into(), envelope).await?;
        Ok(ReplyResponse { request_id, topic: reply_topic, seq })
    }
}

fn nobody_waits(id: &str) -> Fault {
    Fault::not_found(format!("nobody waits for a reply to `{id}`"))
        .hint("its time is over, it was answered, or there was no such request")
}

fn answered(id: &str) -> Fault {
    Fault::conflict(format!("request `{id}` has its reply already")).hint("one reply is enough")
}
