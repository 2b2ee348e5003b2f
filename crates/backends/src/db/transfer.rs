//! All rows of one database in the other: how what PostgreSQL keeps comes into a backup, and back. The tables are the same in both, and so are
//! the statements that read them: page by page along their keys, which both databases order by their bytes.

use kernel::{Fault, Result};
use sqlx::AssertSqlSafe;

use super::sql::Value;
use super::{Db, Insert, Row, Statement, Tx, sql};

/// Rows held in memory at once.
const AT_ONCE: i64 = 32;

/// What a column holds.
#[derive(Clone, Copy)]
enum Holds {
    Int,
    Text,
}

/// A table: its columns, of which the first `key` are its key, and whether a new database has rows in it already.
struct Table {
    name: &'static str,
    key: usize,
    columns: &'static [(&'static str, Holds)],
    filled: bool,
}

macro_rules! tables {
    ($($name:ident, $key:literal, $filled:literal: $($column:ident $holds:ident),+;)*) => {
        [$(Table {
            name: stringify!($name),
            key: $key,
            columns: &[$((stringify!($column), Holds::$holds)),+],
            filled: $filled,
        }),*]
    };
}

/// All tables but that of the schema's versions, which each database has of its own; topics before their events.
const TABLES: [Table; 9] = tables! {
    entries, 2, false: space Text, key Text, value Text, revision Int, updated_ms Int, expires_ms Int;
    counters, 1, true: name Text, value Int;
    topics, 1, false: name Text, last_seq Int, last_at_ms Int;
    events, 2, false: topic Text, seq Int, kind Text, source Text, at_ms Int, trace_id Text, data Text;
    audit, 1, false: seq Int, at_ms Int, caller Text, role Text, server Text, action Text, arguments Text, outcome Text,
        result_sha256 Text, took_us Int, trace_id Text, hash Text;
    audit_head, 1, true: id Int, seq Int, hash Text;
    tasks, 1, false: seq Int, queue Text, type Text, state Int, priority Int, turn Int, attempts Int, attempts_max Int,
        attempts_each Int, cancelling Int, submitted_ms Int, run_at_ms Int, started_ms Int, ended_ms Int, lease_until_ms Int,
        caller Text, role Text, worker Text, dedup_key Text, parent Int, trace_id Text, progress Text, failure Text,
        result Text, payload Text;
    task_types, 2, false: queue Text, type Text, attempts_max Int, backoff_first_ms Int, backoff_max_ms Int, running_max Int,
        delayed Int, queued Int, running Int, done Int, dead Int, cancelled Int, minute Int, ended Int, ended_before Int;
    task_turns, 3, false: queue Text, priority Int, caller Text, turn Int;
};

impl Table {
    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The next rows; those before have been read when there is a last one.
    async fn page(&self, from: &mut Tx, last: Option<&[Value<'static>]>) -> Result<Vec<Vec<Value<'static>>>> {
        let (name, names) = (self.name, self.names());
        let list = |part: fn(usize, &str) -> String| {
            let keys = self.columns.iter().take(self.key).enumerate();
            keys.map(|(place, (name, _))| part(place, name)).collect::<Vec<_>>().join(", ")
        };
        let keys = list(|_, name| name.to_owned());
        let after = match last {
            Some(_) => format!("WHERE ({keys}) > ({})", list(|place, _| format!("${}", place + 1))),
            None => String::new(),
        };
        let text = format!("SELECT {names} FROM {name} {after} ORDER BY {keys} LIMIT {AT_ONCE}");
        let bound = last.unwrap_or_default().iter().take(self.key);
        let statement = bound.fold(sql(AssertSqlSafe(text)), Statement::bind);
        statement.rows(from).await?.iter().map(|row| self.read(row)).collect()
    }

    fn read(&self, row: &Row) -> Result<Vec<Value<'static>>> {
        let columns = self.columns.iter().enumerate();
        let value = |(place, (_, holds)): (usize, &(&str, Holds))| match holds {
            Holds::Int => row.get::<Option<i64>>(place).map(Value::Int),
            Holds::Text => Ok(Value::Text(row.get::<Option<String>>(place)?.map(Into::into))),
        };
        columns.map(value).collect()
    }

    /// Puts every row of one database into the other, whose table is empty.
    async fn copy(&self, from: &mut Tx, to: &mut Tx) -> Result<()> {
        let insert = Insert::of(to.numbers_placeholders(), self.name, &self.names(), "");
        let mut last: Option<Vec<Value<'static>>> = None;
        loop {
            let mut rows = self.page(from, last.as_deref()).await?;
            insert.run(to, &rows, |statement, row| row.iter().fold(statement, Statement::bind)).await?;
            last = rows.pop();
            if last.is_none() {
                return Ok(());
            }
        }
    }
}

/// Puts all that a database keeps, as it is at one moment, into a new SQLite file.
pub(crate) async fn into_file(from: &Db, to: &Db) -> Result<()> {
    let (mut snapshot, mut into) = (from.snapshot().await?, to.begin().await?);
    fill_file(&mut snapshot, &mut into).await?;
    into.commit().await?;
    snapshot.commit().await
}

async fn fill_file(from: &mut Tx, to: &mut Tx) -> Result<()> {
    // What triggers would make of rows is in the rows of other tables.
    let triggers: Vec<(String, String)> =
        sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name").all(&mut *to).await?;
    for (name, _) in &triggers {
        sql(AssertSqlSafe(format!("DROP TRIGGER {name}"))).run(&mut *to).await?;
    }
    copy_all(from, to).await?;
    for (_, text) in triggers {
        sql(AssertSqlSafe(text)).run(&mut *to).await?;
    }
    // The number of the newest task there ever was, which may be gone.
    let (newest,): (Option<i64>,) =
        sql("SELECT CASE WHEN is_called THEN last_value END FROM tasks_seq_seq").one(from).await?;
    sql("DELETE FROM sqlite_sequence WHERE name = 'tasks'").run(&mut *to).await?;
    sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('tasks', $1)").bind(newest.unwrap_or(0)).run(to).await?;
    Ok(())
}

/// Puts all that a SQLite file keeps into a PostgreSQL database, which holds nothing yet.
///
/// # Errors
/// [`Code::Conflict`](kernel::Code::Conflict) when it does.
pub(crate) async fn into_server(from: &Db, to: &Db) -> Result<()> {
    let (mut snapshot, mut into) = (from.snapshot().await?, to.begin().await?);
    fill_server(&mut snapshot, &mut into).await?;
    into.commit().await?;
    snapshot.commit().await
}

async fn fill_server(from: &mut Tx, to: &mut Tx) -> Result<()> {
    let all = TABLES.map(|table| table.name).join(", ");
    sql(AssertSqlSafe(format!("LOCK TABLE {all} IN ACCESS EXCLUSIVE MODE"))).run(&mut *to).await?;
    let mut holding = Vec::new();
    for table in TABLES.iter().filter(|table| !table.filled) {
        if !table.page(to, None).await?.is_empty() {
            holding.push(table.name);
        }
    }
    if !holding.is_empty() {
        return Err(Fault::conflict(format!("the database is not empty: it has {}", holding.join(", ")))
            .hint("stop the fleet, and name a new database or schema in DATABASE_URL; nothing was restored"));
    }
    each_table(to, |name| format!("ALTER TABLE {name} DISABLE TRIGGER USER")).await?;
    copy_all(from, to).await?;
    each_table(to, |name| format!("ALTER TABLE {name} ENABLE TRIGGER USER")).await?;
    let newest: Option<(i64,)> = sql("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'").maybe(from).await?;
    let newest = newest.map_or(0, |(newest,)| newest);
    sql("SELECT setval('tasks_seq_seq', GREATEST($1, 1), $1 > 0)").bind(newest).run(to).await?;
    Ok(())
}

async fn copy_all(from: &mut Tx, to: &mut Tx) -> Result<()> {
    for table in &TABLES {
        if table.filled {
            sql(AssertSqlSafe(format!("DELETE FROM {}", table.name))).run(&mut *to).await?;
        }
        table.copy(from, to).await.map_err(|fault| fault.context(table.name))?;
    }
    Ok(())
}

async fn each_table(on: &mut Tx, text: fn(&str) -> String) -> Result<()> {
    for table in &TABLES {
        sql(AssertSqlSafe(text(table.name))).run(&mut *on).await?;
    }
    Ok(())
}
