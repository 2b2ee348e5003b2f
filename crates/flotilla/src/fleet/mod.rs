//! Puts a process of the fleet together: ports, services under supervision, doors; and takes it apart again in order.

mod beside;
mod contained;
mod coordinator;
mod documentation;
mod parts;
mod programs;
mod screen;
mod supervisor;
mod unit;
mod wallet;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::{Gateway, Selector};
use kernel::catalog::{self, COORDINATOR, DASHBOARD_PORT};
use kernel::fleet::{Fleet, Kind};
use kernel::health::Status;
use kernel::{Fault, OnEnd, Result};
use servers::MarketPorts;
use tokio::signal::unix::{Signal, SignalKind, signal};
use web::a2a::AgentDoors;
use web::service::{HealthDoors, ServiceDoors};
use web::{Bound, Tls, bind};

use crate::config::{Config, Loaded, Mode, Ports as PortChoice};
use crate::data::RunNote;
use crate::telemetry::Output;
use parts::Parts;
use supervisor::Supervisor;
use unit::{Factory, Unit};

pub use documentation::{agents_documentation, documentation};
pub use gateway::SERVE;
pub use screen::Screen;

/// The servers that call others: workflows, and what has them run.
const CALLERS: [&str; 2] = ["orchestration", "recovery"];
/// This machine, and nobody else.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long a fleet may take to stop.
const DRAIN_TIME: Duration = Duration::from_secs(25);
/// How long what is under way at the doors may take of that.
const DOORS_TIME: Duration = Duration::from_secs(12);
/// How long servers of other processes may take to tell their tools before agents go ahead without.
const OTHERS_TIME: Duration = Duration::from_secs(3);
/// How long services may take to come up before `up` shows how far they are.
const FIRST_START_TIME: Duration = Duration::from_secs(30);

/// The services a mode starts.
pub fn services_of(mode: Mode) -> Vec<&'static catalog::Service> {
    const CORE: [&str; 6] = [COORDINATOR, "coordination", "monitoring", "utilities", "logging", "agent:monitoring"];
    catalog::servers()
        .chain(catalog::agents())
        .filter(|service| match mode {
            Mode::Full => true,
            Mode::Minimal => CORE.contains(&&*service.role()),
            Mode::Dev => service.role() == COORDINATOR,
        })
        .collect()
}

/// A running process of the fleet.
pub struct Running {
    parts: Parts,
    note: RunNote,
    supervisor: Arc<Supervisor>,
    mode: String,
    signals: Signals,
}

/// A service's port, held before anything starts.
struct Door {
    spec: &'static catalog::Service,
    bound: Bound,
    /// Where the fleet itself finds it.
    url: String,
    /// Where everybody else does, over TLS: the coordinator's, when there is a certificate.
    public: Option<Bound>,
}

/// Starts `services` in this process.
///
/// # Errors
/// When a port is taken, the data folder cannot be used, or the configuration is wrong: nothing is left running then.
pub async fn start(
    loaded: &Loaded,
    mode: &str,
    services: Vec<&'static catalog::Service>,
    output: &Output,
) -> Result<Running> {
    let config = &loaded.config;
    let tls = tls_of(config)?;
    // Ports first: the commonest trouble shows before anything else is touched.
    let doors = bind_all(config, &services, tls.is_some()).await?;
    let with_coordinator = services.iter().any(|service| service.role() == COORDINATOR);
    let with_agents = services.iter().any(|service| service.kind == Kind::Agent);
    let with_workflows = services.iter().any(|service| service.kind == Kind::Server && CALLERS.contains(&service.name));
    let dashboard =
        if with_coordinator { Some(bind_port(config, config.http.bind, DASHBOARD_PORT).await?) } else { None };
    let parts = Parts::build(loaded, output).await?;
    if mode != SERVE {
        // `up` says what the fleet is; `serve` adds to one that others miss a part of.
        parts.supervisor.forget_lost().await?;
    }
    let gateway = parts.gateway(config, mode, services)?;
    let mut note = RunNote { pid: std::process::id(), coordinator: None, dashboard: None, services: BTreeMap::new() };
    let supervisor = Arc::clone(&parts.supervisor);
    let (servers, agents): (Vec<Door>, Vec<Door>) = doors.into_iter().partition(|door| door.spec.kind == Kind::Server);
    for door in servers {
        let url = door.url;
        note.services.insert(door.spec.role(), url.clone());
        let unit = start_unit(&parts, config, &gateway, door.spec, url.clone());
        let service = service_doors(&parts, &gateway, &unit)?;
        let router = if door.spec.name == COORDINATOR {
            let public = door.public.as_ref().map(|public| secure(url_of(config, public.address)));
            note.coordinator = Some(public.unwrap_or(url));
            web::coordinator::routes(parts.coordinator_doors(&gateway, service))
        } else {
            web::service::routes(service)
        };
        if let Some(public) = door.public {
            public.serve(router.clone(), tls.clone(), &parts.doors, parts.ports.metrics.clone());
        }
        door.bound.serve(router, None, &parts.doors, parts.ports.metrics.clone());
    }
    if let Some(dashboard) = dashboard {
        let url = url_of(config, dashboard.address);
        note.dashboard = Some(if tls.is_some() { secure(url) } else { url });
        let pages = web::dashboard::routes(parts.dashboard(&gateway, tls.is_some()));
        dashboard.serve(pages, tls, &parts.doors, parts.ports.metrics.clone());
    }
    supervisor.start(&parts.ports.tasks);
    // Agents, workflows and what runs them reach the servers of other processes too.
    if with_coordinator || with_agents || with_workflows {
        gateway.follow_registry();
        gateway.hear_resets();
    }
    first_start(&supervisor).await;
    // Agents after the servers whose tools they use, here and in other processes: they take tasks as soon as they stand.
    if with_agents {
        gateway.know_others(OTHERS_TIME).await;
    }
    for door in agents {
        note.services.insert(door.spec.role(), door.url.clone());
        let unit = start_unit(&parts, config, &gateway, door.spec, door.url.clone());
        let router = web::service::agent_routes(health_doors(&parts, &unit), agent_doors(&parts, door.spec, door.url));
        door.bound.serve(router, None, &parts.doors, parts.ports.metrics.clone());
    }
    first_start(&supervisor).await;
    if with_coordinator {
        parts.join_upstreams(config, &gateway).await?;
    }
    parts.data.note(&note)?;
    // Before the screen says how to stop it: whoever reads that may do so at once.
    let signals = Signals::listen();
    Ok(Running { parts, note, supervisor, mode: mode.to_owned(), signals })
}

impl Running {
    /// What people see.
    pub async fn screen(&self) -> Screen {
        let instances = self.supervisor.instances().await.unwrap_or_default();
        Screen::of(
            &self.note,
            &self.mode,
            self.parts.data.path(),
            self.parts.chain_line().await,
            self.parts.storage_line(),
            instances,
            self.parts.anonymous.as_ref(),
        )
    }

    /// Waits for a signal, or for a part without which nothing works to end; then stops everything in order.
    ///
    /// # Errors
    /// When the process stopped by itself; the fault says why.
    pub async fn until_stopped(mut self) -> Result<()> {
        let (doors, agents, services) = (&self.parts.doors, &self.parts.agents, &self.parts.ports.tasks);
        tokio::select! {
            signal = self.signals.next() => tracing::info!(signal, "stopping"),
            () = doors.stopping().cancelled_owned() => {}
            // With the services, too.
            () = agents.stopping().cancelled_owned() => {}
        }
        let reason = services.reason().or_else(|| doors.reason()).or_else(|| agents.reason());
        self.parts.data.forget(self.note.pid);
        if reason.is_none() {
            self.supervisor.leave_ahead().await;
        }
        // What is under way at the doors, and what agents have in hand, still needs services and upstreams, so those stop after it.
        let (at_doors, in_hand) = tokio::join!(doors.drain(DOORS_TIME), agents.drain(DOORS_TIME));
        let at_services = services.drain(DRAIN_TIME - DOORS_TIME).await;
        for (what, left) in [("doors", at_doors), ("agents", in_hand), ("services", at_services)] {
            if left > 0 {
                tracing::warn!(what, left, "tasks did not end in time");
            }
        }
        self.parts.close().await;
        reason.map_or(Ok(()), |reason| Err(Fault::internal(format!("stopped by itself: {reason}"))))
    }
}

fn tls_of(config: &Config) -> Result<Option<Tls>> {
    match (&config.http.tls_cert, &config.http.tls_key) {
        (Some(certificate), Some(key)) => Tls::load(certificate, key).map(Some),
        _ => Ok(None),
    }
}

/// Takes every service's port. With TLS the coordinator's is for everybody, and what goes without stays on this machine.
async fn bind_all(config: &Config, services: &[&'static catalog::Service], tls: bool) -> Result<Vec<Door>> {
    let mut doors = Vec::new();
    for spec in services {
        let bind = async |host, port| bind_port(config, host, port).await.map_err(|fault| fault.context(spec.role()));
        let (bound, public) = match (tls, spec.role() == COORDINATOR) {
            (false, _) => (bind(config.http.bind, spec.port).await?, None),
            (true, false) => (bind(LOOPBACK, spec.port).await?, None),
            (true, true) => (bind(LOOPBACK, 0).await?, Some(bind(config.http.bind, spec.port).await?)),
        };
        // What stays on this machine is found there, whatever address others are told.
        let url = if tls { format!("http://{}", bound.address) } else { url_of(config, bound.address) };
        doors.push(Door { spec, bound, url, public });
    }
    // The coordinator last: whoever reaches it finds the others there.
    doors.sort_by_key(|door| (door.spec.role() == COORDINATOR, door.spec.port));
    Ok(doors)
}

async fn bind_port(config: &Config, host: IpAddr, port: u16) -> Result<Bound> {
    let port = if config.http.ports == PortChoice::Ephemeral { 0 } else { port };
    bind(SocketAddr::new(host, port)).await
}

/// A URL of ours that is served over TLS.
fn secure(url: String) -> String {
    url.replacen("http://", "https://", 1)
}

/// Where others reach an address of ours.
fn url_of(config: &Config, address: SocketAddr) -> String {
    match config.http.advertised() {
        Some(host) => format!("http://{host}:{}", address.port()),
        None if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        None => format!("http://{address}"),
    }
}

fn start_unit(
    parts: &Parts,
    config: &Config,
    gateway: &Arc<Gateway>,
    spec: &'static catalog::Service,
    url: String,
) -> Arc<Unit> {
    let factory = factory(parts, config, gateway, spec);
    let (supervisor, joined) = (Arc::clone(&parts.supervisor), Arc::clone(gateway));
    let on_change = Box::new(move |unit: &Unit| {
        match unit.service() {
            Some(service) => joined.add_local(service),
            None if unit.spec.kind == Kind::Server => joined.remove_local(unit.spec.name),
            None => {}
        }
        supervisor.unit_changed();
    });
    let (unit, wishes) = Unit::new(
        spec,
        url,
        &parts.process,
        crate::VERSION,
        factory,
        parts.ports.clone(),
        config.supervision.clone(),
        on_change,
    );
    parts.supervisor.add(Arc::clone(&unit));
    let tasks = if spec.kind == Kind::Agent { parts.agents.clone() } else { parts.ports.tasks.clone() };
    let (running, owner) = (Arc::clone(&unit), tasks.clone());
    tasks.spawn("supervisor of a service", OnEnd::StopOwner, async move { running.run(owner, wishes).await });
    unit
}

fn factory(parts: &Parts, config: &Config, gateway: &Arc<Gateway>, spec: &'static catalog::Service) -> Factory {
    match spec.kind {
        Kind::Server => server_factory(parts, config, gateway, spec),
        Kind::Agent => agent_factory(parts, config, gateway, spec),
    }
}

fn server_factory(parts: &Parts, config: &Config, gateway: &Arc<Gateway>, spec: &'static catalog::Service) -> Factory {
    let (market, recordings) = (config.market.clone(), parts.data.path().join("recordings"));
    let (projects, foundry) = (parts.data.path().join("foundry"), Arc::clone(&parts.foundry));
    let (config, shared, gateway) = (config.servers.clone(), parts.shared.clone(), Arc::clone(gateway));
    let (pools, wallet) = (Arc::clone(&parts.pools), parts.wallet.clone());
    let (vault, programs) = (Arc::clone(&parts.vault), parts.programs.clone());
    let models = Arc::clone(&parts.models);
    Arc::new(move |ports| {
        let (config, shared, gateway) = (config.clone(), shared.clone(), Arc::clone(&gateway));
        let (pools, wallet, market) = (Arc::clone(&pools), wallet.clone(), market.clone());
        let (recordings, vault) = (Some(recordings.clone()), Arc::clone(&vault));
        let models = Arc::clone(&models);
        let (projects, foundry) = (Some(projects.clone()), Arc::clone(&foundry));
        let programs = programs.clone();
        Box::pin(async move {
            let service = if spec.name == COORDINATOR {
                mcp::Service::of(Arc::new(gateway::coordinator::Coordinator::of(&gateway)), shared)
            } else {
                let jail = Arc::new(backends::jail::Namespaces::default());
                let (kernel, phases) = (ports.clone(), shared.phases.clone());
                let router = gateway;
                let ports = MarketPorts {
                    kernel,
                    pools,
                    market,
                    recordings,
                    wallet,
                    router,
                    phases,
                    jail,
                    foundry,
                    projects,
                    programs,
                    vault,
                    models,
                };
                servers::build(spec.name, &ports, &config, shared)?
            };
            service.start(ports).await?;
            Ok(unit::Running::Server(service))
        })
    })
}

fn agent_factory(parts: &Parts, config: &Config, gateway: &Arc<Gateway>, spec: &'static catalog::Service) -> Factory {
    let (config, to, gateway) = (config.agents.clone(), config.a2a.clone(), Arc::clone(gateway));
    let secrets = parts.of_agents.clone();
    Arc::new(move |ports| {
        let (config, to, gateway) = (config.clone(), to.clone(), Arc::clone(&gateway));
        let secrets = secrets.clone();
        Box::pin(async move {
            let tasks = ports.tasks.clone();
            let means = agents::Means { ports, router: gateway, version: crate::VERSION, reach: to.reach()?, secrets };
            let agent = agents::build(spec.name, &config, means)?;
            agent.offer().await?;
            agent.start(&tasks);
            Ok(unit::Running::Agent(agent))
        })
    })
}

fn health_doors(parts: &Parts, unit: &Arc<Unit>) -> HealthDoors {
    HealthDoors {
        name: unit.spec.name,
        version: crate::VERSION,
        standing: Arc::clone(unit) as Arc<dyn web::service::Standing>,
        metrics: parts.ports.metrics.clone(),
    }
}

fn agent_doors(parts: &Parts, spec: &'static catalog::Service, url: String) -> AgentDoors {
    AgentDoors::new(web::a2a::Parts {
        desk: flow::a2a::Desk::new(spec.name, &parts.ports),
        name: spec.name,
        about: spec.about,
        version: crate::VERSION,
        url,
        guard: parts.guard.clone(),
        door: Arc::clone(&parts.door),
        phases: parts.shared.phases.clone(),
        tasks: parts.doors.clone(),
    })
}

fn service_doors(parts: &Parts, gateway: &Arc<Gateway>, unit: &Arc<Unit>) -> Result<ServiceDoors> {
    let mut past = parts.past.clone();
    if unit.spec.name == COORDINATOR {
        past.fleet = Some(gateway.handler(Selector::All)?);
    }
    Ok(ServiceDoors {
        name: unit.spec.name,
        version: crate::VERSION,
        slot: Arc::clone(unit) as Arc<dyn web::service::Slot>,
        door: Arc::clone(&parts.door),
        guard: parts.guard.clone(),
        metrics: parts.ports.metrics.clone(),
        past,
        intake: (unit.spec.name == "logging").then(|| parts.intake()),
        tasks: parts.doors.clone(),
    })
}

/// Waits until every service has started, or failed to for the first time.
async fn first_start(supervisor: &Supervisor) {
    let settled = async {
        while supervisor.units().iter().any(|unit| unit.instance().status == Status::Starting) {
            supervisor.settled().await;
        }
    };
    if tokio::time::timeout(FIRST_START_TIME, settled).await.is_err() {
        tracing::warn!("some services are still starting");
    }
}

/// SIGINT and SIGTERM, heard from the moment this is made.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn listen() -> Self {
        let heard = signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok());
        if heard.is_none() {
            tracing::error!("signals cannot be heard; stop this process with SIGKILL");
        }
        Self(heard)
    }

    /// Waits for one and names it.
    async fn next(&mut self) -> &'static str {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    }
}
