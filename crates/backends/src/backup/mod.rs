//! All that a fleet keeps in its data folder and on PostgreSQL, in one file, and back.
//!
//! The file is a gzipped tar: `manifest.json` with the size and SHA-256 of every other entry, then those. Databases are copied by SQLite
//! itself, each as it is at one moment, whatever is written meanwhile; the others are small files that are replaced whole. What PostgreSQL keeps is
//! in it as the database file that a fleet without PostgreSQL would have, read as it is at one moment too; so each kind of fleet can be made
//! of a backup of the other. It has the fleet's keys in it, and only its owner may read it.
//!
//! What is not in the manifest, or not as it says, is refused before anything of a data folder is touched: see [`check`] and [`restore`].

mod read;
mod server;
#[cfg(test)]
mod tests;
mod vault;
mod write;

use std::path::Path;

use kernel::{Fault, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use read::{check, restore};

use crate::postgres::Place;
pub use vault::{Folder, restore_verified};
pub use write::create;

/// What a fleet keeps, and where.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    /// Its data folder.
    pub data: &'a Path,
    /// Where its database is, when that is not in the folder.
    pub postgres: Option<Place<'a>>,
}

/// Settings that lie in the folder, as they do in containers: they are no part of what the fleet keeps, and stay whose they are.
const SETTINGS: &str = "flotilla.toml";
/// The manifest's name in the file.
const MANIFEST: &str = "manifest.json";
/// The format this program writes and reads.
const FORMAT: u32 = 1;
/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Most files of one backup.
const FILES_MAX: usize = 10_000;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The file's format.
    pub format: u32,
    /// The version of the program that made it.
    pub version: String,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub made_ms: UnixMs,
    /// The files, in the order they are in.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Where it lies in the data folder.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// The size of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A digest that grows with what is read or written.
struct Sum(ring::digest::Context);

impl Sum {
    fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    fn hex(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::io::Write for Sum {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.update(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::invalid(format!("{} is not a whole backup: {why}", path.display()))
        .hint("use another one; nothing was restored")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> kernel::Result<T> + Send + 'static) -> kernel::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::internal(format!("backup: {error}")))?
}
