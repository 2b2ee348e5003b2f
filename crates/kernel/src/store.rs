//! Port: small durable values by key, with compare-and-set and a store-wide revision.
//!
//! Locks, elections, the registry, keys, rules and pins are all made of this one port.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Result, UnixMs};

/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Most entries one list or change answer has.
pub const LIST_MAX: usize = 1_000;
/// Most writes one commit has.
pub const COMMIT_MAX: usize = 128;

/// A value and its history's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key inside its space.
    pub key: String,
    /// The value: text, mostly JSON.
    pub value: String,
    /// The store's revision when it was written: grows with every commit anywhere in the store, so it is a fencing token.
    pub revision: u64,
    /// When it was written.
    pub updated_ms: UnixMs,
    /// When it stops existing by itself.
    pub expires_ms: Option<UnixMs>,
}

/// What must be true of a key for a write to it to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// It has no entry, or one that has expired.
    Absent,
    /// Its entry was written at this revision and has not expired.
    Revision(u64),
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The space (a table's name, in effect): `locks`, `kv`, `keys`, …
    pub space: String,
    /// The key.
    pub key: String,
    /// The new value; `None` deletes.
    pub value: Option<String>,
    /// What must be true first.
    pub expect: Expect,
    /// When the entry stops existing by itself.
    pub expires_ms: Option<UnixMs>,
}

impl Write {
    /// Writes `value` whatever was there.
    pub fn put(space: &str, key: &str, value: impl Into<String>) -> Self {
        Self { space: space.into(), key: key.into(), value: Some(value.into()), expect: Expect::Any, expires_ms: None }
    }

    /// Deletes whatever was there.
    pub fn delete(space: &str, key: &str) -> Self {
        Self { space: space.into(), key: key.into(), value: None, expect: Expect::Any, expires_ms: None }
    }

    /// Adds a precondition.
    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// Adds an end of life.
    #[must_use]
    pub fn expiring_at(mut self, expires_ms: UnixMs) -> Self {
        self.expires_ms = Some(expires_ms);
        self
    }
}

/// A change to a space: a write, or (with no entry) a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which key.
    pub key: String,
    /// What it holds now; `None` after a deletion or an expiry.
    pub value: Option<String>,
    /// The revision of the change.
    pub revision: u64,
}

/// The port.
#[async_trait]
pub trait Store: Send + Sync {
    /// The entry of `key`, unless it is absent or expired.
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>>;

    /// The unexpired entries whose key starts with `prefix` and is after `after`, in key order, at most `limit` (≤ [`LIST_MAX`]).
    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;

    /// Does all `writes` at one new revision, or none of them.
    ///
    /// # Errors
    /// [`Code::Conflict`](crate::Code::Conflict) when an expectation does not hold; its data says which key and its revision now.
    /// [`Code::TooLarge`](crate::Code::TooLarge) past the limits above.
    async fn commit(&self, writes: Vec<Write>) -> Result<u64>;

    /// Changes under `prefix` after `revision`, oldest first, at most `limit`: the newest change of each key, deletions included.
    /// Deletions are forgotten after an hour.
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>>;

    /// Resolves when something may have changed since the call: a nudge to read again, from this process at once, from others
    /// within a second. May resolve early.
    async fn changed(&self);
}
