//! `init`: `.env`, the container system's secrets, with passwords made at random, and its settings. What is there is never written over.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kernel::Fault;
use serde_json::json;

use super::{Global, output};
use crate::config::dot_env;
use crate::deploy::settings::Settings;

/// Only its owner reads `.env`.
const PRIVATE: u32 = 0o600;
/// Containers read secrets under users of their own; on this machine the folder keeps others out.
const SHARED: u32 = 0o644;

/// The settings of a container system that nobody changed.
const SETTINGS: &str =
    "# Settings of every container of the fleet, read at its start. `flotilla config default` prints all there are.\n";

/// Write `.env` and docker/secrets with random passwords, and docker/flotilla.toml; what is there stays
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Where: the folder that has docker/
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Init {
    /// Runs the command.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let (made, kept) = prepare(&self.folder)?;
        if global.json {
            output::json(&json!({ "made": made, "kept": kept }))?;
        } else {
            for (word, paths) in [("made", made), ("kept", kept)] {
                paths.iter().try_for_each(|path| output::line(&format!("{word} {}", path.display())))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes what is missing. Returns what was made, and what was there.
///
/// # Errors
/// A file or folder cannot be read or written.
pub fn prepare(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Fault> {
    let (mut made, mut kept) = (Vec::new(), Vec::new());
    let mut keep = |path: PathBuf, text: &str, mode| -> Result<(), Fault> {
        let list = if write_new(&path, text, mode)? { &mut made } else { &mut kept };
        list.push(path);
        Ok(())
    };
    let (env, secrets) = (folder.join(".env"), folder.join("docker/secrets"));
    let settings = || -> Result<Settings, Fault> {
        let made = |name: &str| fs::read_to_string(secrets.join(name)).ok();
        Ok(Settings::of(dot_env(&env)?).or_made(made).complete())
    };
    keep(env.clone(), &settings()?.text(), PRIVATE)?;
    // Whoever began at the same time may have been first: what stands in the file is what counts.
    let settings = settings()?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&secrets)
        .map_err(|error| Fault::unavailable(format!("{}: {error}", secrets.display())))?;
    for (name, text) in settings.secrets() {
        keep(secrets.join(name), &text, SHARED)?;
    }
    keep(folder.join("docker/flotilla.toml"), SETTINGS, SHARED)?;
    certificate(&secrets, &settings, &mut keep)?;
    Ok((made, kept))
}

/// A certificate for Nginx that nobody vouches for, unless there is one: to be replaced by one's own.
fn certificate(
    secrets: &Path,
    settings: &Settings,
    keep: &mut impl FnMut(PathBuf, &str, u32) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (certificate, key) = (secrets.join("tls_certificate"), secrets.join("tls_key"));
    match (certificate.exists(), key.exists()) {
        (true, true) => {
            keep(certificate, "", SHARED)?;
            keep(key, "", SHARED)
        }
        (false, false) => {
            let mut names: Vec<String> =
                settings.get("FLOTILLA_HOSTS").split(',').map(|name| name.trim().to_owned()).collect();
            names.extend(["localhost", "127.0.0.1"].map(ToOwned::to_owned));
            names.retain(|name| !name.is_empty() && name != "*");
            names.sort();
            names.dedup();
            let made = rcgen::generate_simple_self_signed(names).map_err(|error| {
                Fault::invalid(format!("no certificate can be made: {error}")).hint("FLOTILLA_HOSTS must be names")
            })?;
            keep(key, &made.signing_key.serialize_pem(), SHARED)?;
            keep(certificate, &made.cert.pem(), SHARED)
        }
        (there, _) => {
            let (there, missing) = if there { (certificate, key) } else { (key, certificate) };
            Err(Fault::invalid(format!("{} is there and {} is not", there.display(), missing.display()))
                .hint("give both, or remove it: another pair is made then"))
        }
    }
}

/// Writes a file that is not there. Whole or not at all; whether it was written.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<bool, Fault> {
    let failed = |error: std::io::Error| Fault::unavailable(format!("{} cannot be written: {error}", path.display()));
    if path.exists() {
        return Ok(false);
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", kernel::ids::new_id("new")));
    let fresh = PathBuf::from(fresh);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    // A hard link fails when the name is taken, so whoever is first wins.
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh).map_err(failed)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true).map_err(failed),
    }
}
