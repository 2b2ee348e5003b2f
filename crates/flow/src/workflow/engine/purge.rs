//! Runs that ended long ago are forgotten, with all that was kept of them.
//!
//! The head goes first, in one commit that expects it as it was, together with a note that the rest is to follow: a run that somebody goes on
//! with meanwhile stays whole, and what a crash leaves behind the next round takes away.

use std::sync::Arc;
use std::time::Duration;

use kernel::store::{COMMIT_MAX, Expect, LIST_MAX, Write};
use kernel::{OnEnd, Result, Tasks};

use super::book::{EVENTS, Head, INBOX, INPUTS, NEWEST, NUDGES, RUNS};
use super::{Engine, lost};

/// Runs whose head is gone and whose rest is to follow.
const PURGING: &str = "workflow-purging";
/// How often is looked for runs that ended long ago.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// Pages of runs that one round looks at.
const PAGES_MAX: usize = 20;

impl Engine {
    /// Begins to forget runs, if they are not kept for ever.
    pub(super) fn start_purging(self: &Arc<Self>, tasks: &Tasks) {
        let Some(keep_ms) = self.config.keep_ms else { return };
        let (engine, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("purge of workflow runs", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                match engine.purge(keep_ms).await {
                    Ok(0) => {}
                    Ok(runs) => tracing::info!(runs, "forgot old workflow runs"),
                    // The next round tries again.
                    Err(fault) => tracing::warn!(%fault, "old workflow runs could not be forgotten"),
                }
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = tokio::time::sleep(PURGE_EVERY) => {}
                }
            }
        });
    }

    /// Forgets runs that ended more than `keep_ms` ago. Returns how many.
    pub(super) async fn purge(&self, keep_ms: i64) -> Result<usize> {
        for entry in self.store().list(PURGING, "", None, LIST_MAX).await? {
            self.forget_rest(&entry.key).await?;
        }
        let before_ms = self.now_ms() - keep_ms;
        let mut forgotten = 0;
        // Those that were begun later cannot have ended before.
        let mut after = format!("{:019}", i64::MAX - before_ms.max(0));
        for _ in 0..PAGES_MAX {
            let page = self.store().list(NEWEST, "", Some(&after), LIST_MAX).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            for entry in &page {
                let Some((head, revision)) = self.book.head(&entry.value).await? else { continue };
                let old = head.ended_ms.is_some_and(|ended_ms| ended_ms < before_ms);
                if old && head.told && head.status.is_end() && self.forget_run(&head, revision, &entry.key).await? {
                    forgotten += 1;
                }
            }
            if page.len() < LIST_MAX {
                break;
            }
        }
        Ok(forgotten)
    }

    /// Says whether the run was forgotten: not when something is sent to it meanwhile.
    async fn forget_run(&self, head: &Head, revision: u64, newest: &str) -> Result<bool> {
        let first = vec![
            Write::delete(RUNS, &head.id).expecting(Expect::Revision(revision)),
            Write::delete(INPUTS, &head.id),
            Write::delete(NEWEST, newest),
            Write::put(PURGING, &head.id, ""),
        ];
        match self.store().commit(first).await {
            Err(fault) if lost(&fault) => return Ok(false),
            ended => ended?,
        };
        self.forget_rest(&head.id).await?;
        Ok(true)
    }

    async fn forget_rest(&self, run: &str) -> Result<()> {
        for space in [EVENTS, INBOX] {
            loop {
                let page = self.store().list(space, &format!("{run}/"), None, COMMIT_MAX).await?;
                if page.is_empty() {
                    break;
                }
                self.store().commit(page.iter().map(|entry| Write::delete(space, &entry.key)).collect()).await?;
            }
        }
        let last = vec![Write::delete(PURGING, run), Write::delete(NUDGES, run)];
        self.store().commit(last).await.map(|_| ())
    }
}
