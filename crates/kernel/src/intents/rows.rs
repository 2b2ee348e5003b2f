//! Intents in the store. A row changes only from the revision it was read at, so of several processes one wins and the others look again.
//!
//! Beside the rows: an index of the open ones, and for each wallet which nonces are free. All that belongs to one change is one commit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Engine, Intent, State, TRIES_MAX};
use crate::chain::Address;
use crate::store::{Expect, LIST_MAX, Write};
use crate::{Code, Fault, Result};

/// Where intents are kept in the store, by wallet and key.
pub const INTENTS: &str = "intents";
/// The open ones.
const OPEN: &str = "intents.open";
/// Each wallet's nonces.
const NONCES: &str = "intents.nonces";

/// An intent as it was read.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) intent: Intent,
    pub(super) revision: u64,
}

/// A wallet's nonces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Nonces {
    /// The next that was never given.
    pub(super) next: u64,
    /// Those given back, below `next`.
    pub(super) free: BTreeSet<u64>,
}

impl Nonces {
    /// Takes the lowest that is free, where `used` is how many the chain has seen.
    pub(super) fn take(&mut self, used: u64) -> u64 {
        self.free = self.free.split_off(&used);
        if let Some(nonce) = self.free.pop_first() {
            return nonce;
        }
        let nonce = self.next.max(used);
        self.next = nonce + 1;
        nonce
    }

    fn give_back(&mut self, nonce: u64) {
        if nonce < self.next {
            self.free.insert(nonce);
        }
        // What is free at the end was never given.
        while self.next > 0 && self.free.remove(&(self.next - 1)) {
            self.next -= 1;
        }
    }
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Fault::internal(format!("intent: {error}")))
}

fn read<T: for<'de> Deserialize<'de>>(key: &str, value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| Fault::internal(format!("the entry of `{key}` is damaged: {error}")))
}

impl Engine {
    fn wallet_key(&self) -> String {
        wallet_key(self.parts.chain_id, self.parts.wallet)
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

    /// The wallet's intents whose key starts with `prefix` and is after `after`, by key, at most `limit` (≤ [`LIST_MAX`]).
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Intent>> {
        let after = after.map(|after| self.row_key(after));
        let entries = self.parts.store.list(INTENTS, &self.row_key(prefix), after.as_deref(), limit).await?;
        entries.into_iter().map(|entry| read(&entry.key, &entry.value)).collect()
    }

    pub(super) async fn nonces(&self) -> Result<(Nonces, Expect)> {
        let key = self.wallet_key();
        Ok(match self.parts.store.get(NONCES, &key).await? {
            Some(entry) => (read(&key, &entry.value)?, Expect::Revision(entry.revision)),
            None => (Nonces::default(), Expect::Absent),
        })
    }

    /// Writes a new intent with its nonce and what the gate writes with it; `false` when somebody was faster with any of them.
    pub(super) async fn create(
        &self,
        intent: &Intent,
        nonces: Option<(Nonces, Expect)>,
        also: Vec<Write>,
    ) -> Result<bool> {
        let key = self.row_key(&intent.request.key);
        let mut writes = also;
        writes.push(Write::put(INTENTS, &key, json(intent)?).expecting(Expect::Absent));
        if intent.is_open() {
            writes.push(Write::put(OPEN, &key, ""));
        }
        if let Some((nonces, expect)) = nonces {
            writes.push(Write::put(NONCES, &self.wallet_key(), json(&nonces)?).expecting(expect));
        }
        self.commit(writes).await.map(|revision| revision.is_some())
    }

    /// Writes a changed intent over the row it was read as. The nonce is given back when the intent does not need it any more.
    pub(super) async fn replace(&self, row: Row, mut intent: Intent) -> Result<Option<Row>> {
        intent.updated_ms = self.parts.clock.now_ms();
        let key = self.row_key(&intent.request.key);
        let ends = row.intent.is_open() && !intent.is_open();
        let unused =
            matches!(intent.state, State::Refused | State::Cancelled | State::Dropped) && intent.mined.is_none();
        let gives_back = row.intent.holds_nonce() && !intent.holds_nonce() && unused;
        for _ in 0..TRIES_MAX {
            let mut writes = vec![Write::put(INTENTS, &key, json(&intent)?).expecting(Expect::Revision(row.revision))];
            if !intent.is_open() {
                writes.push(Write::delete(OPEN, &key));
            }
            if ends {
                writes.extend(self.parts.gate.close(&intent).await?);
            }
            if let Some(nonce) = intent.nonce.filter(|_| gives_back) {
                let (mut nonces, expect) = self.nonces().await?;
                nonces.give_back(nonce);
                writes.push(Write::put(NONCES, &self.wallet_key(), json(&nonces)?).expecting(expect));
            }
            if let Some(revision) = self.commit(writes).await? {
                self.tell(&row.intent, &intent).await;
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

fn wallet_key(chain_id: u64, wallet: Address) -> String {
    format!("{chain_id}/{wallet}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_leave_no_hole() {
        let mut nonces = Nonces::default();
        assert_eq!([nonces.take(5), nonces.take(5), nonces.take(5), nonces.take(5)], [5, 6, 7, 8]);
        nonces.give_back(6);
        assert_eq!([nonces.take(5), nonces.take(5)], [6, 9]);
        nonces.give_back(9);
        nonces.give_back(7);
        nonces.give_back(8);
        assert_eq!(nonces, Nonces { next: 7, free: BTreeSet::new() });
        nonces.take(5);
        nonces.take(5);
        nonces.give_back(7);
        assert_eq!(nonces.take(8), 9, "the chain has seen 7 by now");
        assert_eq!(nonces.take(40), 40, "somebody else uses the wallet");
    }
}
