//! The ports of `kernel` made of real things: a [`Database`] keeps small values, events, tasks and the audit trail, in one file
//! ([`sqlite`]) or on a server that several machines share ([`postgres`]); processes meter calls together and tell each other news on
//! [`redis`], pass events on to programs outside the fleet by [`rabbitmq`], and find each other, lock and elect on [`etcd`]; [`logs`]
//! keeps log lines in a file a day, [`backup`] puts all that a data folder has into one file, and back, [`jail`] shuts other people's
//! programs in.
//!
//! Invariants:
//! - Several processes may share one database: every write is one transaction that no other write of its part comes into, and that reads
//!   what it builds on.
//! - What is returned as done is durable against the process's death, and with [`sqlite::Synchronous::Full`], or PostgreSQL's own settings,
//!   against a power cut.
//! - The SQL is the same for both databases; what differs stands in `db`, in the two schemas and, for full text, in `logs`.
//! - No SQL and no database error leaves this crate: everything is a [`kernel::Fault`].

pub mod backup;
pub mod containers;
mod db;
pub mod etcd;
pub mod jail;
pub mod logs;
mod ports;
pub mod postgres;
pub mod rabbitmq;
pub mod redis;
pub mod sqlite;

use std::path::Path;

use kernel::{Clock, Result};

pub use ports::Database;

/// Opens the database of a fleet: PostgreSQL where there is a place for it, otherwise the file in `data_dir`.
///
/// # Errors
/// Those of [`postgres::open`] and [`sqlite::open`].
pub async fn open(
    config: &sqlite::Config,
    postgres: Option<postgres::Place<'_>>,
    data_dir: &Path,
    clock: Clock,
) -> Result<Database> {
    match postgres {
        Some(place) => postgres::open(config, place, clock).await,
        None => sqlite::open(config, data_dir, clock).await,
    }
}
