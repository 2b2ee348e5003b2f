//! The one place that reads the time. Tests hold a clock they move by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type UnixMs = i64;

/// Wall-clock time, shared by a process.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now_ms` until [`Clock::advance_ms`] moves it.
    pub fn manual(now_ms: UnixMs) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// The time now.
    pub fn now_ms(&self) -> UnixMs {
        match &self.0 {
            Some(manual) => manual.load(Ordering::Acquire),
            None => system_now_ms(),
        }
    }

    /// Moves a manual clock by `ms`, forwards or backwards. The machine's clock stays as it is.
    pub fn advance_ms(&self, ms: i64) {
        if let Some(manual) = &self.0 {
            manual.fetch_add(ms, Ordering::AcqRel);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
fn system_now_ms() -> UnixMs {
    // A machine set before 1970 reads as the epoch rather than panicking.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
