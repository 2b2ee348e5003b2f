//! Exponential backoff with full jitter: a random wait between nothing and a bound that doubles.

use std::future::Future;
use std::time::Duration;

use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::Result;

/// How retries spread out.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first bound.
    pub first: Duration,
    /// The bound stops growing here.
    pub max: Duration,
}

impl Backoff {
    /// The bound after `failures` failures in a row (1 for the first).
    pub fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// How long to wait after `failures` failures in a row: between half the bound and the bound.
    pub fn wait(&self, failures: u32) -> Duration {
        let bound = self.bound(failures);
        bound.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Tries until it works. Once `stop` is asked for, three times more at most.
    ///
    /// # Errors
    /// The last attempt's, after `stop`.
    pub async fn insist<F>(&self, stop: &CancellationToken, what: &str, mut attempt: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let mut failures = 0;
        let mut last_chances = 3;
        while let Err(fault) = attempt().await {
            failures += 1;
            if failures == 1 {
                tracing::error!(%fault, "{what} failed, trying again");
            }
            if !stop.is_cancelled() {
                // A stop cuts the wait short: what is left to do is done now.
                tokio::select! {
                    () = tokio::time::sleep(self.wait(failures)) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            last_chances -= 1;
            if last_chances == 0 {
                return Err(fault);
            }
            tokio::time::sleep(self.first).await;
        }
        Ok(())
    }
}
