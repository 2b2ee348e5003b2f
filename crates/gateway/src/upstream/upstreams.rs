//! All upstreams of the fleet, as the store has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use kernel::store::{Expect, LIST_MAX, Store, Write};
use kernel::{Caller, Code, Fault, OnEnd, Ports, Tasks};
use mcp::client::AboutUs;
use parking_lot::Mutex;
use serde_json::json;

use super::pins::{self, Pins};
use super::supervise::Nudge;
use super::{Means, Secrets, Upstream, UpstreamSpec, UpstreamStatus};
use crate::gateway::Gateway;

/// The store's space.
const SPACE: &str = "upstreams";
/// Upstreams of one fleet.
const UPSTREAMS_MAX: usize = 200;
/// How long it takes at most until a change in the store is seen, should its word of it get lost.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The upstreams of a gateway.
pub struct Upstreams {
    gateway: Weak<Gateway>,
    store: Arc<dyn Store>,
    pins: Pins,
    means: Means,
    tasks: Tasks,
    all: Mutex<BTreeMap<String, Arc<Upstream>>>,
}

impl Upstreams {
    /// Starts the upstreams in the store as parts of `gateway`, and follows the store from then on. They stop with the ports' tasks.
    ///
    /// `inherited` is the environment every program gets (PATH, HOME, LANG); `secrets` finds what specs refer to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        gateway: &Arc<Gateway>,
        ports: &Ports,
        secrets: Arc<dyn Secrets>,
        inherited: BTreeMap<String, String>,
    ) -> Result<Arc<Self>, Fault> {
        let pins = Pins::new(Arc::clone(&ports.store), ports.clock.clone());
        let means = Means {
            clock: ports.clock.clone(),
            metrics: ports.metrics.clone(),
            phases: gateway.shared.phases.clone(),
            events: gateway.events.clone(),
            pins: pins.clone(),
            secrets,
            inherited: Arc::new(inherited),
            about_us: AboutUs::new(gateway.shared.version),
        };
        let upstreams = Arc::new(Self {
            gateway: Arc::downgrade(gateway),
            store: Arc::clone(&ports.store),
            pins,
            means,
            tasks: ports.tasks.clone(),
            all: Mutex::default(),
        });
        let seen = upstreams.load().await?;
        gateway.set_upstreams(&upstreams);
        upstreams.tasks.spawn("upstreams", OnEnd::Done, Arc::clone(&upstreams).follow(seen));
        Ok(upstreams)
    }

    /// Adds an upstream for the whole fleet and starts it.
    ///
    /// # Errors
    /// When it cannot work, would keep a secret in clear, or its name is taken.
    pub async fn add(&self, spec: UpstreamSpec, by: &Caller) -> Result<Arc<Upstream>, Fault> {
        spec.check()?;
        if self.all.lock().len() >= UPSTREAMS_MAX {
            return Err(Fault::new(Code::RateLimited, format!("there are {UPSTREAMS_MAX} upstreams already")));
        }
        let name = spec.name.clone();
        if self.gateway()?.part(&name).is_some_and(|part| part.origin() == crate::part::Origin::Server) {
            return Err(Fault::already_exists(format!("`{name}` names a server of the fleet")));
        }
        let value = serde_json::to_string(&spec).map_err(|error| Fault::internal(error.to_string()))?;
        let write = Write::put(SPACE, &name, value).expecting(Expect::Absent);
        self.store.commit(vec![write]).await.map_err(|fault| match fault.code {
            Code::Conflict => Fault::already_exists(format!("there is an upstream `{name}`"))
                .hint("remove it first; what was trusted of its tools is forgotten then"),
            _ => fault,
        })?;
        let data = json!({ "name": name, "place": spec.place(), "by": by.name });
        self.means.events.publish("upstream.added", data);
        self.take(spec).await
    }

    /// Has an upstream be as a configuration file says: adds it, or gives it its new definition. What is trusted of its tools stays so.
    ///
    /// # Errors
    /// When it cannot work, or would keep a secret in clear.
    pub async fn configure(&self, spec: UpstreamSpec, by: &Caller) -> Result<(), Fault> {
        spec.check()?;
        match self.get(&spec.name) {
            Ok(known) if *known.spec() == spec => Ok(()),
            Ok(_) => {
                let value = serde_json::to_string(&spec).map_err(|error| Fault::internal(error.to_string()))?;
                self.store.commit(vec![Write::put(SPACE, &spec.name, value)]).await?;
                self.drop_one(&spec.name).await;
                self.take(spec).await.map(|_| ())
            }
            Err(_) => self.add(spec, by).await.map(|_| ()),
        }
    }

    /// Removes an upstream from the whole fleet, and forgets what was trusted of it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove(&self, name: &str, by: &Caller) -> Result<(), Fault> {
        if self.store.get(SPACE, name).await?.is_none() {
            return Err(self.unknown(name));
        }
        self.store.commit(vec![Write::delete(SPACE, name)]).await?;
        self.drop_one(name).await;
        self.pins.forget(name).await?;
        self.means.events.publish("upstream.removed", json!({ "name": name, "by": by.name }));
        Ok(())
    }

    /// Trusts tools of an upstream as they are now: one, or all that are held. `sha256` is what was looked at; another is not approved.
    /// Returns which were approved.
    ///
    /// # Errors
    /// When there is no such upstream or tool, or it has changed since it was looked at, or no approval could make it usable.
    pub async fn approve(
        &self,
        name: &str,
        tool: Option<&str>,
        sha256: Option<&str>,
        by: &Caller,
    ) -> Result<Vec<String>, Fault> {
        let upstream = self.get(name)?;
        let tools = upstream.tools();
        let chosen: Vec<_> = match tool {
            Some(tool) => {
                vec![tools.get(tool).ok_or_else(|| Fault::not_found(format!("upstream {name} has no tool `{tool}`")))?]
            }
            None => tools.all().iter().filter(|tool| tool.held.is_some() && tool.content.unfit().is_none()).collect(),
        };
        let mut approved = Vec::new();
        for tool in chosen {
            if let Some(why) = tool.content.unfit() {
                return Err(Fault::unsupported(format!(
                    "tool `{}` of upstream {name} cannot be used: {why}",
                    tool.name
                )));
            }
            if sha256.is_some_and(|sha256| sha256 != tool.content.sha256) {
                return Err(Fault::new(Code::Conflict, format!("tool `{}` changed since it was looked at", tool.name))
                    .hint(format!("it is {} now; look again", tool.content.sha256)));
            }
            self.pins.approve(name, &tool.content, &by.name).await?;
            let data = json!({ "name": name, "tool": tool.name, "sha256": tool.content.sha256, "by": by.name });
            self.means.events.publish("upstream.approved", data);
            approved.push(tool.name.clone());
        }
        upstream.judge().await?;
        Ok(approved)
    }

    /// What is trusted of an upstream's tools, by their names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trusted(&self, name: &str) -> Result<BTreeMap<String, pins::Pin>, Fault> {
        Ok(self.pins.of(name).await?.unwrap_or_default())
    }

    /// The upstream of this name.
    ///
    /// # Errors
    /// When there is none; the hint says which there are.
    pub fn get(&self, name: &str) -> Result<Arc<Upstream>, Fault> {
        let found = self.all.lock().get(name).cloned();
        found.ok_or_else(|| self.unknown(name))
    }

    /// How all stand, by name.
    pub fn list(&self) -> Vec<UpstreamStatus> {
        let all: Vec<_> = self.all.lock().values().cloned().collect();
        all.iter().map(|upstream| upstream.status()).collect()
    }

    fn unknown(&self, name: &str) -> Fault {
        let all = self.all.lock();
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        let hint = match kernel::limits::nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there are none: add one with add_upstream".into(),
            None => format!("one of {}", known.join(", ")),
        };
        Fault::not_found(format!("no upstream `{name}`")).hint(hint)
    }

    fn gateway(&self) -> Result<Arc<Gateway>, Fault> {
        self.gateway.upgrade().ok_or_else(|| Fault::unavailable("the gateway is being stopped"))
    }

    /// Has an upstream of this spec run here: the one that does, or a new one in place of any other of its name.
    async fn take(&self, spec: UpstreamSpec) -> Result<Arc<Upstream>, Fault> {
        let gateway = self.gateway()?;
        let name = spec.name.clone();
        let (upstream, before) = {
            let mut all = self.all.lock();
            if let Some(upstream) = all.get(&name).filter(|upstream| upstream.spec == spec) {
                return Ok(Arc::clone(upstream));
            }
            let upstream = Upstream::start(spec, self.means.clone(), self.tasks.child());
            let before = all.insert(name, Arc::clone(&upstream));
            (upstream, before)
        };
        if let Some(before) = before {
            before.stop().await;
        }
        if let Err(fault) = gateway.add_part(Arc::clone(&upstream) as _) {
            self.drop_one(&upstream.spec.name).await;
            return Err(fault);
        }
        Ok(upstream)
    }

    async fn drop_one(&self, name: &str) {
        let upstream = self.all.lock().get(name).cloned();
        let Some(upstream) = upstream else { return };
        // Whoever else drops it at the same time waits for its end too, because it stays known until then.
        upstream.stop().await;
        let mut all = self.all.lock();
        if all.get(name).is_some_and(|there| Arc::ptr_eq(there, &upstream)) {
            all.remove(name);
            if let Some(gateway) = self.gateway.upgrade() {
                gateway.remove_part(name);
            }
        }
    }

    /// Starts what is in the store. Returns the revision up to which that was.
    async fn load(&self) -> Result<u64, Fault> {
        let mut seen = 0;
        for entry in self.store.list(SPACE, "", None, LIST_MAX).await? {
            seen = seen.max(entry.revision);
            self.take_text(&entry.key, &entry.value).await;
        }
        Ok(seen)
    }

    async fn take_text(&self, name: &str, text: &str) {
        let taken = match serde_json::from_str::<UpstreamSpec>(text) {
            Ok(spec) => self.take(spec).await.map(drop),
            Err(error) => Err(Fault::internal(format!("its spec cannot be read: {error}"))),
        };
        if let Err(fault) = taken {
            tracing::error!(upstream = name, %fault, "upstream not started");
        }
    }

    /// Follows the store until the tasks stop; then stops all upstreams.
    async fn follow(self: Arc<Self>, mut specs_seen: u64) {
        let stopping = self.tasks.stopping();
        let mut pins_seen = specs_seen;
        loop {
            let changed = self.store.changed(&[SPACE, pins::SPACE]);
            if let Err(fault) = self.catch_up(&mut specs_seen, &mut pins_seen).await {
                tracing::warn!(%fault, "changes of upstreams cannot be read");
            }
            tokio::select! {
                _ = tokio::time::timeout(LOOK_EVERY, changed) => {}
                () = stopping.cancelled() => break,
            }
        }
        let all: Vec<_> = std::mem::take(&mut *self.all.lock()).into_values().collect();
        join_all(all.iter().map(|upstream| upstream.stop())).await;
    }

    async fn catch_up(&self, specs_seen: &mut u64, pins_seen: &mut u64) -> Result<(), Fault> {
        for change in self.store.changes(SPACE, "", *specs_seen, LIST_MAX).await? {
            *specs_seen = change.revision.max(*specs_seen);
            match &change.value {
                Some(text) => self.take_text(&change.key, text).await,
                None => self.drop_one(&change.key).await,
            }
        }
        // What another process approved counts here too.
        let mut judged = std::collections::BTreeSet::new();
        for change in self.store.changes(pins::SPACE, "", *pins_seen, LIST_MAX).await? {
            *pins_seen = change.revision.max(*pins_seen);
            judged.extend(change.key.split_once('/').map(|(upstream, _)| upstream.to_owned()));
        }
        let all = self.all.lock();
        judged.iter().filter_map(|name| all.get(name)).for_each(|upstream| upstream.nudge(Nudge::Judge));
        Ok(())
    }
}
