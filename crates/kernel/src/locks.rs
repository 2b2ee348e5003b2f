//! Named locks and elections over the store. Each holding has a fencing token: whoever guards the resource refuses a smaller one than it
//! has seen, so a holder that lost its lock without noticing can do no harm.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::store::{Entries, Entry, Expect, LIST_MAX, Write};
use crate::{Clock, Code, Fault, Result, UnixMs};

/// Where locks are kept in the store, by name.
pub const LOCKS: &str = "locks";
/// Where elections are kept in the store, by name.
pub const ELECTIONS: &str = "elections";
/// Shortest time to live of a lock or a term.
pub const TTL_MIN: Duration = Duration::from_millis(100);
/// Longest time to live of a lock or a term.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Longest wait for a lock.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// Longest name of a lock, election, owner or candidate, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The lock.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// The fencing token: larger than that of every holding of this lock before. Renewals keep it.
    pub token: u64,
    /// When it ends unless renewed, in milliseconds since the Unix epoch.
    pub expires_ms: UnixMs,
}

/// What the store keeps.
#[derive(Serialize, Deserialize)]
struct Stored {
    owner: String,
    /// `None` until the first renewal: the token is the revision of the acquisition, which is not known before it is made.
    token: Option<u64>,
}

/// Named locks. A lock is held by one owner for a time to live, and not re-entrant: two tasks under one owner's name exclude each other.
#[derive(Clone)]
pub struct Locks {
    store: Arc<dyn Entries>,
    clock: Clock,
    space: &'static str,
}

impl Locks {
    /// The locks in `store`.
    pub fn new(store: Arc<dyn Entries>, clock: Clock) -> Self {
        Self { store, clock, space: LOCKS }
    }

    /// Acquires a lock, waiting for it up to `wait`. Among those who wait, any may be next.
    ///
    /// # Errors
    /// [`Code::Conflict`] when somebody else held it all the time; the data is the [`Held`].
    pub async fn acquire(&self, name: &str, owner: &str, ttl: Duration, wait: Duration) -> Result<Held> {
        check(name, owner, ttl)?;
        if wait > WAIT_MAX {
            let what = format!("a wait of {} s for lock `{name}`", wait.as_secs());
            return Err(Fault::invalid(what).hint(format!("at most {} s", WAIT_MAX.as_secs())));
        }
        let deadline = Instant::now() + wait;
        loop {
            // Asked for before trying, so that a release in between is not missed.
            let changed = self.store.changed(&[self.space]);
            let holder = match self.try_acquire(name, owner, ttl).await? {
                Ok(held) => return Ok(held),
                Err(holder) => holder,
            };
            if Instant::now() >= deadline {
                let what = format!("{} `{name}` is held by `{}`", self.noun(), holder.owner);
                return Err(conflict(what, Some(&holder)));
            }
            let left_ms = (holder.expires_ms - self.clock.now_ms()).max(1) as u64;
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// The lock, or who holds it.
    async fn try_acquire(&self, name: &str, owner: &str, ttl: Duration) -> Result<Result<Held, Held>> {
        loop {
            if let Some(holder) = self.get(name).await? {
                return Ok(Err(holder));
            }
            let expires_ms = self.expiry(ttl);
            let write = Write::put(self.space, name, stored(owner, None)?).expiring_at(expires_ms);
            match self.store.commit(vec![write.expecting(Expect::Absent)]).await {
                Ok(token) => return Ok(Ok(Held { name: name.into(), owner: owner.into(), token, expires_ms })),
                // Somebody was faster; who, the next look tells.
                Err(fault) if fault.code == Code::Conflict => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Extends a lock that is held with this token by `ttl` from now.
    ///
    /// # Errors
    /// [`Code::Conflict`] when it is not held with this token any more; the data is the [`Held`] of who does, if anybody.
    pub async fn renew(&self, name: &str, owner: &str, token: u64, ttl: Duration) -> Result<Held> {
        check(name, owner, ttl)?;
        let expires_ms = self.expiry(ttl);
        let write = Write::put(self.space, name, stored(owner, Some(token))?).expiring_at(expires_ms);
        self.replace(name, owner, token, write).await?;
        Ok(Held { name: name.into(), owner: owner.into(), token, expires_ms })
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// [`Code::Conflict`] when it is not held with this token any more.
    pub async fn release(&self, name: &str, owner: &str, token: u64) -> Result<()> {
        check(name, owner, TTL_MIN)?;
        self.replace(name, owner, token, Write::delete(self.space, name)).await
    }

    /// Who holds a lock.
    pub async fn get(&self, name: &str) -> Result<Option<Held>> {
        self.store.get(self.space, name).await?.map(held).transpose()
    }

    /// The locks that are held and whose names start with `prefix`, by name, after `after`: at most [`LIST_MAX`].
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<Held>> {
        self.store.list(self.space, prefix, after, LIST_MAX).await?.into_iter().map(held).collect()
    }

    fn expiry(&self, ttl: Duration) -> UnixMs {
        self.clock.now_ms() + ttl.as_millis() as i64
    }

    fn noun(&self) -> &'static str {
        if self.space == ELECTIONS { "the lead of" } else { "lock" }
    }

    /// Does `write` to a lock that is held with this token.
    async fn replace(&self, name: &str, owner: &str, token: u64, write: Write) -> Result<()> {
        loop {
            let entry = self.store.get(self.space, name).await?;
            let revision = entry.as_ref().map(|entry| entry.revision);
            let holder = entry.map(held).transpose()?;
            let mine = holder.as_ref().is_some_and(|held| held.owner == owner && held.token == token);
            let Some(revision) = revision.filter(|_| mine) else {
                let what = format!("{} `{name}` is not held by `{owner}` with token {token}", self.noun());
                return Err(conflict(what, holder.as_ref()));
            };
            match self.store.commit(vec![write.clone().expecting(Expect::Revision(revision))]).await {
                // Renewed or lost in between; which, the next look tells.
                Err(fault) if fault.code == Code::Conflict => {}
                other => return other.map(|_| ()),
            }
        }
    }
}

/// Elections: a lock whose holder is called the leader, and who may campaign again to stay it. Candidates need distinct names.
#[derive(Clone)]
pub struct Elections(Locks);

impl Elections {
    /// The elections in `store`.
    pub fn new(store: Arc<dyn Entries>, clock: Clock) -> Self {
        Self(Locks { store, clock, space: ELECTIONS })
    }

    /// Becomes the leader, or stays it, for a term of `ttl`; waits up to `wait` for another's term to end.
    ///
    /// # Errors
    /// [`Code::Conflict`] when somebody else led all the time; the data is the [`Held`].
    pub async fn campaign(&self, name: &str, candidate: &str, ttl: Duration, wait: Duration) -> Result<Held> {
        if let Some(leader) = self.leader(name).await?.filter(|leader| leader.owner == candidate) {
            match self.0.renew(name, candidate, leader.token, ttl).await {
                // The term ended in between.
                Err(fault) if fault.code == Code::Conflict => {}
                other => return other,
            }
        }
        self.0.acquire(name, candidate, ttl, wait).await
    }

    /// Ends the term.
    ///
    /// # Errors
    /// [`Code::Conflict`] when the candidate does not lead with this token any more.
    pub async fn resign(&self, name: &str, candidate: &str, token: u64) -> Result<()> {
        self.0.release(name, candidate, token).await
    }

    /// Who leads.
    pub async fn leader(&self, name: &str) -> Result<Option<Held>> {
        self.0.get(name).await
    }
}

fn check(name: &str, owner: &str, ttl: Duration) -> Result<()> {
    for (what, text) in [("name", name), ("owner", owner)] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(Fault::invalid(format!("the {what} of a lock has {} bytes", text.len()))
                .hint(format!("1 to {NAME_BYTES_MAX} bytes")));
        }
    }
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(Fault::invalid(format!("a time to live of {} ms for lock `{name}`", ttl.as_millis()))
            .hint(format!("{} ms to {} ms", TTL_MIN.as_millis(), TTL_MAX.as_millis())));
    }
    Ok(())
}

fn stored(owner: &str, token: Option<u64>) -> Result<String> {
    let stored = Stored { owner: owner.into(), token };
    serde_json::to_string(&stored).map_err(|error| Fault::internal(format!("lock: {error}")))
}

fn held(entry: Entry) -> Result<Held> {
    let stored: Stored = serde_json::from_str(&entry.value)
        .map_err(|error| Fault::internal(format!("the entry of lock `{}` is damaged: {error}", entry.key)))?;
    Ok(Held {
        name: entry.key,
        owner: stored.owner,
        token: stored.token.unwrap_or(entry.revision),
        // Every lock is written with an end.
        expires_ms: entry.expires_ms.unwrap_or(UnixMs::MAX),
    })
}

fn conflict(what: String, holder: Option<&Held>) -> Fault {
    let hint = match holder {
        Some(_) => "wait for it, or let its holder release it",
        None => "it ended or was released; acquire it again, with a new token",
    };
    let fault = Fault::conflict(what).hint(hint);
    match holder {
        Some(held) => fault.data(json!(held)),
        None => fault,
    }
}
