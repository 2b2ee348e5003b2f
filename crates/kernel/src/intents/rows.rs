//! Intents in the store. A row changes only from the revision it was read at, so of several processes one wins and the others look again.
//!
//! Beside the rows: indices of the open ones, of the settled ones by block and of all by time, and for each wallet the nonce that was last given. All that belongs to one change
//! is one commit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Engine, Intent, State, TRIES_MAX};
use crate::chain::Address;
use crate::store::{Expect, LIST_MAX, Write};
use crate::{Code, Fault, Result, UnixMs};

/// Where intents are kept in the store, by wallet and key.
pub const INTENTS: &str = "intents";
/// The open ones.
const OPEN: &str = "intents.open";
/// The settled ones, those of the newest block first.
const SETTLED: &str = "intents.settled";
/// The keys of all, by the time of their writing down.
const TIMES: &str = "intents.times";
/// The nonce that was last given, by wallet.
const NONCES: &str = "intents.nonces";

/// An intent as it was read.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) intent: Intent,
    pub(super) revision: u64,
}

/// The lowest nonce that the chain has not seen, where it has seen `used`, and no open intent holds. Made anew each time out of what is there,
/// so that no hole is ever left: not by intents that ended unsent, not by a chain that was rolled back further than intents are watched.
pub(super) fn lowest_free(used: u64, held: &BTreeSet<u64>) -> u64 {
    held.range(used..).fold(used, |free, held| if *held == free { free + 1 } else { free })
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Fault::internal(format!("intent: {error}")))
}

fn read<T: for<'de> Deserialize<'de>>(key: &str, value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| Fault::internal(format!("the entry of `{key}` is damaged: {error}")))
}

impl Engine {
    fn wallet_key(&self) -> String {
        wallet_key(self.parts.chain_id, &self.parts.realm, self.parts.wallet)
    }

    pub(super) fn row_key(&self, key: &str) -> String {
        format!("{}/{key}", self.wallet_key())
    }

    pub(super) async fn row(&self, key: &str) -> Result<Option<Row>> {
        let key = self.row_key(key);
        let entry = self.parts.store.get(INTENTS, &key).await?;
        entry.map(|entry| Ok(Row { intent: read(&key, &entry.value)?, revision: entry.revision })).transpose()
    }

    /// The keys of this wallet's open intents, at most as many as one page has.
    pub(super) async fn open_keys(&self) -> Result<Vec<String>> {
        let prefix = self.row_key("");
        let entries = self.parts.store.list(OPEN, &prefix, None, LIST_MAX).await?;
        Ok(entries.into_iter().map(|entry| entry.key[prefix.len()..].to_owned()).collect())
    }

    /// The wallet's intents, the oldest first: those written down at `since_ms` or later, or those after `cursor` (an earlier answer's), at
    /// most `limit` (≤ [`LIST_MAX`]), and the cursor for the next.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(
        &self,
        since_ms: UnixMs,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Intent>, Option<String>)> {
        let prefix = self.row_key("");
        let begin = time_key("", since_ms);
        let after = self.row_key(cursor.unwrap_or(&begin).max(&begin));
        let entries = self.parts.store.list(TIMES, &prefix, Some(&after), limit).await?;
        let mut intents = Vec::with_capacity(entries.len());
        for entry in &entries {
            intents.extend(self.row(&entry.value).await?.map(|row| row.intent));
        }
        let more = entries.len() == limit;
        let last = entries.last().filter(|_| more).map(|entry| entry.key[prefix.len()..].to_owned());
        Ok((intents, last))
    }

    /// What a commit that gives a nonce must expect, so that of two at once one gives it.
    pub(super) async fn nonce_given(&self) -> Result<Expect> {
        let given = self.parts.store.get(NONCES, &self.wallet_key()).await?;
        Ok(given.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision)))
    }

    /// Writes a new intent with its nonce and what the gate writes with it: its revision, or nothing when somebody was faster with any of them.
    pub(super) async fn create(&self, intent: &Intent, given: Option<Expect>, also: Vec<Write>) -> Result<Option<u64>> {
        let key = self.row_key(&intent.request.key);
        let mut writes = also;
        writes.push(Write::put(INTENTS, &key, json(intent)?).expecting(Expect::Absent));
        let time = self.row_key(&time_key(&intent.request.key, intent.created_ms));
        writes.push(Write::put(TIMES, &time, intent.request.key.clone()));
        if intent.is_open() {
            writes.push(Write::put(OPEN, &key, ""));
        }
        if let Some(expect) = given {
            writes.push(Write::put(NONCES, &self.wallet_key(), json(&intent.nonce)?).expecting(expect));
        }
        self.commit(writes).await
    }

    /// Where a settled intent is listed. Lists are in ascending order, and what settled last is to come first.
    fn settled_key(&self, intent: &Intent) -> Option<String> {
        let mined = intent.mined.as_ref().filter(|_| intent.state == State::Settled)?;
        Some(self.row_key(&format!("{:020}/{}", u64::MAX - mined.block_number, intent.request.key)))
    }

    /// Settled intents, those of the newest block first, after `cursor` (an earlier answer's), at most `limit`, and the cursor for the next.
    pub(super) async fn settled_last(&self, cursor: Option<&str>, limit: usize) -> Result<(Vec<Row>, Option<String>)> {
        let entries = self.parts.store.list(SETTLED, &self.row_key(""), cursor, limit).await?;
        let mut rows = Vec::with_capacity(entries.len());
        for entry in &entries {
            rows.extend(self.row(&entry.value).await?);
        }
        Ok((rows, entries.last().map(|entry| entry.key.clone())))
    }

    /// Writes a changed intent over the row it was read as.
    pub(super) async fn replace(&self, row: Row, mut intent: Intent) -> Result<Option<Row>> {
        intent.updated_ms = self.parts.clock.now_ms();
        let key = self.row_key(&intent.request.key);
        for _ in 0..TRIES_MAX {
            let mut writes = vec![Write::put(INTENTS, &key, json(&intent)?).expecting(Expect::Revision(row.revision))];
            if intent.is_open() != row.intent.is_open() {
                writes.push(if intent.is_open() { Write::put(OPEN, &key, "") } else { Write::delete(OPEN, &key) });
            }
            match (self.settled_key(&row.intent), self.settled_key(&intent)) {
                (None, Some(settled)) => writes.push(Write::put(SETTLED, &settled, intent.request.key.clone())),
                (Some(settled), None) => writes.push(Write::delete(SETTLED, &settled)),
                _ => {}
            }
            writes.extend(self.parts.gate.change(&row.intent, &intent).await?);
            if let Some(revision) = self.commit(writes).await? {
                self.tell(Some(&row.intent), &intent).await;
                return Ok(Some(Row { intent, revision }));
            }
            // Somebody changed the intent: this change is void. Or something beside it: once more.
            let now = self.parts.store.get(INTENTS, &key).await?;
            if now.is_none_or(|entry| entry.revision != row.revision) {
                return Ok(None);
            }
        }
        Err(Fault::conflict(format!("what belongs to intent `{}` is changed all the time", intent.request.key))
            .hint("try again"))
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Option<u64>> {
        match self.parts.store.commit(writes).await {
            Ok(revision) => Ok(Some(revision)),
            Err(fault) if fault.code == Code::Conflict => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Sorts as time does.
fn time_key(key: &str, at_ms: UnixMs) -> String {
    format!("{:015}.{key}", at_ms.max(0))
}

fn wallet_key(chain_id: u64, realm: &str, wallet: Address) -> String {
    format!("{chain_id}{realm}/{wallet}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_leave_no_hole() {
        for (used, held, free) in [
            (5, vec![], 5),
            (5, vec![5, 6, 8], 7),
            (5, vec![3, 4], 5),
            (9, vec![5, 6, 9], 10),
            // A chain that was rolled back: what waits behind the hole goes on once it is filled.
            (2, vec![18, 19], 2),
        ] {
            assert_eq!(lowest_free(used, &held.iter().copied().collect()), free, "{used} {held:?}");
        }
    }
}
