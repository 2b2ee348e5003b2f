//! The database that ports are made of: one SQLite file, or PostgreSQL. Here, in the two schemas and, for full text, in `logs` are the only
//! places that know which.
//!
//! A transaction holds off every other writer of its [`Part`] from its start: what it reads, nobody changes before it commits. SQLite has one
//! writer anyhow; on PostgreSQL it is a lock for each part, held until the transaction ends.

mod connections;
mod insert;
pub(crate) mod postgres;
mod reach;
mod sql;
pub(crate) mod sqlite;
mod transaction;
pub(crate) mod transfer;

use std::sync::Arc;

pub(crate) use insert::Insert;
use kernel::{Clock, Fault, Result};
use sql::Answer;
pub(crate) use sql::{Row, Statement, sql};

/// What is written together: the parts do not wait for each other where the database lets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Schema = 0,
    Store = 1,
    Bus = 2,
    Queue = 3,
    Audit = 4,
}

/// How many parts there are.
const PARTS: usize = 5;

/// An open database, as one part uses it. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Db {
    kind: Kind,
    part: Part,
}

#[derive(Clone)]
enum Kind {
    Sqlite(sqlite::File),
    Postgres(Arc<postgres::Server>),
}

impl From<sqlite::File> for Db {
    fn from(file: sqlite::File) -> Self {
        Self { kind: Kind::Sqlite(file), part: Part::Schema }
    }
}

impl From<postgres::Server> for Db {
    fn from(server: postgres::Server) -> Self {
        Self { kind: Kind::Postgres(Arc::new(server)), part: Part::Schema }
    }
}

impl Db {
    /// The same database for `part`.
    pub(crate) fn of(&self, part: Part) -> Self {
        Self { kind: self.kind.clone(), part }
    }

    /// Begins a transaction that nobody else's write of this part comes into.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        match &self.kind {
            Kind::Sqlite(file) => file.begin().await.map(Tx::Sqlite),
            Kind::Postgres(server) => server.begin(self.part).await.map(Tx::Postgres),
        }
    }

    /// Begins a transaction that sees what there is now, whatever others write meanwhile.
    async fn snapshot(&self) -> Result<Tx> {
        match &self.kind {
            Kind::Sqlite(file) => file.begin().await.map(Tx::Sqlite),
            Kind::Postgres(server) => server.snapshot().await.map(Tx::Postgres),
        }
    }

    /// For a write that is one statement, and so a transaction by itself.
    pub(crate) fn writer(&self) -> On<'_> {
        On::Writer(self)
    }

    /// For what only reads.
    pub(crate) fn readers(&self) -> On<'_> {
        On::Readers(self)
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        match &self.kind {
            Kind::Sqlite(file) => file.close().await,
            Kind::Postgres(server) => server.close().await,
        }
    }

    /// Whether placeholders must have numbers.
    fn numbers_placeholders(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }
}

/// What both databases say of a place in a transaction.
const MARK: &str = "SAVEPOINT mark";
const BACK: &str = "ROLLBACK TO SAVEPOINT mark";

/// A transaction. Dropped without [`Tx::commit`], nothing of it was.
pub(crate) enum Tx {
    Sqlite(sqlite::Taken),
    Postgres(transaction::Transaction),
}

impl Tx {
    /// Makes all of it true.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await.map_err(sqlite::fault),
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    /// Marks a place that can be gone back to, also when a statement after it fails.
    pub(crate) async fn mark(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.batch(MARK).await.map_err(sqlite::fault),
            Self::Postgres(tx) => tx.mark().await,
        }
    }

    /// Undoes what came after the mark, and goes on from there.
    pub(crate) async fn back(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.batch(BACK).await.map_err(sqlite::fault),
            Self::Postgres(tx) => tx.back().await,
        }
    }

    fn numbers_placeholders(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Runs several statements that have no values.
    async fn batch(&mut self, statements: &'static str) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.batch(statements).await.map_err(sqlite::fault),
            Self::Postgres(tx) => tx.batch(statements).await,
        }
    }
}

/// Brings a schema up to date in a transaction of its own.
async fn migrate(mut tx: Tx, schema: &[&'static str], clock: &Clock, or_use: &str) -> Result<()> {
    tx.batch("CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, applied_ms BIGINT NOT NULL)")
        .await?;
    let (had,): (i64,) = sql("SELECT COALESCE(MAX(version), 0) FROM schema_versions").one(&mut tx).await?;
    let had = usize::try_from(had).unwrap_or(usize::MAX);
    if had > schema.len() {
        return Err(Fault::unsupported(format!("its schema is version {had}, this program knows {}", schema.len()))
            .hint(format!("use the newer flotilla that wrote it, or {or_use}")));
    }
    for (version, statements) in (1i64..).zip(schema).skip(had) {
        tx.batch(statements).await?;
        let note = sql("INSERT INTO schema_versions (version, applied_ms) VALUES ($1, $2)");
        note.bind(version).bind(clock.now_ms()).run(&mut tx).await?;
    }
    tx.commit().await
}

/// Where a statement is run.
pub(crate) enum On<'c> {
    Readers(&'c Db),
    Writer(&'c Db),
    Tx(&'c mut Tx),
}

impl<'c> From<&'c mut Tx> for On<'c> {
    fn from(tx: &'c mut Tx) -> Self {
        Self::Tx(tx)
    }
}

impl On<'_> {
    async fn answer(self, statement: Statement<'_>) -> Result<Answer> {
        match self {
            Self::Readers(Db { kind: Kind::Sqlite(file), .. }) => file.read(statement).await,
            Self::Writer(Db { kind: Kind::Sqlite(file), .. }) => file.write(statement).await,
            Self::Tx(Tx::Sqlite(tx)) => tx.run(statement).await.map_err(sqlite::fault),
            Self::Readers(Db { kind: Kind::Postgres(server), .. }) => server.read(statement).await,
            Self::Writer(Db { kind: Kind::Postgres(server), part }) => {
                let mut tx = server.begin(*part).await?;
                let answer = tx.run(statement).await?;
                tx.commit().await.map(|()| answer)
            }
            Self::Tx(Tx::Postgres(tx)) => tx.run(statement).await,
        }
    }
}

/// A row that is not as it should be, in our words.
#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn fault(error: sqlx::Error) -> Fault {
    Fault::internal(format!("database: {error}"))
}

/// What a trigger of both schemas says, in our words.
fn said_by_trigger(error: &sqlx::Error) -> Option<Fault> {
    let message = error.as_database_error().map(sqlx::error::DatabaseError::message)?;
    (message == MANY_TYPES).then(kernel::queue::many_types)
}

/// What the trigger `task_type_new` says.
pub(crate) const MANY_TYPES: &str = "too many types of task";

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
