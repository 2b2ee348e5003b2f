//! Reads every selector's series once, over all the time that a query will look at.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use kernel::{Fault, UnixMs};
use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector};

use super::{LOOKBACK_MS, Series, Source};

/// Series by their selector's address in the expression, which does not move while it is evaluated.
pub(super) type Loaded = HashMap<usize, Vec<Series>>;

/// The first and the last moment of a query: what `start()` and `end()` mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) start_ms: UnixMs,
    pub(super) end_ms: UnixMs,
}

pub(super) fn key(selector: &VectorSelector) -> usize {
    std::ptr::from_ref(selector).addr()
}

/// A duration in milliseconds; what does not fit is longer than any data.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

impl Bounds {
    /// The moment a selector looks at when it is evaluated at `at_ms`.
    pub(super) fn moment(self, at_ms: UnixMs, at: Option<&AtModifier>, offset: Option<&Offset>) -> UnixMs {
        let at_ms = match at {
            None => at_ms,
            Some(AtModifier::Start) => self.start_ms,
            Some(AtModifier::End) => self.end_ms,
            Some(AtModifier::At(time)) => match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => millis(after),
                Err(before) => -millis(before.duration()),
            },
        };
        match offset {
            None => at_ms,
            Some(Offset::Pos(back)) => at_ms.saturating_sub(millis(*back)),
            Some(Offset::Neg(ahead)) => at_ms.saturating_add(millis(*ahead)),
        }
    }
}

/// Loads what `expr` needs to be evaluated at any moment from `first_ms` to `last_ms`.
pub(super) fn load(
    expr: &Expr,
    source: &dyn Source,
    bounds: Bounds,
    (first_ms, last_ms): (UnixMs, UnixMs),
    loaded: &mut Loaded,
) -> Result<(), Fault> {
    let mut both = |expr: &Expr| load(expr, source, bounds, (first_ms, last_ms), loaded);
    match expr {
        Expr::Aggregate(aggregate) => {
            if let Some(param) = &aggregate.param {
                both(param)?;
            }
            both(&aggregate.expr)
        }
        Expr::Unary(unary) => both(&unary.expr),
        Expr::Binary(binary) => both(&binary.lhs).and_then(|()| both(&binary.rhs)),
        Expr::Paren(paren) => both(&paren.expr),
        Expr::Call(call) => call.args.args.iter().try_for_each(|argument| both(argument)),
        Expr::Subquery(subquery) => {
            let moment = |at_ms| bounds.moment(at_ms, subquery.at.as_ref(), subquery.offset.as_ref());
            let first_ms = moment(first_ms).saturating_sub(millis(subquery.range));
            load(&subquery.expr, source, bounds, (first_ms, moment(last_ms)), loaded)
        }
        Expr::VectorSelector(selector) => select(selector, LOOKBACK_MS, source, bounds, (first_ms, last_ms), loaded),
        Expr::MatrixSelector(matrix) => {
            select(&matrix.vs, millis(matrix.range), source, bounds, (first_ms, last_ms), loaded)
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Ok(()),
    }
}

fn select(
    selector: &VectorSelector,
    reach_ms: i64,
    source: &dyn Source,
    bounds: Bounds,
    (first_ms, last_ms): (UnixMs, UnixMs),
    loaded: &mut Loaded,
) -> Result<(), Fault> {
    let moment = |at_ms| bounds.moment(at_ms, selector.at.as_ref(), selector.offset.as_ref());
    let series = source.select(selector, moment(first_ms).saturating_sub(reach_ms), moment(last_ms));
    let held: usize = loaded.values().chain([&series]).flatten().map(|one| one.samples.len()).sum();
    if held > super::SAMPLES_MAX {
        return Err(too_many());
    }
    loaded.insert(key(selector), series);
    Ok(())
}

pub(super) fn too_many() -> Fault {
    Fault::too_large(format!("the query looks at more than {} samples", super::SAMPLES_MAX))
        .hint("select fewer series, shorten the range or widen the step")
}

/// How far back an expression looks from its moment, in milliseconds, beyond the newest samples.
pub fn reach_ms(expr: &Expr) -> i64 {
    let back = |offset: &Option<Offset>| match offset {
        Some(Offset::Pos(back)) => millis(*back),
        _ => 0,
    };
    match expr {
        Expr::Aggregate(aggregate) => {
            reach_ms(&aggregate.expr).max(aggregate.param.as_ref().map_or(0, |param| reach_ms(param)))
        }
        Expr::Unary(unary) => reach_ms(&unary.expr),
        Expr::Binary(binary) => reach_ms(&binary.lhs).max(reach_ms(&binary.rhs)),
        Expr::Paren(paren) => reach_ms(&paren.expr),
        Expr::Call(call) => call.args.args.iter().map(|argument| reach_ms(argument)).max().unwrap_or(0),
        Expr::Subquery(subquery) => {
            reach_ms(&subquery.expr).saturating_add(millis(subquery.range)).saturating_add(back(&subquery.offset))
        }
        Expr::VectorSelector(selector) => back(&selector.offset),
        Expr::MatrixSelector(matrix) => millis(matrix.range).saturating_add(back(&matrix.vs.offset)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => 0,
    }
}
