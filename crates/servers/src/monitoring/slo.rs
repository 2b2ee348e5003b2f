//! Objectives: how many calls were answered, and answered in time, beside how many had to be.
//!
//! With a Prometheus the figures are asked of it. Otherwise they come from books of our own: one an hour in the store, with each server's
//! calls, failures and times, kept for [`BOOKS_KEPT_MS`], so that a window of weeks survives restarts though samples do not.

use std::collections::BTreeMap;

use kernel::store::{Expect, LIST_MAX, Store, Write};
use kernel::{Code, Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::promql::Labels;

/// Where the books are kept in the store, by hour.
const SPACE: &str = "slo";
const HOUR_MS: i64 = 3_600_000;
/// How long books are kept.
pub(super) const BOOKS_KEPT_MS: i64 = 31 * 24 * HOUR_MS;

/// Outcomes that are the fleet's own failures, as a regular expression: what a caller did wrong counts for nobody.
pub(super) const FAILURES: &str = "internal|timeout|unavailable|upstream";
/// Tools whose time is the time they were asked to wait, as a regular expression: it says nothing of how fast they are.
pub(super) const WAITING: &str =
    "tail|kv_watch|request|barrier|campaign|acquire_lock|read_topic|watch|route_command|call_tool";

const CALLS: &str = "mcp_commands_total";
const TIMES: &str = "mcp_response_time_seconds_bucket";

/// A server's calls over some time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Book {
    /// How many.
    pub(super) calls: f64,
    /// Of these, failed.
    pub(super) failed: f64,
    /// How many took at most so many seconds, by the bound as it is written; waiting tools left out.
    #[serde(default)]
    pub(super) within: BTreeMap<String, f64>,
}

impl Book {
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        for (bound, count) in &other.within {
            *self.within.entry(bound.clone()).or_default() += count;
        }
    }
}

/// Books by server.
pub(super) type Books = BTreeMap<String, Book>;

/// What is kept of an hour.
#[derive(Default, Serialize, Deserialize)]
struct Hour {
    /// From when on it was counted, in milliseconds since the Unix epoch: the hour's beginning, or later.
    from_ms: UnixMs,
    books: Books,
}

fn add(books: &mut Books, others: &Books) {
    for (server, book) in others {
        books.entry(server.clone()).or_default().add(book);
    }
}

/// Counts what is not yet in a book.
pub(super) struct Tally {
    pending: Books,
    /// Since when is counted.
    from_ms: UnixMs,
}

impl Tally {
    /// Nothing counted yet.
    pub(super) fn new(now_ms: UnixMs) -> Self {
        Self { pending: Books::new(), from_ms: now_ms }
    }

    /// Counts what a series grew by.
    pub(super) fn count(&mut self, labels: &Labels, grown: f64) {
        let one_of = |list: &str, value: &str| list.split('|').any(|known| known == value);
        let (name, server) = (labels.name(), labels.get("server"));
        if server.is_empty() || (name != CALLS && name != TIMES) {
            return;
        }
        let book = self.pending.entry(server.to_owned()).or_default();
        if name == CALLS {
            book.calls += grown;
            if one_of(FAILURES, labels.get("outcome")) {
                book.failed += grown;
            }
        } else if !one_of(WAITING, labels.get("tool")) {
            *book.within.entry(labels.get("le").to_owned()).or_default() += grown;
        }
    }

    /// Takes what is not yet in a book, and since when that was counted.
    pub(super) fn take(&mut self, now_ms: UnixMs) -> (Books, UnixMs) {
        (std::mem::take(&mut self.pending), std::mem::replace(&mut self.from_ms, now_ms))
    }

    /// Puts back what could not be booked.
    pub(super) fn put_back(&mut self, books: &Books, from_ms: UnixMs) {
        add(&mut self.pending, books);
        self.from_ms = self.from_ms.min(from_ms);
    }
}

fn key(hour: i64) -> String {
    format!("{hour:012}")
}

fn read(value: &str) -> Option<Hour> {
    // What another version wrote counts for nothing rather than for a failure.
    serde_json::from_str(value).inspect_err(|error| tracing::warn!(%error, "book of an hour cannot be read")).ok()
}

/// Adds `books`, counted from `from_ms` on, to those of the hour of `now_ms`.
pub(super) async fn enter(store: &dyn Store, from_ms: UnixMs, now_ms: UnixMs, books: &Books) -> Result<(), Fault> {
    if books.is_empty() {
        return Ok(());
    }
    let hour = now_ms.div_euclid(HOUR_MS);
    let from_ms = from_ms.max(hour * HOUR_MS);
    loop {
        let entry = store.get(SPACE, &key(hour)).await?;
        let known = entry.as_ref().and_then(|entry| read(&entry.value));
        let mut sum = known.unwrap_or_else(|| Hour { from_ms, books: Books::new() });
        sum.from_ms = sum.from_ms.min(from_ms);
        add(&mut sum.books, books);
        let value = serde_json::to_string(&sum).map_err(|error| Fault::internal(format!("book: {error}")))?;
        let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let write = Write::put(SPACE, &key(hour), value).expecting(expect).expiring_at(now_ms + BOOKS_KEPT_MS);
        match store.commit(vec![write]).await {
            Err(fault) if fault.code == Code::Conflict => {}
            other => return other.map(|_| ()),
        }
    }
}

/// The sum of the books from the hour of `from_ms` on, and since when there are any.
pub(super) async fn sum(store: &dyn Store, from_ms: UnixMs) -> Result<(Books, Option<UnixMs>), Fault> {
    let mut after = key(from_ms.div_euclid(HOUR_MS) - 1);
    let (mut books, mut first) = (Books::new(), None);
    loop {
        let page = store.list(SPACE, "", Some(&after), LIST_MAX).await?;
        for hour in page.iter().filter_map(|entry| read(&entry.value)) {
            first = first.or(Some(hour.from_ms));
            add(&mut books, &hour.books);
        }
        match page.last() {
            Some(last) if page.len() == LIST_MAX => after.clone_from(&last.key),
            _ => return Ok((books, first)),
        }
    }
}

/// What an objective asks, and what was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// Which part of the calls must be good, 0 to 1.
    pub objective: f64,
    /// Which part was; 1 when there were no calls.
    pub good_ratio: f64,
    /// Calls counted.
    pub calls: u64,
    /// Calls that were not good.
    pub bad: u64,
    /// How many calls may be bad before the objective is missed.
    pub budget: f64,
    /// Which part of that is left; negative when it was missed.
    pub budget_left_ratio: f64,
    /// Whether the objective is met.
    pub met: bool,
}

/// Measures an objective.
pub(super) fn measure(objective: f64, calls: f64, bad: f64) -> Objective {
    let bad = bad.clamp(0.0, calls);
    let budget = calls * (1.0 - objective);
    // With nothing allowed and nothing bad, nothing is spent; with nothing allowed, one is too many.
    let spent = if bad == 0.0 { 0.0 } else { bad / budget.max(f64::MIN_POSITIVE) };
    Objective {
        objective,
        good_ratio: if calls > 0.0 { 1.0 - bad / calls } else { 1.0 },
        calls: calls.round() as u64,
        bad: bad.round() as u64,
        budget,
        budget_left_ratio: (1.0 - spent).max(-1e6),
        met: bad <= budget,
    }
}

/// Calls counted for latency, those that took too long, and the bound they were held to: the greatest that is not above `seconds`.
pub(super) fn slow(book: &Book, seconds: f64) -> Option<(f64, f64, f64)> {
    let bounds = book.within.iter().filter_map(|(bound, count)| Some((bound.parse::<f64>().ok()?, *count)));
    let mut bounds: Vec<(f64, f64)> = bounds.collect();
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = bounds.last()?.1;
    // Counts are cumulative: a bound that has none is below all that have some, and nothing was that fast.
    let (bound, fast) = bounds.iter().rev().find(|(bound, _)| *bound <= seconds).copied().unwrap_or((seconds, 0.0));
    Some((all, (all - fast).max(0.0), bound))
}

#[cfg(test)]
mod tests {
    use kernel::fake::World;

    use super::*;

    fn labels(text: &str) -> Labels {
        super::super::exposition::labels(text, &[]).unwrap()
    }

    #[tokio::test]
    async fn books_what_grew_and_adds_it_up_over_hours() {
        let world = World::default();
        let mut tally = Tally::new(5);
        for (series, grown) in [
            (r#"mcp_commands_total{server="a",tool="x",outcome="ok"}"#, 6.0),
            (r#"mcp_commands_total{server="a",tool="x",outcome="timeout"}"#, 1.0),
            (r#"mcp_commands_total{server="a",tool="x",outcome="not_found"}"#, 3.0),
            (r#"mcp_commands_total{server="b",tool="tail",outcome="ok"}"#, 1.0),
            (r#"mcp_commands_total{tool="x",outcome="ok"}"#, 1.0),
            (r#"mcp_response_time_seconds_bucket{server="a",tool="x",le="0.1"}"#, 4.0),
            (r#"mcp_response_time_seconds_bucket{server="a",tool="x",le="1.0"}"#, 9.0),
            (r#"mcp_response_time_seconds_bucket{server="a",tool="x",le="+Inf"}"#, 10.0),
            (r#"mcp_response_time_seconds_bucket{server="b",tool="tail",le="+Inf"}"#, 1.0),
            (r#"other{server="a"}"#, 1.0),
        ] {
            tally.count(&labels(series), grown);
        }
        let (books, from_ms) = tally.take(9);
        assert_eq!(from_ms, 5);
        assert_eq!((books["a"].calls, books["a"].failed, books["b"].calls, books.len()), (10.0, 1.0, 1.0, 2));
        assert_eq!(slow(&books["a"], 0.5), Some((10.0, 6.0, 0.1)));
        assert_eq!(slow(&books["a"], 1.0), Some((10.0, 1.0, 1.0)));
        assert_eq!(slow(&books["a"], 0.01), Some((10.0, 10.0, 0.01)), "nothing was that fast");
        assert_eq!(slow(&books["b"], 1.0), None, "waiting is no slowness");
        tally.put_back(&books, 7);
        tally.put_back(&books, 6);
        let (books, from_ms) = tally.take(10);
        assert_eq!(from_ms, 6);
        assert_eq!((books["a"].calls, books["a"].failed), (20.0, 2.0));

        let now_ms = world.clock.now_ms();
        enter(&*world.store, now_ms + 7, now_ms + 9, &books).await.unwrap();
        enter(&*world.store, now_ms, now_ms + 5 * HOUR_MS, &books).await.unwrap();
        enter(&*world.store, now_ms, now_ms + 5 * HOUR_MS, &books).await.unwrap();
        let (all, first) = sum(&*world.store, now_ms).await.unwrap();
        assert_eq!((all["a"].calls, first), (60.0, Some(now_ms + 7)));
        assert_eq!(sum(&*world.store, now_ms + HOUR_MS).await.unwrap().0["a"].calls, 40.0);
        assert_eq!(sum(&*world.store, now_ms + 6 * HOUR_MS).await.unwrap(), (Books::new(), None));
    }

    #[test]
    fn measures_budgets() {
        let one = |objective, calls, bad| {
            let Objective { good_ratio, budget, budget_left_ratio, met, .. } = measure(objective, calls, bad);
            (good_ratio, (budget * 1e6).round() / 1e6, (budget_left_ratio * 1e6).round() / 1e6, met)
        };
        assert_eq!(one(0.99, 1_000.0, 5.0), (0.995, 10.0, 0.5, true));
        assert_eq!(one(0.99, 1_000.0, 20.0), (0.98, 10.0, -1.0, false));
        assert_eq!(one(0.99, 0.0, 0.0), (1.0, 0.0, 1.0, true));
        assert_eq!(one(1.0, 10.0, 0.0), (1.0, 0.0, 1.0, true));
        assert_eq!(one(1.0, 10.0, 1.0), (0.9, 0.0, -1e6, false));
    }
}
