//! What only holds for the file: tampering shows, versions are kept apart, faults say what to do.

use std::path::Path;

use backends::sqlite::{Config, FILE, Synchronous};
use kernel::audit::Verdict;
use kernel::store::Write;
use kernel::{Clock, Code};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::audit::record;
use crate::kit::{START_MS, open, soon};

/// Does to the file what somebody with a database tool could.
async fn tamper(folder: &Path, statements: &'static str) {
    let mut file = SqliteConnectOptions::new().filename(folder.join(FILE)).connect().await.unwrap();
    sqlx::raw_sql(statements).execute(&mut file).await.unwrap();
}

/// The verdict on 3,000 rows after tampering.
async fn verdict_after(statements: &'static str) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let ports = open(folder.path(), Clock::manual(START_MS)).await;
    let records: Vec<_> = (1..=3_000).map(record).collect();
    ports.audit.append(&records).await.unwrap();
    assert_eq!(ports.audit.verify().await.unwrap().broken_at, None);
    tamper(folder.path(), statements).await;
    ports.audit.verify().await.unwrap()
}

#[tokio::test]
async fn tampering_with_the_trail_names_the_row() {
    for (statements, row, reason) in [
        (
            "UPDATE audit SET outcome = 'ok' WHERE seq = 2500",
            2_500,
            "row 2500 was changed, or stands in another's place",
        ),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 1", 1, "row 1 was changed, or stands in another's place"),
        (
            "UPDATE audit SET took_us = took_us + 1 WHERE seq = 3000",
            3_000,
            "row 3000 was changed, or stands in another's place",
        ),
        ("UPDATE audit SET hash = 'x' WHERE seq = 1000", 1_000, "row 1000 was changed, or stands in another's place"),
        ("UPDATE audit SET at_ms = 'yesterday' WHERE seq = 1001", 1_001, "row 1001 cannot be read"),
        ("UPDATE audit SET caller = CAST(x'ff' AS TEXT) WHERE seq = 7", 7, "row 7 cannot be read"),
        ("DELETE FROM audit WHERE seq = 1000", 1_000, "row 1000 is missing: row 1001 follows"),
        ("DELETE FROM audit WHERE seq > 2990", 2_991, "row 2991 is missing: the trail was cut, it had 3000 rows"),
        ("DELETE FROM audit", 1, "row 1 is missing: the trail was cut, it had 3000 rows"),
        (
            "UPDATE audit SET seq = 0 WHERE seq = 10; UPDATE audit SET seq = 10 WHERE seq = 11; UPDATE audit SET seq = 11 WHERE seq = 0",
            10,
            "row 10 was changed, or stands in another's place",
        ),
        ("UPDATE audit_head SET hash = 'x'", 3_000, "row 3000 is not the head that was noted"),
    ] {
        let verdict = verdict_after(statements).await;
        assert_eq!((verdict.broken_at, verdict.reason.as_deref()), (Some(row), Some(reason)), "{statements}");
    }
}

#[tokio::test]
async fn a_file_from_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), Clock::manual(START_MS)).await.close().await;
    tamper(folder.path(), "INSERT INTO schema_versions VALUES (99, 0)").await;
    let fault = reopen(folder.path()).await;
    assert_eq!(fault.code, Code::Unsupported);
    assert!(fault.to_string().contains("schema is version 99"), "{fault}");
}

async fn reopen(folder: &Path) -> kernel::Fault {
    match backends::sqlite::open(&Config::default(), folder, Clock::manual(START_MS)).await {
        Ok(_) => panic!("it should not have opened"),
        Err(fault) => fault,
    }
}

#[tokio::test]
async fn faults_say_what_is_wrong_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(FILE),
        "this is no database, and long enough to be looked at as if it were one".repeat(20),
    )
    .unwrap();
    let fault = reopen(folder.path()).await;
    assert!(fault.message.contains("is damaged") && fault.hint.unwrap().contains("backup"));
    let fault = reopen(&folder.path().join(FILE).join("below")).await;
    assert_eq!(fault.code, Code::Unavailable);
    assert!(fault.message.contains("cannot make folder"), "{}", fault.message);
}

#[tokio::test]
async fn a_closed_file_answers_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let ports = open(folder.path(), Clock::manual(START_MS)).await;
    ports.close().await;
    assert_eq!(ports.store.get("s", "k").await.unwrap_err().code, Code::Unavailable);
    assert_eq!(ports.audit.append(&[record(1)]).await.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn the_configuration_is_what_it_says() {
    let config: Config = serde_json::from_str(r#"{"synchronous": "full"}"#).unwrap();
    assert_eq!(config, Config { synchronous: Synchronous::Full, ..Config::default() });
    assert!(serde_json::from_str::<Config>(r#"{"sync": "full"}"#).is_err(), "an unknown setting is refused");
    let folder = tempfile::tempdir().unwrap();
    let ports = backends::sqlite::open(&config, folder.path(), Clock::manual(START_MS)).await.unwrap();
    ports.audit.append(&[record(1)]).await.unwrap();
    let none = Config { readers: 0, ..config };
    let refused = backends::sqlite::open(&none, folder.path(), Clock::manual(START_MS)).await.err().unwrap();
    assert_eq!(refused.code, Code::InvalidArgument);
}

#[cfg(unix)]
#[tokio::test]
async fn the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    open(&data, Clock::manual(START_MS)).await;
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_in_the_middle_leave_no_lock_behind() {
    let folder = tempfile::tempdir().unwrap();
    let ports = open(folder.path(), Clock::manual(START_MS)).await;
    for round in 0..300u32 {
        let commit = ports.store.commit(vec![Write::put("s", "k", round.to_string())]);
        // Each is dropped after another number of steps.
        let yields = async {
            for _ in 0..round % 12 {
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
    let other = open(folder.path(), Clock::manual(START_MS)).await;
    assert_eq!(soon(other.store.commit(vec![Write::put("s", "k", "other")])).await.unwrap(), revision + 1);
    assert_eq!(soon(ports.store.get("s", "k")).await.unwrap().unwrap().value, "other");
}
