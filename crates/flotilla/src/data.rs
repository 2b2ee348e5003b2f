//! The data folder: keys with mode 0600, databases, and notes of which processes run where.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::store::{self, Expect};
use kernel::{Clock, Code, Fault, Result, Secret};
use serde::{Deserialize, Serialize};

use crate::config::{FLEET_KEY, Loaded};

/// The data folder.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// What a running process left for the CLI to find.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunNote {
    /// The process.
    pub pid: u32,
    /// The coordinator's URL for everybody, if this process has it.
    pub coordinator: Option<String>,
    /// The dashboard's URL, if this process has it.
    pub dashboard: Option<String>,
    /// The URL of every service of this process, by name; an agent's is `agent:NAME`. This is where the fleet itself finds it.
    pub services: std::collections::BTreeMap<String, String>,
}

impl DataDir {
    /// Opens the folder; makes it, for its owner only, when it is not there.
    pub fn open(path: &Path) -> Result<Self> {
        for folder in [path.to_owned(), path.join("keys"), path.join("run")] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
                Fault::unavailable(format!("data folder {} cannot be made: {error}", folder.display()))
                    .hint("set FLOTILLA_DATA_DIR to a folder you may write to")
            })?;
        }
        let path = path.canonicalize().map_err(|error| Fault::internal(format!("{}: {error}", path.display())))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the fleet's database: in this folder, or where the configuration says.
    pub async fn database(&self, loaded: &Loaded, clock: Clock) -> Result<backends::Database> {
        backends::open(&loaded.config.store, loaded.postgres(), &self.path, clock).await
    }

    /// The key that seals what the fleet's processes tell each other and what travels through clients: the one that is given, what the
    /// fleet's machines share in their database, or this folder's. Made at the first start.
    pub async fn fleet_key(&self, loaded: &Loaded, database: &backends::Database) -> Result<[u8; 32]> {
        if let Some(given) = loaded.secrets.get(FLEET_KEY) {
            let wrong = Fault::invalid(format!("{FLEET_KEY} is no key"));
            return key_of(given)
                .ok_or_else(|| wrong.hint("32 random bytes in base64url without padding: 43 characters"));
        }
        let own = self.secret("fleet.key", || kernel::ids::random_token(32))?;
        let (text, place) = match loaded.postgres() {
            Some(_) => (shared_key(database, &own).await?, "the fleet's key in the database".to_owned()),
            None => (own, self.path.join("keys/fleet.key").display().to_string()),
        };
        key_of(&text).ok_or_else(|| {
            Fault::invalid(format!("{place} is damaged"))
                .hint("restore it from a backup, or remove it: sessions under way then start again")
        })
    }

    /// The CLI's own API key, if it has been made.
    pub fn cli_key(&self) -> Option<Secret> {
        fs::read_to_string(self.cli_key_path()).ok().map(|text| Secret::new(text.trim()))
    }

    /// Waits until no other process of this folder makes keys, and keeps others waiting while the answer lives.
    pub fn alone(&self) -> Result<File> {
        let path = self.path.join("keys/.lock");
        let failed = |error| Fault::unavailable(format!("{} cannot be locked: {error}", path.display()));
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// Where the CLI's key is.
    pub fn cli_key_path(&self) -> PathBuf {
        self.path.join("keys/cli.key")
    }

    /// Keeps the CLI's key.
    pub fn keep_cli_key(&self, key: &Secret) -> Result<()> {
        self.write_private(&self.cli_key_path(), key.expose())
    }

    /// Reads a secret of ours, made by `make` when it is not there. Two processes that start together read the same one.
    fn secret(&self, name: &str, make: impl FnOnce() -> String) -> Result<Secret> {
        let path = self.path.join("keys").join(name);
        if !path.exists() {
            // Not by the process's number: containers that share a folder have the same ones.
            let fresh = path.with_extension(kernel::ids::new_id("new"));
            self.write_private(&fresh, &make())?;
            // A hard link fails when the name is taken, so whoever is first wins.
            let linked = fs::hard_link(&fresh, &path);
            fs::remove_file(&fresh).map_err(|error| Fault::internal(format!("{}: {error}", fresh.display())))?;
            if let Err(error) = linked
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(Fault::unavailable(format!("{} cannot be made: {error}", path.display())));
            }
        }
        let text = fs::read_to_string(&path)
            .map_err(|error| Fault::unavailable(format!("{} cannot be read: {error}", path.display())))?;
        Ok(Secret::new(text.trim()))
    }

    fn write_private(&self, path: &Path, text: &str) -> Result<()> {
        let failed = |error| Fault::unavailable(format!("{} cannot be written: {error}", path.display()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Leaves a note of this process.
    pub fn note(&self, note: &RunNote) -> Result<()> {
        let text = serde_json::to_string_pretty(note).map_err(|error| Fault::internal(error.to_string()))?;
        let fresh = self.note_path(note.pid).with_extension("new");
        self.write_private(&fresh, &text)?;
        fs::rename(&fresh, self.note_path(note.pid)).map_err(|error| Fault::internal(format!("run note: {error}")))
    }

    /// Removes this process's note.
    pub fn forget(&self, pid: u32) {
        if let Err(error) = fs::remove_file(self.note_path(pid)) {
            tracing::debug!(%error, "run note not removed");
        }
    }

    fn note_path(&self, pid: u32) -> PathBuf {
        self.path.join("run").join(format!("{}{pid}.json", here()))
    }

    /// The notes of this machine's processes that still run: in a folder that containers share, numbers mean something only at home.
    pub fn running(&self) -> Vec<RunNote> {
        let here = here();
        let files = fs::read_dir(self.path.join("run")).into_iter().flatten().flatten();
        let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(&here));
        let notes =
            files.filter_map(|file| serde_json::from_str::<RunNote>(&fs::read_to_string(file.path()).ok()?).ok());
        notes.filter(|note| is_running(note.pid)).collect()
    }
}

/// What the names of this machine's notes begin with.
fn here() -> String {
    format!("{}-", crate::config::machine())
}

fn key_of(text: &Secret) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text.expose()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
}

/// The key that all machines find in the database; the first one puts its own there.
async fn shared_key(database: &backends::Database, own: &Secret) -> Result<Secret> {
    const SPACE: &str = "fleet";
    const KEY: &str = "key";
    let first = store::Write::put(SPACE, KEY, own.expose()).expecting(Expect::Absent);
    match database.store.commit(vec![first]).await {
        Ok(_) => return Ok(own.clone()),
        Err(fault) if fault.code == Code::Conflict => {}
        Err(fault) => return Err(fault),
    }
    let entry = database.store.get(SPACE, KEY).await?;
    entry.map(|entry| Secret::new(entry.value)).ok_or_else(|| Fault::unavailable("the fleet's key was taken away"))
}

/// Whether a process of this number runs: is there, and not only waiting to be reaped.
pub fn is_running(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // `pid (name) state …`, and the name may hold anything.
        Ok(stat) => !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        // Where there is a /proc, there is no such process in it.
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        // Systems without /proc: signal 0 asks without sending.
        Err(_) => i32::try_from(pid).is_ok_and(|pid| send(pid, 0)),
    }
}

/// Whether the process of this number runs the same program as this one: numbers are given again, and a note may be of a process that crashed.
/// Where that cannot be told it is taken for one.
pub fn is_ours(pid: u32) -> bool {
    let name = |who: &str| fs::read_to_string(format!("/proc/{who}/comm")).ok();
    match (name(&pid.to_string()), name("self")) {
        (Some(theirs), Some(own)) => theirs == own,
        _ => true,
    }
}

/// Asks a process to end. False when it may not be asked, or is not there.
pub fn ask_to_end(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| pid > 0 && send(pid, libc::SIGTERM))
}

#[expect(unsafe_code, reason = "signals have no safe form in std")]
fn send(pid: i32, signal: i32) -> bool {
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) == 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn all_that_begin_at_once_find_the_same_secret() {
        const COUNT: usize = 16;
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let start = Barrier::new(COUNT);
        let secret = || {
            start.wait();
            data.secret("fleet.key", || kernel::ids::random_token(32)).map(|secret| secret.expose().to_owned())
        };
        let found: Vec<String> = thread::scope(|scope| {
            let all: Vec<_> = (0..COUNT).map(|_| scope.spawn(secret)).collect();
            all.into_iter().map(|one| one.join().unwrap().unwrap()).collect()
        });
        assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
        assert_eq!(fs::read_dir(folder.path().join("keys")).unwrap().count(), 1, "nothing is left behind");
    }
}
