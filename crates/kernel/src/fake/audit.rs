//! The audit trail made of memory.

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::Result;
use crate::audit::{Audit, AuditQuery, GENESIS, Record, Row, Verdict, Verifier, chain_hash};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryAudit {
    rows: Mutex<Vec<Row>>,
}

#[async_trait]
impl Audit for MemoryAudit {
    async fn append(&self, records: &[Record]) -> Result<()> {
        let mut rows = self.rows.lock();
        for record in records {
            let seq = rows.len() as u64 + 1;
            let hash = chain_hash(rows.last().map_or(GENESIS, |row| &row.hash), seq, record);
            rows.push(Row { seq, record: record.clone(), hash });
        }
        Ok(())
    }

    async fn list(&self, query: AuditQuery) -> Result<Vec<Row>> {
        query.check()?;
        let rows = self.rows.lock();
        Ok(rows.iter().rev().filter(|row| query.matches(row)).take(query.limit).cloned().collect())
    }

    async fn verify(&self) -> Result<Verdict> {
        let rows = self.rows.lock();
        let mut verifier = Verifier::default();
        let _ = rows.iter().all(|row| verifier.row(row));
        let head = rows.last().map_or(GENESIS, |row| &row.hash);
        Ok(verifier.finish(rows.len() as u64, head))
    }
}
