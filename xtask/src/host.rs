//! What must be on the machine already: Node.js with npm, Python, Debian's package tools, each looked for only when something has to be
//! fetched; and the programs that tests start, which a build server installs.

use std::process::Command;
use std::time::Duration;

use crate::command::{self, major_version};
use crate::problem::{Problem, Result};
use crate::repo::{Repo, in_ci, variable};

/// The oldest Node.js whose npm reads our lock files.
const NODE: u32 = 18;
/// The oldest npm that reads our lock files.
const NPM: u32 = 8;

const INSTALL_NODE: &str = "install Node.js 18 or newer together with npm (https://nodejs.org or your system's packages); \
    a fleet without the sandbox chain needs neither: `cargo xtask up -- --no-sandbox`";

/// Sees to it that npm can be run.
///
/// # Errors
/// Node.js or npm is missing or too old.
pub(crate) fn npm() -> Result {
    for (program, name, oldest) in [("node", "Node.js", NODE), ("npm", "npm", NPM)] {
        let what = match major_version(program)? {
            Some(major) if major >= oldest => continue,
            Some(major) => format!("{name} {major} is too old: {oldest} or newer is needed"),
            None => format!("{name} is missing: there is no `{program}` in PATH"),
        };
        return Err(Problem::new(what).fix(INSTALL_NODE));
    }
    Ok(())
}

/// Sees to it that there is a Python that can make virtual environments.
///
/// # Errors
/// Python 3 is missing.
pub(crate) fn python() -> Result {
    match major_version("python3")? {
        Some(3..) => Ok(()),
        _ => Err(Problem::new("Python 3 is missing: there is no `python3` in PATH")
            .fix("install Python 3.10 or newer with its venv module (Debian: python3-venv); only tests need it")),
    }
}

/// Sees to it that Debian's packages can be fetched and unpacked; nothing of it needs root.
///
/// # Errors
/// This is no Debian.
pub(crate) fn debian() -> Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        if major_version(program)?.is_none() {
            return Err(Problem::new(format!("there is no `{program}` in PATH"))
                .fix("only tests with real servers need it: run them on Debian, or in one of its containers"));
        }
    }
    Ok(())
}

/// A program that tests start for themselves.
pub(crate) struct Program {
    /// What people call it.
    pub(crate) name: &'static str,
    /// Debian's package.
    package: &'static str,
    /// A program of it, and of what does as well.
    programs: &'static [&'static str],
}

/// Those programs.
pub(crate) const PROGRAMS: [Program; 6] = [
    Program { name: "PostgreSQL", package: "postgresql", programs: &["initdb"] },
    Program { name: "Redis", package: "redis-server", programs: &["redis-server", "valkey-server"] },
    Program { name: "etcd", package: "etcd-server", programs: &["etcd"] },
    Program { name: "RabbitMQ", package: "rabbitmq-server", programs: &["rabbitmq-server"] },
    // It brings Chromium itself along, of the same version.
    Program { name: "Chromium's driver", package: "chromium-driver", programs: &["chromedriver"] },
    Program { name: "tmux", package: "tmux", programs: &["tmux"] },
];

impl Program {
    /// Sees to it that tests can start it. On a build server with Debian's packages it is installed; its own service is not started.
    ///
    /// # Errors
    /// It is missing, and cannot be installed.
    pub(crate) fn ensure(&self, repo: &Repo) -> Result {
        /// Installing one takes half a minute where the mirror is near.
        const LIMIT: Duration = Duration::from_secs(10 * 60);
        if self.is_there() {
            return Ok(());
        }
        let Self { name, package, programs } = self;
        let missing = || {
            Problem::new(format!(
                "{name} is missing: there is no `{}` where its packages put it, nor in PATH",
                programs[0]
            ))
            .fix(format!("apt-get install {package}, or your system's package; only tests need it"))
        };
        if !in_ci() || major_version("apt-get")?.is_none() {
            return Err(missing());
        }
        std::fs::create_dir_all(&repo.tools).map_err(Problem::io(repo.tools.display()))?;
        for words in [&["update"][..], &["install", "--yes", "--no-install-recommends", package]] {
            let mut install = Command::new("apt-get");
            // In runlevel 1 no package starts its service.
            install.args(words).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
            command::run_logged(&mut install, &repo.tools.join("apt-get.log"), LIMIT, || {})?;
        }
        if self.is_there() { Ok(()) } else { Err(missing()) }
    }

    fn is_there(&self) -> bool {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let packaged = versions.map(|version| version.path().join("bin")).chain(["/usr/sbin".into()]);
        let path = variable("PATH").unwrap_or_default();
        let mut folders = packaged.chain(std::env::split_paths(&path));
        folders.any(|folder| self.programs.iter().any(|program| folder.join(program).is_file()))
    }
}
