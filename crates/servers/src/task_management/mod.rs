//! `task-management`: the durable queue and the schedules, as tools.
//!
//! It reads the queue and the store, and keeps nothing itself, so any replica answers for all. Its standing work fires schedules, forgets
//! what ended long ago and measures the queues; several copies may do so at once. Invariants:
//! - A task belongs to the caller who submitted it: turns are taken between them.
//! - What the tools promise of tasks is what docs/tasks.md says, no more.

mod queues;
mod schedules;
mod tasks;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use flow::schedules::Schedules;
use kernel::health::Check;
use kernel::metrics::Metrics;
use kernel::offers::Offers;
use kernel::queue::{Filter, Queue, State};
use kernel::{Clock, OnEnd};
use mcp::prelude::*;

pub use queues::{
    DeadLettersRequest, PurgeRequest, PurgeResponse, QueueRow, QueuesRequest, QueuesResponse, RequeueRequest,
    RequeueResponse, WorkerRow, WorkersRequest, WorkersResponse,
};
pub use schedules::{
    ListSchedulesRequest, ListSchedulesResponse, PauseScheduleRequest, ScheduleName, ScheduleRequest, ScheduleRow,
};
pub use tasks::{ListTasksRequest, SubmitTaskRequest, SubmitTaskResponse, TaskName, TasksResponse};

/// How often the queues are measured, and how often it is looked for what ended long ago.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Tasks one round forgets at most.
const FORGET_MAX: usize = 20_000;

/// `[servers.task-management]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long done and cancelled tasks are kept, in hours. As long as one is kept, its idempotency key stands for it.
    pub keep_hours: u32,
    /// How long dead letters are kept, in hours.
    pub keep_dead_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { keep_hours: 7 * 24, keep_dead_hours: 30 * 24 }
    }
}

/// The server.
pub struct TaskManagement {
    clock: Clock,
    metrics: Metrics,
    queue: Arc<dyn Queue>,
    schedules: Schedules,
    offers: Offers,
    config: Config,
}

impl McpServer for TaskManagement {
    const NAME: &'static str = "task-management";
    const INSTRUCTIONS: &'static str = "Durable tasks and schedules. submit_task puts a task into a queue, which is named for the agent or \
        pool of workers that does it; with a key, submitting again gives the same task, so a lost answer can be asked for again. \
        get_task tells how it stands and what came of it; list_tasks finds tasks. A failed task is tried again with growing waits and is then \
        a dead letter: dead_letters lists those, retry_task and requeue give them new attempts. cancel_task stops what waits at once and asks \
        what runs to stop. schedule submits a task by cron expression, interval or once, each time exactly once however many replicas run. \
        queues shows how much waits, how old it is and how fast it goes. Tasks are delivered at least once: what they do must be safe to do \
        twice, or carry the task's id as an idempotency key.";
    type Config = Config;
    type Ports = kernel::Ports;

    fn new(ports: &Ports, config: Config) -> Result<Self, Fault> {
        for (name, hours) in [("keep_hours", config.keep_hours), ("keep_dead_hours", config.keep_dead_hours)] {
            if hours == 0 {
                return Err(Fault::invalid(format!("servers.task-management.{name} is 0")).hint("1 or more"));
            }
        }
        let queue = Arc::clone(&ports.queue);
        let schedules = Schedules::new(Arc::clone(&ports.store), Arc::clone(&queue), ports.clock.clone());
        let offers = Offers::new(Arc::clone(&ports.store), ports.clock.clone());
        Ok(Self { clock: ports.clock.clone(), metrics: ports.metrics.clone(), queue, schedules, offers, config })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(SUBMIT_TASK, Self::submit_task);
        set.add(GET_TASK, Self::get_task);
        set.add(LIST_TASKS, Self::list_tasks);
        set.add(CANCEL_TASK, Self::cancel_task);
        set.add(RETRY_TASK, Self::retry_task);
        set.add(SCHEDULE, Self::schedule);
        set.add(LIST_SCHEDULES, Self::list_schedules);
        set.add(PAUSE_SCHEDULE, Self::pause_schedule);
        set.add(DELETE_SCHEDULE, Self::delete_schedule);
        set.add(QUEUES, Self::queues);
        set.add(WORKERS, Self::workers);
        set.add(DEAD_LETTERS, Self::dead_letters);
        set.add(REQUEUE, Self::requeue);
        set.add(PURGE, Self::purge);
    }
}

#[async_trait]
impl Features for TaskManagement {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        self.schedules.start(&ports.tasks);
        let stopping = ports.tasks.stopping();
        ports.tasks.spawn("measuring of queues", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                self.measure().await;
                self.forget().await;
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = tokio::time::sleep(MEASURE_EVERY) => {}
                }
            }
        });
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        let queue = match self.queue.counts().await {
            Ok(counts) => {
                let waiting: u64 = counts.iter().map(|of| of.queued + of.delayed).sum();
                let dead: u64 = counts.iter().map(|of| of.dead).sum();
                Check::healthy("queue", format!("{waiting} tasks wait, {dead} dead letters"))
            }
            Err(fault) => Check::down("queue", fault.to_string()),
        };
        let schedules = match self.schedules.list().await {
            Ok(schedules) => Check::healthy("schedules", format!("{} schedules", schedules.len())),
            Err(fault) => Check::down("schedules", fault.to_string()),
        };
        vec![queue, schedules]
    }
}

impl TaskManagement {
    async fn measure(&self) {
        match self.queue.counts().await {
            Ok(counts) => {
                for row in queues::rows(&counts, self.clock.now_ms()) {
                    self.metrics.queue_measured(&row.queue, row.queued + row.delayed, row.running, row.oldest_seconds);
                }
            }
            Err(fault) => tracing::warn!(%fault, "queues cannot be measured"),
        }
    }

    async fn forget(&self) {
        let ages = [
            (State::Done, self.config.keep_hours),
            (State::Cancelled, self.config.keep_hours),
            (State::Dead, self.config.keep_dead_hours),
        ];
        for (state, hours) in ages {
            let before_ms = self.clock.now_ms() - i64::from(hours) * 3_600_000;
            let filter = Filter { state: Some(state), ..Filter::default() };
            match self.queue.purge(&filter, before_ms, FORGET_MAX).await {
                Ok(0) => {}
                Ok(tasks) => tracing::info!(tasks, %state, "forgot old tasks"),
                // The next round tries again.
                Err(fault) => tracing::warn!(%fault, "old tasks could not be forgotten"),
            }
        }
    }
}

/// A tool whose role depends on what is submitted: it refuses by itself who may not.
const SUBMIT: Hints = Hints { access: Access::Read, ..Hints::OPERATE };

tools! { TaskManagement::NAME;
    /// Submits (enqueues) a task to a queue; with a key, submitting again gives the same task. It asks for the role that the agent's type of task names, otherwise for operator.
    SUBMIT_TASK = "submit_task": fn(SubmitTaskRequest) -> SubmitTaskResponse, SUBMIT;
    /// Tells how a task stands and what came of it.
    GET_TASK = "get_task": fn(TaskName) -> kernel::queue::Task, Hints::READ;
    /// Lists tasks, newest first, by queue, type, state and caller.
    LIST_TASKS = "list_tasks": fn(ListTasksRequest) -> TasksResponse, Hints::READ;
    /// Cancels a task: at once if it waits; if it runs, its worker is asked to stop.
    CANCEL_TASK = "cancel_task": fn(TaskName) -> kernel::queue::Task, Hints { idempotent: false, ..Hints::SET };
    /// Retries a failed task, or one that was cancelled or is delayed: it begins at once, with new attempts if it had ended.
    RETRY_TASK = "retry_task": fn(TaskName) -> kernel::queue::Task, Hints::OPERATE;
    /// Schedules a task to run by cron expression (every night at three, say), by interval or once, as cron runs jobs; a schedule of this name is made anew.
    SCHEDULE = "schedule": fn(ScheduleRequest) -> ScheduleRow, Hints::SET;
    /// Lists the schedules with their next times.
    LIST_SCHEDULES = "list_schedules": fn(ListSchedulesRequest) -> ListSchedulesResponse, Hints::READ;
    /// Pauses a schedule, or lets it go on from now.
    PAUSE_SCHEDULE = "pause_schedule": fn(PauseScheduleRequest) -> ScheduleRow, Hints { idempotent: true, ..Hints::OPERATE };
    /// Deletes a schedule; tasks it has submitted stay.
    DELETE_SCHEDULE = "delete_schedule": fn(ScheduleName) -> ScheduleRow, Hints { idempotent: false, ..Hints::SET };
    /// Shows each queue's depth: how much waits and runs, how old the oldest is, how fast it goes.
    QUEUES = "queues": fn(QueuesRequest) -> QueuesResponse, Hints::READ;
    /// Lists the workers that hold tasks at the moment.
    WORKERS = "workers": fn(WorkersRequest) -> WorkersResponse, Hints::READ;
    /// Lists dead letters: tasks that failed for good, newest first.
    DEAD_LETTERS = "dead_letters": fn(DeadLettersRequest) -> TasksResponse, Hints::READ;
    /// Requeues dead letters: gives many of them new attempts.
    REQUEUE = "requeue": fn(RequeueRequest) -> RequeueResponse, Hints::OPERATE;
    /// Removes tasks that ended a while ago.
    PURGE = "purge": fn(PurgeRequest) -> PurgeResponse, Hints { idempotent: false, ..Hints::SET };
}
