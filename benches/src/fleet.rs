//! `flotilla` processes on a data folder of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::Fallible;
use crate::process::Process;

/// A data folder and a configuration with ports of the system's choice, so that a fleet in use is not disturbed.
pub(crate) struct Ground {
    binary: PathBuf,
    folder: TempDir,
    config: String,
    data: String,
}

/// A process of the fleet that is up.
pub(crate) struct Up {
    /// The process.
    pub(crate) process: Process,
    /// Base URLs of its services as `host:port`, by name.
    pub(crate) services: BTreeMap<String, String>,
    /// From before the start to the word that everything is healthy.
    pub(crate) took: Duration,
}

impl Ground {
    /// A fresh folder for the binary at `binary`.
    pub(crate) fn new(binary: &Path) -> Fallible<Self> {
        Self::with(binary, "")
    }

    /// The same, configured by `more` as well.
    pub(crate) fn with(binary: &Path, more: &str) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("flotilla.toml");
        std::fs::write(&config, format!("[http]\nports = \"ephemeral\"\n{more}"))?;
        let data = folder.path().join("data").display().to_string();
        Ok(Self { binary: binary.into(), config: config.display().to_string(), data, folder })
    }

    /// Where files of a measurement may be put.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The API key made at the first start.
    pub(crate) fn key(&self) -> Fallible<String> {
        Ok(std::fs::read_to_string(Path::new(&self.data).join("keys/cli.key"))?.trim().to_owned())
    }

    /// Runs `flotilla WORDS…` and waits until all its services are healthy.
    pub(crate) async fn run(&self, words: &[&str]) -> Fallible<Up> {
        let own = ["--json", "--config", &self.config, "--data-dir", &self.data];
        let began = Instant::now();
        let mut process = Process::start(&self.binary, &[words, &own].concat(), false)?;
        let screen = process.first_json().await?;
        let took = began.elapsed();
        let mut services = BTreeMap::new();
        for service in screen["services"].as_array().into_iter().flatten() {
            let (name, url) = (text(&service["service"]), text(&service["url"]));
            // A service of the chain says so when none is configured, which is as healthy as it can be then.
            let why = text(&service["last_error"]);
            if service["status"] != "healthy" && !why.starts_with("not_configured") {
                return Err(format!("{name} is {}: {why}", service["status"]).into());
            }
            services.insert(name.to_owned(), url.trim_start_matches("http://").to_owned());
        }
        if services.is_empty() {
            return Err(format!("no services in {screen}").into());
        }
        Ok(Up { process, services, took })
    }
}

impl Up {
    /// Where a service answers.
    pub(crate) fn address(&self, service: &str) -> Fallible<String> {
        Ok(self.services.get(service).cloned().ok_or_else(|| format!("{service} does not run"))?)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
