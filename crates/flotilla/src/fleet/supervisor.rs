//! The services of this process: the [`Fleet`] port over them, their place in the registry, and restarts asked for from elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::{Bus, NewEvent};
use kernel::catalog;
use kernel::fleet::{CONTROL_TOPIC, Fleet, Instance, Kind};
use kernel::health::Status;
use kernel::registry::Registry;
use kernel::{Clock, Fault, OnEnd, Result, Tasks};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::Notify;

use super::unit::Unit;

/// How long an instance stays in the registry without a sign of life.
const LEASE: Duration = Duration::from_secs(6);
/// How often a sign of life is given.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long other processes may take to restart a service of theirs.
const REMOTE_RESTART_TIME: Duration = Duration::from_secs(15);
/// How long the others are given to hear that this process is leaving: four looks at the registry, where nothing tells them of it.
const LEAVE: Duration = Duration::from_secs(1);
/// What processes of a fleet ask each other for: a restart, or a failure.
const RESTART: &str = "restart";
const FAIL: &str = "fail";

/// The supervisor.
pub struct Supervisor {
    units: RwLock<BTreeMap<String, Arc<Unit>>>,
    registry: Registry,
    bus: Arc<dyn Bus>,
    clock: Clock,
    process: String,
    changed: Notify,
    settled: Notify,
    /// Whether this process is about to stop.
    leaving: AtomicBool,
}

impl Supervisor {
    /// A supervisor without services.
    pub fn new(registry: Registry, bus: Arc<dyn Bus>, clock: Clock, process: String) -> Arc<Self> {
        Arc::new(Self {
            units: RwLock::default(),
            registry,
            bus,
            clock,
            process,
            changed: Notify::new(),
            settled: Notify::new(),
            leaving: AtomicBool::new(false),
        })
    }

    /// Takes a service under supervision; [`Unit::run`] keeps it running.
    pub fn add(&self, unit: Arc<Unit>) {
        self.units.write().insert(unit.spec.role(), unit);
    }

    /// Says that a unit's state changed, so that the registry hears of it at once.
    pub fn unit_changed(&self) {
        self.changed.notify_one();
        self.settled.notify_one();
    }

    /// Forgets services that other processes took with them when they ended suddenly.
    pub async fn forget_lost(&self) -> Result<()> {
        self.registry.forget_lost().await
    }

    /// Waits for the next change of a unit's state.
    pub async fn settled(&self) {
        self.settled.notified().await;
    }

    /// The services of this process.
    pub fn units(&self) -> Vec<Arc<Unit>> {
        self.units.read().values().cloned().collect()
    }

    /// Starts the signs of life and the ear for other processes' wishes.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        let (supervisor, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("registry heartbeat", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                supervisor.sign_of_life().await;
                tokio::select! {
                    () = supervisor.changed.notified() => {}
                    () = tokio::time::sleep(HEARTBEAT) => {}
                    () = stopping.cancelled() => {}
                }
            }
            supervisor.leave().await;
        });
        let (supervisor, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("control topic", OnEnd::StopOwner, async move {
            tokio::select! {
                () = supervisor.hear() => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Tells the other processes that this one is about to stop, and lets them hear of it: who would call on it calls on another copy from then on,
    /// while what is asked here meanwhile is still answered. Where there is nobody else there is nobody to tell.
    pub async fn leave_ahead(&self) {
        let others = |one: &Instance| one.process != self.process && one.lost_ms.is_none();
        let telling = async {
            if !self.registry.list().await.is_ok_and(|all| all.iter().any(others)) {
                return;
            }
            self.leaving.store(true, Ordering::Release);
            self.sign_of_life().await;
            tokio::time::sleep(LEAVE).await;
        };
        if tokio::time::timeout(2 * LEAVE, telling).await.is_err() {
            tracing::warn!("the registry does not answer; others will find this process gone");
        }
    }

    /// A unit as others are to see it.
    fn shown(&self, unit: &Unit) -> Instance {
        let mut instance = unit.instance();
        if instance.status.serves() && self.leaving.load(Ordering::Acquire) {
            instance.status = Status::Stopping;
        }
        instance
    }

    async fn sign_of_life(&self) {
        for unit in self.units() {
            if let Err(fault) = self.registry.register(self.shown(&unit), LEASE).await {
                tracing::warn!(%fault, service = unit.spec.role(), "not registered");
            }
        }
    }

    async fn leave(&self) {
        for unit in self.units() {
            if let Err(fault) = self.registry.remove(&unit.instance()).await {
                tracing::warn!(%fault, service = unit.spec.role(), "not removed from the registry; its lease will end");
            }
        }
    }

    /// Restarts what other processes ask for.
    async fn hear(&self) {
        let mut after = self.newest_wish().await;
        loop {
            let wishes = match self.bus.read(CONTROL_TOPIC, after, 100).await {
                Ok(wishes) => wishes,
                Err(fault) => {
                    tracing::warn!(%fault, "control topic cannot be read");
                    tokio::time::sleep(HEARTBEAT).await;
                    continue;
                }
            };
            if wishes.is_empty() {
                self.bus.published(&[CONTROL_TOPIC]).await;
                continue;
            }
            for wish in wishes {
                after = wish.seq;
                let service = wish.data["service"].as_str().unwrap_or_default();
                let reason = wish.data["reason"].as_str().unwrap_or_default();
                let unit = self.units.read().get(service).cloned();
                let Some(unit) = unit.filter(|_| wish.source != self.process) else { continue };
                match &*wish.kind {
                    RESTART => {
                        if let Err(fault) = unit.restart(reason).await {
                            tracing::warn!(%fault, service, "restart asked for by another process failed");
                        }
                    }
                    FAIL => unit.fail(reason),
                    // Others hear what is theirs.
                    _ => {}
                }
            }
        }
    }

    async fn newest_wish(&self) -> u64 {
        let topics = self.bus.topics().await.unwrap_or_default();
        topics.iter().find(|topic| topic.name == CONTROL_TOPIC).map_or(0, |topic| topic.last_seq)
    }

    /// The copies of what a role names.
    async fn instances_of(&self, role: &str) -> Result<Vec<Instance>> {
        Ok(self.registry.list().await?.into_iter().filter(|instance| role_of(instance) == role).collect())
    }

    /// Asks the other processes for something.
    async fn ask(&self, kind: &str, service: &str, reason: &str) -> Result<()> {
        let event = NewEvent {
            topic: CONTROL_TOPIC.into(),
            kind: kind.into(),
            source: self.process.clone(),
            trace_id: None,
            data: json!({ "service": service, "reason": reason }),
        };
        self.bus.publish(event).await.map(drop)
    }

    /// Asks the other processes that run `service`, and waits until each has started anew.
    async fn restart_elsewhere(&self, service: &str, reason: &str, before: &[Instance]) -> Result<()> {
        self.ask(RESTART, service, reason).await?;
        let asked_ms = self.clock.now_ms();
        let all_new = async {
            loop {
                let now = self.instances_of(service).await?;
                let anew = |old: &Instance| {
                    now.iter().any(|new| new.id == old.id && new.started_ms >= asked_ms && new.status.serves())
                };
                if before.iter().all(anew) {
                    return Ok(());
                }
                self.registry.changed().await;
            }
        };
        tokio::time::timeout(REMOTE_RESTART_TIME, all_new)
            .await
            .unwrap_or_else(|_| Err(Fault::timeout(format!("{service} did not start anew in its own process in time"))))
    }
}

#[async_trait]
impl Fleet for Supervisor {
    fn process(&self) -> &str {
        &self.process
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        let mut all = self.registry.list().await?;
        // This process's own are known better here than in the registry.
        for unit in self.units() {
            let own = self.shown(&unit);
            match all.iter_mut().find(|instance| instance.id == own.id) {
                Some(known) => *known = own,
                None => all.push(own),
            }
        }
        let here = |role: &str| self.units.read().contains_key(role);
        all.retain(|instance| instance.lost_ms.is_none() || !here(&role_of(instance)));
        all.sort_by(|a, b| (&a.service, a.kind, &a.id).cmp(&(&b.service, b.kind, &b.id)));
        Ok(all)
    }

    async fn restart(&self, kind: Kind, service: &str, reason: &str) -> Result<Vec<Instance>> {
        let service = &*catalog::role(kind, service);
        tracing::info!(service, reason, "restart asked for");
        let before = self.instances_of(service).await?;
        let unit = self.units.read().get(service).cloned();
        if unit.is_none() && before.is_empty() {
            let fault = Fault::not_found(format!("no service `{service}` runs"));
            let units = self.units.read();
            let names: Vec<&str> = units.keys().map(String::as_str).collect();
            return Err(match kernel::limits::nearest(service, &names) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint("`flotilla ps` lists what runs"),
            });
        }
        if let Some(lost_ms) = before.iter().find_map(|instance| instance.lost_ms).filter(|_| unit.is_none()) {
            let text = format!("{service} has given no sign of life since {}", kernel::clock::timestamp(lost_ms));
            return Err(Fault::unavailable(text).hint(format!("start it where it ran: `flotilla serve {service}`")));
        }
        if let Some(unit) = unit {
            unit.restart(reason).await?;
        }
        let elsewhere = before.into_iter().filter(|one| one.process != self.process && one.lost_ms.is_none());
        let elsewhere: Vec<Instance> = elsewhere.collect();
        if !elsewhere.is_empty() {
            self.restart_elsewhere(service, reason, &elsewhere).await?;
        }
        Ok(self.instances().await?.into_iter().filter(|instance| role_of(instance) == service).collect())
    }

    async fn fail(&self, kind: Kind, service: &str, reason: &str) -> Result<()> {
        let service = &*catalog::role(kind, service);
        tracing::warn!(service, reason, "made to fail");
        let unit = self.units.read().get(service).cloned();
        let elsewhere = |one: &Instance| one.process != self.process && one.lost_ms.is_none();
        let others = self.instances_of(service).await?.iter().any(elsewhere);
        if unit.is_none() && !others {
            return Err(Fault::not_found(format!("no service `{service}` runs")).hint("`flotilla ps` lists what runs"));
        }
        if others {
            self.ask(FAIL, service, reason).await?;
        }
        if let Some(unit) = unit {
            unit.fail(reason);
        }
        Ok(())
    }

    async fn scale(&self, service: &str, _replicas: u32) -> Result<Vec<Instance>> {
        Err(Fault::unsupported(format!("{service} cannot be scaled: nothing here can start processes"))
            .hint("start more copies with `flotilla serve ROLE`; in containers set containers.docker or containers.kubernetes"))
    }
}

/// An instance's name among servers and agents.
fn role_of(instance: &Instance) -> String {
    catalog::role(instance.kind, &instance.service)
}
