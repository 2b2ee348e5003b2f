//! How long an upstream may take over a call: each sign of life gives it the whole time again, up to an end that nothing moves.

use std::time::Duration;

use tokio::time::Instant;

/// A call ends after this, whatever its upstream says meanwhile.
const CALL_TIME_MAX: Duration = Duration::from_secs(3_600);

/// One call's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    silence: Duration,
    end: Instant,
}

impl Patience {
    /// A call that begins now; its upstream may be silent for `silence` at a time.
    pub(super) fn new(silence: Duration) -> Self {
        Self { silence, end: Instant::now() + CALL_TIME_MAX.max(silence) }
    }

    /// Until when to wait for the next sign of life.
    pub(super) fn until(&self) -> Instant {
        (Instant::now() + self.silence).min(self.end)
    }

    /// Until when to wait while not the upstream, but its question to the client is what takes time.
    pub(super) fn end(&self) -> Instant {
        self.end
    }
}
