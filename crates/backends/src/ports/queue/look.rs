//! Looking at tasks, and removing those that ended long ago.

use kernel::queue::{Counts, Filter, State, Task, TaskId};
use kernel::{Result, UnixMs};
use sqlx::AssertSqlSafe;

use super::{row, text};
use crate::db::{Db, Row, Tx, limit as bound_limit, signed, sql, unsigned};

/// The span over which endings are counted, in milliseconds.
const MINUTE_MS: i64 = 60_000;

pub(super) async fn get(db: &Db, id: TaskId) -> Result<Option<Task>> {
    let rows = sql(text::ONE).bind(signed(id.0)).rows(db.readers()).await?;
    rows.first().map(row::task).transpose()
}

/// The conditions of a filter: $1 queue, $2 type, $3 caller. The state stands there as a number, because partial indices want it so.
fn conditions(filter: &Filter) -> String {
    let mut conditions = vec![];
    if filter.queue.is_some() {
        conditions.push("queue = $1".to_owned());
    }
    if filter.task_type.is_some() {
        conditions.push("type = $2".to_owned());
    }
    if filter.caller.is_some() {
        conditions.push("caller = $3".to_owned());
    }
    if let Some(state) = filter.state {
        conditions.push(format!("state = {}", row::number(state)));
    }
    conditions.iter().map(|condition| format!(" AND {condition}")).collect()
}

pub(super) async fn list(db: &Db, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Task>> {
    let conditions = conditions(filter);
    // What waits and runs has indices of its own; the rest is found by walking back from the newest.
    let among = match filter.state {
        Some(State::Delayed | State::Queued | State::Running) => {
            format!("seq < $4 AND seq IN (SELECT seq FROM tasks WHERE{})", conditions.trim_start_matches(" AND"))
        }
        _ => format!("seq < $4{conditions}"),
    };
    let statement = format!("SELECT {} FROM tasks WHERE {among} ORDER BY seq DESC LIMIT $5 + 0", text::columns!());
    let rows = sql(AssertSqlSafe(statement))
        .bind(&filter.queue)
        .bind(&filter.task_type)
        .bind(&filter.caller)
        .bind(before.map_or(i64::MAX, |before| signed(before.0)))
        .bind(bound_limit(limit))
        .rows(db.readers())
        .await?;
    rows.iter().map(row::task).collect()
}

/// Removes the oldest ended tasks that fit. Returns how many.
pub(super) async fn purge(tx: &mut Tx, filter: &Filter, ended_before_ms: UnixMs, limit: usize) -> Result<usize> {
    let statement = format!(
        "DELETE FROM tasks WHERE seq IN (SELECT seq FROM tasks WHERE state >= 3 AND ended_ms < $4{}
         ORDER BY ended_ms, seq LIMIT $5 + 0)",
        conditions(filter)
    );
    let removed = sql(AssertSqlSafe(statement))
        .bind(&filter.queue)
        .bind(&filter.task_type)
        .bind(&filter.caller)
        .bind(ended_before_ms)
        .bind(bound_limit(limit))
        .run(tx)
        .await?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

pub(super) async fn counts(db: &Db, now_ms: UnixMs) -> Result<Vec<Counts>> {
    let rows = sql(text::COUNTS).rows(db.readers()).await?;
    let counts = |row: &Row| {
        let count = |place: usize| row.get::<i64>(place).map(unsigned);
        let (minute, ended, before): (i64, i64, i64) = (row.get(8)?, row.get(9)?, row.get(10)?);
        // The last minute began in the one before this: that much of it is taken as its share.
        let (now, into) = (now_ms / MINUTE_MS, now_ms % MINUTE_MS);
        let (ended, before) = match now - minute {
            0 => (ended, before),
            1 => (0, ended),
            _ => (0, 0),
        };
        Ok(Counts {
            queue: row.get(0)?,
            task_type: row.get(1)?,
            delayed: count(2)?,
            queued: count(3)?,
            running: count(4)?,
            done: count(5)?,
            dead: count(6)?,
            cancelled: count(7)?,
            oldest_ms: row.get(15)?,
            ended_per_minute: unsigned(ended + before * (MINUTE_MS - into) / MINUTE_MS),
            policy: row::policy(row, 11)?,
        })
    };
    rows.iter().map(counts).collect()
}
