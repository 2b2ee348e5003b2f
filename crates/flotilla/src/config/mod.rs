//! The fleet's configuration: each part owns its table, this file only sums them.
//!
//! Layers, later ones win: defaults, `flotilla.toml`, `.env`, environment, flags. An unknown key is an error that says what was meant.
//! This is the one place that reads the environment.

mod explain;
mod layers;
mod template;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use gateway::upstream::UpstreamSpec;
use kernel::logs::Level;
use kernel::{Fault, Role, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use servers::outbound::{Allowed, Reach};

pub use explain::{explain, settings, show};
pub use layers::{
    FLEET_KEY, Loaded, RELAY_KEY, RELAY_URL, RPC_URL, Sources, WALLET_KEY, WALLET_PASSWORD, dot_env, load,
};
pub use template::template;

/// `flotilla.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What runs and where it keeps its things.
    pub fleet: FleetConfig,
    /// Addresses and who may reach them.
    pub http: HttpConfig,
    /// Keys and roles.
    pub auth: AuthConfig,
    /// Limits of calls.
    pub limits: mcp::phases::LimitsConfig,
    /// The database: a file in the data folder, or the PostgreSQL that the variable `DATABASE_URL` (or `DATABASE_URL_FILE`) names.
    pub store: backends::sqlite::Config,
    /// Events for programs outside the fleet, by the RabbitMQ that the variable `RABBITMQ_URL` (or `RABBITMQ_URL_FILE`) names.
    pub rabbitmq: backends::rabbitmq::Config,
    /// What runs the fleet's containers, where its processes are in some: who may ask it has services restarted and scaled there.
    pub containers: backends::containers::Config,
    /// The EVM chain.
    pub chain: evm::Config,
    /// Whose transactions the fleet sends.
    pub wallet: WalletConfig,
    /// What all that trades, values and counts agrees on.
    pub market: servers::MarketConfig,
    /// Language models and who serves them.
    pub models: llm::Config,
    /// The fleet's own log lines.
    pub logs: LogsConfig,
    /// Traces and logs that leave.
    pub telemetry: TelemetryConfig,
    /// When a failing service is restarted and when given up.
    pub supervision: SupervisionConfig,
    /// The one endpoint.
    pub gateway: gateway::Config,
    /// Third-party MCP servers that join the fleet, by name: `[upstreams.NAME]` with `command` and `args`, or `url`.
    pub upstreams: BTreeMap<String, UpstreamSpec>,
    /// Each server's own table.
    pub servers: servers::ServersConfig,
    /// Each agent's own table.
    pub agents: agents::AgentsConfig,
    /// What agents say to others.
    pub a2a: A2aConfig,
}

/// `[a2a]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct A2aConfig {
    /// Private addresses that push notifications may go to, like `10.0.0.5`, `10.1.0.0/16` or `internal:8080`. To public ones they may always.
    pub private_addresses: Vec<String>,
}

impl A2aConfig {
    /// Which addresses may be told of tasks.
    ///
    /// # Errors
    /// When one is none.
    pub fn reach(&self) -> Result<Reach, Fault> {
        let read = |text: &String| text.parse::<Allowed>().map_err(|fault| fault.context("a2a.private_addresses"));
        Ok(Reach { anywhere: false, allowed: self.private_addresses.iter().map(read).collect::<Result<_, _>>()? })
    }
}

/// What `up` starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every service.
    #[default]
    Full,
    /// The coordinator, the core servers (coordination, monitoring, utilities, logging) and the monitoring agent.
    Minimal,
    /// Storage, chain and the coordinator, for working on a server of your own.
    Dev,
}

/// `[fleet]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FleetConfig {
    /// What `up` starts.
    pub mode: Mode,
    /// Where data and keys are kept. `FLOTILLA_DATA_DIR` sets it.
    pub data_dir: PathBuf,
    /// Where Foundry's binaries and the protocols' artefacts are. `FLOTILLA_TOOLS_DIR` sets it.
    pub tools_dir: PathBuf,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self { mode: Mode::Full, data_dir: ".flotilla".into(), tools_dir: ".tools".into() }
    }
}

/// Which ports services take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ports {
    /// Those of the catalog: 4000 to 4020, 5000 to 5009, and 8080.
    #[default]
    Catalog,
    /// Free ones, chosen by the system: for several fleets on one machine. The data folder says which.
    Ephemeral,
}

/// `[http]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// The address every service listens on. Anything but loopback wants a key from every caller.
    pub bind: IpAddr,
    /// Which ports services take.
    pub ports: Ports,
    /// Host names, beside loopback's, under which the fleet may be addressed.
    pub hosts: Vec<String>,
    /// Web origins, beside loopback's, whose pages may call the fleet.
    pub origins: Vec<String>,
    /// The address other processes reach this one under, when it is not `bind`; `auto` is this machine's own name, by which containers
    /// know each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// A certificate chain in PEM. With it the coordinator and the dashboard are served over TLS on `bind`, and all other services on
    /// 127.0.0.1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports::Catalog,
            hosts: Vec::new(),
            origins: Vec::new(),
            advertise: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl HttpConfig {
    /// The address other processes reach this one under, when it is told.
    pub fn advertised(&self) -> Option<String> {
        self.advertise.as_ref().map(|host| if host == "auto" { machine() } else { host.clone() })
    }
}

/// This machine's own name, or a container's.
pub fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("localhost").to_owned()
}

/// `[auth]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// A role for callers without a key, for tools that cannot send one. Off when absent; refused when `http.bind` is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_role: Option<Role>,
}

/// `[wallet]`. Its secrets are variables: `WALLET_PRIVATE_KEY`, or the key file's `WALLET_PASSWORD`; best as files, `WALLET_PRIVATE_KEY_FILE` and
/// `WALLET_PASSWORD_FILE`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WalletConfig {
    /// An Ethereum key file (version 3). `WALLET_KEYSTORE` sets it. The sandbox has a wallet without any of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystore: Option<PathBuf>,
}

/// `[logs]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// The least grave level kept and shown.
    pub level: Level,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self { level: Level::Info }
    }
}

/// `[telemetry]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where traces and logs are sent by OTLP/HTTP (JSON), as `http://host:4318`. Nothing leaves when absent.
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
}

/// `[supervision]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisionConfig {
    /// The first wait before a restart, in milliseconds; it doubles with every failure in a row.
    pub restart_first_ms: u64,
    /// The longest wait before a restart, in milliseconds.
    pub restart_max_ms: u64,
    /// After this many failures in a row a service is given up, with an alert.
    pub give_up_after: u32,
    /// A service that ran this long, in seconds, has recovered: its failures are forgotten.
    pub recovered_after_seconds: u64,
    /// How often health is looked at, in milliseconds.
    pub health_every_ms: u64,
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            restart_first_ms: 100,
            restart_max_ms: 30_000,
            give_up_after: 8,
            recovered_after_seconds: 60,
            health_every_ms: 2_000,
        }
    }
}

impl Config {
    /// What no single table can check.
    pub fn check(&self) -> Result<(), Fault> {
        self.market.check()?;
        self.models.check()?;
        self.rabbitmq.check()?;
        if self.auth.anonymous_role.is_some() && !self.http.bind.is_loopback() {
            return Err(Fault::invalid(format!("auth.anonymous_role is set while http.bind is {}", self.http.bind))
                .hint("callers without a key are only let in on loopback: set http.bind = \"127.0.0.1\", or give them keys"));
        }
        if self.http.tls_cert.is_some() != self.http.tls_key.is_some() {
            let (given, missing) =
                if self.http.tls_cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
            return Err(Fault::invalid(format!("http.{given} is set and http.{missing} is not"))
                .hint("TLS needs both: --tls-cert FILE --tls-key FILE"));
        }
        Ok(())
    }
}

/// A variable that is not a configuration key (`NO_COLOR`, `HOME`): read here, because this is the one place that may.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Finds secrets that other parts refer to.
pub struct References;

impl gateway::upstream::Secrets for References {
    fn resolve(&self, reference: &str) -> Result<Secret, Fault> {
        let (kind, place) = reference.split_once(':').unwrap_or_default();
        match kind {
            "env" => variable(place).map(Secret::new).ok_or_else(|| {
                Fault::not_configured(format!("the environment has no {place}")).hint(format!("set {place}"))
            }),
            "file" => std::fs::read_to_string(place)
                .map(|text| Secret::new(text.trim_end()))
                .map_err(|error| Fault::not_configured(format!("{place} cannot be read: {error}"))),
            _ => Err(Fault::invalid("not a reference to a secret").hint("env:NAME or file:PATH")),
        }
    }
}
