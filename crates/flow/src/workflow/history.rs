//! What happened in a run, as it is kept: everything a run is follows from its transitions, in order.

use kernel::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Error;

/// One transition, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When it was decided.
    pub at_ms: UnixMs,
    /// What.
    #[serde(flatten)]
    pub what: Transition,
}

/// Where a list goes on after a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// With the next one.
    Continue,
    /// Nowhere: the list ends.
    Exit,
    /// Nowhere: the run ends.
    End,
    /// With this one.
    To(String),
}

/// Something outside that is to be done. It is written down before it is done, and done again as it is written when nobody knows whether it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// A tool is called.
    Tool {
        /// Whose.
        server: String,
        /// Which.
        tool: String,
        /// With what.
        arguments: Value,
        /// For how long at most, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit_ms: Option<i64>,
    },
    /// An agent is spoken to.
    Agent {
        /// `method`, `agentCard`, `server`, `parameters`.
        call: Value,
    },
    /// A request is made.
    Http {
        /// `method`, `endpoint`, `headers`, `query`, `body`, `output`, `redirect`.
        call: Value,
    },
    /// An operation of a service that describes itself.
    OpenApi {
        /// `document`, `operationId`, `parameters`, `authentication`, `output`, `redirect`.
        call: Value,
    },
    /// A script is run.
    Script {
        /// `language`, `code`, `arguments`, `environment`, `stdin`.
        script: Value,
    },
    /// An event is published: a CloudEvent.
    Emit {
        /// The event.
        event: Value,
        /// On which topic.
        topic: String,
    },
    /// Another workflow is run.
    Workflow {
        /// Whose.
        namespace: String,
        /// Which.
        name: String,
        /// Which version; the latest, if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        version: Option<String>,
        /// Its input.
        input: Value,
        /// Whether its end is waited for.
        wait: bool,
    },
}

/// What people are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// What it is about.
    pub title: String,
    /// What exactly is approved.
    pub arguments: Value,
    /// SHA-256 of the arguments as canonical JSON, in hexadecimal: an answer is for these arguments and no others.
    pub hash: String,
    /// What the one who answers must be allowed.
    pub access: kernel::Access,
    /// Whether it must be another than who started the run.
    pub others: bool,
}

/// What is needed to undo a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UndoNote {
    /// Where the task stands in the definition.
    pub reference: String,
    /// What it took.
    pub input: Value,
}

/// How far topics had been read.
pub type Cursors = std::collections::BTreeMap<String, u64>;

/// A transition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "transition", rename_all = "snake_case")]
pub enum Transition {
    /// The run began, with its input transformed.
    Began {
        /// What the first task gets.
        input: Value,
    },
    /// A task that is more than a moment's work began.
    Entered {
        /// Which instance of it.
        path: String,
        /// Its input as it came.
        raw: Value,
        /// Its input, transformed.
        input: Value,
        /// When its time is over.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        deadline_ms: Option<UnixMs>,
    },
    /// Something outside is to be done for a task.
    Asked {
        /// For which.
        path: String,
        /// What it is known by, however often it is done.
        key: String,
        /// What.
        effect: Effect,
    },
    /// A task waits for a time.
    Timed {
        /// Which.
        path: String,
        /// Until when.
        due_ms: UnixMs,
    },
    /// A task waits for events.
    Listened {
        /// Which.
        path: String,
        /// From where on.
        cursors: Cursors,
    },
    /// A task consumed an event.
    Consumed {
        /// Which.
        path: String,
        /// Which of its filters; none for one of its `until`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        filter: Option<usize>,
        /// From which topic; empty for an event sent to this run alone.
        topic: String,
        /// Its place there.
        seq: u64,
        /// The event.
        event: Value,
        /// What ties further events to it: correlations by name.
        #[serde(skip_serializing_if = "serde_json::Map::is_empty", default)]
        correlated: serde_json::Map<String, Value>,
    },
    /// People are asked.
    Questioned {
        /// By which task.
        path: String,
        /// What.
        question: Question,
    },
    /// Somebody answered.
    Answered {
        /// Which task.
        path: String,
        /// Who.
        by: String,
        /// Whether it is approved.
        approved: bool,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        comment: Option<String>,
    },
    /// A task is done.
    Done {
        /// Which.
        path: String,
        /// Its output, transformed.
        output: Value,
        /// What is next.
        next: Next,
        /// The context, if it was changed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        context: Option<Value>,
        /// What is needed to undo it, where it can be undone.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        undo: Option<UndoNote>,
    },
    /// A task was left out, because of its `if`.
    Skipped {
        /// Which.
        path: String,
        /// Its input, which is its output.
        output: Value,
    },
    /// A task failed.
    Failed {
        /// Which.
        path: String,
        /// How.
        error: Error,
    },
    /// A task's failure was caught.
    Caught {
        /// By which `try`.
        path: String,
        /// The failure.
        error: Error,
        /// When it is tried again; none when it is not.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        retry_ms: Option<UnixMs>,
    },
    /// Somebody wants the run to end.
    CancelAsked {
        /// Who.
        by: String,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// What failed is tried anew, at somebody's wish.
    Retried {
        /// Which task.
        path: String,
        /// By whom.
        by: String,
    },
    /// An event was sent to this run alone.
    Signalled {
        /// The event.
        event: Value,
    },
    /// What was done is undone from here on, and why.
    Undoing {
        /// The failure; none when it was cancelled.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<Error>,
    },
    /// The run ended.
    Ended {
        /// How.
        ending: Ending,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Ending {
    /// It ran to its end.
    Completed {
        /// What it gave.
        output: Value,
    },
    /// A task failed, and nothing caught it.
    Faulted {
        /// How.
        error: Error,
        /// Which task, if it was one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        path: Option<String>,
        /// What could not be undone.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        not_undone: Vec<Error>,
    },
    /// It was cancelled.
    Cancelled {
        /// By whom.
        by: String,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
        /// What could not be undone.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        not_undone: Vec<Error>,
    },
}
