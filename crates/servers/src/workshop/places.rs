//! Where projects are, and where what is built of them is kept.
//!
//! A project is a folder under one of the roots: those of the configuration, and the workspace in the data folder. What is kept of a project is in a
//! folder of its own beside the workspace, one for each server that works on it. Invariants:
//! - A path is looked at after all its links: what leads out of the roots is refused.
//! - One run at a time has a project's folder of built things, among threads and processes. What is in it was written by other people's code:
//!   links in it are not followed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::sync::Weak;

use kernel::Result;
use mcp::prelude::*;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// What every Foundry project has.
const MANIFEST: &str = "foundry.toml";
/// The most projects whose built things are kept; the ones that were used longest ago go first.
const KEPT_MAX: usize = 64;
/// The longest name of a project in the workspace.
const NAME_BYTES_MAX: usize = 64;

/// The places.
pub(crate) struct Places {
    /// The server that they are for, whose `roots` are told of.
    server: &'static str,
    /// What its kept things are under, in `home`.
    kept: &'static str,
    roots: Vec<PathBuf>,
    /// The fleet's own folder for all of this; none where there is no data folder.
    home: Option<PathBuf>,
    turns: Mutex<BTreeMap<PathBuf, Weak<Turn<()>>>>,
}

/// A project, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    /// Its folder, without links.
    pub(crate) path: PathBuf,
    /// What it was called.
    pub(crate) name: String,
}

/// A project's folder of built things, held.
pub(crate) struct Kept {
    pub(crate) folder: PathBuf,
    _turn: OwnedMutexGuard<()>,
    _lock: File,
}

impl Places {
    pub(crate) fn new(server: &'static str, kept: &'static str, roots: &[PathBuf], home: Option<PathBuf>) -> Self {
        Self { server, kept, roots: roots.to_vec(), home, turns: Mutex::default() }
    }

    fn home(&self) -> Result<&Path> {
        self.home.as_deref().ok_or_else(|| Fault::not_configured("there is no data folder to work in"))
    }

    /// The folder of projects that new_project makes; made when it is not there.
    pub(crate) fn workspace(&self) -> Result<PathBuf> {
        let folder = self.home()?.join("projects");
        fs::create_dir_all(&folder).map_err(|error| damaged(&folder, &error))?;
        folder.canonicalize().map_err(|error| damaged(&folder, &error))
    }

    /// The roots that exist, without links.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        let configured = self.roots.iter().filter_map(|root| root.canonicalize().ok());
        configured.chain(self.workspace().ok()).collect()
    }

    /// The Foundry project that `asked` names.
    pub(crate) fn project(&self, asked: &str) -> Result<Project> {
        let project = self.folder(asked)?;
        if !fs::symlink_metadata(project.path.join(MANIFEST)).is_ok_and(|about| about.is_file()) {
            return Err(Fault::not_found(format!("`{}` has no {MANIFEST}", shown(asked)))
                .hint("a Foundry project's folder; new_project makes one"));
        }
        Ok(project)
    }

    /// The folder that `asked` names: an absolute path, or one from a root on.
    pub(crate) fn folder(&self, asked: &str) -> Result<Project> {
        let path = Path::new(asked);
        let odd = path.components().any(|part| matches!(part, Component::ParentDir | Component::Prefix(_)));
        if asked.is_empty() || asked.contains('\0') || odd {
            return Err(Fault::invalid(format!("`{}` is no path of a project", shown(asked)))
                .hint("an absolute path, or one from a root on, without .."));
        }
        let roots = self.roots();
        let mut found = roots.iter().map(|root| root.join(path)).filter_map(|path| path.canonicalize().ok());
        let Some(path) = found.find(|path| path.is_dir()) else {
            return Err(Fault::not_found(format!("no folder `{}` under the roots", shown(asked))).hint(self.hint()));
        };
        if !roots.iter().any(|root| path.starts_with(root)) {
            return Err(Fault::denied(format!("`{}` is outside the roots", shown(asked)))
                .hint(format!("servers.{}.roots has the folders that projects may be in", self.server)));
        }
        Ok(Project { path, name: asked.to_owned() })
    }

    /// The projects right under the roots, by path; at most `max`.
    pub(crate) fn projects(&self, max: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in self.roots() {
            let inner = fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
            let folders = std::iter::once(root).chain(inner);
            found.extend(folders.filter(|folder| folder.join(MANIFEST).is_file()).take(max));
        }
        found.sort();
        found.dedup();
        found.truncate(max);
        found
    }

    /// Holds a project's folder of built things until what is returned is dropped.
    pub(crate) async fn keep(&self, project: &Project) -> Result<Kept> {
        let builds = self.home()?.join(self.kept);
        let id: String = kernel::ids::digest(project.path.as_os_str().as_encoded_bytes()).chars().take(24).collect();
        let turn = self.turn(&project.path).lock_owned().await;
        let folder = builds.join(&id);
        let made = || -> std::io::Result<File> {
            if !folder.is_dir() {
                fs::create_dir_all(&folder)?;
                forget_oldest(&builds)?;
            }
            // The lock is beside the folder, which is given away.
            File::create(builds.join(format!("{id}.lock")))
        };
        let lock = made().map_err(|error| damaged(&folder, &error))?;
        lock.try_lock().map_err(|_| {
            Fault::conflict(format!("another process builds `{}` right now", project.name))
                .hint("try again when it is done")
        })?;
        Ok(Kept { folder: folder.canonicalize().map_err(|error| damaged(&folder, &error))?, _turn: turn, _lock: lock })
    }

    /// Forgets all that was built of a project.
    pub(crate) fn forget(kept: &Kept) -> Result<()> {
        let entries = fs::read_dir(&kept.folder).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let gone = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.map_err(|error| damaged(&path, &error))?;
        }
        Ok(())
    }

    fn hint(&self) -> String {
        match self.server {
            "foundry-integration" => "toolchain tells the roots and projects; new_project makes one".into(),
            "scripts" => {
                "a folder under one of servers.scripts.roots, or one in scripts/projects of the data folder".into()
            }
            server => format!("a folder under servers.{server}.roots, or a project that foundry-integration made"),
        }
    }

    fn turn(&self, path: &Path) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(path).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(path.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Removes what was built of the projects that were used longest ago, beyond [`KEPT_MAX`].
fn forget_oldest(builds: &Path) -> std::io::Result<()> {
    let entries = fs::read_dir(builds)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    folders.sort();
    let surplus = folders.len().saturating_sub(KEPT_MAX);
    for (_, folder) in folders.into_iter().take(surplus) {
        let lock = File::create(folder.with_extension("lock"))?;
        if lock.try_lock().is_ok() {
            fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

/// Refuses what cannot name a project of the workspace.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Fault::invalid(format!("`{}` cannot name a project", shown(name)))
        .hint(format!("1 to {NAME_BYTES_MAX} characters of a-z 0-9 - _")))
}

/// Foreign text in a message: not too long, and without what is not shown.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

pub(crate) fn damaged(path: &Path, error: &std::io::Error) -> Fault {
    Fault::internal(format!("{}: {error}", path.display()))
}
