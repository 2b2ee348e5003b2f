//! What a view sees of the fleet: the answers of its tools, as whoever asks for the view gets them.
//!
//! Looks are the view's and not the caller's own, like those of a page that is open: they pass every phase, are counted, and are recorded
//! where they are refused. The call for the view itself is recorded as any other.

use std::time::Duration;

use kernel::UnixMs;
use kernel::{Caller, Trace};
use mcp::prelude::*;
use mcp::toolbox::{Router, structured};
use serde_json::{Value, json};

use super::chart::{Along, Chart, ChartKind, ChartSeries, SERIES_MAX};
use super::page::{Body, Section, cell};
use crate::monitoring::{QUERY_RANGE, QueryRangeRequest, QueryRangeResponse};

/// How long one look may take.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// The coordinator, whose tools tell of the fleet.
pub(super) const COORDINATOR: &str = kernel::catalog::COORDINATOR;

/// What a look gives.
pub(super) type Answer = Result<Value, Fault>;

/// A view of the fleet for one caller.
pub(super) struct Look {
    router: Arc<dyn Router>,
    pub(super) caller: Caller,
    trace: Trace,
    pub(super) now_ms: UnixMs,
}

impl Look {
    pub(super) fn new(router: Arc<dyn Router>, ctx: &Ctx, now_ms: UnixMs) -> Self {
        let caller = Caller { standing: true, ..(*ctx.caller).clone() };
        Self { router, caller, trace: ctx.trace.child(), now_ms }
    }

    /// What a tool that only reads answers.
    pub(super) async fn read(&self, server: &str, tool: &str, arguments: Value) -> Answer {
        let ctx = Ctx::internal(self.caller.clone(), self.trace);
        let call = async {
            let reply = self.router.call(server, tool, mcp::wire::raw(&arguments), ctx).await?;
            let content = structured(&reply)?;
            serde_json::from_str(content.get())
                .map_err(|error| Fault::upstream(format!("{server}.{tool}: answer is not JSON: {error}")))
        };
        let late = |_| Err(Fault::timeout(format!("{server}.{tool} did not answer within {} s", LOOK_TIME.as_secs())));
        tokio::time::timeout(LOOK_TIME, call).await.unwrap_or_else(late)
    }

    /// A tool's answer to a question without arguments.
    pub(super) async fn plain(&self, server: &str, tool: &str) -> Answer {
        self.read(server, tool, json!({})).await
    }

    /// What PromQL gives over a time, as a chart. More series than a chart takes are refused, or `cut`, which its title says then.
    pub(super) async fn metrics(&self, chart: Chart, request: &QueryRangeRequest, cut: bool) -> Result<Chart, Fault> {
        let asked = serde_json::to_value(request).map_err(|error| Fault::internal(format!("query: {error}")))?;
        let answer = self.read(QUERY_RANGE.server, QUERY_RANGE.name, asked).await?;
        let answer: QueryRangeResponse =
            serde_json::from_value(answer).map_err(|error| Fault::upstream(format!("query_range: {error}")))?;
        let named = |metric: &std::collections::BTreeMap<String, String>| {
            let labels: Vec<String> = match metric.len() {
                1 => metric.values().cloned().collect(),
                _ => metric.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            };
            labels.join(" ").chars().take(60).collect::<String>()
        };
        let mut chart = chart;
        if answer.omitted > 0 {
            let all = answer.omitted + answer.series.len() as u64;
            if !cut {
                return Err(Fault::too_large(format!("the query gives {all} series"))
                    .hint(format!("at most {SERIES_MAX}: sum them up, or take the largest: topk(8, …)")));
            }
            chart.title = format!("{} (the first {SERIES_MAX} of {all})", chart.title);
        }
        let series = answer.series.iter().map(|one| ChartSeries {
            name: named(&one.metric),
            points: one
                .samples
                .iter()
                .map(|(at, figure)| (*at as f64, Some(figure.0).filter(|of| of.is_finite())))
                .collect(),
        });
        Ok(Chart { along: Along::Time, series: series.collect(), ..chart })
    }

    /// A section with a chart of what PromQL gives over the last hour.
    pub(super) async fn chart(&self, name: &str, title: &str, unit: &str, query: &str) -> Section {
        let blank = Chart { kind: ChartKind::Line, title: title.into(), unit: unit.into(), ..Chart::default() };
        let request =
            QueryRangeRequest { query: query.into(), limit: Some(SERIES_MAX as u32), ..QueryRangeRequest::default() };
        let body = match self.metrics(blank, &request, true).await {
            Ok(chart) => Body::Chart(chart),
            Err(fault) => Body::Untold(cell(&fault.to_string())),
        };
        Section::new(name, title, body)
    }
}

/// The items of a list in an answer.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
