//! A backup of a fleet on either database, put back as either: the same fleet.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backends::Database;
use backends::backup::{Kept, check, create, restore, restore_verified};
use backends::postgres::Place;
use backends::sqlite::Config;
use kernel::audit::AuditQuery;
use kernel::bus::NewEvent;
use kernel::queue::{Claim, Filter, NewTask, Task, TaskId};
use kernel::store::{Change, Write};
use kernel::{Caller, Clock, Code, Role};
use serde_json::{Value, json};

use crate::audit::record;
use crate::kit::{START_MS, open, soon};
use crate::postgres::tamper;
use crate::queue::{done, end};
use crate::server;

/// Where a fleet keeps its things: a folder, and perhaps a database.
struct Home {
    folder: tempfile::TempDir,
    url: Option<String>,
}

impl Home {
    fn in_files() -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap(), url: None })
    }

    /// Nothing where PostgreSQL is not installed, which is said.
    fn on_postgres() -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap(), url: Some(server::schema()?) })
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn kept<'a>(&'a self, data: &'a Path) -> Kept<'a> {
        Kept { data, postgres: self.url.as_deref().map(|url| Place { url, password: None }) }
    }

    async fn open(&self, clock: &Clock) -> Database {
        let place = self.url.as_deref().map(|url| Place { url, password: None });
        std::fs::create_dir_all(self.data()).unwrap();
        backends::open(&Config::default(), place, &self.data(), clock.clone()).await.unwrap()
    }
}

fn task(n: u64) -> NewTask {
    NewTask::new("q", "t", json!({ "n": n }), &Caller::new("ann", Role::Operator))
}

async fn claim(ports: &Database) -> Task {
    let claim = Claim { queue: "q".into(), types: vec!["t".into()], limit: 1, lease_ms: 60_000, worker: "w".into() };
    ports.queue.claim(&claim).await.unwrap().tasks.remove(0)
}

/// Of every table something, the large and the gone too.
async fn fill(ports: &Database, clock: &Clock) {
    let store = &ports.store;
    for page in 0..3 {
        let writes = (0..100).map(|n| Write::put("s", &format!("é{page}/{n:03}"), format!("{n} 🐟 'quoted'")));
        store.commit(writes.collect()).await.unwrap();
    }
    store.commit(vec![Write::put("s", "large", "x".repeat(1 << 20))]).await.unwrap();
    store.commit(vec![Write::put("s", "gone", "v")]).await.unwrap();
    store.commit(vec![Write::delete("s", "gone")]).await.unwrap();
    for n in 0..70 {
        ports.bus.publish(NewEvent::fleet("k", "s", json!({ "n": n }))).await.unwrap();
    }
    ports.audit.append(&(1..=100).map(record).collect::<Vec<_>>()).await.unwrap();
    ports.queue.submit((0..40).map(task).collect()).await.unwrap();
    let last = ports.queue.submit(vec![task(99).at(START_MS + 60_000)]).await.unwrap()[0].id;
    ports.queue.cancel(last).await.unwrap();
    clock.advance_ms(1);
    assert_eq!(ports.queue.purge(&Filter::default(), clock.now_ms(), 10).await.unwrap(), 1, "its number stays taken");
    let held = claim(ports).await;
    end(&ports.queue, &held, done(json!("well"))).await.unwrap();
    claim(ports).await;
}

/// All that can be seen of it.
async fn seen(ports: &Database) -> Value {
    let changes: Vec<Change> = ports.store.changes("s", "", 0, 1_000).await.unwrap();
    let changes: Vec<_> = changes.into_iter().map(|change| (change.key, change.value, change.revision)).collect();
    let events = ports.bus.read("fleet", 0, 500).await.unwrap();
    let trail = ports.audit.list(AuditQuery { limit: 500, ..AuditQuery::default() }).await.unwrap();
    let trail: Vec<_> = trail.into_iter().map(|row| (row.seq, row.record.arguments, row.hash)).collect();
    let tasks = ports.queue.list(&Filter::default(), None, 200).await.unwrap();
    json!({ "changes": changes, "events": events, "trail": trail, "tasks": tasks, "counts": ports.queue.counts().await.unwrap() })
}

/// It goes on where it was: numbers and turns follow on those of then.
async fn goes_on(ports: &Database) {
    let revision = ports.store.commit(vec![Write::put("s", "next", "v")]).await.unwrap();
    assert_eq!(revision, 7);
    assert_eq!(ports.bus.publish(NewEvent::fleet("k", "s", json!({}))).await.unwrap(), 71);
    let id = ports.queue.submit(vec![task(100)]).await.unwrap()[0].id;
    assert_eq!(id, TaskId(42));
    ports.audit.append(&[record(101)]).await.unwrap();
    let verdict = ports.audit.verify().await.unwrap();
    assert_eq!((verdict.rows, verdict.broken_at), (101, None));
    let next = claim(ports).await;
    assert_eq!(next.payload["n"], 2, "the next in turn");
}

async fn is_the_same_fleet(from: Option<Home>, to: Option<Home>) {
    let (Some(from), Some(to)) = (from, to) else { return };
    let clock = Clock::manual(START_MS);
    let ports = from.open(&clock).await;
    fill(&ports, &clock).await;
    std::fs::write(from.data().join("pools.json"), "[]").unwrap();
    std::fs::write(from.data().join("flotilla.toml"), "").unwrap();
    let (backup, had) = (from.folder.path().join("one.backup"), seen(&ports).await);
    let data = from.data();
    let manifest = create(from.kept(&data), &backup, "1.2.3", &clock).await.unwrap();
    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["flotilla.db", "pools.json"]);
    ports.close().await;
    assert_eq!(check(&backup).await.unwrap(), manifest);
    let data = to.data();
    let (again, rows) = restore_verified(&backup, to.kept(&data), &Config::default(), clock.clone()).await.unwrap();
    assert_eq!((again, rows), (manifest, 100));
    assert_eq!(data.join("flotilla.db").exists(), to.url.is_none());
    assert!(data.join("pools.json").exists() && !data.join("open.lock").exists() || to.url.is_none());
    let ports = to.open(&clock).await;
    assert_eq!(seen(&ports).await, had);
    goes_on(&ports).await;
    ports.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_files_to_files() {
    is_the_same_fleet(Home::in_files(), Home::in_files()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_files_to_postgres() {
    is_the_same_fleet(Home::in_files(), Home::on_postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgres_to_files() {
    is_the_same_fleet(Home::on_postgres(), Home::in_files()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgres_to_postgres() {
    is_the_same_fleet(Home::on_postgres(), Home::on_postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_taken_under_load_is_of_one_moment() {
    let (Some(from), Some(to)) = (Home::on_postgres(), Home::on_postgres()) else { return };
    let clock = Clock::manual(START_MS);
    let ports = from.open(&clock).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Each round writes the same number in several places, so what is of two moments shows.
    let writing = {
        let (ports, stop) = (ports.clone(), Arc::clone(&stop));
        async move {
            let mut round = 0u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let write = |key: &str| Write::put("s", key, round.to_string());
                ports.store.commit((0..64).map(|n| write(&format!("{n:02}"))).collect()).await.unwrap();
                ports.audit.append(&[record(round)]).await.unwrap();
                ports.queue.submit(vec![task(round)]).await.unwrap();
            }
            round
        }
    };
    let backup = from.folder.path().join("one.backup");
    let data = from.data();
    let making = async {
        while ports.audit.verify().await.unwrap().rows < 20 {
            tokio::task::yield_now().await;
        }
        let before = ports.store.get("s", "00").await.unwrap().unwrap().value;
        create(from.kept(&data), &backup, "1.2.3", &clock).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        before.parse::<u64>().unwrap()
    };
    let (rounds, before) = soon(async { tokio::join!(writing, making) }).await;
    let data = to.data();
    let (_, rows) = restore_verified(&backup, to.kept(&data), &Config::default(), clock.clone()).await.unwrap();
    let ports = to.open(&clock).await;
    let entries = ports.store.list("s", "", None, 100).await.unwrap();
    let round: u64 = entries[0].value.parse().unwrap();
    assert!(entries.len() == 64 && entries.iter().all(|entry| entry.value == entries[0].value), "{entries:?}");
    assert!((before..=rounds).contains(&round), "{before} {round} {rounds}");
    assert!(round == rows || round == rows + 1, "the trail is of the same moment: {round} {rows}");
    let queued = ports.queue.counts().await.unwrap()[0].queued;
    assert!(queued == rows || queued + 1 == rows, "and the queue: {queued} {rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_empty_or_not_a_fleets_stays_as_it_is() {
    let (Some(from), Some(full), Some(new)) = (Home::on_postgres(), Home::on_postgres(), Home::on_postgres()) else {
        return;
    };
    let clock = Clock::manual(START_MS);
    let backup = from.folder.path().join("one.backup");
    // A database that no fleet has used is none to back up, and is not made one.
    std::fs::create_dir_all(from.data()).unwrap();
    let data = from.data();
    for _ in 0..2 {
        let refused = create(from.kept(&data), &backup, "1.2.3", &clock).await.unwrap_err();
        assert!(refused.code == Code::Unsupported && !backup.exists(), "{refused}");
    }
    let ports = from.open(&clock).await;
    fill(&ports, &clock).await;
    create(from.kept(&data), &backup, "1.2.3", &clock).await.unwrap();
    ports.close().await;
    let ports = full.open(&clock).await;
    ports.store.commit(vec![Write::put("mine", "k", "v")]).await.unwrap();
    std::fs::remove_dir_all(full.data()).unwrap();
    let data = full.data();
    let refused = restore(&backup, full.kept(&data), &clock).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains("is not empty: it has entries"), "{refused}");
    assert!(!data.exists(), "nothing is left: {data:?}");
    assert_eq!(ports.store.get("mine", "k").await.unwrap().unwrap().value, "v");
    assert!(ports.store.list("s", "", None, 10).await.unwrap().is_empty());
    // A folder that has something keeps the database empty.
    let data = new.data();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("mine"), "x").unwrap();
    assert_eq!(restore(&backup, new.kept(&data), &clock).await.unwrap_err().code, Code::Conflict);
    // One that is there and has settings at most, as a container's volume, is filled.
    std::fs::rename(data.join("mine"), data.join("flotilla.toml")).unwrap();
    restore(&backup, new.kept(&data), &clock).await.unwrap();
    let again = restore(&backup, new.kept(&new.folder.path().join("other")), &clock).await.unwrap_err();
    assert!(again.message.contains("has entries, topics, events, audit, tasks"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_that_was_altered_is_told_of_after_restoring() {
    let (Some(from), Some(to)) = (Home::on_postgres(), Home::in_files()) else { return };
    let clock = Clock::manual(START_MS);
    let ports = from.open(&clock).await;
    ports.audit.append(&(1..=30).map(record).collect::<Vec<_>>()).await.unwrap();
    tamper(from.url.as_deref().unwrap(), "UPDATE audit SET outcome = 'ok' WHERE seq = 20").await;
    let (backup, data) = (from.folder.path().join("one.backup"), from.data());
    create(from.kept(&data), &backup, "1.2.3", &clock).await.unwrap();
    let data = to.data();
    let told = restore_verified(&backup, to.kept(&data), &Config::default(), clock.clone()).await.unwrap_err();
    assert!(told.code == Code::Conflict && told.message.contains("row 20"), "{told}");
    assert!(open(&data, clock).await.audit.verify().await.unwrap().broken_at == Some(20));
}
