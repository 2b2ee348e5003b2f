//! A file that one process of a machine holds at a time, released by the system when that process ends, whatever way.

use std::fs::{File, TryLockError};
use std::path::Path;

use kernel::{Fault, Result};

/// Takes the lock for as long as the file is held; `None` when another process has it.
pub(crate) fn take(path: &Path) -> Result<Option<File>> {
    let wrong = |error: std::io::Error| Fault::unavailable(format!("{} cannot be locked: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(wrong(error)),
    }
}
