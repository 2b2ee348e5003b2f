//! API keys: made once, kept as hashes, looked up on every call.
//!
//! A key is `flt_` and 32 random bytes. What is kept is its SHA-256: against 256 random bits there is nothing to guess, so the slow
//! hashes that protect passwords would only slow calls down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::audit::hex;
use crate::ids::random_token;
use crate::limits::Bucket;
use crate::store::{Change, Expect, LIST_MAX, Store, Write};
use crate::{Caller, Clock, Code, Fault, Result, Role, Secret, UnixMs};

/// Where the keys' hashes are kept in the store, by name.
pub const SPACE: &str = "keys";
/// Where the keys' last use is kept in the store, by name.
pub const USED_SPACE: &str = "keys_used";
/// What every key begins with.
pub const PREFIX: &str = "flt_";
/// Longest name of a key, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Random bytes of a key, and the characters they are written in.
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;
/// For how long what is known of the keys is used without asking the store: with the time to ask, a revoked key works for less than a second.
const FRESH: Duration = Duration::from_millis(500);
/// After how long the store is asked for everything again, because it has begun to forget deletions.
const FORGETTING: Duration = Duration::from_secs(1_800);
/// How often a second an unknown key is looked for in the store, beyond a burst of as many: it may have just been made elsewhere.
const UNKNOWN_PER_SECOND: f64 = 50.0;
/// How exactly a key's last use is known, in milliseconds.
const USED_EVERY_MS: i64 = 60_000;

/// A key as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyInfo {
    /// Its name, which is its caller's.
    pub name: String,
    /// What its caller may do.
    pub role: Role,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: UnixMs,
    /// When it was last used, to the minute, in milliseconds since the Unix epoch.
    pub last_used_ms: Option<UnixMs>,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: Option<UnixMs>,
}

/// What the store keeps of a key.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Of the whole key, hexadecimal.
    sha256: String,
    role: Role,
    created_ms: UnixMs,
    expires_ms: Option<UnixMs>,
}

type Digest = [u8; 32];

/// A key as calls need it.
#[derive(Debug)]
struct Known {
    caller: Caller,
    expires_ms: Option<UnixMs>,
    used_ms: AtomicI64,
}

#[derive(Default)]
struct Cache {
    /// Up to which revision of the store.
    revision: u64,
    asked: Option<Instant>,
    by_digest: HashMap<Digest, Arc<Known>>,
    by_name: HashMap<String, Digest>,
}

/// The keys in a store.
pub struct Keys {
    store: Arc<dyn Store>,
    clock: Clock,
    cache: RwLock<Cache>,
    /// Held while the store is asked: whoever waits for it finds the answer there.
    asking: tokio::sync::Mutex<()>,
    unknown: Mutex<Bucket>,
}

impl Keys {
    /// The keys in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        let unknown = Mutex::new(Bucket::new(UNKNOWN_PER_SECOND, UNKNOWN_PER_SECOND, clock.now_ms()));
        Self { store, clock, cache: RwLock::default(), asking: tokio::sync::Mutex::default(), unknown }
    }

    /// Makes a key. The answer is the only time it is seen.
    ///
    /// # Errors
    /// [`Code::AlreadyExists`] when there is a key of this name.
    pub async fn create(&self, name: &str, role: Role, expires_ms: Option<UnixMs>) -> Result<Secret> {
        check_name(name)?;
        let created_ms = self.clock.now_ms();
        if expires_ms.is_some_and(|end| end <= created_ms) {
            return Err(Fault::invalid(format!("key `{name}` would have expired already")).hint("a time to come"));
        }
        let key = format!("{PREFIX}{}", random_token(SECRET_BYTES));
        let stored = Stored { sha256: hex(&hash(&key)), role, created_ms, expires_ms };
        let value = serde_json::to_string(&stored).map_err(|error| Fault::internal(format!("key: {error}")))?;
        let mut write = Write::put(SPACE, name, value).expecting(Expect::Absent);
        write.expires_ms = expires_ms;
        let forget_use = Write::delete(USED_SPACE, name);
        self.store.commit(vec![write, forget_use]).await.map_err(|fault| match fault.code {
            Code::Conflict => Fault::already_exists(format!("there is a key `{name}` already"))
                .hint("another name, or revoke that one first"),
            _ => fault,
        })?;
        Ok(Secret::new(key))
    }

    /// The keys, by name.
    pub async fn list(&self) -> Result<Vec<KeyInfo>> {
        let mut keys = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(SPACE, "", after.as_deref(), LIST_MAX).await?;
            let full = page.len() == LIST_MAX;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                let Stored { role, created_ms, expires_ms, .. } = stored(&entry.key, &entry.value)?;
                let used = self.store.get(USED_SPACE, &entry.key).await?;
                let last_used_ms = used.and_then(|used| used.value.parse().ok());
                keys.push(KeyInfo { name: entry.key, role, created_ms, last_used_ms, expires_ms });
            }
            if !full {
                return Ok(keys);
            }
        }
    }

    /// Ends a key: in this process at once, in others within a second.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is no key of this name.
    pub async fn revoke(&self, name: &str) -> Result<()> {
        let Some(entry) = self.store.get(SPACE, name).await? else {
            return Err(Fault::not_found(format!("no key `{name}`")).hint("`flotilla token list` shows the keys"));
        };
        let write = Write::delete(SPACE, name).expecting(Expect::Revision(entry.revision));
        self.store.commit(vec![write, Write::delete(USED_SPACE, name)]).await?;
        self.ask(Some(Instant::now())).await
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when it is nobody's, or no longer.
    pub async fn verify(&self, key: &str) -> Result<Caller> {
        self.caller_of(key).await?.ok_or_else(|| {
            Fault::unauthenticated("unknown key")
                .hint("it may have been revoked or have expired: `flotilla token list` shows the keys in force")
        })
    }

    /// Whose key this is; `None` when it is nobody's, or no longer. A store that cannot be asked refuses everybody.
    pub async fn caller_of(&self, key: &str) -> Result<Option<Caller>> {
        if key.len() != PREFIX.len() + SECRET_CHARS || !key.starts_with(PREFIX) {
            return Ok(None);
        }
        let asked = self.cache.read().asked;
        if asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            self.ask(asked).await?;
        }
        let digest = hash(key);
        let mut known = self.known(&digest);
        let now_ms = self.clock.now_ms();
        if known.is_none() && self.unknown.lock().take(now_ms).is_ok() {
            self.ask(Some(Instant::now())).await?;
            known = self.known(&digest);
        }
        let Some(known) = known.filter(|known| known.expires_ms.is_none_or(|end| now_ms < end)) else {
            return Ok(None);
        };
        self.note_use(&known, now_ms).await;
        Ok(Some(known.caller.clone()))
    }

    /// Looked up by hash, and a hash says nothing of the key: how long this takes tells nobody how close a guess was.
    fn known(&self, digest: &Digest) -> Option<Arc<Known>> {
        self.cache.read().by_digest.get(digest).cloned()
    }

    /// Writes down the first use in each minute. A failure is logged: it must not keep a caller out.
    async fn note_use(&self, known: &Known, now_ms: UnixMs) {
        let used_ms = known.used_ms.load(Ordering::Relaxed);
        let minute_ms = now_ms - now_ms.rem_euclid(USED_EVERY_MS);
        if used_ms >= minute_ms
            || known.used_ms.compare_exchange(used_ms, minute_ms, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let mut write = Write::put(USED_SPACE, &known.caller.name, minute_ms.to_string());
        write.expires_ms = known.expires_ms;
        if let Err(fault) = self.store.commit(vec![write]).await {
            tracing::warn!(%fault, key = known.caller.name, "a key's last use could not be written down");
        }
    }

    /// Learns what changed in the store, unless somebody has asked it after `since`.
    async fn ask(&self, since: Option<Instant>) -> Result<()> {
        let _alone = self.asking.lock().await;
        let asked = self.cache.read().asked;
        if asked > since {
            return Ok(());
        }
        let now = Instant::now();
        let mut all = asked.filter(|asked| now - *asked < FORGETTING).is_none().then(Cache::default);
        let mut revision = all.as_ref().map_or_else(|| self.cache.read().revision, |_| 0);
        loop {
            let changes = self.store.changes(SPACE, "", revision, LIST_MAX).await?;
            let last = changes.len() < LIST_MAX;
            revision = changes.last().map_or(revision, |change| change.revision);
            // Learnt anew, they take the place of what was known when all are known.
            match &mut all {
                Some(all) => all.apply(&changes, revision),
                None => self.cache.write().apply(&changes, revision),
            }
            if last {
                break;
            }
        }
        let mut cache = self.cache.write();
        if let Some(all) = all {
            *cache = all;
        }
        cache.asked = Some(now);
        Ok(())
    }
}

impl Cache {
    fn apply(&mut self, changes: &[Change], revision: u64) {
        changes.iter().for_each(|change| self.change(change));
        self.revision = revision;
    }

    fn change(&mut self, change: &Change) {
        if let Some(digest) = self.by_name.remove(&change.key) {
            self.by_digest.remove(&digest);
        }
        let Some(value) = &change.value else { return };
        let read = stored(&change.key, value).and_then(|stored| Ok((digest_of(&change.key, &stored.sha256)?, stored)));
        match read {
            Ok((digest, stored)) => {
                let caller = Caller::new(change.key.clone(), stored.role);
                let known = Known { caller, expires_ms: stored.expires_ms, used_ms: AtomicI64::new(UnixMs::MIN) };
                self.by_digest.insert(digest, Arc::new(known));
                self.by_name.insert(change.key.clone(), digest);
            }
            // It opens no door; that it does not must not close the others.
            Err(fault) => tracing::error!(%fault, "a key is passed over"),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Fault::invalid(format!("`{name}` cannot name a key"))
        .hint(format!("1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 . _ -")))
}

fn hash(key: &str) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    hash
}

fn stored(name: &str, value: &str) -> Result<Stored> {
    serde_json::from_str(value)
        .map_err(|error| Fault::internal(format!("the entry of key `{name}` is damaged: {error}")))
}

fn digest_of(name: &str, text: &str) -> Result<Digest> {
    let damaged = || Fault::internal(format!("the entry of key `{name}` is damaged: no SHA-256"));
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(damaged());
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| damaged())?;
    }
    Ok(digest)
}
