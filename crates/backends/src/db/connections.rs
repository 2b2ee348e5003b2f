//! The connections to one SQLite file. sqlx's pool asks a connection after every use whether it still answers, which for a thread of this
//! process costs as much as most statements do; these go back as they are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::sql::{Answer, Statement, sql};

/// Connections that are opened the same way, as many at once as there are turns.
pub(super) struct Connections {
    options: SqliteConnectOptions,
    most: u32,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Connections {
    pub(super) fn new(options: SqliteConnectOptions, most: u32) -> Arc<Self> {
        Arc::new(Self { options, most, turns: Arc::new(Semaphore::new(most as usize)), idle: Mutex::default() })
    }

    /// A connection, when one is free within `patience`: the one that was used last, or a new one.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> sqlx::Result<Taken> {
        let turn = timeout(patience, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Taken { connection: Some(connection), in_transaction: false, home: Arc::clone(self), _turn: turn })
    }

    /// Waits for those that are in use, then closes all.
    pub(super) async fn close(&self) {
        // Closed is only what nobody can close any more.
        let _all = self.turns.acquire_many(self.most).await.ok();
        self.turns.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "a connection to the database was not closed in order");
            }
        }
    }
}

/// A connection in use. Dropped, it undoes the transaction it is in, if it is in one, and goes back.
pub(crate) struct Taken {
    /// Gone when its thread is.
    connection: Option<SqliteConnection>,
    in_transaction: bool,
    home: Arc<Connections>,
    _turn: OwnedSemaphorePermit,
}

impl Taken {
    fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// Begins a transaction that holds the file's write lock from the start.
    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
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
        let answer = statement.on_sqlite(self.connection()?).await;
        self.noting(answer)
    }

    /// Runs several statements that have no values.
    pub(super) async fn batch(&mut self, statements: &'static str) -> sqlx::Result<()> {
        let done = sqlx::raw_sql(statements).execute(self.connection()?).await.map(drop);
        self.noting(done)
    }

    /// A connection whose thread is gone does not go back.
    fn noting<T>(&mut self, done: sqlx::Result<T>) -> sqlx::Result<T> {
        if matches!(done, Err(sqlx::Error::WorkerCrashed)) {
            self.connection = None;
        }
        done
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.in_transaction {
            // The connection's thread takes what it is told one by one; told is it as soon as this is looked at. When there is nothing
            // to undo, because it never began or is undone already, that is its answer.
            let _told = sql("ROLLBACK").on_sqlite(&mut connection).now_or_never();
        }
        self.home.idle.lock().push(connection);
    }
}
