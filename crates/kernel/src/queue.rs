//! Port: durable tasks, in queues named for the agent or the pool of workers that does them.
//!
//! What is promised, by every implementation:
//! - *At least once by delivery*: a task whose submission returned is handed out until somebody ends it, or its attempts are used up; then it
//!   stands among the dead letters. Nothing is forgotten by a crash.
//! - *Exactly once by effect*: every handing-out has a number, [`Task::attempts`], which is a fencing token. An ending with another number
//!   than the newest is refused, and one commit has the ending, its result and the tasks that follow from it.
//! - *Order*: tasks of one caller, queue and priority begin in the order of their submission, unless delayed or tried again. Between callers
//!   turns are taken, however much one of them submits; a higher priority goes first.

mod check;
mod policy;
pub mod step;
mod task;

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::{
    check_claim, check_endings, check_name, check_page, check_policy, check_renewals, check_submit, full, many_types,
    twice,
};
pub use policy::{Policy, worth_retrying};
pub use task::{Failure, NewTask, Progress, State, Task, TaskId};

use crate::{Result, UnixMs};

/// Most tasks of one submission, or that follow from one ending.
pub const SUBMIT_MAX: usize = 500;
/// Most tasks one claim takes, and most endings or renewals of one call.
pub const CLAIM_MAX: usize = 100;
/// Most task types one claim names.
pub const TYPES_MAX: usize = 32;
/// Most types of task that one queue has, with those that are treated in a way of their own.
pub const QUEUE_TYPES_MAX: usize = 256;
/// Most tasks one list answers.
pub const LIST_MAX: usize = 500;
/// Largest payload or result, in bytes of JSON.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// Longest name of a queue, a task type or a worker, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 200;
/// Highest priority; 0 is the lowest.
pub const PRIORITY_MAX: u8 = 9;
/// The priority of tasks that name none.
pub const PRIORITY: u8 = 5;
/// Shortest lease, in milliseconds.
pub const LEASE_MS_MIN: i64 = 500;
/// Longest lease, in milliseconds: one hour.
pub const LEASE_MS_MAX: i64 = 3_600_000;
/// Tasks a queue holds before it refuses more, unless it is told otherwise.
pub const DEPTH_MAX: u64 = 100_000;

/// What became of one submitted task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// Its id.
    pub id: TaskId,
    /// Whether it is new. Otherwise its key was used before, and this is the task of then.
    pub fresh: bool,
}

/// A wish for work.
#[derive(Debug, Clone)]
pub struct Claim {
    /// From which queue.
    pub queue: String,
    /// Of these types only. At least one.
    pub types: Vec<String>,
    /// At most so many (≤ [`CLAIM_MAX`]).
    pub limit: usize,
    /// How long they are held unless renewed, in milliseconds.
    pub lease_ms: i64,
    /// Who takes them.
    pub worker: String,
}

/// What a claim got.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// The tasks, in the order they should begin.
    pub tasks: Vec<Task>,
    /// The earliest time at which something that waits or is held by somebody becomes free by itself, if there is such and the claim got
    /// less than it wanted.
    pub next_ms: Option<UnixMs>,
}

/// A holding of a task: which, and the number of its handing-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holding {
    /// The task.
    pub id: TaskId,
    /// [`Task::attempts`] as it was claimed: the fence.
    pub attempt: u32,
}

/// What a worker says while it works.
#[derive(Debug, Clone)]
pub struct Renew {
    /// Which holding.
    pub holding: Holding,
    /// How far it is; `None` leaves what was said before.
    pub progress: Option<Progress>,
}

/// What a worker hears when it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// It holds on.
    Held,
    /// It holds on, and is asked to stop.
    Cancel,
    /// The task is not its any more: it was taken over, or ended.
    Lost,
}

/// How a holding ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done {
        /// What came of it.
        result: Value,
        /// What follows from it, submitted in the same commit. A full queue does not refuse them.
        then: Vec<NewTask>,
    },
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// Whether another attempt may help.
        retry: bool,
    },
    /// The worker stopped because it was asked to.
    Cancelled,
    /// The worker gives it back unfinished, through no fault of the task: it is not counted as an attempt.
    Returned,
}

/// An ending of a holding.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Which holding.
    pub holding: Holding,
    /// How.
    pub outcome: Outcome,
}

/// Which tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this queue.
    pub queue: Option<String>,
    /// Of this type.
    pub task_type: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// Of this caller.
    pub caller: Option<String>,
}

/// How many tasks of one type there are in one queue, and how they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// The queue.
    pub queue: String,
    /// The type.
    pub task_type: String,
    /// Wait for their time.
    pub delayed: u64,
    /// Could begin.
    pub queued: u64,
    /// Are held by workers.
    pub running: u64,
    /// Are done, and still kept.
    pub done: u64,
    /// Are dead letters.
    pub dead: u64,
    /// Were cancelled, and are still kept.
    pub cancelled: u64,
    /// When the one that could have begun longest ago was submitted.
    pub oldest_ms: Option<UnixMs>,
    /// How many ended in the last minute, about.
    pub ended_per_minute: u64,
    /// How its tasks are treated.
    pub policy: Policy,
}

/// The port.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Submits all or none; answers in the order given.
    ///
    /// # Errors
    /// [`Code::RateLimited`](crate::Code::RateLimited) when a queue would hold more than its most;
    /// [`Code::TooLarge`](crate::Code::TooLarge) when a queue would have more than [`QUEUE_TYPES_MAX`] types;
    /// [`Code::Conflict`](crate::Code::Conflict) when a key was used before for another type or payload.
    async fn submit(&self, tasks: Vec<NewTask>) -> Result<Vec<Submitted>>;

    /// Takes tasks that may begin, and holds them for the worker.
    async fn claim(&self, claim: &Claim) -> Result<Claimed>;

    /// Holds on for `lease_ms` from now, all in one commit; answers in the order given.
    async fn renew(&self, renewals: &[Renew], lease_ms: i64) -> Result<Vec<Renewal>>;

    /// Ends holdings, all that can be in one commit; answers in the order given with the state that followed. Saying the same ending of a
    /// done task again changes nothing and is answered the same.
    ///
    /// # Errors
    /// For a single ending [`Code::Conflict`](crate::Code::Conflict) when the holding is not the newest any more.
    async fn finish(&self, endings: Vec<Ending>) -> Result<Vec<Result<State>>>;

    /// The task of this id.
    async fn get(&self, id: TaskId) -> Result<Option<Task>>;

    /// Tasks, newest first, only those before `before`, at most `limit` (≤ [`LIST_MAX`]).
    async fn list(&self, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Task>>;

    /// Cancels: at once what waits; what runs is asked to stop when its worker renews.
    ///
    /// # Errors
    /// [`Code::NotFound`](crate::Code::NotFound); [`Code::Conflict`](crate::Code::Conflict) when it has ended.
    async fn cancel(&self, id: TaskId) -> Result<Task>;

    /// Lets a dead, cancelled or delayed task begin at once; one that had ended gets as many attempts as it had at first.
    ///
    /// # Errors
    /// [`Code::NotFound`](crate::Code::NotFound); [`Code::Conflict`](crate::Code::Conflict) in any other state.
    async fn retry(&self, id: TaskId) -> Result<Task>;

    /// Removes tasks that ended before `ended_before_ms`, at most `limit`, oldest first. Returns how many.
    async fn purge(&self, filter: &Filter, ended_before_ms: UnixMs, limit: usize) -> Result<u64>;

    /// All counts, by queue and type.
    async fn counts(&self) -> Result<Vec<Counts>>;

    /// Says how tasks of a type are treated from now on.
    ///
    /// # Errors
    /// [`Code::TooLarge`](crate::Code::TooLarge) when the queue would have more than [`QUEUE_TYPES_MAX`] types.
    async fn set_policy(&self, queue: &str, task_type: &str, policy: Policy) -> Result<()>;

    /// Resolves when something may have become claimable since the call (not since the first poll): from this process at once, from others
    /// within a second. May resolve early. What only becomes due by time is not announced: see [`Claimed::next_ms`].
    fn claimable<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}
