//! The gateway: holds the parts, keeps the name table, tells clients of changes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use kernel::catalog;
use kernel::fleet::Instance;
use kernel::{Fault, OnEnd, Ports, Tasks, UnixMs};
use mcp::handler::{CHANGES_MAX, Identity};
use mcp::service::Shared;
use mcp::{Change, Handler, Service};
use parking_lot::{Mutex, RwLock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast;

use crate::alerts::AlertsSeen;
use crate::coordinator::Setting;
use crate::events::Events;
use crate::part::{Origin, Part};
use crate::remote::{Reach, Remote};
use crate::selector::{Selector, Toolset, toolsets};
use crate::table::Table;
use crate::upstream::Upstreams;
use crate::view::View;
use crate::{names, uris};

/// The mode of a process that runs chosen services of a fleet: which others there are, it does not know.
pub const SERVE: &str = "serve";

/// `[gateway]` in `flotilla.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Named subsets of all tools for `/mcp?toolset=NAME`: patterns of tool names, in which `*` stands for any characters.
    pub toolsets: BTreeMap<String, Vec<String>>,
}

/// What a gateway is made with.
pub struct Setup {
    /// `[gateway]`.
    pub config: Config,
    /// The ports; standing work runs under their tasks.
    pub ports: Ports,
    /// What all services of the process share.
    pub shared: Shared,
    /// The mode the fleet was started in, as `/status` tells it.
    pub mode: String,
    /// The services that should run in this fleet: one that is not there is reported as down.
    pub expected: Vec<&'static catalog::Service>,
    /// This process, as its instances name it in the registry: they are not called over the network.
    pub process: String,
    /// How instances in other processes are reached.
    pub reach: Arc<dyn Reach>,
    /// The configuration in effect, by key, secrets masked: for who administers the fleet.
    pub settings: Vec<Setting>,
}

/// The gateway of a process.
pub struct Gateway {
    pub(crate) ports: Ports,
    pub(crate) shared: Shared,
    pub(crate) mode: String,
    pub(crate) expected: Vec<&'static catalog::Service>,
    pub(crate) events: Events,
    pub(crate) started_ms: UnixMs,
    pub(crate) process: String,
    pub(crate) reach: Arc<dyn Reach>,
    pub(crate) settings: Vec<Setting>,
    /// What the registry said last.
    pub(crate) seen: Mutex<Vec<Instance>>,
    /// Held by whoever makes a server local or remote: a sync that saw no local server would put its copies over one that came meanwhile.
    pub(crate) remotes: Mutex<BTreeMap<String, Arc<Remote>>>,
    upstreams: OnceLock<Arc<Upstreams>>,
    pub(crate) alerts_seen: Mutex<Option<AlertsSeen>>,
    /// Who answers for the whole: made once, since every request asks.
    pub(crate) identity: OnceLock<Arc<Identity>>,
    toolsets: BTreeMap<String, Toolset>,
    parts: RwLock<BTreeMap<String, Joined>>,
    locals: RwLock<BTreeMap<&'static str, Arc<Service>>>,
    table: RwLock<Option<Arc<Table>>>,
    changes: broadcast::Sender<Change>,
    own_changes: Mutex<BTreeMap<String, broadcast::Sender<Change>>>,
}

struct Joined {
    part: Arc<dyn Part>,
    /// Owns the task that listens to the part.
    tasks: Tasks,
}

impl Gateway {
    /// A gateway without parts. Spawns the publisher of fleet events under the ports' tasks.
    pub fn new(setup: Setup) -> Arc<Self> {
        let Setup { config, ports, shared, mode, expected, process, reach, settings } = setup;
        Arc::new(Self {
            events: Events::new(&ports),
            started_ms: ports.clock.now_ms(),
            identity: OnceLock::new(),
            toolsets: toolsets(&config.toolsets),
            parts: RwLock::default(),
            locals: RwLock::default(),
            table: RwLock::default(),
            changes: broadcast::channel(CHANGES_MAX).0,
            own_changes: Mutex::default(),
            seen: Mutex::default(),
            upstreams: OnceLock::new(),
            alerts_seen: Mutex::default(),
            remotes: Mutex::default(),
            ports,
            shared,
            mode,
            expected,
            process,
            reach,
            settings,
        })
    }

    /// Takes a service of this process in. It is called without a network from now on, in place of any part of its name.
    pub fn add_local(self: &Arc<Self>, service: Arc<Service>) {
        if self.local(service.name).is_some_and(|there| Arc::ptr_eq(&there, &service)) {
            return;
        }
        {
            let _no_sync = self.remotes.lock();
            self.locals.write().insert(service.name, Arc::clone(&service));
            self.join(service);
        }
        self.sync_remotes();
    }

    /// Lets a service of this process go. Copies in other processes take its calls.
    pub fn remove_local(self: &Arc<Self>, name: &str) {
        let gone = {
            let _no_sync = self.remotes.lock();
            let gone = self.locals.write().remove(name).is_some();
            if gone {
                self.leave(name);
            }
            gone
        };
        if gone {
            self.sync_remotes();
        }
    }

    /// The service of this name, if it runs in this process.
    pub fn local(&self, name: &str) -> Option<Arc<Service>> {
        self.locals.read().get(name).cloned()
    }

    /// The services of this process, by name.
    pub fn locals(&self) -> Vec<Arc<Service>> {
        self.locals.read().values().cloned().collect()
    }

    /// Takes a part in, in place of one of the same name and origin.
    ///
    /// # Errors
    /// When its name is not good, or belongs to a part of the other origin or to a service of the catalog.
    pub fn add_part(self: &Arc<Self>, part: Arc<dyn Part>) -> Result<(), Fault> {
        let name = part.name();
        names::check_part(name)?;
        let of_fleet = kernel::catalog::SERVICES.iter().any(|service| service.name == name);
        let taken = self.part(name).is_some_and(|there| there.origin() != part.origin());
        if taken || (of_fleet && part.origin() == Origin::Upstream) {
            return Err(Fault::already_exists(format!("`{name}` names a server of the fleet"))
                .hint("give the upstream another name"));
        }
        self.join(part);
        Ok(())
    }

    /// Lets a part go. Calls under way are not touched.
    pub fn remove_part(self: &Arc<Self>, name: &str) {
        self.leave(name);
    }

    /// The part of this name.
    pub fn part(&self, name: &str) -> Option<Arc<dyn Part>> {
        self.parts.read().get(name).map(|joined| Arc::clone(&joined.part))
    }

    /// The third parties' servers that joined.
    ///
    /// # Errors
    /// Before they were started.
    pub fn upstreams(&self) -> Result<Arc<Upstreams>, Fault> {
        self.upstreams.get().cloned().ok_or_else(|| Fault::unavailable("upstreams are not started in this process"))
    }

    /// Makes them known. Those that came first stay.
    pub(crate) fn set_upstreams(&self, upstreams: &Arc<Upstreams>) {
        self.upstreams.get_or_init(|| Arc::clone(upstreams));
    }

    /// The tools of all parts as they are now.
    pub fn table(&self) -> Arc<Table> {
        if let Some(table) = &*self.table.read() {
            return Arc::clone(table);
        }
        let mut kept = self.table.write();
        // Somebody else may have built it while this call waited for the lock.
        if let Some(table) = &*kept {
            return Arc::clone(table);
        }
        let parts = self.parts.read().values().map(|joined| Arc::clone(&joined.part)).collect();
        let table = Arc::new(Table::of(parts));
        *kept = Some(Arc::clone(&table));
        table
    }

    /// All toolsets, by name.
    pub fn toolsets(&self) -> &BTreeMap<String, Toolset> {
        &self.toolsets
    }

    /// What a client sees through `selector`.
    ///
    /// # Errors
    /// When there is no such server, upstream or toolset.
    pub fn handler(self: &Arc<Self>, selector: Selector) -> Result<Arc<dyn Handler>, Fault> {
        View::of(self, selector).map(|view| Arc::new(view) as Arc<dyn Handler>)
    }

    /// Changes of the whole, from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Changes of one part in its own words, from now on; also over its leaving and coming back.
    pub(crate) fn changes_of(&self, part: &str) -> broadcast::Receiver<Change> {
        let mut all = self.own_changes.lock();
        all.entry(part.to_owned()).or_insert_with(|| broadcast::channel(CHANGES_MAX).0).subscribe()
    }

    fn join(self: &Arc<Self>, part: Arc<dyn Part>) {
        let name = part.name().to_owned();
        let tasks = self.ports.tasks.child();
        listen(Arc::downgrade(self), &part, &tasks);
        let origin = part.origin();
        if let Some(before) = self.parts.write().insert(name.clone(), Joined { part, tasks }) {
            before.tasks.stop_because("replaced");
        }
        self.events.publish(joined_kind(origin), json!({ "name": name }));
        self.lists_changed(&name);
    }

    fn leave(&self, name: &str) {
        let Some(joined) = self.parts.write().remove(name) else { return };
        joined.tasks.stop_because("left");
        self.events.publish(left_kind(joined.part.origin()), json!({ "name": name }));
        self.lists_changed(name);
    }

    fn lists_changed(&self, part: &str) {
        for change in [Change::Tools, Change::Prompts, Change::Resources] {
            self.announce(part, None, change);
        }
    }

    /// Passes a part's change on: to those who see it alone in its own words, to all others in the aggregate's.
    fn announce(&self, part: &str, origin: Option<Origin>, change: Change) {
        if change == Change::Tools {
            *self.table.write() = None;
        }
        // Errors of `send` mean that nobody listens.
        if let Some(own) = self.own_changes.lock().get(part) {
            own.send(change.clone()).ok();
        }
        let outward = match (change, origin) {
            (Change::Resource(uri), Some(origin)) => Change::Resource(uris::outward(part, origin, &uri)),
            (change, _) => change,
        };
        self.changes.send(outward).ok();
    }
}

/// Passes a part's changes on until the part leaves.
fn listen(gateway: Weak<Gateway>, part: &Arc<dyn Part>, tasks: &Tasks) {
    let (name, origin) = (part.name().to_owned(), part.origin());
    let (mut changes, stopping) = (part.changes(), tasks.stopping());
    tasks.spawn("changes of a part", OnEnd::Done, async move {
        loop {
            let heard = tokio::select! {
                heard = changes.recv() => heard,
                () = stopping.cancelled() => break,
            };
            let Some(gateway) = gateway.upgrade() else { break };
            match heard {
                Ok(change) => gateway.announce(&name, Some(origin), change),
                Err(broadcast::error::RecvError::Lagged(_)) => gateway.lists_changed(&name),
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    });
}

fn joined_kind(origin: Origin) -> &'static str {
    match origin {
        Origin::Server => "service.joined",
        Origin::Upstream => "upstream.joined",
    }
}

fn left_kind(origin: Origin) -> &'static str {
    match origin {
        Origin::Server => "service.left",
        Origin::Upstream => "upstream.left",
    }
}
