//! What all services of a process stand on, built once.

use std::sync::Arc;

use flow::remote::Workers;
use gateway::remote::OverHttp;
use gateway::upstream::{UpstreamSpec, Upstreams};
use gateway::{Gateway, Setup};
use kernel::aliases::Aliases;
use kernel::audit::Recorder;
use kernel::catalog::Service;
use kernel::chain::Chain;
use kernel::deprecations::Deprecations;
use kernel::fake::World;
use kernel::fleet::Fleet;
use kernel::foundry::Foundry;
use kernel::keys::Keys;
use kernel::logs::{LogSink, Logs};
use kernel::metrics::Metrics;
use kernel::models::Models;
use kernel::offers::Offers;
use kernel::ports::Backends;
use kernel::prices::Prices;
use kernel::reach::Reach;
use kernel::registry::Registry;
use kernel::vault::Vault;
use kernel::{Caller, Clock, Ports, Result, Role, Secret, Tasks};
use market::feed::Pools;
use mcp::auth::{Anonymous, Authenticate, Gate};
use mcp::http::sse2024::SseDoor;
use mcp::http::{Door, DoorConfig};
use mcp::phases::{LimitsConfig, Phases};
use mcp::seal::Sealer;
use mcp::service::Shared;
use mcp::tasks::TaskStore;
use servers::data_providers::{Engine, EngineParts};
use servers::quality::Programs;
use servers::{MarketPorts, Wallet};
use web::access::Guard;
use web::coordinator::Doors;
use web::dashboard::links::Links;
use web::dashboard::session::Cookies;
use web::intake::Intake;
use web::service::{Past, ServiceDoors};

use super::beside::Beside;
use super::contained::Contained;
use super::coordinator::Rest;
use super::supervisor::Supervisor;
use super::wallet::Key;
use crate::config::{Config, Loaded, RPC_URL, References, variable};
use crate::data::DataDir;
use crate::telemetry::{Exporter, Output};

/// The name of the key that the CLI uses.
const CLI_KEY: &str = "cli";
/// How long everything recorded may take to be written at the end.
const FLUSH_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// The parts.
pub struct Parts {
    /// The ports every service gets.
    pub ports: Ports,
    /// The pools as they are at the chain's head.
    pub pools: Arc<dyn Pools>,
    /// What sending takes.
    pub wallet: Wallet,
    /// Foundry's programs.
    pub foundry: Arc<dyn Foundry>,
    /// What analyses projects.
    pub programs: Programs,
    /// Language models.
    pub models: Arc<dyn Models>,
    /// What agents are given that stands in no file.
    pub of_agents: agents::Secrets,
    /// Phases, sealer, version.
    pub shared: Shared,
    /// Speaks MCP on every port.
    pub door: Arc<Door>,
    /// The doors of callers that have not moved.
    pub past: Past,
    /// Guards REST.
    pub guard: Guard,
    /// The data folder.
    pub data: DataDir,
    /// Where backups are made.
    pub vault: Arc<dyn Vault>,
    /// Owns the listeners and all that is under way on their connections. Stops first: what is under way still needs the services.
    pub doors: Tasks,
    /// Owns the agents. They stop before the services and the links to other processes: what they have in hand needs both.
    pub agents: Tasks,
    /// Keeps services running.
    pub supervisor: Arc<Supervisor>,
    /// Workers in other programs.
    pub workers: Workers,
    /// This process, unique per start.
    pub process: String,
    /// The role of callers without a key, if there is one.
    pub anonymous: Option<Role>,
    /// The configuration in effect, secrets masked.
    pub settings: Vec<gateway::coordinator::Setting>,
    database: backends::Database,
    /// Whether other machines may be on the same database.
    shares_database: bool,
    /// What the fleet stands on beside the database.
    beside: Vec<Arc<Reach>>,
    recorder: Recorder,
    sink: Arc<LogSink>,
    /// Owns what must outlive the services: the queues of the audit trail and of the logs.
    storage: Tasks,
}

impl Parts {
    /// Opens the data folder and builds everything on it.
    pub async fn build(loaded: &Loaded, output: &Output) -> Result<Self> {
        let config = &loaded.config;
        let (clock, data) = (Clock::system(), DataDir::open(&config.fleet.data_dir)?);
        let (metrics, tasks, storage, doors) = (Metrics::default(), Tasks::new(), Tasks::new(), Tasks::new());
        let database = data.database(loaded, clock.clone()).await?;
        let fleet_key = data.fleet_key(loaded, &database).await?;
        let sealer = Sealer::new(&fleet_key, clock.clone());
        let logs: Arc<dyn Logs> = Arc::new(backends::logs::open(data.path(), clock.clone()).await?);
        let sink = LogSink::new(metrics.clone());
        sink.start(Arc::clone(&logs), &storage);
        let exporter = exporter(config, &metrics, &storage)?;
        output.connect(clock.clone(), metrics.clone(), Arc::clone(&sink), exporter.clone());
        let recorder = Recorder::start(Arc::clone(&database.audit), &storage);
        let keys = Arc::new(Keys::new(Arc::clone(&database.store), clock.clone()));
        ensure_cli_key(&keys, &data, &cli_key_name(loaded, &data)).await?;
        let process = kernel::ids::new_id("p");
        let beside = Beside::open(loaded, &fleet_key, &process, &database, (&clock, &metrics, &storage)).await?;
        let registry = Registry::new(Arc::clone(&beside.leases), clock.clone());
        let workers = workers(&database, &registry, &clock);
        let supervisor = Supervisor::new(registry, Arc::clone(&database.bus), clock.clone(), process.clone());
        let (chain, wallet) = chain(loaded, &data, &database, &clock, &metrics, &tasks)?;
        let ports = Ports {
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            store: Arc::clone(&database.store),
            leases: Arc::clone(&beside.leases),
            bus: Arc::clone(&database.bus),
            queue: Arc::clone(&database.queue),
            logs,
            audit: Arc::clone(&database.audit),
            fleet: fleet(config, &supervisor, &clock, &tasks)?,
            prices: prices(config, &database, &clock, &chain.chain)?,
            chain: chain.chain,
            abi: Arc::new(evm::Encodings),
            backends: Backends::new(&database.about, &"SQLite".into()).beside(beside.outside.iter().cloned()),
        };
        let phases = Phases::new(clock.clone(), metrics, Arc::new(recorder.clone()), config.limits.clone());
        let shared = shared(beside.limit(with_spans(phases, exporter)), &sealer, &ports);
        let auth = authenticate(config, keys, sealer.clone())?;
        let mut door = door(config, &auth, sealer, &doors, clock);
        Ok(Self {
            past: past(&ports, &mut door, &storage),
            models: llm::open(&config.models, &loaded.model_keys()?, &ports.clock, &tasks)?,
            vault: vault(loaded, &data, ports.clock.clone()),
            agents: ports.tasks.child(),
            ports,
            pools: chain.pools,
            wallet,
            foundry: Arc::new(evm::Toolset::new(&places(loaded, &data), &tasks)),
            programs: super::programs::found(&loaded.config.fleet.tools_dir),
            of_agents: loaded.of_agents(),
            shared,
            door: Arc::new(Door::new(door)),
            guard: Guard { auth },
            data,
            supervisor,
            doors,
            workers,
            process,
            anonymous: config.auth.anonymous_role.clone(),
            settings: crate::config::settings(loaded),
            database,
            shares_database: loaded.postgres().is_some(),
            beside: beside.outside,
            recorder,
            sink,
            storage,
        })
    }

    /// The gateway over these parts.
    pub fn gateway(&self, config: &Config, mode: &str, expected: Vec<&'static Service>) -> Result<Arc<Gateway>> {
        let setup = Setup {
            config: config.gateway.clone(),
            ports: self.ports.clone(),
            shared: self.shared.clone(),
            mode: mode.to_owned(),
            expected,
            process: self.process.clone(),
            reach: Arc::new(OverHttp::new(self.shared.sealer.clone(), crate::VERSION)),
            settings: self.settings.clone(),
        };
        Ok(Gateway::new(setup))
    }

    /// The doors of port 4000.
    pub fn coordinator_doors(&self, gateway: &Arc<Gateway>, service: ServiceDoors) -> Doors {
        Doors {
            coordinator: Rest::new(gateway, self.anonymous.clone()),
            door: Arc::clone(&self.door),
            guard: self.guard.clone(),
            service,
            bus: Arc::clone(&self.ports.bus),
            workers: self.workers.clone(),
            links: self.links(),
        }
    }

    /// The dashboard, `secure` when it is served over TLS.
    pub fn dashboard(&self, gateway: &Arc<Gateway>, secure: bool) -> web::dashboard::Parts {
        web::dashboard::Parts {
            router: Arc::clone(gateway) as Arc<dyn mcp::toolbox::Router>,
            guard: self.guard.clone(),
            door: Arc::clone(&self.door),
            cookies: Cookies::new(self.shared.sealer.clone(), secure),
            links: self.links(),
            phases: self.shared.phases.clone(),
            notice: self.anonymous.as_ref().map(super::coordinator::anonymous_notice),
            clock: self.ports.clock.clone(),
            tasks: self.doors.clone(),
        }
    }

    fn links(&self) -> Links {
        Links::new(Arc::clone(&self.ports.store), self.shared.sealer.clone(), self.ports.clock.clone())
    }

    /// Starts the upstreams: those in the store, and those the configuration has.
    pub async fn join_upstreams(&self, config: &Config, gateway: &Arc<Gateway>) -> Result<()> {
        /// What every program started for an upstream gets of our environment.
        const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect();
        let upstreams = Upstreams::start(gateway, &self.ports, Arc::new(References), inherited).await?;
        let by = Caller::new("configuration", Role::Admin);
        for (name, spec) in &config.upstreams {
            let spec = UpstreamSpec { name: name.clone(), ..spec.clone() };
            upstreams.configure(spec, &by).await.map_err(|fault| fault.context(format!("upstreams.{name}")))?;
        }
        Ok(())
    }

    /// Takes other programs' log lines in.
    pub fn intake(&self) -> Intake {
        Intake { sink: Arc::clone(&self.sink), clock: self.ports.clock.clone(), readers: servers::INTAKE.to_vec() }
    }

    /// The chain in use, in a line.
    pub async fn chain_line(&self) -> String {
        const LOOK_TIME: std::time::Duration = std::time::Duration::from_secs(10);
        match tokio::time::timeout(LOOK_TIME, self.ports.chain.status()).await {
            Ok(Ok(status)) => {
                let what = if status.sandbox { "sandbox (anvil)" } else { "EVM node" };
                format!("{what}, chain id {}, block {}", status.chain_id, status.head.number)
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => "an EVM node that does not answer".into(),
        }
    }

    /// What keeps what, in a line.
    pub fn storage_line(&self) -> String {
        let elsewhere = |port: &str| self.beside.iter().any(|reach| reach.port() == port);
        let mut ports = vec!["store", "bus", "queue", "audit", "registry"];
        ports.retain(|port| !elsewhere(port));
        let ports = ports.join(", ");
        let mut line = match self.shares_database {
            true => format!("{}: {ports}; SQLite: logs", self.database.about),
            false => format!("embedded (SQLite): {ports}, logs"),
        };
        for reach in &self.beside {
            line.push_str(&format!("; {}: {}", reach.place(), reach.port()));
        }
        line
    }

    /// Ends what outlives the services: everything recorded is written before the files close.
    pub async fn close(self) {
        let written = async { tokio::join!(self.recorder.flush(), self.sink.flush()) };
        if tokio::time::timeout(FLUSH_TIME, written).await.is_err() {
            // The writers give up after a few more attempts once they are told to stop, and count what they lose.
            tracing::error!("the database or the data folder cannot be written; records and log lines may be lost");
        }
        self.storage.drain(super::DRAIN_TIME).await;
        self.database.close().await;
    }
}

/// What the services of a process share.
fn shared(phases: Phases, sealer: &Sealer, ports: &Ports) -> Shared {
    let long = TaskStore::new(Arc::clone(&ports.store), ports.clock.clone(), ports.tasks.clone());
    Shared { phases, sealer: sealer.clone(), clock: ports.clock.clone(), version: crate::VERSION, tasks: Some(long) }
}

/// The services, and what can be done to them from here.
fn fleet(config: &Config, supervisor: &Arc<Supervisor>, clock: &Clock, tasks: &Tasks) -> Result<Arc<dyn Fleet>> {
    let containers = backends::containers::open(&config.containers, clock.clone())?;
    let supervisor = Arc::clone(supervisor);
    Ok(match containers {
        Some(containers) => Arc::new(Contained::new(supervisor, containers, tasks.clone())),
        None => supervisor,
    })
}

/// Backups in the data folder, of all that the fleet keeps.
fn vault(loaded: &Loaded, data: &DataDir, clock: Clock) -> Arc<dyn Vault> {
    let folder = backends::backup::Folder::new(data.path(), crate::VERSION, loaded.config.store.clone(), clock);
    match loaded.postgres() {
        Some(place) => Arc::new(folder.on_postgres(place)),
        None => Arc::new(folder),
    }
}

/// The doors of callers that have not moved.
fn past(ports: &Ports, door: &mut DoorConfig, storage: &Tasks) -> Past {
    let deprecations = Deprecations::new(Arc::clone(&ports.store), ports.clock.clone());
    deprecations.start(storage);
    door.deprecations = Some(deprecations.clone());
    Past {
        sse: Arc::new(SseDoor::new(door.clone())),
        aliases: Aliases::new(Arc::clone(&ports.store), ports.clock.clone()),
        deprecations,
        fleet: None,
    }
}

fn workers(database: &backends::Database, registry: &Registry, clock: &Clock) -> Workers {
    let offers = Offers::new(Arc::clone(&database.store), clock.clone());
    Workers::new(Arc::clone(&database.queue), registry.clone(), offers, clock.clone())
}

fn exporter(config: &Config, metrics: &Metrics, storage: &Tasks) -> Result<Option<Exporter>> {
    let endpoint = config.telemetry.otlp_endpoint.as_deref();
    endpoint.map(|endpoint| Exporter::start(endpoint, metrics, storage)).transpose()
}

fn with_spans(phases: Phases, exporter: Option<Exporter>) -> Phases {
    match exporter {
        Some(exporter) => phases.with_spans(Arc::new(move |span| exporter.span(span))),
        None => phases,
    }
}

/// The name of the CLI's key: where machines share a database, each folder has one of its own.
fn cli_key_name(loaded: &Loaded, data: &DataDir) -> String {
    if loaded.postgres().is_none() {
        return CLI_KEY.into();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    let path = kernel::ids::digest(data.path().as_os_str().as_encoded_bytes());
    format!("{CLI_KEY}-{host}-{}", path.get(..8).unwrap_or_default())
}

/// Makes the CLI's key at the first start, and again when its file was lost.
async fn ensure_cli_key(keys: &Keys, data: &DataDir, name: &str) -> Result<()> {
    // Processes that start together make one key, not one each.
    let _alone = data.alone()?;
    if let Some(key) = data.cli_key()
        && keys.verify(key.expose()).await.is_ok()
    {
        return Ok(());
    }
    match keys.revoke(name).await {
        Err(fault) if fault.code != kernel::Code::NotFound => return Err(fault),
        _ => {}
    }
    let key: Secret = keys.create(name, Role::Admin, None).await?;
    data.keep_cli_key(&key)
}

fn authenticate(config: &Config, keys: Arc<Keys>, sealer: Sealer) -> Result<Arc<dyn Authenticate>> {
    let gate = Gate::new(keys, sealer);
    Ok(Arc::new(match &config.auth.anonymous_role {
        Some(role) => gate.or_anonymous(Anonymous::on(config.http.bind, role.clone())?),
        None => gate,
    }))
}

fn door(config: &Config, auth: &Arc<dyn Authenticate>, sealer: Sealer, doors: &Tasks, clock: Clock) -> DoorConfig {
    let mut door = DoorConfig::new(Arc::clone(auth), sealer, doors.clone(), clock);
    door.hosts.clone_from(&config.http.hosts);
    // Others of the fleet come by the name that they were told.
    door.hosts.extend(config.http.advertised());
    door.origins.clone_from(&config.http.origins);
    door
}

/// Where the chain, its tools and what is kept of it are.
fn places(loaded: &Loaded, data: &DataDir) -> evm::Places {
    let urls = loaded.secrets.get(RPC_URL);
    evm::Places {
        endpoints: urls.map(|urls| evm::Places::endpoints_in(urls.expose())).unwrap_or_default(),
        tools: loaded.config.fleet.tools_dir.clone(),
        data: data.path().to_owned(),
    }
}

fn chain(
    loaded: &Loaded,
    data: &DataDir,
    database: &backends::Database,
    clock: &Clock,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<(evm::Opened, Wallet)> {
    let key = Key::open(loaded)?;
    let places = places(loaded, data);
    let parts = evm::Parts {
        clock: clock.clone(),
        tasks: tasks.clone(),
        metrics: metrics.clone(),
        bus: Arc::clone(&database.bus),
    };
    let mut config = loaded.config.chain.clone();
    // The sandbox's executor is the wallet's, so that the fleet can trade there from the start.
    config.sandbox.executor_owner =
        config.sandbox.executor_owner.or(key.signer.as_ref().map(|signer| signer.address()));
    let opened = evm::open(&config, &places, &parts);
    let (sender, relay) = (Arc::clone(&opened.sender), super::wallet::relay(loaded)?);
    Ok((opened, Wallet { signer: key.signer, origin: key.origin, sender, relay }))
}

fn prices(
    config: &Config,
    database: &backends::Database,
    clock: &Clock,
    chain: &Arc<dyn Chain>,
) -> Result<Arc<dyn Prices>> {
    let parts = EngineParts {
        clock: clock.clone(),
        store: Arc::clone(&database.store),
        chain: Arc::clone(chain),
        abi: Arc::new(evm::Encodings),
    };
    Ok(Arc::new(Engine::new(parts, config.servers.data_providers.clone())?))
}

/// Every built server, over ports made of memory: for documentation, not for use.
pub fn every_service() -> Result<Vec<Arc<mcp::Service>>> {
    let (ports, shared, gateway) = on_paper();
    let ports = MarketPorts::without_pools(ports);
    kernel::catalog::servers()
        .map(|spec| match spec.name {
            kernel::catalog::COORDINATOR => Ok(gateway.add_coordinator()),
            name => servers::build(name, &ports, &servers::ServersConfig::default(), shared.clone()),
        })
        .collect()
}

/// Every built agent, likewise.
pub fn every_agent() -> Result<Vec<Arc<agents::Standing>>> {
    let (ports, _, gateway) = on_paper();
    let (reach, secrets) = Default::default();
    let means = agents::Means { ports, router: gateway, version: crate::VERSION, reach, secrets };
    kernel::catalog::agents()
        .map(|spec| agents::build(spec.name, &agents::AgentsConfig::default(), means.clone()))
        .collect()
}

/// Ports made of memory, what services share on them, and a gateway.
fn on_paper() -> (Ports, Shared, Arc<Gateway>) {
    let ports = World::default().ports();
    let trail = Recorder::start(Arc::clone(&ports.audit), &ports.tasks);
    let phases = Phases::new(ports.clock.clone(), ports.metrics.clone(), Arc::new(trail), LimitsConfig::default());
    let sealer = Sealer::new(&kernel::ids::random_bytes(), ports.clock.clone());
    let shared = Shared { phases, sealer, clock: ports.clock.clone(), version: crate::VERSION, tasks: None };
    let setup = Setup {
        config: gateway::Config::default(),
        ports: ports.clone(),
        shared: shared.clone(),
        mode: "documentation".into(),
        expected: Vec::new(),
        process: String::new(),
        reach: Arc::new(OverHttp::new(shared.sealer.clone(), crate::VERSION)),
        settings: Vec::new(),
    };
    (ports, shared, Gateway::new(setup))
}
