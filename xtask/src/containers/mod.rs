//! `cargo xtask e2e-containers`: the container system, started for real, and what is promised of it, seen.
//!
//! Needs a Docker engine and no registry of images: what the compose file names is made of Debian's packages (`xtask/tools/containers`), and the
//! compose file is started as it is. Grafana's server is no package of Debian's, so it is left out, aloud.
//!
//! Invariants:
//! - The compose file that is started is the repository's, byte for byte.
//! - A container system that this did not start is never touched.
//! - All steps are tried, whichever of them fail; the end says which did.

mod chain;
mod client;
mod closed;
mod docker;
mod failures;
mod images;
mod load;
mod system;
mod uses;

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::{cargo, say};

use chain::Chain;
use client::Client;
use docker::Docker;
use system::System;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// A `flotilla` that is built already; otherwise it is built in release
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Leave the system running at the end, and go on with one that is
    #[arg(long)]
    keep: bool,
    /// Only these steps
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
}

/// What a step is given.
pub(crate) struct World<'a> {
    system: &'a System<'a>,
    key: String,
    client: Client,
}

/// A step: what it is called, what it holds, and how it is seen. It returns what is worth telling.
type Step = (&'static str, &'static str, fn(&World<'_>) -> Result<String>);

const STEPS: [Step; 11] = [
    ("health", "every service is healthy through the coordinator", uses::health),
    ("doors", "Nginx and Prometheus lead to the fleet", uses::doors),
    ("tools", "a tool of each server answers", uses::tools),
    ("tasks", "each agent does a task", uses::tasks),
    ("workflow", "a workflow runs to its end", uses::workflow),
    ("arbitrage", "an arbitrage on a local chain is booked with a gain", chain::arbitrage),
    ("secrets", "no container sees another's secrets", closed::secrets),
    ("confined", "containers may do no more than they must", closed::confined),
    ("networks", "networks are closed where they should be", closed::networks),
    ("scale", "three copies of mcp-execution all get calls", failures::scale),
    ("kill", "what is killed comes back, and nothing is lost", failures::kill),
];

/// Makes the images, starts the system, and sees to every step.
pub(crate) fn run(repo: &Repo, asked: &Asked) -> Result {
    if let Some(unknown) = asked.steps.iter().find(|step| STEPS.iter().all(|(name, ..)| name != step)) {
        let names: Vec<&str> = STEPS.iter().map(|(name, ..)| *name).collect();
        return Err(Problem::new(format!("no step `{unknown}`")).fix(format!("one of {}", names.join(", "))));
    }
    let work = repo.tools.join("containers");
    let docker = Docker::find(&work)?;
    let binary = match &asked.binary {
        Some(binary) => binary.clone(),
        None => cargo::build_flotilla(repo, true)?,
    };
    images::make(repo, &docker, &work, &binary)?;
    let system = System::new(repo, &docker, &work, &binary)?;
    let goes_on = asked.keep && system.runs();
    let chain = if goes_on { None } else { Chain::start(repo, &docker, &system)? };
    if chain.is_none() && !goes_on {
        say::line(
            "without a local chain: Foundry is not fetched (`cargo xtask fetch fleet`), so nothing will be traded",
        );
    }
    let outcome = started(&system, chain.as_ref(), asked);
    if !asked.keep {
        system.remove()?;
        chain::remove(&docker)?;
    }
    outcome
}

fn started(system: &System<'_>, chain: Option<&Chain<'_>>, asked: &Asked) -> Result {
    let up = thread::scope(|scope| {
        scope.spawn(|| chain.map(Chain::join));
        system.start(asked.keep)
    })?;
    let containers = system.containers()?;
    say::line(&format!("up: {} containers healthy {:.0} s after `up`", containers.len(), up.as_secs_f64()));
    say::line("left out: grafana, whose image no package of Debian has; its dashboards are proved by the tests");
    say::line(&format!("memory at rest: {}", system.memory()?));
    let key = system.key()?;
    let world = World { system, client: Client::new(&key), key };
    let mut failed = Vec::new();
    for (name, holds, step) in STEPS {
        if !asked.steps.is_empty() && !asked.steps.iter().any(|wanted| wanted == name) {
            continue;
        }
        let began = Instant::now();
        match step(&world) {
            Ok(seen) => say::line(&format!("ok {name}: {holds} ({:.1} s)\n   {seen}", began.elapsed().as_secs_f64())),
            Err(problem) => {
                say::line(&format!("FAILED {name}: {holds}\n   {problem}"));
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Problem::new(format!("failed: {}", failed.join(", ")))
        .fix("--keep leaves the system running; `docker logs NAME` has each container's own words"))
}
