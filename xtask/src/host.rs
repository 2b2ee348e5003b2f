//! What must be on the machine already: Node.js with npm, Python, Debian's package tools, each looked for only when something has to be
//! fetched; and PostgreSQL, which a build server installs.

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

/// Sees to it that tests can start a PostgreSQL. On a build server with Debian's packages it is installed; its own service is not started.
///
/// # Errors
/// It is missing, and cannot be installed.
pub(crate) fn postgres(repo: &Repo) -> Result {
    /// Installing it takes half a minute where the mirror is near.
    const LIMIT: Duration = Duration::from_secs(10 * 60);
    if has_postgres() {
        return Ok(());
    }
    let missing = || {
        Problem::new("PostgreSQL's server is missing: there is no `initdb` in /usr/lib/postgresql/*/bin nor in PATH")
            .fix("apt-get install postgresql, or your system's package; only tests need it")
    };
    if !in_ci() || major_version("apt-get")?.is_none() {
        return Err(missing());
    }
    std::fs::create_dir_all(&repo.tools).map_err(Problem::io(repo.tools.display()))?;
    for words in [&["update"][..], &["install", "--yes", "--no-install-recommends", "postgresql"]] {
        let mut install = Command::new("apt-get");
        // In runlevel 1 no package starts its service.
        install.args(words).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        command::run_logged(&mut install, &repo.tools.join("apt-get.log"), LIMIT, || {})?;
    }
    if has_postgres() { Ok(()) } else { Err(missing()) }
}

fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = versions.map(|version| version.path().join("bin"));
    let path = variable("PATH").unwrap_or_default();
    packaged.chain(std::env::split_paths(&path)).any(|bin| bin.join("initdb").is_file())
}
