//! Port: Foundry's programs on this machine. What runs other people's code is run elsewhere, shut in ([`crate::jail`]); here are the places of the
//! programs, and those that run code of a chain only: development nodes, and cast.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Fault, Result};

/// How long a program that only answers may take.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much it may answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit {
    /// The folder that all of them are in; it can be given to a program that is shut in, and holds no secrets.
    pub folder: PathBuf,
    /// forge, from that folder on.
    pub forge: String,
    /// forge's standard library of Solidity, from that folder on, where it is there.
    pub library: Option<String>,
    /// The versions of the Solidity compilers, the oldest first: each is the file `solc-<version>` in that folder.
    pub compilers: Vec<String>,
}

/// One of the programs that run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Builds and tests; here only for its version.
    Forge,
    /// The development node; here only for its version.
    Anvil,
    /// Talks to nodes.
    Cast,
}

/// A development node to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// How many accounts with test money it has.
    pub accounts: u32,
    /// Its chain id; its own, or that of the chain that it forks, when absent.
    pub chain_id: Option<u64>,
    /// A block every so many seconds; one for each transaction when absent.
    pub block_seconds: Option<u32>,
    /// What it starts from.
    pub fork: Option<Fork>,
}

/// The fleet's chain as what a node starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// The block; the newest when absent.
    pub block: Option<u64>,
}

/// A development node that runs. Dropped, it is killed.
#[async_trait]
pub trait Node: Send + Sync {
    /// Where it listens, on this machine.
    fn port(&self) -> u16;

    /// Waits until it ends by itself, and says how.
    async fn ended(&mut self) -> Fault;

    /// Kills it and waits until it is gone.
    async fn stop(&mut self);
}

/// The port.
#[async_trait]
pub trait Foundry: Send + Sync {
    /// Where the programs are.
    ///
    /// # Errors
    /// [`Code::NotConfigured`](crate::Code::NotConfigured) where they are not installed; the hint says how to get them.
    fn kit(&self) -> Result<Kit>;

    /// Runs a program that only answers, with nothing of the environment, and gives what it wrote.
    ///
    /// # Errors
    /// It failed: its own last words; it took longer than [`ANSWER_TIME`] or wrote more than [`ANSWER_BYTES_MAX`].
    async fn answer(&self, program: Program, arguments: &[String]) -> Result<String>;

    /// Starts a development node and waits until it listens.
    ///
    /// # Errors
    /// It cannot be started, or there is no chain that can be forked.
    async fn start(&self, spec: &NodeSpec) -> Result<Box<dyn Node>>;
}

/// Where Foundry is not.
pub struct NoFoundry;

impl NoFoundry {
    fn refused() -> Fault {
        Fault::not_configured("Foundry is not installed here").hint("install Node.js and run `cargo xtask fetch`")
    }
}

#[async_trait]
impl Foundry for NoFoundry {
    fn kit(&self) -> Result<Kit> {
        Err(Self::refused())
    }

    async fn answer(&self, _: Program, _: &[String]) -> Result<String> {
        Err(Self::refused())
    }

    async fn start(&self, _: &NodeSpec) -> Result<Box<dyn Node>> {
        Err(Self::refused())
    }
}
