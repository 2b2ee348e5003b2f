//! Where the sandbox's binary and artefacts are.

use std::path::{Path, PathBuf};

use kernel::{Fault, Result};

use super::artefact::Code;
use super::{artefact, not_installed};

/// The tools, found.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) anvil: PathBuf,
    packages: PathBuf,
}

impl Tools {
    /// Finds them in the tools folder; says which is missing and what to do.
    pub(crate) fn find(tools: &Path) -> Result<Self> {
        let packages = tools.join("npm/node_modules");
        let anvil = packages.join(format!("@foundry-rs/anvil-{}/bin/anvil", platform()?));
        if !anvil.is_file() {
            return Err(not_installed("anvil", &anvil));
        }
        for artefact in artefact::ALL {
            let path = packages.join(artefact);
            if !path.is_file() {
                return Err(not_installed("a contract's bytecode", &path));
            }
        }
        Ok(Self { anvil, packages })
    }

    /// An artefact's creation code.
    pub(super) fn code(&self, artefact: &str) -> Result<Code> {
        Code::read(&self.packages.join(artefact))
    }
}

/// How Foundry's packages name this system.
pub(crate) fn platform() -> Result<&'static str> {
    Ok(match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-amd64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-amd64",
        ("macos", "aarch64") => "darwin-arm64",
        (os, arch) => {
            return Err(Fault::unsupported(format!("anvil is not made for {os} on {arch}"))
                .hint("set ETHEREUM_RPC_URL to a node's URL"));
        }
    })
}
