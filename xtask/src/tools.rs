//! The pinned tools: what is committed in `xtask/tools/`, fetched by npm and pip into the tools folder.
//!
//! | set | folder | holds |
//! | --- | --- | --- |
//! | fleet | `npm/node_modules/<package>`, `npm/solc-<version>` | Foundry's binaries, the protocols' bytecode, Solidity compilers |
//! | tests | `tests/node_modules/<package>`, `tests/node_modules/.bin/node` | conformance suite, Inspector, TypeScript SDK, a recent Node.js |
//! | python | `venv/bin/python` | the Python SDKs of MCP and A2A |
//! | schemas | `schemas/bin/python` | the published schemas of Compose, Kubernetes and Grafana |
//! | analysis | `analysis/python`, `analysis/node_modules` | what analyses projects: slither, ruff, pytest, solhint |
//! | debian | `debian/root/usr/bin/prometheus` | programs out of Debian's packages, unpacked and not installed |
//!
//! Invariants:
//! - A set is current when its stamp equals its committed pins; the stamp is written last, inside the folder that it vouches for, so
//!   an interrupted fetch is begun again.
//! - One fetch at a time per tools folder: a file lock, released by the system when its holder and the programs it started are gone.
//! - No package's install script is run.
//! - Of the packages with protocols' bytecode only files are read, so `package-lock.json` leaves their own dependencies out: after
//!   `npm install` of another one, take what it brought along out of the lock file again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::{command, host, say};

/// A fetch that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);
const STAMP: &str = ".flotilla-stamp";
/// What pip installs.
const REQUIREMENTS: &str = "requirements.txt";
/// What dresses the compilers' WebAssembly builds as programs, and the names of those.
const SOLC: &str = "solc.js";
const COMPILERS: [&str; 2] = ["solc-0.6.12", "solc-0.8.26"];
/// What unpacks Debian's packages into a folder, without installing them.
const UNPACK: &str = "unpack.sh";
/// What compiles SushiSwap, of which only the source is published.
const SUSHISWAP: &str = "sushiswap.js";

/// What is fetched together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// What the fleet needs
    Fleet,
    /// What the tests need from npm
    Tests,
    /// What the tests need from Python's registry
    Python,
    /// What the tests hold the files around the fleet against
    Schemas,
    /// What analyses Solidity and Python projects, for the server quality
    Analysis,
    /// Servers that the tests start, from Debian's packages
    Debian,
}

impl Set {
    /// Every set.
    pub(crate) const ALL: [Self; 6] =
        [Self::Fleet, Self::Tests, Self::Python, Self::Schemas, Self::Analysis, Self::Debian];

    /// What it holds, for people.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Fleet => "Foundry and protocol artefacts",
            Self::Tests => "the official MCP clients and conformance suite",
            Self::Python => "the official Python SDKs",
            Self::Schemas => "schemas of Compose, Kubernetes and Grafana",
            Self::Analysis => "slither, ruff, pytest and solhint",
            Self::Debian => "Prometheus, Alertmanager and Nginx from Debian",
        }
    }

    /// Its folder of pins in `xtask/tools/`, and the pins' files.
    fn pins(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Fleet => ("fleet", &["package.json", "package-lock.json", SOLC, SUSHISWAP]),
            Self::Tests => ("tests", &["package.json", "package-lock.json"]),
            Self::Python => ("python", &[REQUIREMENTS]),
            Self::Schemas => ("schemas", &[REQUIREMENTS]),
            Self::Analysis => ("analysis", &["package.json", "package-lock.json", REQUIREMENTS]),
            Self::Debian => ("debian", &["packages.txt", UNPACK]),
        }
    }

    /// Where it is installed, and the part of that whose presence says it is whole.
    fn folders(self, tools: &Path) -> (PathBuf, PathBuf) {
        match self {
            Self::Fleet => (tools.join("npm"), tools.join("npm/node_modules")),
            Self::Tests => (tools.join("tests"), tools.join("tests/node_modules")),
            Self::Python => (tools.join("venv"), tools.join("venv")),
            Self::Schemas => (tools.join("schemas"), tools.join("schemas")),
            Self::Analysis => (tools.join("analysis"), tools.join("analysis")),
            Self::Debian => (tools.join("debian"), tools.join("debian")),
        }
    }

    /// A file without which the set is of no use here, whatever the package manager said.
    fn proof(self) -> Result<String> {
        Ok(match self {
            Self::Fleet => format!("@foundry-rs/anvil-{}/bin/anvil", platform()?),
            Self::Tests => ".bin/node".to_owned(),
            Self::Python | Self::Schemas => "bin/python".to_owned(),
            Self::Analysis => "python/bin/ruff".to_owned(),
            Self::Debian => "root/usr/bin/prometheus".to_owned(),
        })
    }
}

/// One set at one place.
struct Fetch<'a> {
    set: Set,
    pins: PathBuf,
    tools: &'a Path,
    /// The stamp of an installed set that is current: all pins, and for whom.
    stamp: String,
}

/// Fetches those of `sets` that are absent or not as pinned.
///
/// # Errors
/// npm or Python is missing, a registry cannot be reached, or what arrived is not what was pinned.
pub(crate) fn fetch(repo: &Repo, sets: &[Set]) -> Result {
    let fetches = sets.iter().map(|set| Fetch::new(repo, *set)).collect::<Result<Vec<_>>>()?;
    let stale: Vec<_> = fetches.iter().filter(|fetch| !fetch.current()).collect();
    if stale.is_empty() {
        return Ok(());
    }
    for fetch in &stale {
        match fetch.set {
            Set::Fleet | Set::Tests => host::npm()?,
            Set::Python | Set::Schemas => host::python()?,
            Set::Analysis => host::npm().and_then(|()| host::python())?,
            Set::Debian => host::debian()?,
        }
    }
    fs::create_dir_all(&repo.tools).map_err(Problem::io(repo.tools.display()))?;
    let held = lock(&repo.tools)?;
    // Whoever held the lock before may have fetched the same.
    stale.into_iter().filter(|fetch| !fetch.current()).try_for_each(|fetch| fetch.run(&held))
}

impl<'a> Fetch<'a> {
    fn new(repo: &'a Repo, set: Set) -> Result<Self> {
        let (folder, files) = set.pins();
        let pins = repo.root.join("xtask/tools").join(folder);
        let mut stamp = format!("{} {}\n", std::env::consts::OS, std::env::consts::ARCH);
        for file in files {
            let path = pins.join(file);
            stamp += &fs::read_to_string(&path).map_err(Problem::io(path.display()))?;
        }
        Ok(Self { set, pins, tools: &repo.tools, stamp })
    }

    fn current(&self) -> bool {
        let (_, inside) = self.set.folders(self.tools);
        fs::read_to_string(inside.join(STAMP)).is_ok_and(|stamp| stamp == self.stamp)
    }

    fn run(&self, held: &File) -> Result {
        let (folder, inside) = self.set.folders(self.tools);
        let proof = inside.join(self.set.proof()?);
        fs::create_dir_all(&folder).map_err(Problem::io(folder.display()))?;
        if inside.join(STAMP).exists() {
            fs::remove_file(inside.join(STAMP)).map_err(Problem::io(inside.display()))?;
        }
        let progress = say::Progress::start(self.set.about());
        for (number, step) in self.steps(&folder)?.iter_mut().enumerate() {
            let log = self.tools.join(format!("{}-{number}.log", self.set.pins().0));
            // The lock is its standard input, so that one orphaned by our own death still holds it.
            step.stdin(held.try_clone().map_err(Problem::io("the fetch lock"))?);
            command::run_logged(step, &log, LIMIT, || progress.bytes(size(&folder)))?;
        }
        // npm takes a package for an optional platform that it could not fetch for one not meant for this machine.
        if !proof.exists() {
            return Err(Problem::new(format!("fetched {}, but {} is not there", self.set.about(), proof.display()))
                .fix("check the connection to the package registry and start again"));
        }
        fs::write(inside.join(STAMP), &self.stamp).map_err(Problem::io(inside.display()))?;
        progress.done(size(&folder));
        Ok(())
    }

    /// The commands that install it into `folder`.
    fn steps(&self, folder: &Path) -> Result<Vec<Command>> {
        if self.set == Set::Debian {
            let mut unpack = Command::new("sh");
            unpack.arg(self.pins.join(UNPACK)).arg(self.pins.join("packages.txt")).arg(folder);
            return Ok(vec![unpack]);
        }
        if matches!(self.set, Set::Python | Set::Schemas) {
            let mut create = Command::new("python3");
            create.args(["-m", "venv", "--clear"]).arg(folder);
            let mut install = Command::new(folder.join("bin/python"));
            install.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--only-binary=:all:"]);
            install.arg("--requirement").arg(self.pins.join(REQUIREMENTS));
            if self.set == Set::Schemas {
                // Every package is listed, and of one only a file is read, whose own dependencies would not build.
                install.arg("--no-deps");
            }
            return Ok(vec![create, install]);
        }
        for file in self.set.pins().1 {
            fs::copy(self.pins.join(file), folder.join(file)).map_err(Problem::io(folder.display()))?;
        }
        let mut steps = vec![npm(folder, "ci")];
        if self.set == Set::Analysis {
            steps.extend(for_the_system(folder));
        }
        if self.set == Set::Fleet {
            steps.extend(other_platform(folder, &self.stamp, platform()?));
            for compiler in COMPILERS {
                fs::copy(self.pins.join(SOLC), folder.join(compiler)).map_err(Problem::io(folder.display()))?;
            }
            let mut compile = Command::new("node");
            compile.current_dir(folder).arg(SUSHISWAP);
            steps.push(compile);
        }
        Ok(steps)
    }
}

/// Python's packages of `folder` for the system's Python, which is the one that programs that are shut in have; it may have no pip.
fn for_the_system(folder: &Path) -> [Command; 2] {
    const SYSTEM: &str = "/usr/bin/python3";
    let installer = folder.join("installer");
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&installer);
    let mut install = Command::new(installer.join("bin/python"));
    install.args(["-m", "pip"]);
    if Path::new(SYSTEM).exists() {
        install.args(["--python", SYSTEM]);
    }
    install.args(["install", "--no-input", "--disable-pip-version-check", "--only-binary=:all:", "--upgrade"]);
    install.arg("--target").arg(folder.join("python")).arg("--requirement").arg(folder.join(REQUIREMENTS));
    [create, install]
}

fn npm(folder: &Path, what: &str) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).arg(what);
    npm.args(["--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"]);
    npm
}

/// Foundry's packages for a system other than the one that the lock file was made on: pinned by version, their content by the
/// registry's word only.
fn other_platform(folder: &Path, pins: &str, platform: &str) -> Option<Command> {
    const LOCKED: &str = "linux-amd64";
    if platform == LOCKED {
        return None;
    }
    let mut install = npm(folder, "install");
    install.args(["--no-save", "--no-package-lock"]);
    // A pinned line of package.json reads `"@foundry-rs/anvil-linux-amd64": "1.7.1",`.
    let pinned = pins.lines().filter(|line| line.contains(&format!("{LOCKED}\": \"")));
    let words = pinned.map(|line| line.split('"').collect::<Vec<_>>());
    // The lock file repeats package.json's lines.
    let packages: BTreeSet<_> =
        words.map(|words| format!("{}@{}", words[1].replace(LOCKED, platform), words[3])).collect();
    install.args(packages);
    Some(install)
}

/// How Foundry's packages name this system.
fn platform() -> Result<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64"),
        ("macos", "x86_64") => Ok("darwin-amd64"),
        ("macos", "aarch64") => Ok("darwin-arm64"),
        (os, arch) => Err(Problem::new(format!("Foundry has no package for {os} on {arch}"))
            .fix("run without the sandbox chain: `cargo xtask up -- --no-sandbox`")),
    }
}

/// Holds the tools folder against other fetches until dropped.
fn lock(tools: &Path) -> Result<File> {
    let path = tools.join(".lock");
    let file = File::create(&path).map_err(Problem::io(path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            say::line(&format!("waiting for another fetch into {}", tools.display()));
        }
        Err(fs::TryLockError::Error(error)) => return Err(Problem::new(format!("{}: {error}", path.display()))),
    }
    file.lock().map_err(Problem::io(path.display()))?;
    Ok(file)
}

/// Bytes in the files below `folder`. For show: what vanishes while it looks counts as nothing.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests;
