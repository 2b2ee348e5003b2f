//! `backup` and `restore`: all that the fleet keeps, in one file, and back.

use std::path::PathBuf;
use std::process::ExitCode;

use backends::backup::{self, Kept, Manifest};
use kernel::clock::timestamp;
use kernel::{Clock, Fault};
use serde_json::json;

use super::{Global, output};
use crate::config::Loaded;

/// Put all that the fleet keeps into one file; it may be running.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// The file to write [default: flotilla-TIME.backup]
    file: Option<PathBuf>,
}

/// Put a backup into a data folder, and a database, that are new or empty.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The backup
    file: PathBuf,
    /// Only look whether it is whole
    #[arg(long)]
    check: bool,
}

impl Backup {
    /// Runs the command. Needs no running fleet, and disturbs none.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let loaded = global.load(Vec::new())?;
        let kept = kept(&loaded);
        let data = kept.data;
        // A machine of a fleet on PostgreSQL has a folder with less in it.
        let there = if kept.postgres.is_some() { data.is_dir() } else { data.join(backends::sqlite::FILE).is_file() };
        if !there {
            return Err(Fault::not_found(format!("{} is no data folder of a fleet", data.display()))
                .hint("say --data-dir, or set FLOTILLA_DATA_DIR"));
        }
        let clock = Clock::system();
        let file = self.file.unwrap_or_else(|| {
            let time: String = timestamp(clock.now_ms()).chars().filter(|c| !"-:.".contains(*c)).collect();
            format!("flotilla-{time}.backup").into()
        });
        let manifest = backup::create(kept, &file, crate::VERSION, &clock).await?;
        if global.json {
            output::json(&json!({ "file": file, "manifest": manifest }))?;
        } else {
            output::say(&format!("{}: {}", file.display(), told(&manifest)));
            output::say("it has the fleet's keys in it: keep it where only you can read it");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        if self.check {
            let manifest = backup::check(&self.file).await?;
            return tell(global, &json!({ "whole": true, "manifest": manifest }), || {
                format!("{} is whole: {}", self.file.display(), told(&manifest))
            });
        }
        let loaded = global.load(Vec::new())?;
        let into = kept(&loaded);
        let data = into.data;
        let (manifest, rows) =
            backup::restore_verified(&self.file, into, &loaded.config.store, Clock::system()).await?;
        tell(global, &json!({ "data_dir": data, "audit_rows": rows, "manifest": manifest }), || {
            format!("{}: {}; {rows} rows of the audit trail verified", data.display(), told(&manifest))
        })
    }
}

/// What the fleet of these settings keeps.
fn kept(loaded: &Loaded) -> Kept<'_> {
    Kept { data: &loaded.config.fleet.data_dir, postgres: loaded.postgres() }
}

fn tell(global: &Global, answer: &serde_json::Value, say: impl FnOnce() -> String) -> Result<ExitCode, Fault> {
    if global.json {
        output::json(answer)?;
    } else {
        output::say(&say());
    }
    Ok(ExitCode::SUCCESS)
}

fn told(manifest: &Manifest) -> String {
    let (files, bytes) = (manifest.files.len(), manifest.bytes());
    format!("{files} files, {bytes} bytes, of {} by flotilla {}", timestamp(manifest.made_ms), manifest.version)
}
