//! Follows the registry: servers that run in other processes join the gateway, and leave it with their last copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::breaker::RESET;
use kernel::bus::{Bus, Event, READ_MAX};
use kernel::fleet::{CONTROL_TOPIC, Instance, Kind};
use kernel::{OnEnd, registry};

use crate::gateway::Gateway;
use crate::remote::{Means, Remote};

/// How often the registry is read without a nudge: leases that run out give none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was asked for after a place, and where it ends; without a place, only where it ends.
async fn wishes(bus: &dyn Bus, after: Option<u64>) -> kernel::Result<(Vec<Event>, u64)> {
    match after {
        Some(after) => {
            let wishes = bus.read(CONTROL_TOPIC, after, READ_MAX).await?;
            let next = wishes.last().map_or(after, |wish| wish.seq);
            Ok((wishes, next))
        }
        None => {
            let topics = bus.topics().await?;
            let newest = topics.iter().find(|topic| topic.name == CONTROL_TOPIC).map_or(0, |topic| topic.last_seq);
            Ok((Vec::new(), newest))
        }
    }
}

impl Gateway {
    /// Starts following the registry, under the ports' tasks.
    pub fn follow_registry(self: &Arc<Self>) {
        let (gateway, stopping) = (Arc::downgrade(self), self.ports.tasks.stopping());
        let (fleet, leases) = (self.ports.fleet.clone(), self.ports.leases.clone());
        self.ports.tasks.spawn("registry follower", OnEnd::StopOwner, async move {
            loop {
                let nudge = leases.changed(&[registry::SPACE]);
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

    /// Waits until the tools of every server that runs in other processes are known, for so long at most: a copy that is gone, and that the
    /// registry does not know to be gone, never tells them.
    pub async fn know_others(self: &Arc<Self>, limit: Duration) {
        let mut changes = self.changes();
        let known = async {
            loop {
                match self.ports.fleet.instances().await {
                    Ok(instances) => self.set_instances(instances),
                    Err(fault) => tracing::warn!(%fault, "the registry cannot be read"),
                }
                if self.remotes.lock().values().all(|remote| remote.has_tools()) {
                    return;
                }
                tokio::select! {
                    // Whatever changed, and where some changes were missed too, it is looked again.
                    _ = changes.recv() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        };
        if tokio::time::timeout(limit, known).await.is_err() {
            tracing::warn!("some servers of other processes do not tell their tools");
        }
    }

    /// Starts hearing what processes ask each other for: a breaker that is to be closed is closed by every gateway that has it.
    pub fn hear_resets(self: &Arc<Self>) {
        let (gateway, stopping) = (Arc::downgrade(self), self.ports.tasks.stopping());
        let bus = self.ports.bus.clone();
        self.ports.tasks.spawn("resets of breakers", OnEnd::StopOwner, async move {
            let mut after = None;
            loop {
                let published = bus.published(&[CONTROL_TOPIC]);
                match wishes(&*bus, after).await {
                    Ok((wishes, next)) => {
                        after = Some(next);
                        let Some(gateway) = gateway.upgrade() else { return };
                        for wish in wishes.iter().filter(|wish| wish.kind == RESET) {
                            let instance = wish.data["instance"].as_str().unwrap_or_default();
                            gateway.remotes.lock().values().for_each(|remote| remote.reset_breaker(instance));
                        }
                    }
                    Err(fault) => tracing::warn!(%fault, "resets of breakers cannot be read"),
                }
                tokio::select! {
                    () = published => {}
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
