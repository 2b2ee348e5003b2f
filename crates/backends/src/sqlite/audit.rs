//! The audit trail in SQLite.

use async_trait::async_trait;
use kernel::Result;
use kernel::audit::{Audit, AuditQuery, Record, Row, Verdict, Verifier, chain_hash};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::db::{Bound, Db, Insert, fault, limit as bound_limit, signed, unsigned};

/// Rows one step of a verification holds in memory.
const VERIFY_AT_ONCE: usize = 1_000;

const COLUMNS: &str =
    "seq, at_ms, caller, role, server, action, arguments, outcome, result_sha256, took_us, trace_id, hash";

/// See the module.
pub(super) struct SqliteAudit {
    db: Db,
    insert: Insert,
}

impl SqliteAudit {
    pub(super) fn new(db: Db) -> Self {
        Self { db, insert: Insert::new("audit", COLUMNS, "") }
    }

    async fn page(&self, after: u64, until: u64) -> Result<Vec<SqliteRow>> {
        sqlx::query(
            "SELECT seq, at_ms, caller, role, server, action, arguments, outcome, result_sha256, took_us, trace_id, hash
             FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3 + 0",
        )
        .bind(signed(after))
        .bind(signed(until))
        .bind(bound_limit(VERIFY_AT_ONCE))
        .fetch_all(&self.db.readers)
        .await
        .map_err(fault)
    }
}

/// Reads a row of [`COLUMNS`].
fn row(stored: &SqliteRow) -> sqlx::Result<Row> {
    Ok(Row {
        seq: unsigned(stored.try_get(0)?),
        record: Record {
            at_ms: stored.try_get(1)?,
            caller: stored.try_get(2)?,
            role: stored.try_get(3)?,
            server: stored.try_get(4)?,
            action: stored.try_get(5)?,
            arguments: stored.try_get(6)?,
            outcome: stored.try_get(7)?,
            result_sha256: stored.try_get(8)?,
            took_us: unsigned(stored.try_get(9)?),
            trace_id: stored.try_get(10)?,
        },
        hash: stored.try_get(11)?,
    })
}

/// False when the chain is broken there.
fn look_at(verifier: &mut Verifier, stored: &SqliteRow) -> bool {
    match row(stored) {
        Ok(row) => verifier.row(&row),
        Err(_) => {
            verifier.unreadable();
            false
        }
    }
}

/// A record in its place, about to be stored.
struct Linked<'a> {
    seq: u64,
    record: &'a Record,
    hash: String,
}

fn bind<'q>(query: Bound<'q>, row: &'q Linked<'_>) -> Bound<'q> {
    let Linked { seq, record, hash } = row;
    query
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
impl Audit for SqliteAudit {
    async fn append(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        // Taking the head for writing first is what keeps two processes from continuing the chain at the same row.
        let (last, mut hash): (i64, String) =
            sqlx::query_as("UPDATE audit_head SET seq = seq + $1 WHERE id = 1 RETURNING seq, hash")
                .bind(bound_limit(records.len()))
                .fetch_one(&mut *tx)
                .await
                .map_err(fault)?;
        let first = unsigned(last) + 1 - records.len() as u64;
        let link = |(seq, record)| {
            hash = chain_hash(&hash, seq, record);
            Linked { seq, record, hash: hash.clone() }
        };
        let rows: Vec<Linked<'_>> = (first..).zip(records).map(link).collect();
        self.insert.run(&mut tx, &rows, bind).await?;
        sqlx::query("UPDATE audit_head SET hash = $1 WHERE id = 1")
            .bind(hash)
            .execute(&mut *tx)
            .await
            .map_err(fault)?;
        tx.commit().await.map_err(fault)
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
        let rows = sqlx::query(text)
            .bind(query.before_seq.map_or(i64::MAX, signed))
            .bind(query.caller)
            .bind(query.server)
            .bind(query.outcome)
            .bind(query.trace_id)
            .bind(bound_limit(query.limit))
            .fetch_all(&self.db.readers)
            .await
            .map_err(fault)?;
        rows.iter().map(row).collect::<sqlx::Result<_>>().map_err(fault)
    }

    async fn verify(&self) -> Result<Verdict> {
        let (head, hash): (i64, String) = sqlx::query_as("SELECT seq, hash FROM audit_head WHERE id = 1")
            .fetch_one(&self.db.readers)
            .await
            .map_err(fault)?;
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
