//! The copies of a remote server: joined and left by what the registry says.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kernel::backoff::Backoff;
use kernel::breaker::Breaker;
use kernel::fleet::Instance;
use kernel::metrics::RouteLabel;
use kernel::{Fault, OnEnd, Tasks, UnixMs};
use mcp::{Change, Link, RpcError};
use tokio::sync::broadcast::error::RecvError;

use super::Remote;

/// Waits between attempts to read a copy's tools.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) };

/// One copy.
pub(super) struct Copy {
    /// As it was met; how it stands now is in `serves`.
    pub(super) instance: Instance,
    serves: AtomicBool,
    pub(super) link: Arc<dyn Link>,
    pub(super) breaker: Breaker,
    /// Calls under way.
    pub(super) under_way: AtomicUsize,
    /// Owns what listens to it.
    tasks: Tasks,
}

/// Counts a call for as long as it is held.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Copy {
    pub(super) fn id(&self) -> &str {
        &self.instance.id
    }

    pub(super) fn enter(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }

    /// Its label in the metrics: the service and where it answers, which outlives one start of it.
    pub(super) fn label(&self) -> RouteLabel {
        let place = self.instance.url.rsplit("//").next().unwrap_or_default();
        RouteLabel { target: format!("{}@{place}", self.instance.service) }
    }
}

/// All copies.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) all: Vec<Arc<Copy>>,
    /// Where the next choice begins, so that equals take turns.
    turn: AtomicUsize,
}

impl Copies {
    /// The copy with the fewest calls under way, of those that serve, are not in `tried`, and whose breaker lets a call through.
    pub(super) fn choose(&self, now_ms: UnixMs, tried: &[&str]) -> Option<&Copy> {
        let count = self.all.len();
        let from = if count > 1 { self.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let fit = |copy: &&Copy| {
            copy.serves.load(Ordering::Relaxed) && !tried.contains(&copy.id()) && copy.breaker.admits(now_ms)
        };
        (0..count)
            .map(|step| &*self.all[(from + step) % count])
            .filter(fit)
            .min_by_key(|copy| copy.under_way.load(Ordering::Relaxed))
    }
}

impl Remote {
    /// Takes what the registry says of its copies. A copy that stays keeps its link and its breaker.
    pub(crate) fn set_instances(self: &Arc<Self>, instances: Vec<Instance>) {
        let before = Arc::clone(&self.copies.read());
        let mut all = Vec::with_capacity(instances.len());
        let mut fresh = Vec::new();
        for instance in instances {
            let kept = before.all.iter().find(|copy| copy.id() == instance.id && copy.instance.url == instance.url);
            if let Some(copy) = kept {
                copy.serves.store(instance.status.serves(), Ordering::Relaxed);
                all.push(Arc::clone(copy));
                continue;
            }
            match self.meet(instance) {
                Ok(copy) => {
                    fresh.push(Arc::clone(&copy));
                    all.push(copy);
                }
                Err(fault) => tracing::warn!(service = self.name, %fault, "a copy cannot be reached by its address"),
            }
        }
        for gone in before.all.iter().filter(|old| !all.iter().any(|copy| Arc::ptr_eq(copy, old))) {
            gone.tasks.stop_because("the copy left");
            self.means.ports.metrics.breaker.remove(&gone.label());
        }
        *self.copies.write() = Arc::new(Copies { all, turn: AtomicUsize::default() });
        for copy in fresh {
            self.listen(&copy);
        }
    }

    fn meet(&self, instance: Instance) -> Result<Arc<Copy>, Fault> {
        let tasks = self.tasks.child();
        let link = self.means.reach.link(&instance, &tasks)?;
        let (breaker, under_way) = (Breaker::default(), AtomicUsize::default());
        let serves = AtomicBool::new(instance.status.serves());
        Ok(Arc::new(Copy { instance, serves, link, breaker, under_way, tasks }))
    }

    /// Reads what a new copy has, then hears of its changes.
    fn listen(self: &Arc<Self>, copy: &Copy) {
        let (remote, link, stopping) = (Arc::downgrade(self), Arc::clone(&copy.link), copy.tasks.stopping());
        let (mut changes, id) = (link.changes(), copy.id().to_owned());
        copy.tasks.spawn("changes of a copy", OnEnd::Done, async move {
            let mut failures = 1;
            while let Some(failed) = read(&remote, &*link).await {
                tracing::debug!(copy = id, error = %failed, "tools not read yet");
                tokio::select! {
                    () = tokio::time::sleep(BACKOFF.wait(failures)) => failures += 1,
                    () = stopping.cancelled() => return,
                }
            }
            loop {
                let heard = tokio::select! {
                    heard = changes.recv() => heard,
                    () = stopping.cancelled() => return,
                };
                let Some(remote) = remote.upgrade() else { return };
                match heard {
                    Ok(Change::Tools) => remote.reread(&*link, &id).await,
                    Ok(change) => remote.announce(change),
                    Err(RecvError::Lagged(_)) => {
                        remote.reread(&*link, &id).await;
                        remote.announce(Change::Prompts);
                        remote.announce(Change::Resources);
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    async fn reread(&self, link: &dyn Link, copy: &str) {
        if let Err(error) = self.read_tools(link).await {
            tracing::warn!(copy, %error, "changed tools not read");
        }
    }
}

/// Reads the tools; the error when that failed.
async fn read(remote: &Weak<Remote>, link: &dyn Link) -> Option<RpcError> {
    let remote = remote.upgrade()?;
    remote.read_tools(link).await.err()
}
