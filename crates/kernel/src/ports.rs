//! Everything a service may be given. Built once, in the binary; in tests by [`fake::World`](crate::fake::World).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::Audit;
use crate::bus::Bus;
use crate::chain::{Abi, Chain};
use crate::fleet::Fleet;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::prices::Prices;
use crate::queue::Queue;
use crate::reach::Reach;
use crate::store::{Entries, Store};
use crate::{Clock, Tasks};

/// The ports.
#[derive(Clone)]
pub struct Ports {
    /// Time.
    pub clock: Clock,
    /// Owner of spawned work; each service gets a child of the fleet's.
    pub tasks: Tasks,
    /// Figures.
    pub metrics: Metrics,
    /// Small durable values.
    pub store: Arc<dyn Store>,
    /// What ends by itself unless renewed: the registry, locks, elections.
    pub leases: Arc<dyn Entries>,
    /// Events.
    pub bus: Arc<dyn Bus>,
    /// Tasks.
    pub queue: Arc<dyn Queue>,
    /// Log lines.
    pub logs: Arc<dyn Logs>,
    /// The audit trail.
    pub audit: Arc<dyn Audit>,
    /// The services that run.
    pub fleet: Arc<dyn Fleet>,
    /// The EVM chain.
    pub chain: Arc<dyn Chain>,
    /// Contract encodings; needs no node.
    pub abi: Arc<dyn Abi>,
    /// What assets are worth.
    pub prices: Arc<dyn Prices>,
    /// What the other ports are made of.
    pub backends: Backends,
}

/// What ports are made of, by the name of the port, for people: `SQLite`, or `PostgreSQL 15.18 at db:5432/fleet`. And what the fleet stands on
/// beside them.
#[derive(Clone, Default)]
pub struct Backends {
    by_port: Arc<BTreeMap<&'static str, Arc<str>>>,
    outside: Vec<Arc<Reach>>,
}

impl Backends {
    /// Store, bus, queue, audit trail and registry are in `database`, log lines in `logs`.
    pub fn new(database: &Arc<str>, logs: &Arc<str>) -> Self {
        let in_database = ["store", "bus", "queue", "audit", "registry"].map(|port| (port, Arc::clone(database)));
        let by_port = in_database.into_iter().chain([("logs", Arc::clone(logs))]).collect();
        Self { by_port: Arc::new(by_port), outside: Vec::new() }
    }

    /// The same, and what is beside them.
    #[must_use]
    pub fn beside(mut self, outside: impl IntoIterator<Item = Arc<Reach>>) -> Self {
        self.outside.extend(outside);
        self
    }

    /// What serves the port of this name.
    pub fn of(&self, port: &str) -> Option<&str> {
        let outside = self.outside.iter().find(|reach| reach.port() == port).map(|reach| reach.place());
        outside.or_else(|| self.by_port.get(port).map(|backend| &**backend))
    }

    /// What the fleet stands on beside the ports, and can do without for a while.
    pub fn outside(&self) -> &[Arc<Reach>] {
        &self.outside
    }
}
