//! What the processes of a fleet share beside their database: limits that they keep to together, news that they tell each other, and where
//! they find each other, lock and elect.

use std::sync::Arc;
use std::time::Duration;

use backends::etcd::Etcd;
use backends::redis::Redis;
use kernel::backoff::Backoff;
use kernel::meters::{Buckets, Shared};
use kernel::metrics::Metrics;
use kernel::reach::Reach;
use kernel::store::Entries;
use kernel::{Clock, Code, Result, Tasks, fanout};
use mcp::phases::Phases;
use tokio::time::Instant;

use crate::config::Loaded;

/// How long a server that the fleet cannot begin without is waited for at the start.
const START_TIME: Duration = Duration::from_secs(10);
/// Waits between looks at the start.
const START_BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
/// What the fleet does without each.
const LIMITS_ALONE: &str = "each process keeps to the limits alone until it is back";
const NEWS_LOOKED_FOR: &str = "processes look for each other's news four times a second until it is back";

/// See the module.
pub struct Beside {
    /// How each part stands.
    pub outside: Vec<Arc<Reach>>,
    /// Where the registry, locks and elections are.
    pub leases: Arc<dyn Entries>,
    limits: Option<Shared>,
}

impl Beside {
    /// Opens what the configuration names. A Redis that is away is no reason not to start; one that refuses us is. An etcd is waited for.
    pub async fn open(
        loaded: &Loaded,
        fleet_key: &[u8],
        process: &str,
        database: &backends::Database,
        (clock, metrics, tasks): (&Clock, &Metrics, &Tasks),
    ) -> Result<Self> {
        // Whoever has the fleet's key is of the fleet, whatever database it is on.
        let fleet = kernel::ids::digest(fleet_key);
        let mut beside = Self { outside: Vec::new(), leases: database.store.clone(), limits: None };
        if let Some(place) = loaded.etcd() {
            let etcd = Etcd::new(place, &fleet, clock.clone(), metrics)?;
            until_there("etcd", async || etcd.look().await.map(drop)).await?;
            etcd.start(tasks);
            beside.outside.push(Arc::clone(etcd.reach()));
            beside.leases = etcd;
        }
        if let Some(place) = loaded.redis() {
            let redis = Arc::new(Redis::new(place, &fleet)?);
            match Buckets::look(&*redis).await {
                Err(fault) if fault.code != Code::Unavailable => return Err(fault),
                _ => {}
            }
            let limits = Reach::new("limits", redis.place(), LIMITS_ALONE, metrics);
            let shared = Shared { buckets: redis.clone(), reach: Arc::clone(&limits) };
            shared.start(tasks);
            let news = Reach::new("fanout", redis.place(), NEWS_LOOKED_FOR, metrics);
            fanout::start(redis, Arc::clone(&news), process, &database.signals, tasks);
            beside.outside.extend([limits, news]);
            beside.limits = Some(shared);
        }
        Ok(beside)
    }

    /// Has phases keep to the limits together with the fleet's other processes.
    pub fn limit(&self, phases: Phases) -> Phases {
        match &self.limits {
            Some(shared) => phases.with_shared_limits(shared.clone()),
            None => phases,
        }
    }
}

/// Waits for a server that is being started.
async fn until_there(name: &str, look: impl AsyncFn() -> Result<()>) -> Result<()> {
    let (began, mut failures) = (Instant::now(), 0);
    loop {
        match look().await {
            Err(fault) if fault.code == Code::Unavailable && began.elapsed() < START_TIME => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(%fault, "waiting for {name}");
                }
                tokio::time::sleep(START_BACKOFF.wait(failures)).await;
            }
            looked => return looked,
        }
    }
}
