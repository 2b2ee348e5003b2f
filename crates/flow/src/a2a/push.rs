//! Who is told of a task's changes without asking: push notification configs, kept in the store until the task's end was told.
//!
//! What is secret in a config is kept and sent, and never shown again.

use std::sync::Arc;

use a2a::{StreamResponse, TaskPushNotificationConfig};
use http::Uri;
use kernel::queue::{State, Task, TaskId};
use kernel::signal::Nudge;
use kernel::store::{Expect, LIST_MAX, Store, Write};
use kernel::{Clock, Code, Fault, Result, UnixMs};
use serde::{Deserialize, Serialize};

use super::{Refusal, view};

/// Where configs are kept in the store: the agent, the task, the config.
const SPACE: &str = "a2a_push";
/// Most configs of one task.
pub const CONFIGS_MAX: usize = 10;
/// Longest URL, token or credentials, in bytes.
const TEXT_BYTES_MAX: usize = 2_048;
/// How long a config is kept at most, in milliseconds: 7 days.
const KEPT_MS: i64 = 7 * 86_400_000;
/// How often a change that cannot be told is told again before its config is given up.
pub const TRIES_MAX: u32 = 8;

/// The configs in a store. Cloning shares it.
#[derive(Clone)]
pub struct Configs {
    store: Arc<dyn Store>,
    clock: Clock,
}

/// A config as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The task.
    pub task: TaskId,
    /// Where to, with what secrets.
    pub config: TaskPushNotificationConfig,
    /// How the task stood when it was told of last.
    pub told: Stand,
    /// How often telling has failed since.
    #[serde(default)]
    pub failures: u32,
    /// Not before this time again.
    #[serde(default)]
    pub next_ms: UnixMs,
    /// Until when it is kept.
    pub until_ms: UnixMs,
}

/// How a task stands, for who is told of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    state: State,
    attempts: u32,
}

impl Stand {
    /// How `task` stands.
    pub fn of(task: &Task) -> Self {
        Self { state: task.state, attempts: task.attempts }
    }
}

impl Configs {
    /// Resolves when a config may have changed since this call: a nudge to look again.
    pub fn changed(&self) -> Nudge<'_> {
        self.store.changed(&[SPACE])
    }

    /// The configs in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub(super) async fn put(
        &self,
        agent: &str,
        task: &Task,
        config: TaskPushNotificationConfig,
    ) -> Result<TaskPushNotificationConfig, Refusal> {
        let id = config.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| kernel::ids::new_id("push"));
        check(&config, &id)?;
        let config = TaskPushNotificationConfig { id: Some(id.clone()), task_id: task.id.to_string(), ..config };
        let known = self.of(agent, task.id).await?;
        if known.len() >= CONFIGS_MAX && known.iter().all(|(_, kept)| kept.config.id.as_ref() != Some(&id)) {
            return Err(Fault::too_large(format!("{} has {CONFIGS_MAX} push configs", task.id))
                .hint("delete one")
                .into());
        }
        // What it stands at now, its submitter knows; of an end it is told all the same.
        let told = Stand { state: if task.state.is_ended() { State::Running } else { task.state }, ..Stand::of(task) };
        let until_ms = self.clock.now_ms() + KEPT_MS;
        let kept = Kept { task: task.id, config, told, failures: 0, next_ms: 0, until_ms };
        self.store.commit(vec![write(agent, &id, &kept)?]).await?;
        Ok(shown(kept.config))
    }

    async fn of(&self, agent: &str, task: TaskId) -> Result<Vec<(u64, Kept)>> {
        self.read(&format!("{agent}/{task}/")).await
    }

    async fn read(&self, prefix: &str) -> Result<Vec<(u64, Kept)>> {
        let page = self.store.list(SPACE, prefix, None, LIST_MAX).await?;
        // Another version's words tell nobody anything.
        Ok(page
            .into_iter()
            .filter_map(|entry| Some((entry.revision, serde_json::from_str(&entry.value).ok()?)))
            .collect())
    }

    pub(super) async fn list(&self, agent: &str, task: TaskId) -> Result<Vec<TaskPushNotificationConfig>> {
        Ok(self.of(agent, task).await?.into_iter().map(|(_, kept)| shown(kept.config)).collect())
    }

    pub(super) async fn get(&self, agent: &str, task: TaskId, id: &str) -> Result<TaskPushNotificationConfig, Refusal> {
        let found = self.list(agent, task).await?.into_iter().find(|config| config.id.as_deref() == Some(id));
        found.ok_or_else(|| Fault::not_found(format!("{task} has no push config of that id")).hint("list them").into())
    }

    pub(super) async fn delete(&self, agent: &str, task: TaskId, id: &str) -> Result<(), Refusal> {
        self.get(agent, task, id).await?;
        self.store.commit(vec![Write::delete(SPACE, &key(agent, task, id))]).await?;
        Ok(())
    }

    /// All configs of an agent, with their revisions.
    ///
    /// # Errors
    /// What the store says.
    pub async fn all(&self, agent: &str) -> Result<Vec<(u64, Kept)>> {
        self.read(&format!("{agent}/")).await
    }

    /// Notes how telling goes, in place of revision `revision`; `None` forgets the config. Gives the new revision, unless it was changed meanwhile.
    ///
    /// # Errors
    /// What the store says.
    pub async fn note(&self, agent: &str, revision: u64, kept: &Kept, after: Option<&Kept>) -> Result<Option<u64>> {
        let id = kept.config.id.as_deref().unwrap_or_default();
        let change = match after {
            Some(after) => write(agent, id, after)?,
            None => Write::delete(SPACE, &key(agent, kept.task, id)),
        };
        match self.store.commit(vec![change.expecting(Expect::Revision(revision))]).await {
            Err(fault) if fault.code == Code::Conflict => Ok(None),
            ended => ended.map(Some),
        }
    }
}

/// What is told of how a task stands: all of it at its end.
pub fn notification(task: &Task) -> StreamResponse {
    match task.state.is_ended() {
        true => view::first(task),
        false => view::updates(task).remove(0),
    }
}

fn key(agent: &str, task: TaskId, id: &str) -> String {
    format!("{agent}/{task}/{id}")
}

fn write(agent: &str, id: &str, kept: &Kept) -> Result<Write> {
    let text = serde_json::to_string(kept).map_err(|error| Fault::internal(format!("a push config: {error}")))?;
    Ok(Write::put(SPACE, &key(agent, kept.task, id), text).expiring_at(kept.until_ms))
}

/// Without what is secret.
fn shown(config: TaskPushNotificationConfig) -> TaskPushNotificationConfig {
    let authentication = config.authentication.map(|info| a2a::AuthenticationInfo { credentials: None, ..info });
    TaskPushNotificationConfig { token: None, authentication, ..config }
}

fn check(config: &TaskPushNotificationConfig, id: &str) -> Result<(), Fault> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if id.len() > 64 || !id.bytes().all(fits) {
        return Err(Fault::invalid("id of a push config").hint("at most 64 characters of A-Z a-z 0-9 . _ : -"));
    }
    let authentication = config.authentication.as_ref();
    let texts = [
        ("url", Some(&config.url)),
        ("token", config.token.as_ref()),
        ("authentication.scheme", authentication.map(|info| &info.scheme)),
        ("authentication.credentials", authentication.and_then(|info| info.credentials.as_ref())),
    ];
    for (name, text) in texts {
        if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control)) {
            return Err(Fault::invalid(format!("{name} of a push config"))
                .hint(format!("at most {TEXT_BYTES_MAX} bytes of text")));
        }
    }
    let url = config.url.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    match url {
        Some(url) if !url.authority().is_some_and(|authority| authority.as_str().contains('@')) => Ok(()),
        _ => Err(Fault::invalid("url of a push config").hint("http://… or https://…, without credentials in it")),
    }
}
