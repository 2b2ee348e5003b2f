//! Following the lines as they come.

use std::time::Duration;

use kernel::Fault;
use kernel::logs::{Line, LogQuery};
use mcp::{Ctx, ToolError};
use tokio::time::Instant;

use super::words::{bounded, fit};
use super::{Logging, TailRequest, TailResponse};

/// Longest wait, in seconds.
pub(super) const WAIT_SECONDS_MAX: u32 = 300;
/// Most lines to begin with.
const FIRST_LINES_MAX: u32 = 1_000;

impl Logging {
    pub(super) async fn tail(&self, request: TailRequest, ctx: &Ctx) -> Result<TailResponse, ToolError> {
        let limit = bounded(request.limit, 200, 1_000, "limit")?;
        let wait = request.wait_seconds.unwrap_or(0);
        if wait > WAIT_SECONDS_MAX {
            let hint = format!("0 to {WAIT_SECONDS_MAX}; call again with the cursor to go on");
            return Err(Fault::invalid(format!("wait_seconds is {wait}")).hint(hint).into());
        }
        let until = Instant::now() + Duration::from_secs(u64::from(wait));
        let query = request.query(self.clock.now_ms(), limit)?;
        let mut tail = match request.after {
            Some(cursor) => TailResponse { lines: Vec::new(), cursor },
            None => self.newest(&query, request.lines.unwrap_or(10)).await?,
        };
        let mut told = 0;
        loop {
            // Before the search, so that nothing falls between it and the wait.
            let appended = self.logs.appended();
            let room = limit.saturating_sub(tail.lines.len());
            let found = self.after(&query, tail.cursor, room).await?;
            let found_some = !found.is_empty();
            tail.lines.extend(found);
            let full = fit(&mut tail.lines) || tail.lines.len() >= limit;
            if found_some {
                tail.cursor = tail.lines.last().map_or(tail.cursor, |line| line.seq);
            }
            told = tell(ctx, &tail.lines, told).await;
            let enough = full || (!tail.lines.is_empty() && !request.follow.unwrap_or(false));
            if enough || tokio::time::timeout_at(until, appended).await.is_err() {
                return Ok(tail);
            }
        }
    }

    async fn after(&self, query: &LogQuery, cursor: u64, limit: usize) -> Result<Vec<Line>, Fault> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.logs.search(LogQuery { after_seq: Some(cursor), limit, ..query.clone() }).await
    }

    /// The newest lines of the query, and the place from which to go on: that of the newest line of all, so that the next look need
    /// not go through what does not match.
    async fn newest(&self, query: &LogQuery, lines: u32) -> Result<TailResponse, Fault> {
        if lines > FIRST_LINES_MAX {
            return Err(Fault::invalid(format!("lines is {lines}")).hint(format!("0 to {FIRST_LINES_MAX}")));
        }
        // Read first: what arrives in between is found by the next look, or again by this one and then moves the cursor.
        let last = self.logs.search(LogQuery { limit: 1, ..LogQuery::default() }).await?;
        let end = last.first().map_or(0, |line| line.seq);
        let mut lines = match lines.min(u32::try_from(query.limit).unwrap_or(u32::MAX)) {
            0 => Vec::new(),
            limit => self.logs.search(LogQuery { limit: limit as usize, ..query.clone() }).await?,
        };
        fit(&mut lines);
        lines.reverse();
        let cursor = lines.last().map_or(end, |line| line.seq.max(end));
        Ok(TailResponse { lines, cursor })
    }
}

/// Reports the lines from place `told` on as progress. Returns how many are told now.
async fn tell(ctx: &Ctx, lines: &[Line], told: usize) -> usize {
    if ctx.progress_token.is_some() {
        for (place, line) in lines.iter().enumerate().skip(told) {
            let text = format!("{} {}: {}", line.level.as_str(), line.service, line.message);
            ctx.progress((place + 1) as f64, None, Some(&text)).await;
        }
    }
    lines.len()
}
