//! Where definitions and runs are kept: entries of the store, changed together where they belong together.
//!
//! A run has a head (who holds it, how it stands, when to look at it), its input, and its transitions in batches, one for each commit. Every
//! commit expects the head's revision, so of two processes that both believe to hold a run only one goes on.

use std::sync::Arc;

use kernel::store::{COMMIT_MAX, Expect, LIST_MAX, Store, Write};
use kernel::{Access, Caller, Code, Fault, Result, UnixMs};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::workflow::history::{Cursors, Entry};

/// Definitions, by namespace, name and version.
pub(super) const DEFINITIONS: &str = "workflows";
/// Who has a definition's name, by namespace and name.
pub(super) const OWNERS: &str = "workflow-owners";
/// Heads of runs, by id.
pub(super) const RUNS: &str = "workflow-runs";
/// Inputs of runs, by id.
pub(super) const INPUTS: &str = "workflow-inputs";
/// Transitions, by run and number of their batch.
pub(super) const EVENTS: &str = "workflow-events";
/// Runs by when to look at them.
pub(super) const DUE: &str = "workflow-due";
/// Runs to look at now.
pub(super) const NUDGES: &str = "workflow-nudges";
/// Runs that wait for events.
pub(super) const LISTENING: &str = "workflow-listening";
/// What was sent to runs.
pub(super) const INBOX: &str = "workflow-inbox";
/// Most messages that one step of a run takes.
pub(super) const INBOX_AT_ONCE: usize = COMMIT_MAX / 4;
/// Runs, the newest first.
pub(super) const NEWEST: &str = "workflow-newest";
/// When definitions are started by themselves.
pub(super) const SCHEDULES: &str = "workflow-schedules";

/// A definition as it is kept. A version never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stored {
    /// Whose it is.
    pub namespace: String,
    /// What it is called there.
    pub name: String,
    /// Which version this is.
    pub version: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The definition, as it was given.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub hash: String,
    /// Who defined it, and under which role its schedule starts runs.
    #[schemars(with = "Value")]
    pub by: Caller,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: UnixMs,
}

/// How a run stands, in the language's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has not begun.
    Pending,
    /// It goes on.
    Running,
    /// It waits: for a time, an event, people or another run.
    Waiting,
    /// It ran to its end.
    Completed,
    /// A task failed.
    Faulted,
    /// It was cancelled.
    Cancelled,
}

impl Status {
    /// Whether it is over.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Faulted | Self::Cancelled)
    }
}

/// A question that a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// Which task: the path of its instance.
    pub step: String,
    /// What it is about.
    pub title: String,
    /// What exactly is approved.
    pub arguments: Value,
    /// The hash an answer must give.
    pub hash: String,
    /// What the one who answers must be allowed.
    pub access: Access,
    /// Whether it must be another than who started the run.
    pub others: bool,
}

/// A run's head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The run's id.
    pub id: String,
    /// Whose its definition is.
    pub namespace: String,
    /// What that is called.
    pub name: String,
    /// Which version of it: the run keeps it.
    pub version: String,
    /// Who started it, and under which role it acts.
    pub caller: Caller,
    /// When it was started.
    pub created_ms: UnixMs,
    /// The run that runs it, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<String>,
    /// How many runs are around it.
    #[serde(default)]
    pub depth: u32,
    /// How it stands.
    pub status: Status,
    /// How many batches of transitions there are.
    pub batches: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many tasks were done.
    pub steps: u64,
    /// Which process goes on with it, and until when it says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease: Option<(String, UnixMs)>,
    /// Where it stands in [`DUE`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due: Option<String>,
    /// Whether it stands in [`LISTENING`].
    #[serde(default)]
    pub listening: bool,
    /// The questions it waits for.
    #[serde(default)]
    pub questions: Vec<Asked>,
    /// What else it waits for, in words.
    #[serde(default)]
    pub waits: Vec<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<UnixMs>,
    /// Whether its end has been told to whoever has to know: until then it is held, or found again.
    #[serde(default)]
    pub told: bool,
    /// What it ended with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ending: Option<crate::workflow::history::Ending>,
}

/// What was sent to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Message {
    Cancel { by: String, reason: Option<String> },
    Answer { by: String, step: String, hash: String, approved: bool, comment: Option<String> },
    Signal { event: Value },
    Retry { by: String, step: String },
}

/// Which events a waiting run looks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Listening {
    /// Topics, and how far each has been read.
    pub(super) topics: Cursors,
    /// Types; none stands for any.
    pub(super) kinds: Vec<Option<String>>,
}

/// The entries.
#[derive(Clone)]
pub(super) struct Book {
    pub(super) store: Arc<dyn Store>,
}

pub(super) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Fault::internal(format!("an entry of a workflow: {error}")))
}

pub(super) fn parsed<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Fault::internal(format!("the entry of {what} is damaged: {error}")))
}

pub(super) fn definition_key(namespace: &str, name: &str, version: &str) -> String {
    format!("{namespace}/{name}/{version}")
}

/// A run's place among those to be looked at at some time.
pub(super) fn due_key(at_ms: UnixMs, run: &str) -> String {
    format!("{:015}/{run}", at_ms.max(0))
}

impl Book {
    /// A run's head and the revision it has.
    pub(super) async fn head(&self, run: &str) -> Result<Option<(Head, u64)>> {
        let Some(entry) = self.store.get(RUNS, run).await? else { return Ok(None) };
        Ok(Some((parsed(&entry.value, "a run")?, entry.revision)))
    }

    /// A run's head.
    ///
    /// # Errors
    /// `not_found`.
    pub(super) async fn need(&self, run: &str) -> Result<(Head, u64)> {
        let head = self.head(run).await?;
        head.ok_or_else(|| Fault::not_found(format!("no run `{run}`")).hint("list_runs has them"))
    }

    pub(super) async fn input(&self, run: &str) -> Result<Value> {
        let entry = self.store.get(INPUTS, run).await?;
        entry.map_or(Ok(Value::Null), |entry| parsed(&entry.value, "a run's input"))
    }

    /// A run's transitions, from a batch on; at most `limit` batches.
    pub(super) async fn batches(&self, run: &str, after: u64, limit: usize) -> Result<Vec<Vec<Entry>>> {
        let after = format!("{run}/{after:010}");
        let page = self.store.list(EVENTS, &format!("{run}/"), Some(&after), limit.min(LIST_MAX)).await?;
        page.iter().map(|entry| parsed(&entry.value, "a run's transitions")).collect()
    }

    /// All of a run's transitions.
    pub(super) async fn transitions(&self, run: &str) -> Result<Vec<Entry>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.batches(run, after, LIST_MAX).await?;
            let count = page.len();
            all.extend(page.into_iter().flatten());
            if count < LIST_MAX {
                return Ok(all);
            }
            after += count as u64;
        }
    }

    pub(super) async fn definition(&self, namespace: &str, name: &str, version: &str) -> Result<Option<Stored>> {
        let entry = self.store.get(DEFINITIONS, &definition_key(namespace, name, version)).await?;
        entry.map(|entry| parsed(&entry.value, "a definition")).transpose()
    }

    /// Every version of a definition, or every definition that begins so.
    pub(super) async fn definitions(&self, prefix: &str) -> Result<Vec<Stored>> {
        let page = self.store.list(DEFINITIONS, prefix, None, LIST_MAX).await?;
        page.iter().map(|entry| parsed(&entry.value, "a definition")).collect()
    }

    /// Puts a run down that has not begun. Nothing happens when there is one of this id.
    ///
    /// # Errors
    /// What the store says, but for the run's being there.
    pub(super) async fn begin(&self, head: &Head, input: &Value, more: Vec<Write>) -> Result<bool> {
        let newest = format!("{:019}-{}", i64::MAX - head.created_ms.max(0), head.id);
        let mut writes = vec![
            Write::put(RUNS, &head.id, text(head)?).expecting(Expect::Absent),
            Write::put(INPUTS, &head.id, text(input)?),
            Write::put(NEWEST, &newest, &*head.id),
            Write::put(NUDGES, &head.id, "begin"),
        ];
        writes.extend(more);
        match self.store.commit(writes).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.code == Code::Conflict && self.head(&head.id).await?.is_some() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Refuses another message to a run that has so many waiting.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(super) async fn has_room(&self, run: &str, most: usize) -> Result<()> {
        if self.store.list(INBOX, &format!("{run}/"), None, most).await?.len() < most {
            return Ok(());
        }
        Err(Fault::new(Code::RateLimited, format!("run `{run}` has {most} messages that it has not taken yet"))
            .hint("send again when it has")
            .data(serde_json::json!({ "retry_after_ms": 1_000 })))
    }

    /// Sends something to a run.
    pub(super) async fn send(&self, run: &str, message: &Message, now_ms: UnixMs) -> Result<()> {
        let key = format!("{run}/{now_ms:015}-{}", kernel::ids::random_token(9));
        self.store
            .commit(vec![Write::put(INBOX, &key, text(message)?), Write::put(NUDGES, run, "mail")])
            .await
            .map(|_| ())
    }

    /// What was sent to a run and not taken yet, oldest first.
    pub(super) async fn inbox(&self, run: &str) -> Result<Vec<(String, Message)>> {
        let page = self.store.list(INBOX, &format!("{run}/"), None, INBOX_AT_ONCE).await?;
        page.into_iter().map(|entry| Ok((entry.key, parsed(&entry.value, "a message to a run")?))).collect()
    }
}
