//! `sum by (…)` and its relatives.

use std::collections::BTreeMap;

use kernel::{Fault, UnixMs};
use promql_parser::label::METRIC_NAME;
use promql_parser::parser::token::*;
use promql_parser::parser::{AggregateExpr, LabelModifier};

use super::eval::scalar;
use super::window::{extreme, mean, quantile, variance};
use super::{Labels, Point, Value};

/// Aggregates `points` as `expr` says.
pub(super) fn aggregate(
    expr: &AggregateExpr,
    parameter: Option<Value>,
    points: Vec<Point>,
    at_ms: UnixMs,
) -> Result<Vec<Point>, Fault> {
    let mut groups: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
    for point in points {
        groups.entry(group_of(&point.labels, expr.modifier.as_ref())).or_default().push(point);
    }
    let number = || parameter.as_ref().map_or_else(|| Err(missing(expr)), scalar);
    let one = |make: &dyn Fn(Vec<f64>) -> f64| -> Vec<Point> {
        let values = |members: Vec<Point>| members.into_iter().map(|point| point.value).collect();
        groups.iter().map(|(labels, members)| point(labels, make(values(members.clone())), at_ms)).collect()
    };
    Ok(match expr.op.id() {
        T_SUM => one(&|values| values.iter().sum()),
        T_AVG => one(&|values| mean(values.into_iter())),
        T_COUNT => one(&|values| values.len() as f64),
        T_GROUP => one(&|_| 1.0),
        T_MIN => one(&|values| extreme(values.into_iter(), |a, b| a < b).unwrap_or(f64::NAN)),
        T_MAX => one(&|values| extreme(values.into_iter(), |a, b| a > b).unwrap_or(f64::NAN)),
        T_STDDEV => one(&|values| variance(values.into_iter()).sqrt()),
        T_STDVAR => one(&|values| variance(values.into_iter())),
        T_QUANTILE => {
            let q = number()?;
            one(&|values| quantile(q, values))
        }
        T_TOPK => ranked(groups, number()?, true),
        T_BOTTOMK => ranked(groups, number()?, false),
        T_COUNT_VALUES => match &parameter {
            Some(Value::Text(label)) => count_values(groups, label, at_ms)?,
            _ => return Err(missing(expr)),
        },
        _ => return Err(Fault::unsupported(format!("the aggregation `{}` is not computed here", expr.op))),
    })
}

fn missing(expr: &AggregateExpr) -> Fault {
    Fault::invalid(format!("{} needs a parameter before the vector", expr.op)).hint("for example topk(5, metric)")
}

fn point(labels: &Labels, value: f64, at_ms: UnixMs) -> Point {
    Point { labels: labels.clone(), value, at_ms }
}

fn group_of(labels: &Labels, modifier: Option<&LabelModifier>) -> Labels {
    match modifier {
        None => Labels::default(),
        Some(LabelModifier::Include(names)) => labels.filtered(|name| names.labels.iter().any(|one| one == name)),
        Some(LabelModifier::Exclude(names)) => {
            labels.filtered(|name| name != METRIC_NAME && !names.labels.iter().any(|one| one == name))
        }
    }
}

/// The `k` greatest (or least) members of each group, whole and in that order. NaN comes last.
fn ranked(groups: BTreeMap<Labels, Vec<Point>>, k: f64, greatest: bool) -> Vec<Point> {
    // A negative or NaN count is none; a huge one is all.
    let k = k as usize;
    let mut chosen = Vec::new();
    for mut members in groups.into_values() {
        members.sort_by(|a, b| {
            let order = a.value.total_cmp(&b.value);
            let order = if greatest { order.reverse() } else { order };
            a.value.is_nan().cmp(&b.value.is_nan()).then(order).then_with(|| a.labels.cmp(&b.labels))
        });
        members.truncate(k);
        chosen.append(&mut members);
    }
    chosen
}

fn count_values(groups: BTreeMap<Labels, Vec<Point>>, label: &str, at_ms: UnixMs) -> Result<Vec<Point>, Fault> {
    super::call::check_label_name(label)?;
    let mut counts: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, members) in groups {
        for member in members {
            *counts.entry(labels.with(label, &super::call::number_text(member.value))).or_default() += 1.0;
        }
    }
    Ok(counts.into_iter().map(|(labels, value)| Point { labels, value, at_ms }).collect())
}
