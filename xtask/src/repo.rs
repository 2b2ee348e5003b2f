//! Where the repository and its tools folder are, and the only place of these chores that reads the environment.

use std::path::{Path, PathBuf};

use crate::problem::{Problem, Result};

/// The variable that names the tools folder, read by these chores, the fleet and the tests.
pub(crate) const TOOLS_VARIABLE: &str = "FLOTILLA_TOOLS_DIR";

/// This checkout.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Where fetched tools live: `$FLOTILLA_TOOLS_DIR`, or `.tools` in the root.
    pub(crate) tools: PathBuf,
}

impl Repo {
    /// The checkout this process was started from by cargo.
    pub(crate) fn find() -> Result<Self> {
        let here = variable("CARGO_MANIFEST_DIR").ok_or_else(|| {
            Problem::new("cargo did not say where the workspace is").fix("start this as `cargo xtask`")
        })?;
        let root = Path::new(&here).parent().map(Path::to_path_buf).unwrap_or_default();
        let tools = match variable(TOOLS_VARIABLE) {
            Some(folder) => std::path::absolute(&folder).map_err(Problem::io(format!("{TOOLS_VARIABLE}={folder}")))?,
            None => root.join(".tools"),
        };
        Ok(Self { root, tools })
    }
}

/// Whether this runs on a build server, where what is missing fails instead of being skipped.
pub(crate) fn in_ci() -> bool {
    variable("CI").is_some_and(|value| value != "false" && value != "0")
}

/// An environment variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "chores are no part of the fleet and have no configuration file")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
