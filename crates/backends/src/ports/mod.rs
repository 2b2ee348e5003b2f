//! The ports made of tables, whichever database keeps them.

mod audit;
mod bus;
mod queue;
mod store;

use std::sync::Arc;

use kernel::audit::Audit;
use kernel::bus::Bus;
use kernel::fanout::Signals;
use kernel::queue::Queue;
use kernel::store::Store;
use kernel::{Clock, Result};

use crate::db::{Db, Part, sql, unsigned};

/// An open database as ports.
#[derive(Clone)]
pub struct Database {
    /// Small durable values.
    pub store: Arc<dyn Store>,
    /// Events.
    pub bus: Arc<dyn Bus>,
    /// Tasks.
    pub queue: Arc<dyn Queue>,
    /// The audit trail.
    pub audit: Arc<dyn Audit>,
    /// Where its news come out: commits, events, tasks that may be claimed.
    pub signals: Signals,
    /// What it is and where, for people.
    pub about: Arc<str>,
    db: Db,
}

impl Database {
    pub(crate) fn new(db: Db, clock: &Clock, queue_depth_max: u64, about: &str) -> Self {
        let signals = Signals::default();
        let Signals { store: changed, bus: published, queue: claimable } = signals.clone();
        Self {
            store: Arc::new(store::DbStore::new(db.of(Part::Store), clock.clone(), changed)),
            bus: Arc::new(bus::DbBus::new(db.of(Part::Bus), clock.clone(), published)),
            queue: Arc::new(queue::DbQueue::new(db.of(Part::Queue), clock.clone(), queue_depth_max, claimable)),
            audit: Arc::new(audit::DbAudit::new(db.of(Part::Audit))),
            signals,
            about: about.into(),
            db,
        }
    }

    /// Closes it. What still uses the ports then gets [`Code::Unavailable`](kernel::Code::Unavailable).
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// The value of a counter, for looking what other processes did.
async fn counter(db: &Db, name: &'static str) -> Result<u64> {
    let (value,): (i64,) = sql("SELECT value FROM counters WHERE name = $1").bind(name).one(db.readers()).await?;
    Ok(unsigned(value))
}
