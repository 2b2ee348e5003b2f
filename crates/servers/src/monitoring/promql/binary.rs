//! Operators between numbers and vectors, with the matching of series.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Fault, UnixMs};
use promql_parser::label::METRIC_NAME;
use promql_parser::parser::token::*;
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::value::distinct;
use super::{Labels, Point, Value};

/// `left op right`.
pub(super) fn binary(expr: &BinaryExpr, left: Value, right: Value, at_ms: UnixMs) -> Result<Value, Fault> {
    let modifier = expr.modifier.clone().unwrap_or_default();
    let op = Op { id: expr.op.id(), truth: modifier.return_bool };
    Ok(match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => {
            Value::Scalar(op.apply(a, b).unwrap_or_else(|| f64::from(u8::from(op.holds(a, b)))))
        }
        (Value::Vector(points), Value::Scalar(b)) => {
            Value::Vector(distinct(points.into_iter().filter_map(|point| op.point(point, |a| (a, b))).collect())?)
        }
        (Value::Scalar(a), Value::Vector(points)) => {
            Value::Vector(distinct(points.into_iter().filter_map(|point| op.point(point, |b| (a, b))).collect())?)
        }
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(match op.id {
            T_LAND | T_LOR | T_LUNLESS => sets(op.id, left, right, &modifier),
            _ => matched(op, left, right, &modifier, at_ms)?,
        }),
        _ => return Err(Fault::internal("an operator was given something that is neither number nor vector")),
    })
}

#[derive(Clone, Copy)]
struct Op {
    id: TokenId,
    /// `bool`: a comparison answers 0 or 1 rather than filtering.
    truth: bool,
}

impl Op {
    /// Arithmetic; `None` for comparisons.
    fn apply(self, a: f64, b: f64) -> Option<f64> {
        Some(match self.id {
            T_ADD => a + b,
            T_SUB => a - b,
            T_MUL => a * b,
            T_DIV => a / b,
            T_MOD => a % b,
            T_POW => a.powf(b),
            T_ATAN2 => a.atan2(b),
            _ => return None,
        })
    }

    fn holds(self, a: f64, b: f64) -> bool {
        match self.id {
            T_EQLC => a == b,
            T_NEQ => a != b,
            T_GTR => a > b,
            T_LSS => a < b,
            T_GTE => a >= b,
            T_LTE => a <= b,
            _ => false,
        }
    }

    /// The result's value for two values, if there is one; a comparison that filters keeps `kept`.
    fn value(self, a: f64, b: f64, kept: f64) -> Option<f64> {
        match self.apply(a, b) {
            Some(value) => Some(value),
            None if self.truth => Some(f64::from(u8::from(self.holds(a, b)))),
            None => self.holds(a, b).then_some(kept),
        }
    }

    /// Whether the result is another quantity than the operands, and so loses the metric's name.
    fn renames(self) -> bool {
        self.truth || self.apply(1.0, 1.0).is_some()
    }

    /// A vector's point against a number; `sides` puts the point's value on its side.
    fn point(self, point: Point, sides: impl Fn(f64) -> (f64, f64)) -> Option<Point> {
        let (a, b) = sides(point.value);
        let value = self.value(a, b, point.value)?;
        let labels = if self.renames() { point.labels.unnamed() } else { point.labels };
        Some(Point { labels, value, ..point })
    }
}

/// The labels by which series of the two sides find each other.
fn signature(labels: &Labels, matching: Option<&LabelModifier>) -> Labels {
    match matching {
        None => labels.unnamed(),
        Some(LabelModifier::Include(on)) => labels.filtered(|name| on.labels.iter().any(|one| one == name)),
        Some(LabelModifier::Exclude(ignored)) => {
            labels.filtered(|name| name != METRIC_NAME && !ignored.labels.iter().any(|one| one == name))
        }
    }
}

fn sets(op: TokenId, left: Vec<Point>, right: Vec<Point>, modifier: &BinModifier) -> Vec<Point> {
    let signatures = |points: &[Point]| -> BTreeSet<Labels> {
        points.iter().map(|point| signature(&point.labels, modifier.matching.as_ref())).collect()
    };
    let inside =
        |held: &BTreeSet<Labels>, point: &Point| held.contains(&signature(&point.labels, modifier.matching.as_ref()));
    match op {
        T_LAND => {
            let held = signatures(&right);
            left.into_iter().filter(|point| inside(&held, point)).collect()
        }
        T_LUNLESS => {
            let held = signatures(&right);
            left.into_iter().filter(|point| !inside(&held, point)).collect()
        }
        _ => {
            let held = signatures(&left);
            let more = right.into_iter().filter(|point| !inside(&held, point));
            left.into_iter().chain(more).collect()
        }
    }
}

/// One-to-one and many-to-one matching.
fn matched(
    op: Op,
    left: Vec<Point>,
    right: Vec<Point>,
    modifier: &BinModifier,
    at_ms: UnixMs,
) -> Result<Vec<Point>, Fault> {
    if left.is_empty() || right.is_empty() {
        return Ok(Vec::new());
    }
    // The "one" side must be unique; with group_right that is the left.
    let many_is_right = matches!(modifier.card, VectorMatchCardinality::OneToMany(_));
    let (many, one) = if many_is_right { (right, left) } else { (left, right) };
    let side = if many_is_right { "left" } else { "right" };
    let mut ones: BTreeMap<Labels, Point> = BTreeMap::new();
    for point in one {
        let key = signature(&point.labels, modifier.matching.as_ref());
        if let Some(before) = ones.insert(key, point.clone()) {
            return Err(ambiguous(side, &before.labels, &point.labels));
        }
    }
    let one_to_one = matches!(modifier.card, VectorMatchCardinality::OneToOne);
    let mut taken: BTreeMap<Labels, Labels> = BTreeMap::new();
    let mut result = Vec::new();
    for point in many {
        let key = signature(&point.labels, modifier.matching.as_ref());
        let Some(other) = ones.get(&key) else { continue };
        let (a, b) = if many_is_right { (other.value, point.value) } else { (point.value, other.value) };
        // A comparison that filters answers with the left side's value.
        let Some(value) = op.value(a, b, a) else { continue };
        if one_to_one && let Some(before) = taken.insert(key, point.labels.clone()) {
            return Err(ambiguous("left", &before, &point.labels));
        }
        let labels = result_labels(op, &point.labels, &other.labels, modifier);
        result.push(Point { labels, value, at_ms });
    }
    distinct(result)
}

fn ambiguous(side: &str, a: &Labels, b: &Labels) -> Fault {
    Fault::invalid(format!("{:?} and {:?} on the {side} side match the same series", a.to_map(), b.to_map()))
        .hint("name the matching labels with on (…), or allow many with group_left or group_right")
}

fn result_labels(op: Op, many: &Labels, one: &Labels, modifier: &BinModifier) -> Labels {
    let labels = if op.renames() { many.unnamed() } else { many.clone() };
    match (&modifier.card, &modifier.matching) {
        (VectorMatchCardinality::ManyToOne(copied) | VectorMatchCardinality::OneToMany(copied), _) => {
            copied.labels.iter().fold(labels, |labels, name| labels.with(name, one.get(name)))
        }
        (_, Some(LabelModifier::Include(on))) => labels.filtered(|name| on.labels.iter().any(|one| one == name)),
        (_, Some(LabelModifier::Exclude(ignored))) => {
            labels.filtered(|name| !ignored.labels.iter().any(|one| one == name))
        }
        (_, None) => labels,
    }
}
