//! A folder in which a fleet lives and its people work: `HOME`, current folder, configuration, data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::{LIMIT, Process, Ran, tools};

/// The folder.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
    started: AtomicU32,
}

impl Home {
    /// A new folder with `config` as its `flotilla.toml`.
    pub(crate) fn new(config: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), started: AtomicU32::new(0) };
        home.configure(config);
        home
    }

    /// Writes `flotilla.toml` anew.
    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.path("flotilla.toml"), config).unwrap();
    }

    /// A path in the folder.
    pub(crate) fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// A file of the folder.
    pub(crate) fn read(&self, inside: &str) -> String {
        let path = self.path(inside);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The key of the fleet's own command line.
    pub(crate) fn key(&self) -> String {
        self.read("data/keys/cli.key").trim().to_owned()
    }

    /// `flotilla ARGUMENTS`, in this folder and with nothing of the tests' own environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("PATH", super::variable("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        command.env("FLOTILLA_DATA_DIR", self.path("data"));
        command.env("FLOTILLA_TOOLS_DIR", tools::folder());
        command.env("FLOTILLA_HTTP__PORTS", "ephemeral");
        command
    }

    /// Runs a command of the command line to its end.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ran {
        Ran::run(&mut self.command(arguments), "", LIMIT)
    }

    /// Starts a process of the fleet: `up` or `serve` and what belongs to it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        self.try_start(self.command(arguments)).unwrap_or_else(|(status, said)| panic!("{status}: {said}"))
    }

    /// The same for a command made by hand.
    ///
    /// # Errors
    /// When it ends instead of coming up: its exit status and what it said.
    pub(crate) fn try_start(&self, mut command: Command) -> Result<Process, (std::process::ExitStatus, String)> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        Process::start(command.arg("--json"), &self.path(format!("process-{number}.log")))
    }
}
