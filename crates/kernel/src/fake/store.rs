//! The store made of memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::signal::{Nudge, Signal};
use crate::store::{self, Change, DELETION_KEPT_MS, Entries, Entry, Expect, Store, Write};
use crate::{Clock, Result, UnixMs};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore {
    clock: Clock,
    state: Mutex<State>,
    changed: Signal,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    spaces: BTreeMap<String, BTreeMap<String, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    /// `None` remembers a deletion.
    value: Option<String>,
    revision: u64,
    updated_ms: UnixMs,
    expires_ms: Option<UnixMs>,
}

impl Held {
    fn lives(&self, now_ms: UnixMs) -> bool {
        self.value.is_some() && self.expires_ms.is_none_or(|end| now_ms < end)
    }

    fn entry(&self, key: &str, now_ms: UnixMs) -> Option<Entry> {
        let value = self.value.clone().filter(|_| self.lives(now_ms))?;
        let Self { revision, updated_ms, expires_ms, .. } = *self;
        Some(Entry { key: key.into(), value, revision, updated_ms, expires_ms })
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Turns what has expired into deletions, each batch at its own revision. Returns the revision now.
    fn sweep(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        let State { revision, spaces } = &mut *state;
        let expired = spaces
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .filter(|held| held.value.is_some() && !held.lives(now_ms));
        for (index, held) in expired.enumerate() {
            if index % store::COMMIT_MAX == 0 {
                *revision += 1;
            }
            *held = Held { value: None, revision: *revision, updated_ms: now_ms, expires_ms: None };
        }
        *revision
    }
}

impl State {
    fn check(&self, write: &Write, now_ms: UnixMs) -> Result<()> {
        let held = self.spaces.get(&write.space).and_then(|space| space.get(&write.key));
        let revision = held.filter(|held| held.lives(now_ms)).map(|held| held.revision);
        match write.expect {
            Expect::Any => Ok(()),
            Expect::Absent if revision.is_none() => Ok(()),
            Expect::Revision(wanted) if revision == Some(wanted) => Ok(()),
            _ => Err(store::conflict(write, revision)),
        }
    }

    fn write(&mut self, write: Write, now_ms: UnixMs) {
        let revision = self.revision;
        let space = self.spaces.entry(write.space).or_default();
        let deleted = write.value.is_none();
        if deleted && space.get(&write.key).is_none_or(|held| held.value.is_none()) {
            return;
        }
        let expires_ms = write.expires_ms.filter(|_| !deleted);
        space.insert(write.key, Held { value: write.value, revision, updated_ms: now_ms, expires_ms });
    }

    fn forget_deletions(&mut self, before_ms: UnixMs) {
        for space in self.spaces.values_mut() {
            space.retain(|_, held| held.value.is_some() || held.updated_ms >= before_ms);
        }
    }
}

#[async_trait]
impl Entries for MemoryStore {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>> {
        let now_ms = self.clock.now_ms();
        let state = self.state.lock();
        Ok(state.spaces.get(space).and_then(|space| space.get(key)).and_then(|held| held.entry(key, now_ms)))
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        store::check_limit(limit)?;
        let now_ms = self.clock.now_ms();
        let state = self.state.lock();
        let Some(space) = state.spaces.get(space) else { return Ok(Vec::new()) };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let keys = space.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        Ok(keys.filter_map(|(key, held)| held.entry(key, now_ms)).take(limit).collect())
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        store::check_writes(&writes)?;
        let now_ms = self.clock.now_ms();
        let spaces: BTreeSet<String> = writes.iter().map(|write| write.space.clone()).collect();
        let revision = {
            let mut state = self.state.lock();
            writes.iter().try_for_each(|write| state.check(write, now_ms))?;
            state.revision += 1;
            writes.into_iter().for_each(|write| state.write(write, now_ms));
            state.forget_deletions(now_ms - DELETION_KEPT_MS);
            state.revision
        };
        self.changed.raise_for(revision, spaces.iter().map(String::as_str));
        Ok(revision)
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.changed.wait_for(spaces, || async { Ok(self.sweep()) })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        store::check_limit(limit)?;
        let swept = self.sweep();
        self.changed.raise(swept);
        let state = self.state.lock();
        let Some(space) = state.spaces.get(space) else { return Ok(Vec::new()) };
        let mut changes: Vec<Change> = space
            .iter()
            .filter(|(key, held)| key.starts_with(prefix) && held.revision > revision)
            .map(|(key, held)| Change { key: key.clone(), value: held.value.clone(), revision: held.revision })
            .collect();
        changes.sort_by(|a, b| (a.revision, &a.key).cmp(&(b.revision, &b.key)));
        let end = limit.checked_sub(1).and_then(|last| changes.get(last)).map(|change| change.revision);
        if let Some(end) = end {
            changes.retain(|change| change.revision <= end);
        } else if limit == 0 {
            changes.clear();
        }
        Ok(changes)
    }
}
