//! One task in the hands of a handler.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::queue::{Failure, Holding, NewTask, Outcome, Policy, Progress, Renew, Task, worth_retrying};
use kernel::tasks::catch_panic;
use kernel::{Code, Fault};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What does tasks of one type.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Does one. It may be called again for the same task, after a crash or a failure: what it does outside must be safe to do twice, or
    /// carry [`Job::effect_key`].
    async fn run(&self, job: Job) -> Result<Done, Fault>;
}

/// What came of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// The result.
    pub result: Value,
    /// What follows, submitted in the same commit.
    pub then: Vec<NewTask>,
}

impl From<Value> for Done {
    fn from(result: Value) -> Self {
        Self { result, then: Vec::new() }
    }
}

/// A task that a handler holds.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task.
    pub task: Task,
    /// Cancelled when it should stop: somebody wants it cancelled, it was taken over, or the worker stops.
    pub cancelled: CancellationToken,
    progress: Arc<Mutex<Option<Progress>>>,
}

impl Job {
    /// Says how far it is: seen by others at the next renewal of the lease.
    pub fn progress(&self, fraction: f64, message: impl Into<String>) {
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        let message: String = message.into().chars().take(120).collect();
        *self.progress.lock() = Some(Progress { fraction, message });
    }

    /// The same for every attempt of this task: for the idempotency key of what it does outside.
    pub fn effect_key(&self) -> String {
        self.task.id.to_string()
    }
}

pub(super) struct Kind {
    pub(super) policy: Policy,
    pub(super) time_max: Duration,
    pub(super) handler: Arc<dyn Handler>,
}

/// Why a handler is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Asked = 1,
    Lost = 2,
    Draining = 3,
}

/// A task under way, as the loop knows it.
pub(super) struct Running {
    pub(super) holding: Holding,
    pub(super) task_type: String,
    pub(super) began: Instant,
    cancelled: CancellationToken,
    why: Arc<AtomicU8>,
    progress: Arc<Mutex<Option<Progress>>>,
}

impl Running {
    pub(super) fn stop(&self, why: Why) {
        // The first reason stands, but that nothing is to be said of what is lost.
        let first = self.why.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !first && why == Why::Lost {
            self.why.store(why as u8, Ordering::Release);
        }
        self.cancelled.cancel();
    }

    pub(super) fn renew(&self) -> Renew {
        Renew { holding: self.holding, progress: self.progress.lock().take() }
    }
}

/// A task that left its handler. Without an outcome there is nothing to say: another worker has it.
pub(super) struct Ended {
    pub(super) holding: Holding,
    pub(super) outcome: Option<Outcome>,
}

/// Makes a task ready to be done. Who is asked to stop gets `grace`, and is then dropped.
pub(super) fn begin(
    task: Task,
    kind: &Kind,
    grace: Duration,
) -> (Running, impl Future<Output = Option<Outcome>> + Send + 'static + use<>) {
    let (cancelled, why, progress) = (CancellationToken::new(), Arc::new(AtomicU8::new(0)), Arc::default());
    let running = Running {
        holding: Holding { id: task.id, attempt: task.attempts },
        task_type: task.task_type.clone(),
        began: Instant::now(),
        cancelled: cancelled.clone(),
        why: Arc::clone(&why),
        progress: Arc::clone(&progress),
    };
    let (handler, time_max) = (Arc::clone(&kind.handler), kind.time_max);
    let job = Job { task, cancelled: cancelled.clone(), progress };
    let work = async move {
        let work = timeout(time_max, catch_panic(async move { handler.run(job).await }));
        let ended = tokio::select! {
            ended = work => Some(ended),
            () = async { cancelled.cancelled().await; sleep(grace).await } => None,
        };
        let why = why.load(Ordering::Acquire);
        let failed = |failure: Failure, retry| Outcome::Failed { failure, retry };
        match ended {
            _ if why == Why::Lost as u8 => None,
            Some(Ok(Ok(Ok(Done { result, then })))) => Some(Outcome::Done { result, then }),
            _ if why == Why::Asked as u8 => Some(Outcome::Cancelled),
            _ if why == Why::Draining as u8 => Some(Outcome::Returned),
            Some(Ok(Ok(Err(fault)))) => Some(failed(fault.clone().into(), worth_retrying(fault.code))),
            Some(Ok(Err(panic))) => {
                Some(failed(Failure { code: Code::Internal, message: format!("panicked: {panic}") }, true))
            }
            Some(Err(_)) | None => {
                let message = format!("not done within {} ms", time_max.as_millis());
                Some(failed(Failure { code: Code::Timeout, message }, true))
            }
        }
    };
    (running, work)
}

/// An outcome as metrics have it: `ok`, or the stable code.
pub(super) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "ok",
        Outcome::Failed { failure, .. } => failure.code.as_str(),
        Outcome::Cancelled => Code::Cancelled.as_str(),
        Outcome::Returned => "returned",
    }
}
