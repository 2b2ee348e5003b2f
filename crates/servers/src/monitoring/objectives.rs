//! The tool of objectives.

use kernel::{Fault, UnixMs};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Monitoring;
use super::figures::Figures;
use super::prometheus::Prometheus;
use super::promql::Value;
use super::slo::{self, BOOKS_KEPT_MS, Book, Books, FAILURES, Objective, WAITING, measure, slow};
use crate::when::duration_ms;

const HOUR_MS: i64 = 3_600_000;

/// What [`SLO`](super::SLO) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SloRequest {
    /// Only this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Over how long, like 24h or 30d, at most 31d; 24h unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Which part of the calls must not fail, 0 to 1; 0.999 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<f64>,
    /// Which part of the calls must be answered in time, 0 to 1; 0.99 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
    /// What in time means, in milliseconds; 500 unless given. It is held to the nearest measured bound below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

/// How a server meets its objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerSlo {
    /// Which; `all` for the fleet.
    pub server: String,
    /// Calls that did not fail by the fleet's own fault.
    pub availability: Objective,
    /// Calls answered in time; absent when none was timed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency: Option<Objective>,
    /// What in time was held to, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_bound_ms: Option<f64>,
    /// How many times faster than sustainable the last hour spent the availability budget.
    pub burn_rate_1h: f64,
}

/// What [`SLO`](super::SLO) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SloResponse {
    /// Who counted: `recorder` or `prometheus`.
    pub source: String,
    /// From when is counted, in milliseconds since the Unix epoch; hours are whole.
    pub from_ms: UnixMs,
    /// Until when.
    pub until_ms: UnixMs,
    /// How much of the window there are counts for, in seconds.
    pub covered_seconds: u64,
    /// The fleet first, then its servers by name.
    pub servers: Vec<ServerSlo>,
}

fn ratio(given: Option<f64>, default: f64, what: &str) -> Result<f64, Fault> {
    let given = given.unwrap_or(default);
    if given > 0.0 && given <= 1.0 {
        return Ok(given);
    }
    Err(Fault::invalid(format!("{what} is {given}")).hint("a ratio like 0.999: above 0, at most 1"))
}

impl Monitoring {
    pub(super) async fn slo(&self, request: SloRequest) -> Result<SloResponse, ToolError> {
        let window = request.window.as_deref().unwrap_or("24h");
        let window_ms = duration_ms(window).filter(|ms| (HOUR_MS..=BOOKS_KEPT_MS).contains(ms));
        let window_ms =
            window_ms.ok_or_else(|| Fault::invalid(format!("`{window}` is no window")).hint("1h to 31d"))?;
        let availability = ratio(request.availability, 0.999, "availability")?;
        let latency = ratio(request.latency, 0.99, "latency")?;
        let latency_ms = request.latency_ms.filter(|ms| ms.is_finite() && *ms > 0.0).unwrap_or(500.0);
        let until_ms = self.clock.now_ms();
        let (books, recent, from_ms) = match &*self.figures {
            Figures::Recorder(_) => self.booked(until_ms, window_ms).await?,
            Figures::Prometheus(prometheus) => {
                let books = asked(prometheus, until_ms, window_ms).await?;
                (books, asked(prometheus, until_ms, HOUR_MS).await?, Some(until_ms - window_ms))
            }
        };
        let slo = |server: &str, book: &Book| {
            let held = slow(book, latency_ms / 1_000.0);
            let last = recent.get(server).cloned().unwrap_or_default();
            let bad_ratio = if last.calls > 0.0 { last.failed / last.calls } else { 0.0 };
            ServerSlo {
                server: server.to_owned(),
                availability: measure(availability, book.calls, book.failed),
                latency: held.map(|(all, slow, _)| measure(latency, all, slow)),
                latency_bound_ms: held.map(|(_, _, bound)| bound * 1_000.0),
                burn_rate_1h: if bad_ratio > 0.0 { bad_ratio / (1.0 - availability).max(1e-9) } else { 0.0 },
            }
        };
        let mut servers: Vec<ServerSlo> = books.iter().map(|(server, book)| slo(server, book)).collect();
        servers.sort_by(|a, b| (a.server != ALL, &a.server).cmp(&(b.server != ALL, &b.server)));
        servers.retain(|one| request.server.as_ref().is_none_or(|server| *server == one.server));
        if let (Some(server), true) = (&request.server, servers.is_empty()) {
            return Err(Fault::not_found(format!("no call of server `{server}` was counted"))
                .hint("health names the servers; a window of another length may have some")
                .into());
        }
        let from_ms = from_ms.unwrap_or(until_ms);
        let covered_seconds = until_ms.saturating_sub(from_ms).max(0).unsigned_abs() / 1_000;
        Ok(SloResponse { source: self.figures.name().into(), from_ms, until_ms, covered_seconds, servers })
    }

    /// The books of the window, those of the last hour, and since when there are any.
    async fn booked(&self, now_ms: UnixMs, window_ms: i64) -> Result<(Books, Books, Option<UnixMs>), Fault> {
        // What was counted since the last entry is booked now, by whoever books.
        self.book(now_ms).await?;
        let (books, first_ms) = slo::sum(&*self.store, now_ms - window_ms).await?;
        let (recent, _) = slo::sum(&*self.store, now_ms - HOUR_MS).await?;
        Ok((with_all(books), with_all(recent), first_ms))
    }
}

/// What stands for all servers together.
const ALL: &str = "all";

fn with_all(mut books: Books) -> Books {
    let mut all = Book::default();
    books.values().for_each(|book| all.add(book));
    books.insert(ALL.into(), all);
    books
}

/// The books of a window, as a Prometheus counts.
async fn asked(prometheus: &Prometheus, now_ms: UnixMs, window_ms: i64) -> Result<Books, Fault> {
    let window = window_ms / 1_000;
    let mut books = Books::new();
    let ask = async |expression: String| match prometheus.instant(&expression, now_ms).await? {
        Value::Vector(points) => Ok(points.into_iter().filter(|point| point.value.is_finite()).collect::<Vec<_>>()),
        _ => Err(Fault::upstream(format!("prometheus: `{expression}` is no vector"))),
    };
    for point in ask(format!("sum by (server) (increase(mcp_commands_total[{window}s]))")).await? {
        books.entry(point.labels.get("server").into()).or_default().calls = point.value;
    }
    let failed = format!("sum by (server) (increase(mcp_commands_total{{outcome=~\"{FAILURES}\"}}[{window}s]))");
    for point in ask(failed).await? {
        books.entry(point.labels.get("server").into()).or_default().failed = point.value;
    }
    let times =
        format!("sum by (server, le) (increase(mcp_response_time_seconds_bucket{{tool!~\"{WAITING}\"}}[{window}s]))");
    for point in ask(times).await? {
        let book = books.entry(point.labels.get("server").into()).or_default();
        book.within.insert(point.labels.get("le").into(), point.value);
    }
    Ok(with_all(books))
}
