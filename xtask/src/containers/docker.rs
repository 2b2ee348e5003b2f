//! The engine: whether it is there, and its own words.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command;
use crate::problem::{Problem, Result};

/// The engine on this machine.
#[derive(Debug)]
pub(crate) struct Docker {
    /// Where its client finds the plugins that this brings along.
    configuration: PathBuf,
}

impl Docker {
    /// The engine; what it needs beside itself lands below `work`.
    ///
    /// # Errors
    /// None answers.
    pub(crate) fn find(work: &Path) -> Result<Self> {
        let docker = Self { configuration: work.join("docker") };
        let mut ask = docker.command(&["version", "--format", "{{.Server.Version}}"]);
        let answer = ask.stdin(Stdio::null()).output();
        let missing = |why: &str| {
            Problem::new(format!("no Docker engine answers: {why}")).fix(
                "install one (Debian: apt-get install docker.io) and start it (as root: dockerd &); no registry of images is needed",
            )
        };
        match answer {
            Err(error) => Err(missing(&format!("`docker` cannot be started: {error}"))),
            Ok(answer) if !answer.status.success() => {
                Err(missing(String::from_utf8_lossy(&answer.stderr).lines().last().unwrap_or("it says nothing")))
            }
            Ok(_) => Ok(docker),
        }
    }

    /// `docker` with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(words);
        self.dress(&mut command);
        command
    }

    /// Has a program find the same plugins.
    pub(crate) fn dress(&self, command: &mut Command) {
        // On a machine that has Compose already, its own is used.
        if self.configuration.join("cli-plugins").exists() {
            command.env("DOCKER_CONFIG", &self.configuration);
        }
    }

    /// What it prints.
    pub(crate) fn says(&self, words: &[&str]) -> Result<String> {
        command::output(&mut self.command(words))
    }

    /// Whether it does this without an error, whose words are left out.
    pub(crate) fn can(&self, words: &[&str]) -> Result<bool> {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().map_err(Problem::io(command::shown(&command)))?.success())
    }

    /// All that it knows of some containers.
    pub(crate) fn inspect(&self, containers: &[&str]) -> Result<Vec<Value>> {
        let text = self.says(&[&["inspect"], containers].concat())?;
        serde_json::from_str(&text).map_err(Problem::io("docker inspect"))
    }

    /// The number, on this machine, of a container's first process.
    pub(crate) fn pid(&self, container: &str) -> Result<u64> {
        let found = self.inspect(&[container])?;
        let pid = found.first().and_then(|found| found["State"]["Pid"].as_u64()).filter(|pid| *pid > 0);
        pid.ok_or_else(|| Problem::new(format!("{container} does not run")))
    }
}
