//! Follows the registry: servers that run in other processes join the gateway, and leave it with their last copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::OnEnd;
use kernel::fleet::{Instance, Kind};

use crate::gateway::Gateway;
use crate::remote::{Means, Remote};

/// How often the registry is read without a nudge: leases that run out give none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Gateway {
    /// Starts following the registry, under the ports' tasks.
    pub fn follow_registry(self: &Arc<Self>) {
        let (gateway, stopping) = (Arc::downgrade(self), self.ports.tasks.stopping());
        let (fleet, store) = (self.ports.fleet.clone(), self.ports.store.clone());
        self.ports.tasks.spawn("registry follower", OnEnd::StopOwner, async move {
            loop {
                let nudge = store.changed();
                let seen = fleet.instances().await;
                let Some(gateway) = gateway.upgrade() else { return };
                match seen {
                    Ok(instances) => gateway.set_instances(instances),
                    // What was known stays: a registry that cannot be read says nothing about who runs.
                    Err(fault) => tracing::warn!(%fault, "the registry cannot be read"),
                }
                drop(gateway);
                tokio::select! {
                    () = nudge => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = stopping.cancelled() => return,
                }
            }
        });
    }

    /// Takes what the registry says.
    pub fn set_instances(self: &Arc<Self>, instances: Vec<Instance>) {
        *self.seen.lock() = instances;
        self.sync_remotes();
    }

    /// Brings the remote servers in line with what the registry last said and what runs here: a server of this process is called here.
    pub(crate) fn sync_remotes(self: &Arc<Self>) {
        // Held throughout: two syncs at once would make two of each.
        let mut remotes = self.remotes.lock();
        let mut wanted: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for instance in self.seen.lock().iter() {
            let elsewhere =
                instance.kind == Kind::Server && instance.process != self.process && instance.lost_ms.is_none();
            if elsewhere && self.local(&instance.service).is_none() {
                wanted.entry(instance.service.clone()).or_default().push(instance.clone());
            }
        }
        remotes.retain(|name, remote| {
            let stays = wanted.contains_key(name);
            if !stays {
                remote.set_instances(Vec::new());
                // The name may be a local server's by now.
                if self.local(name).is_none() {
                    self.remove_part(name);
                }
            }
            stays
        });
        for (name, instances) in wanted {
            let joined = remotes.get(&name).cloned();
            let remote = joined.clone().unwrap_or_else(|| {
                let means = Means {
                    ports: self.ports.clone(),
                    phases: self.shared.phases.clone(),
                    events: self.events.clone(),
                    reach: Arc::clone(&self.reach),
                };
                Remote::new(&name, means, self.ports.tasks.child())
            });
            remote.set_instances(instances);
            if joined.is_none() {
                match self.add_part(remote.clone()) {
                    Ok(()) => drop(remotes.insert(name, remote)),
                    Err(fault) => tracing::warn!(service = name, %fault, "a server in the registry cannot join"),
                }
            }
        }
    }
}
