//! Where the fleet's services are: each instance stands in the store for as long as somebody says that it lives. Of a service none of
//! whose instances lives, and none of which said that it leaves, the last one seen is remembered as lost.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::role;
use crate::clock::timestamp;
use crate::fleet::Instance;
use crate::health::Status;
use crate::signal::Nudge;
use crate::store::{Entries, Expect, LIST_MAX, Write};
use crate::{Clock, Code, Fault, Result, UnixMs};

/// Where the instances are kept in the store, by id.
pub const SPACE: &str = "registry";
/// Where the last instance of each service is kept in the store, by the service's role.
const LAST: &str = "registry_last";
/// How long a service is remembered after its last sign of life.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// The registry. Cloning shares it.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Entries>,
    clock: Clock,
}

/// An instance's place in the registry, for as long as it is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The instance as others see it. Change it, and the next renewal tells them.
    pub instance: Instance,
    ttl: Duration,
    revision: u64,
}

impl Registry {
    /// The registry in `store`.
    pub fn new(store: Arc<dyn Entries>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Registers an instance for `ttl`, in place of what was registered under its id.
    pub async fn register(&self, instance: Instance, ttl: Duration) -> Result<Lease> {
        let revision = self.put(&instance, ttl, Expect::Any).await?;
        Ok(Lease { instance, ttl, revision })
    }

    /// Says that the instance lives, and how it stands, for another `ttl`. A lease that ended meanwhile begins anew.
    ///
    /// # Errors
    /// [`Code::Conflict`] when somebody else has registered under this id: then this instance is not the one others call.
    pub async fn renew(&self, lease: &mut Lease) -> Result<()> {
        let renewed = self.put(&lease.instance, lease.ttl, Expect::Revision(lease.revision)).await;
        lease.revision = match renewed {
            Err(fault) if fault.code == Code::Conflict => self.put(&lease.instance, lease.ttl, Expect::Absent).await?,
            other => other?,
        };
        Ok(())
    }

    /// Takes an instance out at once: it says that it leaves, so it is not remembered. One that is not there is fine.
    pub async fn remove(&self, instance: &Instance) -> Result<()> {
        // Another instance of the service that lives says so again soon.
        let writes = vec![Write::delete(SPACE, &instance.id), Write::delete(LAST, &role_of(instance))];
        self.store.commit(writes).await.map(|_| ())
    }

    /// The instance registered under an id.
    pub async fn get(&self, id: &str) -> Result<Option<Instance>> {
        let entry = self.store.get(SPACE, id).await?;
        // Another version's words are as good as none: whoever lives says them anew.
        Ok(entry.and_then(|entry| serde_json::from_str(&entry.value).ok()))
    }

    /// Every registered instance, by service and id, and of services that have none the one that is lost.
    pub async fn list(&self) -> Result<Vec<Instance>> {
        let mut instances: Vec<Instance> = self.read(SPACE).await?.into_iter().map(|(instance, _)| instance).collect();
        let lives = |lost: &Instance, all: &[Instance]| all.iter().any(|one| role_of(one) == role_of(lost));
        for (last, seen_ms) in self.read(LAST).await? {
            if !lives(&last, &instances) {
                instances.push(lost(last, seen_ms));
            }
        }
        instances.sort_by(|a, b| (&a.service, a.kind, &a.id).cmp(&(&b.service, b.kind, &b.id)));
        Ok(instances)
    }

    /// Forgets the services that are lost: whoever starts the fleet anew says what belongs to it.
    pub async fn forget_lost(&self) -> Result<()> {
        let lost = self.list().await?.into_iter().filter(|instance| instance.lost_ms.is_some());
        for instance in lost {
            self.store.commit(vec![Write::delete(LAST, &role_of(&instance))]).await?;
        }
        Ok(())
    }

    /// The instances in a space, and when each was written.
    async fn read(&self, space: &str) -> Result<Vec<(Instance, UnixMs)>> {
        let mut instances = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.list(space, "", after.as_deref(), LIST_MAX).await?;
            let full = page.len() == LIST_MAX;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                match serde_json::from_str(&entry.value) {
                    Ok(instance) => instances.push((instance, entry.updated_ms)),
                    // Another version's words; its instance must not hide the others.
                    Err(error) => tracing::warn!(%error, id = entry.key, "registered instance cannot be read"),
                }
            }
            if !full {
                return Ok(instances);
            }
        }
    }

    /// Resolves when the list may have changed since this call, ended leases included: a nudge to list again.
    pub fn changed(&self) -> Nudge<'_> {
        self.store.changed(&[SPACE])
    }

    async fn put(&self, instance: &Instance, ttl: Duration, expect: Expect) -> Result<u64> {
        let value = serde_json::to_string(instance).map_err(|error| Fault::internal(format!("instance: {error}")))?;
        let after = |time: Duration| self.clock.now_ms() + time.as_millis() as i64;
        let last = Write::put(LAST, &role_of(instance), value.clone()).expiring_at(after(REMEMBERED));
        let write = Write::put(SPACE, &instance.id, value).expecting(expect).expiring_at(after(ttl));
        self.store.commit(vec![write, last]).await
    }
}

fn role_of(instance: &Instance) -> String {
    role(instance.kind, &instance.service)
}

fn lost(last: Instance, seen_ms: UnixMs) -> Instance {
    let last_error = Some(format!("no sign of life since {}", timestamp(seen_ms)));
    Instance { status: Status::Down, lost_ms: Some(seen_ms), last_error, ..last }
}
