//! How long lines are kept.

use std::time::Duration;

use kernel::logs::DAY_MS;
use kernel::store::Write;
use kernel::{Fault, Tasks};
use mcp::ToolError;

use super::{Logging, SetRetentionRequest, SetRetentionResponse};

const SPACE: &str = "logging";
const KEY: &str = "retention_days";
const DAYS_MAX: u32 = 3_650;
/// How often old lines are looked for.
const EVERY: Duration = Duration::from_secs(3_600);

/// Refuses a retention that would keep nothing, or for ever.
pub(super) fn check_days(days: u32) -> Result<(), Fault> {
    if (1..=DAYS_MAX).contains(&days) {
        return Ok(());
    }
    Err(Fault::invalid(format!("a retention of {days} days")).hint(format!("1 to {DAYS_MAX}")))
}

impl Logging {
    /// How many days are kept beside today.
    pub(super) async fn retention(&self) -> Result<u32, Fault> {
        let Some(entry) = self.store.get(SPACE, KEY).await? else { return Ok(self.config.retention_days) };
        entry
            .value
            .parse()
            .map_err(|_| Fault::internal(format!("the stored retention `{}` is not a number", entry.value)))
    }

    pub(super) async fn set_retention(&self, request: SetRetentionRequest) -> Result<SetRetentionResponse, ToolError> {
        check_days(request.days)?;
        let previous_days = self.retention().await?;
        self.store.commit(vec![Write::put(SPACE, KEY, request.days.to_string())]).await?;
        tracing::info!(from_days = previous_days, to_days = request.days, "log retention set");
        let removed_days = self.forget_old().await?;
        Ok(SetRetentionResponse { previous_days, days: request.days, removed_days, kept: self.logs.usage().await? })
    }

    /// Removes the days beyond the retention. Returns how many went.
    async fn forget_old(&self) -> Result<u64, Fault> {
        let days = i64::from(self.retention().await?);
        let today = self.clock.now_ms().div_euclid(DAY_MS);
        self.logs.forget((today - days) * DAY_MS).await
    }

    /// The duty: removes old days now and then until the service stops.
    pub(super) async fn keep_forgetting(&self, tasks: &Tasks) {
        let stopping = tasks.stopping();
        let mut every = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = every.tick() => {}
            }
            match self.forget_old().await {
                Ok(0) => {}
                Ok(days) => tracing::info!(days, "old log lines removed"),
                Err(fault) => tracing::warn!(%fault, "old log lines not removed, next try in an hour"),
            }
        }
    }
}
