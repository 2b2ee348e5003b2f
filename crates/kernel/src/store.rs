//! Port: small durable values by key, with compare-and-set and a store-wide revision.
//!
//! Locks, elections, the registry, keys, rules and pins are all made of this one port; the first three need only [`Entries`] of it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::signal::Nudge;
use crate::{Fault, Result, UnixMs};

/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest name of a space, in bytes.
pub const SPACE_BYTES_MAX: usize = 64;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Most entries one list or change answer has.
pub const LIST_MAX: usize = 1_000;
/// Most writes one commit has.
pub const COMMIT_MAX: usize = 128;
/// How long a deletion is remembered, in milliseconds.
pub const DELETION_KEPT_MS: i64 = 3_600_000;

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

/// The part of the port that registry, locks and elections are made of.
#[async_trait]
pub trait Entries: Send + Sync {
    /// The entry of `key`, unless it is absent or expired.
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>>;

    /// The unexpired entries whose key starts with `prefix` and is after `after`, in key order, at most `limit` (≤ [`LIST_MAX`]).
    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;

    /// Does all `writes` at one new revision, or none of them. Each names another key.
    ///
    /// # Errors
    /// [`Code::Conflict`](crate::Code::Conflict) when an expectation does not hold; its data says which key and its revision now:
    /// `{"space", "key", "revision"}`, where the revision is null when there is no such entry.
    /// [`Code::TooLarge`](crate::Code::TooLarge) past the limits above.
    async fn commit(&self, writes: Vec<Write>) -> Result<u64>;

    /// Resolves when something in one of `spaces` may have changed since the call (not since the first poll): a nudge to read again, from
    /// this process at once, from others within a second. May resolve early; without spaces it does not.
    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a>;
}

/// The port.
#[async_trait]
pub trait Store: Entries {
    /// Changes under `prefix` after `revision`, oldest first: the newest change of each key, deletions and expiries included, at
    /// most `limit` (≤ [`LIST_MAX`]), except that a commit is never cut in two. Deletions are forgotten after an hour.
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>>;
}

/// Refuses writes past the limits, and those that no backend could keep.
pub fn check_writes(writes: &[Write]) -> Result<()> {
    if writes.is_empty() {
        return Err(Fault::invalid("a commit without writes").hint("give at least one write"));
    }
    check_size("the number of writes in a commit", writes.len(), COMMIT_MAX)?;
    let mut seen = std::collections::HashSet::with_capacity(writes.len());
    for write in writes {
        check_text("the name of a space", &write.space, SPACE_BYTES_MAX)?;
        check_text("a key", &write.key, KEY_BYTES_MAX)?;
        if write.space.is_empty() || write.key.is_empty() {
            return Err(Fault::invalid("an empty space or key").hint("name both"));
        }
        if let Some(value) = &write.value {
            check_text("a value", value, VALUE_BYTES_MAX)?;
        }
        if !seen.insert((&write.space, &write.key)) {
            let what = format!("key `{}` of `{}` is written twice in one commit", write.key, write.space);
            return Err(Fault::invalid(what).hint("write each key once"));
        }
    }
    Ok(())
}

/// Refuses a page larger than [`LIST_MAX`].
pub fn check_limit(limit: usize) -> Result<()> {
    check_size("a page's limit", limit, LIST_MAX)
}

/// Refuses a `size` of `what` past `max`.
pub(crate) fn check_size(what: &str, size: usize, max: usize) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    Err(Fault::too_large(format!("{what} is {size}, past {max}")).hint(format!("at most {max}")))
}

fn check_text(what: &str, text: &str, max: usize) -> Result<()> {
    check_size(&format!("{what}, in bytes,"), text.len(), max)?;
    // PostgreSQL's text cannot hold it; refusing it everywhere keeps the backends interchangeable.
    if text.contains('\0') {
        return Err(Fault::invalid(format!("{what} holds a NUL character")).hint("text without U+0000"));
    }
    Ok(())
}

/// The fault of a lost compare-and-set: `revision` is the entry's now, if there is one.
pub fn conflict(write: &Write, revision: Option<u64>) -> Fault {
    let Write { space, key, expect, .. } = write;
    let (wanted, hint) = match expect {
        Expect::Absent => ("exists already".to_owned(), "read it, or expect its revision"),
        Expect::Revision(wanted) => (format!("is not at revision {wanted}"), "read it again and retry"),
        // Nothing was expected, so nothing can be in conflict; said plainly should a backend ever claim it.
        Expect::Any => ("cannot be written".to_owned(), "retry"),
    };
    Fault::conflict(format!("key `{key}` of `{space}` {wanted}"))
        .hint(hint)
        .data(json!({"space": space, "key": key, "revision": revision}))
}

/// The smallest text greater than every text that starts with `prefix`, by code points (which is UTF-8's byte order): `None` when
/// there is no bound.
pub fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = next_char(last) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

fn next_char(c: char) -> Option<char> {
    // Between U+D7FF and U+E000 lie the surrogates, which are not characters.
    if c == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(c) + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_after_everything_that_starts_with_it() {
        for (prefix, end) in [
            ("a", Some("b")),
            ("a%", Some("a&")),
            ("é", Some("ê")),
            ("a\u{10ffff}", Some("b")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(prefix_end(prefix).as_deref(), end, "{prefix}");
        }
    }
}
