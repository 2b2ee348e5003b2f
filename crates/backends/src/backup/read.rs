//! Checking a backup, and putting it back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use kernel::{Clock, Fault, Result};
use tar::Archive;

use super::{
    FILES_MAX, FORMAT, Kept, MANIFEST, MANIFEST_BYTES_MAX, Manifest, SETTINGS, Sum, blocking, refused, server,
};
use crate::db::sqlite::{self as db, io_fault};
use crate::postgres::Place;
use crate::sqlite::FILE;

/// Reads a backup to its end and compares everything with its manifest; the databases are looked through.
///
/// # Errors
/// [`Code::InvalidArgument`](kernel::Code::InvalidArgument) when it is torn or altered, with the reason; [`Code::Unsupported`](kernel::Code::Unsupported) when a newer
/// program made it.
pub async fn check(backup: &Path) -> Result<Manifest> {
    // Beside it there is room for it; where temporary files are may be little.
    let beside = backup.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unpacked = tempfile::Builder::new().prefix(".checking-").tempdir_in(beside).or_else(|_| tempfile::tempdir());
    let unpacked = unpacked.map_err(|error| io_fault(&error, "cannot make a folder to unpack in"))?;
    unpack(backup, unpacked.path()).await
}

/// Puts a backup into a data folder that is new or empty, and into a database that holds nothing.
///
/// # Errors
/// As [`check`]; [`Code::Conflict`](kernel::Code::Conflict) when the folder or the database has something in it. It is as it was then.
pub async fn restore(backup: &Path, into: Kept<'_>, clock: &Clock) -> Result<Manifest> {
    let data = into.data;
    let inside = std::fs::read_dir(data).into_iter().flatten().flatten();
    let mut inside = inside.map(|entry| entry.file_name().to_string_lossy().into_owned());
    if let Some(what) = inside.find(|name| name != SETTINGS) {
        return Err(Fault::conflict(format!("{} is not empty: it has {what}", data.display()))
            .hint("restore into a new folder, or move this one away"));
    }
    // A new folder is made beside its place, so that putting it there is one step. One that is there may be a volume, which cannot be
    // replaced; it is filled from inside.
    let there = data.is_dir();
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = if there { data } else { parent };
    std::fs::create_dir_all(beside).map_err(|error| io_fault(&error, &format!("cannot make {}", beside.display())))?;
    let unpacked = tempfile::Builder::new()
        .prefix(".restoring-")
        .tempdir_in(beside)
        .map_err(|error| io_fault(&error, &format!("cannot write in {}", beside.display())))?;
    let manifest = unpack(backup, unpacked.path()).await?;
    if let Some(place) = into.postgres {
        into_server(backup, unpacked.path(), place, clock).await?;
    }
    let put = if there { fill(data, unpacked.path()) } else { std::fs::rename(unpacked.path(), data) };
    put.map_err(|error| {
        let fault = io_fault(&error, &format!("cannot put {} in its place", data.display()));
        if into.postgres.is_some() { fault.context("the database is restored, but") } else { fault }
    })?;
    if !there {
        // It is somewhere else now, and not to be removed.
        let _ = unpacked.keep();
    }
    Ok(manifest)
}

/// Puts everything inside a folder into the one above it.
fn fill(data: &Path, unpacked: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(unpacked)? {
        let entry = entry?;
        std::fs::rename(entry.path(), data.join(entry.file_name()))?;
    }
    Ok(())
}

/// Puts the database of an unpacked backup onto the server, and takes it out of the folder.
async fn into_server(backup: &Path, unpacked: &Path, place: Place<'_>, clock: &Clock) -> Result<()> {
    let file = unpacked.join(FILE);
    if !file.is_file() {
        return Err(refused(backup, format!("{FILE} is missing")));
    }
    server::load(&file, place, clock).await.map_err(|fault| fault.context("cannot restore into PostgreSQL"))?;
    // What SQLite leaves beside it, and the lock of its opening.
    for left in [FILE, "flotilla.db-wal", "flotilla.db-shm", "open.lock"] {
        match std::fs::remove_file(unpacked.join(left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_fault(&error, "cannot remove the copy of the database"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Unpacks a backup into an empty folder, and trusts nothing of it.
async fn unpack(backup: &Path, into: &Path) -> Result<Manifest> {
    let (from, folder) = (backup.to_owned(), into.to_owned());
    let manifest = blocking(move || unpack_files(&from, &folder)).await?;
    for file in manifest.files.iter().filter(|file| file.path.ends_with(".db")) {
        let flaws = db::flaws(&into.join(&file.path)).await;
        if let Some(why) = flaws.unwrap_or_else(|fault| Some(fault.message)) {
            return Err(refused(backup, format!("{}: {why}", file.path)));
        }
    }
    Ok(manifest)
}

fn unpack_files(backup: &Path, into: &Path) -> Result<Manifest> {
    let file = File::open(backup).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::not_found(format!("no file {}", backup.display())),
        _ => io_fault(&error, &format!("cannot read {}", backup.display())),
    })?;
    let torn = |error: io::Error| refused(backup, error);
    let mut archive = Archive::new(GzDecoder::new(file));
    let mut entries = archive.entries().map_err(torn)?;
    let mut next = || entries.next().transpose().map_err(torn);
    let manifest = match next()? {
        Some(entry) if entry.path().is_ok_and(|path| path == Path::new(MANIFEST)) => manifest_of(backup, entry)?,
        _ => return Err(refused(backup, format!("it does not begin with {MANIFEST}"))),
    };
    for file in &manifest.files {
        let place = place(into, &file.path).ok_or_else(|| refused(backup, format!("`{}` is no place", file.path)))?;
        let entry = next()?.ok_or_else(|| refused(backup, format!("{} is missing", file.path)))?;
        let fits = entry.header().entry_type().is_file()
            && entry.path().is_ok_and(|path| path == Path::new(&file.path))
            && entry.size() == file.bytes;
        if !fits {
            return Err(refused(backup, format!("{} is not where the manifest has it", file.path)));
        }
        let sum = write_out(entry, &place).map_err(torn)?;
        if sum != file.sha256 {
            return Err(refused(
                backup,
                format!("{} was altered: its SHA-256 is {sum}, not {}", file.path, file.sha256),
            ));
        }
    }
    if next()?.is_some() {
        return Err(refused(backup, "it has more in it than its manifest says"));
    }
    // What follows says whether the file is whole.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(torn)?;
    Ok(manifest)
}

fn manifest_of(backup: &Path, entry: impl Read) -> Result<Manifest> {
    let mut text = Vec::new();
    entry.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(|error| refused(backup, error))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| refused(backup, format!("{MANIFEST}: {error}")))?;
    if manifest.format != FORMAT {
        return Err(Fault::unsupported(format!(
            "{} has format {}, this program knows {FORMAT}",
            backup.display(),
            manifest.format
        ))
        .hint(format!("use flotilla {}, which made it, or newer", manifest.version)));
    }
    if manifest.files.len() > FILES_MAX {
        return Err(refused(backup, format!("more than {FILES_MAX} files")));
    }
    Ok(manifest)
}

/// A place in a folder, if a path names one: nothing above it, nothing absolute.
fn place(folder: &Path, path: &str) -> Option<PathBuf> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !path.is_empty()).then(|| folder.join(path))
}

fn write_out(mut entry: impl Read, place: &Path) -> io::Result<String> {
    if let Some(parent) = place.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    let (mut sum, mut buffer) = (Sum::new(), vec![0; 64 << 10]);
    loop {
        let read = entry.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sum.write_all(&buffer[..read])?;
        file.write_all(&buffer[..read])?;
    }
    file.sync_all()?;
    Ok(sum.hex())
}
