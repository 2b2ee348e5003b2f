//! `compose`: the container system, by Docker Compose.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use kernel::Fault;
use serde_json::json;

use super::{Global, init, output};
use crate::config::Mode;
use crate::deploy::{self, compose::COMPOSE_FILE};

/// Start and stop the container system, and write its files
#[derive(Debug, clap::Args)]
pub struct Compose {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write what is missing (`init`), and start containers until all are healthy
    Up(Up),
    /// Stop and remove the containers; volumes stay unless --volumes says otherwise
    Down(Down),
    /// Write the files: Compose, Prometheus, Grafana, Nginx, Kubernetes
    Generate(Generate),
}

#[derive(Debug, clap::Args)]
struct Up {
    /// What to start
    #[arg(long, value_enum, default_value = "full")]
    mode: Mode,
    /// Build the image first
    #[arg(long)]
    build: bool,
    /// Only print the command
    #[arg(long)]
    dry_run: bool,
    /// Passed on, as in `-- --scale mcp-execution=3`
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Down {
    /// Remove the volumes too: all that the system keeps
    #[arg(long)]
    volumes: bool,
    /// Only print the command
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct Generate {
    /// Where to
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Compose {
    /// Runs the command.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        match self.command {
            What::Up(up) => up.run(global),
            What::Down(down) => {
                let more = if down.volumes { &["--volumes"][..] } else { &[] };
                // All profiles, or Compose would leave the others' containers be.
                engage(&["--profile", "*", "down", "--remove-orphans"], more.iter().copied(), down.dry_run)
            }
            What::Generate(generate) => generate.run(global),
        }
    }
}

impl Up {
    fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let here = Path::new(".");
        if !here.join(COMPOSE_FILE).exists() {
            return Err(Fault::not_found(format!("{COMPOSE_FILE} is not there"))
                .hint("run this in the repository's folder, or `flotilla compose generate` first"));
        }
        if !self.dry_run {
            let (made, _) = init::prepare(here)?;
            if !global.json {
                made.iter().for_each(|path| output::say(&format!("made {}", path.display())));
            }
        }
        let mode = json!(self.mode);
        let mode = mode.as_str().unwrap_or("full");
        let build = self.build.then_some("--build");
        let more = build.into_iter().chain(self.more.iter().map(String::as_str));
        engage(&["--env-file", ".env", "--profile", mode, "up", "--detach", "--wait"], more, self.dry_run)
    }
}

impl Generate {
    fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let mut written = Vec::new();
        for file in deploy::files()? {
            let path = self.folder.join(&file.path);
            let failed = |error| Fault::unavailable(format!("{} cannot be written: {error}", path.display()));
            if fs::read_to_string(&path).is_ok_and(|old| old == file.text) {
                continue;
            }
            path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
            fs::write(&path, &file.text).map_err(failed)?;
            written.push(file.path);
        }
        if global.json {
            output::json(&json!({ "written": written }))?;
        } else {
            written.iter().try_for_each(|path| output::line(&format!("wrote {path}")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Becomes Docker Compose with these words, or prints how it would.
fn engage<'a>(words: &[&'a str], more: impl Iterator<Item = &'a str>, dry_run: bool) -> Result<ExitCode, Fault> {
    let mut all = vec!["-f", COMPOSE_FILE];
    all.extend(words);
    all.extend(more);
    if dry_run {
        output::line(&format!("docker compose {}", all.join(" ")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = docker_compose()?;
    let error = command.args(all).exec();
    Err(Fault::unavailable(format!("docker compose cannot be started: {error}")))
}

/// Compose as Docker's plugin, or as the program of before.
fn docker_compose() -> Result<Command, Fault> {
    let there = |program: &str, words: &[&str]| {
        let ask =
            Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ask.is_ok_and(|status| status.success())
    };
    if there("docker", &["compose", "version"]) {
        let mut command = Command::new("docker");
        command.arg("compose");
        Ok(command)
    } else if there("docker-compose", &["version"]) {
        Ok(Command::new("docker-compose"))
    } else {
        Err(Fault::unavailable("Docker Compose is missing: neither `docker compose` nor `docker-compose` answers")
            .hint("install Docker with Compose 2, or run the fleet in one process: `flotilla up`"))
    }
}
