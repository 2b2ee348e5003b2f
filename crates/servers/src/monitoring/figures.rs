//! Where figures are asked: a Prometheus when one is configured, otherwise the built-in recorder.

use std::sync::Arc;

use kernel::{Fault, UnixMs};

use super::prometheus::Prometheus;
use super::promql::{self, Query, Series, Value};
use super::scrape::Scraper;

/// The one that is asked.
pub(super) enum Figures {
    /// What this process recorded.
    Recorder(Arc<Scraper>),
    /// A Prometheus.
    Prometheus(Prometheus),
}

impl Figures {
    /// Its name in answers.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Recorder(_) => "recorder",
            Self::Prometheus(_) => "prometheus",
        }
    }

    /// Refuses an expression that cannot be computed there, as far as that can be said here.
    pub(super) fn check(&self, expression: &str) -> Result<(), Fault> {
        match self {
            Self::Recorder(_) => Query::parse(expression).map(|_| ()),
            Self::Prometheus(_) => promql::parse(expression).map(|_| ()),
        }
    }

    /// An expression's value at one moment.
    pub(super) async fn instant(&self, expression: &str, at_ms: UnixMs) -> Result<Value, Fault> {
        match self {
            Self::Recorder(scraper) => Query::parse(expression)?.instant(&**scraper, at_ms),
            Self::Prometheus(prometheus) => {
                promql::parse(expression)?;
                prometheus.instant(expression, at_ms).await
            }
        }
    }

    /// An expression's values over a range.
    pub(super) async fn range(
        &self,
        expression: &str,
        start_ms: UnixMs,
        end_ms: UnixMs,
        step_ms: i64,
    ) -> Result<Vec<Series>, Fault> {
        match self {
            Self::Recorder(scraper) => Query::parse(expression)?.range(&**scraper, start_ms, end_ms, step_ms).await,
            Self::Prometheus(prometheus) => {
                promql::parse(expression)?;
                promql::check_range(start_ms, end_ms, step_ms)?;
                prometheus.range(expression, start_ms, end_ms, step_ms).await
            }
        }
    }

    /// Whether everything that `expression` looks back on at `now_ms` is there. A recorder that has just begun does not know yet what it
    /// does not see.
    pub(super) fn knows(&self, expression: &str, now_ms: UnixMs) -> bool {
        match self {
            Self::Prometheus(_) => true,
            Self::Recorder(scraper) => {
                let since_ms = scraper.look(|recorder| recorder.usage().2);
                let reach_ms = promql::parse(expression).map_or(0, |expr| promql::reach_ms(&expr));
                since_ms.is_some_and(|since_ms| since_ms <= now_ms.saturating_sub(reach_ms))
            }
        }
    }
}
