//! The evaluator: what an expression is worth at one moment.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use kernel::{Fault, UnixMs};
use promql_parser::parser::{Expr, SubqueryExpr, VectorSelector};

use super::plan::{self, Bounds, Load, Loaded, millis};
use super::value::distinct;
use super::window::{Ranged, Window};
use super::{LOOKBACK_MS, Labels, Point, SAMPLES_MAX, STEP_SAMPLES_MAX, SUBQUERY_STEP_MS};
use super::{Sample, Series, Source, Value, aggregate, binary, call, is_stale};

/// One query under way.
pub(super) struct Eval {
    loaded: Loaded,
    bounds: Bounds,
    /// Samples looked at so far, over all steps.
    looked_at: Cell<usize>,
    /// Of these, before this step.
    before_step: Cell<usize>,
}

impl Eval {
    /// Reads everything that `expr` needs to be evaluated at any moment of `span`, at most `held_max` samples.
    pub(super) fn load(
        expr: &Expr,
        source: &dyn Source,
        bounds: Bounds,
        span: (UnixMs, UnixMs),
        held_max: usize,
    ) -> Result<Self, Fault> {
        let mut load = Load { source, bounds, room: held_max, loaded: Loaded::new() };
        load.expr(expr, span)?;
        Ok(Self { loaded: load.loaded, bounds, looked_at: Cell::new(0), before_step: Cell::new(0) })
    }

    /// Samples looked at so far.
    pub(super) fn looked_at(&self) -> usize {
        self.looked_at.get()
    }

    /// One step of a query.
    pub(super) fn step(&self, expr: &Expr, at_ms: UnixMs) -> Result<Value, Fault> {
        self.before_step.set(self.looked_at.get());
        self.value(expr, at_ms)
    }

    /// What `expr` is worth at `at_ms`.
    pub(super) fn value(&self, expr: &Expr, at_ms: UnixMs) -> Result<Value, Fault> {
        self.count(1)?;
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::StringLiteral(text) => Ok(Value::Text(text.val.clone())),
            Expr::Paren(paren) => self.value(&paren.expr, at_ms),
            Expr::VectorSelector(selector) => Ok(Value::Vector(self.latest(selector, at_ms)?)),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                Ok(Value::Matrix(self.windows(expr, at_ms)?.into_iter().map(Ranged::into_series).collect()))
            }
            Expr::Unary(unary) => Ok(match self.value(&unary.expr, at_ms)? {
                Value::Scalar(value) => Value::Scalar(-value),
                other => Value::Vector(distinct(call::mapped(vector(other)?, |value| -value))?),
            }),
            Expr::Binary(expr) => {
                let left = self.value(&expr.lhs, at_ms)?;
                let right = self.value(&expr.rhs, at_ms)?;
                self.count(size(&left) + size(&right))?;
                binary::binary(expr, left, right, at_ms)
            }
            Expr::Aggregate(expr) => {
                let parameter = expr.param.as_ref().map(|param| self.value(param, at_ms)).transpose()?;
                let points = vector(self.value(&expr.expr, at_ms)?)?;
                self.count(points.len())?;
                aggregate::aggregate(expr, parameter, points, at_ms).map(Value::Vector)
            }
            Expr::Call(expr) => call::call(self, expr, at_ms),
            Expr::Extension(_) => Err(Fault::unsupported("extension nodes are not computed here")),
        }
    }

    /// Every matching series' newest sample that is not older than the lookback and not the end of its series.
    fn latest(&self, selector: &VectorSelector, at_ms: UnixMs) -> Result<Vec<Point>, Fault> {
        let moment = self.bounds.moment(at_ms, selector.at.as_ref(), selector.offset.as_ref());
        let series = self.series(selector);
        self.count(series.len())?;
        let newest = |one: &Series| {
            let end = one.samples.partition_point(|(time, _)| *time <= moment);
            let (time, value) = *one.samples[..end].last()?;
            let alive = time > moment.saturating_sub(LOOKBACK_MS) && !is_stale(value);
            alive.then(|| Point { labels: one.labels.clone(), value, at_ms: time })
        };
        Ok(series.iter().filter_map(newest).collect())
    }

    fn series(&self, selector: &VectorSelector) -> &[Series] {
        self.loaded.get(&plan::key(selector)).map_or(&[], Vec::as_slice)
    }

    /// The series of a range, each cut to its window; without those that have no sample there.
    pub(super) fn windows(&self, expr: &Expr, at_ms: UnixMs) -> Result<Vec<Ranged<'_>>, Fault> {
        match expr {
            Expr::Paren(paren) => self.windows(&paren.expr, at_ms),
            Expr::MatrixSelector(matrix) => {
                let selector = &matrix.vs;
                let until_ms = self.bounds.moment(at_ms, selector.at.as_ref(), selector.offset.as_ref());
                let window = Window { after_ms: until_ms.saturating_sub(millis(matrix.range)), until_ms };
                let cut: Vec<_> = self.series(selector).iter().filter_map(|one| window.cut(one)).collect();
                self.count(cut.iter().map(|one| one.samples.len()).sum())?;
                Ok(cut)
            }
            Expr::Subquery(subquery) => self.subquery(subquery, at_ms),
            _ => Err(Fault::internal("a range function was given something that is not a range")),
        }
    }

    /// Evaluates the inner expression at every multiple of the step inside the range.
    fn subquery(&self, expr: &SubqueryExpr, at_ms: UnixMs) -> Result<Vec<Ranged<'_>>, Fault> {
        let until_ms = self.bounds.moment(at_ms, expr.at.as_ref(), expr.offset.as_ref());
        let step_ms = expr.step.map_or(SUBQUERY_STEP_MS, millis).max(1);
        let window = Window { after_ms: until_ms.saturating_sub(millis(expr.range)), until_ms };
        let steps = until_ms.saturating_sub(window.after_ms) / step_ms;
        if steps > super::STEPS_MAX {
            return Err(Fault::too_large(format!("a subquery of {steps} steps"))
                .hint(format!("at most {}: widen the step or shorten the range", super::STEPS_MAX)));
        }
        let mut series: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        let mut moment = (window.after_ms.div_euclid(step_ms) + 1) * step_ms;
        while moment <= until_ms {
            for point in vector(self.value(&expr.expr, moment)?)? {
                series.entry(point.labels).or_default().push((moment, point.value));
            }
            moment += step_ms;
        }
        let ranged = |(labels, samples)| Ranged { labels, samples: Cow::Owned(samples), window };
        Ok(series.into_iter().map(ranged).collect())
    }

    /// Counts work done, and refuses to go on past the limits.
    pub(super) fn count(&self, samples: usize) -> Result<(), Fault> {
        let looked_at = self.looked_at.get() + samples;
        self.looked_at.set(looked_at);
        let too_many = looked_at > SAMPLES_MAX || looked_at - self.before_step.get() > STEP_SAMPLES_MAX;
        if too_many { Err(plan::too_many()) } else { Ok(()) }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Vector(points) => points.len(),
        Value::Matrix(series) => series.iter().map(|one| one.samples.len()).sum(),
        Value::Scalar(_) | Value::Text(_) => 1,
    }
}

/// The vector that the parser's types promise.
pub(super) fn vector(value: Value) -> Result<Vec<Point>, Fault> {
    match value {
        Value::Vector(points) => Ok(points),
        _ => Err(Fault::internal("an instant vector was expected")),
    }
}

/// The number that the parser's types promise.
pub(super) fn scalar(value: &Value) -> Result<f64, Fault> {
    match value {
        Value::Scalar(value) => Ok(*value),
        _ => Err(Fault::internal("a number was expected")),
    }
}
