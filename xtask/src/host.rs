//! What must be on the machine already: Node.js with npm, Python, Debian's package tools. Each is looked for only when something has to be fetched.

use crate::command::major_version;
use crate::problem::{Problem, Result};

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
