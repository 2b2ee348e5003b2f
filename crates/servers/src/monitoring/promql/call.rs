//! Functions of instant vectors and numbers.

use kernel::{Fault, UnixMs};
use promql_parser::label::{METRIC_NAME, MatchOp, Matchers};
use promql_parser::parser::{Call, Expr};
use regex::Regex;

use super::eval::{Eval, scalar, vector};
use super::value::distinct;
use super::{Labels, Point, Value, histogram, window};

/// The names of the functions in this file.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "absent",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "exp",
    "floor",
    "histogram_quantile",
    "label_join",
    "label_replace",
    "ln",
    "log10",
    "log2",
    "pi",
    "round",
    "scalar",
    "sgn",
    "sort",
    "sort_desc",
    "sqrt",
    "time",
    "timestamp",
    "vector",
];

type Each = fn(f64) -> f64;

/// Functions of one number at a time, by name.
const EACH: &[(&str, Each)] = &[
    ("abs", f64::abs),
    ("ceil", f64::ceil),
    ("exp", f64::exp),
    ("floor", f64::floor),
    ("ln", f64::ln),
    ("log10", f64::log10),
    ("log2", f64::log2),
    ("sgn", |value| if value == 0.0 || value.is_nan() { value } else { value.signum() }),
    ("sqrt", f64::sqrt),
];

/// Calls a function.
pub(super) fn call(eval: &Eval, call: &Call, at_ms: UnixMs) -> Result<Value, Fault> {
    let name = call.func.name;
    if name == "absent_over_time" {
        let range = argument(call, 0)?;
        return Ok(Value::Vector(absent(range, eval.windows(range, at_ms)?.is_empty(), at_ms)));
    }
    if let Some(reduce) = window::reduce(name) {
        return reduced(eval, call, reduce, at_ms);
    }
    if let Some((_, each)) = EACH.iter().find(|(known, _)| *known == name) {
        return Ok(Value::Vector(distinct(mapped(vector(eval.value(argument(call, 0)?, at_ms)?)?, each))?));
    }
    let number = |place: usize| scalar(&eval.value(argument(call, place)?, at_ms)?);
    let points = |place: usize| vector(eval.value(argument(call, place)?, at_ms)?);
    let text = |place: usize| text(eval.value(argument(call, place)?, at_ms)?);
    let clamped = |low: f64, high: f64| -> Result<Vec<Point>, Fault> {
        // Bounds that cross leave nothing between them.
        let points = if low > high { Vec::new() } else { points(0)? };
        Ok(mapped(points, |value| if value.is_nan() { value } else { value.max(low).min(high) }))
    };
    Ok(Value::Vector(distinct(match name {
        "pi" => return Ok(Value::Scalar(std::f64::consts::PI)),
        "time" => return Ok(Value::Scalar(at_ms as f64 / 1_000.0)),
        "scalar" => {
            let points = points(0)?;
            return Ok(Value::Scalar(if let [only] = &points[..] { only.value } else { f64::NAN }));
        }
        "vector" => vec![Point { labels: Labels::default(), value: number(0)?, at_ms }],
        "absent" => absent(argument(call, 0)?, points(0)?.is_empty(), at_ms),
        "timestamp" => timestamps(argument(call, 0)?, points(0)?, at_ms),
        "clamp" => clamped(number(1)?, number(2)?)?,
        "clamp_min" => clamped(number(1)?, f64::INFINITY)?,
        "clamp_max" => clamped(f64::NEG_INFINITY, number(1)?)?,
        "round" => {
            let nearest = if call.args.len() > 1 { number(1)? } else { 1.0 };
            // Halves go up; dividing by the inverse keeps 0.1 and the like exact.
            mapped(points(0)?, |value| (value * (1.0 / nearest) + 0.5).floor() / (1.0 / nearest))
        }
        "sort" => sorted(points(0)?, false),
        "sort_desc" => sorted(points(0)?, true),
        "histogram_quantile" => histogram::quantiles(number(0)?, points(1)?, at_ms),
        "label_replace" => label_replace(points(0)?, &text(1)?, &text(2)?, &text(3)?, &text(4)?)?,
        "label_join" => {
            let sources = (3..call.args.len()).map(text).collect::<Result<Vec<_>, _>>()?;
            label_join(points(0)?, &text(1)?, &text(2)?, &sources)?
        }
        _ => return Err(Fault::unsupported(format!("the function `{name}` is not computed here"))),
    })?))
}

fn argument(call: &Call, place: usize) -> Result<&Expr, Fault> {
    call.args
        .args
        .get(place)
        .map(AsRef::as_ref)
        .ok_or_else(|| Fault::invalid(format!("{} needs at least {} arguments", call.func.name, place + 1)))
}

fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(Fault::internal("text was expected")),
    }
}

/// A function of a range, and of a number where it takes one (before the range, or after it).
fn reduced(eval: &Eval, call: &Call, reduce: window::Reduce, at_ms: UnixMs) -> Result<Value, Fault> {
    let (range, number) = match call.func.name {
        "quantile_over_time" => (argument(call, 1)?, scalar(&eval.value(argument(call, 0)?, at_ms)?)?),
        "predict_linear" => (argument(call, 0)?, scalar(&eval.value(argument(call, 1)?, at_ms)?)?),
        _ => (argument(call, 0)?, 0.0),
    };
    let keeps_name = window::keeps_name(call.func.name);
    let points = eval.windows(range, at_ms)?.into_iter().filter_map(|series| {
        let value = reduce(&series, window::Given { number, at_ms })?;
        let labels = if keeps_name { series.labels } else { series.labels.unnamed() };
        Some(Point { labels, value, at_ms })
    });
    Ok(Value::Vector(distinct(points.collect())?))
}

/// Every point's value through `each`; the result is another quantity, so the metric's name goes.
pub(super) fn mapped(points: Vec<Point>, each: impl Fn(f64) -> f64) -> Vec<Point> {
    points
        .into_iter()
        .map(|point| Point { labels: point.labels.unnamed(), value: each(point.value), ..point })
        .collect()
}

/// When the samples of a selector were taken; what is computed is of now.
fn timestamps(expr: &Expr, points: Vec<Point>, at_ms: UnixMs) -> Vec<Point> {
    let selects = is_selector(expr);
    let seconds = |point: &Point| if selects { point.at_ms } else { at_ms } as f64 / 1_000.0;
    points.into_iter().map(|point| Point { labels: point.labels.unnamed(), value: seconds(&point), at_ms }).collect()
}

fn is_selector(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(paren) => is_selector(&paren.expr),
        other => matches!(other, Expr::VectorSelector(_)),
    }
}

fn sorted(mut points: Vec<Point>, descending: bool) -> Vec<Point> {
    points.sort_by(|a, b| {
        let order = a.value.total_cmp(&b.value);
        let order = if descending { order.reverse() } else { order };
        a.value.is_nan().cmp(&b.value.is_nan()).then(order).then_with(|| a.labels.cmp(&b.labels))
    });
    points
}

/// 1 when there is nothing, with the labels that the selector says exactly; nothing otherwise.
fn absent(expr: &Expr, is_absent: bool, at_ms: UnixMs) -> Vec<Point> {
    if !is_absent {
        return Vec::new();
    }
    let labels = match expr {
        Expr::VectorSelector(selector) => said(&selector.matchers),
        Expr::MatrixSelector(matrix) => said(&matrix.vs.matchers),
        _ => Labels::default(),
    };
    vec![Point { labels, value: 1.0, at_ms }]
}

/// The labels that only one value can satisfy.
fn said(matchers: &Matchers) -> Labels {
    let all = &matchers.matchers;
    let once = |name: &str| all.iter().filter(|one| one.name == name).count() == 1;
    let exact = all.iter().filter(|one| matches!(one.op, MatchOp::Equal) && one.name != METRIC_NAME && once(&one.name));
    exact.map(|one| (one.name.as_str(), one.value.as_str())).collect()
}

/// Refuses what cannot be a label's name.
pub(super) fn check_label_name(name: &str) -> Result<(), Fault> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if good {
        Ok(())
    } else {
        Err(Fault::invalid(format!("`{name}` is not a label's name")).hint("letters, digits and _"))
    }
}

fn label_replace(
    points: Vec<Point>,
    to: &str,
    replacement: &str,
    from: &str,
    pattern: &str,
) -> Result<Vec<Point>, Fault> {
    check_label_name(to)?;
    let pattern = Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|error| Fault::invalid(format!("label_replace: {error}")).hint("a regular expression (RE2)"))?;
    let replaced = |point: Point| match pattern.captures(point.labels.get(from)) {
        None => point,
        Some(captures) => {
            let mut value = String::new();
            captures.expand(replacement, &mut value);
            Point { labels: point.labels.with(to, &value), ..point }
        }
    };
    Ok(points.into_iter().map(replaced).collect())
}

fn label_join(points: Vec<Point>, to: &str, separator: &str, from: &[String]) -> Result<Vec<Point>, Fault> {
    check_label_name(to)?;
    let joined = |point: Point| {
        let parts: Vec<&str> = from.iter().map(|name| point.labels.get(name)).collect();
        Point { labels: point.labels.with(to, &parts.join(separator)), ..point }
    };
    Ok(points.into_iter().map(joined).collect())
}

/// A number as PromQL writes it.
pub(super) fn number_text(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".into()
    } else if value == f64::NEG_INFINITY {
        "-Inf".into()
    } else {
        value.to_string()
    }
}
