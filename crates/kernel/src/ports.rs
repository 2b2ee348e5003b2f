//! Everything a service may be given. Built once, in the binary; in tests by [`fake::World`](crate::fake::World).

use std::sync::Arc;

use crate::audit::Audit;
use crate::bus::Bus;
use crate::chain::{Abi, Chain};
use crate::fleet::Fleet;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::prices::Prices;
use crate::queue::Queue;
use crate::store::Store;
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
}
