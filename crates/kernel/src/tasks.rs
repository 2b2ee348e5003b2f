//! The one place that spawns. Every task has an owner, a name, and a meaning of its end.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Fault, Result};

/// What it means when a task ends before its owner stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// It was a piece of work; its end is its end. A panic is logged.
    Done,
    /// It was meant to run for as long as its owner: the owner stops, and says why.
    StopOwner,
}

/// Owns spawned work: stops it together and waits for its end.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    reason: Arc<Mutex<Option<String>>>,
}

impl Tasks {
    /// A new owner.
    pub fn new() -> Self {
        Self::default()
    }

    /// An owner that stops when this one does, and can be stopped alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token(), reason: Arc::default() }
    }

    /// Spawns `work` under this owner. `work` should watch [`Tasks::stopping`] if it is long.
    pub fn spawn<F>(&self, name: &'static str, on_end: OnEnd, work: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Boxed, so that what guards and runs a task is compiled once and not for every task.
        self.spawn_guarded(name, on_end, work.boxed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn spawn_guarded(&self, name: &'static str, on_end: OnEnd, work: BoxFuture<'static, ()>) -> JoinHandle<()> {
        let owner = self.clone();
        let guarded = async move {
            let panicked = catch_panic(work).await.err();
            if let Some(what) = &panicked {
                tracing::error!(task = name, panic = %what, "task panicked");
            }
            if on_end == OnEnd::StopOwner && !owner.stop.is_cancelled() {
                owner.stop_because(panicked.map_or(format!("{name} ended"), |what| format!("{name} panicked: {what}")));
            }
        };
        tokio::spawn(self.tracker.track_future(guarded))
    }

    /// Runs `work` on a thread of its own, with a stack of `stack_bytes`, so that long arithmetic does not hold up the runtime.
    ///
    /// The work cannot be stopped from outside, so it must bound itself: nobody waiting for it any more does not end it.
    ///
    /// # Errors
    /// [`Code::Internal`](crate::Code::Internal) when it panicked, or when there was no thread to be had.
    pub async fn compute<T, F>(&self, name: &'static str, stack_bytes: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, ended) = oneshot::channel();
        let token = self.tracker.token();
        let guarded = move || {
            let _token = token;
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // An error means that nobody waits any more.
            done.send(outcome.map_err(panic_text)).ok();
        };
        let thread = std::thread::Builder::new().name(name.into()).stack_size(stack_bytes).spawn(guarded);
        thread.map_err(|error| Fault::internal(format!("no thread for {name}: {error}")))?;
        let outcome = ended.await.map_err(|_| Fault::internal(format!("{name} ended without an outcome")))?;
        outcome.map_err(|panic| Fault::internal(format!("{name} panicked: {panic}")))
    }

    /// Cancelled when the owner stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks everything to stop, and keeps the first reason given.
    pub fn stop_because(&self, reason: impl Into<String>) {
        self.reason.lock().get_or_insert(reason.into());
        self.stop.cancel();
    }

    /// Why it stopped, once it has.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Asks everything to stop, then waits until it has or `limit` is over. Returns how many tasks were left.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_ok() { 0 } else { self.tracker.len() }
    }
}

/// Runs `work`; a panic becomes an error with the panic's message.
pub async fn catch_panic<F: Future>(work: F) -> Result<F::Output, String> {
    use futures_util::FutureExt;
    std::panic::AssertUnwindSafe(work).catch_unwind().await.map_err(panic_text)
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_standing_task_that_ends_stops_its_owner_but_not_the_owners_owner() {
        let fleet = Tasks::new();
        let service = fleet.child();
        service.spawn("listener", OnEnd::StopOwner, async { panic!("out of sockets") });
        service.stopping().cancelled().await;
        assert_eq!(service.reason().as_deref(), Some("listener panicked: out of sockets"));
        assert!(!fleet.stopping().is_cancelled());
    }

    #[tokio::test]
    async fn computing_ends_with_a_value_or_with_the_panic() {
        let tasks = Tasks::new();
        assert_eq!(tasks.compute("sum", 1 << 20, || 1 + 1).await, Ok(2));
        let fault = tasks.compute("sum", 1 << 20, || -> i32 { panic!("too big") }).await.unwrap_err();
        assert_eq!(fault.to_string(), "internal: sum panicked: too big");
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_counts_what_would_not_stop() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", OnEnd::Done, std::future::pending());
        let stopping = tasks.stopping();
        tasks.spawn("polite", OnEnd::Done, async move { stopping.cancelled().await });
        assert_eq!(tasks.drain(Duration::from_secs(1)).await, 1);
    }
}
