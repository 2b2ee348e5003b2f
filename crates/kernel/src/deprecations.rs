//! Who still uses what is on its way out: counted in memory, kept in the store.
//!
//! Doors call [`Deprecations::saw`], which costs a lock and a map entry; a duty adds what was counted to the store every few seconds and
//! once more when it stops. What a killed process had not yet added is lost: these are hints for people, not accounts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::{Expect, LIST_MAX, Store, Write};
use crate::{Clock, Code, Fault, OnEnd, Result, Tasks, UnixMs};

/// Where the counts are kept in the store.
pub const SPACE: &str = "deprecations";
/// How long a use is remembered after it was last seen, in milliseconds.
pub const KEPT_MS: i64 = 90 * 86_400_000;
/// How often counts go to the store.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Most different uses counted between two flushes; others are passed over until the next.
const PENDING_MAX: usize = 4_096;
/// Longest kept name of a caller or a surface, in bytes: together they make a key.
const NAME_BYTES_MAX: usize = 200;
/// Writes of one commit: few, so that few must be read again when somebody else was faster.
const COMMIT: usize = 32;

/// What is on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surface {
    /// The HTTP+SSE transport of 2024-11-05.
    HttpSse,
    /// `POST /execute {"command", "args"}`.
    V1Execute,
    /// A JSON-RPC batch.
    Batch,
    /// A revision of MCP before the current one.
    Revision(String),
    /// An old name of a service or a tool.
    Alias(String),
}

impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HttpSse => f.write_str("http+sse"),
            Self::V1Execute => f.write_str("v1-execute"),
            Self::Batch => f.write_str("json-rpc-batch"),
            Self::Revision(revision) => write!(f, "revision:{revision}"),
            Self::Alias(name) => write!(f, "alias:{name}"),
        }
    }
}

/// A use, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Use {
    /// What: `http+sse`, `v1-execute`, `json-rpc-batch`, `revision:…`, `alias:…`.
    pub surface: String,
    /// The name of the caller's key.
    pub caller: String,
    /// How often.
    pub count: u64,
    /// First seen, in milliseconds since the Unix epoch.
    pub first_ms: UnixMs,
    /// Last seen, in milliseconds since the Unix epoch.
    pub last_ms: UnixMs,
}

/// The counters of a process. Cloning shares them.
#[derive(Clone)]
pub struct Deprecations {
    store: Arc<dyn Store>,
    clock: Clock,
    pending: Arc<Mutex<BTreeMap<String, Use>>>,
}

impl Deprecations {
    /// Counters that go to `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, pending: Arc::default() }
    }

    /// Counts a use.
    pub fn saw(&self, caller: &str, surface: &Surface) {
        let now_ms = self.clock.now_ms();
        let name = |text: &str| text[..text.floor_char_boundary(NAME_BYTES_MAX)].replace('\0', "");
        let (surface, caller) = (name(&surface.to_string()), name(caller));
        let seen = Use { surface, caller, count: 1, first_ms: now_ms, last_ms: now_ms };
        let mut pending = self.pending.lock();
        let key = key(&seen);
        let room = pending.len() < PENDING_MAX;
        match pending.get_mut(&key) {
            Some(known) => known.add(&seen),
            None if room => {
                pending.insert(key, seen);
            }
            None => {}
        }
    }

    /// Starts the duty that keeps the store up to date.
    pub fn start(&self, tasks: &Tasks) {
        let (counters, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("deprecation counters", OnEnd::StopOwner, async move {
            let mut every = tokio::time::interval(FLUSH_EVERY);
            let mut over = false;
            while !over {
                tokio::select! {
                    _ = every.tick() => {}
                    () = stopping.cancelled() => over = true,
                }
                if let Err(fault) = counters.flush().await {
                    tracing::warn!(%fault, "uses of deprecated surfaces not stored, kept for the next try");
                }
            }
        });
    }

    /// Adds what was counted to the store.
    ///
    /// # Errors
    /// The store's. What was not stored stays counted.
    pub async fn flush(&self) -> Result<()> {
        loop {
            let batch: Vec<(String, Use)> = {
                let mut pending = self.pending.lock();
                let keys: Vec<String> = pending.keys().take(COMMIT).cloned().collect();
                keys.into_iter().filter_map(|key| pending.remove_entry(&key)).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            if let Err(fault) = self.store_batch(&batch).await {
                let mut pending = self.pending.lock();
                for (key, seen) in batch {
                    pending.entry(key).and_modify(|known| known.add(&seen)).or_insert(seen);
                }
                return Err(fault);
            }
        }
    }

    async fn store_batch(&self, batch: &[(String, Use)]) -> Result<()> {
        /// Tries while other processes count the same uses.
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let mut writes = Vec::with_capacity(batch.len());
            for (key, seen) in batch {
                let entry = self.store.get(SPACE, key).await?;
                let mut total = seen.clone();
                if let Some(Ok(known)) = entry.as_ref().map(|entry| serde_json::from_str::<Use>(&entry.value)) {
                    total.add(&known);
                }
                let value = serde_json::to_string(&total).map_err(|error| Fault::internal(error.to_string()))?;
                let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
                writes.push(Write::put(SPACE, key, value).expecting(expect).expiring_at(total.last_ms + KEPT_MS));
            }
            match self.store.commit(writes).await {
                Err(fault) if fault.code == Code::Conflict => {}
                other => return other.map(|_| ()),
            }
        }
        Err(Fault::conflict("others count the same uses all the time").hint("the next flush tries again"))
    }
}

impl Use {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

fn key(seen: &Use) -> String {
    format!("{}|{}", seen.surface, seen.caller)
}

/// All uses whose surface starts with `surface`, last seen first.
pub async fn list(store: &dyn Store, surface: &str) -> Result<Vec<Use>> {
    let mut uses = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(SPACE, surface, after.as_deref(), LIST_MAX).await?;
        let full = page.len() == LIST_MAX;
        after = page.last().map(|entry| entry.key.clone());
        for entry in page {
            match serde_json::from_str::<Use>(&entry.value) {
                Ok(seen) => uses.push(seen),
                // Another version's words; the other counts still stand.
                Err(error) => tracing::warn!(%error, key = entry.key, "stored use cannot be read"),
            }
        }
        if !full {
            break;
        }
    }
    uses.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| (&a.surface, &a.caller).cmp(&(&b.surface, &b.caller))));
    Ok(uses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::World;

    fn counters(world: &World) -> Deprecations {
        Deprecations::new(world.store.clone(), world.clock.clone())
    }

    #[tokio::test]
    async fn two_processes_count_together() {
        let world = World::default();
        let (a, b) = (counters(&world), counters(&world));
        let start_ms = world.clock.now_ms();
        for _ in 0..3 {
            a.saw("ann", &Surface::V1Execute);
        }
        a.saw("ann", &Surface::Alias("mcp-logging".into()));
        a.flush().await.unwrap();
        world.clock.advance_ms(10);
        b.saw("ann", &Surface::V1Execute);
        b.saw("bob", &Surface::Revision("2025-06-18".into()));
        b.flush().await.unwrap();
        let uses = list(&*world.store, "").await.unwrap();
        let shown: Vec<_> = uses.iter().map(|one| (one.surface.as_str(), one.caller.as_str(), one.count)).collect();
        let want = [("revision:2025-06-18", "bob", 1), ("v1-execute", "ann", 4), ("alias:mcp-logging", "ann", 1)];
        assert_eq!(shown, want);
        assert_eq!((uses[1].first_ms, uses[1].last_ms), (start_ms, start_ms + 10));
        assert_eq!(list(&*world.store, "alias:").await.unwrap().len(), 1);
        world.clock.advance_ms(KEPT_MS);
        assert_eq!(list(&*world.store, "").await.unwrap(), [], "long unseen is forgotten");
    }

    #[tokio::test]
    async fn bounds_names_and_numbers() {
        let world = World::default();
        let counters = counters(&world);
        for n in 0..PENDING_MAX + 10 {
            counters.saw(&format!("é\0{n}-{}", "x".repeat(1_000)), &Surface::Alias("y".repeat(1_000)));
        }
        counters.saw("one", &Surface::HttpSse);
        counters.flush().await.unwrap();
        counters.saw("one", &Surface::HttpSse);
        counters.flush().await.unwrap();
        assert_eq!(list(&*world.store, "http+sse").await.unwrap().len(), 1);
        assert_eq!(list(&*world.store, "alias:").await.unwrap().len(), PENDING_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn the_duty_flushes_now_and_then_and_at_the_end() {
        let world = World::default();
        let counters = counters(&world);
        counters.start(&world.tasks);
        tokio::time::sleep(Duration::from_secs(1)).await;
        counters.saw("ann", &Surface::Batch);
        tokio::time::sleep(FLUSH_EVERY).await;
        assert_eq!(list(&*world.store, "").await.unwrap()[0].count, 1);
        counters.saw("ann", &Surface::Batch);
        assert_eq!(world.tasks.drain(Duration::from_secs(1)).await, 0);
        assert_eq!(list(&*world.store, "").await.unwrap()[0].count, 2);
    }
}
