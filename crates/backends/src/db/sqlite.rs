//! One SQLite file: a writer, a few readers, its schema's versions, and its errors in our words.
//!
//! Statements say `LIMIT $n + 0`: SQLite plans by the value of a limit that is nothing but a parameter, so that it would prepare such a
//! statement anew for every call, which costs more than most of them do.

use std::path::Path;
use std::time::Duration;

use kernel::{Clock, Fault, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteTransaction};

use super::Tx;
use super::sql::{Answer, Statement};

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
pub(crate) struct File {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl File {
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
        let file = Self {
            writer: pool(1).connect_lazy_with(writer),
            readers: pool(opening.readers).connect_lazy_with(readers.pragma("query_only", "on")),
        };
        // A file that is as it should be, as most are, is opened without waiting for whoever writes it.
        if file.version().await.is_ok_and(|version| version == opening.schema.len()) {
            return Ok(file);
        }
        let path = opening.path.display();
        let _alone = opening_lock(opening.path).await?;
        let migrated = async {
            let tx = Tx::Sqlite(file.begin().await?);
            super::migrate(tx, opening.schema, clock, "another data folder").await
        };
        migrated.await.map_err(|fault| fault.context(format!("cannot open {path}")))?;
        Ok(file)
    }

    async fn version(&self) -> Result<usize> {
        let version: i64 = sqlx::query_scalar("SELECT MAX(version) FROM schema_versions")
            .fetch_one(&self.readers)
            .await
            .map_err(fault)?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    /// Begins a transaction that holds the file's write lock from the start: what it reads, nobody changes before it commits.
    pub(super) async fn begin(&self) -> Result<SqliteTransaction<'static>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)
    }

    /// Runs what only reads.
    pub(super) async fn read(&self, statement: Statement<'_>) -> Result<Answer> {
        on(&self.readers, statement).await
    }

    /// Runs a write that is one statement.
    pub(super) async fn write(&self, statement: Statement<'_>) -> Result<Answer> {
        on(&self.writer, statement).await
    }

    /// Closes all connections; the last process to do so folds the write-ahead log into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn on(pool: &SqlitePool, statement: Statement<'_>) -> Result<Answer> {
    let mut connection = pool.acquire().await.map_err(fault)?;
    statement.on_sqlite(&mut connection).await.map_err(fault)
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
pub(super) fn fault(error: sqlx::Error) -> Fault {
    if let Some(fault) = super::said_by_trigger(&error) {
        return fault;
    }
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
