//! One SQLite file: a writer, a few readers, its schema's versions, and its errors in our words.
//!
//! Statements say `LIMIT $n + 0`: SQLite plans by the value of a limit that is nothing but a parameter, so that it would prepare such a
//! statement anew for every call, which costs more than most of them do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Clock, Fault, Result};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Sqlite, SqliteTransaction};

/// How long a writer waits for another process's transaction, or for its turn in this one.
const BUSY: Duration = Duration::from_secs(10);
/// Pages of 4 KiB the write-ahead log holds before a commit also moves them into the file.
const CHECKPOINT_PAGES: &str = "4000";

/// How a file is opened.
pub(crate) struct Opening<'a> {
    pub(crate) path: &'a Path,
    pub(crate) synchronous: SqliteSynchronous,
    pub(crate) readers: u32,
    /// Whether to make the file when it is not there.
    pub(crate) create: bool,
    /// Connections close when unused for so long; `None` keeps them.
    pub(crate) idle: Option<Duration>,
    /// The schema's versions, oldest first. What stands there never changes; a change is a new version.
    pub(crate) schema: &'static [&'static str],
}

/// An open file.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    writer: SqlitePool,
    pub(crate) readers: SqlitePool,
}

impl Db {
    /// Opens the file and brings its schema up to date.
    pub(crate) async fn open(opening: &Opening<'_>, clock: &Clock) -> Result<Self> {
        let readers = SqliteConnectOptions::new()
            .filename(opening.path)
            .synchronous(opening.synchronous)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", "67108864")
            // Statements would be logged into the log store, whose statements would be logged.
            .disable_statement_logging();
        let writer = readers.clone().create_if_missing(opening.create).journal_mode(SqliteJournalMode::Wal);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY)
                .idle_timeout(opening.idle)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let db = Self {
            writer: pool(1).connect_lazy_with(writer),
            readers: pool(opening.readers).connect_lazy_with(readers.pragma("query_only", "on")),
        };
        // A file that is as it should be, as most are, is opened without waiting for whoever writes it.
        if db.version().await.is_ok_and(|version| version == opening.schema.len()) {
            return Ok(db);
        }
        let path = opening.path.display();
        let _alone = opening_lock(opening.path).await?;
        db.migrate(opening.schema, clock).await.map_err(|fault| fault.context(format!("cannot open {path}")))?;
        Ok(db)
    }

    async fn version(&self) -> Result<usize> {
        let version: i64 = sqlx::query_scalar("SELECT MAX(version) FROM schema_versions")
            .fetch_one(&self.readers)
            .await
            .map_err(fault)?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    /// Begins a transaction that holds the file's write lock from the start: what it reads, nobody changes before it commits.
    pub(crate) async fn begin(&self) -> Result<SqliteTransaction<'static>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)
    }

    /// For a write that is one statement, and so a transaction by itself.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// Closes all connections; the last process to do so folds the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn migrate(&self, schema: &[&'static str], clock: &Clock) -> Result<()> {
        let mut tx = self.begin().await?;
        let table =
            "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, applied_ms BIGINT NOT NULL)";
        sqlx::query(table).execute(&mut *tx).await.map_err(fault)?;
        let had: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM schema_versions")
            .fetch_one(&mut *tx)
            .await
            .map_err(fault)?;
        let had = usize::try_from(had).unwrap_or(usize::MAX);
        if had > schema.len() {
            return Err(Fault::unsupported(format!(
                "its schema is version {had}, this program knows {}",
                schema.len()
            ))
            .hint("use the newer flotilla that wrote it, or another data folder"));
        }
        for (version, statements) in (1i64..).zip(schema).skip(had) {
            sqlx::raw_sql(*statements).execute(&mut *tx).await.map_err(fault)?;
            sqlx::query("INSERT INTO schema_versions (version, applied_ms) VALUES ($1, $2)")
                .bind(version)
                .bind(clock.now_ms())
                .execute(&mut *tx)
                .await
                .map_err(fault)?;
        }
        tx.commit().await.map_err(fault)
    }
}

/// Copies a database as it is at one moment, whoever writes it meanwhile, to a file that is not there yet.
pub(crate) async fn copy(from: &Path, to: &Path) -> Result<()> {
    let Some(name) = to.to_str() else { return Err(Fault::invalid(format!("{} is not text", to.display()))) };
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(BUSY).disable_statement_logging();
    let mut connection = options.connect().await.map_err(fault)?;
    let copied = sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection).await.map_err(fault);
    connection.close().await.map_err(fault)?;
    copied.map(|_| ())
}

/// What SQLite finds wrong with a database file.
pub(crate) async fn flaws(path: &Path) -> Result<Option<String>> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging();
    let mut connection = options.connect().await.map_err(fault)?;
    let found: Result<String> =
        sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await.map_err(fault);
    connection.close().await.map_err(fault)?;
    found.map(|found| (found != "ok").then_some(found))
}

/// Held while a file is opened: two processes that turn one new file to write-ahead logging at once would refuse each other.
async fn opening_lock(path: &Path) -> Result<std::fs::File> {
    let path = path.with_file_name("open.lock");
    let shown = path.display().to_string();
    let lock = move || {
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    };
    let locked = tokio::task::spawn_blocking(lock).await.map_err(|error| Fault::internal(error.to_string()))?;
    locked.map_err(|error| io_fault(&error, &format!("cannot lock {shown}")))
}

/// An input/output error in our words.
pub(crate) fn io_fault(error: &std::io::Error, doing: &str) -> Fault {
    Fault::unavailable(format!("{doing}: {error}")).hint("check the data folder's owner, mode and free space")
}

/// A database error in our words.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
pub(crate) fn fault(error: sqlx::Error) -> Fault {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // The low byte of SQLite's extended code is the primary one.
    let primary = code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
    match (&error, primary) {
        (sqlx::Error::PoolTimedOut, _) | (_, Some(5 | 6)) => {
            Fault::unavailable(format!("the database stayed busy for {} s", BUSY.as_secs()))
                .hint("another process holds it or the disk is slow; try again")
        }
        (_, Some(8)) => Fault::unavailable("the database is read-only").hint("check the data folder's owner and mode"),
        (_, Some(10 | 14)) => Fault::unavailable(format!("the database cannot be read or written: {error}"))
            .hint("check the data folder's owner, mode and disk"),
        (_, Some(11 | 26)) => Fault::internal(format!("the database is damaged: {error}"))
            .hint("stop the fleet and put a backup of the file in its place"),
        (_, Some(13)) => Fault::unavailable("the disk is full").hint("free space on the data folder's disk"),
        (sqlx::Error::PoolClosed, _) => Fault::unavailable("the database is closed").hint("the process is stopping"),
        _ => Fault::internal(format!("database: {error}")),
    }
}

/// A stored count or place. They are written by us and never negative; what somebody else wrote reads as 0.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count or place to store or compare with. What lies past the largest stored form is after everything.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A limit to bind.
pub(crate) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `INSERT` of many rows at once, prepared for a few sizes: one statement for hundreds of rows costs a fifth of one per row.
#[derive(Debug)]
pub(crate) struct Insert {
    /// Rows of one statement, largest first, and its text.
    sizes: Vec<(usize, Arc<str>)>,
}

/// A statement with its values.
pub(crate) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

impl Insert {
    /// For `INSERT INTO table (columns) VALUES … then`, where `columns` are separated by commas.
    pub(crate) fn new(table: &str, columns: &str, then: &str) -> Self {
        let width = columns.split(',').count();
        // Numbered placeholders are what every other statement has; but SQLite looks a numbered one up by walking over all those before
        // it, and here are hundreds. PostgreSQL would want them numbered.
        let row = format!("({})", vec!["?"; width].join(", "));
        let text = |rows: usize| {
            format!("INSERT INTO {table} ({columns}) VALUES {} {then}", vec![row.as_str(); rows].join(", ")).into()
        };
        Self { sizes: [128, 32, 8, 1].map(|rows| (rows, text(rows))).into() }
    }

    /// Inserts `rows`, each bound by `bind`, in order.
    pub(crate) async fn run<'q, T>(
        &self,
        tx: &mut SqliteTransaction<'_>,
        mut rows: &'q [T],
        bind: impl Fn(Bound<'q>, &'q T) -> Bound<'q>,
    ) -> Result<()> {
        for (size, text) in &self.sizes {
            while rows.len() >= *size {
                let (now, later) = rows.split_at(*size);
                let query = sqlx::query(AssertSqlSafe(text.clone()));
                now.iter().fold(query, &bind).execute(&mut **tx).await.map_err(fault)?;
                rows = later;
            }
        }
        Ok(())
    }
}
