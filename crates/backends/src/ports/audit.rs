//! The audit trail in the database.

use std::borrow::Cow;

use async_trait::async_trait;
use kernel::Result;
use kernel::audit::{Audit, AuditQuery, Record, Row, Verdict, Verifier, chain_hash};
use parking_lot::Mutex;

use crate::db::{self, Db, Insert, Statement, limit as bound_limit, signed, sql, unsigned};

/// Rows one step of a verification holds in memory.
const VERIFY_AT_ONCE: usize = 1_000;

const COLUMNS: &str =
    "seq, at_ms, caller, role, server, action, arguments, outcome, result_sha256, took_us, trace_id, hash";

/// See the module.
pub(super) struct DbAudit {
    db: Db,
    insert: Insert,
    /// Where an append lies of which it is not known whether it was committed.
    unsure: Mutex<Option<Unsure>>,
}

/// An append whose commit was not answered.
struct Unsure {
    /// Its first row, and the hash before it.
    seq: u64,
    before: String,
}

impl DbAudit {
    pub(super) fn new(db: Db) -> Self {
        let insert = Insert::new(&db, "audit", COLUMNS, "");
        Self { db, insert, unsure: Mutex::default() }
    }

    /// Whether these very records are in the trail already: whoever appends tries again when it is not told that they are.
    async fn appended(&self, records: &[Record]) -> Result<bool> {
        let Some((seq, before)) = self.unsure.lock().as_ref().map(|unsure| (unsure.seq, unsure.before.clone())) else {
            return Ok(false);
        };
        let hash = records.first().map(|first| chain_hash(&before, seq, first));
        let found: Option<(String,)> =
            sql("SELECT hash FROM audit WHERE seq = $1").bind(signed(seq)).maybe(self.db.readers()).await?;
        *self.unsure.lock() = None;
        Ok(found.map(|(hash,)| hash) == hash)
    }

    async fn page(&self, after: u64, until: u64) -> Result<Vec<db::Row>> {
        sql(
            "SELECT seq, at_ms, caller, role, server, action, arguments, outcome, result_sha256, took_us, trace_id, hash
             FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3 + 0",
        )
        .bind(signed(after))
        .bind(signed(until))
        .bind(bound_limit(VERIFY_AT_ONCE))
        .rows(self.db.readers())
        .await
    }
}

/// Reads a row of [`COLUMNS`].
fn row(stored: &db::Row) -> Result<Row> {
    Ok(Row {
        seq: unsigned(stored.get(0)?),
        record: Record {
            at_ms: stored.get(1)?,
            caller: stored.get(2)?,
            role: stored.get(3)?,
            server: stored.get(4)?,
            action: stored.get(5)?,
            arguments: stored.get(6)?,
            outcome: stored.get(7)?,
            result_sha256: stored.get(8)?,
            took_us: unsigned(stored.get(9)?),
            trace_id: stored.get(10)?,
        },
        hash: stored.get(11)?,
    })
}

/// False when the chain is broken there.
fn look_at(verifier: &mut Verifier, stored: &db::Row) -> bool {
    match row(stored) {
        Ok(row) => verifier.row(&row),
        Err(_) => {
            verifier.unreadable();
            false
        }
    }
}

/// The records as every database can keep them: PostgreSQL's text has no U+0000, and a row that cannot be appended would stop the trail.
fn storable(records: &[Record]) -> Cow<'_, [Record]> {
    let texts = |record: &Record| {
        let Record { caller, role, server, action, arguments, outcome, result_sha256, trace_id, .. } = record;
        [caller, role, server, action, arguments, outcome, result_sha256, trace_id]
            .iter()
            .any(|text| text.contains('\0'))
    };
    if !records.iter().any(texts) {
        return Cow::Borrowed(records);
    }
    let shown = |text: &String| text.replace('\0', "\u{fffd}");
    let kept = |record: &Record| Record {
        at_ms: record.at_ms,
        caller: shown(&record.caller),
        role: shown(&record.role),
        server: shown(&record.server),
        action: shown(&record.action),
        arguments: shown(&record.arguments),
        outcome: shown(&record.outcome),
        result_sha256: shown(&record.result_sha256),
        took_us: record.took_us,
        trace_id: shown(&record.trace_id),
    };
    Cow::Owned(records.iter().map(kept).collect())
}

/// A record in its place, about to be stored.
struct Linked<'a> {
    seq: u64,
    record: &'a Record,
    hash: String,
}

fn bind<'q>(insert: Statement<'q>, row: &'q Linked<'_>) -> Statement<'q> {
    let Linked { seq, record, hash } = row;
    insert
        .bind(signed(*seq))
        .bind(record.at_ms)
        .bind(&record.caller)
        .bind(&record.role)
        .bind(&record.server)
        .bind(&record.action)
        .bind(&record.arguments)
        .bind(&record.outcome)
        .bind(&record.result_sha256)
        .bind(signed(record.took_us))
        .bind(&record.trace_id)
        .bind(hash)
}

#[async_trait]
impl Audit for DbAudit {
    async fn append(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let records = &*storable(records);
        if self.appended(records).await? {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        // Taking the head for writing first is what keeps two processes from continuing the chain at the same row.
        let (last, before): (i64, String) =
            sql("UPDATE audit_head SET seq = seq + $1 WHERE id = 1 RETURNING seq, hash")
                .bind(bound_limit(records.len()))
                .one(&mut tx)
                .await?;
        let first = unsigned(last) + 1 - records.len() as u64;
        let mut hash = before.clone();
        let link = |(seq, record)| {
            hash = chain_hash(&hash, seq, record);
            Linked { seq, record, hash: hash.clone() }
        };
        let rows: Vec<Linked<'_>> = (first..).zip(records).map(link).collect();
        self.insert.run(&mut tx, &rows, bind).await?;
        sql("UPDATE audit_head SET hash = $1 WHERE id = 1").bind(hash).run(&mut tx).await?;
        let committed = tx.commit().await;
        if committed.is_err() {
            *self.unsure.lock() = Some(Unsure { seq: first, before });
        }
        committed
    }

    async fn list(&self, query: AuditQuery) -> Result<Vec<Row>> {
        query.check()?;
        // The second text lets the planner use the index of failures, which are few.
        let text = match query.outcome.as_deref() {
            None | Some("ok") => {
                "SELECT seq, at_ms, caller, role, server, action, arguments, outcome, result_sha256, took_us, trace_id, hash
                 FROM audit WHERE seq < $1 AND ($2 IS NULL OR caller = $2) AND ($3 IS NULL OR server = $3)
                 AND ($4 IS NULL OR outcome = $4) AND ($5 IS NULL OR trace_id = $5) ORDER BY seq DESC LIMIT $6 + 0"
            }
            Some(_) => {
                "SELECT seq, at_ms, caller, role, server, action, arguments, outcome, result_sha256, took_us, trace_id, hash
                 FROM audit WHERE seq < $1 AND ($2 IS NULL OR caller = $2) AND ($3 IS NULL OR server = $3)
                 AND outcome = $4 AND outcome <> 'ok' AND ($5 IS NULL OR trace_id = $5) ORDER BY seq DESC LIMIT $6 + 0"
            }
        };
        let rows = sql(text)
            .bind(query.before_seq.map_or(i64::MAX, signed))
            .bind(query.caller)
            .bind(query.server)
            .bind(query.outcome)
            .bind(query.trace_id)
            .bind(bound_limit(query.limit))
            .rows(self.db.readers())
            .await?;
        rows.iter().map(row).collect()
    }

    async fn verify(&self) -> Result<Verdict> {
        let (head, hash): (i64, String) =
            sql("SELECT seq, hash FROM audit_head WHERE id = 1").one(self.db.readers()).await?;
        let head = unsigned(head);
        let mut verifier = Verifier::default();
        let mut after = 0;
        while after < head {
            let page = self.page(after, head).await?;
            after += page.len() as u64;
            if page.is_empty() || !page.iter().all(|stored| look_at(&mut verifier, stored)) {
                break;
            }
        }
        Ok(verifier.finish(head, &hash))
    }
}
