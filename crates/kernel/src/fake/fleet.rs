//! A fleet that does what a test says.

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::fleet::{Fleet, Instance, Kind};
use crate::health::Status;
use crate::{Fault, Result, UnixMs};

/// Instances a test puts there, what was asked of them, and a fault to answer with.
#[derive(Debug, Default)]
pub struct FakeFleet {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    instances: Vec<Instance>,
    restarts: Vec<(String, String)>,
    failed: Vec<(String, String)>,
    fault: Option<Fault>,
}

impl FakeFleet {
    /// A healthy server instance for tests: `id` is `NAME-1`, the process is `fake`.
    pub fn server(service: &str, url: &str, started_ms: UnixMs) -> Instance {
        Instance {
            id: format!("{service}-1"),
            service: service.into(),
            kind: Kind::Server,
            url: url.into(),
            process: "fake".into(),
            version: "0.0.0-fake".into(),
            status: Status::Healthy,
            started_ms,
            restarts: 0,
            last_error: None,
            lost_ms: None,
        }
    }

    /// Adds an instance, or replaces the one with its id.
    pub fn set(&self, instance: Instance) {
        let mut state = self.state.lock();
        state.instances.retain(|held| held.id != instance.id);
        state.instances.push(instance);
        state.instances.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
    }

    /// Takes an instance away.
    pub fn remove(&self, id: &str) {
        self.state.lock().instances.retain(|held| held.id != id);
    }

    /// From now on every method fails with `fault`; `None` ends that.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state.lock().fault = fault;
    }

    /// The restarts asked for so far: service (an agent as `agent:NAME`) and reason, in order.
    pub fn restarts(&self) -> Vec<(String, String)> {
        self.state.lock().restarts.clone()
    }

    /// What was made to fail so far: service and reason, in order.
    pub fn failed(&self) -> Vec<(String, String)> {
        self.state.lock().failed.clone()
    }
}

impl State {
    fn of(&self, kind: Kind, service: &str) -> Result<Vec<Instance>> {
        let is_it = |held: &&Instance| held.kind == kind && held.service == service;
        let found: Vec<Instance> = self.instances.iter().filter(is_it).cloned().collect();
        if found.is_empty() {
            return Err(
                Fault::not_found(format!("no instance of service `{service}`")).hint("`list_services` names them")
            );
        }
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        self.fault.clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Fleet for FakeFleet {
    fn process(&self) -> &str {
        "fake"
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        let state = self.state.lock();
        state.check()?;
        Ok(state.instances.clone())
    }

    async fn restart(&self, kind: Kind, service: &str, reason: &str) -> Result<Vec<Instance>> {
        let mut state = self.state.lock();
        state.check()?;
        state.of(kind, service)?;
        state.restarts.push((crate::catalog::role(kind, service), reason.into()));
        for held in state.instances.iter_mut().filter(|held| held.kind == kind && held.service == service) {
            held.restarts += 1;
            held.status = Status::Healthy;
        }
        state.of(kind, service)
    }

    /// Its supervisor is quick: it is back at once.
    async fn fail(&self, kind: Kind, service: &str, reason: &str) -> Result<()> {
        self.restart(kind, service, reason).await?;
        let mut state = self.state.lock();
        let told = state.restarts.pop();
        state.failed.extend(told);
        Ok(())
    }

    async fn scale(&self, service: &str, replicas: u32) -> Result<Vec<Instance>> {
        let mut state = self.state.lock();
        state.check()?;
        let model = state.of(Kind::Server, service)?.swap_remove(0);
        state.instances.retain(|held| held.kind != Kind::Server || held.service != service);
        let copies = (1..=replicas).map(|n| Instance { id: format!("{service}-{n}"), ..model.clone() });
        let copies: Vec<Instance> = copies.collect();
        state.instances.extend(copies.iter().cloned());
        state.instances.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
        Ok(copies)
    }
}
