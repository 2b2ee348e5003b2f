//! Port: all that the fleet keeps, in files of its own folder, each whole by itself; and back.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Fault, Result, UnixMs};

/// A backup in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// Its name, which is its file's.
    pub name: String,
    /// The size of its file, in bytes.
    pub file_bytes: u64,
    /// When its file was written, in milliseconds since the Unix epoch.
    pub written_ms: UnixMs,
}

/// What a backup has in it, read to its end and compared with what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contents {
    /// The backup's name.
    pub name: String,
    /// The version of the program that made it.
    pub version: String,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub made_ms: UnixMs,
    /// How many files it has.
    pub files: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// A data folder that was made of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// What it was made of.
    pub contents: Contents,
    /// The new folder.
    pub data_dir: String,
    /// How many rows of its audit trail were verified.
    pub audit_rows: u64,
}

/// The port.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Makes a backup of all that the fleet keeps, while it runs, and removes the oldest beyond `keep`.
    async fn create(&self, keep: usize) -> Result<Contents>;

    /// The backups, newest first.
    async fn list(&self) -> Result<Vec<Backup>>;

    /// Reads a backup to its end.
    ///
    /// # Errors
    /// [`Code::NotFound`](crate::Code::NotFound); [`Code::InvalidArgument`](crate::Code::InvalidArgument) when it is torn or altered, with the reason.
    async fn verify(&self, name: &str) -> Result<Contents>;

    /// Puts a backup into a new folder, and verifies the audit trail in it. What the fleet has now stays as it is.
    ///
    /// # Errors
    /// As [`Vault::verify`].
    async fn restore(&self, name: &str) -> Result<Restored>;
}

/// Where nothing is kept in a folder, and why.
pub struct NoVault(pub Fault);

impl Default for NoVault {
    fn default() -> Self {
        Self(
            Fault::not_configured("this process has no data folder to back up")
                .hint("a fleet started with `flotilla up` has one"),
        )
    }
}

#[async_trait]
impl Vault for NoVault {
    async fn create(&self, _: usize) -> Result<Contents> {
        Err(self.0.clone())
    }

    async fn list(&self) -> Result<Vec<Backup>> {
        Err(self.0.clone())
    }

    async fn verify(&self, _: &str) -> Result<Contents> {
        Err(self.0.clone())
    }

    async fn restore(&self, _: &str) -> Result<Restored> {
        Err(self.0.clone())
    }
}
