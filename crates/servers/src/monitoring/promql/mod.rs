//! PromQL over series kept here: what Prometheus 3 answers, for the part of the language that dashboards and alert rules use.
//!
//! Parsing is `promql-parser`'s. [`Query::parse`] refuses what is not computed here by name, so that evaluation never meets it, and
//! bounds length and depth; [`Query::instant`] and [`Query::range`] bound steps and samples.

mod aggregate;
mod binary;
mod call;
mod check;
mod eval;
mod histogram;
mod plan;
#[cfg(test)]
mod tests;
mod value;
mod window;

use std::collections::BTreeMap;

use kernel::{Code, Fault, UnixMs};
use promql_parser::parser::token::{T_BOTTOMK, T_TOPK};
use promql_parser::parser::{self, Expr};

pub use check::{SUPPORTED_AGGREGATIONS, supported_functions};
use eval::Eval;
use plan::Bounds;
pub use plan::reach_ms;
pub use value::{Labels, Point, STALE, Sample, Series, Source, Value, is_stale, matches};

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Most steps of one range query.
pub const STEPS_MAX: i64 = 2_000;
/// Most samples one query may look at, over all its steps.
pub const SAMPLES_MAX: usize = 200_000_000;
/// Most samples one step of a query may look at (other work waits for it), and hold in memory.
pub const STEP_SAMPLES_MAX: usize = 4_000_000;
/// Samples held in memory for several steps together.
const HELD_SAMPLES: usize = 1_000_000;
/// How long a sample stays the value of its series, in milliseconds.
pub const LOOKBACK_MS: i64 = 5 * 60_000;
/// The step of a subquery that names none, in milliseconds.
pub const SUBQUERY_STEP_MS: i64 = 60_000;

/// An expression that can be computed here.
#[derive(Debug, Clone)]
pub struct Query {
    expr: Expr,
}

impl Query {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](kernel::Code::InvalidArgument) when it is not PromQL; [`Code::Unsupported`](kernel::Code::Unsupported)
    /// when it is, but has a part that is not computed here: the message names it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let expr = parse(text)?;
        check::check(&expr)?;
        Ok(Self { expr })
    }

    /// Its value at one moment.
    pub fn instant(&self, source: &dyn Source, at_ms: UnixMs) -> Result<Value, Fault> {
        let bounds = Bounds { start_ms: at_ms, end_ms: at_ms };
        let eval = Eval::load(&self.expr, source, bounds, (at_ms, at_ms), STEP_SAMPLES_MAX)?;
        let mut value = eval.step(&self.expr, at_ms)?;
        if let Value::Vector(points) = &mut value
            && !self.is_ordered()
        {
            points.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(value)
    }

    /// Its values at `start_ms`, `start_ms + step_ms`, … up to `end_ms`. Gives other work its turn between steps.
    pub async fn range(
        &self,
        source: &dyn Source,
        start_ms: UnixMs,
        end_ms: UnixMs,
        step_ms: i64,
    ) -> Result<Vec<Series>, Fault> {
        check_range(start_ms, end_ms, step_ms)?;
        let bounds = Bounds { start_ms, end_ms };
        let mut series: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        let (mut at_ms, mut looked_at) = (start_ms, 0);
        // As many steps at once as memory allows: the first try takes all.
        let mut together = (end_ms - start_ms) / step_ms;
        while at_ms <= end_ms {
            let last_ms = (at_ms + together * step_ms).min(end_ms);
            let held_max = if together > 0 { HELD_SAMPLES } else { STEP_SAMPLES_MAX };
            let eval = match Eval::load(&self.expr, source, bounds, (at_ms, last_ms), held_max) {
                Err(fault) if fault.code == Code::TooLarge && together > 0 => {
                    together /= 4;
                    continue;
                }
                other => other?,
            };
            while at_ms <= last_ms {
                add(&mut series, eval.step(&self.expr, at_ms)?, at_ms)?;
                at_ms += step_ms;
                tokio::task::yield_now().await;
            }
            looked_at += eval.looked_at();
            if looked_at > SAMPLES_MAX {
                return Err(plan::too_many());
            }
        }
        Ok(series.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }

    /// Whether the expression's own order is its answer.
    fn is_ordered(&self) -> bool {
        match &self.expr {
            Expr::Call(call) => matches!(call.func.name, "sort" | "sort_desc"),
            Expr::Aggregate(aggregate) => matches!(aggregate.op.id(), T_TOPK | T_BOTTOMK),
            _ => false,
        }
    }
}

/// Adds what an expression is worth at `at_ms` to its series.
fn add(series: &mut BTreeMap<Labels, Vec<Sample>>, value: Value, at_ms: UnixMs) -> Result<(), Fault> {
    match value {
        Value::Scalar(value) => series.entry(Labels::default()).or_default().push((at_ms, value)),
        Value::Vector(points) => {
            for point in points {
                series.entry(point.labels).or_default().push((at_ms, point.value));
            }
        }
        Value::Text(_) | Value::Matrix(_) => {
            return Err(Fault::invalid("a range query needs an expression that is a number or a vector")
                .hint("wrap a range like metric[5m] in a function such as rate()"));
        }
    }
    Ok(())
}

/// Reads an expression, whoever will compute it.
pub fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Fault::too_large(format!("an expression of {} bytes", text.len()))
            .hint(format!("at most {EXPRESSION_BYTES_MAX} bytes")));
    }
    check::check_nesting(text)?;
    parser::parse(text).map_err(|error| {
        Fault::invalid(format!("not PromQL: {error}"))
            .hint("for example sum by (server) (rate(mcp_commands_total[5m]))")
    })
}

/// Refuses a range that runs backwards or has too many steps.
pub fn check_range(start_ms: UnixMs, end_ms: UnixMs, step_ms: i64) -> Result<(), Fault> {
    if step_ms < 1 {
        return Err(Fault::invalid(format!("a step of {step_ms} ms")).hint("at least 1 ms"));
    }
    if end_ms < start_ms {
        return Err(Fault::invalid("the range ends before it starts").hint("start first, then end"));
    }
    let steps = (end_ms.saturating_sub(start_ms) / step_ms).saturating_add(1);
    if steps > STEPS_MAX {
        return Err(Fault::too_large(format!("a range of {steps} steps"))
            .hint(format!("at most {STEPS_MAX}: widen the step or shorten the range")));
    }
    Ok(())
}
