//! What each sink is told, and when. Nothing that happened is lost to a sink that is away, and nothing is told twice that it has taken.
//!
//! What a sink was told is kept with it: which alerts that are not over, how they stood, and up to where those that are over need not
//! be looked at. What is due is the difference between that and how things are, so a sink that comes back hears of all that
//! happened meanwhile, in one message. It is written down when the sink has taken a message; who dies in between tells it
//! again, under the same idempotency key.

mod due;
mod message;
mod send;
mod tools;

use std::collections::BTreeMap;

use kernel::store::{Entry, Expect, LIST_MAX, Store, Write};
use kernel::{Code, Fault, UnixMs};
use serde::{Deserialize, Serialize};

use super::alerts::State;

pub use tools::{DeliverAlertsRequest, DeliverAlertsResponse, Delivery, ListSinksRequest, ListSinksResponse, SinkRow};

/// Where is kept in the store what each sink was told, by its name.
const SPACE: &str = "alert_sinks";

/// What a sink was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    /// The alerts that are not over, by id, and how they stood.
    alerts: BTreeMap<String, State>,
    /// Those that were over up to this revision of the store need not be told any more. `None` for a sink that is new.
    over_revision: Option<u64>,
    /// When it last took a message, in milliseconds since the Unix epoch.
    told_ms: Option<UnixMs>,
    /// How many it took.
    messages: u64,
    /// How often in a row it took none.
    failures: u32,
    /// Not before this is it told again.
    next_ms: UnixMs,
    /// Why it took none.
    error: Option<String>,
}

/// What is kept of a sink, and at which revision.
async fn load(store: &dyn Store, sink: &str) -> Result<(Option<u64>, Told), Fault> {
    let Some(Entry { value, revision, .. }) = store.get(SPACE, sink).await? else {
        return Ok((None, Told::default()));
    };
    let told = serde_json::from_str(&value)
        .map_err(|error| Fault::internal(format!("what sink `{sink}` was told is damaged: {error}")))?;
    Ok((Some(revision), told))
}

/// Keeps what a sink was told; `None` when somebody else did meanwhile.
async fn keep(store: &dyn Store, sink: &str, revision: Option<u64>, told: &Told) -> Result<Option<u64>, Fault> {
    let value = serde_json::to_string(told).map_err(|error| Fault::internal(format!("told: {error}")))?;
    let expect = revision.map_or(Expect::Absent, Expect::Revision);
    match store.commit(vec![Write::put(SPACE, sink, value).expecting(expect)]).await {
        Ok(revision) => Ok(Some(revision)),
        Err(fault) if fault.code == Code::Conflict => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Forgets sinks that are configured no more.
async fn forget_others(store: &dyn Store, names: &[&str]) -> Result<(), Fault> {
    let kept = store.list(SPACE, "", None, LIST_MAX).await?;
    let gone = kept.iter().filter(|entry| !names.contains(&entry.key.as_str()));
    let writes: Vec<Write> = gone.map(|entry| Write::delete(SPACE, &entry.key)).collect();
    if writes.is_empty() { Ok(()) } else { store.commit(writes).await.map(|_| ()) }
}
