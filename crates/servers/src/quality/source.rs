//! A project as it is looked at: its folder, or one of its git revisions taken out of it, and what kinds of files it has.
//!
//! Invariants: links are not followed; what is others' (libraries, what was built) is not looked at; files and their sizes are bounded, and what is past
//! a bound is counted.

use std::fs;
use std::path::{Path, PathBuf};

use kernel::Result;
use mcp::prelude::*;

use super::Quality;
use crate::workshop::places::{Kept, Project, damaged, shown};
use crate::workshop::{Run, last_words, mount};

/// The most files that are looked at, and the largest.
const FILES_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The deepest folder.
const DEPTH_MAX: usize = 16;
/// The most parts of one kind that a project has.
const PARTS_MAX: usize = 8;
/// Folders whose files are others'.
const FOREIGN: [&str; 11] = [
    "node_modules",
    "out",
    "cache",
    "broadcast",
    "target",
    "dist",
    "build",
    "__pycache__",
    "venv",
    "vendor",
    "artifacts",
];
/// How long to take a revision out, in seconds.
const REVISION_SECONDS: u32 = 120;
/// The longest name of a revision.
const REVISION_BYTES_MAX: usize = 200;
/// git, that takes a project of another user for a repository, and asks nobody.
pub(super) const GIT: &str = r#"git() { GIT_TERMINAL_PROMPT=0 command git -c safe.directory='*' -c core.fsmonitor=false -C /project "$@"; }
"#;
/// Takes a revision out of a repository that may only be read.
const TAKE: &str = r#"set -eu
rev=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "Error: no revision $1" >&2; exit 3; }
rm -rf /keep/tree && mkdir /keep/tree
export GIT_INDEX_FILE=/tmp/index
git read-tree "$rev"
git checkout-index --all --force --prefix=/keep/tree/
echo "$rev"
"#;

/// A kind of part that a project has, by the file that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Cargo,
    Foundry,
    Npm,
    Python,
    Solidity,
}

/// A file of the project's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// From the project's folder on.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// A project, held, as it is looked at.
pub(super) struct Source {
    pub(super) project: Project,
    pub(super) kept: Kept,
    /// Where its files are on this machine.
    pub(super) root: PathBuf,
    /// The revision, in full.
    pub(super) revision: Option<String>,
    pub(super) files: Arc<[File]>,
    /// How many files were not looked at: too large, or too many.
    pub(super) left_out: usize,
}

impl Source {
    /// The text of one of its files, unless it is no text.
    pub(super) fn text(file: &File) -> Option<String> {
        let bytes = fs::read(&file.path).ok()?;
        let binary = bytes.iter().take(8_000).any(|byte| *byte == 0);
        (!binary).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The folders of its parts of a kind, from the project's folder on: the outermost first, and none within another.
    pub(super) fn parts(&self, part: Part) -> Vec<String> {
        let manifest = match part {
            Part::Cargo => "Cargo.toml",
            Part::Foundry => "foundry.toml",
            Part::Npm => "package.json",
            Part::Python | Part::Solidity => {
                let end = if part == Part::Python { ".py" } else { ".sol" };
                let any = self.files.iter().any(|file| file.name.ends_with(end));
                return if any { vec![String::new()] } else { Vec::new() };
            }
        };
        let named = self.files.iter().filter_map(|file| match file.name.rsplit_once('/') {
            Some((folder, name)) => (name == manifest).then(|| folder.to_owned()),
            None => (file.name == manifest).then(String::new),
        });
        let mut folders: Vec<String> = named.collect();
        folders.sort_by_key(|folder| (folder.matches('/').count(), folder.clone()));
        let mut parts: Vec<String> = Vec::new();
        for folder in folders {
            let within = |part: &String| part.is_empty() || folder.starts_with(&format!("{part}/"));
            if !parts.iter().any(within) && parts.len() < PARTS_MAX {
                parts.push(folder);
            }
        }
        parts
    }
}

impl Quality {
    /// Holds a project, as it is or at a revision.
    pub(super) async fn open(&self, path: &str, revision: Option<&str>, ctx: &Ctx) -> Result<Source> {
        let project = self.places.folder(path)?;
        let kept = self.places.keep(&project).await?;
        let (root, revision) = match revision {
            None => (project.path.clone(), None),
            Some(revision) => {
                let (root, full) = self.take(&project, &kept, revision, ctx).await?;
                (root, Some(full))
            }
        };
        let folder = root.clone();
        let (files, left_out) = aside(move || files(&folder)).await??;
        Ok(Source { project, kept, root, revision, files: files.into(), left_out })
    }

    async fn take(&self, project: &Project, kept: &Kept, revision: &str, ctx: &Ctx) -> Result<(PathBuf, String)> {
        check_repository(project)?;
        check_revision("revision", revision)?;
        let run = Run {
            text: format!("{GIT}{TAKE}"),
            arguments: vec![revision.to_owned()],
            environment: Default::default(),
            stdin: String::new(),
            mounts: vec![mount(&project.path, "project", false), mount(&kept.folder, "keep", true)],
            stdout_bytes: 4 << 10,
            seconds: Some(REVISION_SECONDS),
        };
        let ran = self.workshop.run(run, ctx).await?;
        let full = ran.stdout.trim().to_owned();
        if ran.exit_code != Some(0) || full.is_empty() {
            return Err(Fault::not_found(format!("git: {}", last_words(&ran.stderr)))
                .hint("a revision of the project's repository: a branch, a tag, a commit"));
        }
        let tree = kept.folder.join("tree");
        // What is kept was written by other people's code, which may have put a link there.
        let real = fs::symlink_metadata(&tree).is_ok_and(|about| about.is_dir());
        if !real {
            return Err(Fault::upstream("git took nothing out of the repository"));
        }
        Ok((tree, full))
    }
}

/// Does what takes its time where nobody waits for it.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::internal(format!("looking at files: {error}")))
}

/// Refuses a project that is no repository of its own.
pub(super) fn check_repository(project: &Project) -> Result<()> {
    if project.path.join(".git").is_dir() {
        return Ok(());
    }
    Err(Fault::invalid(format!("`{}` is no git repository", shown(&project.name)))
        .hint("a folder with a .git folder of its own; a linked work tree has none"))
}

/// Refuses what cannot name a revision.
pub(super) fn check_revision(field: &str, text: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._/~^@-+".contains(&byte);
    if (1..=REVISION_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') {
        return Ok(());
    }
    Err(Fault::invalid(format!("{field} is no name of a git revision")).hint("a branch, a tag or a commit"))
}

/// A project's own files that are not too large, by name, and how many were left out.
fn files(root: &Path) -> Result<(Vec<File>, usize)> {
    let (mut files, mut left_out, mut next) = (Vec::new(), 0, vec![(root.to_owned(), 0)]);
    while let Some((folder, depth)) = next.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| damaged(&folder, &error))?.flatten() {
            let (Ok(kind), path, name) = (entry.file_type(), entry.path(), entry.file_name()) else { continue };
            let Some(name) = name.to_str() else { continue };
            if kind.is_dir() {
                // A Foundry project's libraries are in `lib` right under it.
                let library = name == "lib" && folder.join("foundry.toml").is_file();
                let skipped = name == ".git" || library || FOREIGN.contains(&name) || name.starts_with(".venv");
                if !skipped && depth < DEPTH_MAX {
                    next.push((path, depth + 1));
                }
            } else if kind.is_file() {
                let fits = entry.metadata().is_ok_and(|about| about.len() <= FILE_BYTES_MAX);
                let inside = path.strip_prefix(root).ok().and_then(Path::to_str);
                match inside.filter(|inside| fits && files.len() < FILES_MAX && !inside.contains(['\n', '\t'])) {
                    Some(inside) => files.push(File { name: inside.to_owned(), path: path.clone() }),
                    None => left_out += 1,
                }
            }
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((files, left_out))
}
