//! Where the fleet's services are: each instance stands in the store for as long as somebody says that it lives.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::Instance;
use crate::store::{Expect, LIST_MAX, Store, Write};
use crate::{Clock, Code, Fault, Result};

/// Where the instances are kept in the store, by id.
pub const SPACE: &str = "registry";

/// The registry. Cloning shares it.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
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
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
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

    /// Takes an instance out at once. One that is not there is fine.
    pub async fn remove(&self, id: &str) -> Result<()> {
        self.store.commit(vec![Write::delete(SPACE, id)]).await.map(|_| ())
    }

    /// Every registered instance, by service and id.
    pub async fn list(&self) -> Result<Vec<Instance>> {
        let mut instances: Vec<Instance> = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.list(SPACE, "", after.as_deref(), LIST_MAX).await?;
            let full = page.len() == LIST_MAX;
            after = page.last().map(|entry| entry.key.clone());
            for entry in page {
                match serde_json::from_str(&entry.value) {
                    Ok(instance) => instances.push(instance),
                    // Another version's words; its instance must not hide the others.
                    Err(error) => tracing::warn!(%error, id = entry.key, "registered instance cannot be read"),
                }
            }
            if !full {
                break;
            }
        }
        instances.sort_by(|a, b| (&a.service, &a.id).cmp(&(&b.service, &b.id)));
        Ok(instances)
    }

    /// Resolves when the list may have changed since this call, ended leases included: a nudge to list again.
    pub fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.changed()
    }

    async fn put(&self, instance: &Instance, ttl: Duration, expect: Expect) -> Result<u64> {
        let value = serde_json::to_string(instance).map_err(|error| Fault::internal(format!("instance: {error}")))?;
        let ends_ms = self.clock.now_ms() + ttl.as_millis() as i64;
        let write = Write::put(SPACE, &instance.id, value).expecting(expect).expiring_at(ends_ms);
        self.store.commit(vec![write]).await
    }
}
