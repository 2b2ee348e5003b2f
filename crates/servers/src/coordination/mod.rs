//! `coordination`: how agents, people and programs that share a fleet meet: topics, requests and replies, locks, elections, barriers,
//! shared keys and values.
//!
//! It keeps nothing itself: everything is in the bus and in the store, so any replica answers for all. Invariants:
//! - What belongs to the fleet itself (names that begin with `fleet`, `chain` or `_`) is read here, never written.
//! - A lock, a lead or a place at a barrier belongs to the caller's key, or to a named worker under it; nobody else but an
//!   administrator gives it up.
//! - Fencing tokens of one lock only grow. Every wait has an end.

mod barriers;
mod kv;
mod locks;
mod names;
mod requests;
#[cfg(test)]
mod tests;
mod topics;

use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::Bus;
use kernel::health::Check;
use kernel::locks::{Elections, Locks};
use kernel::store::Store;
use kernel::{Clock, OnEnd};
use mcp::prelude::*;
use tokio::time::Instant;

pub use barriers::{BarrierRequest, BarrierResponse};
pub use kv::{
    KvChange, KvDeleteRequest, KvDeleteResponse, KvEntry, KvGetRequest, KvGetResponse, KvListRequest, KvListResponse,
    KvPutRequest, KvPutResponse, KvWatchRequest, KvWatchResponse,
};
pub use locks::{
    AcquireLockRequest, CampaignRequest, Given, Lead, LeaderRequest, LeaderResponse, ListLocksRequest,
    ListLocksResponse, Lock, ReleaseLockRequest, RenewLockRequest, ResignRequest,
};
pub use requests::{ReplyRequest, ReplyResponse, RequestRequest, RequestResponse};
pub use topics::{
    ListTopicsRequest, ListTopicsResponse, PublishRequest, PublishResponse, ReadTopicRequest, ReadTopicResponse,
};

/// Longest wait of one call, in seconds.
const WAIT_SECONDS_MAX: u64 = 300;
/// The time limit of a tool that waits: its wait, and time to answer after it.
const WAITING_TIME: Duration = Duration::from_secs(WAIT_SECONDS_MAX + 15);
/// The most that the values or events of one answer hold, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// `[servers.coordination]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long events stay readable, in hours.
    pub topic_retention_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic_retention_hours: 7 * 24 }
    }
}

/// The server.
pub struct Coordination {
    clock: Clock,
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    locks: Locks,
    elections: Elections,
    retention_ms: i64,
}

impl McpServer for Coordination {
    const NAME: &'static str = "coordination";
    const INSTRUCTIONS: &'static str = "For work that several callers share. \
        Topics: publish events and read them by cursor; a reader that passes the last `next` misses nothing and sees nothing twice. \
        request publishes and waits for one reply; whoever reads the topic answers with reply. \
        Locks: acquire_lock gives a token that grows with every holding; hand it to what the lock guards, renew before the time to live \
        is over, release when done. campaign and resign do the same for leadership. barrier holds callers until all are there. \
        Keys and values: kv_put with if_revision changes a value only if nobody else has; kv_watch waits for changes. \
        Names that begin with fleet, chain or _ belong to the fleet: read them, do not write them. \
        Several workers under one key give themselves names (owner, candidate, party).";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, config: Config) -> Result<Self, Fault> {
        if config.topic_retention_hours == 0 {
            return Err(Fault::invalid("servers.coordination.topic_retention_hours is 0").hint("1 or more"));
        }
        Ok(Self {
            clock: ports.clock.clone(),
            bus: Arc::clone(&ports.bus),
            store: Arc::clone(&ports.store),
            locks: Locks::new(Arc::clone(&ports.leases), ports.clock.clone()),
            elections: Elections::new(Arc::clone(&ports.leases), ports.clock.clone()),
            retention_ms: i64::from(config.topic_retention_hours) * 3_600_000,
        })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(PUBLISH, Self::publish);
        set.add(READ_TOPIC, Self::read_topic);
        set.add(LIST_TOPICS, Self::list_topics);
        set.add(REQUEST, Self::request);
        set.add(REPLY, Self::reply);
        set.add(ACQUIRE_LOCK, Self::acquire_lock);
        set.add(RENEW_LOCK, Self::renew_lock);
        set.add(RELEASE_LOCK, Self::release_lock);
        set.add(LIST_LOCKS, Self::list_locks);
        set.add(CAMPAIGN, Self::campaign);
        set.add(RESIGN, Self::resign);
        set.add(LEADER, Self::leader);
        set.add(BARRIER, Self::barrier);
        set.add(KV_PUT, Self::kv_put);
        set.add(KV_GET, Self::kv_get);
        set.add(KV_LIST, Self::kv_list);
        set.add(KV_DELETE, Self::kv_delete);
        set.add(KV_WATCH, Self::kv_watch);
    }
}

#[async_trait]
impl Features for Coordination {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        let stopping = ports.tasks.stopping();
        ports.tasks.spawn("topic retention", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                self.forget_old_events().await;
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
                }
            }
        });
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        let check = |name, outcome: Result<String, Fault>| match outcome {
            Ok(detail) => Check::healthy(name, detail),
            Err(fault) => Check::down(name, fault.to_string()),
        };
        let store = self.store.get(kv::SPACE, "_").await.map(|_| "answers".to_owned());
        let bus = self.bus.topics().await.map(|topics| format!("{} topics", topics.len()));
        vec![check("store", store), check("bus", bus)]
    }
}

impl Coordination {
    async fn forget_old_events(&self) {
        match self.bus.forget(self.clock.now_ms() - self.retention_ms).await {
            Ok(0) => {}
            Ok(events) => tracing::info!(events, "forgot old events"),
            // The next round tries again.
            Err(fault) => tracing::warn!(%fault, "old events could not be forgotten"),
        }
    }
}

/// The end of a wait of `seconds`.
fn wait_until(seconds: u64) -> Result<Instant, Fault> {
    if seconds <= WAIT_SECONDS_MAX {
        return Ok(Instant::now() + Duration::from_secs(seconds));
    }
    Err(Fault::invalid(format!("a wait of {seconds} s"))
        .hint(format!("at most {WAIT_SECONDS_MAX} s; call again to wait on")))
}

tools! { Coordination::NAME;
    /// Publishes an event on a topic, for everybody who reads it.
    PUBLISH = "publish": fn(PublishRequest) -> PublishResponse, Hints::OPERATE;
    /// Reads a topic's events after a cursor, oldest first; may wait for the next.
    READ_TOPIC = "read_topic": fn(ReadTopicRequest) -> ReadTopicResponse, Hints::READ.within(WAITING_TIME);
    /// Lists the topics and how far each reaches.
    LIST_TOPICS = "list_topics": fn(ListTopicsRequest) -> ListTopicsResponse, Hints::READ;
    /// Publishes a request on a topic and waits for the one reply.
    REQUEST = "request": fn(RequestRequest) -> RequestResponse, Hints::OPERATE.within(WAITING_TIME);
    /// Answers a request read from a topic.
    REPLY = "reply": fn(ReplyRequest) -> ReplyResponse, Hints::OPERATE;
    /// Acquires a named lock for a time to live, with a fencing token; may wait for it.
    ACQUIRE_LOCK = "acquire_lock": fn(AcquireLockRequest) -> Lock, Hints::OPERATE.within(WAITING_TIME);
    /// Extends a lock that is held with this token.
    RENEW_LOCK = "renew_lock": fn(RenewLockRequest) -> Lock, Hints { idempotent: true, ..Hints::OPERATE };
    /// Gives a lock back before its time is over.
    RELEASE_LOCK = "release_lock": fn(ReleaseLockRequest) -> Given, Hints::OPERATE;
    /// Lists the locks that are held, by whom and until when.
    LIST_LOCKS = "list_locks": fn(ListLocksRequest) -> ListLocksResponse, Hints::READ;
    /// Becomes the leader of an election, or stays it, for a term; may wait for the present leader's term to end.
    CAMPAIGN = "campaign": fn(CampaignRequest) -> Lead, Hints { idempotent: true, ..Hints::OPERATE.within(WAITING_TIME) };
    /// Ends a leader's term.
    RESIGN = "resign": fn(ResignRequest) -> Given, Hints::OPERATE;
    /// Says who leads an election, with which token and until when.
    LEADER = "leader": fn(LeaderRequest) -> LeaderResponse, Hints::READ;
    /// Waits until as many parties as agreed have come, then lets all of them go on.
    BARRIER = "barrier": fn(BarrierRequest) -> BarrierResponse, Hints::OPERATE.within(WAITING_TIME);
    /// Sets a key to a value; with `if_revision` only if nobody has changed it since.
    KV_PUT = "kv_put": fn(KvPutRequest) -> KvPutResponse, Hints { idempotent: false, ..Hints::SET };
    /// Reads the value of a key.
    KV_GET = "kv_get": fn(KvGetRequest) -> KvGetResponse, Hints::READ;
    /// Lists keys that begin with a prefix, with their values.
    KV_LIST = "kv_list": fn(KvListRequest) -> KvListResponse, Hints::READ;
    /// Deletes a key; with `if_revision` only if nobody has changed it since.
    KV_DELETE = "kv_delete": fn(KvDeleteRequest) -> KvDeleteResponse, Hints { idempotent: false, ..Hints::SET };
    /// Waits for changes of the keys that begin with a prefix, after a revision.
    KV_WATCH = "kv_watch": fn(KvWatchRequest) -> KvWatchResponse, Hints::READ.within(WAITING_TIME);
}
