//! Store, bus, queue and audit trail in one SQLite file, `flotilla.db`, which several processes may share.

mod schema;

use std::path::Path;

use kernel::queue::DEPTH_MAX;
use kernel::{Clock, Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteSynchronous;

use crate::Database;
use crate::db::Db;
use crate::db::sqlite::{File, Opening, io_fault};

/// The file's name in the data folder.
pub const FILE: &str = "flotilla.db";

/// Bytes of a page. A commit writes every page it touches, and what this file gets is small commits that touch many.
const PAGE_BYTES: u32 = 1_024;

/// How the database is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What a write that returned survives, in SQLite. PostgreSQL has settings of its own.
    pub synchronous: Synchronous,
    /// Connections that read, at most; in SQLite each is a thread. 1 to 64.
    pub readers: u32,
    /// Tasks that may wait in one queue; more are refused.
    pub queue_depth_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { synchronous: Synchronous::default(), readers: 3, queue_depth_max: DEPTH_MAX }
    }
}

impl Config {
    /// Refuses what no database could be opened with.
    pub(crate) fn check(&self) -> Result<()> {
        if (1..=64).contains(&self.readers) {
            return Ok(());
        }
        Err(Fault::invalid(format!("{} readers of the database", self.readers)).hint("1 to 64"))
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
    fn sqlite(self) -> SqliteSynchronous {
        match self {
            Self::Normal => SqliteSynchronous::Normal,
            Self::Full => SqliteSynchronous::Full,
        }
    }
}

/// Opens `flotilla.db` in `data_dir`, making both when they are not there.
///
/// # Errors
/// [`Code::Unavailable`](kernel::Code::Unavailable) when the folder or file cannot be written,
/// [`Code::Unsupported`](kernel::Code::Unsupported) when a newer version of this program wrote it.
pub async fn open(config: &Config, data_dir: &Path, clock: Clock) -> Result<Database> {
    config.check()?;
    make_private_dir(data_dir)?;
    let path = data_dir.join(FILE);
    let opening = Opening {
        path: &path,
        synchronous: config.synchronous.sqlite(),
        readers: config.readers,
        page_bytes: PAGE_BYTES,
        create: true,
        schema: schema::VERSIONS,
    };
    let file = File::open(&opening, &clock).await?;
    Ok(Database::new(file.into(), &clock, config.queue_depth_max, "SQLite"))
}

/// Opens a file that this process has for itself, making it when it is not there, and brings its schema up to date. What is written is not safe
/// from the machine's death.
pub(crate) async fn tables(path: &Path, clock: &Clock) -> Result<Db> {
    let opening = Opening {
        path,
        synchronous: SqliteSynchronous::Off,
        readers: 1,
        page_bytes: PAGE_BYTES,
        create: true,
        schema: schema::VERSIONS,
    };
    Ok(File::open(&opening, clock).await?.into())
}

/// Makes a folder that only its owner may enter. One that is there stays as it is.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| io_fault(&error, &format!("cannot make folder {}", path.display())))
}
