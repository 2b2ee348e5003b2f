//! The EVM adapter: contract encodings, JSON-RPC with fail-over, head and reorg tracking, simulation (on the node and in this process), and the sandbox chain.
//!
//! Invariants:
//! - The only crate that names alloy (beyond its primitives) or speaks JSON-RPC to a node; the rest of the fleet sees `kernel::chain`.
//! - Only reads are repeated on another endpoint. An endpoint's URL may hold a key: what leaves this crate names its host and port only.
//! - The sandbox is deployed through the development node's own unlocked accounts.

mod abi;
mod config;
mod fees;
mod flash;
mod foundry;
mod heads;
mod keys;
mod known;
mod lock;
mod logs;
mod machine;
mod node;
mod open;
mod pools;
mod relay;
mod rpc;
mod sandbox;
mod send;
mod simulate;
#[cfg(test)]
mod tests;
mod token;
mod trace;
mod wire;

pub use abi::Encodings;
pub use config::{Config, ExchangeConfig, LendersConfig, PairsConfig, Places, PoolsConfig, SandboxConfig};
pub use foundry::Toolset;
pub use keys::{KeySource, new_signer, open_signer, sandbox_signer};
pub use node::Node;
pub use open::{Opened, Parts, open, open_node, open_pools};
pub use relay::HttpRelay;

/// Hashes that are remembered in the process, 128 bytes each: contracts name the same slots of storage again and again.
const HASHES_MAX: usize = 1 << 14;

/// Says how many hashes this process remembers. The first hash settles it, at 131,072 of them where nobody has: 16 MiB that fill as the
/// fleet trades. So it comes before anything else, and `false` tells that something came before it.
#[must_use]
pub fn remember_hashes() -> bool {
    alloy_primitives::init_keccak_cache(HASHES_MAX)
}

/// Where the sandbox's binary is in a folder of fetched tools.
///
/// # Errors
/// It, or something else that the sandbox needs, is not there; the hint says how to get it.
pub fn anvil_in(tools: &std::path::Path) -> kernel::Result<std::path::PathBuf> {
    sandbox::Tools::find(tools).map(|tools| tools.anvil)
}
