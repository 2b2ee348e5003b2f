//! Functions over a range of samples: rates, and `…_over_time`.

use std::borrow::Cow;

use kernel::UnixMs;

use super::{Labels, Sample, Series, is_stale};

/// A span of time, without its beginning and with its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) after_ms: UnixMs,
    pub(super) until_ms: UnixMs,
}

/// A series inside a window; has at least one sample.
#[derive(Debug)]
pub(super) struct Ranged<'a> {
    pub(super) labels: Labels,
    pub(super) samples: Cow<'a, [Sample]>,
    pub(super) window: Window,
}

impl Ranged<'_> {
    pub(super) fn into_series(self) -> Series {
        Series { labels: self.labels, samples: self.samples.into_owned() }
    }
}

impl Window {
    /// The part of `series` inside, without the marks of its ends; nothing when there is no sample.
    pub(super) fn cut(self, series: &Series) -> Option<Ranged<'_>> {
        let from = series.samples.partition_point(|(time, _)| *time <= self.after_ms);
        let until = series.samples.partition_point(|(time, _)| *time <= self.until_ms);
        let inside = series.samples.get(from..until)?;
        let samples = if inside.iter().any(|(_, value)| is_stale(*value)) {
            Cow::Owned(inside.iter().copied().filter(|(_, value)| !is_stale(*value)).collect())
        } else {
            Cow::Borrowed(inside)
        };
        (!samples.is_empty()).then(|| Ranged { labels: series.labels.clone(), samples, window: self })
    }

    fn seconds(self) -> f64 {
        seconds(self.until_ms - self.after_ms)
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

/// What a function of a range is given beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    /// The function's own parameter (a quantile, a prediction's distance); 0 where it has none.
    pub(super) number: f64,
    /// The moment of the evaluation, wherever the window lies.
    pub(super) at_ms: UnixMs,
}

/// Makes one number of a series in its window; `None` when it has too few samples.
pub(super) type Reduce = fn(&Ranged<'_>, Given) -> Option<f64>;

/// Functions of one range, by name. `quantile_over_time` and `predict_linear` take a number beside it.
const TABLE: &[(&str, Reduce)] = &[
    ("avg_over_time", |range, _| Some(mean(range.values()))),
    ("changes", |range, _| Some(count_pairs(range, |a, b| a != b && !(a.is_nan() && b.is_nan())))),
    ("count_over_time", |range, _| Some(range.samples.len() as f64)),
    ("delta", |range, _| extrapolated(range, false, false)),
    ("deriv", |range, _| Some(line(range, range.samples.first()?.0)?.0)),
    ("idelta", |range, _| last_two(range, false, false)),
    ("increase", |range, _| extrapolated(range, true, false)),
    ("irate", |range, _| last_two(range, true, true)),
    ("last_over_time", |range, _| range.values().last()),
    ("max_over_time", |range, _| extreme(range.values(), |a, b| a > b)),
    ("min_over_time", |range, _| extreme(range.values(), |a, b| a < b)),
    ("predict_linear", |range, given| {
        let (slope, now) = line(range, given.at_ms)?;
        Some(now + slope * given.number)
    }),
    ("present_over_time", |_, _| Some(1.0)),
    ("quantile_over_time", |range, given| Some(quantile(given.number, range.values().collect()))),
    ("rate", |range, _| extrapolated(range, true, true)),
    ("resets", |range, _| Some(count_pairs(range, |a, b| b < a))),
    ("stddev_over_time", |range, _| Some(variance(range.values()).sqrt())),
    ("stdvar_over_time", |range, _| Some(variance(range.values()))),
    ("sum_over_time", |range, _| Some(range.values().sum())),
];

/// The names of the functions of one range, and those that `call` makes of ranges itself.
pub(super) const NAMES: &[&str] = &[
    "absent_over_time",
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "predict_linear",
    "present_over_time",
    "quantile_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
];

/// The function of this name.
pub(super) fn reduce(name: &str) -> Option<Reduce> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, reduce)| *reduce)
}

/// Whether the function keeps the metric's name: what it answers is still a value of that metric.
pub(super) fn keeps_name(name: &str) -> bool {
    name == "last_over_time"
}

impl Ranged<'_> {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|(_, value)| *value)
    }
}

/// How much a series grew over its window (per second, if `per_second`), as Prometheus estimates it: the growth between the first and
/// the last sample, stretched to the window's edges where samples come near enough to them. A counter that falls was reset to zero,
/// and never reaches below zero when stretched back.
fn extrapolated(range: &Ranged<'_>, counter: bool, per_second: bool) -> Option<f64> {
    let ((first_ms, first), (last_ms, last)) = (*range.samples.first()?, *range.samples.last()?);
    if range.samples.len() < 2 {
        return None;
    }
    let mut growth = last - first;
    if counter {
        growth += range.samples.windows(2).map(|pair| if pair[1].1 < pair[0].1 { pair[0].1 } else { 0.0 }).sum::<f64>();
    }
    let sampled = seconds(last_ms - first_ms);
    let gap = sampled / (range.samples.len() - 1) as f64;
    // A little more than one gap of silence at an edge still counts as "goes on there".
    let near = gap * 1.1;
    let mut to_start = seconds(first_ms - range.window.after_ms);
    let mut to_end = seconds(range.window.until_ms - last_ms);
    if to_start >= near {
        to_start = gap / 2.0;
    }
    if counter && growth > 0.0 && first >= 0.0 {
        to_start = to_start.min(sampled * (first / growth));
    }
    if to_end >= near {
        to_end = gap / 2.0;
    }
    let stretched = growth * ((sampled + to_start + to_end) / sampled);
    Some(if per_second { stretched / range.window.seconds() } else { stretched })
}

/// The growth between the last two samples.
fn last_two(range: &Ranged<'_>, counter: bool, per_second: bool) -> Option<f64> {
    let [.., (before_ms, before), (last_ms, last)] = *range.samples else { return None };
    let growth = if counter && last < before { last } else { last - before };
    if last_ms == before_ms {
        return None;
    }
    Some(if per_second { growth / seconds(last_ms - before_ms) } else { growth })
}

fn count_pairs(range: &Ranged<'_>, differs: fn(f64, f64) -> bool) -> f64 {
    range.samples.windows(2).filter(|pair| differs(pair[0].1, pair[1].1)).count() as f64
}

/// Slope per second and value at `origin_ms` of the least-squares line.
fn line(range: &Ranged<'_>, origin_ms: UnixMs) -> Option<(f64, f64)> {
    if range.samples.len() < 2 {
        return None;
    }
    let xs = || range.samples.iter().map(|(time, _)| seconds(*time - origin_ms));
    let (mean_x, mean_y) = (mean(xs()), mean(range.values()));
    let covariance: f64 = xs().zip(range.values()).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let spread: f64 = xs().map(|x| (x - mean_x).powi(2)).sum();
    let slope = covariance / spread;
    Some((slope, mean_y - slope * mean_x))
}

/// The arithmetic mean, kept near the values so that huge ones do not overflow on the way.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut count) = (0.0, 0.0);
    for value in values {
        count += 1.0;
        mean = if value.is_infinite() || f64::is_infinite(mean) { mean + value } else { mean + (value - mean) / count };
    }
    if count == 0.0 { f64::NAN } else { mean }
}

/// The population variance.
pub(super) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut squares, mut count) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// The value that beats all others; a NaN only when there is nothing else.
pub(super) fn extreme(values: impl Iterator<Item = f64>, beats: fn(f64, f64) -> bool) -> Option<f64> {
    values.reduce(|best, value| if beats(value, best) || best.is_nan() { value } else { best })
}

/// The `q`-quantile, interpolated between neighbours. Below 0 and above 1 it is infinite.
pub(super) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // NaN sorts first, as the smallest.
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let weight = rank - rank.floor();
    if low == high { values[low] } else { values[low] * (1.0 - weight) + values[high] * weight }
}
