//! What the chain is and where: the `[chain]` table of `flotilla.toml`, beside secrets that no file holds.

use std::path::PathBuf;
use std::time::Duration;

use kernel::Secret;
use kernel::chain::Address;
use market::pool::Protocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[chain]` in `flotilla.toml`. The endpoints' URLs are secrets and come from `ETHEREUM_RPC_URL`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The chain all endpoints must serve; what the first to answer says when absent.
    pub chain_id: Option<u64>,
    /// How long one endpoint may take for one answer, in milliseconds.
    pub request_time_ms: u64,
    /// How often the head is looked at, in milliseconds. The sandbox has its own.
    pub poll_ms: u64,
    /// Most blocks that one query for logs spans.
    pub log_blocks_max: u64,
    /// Flash lenders beside those known on the connected chain.
    pub lenders: LendersConfig,
    /// Which pools are followed.
    pub pools: PoolsConfig,
    /// The local chain that stands in when no endpoint is given.
    pub sandbox: SandboxConfig,
}

/// `[chain.lenders]` in `flotilla.toml`: flash lenders of a chain that is not known, or not fully.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LendersConfig {
    /// An Aave V3 pool.
    pub aave_v3_pool: Option<Address>,
    /// A Balancer V2 vault.
    pub balancer_v2_vault: Option<Address>,
    /// A Uniswap V3 factory.
    pub uniswap_v3_factory: Option<Address>,
    /// A Uniswap V4 pool manager.
    pub uniswap_v4_manager: Option<Address>,
    /// Exchanges with Uniswap V2's interface.
    pub pairs: Vec<PairsConfig>,
    /// Tokens that others are most often paired with; pools and pairs are looked for with these.
    pub paired_with: Vec<Address>,
}

/// One entry of `[[chain.lenders.pairs]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairsConfig {
    /// What it is called in answers.
    pub name: String,
    /// Its factory.
    pub factory: Address,
    /// Its pairs' fee in thousandths.
    pub fee_per_mille: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chain_id: None,
            request_time_ms: 10_000,
            poll_ms: 2_000,
            log_blocks_max: 10_000,
            lenders: LendersConfig::default(),
            pools: PoolsConfig::default(),
            sandbox: SandboxConfig::default(),
        }
    }
}

/// `[chain.pools]` in `flotilla.toml`: which pools are followed. On the sandbox all are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolsConfig {
    /// The exchanges whose pools are followed.
    pub exchanges: Vec<ExchangeConfig>,
    /// Pools are followed when both their tokens are among these; all are when there are none.
    pub tokens: Vec<Address>,
    /// Most pools that are followed.
    pub pools_max: usize,
    /// After how many blocks some pools are read anew, to be held against what is known of them.
    pub audit_every_blocks: u64,
    /// How many that is.
    pub audit_pools: usize,
}

/// One entry of `[[chain.pools.exchanges]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeConfig {
    /// Whose contracts its pools are: `uniswap-v2`, `sushiswap-v2`, `other-v2`, `uniswap-v3`, `other-v3`.
    pub protocol: Protocol,
    /// Its factory.
    pub factory: Address,
    /// The block in which the factory was made; nothing before it is read.
    pub from_block: u64,
    /// Its pairs' fee in millionths; pools with ticks say theirs themselves.
    #[serde(default = "pair_fee_millionths")]
    pub fee_millionths: u32,
}

fn pair_fee_millionths() -> u32 {
    3_000
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self { exchanges: Vec::new(), tokens: Vec::new(), pools_max: 20_000, audit_every_blocks: 50, audit_pools: 20 }
    }
}

/// `[chain.sandbox]` in `flotilla.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// Whether it is started when no endpoint is given.
    pub enabled: bool,
    /// Its port; a free one when that is taken, or when 0.
    pub port: u16,
    /// How often its head is looked at, in milliseconds.
    pub poll_ms: u64,
    /// Whose its flash executor is; the wallet's when absent.
    pub executor_owner: Option<Address>,
    /// How often its trader swaps at random, so that prices drift apart, in milliseconds; never when 0.
    pub trader_ms: u64,
    /// What the trader's swaps come of: the same seed, the same swaps.
    pub trader_seed: u64,
    /// Whether the fleet trades on it from the start, in live mode: its money is worth nothing. Its books are its own, and its mode is not
    /// that of any other chain.
    pub trades: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            port: 8545,
            poll_ms: 100,
            executor_owner: None,
            trader_ms: 3_000,
            trader_seed: 1,
            trades: true,
        }
    }
}

/// What configuration files do not say.
#[derive(Debug, Clone)]
pub struct Places {
    /// The endpoints' URLs, in the order of preference.
    pub endpoints: Vec<Secret>,
    /// The folder of fetched tools: `npm/node_modules` in it holds the sandbox's binary and artefacts.
    pub tools: PathBuf,
    /// The data folder: the sandbox keeps its state there, and its processes agree there who publishes heads.
    pub data: PathBuf,
}

impl Places {
    /// The endpoints in `ETHEREUM_RPC_URL`: one URL, or several parted by commas.
    pub fn endpoints_in(text: &str) -> Vec<Secret> {
        text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(Secret::new).collect()
    }
}

impl Config {
    pub(crate) fn request_time(&self) -> Duration {
        Duration::from_millis(self.request_time_ms)
    }
}
