//! Several processes on one data folder: this test binary starts itself again and again.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kernel::bus::{NewEvent, READ_MAX};
use kernel::logs::{LogQuery, Logs};
use kernel::store::{Expect, Write};
use kernel::{Clock, Code};
use serde_json::json;

use crate::audit::record;
use crate::kit;

/// How often each process does each thing.
const EACH: u64 = 60;
/// What a child says when it is at work.
pub(crate) const AT_WORK: &str = "child at work";

/// What a child does, told on its standard input; without one (an ignored test run by hand) it does nothing.
#[tokio::test]
#[ignore = "started by the tests below"]
async fn child() {
    let mut order = String::new();
    std::io::stdin().lock().read_line(&mut order).unwrap();
    match order.trim_end().split_once(' ') {
        Some(("work", folder)) => work(Path::new(folder)).await,
        Some(("append", folder)) => append_forever(Path::new(folder)).await,
        Some(("tasks", folder)) => crate::queue::work_until_done(Path::new(folder)).await,
        Some(("hold", folder)) => crate::queue::hold(Path::new(folder)).await,
        Some(("workflow", folder)) => crate::workflows::go_on(Path::new(folder)).await,
        _ => {}
    }
}

#[expect(clippy::print_stdout, reason = "the parent waits for it")]
pub(crate) fn say_at_work() {
    println!("\n{AT_WORK}");
    std::io::stdout().flush().unwrap();
}

async fn work(folder: &Path) {
    let ports = kit::open(folder, Clock::system()).await;
    let logs = kit::open_logs(folder, &Clock::system()).await;
    say_at_work();
    for n in 0..EACH {
        add_one(&ports.store).await;
        ports.bus.publish(NewEvent::fleet("test.happened", "child", json!(n))).await.unwrap();
        ports.audit.append(&[record(n), record(n + 1)]).await.unwrap();
        logs.append(&[crate::logs::line("from a process"), crate::logs::line("and its second")]).await.unwrap();
    }
}

async fn add_one(store: &std::sync::Arc<dyn kernel::store::Store>) {
    loop {
        let entry = store.get("s", "n").await.unwrap();
        let (value, expect) = match &entry {
            Some(entry) => (entry.value.parse::<u64>().unwrap(), Expect::Revision(entry.revision)),
            None => (0, Expect::Absent),
        };
        match store.commit(vec![Write::put("s", "n", (value + 1).to_string()).expecting(expect)]).await {
            Ok(_) => return,
            Err(fault) if fault.code == Code::Conflict => {}
            Err(fault) => panic!("{fault}"),
        }
    }
}

async fn append_forever(folder: &Path) {
    let ports = kit::open(folder, Clock::system()).await;
    let records: Vec<_> = (0..300).map(record).collect();
    ports.audit.append(&records).await.unwrap();
    say_at_work();
    loop {
        ports.audit.append(&records).await.unwrap();
    }
}

/// Starts this binary as a child with an order.
pub(crate) fn start(order: &str, folder: &Path) -> Child {
    let program: PathBuf = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args(["processes::child", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{order} {}", folder.display()).unwrap();
    child
}

/// Waits until the child is at work, then reads on so that it never blocks on its output.
pub(crate) fn until_at_work(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.is_ok_and(|line| line == AT_WORK)), "the child never came to work");
    std::thread::spawn(move || lines.for_each(drop));
}

/// Stops the child where it is; it stands still when this returns, or it had ended: then false.
#[expect(unsafe_code, reason = "signals have no safe form in std")]
pub(crate) fn pause(child: &Child) -> bool {
    let pid = child.id();
    // SAFETY: a signal's report is numbers alone, for which zeros are a value.
    let mut report: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // Not reaped here: whoever started it waits for it.
    let flags = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: `kill` takes numbers alone, `waitid` writes to `report`, which outlives it.
    let done = unsafe {
        libc::kill(pid.cast_signed(), libc::SIGSTOP) == 0 && libc::waitid(libc::P_PID, pid, &raw mut report, flags) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
    report.si_code == libc::CLD_STOPPED
}

/// Lets a paused child go on.
#[expect(unsafe_code, reason = "signals have no safe form in std")]
pub(crate) fn go_on(child: &Child) {
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGCONT) }, 0);
}

#[tokio::test]
async fn processes_share_one_folder() {
    share(&tempfile::tempdir().unwrap()).await;
}

#[tokio::test]
async fn processes_share_one_postgres() {
    let Some(folder) = kit::postgres_folder() else { return };
    share(&folder).await;
}

async fn share(folder: &tempfile::TempDir) {
    let mut children = [start("work", folder.path()), start("work", folder.path())];
    // This process works as well, and opens the new folder at the same time as they do.
    let (own, other) = tokio::join!(work(folder.path()), work(folder.path()));
    let ((), ()) = (own, other);
    for child in &mut children {
        until_at_work(child);
        assert!(child.wait().unwrap().success());
    }
    let ports = kit::open(folder.path(), Clock::system()).await;
    let workers = 4;
    assert_eq!(ports.store.get("s", "n").await.unwrap().unwrap().value, (workers * EACH).to_string());
    let events = ports.bus.read("fleet", 0, READ_MAX).await.unwrap();
    assert!(events.iter().map(|event| event.seq).eq(1..=workers * EACH), "no gap, no double");
    let verdict = ports.audit.verify().await.unwrap();
    assert_eq!((verdict.rows, verdict.broken_at), (workers * EACH * 2, None), "{verdict:?}");
    let logs = kit::open_logs(folder.path(), &Clock::system()).await;
    let lines = logs.search(LogQuery { limit: 1_000, after_seq: Some(0), ..LogQuery::default() }).await.unwrap();
    assert_eq!(lines.len() as u64, workers * EACH * 2);
    assert!(lines.is_sorted_by(|a, b| a.seq < b.seq));
}

#[tokio::test]
async fn a_process_killed_while_appending_leaves_a_chain_that_verifies() {
    killed_while_appending(&tempfile::tempdir().unwrap()).await;
}

#[tokio::test]
async fn a_process_killed_while_appending_to_postgres_leaves_a_chain_that_verifies() {
    let Some(folder) = kit::postgres_folder() else { return };
    killed_while_appending(&folder).await;
}

async fn killed_while_appending(folder: &tempfile::TempDir) {
    let mut before = 0;
    for _ in 0..4 {
        let mut child = start("append", folder.path());
        until_at_work(&mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        let ports = kit::open(folder.path(), Clock::system()).await;
        let verdict = ports.audit.verify().await.unwrap();
        assert_eq!(verdict.broken_at, None, "{verdict:?}");
        assert!(verdict.rows > before && verdict.rows.is_multiple_of(300), "whole batches only: {verdict:?}");
        before = verdict.rows;
    }
}
