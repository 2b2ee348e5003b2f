//! All the fakes together.

use std::sync::Arc;

use super::{FakeFleet, FakePrices, MemoryAudit, MemoryBus, MemoryLogs, MemoryQueue, MemoryStore, NoAbi};
use crate::chain::{Abi, Chain, Unconfigured};
use crate::metrics::Metrics;
use crate::ports::Backends;
use crate::store::{Entries, Store};
use crate::{Clock, Ports, Tasks, UnixMs};

/// When a world's clock starts: 15 November 2026, 08:00 UTC.
const START_MS: UnixMs = 1_794_729_600_000;

/// One of each fake, in reach of the test, around a clock the test moves. `World::default().ports()` is enough for most. Cloning shares it.
#[derive(Clone)]
pub struct World {
    /// Stands still until the test advances it.
    pub clock: Clock,
    /// Owner of what the test spawns.
    pub tasks: Tasks,
    /// Figures.
    pub metrics: Metrics,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The bus.
    pub bus: Arc<MemoryBus>,
    /// The queue.
    pub queue: Arc<MemoryQueue>,
    /// The logs.
    pub logs: Arc<MemoryLogs>,
    /// The audit trail.
    pub audit: Arc<MemoryAudit>,
    /// The fleet.
    pub fleet: Arc<FakeFleet>,
    /// The chain: not configured unless the test puts one here.
    pub chain: Arc<dyn Chain>,
    /// Encodings: not configured unless the test puts some here.
    pub abi: Arc<dyn Abi>,
    /// Prices: none until the test sets some.
    pub prices: Arc<FakePrices>,
}

impl Default for World {
    fn default() -> Self {
        let clock = Clock::manual(START_MS);
        Self {
            tasks: Tasks::new(),
            metrics: Metrics::default(),
            store: Arc::new(MemoryStore::new(clock.clone())),
            bus: Arc::new(MemoryBus::new(clock.clone())),
            queue: Arc::new(MemoryQueue::new(clock.clone())),
            logs: Arc::new(MemoryLogs::new(clock.clone())),
            audit: Arc::default(),
            fleet: Arc::default(),
            chain: Arc::new(Unconfigured::default()),
            abi: Arc::new(NoAbi),
            prices: Arc::new(FakePrices::new(clock.clone())),
            clock,
        }
    }
}

impl World {
    /// Puts a chain there.
    #[must_use]
    pub fn chain(mut self, chain: Arc<dyn Chain>) -> Self {
        self.chain = chain;
        self
    }

    /// Puts encodings there.
    #[must_use]
    pub fn abi(mut self, abi: Arc<dyn Abi>) -> Self {
        self.abi = abi;
        self
    }

    /// What a service is given.
    pub fn ports(&self) -> Ports {
        Ports {
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
            store: self.store.clone(),
            leases: self.store.clone() as Arc<dyn Entries>,
            bus: self.bus.clone(),
            queue: self.queue.clone(),
            logs: self.logs.clone(),
            audit: self.audit.clone(),
            fleet: self.fleet.clone(),
            chain: self.chain.clone(),
            abi: self.abi.clone(),
            prices: self.prices.clone(),
            backends: Backends::new(&"memory".into(), &"memory".into()),
        }
    }
}
