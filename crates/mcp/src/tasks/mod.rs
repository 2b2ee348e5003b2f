//! The tasks extension (`io.modelcontextprotocol/tasks`): a call that outlasts its request goes on as a task the client asks after.
//!
//! - The server decides: a tool with `hints.long` that has not answered after [`GRACE`] becomes a task, if the client declared the
//!   extension on that request. Questions asked before that are asked in the ordinary way, later ones through `tasks/update`.
//! - A task is in the store before the client hears of it. Only its worker writes it, under a lease; answers and cancellations are entries of
//!   their own, so any process of the fleet can take them.
//! - A task whose worker lost its lease (the process died) reads as failed, and a worker that comes back too late cannot change that.

mod record;
mod running;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kernel::store::{Entry, Expect, LIST_MAX, Store, Write};
use kernel::{Clock, Code, Fault, OnEnd, Tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::error::{RpcError, ToolError};
use crate::handler::Change;
use crate::listen::{TASKS_EXTENSION, needs_tasks_extension};
use crate::reply::Reply;
use crate::wire::Request;

use record::{Record, Status};
pub use running::Running;

/// How long a long tool may take before it becomes a task: what is fast is answered at once.
pub const GRACE: Duration = Duration::from_millis(100);
/// How long a task is kept beyond the longest that its tool may take.
const KEPT: Duration = Duration::from_secs(3_600);
/// How long a lease lasts, in milliseconds. Workers renew it many times over.
const LEASE_MS: i64 = 20_000;
/// The methods of the extension.
const METHODS: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];

/// The space of the store that tasks live in.
pub const SPACE: &str = "mcp_tasks";

fn task_key(id: &str) -> String {
    format!("task/{id}")
}

fn lease_key(id: &str) -> String {
    format!("lease/{id}")
}

fn cancel_key(id: &str) -> String {
    format!("cancel/{id}")
}

fn answers_prefix(id: &str) -> String {
    format!("answer/{id}/")
}

fn parts_prefix(id: &str) -> String {
    format!("part/{id}/")
}

/// A call that may become a task.
pub(crate) struct Job {
    /// The task it becomes.
    pub(crate) running: Arc<Running>,
    /// The call.
    pub(crate) work: BoxFuture<'static, Result<Reply, ToolError>>,
    /// Cancelled when the client takes its request back, which ends what is not a task yet.
    pub(crate) leaving: CancellationToken,
}

/// The tasks of the fleet, as one process sees them.
pub struct TaskStore {
    store: Arc<dyn Store>,
    clock: Clock,
    tasks: Tasks,
    /// Those that this process works on.
    running: Mutex<HashMap<String, Arc<Running>>>,
}

impl TaskStore {
    /// Tasks kept in `store` and worked on under `tasks`.
    pub fn new(store: Arc<dyn Store>, clock: Clock, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { store, clock, tasks, running: Mutex::default() })
    }

    /// Whether a method belongs to the extension.
    pub fn has_method(method: &str) -> bool {
        METHODS.contains(&method)
    }

    /// Answers `tasks/get`, `tasks/update` and `tasks/cancel`, whichever process works on the task.
    pub async fn answer(&self, request: &Request, ctx: &Ctx) -> Result<Reply, RpcError> {
        if !ctx.client.has_extension(TASKS_EXTENSION) {
            return Err(needs_tasks_extension());
        }
        let id = request.params.task_id.as_deref();
        let id = id.ok_or_else(|| RpcError::invalid_params("params.taskId is missing"))?;
        let (record, entry) = self.find(id, &ctx.caller.name).await?;
        match request.method.as_str() {
            "tasks/get" => return self.get(record, &entry).await,
            "tasks/update" => self.update(&record, &entry, request).await?,
            "tasks/cancel" if !record.task.status.is_terminal() => {
                let cancel = Write::put(SPACE, &cancel_key(id), "");
                self.store.commit(vec![within(cancel, &entry)]).await?;
                self.nudge(id);
            }
            "tasks/cancel" => {}
            other => return Err(RpcError::method_not_found(other)),
        }
        Ok(Reply::complete(&json!({})))
    }

    /// A task of `caller`. That somebody else has one of this id is not told.
    async fn find(&self, id: &str, caller: &str) -> Result<(Record, Entry), RpcError> {
        let unknown = || RpcError::invalid_params("no such task, or it has expired");
        if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(unknown());
        }
        let entry = self.store.get(SPACE, &task_key(id)).await?.ok_or_else(unknown)?;
        let record = Record::read(&entry)?;
        if record.owner == caller { Ok((record, entry)) } else { Err(unknown()) }
    }

    async fn get(&self, mut record: Record, entry: &Entry) -> Result<Reply, RpcError> {
        let id = record.task.task_id.clone();
        if !record.task.status.is_terminal() && self.store.get(SPACE, &lease_key(&id)).await?.is_none() {
            record = self.bury(record, entry).await?;
        }
        if record.task.status == Status::InputRequired {
            let answered = self.answered(&id).await?;
            record.task.leave_open(|key| !answered.contains(key));
        }
        let result = match record.task.status {
            Status::Completed => Some(self.result(&id).await?),
            _ => None,
        };
        Ok(Reply::raw(record.task.body(result.as_deref())?))
    }

    /// Marks a task failed whose worker is gone; unless it had just ended, and that is what it reads as.
    async fn bury(&self, mut record: Record, entry: &Entry) -> Result<Record, RpcError> {
        let id = record.task.task_id.clone();
        record.task.fail(RpcError::internal("the process that worked on the task ended before the task did"));
        record.task.touched(self.clock.now_ms());
        let write = Write::put(SPACE, &task_key(&id), record.text()).expecting(Expect::Revision(entry.revision));
        match self.store.commit(vec![within(write, entry)]).await {
            Ok(_) => Ok(record),
            Err(fault) if fault.code == Code::Conflict => {
                let entry = self.store.get(SPACE, &task_key(&id)).await?;
                Record::read(&entry.ok_or_else(|| RpcError::invalid_params("the task has expired"))?)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Takes answers to questions that are open; all others are ignored.
    async fn update(&self, record: &Record, entry: &Entry, request: &Request) -> Result<(), RpcError> {
        let raw = request.params.input_responses.as_deref();
        let raw = raw.ok_or_else(|| RpcError::invalid_params("params.inputResponses is missing"))?;
        let given: BTreeMap<String, Value> = serde_json::from_str(raw.get())
            .map_err(|error| RpcError::invalid_params(format!("params.inputResponses: {error}")))?;
        let id = &record.task.task_id;
        let answered = self.answered(id).await?;
        let open = |key: &str| record.task.asks(key) && !answered.contains(key);
        let writes: Vec<_> = given
            .iter()
            .filter(|(key, _)| open(key))
            .map(|(key, answer)| {
                let key = format!("{}{key}", answers_prefix(id));
                within(Write::put(SPACE, &key, answer.to_string()), entry)
            })
            .collect();
        if !writes.is_empty() {
            self.store.commit(writes).await?;
            self.nudge(id);
        }
        Ok(())
    }

    /// The keys of the questions that have been answered.
    async fn answered(&self, id: &str) -> Result<BTreeSet<String>, Fault> {
        let prefix = answers_prefix(id);
        let entries = self.store.list(SPACE, &prefix, None, LIST_MAX).await?;
        Ok(entries.into_iter().filter_map(|entry| entry.key.strip_prefix(&prefix).map(ToOwned::to_owned)).collect())
    }

    /// A result is kept in parts, because the store bounds its values.
    async fn result(&self, id: &str) -> Result<String, Fault> {
        let parts = self.store.list(SPACE, &parts_prefix(id), None, LIST_MAX).await?;
        Ok(parts.into_iter().map(|part| part.value).collect())
    }

    /// Tells the worker, if it is in this process, to look at once.
    fn nudge(&self, id: &str) {
        if let Some(running) = self.running.lock().get(id) {
            running.nudge();
        }
    }

    /// What a call needs to become a task: `time` is the longest that it may take.
    pub(crate) fn prepare(
        self: &Arc<Self>,
        owner: &str,
        time: Duration,
        changes: broadcast::Sender<Change>,
    ) -> Arc<Running> {
        let now_ms = self.clock.now_ms();
        let record = Record::new(&kernel::ids::new_id("task"), owner, now_ms, time + KEPT);
        Arc::new(Running::new(Arc::clone(self), record, changes))
    }

    /// Runs a call: its answer if it comes soon, otherwise the task that it became.
    pub(crate) async fn run(self: &Arc<Self>, job: Job) -> Result<Reply, ToolError> {
        let Job { running, mut work, leaving } = job;
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = leaving.cancelled() => running.cancel.cancel(),
            () = tokio::time::sleep(GRACE) => {}
        }
        // One that is being taken back, or that has just asked in the ordinary way, is about to end.
        if leaving.is_cancelled() || !running.detach() {
            return work.await;
        }
        let reply = match running.create().await {
            Ok(reply) => reply,
            Err(fault) => {
                running.cancel.cancel();
                work.await?;
                return Err(fault.context("the call cannot be kept as a task").into());
            }
        };
        self.running.lock().insert(running.id().to_owned(), Arc::clone(&running));
        let tasks = Arc::clone(self);
        let stopping = self.tasks.stopping();
        self.tasks.spawn("call as a task", OnEnd::Done, async move {
            running.see_through(work, stopping).await;
            tasks.running.lock().remove(running.id());
        });
        Ok(reply)
    }
}

/// A write that lasts as long as the task it belongs to.
fn within(write: Write, entry: &Entry) -> Write {
    match entry.expires_ms {
        Some(expires_ms) => write.expiring_at(expires_ms),
        None => write,
    }
}
