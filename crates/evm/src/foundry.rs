//! Foundry's programs out of the tools folder, as the port [`kernel::foundry`] has them.
//!
//! A node that forks is told the endpoint's URL as an argument, because anvil takes it no other way: whoever may list the processes of this machine
//! may read it. It is in no fault and no log.

use std::path::PathBuf;
use std::process::Stdio;

use async_trait::async_trait;
use kernel::foundry::{ANSWER_BYTES_MAX, ANSWER_TIME, Foundry, Kit, Node, NodeSpec, Program};
use kernel::{Fault, Result, Secret, Tasks};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::sandbox::{Anvil, platform};

/// How much is read of what a program complains, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 16 << 10;
/// What a compiler's file begins with.
const COMPILER: &str = "solc-";
/// Where forge's standard library is among the packages.
const LIBRARY: &str = "node_modules/@uniswap/v4-core/lib/forge-std/src";

/// The programs.
#[derive(Clone)]
pub struct Toolset {
    tools: PathBuf,
    cache: PathBuf,
    endpoints: Vec<Secret>,
    tasks: Tasks,
}

impl Toolset {
    /// Those in the folder `tools`. Nodes keep what they cannot keep in memory under `data`, and fork the first of `endpoints`.
    pub fn new(places: &crate::Places, tasks: &Tasks) -> Self {
        let cache = places.data.join("foundry").join("nodes");
        Self { tools: places.tools.clone(), cache, endpoints: places.endpoints.clone(), tasks: tasks.clone() }
    }

    fn folder(&self) -> Result<PathBuf> {
        let folder = self.tools.join("npm");
        folder.canonicalize().map_err(|_| missing("Foundry", &folder))
    }

    fn program(&self, name: &str) -> Result<(PathBuf, String)> {
        let inside = format!("node_modules/@foundry-rs/{name}-{}/bin/{name}", platform()?);
        let path = self.folder()?.join(&inside);
        if path.is_file() { Ok((path, inside)) } else { Err(missing(name, &path)) }
    }

    fn node_arguments(&self, spec: &NodeSpec) -> Result<(Vec<String>, Option<&Secret>)> {
        let mut arguments: Vec<String> =
            ["--host", "127.0.0.1", "--port", "0", "--color", "never", "--accounts"].map(str::to_owned).into();
        arguments.push(spec.accounts.to_string());
        if let Some(id) = spec.chain_id {
            arguments.extend(["--chain-id".into(), id.to_string()]);
        }
        if let Some(seconds) = spec.block_seconds {
            arguments.extend(["--block-time".into(), seconds.to_string()]);
        }
        let Some(fork) = spec.fork else { return Ok((arguments, None)) };
        let url = self.endpoints.first().ok_or_else(|| {
            Fault::not_configured("there is no chain to fork").hint("set ETHEREUM_RPC_URL; a fresh node needs none")
        })?;
        arguments.extend(["--fork-url".into(), url.expose().to_owned()]);
        if let Some(block) = fork.block {
            arguments.extend(["--fork-block-number".into(), block.to_string()]);
        }
        Ok((arguments, Some(url)))
    }
}

fn missing(what: &str, path: &std::path::Path) -> Fault {
    Fault::not_configured(format!("{what} is not at {}", path.display()))
        .hint("install Node.js and run `cargo xtask fetch`, or set fleet.tools_dir")
}

#[async_trait]
impl Foundry for Toolset {
    fn kit(&self) -> Result<Kit> {
        let folder = self.folder()?;
        let (_, forge) = self.program("forge")?;
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(COMPILER)?.to_owned()));
        let mut compilers: Vec<String> = named.filter(|version| parts(version).is_some()).collect();
        compilers.sort_by_key(|version| parts(version));
        let library = folder.join(LIBRARY).is_dir().then(|| LIBRARY.to_owned());
        Ok(Kit { folder, forge, library, compilers })
    }

    async fn answer(&self, program: Program, arguments: &[String]) -> Result<String> {
        let name = match program {
            Program::Forge => "forge",
            Program::Anvil => "anvil",
            Program::Cast => "cast",
        };
        let (path, _) = self.program(name)?;
        let mut command = Command::new(path);
        command.args(arguments).env_clear().env("HOME", "/nonexistent").env("NO_COLOR", "1").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let late = |_| Fault::timeout(format!("{name} took longer than {} s", ANSWER_TIME.as_secs()));
        tokio::time::timeout(ANSWER_TIME, answered(command, name)).await.map_err(late)?
    }

    async fn start(&self, spec: &NodeSpec) -> Result<Box<dyn Node>> {
        let (path, _) = self.program("anvil")?;
        let (arguments, url) = self.node_arguments(spec)?;
        match Anvil::node(&path, &arguments, &self.cache, &self.tasks).await {
            Ok(anvil) => Ok(Box::new(anvil)),
            Err(fault) => Err(hidden(fault, url)),
        }
    }
}

/// A fault without the URL that may hold a key.
fn hidden(fault: Fault, url: Option<&Secret>) -> Fault {
    match url {
        // Words of a node that forks may tell of its endpoint in more ways than can be looked for.
        Some(_) => Fault::new(fault.code, "anvil cannot fork the fleet's chain")
            .hint("blockchain-integration's chain_status tells how its endpoints stand"),
        None => fault,
    }
}

async fn answered(mut command: Command, name: &str) -> Result<String> {
    let mut child = command.spawn().map_err(|error| Fault::unavailable(format!("cannot run {name}: {error}")))?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Fault::internal("a program whose ends are not ours"));
    };
    let (mut said, mut complaint) = (String::new(), String::new());
    let (mut out, mut err) = (out.take(ANSWER_BYTES_MAX as u64 + 1), err.take(COMPLAINT_BYTES_MAX));
    let (read, _) = tokio::join!(out.read_to_string(&mut said), err.read_to_string(&mut complaint));
    read.map_err(|error| Fault::upstream(format!("{name}'s answer: {error}")))?;
    if said.len() > ANSWER_BYTES_MAX {
        return Err(Fault::too_large(format!("{name} answers more than {ANSWER_BYTES_MAX} bytes")));
    }
    let status = child.wait().await.map_err(|error| Fault::internal(format!("{name}'s end: {error}")))?;
    if status.success() {
        return Ok(said);
    }
    let words = complaint.trim().trim_start_matches("Error:").trim();
    Err(Fault::upstream(format!("{name}: {}", if words.is_empty() { "it said nothing" } else { words })))
}

#[async_trait]
impl Node for Anvil {
    fn port(&self) -> u16 {
        Anvil::port(self)
    }

    async fn ended(&mut self) -> Fault {
        Anvil::ended(self).await
    }

    async fn stop(&mut self) {
        Anvil::stop(self).await;
    }
}

/// A version's figures, if it is one.
fn parts(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}
