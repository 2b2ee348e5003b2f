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

/// Loading under way.
pub(super) struct Load<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) bounds: Bounds,
    /// Samples that may still be held.
    pub(super) room: usize,
    pub(super) loaded: Loaded,
}

impl Load<'_> {
    /// Loads what `expr` needs to be evaluated at any moment of `span`.
    pub(super) fn expr(&mut self, expr: &Expr, span: (UnixMs, UnixMs)) -> Result<(), Fault> {
        match expr {
            Expr::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.expr(param, span)?;
                }
                self.expr(&aggregate.expr, span)
            }
            Expr::Unary(unary) => self.expr(&unary.expr, span),
            Expr::Binary(binary) => {
                self.expr(&binary.lhs, span)?;
                self.expr(&binary.rhs, span)
            }
            Expr::Paren(paren) => self.expr(&paren.expr, span),
            Expr::Call(call) => call.args.args.iter().try_for_each(|argument| self.expr(argument, span)),
            Expr::Subquery(subquery) => {
                let moment = |at_ms| self.bounds.moment(at_ms, subquery.at.as_ref(), subquery.offset.as_ref());
                let first_ms = moment(span.0).saturating_sub(millis(subquery.range));
                let last_ms = moment(span.1);
                self.expr(&subquery.expr, (first_ms, last_ms))
            }
            Expr::VectorSelector(selector) => self.select(selector, LOOKBACK_MS, span),
            Expr::MatrixSelector(matrix) => self.select(&matrix.vs, millis(matrix.range), span),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Ok(()),
        }
    }

    fn select(&mut self, selector: &VectorSelector, reach_ms: i64, span: (UnixMs, UnixMs)) -> Result<(), Fault> {
        let moment = |at_ms| self.bounds.moment(at_ms, selector.at.as_ref(), selector.offset.as_ref());
        let after_ms = moment(span.0).saturating_sub(reach_ms);
        let series = self.source.select(selector, after_ms, moment(span.1), self.room).ok_or_else(too_many)?;
        let held: usize = series.iter().map(|one| one.samples.len()).sum();
        self.room = self.room.saturating_sub(held);
        self.loaded.insert(key(selector), series);
        Ok(())
    }
}

pub(super) fn too_many() -> Fault {
    Fault::too_large("the query looks at too many samples")
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
