//! The logs made of memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::logs::{self, Count, DAY_MS, Line, LogQuery, LogUsage, Logs, SEQ_DAY_BITS, Term};
use crate::signal::Signal;
use crate::{Clock, Result, UnixMs, clock};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryLogs {
    clock: Clock,
    lines: Mutex<Vec<Line>>,
    appended: Signal,
}

impl MemoryLogs {
    /// No lines yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Everything kept, oldest first.
    pub fn all(&self) -> Vec<Line> {
        self.lines.lock().clone()
    }
}

fn day_of(seq: u64) -> i64 {
    (seq >> SEQ_DAY_BITS) as i64
}

fn contains(text: &str, term: &Term) -> bool {
    let words: Vec<String> = logs::words(text).collect();
    let (last, before) = term.words.split_last().expect("a term has words");
    words.windows(term.words.len()).any(|window| {
        let (window_last, window_before) = window.split_last().expect("a window is as long as its term");
        window_before == before && if term.prefix { window_last.starts_with(last) } else { window_last == last }
    })
}

fn matches(line: &Line, query: &LogQuery, terms: &[Term]) -> bool {
    let fields = if line.fields.is_null() { String::new() } else { line.fields.to_string() };
    query.service.as_ref().is_none_or(|service| *service == line.service)
        && query.level.is_none_or(|level| line.level >= level)
        && query.trace_id.as_ref().is_none_or(|trace_id| line.trace_id.as_ref() == Some(trace_id))
        && query.from_ms.is_none_or(|from_ms| line.at_ms >= from_ms)
        && query.until_ms.is_none_or(|until_ms| line.at_ms < until_ms)
        && query.after_seq.is_none_or(|after| line.seq > after)
        && query.before_seq.is_none_or(|before| line.seq < before)
        && terms.iter().all(|term| contains(&line.message, term) || contains(&fields, term))
}

#[async_trait]
impl Logs for MemoryLogs {
    async fn append(&self, new: &[Line]) -> Result<()> {
        let today = self.clock.now_ms().div_euclid(DAY_MS).max(0) as u64;
        let mut lines = self.lines.lock();
        for line in new {
            let last = lines.last().map_or(0, |line| line.seq);
            let seq = last.max(today << SEQ_DAY_BITS) + 1;
            lines.push(Line { seq, ..line.within_limits().into_owned() });
        }
        self.appended.raise(lines.last().map_or(0, |line| line.seq));
        Ok(())
    }

    async fn search(&self, query: LogQuery) -> Result<Vec<Line>> {
        let terms = query.check()?;
        let lines = self.lines.lock();
        let fitting = |line: &&Line| matches(line, &query, &terms);
        Ok(match query.after_seq {
            Some(_) => lines.iter().filter(fitting).take(query.limit).cloned().collect(),
            None => lines.iter().rev().filter(fitting).take(query.limit).cloned().collect(),
        })
    }

    async fn counts(&self, from_ms: UnixMs, until_ms: UnixMs) -> Result<Vec<Count>> {
        let mut counts: BTreeMap<_, (u64, UnixMs)> = BTreeMap::new();
        for line in self.lines.lock().iter().filter(|line| (from_ms..until_ms).contains(&line.at_ms)) {
            let (lines, last_ms) = counts.entry((line.service.clone(), line.level)).or_insert((0, line.at_ms));
            *lines += 1;
            *last_ms = line.at_ms.max(*last_ms);
        }
        let count = |((service, level), (lines, last_ms))| Count { service, level, lines, last_ms };
        Ok(counts.into_iter().map(count).collect())
    }

    async fn usage(&self) -> Result<LogUsage> {
        let lines = self.lines.lock();
        let days: BTreeSet<i64> = lines.iter().map(|line| day_of(line.seq)).collect();
        Ok(LogUsage {
            lines: lines.len() as u64,
            bytes: lines.iter().map(|line| line.message.len() as u64).sum(),
            oldest_ms: lines.iter().map(|line| line.at_ms).min(),
            days: days.into_iter().map(clock::date).collect(),
        })
    }

    async fn forget(&self, before_ms: UnixMs) -> Result<u64> {
        let today = self.clock.now_ms().div_euclid(DAY_MS);
        let keep_from = before_ms.div_euclid(DAY_MS).min(today);
        let mut lines = self.lines.lock();
        let gone: BTreeSet<i64> = lines.iter().map(|line| day_of(line.seq)).filter(|day| *day < keep_from).collect();
        lines.retain(|line| day_of(line.seq) >= keep_from);
        Ok(gone.len() as u64)
    }

    fn appended<'life0, 'async_trait>(&'life0 self) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        // Nobody else can append here, so there is nothing to look for.
        self.appended.wait(std::future::pending)
    }
}
