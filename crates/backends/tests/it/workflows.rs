//! Runs of workflows whose process is killed with `kill -9` at every transition, before it is written down and after: another process goes on,
//! and the run ends the same, with the same effects.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flow::workflow::engine::{Answer, Head, NewRun, Order, Outside};
use flow::workflow::error::Error;
use flow::workflow::history::Effect;
use flow::workflow::{Engine, EngineConfig};
use kernel::bus::READ_MAX;
use kernel::fake::World;
use kernel::signal::Nudge;
use kernel::store::{Change, Entries, Entry, Store, Write};
use kernel::{Caller, Clock, Ports, Result, Role, Tasks};
use serde_json::{Value, json};

use crate::kit;
use crate::processes::{AT_WORK, say_at_work, start};

/// How long a process says it has the run: so long its successor waits.
const LEASE_MS: i64 = 150;
/// How long one process may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Every kind of task that leads out of a walk: calls, a failure that is tried again, a time, an event that is emitted, another run, a
/// question, and at the end a failure, so that what was done is undone.
const WORKFLOW: &str = "
document: { dsl: '1.0.3', namespace: test, name: whole, version: 1.0.0 }
use:
  functions:
    act: { call: mcp, with: { method: tools/call, parameters: { name: srv__act, arguments: '${ . }' } } }
    back: { call: mcp, with: { method: tools/call, parameters: { name: srv__back, arguments: '${ .output }' } } }
do:
- both:
    fork:
      branches:
      - one: { call: act, with: { n: 1 }, undo: [ { back: { call: back, with: { output: '${ .output }' } } } ] }
      - rest: { wait: { milliseconds: 20 } }
- again:
    try: [ { flaky: { call: mcp, with: { method: tools/call, parameters: { name: srv__flaky, arguments: {} } } } } ]
    catch: { retry: { delay: { milliseconds: 20 }, limit: { attempt: { count: 3 } } } }
- tell: { emit: { event: { with: { source: 'https://e.com', type: told, data: { told: true } } } } }
- other: { run: { workflow: { namespace: test, name: inner, version: 1.0.0, input: { deep: true } } } }
- ask: { approve: { title: May it, arguments: { sure: true } }, output: { as: .arguments } }
- last: { call: act, with: { last: '${ . }' }, export: { as: '{ kept: . }' } }
- no: { if: .fails, raise: { error: { type: 'https://e.com/no', status: 400 } } }
";
const INNER: &str = "
document: { dsl: '1.0.3', namespace: test, name: inner, version: 1.0.0 }
do:
- act: { call: mcp, with: { method: tools/call, parameters: { name: srv__act, arguments: '${ . }' } } }
";

/// What is done outside: one line for each, where no kill reaches.
struct Lines(std::path::PathBuf);

#[async_trait]
impl Outside for Lines {
    async fn perform(&self, effect: &Effect, order: &Order) -> std::result::Result<Value, Error> {
        let Effect::Tool { tool, arguments, .. } = effect else { panic!("{effect:?}") };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{} {tool}{arguments}\n", order.key).as_bytes()).unwrap();
        if tool == "flaky" && !order.key.contains("~2") {
            return Err(Error::standard("runtime", 503, "unavailable", "not yet"));
        }
        Ok(json!({ "did": arguments, "fails": arguments["last"].is_object() }))
    }
}

/// A way to the store that ends at a commit: there the process stands still until it is killed.
struct Ends {
    inner: Arc<dyn Store>,
    left: AtomicU32,
    /// Whether that commit is made.
    made: bool,
}

#[async_trait]
impl Entries for Ends {
    async fn get(&self, space: &str, key: &str) -> Result<Option<Entry>> {
        self.inner.get(space, key).await
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.inner.list(space, prefix, after, limit).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            return self.inner.commit(writes).await;
        }
        if self.made {
            self.inner.commit(writes).await?;
        }
        say_at_work();
        loop {
            // The whole process, as far as it runs tasks: it has one thread for them.
            std::thread::park();
        }
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.inner.changed(spaces)
    }
}

#[async_trait]
impl Store for Ends {
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        self.inner.changes(space, prefix, revision, limit).await
    }
}

fn ann() -> Caller {
    Caller::new("ann", Role::Operator)
}

async fn engine(folder: &Path, commits: u32, made: bool) -> (Arc<Engine>, Ports) {
    let sqlite = kit::open(folder, Clock::system()).await;
    let store = Arc::new(Ends { inner: sqlite.store, left: AtomicU32::new(commits), made });
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let ports = Ports { store, bus: sqlite.bus, clock, tasks, ..World::default().ports() };
    let config = EngineConfig { lease_ms: LEASE_MS, ..EngineConfig::default() };
    (Engine::new(&ports, Arc::new(Lines(folder.join("effects"))), config, "0.0.0-test"), ports)
}

/// What a child does: it goes on with the run until that is over, or until the commit at which it is killed.
pub(crate) async fn go_on(folder: &Path) {
    let order = std::fs::read_to_string(folder.join("order")).unwrap();
    let (commits, made) = order.split_once(' ').unwrap();
    let (engine, ports) = engine(folder, commits.parse().unwrap(), made == "made").await;
    engine.start(&ports.tasks);
    let over = async {
        loop {
            let head = engine.settled("run_whole", LIMIT).await.unwrap();
            if head.told {
                break;
            }
            if let Some(asked) = head.questions.first() {
                let (run, hash) = (head.id.clone(), asked.hash.clone());
                // Two processes may both answer: the second one's comes too late.
                engine.answer(Answer { run, step: None, hash, approved: true, comment: None }, &ann()).await.ok();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, over).await.expect("the run should be over by now");
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Ended {
    end: String,
    effects: BTreeSet<String>,
}

/// What a run comes to whose process is killed at this commit; and whether it was, or had nothing to commit any more.
async fn ended(commits: u32, made: bool) -> (Ended, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (starter, ports) = engine(path, u32::MAX, true).await;
    for text in [WORKFLOW, INNER] {
        starter.define(text.into(), &ann()).await.unwrap();
    }
    let (namespace, name) = ("test".into(), "whole".into());
    let id = Some("run_whole".into());
    let run = NewRun { id, namespace, name, version: None, input: json!({}), parent: None, depth: 0 };
    starter.start_run(run, &ann()).await.unwrap();
    let killed = child(path, commits, made).await;
    if killed {
        assert!(!child(path, u32::MAX, true).await, "the second one is left alone");
    }
    let head: Head = starter.run("run_whole").await.unwrap();
    let state = starter.state("run_whole").await.unwrap();
    let end = format!(
        "{} after {} steps, context {}, done {:?}",
        serde_json::to_string(&head.ending).unwrap(),
        head.steps,
        state.context,
        state.done
    );
    let calls = std::fs::read_to_string(path.join("effects")).unwrap();
    let events = ports.bus.read("workflows", 0, READ_MAX).await.unwrap();
    let events = events.iter().map(|event| format!("{} {}", event.data["id"], event.kind));
    (Ended { end, effects: calls.lines().map(str::to_owned).chain(events).collect() }, killed)
}

/// Runs a process to its end, or kills it where it stands still. Tells whether it was killed.
async fn child(folder: &Path, commits: u32, made: bool) -> bool {
    std::fs::write(folder.join("order"), format!("{commits} {}", if made { "made" } else { "lost" })).unwrap();
    let mut child = start("workflow", folder);
    let waiting = move || {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let killed = lines.by_ref().any(|line| line.is_ok_and(|line| line == AT_WORK));
        if killed {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(killed || status.success(), "a process failed: {status}");
        killed
    };
    tokio::task::spawn_blocking(waiting).await.unwrap()
}

/// Kills at every second commit, three at a time, until there is none any more.
async fn kill_at(first: u32, made: bool) {
    let (wanted, _) = ended(u32::MAX, true).await;
    assert!(wanted.end.contains("https://e.com/no") && wanted.effects.len() == 9, "{wanted:#?}");
    let mut commits = first;
    loop {
        let cells = tokio::join!(ended(commits, made), ended(commits + 2, made), ended(commits + 4, made));
        let mut all_killed = true;
        for (place, (cell, killed)) in [cells.0, cells.1, cells.2].into_iter().enumerate() {
            assert_eq!(cell, wanted, "killed at commit {} of {commits}, +2 and +4; made: {made}", place + 1);
            all_killed &= killed;
        }
        if !all_killed {
            break;
        }
        commits += 6;
    }
    assert!(commits > 12, "it ended before commit {commits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_before_a_transition_is_written_ends_the_same_with_the_same_effects() {
    kill_at(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_after_a_transition_is_written_ends_the_same_with_the_same_effects() {
    kill_at(2, true).await;
}
