//! One SQLite file: a writer, a few readers, its schema's versions, and its errors in our words.
//!
//! Statements say `LIMIT $n + 0`: SQLite plans by the value of a limit that is nothing but a parameter, so that it would prepare such a
//! statement anew for every call, which costs more than most of them do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use kernel::{Clock, Fault, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::connections::{Connections, Lent};
use super::sql::{Answer, Statement};
use super::{Tx, sql};

/// How long a writer waits for another process's transaction, or for its turn in this one.
const BUSY: Duration = Duration::from_secs(10);
/// Bytes the write-ahead log holds before a commit also moves them into the file.
const CHECKPOINT_BYTES: u32 = 16 << 20;

/// How a file is opened.
pub(crate) struct Opening<'a> {
    pub(crate) path: &'a Path,
    pub(crate) synchronous: SqliteSynchronous,
    pub(crate) readers: u32,
    /// Bytes of a page of a new file; one that is there keeps its own.
    pub(crate) page_bytes: u32,
    /// Whether to make the file when it is not there.
    pub(crate) create: bool,
    /// The schema's versions, oldest first. What stands there never changes; a change is a new version.
    pub(crate) schema: &'static [&'static str],
}

/// An open file.
#[derive(Clone)]
pub(crate) struct File {
    writer: Arc<Connections<SqliteConnection>>,
    readers: Arc<Connections<SqliteConnection>>,
}

impl File {
    /// Opens the file and brings its schema up to date.
    pub(crate) async fn open(opening: &Opening<'_>, clock: &Clock) -> Result<Self> {
        let readers = SqliteConnectOptions::new()
            .filename(opening.path)
            .synchronous(opening.synchronous)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .page_size(opening.page_bytes)
            .pragma("wal_autocheckpoint", (CHECKPOINT_BYTES / opening.page_bytes).to_string())
            .pragma("journal_size_limit", "67108864")
            // Statements would be logged into the log store, whose statements would be logged.
            .disable_statement_logging();
        let writer = readers.clone().create_if_missing(opening.create).journal_mode(SqliteJournalMode::Wal);
        let file = Self {
            writer: Connections::new(writer, 1),
            readers: Connections::new(readers.pragma("query_only", "on"), opening.readers),
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
        let answer = self.read(sql("SELECT MAX(version) FROM schema_versions")).await?;
        let version: Option<i64> = answer.rows.first().map(|row| row.get(0)).transpose()?.flatten();
        Ok(version.and_then(|version| usize::try_from(version).ok()).unwrap_or(0))
    }

    /// Begins a transaction that holds the file's write lock from the start: what it reads, nobody changes before it commits.
    pub(super) async fn begin(&self) -> Result<Taken> {
        let mut connection = Taken::from(self.writer.take(BUSY).await.map_err(fault)?);
        connection.begin().await.map_err(fault)?;
        Ok(connection)
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

async fn on(connections: &Arc<Connections<SqliteConnection>>, statement: Statement<'_>) -> Result<Answer> {
    let mut connection = Taken::from(connections.take(BUSY).await.map_err(fault)?);
    connection.run(statement).await.map_err(fault)
}

/// A connection in use. Dropped, it undoes the transaction it is in, if it is in one, and goes back.
pub(crate) struct Taken {
    lent: Lent<SqliteConnection>,
    in_transaction: bool,
}

impl From<Lent<SqliteConnection>> for Taken {
    fn from(lent: Lent<SqliteConnection>) -> Self {
        Self { lent, in_transaction: false }
    }
}

impl Taken {
    /// Begins a transaction that holds the file's write lock from the start.
    async fn begin(&mut self) -> sqlx::Result<()> {
        // Before it has begun: a beginning that nobody waits for any more may still happen.
        self.in_transaction = true;
        self.run(sql("BEGIN IMMEDIATE")).await.map(drop)
    }

    /// Makes what the transaction did true.
    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        let committed = self.run(sql("COMMIT")).await;
        self.in_transaction = committed.is_err();
        committed.map(drop)
    }

    /// Runs a statement.
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> sqlx::Result<Answer> {
        let answer = statement.on_sqlite(self.lent.connection()?).await;
        self.noting(answer)
    }

    /// Runs several statements that have no values.
    pub(super) async fn batch(&mut self, statements: &'static str) -> sqlx::Result<()> {
        let done = sqlx::raw_sql(statements).execute(self.lent.connection()?).await.map(drop);
        self.noting(done)
    }

    /// A connection whose thread is gone does not go back.
    fn noting<T>(&mut self, done: sqlx::Result<T>) -> sqlx::Result<T> {
        if matches!(done, Err(sqlx::Error::WorkerCrashed)) {
            self.lent.discard();
        }
        done
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.in_transaction
            && let Ok(connection) = self.lent.connection()
        {
            // The connection's thread takes what it is told one by one; told is it as soon as this is looked at. When there is nothing
            // to undo, because it never began or is undone already, that is its answer.
            let _told = sql("ROLLBACK").on_sqlite(connection).now_or_never();
        }
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
