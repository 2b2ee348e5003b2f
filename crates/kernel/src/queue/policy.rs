//! How tasks of one type are treated when they fail, and how many run at once.

use std::time::Duration;

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Code;
use crate::backoff::Backoff;

/// How tasks of one type are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Attempts before a task is a dead letter, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub attempts_max: u32,
    /// The longest wait after the first failure, in milliseconds. It doubles with each failure; the wait is a random part of it.
    pub backoff_first_ms: u64,
    /// The wait grows no longer than this, in milliseconds.
    pub backoff_max_ms: u64,
    /// How many run at once, in the whole fleet. One means one after the other, in order.
    pub running_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts_max: 5, backoff_first_ms: 1_000, backoff_max_ms: 300_000, running_max: 10_000 }
    }
}

impl Policy {
    /// The longest wait after so many failures, in milliseconds. At least one, so that a retry is never in the same instant.
    pub fn bound_ms(&self, failures: u32) -> u64 {
        let backoff = Backoff {
            first: Duration::from_millis(self.backoff_first_ms),
            max: Duration::from_millis(self.backoff_max_ms),
        };
        u64::try_from(backoff.bound(failures).as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// How long to wait after so many failures, in milliseconds: anything from one to the bound, so that what failed together is not
    /// tried again together.
    pub fn wait_ms(&self, failures: u32) -> i64 {
        i64::try_from(rand::rng().random_range(1..=self.bound_ms(failures))).unwrap_or(i64::MAX)
    }
}

/// Whether another attempt may help after a failure of this code.
pub fn worth_retrying(code: Code) -> bool {
    match code {
        Code::Conflict
        | Code::RateLimited
        | Code::Timeout
        | Code::Unavailable
        | Code::NotConfigured
        | Code::Upstream
        | Code::Internal => true,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::TooLarge
        | Code::Cancelled
        | Code::Unsupported
        | Code::Reverted
        | Code::Quarantined => false,
    }
}
