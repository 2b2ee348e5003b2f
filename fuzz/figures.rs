//! What the fuzzer and the servers crate's tests both feed foreign bytes to: log intake, figures, queries.

use kernel::logs::Line;
use servers::logging::intake::{self, LINES_MAX};
use servers::logging::patterns::Miner;
use servers::monitoring::exposition::{self, labels};
use servers::monitoring::promql::{Labels, Query, STALE, Sample, Series, Source, matches};

/// Bodies of log intake, of every kind: refused, or lines within all limits, which can be grouped.
pub(crate) fn intake(bytes: &[u8]) {
    const NOW_MS: i64 = 1_794_729_600_000;
    let mut miner = Miner::default();
    for kind in ["application/json", "application/x-protobuf", "application/x-ndjson"] {
        let read =
            [intake::loki(bytes, kind, NOW_MS), intake::otlp(bytes, kind, NOW_MS), intake::ndjson(bytes, kind, NOW_MS)];
        for lines in read.into_iter().flatten() {
            assert!(lines.len() <= LINES_MAX);
            for line in &lines {
                check(line);
                miner.add(line);
            }
        }
    }
    let (patterns, _) = miner.top(10);
    assert!(patterns.len() <= 10);
}

fn check(line: &Line) {
    assert_eq!(*line.within_limits(), *line, "cut already");
    assert!(line.trace_id.as_ref().is_none_or(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    assert!(!line.service.is_empty() && !line.message.ends_with('\n'));
}

/// A scrape: each sample's series is labels, or refused.
pub(crate) fn exposition(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in exposition::lines(&text).flatten() {
        if let exposition::Line::Sample { series, .. } = line
            && let Ok(labels) = labels(series, &[("job", "fuzz")])
        {
            // A sample may say that it has no job, or another.
            assert!(series.contains("job") || labels.get("job") == "fuzz");
        }
    }
}

/// A few series that begin, end, count and are reset.
struct Few;

impl Source for Few {
    fn select(
        &self,
        selector: &promql_parser::parser::VectorSelector,
        after_ms: i64,
        until_ms: i64,
        _samples_max: usize,
    ) -> Option<Vec<Series>> {
        let series = |name: &str, label: &str, values: [f64; 6]| Series {
            labels: [("__name__", name), ("a", label)].into_iter().collect::<Labels>(),
            samples: (0..).step_by(60_000).zip(values).collect::<Vec<Sample>>(),
        };
        let all = [
            series("up", "x", [1.0, 1.0, 0.0, STALE, 1.0, 1.0]),
            series("calls", "x", [1.0, 5.0, 2.0, f64::INFINITY, f64::NAN, 7.0]),
            series("calls", "y", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ];
        let inside = |mut one: Series| {
            one.samples.retain(|(time, _)| *time > after_ms && *time <= until_ms);
            one
        };
        Some(all.into_iter().filter(|one| matches(selector, &one.labels)).map(inside).collect())
    }
}

/// A query: refused, or computed, or refused while it is.
pub(crate) fn promql(bytes: &[u8]) {
    if let Ok(query) = Query::parse(&String::from_utf8_lossy(bytes)) {
        // Every outcome but a panic is right.
        let _ = query.instant(&Few, 300_000);
    }
}
