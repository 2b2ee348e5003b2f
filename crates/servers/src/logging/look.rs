//! Searching, counting, grouping.

use std::collections::{BTreeMap, BTreeSet};

use kernel::logs::{Count, Level, Line, LogQuery};
use kernel::{Fault, UnixMs};
use mcp::ToolError;

use super::patterns::Miner;
use super::words::{bounded, check_range, fit};
use super::*;
use crate::when::When;

const HOUR_MS: i64 = 3_600_000;

/// Lines of these counts by level.
fn levels<'a>(counts: impl Iterator<Item = &'a Count>) -> Levels {
    let mut sum = Levels::default();
    for count in counts {
        sum.lines += count.lines;
        match count.level {
            Level::Error => sum.errors += count.lines,
            Level::Warn => sum.warnings += count.lines,
            Level::Info | Level::Debug | Level::Trace => {}
        }
    }
    sum
}

fn by_service(counts: &[Count]) -> BTreeMap<&str, Vec<&Count>> {
    let mut services: BTreeMap<&str, Vec<&Count>> = BTreeMap::new();
    for count in counts {
        services.entry(&count.service).or_default().push(count);
    }
    services
}

impl Logging {
    pub(super) async fn search(&self, request: SearchRequest) -> Result<SearchResponse, ToolError> {
        let limit = bounded(request.limit, 100, 1_000, "limit")?;
        let query = LogQuery { before_seq: request.before, ..request.query(self.clock.now_ms(), limit + 1)? };
        let mut lines = self.logs.search(query).await?;
        let mut more = lines.len() > limit;
        lines.truncate(limit);
        more |= fit(&mut lines);
        let next = lines.last().filter(|_| more).map(|line| line.seq);
        Ok(SearchResponse { lines, next })
    }

    pub(super) async fn context(&self, request: ContextRequest) -> Result<ContextResponse, ToolError> {
        let limit = bounded(request.lines, 10, 200, "lines")?;
        let seq = request.seq;
        let one = LogQuery { after_seq: Some(seq.saturating_sub(1)), limit: 1, ..LogQuery::default() };
        let line: Option<Line> = self.logs.search(one).await?.into_iter().find(|line| line.seq == seq);
        let line = line.ok_or_else(|| {
            Fault::not_found(format!("no line {seq}"))
                .hint("`seq` of a line from search or tail; old lines are forgotten")
        })?;
        let service = (!request.all_services).then(|| line.service.clone());
        let around = LogQuery { service, limit, ..LogQuery::default() };
        let before = LogQuery { before_seq: Some(seq), ..around.clone() };
        let mut before = self.logs.search(before).await?;
        before.reverse();
        let after = self.logs.search(LogQuery { after_seq: Some(seq), ..around }).await?;
        Ok(ContextResponse { before, line, after })
    }

    fn range(&self, from: Option<When>, until: Option<When>, default_ms: i64) -> Result<(UnixMs, UnixMs), Fault> {
        let now_ms = self.clock.now_ms();
        // The newest line may be of this very millisecond.
        let until_ms = until.map_or(now_ms + 1, |when| when.resolve(now_ms));
        let from_ms = from.map_or(until_ms.saturating_sub(default_ms), |when| when.resolve(now_ms));
        check_range(from_ms, until_ms)?;
        Ok((from_ms, until_ms))
    }

    /// Counts of one service, or of all.
    async fn counts(&self, from_ms: UnixMs, until_ms: UnixMs, service: Option<&str>) -> Result<Vec<Count>, Fault> {
        let mut counts = self.logs.counts(from_ms, until_ms).await?;
        counts.retain(|count| service.is_none_or(|wanted| wanted == count.service));
        Ok(counts)
    }

    pub(super) async fn stats(&self, request: StatsRequest) -> Result<StatsResponse, ToolError> {
        const BUCKETS_MAX: u32 = 60;
        if request.buckets > BUCKETS_MAX {
            return Err(Fault::invalid(format!("buckets is {}", request.buckets)).hint("0 to 60").into());
        }
        let (from_ms, until_ms) = self.range(request.from, request.until, 24 * HOUR_MS)?;
        let service = request.service.as_deref();
        let counts = self.counts(from_ms, until_ms, service).await?;
        let mut services: Vec<ServiceStats> = by_service(&counts)
            .into_iter()
            .map(|(service, counts)| ServiceStats {
                service: service.to_owned(),
                levels: levels(counts.iter().copied()),
                last_ms: counts.iter().map(|count| count.last_ms).max().unwrap_or(from_ms),
            })
            .collect();
        services.sort_by(|a, b| b.levels.lines.cmp(&a.levels.lines).then_with(|| a.service.cmp(&b.service)));
        let mut timeline = Vec::new();
        let parts = i64::from(request.buckets);
        let edge = |part: i64| from_ms + ((until_ms - from_ms) as i128 * i128::from(part) / i128::from(parts)) as i64;
        for part in 0..parts {
            let counts = self.counts(edge(part), edge(part + 1), service).await?;
            timeline.push(Bucket { from_ms: edge(part), levels: levels(counts.iter()) });
        }
        let (kept, retention_days) = (self.logs.usage().await?, self.retention().await?);
        let total = levels(counts.iter());
        Ok(StatsResponse { from_ms, until_ms, total, services, timeline, kept, retention_days })
    }

    pub(super) async fn patterns(&self, request: PatternsRequest) -> Result<PatternsResponse, ToolError> {
        let scan = bounded(request.scan, 5_000, 10_000, "scan")?;
        let limit = bounded(request.limit, 20, 200, "limit")?;
        let lines = self.logs.search(request.query(self.clock.now_ms(), scan)?).await?;
        let (patterns, others) = mined(&lines, limit).await;
        Ok(PatternsResponse { scanned: lines.len() as u64, patterns, others })
    }

    pub(super) async fn error_summary(&self, request: ErrorSummaryRequest) -> Result<ErrorSummaryResponse, ToolError> {
        /// How many of the newest errors are looked at for patterns.
        const SCAN: usize = 5_000;
        let limit = bounded(request.limit, 10, 100, "limit")?;
        let (from_ms, until_ms) = self.range(request.from, request.until, HOUR_MS)?;
        let service = request.service.as_deref();
        let now = self.counts(from_ms, until_ms, service).await?;
        let before = self.counts(from_ms.saturating_sub(until_ms - from_ms), from_ms, service).await?;
        let errors_before = |service: &str| levels(before.iter().filter(|count| count.service == service)).errors;
        let of_service = |(service, counts): (&str, Vec<&Count>)| {
            let Levels { errors, warnings, .. } = levels(counts.into_iter());
            ServiceErrors { service: service.to_owned(), errors, warnings, errors_before: errors_before(service) }
        };
        let mut services: Vec<ServiceErrors> = by_service(&now).into_iter().map(of_service).collect();
        services.retain(|one| one.errors + one.warnings + one.errors_before > 0);
        services.sort_by(|a, b| (b.errors, b.warnings, &a.service).cmp(&(a.errors, a.warnings, &b.service)));
        let level = if request.warnings { Level::Warn } else { Level::Error };
        let query = LogQuery {
            service: request.service.clone(),
            level: Some(level),
            from_ms: Some(from_ms),
            until_ms: Some(until_ms),
            limit: SCAN,
            ..LogQuery::default()
        };
        let (patterns, _) = mined(&self.logs.search(query).await?, limit).await;
        let total = levels(now.iter());
        let counted = total.errors + if request.warnings { total.warnings } else { 0 };
        let shown: u64 = patterns.iter().map(|pattern| pattern.count).sum();
        Ok(ErrorSummaryResponse {
            from_ms,
            until_ms,
            errors: total.errors,
            warnings: total.warnings,
            errors_before: levels(before.iter()).errors,
            services,
            patterns,
            others: counted.saturating_sub(shown),
        })
    }

    pub(super) async fn sources(&self, request: SourcesRequest) -> Result<SourcesResponse, ToolError> {
        let hours = bounded(request.hours, 24, 720, "hours")?;
        let now_ms = self.clock.now_ms();
        let counts = self.logs.counts(now_ms - hours as i64 * HOUR_MS, now_ms + 1).await?;
        let running: BTreeSet<String> = self
            .fleet
            .instances()
            .await?
            .into_iter()
            .filter(|instance| instance.status.serves())
            .map(|instance| instance.service)
            .collect();
        let said = by_service(&counts);
        let names: BTreeSet<&str> = said.keys().copied().chain(running.iter().map(String::as_str)).collect();
        let source = |service: &str| {
            let counts = said.get(service).map(Vec::as_slice).unwrap_or_default();
            LogSource {
                service: service.to_owned(),
                fleet: kernel::catalog::SERVICES.iter().any(|known| known.name == service),
                running: running.contains(service),
                levels: levels(counts.iter().copied()),
                last_ms: counts.iter().map(|count| count.last_ms).max(),
            }
        };
        let intake = intake::PATHS.iter().map(|(path, what)| format!("POST {path}: {what}")).collect();
        Ok(SourcesResponse { sources: names.into_iter().map(source).collect(), intake })
    }
}

/// Groups lines; gives other work its turn now and then.
async fn mined(lines: &[Line], limit: usize) -> (Vec<patterns::Pattern>, u64) {
    const AT_ONCE: usize = 250;
    let mut miner = Miner::default();
    for lines in lines.chunks(AT_ONCE) {
        lines.iter().for_each(|line| miner.add(line));
        tokio::task::yield_now().await;
    }
    miner.top(limit)
}
