//! The programs of the machine that analyse projects: what was fetched, and the Rust of who runs the fleet.

use std::path::{Path, PathBuf};

use servers::quality::Programs;

use crate::config::variable;

/// Where programs that analyse projects are: those that were fetched, and the Rust of who runs the fleet.
pub(super) fn found(tools: &Path) -> Programs {
    let home = variable("HOME");
    let of_home = |name: &str, folder: &str| {
        let named = variable(name).map(PathBuf::from);
        named.or_else(|| home.as_ref().map(|home| Path::new(home).join(folder)))
    };
    let real = |folder: PathBuf| folder.canonicalize().ok();
    Programs {
        analysis: real(tools.join("analysis")),
        rustup: of_home("RUSTUP_HOME", ".rustup").and_then(real),
        registry: of_home("CARGO_HOME", ".cargo").and_then(|folder| real(folder.join("registry"))),
    }
}
