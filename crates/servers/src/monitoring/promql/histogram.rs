//! `histogram_quantile` over classic buckets: cumulative counts by upper bound `le`.

use std::collections::BTreeMap;

use kernel::UnixMs;
use promql_parser::label::{BUCKET_LABEL, METRIC_NAME};

use super::{Labels, Point};

/// The `q`-quantile of every histogram in `buckets`. Points without a readable `le` are passed over.
pub(super) fn quantiles(q: f64, buckets: Vec<Point>, at_ms: UnixMs) -> Vec<Point> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for point in buckets {
        let Ok(bound) = point.labels.get(BUCKET_LABEL).parse::<f64>() else { continue };
        let labels = point.labels.filtered(|name| name != BUCKET_LABEL && name != METRIC_NAME);
        histograms.entry(labels).or_default().push((bound, point.value));
    }
    let value = |(labels, buckets)| Point { labels, value: quantile(q, buckets), at_ms };
    histograms.into_iter().map(value).collect()
}

/// The `q`-quantile of one histogram: linear inside its bucket.
fn quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    // Buckets are read one after the other while calls go on: a count below its predecessor's is that predecessor's.
    for at in 1..buckets.len() {
        buckets[at].1 = buckets[at].1.max(buckets[at - 1].1);
    }
    let [.., (highest, _), (infinite, total)] = buckets[..] else { return f64::NAN };
    if infinite != f64::INFINITY || total == 0.0 || total.is_nan() {
        return f64::NAN;
    }
    let rank = q * total;
    let at = buckets.partition_point(|(_, count)| *count < rank).min(buckets.len() - 1);
    if at == buckets.len() - 1 {
        return highest;
    }
    let (bound, count) = buckets[at];
    if at == 0 && bound <= 0.0 {
        return bound;
    }
    let (start, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    start + (bound - start) * ((rank - before) / (count - before))
}
