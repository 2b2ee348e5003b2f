//! Which part of the fleet a client sees.

use std::collections::BTreeMap;

use kernel::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names;

/// What a client asked to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Everything, under `{part}__{tool}` names: `/mcp`.
    All,
    /// One server or upstream, under its own names: `/mcp/{name}`.
    One(String),
    /// A named subset: `/mcp?toolset=NAME`.
    Toolset(String),
    /// Three tools that find, describe and call all others: `/mcp?mode=search`.
    Search,
}

impl Selector {
    /// Reads what an address says: the path behind `/mcp/`, and the parameters `toolset` and `mode`.
    ///
    /// # Errors
    /// When they contradict each other, or the mode is unknown.
    pub fn read(path: Option<&str>, toolset: Option<&str>, mode: Option<&str>) -> Result<Self, Fault> {
        match (path.filter(|path| !path.is_empty()), toolset, mode) {
            (Some(name), None, None) => Ok(Self::One(name.into())),
            (None, Some(name), None) => Ok(Self::Toolset(name.into())),
            (None, None, Some("search")) => Ok(Self::Search),
            (None, None, None | Some("all")) => Ok(Self::All),
            (None, None, Some(mode)) => Err(Fault::invalid(format!("unknown mode `{mode}`")).hint("search, or all")),
            _ => Err(Fault::invalid("more than one of server, toolset and mode is given").hint("give one of them")),
        }
    }
}

/// A named subset of all tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Toolset {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Names of tools in the aggregate, `*` for any characters.
    pub tools: Vec<String>,
}

impl Toolset {
    /// Whether it has the tool of this name.
    pub fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|pattern| names::matches(pattern, tool))
    }
}

/// The toolsets that are there without configuration, by the jobs people come with.
const BUILT_IN: [(&str, &str, &[&str]); 6] = [
    (
        "operations",
        "keep the fleet running: status, health, logs, recovery, views",
        &["master-coordinator__*", "monitoring__*", "logging__*", "recovery__*", "ui__*"],
    ),
    (
        "chain",
        "read, encode, simulate and decode on an EVM chain",
        &["blockchain-integration__*", "dex-services__*", "data-providers__*", "utilities__*"],
    ),
    (
        "trading",
        "find, check, execute and account for opportunities",
        &[
            "market-analysis__*",
            "dex-services__*",
            "data-providers__*",
            "risk-management__*",
            "execution__*",
            "production__*",
            "blockchain-integration__*",
        ],
    ),
    (
        "development",
        "contracts and code: build, test, analyse, generate",
        &["foundry-integration__*", "quality__*", "ai-integration__*", "utilities__*"],
    ),
    (
        "automation",
        "work that runs by itself: workflows, tasks, scripts, coordination",
        &["orchestration__*", "task-management__*", "scripts__*", "coordination__*"],
    ),
    ("helpers", "small pure functions: units, hashes, encodings, JSON, CSV, text", &["utilities__*"]),
];

/// All toolsets by name: the built-in ones, replaced and extended by the configured ones.
pub fn toolsets(configured: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Toolset> {
    let built_in = BUILT_IN.iter().map(|(name, about, tools)| Toolset {
        name: (*name).into(),
        about: (*about).into(),
        tools: tools.iter().map(|tool| (*tool).into()).collect(),
    });
    let configured = configured.iter().map(|(name, tools)| Toolset {
        name: name.clone(),
        about: "from the configuration".into(),
        tools: tools.clone(),
    });
    built_in.chain(configured).map(|set| (set.name.clone(), set)).collect()
}
