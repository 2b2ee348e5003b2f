//! Log lines in SQLite, one file a day with a full-text index: `logs/YYYY-MM-DD.db`. Forgetting a day is unlinking its file.
//!
//! A line belongs to the day it arrives (UTC), whatever time it bears, so places in the store grow with every line: the day is in their
//! high bits. Files are found by looking at the folder each time, because other processes make and remove them too.

mod days;
mod query;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use async_trait::async_trait;
use kernel::logs::{Count, DAY_MS, Level, Line, LogQuery, LogUsage, Logs, SEQ_DAY_BITS};
use kernel::signal::Signal;
use kernel::{Clock, Result, UnixMs, clock};

use crate::db::{Insert, Statement, Tx, signed, sql, unsigned};
use days::Days;

/// One minute, in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// See the module.
pub struct SqliteLogs {
    days: Days,
    clock: Clock,
    insert: Insert,
    insert_minutes: Insert,
    appended: Signal,
}

/// Opens the folder `logs` in `data_dir`, making both when they are not there.
///
/// # Errors
/// [`Code::Unavailable`](kernel::Code::Unavailable) when they cannot be made.
pub async fn open(data_dir: &Path, clock: Clock) -> Result<SqliteLogs> {
    let days = Days::open(data_dir.join("logs"), clock.clone())?;
    let insert = Insert::in_sqlite("lines", "seq, at_ms, level, service, message, trace_id, fields", "");
    let minutes = "minute, service, level, lines, first_ms, last_ms, first_seq, last_seq";
    let insert_minutes = Insert::in_sqlite("minutes", minutes, days::ADD_TO_MINUTE);
    Ok(SqliteLogs { days, clock, insert, insert_minutes, appended: Signal::default() })
}

impl SqliteLogs {
    /// Closes all files.
    pub async fn close(&self) {
        self.days.close().await;
    }

    fn today(&self) -> i64 {
        self.clock.now_ms().div_euclid(DAY_MS).max(0)
    }

    /// Begins to write to the day that is now. Tomorrow's file may be there already, when another process sees midnight first, or this
    /// one's clock was set back a little; then that is where lines go, or their places would not grow.
    async fn begin(&self) -> Result<(i64, Tx)> {
        loop {
            let today = self.today();
            let day = if self.days.exists(today + 1) { today + 1 } else { today };
            let tx = self.days.to_write(day).await?.begin().await?;
            // Whoever makes the next day's file holds this one's lock meanwhile: now it is known whether it is there.
            if !self.days.exists(day + 1) || day > today {
                return Ok((day, tx));
            }
        }
    }

    async fn newest(&self) -> Result<u64> {
        for day in self.days.list()?.into_iter().rev() {
            let Some(db) = self.days.to_read(day).await? else { continue };
            let (last,): (Option<i64>,) = sql("SELECT MAX(seq) FROM lines").one(db.readers()).await?;
            if let Some(last) = last {
                return Ok(unsigned(last));
            }
        }
        Ok(0)
    }
}

/// A line as its table has it.
struct Stored<'a> {
    seq: i64,
    line: std::borrow::Cow<'a, Line>,
    fields: Option<String>,
}

impl<'a> Stored<'a> {
    fn new(seq: i64, line: &'a Line) -> Self {
        let line = line.within_limits();
        let fields = (!line.fields.is_null()).then(|| line.fields.to_string());
        Self { seq, line, fields }
    }
}

fn bind_line<'q>(insert: Statement<'q>, stored: &'q Stored<'_>) -> Statement<'q> {
    let Stored { seq, line, fields } = stored;
    insert
        .bind(seq)
        .bind(line.at_ms)
        .bind(line.level.rank())
        .bind(&line.service)
        .bind(&line.message)
        .bind(&line.trace_id)
        .bind(fields)
}

/// How many lines of one service and level bear a time in one minute, and where they lie.
struct Minute<'a> {
    key: (i64, &'a str, i64),
    lines: i64,
    first_ms: UnixMs,
    last_ms: UnixMs,
    first_seq: i64,
    last_seq: i64,
}

fn minutes<'a>(lines: &'a [Stored<'_>]) -> Vec<Minute<'a>> {
    let mut minutes: BTreeMap<(i64, &str, i64), Minute<'_>> = BTreeMap::new();
    for Stored { seq, line, .. } in lines {
        let (at_ms, seq) = (line.at_ms, *seq);
        let key = (at_ms.div_euclid(MINUTE_MS), line.service.as_str(), line.level.rank());
        let new = || Minute { key, lines: 0, first_ms: at_ms, last_ms: at_ms, first_seq: seq, last_seq: seq };
        let minute = minutes.entry(key).or_insert_with(new);
        minute.lines += 1;
        minute.first_ms = minute.first_ms.min(at_ms);
        minute.last_ms = minute.last_ms.max(at_ms);
        minute.last_seq = seq;
    }
    minutes.into_values().collect()
}

fn bind_minute<'q>(insert: Statement<'q>, minute: &'q Minute<'_>) -> Statement<'q> {
    let Minute { key: (start, service, level), lines, first_ms, last_ms, first_seq, last_seq } = minute;
    insert
        .bind(start)
        .bind(*service)
        .bind(level)
        .bind(lines)
        .bind(first_ms)
        .bind(last_ms)
        .bind(first_seq)
        .bind(last_seq)
}

#[async_trait]
impl Logs for SqliteLogs {
    async fn append(&self, lines: &[Line]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let (day, mut tx) = self.begin().await?;
        let (last,): (Option<i64>,) = sql("SELECT MAX(seq) FROM lines").one(&mut tx).await?;
        let first = last.unwrap_or(day << SEQ_DAY_BITS) + 1;
        let stored: Vec<Stored<'_>> = (first..).zip(lines).map(|(seq, line)| Stored::new(seq, line)).collect();
        self.insert.run(&mut tx, &stored, bind_line).await?;
        sql(days::INDEX_FROM).bind(first).run(&mut tx).await?;
        self.insert_minutes.run(&mut tx, &minutes(&stored), bind_minute).await?;
        tx.commit().await?;
        self.appended.raise(stored.last().map_or(0, |line| unsigned(line.seq)));
        Ok(())
    }

    async fn search(&self, query: LogQuery) -> Result<Vec<Line>> {
        let terms = query.check()?;
        let mut days = self.days.list()?;
        days.retain(|day| query.before_seq.is_none_or(|before| *day <= signed(before) >> SEQ_DAY_BITS));
        match query.after_seq {
            Some(after) => days.retain(|day| *day >= signed(after) >> SEQ_DAY_BITS),
            None => days.reverse(),
        }
        let matching = query::matching(&query, &terms);
        let mut lines = Vec::new();
        for day in days {
            if lines.len() >= query.limit {
                break;
            }
            let Some(db) = self.days.to_read(day).await? else { continue };
            query::search(&db, &query, matching.as_deref(), &mut lines).await?;
        }
        Ok(lines)
    }

    async fn counts(&self, from_ms: UnixMs, until_ms: UnixMs) -> Result<Vec<Count>> {
        let mut counts = BTreeMap::new();
        for day in self.days.list()? {
            if let Some(db) = self.days.to_read(day).await? {
                query::count(&db, from_ms, until_ms, &mut counts).await?;
            }
        }
        let count = |((service, rank), (lines, last_ms)): (_, (i64, _))| Count {
            service,
            level: level(rank),
            lines: unsigned(lines),
            last_ms,
        };
        Ok(counts.into_iter().map(count).collect())
    }

    async fn usage(&self) -> Result<LogUsage> {
        let mut usage = LogUsage { lines: 0, bytes: 0, oldest_ms: None, days: Vec::new() };
        for day in self.days.list()? {
            let Some(db) = self.days.to_read(day).await? else { continue };
            let (lines, oldest_ms): (i64, Option<UnixMs>) =
                sql("SELECT COALESCE(SUM(lines), 0), MIN(first_ms) FROM minutes").one(db.readers()).await?;
            usage.lines += unsigned(lines);
            usage.bytes += self.days.bytes(day);
            usage.oldest_ms = usage.oldest_ms.into_iter().chain(oldest_ms).min();
            usage.days.push(clock::date(day));
        }
        Ok(usage)
    }

    async fn forget(&self, before_ms: UnixMs) -> Result<u64> {
        let keep_from = before_ms.div_euclid(DAY_MS).min(self.today());
        let mut gone = 0;
        for day in self.days.list()?.into_iter().filter(|day| *day < keep_from) {
            gone += u64::from(self.days.remove(day).await?);
        }
        Ok(gone)
    }

    fn appended<'life0, 'async_trait>(&'life0 self) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.appended.wait(|| self.newest())
    }
}

/// The level of a stored rank; one that was never written reads as the gravest.
fn level(rank: i64) -> Level {
    usize::try_from(rank).ok().and_then(|rank| Level::ALL.get(rank).copied()).unwrap_or(Level::Error)
}
