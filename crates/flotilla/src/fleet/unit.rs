//! One supervised service, a server or an agent: its state machine, its restarts, and where its doors find it.
//!
//! States: starting → healthy ⇄ degraded / down (by its own health checks) → (failure) starting again after a backoff → … → failed,
//! once it has failed too often in a row. A restart asked for by hand starts the count anew.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use kernel::backoff::Backoff;
use kernel::bus::NewEvent;
use kernel::catalog;
use kernel::fleet::{Instance, Kind};
use kernel::health::{Check, Report, Status, worst};
use kernel::metrics::{AgentLabel, ServerLabel};
use kernel::tasks::catch_panic;
use kernel::{Fault, Ports, Tasks};
use mcp::Service;
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::config::SupervisionConfig;

/// How long a service may take to start.
const START_TIME: Duration = Duration::from_secs(30);
/// How long a service's standing work may take to end.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Builds and starts a service under the given ports.
pub type Factory = Arc<dyn Fn(Ports) -> BoxFuture<'static, Result<Running, Fault>> + Send + Sync>;

/// A service that runs.
#[derive(Clone)]
pub enum Running {
    /// A server.
    Server(Arc<Service>),
    /// An agent.
    Agent(Arc<agents::Standing>),
}

impl Running {
    async fn health(&self) -> Report {
        match self {
            Self::Server(server) => server.health().await,
            Self::Agent(agent) => agent.health(),
        }
    }
}

/// A wish for a restart: why, and who waits for it to be done.
pub struct Restart {
    /// Why.
    pub reason: String,
    /// Told when the service runs again, or why it does not.
    pub done: oneshot::Sender<Result<(), Fault>>,
}

#[derive(Clone)]
struct State {
    status: Status,
    running: Option<Running>,
    /// Owns its standing work while it runs.
    work: Option<Tasks>,
    last_error: Option<String>,
    restarts: u32,
    started_ms: i64,
}

/// The service.
pub struct Unit {
    /// Its fixed facts.
    pub spec: &'static catalog::Service,
    /// Where it answers.
    pub url: String,
    id: String,
    process: String,
    version: &'static str,
    factory: Factory,
    ports: Ports,
    config: SupervisionConfig,
    state: RwLock<State>,
    restart: mpsc::Sender<Restart>,
    on_change: Box<dyn Fn(&Unit) + Send + Sync>,
}

/// Why a run of the service ended.
enum End {
    Stopped,
    Asked(Restart),
    Failed(String),
}

impl web::service::Slot for Unit {
    fn current(&self) -> Option<Arc<Service>> {
        self.service()
    }
}

#[async_trait]
impl web::service::Standing for Unit {
    async fn report(&self) -> Option<Report> {
        let running = self.state.read().running.clone();
        Some(self.health(&running?).await)
    }

    fn state(&self) -> (Status, Option<String>) {
        let state = self.state.read();
        (state.status, state.last_error.clone())
    }
}

impl Unit {
    /// A unit and the queue of wishes its [`Unit::run`] must be given.
    #[expect(clippy::too_many_arguments, reason = "built in one place, from parts that have no other home")]
    pub fn new(
        spec: &'static catalog::Service,
        url: String,
        process: &str,
        version: &'static str,
        factory: Factory,
        ports: Ports,
        config: SupervisionConfig,
        on_change: Box<dyn Fn(&Unit) + Send + Sync>,
    ) -> (Arc<Self>, mpsc::Receiver<Restart>) {
        let (restart, wishes) = mpsc::channel(16);
        let state = State {
            status: Status::Starting,
            running: None,
            work: None,
            last_error: None,
            restarts: 0,
            started_ms: ports.clock.now_ms(),
        };
        let unit = Self {
            spec,
            url,
            id: format!("{}@{process}", spec.role()),
            process: process.to_owned(),
            version,
            factory,
            ports,
            config,
            state: RwLock::new(state),
            restart,
            on_change,
        };
        (Arc::new(unit), wishes)
    }

    /// The unit as the registry has it.
    pub fn instance(&self) -> Instance {
        let state = self.state.read().clone();
        Instance {
            id: self.id.clone(),
            service: self.spec.name.into(),
            kind: self.spec.kind,
            url: self.url.clone(),
            process: self.process.clone(),
            version: self.version.into(),
            status: state.status,
            started_ms: state.started_ms,
            restarts: state.restarts,
            last_error: state.last_error,
            lost_ms: None,
        }
    }

    /// The running server; none when it is an agent, or does not run.
    pub fn service(&self) -> Option<Arc<Service>> {
        match &self.state.read().running {
            Some(Running::Server(server)) => Some(Arc::clone(server)),
            _ => None,
        }
    }

    /// Asks for a restart and waits until the service runs again.
    pub async fn restart(&self, reason: &str) -> Result<(), Fault> {
        let (done, ended) = oneshot::channel();
        let wish = Restart { reason: reason.into(), done };
        let gone = |_| Fault::unavailable(format!("{} is being stopped", self.spec.role()));
        self.restart.send(wish).await.map_err(|_| gone(()))?;
        ended.await.map_err(|_| gone(()))?
    }

    /// Makes it fail as if its standing work had.
    pub fn fail(&self, reason: &str) {
        if let Some(work) = &self.state.read().work {
            work.stop_because(reason);
        }
    }

    /// Keeps the service running until `tasks` stop.
    pub async fn run(self: Arc<Self>, tasks: Tasks, mut wishes: mpsc::Receiver<Restart>) {
        let backoff = Backoff {
            first: Duration::from_millis(self.config.restart_first_ms),
            max: Duration::from_millis(self.config.restart_max_ms),
        };
        let (mut failures, mut waiting) = (0u32, None::<oneshot::Sender<Result<(), Fault>>>);
        loop {
            let began_ms = self.ports.clock.now_ms();
            let end = self.run_once(&tasks, &mut wishes, waiting.take()).await;
            match end {
                End::Stopped => return,
                End::Asked(wish) => {
                    self.event("restarting", json!({ "reason": wish.reason })).await;
                    failures = 0;
                    waiting = Some(wish.done);
                }
                End::Failed(error) => {
                    let ran_ms = self.ports.clock.now_ms() - began_ms;
                    let recovered =
                        ran_ms >= i64::try_from(self.config.recovered_after_seconds * 1_000).unwrap_or(i64::MAX);
                    failures = if recovered { 1 } else { failures + 1 };
                    match self.after_failure(&error, failures, backoff, &tasks, &mut wishes).await {
                        End::Stopped => return,
                        End::Asked(wish) => {
                            failures = 0;
                            waiting = Some(wish.done);
                        }
                        End::Failed(_) => {}
                    }
                }
            }
            self.change(|state| state.restarts += 1);
        }
    }

    /// Waits before the next try; a service that failed too often waits for a person.
    async fn after_failure(
        &self,
        error: &str,
        failures: u32,
        backoff: Backoff,
        tasks: &Tasks,
        wishes: &mut mpsc::Receiver<Restart>,
    ) -> End {
        let given_up = failures >= self.config.give_up_after;
        let status = if given_up { Status::Failed } else { Status::Down };
        self.change(|state| {
            state.status = status;
            state.last_error = Some(error.to_owned());
        });
        let wait = if given_up { Duration::MAX } else { backoff.wait(failures) };
        let what = if given_up { "given_up" } else { "failed" };
        tracing::error!(service = self.spec.role(), error, failures, given_up, "service failed");
        self.event(what, json!({ "error": error, "failures": failures })).await;
        tokio::select! {
            () = tasks.stopping().cancelled_owned() => End::Stopped,
            Some(wish) = wishes.recv() => End::Asked(wish),
            () = tokio::time::sleep(wait) => End::Failed(error.to_owned()),
        }
    }

    async fn run_once(
        &self,
        tasks: &Tasks,
        wishes: &mut mpsc::Receiver<Restart>,
        waiting: Option<oneshot::Sender<Result<(), Fault>>>,
    ) -> End {
        self.change(|state| state.status = Status::Starting);
        let own = tasks.child();
        let ports = Ports { tasks: own.clone(), ..self.ports.clone() };
        let started = tokio::time::timeout(START_TIME, catch_panic((self.factory)(ports))).await;
        let started = match started {
            Err(_) => Err(Fault::timeout(format!("not started within {} s", START_TIME.as_secs()))),
            Ok(Err(panic)) => Err(Fault::internal(format!("panicked at start: {panic}"))),
            Ok(Ok(started)) => started,
        };
        let outcome = started.as_ref().map(|_| ()).map_err(Clone::clone);
        if let Some(waiting) = waiting {
            // An error means that whoever asked has left.
            waiting.send(outcome).ok();
        }
        let running = match started {
            Ok(running) => running,
            Err(fault) => return End::Failed(fault.to_string()),
        };
        let now_ms = self.ports.clock.now_ms();
        self.change(|state| {
            *state = State {
                status: Status::Healthy,
                running: Some(running.clone()),
                work: Some(own.clone()),
                started_ms: now_ms,
                ..state.clone()
            };
        });
        self.event("started", json!({ "url": self.url })).await;
        let end = self.watch(&running, tasks, &own, wishes).await;
        self.change(|state| {
            state.status = Status::Stopping;
            state.running = None;
            state.work = None;
        });
        let left = own.drain(STOP_TIME).await;
        if left > 0 {
            tracing::warn!(service = self.spec.role(), left, "standing work did not end in time");
        }
        end
    }

    /// What the service says of itself; and what does not answer of that which all of them stand on.
    async fn health(&self, running: &Running) -> Report {
        let (mut report, store) = tokio::join!(running.health(), self.ports.store.get("status", "probe"));
        if let Err(fault) = store {
            report.checks.push(Check::degraded("store", fault.to_string()));
        }
        for reach in self.ports.backends.outside() {
            if let Err(fault) = reach.standing() {
                report.checks.push(Check::degraded(reach.port(), fault.to_string()));
            }
        }
        report.status = report.status.max(worst(&report.checks));
        report
    }

    /// Looks at the service's health until it fails, is to stop, or is to be restarted.
    async fn watch(&self, running: &Running, tasks: &Tasks, own: &Tasks, wishes: &mut mpsc::Receiver<Restart>) -> End {
        let mut tick = tokio::time::interval(Duration::from_millis(self.config.health_every_ms));
        loop {
            tokio::select! {
                // In this order: when the process stops, the service's own work stops with it, and that is no failure.
                biased;
                () = tasks.stopping().cancelled_owned() => return End::Stopped,
                () = own.stopping().cancelled_owned() => {
                    return End::Failed(own.reason().unwrap_or_else(|| "its standing work ended".into()));
                }
                Some(wish) = wishes.recv() => return End::Asked(wish),
                _ = tick.tick() => {
                    let limit = Duration::from_millis(self.config.health_every_ms.max(1_000));
                    match tokio::time::timeout(limit, catch_panic(self.health(running))).await {
                        Ok(Ok(report)) => self.healthy(&report),
                        Ok(Err(panic)) => return End::Failed(format!("panicked in its health check: {panic}")),
                        Err(_) => self.change(|state| {
                            state.status = Status::Degraded;
                            state.last_error = Some("its health check takes too long".into());
                        }),
                    }
                }
            }
        }
    }

    fn healthy(&self, report: &Report) {
        let worst =
            report.checks.iter().filter(|check| check.status == report.status).map(|check| &check.detail).next();
        self.change(|state| {
            state.status = report.status;
            if report.status != Status::Healthy {
                state.last_error = worst.cloned();
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (before, after) = {
            let mut state = self.state.write();
            let before = (state.status, state.running.is_some());
            change(&mut state);
            (before, (state.status, state.running.is_some()))
        };
        let (name, metrics) = (self.spec.name.to_owned(), &self.ports.metrics);
        match self.spec.kind {
            Kind::Server => metrics.server_health.get_or_create(&ServerLabel { server: name }).set(after.0.gauge()),
            Kind::Agent => metrics.agent_health.get_or_create(&AgentLabel { agent: name }).set(after.0.gauge()),
        };
        if before != after {
            tracing::info!(service = self.spec.role(), from = ?before.0, to = ?after.0, "state changed");
            (self.on_change)(self);
        }
    }

    /// Tells the fleet: `service.WHAT` of a server, `agent.WHAT` of an agent.
    async fn event(&self, what: &str, mut data: serde_json::Value) {
        let family = match self.spec.kind {
            Kind::Server => "service",
            Kind::Agent => "agent",
        };
        data[family] = self.spec.name.into();
        let kind = format!("{family}.{what}");
        if let Err(fault) = self.ports.bus.publish(NewEvent::fleet(&kind, "supervisor", data)).await {
            tracing::warn!(%fault, kind, "event not published");
        }
    }
}
