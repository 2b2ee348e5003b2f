//! Twenty thousand tasks over several processes, one of which is killed every second.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use kernel::queue::{
    Claim, Ending, Filter, Holding, LEASE_MS_MIN, LIST_MAX, NewTask, Outcome, Policy, Queue, SUBMIT_MAX, State, Task,
};
use kernel::{Caller, Clock, Code, Result, Role};
use serde_json::json;

use crate::kit;
use crate::processes::{go_on, pause, say_at_work, start, until_at_work};

/// How many.
const TASKS: u64 = 20_000;
/// Every so many, one must be done after the one before it.
const ORDERED_EVERY: u64 = 50;
/// Every so many, one is followed by another.
const FOLLOWED_EVERY: u64 = 20;
const WORKERS: usize = 3;
/// How long it may all take.
const LIMIT: Duration = Duration::from_secs(120);

async fn open(folder: &Path) -> std::sync::Arc<dyn Queue> {
    kit::open_with(folder, 2 * TASKS, Clock::system()).await.queue
}

/// What a worker process does until it is killed, or all is done.
pub(crate) async fn work(folder: &Path) {
    let queue = open(folder).await;
    let worker = format!("w{}", std::process::id());
    say_at_work();
    loop {
        let claimed = insist(async || queue.claim(&claim(&worker)).await).await;
        if claimed.tasks.is_empty() {
            if all_ended(&*queue).await {
                return;
            }
            tokio::time::timeout(Duration::from_millis(50), queue.claimable()).await.ok();
            continue;
        }
        let endings = claimed
            .tasks
            .iter()
            .map(|task| Ending { holding: Holding { id: task.id, attempt: task.attempts }, outcome: outcome(task) });
        // Each may be late: the others of this process, or of another, have it then.
        let endings: Vec<Ending> = endings.collect();
        insist(async || queue.finish(endings.clone()).await).await;
    }
}

fn claim(worker: &str) -> Claim {
    let types = ["free", "ordered"].map(str::to_owned).into();
    Claim { queue: "q".into(), types, limit: 20, lease_ms: LEASE_MS_MIN, worker: worker.into() }
}

/// Asks again while the database is away.
async fn insist<T>(mut ask: impl AsyncFnMut() -> Result<T>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(fault) => assert_eq!(fault.code, Code::Unavailable, "{fault}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a process does that takes tasks and is killed before it ends one.
pub(crate) async fn hold(folder: &Path) {
    let queue = open(folder).await;
    let held = queue.claim(&claim(&format!("w{}", std::process::id()))).await.unwrap();
    assert!(!held.tasks.is_empty());
    say_at_work();
    std::future::pending().await
}

fn outcome(task: &Task) -> Outcome {
    let n = task.payload["n"].as_u64().unwrap();
    let follower = || NewTask::new("effects", "effect", json!({ "n": n }), &Caller::new("worker", Role::Operator));
    let then = if n.is_multiple_of(FOLLOWED_EVERY) { vec![follower()] } else { Vec::new() };
    Outcome::Done { result: json!({ "attempt": task.attempts }), then }
}

pub(crate) async fn submit_all(queue: &dyn Queue, numbers: Range<u64>) {
    queue.set_policy("q", "ordered", Policy { running_max: 1, attempts_max: 100, ..Policy::default() }).await.unwrap();
    queue.set_policy("q", "free", Policy { attempts_max: 100, ..Policy::default() }).await.unwrap();
    let task = |n: u64| {
        let (task_type, caller) = if n.is_multiple_of(ORDERED_EVERY) {
            ("ordered", "one".to_owned())
        } else {
            ("free", format!("c{}", n % 7))
        };
        NewTask::new("q", task_type, json!({ "n": n }), &Caller::new(caller, Role::Operator))
    };
    let all: Vec<NewTask> = numbers.map(task).collect();
    for some in all.chunks(SUBMIT_MAX) {
        queue.submit(some.to_vec()).await.unwrap();
    }
}

async fn everything(queue: &dyn Queue, name: &str) -> Vec<Task> {
    let filter = Filter { queue: Some(name.into()), ..Filter::default() };
    let (mut all, mut before) = (Vec::new(), None);
    while let page = queue.list(&filter, before, LIST_MAX).await.unwrap()
        && !page.is_empty()
    {
        before = page.last().map(|task| task.id);
        all.extend(page);
    }
    all.reverse();
    all
}

pub(crate) async fn all_ended(queue: &dyn Queue) -> bool {
    let counts = insist(async || queue.counts().await).await;
    counts.iter().filter(|of| of.queue == "q").all(|of| of.queued + of.running + of.delayed == 0)
}

/// Kills the worker where it has tasks in hand: it is stopped, looked at, and let go on until it has. False when all ended first.
async fn kill_with_tasks_in_hand(queue: &dyn Queue, worker: &mut Child) -> bool {
    let name = format!("w{}", worker.id());
    let running = Filter { queue: Some("q".into()), state: Some(State::Running), ..Filter::default() };
    loop {
        let stands = pause(worker);
        let held = queue.list(&running, None, LIST_MAX).await.unwrap();
        let in_hand = stands && held.iter().any(|task| task.worker.as_deref() == Some(&name));
        if in_hand || all_ended(queue).await {
            worker.kill().unwrap();
            worker.wait().unwrap();
            return in_hand;
        }
        go_on(worker);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_of_postgres_lose_nothing_and_do_nothing_twice() {
    /// How many processes die with tasks in hand, and how many after that at any moment.
    const DEATHS: u64 = 3;
    const TASKS: u64 = 4_000;
    let Some(folder) = kit::postgres_folder() else { return };
    let queue = open(folder.path()).await;
    submit_all(&*queue, 0..TASKS).await;
    let begin = |order| {
        let mut child = start(order, folder.path());
        until_at_work(&mut child);
        child
    };
    let end = |mut child: Child| {
        child.kill().ok();
        child.wait().unwrap();
    };
    for _ in 0..DEATHS {
        end(begin("hold"));
    }
    for _ in 0..DEATHS {
        let (one, two) = (begin("tasks"), begin("tasks"));
        end(one);
        end(two);
    }
    let workers = [begin("tasks"), begin("tasks")];
    let began = Instant::now();
    while !all_ended(&*queue).await {
        assert!(began.elapsed() < LIMIT, "{:?}", queue.counts().await);
        tokio::time::timeout(Duration::from_millis(50), queue.claimable()).await.ok();
    }
    workers.into_iter().for_each(end);
    prove(&*queue, TASKS, DEATHS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_nothing_and_do_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    submit_all(&*queue, 0..TASKS).await;
    let begin = |_| {
        let mut child = start("tasks", folder.path());
        until_at_work(&mut child);
        child
    };
    let mut workers: Vec<_> = (0..WORKERS).map(begin).collect();
    let (began, mut kills) = (Instant::now(), 0);
    while !all_ended(&*queue).await {
        assert!(began.elapsed() < LIMIT, "{:?}", queue.counts().await);
        let worker = &mut workers[kills % WORKERS];
        if kill_with_tasks_in_hand(&*queue, worker).await {
            kills += 1;
            *worker = begin(0);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    for mut worker in workers {
        worker.kill().ok();
        worker.wait().unwrap();
    }
    assert!(kills >= 2, "only {kills} were killed: it proves nothing");

    prove(&*queue, TASKS, kills as u64).await;
}

/// Every task is done, each effect is there once, and so many were begun again at least.
pub(crate) async fn prove(queue: &dyn Queue, tasks: u64, begun_again: u64) {
    let all = everything(queue, "q").await;
    assert_eq!(all.len() as u64, tasks);
    assert!(all.iter().all(|task| task.state == State::Done), "none lost, none given up");
    // The one ending that counted is that of the newest holding.
    assert!(all.iter().all(|task| task.result.as_ref().unwrap()["attempt"] == task.attempts));
    let again: u64 = all.iter().map(|task| u64::from(task.attempts) - 1).sum();
    assert!(again >= begun_again, "{begun_again} died with tasks in hand, {again} were begun again");
    let ordered: Vec<_> = all.iter().filter(|task| task.task_type == "ordered").map(|task| task.ended_ms).collect();
    assert!(
        ordered.len() as u64 == tasks.div_ceil(ORDERED_EVERY) && ordered.is_sorted(),
        "one after the other, as submitted"
    );

    let effects = everything(queue, "effects").await;
    let parents: HashSet<_> = effects.iter().map(|task| task.parent.unwrap()).collect();
    assert_eq!(
        (effects.len(), parents.len() as u64),
        (parents.len(), tasks.div_ceil(FOLLOWED_EVERY)),
        "each effect once"
    );
    let by_id: HashMap<_, _> = all.iter().map(|task| (task.id, task)).collect();
    assert!(effects.iter().all(|task| by_id[&task.parent.unwrap()].payload == task.payload));
}
