//! Killed between every two steps and started again: sent exactly once.
//!
//! The child is this test's own binary, told by its environment what to do: it submits one intent and stops for ever at one step, where it
//! is killed with no warning. A second child then goes on from what the first left in the store's journal.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kernel::chain::{Data, Sender, Verdict};
use kernel::fake::{MemoryBus, MemoryStore};
use kernel::intents::{Engine, Gate, Intent, Parts, Policy, Purpose, State};
use kernel::metrics::Metrics;
use kernel::signal::Nudge;
use kernel::store::{Change, Entries, Entry, Store, Write};
use kernel::{Clock, Result, Secret, Tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Desk, TestGate, deposit, desk};
use crate::{Config, Places, sandbox_signer};

/// The steps of a submission, in order: before and after each commit, the gate's last word, before and after the sending.
const STEPS: [&str; 10] = [
    "before commit 1",
    "after commit 1",
    "before commit 2",
    "after commit 2",
    "gate",
    "before send",
    "after send",
    "before commit 3",
    "after commit 3",
    "never",
];

/// Stops for ever at one step.
struct Steps {
    stop_at: String,
    commits: AtomicUsize,
}

impl Steps {
    async fn at(&self, step: &str) {
        if step == self.stop_at {
            stopped();
            std::future::pending::<()>().await;
        }
    }
}

fn stopped() {
    let mut out = std::io::stdout().lock();
    out.write_all(b"\nSTOPPED\n").unwrap();
    out.flush().unwrap();
}

/// A store whose commits are in a file before they count.
struct Journal {
    memory: MemoryStore,
    file: Mutex<File>,
    steps: Arc<Steps>,
}

impl Journal {
    async fn open(path: &Path, steps: Arc<Steps>) -> Self {
        let memory = MemoryStore::new(Clock::system());
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            let writes: Vec<(String, String, Option<String>)> = serde_json::from_str(line).unwrap();
            let write = |(space, key, value): (String, String, Option<String>)| match value {
                Some(value) => Write::put(&space, &key, value),
                None => Write::delete(&space, &key),
            };
            memory.commit(writes.into_iter().map(write).collect()).await.unwrap();
        }
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self { memory, file: Mutex::new(file), steps }
    }
}

#[async_trait]
impl Entries for Journal {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>> {
        self.memory.get(space, key).await
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.memory.list(space, prefix, after, limit).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        let number = self.steps.commits.fetch_add(1, Ordering::Relaxed) + 1;
        self.steps.at(&format!("before commit {number}")).await;
        let kept: Vec<_> =
            writes.iter().map(|write| (write.space.clone(), write.key.clone(), write.value.clone())).collect();
        let revision = self.memory.commit(writes).await?;
        writeln!(self.file.lock(), "{}", json!(kept)).unwrap();
        self.steps.at(&format!("after commit {number}")).await;
        Ok(revision)
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.memory.changed(spaces)
    }
}

#[async_trait]
impl Store for Journal {
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        self.memory.changes(space, prefix, revision, limit).await
    }
}

struct StopSender {
    inner: crate::Node,
    steps: Arc<Steps>,
}

#[async_trait]
impl Sender for StopSender {
    async fn send(&self, raw: &Data) -> Result<Verdict> {
        self.steps.at("before send").await;
        let verdict = self.inner.send(raw).await;
        self.steps.at("after send").await;
        verdict
    }
}

struct StopGate(TestGate, Arc<Steps>);

#[async_trait]
impl Gate for StopGate {
    async fn admit(&self, intent: &Intent, simulation: &kernel::chain::Simulation) -> Result<Vec<Write>> {
        self.0.admit(intent, simulation).await
    }

    async fn allow(&self, intent: &Intent, purpose: Purpose) -> Result<()> {
        self.1.at("gate").await;
        self.0.allow(intent, purpose).await
    }

    async fn change(&self, was: &Intent, now: &Intent) -> Result<Vec<Write>> {
        self.0.change(was, now).await
    }
}

/// Not a test of its own: what a child does, and nothing where nobody says what.
#[tokio::test]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "a child has no other way to be told")]
    let Some(told) = std::env::var_os("FLOTILLA_TEST_CHILD") else { return };
    let told: Value = serde_json::from_str(told.to_str().unwrap()).unwrap();
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let steps = Arc::new(Steps { stop_at: text("stop_at"), commits: AtomicUsize::new(0) });
    let folder = PathBuf::from(text("folder"));
    let places = Places { endpoints: vec![Secret::new(text("url"))], tools: folder.clone(), data: folder.clone() };
    let bus = Arc::new(MemoryBus::new(Clock::system()));
    let parts =
        crate::Parts { clock: Clock::system(), tasks: Tasks::new(), metrics: Metrics::default(), bus: bus.clone() };
    let node = crate::open_node(&Config::default(), &places, &parts).unwrap();
    let signer = sandbox_signer().unwrap();
    let engine = Engine::new(Parts {
        store: Arc::new(Journal::open(&folder.join("journal"), Arc::clone(&steps)).await),
        bus,
        clock: Clock::system(),
        chain: Arc::new(node.clone()),
        chain_id: 31_337,
        realm: String::new(),
        sender: Arc::new(StopSender { inner: node, steps: Arc::clone(&steps) }),
        relay: None,
        wallet: signer.address(),
        signer: Some(signer),
        gate: Arc::new(StopGate(TestGate::default(), steps)),
        policy: Policy { confirmations: 1, takeover_ms: 0, ..Policy::default() },
    })
    .unwrap();
    engine.reconcile().await.unwrap();
    engine.submit(deposit(text("weth").parse().unwrap(), "only", 5)).await.unwrap();
    while engine.get("only").await.unwrap().is_open() {
        engine.reconcile().await.unwrap();
    }
    assert_eq!(engine.get("only").await.unwrap().state, State::Settled);
}

/// Starts a child. Returns whether it came to an end by itself; one that stops is killed.
async fn run(desk: &Desk, folder: &Path, stop_at: &str) -> bool {
    let url = format!("http://{}", desk.sandbox.node.rpc.endpoints()[0].endpoint);
    let told = json!({ "stop_at": stop_at, "folder": folder, "url": url, "weth": desk.weth });
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::intents::crash::child", "--nocapture"])
        .env("FLOTILLA_TEST_CHILD", told.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line == "STOPPED" {
            child.kill().await.unwrap();
            return false;
        }
    }
    assert!(child.wait().await.unwrap().success(), "the child failed by itself");
    true
}

#[tokio::test]
async fn killed_at_any_step_and_started_again_it_is_sent_exactly_once() {
    let Some(desk) = desk().await else { return };
    for (number, step) in STEPS.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let ended = run(&desk, folder.path(), step).await;
        assert_eq!(ended, *step == "never", "{step}");
        // Killed a second time at the last step that a restart may come to, for good measure, then left alone.
        if !ended {
            run(&desk, folder.path(), "after send").await;
            assert!(run(&desk, folder.path(), "never").await);
        }
        let times = number as u64 + 1;
        assert_eq!(desk.done().await, ((5 * times).into(), times), "{step}");
    }
}
