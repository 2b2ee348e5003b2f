//! Making a backup.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use kernel::{Clock, Fault, Result};
use tar::{Builder, Header};

use super::{Entry, FILES_MAX, FORMAT, Kept, MANIFEST, Manifest, Sum, blocking, server};
use crate::db::sqlite::{self as db, io_fault};
use crate::sqlite::FILE;

/// What says what runs at the moment, what are backups and what was made of them, and what is not the fleet's.
const PASSING: [&str; 4] = ["run", super::vault::BACKUPS, super::vault::RESTORED, super::SETTINGS];
/// Endings of files that belong to whoever has them open.
const OPEN: [&str; 4] = ["lock", "-wal", "-shm", ".new"];

/// A file to be kept: where it lies in the data folder, and a copy that nobody changes.
struct Source {
    path: String,
    copy: PathBuf,
}

/// Makes a backup of what a fleet keeps, which may be in use, at `to`, where no file may be.
///
/// # Errors
/// [`Code::Conflict`](kernel::Code::Conflict) when there is a file; [`Code::Unavailable`](kernel::Code::Unavailable) when something cannot be read or written: what
/// was written of it is removed.
pub async fn create(kept: Kept<'_>, to: &Path, version: &str, clock: &Clock) -> Result<Manifest> {
    let data = kept.data;
    if to.exists() {
        return Err(Fault::conflict(format!("{} is there already", to.display())).hint("name another file"));
    }
    let made_ms = clock.now_ms();
    let staging = tempfile::Builder::new()
        .prefix("backup-")
        .suffix(".new")
        .tempdir_in(data)
        .map_err(|error| io_fault(&error, &format!("cannot write in {}", data.display())))?;
    let mut paths = Vec::new();
    walk(data, "", &mut paths).map_err(|error| io_fault(&error, &format!("cannot read {}", data.display())))?;
    if paths.len() > FILES_MAX {
        return Err(Fault::too_large(format!("{} has more than {FILES_MAX} files", data.display())));
    }
    let mut sources = Vec::with_capacity(paths.len() + 1);
    if let Some(place) = kept.postgres {
        // One that lies in the folder is of before the fleet moved to PostgreSQL.
        paths.retain(|path| path != FILE);
        let copy = staging.path().join(FILE);
        server::save(place, &copy, clock).await.map_err(|fault| fault.context("cannot copy the database"))?;
        sources.push(Source { path: FILE.into(), copy });
    }
    // The databases before what others go by: what the rest has seen more of, is caught up with.
    paths.sort_by_key(|path| (!is_database(path), path.clone()));
    for (number, path) in paths.into_iter().enumerate() {
        let (from, copied) = (data.join(&path), staging.path().join(number.to_string()));
        if !from.exists() {
            // A day of the log, say, that was forgotten meanwhile.
            continue;
        }
        if is_database(&path) {
            db::copy(&from, &copied).await.map_err(|fault| fault.context(format!("cannot copy {path}")))?;
        } else {
            let copying = copied.clone();
            blocking(move || {
                std::fs::copy(&from, copying)
                    .map_err(|error| io_fault(&error, &format!("cannot copy {}", from.display())))
            })
            .await?;
        }
        sources.push(Source { path, copy: copied });
    }
    let (to, version) = (to.to_owned(), version.to_owned());
    blocking(move || {
        let fresh = to.with_extension("new");
        let written = write(&sources, &fresh, version, made_ms);
        let kept = written.and_then(|manifest| {
            std::fs::rename(&fresh, &to)
                .map_err(|error| io_fault(&error, &format!("cannot write {}", to.display())))?;
            Ok(manifest)
        });
        if kept.is_err() {
            // It may never have been made.
            std::fs::remove_file(&fresh).ok();
        }
        drop(staging);
        kept
    })
    .await
}

fn is_database(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "db")
}

/// All regular files under a folder that are to be kept.
fn walk(folder: &Path, inside: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
        let passing = inside.is_empty() && PASSING.contains(&name.as_str());
        if passing || OPEN.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &path, found)?;
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn write(sources: &[Source], to: &Path, version: String, made_ms: i64) -> Result<Manifest> {
    let mut files = Vec::with_capacity(sources.len());
    for Source { path, copy } in sources {
        let failed = |error| io_fault(&error, &format!("cannot read {path}"));
        let (bytes, sha256) = sum(copy).map_err(failed)?;
        files.push(Entry { path: path.clone(), bytes, sha256 });
    }
    let manifest = Manifest { format: FORMAT, version, made_ms, files };
    let failed = |error| io_fault(&error, &format!("cannot write {}", to.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    pack(file, &manifest, sources).map_err(failed)?;
    Ok(manifest)
}

fn pack(file: File, manifest: &Manifest, sources: &[Source]) -> io::Result<()> {
    let mut tar = Builder::new(GzEncoder::new(file, Compression::default()));
    let text = serde_json::to_vec_pretty(manifest)?;
    append(&mut tar, MANIFEST, text.len() as u64, &*text)?;
    for (entry, source) in manifest.files.iter().zip(sources) {
        append(&mut tar, &entry.path, entry.bytes, File::open(&source.copy)?)?;
    }
    tar.into_inner()?.finish()?.sync_all()
}

fn append(tar: &mut Builder<GzEncoder<File>>, path: &str, bytes: u64, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, path, content.take(bytes))
}

fn sum(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut sum) = (File::open(path)?, Sum::new());
    let bytes = io::copy(&mut file, &mut sum)?;
    Ok((bytes, sum.hex()))
}
