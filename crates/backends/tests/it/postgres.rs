//! What only holds for the server: it dies and comes back, refuses, and is told apart.

use std::time::{Duration, Instant};

use backends::postgres::{Place, open};
use backends::sqlite::Config;
use kernel::audit::Recorder;
use kernel::queue::{NewTask, QUEUE_TYPES_MAX};
use kernel::store::Write;
use kernel::{Caller, Clock, Code, Fault, Role, Tasks};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::audit::record;
use crate::kit::{START_MS, answering, open as open_folder, open_with, postgres_folder, soon};
use crate::processes::{start, until_at_work};
use crate::queue::{all_ended, prove, submit_all};
use crate::server::{self, Own};

async fn refusal(url: &str, password: Option<&str>) -> Fault {
    match open(&Config::default(), Place { url, password }, Clock::manual(START_MS)).await {
        Ok(_) => panic!("it should not have opened"),
        Err(fault) => fault,
    }
}

/// Does to the server what somebody with a database tool could.
pub(crate) async fn tamper(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
}

/// What a server of a test's own has said.
fn said(url: &str) -> String {
    let socket = url.split(['@', '/']).nth(3).unwrap().replace("%2F", "/");
    std::fs::read_to_string(format!("{socket}/../data/log")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_is_found_again() {
    const ROWS: u64 = 400;
    const EACH: u64 = 490;
    let Some((server, url)) = Own::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("database_url"), &url).unwrap();
    let ports = open_with(folder.path(), 10_000, Clock::system()).await;
    let tasks = Tasks::new();
    let recorder = Recorder::start(ports.audit.clone(), &tasks);
    let queue = &*ports.queue;
    // Workers go on as long as something is to be done, and this one is for later.
    let later = NewTask::new("q", "free", json!({ "n": 1 }), &Caller::new("ann", Role::Operator));
    let last = queue.submit(vec![later.at(Clock::system().now_ms() + 3_600_000)]).await.unwrap()[0].id;
    let mut workers = [start("tasks", folder.path()), start("tasks", folder.path())];
    workers.iter_mut().for_each(until_at_work);
    for round in 0..3 {
        answering(async || queue.counts().await).await;
        submit_all(queue, round * EACH..(round + 1) * EACH).await;
        for row in 0..ROWS / 4 {
            recorder.record(record(round * ROWS / 4 + row)).await.unwrap();
        }
        let kept =
            answering(async || ports.store.commit(vec![Write::put("s", "round", round.to_string())]).await).await;
        server.kill();
        let began = Instant::now();
        let fault = loop {
            match ports.store.get("s", "round").await {
                // An answer may still be on its way.
                Ok(_) => assert!(began.elapsed() < Duration::from_secs(20), "it is dead"),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.code, Code::Unavailable, "{fault}");
        assert!(fault.message.starts_with("PostgreSQL at "), "{fault}");
        let began = Instant::now();
        ports.store.get("s", "round").await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5), "nobody waits for what is known to be away");
        server.again().unwrap();
        let entry = answering(async || ports.store.get("s", "round").await).await.unwrap();
        assert_eq!((entry.value, entry.revision), (round.to_string(), kept), "what was said to be kept is");
    }
    for row in 0..ROWS / 4 {
        recorder.record(record(3 * ROWS / 4 + row)).await.unwrap();
    }
    queue.retry(last).await.unwrap();
    while !all_ended(queue).await {
        tokio::time::timeout(Duration::from_millis(50), queue.claimable()).await.ok();
    }
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success(), "it went on by itself");
    }
    prove(queue, 3 * EACH + 1, 0).await;
    soon(recorder.flush()).await;
    let verdict = ports.audit.verify().await.unwrap();
    assert_eq!((verdict.rows, verdict.broken_at), (ROWS, None), "none lost, none twice: {verdict:?}");
}

#[tokio::test]
async fn a_server_that_refuses_says_why_and_shows_no_secret() {
    let Some((server, url)) = Own::start() else { return };
    tamper(&url, "CREATE ROLE locked LOGIN PASSWORD 'open sesame'").await;
    tamper(&url, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await;
    let in_database = |name: &str| format!("{}{name}", url.strip_suffix("flotilla").unwrap());
    let as_locked = |login: &str| url.replace("flotilla@", &format!("{login}@"));
    for (url, password, code, part) in [
        (as_locked("locked:hunter2"), None, Code::NotConfigured, "refuses the login"),
        (as_locked("locked"), Some("hunter2"), Code::NotConfigured, "refuses the login"),
        (as_locked("locked:hunter2"), Some("open sesame"), Code::NotConfigured, "refuses the login"),
        (as_locked("locked"), Some("open sesame"), Code::NotConfigured, "does not allow it"),
        (in_database("other"), None, Code::NotConfigured, "has no such database"),
        (in_database("latin"), None, Code::Unsupported, "encoding is LATIN1"),
        ("mysql://root:hunter2@localhost/x".into(), None, Code::InvalidArgument, "is not PostgreSQL's"),
        ("postgres://root:hunter2@localhost:port/x".into(), None, Code::InvalidArgument, "cannot be read"),
    ] {
        let fault = refusal(&url, password).await;
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(part), "{fault}");
        assert!(fault.hint.is_some() && !fault.to_string().contains("hunter2"), "{fault}");
    }
    let ports = open(&Config::default(), Place { url: &url, password: None }, Clock::manual(START_MS)).await.unwrap();
    assert!(ports.about.starts_with("PostgreSQL 1") && ports.about.ends_with("/socket/flotilla"), "{}", ports.about);
    ports.close().await;
    assert_eq!(ports.store.get("s", "k").await.unwrap_err().code, Code::Unavailable);
    tamper(&url, "INSERT INTO schema_versions VALUES (99, 0)").await;
    let fault = refusal(&url, None).await;
    assert!(fault.code == Code::Unsupported && fault.message.contains("schema is version 99"), "{fault}");
    assert_eq!(Place { url: &url, password: None }.look().await.unwrap(), ports.about.split(" at ").nth(1).unwrap());
    server.kill();
    let began = Instant::now();
    assert_eq!(Place { url: &url, password: None }.look().await.unwrap_err().code, Code::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
pub(crate) async fn tampering_with_the_trail_on_the_server_names_the_row() {
    for (statements, row, reason) in [
        ("UPDATE audit SET outcome = 'ok' WHERE seq = 20", 20, "row 20 was changed, or stands in another's place"),
        ("DELETE FROM audit WHERE seq = 10", 10, "row 10 is missing: row 11 follows"),
        ("DELETE FROM audit WHERE seq > 25", 26, "row 26 is missing: the trail was cut, it had 30 rows"),
        ("UPDATE audit_head SET hash = 'x'", 30, "row 30 is not the head that was noted"),
    ] {
        let Some(folder) = postgres_folder() else { return };
        let ports = open_folder(folder.path(), Clock::manual(START_MS)).await;
        ports.audit.append(&(1..=30).map(record).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(ports.audit.verify().await.unwrap().broken_at, None);
        let url = std::fs::read_to_string(folder.path().join("database_url")).unwrap();
        tamper(&url, statements).await;
        let verdict = ports.audit.verify().await.unwrap();
        assert_eq!((verdict.broken_at, verdict.reason.as_deref()), (Some(row), Some(reason)), "{statements}");
    }
}

#[tokio::test]
async fn fleets_in_schemas_of_one_database_do_not_meet() {
    let (Some(one), Some(two)) = (server::schema(), server::schema()) else { return };
    let mut fleets = Vec::new();
    for url in [&one, &two] {
        let place = Place { url, password: None };
        fleets.push(open(&Config::default(), place, Clock::manual(START_MS)).await.unwrap());
    }
    for fleet in &fleets {
        assert_eq!(fleet.store.commit(vec![Write::put("s", "k", "v")]).await.unwrap(), 1, "its own revisions");
    }
    // A lock of one is none of the other.
    let mut held = PgConnection::connect(&one).await.unwrap();
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('flotilla ' || current_schema()), 1)";
    sqlx::raw_sql(lock).execute(&mut held).await.unwrap();
    assert_eq!(soon(fleets[1].store.commit(vec![Write::put("s", "k", "v")])).await.unwrap(), 2);
    let waits = fleets[0].store.commit(vec![Write::put("s", "k", "v")]);
    let frees = async { sqlx::raw_sql("COMMIT").execute(&mut held).await.unwrap() };
    let (waited, _) = soon(async { tokio::join!(waits, frees) }).await;
    assert_eq!(waited.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_in_the_middle_leave_no_lock_behind() {
    let Some(folder) = postgres_folder() else { return };
    let ports = open_folder(folder.path(), Clock::manual(START_MS)).await;
    for round in 0..100u32 {
        let commit = ports.store.commit(vec![Write::put("s", "k", round.to_string())]);
        // Each is dropped after another number of steps.
        let yields = async {
            for _ in 0..round % 25 * 4 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = commit => {}
            () = yields => {}
        }
    }
    let revision = soon(ports.store.commit(vec![Write::put("s", "k", "last")])).await.unwrap();
    let other = open_folder(folder.path(), Clock::manual(START_MS)).await;
    assert_eq!(soon(other.store.commit(vec![Write::put("s", "k", "other")])).await.unwrap(), revision + 1);
    assert_eq!(soon(ports.store.get("s", "k")).await.unwrap().unwrap().value, "other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_or_fails_in_a_transaction_leaves_nothing_of_it() {
    let Some((server, url)) = Own::start() else { return };
    let place = Place { url: &url, password: None };
    let ports = open(&Config::default(), place, Clock::manual(START_MS)).await.unwrap();
    let both = |value: String| vec![Write::put("s", "a", value.clone()), Write::put("s", "b", value)];
    ports.store.commit(both("first".into())).await.unwrap();
    // More of them at once than there are connections, each left after another number of steps, among callers who stay.
    let rounds = (0..200u32).map(|round| {
        let commit = ports.store.commit(both(round.to_string()));
        async move {
            let yields = async {
                for _ in 0..round % 40 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                done = commit => done.map(drop),
                () = yields => Ok(()),
            }
        }
    });
    soon(futures_util::future::try_join_all(rounds)).await.unwrap();
    let pair = async || {
        let entries = ports.store.list("s", "", None, 10).await.unwrap();
        entries.into_iter().map(|entry| entry.value).collect::<Vec<_>>()
    };
    let left = soon(pair()).await;
    assert!(left.len() == 2 && left[0] == left[1], "all of a commit or nothing: {left:?}");
    // The server takes the first row and refuses the last.
    let typed = |n: usize| NewTask::new("q", &format!("t{n}"), json!({}), &Caller::new("ann", Role::Operator));
    for some in (0..QUEUE_TYPES_MAX).collect::<Vec<_>>().chunks(128) {
        ports.queue.submit(some.iter().map(|n| typed(*n)).collect()).await.unwrap();
    }
    for _ in 0..20 {
        let refused = soon(ports.queue.submit(vec![typed(0), typed(999)])).await.map(drop);
        assert_eq!(refused.unwrap_err().code, Code::TooLarge);
    }
    assert_eq!(soon(ports.queue.submit(vec![typed(0)])).await.unwrap().len(), 1);
    let waiting: u64 = soon(ports.queue.counts()).await.unwrap().iter().map(|counts| counts.queued).sum();
    assert_eq!(waiting, QUEUE_TYPES_MAX as u64 + 1);
    for round in 0..20 {
        soon(ports.store.commit(both(format!("after {round}")))).await.unwrap();
    }
    assert_eq!(soon(pair()).await, ["after 19", "after 19"]);
    ports.close().await;
    let log = said(&url);
    drop(server);
    for trouble in ["already a transaction", "transaction is aborted", "no transaction in progress"] {
        assert!(!log.contains(trouble), "{log}");
    }
}
