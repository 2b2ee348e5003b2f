//! What PromQL computes with: labels, series, vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::{Fault, UnixMs};
use promql_parser::label::METRIC_NAME;
use promql_parser::parser::VectorSelector;

/// The value that says "this series ended here". Any other NaN is a figure like any other.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a sample says that its series ended.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// A series' labels, sorted by name; the metric's name is the label `__name__`. Cloning shares them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    /// Later pairs replace earlier ones of the same name; a label without a value is no label.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: BTreeMap<Arc<str>, Arc<str>> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Labels {
    /// The value of `name`; empty when it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.binary_search_by(|(key, _)| key.as_ref().cmp(name)).map_or("", |at| &self.0[at].1)
    }

    /// The metric's name; empty when it has none.
    pub fn name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// All pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Those whose name `keep` says yes to.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(key, _)| keep(key)).cloned().collect())
    }

    /// Without the metric's name.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        if self.name().is_empty() { self.clone() } else { self.filtered(|key| key != METRIC_NAME) }
    }

    /// With one label set, or (when `value` is empty) removed.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|(key, _)| key.as_ref() != name).cloned();
        others.chain([(Arc::from(name), Arc::from(value))]).collect()
    }

    /// As a plain map.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

/// A sample: when, and what.
pub type Sample = (UnixMs, f64);

/// A series over time, oldest sample first.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which.
    pub labels: Labels,
    /// Its samples; [`STALE`] ones mark where it ended.
    pub samples: Vec<Sample>,
}

/// Where series come from.
pub trait Source: Sync {
    /// The series that `selector` matches, with their samples after `after_ms` and up to `until_ms`; nothing when these would be more
    /// than `samples_max`. Time modifiers of the selector are the caller's affair.
    fn select(
        &self,
        selector: &VectorSelector,
        after_ms: UnixMs,
        until_ms: UnixMs,
        samples_max: usize,
    ) -> Option<Vec<Series>>;
}

/// Whether `labels` are what `selector` asks for.
pub fn matches(selector: &VectorSelector, labels: &Labels) -> bool {
    let all = |group: &[promql_parser::label::Matcher]| group.iter().all(|one| one.is_match(labels.get(&one.name)));
    selector.name.as_ref().is_none_or(|name| name == labels.name())
        && all(&selector.matchers.matchers)
        && (selector.matchers.or_matchers.is_empty() || selector.matchers.or_matchers.iter().any(|group| all(group)))
}

/// One series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which.
    pub labels: Labels,
    /// What.
    pub value: f64,
    /// When the sample behind it was taken; the moment asked for when it was computed.
    pub at_ms: UnixMs,
}

/// What an expression is worth at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// Text.
    Text(String),
    /// Series at that moment.
    Vector(Vec<Point>),
    /// Series over a time before it.
    Matrix(Vec<Series>),
}

/// Refuses a vector that has the same labels twice: such a result names nothing.
pub(super) fn distinct(vector: Vec<Point>) -> Result<Vec<Point>, Fault> {
    let mut seen = BTreeSet::new();
    match vector.iter().find(|point| !seen.insert(&point.labels)) {
        None => Ok(vector),
        Some(twice) => {
            Err(Fault::invalid(format!("two series of the result have the labels {:?}", twice.labels.to_map()))
                .hint("aggregate with sum by (…), or select one metric name"))
        }
    }
}
