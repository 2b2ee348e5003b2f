//! The words for a task.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PRIORITY;
use crate::{Caller, Code, Fault, Role, UnixMs};

/// A task's id: its number in the order of submission, written `task_17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct TaskId(pub u64);

/// What ids begin with.
const PREFIX: &str = "task_";

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl FromStr for TaskId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let number = text.strip_prefix(PREFIX).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        number.and_then(|number| number.parse().ok()).map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
            Fault::invalid(format!("`{shown}` is not the id of a task")).hint("task_ and a number, as task_17")
        })
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its time: it was submitted for later, or is to be tried again after a while.
    Delayed,
    /// Could begin.
    Queued,
    /// A worker holds it.
    Running,
    /// Done.
    Done,
    /// A dead letter: it failed for good, or its attempts are used up.
    Dead,
    /// Cancelled.
    Cancelled,
}

impl State {
    /// All, in the order of a task's life.
    pub const ALL: [Self; 6] = [Self::Delayed, Self::Queued, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// Whether nothing more happens by itself.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }

    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delayed => "delayed",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a running task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// From 0 to 1.
    pub fraction: f64,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// What went wrong, and on what.
    pub message: String,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let message = match fault.hint {
            Some(hint) => format!("{} ({hint})", fault.message),
            None => fault.message,
        };
        Self { code: fault.code, message }
    }
}

/// A task to submit.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// The agent, or the pool of workers, that does it.
    pub queue: String,
    /// What kind of task.
    pub task_type: String,
    /// What it is to be done with.
    pub payload: Value,
    /// Who wants it: turns are taken between callers.
    pub caller: String,
    /// What they may do: what is done for the task is done with no more rights.
    pub role: Role,
    /// 0 to [`PRIORITY_MAX`](super::PRIORITY_MAX); a higher one goes first.
    pub priority: u8,
    /// Not before this time.
    pub run_at_ms: Option<UnixMs>,
    /// Attempts, in place of its type's.
    pub attempts_max: Option<u32>,
    /// The idempotency key: for as long as a task of the queue with this key is kept, no other is made.
    pub key: Option<String>,
    /// The trace it belongs to, 32 hexadecimal digits.
    pub trace_id: Option<String>,
}

impl NewTask {
    /// A task for as soon as can be.
    pub fn new(queue: &str, task_type: &str, payload: Value, caller: &Caller) -> Self {
        Self {
            queue: queue.into(),
            task_type: task_type.into(),
            payload,
            caller: caller.name.clone(),
            role: caller.rights(),
            priority: PRIORITY,
            run_at_ms: None,
            attempts_max: None,
            key: None,
            trace_id: None,
        }
    }

    /// Gives it an idempotency key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Delays it.
    #[must_use]
    pub fn at(mut self, run_at_ms: UnixMs) -> Self {
        self.run_at_ms = Some(run_at_ms);
        self
    }

    /// Gives it a priority.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }
}

/// A task as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The agent, or the pool of workers, that does it.
    pub queue: String,
    /// What kind of task.
    pub task_type: String,
    /// How it stands.
    pub state: State,
    /// What it is to be done with.
    pub payload: Value,
    /// Who wants it.
    pub caller: String,
    /// What they may do: what is done for it is done with no more rights.
    pub role: Role,
    /// Its priority, 0 to 9; a higher one goes first.
    pub priority: u8,
    /// How often it was handed to a worker: the fencing token of the newest holding.
    pub attempts: u32,
    /// After how many attempts it is a dead letter.
    pub attempts_max: u32,
    /// How many attempts a retry by hand gives it.
    pub attempts_each: u32,
    /// Whether its worker is asked to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelling: bool,
    /// When it was submitted, in milliseconds since the Unix epoch.
    pub submitted_ms: UnixMs,
    /// Not before this time.
    pub run_at_ms: UnixMs,
    /// When its newest attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<UnixMs>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<UnixMs>,
    /// Until when its worker holds it unless it renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until_ms: Option<UnixMs>,
    /// Who holds it, or held it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why its newest ended attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Its idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The task from whose ending it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// The trace it belongs to, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        assert_eq!("task_17".parse(), Ok(TaskId(17)));
        assert_eq!(TaskId(u64::MAX).to_string().parse(), Ok(TaskId(u64::MAX)));
        for bad in ["", "17", "task_", "task_-1", "task_+1", "task_99999999999999999999", "task_1\n"] {
            assert_eq!(bad.parse::<TaskId>().map_err(|fault| fault.code), Err(Code::InvalidArgument), "{bad}");
        }
    }
}
