//! Connections to PostgreSQL in use, and transactions on them.
//!
//! A connection goes back only when it is known that all it was told is over: a statement that nobody waits for any more, or a transaction that
//! was left, ends with its connection, and the next user gets another. sqlx's own transactions leave the undoing to that next user, and one
//! whose beginning is given up is not undone at all.

use std::sync::Arc;

use kernel::{Fault, Result};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};
use tokio::sync::OwnedMutexGuard;

use super::connections::Lent;
use super::postgres::{away, in_time};
use super::reach::Reach;
use super::sql::{Answer, Statement};
use super::{BACK, MARK, Part};

/// A connection in use. Dropped, it goes back, or is closed.
pub(super) struct Used {
    lent: Lent<PgConnection>,
    /// Whether something it was told may be under way.
    unclear: bool,
    in_transaction: bool,
}

impl From<Lent<PgConnection>> for Used {
    fn from(lent: Lent<PgConnection>) -> Self {
        Self { lent, unclear: false, in_transaction: false }
    }
}

impl Used {
    pub(super) fn lent(&self) -> &Lent<PgConnection> {
        &self.lent
    }

    /// Asks the server for a sign of life.
    pub(super) async fn ping(&mut self) -> sqlx::Result<()> {
        self.unclear = true;
        let answered = self.lent.connection()?.ping().await;
        self.unclear = answered.is_err();
        answered
    }

    /// Runs a statement.
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> sqlx::Result<Answer> {
        self.unclear = true;
        let answer = statement.on_postgres(self.lent.connection()?).await;
        self.noting(answer)
    }

    /// Runs several statements that have no values, in one exchange.
    async fn batch(&mut self, statements: impl SqlSafeStr) -> sqlx::Result<()> {
        self.unclear = true;
        let done = sqlx::raw_sql(statements).execute(self.lent.connection()?).await.map(drop);
        self.noting(done)
    }

    /// A refusal is an answer; what else goes wrong says nothing of what the server does.
    fn noting<T>(&mut self, done: sqlx::Result<T>) -> sqlx::Result<T> {
        self.unclear = done.as_ref().is_err_and(|error| away(error) || error.as_database_error().is_none());
        done
    }

    /// Begins a transaction that sees what there is at its first statement, and writes nothing.
    pub(super) async fn begin_snapshot(&mut self) -> sqlx::Result<()> {
        self.in_transaction = true;
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// Begins a transaction that holds the lock of `part`. What it then reads is as it is once the lock is held: each statement has a view of its own.
    pub(super) async fn begin(&mut self, part: Part) -> sqlx::Result<()> {
        self.in_transaction = true;
        let part = part as i32;
        let begin = format!("BEGIN; SELECT pg_advisory_xact_lock(hashtext('flotilla ' || current_schema()), {part})");
        self.batch(AssertSqlSafe(begin)).await
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if self.unclear || self.in_transaction {
            self.lent.discard();
        }
    }
}

/// A transaction on the server.
pub(crate) struct Transaction {
    /// Gone when it has ended.
    used: Option<Used>,
    reach: Arc<Reach>,
    mark: Mark,
    /// After the connection, so that the next in turn finds it.
    _turn: Option<OwnedMutexGuard<()>>,
}

/// Whether there is a place to go back to.
#[derive(PartialEq, Eq)]
enum Mark {
    None,
    Set,
    /// A statement failed since: until somebody goes back, the server does nothing more.
    Due,
}

impl Transaction {
    /// The one that was begun on a connection, in its part's turn.
    pub(super) fn new(used: Used, turn: Option<OwnedMutexGuard<()>>, reach: Arc<Reach>) -> Self {
        Self { used: Some(used), reach, mark: Mark::None, _turn: turn }
    }

    pub(super) async fn run(&mut self, statement: Statement<'_>) -> Result<Answer> {
        let used = at_work(&mut self.used, &self.mark)?;
        let done = in_time(&self.reach, used.run(statement)).await;
        self.noting(done).await
    }

    pub(super) async fn batch(&mut self, statements: &'static str) -> Result<()> {
        let used = at_work(&mut self.used, &self.mark)?;
        let done = in_time(&self.reach, used.batch(statements)).await;
        self.noting(done).await
    }

    /// Marks a place to go back to.
    pub(super) async fn mark(&mut self) -> Result<()> {
        self.batch(MARK).await?;
        self.mark = Mark::Set;
        Ok(())
    }

    /// Goes back to it, whether or not a statement has failed since.
    pub(super) async fn back(&mut self) -> Result<()> {
        self.mark = Mark::Set;
        self.batch(BACK).await?;
        self.mark = Mark::None;
        Ok(())
    }

    /// Makes all of it true. The server would answer with an undoing, and no error, where a statement had failed.
    pub(super) async fn commit(mut self) -> Result<()> {
        at_work(&mut self.used, &self.mark)?;
        let mut used = self.used.take().ok_or_else(ended)?;
        in_time(&self.reach, used.batch("COMMIT")).await?;
        used.in_transaction = false;
        Ok(())
    }

    /// One in which a statement failed has ended, and is undone before anybody goes on; unless there is a place to go back to.
    async fn noting<T>(&mut self, done: Result<T>) -> Result<T> {
        if done.is_err() && self.mark == Mark::Set && self.used.as_ref().is_some_and(|used| !used.unclear) {
            self.mark = Mark::Due;
        } else if done.is_err()
            && let Some(mut used) = self.used.take()
            && !used.unclear
        {
            let undone = in_time(&self.reach, used.batch("ROLLBACK")).await;
            used.in_transaction = undone.is_err();
        }
        done
    }
}

/// The connection, while the server does what it is told.
fn at_work<'u>(used: &'u mut Option<Used>, mark: &Mark) -> Result<&'u mut Used> {
    used.as_mut().filter(|_| *mark != Mark::Due).ok_or_else(ended)
}

fn ended() -> Fault {
    Fault::internal("the transaction has ended: a statement of it failed")
}
