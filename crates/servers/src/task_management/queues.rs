//! Queues, their workers and their dead letters.

use std::collections::BTreeMap;

use kernel::UnixMs;
use kernel::queue::{Counts, Filter, LIST_MAX, State, TaskId};
use mcp::prelude::*;

use super::TaskManagement;
use super::tasks::{TasksResponse, fifty};

/// Most dead letters one call requeues.
const REQUEUE_MAX: usize = LIST_MAX;
/// Most tasks one call purges.
const PURGE_MAX: usize = 100_000;

/// What [`QUEUES`](super::QUEUES) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueuesRequest {
    /// Only this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// A queue.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueRow {
    /// Its name.
    pub queue: String,
    /// Tasks that wait for their time.
    pub delayed: u64,
    /// Tasks that could begin.
    pub queued: u64,
    /// Tasks that workers hold.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest task that could begin has been there, in seconds.
    pub oldest_seconds: u64,
    /// Tasks that ended in the last minute, about.
    pub ended_per_minute: u64,
    /// The same by task type, with how each type is treated.
    pub types: Vec<Counts>,
}

/// What [`QUEUES`](super::QUEUES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueuesResponse {
    /// The queues, by name.
    pub queues: Vec<QueueRow>,
}

/// Counts by queue.
pub(super) fn rows(counts: &[Counts], now_ms: UnixMs) -> Vec<QueueRow> {
    let mut rows: BTreeMap<&str, QueueRow> = BTreeMap::new();
    for of in counts {
        let row = rows.entry(&of.queue).or_insert_with(|| QueueRow { queue: of.queue.clone(), ..QueueRow::default() });
        row.delayed += of.delayed;
        row.queued += of.queued;
        row.running += of.running;
        row.dead += of.dead;
        row.ended_per_minute += of.ended_per_minute;
        let age_ms = of.oldest_ms.map_or(0, |oldest_ms| now_ms - oldest_ms);
        row.oldest_seconds = row.oldest_seconds.max(u64::try_from(age_ms).unwrap_or(0) / 1_000);
        row.types.push(of.clone());
    }
    rows.into_values().collect()
}

/// What [`WORKERS`](super::WORKERS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkersRequest {
    /// Only of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// A worker that holds tasks.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRow {
    /// Its name.
    pub worker: String,
    /// The queue it works for.
    pub queue: String,
    /// What it holds, oldest first.
    pub tasks: Vec<TaskId>,
    /// The earliest time at which one of its leases is over unless renewed, in milliseconds since the Unix epoch.
    pub lease_until_ms: UnixMs,
}

/// What [`WORKERS`](super::WORKERS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkersResponse {
    /// The workers that hold tasks, by queue and name; of the newest 500 tasks that run.
    pub workers: Vec<WorkerRow>,
}

/// What [`DEAD_LETTERS`](super::DEAD_LETTERS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersRequest {
    /// Only of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Only those before this one: the last answer's `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many, 1 to 200.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
}

/// What [`REQUEUE`](super::REQUEUE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequeueRequest {
    /// The queue whose dead letters.
    pub queue: String,
    /// Only of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// At most this many, newest first, 1 to 500.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: usize,
}

/// What [`REQUEUE`](super::REQUEUE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequeueResponse {
    /// The tasks that may begin again, newest first.
    pub requeued: Vec<TaskId>,
}

/// What [`PURGE`](super::PURGE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// Only of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only in this state: `done`, `dead` or `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Only those that ended at least so many seconds ago.
    pub older_than_seconds: u64,
}

/// What [`PURGE`](super::PURGE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PurgeResponse {
    /// How many were removed; at 100,000 there may be more.
    pub removed: u64,
}

impl TaskManagement {
    pub(super) async fn queues(
        self: Arc<Self>,
        request: QueuesRequest,
        _ctx: Ctx,
    ) -> Result<QueuesResponse, ToolError> {
        let mut queues = rows(&self.queue.counts().await?, self.clock.now_ms());
        queues.retain(|row| request.queue.as_ref().is_none_or(|queue| *queue == row.queue));
        if let (Some(queue), true) = (request.queue, queues.is_empty()) {
            let shown: String = queue.chars().take(64).flat_map(char::escape_debug).collect();
            return Err(Fault::not_found(format!("no queue `{shown}`")).hint("it begins with its first task").into());
        }
        Ok(QueuesResponse { queues })
    }

    pub(super) async fn workers(
        self: Arc<Self>,
        request: WorkersRequest,
        _ctx: Ctx,
    ) -> Result<WorkersResponse, ToolError> {
        let filter = Filter { queue: request.queue, state: Some(State::Running), ..Filter::default() };
        let mut workers: BTreeMap<(String, String), WorkerRow> = BTreeMap::new();
        for task in self.queue.list(&filter, None, LIST_MAX).await?.into_iter().rev() {
            let (queue, worker) = (task.queue, task.worker.unwrap_or_default());
            let until_ms = task.lease_until_ms.unwrap_or(UnixMs::MAX);
            let row = workers.entry((queue.clone(), worker.clone())).or_insert_with(|| WorkerRow {
                worker,
                queue,
                tasks: Vec::new(),
                lease_until_ms: until_ms,
            });
            row.tasks.push(task.id);
            row.lease_until_ms = row.lease_until_ms.min(until_ms);
        }
        Ok(WorkersResponse { workers: workers.into_values().collect() })
    }

    pub(super) async fn dead_letters(
        self: Arc<Self>,
        request: DeadLettersRequest,
        _ctx: Ctx,
    ) -> Result<TasksResponse, ToolError> {
        let DeadLettersRequest { queue, task_type, cursor, limit } = request;
        self.page(Filter { queue, task_type, state: Some(State::Dead), caller: None }, cursor, limit).await
    }

    pub(super) async fn requeue(
        self: Arc<Self>,
        request: RequeueRequest,
        _ctx: Ctx,
    ) -> Result<RequeueResponse, ToolError> {
        let RequeueRequest { queue, task_type, limit } = request;
        if !(1..=REQUEUE_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {REQUEUE_MAX}")).into());
        }
        let filter = Filter { queue: Some(queue), task_type, state: Some(State::Dead), caller: None };
        let mut requeued = Vec::new();
        for task in self.queue.list(&filter, None, limit).await? {
            match self.queue.retry(task.id).await {
                Ok(task) => requeued.push(task.id),
                // Somebody else was quicker.
                Err(fault) if matches!(fault.code, Code::Conflict | Code::NotFound) => {}
                Err(fault) => return Err(fault.context(format!("after {} tasks", requeued.len())).into()),
            }
        }
        Ok(RequeueResponse { requeued })
    }

    pub(super) async fn purge(self: Arc<Self>, request: PurgeRequest, _ctx: Ctx) -> Result<PurgeResponse, ToolError> {
        let PurgeRequest { queue, state, older_than_seconds } = request;
        if let Some(state) = state.filter(|state| !state.is_ended()) {
            return Err(Fault::invalid(format!("state is {state}"))
                .hint("done, dead or cancelled: what has ended")
                .into());
        }
        let age_ms = i64::try_from(older_than_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let before_ms = self.clock.now_ms().saturating_sub(age_ms).saturating_add(i64::from(age_ms == 0));
        let filter = Filter { queue, state, ..Filter::default() };
        Ok(PurgeResponse { removed: self.queue.purge(&filter, before_ms, PURGE_MAX).await? })
    }
}
