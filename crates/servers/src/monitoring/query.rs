//! The tools that ask for figures.

use std::collections::BTreeMap;

use kernel::{Fault, UnixMs};
use mcp::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Monitoring;
use super::figure::Figure;
use super::figures::Figures;
use super::promql::{self, Series, Value};
use crate::when::{When, duration_ms};

/// Most series of one answer.
const SERIES_MAX: u32 = 5_000;
/// Most samples of one answer.
const SAMPLES_MAX: usize = 100_000;
/// Steps of a range when no step is given.
const STEPS: i64 = 120;

/// What [`QUERY_METRICS`](super::QUERY_METRICS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueryMetricsRequest {
    /// PromQL, like sum by (server) (rate(mcp_commands_total[5m])). list_metrics names the metrics.
    pub query: String,
    /// At which moment: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch; now unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<When>,
    /// At most this many series: 1 to 5,000, 200 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5000))]
    pub limit: Option<u32>,
}

/// A series at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstantSeries {
    /// Its labels.
    pub metric: BTreeMap<String, String>,
    /// Its value.
    pub value: Figure,
}

/// A series over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RangeSeries {
    /// Its labels.
    pub metric: BTreeMap<String, String>,
    /// Pairs of milliseconds since the Unix epoch and value, oldest first.
    pub samples: Vec<(UnixMs, Figure)>,
}

/// What [`QUERY_METRICS`](super::QUERY_METRICS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueryMetricsResponse {
    /// Who computed it: `recorder` or `prometheus`.
    pub source: String,
    /// The moment, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
    /// What the expression is: `vector`, `scalar`, `matrix` or `string`. A scalar is one series without labels.
    pub kind: String,
    /// The series of a vector, or the scalar.
    pub series: Vec<InstantSeries>,
    /// The series of a matrix.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub matrix: Vec<RangeSeries>,
    /// The text of a string.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// How many series were left out.
    pub omitted: u64,
}

/// What [`QUERY_RANGE`](super::QUERY_RANGE) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueryRangeRequest {
    /// PromQL that gives a number or a vector.
    pub query: String,
    /// From when: 2026-11-15T08:00:00Z, -15m, or milliseconds since the Unix epoch; -1h unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<When>,
    /// Until when: the same forms; now unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<When>,
    /// How far apart the moments are, like 30s or 5m; a hundred and twentieth of the range unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// At most this many series: 1 to 5,000, 50 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5000))]
    pub limit: Option<u32>,
}

/// What [`QUERY_RANGE`](super::QUERY_RANGE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueryRangeResponse {
    /// Who computed it: `recorder` or `prometheus`.
    pub source: String,
    /// The range, in milliseconds since the Unix epoch.
    pub start_ms: UnixMs,
    /// Its end.
    pub end_ms: UnixMs,
    /// How far apart the moments are, in milliseconds.
    pub step_ms: i64,
    /// The series.
    pub series: Vec<RangeSeries>,
    /// How many series were left out.
    pub omitted: u64,
}

/// What [`LIST_METRICS`](super::LIST_METRICS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListMetricsRequest {
    /// Only metrics whose name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// counter, gauge, histogram, …; empty when nobody said.
    pub kind: String,
    /// What it means; empty when nobody said.
    pub help: String,
    /// How many series it has; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub series: Option<u64>,
}

/// What [`LIST_METRICS`](super::LIST_METRICS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListMetricsResponse {
    /// Who keeps them: `recorder` or `prometheus`.
    pub source: String,
    /// By name.
    pub metrics: Vec<Metric>,
}

/// What [`LABEL_VALUES`](super::LABEL_VALUES) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelValuesRequest {
    /// The label.
    pub label: String,
    /// Only on series of this metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
}

/// What [`LABEL_VALUES`](super::LABEL_VALUES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LabelValuesResponse {
    /// The values, in order.
    pub values: Vec<String>,
}

fn limit(given: Option<u32>, default: u32) -> Result<usize, Fault> {
    let given = given.unwrap_or(default);
    if (1..=SERIES_MAX).contains(&given) {
        return Ok(given as usize);
    }
    Err(Fault::invalid(format!("limit is {given}")).hint(format!("1 to {SERIES_MAX}")))
}

/// Leaves out series past `limit`, and those that would make too many samples. Returns how many.
fn cut(series: Vec<Series>, limit: usize) -> (Vec<RangeSeries>, u64) {
    let (all, mut samples) = (series.len(), 0);
    let fitting = series.into_iter().take(limit).take_while(|one| {
        samples += one.samples.len();
        samples <= SAMPLES_MAX
    });
    let kept: Vec<RangeSeries> = fitting
        .map(|one| RangeSeries {
            metric: one.labels.to_map(),
            samples: one.samples.into_iter().map(|(at_ms, value)| (at_ms, Figure(value))).collect(),
        })
        .collect();
    let omitted = (all - kept.len()) as u64;
    (kept, omitted)
}

impl Monitoring {
    pub(super) async fn query_metrics(&self, request: QueryMetricsRequest) -> Result<QueryMetricsResponse, ToolError> {
        let limit = limit(request.limit, 200)?;
        let now_ms = self.clock.now_ms();
        let at_ms = request.time.map_or(now_ms, |when| when.resolve(now_ms));
        let value = self.figures.instant(&request.query, at_ms).await?;
        let mut answer = QueryMetricsResponse {
            source: self.figures.name().into(),
            at_ms,
            kind: String::new(),
            series: Vec::new(),
            matrix: Vec::new(),
            text: None,
            omitted: 0,
        };
        match value {
            Value::Vector(points) => {
                answer.kind = "vector".into();
                answer.omitted = points.len().saturating_sub(limit) as u64;
                let series = points.into_iter().take(limit);
                answer.series = series
                    .map(|point| InstantSeries { metric: point.labels.to_map(), value: Figure(point.value) })
                    .collect();
            }
            Value::Scalar(value) => {
                answer.kind = "scalar".into();
                answer.series = vec![InstantSeries { metric: BTreeMap::new(), value: Figure(value) }];
            }
            Value::Matrix(series) => {
                answer.kind = "matrix".into();
                (answer.matrix, answer.omitted) = cut(series, limit);
            }
            Value::Text(text) => (answer.kind, answer.text) = ("string".into(), Some(text)),
        }
        Ok(answer)
    }

    pub(super) async fn query_range(&self, request: QueryRangeRequest) -> Result<QueryRangeResponse, ToolError> {
        let limit = limit(request.limit, 50)?;
        let now_ms = self.clock.now_ms();
        let end_ms = request.end.map_or(now_ms, |when| when.resolve(now_ms));
        let start_ms = request.start.map_or(end_ms.saturating_sub(3_600_000), |when| when.resolve(now_ms));
        let step_ms = match &request.step {
            Some(step) => duration_ms(step)
                .ok_or_else(|| Fault::invalid(format!("`{step}` is no step")).hint("like 30s, 5m or 1h"))?,
            // Whole seconds read better.
            None => (end_ms.saturating_sub(start_ms) / STEPS / 1_000).max(1) * 1_000,
        };
        promql::check_range(start_ms, end_ms, step_ms)?;
        let series = self.figures.range(&request.query, start_ms, end_ms, step_ms).await?;
        let (series, omitted) = cut(series, limit);
        Ok(QueryRangeResponse { source: self.figures.name().into(), start_ms, end_ms, step_ms, series, omitted })
    }

    pub(super) async fn list_metrics(&self, request: ListMetricsRequest) -> Result<ListMetricsResponse, ToolError> {
        let mut metrics: Vec<Metric> = match &*self.figures {
            Figures::Recorder(scraper) => scraper
                .look(|recorder| recorder.metrics())
                .into_iter()
                .map(|(name, (series, meta))| Metric {
                    name,
                    kind: meta.kind,
                    help: meta.help,
                    series: Some(series as u64),
                })
                .collect(),
            Figures::Prometheus(prometheus) => {
                let metadata = prometheus.metadata().await?;
                let names = prometheus.label_values("__name__", None).await?;
                let known = |name: &str| {
                    let family =
                        ["", "_total", "_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
                    let first = family.filter_map(|family| metadata.get(family)?.first()).next();
                    first.map_or_else(Default::default, |meta| (meta.kind.clone(), meta.help.clone()))
                };
                let metric = |name: String| {
                    let (kind, help) = known(&name);
                    Metric { name, kind, help, series: None }
                };
                names.into_iter().map(metric).collect()
            }
        };
        metrics.retain(|metric| request.name.as_ref().is_none_or(|part| metric.name.contains(part)));
        Ok(ListMetricsResponse { source: self.figures.name().into(), metrics })
    }

    pub(super) async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelValuesResponse, ToolError> {
        let metric = request.metric.as_deref();
        Ok(LabelValuesResponse {
            values: match &*self.figures {
                Figures::Recorder(scraper) => {
                    scraper.look(|recorder| recorder.label_values(&request.label, metric)).into_iter().collect()
                }
                Figures::Prometheus(prometheus) => prometheus.label_values(&request.label, metric).await?,
            },
        })
    }
}
