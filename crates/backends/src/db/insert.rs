//! `INSERT` of many rows at once.

use std::sync::Arc;

use kernel::Result;
use sqlx::AssertSqlSafe;

use super::{Db, Statement, Tx, sql};

/// `INSERT` of many rows at once, prepared for a few sizes: one statement for hundreds of rows costs a fifth of one per row.
#[derive(Debug)]
pub(crate) struct Insert {
    /// Rows of one statement, largest first, and its text.
    sizes: Vec<(usize, Arc<str>)>,
}

impl Insert {
    /// For `INSERT INTO table (columns) VALUES … then`, where `columns` are separated by commas.
    pub(crate) fn new(db: &Db, table: &str, columns: &str, then: &str) -> Self {
        Self::of(db.numbers_placeholders(), table, columns, then)
    }

    /// For a table in SQLite.
    pub(crate) fn in_sqlite(table: &str, columns: &str, then: &str) -> Self {
        Self::of(false, table, columns, then)
    }

    pub(super) fn of(numbered: bool, table: &str, columns: &str, then: &str) -> Self {
        let width = columns.split(',').count();
        // Numbered placeholders are what every other statement has; but SQLite looks a numbered one up by walking over all those before
        // it, and here are hundreds. PostgreSQL knows no others.
        let placeholder = |place: usize| if numbered { format!("${}", place + 1) } else { "?".to_owned() };
        let row = |row: usize| (row * width..(row + 1) * width).map(placeholder).collect::<Vec<_>>().join(", ");
        let text = |rows: usize| {
            let rows: Vec<String> = (0..rows).map(|number| format!("({})", row(number))).collect();
            format!("INSERT INTO {table} ({columns}) VALUES {} {then}", rows.join(", ")).into()
        };
        Self { sizes: [128, 32, 8, 1].map(|rows| (rows, text(rows))).into() }
    }

    /// Inserts `rows`, each bound by `bind`, in order.
    pub(crate) async fn run<'q, T>(
        &self,
        tx: &mut Tx,
        mut rows: &'q [T],
        bind: impl Fn(Statement<'q>, &'q T) -> Statement<'q>,
    ) -> Result<()> {
        for (size, text) in &self.sizes {
            while rows.len() >= *size {
                let (now, later) = rows.split_at(*size);
                now.iter().fold(sql(AssertSqlSafe(text.clone())), &bind).run(&mut *tx).await?;
                rows = later;
            }
        }
        Ok(())
    }
}
