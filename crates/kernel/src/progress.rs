//! How far a queue's writer has come, for those who wait until what they queued is written.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Counts what was queued and what was settled (written, or given up and said so).
#[derive(Debug)]
pub(crate) struct Progress {
    queued: AtomicU64,
    settled: watch::Sender<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { queued: AtomicU64::new(0), settled: watch::Sender::new(0) }
    }
}

impl Progress {
    /// One more is queued. To be said before it can be settled.
    pub(crate) fn queued(&self) {
        self.queued.fetch_add(1, Ordering::AcqRel);
    }

    /// So many are settled.
    pub(crate) fn settled(&self, count: usize) {
        self.settled.send_modify(|settled| *settled += count as u64);
    }

    /// Waits until as many are settled as were queued before this call.
    pub(crate) async fn flushed(&self) {
        let goal = self.queued.load(Ordering::Acquire);
        // The sender lives in `self`, so waiting cannot end early.
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= goal).await;
    }
}
