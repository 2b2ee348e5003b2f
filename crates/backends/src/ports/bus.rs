//! The bus in the database.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::bus::{self, Bus, Event, NewEvent, Topic};
use kernel::signal::{Nudge, Signal};
use kernel::{Clock, Fault, Result, UnixMs};
use parking_lot::Mutex;

use crate::db::{Db, limit as bound_limit, signed, sql, unsigned};

/// Events one transaction removes: publishers wait no longer than that takes.
const FORGET_AT_ONCE: usize = 2_000;

/// See the module.
pub(super) struct DbBus {
    db: Db,
    clock: Clock,
    published: Arc<Signal>,
    /// How far each topic was when somebody here last published to it, or looked.
    reached: Mutex<HashMap<String, u64>>,
}

impl DbBus {
    pub(super) fn new(db: Db, clock: Clock, published: Arc<Signal>) -> Self {
        Self { db, clock, published, reached: Mutex::default() }
    }

    /// Notes how far a topic is; says whether that is news.
    fn reach(&self, topic: &str, seq: u64) -> bool {
        let mut reached = self.reached.lock();
        match reached.get_mut(topic) {
            Some(had) if *had >= seq => false,
            Some(had) => {
                *had = seq;
                true
            }
            None => reached.insert(topic.to_owned(), seq).is_none(),
        }
    }

    /// Looks for what other processes published.
    async fn look(&self) -> Result<u64> {
        let ends = self.ends().await?;
        let mut further = ends.iter().filter(|(topic, last)| self.reach(topic, *last)).peekable();
        let any = further.peek().map(|_| bus::ANY_TOPIC);
        self.published.wake_for(further.map(|(topic, _)| topic.as_str()).chain(any));
        // Each topic was told by itself.
        Ok(0)
    }
}

type EventRow = (i64, String, String, UnixMs, Option<String>, String);

type TopicRow = (String, i64, Option<i64>, i64, UnixMs);

fn event(topic: &str, (seq, kind, source, at_ms, trace_id, data): EventRow) -> Result<Event> {
    let seq = unsigned(seq);
    let data = serde_json::from_str(&data)
        .map_err(|error| Fault::internal(format!("event {seq} of `{topic}` is damaged: {error}")))?;
    Ok(Event { seq, topic: topic.into(), kind, source, at_ms, trace_id, data })
}

#[async_trait]
impl Bus for DbBus {
    async fn publish(&self, event: NewEvent) -> Result<u64> {
        let data = bus::check_event(&event)?;
        // A trigger moves the topic on, so that it is one statement.
        let insert = sql("INSERT INTO events (topic, seq, kind, source, at_ms, trace_id, data)
             VALUES ($1, COALESCE((SELECT last_seq FROM topics WHERE name = $1), 0) + 1, $2, $3, $4, $5, $6) RETURNING seq")
        .bind(&event.topic)
        .bind(event.kind)
        .bind(event.source)
        .bind(self.clock.now_ms())
        .bind(event.trace_id)
        .bind(data);
        let (seq,): (i64,) = insert.one(self.db.writer()).await?;
        let seq = unsigned(seq);
        self.reach(&event.topic, seq);
        self.published.announce_for([event.topic.as_str(), bus::ANY_TOPIC]);
        Ok(seq)
    }

    async fn read(&self, topic: &str, after: u64, limit: usize) -> Result<Vec<Event>> {
        bus::check_limit(limit)?;
        let rows: Vec<EventRow> = sql("SELECT seq, kind, source, at_ms, trace_id, data FROM events
             WHERE topic = $1 AND seq > $2 ORDER BY seq LIMIT $3 + 0")
        .bind(topic)
        .bind(signed(after))
        .bind(bound_limit(limit))
        .all(self.db.readers())
        .await?;
        rows.into_iter().map(|row| event(topic, row)).collect()
    }

    async fn topics(&self) -> Result<Vec<Topic>> {
        let rows: Vec<TopicRow> = sql("SELECT name, (SELECT COUNT(*) FROM events WHERE topic = name),
             (SELECT MIN(seq) FROM events WHERE topic = name), last_seq, last_at_ms FROM topics ORDER BY name")
        .all(self.db.readers())
        .await?;
        let topic = |(name, events, first, last, last_at_ms): TopicRow| {
            let (events, last_seq) = (unsigned(events), unsigned(last));
            Topic { name, events, first_seq: first.map_or(last_seq + 1, unsigned), last_seq, last_at_ms }
        };
        Ok(rows.into_iter().map(topic).collect())
    }

    async fn ends(&self) -> Result<Vec<(String, u64)>> {
        let ends: Vec<(String, i64)> =
            sql("SELECT name, last_seq FROM topics ORDER BY name").all(self.db.readers()).await?;
        Ok(ends.into_iter().map(|(topic, last)| (topic, unsigned(last))).collect())
    }

    async fn forget(&self, before_ms: UnixMs) -> Result<u64> {
        let mut gone = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let removed = sql("DELETE FROM events WHERE (topic, seq) IN
                 (SELECT topic, seq FROM events WHERE at_ms < $1 ORDER BY at_ms LIMIT $2 + 0)")
            .bind(before_ms)
            .bind(bound_limit(FORGET_AT_ONCE))
            .run(&mut tx)
            .await?;
            tx.commit().await?;
            gone += removed;
            if removed < FORGET_AT_ONCE as u64 {
                return Ok(gone);
            }
        }
    }

    fn published<'a>(&'a self, topics: &[&str]) -> Nudge<'a> {
        self.published.wait_for(topics, || self.look())
    }
}
