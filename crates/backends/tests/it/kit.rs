//! What a suite is given: the ports of one backend around a clock moved by hand.

use std::any::Any;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backends::logs::SqliteLogs;
use backends::{Database, postgres, sqlite};
use kernel::audit::Audit;
use kernel::bus::Bus;
use kernel::fake::{MemoryQueue, World};
use kernel::logs::Logs;
use kernel::queue::Queue;
use kernel::store::{Entries, Store};
use kernel::{Clock, Code, Fault, Tasks};
use tempfile::TempDir;

use crate::server;

/// When the tests' clocks start.
pub(crate) const START_MS: i64 = 1_794_729_600_000;
/// How many tasks may wait in a queue of the suites.
pub(crate) const DEPTH_MAX: u64 = 600;

/// One backend.
pub(crate) struct Kit {
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) logs: Arc<dyn Logs>,
    /// The same backend as another process would see it; memory has no other process, so it is the same again.
    pub(crate) other: Other,
    _folder: Option<TempDir>,
}

pub(crate) struct Other {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) logs: Arc<dyn Logs>,
}

pub(crate) async fn memory() -> Kit {
    let world = World::default();
    let ports = world.ports();
    let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new(world.clock.clone()).depth_max(DEPTH_MAX));
    Kit {
        clock: world.clock.clone(),
        tasks: Tasks::new(),
        store: ports.store.clone(),
        bus: ports.bus.clone(),
        queue: queue.clone(),
        audit: ports.audit.clone(),
        logs: ports.logs.clone(),
        other: Other { store: ports.store, bus: ports.bus, queue, audit: ports.audit, logs: ports.logs },
        _folder: None,
    }
}

pub(crate) async fn sqlite() -> Kit {
    in_folder(tempfile::tempdir().unwrap()).await
}

/// `None` where PostgreSQL is not installed, which is said.
pub(crate) async fn postgres() -> Option<Kit> {
    Some(in_folder(postgres_folder()?).await)
}

async fn in_folder(folder: TempDir) -> Kit {
    let clock = Clock::manual(START_MS);
    let one = open(folder.path(), clock.clone()).await;
    let two = open(folder.path(), clock.clone()).await;
    let (logs_one, logs_two) = (open_logs(folder.path(), &clock).await, open_logs(folder.path(), &clock).await);
    Kit {
        clock,
        tasks: Tasks::new(),
        store: one.store,
        bus: one.bus,
        queue: one.queue,
        audit: one.audit,
        logs: Arc::new(logs_one),
        other: Other { store: two.store, bus: two.bus, queue: two.queue, audit: two.audit, logs: Arc::new(logs_two) },
        _folder: Some(folder),
    }
}

/// The file in a folder whose presence says that its database is elsewhere, and where.
const DATABASE_URL: &str = "database_url";

/// A folder whose database is a new schema on the tests' PostgreSQL. `None` where that is not installed, which is said.
pub(crate) fn postgres_folder() -> Option<TempDir> {
    let url = server::schema()?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DATABASE_URL), url).unwrap();
    Some(folder)
}

pub(crate) async fn open(folder: &Path, clock: Clock) -> Database {
    open_with(folder, DEPTH_MAX, clock).await
}

/// Opens the database of a folder, as many processes may.
pub(crate) async fn open_with(folder: &Path, queue_depth_max: u64, clock: Clock) -> Database {
    let config = sqlite::Config { queue_depth_max, ..sqlite::Config::default() };
    let url = std::fs::read_to_string(folder.join(DATABASE_URL)).ok();
    let place = url.as_deref().map(|url| postgres::Place { url, password: None });
    backends::open(&config, place, folder, clock).await.unwrap()
}

pub(crate) async fn open_logs(folder: &Path, clock: &Clock) -> SqliteLogs {
    backends::logs::open(folder, clock.clone()).await.unwrap()
}

/// What registry, locks and elections are made of, on one backend.
pub(crate) struct EntriesKit {
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) store: Arc<dyn Entries>,
    /// The same as another process would see it.
    pub(crate) other: OtherEntries,
    _rest: Box<dyn Any + Send + Sync>,
}

pub(crate) struct OtherEntries {
    pub(crate) store: Arc<dyn Entries>,
}

impl From<Kit> for EntriesKit {
    fn from(kit: Kit) -> Self {
        let (store, other) = (kit.store.clone(), OtherEntries { store: kit.other.store.clone() });
        Self { clock: kit.clock.clone(), tasks: kit.tasks.clone(), store, other, _rest: Box::new(kit) }
    }
}

/// `None` where etcd is not installed, which is said.
pub(crate) async fn etcd() -> Option<EntriesKit> {
    let (server, url) = crate::real::etcd()?;
    let (clock, watching) = (Clock::manual(START_MS), Tasks::new());
    let [one, two] = [(); 2].map(|()| crate::etcd::open(&url, "fleet", clock.clone()));
    one.start(&watching);
    two.start(&watching);
    let other = OtherEntries { store: two };
    Some(EntriesKit { clock, tasks: Tasks::new(), store: one, other, _rest: Box::new((server, watching)) })
}

/// Fails a test that would otherwise hang.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it should have happened by now")
}

/// Until it answers again.
pub(crate) async fn answering<T>(mut ask: impl AsyncFnMut() -> Result<T, Fault>) -> T {
    soon(async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(fault) => assert_eq!(fault.code, Code::Unavailable, "{fault}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// Runs each named suite function on what memory and Redis keep, as the suite's functions of these names give it.
macro_rules! on_memory_and_redis {
    ($($name:ident),* $(,)?) => {
        mod on_memory { $(#[tokio::test] async fn $name() { super::$name(super::memory()).await; })* }
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(kit) = super::redis() else { return };
                super::$name(kit).await;
            })*
        }
    };
}
pub(crate) use on_memory_and_redis;

/// Runs each named suite function on every backend.
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        crate::kit::in_memory_and_files!($($name),*);
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(kit) = crate::kit::postgres().await else { return };
                super::$name(kit).await;
            })*
        }
    };
}
pub(crate) use on_every_backend;

/// Runs each named suite function on everything that keeps what registry, locks and elections are made of.
macro_rules! on_everything_that_keeps_entries {
    ($($name:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test] async fn $name() { super::$name(crate::kit::memory().await.into()).await; })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::kit::sqlite().await.into()).await; })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(kit) = crate::kit::postgres().await else { return };
                super::$name(kit.into()).await;
            })*
        }
        mod on_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(kit) = crate::kit::etcd().await else { return };
                super::$name(kit).await;
            })*
        }
    };
}
pub(crate) use on_everything_that_keeps_entries;

/// Runs each named suite function on what keeps things in memory and in files.
macro_rules! in_memory_and_files {
    ($($name:ident),* $(,)?) => {
        mod on_memory { $(#[tokio::test] async fn $name() { super::$name(crate::kit::memory().await).await; })* }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::kit::sqlite().await).await; })*
        }
    };
}
pub(crate) use in_memory_and_files;
