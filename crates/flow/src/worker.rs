//! The loop that claims tasks of a queue and has them done: leases renewed, cancellation passed on, panics and time limits made the task's
//! failure, and at the end what is unfinished given back.
//!
//! It is woken by [`Queue::claimable`] rather than by an event on the bus: an event for each task would be a second write for each, and
//! would be kept for a week.

mod job;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kernel::backoff::Backoff;
use kernel::metrics::Metrics;
use kernel::queue::{self, CLAIM_MAX, Claim, Claimed, Ending, Holding, Policy, Queue, Renew, Renewal, Task};
use kernel::{Clock, Fault, OnEnd, Result, Tasks};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

pub use job::{Done, Handler, Job};
use job::{Ended, Kind, Running, Why};

/// How long a claim that found nothing waits without a nudge.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long what runs may go on when the worker stops, before it is asked to end.
const DRAIN_TIME: Duration = Duration::from_secs(6);
/// How long a handler that is asked to end may take before it is dropped.
const GRACE: Duration = Duration::from_secs(2);
/// How often an ending that cannot be written is tried again before its lease is left to lapse.
const WRITES_MAX: u32 = 8;
/// How those tries spread out.
const WRITES: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(2) };

/// What a worker stands on.
#[derive(Clone)]
pub struct Means {
    /// Where tasks come from.
    pub queue: Arc<dyn Queue>,
    /// Time.
    pub clock: Clock,
    /// Figures.
    pub metrics: Metrics,
    /// Owner of what runs. When it stops, the worker drains.
    pub tasks: Tasks,
}

/// A worker, before it runs.
pub struct Worker {
    queue: String,
    name: String,
    at_once: usize,
    lease: Duration,
    kinds: BTreeMap<String, Kind>,
}

impl Worker {
    /// A worker of `queue`; `name` tells it from others.
    pub fn new(queue: impl Into<String>, name: impl Into<String>) -> Self {
        let lease = Duration::from_secs(30);
        Self { queue: queue.into(), name: name.into(), at_once: 4, lease, kinds: BTreeMap::new() }
    }

    /// How many tasks it does at once.
    #[must_use]
    pub fn at_once(mut self, at_once: usize) -> Self {
        self.at_once = at_once.max(1);
        self
    }

    /// How long a task is held without a renewal: so long after a crash another worker takes over.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Takes tasks of a type, each within `time_max`.
    #[must_use]
    pub fn takes(
        mut self,
        task_type: &str,
        policy: Policy,
        time_max: Duration,
        handler: impl Handler + 'static,
    ) -> Self {
        self.kinds.insert(task_type.into(), Kind { policy, time_max, handler: Arc::new(handler) });
        self
    }

    /// Works until `means.tasks` stop, and then until what runs has ended or is given back.
    ///
    /// # Errors
    /// When a name, a policy or the lease is past its limits; nothing is claimed then.
    pub async fn run(self, means: Means) -> Result<()> {
        queue::check_claim(&self.claim(1))?;
        for (task_type, kind) in &self.kinds {
            means.queue.set_policy(&self.queue, task_type, kind.policy).await?;
        }
        let (ended, endings) = mpsc::channel(self.at_once);
        Loop { worker: self, means, running: HashMap::new(), ended, endings }.run().await;
        Ok(())
    }

    fn claim(&self, limit: usize) -> Claim {
        Claim {
            queue: self.queue.clone(),
            types: self.kinds.keys().cloned().collect(),
            limit: limit.min(CLAIM_MAX),
            lease_ms: self.lease_ms(),
            worker: self.name.clone(),
        }
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

struct Loop {
    worker: Worker,
    means: Means,
    running: HashMap<Holding, Running>,
    ended: mpsc::Sender<Ended>,
    endings: mpsc::Receiver<Ended>,
}

impl Loop {
    async fn run(mut self) {
        let (stopping, queue) = (self.means.tasks.stopping(), Arc::clone(&self.means.queue));
        let mut renewal = Instant::now() + self.worker.lease / 3;
        while !stopping.is_cancelled() {
            // Asked for before claiming, so that what comes in between is not missed.
            let claimable = queue.claimable();
            let free = self.worker.at_once - self.running.len();
            let mut look_at = Instant::now() + LOOK_EVERY;
            if free > 0 {
                let claimed = self.claim(free).await;
                look_at = look_at.min(self.due(&claimed));
                let more = claimed.tasks.len() == CLAIM_MAX;
                claimed.tasks.into_iter().for_each(|task| self.begin(task));
                if more && self.running.len() < self.worker.at_once {
                    continue;
                }
            }
            let may_claim = self.running.len() < self.worker.at_once;
            let mut some = Vec::new();
            tokio::select! {
                _ = self.endings.recv_many(&mut some, CLAIM_MAX) => self.finish(some).await,
                () = claimable, if may_claim => {}
                () = sleep_until(look_at), if may_claim => {}
                () = sleep_until(renewal) => {}
                () = stopping.cancelled() => {}
            }
            if Instant::now() >= renewal {
                renewal = Instant::now() + self.worker.lease / 3;
                self.renew().await;
            }
        }
        self.drain(renewal).await;
    }

    async fn claim(&self, free: usize) -> Claimed {
        self.means.queue.claim(&self.worker.claim(free)).await.unwrap_or_else(|fault| {
            tracing::warn!(%fault, queue = self.worker.queue, "no tasks claimed, next try in a moment");
            Claimed::default()
        })
    }

    /// When something becomes free by itself, if that is known.
    fn due(&self, claimed: &Claimed) -> Instant {
        let wait_ms = claimed.next_ms.map(|next_ms| next_ms - self.means.clock.now_ms());
        let wait = wait_ms.map(|wait_ms| Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0).max(1)));
        Instant::now() + wait.unwrap_or(LOOK_EVERY)
    }

    fn begin(&mut self, task: Task) {
        let Some(kind) = self.worker.kinds.get(&task.task_type) else { return };
        let (running, work) = job::begin(task, kind, GRACE);
        let holding = running.holding;
        let ended = self.ended.clone();
        self.running.insert(holding, running);
        self.means.tasks.spawn("task", OnEnd::Done, async move {
            let outcome = work.await;
            // An error means that the worker has left, and everything was given back.
            ended.send(Ended { holding, outcome }).await.ok();
        });
    }

    async fn finish(&mut self, ended: Vec<Ended>) {
        let mut endings = Vec::with_capacity(ended.len());
        for Ended { holding, outcome } in ended {
            let Some(running) = self.running.remove(&holding) else { continue };
            let word = outcome.as_ref().map_or("lost", job::word);
            self.means.metrics.task_ended(&self.worker.queue, &running.task_type, word, running.began.elapsed());
            endings.extend(outcome.map(|outcome| Ending { holding, outcome }));
        }
        for some in endings.chunks(CLAIM_MAX) {
            self.write(some.to_vec()).await;
        }
    }

    async fn write(&self, endings: Vec<Ending>) {
        let mut failures = 0;
        let ended = loop {
            match self.means.queue.finish(endings.clone()).await {
                Ok(ended) => break ended,
                Err(fault) if failures + 1 >= WRITES_MAX || !passes(&fault) => {
                    tracing::error!(%fault, tasks = endings.len(), "endings not written; their tasks will be done again");
                    return;
                }
                Err(fault) => {
                    failures += 1;
                    tracing::warn!(%fault, "endings not written, next try in a moment");
                    sleep(WRITES.wait(failures)).await;
                }
            }
        };
        for (ending, refused) in endings.iter().zip(ended).filter_map(|(ending, ended)| Some((ending, ended.err()?))) {
            tracing::warn!(fault = %refused, task = %ending.holding.id, "ending refused");
        }
    }

    /// Holds on to what runs; passes on what its holders are told.
    async fn renew(&mut self) {
        let renewals: Vec<Renew> = self.running.values().map(Running::renew).collect();
        for some in renewals.chunks(CLAIM_MAX) {
            let heard = match self.means.queue.renew(some, self.worker.lease_ms()).await {
                Ok(heard) => heard,
                Err(fault) => {
                    // Two more tries before any lease is over.
                    tracing::warn!(%fault, "leases not renewed, next try in a moment");
                    continue;
                }
            };
            for (renew, heard) in some.iter().zip(heard) {
                let Some(running) = self.running.get(&renew.holding) else { continue };
                match heard {
                    Renewal::Held => {}
                    Renewal::Cancel => running.stop(Why::Asked),
                    Renewal::Lost => running.stop(Why::Lost),
                }
            }
        }
    }

    async fn drain(mut self, mut renewal: Instant) {
        let deadline = Instant::now() + DRAIN_TIME;
        let mut told = false;
        while !self.running.is_empty() {
            if Instant::now() >= deadline && !told {
                told = true;
                self.running.values().for_each(|running| running.stop(Why::Draining));
            }
            let mut some = Vec::new();
            tokio::select! {
                _ = self.endings.recv_many(&mut some, CLAIM_MAX) => self.finish(some).await,
                () = sleep_until(renewal) => {
                    renewal = Instant::now() + self.worker.lease / 3;
                    self.renew().await;
                }
                () = sleep_until(deadline), if !told => {}
            }
        }
    }
}

/// Whether trying again may help to write an ending.
fn passes(fault: &Fault) -> bool {
    queue::worth_retrying(fault.code)
}
