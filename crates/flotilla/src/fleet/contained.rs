//! The [`Fleet`] port of a process that may ask what runs the fleet's containers: restarts and copies are theirs, all else the supervisor's.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::catalog;
use kernel::fleet::{Containers, Fleet, Instance, Kind};
use kernel::{Fault, OnEnd, Result, Tasks};
use tokio::sync::oneshot;

use super::supervisor::Supervisor;

/// See the module.
pub struct Contained {
    supervisor: Arc<Supervisor>,
    containers: Arc<dyn Containers>,
    tasks: Tasks,
}

impl Contained {
    /// Over the supervisor of this process.
    pub fn new(supervisor: Arc<Supervisor>, containers: Arc<dyn Containers>, tasks: Tasks) -> Self {
        Self { supervisor, containers, tasks }
    }

    /// Whether the service is of this process, whose container would take its answer with it.
    fn is_own(&self, role: &str) -> bool {
        self.supervisor.units().iter().any(|unit| unit.spec.role() == role)
    }

    /// Does it to its end, also when nobody waits for it any more: half of a service's copies is no state to leave it in.
    async fn to_its_end(&self, work: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
        let (tell, told) = oneshot::channel();
        self.tasks.spawn("change of containers", OnEnd::Done, async move {
            if let Err(Err(fault)) = tell.send(work.await) {
                tracing::warn!(%fault, "containers were not changed as asked");
            }
        });
        told.await.unwrap_or_else(|_| Err(Fault::unavailable("this process is stopping")))
    }

    async fn copies(&self, role: &str) -> Result<Vec<Instance>> {
        let all = self.supervisor.instances().await?;
        Ok(all.into_iter().filter(|one| catalog::role(one.kind, &one.service) == role).collect())
    }
}

#[async_trait]
impl Fleet for Contained {
    fn process(&self) -> &str {
        self.supervisor.process()
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        self.supervisor.instances().await
    }

    async fn restart(&self, kind: Kind, service: &str, reason: &str) -> Result<Vec<Instance>> {
        let role = catalog::role(kind, service);
        if self.is_own(&role) {
            return self.supervisor.restart(kind, service, reason).await;
        }
        tracing::info!(service = &*role, reason, by = self.containers.about(), "restart of its containers asked for");
        let (containers, service) = (Arc::clone(&self.containers), service.to_owned());
        self.to_its_end(async move { containers.restart(kind, &service).await }).await?;
        self.copies(&role).await
    }

    async fn fail(&self, kind: Kind, service: &str, reason: &str) -> Result<()> {
        self.supervisor.fail(kind, service, reason).await
    }

    async fn scale(&self, service: &str, replicas: u32) -> Result<Vec<Instance>> {
        if self.is_own(service) {
            return Err(Fault::unsupported(format!("{service} is what is asked, and may not stop itself"))
                .hint("scale it from outside: `docker compose … up -d --scale`, or kubectl"));
        }
        tracing::info!(service, replicas, by = self.containers.about(), "copies asked for");
        let (containers, name) = (Arc::clone(&self.containers), service.to_owned());
        self.to_its_end(async move { containers.scale(&name, replicas).await }).await?;
        self.copies(service).await
    }
}
