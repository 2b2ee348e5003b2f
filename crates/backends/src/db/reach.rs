//! Whether the PostgreSQL server can be reached. While it cannot, whoever asks hears so at once, and one of them looks now and then whether
//! it is back: nobody waits for a server that is known to be away, and nobody hammers one that is starting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::backoff::Backoff;
use kernel::{Fault, Result};
use parking_lot::Mutex;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::Instant;

use super::postgres::fault;

/// How long one look may take.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// Waits between looks.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(2) };

/// See the module.
pub(super) struct Reach {
    options: PgConnectOptions,
    /// Host, port and database, for people.
    place: String,
    away: AtomicBool,
    /// When it was last seen to be away.
    lost: Mutex<Option<Instant>>,
    looks: tokio::sync::Mutex<Looks>,
}

/// What the looks since it went away have seen.
#[derive(Default)]
struct Looks {
    failures: u32,
    next: Option<Instant>,
}

impl Reach {
    pub(super) fn new(options: PgConnectOptions, place: String) -> Self {
        Self {
            options,
            place,
            away: AtomicBool::new(false),
            lost: Mutex::default(),
            looks: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Says that a connection was lost, or none was to be had.
    pub(super) fn lost(&self, why: &sqlx::Error) {
        *self.lost.lock() = Some(Instant::now());
        if !self.away.swap(true, Ordering::AcqRel) {
            tracing::warn!(place = self.place, error = %why, "PostgreSQL does not answer");
        }
    }

    /// Whether a connection of this age may be one to a server that has gone since.
    pub(super) fn has_gone_since(&self, age: Duration) -> bool {
        self.lost.lock().is_some_and(|lost| lost.elapsed() <= age)
    }

    /// Refuses while the server is away.
    pub(super) async fn check(&self) -> Result<()> {
        if !self.away.load(Ordering::Acquire) {
            return Ok(());
        }
        let Ok(mut looks) = self.looks.try_lock() else { return Err(self.is_away("somebody is looking")) };
        if looks.next.is_some_and(|next| Instant::now() < next) {
            return Err(self.is_away("it did not answer lately"));
        }
        match self.look().await {
            Ok(()) => {
                *looks = Looks::default();
                if self.away.swap(false, Ordering::AcqRel) {
                    tracing::info!(place = self.place, "PostgreSQL answers again");
                }
                Ok(())
            }
            Err(fault) => {
                looks.failures = looks.failures.saturating_add(1);
                looks.next = Some(Instant::now() + BACKOFF.wait(looks.failures));
                Err(fault)
            }
        }
    }

    /// Looks whether the server lets us in.
    pub(super) async fn look(&self) -> Result<()> {
        let looking = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            connection.ping().await?;
            connection.close().await
        };
        match tokio::time::timeout(LOOK_TIME, looking).await {
            Ok(looked) => looked.map_err(|error| fault(&self.place, &error)),
            Err(_) => Err(self.is_away(&format!("no answer within {} s", LOOK_TIME.as_secs()))),
        }
    }

    /// The refusal of anything while the server is away.
    pub(super) fn is_away(&self, why: &str) -> Fault {
        Fault::unavailable(format!("PostgreSQL at {} cannot be reached: {why}", self.place))
            .hint("it is looked for; what was written before is there when it is back")
    }
}
