//! The MCP servers, one file (or folder) each.
//!
//! To add one: write `src/<name>.rs`, then add its `mod` line and its line in the table below. Configuration, start-up, documentation,
//! metrics and the catalog's "built" mark follow from the table (a test holds the catalog to it).

pub mod ai_integration;
pub mod blockchain_integration;
pub mod coordination;
pub mod data_providers;
pub mod dex_services;
pub mod execution;
pub mod foundry_integration;
pub mod legacy;
pub mod logging;
pub mod market_analysis;
pub mod monitoring;
pub mod orchestration;
pub mod outbound;
mod percent;
pub mod production;
pub mod quality;
pub mod recovery;
pub mod risk_management;
pub mod scripts;
pub mod task_management;
#[cfg(test)]
mod testing;
mod trading;
pub mod ui;
pub mod utilities;
pub mod when;
mod workshop;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::chain::{Data, Relay, Sender, Signer, Verdict};
use kernel::foundry::{Foundry, NoFoundry};
use kernel::jail::{Jail, NoJail};
use kernel::models::{Models, NoModels};
use kernel::vault::{NoVault, Vault};
use kernel::{Fault, Ports};
use market::feed::{Pools, Unfollowed};
use mcp::phases::{Direct, LimitsConfig, Phases};
use mcp::service::{Service, Shared};
use mcp::toolbox::Router;
use mcp::{Ctx, Reply};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `[market]` in `flotilla.toml`: what all that trades, values and counts must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MarketConfig {
    /// The currency that limits, values and gains are in: a symbol that data-providers has prices in, like USD or EUR.
    pub currency: String,
}

impl Default for MarketConfig {
    fn default() -> Self {
        Self { currency: "USD".into() }
    }
}

impl MarketConfig {
    /// Refuses what is no currency.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](kernel::Code::InvalidArgument).
    pub fn check(&self) -> Result<(), Fault> {
        let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if (2..=10).contains(&self.currency.len()) && self.currency.bytes().all(fits) {
            return Ok(());
        }
        Err(Fault::invalid(format!("market.currency is `{}`", self.currency)).hint("a symbol like USD, EUR or ETH"))
    }
}

/// What the servers of this crate are built from: each takes the ports it needs, the kernel's alone or with the market's.
#[derive(Clone)]
pub struct MarketPorts {
    /// Those of every service.
    pub kernel: Ports,
    /// The pools as they are at the chain's head.
    pub pools: Arc<dyn Pools>,
    /// What all of them agree on.
    pub market: MarketConfig,
    /// Where recordings of pools are kept; nowhere in a process without a data folder.
    pub recordings: Option<PathBuf>,
    /// What sending takes.
    pub wallet: Wallet,
    /// How the tools of the fleet are reached, by what acts for others: workflows.
    pub router: Arc<dyn Router>,
    /// What every call goes through, for calls of agents: those that are no tools.
    pub phases: Phases,
    /// Shuts other people's programs in.
    pub jail: Arc<dyn Jail>,
    /// Foundry's programs.
    pub foundry: Arc<dyn Foundry>,
    /// Where Solidity projects and what is built of them are kept; nowhere in a process without a data folder.
    pub projects: Option<PathBuf>,
    /// What analyses projects, beside what the system has.
    pub programs: quality::Programs,
    /// All that the fleet keeps, in files of its own.
    pub vault: Arc<dyn Vault>,
    /// Language models.
    pub models: Arc<dyn Models>,
}

/// What sending takes.
#[derive(Clone)]
pub struct Wallet {
    /// The key; without one only paper trades are possible.
    pub signer: Option<Arc<dyn Signer>>,
    /// Where the key comes from, for people: `none`, `private key`, `key file`, `sandbox`.
    pub origin: &'static str,
    /// The public pool.
    pub sender: Arc<dyn Sender>,
    /// The private relay, where there is one.
    pub relay: Option<Arc<dyn Relay>>,
}

impl Wallet {
    /// One that can send nothing.
    pub fn none() -> Self {
        Self { signer: None, origin: "none", sender: Arc::new(Nowhere), relay: None }
    }
}

/// The pool of a fleet that has no chain.
struct Nowhere;

#[async_trait]
impl Sender for Nowhere {
    async fn send(&self, _: &Data) -> Result<Verdict, Fault> {
        Err(Fault::not_configured("no chain to send to").hint("set ETHEREUM_RPC_URL, or start with the sandbox"))
    }
}

/// Stands where no other server is reached: every call is refused.
pub struct NoRouter;

#[async_trait]
impl Router for NoRouter {
    async fn call(&self, server: &str, tool: &str, _: Box<RawValue>, _: Ctx) -> Result<Reply, Fault> {
        Err(Fault::not_configured(format!("no way to {server}.{tool} from here"))
            .hint("the fleet's gateway is the way"))
    }
}

impl MarketPorts {
    /// The kernel's ports where no pools are followed and no other server is reached.
    pub fn without_pools(kernel: Ports) -> Self {
        let trail = Arc::new(Direct(Arc::clone(&kernel.audit)));
        let phases = Phases::new(kernel.clock.clone(), kernel.metrics.clone(), trail, LimitsConfig::default());
        Self {
            kernel,
            phases,
            pools: Arc::new(Unfollowed),
            market: MarketConfig::default(),
            recordings: None,
            wallet: Wallet::none(),
            router: Arc::new(NoRouter),
            jail: Arc::new(NoJail),
            foundry: Arc::new(NoFoundry),
            projects: None,
            programs: quality::Programs::default(),
            vault: Arc::new(NoVault::default()),
            models: NoModels::port(),
        }
    }
}

impl AsRef<Ports> for MarketPorts {
    fn as_ref(&self) -> &Ports {
        &self.kernel
    }
}

impl AsRef<Self> for MarketPorts {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Lists the servers once; makes `[servers]` of `flotilla.toml` and the builder from the list.
macro_rules! servers {
    ($($module:ident: $server:ident,)*) => {
        /// `[servers]` in `flotilla.toml`: a table per server, by its name.
        #[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct ServersConfig {
            $(#[doc = concat!("`[servers.", stringify!($module), "]`, with `-` for `_`.")]
            pub $module: <$module::$server as mcp::McpServer>::Config,)*
        }

        /// The names of the servers in this crate.
        pub const NAMES: &[&str] = &[$(<$module::$server as mcp::McpServer>::NAME),*];

        /// Builds the server of this name.
        ///
        /// # Errors
        /// When there is no such server here, or its configuration is wrong.
        pub fn build(name: &str, ports: &MarketPorts, config: &ServersConfig, shared: Shared) -> Result<Arc<Service>, Fault> {
            $(if name == <$module::$server as mcp::McpServer>::NAME {
                return Service::build::<$module::$server>(ports.as_ref(), config.$module.clone(), shared);
            })*
            Err(Fault::not_found(format!("no server `{name}`")).hint(format!("one of {}", NAMES.join(", "))))
        }
    };
}

servers! {
    ai_integration: AiIntegration,
    blockchain_integration: BlockchainIntegration,
    coordination: Coordination,
    data_providers: DataProviders,
    dex_services: DexServices,
    execution: Execution,
    foundry_integration: FoundryIntegration,
    market_analysis: MarketAnalysis,
    legacy: Legacy,
    logging: Logging,
    monitoring: Monitoring,
    orchestration: Orchestration,
    production: Production,
    quality: Quality,
    recovery: Recovery,
    risk_management: RiskManagement,
    scripts: Scripts,
    task_management: TaskManagement,
    ui: Ui,
    utilities: Utilities,
}

/// Where other programs may send log lines on the logging server's port, and how what comes is read.
pub const INTAKE: [(&str, logging::intake::Reader); 3] = [
    (logging::intake::PATHS[0].0, logging::intake::loki),
    (logging::intake::PATHS[1].0, logging::intake::otlp),
    (logging::intake::PATHS[2].0, logging::intake::ndjson),
];
