//! Store, bus, queue and audit trail in one SQLite file, `flotilla.db`, which several processes may share.

mod audit;
mod bus;
mod queue;
mod schema;
mod store;

use std::path::Path;
use std::sync::Arc;

use kernel::audit::Audit;
use kernel::bus::Bus;
use kernel::queue::{DEPTH_MAX, Queue};
use kernel::store::Store;
use kernel::{Clock, Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteSynchronous;

use crate::db::{Db, Opening, fault, io_fault, unsigned};

/// The file's name in the data folder.
pub const FILE: &str = "flotilla.db";

/// How the file is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What a write that returned survives.
    pub synchronous: Synchronous,
    /// Connections that read, at most; each is a thread. 1 to 64.
    pub readers: u32,
    /// Tasks that may wait in one queue; more are refused.
    pub queue_depth_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { synchronous: Synchronous::default(), readers: 3, queue_depth_max: DEPTH_MAX }
    }
}

/// What a write that returned survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The death of the process.
    #[default]
    Normal,
    /// Also a power cut, at the price of a disk flush for every commit.
    Full,
}

impl Synchronous {
    pub(crate) fn sqlite(self) -> SqliteSynchronous {
        match self {
            Self::Normal => SqliteSynchronous::Normal,
            Self::Full => SqliteSynchronous::Full,
        }
    }
}

/// The open file as ports.
#[derive(Clone)]
pub struct Sqlite {
    /// Small durable values.
    pub store: Arc<dyn Store>,
    /// Events.
    pub bus: Arc<dyn Bus>,
    /// Tasks.
    pub queue: Arc<dyn Queue>,
    /// The audit trail.
    pub audit: Arc<dyn Audit>,
    db: Db,
}

impl Sqlite {
    /// Closes the file. What still uses the ports then gets [`Code::Unavailable`](kernel::Code::Unavailable).
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// Opens `flotilla.db` in `data_dir`, making both when they are not there.
///
/// # Errors
/// [`Code::Unavailable`](kernel::Code::Unavailable) when the folder or file cannot be written,
/// [`Code::Unsupported`](kernel::Code::Unsupported) when a newer version of this program wrote it.
pub async fn open(config: &Config, data_dir: &Path, clock: Clock) -> Result<Sqlite> {
    if !(1..=64).contains(&config.readers) {
        return Err(Fault::invalid(format!("{} readers of the database", config.readers)).hint("1 to 64"));
    }
    make_private_dir(data_dir)?;
    let path = data_dir.join(FILE);
    let opening = Opening {
        path: &path,
        synchronous: config.synchronous.sqlite(),
        readers: config.readers,
        create: true,
        idle: None,
        schema: schema::VERSIONS,
    };
    let db = Db::open(&opening, &clock).await?;
    Ok(Sqlite {
        store: Arc::new(store::SqliteStore::new(db.clone(), clock.clone())),
        bus: Arc::new(bus::SqliteBus::new(db.clone(), clock.clone())),
        queue: Arc::new(queue::SqliteQueue::new(db.clone(), clock, config.queue_depth_max)),
        audit: Arc::new(audit::SqliteAudit::new(db.clone())),
        db,
    })
}

/// Makes a folder that only its owner may enter. One that is there stays as it is.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| io_fault(&error, &format!("cannot make folder {}", path.display())))
}

/// The value of a counter, for looking what other processes did.
async fn counter(db: &Db, name: &'static str) -> Result<u64> {
    let value: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = $1")
        .bind(name)
        .fetch_one(&db.readers)
        .await
        .map_err(fault)?;
    Ok(unsigned(value))
}
