//! Connections to a database, kept by ourselves. sqlx's pool asks a connection after every use whether it still answers, which costs as much
//! as most statements do, be it to a thread of this process or to a server; these go back as they are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Connections that are opened the same way, as many at once as there are turns.
pub(super) struct Connections<C: Connection> {
    options: C::Options,
    most: u32,
    turns: Arc<Semaphore>,
    /// The one that came back last is the last.
    idle: Mutex<Vec<Idle<C>>>,
}

struct Idle<C> {
    connection: C,
    made: Instant,
    since: Instant,
}

impl<C: Connection> Connections<C> {
    pub(super) fn new(options: C::Options, most: u32) -> Arc<Self> {
        Arc::new(Self { options, most, turns: Arc::new(Semaphore::new(most as usize)), idle: Mutex::default() })
    }

    /// A connection, when one is free within `patience`: the one that was used last, or a new one.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> sqlx::Result<Lent<C>> {
        let turn = timeout(patience, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().pop();
        let (connection, made, since) = match idle {
            Some(Idle { connection, made, since }) => (connection, made, Some(since)),
            None => (self.options.connect().await?, Instant::now(), None),
        };
        Ok(Lent { connection: Some(connection), made, since, home: Arc::clone(self), _turn: turn })
    }

    /// Closes those that nobody has used for so long.
    pub(super) fn forget(&self, idle_for: Duration) {
        let mut idle = self.idle.lock();
        let old = idle.iter().take_while(|idle| idle.since.elapsed() > idle_for).count();
        let old: Vec<_> = idle.drain(..old).collect();
        drop(idle);
        old.into_iter().for_each(|idle| leave(idle.connection));
    }

    /// Waits for those that are in use, then closes all.
    pub(super) async fn close(&self) {
        // Closed is only what nobody can close any more.
        let _all = self.turns.acquire_many(self.most).await.ok();
        self.turns.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        for Idle { connection, .. } in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "a connection to the database was not closed in order");
            }
        }
    }
}

/// A connection in use. Dropped, it goes back.
pub(super) struct Lent<C: Connection> {
    /// Gone when it is not to go back.
    connection: Option<C>,
    made: Instant,
    /// Since when it had rested; nothing when it is new.
    since: Option<Instant>,
    home: Arc<Connections<C>>,
    _turn: OwnedSemaphorePermit,
}

impl<C: Connection> Lent<C> {
    /// The connection, unless it is gone.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut C> {
        self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// How long ago it was opened.
    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// How long it had rested; nothing when it is new.
    pub(super) fn rested(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    /// Closes it: it is not to be used again.
    pub(super) fn discard(&mut self) {
        if let Some(connection) = self.connection.take() {
            leave(connection);
        }
    }
}

impl<C: Connection> Drop for Lent<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.idle.lock().push(Idle { connection, made: self.made, since: Instant::now() });
        }
    }
}

/// Closes a connection where nothing can be waited for: a farewell if there is room for one, and what is open ends with it either way.
fn leave<C: Connection>(connection: C) {
    let _said = connection.close().now_or_never();
}
