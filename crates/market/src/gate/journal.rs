//! The journal, and the balances that it adds up to: written in the commit that books a trade or takes it back.

use kernel::store::{LIST_MAX, Write};
use kernel::{Fault, Result};
use serde::de::DeserializeOwned;

use super::{Desk, Gate, Mode, Outcome, SETTLED_KEPT_MS, Trade, parse, place};
use crate::ledger::{Entry, Postings, Unit};

/// What a new entry is: the writes that make it, and its key; none where nothing moved.
#[derive(Default)]
pub(super) struct Entered {
    pub(super) key: Option<String>,
    pub(super) writes: Vec<Write>,
}

impl Gate {
    /// Enters what a trade moved, on the desk as it was read, which counts entries.
    pub(super) async fn enter(&self, desk: &mut Desk, trade: &Trade) -> Result<Entered> {
        let (transaction, block) = match &trade.outcome {
            Outcome::Filled(fill) | Outcome::Failed(fill) => (fill.transaction, fill.block),
            Outcome::Released { .. } => return Ok(Entered::default()),
        };
        let entry = Entry {
            number: 0,
            at_ms: self.clock.now_ms(),
            trade: trade.id.clone(),
            strategy: trade.strategy.clone(),
            pair: trade.pair.clone(),
            transaction,
            block,
            reverses: None,
            postings: Postings::of_trade(trade)?,
        };
        self.append(desk, trade.mode, entry).await
    }

    /// Reverses the entry under `key`.
    pub(super) async fn reverse(&self, desk: &mut Desk, mode: Mode, key: &str) -> Result<Entered> {
        let Some(entry) = self.value::<Entry>(&place(&desk.realm, key)).await? else {
            return Err(Fault::internal(format!("`{key}` of the risk gate is named and not there")));
        };
        let (reverses, postings) = (Some(entry.number), entry.postings.reversed());
        self.append(desk, mode, Entry { at_ms: self.clock.now_ms(), reverses, postings, ..entry }).await
    }

    async fn append(&self, desk: &mut Desk, mode: Mode, mut entry: Entry) -> Result<Entered> {
        if entry.postings.is_empty() {
            return Ok(Entered::default());
        }
        let entries = &mut desk.book_mut(mode).entries;
        *entries += 1;
        entry.number = *entries;
        let key = format!("{}/{:012}", Self::journal_since(mode, entry.at_ms), entry.number);
        let mut writes = vec![self.put(&place(&desk.realm, &key), &entry)?.expiring_at(entry.at_ms + SETTLED_KEPT_MS)];
        for (unit, moved) in entry.postings.by_unit() {
            let row = place(&desk.realm, &balance_key(mode, unit));
            let mut balance: Postings = self.value(&row).await?.unwrap_or_default();
            balance.add(&moved);
            writes.push(self.put(&row, &balance)?);
        }
        Ok(Entered { key: Some(key), writes })
    }

    /// What has moved in all: the sum of every entry that ever was, also of those that are no longer kept.
    ///
    /// # Errors
    /// [`Code::TooLarge`](kernel::Code::TooLarge) when more units moved than one list has.
    pub async fn balances(&self, mode: Mode) -> Result<Postings> {
        let prefix = place(&self.realm().await?, &format!("ledger/{}/", mode.as_str()));
        let rows = self.store.list(self.space, &prefix, None, LIST_MAX).await?;
        if rows.len() == LIST_MAX {
            return Err(Fault::too_large(format!("balances of {LIST_MAX} units or more")));
        }
        let mut all = Postings::default();
        for row in rows {
            all.add(&parse(&row.key, &row.value)?);
        }
        Ok(all)
    }

    /// Entries of a mode's journal, the oldest first, after `after` (a key), at most `limit`, each with its key. They are kept as long as
    /// trades are.
    pub async fn journal(&self, mode: Mode, after: Option<&str>, limit: usize) -> Result<Vec<(String, Entry)>> {
        self.page(&prefix(mode), after, limit).await
    }

    /// Values of the books' realm under `prefix`, with their keys in it.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, T)>> {
        let realm = self.realm().await?;
        let after = after.map(|after| place(&realm, after));
        let entries = self.store.list(self.space, &place(&realm, prefix), after.as_deref(), limit).await?;
        let outside = place(&realm, "").len();
        entries
            .into_iter()
            .map(|entry| Ok((entry.key[outside..].to_owned(), parse(&entry.key, &entry.value)?)))
            .collect()
    }

    /// The key before every entry that was written at `at_ms` or later.
    pub fn journal_since(mode: Mode, at_ms: i64) -> String {
        format!("{}{:015}", prefix(mode), at_ms.max(0))
    }
}

fn prefix(mode: Mode) -> String {
    format!("journal/{}/", mode.as_str())
}

/// One row for each unit, so that each row sums to nothing by itself.
fn balance_key(mode: Mode, unit: Unit) -> String {
    format!("ledger/{}/{unit}", mode.as_str())
}
