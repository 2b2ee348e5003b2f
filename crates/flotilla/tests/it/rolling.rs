//! One copy after another is stopped and put back while callers call and tasks come in: nobody notices.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::{Home, LIMIT, Mcp, Process, wait_for};

const FRONT: [&str; 6] = ["serve", "master-coordinator", "monitoring", "logging", "task-management", "--no-sandbox"];
/// What there are two copies of.
const PAIRS: [[&str; 3]; 2] =
    [["serve", "coordination", "--no-sandbox"], ["serve", "agent:monitoring", "--no-sandbox"]];
/// Callers, and people who hand in tasks and wait for them.
const CALLERS: usize = 3;
const CLIENTS: usize = 2;
/// How many calls and tasks must have passed before the next copy is stopped, so that each is stopped under load.
const BETWEEN: u64 = 15;

/// What came through: numbers of calls that were answered, and ids of tasks that were done.
#[derive(Default)]
struct Passed {
    calls: AtomicU64,
    tasks: AtomicU64,
    stop: AtomicBool,
}

impl Passed {
    /// Waits until so much more has passed.
    fn more(&self, calls: u64, tasks: u64) {
        let (had, done) = (self.calls.load(Ordering::Relaxed), self.tasks.load(Ordering::Relaxed));
        wait_for("calls and tasks go on", LIMIT, || {
            let now = (self.calls.load(Ordering::Relaxed), self.tasks.load(Ordering::Relaxed));
            (now.0 >= had + calls && now.1 >= done + tasks).then_some(())
        });
    }
}

/// Publishes one number after another, which is no call to be made twice; answers how many.
fn call(mcp: &Mcp, caller: usize, passed: &Passed) -> u64 {
    for number in 0.. {
        if passed.stop.load(Ordering::Relaxed) {
            return number;
        }
        let said = json!({ "topic": "rolled", "kind": "k", "data": format!("{caller}/{number}") });
        mcp.call("coordination__publish", said).unwrap_or_else(|refused| panic!("{caller}/{number}: {refused}"));
        passed.calls.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("numbers do not end")
}

/// Hands in one task after another and waits for each; answers their ids.
fn work(mcp: &Mcp, passed: &Passed) -> Vec<String> {
    let mut ids = Vec::new();
    while !passed.stop.load(Ordering::Relaxed) {
        let task = json!({ "queue": "monitoring", "task_type": "summary", "payload": {} });
        let task = mcp.call("task-management__submit_task", task).unwrap();
        let id = task["id"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
        wait_for("the task is done", LIMIT, || {
            let task = mcp.call("task-management__get_task", json!({ "id": id })).unwrap();
            let state = task["state"].as_str().unwrap_or_else(|| panic!("{task}"));
            assert!(matches!(state, "queued" | "running" | "delayed" | "done"), "{task}");
            (state == "done").then_some(())
        });
        ids.push(id);
        passed.tasks.fetch_add(1, Ordering::Relaxed);
    }
    ids
}

/// Stops a copy as whoever updates it does, and puts its successor in its place.
fn replace(home: &Home, copy: &mut Process, words: &[&str]) {
    copy.signal(libc::SIGTERM);
    let ended = copy.wait(LIMIT);
    assert!(ended.success(), "{ended}: {}", copy.log());
    *copy = home.start(words);
}

/// Whether the front sees as many copies of a service.
fn copies(home: &Home, name: &str, wanted: u64) -> Option<()> {
    let rows = home.cli(&["ps", "--json"]).json();
    let row = rows.as_array()?.iter().find(|row| row["name"] == name || row["name"] == format!("agent:{name}"))?;
    (row["instances"].as_u64() == Some(wanted) && row["status"] == "healthy").then_some(())
}

/// Every event of the topic.
fn published(mcp: &Mcp) -> BTreeMap<String, usize> {
    let (mut all, mut after) = (BTreeMap::new(), 0);
    loop {
        let read = json!({ "topic": "rolled", "after": after, "limit": 1_000 });
        let page = mcp.call("coordination__read_topic", read).unwrap();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return all;
        }
        for event in events {
            *all.entry(event["data"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        after = page["next"].as_u64().unwrap();
    }
}

#[test]
fn copies_that_are_replaced_one_after_another_lose_and_double_nothing() {
    let home = Home::new("");
    let front = home.start(&FRONT);
    let mut pairs = PAIRS.map(|words| [home.start(&words), home.start(&words)]);
    let mcp = Mcp::new(&format!("{}/mcp", front.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    wait_for("both copies are there", LIMIT, || copies(&home, "coordination", 2));
    let passed = Passed::default();
    let (called, ids): (Vec<u64>, Vec<Vec<String>>) = std::thread::scope(|scope| {
        let (mcp, passed) = (&mcp, &passed);
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || call(mcp, caller, passed))).collect();
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(move || work(mcp, passed))).collect();
        passed.more(BETWEEN, 2);
        for (words, pair) in PAIRS.iter().zip(&mut pairs) {
            for copy in pair {
                replace(&home, copy, words);
                passed.more(BETWEEN, 2);
            }
        }
        passed.stop.store(true, Ordering::Relaxed);
        let called = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        (called, clients.into_iter().map(|client| client.join().unwrap()).collect())
    });
    let published = published(&mcp);
    assert!(published.values().all(|times| *times == 1), "none twice: {published:?}");
    let wanted =
        called.iter().enumerate().flat_map(|(caller, count)| (0..*count).map(move |n| format!("{caller}/{n}")));
    assert_eq!(published.len() as u64, called.iter().sum::<u64>());
    assert!(wanted.into_iter().all(|said| published.contains_key(&said)), "none lost");
    for id in ids.iter().flatten() {
        let task: Value = mcp.call("task-management__get_task", json!({ "id": id })).unwrap();
        assert!(task["state"] == "done" && task["failure"].is_null(), "at the first attempt: {task}");
    }
    let dead = mcp.call("task-management__list_tasks", json!({ "queue": "monitoring", "state": "dead" })).unwrap();
    assert_eq!(dead["tasks"], json!([]));
}
