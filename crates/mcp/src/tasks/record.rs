//! A task as the store keeps it and as the wire says it.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::store::Entry;
use kernel::{Fault, UnixMs, clock};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ctx::Question;
use crate::error::RpcError;
use crate::wire;

/// How often clients should ask, in milliseconds.
const POLL_INTERVAL_MS: u64 = 1_000;

/// A task and whom it belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name of the caller who made it, and who alone may ask after it.
    pub(super) owner: String,
    /// When it stops existing.
    pub(super) expires_ms: UnixMs,
    /// What the owner sees.
    pub(super) task: Task,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// It goes on.
    Working,
    /// It waits for answers.
    InputRequired,
    /// It has a result, which may be a tool's refusal.
    Completed,
    /// It ended with a protocol error.
    Failed,
    /// It was taken back.
    Cancelled,
}

impl Status {
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A task without its result.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) task_id: String,
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) status_message: Option<String>,
    created_at: String,
    last_updated_at: String,
    ttl_ms: u64,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    input_requests: Option<BTreeMap<String, Question>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    error: Option<RpcError>,
}

impl Record {
    /// A task that has just begun.
    pub(super) fn new(id: &str, owner: &str, now_ms: UnixMs, ttl: Duration) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let task = Task {
            task_id: id.into(),
            status: Status::Working,
            status_message: None,
            created_at: clock::timestamp(now_ms),
            last_updated_at: clock::timestamp(now_ms),
            ttl_ms,
            poll_interval_ms: POLL_INTERVAL_MS,
            input_requests: None,
            error: None,
        };
        Self { owner: owner.into(), expires_ms: now_ms.saturating_add_unsigned(ttl_ms), task }
    }

    pub(super) fn read(entry: &Entry) -> Result<Self, RpcError> {
        serde_json::from_str(&entry.value).map_err(|error| RpcError::internal(format!("{}: {error}", entry.key)))
    }

    pub(super) fn text(&self) -> String {
        wire::raw(self).get().to_owned()
    }
}

impl Task {
    /// It changed at `now_ms`.
    pub(super) fn touched(&mut self, now_ms: UnixMs) {
        self.last_updated_at = clock::timestamp(now_ms);
    }

    /// It goes on.
    pub(super) fn work(&mut self) {
        self.status = Status::Working;
        self.input_requests = None;
    }

    /// It needs answers.
    pub(super) fn ask(&mut self, questions: BTreeMap<String, Question>) {
        self.status = Status::InputRequired;
        self.input_requests = Some(questions);
    }

    /// It ended so.
    pub(super) fn end(&mut self, status: Status) {
        self.status = status;
        self.input_requests = None;
    }

    /// It ended with an error.
    pub(super) fn fail(&mut self, error: RpcError) {
        self.end(Status::Failed);
        self.status_message = Some(error.message.to_string());
        self.error = Some(error);
    }

    /// Whether it waits for an answer to `key`.
    pub(super) fn asks(&self, key: &str) -> bool {
        self.input_requests.as_ref().is_some_and(|open| open.contains_key(key))
    }

    /// Leaves only those questions open that `keep` holds for; without any it goes on.
    pub(super) fn leave_open(&mut self, keep: impl Fn(&str) -> bool) {
        let open = self.input_requests.get_or_insert_default();
        open.retain(|key, _| keep(key));
        if open.is_empty() {
            self.work();
        }
    }

    /// As `tasks/get` and `notifications/tasks` have it; `result` is JSON.
    pub(super) fn body(&self, result: Option<&str>) -> Result<Box<RawValue>, Fault> {
        let mut text = wire::raw(self).get().to_owned();
        if let Some(result) = result {
            text.pop();
            text.push_str(r#","result":"#);
            text.push_str(result);
            text.push('}');
        }
        RawValue::from_string(text).map_err(|error| Fault::internal(format!("task {}: {error}", self.task_id)))
    }
}
