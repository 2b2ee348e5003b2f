//! Small values that end by themselves on etcd (3.4 or later): the registry, locks and elections of a fleet whose processes share it.
//!
//! Invariants:
//! - A commit is one transaction of etcd's, and its revision is etcd's: so a lock's token grows with every holding, whoever holds it.
//! - An entry ends by the clock, as in every other store, so no holder is believed for longer than it said; etcd's lease clears it away later,
//!   also when nobody of the fleet lives. Leases are shared by what ends at about the same time, so renewals do not pile leases up.
//! - Waiters are woken by a watch; while there is none, they look for themselves.
//! - All keys begin with the fleet's own name, so fleets may share a cluster.

mod follow;
mod http;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::metrics::Metrics;
use kernel::reach::Reach;
use kernel::signal::{Nudge, Signal};
use kernel::store::{self, Entries, Entry, Expect, LIST_MAX, Write};
use kernel::{Clock, Code, Fault, OnEnd, Result, Tasks, UnixMs};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use follow::Mirror;
use http::Http;
use wire::{Granted, Kept, Kv, Ranged, Status, Txn, end_of, key64};

/// How often a commit is tried when others change its keys meanwhile.
const TRIES: u32 = 32;
/// How much longer than what it is for a lease lasts: clocks of machines differ, and processes stand still.
const GRACE_SECONDS: u64 = 60;
/// The shortest time for which leases are shared.
const CLASS_SECONDS_MIN: u64 = 4;
/// What ends later than in 48 days has no lease: only the clock ends it.
const CLASS_SECONDS_MAX: u64 = 1 << 22;
/// What the fleet does while etcd is away.
const MEANWHILE: &str =
    "copies that are known are called on, no lock is given or renewed and leads end, until it is back";

/// Where the cluster is.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its members, parted by commas: `http://host:2379`, or `https://…`.
    pub endpoints: &'a str,
}

impl Place<'_> {
    /// Looks once whether the cluster answers. Answers what it is, and where.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when an endpoint is none; [`Code::Unavailable`] when nobody answers; [`Code::NotConfigured`] when it wants a login.
    pub async fn look(&self) -> Result<String> {
        look(&Http::new(self.endpoints)?).await
    }
}

async fn look(http: &Http) -> Result<String> {
    let status: Status = http.post("maintenance/status", &json!({})).await?;
    // Reading tells whether we may.
    let _: Ranged = http.post("kv/range", &json!({ "key": key64("flotilla") })).await?;
    Ok(format!("etcd {} at {}", status.version, http.place()))
}

/// See the module.
pub struct Etcd {
    http: Http,
    clock: Clock,
    /// What all keys begin with.
    prefix: String,
    reach: Arc<Reach>,
    changed: Signal,
    mirror: Mutex<Mirror>,
    leases: Mutex<HashMap<u64, Lease>>,
}

/// A lease of ours, for what ends within its class.
struct Lease {
    id: String,
    granted: Instant,
}

impl Etcd {
    /// The cluster at `place`, for the fleet of this name. Connects when it is used.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when an endpoint is none.
    pub fn new(place: Place<'_>, fleet: &str, clock: Clock, metrics: &Metrics) -> Result<Arc<Self>> {
        let http = Http::new(place.endpoints)?;
        let reach = Reach::new("registry", &format!("etcd at {}", http.place()), MEANWHILE, metrics);
        Ok(Arc::new(Self {
            http,
            clock,
            prefix: format!("flotilla/{fleet}/"),
            reach,
            changed: Signal::default(),
            mirror: Mutex::default(),
            leases: Mutex::default(),
        }))
    }

    /// Starts following what others change, which wakes who waits for it.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        let (etcd, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("etcd, watching", OnEnd::StopOwner, async move {
            tokio::select! {
                () = etcd.follow() => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Whether it answers.
    pub fn reach(&self) -> &Arc<Reach> {
        &self.reach
    }

    /// Looks whether it answers. Answers what it is, and where.
    ///
    /// # Errors
    /// As [`Place::look`].
    pub async fn look(&self) -> Result<String> {
        look(&self.http).await
    }

    fn key(&self, space: &str, key: &str) -> String {
        format!("{}{space}/{key}", self.prefix)
    }

    /// Asks, unless it is known to be away.
    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        if !self.reach.may_try() {
            self.reach.standing()?;
        }
        let answer = self.http.post(path, body).await;
        match &answer {
            Err(fault) if fault.code == Code::Unavailable => self.reach.lost(fault),
            _ => self.reach.answered(),
        }
        answer
    }

    /// What stands under a key, ended or not.
    async fn read(&self, keys: &[String]) -> Result<Vec<Option<Kv>>> {
        let reads: Vec<Value> = keys.iter().map(|key| json!({ "request_range": { "key": key64(key) } })).collect();
        let read: Txn = self.ask("kv/txn", &json!({ "success": reads })).await?;
        let mut found: Vec<Option<Kv>> = read.responses.into_iter().map(wire::Response::one).collect();
        found.resize_with(keys.len(), || None);
        Ok(found)
    }

    /// The entry that a stored value is, unless it has ended.
    fn entry(&self, space: &str, kv: &Kv) -> Option<Entry> {
        let key = kv.key.strip_prefix(&self.key(space, ""))?.to_owned();
        let kept = Kept::of(kv)?;
        let lives = kept.expires_ms.is_none_or(|end| end > self.clock.now_ms());
        lives.then_some(Entry {
            key,
            value: kept.value,
            revision: kv.mod_revision,
            updated_ms: kept.updated_ms,
            expires_ms: kept.expires_ms,
        })
    }

    /// `None` when somebody changed one of the keys meanwhile, or a lease of ours was gone.
    async fn try_commit(&self, writes: &[Write]) -> Result<Option<u64>> {
        let expecting: Vec<&Write> = writes.iter().filter(|write| write.expect != Expect::Any).collect();
        let keys: Vec<String> = expecting.iter().map(|write| self.key(&write.space, &write.key)).collect();
        let seen = if keys.is_empty() { Vec::new() } else { self.read(&keys).await? };
        let mut compare = Vec::new();
        for ((write, key), seen) in expecting.into_iter().zip(keys).zip(seen) {
            let revision = seen.as_ref().and_then(|kv| self.entry(&write.space, kv)).map(|entry| entry.revision);
            let holds = match write.expect {
                Expect::Any => true,
                Expect::Absent => revision.is_none(),
                Expect::Revision(wanted) => revision == Some(wanted),
            };
            if !holds {
                return Err(store::conflict(write, revision));
            }
            // What has ended may still stand there: then it must be the very same.
            let stands = seen.map_or(0, |kv| kv.mod_revision).to_string();
            compare.push(json!({ "key": key64(&key), "target": "MOD", "result": "EQUAL", "mod_revision": stands }));
        }
        let mut changes = Vec::new();
        for write in writes {
            changes.push(self.change(write).await?);
        }
        match self.ask::<Txn>("kv/txn", &json!({ "compare": compare, "success": changes })).await {
            Ok(done) => Ok(done.succeeded.then_some(done.header.revision)),
            Err(fault) if fault.code == Code::NotFound => {
                self.leases.lock().clear();
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    async fn change(&self, write: &Write) -> Result<Value> {
        let (key, now_ms) = (key64(&self.key(&write.space, &write.key)), self.clock.now_ms());
        let Some(value) = &write.value else { return Ok(json!({ "request_delete_range": { "key": key } })) };
        let kept = Kept { value: value.clone(), updated_ms: now_ms, expires_ms: write.expires_ms };
        let lease = match write.expires_ms {
            Some(end) => self.lease(end - now_ms).await?,
            None => None,
        };
        Ok(
            json!({ "request_put": { "key": key, "value": kept.encoded()?, "lease": lease.unwrap_or_else(|| "0".into()) } }),
        )
    }

    /// A lease that outlasts so many milliseconds.
    async fn lease(&self, left_ms: UnixMs) -> Result<Option<String>> {
        let seconds = u64::try_from(left_ms).unwrap_or(0).div_ceil(1_000).max(CLASS_SECONDS_MIN);
        if seconds > CLASS_SECONDS_MAX {
            return Ok(None);
        }
        let class = seconds.next_power_of_two();
        let shared_for = Duration::from_secs(class / 2);
        let shared =
            self.leases.lock().get(&class).filter(|lease| lease.granted.elapsed() < shared_for).map(|l| l.id.clone());
        if shared.is_some() {
            return Ok(shared);
        }
        let granted = Instant::now();
        let ttl = (class + class / 2 + GRACE_SECONDS).to_string();
        let id = self.ask::<Granted>("lease/grant", &json!({ "TTL": ttl })).await?.id;
        self.leases.lock().insert(class, Lease { id: id.clone(), granted });
        Ok(Some(id))
    }
}

#[async_trait]
impl Entries for Etcd {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>> {
        let found: Ranged = self.ask("kv/range", &json!({ "key": key64(&self.key(space, key)) })).await?;
        Ok(found.kvs.first().and_then(|kv| self.entry(space, kv)))
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        store::check_limit(limit)?;
        let first = self.key(space, prefix);
        let end = end_of(&first);
        let mut from = after.map(|after| format!("{}\0", self.key(space, after))).unwrap_or_default().max(first);
        let mut found = Vec::new();
        while found.len() < limit {
            let page = json!({ "key": key64(&from), "range_end": end, "limit": (limit - found.len()).to_string() });
            let page: Ranged = self.ask("kv/range", &page).await?;
            found.extend(page.kvs.iter().filter_map(|kv| self.entry(space, kv)));
            match page.kvs.last() {
                Some(last) if page.more => from = format!("{}\0", last.key),
                _ => break,
            }
        }
        Ok(found)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        store::check_writes(&writes)?;
        for _ in 0..TRIES {
            if let Some(revision) = self.try_commit(&writes).await? {
                return Ok(revision);
            }
        }
        Err(Fault::unavailable(format!("others changed the same entries {TRIES} times meanwhile")).hint("try again"))
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.changed.wait_for(spaces, || async { self.look_for_ends() })
    }
}

/// How many keys are read at once at the start.
const PAGE: usize = LIST_MAX;
