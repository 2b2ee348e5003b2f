//! The engine on a world of fakes: whatever is cut off wherever, the same end and the same effects.

mod crash;
mod keep;
mod life;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::fake::World;
use kernel::signal::Nudge;
use kernel::store::{Change, Entries, Entry as StoreEntry, Store, Write};
use kernel::{Caller, Clock, Ports, Result, Role, Tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::book::{DUE, RUNS};
use super::{Engine, EngineConfig, Head, NewRun, Order, Outside, Status};
use crate::workflow::error::Error;
use crate::workflow::history::Effect;

/// How far time is moved on at once, for a run that waits for it.
const STEP_MS: i64 = 30 * 86_400_000;

/// What was done outside: by key, how often and what. It outlives every engine.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) effects: Mutex<BTreeMap<String, (u32, String)>>,
    /// Tools that work only where what their effect is known by has this in it.
    pub(super) failures: Mutex<BTreeMap<String, &'static str>>,
    pub(super) callers: Mutex<Vec<String>>,
}

#[async_trait]
impl Outside for Recorded {
    async fn perform(&self, effect: &Effect, order: &Order) -> Result<Value, Error> {
        let Effect::Tool { tool, arguments, .. } = effect else { return Ok(Value::Null) };
        self.callers.lock().push(format!("{}:{}", order.caller.name, order.caller.role));
        if tool == "hang" {
            std::future::pending::<()>().await;
        }
        let mut effects = self.effects.lock();
        let entry = effects.entry(order.key.clone()).or_insert((0, format!("{tool}{arguments}")));
        entry.0 += 1;
        if self.failures.lock().get(tool).is_some_and(|works| !order.key.contains(works)) {
            return Err(Error::standard("runtime", 503, "unavailable", format!("{tool} is away")));
        }
        Ok(json!({ "done": tool, "with": arguments }))
    }
}

/// What becomes of a process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It goes on.
    Lives,
    /// It is killed after so many commits; the next one may be made, and its answer lost.
    Dies { commits: u32, lose_answer: bool },
    /// The clock jumps after so many commits.
    Jumps { commits: u32, by_ms: i64 },
}

/// A process's way to the store, with its fate.
pub(super) struct Fated {
    inner: Arc<dyn Store>,
    clock: Clock,
    fate: Fate,
    pub(super) commits: AtomicU32,
}

#[async_trait]
impl Entries for Fated {
    async fn get(&self, space: &str, key: &str) -> Result<Option<StoreEntry>> {
        self.inner.get(space, key).await
    }

    async fn list(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<StoreEntry>> {
        self.inner.list(space, prefix, after, limit).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64> {
        let made = self.commits.fetch_add(1, Ordering::SeqCst);
        match self.fate {
            Fate::Jumps { commits, by_ms } if made == commits => self.clock.advance_ms(by_ms),
            Fate::Dies { commits, lose_answer } if made >= commits => {
                if lose_answer && made == commits {
                    self.inner.commit(writes).await?;
                }
                // Nothing comes back from a process that is dead.
                return std::future::pending().await;
            }
            _ => {}
        }
        self.inner.commit(writes).await
    }

    fn changed<'a>(&'a self, spaces: &[&str]) -> Nudge<'a> {
        self.inner.changed(spaces)
    }
}

#[async_trait]
impl Store for Fated {
    async fn changes(&self, space: &str, prefix: &str, revision: u64, limit: usize) -> Result<Vec<Change>> {
        self.inner.changes(space, prefix, revision, limit).await
    }
}

/// A process that runs the engine.
pub(super) struct Process {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<Fated>,
    tasks: Tasks,
}

impl Process {
    /// Starts one on the world.
    pub(super) fn start(world: &World, outside: &Arc<Recorded>, fate: Fate) -> Self {
        let (inner, clock) = (world.store.clone(), world.clock.clone());
        let store = Arc::new(Fated { inner, clock, fate, commits: AtomicU32::new(0) });
        let tasks = Tasks::new();
        let ports = Ports { store: Arc::clone(&store) as Arc<dyn Store>, tasks: tasks.clone(), ..world.ports() };
        let engine =
            Engine::new(&ports, Arc::clone(outside) as Arc<dyn Outside>, EngineConfig::default(), "0.0.0-test");
        engine.start(&tasks);
        Self { engine, store, tasks }
    }

    /// Ends it as a kill does: nothing it was about to do is done.
    pub(super) async fn kill(self) {
        self.tasks.drain(Duration::from_millis(50)).await;
    }
}

pub(super) fn ann() -> Caller {
    Caller::new("ann", Role::Operator)
}

/// Defines and starts a workflow. Gives the run's id.
pub(super) async fn begin(engine: &Engine, rest: &str, input: Value) -> Result<String> {
    let text = crate::workflow::tests::head(rest);
    engine.define(text, &ann()).await?;
    let run = NewRun {
        id: Some("run_fixed".into()),
        namespace: "test".into(),
        name: "tried".into(),
        version: None,
        input,
        parent: None,
        depth: 0,
    };
    Ok(engine.start_run(run, &ann()).await?.0.id)
}

/// Waits until a run's head is as wanted. What it waits for in time comes.
pub(super) async fn until(world: &World, engine: &Engine, run: &str, wanted: impl Fn(&Head) -> bool) -> Head {
    waited(world, engine, run, |head| head.status == Status::Waiting, wanted).await
}

/// The same, when whoever held it may be dead: its lease runs out.
pub(super) async fn until_taken_over(
    world: &World,
    engine: &Engine,
    run: &str,
    wanted: impl Fn(&Head) -> bool,
) -> Head {
    waited(world, engine, run, |_| true, wanted).await
}

async fn waited(
    world: &World,
    engine: &Engine,
    run: &str,
    in_time: impl Fn(&Head) -> bool,
    wanted: impl Fn(&Head) -> bool,
) -> Head {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let changed = world.store.changed(&[RUNS]);
        let head = engine.run(run).await.unwrap();
        if wanted(&head) {
            return head;
        }
        assert!(tokio::time::Instant::now() < deadline, "still {head:?}");
        let due_ms = head.due.as_ref().and_then(|due| due.split('/').next()?.parse::<i64>().ok());
        if let Some(due_ms) = due_ms.filter(|due_ms| in_time(&head) && *due_ms >= world.clock.now_ms()) {
            world.clock.advance_ms((due_ms + 1 - world.clock.now_ms()).min(STEP_MS));
            // Whoever sleeps until then by a clock of their own looks again; such a key is nobody's due.
            world.store.commit(vec![Write::put(DUE, "clock", "moved")]).await.unwrap();
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

pub(super) fn over(head: &Head) -> bool {
    head.status.is_end()
}

/// How a run ended, in a line.
pub(super) fn line(head: &Head) -> String {
    serde_json::to_string(&head.ending).unwrap()
}
