//! What the processes of a fleet share beside their database: limits that they keep to together, news that they tell each other, events that
//! they pass on, and where they find each other, lock and elect.

use std::sync::Arc;
use std::time::Duration;

use backends::etcd::Etcd;
use backends::rabbitmq::Rabbit;
use backends::redis::Redis;
use kernel::backoff::Backoff;
use kernel::locks::Elections;
use kernel::meters::{Buckets, Shared};
use kernel::metrics::Metrics;
use kernel::outbox::{self, Means, Publisher as _};
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
const EVENTS_WAIT: &str = "events wait in the database until it is back";
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
    /// Opens what the configuration names. News go by Redis, or by RabbitMQ where there is none. An etcd is waited
    /// for, as a database is.
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
            let limits = beside.add("limits", redis.place(), LIMITS_ALONE, Buckets::look(&*redis).await, metrics)?;
            let shared = Shared { buckets: redis.clone(), reach: limits };
            shared.start(tasks);
            beside.limits = Some(shared);
            let news = beside.add("fanout", redis.place(), NEWS_LOOKED_FOR, Ok(()), metrics)?;
            fanout::start(redis, news, process, &database.signals, tasks);
        }
        if let Some(place) = loaded.rabbitmq() {
            let rabbit = Arc::new(Rabbit::new(place, &fleet, &loaded.config.rabbitmq)?);
            let events = beside.add("events", rabbit.place(), EVENTS_WAIT, rabbit.look().await, metrics)?;
            let elections = Elections::new(Arc::clone(&beside.leases), clock.clone());
            let means = Means { bus: Arc::clone(&database.bus), store: Arc::clone(&database.store), elections };
            outbox::start(rabbit.clone(), events, means, metrics, tasks);
            if beside.limits.is_none() {
                let news = beside.add("fanout", rabbit.place(), NEWS_LOOKED_FOR, Ok(()), metrics)?;
                fanout::start(rabbit, news, process, &database.signals, tasks);
            }
        }
        Ok(beside)
    }

    /// Adds a part that the fleet can do without. One that is away is no reason not to start; one that refuses us is.
    fn add(
        &mut self,
        port: &'static str,
        place: &str,
        meanwhile: &'static str,
        looked: Result<()>,
        metrics: &Metrics,
    ) -> Result<Arc<Reach>> {
        match looked {
            Err(fault) if fault.code != Code::Unavailable => return Err(fault),
            _ => {}
        }
        let reach = Reach::new(port, place, meanwhile, metrics);
        self.outside.push(Arc::clone(&reach));
        Ok(reach)
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
