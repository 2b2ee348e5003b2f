//! Tasks, one by one and in lists.

use kernel::queue::{Filter, NewTask, PRIORITY, State, Submitted, Task, TaskId, step};
use kernel::{Caller, UnixMs};
use mcp::prelude::*;
use serde_json::Value;

use super::TaskManagement;

/// Longest delay, in seconds: a year.
const DELAY_SECONDS_MAX: u64 = 31_536_000;
/// Most tasks of one answer.
const PAGE_MAX: usize = 200;

/// What [`SUBMIT_TASK`](super::SUBMIT_TASK) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitTaskRequest {
    /// The queue: the name of the agent, or of the pool of workers, that does it.
    pub queue: String,
    /// What kind of task, as its workers name it.
    pub task_type: String,
    /// What it is to be done with, at most 256 KiB of JSON.
    #[serde(default)]
    pub payload: Value,
    /// 0 to 9; a higher one goes first.
    #[serde(default = "priority")]
    #[schemars(range(max = 9))]
    pub priority: u8,
    /// Not before so many seconds from now.
    #[serde(default)]
    #[schemars(range(max = 31536000))]
    pub delay_seconds: u64,
    /// Attempts before it is a dead letter, 1 to 100; its type's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts_max: Option<u32>,
    /// The idempotency key, at most 200 bytes: for as long as a task with it is kept in the queue, no other is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

fn priority() -> u8 {
    PRIORITY
}

/// What [`SUBMIT_TASK`](super::SUBMIT_TASK) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubmitTaskResponse {
    /// The task's id.
    pub id: TaskId,
    /// Whether it is new; otherwise its key was used before, and this is the task of then.
    pub fresh: bool,
}

impl From<Submitted> for SubmitTaskResponse {
    fn from(Submitted { id, fresh }: Submitted) -> Self {
        Self { id, fresh }
    }
}

/// One task.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskName {
    /// Its id, as `task_17`.
    pub id: String,
}

/// What [`LIST_TASKS`](super::LIST_TASKS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTasksRequest {
    /// Only of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Only in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Only of this caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only those before this one: the last answer's `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many, 1 to 200.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
}

pub(super) fn fifty() -> usize {
    50
}

/// Tasks, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TasksResponse {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// The cursor to go on with, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<TaskId>,
}

impl TaskManagement {
    pub(super) async fn submit_task(
        self: Arc<Self>,
        request: SubmitTaskRequest,
        ctx: Ctx,
    ) -> Result<SubmitTaskResponse, ToolError> {
        let SubmitTaskRequest { queue, task_type, payload, priority, delay_seconds, attempts_max, key } = request;
        if delay_seconds > DELAY_SECONDS_MAX {
            return Err(Fault::invalid(format!("delay_seconds is {delay_seconds}"))
                .hint(format!("at most {DELAY_SECONDS_MAX}"))
                .into());
        }
        self.admit(&queue, &task_type, &ctx.caller).await?;
        let delay_ms = UnixMs::try_from(delay_seconds * 1_000).unwrap_or(UnixMs::MAX);
        let run_at_ms = (delay_ms > 0).then(|| self.clock.now_ms().saturating_add(delay_ms));
        let task = NewTask {
            priority,
            run_at_ms,
            attempts_max,
            key,
            trace_id: Some(ctx.trace.id()),
            ..NewTask::new(&queue, &task_type, payload, &ctx.caller)
        };
        let submitted = self.queue.submit(vec![task]).await?;
        let first = submitted.into_iter().next().ok_or_else(|| Fault::internal("a submission without an answer"))?;
        Ok(first.into())
    }

    /// Refuses what a known agent does not do, and who may not ask for it. A queue that no agent has is a pool's of operators.
    pub(super) async fn admit(&self, queue: &str, task_type: &str, caller: &Caller) -> Result<(), Fault> {
        match self.offers.get(queue).await? {
            Some(offer) => caller.require(offer.access_of(queue, task_type)?, &format!("agent:{queue}.{task_type}")),
            None => caller.require(Access::Operate, "task-management.submit_task"),
        }
    }

    pub(super) async fn get_task(self: Arc<Self>, request: TaskName, _ctx: Ctx) -> Result<Task, ToolError> {
        let id = request.id.parse()?;
        Ok(self.queue.get(id).await?.ok_or_else(|| step::unknown(id))?)
    }

    pub(super) async fn cancel_task(self: Arc<Self>, request: TaskName, _ctx: Ctx) -> Result<Task, ToolError> {
        Ok(self.queue.cancel(request.id.parse()?).await?)
    }

    pub(super) async fn retry_task(self: Arc<Self>, request: TaskName, _ctx: Ctx) -> Result<Task, ToolError> {
        Ok(self.queue.retry(request.id.parse()?).await?)
    }

    pub(super) async fn list_tasks(
        self: Arc<Self>,
        request: ListTasksRequest,
        _ctx: Ctx,
    ) -> Result<TasksResponse, ToolError> {
        let ListTasksRequest { queue, task_type, state, caller, cursor, limit } = request;
        self.page(Filter { queue, task_type, state, caller }, cursor, limit).await
    }

    pub(super) async fn page(
        &self,
        filter: Filter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<TasksResponse, ToolError> {
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {PAGE_MAX}")).into());
        }
        let before = cursor.map(|cursor| cursor.parse()).transpose()?;
        let tasks = self.queue.list(&filter, before, limit).await?;
        let next = tasks.last().filter(|_| tasks.len() == limit).map(|last| last.id);
        Ok(TasksResponse { tasks, next })
    }
}
