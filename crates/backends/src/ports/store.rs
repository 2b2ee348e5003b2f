//! The store in the database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use kernel::signal::{Nudge, Signal};
use kernel::store::{self, COMMIT_MAX, Change, DELETION_KEPT_MS, Entries, Entry, Expect, Store, Write};
use kernel::{Clock, Fault, Result, UnixMs};

use super::counter;
use crate::db::{Db, On, Tx, limit as bound_limit, signed, sql, unsigned};

/// How often a committing process also removes what has expired and what was deleted long ago, in milliseconds.
const TIDY_EVERY_MS: i64 = 10_000;

/// One entry: $1 space, $2 key, $3 value, $4 now, $5 when it expires, $6 the revision expected (see [`expected`]). Triggers move the store's
/// revision on, so that it is one statement.
const PUT: &str = "INSERT INTO entries (space, key, value, revision, updated_ms, expires_ms)
     SELECT $1, $2, $3, (SELECT c.value + 1 FROM counters AS c WHERE c.name = 'revision'), $4, $5
     WHERE $6 < 0 OR $6 = COALESCE((SELECT n.revision FROM entries AS n WHERE n.space = $1 AND n.key = $2
         AND n.value IS NOT NULL AND (n.expires_ms IS NULL OR n.expires_ms > $4)), 0)
     ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, revision = excluded.revision,
     updated_ms = excluded.updated_ms, expires_ms = excluded.expires_ms RETURNING revision";

/// Any writes: $1 them, as `[space, key, value, expires, expected]`, $2 now. A deletion leaves a row without a value, where there was one.
const COMMIT: &str = "INSERT INTO entries (space, key, value, revision, updated_ms, expires_ms)
     SELECT w.space, w.key, w.value, (SELECT c.value + 1 FROM counters AS c WHERE c.name = 'revision'), $2, w.expires_ms
     FROM (SELECT e.value ->> 0 AS space, e.value ->> 1 AS key, e.value ->> 2 AS value, CAST(e.value ->> 3 AS BIGINT) AS expires_ms
           FROM json_each($1) AS e) AS w
     WHERE NOT EXISTS (
         SELECT 1 FROM (SELECT e.value ->> 0 AS space, e.value ->> 1 AS key, CAST(e.value ->> 4 AS BIGINT) AS expected
                        FROM json_each($1) AS e) AS x
         WHERE x.expected >= 0 AND x.expected <> COALESCE((SELECT n.revision FROM entries AS n
             WHERE n.space = x.space AND n.key = x.key
             AND n.value IS NOT NULL AND (n.expires_ms IS NULL OR n.expires_ms > $2)), 0))
     AND (w.value IS NOT NULL OR EXISTS (
         SELECT 1 FROM entries AS had WHERE had.space = w.space AND had.key = w.key AND had.value IS NOT NULL))
     ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, revision = excluded.revision,
     updated_ms = excluded.updated_ms, expires_ms = excluded.expires_ms RETURNING revision";

/// See the module.
pub(super) struct DbStore {
    db: Db,
    clock: Clock,
    changed: Arc<Signal>,
    tidied_ms: AtomicI64,
}

type EntryRow = (String, String, i64, UnixMs, Option<UnixMs>);

fn entry((key, value, revision, updated_ms, expires_ms): EntryRow) -> Entry {
    Entry { key, value, revision: unsigned(revision), updated_ms, expires_ms }
}

impl DbStore {
    pub(super) fn new(db: Db, clock: Clock, changed: Arc<Signal>) -> Self {
        Self { db, clock, changed, tidied_ms: AtomicI64::new(UnixMs::MIN) }
    }

    /// The commit, which is one statement. `None` when it writes nothing: an expectation does not hold, or there is nothing of what it deletes.
    async fn write(on: impl Into<On<'_>>, writes: &[Write], now_ms: UnixMs) -> Result<Option<i64>> {
        let statement = match writes {
            [Write { space, key, value: Some(value), expect, expires_ms }] => {
                sql(PUT).bind(space).bind(key).bind(value).bind(now_ms).bind(*expires_ms).bind(expected(*expect))
            }
            _ => sql(COMMIT).bind(rows(writes)?).bind(now_ms),
        };
        Ok(statement.maybe(on).await?.map(|(revision,): (i64,)| revision))
    }

    /// The commit after a look at what is in its way, which it names. With nothing in its way and nothing to write it has a revision all the same.
    async fn write_checked(&self, writes: &[Write], now_ms: UnixMs) -> Result<i64> {
        let mut tx = self.db.begin().await?;
        for write in writes.iter().filter(|write| write.expect != Expect::Any) {
            check(&mut tx, write, now_ms).await?;
        }
        let revision = match Self::write(&mut tx, writes, now_ms).await? {
            Some(revision) => revision,
            None => next_revision(&mut tx).await?,
        };
        tx.commit().await.map(|()| revision)
    }

    /// Turns what has expired into deletions, each batch at its own revision, so that whoever follows the changes learns of it.
    async fn sweep(&self) -> Result<()> {
        let now_ms = self.clock.now_ms();
        while self.any_expired(now_ms).await? {
            let mut tx = self.db.begin().await?;
            let revision = next_revision(&mut tx).await?;
            let swept: Vec<(String,)> = sql(
                "UPDATE entries SET value = NULL, expires_ms = NULL, revision = $1, updated_ms = $2 WHERE (space, key) IN
                 (SELECT space, key FROM entries WHERE expires_ms <= $2 ORDER BY expires_ms LIMIT $3 + 0) RETURNING space",
            )
            .bind(revision)
            .bind(now_ms)
            .bind(bound_limit(COMMIT_MAX))
            .all(&mut tx)
            .await?;
            tx.commit().await?;
            self.changed.raise_for(unsigned(revision), names(swept.iter().map(|(space,)| space)));
        }
        Ok(())
    }

    async fn any_expired(&self, now_ms: UnixMs) -> Result<bool> {
        let found = sql("SELECT revision FROM entries WHERE expires_ms <= $1 LIMIT 1").bind(now_ms);
        Ok(found.maybe::<(i64,)>(self.db.readers()).await?.is_some())
    }

    async fn forget_deletions(&self, now_ms: UnixMs) -> Result<()> {
        let mut tx = self.db.begin().await?;
        sql("DELETE FROM entries WHERE value IS NULL AND updated_ms < $1")
            .bind(now_ms - DELETION_KEPT_MS)
            .run(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Keeps the file from growing with what nobody can read. Not the caller's business: a failure is logged, and tried again later.
    async fn tidy(&self, now_ms: UnixMs) {
        let last = self.tidied_ms.load(Ordering::Acquire);
        let due = now_ms.checked_sub(last).is_none_or(|passed| !(0..TIDY_EVERY_MS).contains(&passed));
        let mine = due && self.tidied_ms.compare_exchange(last, now_ms, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if !mine {
            return;
        }
        let tidied = match self.sweep().await {
            Ok(()) => self.forget_deletions(now_ms).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = tidied {
            tracing::warn!(%fault, "the store could not be tidied");
        }
    }

    async fn look(&self) -> Result<u64> {
        self.sweep().await?;
        counter(&self.db, "revision").await
    }
}

/// The revision an entry must have: 0 when it must not be there, negative when it does not matter.
fn expected(expect: Expect) -> i64 {
    match expect {
        Expect::Any => -1,
        Expect::Absent => 0,
        // No entry is at it.
        Expect::Revision(0) => i64::MAX,
        Expect::Revision(revision) => signed(revision),
    }
}

fn rows(writes: &[Write]) -> Result<String> {
    let row = |write: &Write| {
        let Write { space, key, value, expect, expires_ms } = write;
        let expires_ms = expires_ms.filter(|_| value.is_some());
        serde_json::json!([space, key, value, expires_ms, expected(*expect)])
    };
    let rows: Vec<_> = writes.iter().map(row).collect();
    serde_json::to_string(&rows).map_err(|error| Fault::internal(format!("writes: {error}")))
}

fn names<'a>(spaces: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    spaces.map(String::as_str).collect()
}

async fn next_revision(tx: &mut Tx) -> Result<i64> {
    let next = sql("UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value");
    next.one(tx).await.map(|(revision,): (i64,)| revision)
}

async fn check(tx: &mut Tx, write: &Write, now_ms: UnixMs) -> Result<()> {
    let found: Option<(i64,)> = sql("SELECT revision FROM entries
         WHERE space = $1 AND key = $2 AND value IS NOT NULL AND (expires_ms IS NULL OR expires_ms > $3)")
    .bind(&write.space)
    .bind(&write.key)
    .bind(now_ms)
    .maybe(tx)
    .await?;
    let revision = found.map(|(revision,)| unsigned(revision));
    let holds = match write.expect {
        Expect::Any => true,
        Expect::Absent => revision.is_none(),
        Expect::Revision(wanted) => revision == Some(wanted),
    };
    if holds { Ok(()) } else { Err(store::conflict(write, revision)) }
}

fn change((key, value, revision): (String, Option<String>, i64)) -> Change {
    Change { key, value, revision: unsigned(revision) }
}

#[async_trait]
impl Entries for DbStore {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>> {
        let row: Option<EntryRow> = sql("SELECT key, value, revision, updated_ms, expires_ms FROM entries
             WHERE space = $1 AND key = $2 AND value IS NOT NULL AND (expires_ms IS NULL OR expires_ms > $3)")
        .bind(space)
        .bind(key)
        .bind(self.clock.now_ms())
        .maybe(self.db.readers())
        .await?;
        Ok(row.map(entry))
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        store::check_limit(limit)?;
        let rows: Vec<EntryRow> = sql("SELECT key, value, revision, updated_ms, expires_ms FROM entries
             WHERE space = $1 AND key >= $2 AND ($3 IS NULL OR key < $3) AND ($4 IS NULL OR key > $4)
             AND value IS NOT NULL AND (expires_ms IS NULL OR expires_ms > $5) ORDER BY key LIMIT $6 + 0")
        .bind(space)
        // The later of the two bounds does the seeking; a page far into a long list must not walk the pages before it.
        .bind(after.filter(|after| *after > prefix).unwrap_or(prefix))
        .bind(store::prefix_end(prefix))
        .bind(after)
        .bind(self.clock.now_ms())
        .bind(bound_limit(limit))
        .all(self.db.readers())
        .await?;
        Ok(rows.into_iter().map(entry).collect())
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        store::check_writes(&writes)?;
        let now_ms = self.clock.now_ms();
        let revision = match Self::write(self.db.writer(), &writes, now_ms).await? {
            Some(revision) => revision,
            None => self.write_checked(&writes, now_ms).await?,
        };
        let revision = unsigned(revision);
        self.changed.raise_for(revision, names(writes.iter().map(|write| &write.space)));
        self.tidy(now_ms).await;
        Ok(revision)
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.changed.wait_for(spaces, || self.look())
    }
}

#[async_trait]
impl Store for DbStore {
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        store::check_limit(limit)?;
        self.sweep().await?;
        let rows: Vec<(String, Option<String>, i64)> = sql(
            "SELECT key, value, revision FROM entries WHERE space = $1 AND revision > $2 AND revision <= COALESCE(
                 (SELECT revision FROM entries WHERE space = $1 AND revision > $2 AND key >= $3 AND ($4 IS NULL OR key < $4)
                  ORDER BY revision LIMIT 1 OFFSET $5), $6)
             AND key >= $3 AND ($4 IS NULL OR key < $4) ORDER BY revision, key",
        )
        .bind(space)
        .bind(signed(revision))
        .bind(prefix)
        .bind(store::prefix_end(prefix))
        // The page ends with the commit its last entry belongs to.
        .bind(bound_limit(limit.saturating_sub(1)))
        .bind(if limit == 0 { 0 } else { i64::MAX })
        .all(self.db.readers())
        .await?;
        Ok(if limit == 0 { Vec::new() } else { rows.into_iter().map(change).collect() })
    }
}
