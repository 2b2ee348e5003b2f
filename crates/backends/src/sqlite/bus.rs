//! The bus in SQLite.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use kernel::bus::{self, Bus, Event, NewEvent, Topic};
use kernel::signal::Signal;
use kernel::{Clock, Fault, Result, UnixMs};

use super::counter;
use crate::db::{Db, fault, limit as bound_limit, signed, unsigned};

/// Events one transaction removes: publishers wait no longer than that takes.
const FORGET_AT_ONCE: usize = 2_000;

/// See the module.
pub(super) struct SqliteBus {
    db: Db,
    clock: Clock,
    published: Signal,
}

impl SqliteBus {
    pub(super) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, published: Signal::default() }
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
impl Bus for SqliteBus {
    async fn publish(&self, event: NewEvent) -> Result<u64> {
        let data = bus::check_event(&event)?;
        let at_ms = self.clock.now_ms();
        let mut tx = self.db.begin().await?;
        let total: i64 =
            sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'published' RETURNING value")
                .fetch_one(&mut *tx)
                .await
                .map_err(fault)?;
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO topics (name, last_seq, last_at_ms) VALUES ($1, 1, $2)
             ON CONFLICT (name) DO UPDATE SET last_seq = topics.last_seq + 1, last_at_ms = excluded.last_at_ms
             RETURNING last_seq",
        )
        .bind(&event.topic)
        .bind(at_ms)
        .fetch_one(&mut *tx)
        .await
        .map_err(fault)?;
        sqlx::query(
            "INSERT INTO events (topic, seq, kind, source, at_ms, trace_id, data) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(event.topic)
        .bind(seq)
        .bind(event.kind)
        .bind(event.source)
        .bind(at_ms)
        .bind(event.trace_id)
        .bind(data)
        .execute(&mut *tx)
        .await
        .map_err(fault)?;
        tx.commit().await.map_err(fault)?;
        self.published.raise(unsigned(total));
        Ok(unsigned(seq))
    }

    async fn read(&self, topic: &str, after: u64, limit: usize) -> Result<Vec<Event>> {
        bus::check_limit(limit)?;
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT seq, kind, source, at_ms, trace_id, data FROM events
             WHERE topic = $1 AND seq > $2 ORDER BY seq LIMIT $3 + 0",
        )
        .bind(topic)
        .bind(signed(after))
        .bind(bound_limit(limit))
        .fetch_all(&self.db.readers)
        .await
        .map_err(fault)?;
        rows.into_iter().map(|row| event(topic, row)).collect()
    }

    async fn topics(&self) -> Result<Vec<Topic>> {
        let rows: Vec<TopicRow> = sqlx::query_as(
            "SELECT name, (SELECT COUNT(*) FROM events WHERE topic = name),
             (SELECT MIN(seq) FROM events WHERE topic = name), last_seq, last_at_ms FROM topics ORDER BY name",
        )
        .fetch_all(&self.db.readers)
        .await
        .map_err(fault)?;
        let topic = |(name, events, first, last, last_at_ms): TopicRow| {
            let (events, last_seq) = (unsigned(events), unsigned(last));
            Topic { name, events, first_seq: first.map_or(last_seq + 1, unsigned), last_seq, last_at_ms }
        };
        Ok(rows.into_iter().map(topic).collect())
    }

    async fn forget(&self, before_ms: UnixMs) -> Result<u64> {
        let mut gone = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let removed = sqlx::query(
                "DELETE FROM events WHERE (topic, seq) IN
                 (SELECT topic, seq FROM events WHERE at_ms < $1 ORDER BY at_ms LIMIT $2 + 0)",
            )
            .bind(before_ms)
            .bind(bound_limit(FORGET_AT_ONCE))
            .execute(&mut *tx)
            .await
            .map_err(fault)?
            .rows_affected();
            tx.commit().await.map_err(fault)?;
            gone += removed;
            if removed < FORGET_AT_ONCE as u64 {
                return Ok(gone);
            }
        }
    }

    fn published<'life0, 'async_trait>(&'life0 self) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.published.wait(|| counter(&self.db, "published"))
    }
}
