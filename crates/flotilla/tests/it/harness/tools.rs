//! The official clients and suites, fetched by `cargo xtask fetch`.
//!
//! On a build server one that is not there fails its test; on a laptop the test is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Ran, variable};

/// How long a program of theirs may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Where fetched tools are.
pub(crate) fn folder() -> PathBuf {
    variable("FLOTILLA_TOOLS_DIR").map_or_else(|| root().join(".tools"), PathBuf::from)
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// A file of these tests, made to be run by something else.
pub(crate) fn script(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(inside)
}

fn found(path: PathBuf) -> Option<PathBuf> {
    found_or(path, "`cargo xtask fetch` brings it")
}

fn found_or(path: PathBuf, fix: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{} is not there: {fix}", path.display());
    assert!(variable("CI").is_none_or(|value| value == "false" || value == "0"), "{missing}");
    #[expect(clippy::print_stderr, reason = "a skipped test must not look like one that passed")]
    {
        eprintln!("SKIPPED: {missing}");
    }
    None
}

/// A program that this machine's own packages bring.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    there.or_else(|| {
        found_or(
            Path::new("/usr/bin").join(name),
            "apt-get install its package (chromium-driver, tmux), or your system's",
        )
    })
}

/// Node.js, new enough for all of them.
fn node() -> Option<Command> {
    found(folder().join("tests/node_modules/.bin/node")).map(Command::new)
}

/// A program of the test set, run by its Node.js.
fn node_program(name: &str) -> Option<Command> {
    let program = found(folder().join("tests/node_modules/.bin").join(name))?;
    let mut command = node()?;
    command.arg(program);
    Some(command)
}

/// The conformance suite.
pub(crate) fn conformance() -> Option<Command> {
    node_program("conformance")
}

/// Inspector's command line, with a home of its own.
pub(crate) fn inspector(home: &Path) -> Option<Command> {
    let mut command = node_program("inspector")?;
    command.env("HOME", home).arg("--cli");
    Some(command)
}

/// A script of these tests on Node.js; it finds the SDKs through `MODULES`.
pub(crate) fn node_script(inside: &str) -> Option<Command> {
    let mut command = node()?;
    command.arg(script(inside)).env("MODULES", folder().join("tests/"));
    Some(command)
}

/// Python with the official SDK.
pub(crate) fn python() -> Option<PathBuf> {
    found(folder().join("venv/bin/python"))
}

/// A script of these tests on Python.
pub(crate) fn python_script(inside: &str) -> Option<Command> {
    let mut command = Command::new(python()?);
    command.arg(script(inside));
    Some(command)
}

/// Python with the published schemas.
pub(crate) fn schemas() -> Option<Command> {
    found(folder().join("schemas/bin/python")).map(Command::new)
}

/// Whether projects can be analysed.
pub(crate) fn analysis() -> Option<()> {
    found(folder().join("analysis/python/bin/ruff")).map(|_| ())
}

/// A program out of Debian's packages, such as `bin/prometheus`.
pub(crate) fn debian(program: &str) -> Option<PathBuf> {
    found(folder().join("debian/root/usr").join(program))
}

/// Whether the sandbox chain can be started.
pub(crate) fn anvil() -> Option<()> {
    let scope = folder().join("npm/node_modules/@foundry-rs");
    let packages = std::fs::read_dir(&scope).into_iter().flatten().flatten();
    let mut named = packages.filter(|package| package.file_name().to_string_lossy().starts_with("anvil"));
    found(named.next().map_or(scope.join("anvil"), |package| package.path())).map(|_| ())
}

/// Runs one of them to its end.
pub(crate) fn run(command: &mut Command, arguments: &[&str]) -> Ran {
    Ran::run(command.args(arguments), "", LIMIT)
}

/// A program of the workspace's examples. All are built when all packages are tested; `cargo build --examples` builds them too.
pub(crate) fn example(name: &str) -> Option<PathBuf> {
    found(Path::new(env!("CARGO_BIN_EXE_flotilla")).parent().unwrap().join("examples").join(name))
}
