//! What agents did, in their standing duties and for tasks: each run with its cause, the tools it called and its outcome, kept in the store for a
//! bounded time. Agents write, everybody may read.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::queue::TaskId;
use crate::store::{COMMIT_MAX, LIST_MAX, Store, Write};
use crate::{Fault, Result, Role, UnixMs};

/// Where runs are kept in the store: the agent, then newest first.
const SPACE: &str = "agent_runs";
/// Most runs kept of one agent.
pub const RUNS_MAX: usize = 500;
/// How long a run is kept, in milliseconds: 30 days.
const KEPT_MS: i64 = 30 * 86_400_000;

/// Why a duty was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was time.
    Schedule,
    /// Something happened.
    Events {
        /// The kinds of the events, each once, in the order they came.
        kinds: Vec<String>,
        /// The place of the first on its topic: `fleet`, or another that the duty is done for.
        first_seq: u64,
        /// The place of the last on its topic.
        last_seq: u64,
    },
    /// It was asked to, by a task of its queue.
    Task {
        /// The task.
        id: TaskId,
        /// Which attempt of it this was.
        attempt: u32,
        /// Who submitted it.
        caller: String,
        /// Within whose rights it was done.
        role: Role,
    },
    /// Somebody asked for it by chat.
    Asked {
        /// Who, as the audit trail names them.
        caller: String,
        /// Within whose rights it was done.
        role: Role,
    },
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It goes on, or its process ended before it did.
    Begun,
    /// It is done.
    Done,
    /// It could not be done.
    Failed,
}

/// A tool that a run called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// The server.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// The arguments as JSON, secrets masked, cut where they are long.
    pub arguments: String,
    /// `ok`, or the stable code of the refusal or failure; absent while it is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One run of one duty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The agent.
    pub agent: String,
    /// The duty, or the type of task.
    pub duty: String,
    /// Why.
    pub cause: Cause,
    /// What a task was given, as JSON: secrets masked, cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_ms: UnixMs,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<UnixMs>,
    /// How it stands.
    pub standing: Standing,
    /// What was found and done, or why it could not be.
    pub outcome: String,
    /// The tools it called, in order.
    pub calls: Vec<ToolCall>,
}

/// The runs in a store. Cloning shares it.
#[derive(Clone)]
pub struct Runs {
    store: Arc<dyn Store>,
}

impl Runs {
    /// The runs in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Writes a run down, in place of what was written of it before.
    pub async fn put(&self, run: &Run) -> Result<()> {
        let text = serde_json::to_string(run).map_err(|error| Fault::internal(format!("run of a duty: {error}")))?;
        let write = Write::put(SPACE, &key(run), text).expiring_at(run.began_ms + KEPT_MS);
        self.store.commit(vec![write]).await.map(|_| ())
    }

    /// Forgets the oldest runs of `agent` beyond [`RUNS_MAX`].
    pub async fn trim(&self, agent: &str) -> Result<()> {
        let kept = self.store.list(SPACE, &prefix(agent), None, RUNS_MAX).await?;
        let Some(last) = kept.last().filter(|_| kept.len() == RUNS_MAX) else { return Ok(()) };
        let mut after = last.key.clone();
        loop {
            let page = self.store.list(SPACE, &prefix(agent), Some(&after), COMMIT_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.key);
            self.store.commit(page.iter().map(|entry| Write::delete(SPACE, &entry.key)).collect()).await?;
        }
    }

    /// The newest runs of `agent`, of one `duty` or of all, at most `limit` (≤ [`RUNS_MAX`]).
    pub async fn newest(&self, agent: &str, duty: Option<&str>, limit: usize) -> Result<Vec<Run>> {
        const { assert!(RUNS_MAX <= LIST_MAX, "all runs fit into one list") };
        let entries = self.store.list(SPACE, &prefix(agent), None, RUNS_MAX).await?;
        let runs = entries.into_iter().filter_map(|entry| {
            // Another version's words must not hide the others.
            let read = serde_json::from_str::<Run>(&entry.value);
            read.inspect_err(|error| tracing::warn!(%error, key = entry.key, "stored run cannot be read")).ok()
        });
        Ok(runs.filter(|run| duty.is_none_or(|duty| run.duty == duty)).take(limit.min(RUNS_MAX)).collect())
    }
}

fn prefix(agent: &str) -> String {
    format!("{agent}/")
}

fn key(run: &Run) -> String {
    // Counted down, so that the store's order is newest first.
    format!("{}{:019}-{}", prefix(&run.agent), i64::MAX - run.began_ms.max(0), run.id)
}

/// The name of the election in which an agent's copies find the one that does its duties. Names that begin with `fleet` are the fleet's.
pub fn election(agent: &str) -> String {
    format!("fleet.agent.{agent}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::World;

    fn run(agent: &str, duty: &str, began_ms: UnixMs) -> Run {
        Run {
            id: format!("run_{began_ms}"),
            agent: agent.into(),
            duty: duty.into(),
            cause: Cause::Schedule,
            input: None,
            began_ms,
            ended_ms: None,
            standing: Standing::Begun,
            outcome: String::new(),
            calls: Vec::new(),
        }
    }

    #[tokio::test]
    async fn newest_first_each_agent_its_own_and_bounded() {
        let world = World::default();
        let runs = Runs::new(world.store.clone());
        let now_ms = world.clock.now_ms();
        for n in 0..RUNS_MAX as i64 + 150 {
            runs.put(&run("a", if n % 2 == 0 { "even" } else { "odd" }, now_ms + n)).await.unwrap();
        }
        runs.put(&run("ab", "even", now_ms)).await.unwrap();
        let done = Run { standing: Standing::Done, ..run("a", "odd", now_ms + 649) };
        runs.put(&done).await.unwrap();
        runs.trim("a").await.unwrap();
        assert_eq!(world.store.list(SPACE, "a/", None, LIST_MAX).await.unwrap().len(), RUNS_MAX);
        assert_eq!(runs.newest("a", None, 1).await.unwrap(), [done], "written again in its place");
        let even = runs.newest("a", Some("even"), 2).await.unwrap();
        assert_eq!(even.iter().map(|run| run.began_ms - now_ms).collect::<Vec<_>>(), [648, 646]);
        assert_eq!(runs.newest("ab", None, 10).await.unwrap().len(), 1);
    }
}
