//! The fleet's fixed names and ports. Everything that names a service (ports, metrics, compose files, docs) is made from this table.

use crate::fleet::Kind;

/// A service's fixed facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its name in URLs, metrics and tool names. Agents and servers are two namespaces.
    pub name: &'static str,
    /// Server or agent.
    pub kind: Kind,
    /// Its port.
    pub port: u16,
    /// What it is for, in a few words.
    pub about: &'static str,
    /// Whether this version of Flotilla has it. What is not built does not appear.
    pub built: bool,
}

const fn server(name: &'static str, port: u16, about: &'static str, built: bool) -> Service {
    Service { name, kind: Kind::Server, port, about, built }
}

const fn agent(name: &'static str, port: u16, about: &'static str, built: bool) -> Service {
    Service { name, kind: Kind::Agent, port, about, built }
}

/// The coordinator's name.
pub const COORDINATOR: &str = "master-coordinator";
/// The dashboard's port.
pub const DASHBOARD_PORT: u16 = 8080;

/// Every service of the fleet, in port order.
pub const SERVICES: &[Service] = &[
    server(COORDINATOR, 4000, "one endpoint for the whole fleet: registry, router, tool search, upstreams", true),
    server("ai-integration", 4001, "language models: chat, code generation, review", true),
    server(
        "blockchain-integration",
        4002,
        "an EVM node: blocks, balances, calls, logs, simulation, flash-loan terms",
        true,
    ),
    server("coordination", 4003, "topics, request and reply, locks, elections, barriers, shared key-values", true),
    server("data-providers", 4004, "prices from oracles, exchanges and pools", true),
    server("dex-services", 4005, "Uniswap and SushiSwap pools, quotes, routes, swaps", true),
    server("execution", 4006, "simulate, sign, submit and follow transactions", true),
    server("foundry-integration", 4007, "forge, anvil and cast", true),
    server("market-analysis", 4008, "liquidity, spreads, arbitrage opportunities", true),
    server("monitoring", 4009, "health probes, metrics, alert rules, objectives", true),
    server("orchestration", 4010, "durable workflows", true),
    server("production", 4011, "strategies, modes, profit and loss, kill switch", true),
    server("quality", 4012, "static analysis, tests, dependencies, gates", true),
    server("recovery", 4013, "incidents, playbooks, snapshots, backup", true),
    server("risk-management", 4014, "limits, exposure, pre-trade checks", true),
    server("task-management", 4015, "durable task queue and schedules", true),
    server("ui", 4016, "views, charts, notifications, layouts", true),
    server("utilities", 4017, "units, hashes, encodings, JSON, CSV, text", true),
    server("legacy", 4018, "old protocol revisions, the v1 REST form, renamed tools", true),
    server("scripts", 4019, "sandboxed automation scripts", true),
    server("logging", 4020, "log intake, search, tail, patterns, retention", true),
    agent(COORDINATOR, 5000, "turns goals into workflow runs, hands out tasks, decides for the whole system", true),
    agent("code-analysis", 5001, "analyses projects, raises what is new, reviews changes", true),
    agent("build", 5002, "compiles, packages and deploys, with checksums, provenance and a bill of materials", true),
    agent("test", 5003, "runs suites, tells flaky tests, finds the commit that broke one", true),
    agent("execution", 5004, "takes approved opportunities to a receipt", true),
    agent("monitoring", 5005, "raises and resolves alerts, keeps the status summary", true),
    agent("risk", 5006, "watches exposure, losses, oracles and gas; trips the kill switch", true),
    agent("recovery", 5007, "takes what failed from its incident to serving again, or to people", true),
    agent("ui", 5008, "keeps views fresh, delivers notifications, renders reports", true),
    agent("discord", 5009, "the Discord bot: commands, and channels for figures, alerts and log lines", true),
];

/// The built servers, in port order.
pub fn servers() -> impl Iterator<Item = &'static Service> {
    SERVICES.iter().filter(|service| service.built && service.kind == Kind::Server)
}

/// The built agents, in port order.
pub fn agents() -> impl Iterator<Item = &'static Service> {
    SERVICES.iter().filter(|service| service.built && service.kind == Kind::Agent)
}

/// The built server of this name.
pub fn server_named(name: &str) -> Option<&'static Service> {
    servers().find(|service| service.name == name)
}

/// What an agent's name begins with where servers and agents stand side by side: `agent:monitoring`.
pub const AGENT: &str = "agent:";

impl Service {
    /// Its name among servers and agents: a server's own, an agent's after [`AGENT`].
    pub fn role(&self) -> String {
        role(self.kind, self.name)
    }
}

/// The name of a service among servers and agents.
pub fn role(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Server => name.to_owned(),
        Kind::Agent => format!("{AGENT}{name}"),
    }
}

/// Kind and name of what [`role`] names.
pub fn of_role(role: &str) -> (Kind, &str) {
    role.strip_prefix(AGENT).map_or((Kind::Server, role), |name| (Kind::Agent, name))
}
