//! A call while it is a task: what its worker writes, and how the call asks and tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kernel::store::{Expect, LIST_MAX, VALUE_BYTES_MAX, Write};
use kernel::{Code, Fault};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::record::{Record, Status};
use super::{LEASE_MS, SPACE, TaskStore, answers_prefix, cancel_key, lease_key, parts_prefix, task_key};
use crate::ctx::Question;
use crate::error::{RpcError, ToolError};
use crate::handler::Change;
use crate::reply::{Reply, ResultType};
use crate::toolbox;

/// How often a worker looks for what other processes took for it, in milliseconds of real time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After how many looks the lease is renewed.
const RENEW_AFTER: u32 = 5;
/// How long a call may take to end once the process stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The client waits for the answer.
    Waiting,
    /// The client is being asked in the ordinary way: the call ends and is made again.
    Asked,
    /// It is a task.
    Task,
}

/// A call that is, or may become, a task.
pub struct Running {
    pub(super) cancel: CancellationToken,
    store: Arc<TaskStore>,
    id: String,
    stage: Mutex<Stage>,
    kept: tokio::sync::Mutex<Kept>,
    said: Mutex<Option<String>>,
    nudged: watch::Sender<()>,
    changes: broadcast::Sender<Change>,
}

/// The task as it was last written.
struct Kept {
    record: Record,
    revision: u64,
    asked: BTreeSet<String>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({}, {:?})", self.id, *self.stage.lock())
    }
}

impl Running {
    pub(super) fn new(store: Arc<TaskStore>, record: Record, changes: broadcast::Sender<Change>) -> Self {
        Self {
            cancel: CancellationToken::new(),
            store,
            id: record.task.task_id.clone(),
            stage: Mutex::new(Stage::Waiting),
            kept: tokio::sync::Mutex::new(Kept { record, revision: 0, asked: BTreeSet::new() }),
            said: Mutex::default(),
            nudged: watch::Sender::new(()),
            changes,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Cancelled when the call is to end.
    pub(crate) fn cancellation(&self) -> CancellationToken {
        self.cancel.clone()
    }

    pub(super) fn nudge(&self) {
        self.nudged.send_replace(());
    }

    /// Makes it a task, unless the client is being asked.
    pub(super) fn detach(&self) -> bool {
        let mut stage = self.stage.lock();
        if *stage == Stage::Waiting {
            *stage = Stage::Task;
        }
        *stage == Stage::Task
    }

    /// Whether questions go through the task; if not, they go the ordinary way, and the call stays a call.
    pub(crate) fn takes_questions(&self) -> bool {
        let mut stage = self.stage.lock();
        if *stage == Stage::Waiting {
            *stage = Stage::Asked;
        }
        *stage == Stage::Task
    }

    /// Writes the new task, and gives the answer that tells of it.
    pub(super) async fn create(&self) -> Result<Reply, Fault> {
        let mut kept = self.kept.lock().await;
        let body = kept.record.task.body(None)?;
        let task = Write::put(SPACE, &task_key(&self.id), kept.record.text())
            .expecting(Expect::Absent)
            .expiring_at(kept.record.expires_ms);
        kept.revision = self.store.store.commit(vec![task, self.lease()]).await?;
        Ok(Reply { kind: ResultType::Task, ..Reply::raw(body) })
    }

    fn lease(&self) -> Write {
        Write::put(SPACE, &lease_key(&self.id), "").expiring_at(self.store.clock.now_ms() + LEASE_MS)
    }

    /// Changes the task in the store, with `more` in the same commit, and tells whoever listens.
    async fn write(
        &self,
        kept: &mut Kept,
        change: impl FnOnce(&mut Record),
        result: Option<&str>,
        mut more: Vec<Write>,
    ) -> Result<(), Fault> {
        let mut record = kept.record.clone();
        change(&mut record);
        record.task.touched(self.store.clock.now_ms());
        let task = Write::put(SPACE, &task_key(&self.id), record.text())
            .expecting(Expect::Revision(kept.revision))
            .expiring_at(record.expires_ms);
        more.insert(0, task);
        kept.revision = self.store.store.commit(more).await?;
        let (owner, body) = (record.owner.clone(), record.task.body(result)?);
        kept.record = record;
        // An error means that nobody listens.
        self.changes.send(Change::Task { id: self.id.clone(), owner, body: body.get().to_owned() }).ok();
        Ok(())
    }

    /// Puts questions to the client and waits for all answers.
    pub(crate) async fn ask(&self, questions: BTreeMap<String, Question>) -> Result<BTreeMap<String, Value>, Fault> {
        let mut nudged = self.nudged.subscribe();
        let by_wire_key: BTreeMap<String, String> = {
            let mut kept = self.kept.lock().await;
            let named: Vec<_> =
                questions.into_iter().map(|(key, question)| (kept.new_key(&key), key, question)).collect();
            let open = named.iter().map(|(wire_key, _, question)| (wire_key.clone(), question.clone())).collect();
            self.write(&mut kept, |record| record.task.ask(open), None, Vec::new()).await?;
            named.into_iter().map(|(wire_key, key, _)| (wire_key, key)).collect()
        };
        let prefix = answers_prefix(&self.id);
        loop {
            let given = self.store.store.list(SPACE, &prefix, None, LIST_MAX).await?;
            let answers: BTreeMap<String, Value> = given
                .iter()
                .filter_map(|entry| {
                    let key = by_wire_key.get(entry.key.strip_prefix(&prefix)?)?;
                    Some((key.clone(), serde_json::from_str(&entry.value).ok()?))
                })
                .collect();
            if answers.len() == by_wire_key.len() {
                let mut kept = self.kept.lock().await;
                self.write(&mut kept, |record| record.task.work(), None, Vec::new()).await?;
                return Ok(answers);
            }
            look(&mut nudged).await;
        }
    }

    /// Says how far the work is; the worker writes it when it next looks.
    pub(crate) fn say(&self, message: &str) {
        *self.said.lock() = Some(message.to_owned());
    }

    /// Stays with the call to its end, whoever asks for it meanwhile.
    pub(super) async fn see_through(
        &self,
        mut work: BoxFuture<'static, Result<Reply, ToolError>>,
        stopping: CancellationToken,
    ) {
        let mut nudged = self.nudged.subscribe();
        let mut looks = 0;
        let outcome = loop {
            tokio::select! {
                done = &mut work => break done,
                () = look(&mut nudged) => {
                    looks += 1;
                    if let Err(fault) = self.attend(looks).await {
                        tracing::warn!(%fault, task = self.id, "task not attended to; it goes on");
                    }
                }
                () = stopping.cancelled() => {
                    self.cancel.cancel();
                    let stopped = || RpcError::internal("the server stopped before the task ended");
                    break tokio::time::timeout(STOP_TIME, work).await.unwrap_or_else(|_| Err(stopped().into()));
                }
            }
        };
        let stopped = stopping.is_cancelled();
        if let Err(fault) = self.finish(outcome, stopped).await {
            // Conflict: its lease was lost, and somebody read it as failed.
            tracing::error!(%fault, task = self.id, "a task's end was not written");
        }
    }

    /// Looks for a cancellation, renews the lease, writes what the call said.
    async fn attend(&self, looks: u32) -> Result<(), Fault> {
        if self.store.store.get(SPACE, &cancel_key(&self.id)).await?.is_some() {
            self.cancel.cancel();
        }
        if looks.is_multiple_of(RENEW_AFTER) {
            self.store.store.commit(vec![self.lease()]).await?;
        }
        let said = self.said.lock().take();
        if let Some(said) = said {
            let mut kept = self.kept.lock().await;
            self.write(&mut kept, |record| record.task.status_message = Some(said), None, Vec::new()).await?;
        }
        Ok(())
    }

    async fn finish(&self, outcome: Result<Reply, ToolError>, stopped: bool) -> Result<(), Fault> {
        let mut kept = self.kept.lock().await;
        let lease = Write::delete(SPACE, &lease_key(&self.id));
        let reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                return self.write(&mut kept, |record| record.task.fail(error.into()), None, vec![lease]).await;
            }
        };
        if self.cancel.is_cancelled() && was_cancelled(&reply) {
            let end = |record: &mut Record| {
                if stopped {
                    record.task.fail(RpcError::internal("the server stopped before the task ended"));
                } else {
                    record.task.end(Status::Cancelled);
                }
            };
            return self.write(&mut kept, end, None, vec![lease]).await;
        }
        let result = reply.body.get();
        let mut writes = vec![lease];
        for (n, part) in parts(result).enumerate() {
            let key = format!("{}{n:04}", parts_prefix(&self.id));
            writes.push(Write::put(SPACE, &key, part).expiring_at(kept.record.expires_ms));
        }
        let written = self.write(&mut kept, |record| record.task.end(Status::Completed), Some(result), writes).await;
        match written {
            Err(fault) if fault.code == Code::TooLarge => {
                let error = RpcError::from(fault.context("the result cannot be kept"));
                let lease = Write::delete(SPACE, &lease_key(&self.id));
                self.write(&mut kept, |record| record.task.fail(error), None, vec![lease]).await
            }
            other => other,
        }
    }
}

impl Kept {
    /// A question's key on the wire: unique over the task's whole life.
    fn new_key(&mut self, key: &str) -> String {
        let mut wire_key = key.to_owned();
        let mut round = 1;
        while !self.asked.insert(wire_key.clone()) {
            round += 1;
            wire_key = format!("{key}-{round}");
        }
        wire_key
    }
}

async fn look(nudged: &mut watch::Receiver<()>) {
    // At the time limit as after a nudge there is only one thing to do: look.
    tokio::time::timeout(LOOK_EVERY, nudged.changed()).await.ok();
}

/// Whether a reply is the refusal that phases make of a cancellation.
fn was_cancelled(reply: &Reply) -> bool {
    toolbox::structured(reply).is_err_and(|fault| fault.code == Code::Cancelled)
}

/// Cuts text into pieces the store takes.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut cut = text.len().min(VALUE_BYTES_MAX);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let (part, rest) = text.split_at(cut);
        text = rest;
        Some(part)
    })
}
