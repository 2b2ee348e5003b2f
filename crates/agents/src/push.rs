//! Tells whoever asked for it how an agent's tasks go: A2A push notifications.
//!
//! At least once for each change that lasts long enough to be seen, and always of the end; in order for each config. Of the copies of an agent the one
//! tells that takes the config first. What is told goes to public addresses, and to private ones that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flow::a2a::push::{Configs, Kept, Stand, TRIES_MAX, notification};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method};
use kernel::backoff::Backoff;
use kernel::queue::Task;
use kernel::{Fault, OnEnd, Result, Tasks};
use servers::outbound::{Ask, fetch};
use tokio::time::sleep;

use crate::standing::Standing;

/// How often tasks of which somebody wants to hear are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long is waited for a first one.
const IDLE_WAIT: Duration = Duration::from_secs(2);
/// How long one telling may take.
const TELL_TIME: Duration = Duration::from_secs(10);
/// How long a copy that tells keeps the others from it, in milliseconds: longer than telling may take.
const TAKEN_MS: i64 = 15_000;
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How tries spread out.
const TRIES: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };
/// Carries the token that the client gave.
const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");

/// Begins to tell, under `tasks`.
pub(crate) fn start(agent: &Arc<Standing>, tasks: &Tasks) {
    let (agent, stopping) = (Arc::clone(agent), tasks.stopping());
    tasks.spawn("push notifications of an agent", OnEnd::StopOwner, async move {
        let ports = &agent.means.ports;
        let configs = Configs::new(Arc::clone(&ports.store), ports.clock.clone());
        while !stopping.is_cancelled() {
            let changed = configs.changed();
            let some = round(&agent, &configs).await.unwrap_or_else(|fault| {
                tracing::warn!(%fault, agent = agent.name, "tasks that somebody wants to hear of cannot be looked at");
                false
            });
            let idle = async {
                tokio::select! {
                    () = changed => {}
                    () = sleep(IDLE_WAIT) => {}
                }
            };
            tokio::select! {
                () = sleep(LOOK_EVERY), if some => {}
                () = idle, if !some => {}
                () = stopping.cancelled() => {}
            }
        }
    });
}

/// Tells of what has changed. Says whether there is anybody to tell.
async fn round(agent: &Standing, configs: &Configs) -> Result<bool> {
    let ports = &agent.means.ports;
    let all = configs.all(agent.name).await?;
    for (revision, kept) in &all {
        let now_ms = ports.clock.now_ms();
        if kept.next_ms > now_ms {
            continue;
        }
        let Some(task) = ports.queue.get(kept.task).await? else {
            configs.note(agent.name, *revision, kept, None).await?;
            continue;
        };
        if Stand::of(&task) == kept.told {
            continue;
        }
        let taken = Kept { next_ms: now_ms + TAKEN_MS, ..kept.clone() };
        if let Some(revision) = configs.note(agent.name, *revision, kept, Some(&taken)).await? {
            tell_one(agent, configs, revision, &taken, &task).await?;
        }
    }
    Ok(!all.is_empty())
}

async fn tell_one(agent: &Standing, configs: &Configs, revision: u64, kept: &Kept, task: &Task) -> Result<()> {
    let ended = tell(agent, kept, task).await;
    let now_ms = agent.means.ports.clock.now_ms();
    let after = match ended {
        Ok(()) if task.state.is_ended() => None,
        Ok(()) => Some(Kept { told: Stand::of(task), failures: 0, next_ms: now_ms, ..kept.clone() }),
        Err(fault) => {
            let failures = kept.failures + 1;
            let given_up = failures >= TRIES_MAX;
            tracing::warn!(%fault, agent = agent.name, task = %task.id, failures, given_up, "a change of a task was not told");
            let wait_ms = i64::try_from(TRIES.wait(failures).as_millis()).unwrap_or(TAKEN_MS);
            (!given_up).then(|| Kept { failures, next_ms: now_ms + wait_ms, ..kept.clone() })
        }
    };
    configs.note(agent.name, revision, kept, after.as_ref()).await.map(|_| ())
}

async fn tell(agent: &Standing, kept: &Kept, task: &Task) -> Result<()> {
    let body =
        serde_json::to_vec(&notification(task)).map_err(|error| Fault::internal(format!("notification: {error}")))?;
    let url = kept.config.url.parse().map_err(|_| Fault::invalid("the URL of a push config is none"))?;
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/a2a+json"))];
    let value = |text: String| {
        let value = HeaderValue::try_from(text).map_err(|_| Fault::invalid("a secret of a push config fits no header"));
        value.map(|mut value| {
            value.set_sensitive(true);
            value
        })
    };
    if let Some(token) = &kept.config.token {
        headers.push((TOKEN, value(token.clone())?));
    }
    if let Some(info) = &kept.config.authentication {
        let said = format!("{} {}", info.scheme, info.credentials.as_deref().unwrap_or_default());
        headers.push((AUTHORIZATION, value(said.trim_end().to_owned())?));
    }
    let ask = Ask {
        method: Method::POST,
        url,
        headers,
        body: Bytes::from(body),
        time: TELL_TIME,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let told = fetch(&agent.means.reach, ask).await?;
    match told.status {
        200..300 => Ok(()),
        status => Err(Fault::upstream(format!("it was answered with {status}"))),
    }
}
