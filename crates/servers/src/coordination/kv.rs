//! Shared keys and values, with compare-and-set and a way to wait for changes.

use kernel::UnixMs;
use kernel::store::{Change, Entry, Expect, Write};
use mcp::prelude::*;
use serde_json::Value;
use tokio::time::Instant;

use super::{ANSWER_BYTES_MAX, Coordination, names, wait_until};

/// Where keys and values are kept in the store.
pub(super) const SPACE: &str = "kv";
/// Largest value, in bytes of JSON.
const VALUE_MAX: usize = 256 << 10;
/// Most entries or changes of one answer.
const PAGE_MAX: usize = 200;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// The value; left out when only keys were asked for.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub value: Option<Value>,
    /// The revision it was written at: for `if_revision`, and larger than that of everything written before.
    pub revision: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub updated_ms: UnixMs,
    /// When it ends by itself, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_ms: Option<UnixMs>,
}

/// Tells a value that is null from one that is left out.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What [`KV_PUT`](super::KV_PUT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvPutRequest {
    /// The key: 1 to 200 characters of `A-Z a-z 0-9 . _ : / -`.
    pub key: String,
    /// The value, at most 256 KiB of JSON. Every caller can read it: no secrets.
    pub value: Value,
    /// Only if the key was last written at this revision; 0 only if there is no such key.
    #[serde(default)]
    pub if_revision: Option<u64>,
    /// When it ends by itself, in seconds from now, at most a year.
    #[serde(default)]
    #[schemars(range(min = 1, max = 31536000))]
    pub ttl_seconds: Option<u64>,
}

/// What [`KV_PUT`](super::KV_PUT) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvPutResponse {
    /// The key.
    pub key: String,
    /// The revision it was written at.
    pub revision: u64,
}

/// What [`KV_GET`](super::KV_GET) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvGetRequest {
    /// The key.
    pub key: String,
}

/// What [`KV_GET`](super::KV_GET) answers.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KvGetResponse {
    /// The entry; null when there is none.
    pub entry: Option<KvEntry>,
}

/// What [`KV_LIST`](super::KV_LIST) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvListRequest {
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Only keys after this one: the last answer's `next`.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many, 1 to 200.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
    /// Whether to give the values too.
    #[serde(default = "yes")]
    pub values: bool,
}

fn hundred() -> usize {
    100
}

fn yes() -> bool {
    true
}

/// What [`KV_LIST`](super::KV_LIST) answers.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KvListResponse {
    /// The entries, by key. Fewer than the limit when they are large.
    pub entries: Vec<KvEntry>,
    /// The cursor to go on with, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// What [`KV_DELETE`](super::KV_DELETE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvDeleteRequest {
    /// The key.
    pub key: String,
    /// Only if the key was last written at this revision.
    #[serde(default)]
    pub if_revision: Option<u64>,
}

/// What [`KV_DELETE`](super::KV_DELETE) answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvDeleteResponse {
    /// The key.
    pub key: String,
    /// Whether there was one.
    pub deleted: bool,
}

/// What [`KV_WATCH`](super::KV_WATCH) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvWatchRequest {
    /// Keys that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Changes after this revision: the last answer's `revision`. 0 begins with everything there is.
    #[serde(default)]
    pub after_revision: u64,
    /// How long to wait for a change if there is none yet, at most 300 seconds.
    #[serde(default)]
    #[schemars(range(max = 300))]
    pub wait_seconds: u64,
}

/// What [`KV_WATCH`](super::KV_WATCH) answers.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KvWatchResponse {
    /// The newest change of each key, oldest first. Deletions are forgotten after an hour.
    pub changes: Vec<KvChange>,
    /// The revision to go on with.
    pub revision: u64,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KvChange {
    /// The key.
    pub key: String,
    /// Whether it was deleted, or ended by itself.
    pub deleted: bool,
    /// The value now; left out when it was deleted.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub value: Option<Value>,
    /// The revision of the change.
    pub revision: u64,
}

impl Coordination {
    pub(super) async fn kv_put(self: Arc<Self>, request: KvPutRequest, _ctx: Ctx) -> Result<KvPutResponse, ToolError> {
        let KvPutRequest { key, value, if_revision, ttl_seconds } = request;
        names::check_own("key", &key)?;
        let text = value.to_string();
        if text.len() > VALUE_MAX {
            return Err(Fault::too_large(format!("value has {} bytes", text.len()))
                .hint(format!("at most {VALUE_MAX}"))
                .into());
        }
        let mut write = Write::put(SPACE, &key, text).expecting(match if_revision {
            None => Expect::Any,
            Some(0) => Expect::Absent,
            Some(revision) => Expect::Revision(revision),
        });
        if let Some(seconds) = ttl_seconds {
            if !(1..=31_536_000).contains(&seconds) {
                return Err(Fault::invalid(format!("ttl_seconds is {seconds}")).hint("1 to 31,536,000").into());
            }
            write = write.expiring_at(self.clock.now_ms() + seconds as i64 * 1_000);
        }
        let revision = self.store.commit(vec![write]).await.map_err(|fault| lost(fault, &key))?;
        Ok(KvPutResponse { key, revision })
    }

    pub(super) async fn kv_get(self: Arc<Self>, request: KvGetRequest, _ctx: Ctx) -> Result<KvGetResponse, ToolError> {
        names::check("key", &request.key)?;
        let entry = self.store.get(SPACE, &request.key).await?;
        Ok(KvGetResponse { entry: entry.map(|entry| shaped(entry, true)).transpose()? })
    }

    pub(super) async fn kv_list(
        self: Arc<Self>,
        request: KvListRequest,
        _ctx: Ctx,
    ) -> Result<KvListResponse, ToolError> {
        let KvListRequest { prefix, cursor, limit, values } = request;
        names::check_prefix("key", &prefix)?;
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {PAGE_MAX}")).into());
        }
        let found = self.store.list(SPACE, &prefix, cursor.as_deref(), limit).await?;
        let mut more = found.len() == limit;
        let mut entries: Vec<KvEntry> = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for entry in found {
            bytes += if values { entry.value.len() } else { 0 };
            if bytes > ANSWER_BYTES_MAX {
                more = true;
                break;
            }
            entries.push(shaped(entry, values)?);
        }
        let next = entries.last().filter(|_| more).map(|entry| entry.key.clone());
        Ok(KvListResponse { entries, next })
    }

    pub(super) async fn kv_delete(
        self: Arc<Self>,
        request: KvDeleteRequest,
        _ctx: Ctx,
    ) -> Result<KvDeleteResponse, ToolError> {
        let KvDeleteRequest { key, if_revision } = request;
        names::check_own("key", &key)?;
        loop {
            let Some(entry) = self.store.get(SPACE, &key).await? else {
                return match if_revision {
                    None => Ok(KvDeleteResponse { key, deleted: false }),
                    Some(revision) => {
                        let text = format!("there is no key `{key}` at revision {revision}");
                        Err(Fault::conflict(text).hint("it was deleted, or ended by itself").into())
                    }
                };
            };
            let expected = if_revision.unwrap_or(entry.revision);
            let write = Write::delete(SPACE, &key).expecting(Expect::Revision(expected));
            match self.store.commit(vec![write]).await {
                Ok(_) => return Ok(KvDeleteResponse { key, deleted: true }),
                // Changed in between, which is nothing to one who deletes whatever is there.
                Err(fault) if fault.code == Code::Conflict && if_revision.is_none() => {}
                Err(fault) => return Err(lost(fault, &key).into()),
            }
        }
    }

    pub(super) async fn kv_watch(
        self: Arc<Self>,
        request: KvWatchRequest,
        _ctx: Ctx,
    ) -> Result<KvWatchResponse, ToolError> {
        let KvWatchRequest { prefix, after_revision, wait_seconds } = request;
        names::check_prefix("key", &prefix)?;
        let until = wait_until(wait_seconds)?;
        loop {
            // Asked for before reading, so that no change in between is missed.
            let changed = self.store.changed(&[SPACE]);
            let changes = self.store.changes(SPACE, &prefix, after_revision, PAGE_MAX).await?;
            if !changes.is_empty() || Instant::now() >= until {
                return Ok(watched(changes, after_revision)?);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// The changes that fit one answer. Those of one commit stay together: a cursor between them would lose some.
fn watched(changes: Vec<Change>, after_revision: u64) -> Result<KvWatchResponse, Fault> {
    let mut revision = after_revision;
    let mut answer: Vec<KvChange> = Vec::with_capacity(changes.len());
    let mut bytes = 0;
    for Change { key, value, revision: at } in changes {
        bytes += value.as_ref().map_or(0, String::len);
        if bytes > ANSWER_BYTES_MAX && at > revision && !answer.is_empty() {
            break;
        }
        revision = at;
        let value = value.map(|text| parsed(&key, &text)).transpose()?;
        answer.push(KvChange { deleted: value.is_none(), key, value, revision: at });
    }
    Ok(KvWatchResponse { changes: answer, revision })
}

fn parsed(key: &str, text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::internal(format!("the value of key `{key}` is damaged: {error}")))
}

fn shaped(entry: Entry, with_value: bool) -> Result<KvEntry, Fault> {
    let value = with_value.then(|| parsed(&entry.key, &entry.value)).transpose()?;
    let Entry { key, revision, updated_ms, expires_ms, .. } = entry;
    Ok(KvEntry { key, value, revision, updated_ms, expires_ms })
}

/// A lost compare-and-set in this server's words; the data says the revision now.
fn lost(fault: Fault, key: &str) -> Fault {
    if fault.code != Code::Conflict {
        return fault;
    }
    let now = fault.data.as_ref().and_then(|data| data["revision"].as_u64());
    let text = match now {
        Some(revision) => format!("key `{key}` is at revision {revision} now"),
        None => format!("there is no key `{key}` now"),
    };
    Fault::conflict(text)
        .hint("read it again, decide again, and retry with its revision")
        .data(serde_json::json!({ "key": key, "revision": now }))
}
