//! The container system: made in a folder of its own by the binary's own commands, started, looked at, removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::docker::Docker;
use super::images::FLEET_IMAGE;
use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::{command, say};

/// The compose file, from the repository's root.
pub(crate) const COMPOSE_FILE: &str = "docker/compose/docker-compose.complete.yml";
/// What Compose calls the system, as the compose file says.
const PROJECT: &str = "mcp";
/// How long the start may take. Compose itself gives up on what is unhealthy.
const START_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How long a container may take until it is healthy again.
pub(crate) const HEALTHY_LIMIT: Duration = Duration::from_secs(3 * 60);
/// How long anything else is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks until there is something.
///
/// # Errors
/// There is nothing within `limit`.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > limit {
            return Err(Problem::new(format!("not within {} s: {what}", limit.as_secs())));
        }
        sleep(LOOK_EVERY);
    }
}

/// A container as the engine tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its name.
    pub(crate) name: String,
    /// Of which service.
    pub(crate) service: String,
    /// Whether it runs and its check says that all is well.
    pub(crate) healthy: bool,
}

impl Container {
    /// Whether it is of the fleet itself.
    pub(crate) fn ours(&self) -> bool {
        self.service.starts_with("mcp-") || self.service.starts_with("agent-")
    }
}

/// The system.
pub(crate) struct System<'a> {
    /// The engine.
    pub(crate) docker: &'a Docker,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// Says that what runs was started by this.
    ours: PathBuf,
    binary: PathBuf,
}

impl<'a> System<'a> {
    /// Has the binary write the system's files, and holds them against the repository's.
    ///
    /// # Errors
    /// A system that this did not start is there, or the binary is of another version.
    pub(crate) fn new(repo: &Repo, docker: &'a Docker, work: &Path, binary: &Path) -> Result<Self> {
        let binary = std::path::absolute(binary).map_err(Problem::io(binary.display()))?;
        let system = Self { docker, folder: work.join("system"), ours: work.join("started"), binary };
        let foreign = docker.says(&["volume", "ls", "--quiet", "--filter", &format!("name=^{PROJECT}_")])?;
        if !foreign.trim().is_empty() && !system.ours.exists() {
            return Err(Problem::new("a container system is on this machine already, and this did not start it")
                .fix("try on another machine, or remove it with all that it keeps: flotilla compose down --volumes"));
        }
        fs::create_dir_all(&system.folder).map_err(Problem::io(system.folder.display()))?;
        for words in [&["compose", "generate"][..], &["init"]] {
            command::run_logged(&mut system.flotilla(words), &work.join("made.log"), LIMIT, || {})?;
        }
        let read = |path: PathBuf| fs::read(&path).map_err(Problem::io(path.display()));
        if read(system.folder.join(COMPOSE_FILE))? != read(repo.root.join(COMPOSE_FILE))? {
            return Err(Problem::new(format!(
                "{} writes another {COMPOSE_FILE} than the repository's",
                system.binary.display()
            ))
            .fix("cargo xtask gen, or give the binary of this checkout"));
        }
        Ok(system)
    }

    /// The binary with these words, in the system's folder.
    fn flotilla(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).current_dir(&self.folder).env("FLOTILLA_IMAGE", FLEET_IMAGE);
        self.docker.dress(&mut command);
        command
    }

    /// The binary that it is made with.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Whether it was started by this, and not removed since.
    pub(crate) fn runs(&self) -> bool {
        self.ours.exists()
    }

    /// Starts it, and waits until all is healthy: how long that took.
    pub(crate) fn start(&self, keep: bool) -> Result<Duration> {
        if !keep {
            self.remove()?;
        }
        fs::write(&self.ours, "").map_err(Problem::io(self.ours.display()))?;
        self.up(&[])
    }

    /// `flotilla compose up` with more words for Compose.
    pub(crate) fn up(&self, more: &[&str]) -> Result<Duration> {
        let began = Instant::now();
        let left_out = ["compose", "up", "--", "--pull", "never", "--scale", "grafana=0"];
        let mut up = self.flotilla(&[&left_out[..], more].concat());
        command::run_logged(&mut up, &self.folder.join("up.log"), START_LIMIT, || {})?;
        Ok(began.elapsed())
    }

    /// Removes it with all that it keeps.
    pub(crate) fn remove(&self) -> Result {
        if self.ours.exists() {
            say::line("removing the system …");
            let mut down = self.flotilla(&["compose", "down", "--volumes"]);
            command::run_logged(&mut down, &self.folder.join("down.log"), START_LIMIT, || {})?;
            fs::remove_file(&self.ours).map_err(Problem::io(self.ours.display()))?;
        }
        Ok(())
    }

    /// Its containers, by name.
    pub(crate) fn containers(&self) -> Result<Vec<Container>> {
        let filter = format!("label=com.docker.compose.project={PROJECT}");
        let format = "{{.Names}}\t{{.Label \"com.docker.compose.service\"}}\t{{.Status}}";
        let listed = self.docker.says(&["ps", "--all", "--filter", &filter, "--format", format])?;
        let mut containers: Vec<Container> = listed.lines().filter_map(container).collect();
        containers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(containers)
    }

    /// Waits until these containers, or all, are healthy.
    pub(crate) fn until_healthy(&self, names: &[&str]) -> Result {
        until(&format!("healthy again: {}", names.join(", ")), HEALTHY_LIMIT, || {
            let containers = self.containers()?;
            let mut looked =
                containers.iter().filter(|container| names.is_empty() || names.contains(&&*container.name));
            Ok(looked.all(|container| container.healthy).then_some(()))
        })
    }

    /// How much memory its containers have, all together and the greatest.
    pub(crate) fn memory(&self) -> Result<String> {
        let containers = self.containers()?;
        let names = containers.iter().map(|container| &*container.name);
        let words: Vec<&str> =
            ["stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}"].into_iter().chain(names).collect();
        let told = self.docker.says(&words)?;
        let mut by_name: Vec<(f64, &str)> = told
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter_map(|(name, usage)| Some((mebibytes(usage.split(' ').next()?)?, name)))
            .collect();
        by_name.sort_by(|one, other| other.0.total_cmp(&one.0));
        let sum = |ours: bool| -> f64 {
            let of = |name: &str| containers.iter().any(|container| container.name == name && container.ours());
            by_name.iter().filter(|(_, name)| of(name) == ours).map(|(size, _)| size).sum()
        };
        let greatest: Vec<String> = by_name.iter().take(4).map(|(size, name)| format!("{name} {size:.0}")).collect();
        Ok(format!(
            "{:.0} MiB, of that {:.0} of the fleet's own containers; the greatest: {}",
            sum(true) + sum(false),
            sum(true),
            greatest.join(", ")
        ))
    }

    /// A key for an administrator, made as the papers say.
    pub(crate) fn key(&self) -> Result<String> {
        let coordinator = self.name_of("mcp-master-coordinator")?;
        // Another name each time: a system that was kept knows the one of before.
        let moment = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
        let name = format!("e2e-{moment}");
        let said =
            self.docker.says(&["exec", &coordinator, "/flotilla", "token", "create", &name, "--role", "admin"])?;
        let key = said.lines().find(|line| line.starts_with("flt_")).map(str::to_owned);
        key.ok_or_else(|| Problem::new("`flotilla token create` gave no key"))
    }

    /// The name of a service's first container.
    pub(crate) fn name_of(&self, service: &str) -> Result<String> {
        let found = self.containers()?.into_iter().find(|container| container.service == service);
        found.map(|container| container.name).ok_or_else(|| Problem::new(format!("no container of {service}")))
    }
}

/// A line of `docker ps`.
fn container(line: &str) -> Option<Container> {
    let mut fields = line.split('\t');
    let (name, service, status) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Container { name: name.to_owned(), service: service.to_owned(), healthy: status.contains("(healthy)") })
}

/// `12.5MiB`, `1.2GiB` and the like.
fn mebibytes(text: &str) -> Option<f64> {
    let units = [("KiB", 1.0 / 1024.0), ("MiB", 1.0), ("GiB", 1024.0), ("B", 1.0 / 1_048_576.0)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_is_read() {
        let told = container("mcp-mcp-execution-2\tmcp-execution\tUp 3 seconds (health: starting)").unwrap();
        assert!(told.ours() && !told.healthy && told.service == "mcp-execution", "{told:?}");
        let told = container("postgres\tpostgres\tUp 2 minutes (healthy)").unwrap();
        assert!(!told.ours() && told.healthy, "{told:?}");
        assert_eq!(container("postgres"), None);
        assert_eq!(["512KiB", "12.5MiB", "2GiB", "x"].map(mebibytes), [Some(0.5), Some(12.5), Some(2048.0), None]);
    }
}
