//! `compose`: the container system, by Docker Compose.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use kernel::Fault;
use kernel::catalog::COORDINATOR;
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
    /// Replace containers by such of the image that is there now, one service after another: none stops before its successor is healthy
    Update(Update),
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
struct Update {
    /// Which services, as mcp-execution; all of the fleet's that run when none is named
    services: Vec<String>,
    /// Only print the commands
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
            What::Update(update) => update.run(),
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

impl Update {
    fn run(self) -> Result<ExitCode, Fault> {
        let running = asked(&["ps", "--services"])?;
        let running: Vec<&str> = running.lines().map(str::trim).collect();
        let mut services = Vec::new();
        for host in deploy::hosts() {
            if running.contains(&&*host) && (self.services.is_empty() || self.services.contains(&host)) {
                services.push(host);
            }
        }
        if let Some(none) = self.services.iter().find(|name| !services.contains(name)) {
            return Err(Fault::not_found(format!("no service `{none}` of the fleet runs in containers"))
                .hint(format!("one of {}", running.join(", "))));
        }
        // Who has a port of its own on this machine cannot be there twice, and comes last: it reaches the others, new ones too.
        let coordinator = format!("mcp-{COORDINATOR}");
        services.sort_by_key(|host| *host == coordinator);
        for host in services {
            if host == coordinator {
                self.tell(
                    "docker compose",
                    &[&COMPOSE[..], &["up", "--detach", "--no-deps", "--wait", &host]].concat(),
                )?;
            } else {
                self.replace(&host)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Starts as many new containers as there are old ones, and stops those.
    fn replace(&self, host: &str) -> Result<(), Fault> {
        let old = asked(&["ps", "--quiet", host])?;
        let old: Vec<&str> = old.split_whitespace().collect();
        let scale = format!("{host}={}", 2 * old.len());
        let up = ["up", "--detach", "--no-deps", "--no-recreate", "--wait", "--scale", &scale, host];
        self.tell("docker compose", &[&COMPOSE[..], &up].concat())?;
        self.tell("docker", &[&["stop", "--time", "30"], &old[..]].concat())?;
        self.tell("docker", &[&["rm"], &old[..]].concat())
    }

    /// Has Docker do something, or prints it.
    fn tell(&self, program: &str, words: &[&str]) -> Result<(), Fault> {
        let line = format!("{program} {}", words.join(" "));
        if self.dry_run {
            return output::line(&line);
        }
        output::say(&line);
        let mut command = if program == "docker" { Command::new(program) } else { docker_compose()? };
        let ended = command.args(words).stdin(Stdio::null()).status();
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Fault::unavailable(format!("`{line}` ended with {status}")).hint(
                "containers that were not replaced go on; `docker compose … logs` says why new ones are not healthy",
            )),
            Err(error) => Err(Fault::unavailable(format!("{program} cannot be started: {error}"))),
        }
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

/// Of which system Compose is asked: all profiles, so that none of its services is overlooked.
const COMPOSE: [&str; 6] = ["-f", COMPOSE_FILE, "--env-file", ".env", "--profile", "*"];

/// What Compose answers.
fn asked(words: &[&str]) -> Result<String, Fault> {
    let mut command = docker_compose()?;
    let answered = command.args(COMPOSE).args(words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let answered =
        answered.map_err(|error| Fault::unavailable(format!("docker compose cannot be started: {error}")))?;
    if !answered.status.success() {
        return Err(Fault::unavailable(format!("`docker compose {}` ended with {}", words.join(" "), answered.status))
            .hint("run this in the repository's folder, where the system was started"));
    }
    Ok(String::from_utf8_lossy(&answered.stdout).into_owned())
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
