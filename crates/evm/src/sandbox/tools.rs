//! Where the sandbox's binary and artefacts are, and reading an artefact.

use std::path::{Path, PathBuf};

use alloy_primitives::hex;
use kernel::{Fault, Result};
use serde::Deserialize;
use serde_json::Value;

use super::not_installed;

/// The contracts that the market is made of: their packages, and where in them.
pub(super) const WETH: &str = "canonical-weth/build/contracts/WETH9.json";
pub(super) const TOKEN: &str = "@aave/core-v3/artifacts/contracts/mocks/tokens/MintableERC20.sol/MintableERC20.json";
pub(super) const FACTORY: &str = "@uniswap/v2-core/build/UniswapV2Factory.json";
pub(super) const ROUTER: &str = "@uniswap/v2-periphery/build/UniswapV2Router02.json";

/// Largest artefact read, in bytes.
const ARTEFACT_BYTES_MAX: u64 = 32 << 20;

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
        for artefact in [WETH, TOKEN, FACTORY, ROUTER] {
            let path = packages.join(artefact);
            if !path.is_file() {
                return Err(not_installed("a contract's bytecode", &path));
            }
        }
        Ok(Self { anvil, packages })
    }

    /// An artefact's creation code.
    pub(super) fn code(&self, artefact: &str) -> Result<Vec<u8>> {
        #[derive(Deserialize)]
        struct Artefact {
            bytecode: Option<String>,
            evm: Option<Value>,
        }
        let path = self.packages.join(artefact);
        let wrong = |why: String| {
            Fault::unavailable(format!("artefact {} cannot be used: {why}", path.display()))
                .hint("run `cargo xtask up` to fetch it again")
        };
        let size = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?.len();
        if size > ARTEFACT_BYTES_MAX {
            return Err(wrong(format!("it has {size} bytes")));
        }
        let text = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let artefact: Artefact = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let nested = || artefact.evm.as_ref()?.pointer("/bytecode/object")?.as_str().map(ToOwned::to_owned);
        let code = artefact.bytecode.clone().or_else(nested).ok_or_else(|| wrong("it has no bytecode".into()))?;
        hex::decode(&code)
            .ok()
            .filter(|code| !code.is_empty())
            .ok_or_else(|| wrong("its bytecode cannot be read".into()))
    }
}

/// How Foundry's packages name this system.
fn platform() -> Result<&'static str> {
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
