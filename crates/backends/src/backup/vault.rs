//! The port [`Vault`]: backups in a folder of the data folder, which none of them has in it.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kernel::clock::timestamp;
use kernel::vault::{Backup, Contents, Restored, Vault};
use kernel::{Clock, Fault, Result, Secret, UnixMs};

use super::{Kept, Manifest, check, create, restore};
use crate::db::sqlite::io_fault;
use crate::postgres::Place;
use crate::sqlite;

/// The folder of backups, in the data folder.
pub(super) const BACKUPS: &str = "backups";
/// The folder of data folders that were made of backups, in the data folder.
pub(super) const RESTORED: &str = "restored";
/// What the names of backups end with.
const ENDING: &str = ".backup";
/// Most backups of one list.
const LIST_MAX: usize = 1_000;

/// The backups of a data folder.
#[derive(Clone)]
pub struct Folder {
    data: PathBuf,
    version: &'static str,
    store: sqlite::Config,
    clock: Clock,
    postgres: Option<Login>,
}

/// A [`Place`] that is kept.
#[derive(Clone)]
struct Login {
    url: Secret,
    password: Option<Secret>,
}

impl Login {
    fn place(&self) -> Place<'_> {
        Place { url: self.url.expose(), password: self.password.as_ref().map(Secret::expose) }
    }
}

impl Folder {
    /// Those of `data`, made by this `version` of the program; what is restored is looked at with the settings `store`.
    pub fn new(data: &Path, version: &'static str, store: sqlite::Config, clock: Clock) -> Self {
        Self { data: data.to_owned(), version, store, clock, postgres: None }
    }

    /// Those of a fleet whose database is there.
    #[must_use]
    pub fn on_postgres(self, place: Place<'_>) -> Self {
        let login = Login { url: Secret::new(place.url), password: place.password.map(Secret::new) };
        Self { postgres: Some(login), ..self }
    }

    fn kept(&self) -> Kept<'_> {
        Kept { data: &self.data, postgres: self.postgres.as_ref().map(Login::place) }
    }

    fn folder(&self) -> PathBuf {
        self.data.join(BACKUPS)
    }

    /// The file of a backup. A name is no path.
    fn file(&self, name: &str) -> Result<PathBuf> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !plain || !name.ends_with(ENDING) || name.starts_with('.') {
            let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
            return Err(Fault::invalid(format!("`{shown}` is no name of a backup")).hint("list_backups has them"));
        }
        Ok(self.folder().join(name))
    }
}

fn contents(name: &str, manifest: &Manifest) -> Contents {
    Contents {
        name: name.into(),
        version: manifest.version.clone(),
        made_ms: manifest.made_ms,
        files: manifest.files.len() as u64,
        bytes: manifest.bytes(),
    }
}

fn listed(folder: &Path) -> Result<Vec<Backup>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_fault(&error, &format!("cannot read {}", folder.display()))),
    };
    let mut all: Vec<Backup> = entries
        .flatten()
        .filter_map(|entry| {
            let (name, facts) = (entry.file_name().into_string().ok()?, entry.metadata().ok()?);
            let written = facts.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            let written_ms = UnixMs::try_from(written.as_millis()).ok()?;
            (name.ends_with(ENDING) && facts.is_file()).then_some(Backup { name, file_bytes: facts.len(), written_ms })
        })
        .collect();
    all.sort_by(|a, b| (b.written_ms, &b.name).cmp(&(a.written_ms, &a.name)));
    all.truncate(LIST_MAX);
    Ok(all)
}

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| io_fault(&error, &format!("cannot make {}", folder.display())))
}

#[async_trait]
impl Vault for Folder {
    async fn create(&self, keep: usize) -> Result<Contents> {
        make_private(&self.folder())?;
        let time: String = timestamp(self.clock.now_ms()).chars().filter(|c| !"-:.".contains(*c)).collect();
        let name = format!("flotilla-{time}{ENDING}");
        let manifest = create(self.kept(), &self.file(&name)?, self.version, &self.clock).await?;
        for old in listed(&self.folder())?.into_iter().filter(|backup| backup.name != name).skip(keep.max(1) - 1) {
            if let Err(error) = fs::remove_file(self.folder().join(&old.name)) {
                tracing::warn!(%error, backup = old.name, "an old backup could not be removed");
            }
        }
        Ok(contents(&name, &manifest))
    }

    async fn list(&self) -> Result<Vec<Backup>> {
        listed(&self.folder())
    }

    async fn verify(&self, name: &str) -> Result<Contents> {
        Ok(contents(name, &check(&self.file(name)?).await?))
    }

    async fn restore(&self, name: &str) -> Result<Restored> {
        let file = self.file(name)?;
        make_private(&self.data.join(RESTORED))?;
        let time: String = timestamp(self.clock.now_ms()).chars().filter(|c| !"-:.".contains(*c)).collect();
        let data = self.data.join(RESTORED).join(format!("{}-{time}", name.trim_end_matches(ENDING)));
        // A folder by itself: the database that the fleet is on now stays as it is.
        let into = Kept { data: &data, postgres: None };
        let (manifest, audit_rows) = restore_verified(&file, into, &self.store, self.clock.clone()).await?;
        Ok(Restored { contents: contents(name, &manifest), data_dir: data.display().to_string(), audit_rows })
    }
}

/// Puts a backup into what is new or empty, and verifies the audit trail there: how many rows it has.
///
/// # Errors
/// As [`restore`]; [`Code::Conflict`](kernel::Code::Conflict) when the trail does not fit.
pub async fn restore_verified(
    backup: &Path,
    into: Kept<'_>,
    store: &sqlite::Config,
    clock: Clock,
) -> Result<(Manifest, u64)> {
    let manifest = restore(backup, into, &clock).await?;
    let database = crate::open(store, into.postgres, into.data, clock).await?;
    let audit = database.audit.verify().await;
    database.close().await;
    let audit = audit?;
    if let Some(row) = audit.broken_at {
        let reason = audit.reason.as_deref().unwrap_or("its hash is wrong");
        return Err(Fault::conflict(format!("restored, but row {row} of the audit trail does not fit: {reason}"))
            .hint("it was so when the backup was made, or somebody altered the backup and its manifest"));
    }
    Ok((manifest, audit.rows))
}
