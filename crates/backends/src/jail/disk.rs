//! How much there is in the folders of the machine that a program may write: nothing else bounds all of it together.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kernel::jail::Mount;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What a file or a folder takes beside its content, in bytes: so that many small ones count too.
const ENTRY_BYTES: u64 = 4 << 10;

/// Resolves when there is more than `max` bytes in one of the folders that may be written.
pub(super) async fn over(mounts: &[Mount], max: u64) {
    let folders: Vec<PathBuf> = mounts.iter().filter(|mount| mount.write).map(|mount| mount.from.clone()).collect();
    if folders.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let folders = folders.clone();
        // A look that fails is followed by another.
        let over = tokio::task::spawn_blocking(move || folders.into_iter().any(|folder| holds_more(folder, max)));
        if over.await.unwrap_or(false) {
            return;
        }
    }
}

/// Whether a folder holds more than `max` bytes. Links are not followed, and it stops looking when it knows.
fn holds_more(folder: PathBuf, max: u64) -> bool {
    let (mut bytes, mut next) = (0_u64, vec![folder]);
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // What cannot be read is gone.
            let Ok(about) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(ENTRY_BYTES);
            if about.is_dir() {
                next.push(entry.path());
            } else {
                bytes = bytes.saturating_add(about.len());
            }
            if bytes > max {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_folders_counts_and_what_links_lead_to_does_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![0; 10_000]).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        assert!(holds_more(folder.path().to_owned(), 20_000));
        assert!(!holds_more(folder.path().to_owned(), 24_000));
    }
}
