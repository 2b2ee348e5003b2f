//! Exponential backoff with full jitter: a random wait between nothing and a bound that doubles.

use std::time::Duration;

use rand::Rng;

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
}
