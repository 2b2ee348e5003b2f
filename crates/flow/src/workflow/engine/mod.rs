//! The engine: definitions, runs, and whoever goes on with them.
//!
//! Any number of processes may run it on one store. A run belongs to the process whose lease its head names; every commit expects the head
//! as that process left it, which fences whoever lost the run without noticing. Whatever a run waits for is in the store (a time in
//! [`book::DUE`], a nudge, the topics it listens to), so a run that waits is held by nobody.

mod book;
mod drive;
mod manage;
mod news;
mod outside;
mod purge;
mod schedules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::{Bus, Event, NewEvent, READ_MAX};
use kernel::store::{LIST_MAX, Store, Write};
use kernel::{Access, Clock, Code, Fault, OnEnd, Ports, Result, Tasks, UnixMs};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

pub use book::{Asked, Head, Status, Stored};
pub use manage::{Answer, NewRun};
pub use outside::{Order, Outside};

use self::book::{Book, DUE, LISTENING, Listening, NUDGES, SCHEDULES, parsed};
use self::drive::{Drive, Live};
use super::error::Error;
use super::expression::Programs;
use super::history::{Cursors, Effect, Ending};
use super::walk::EVENTS_TOPIC;
use super::{Definition, validate};
use crate::bounded::Gate;

/// How long may be computed in one walk.
const WALK_TIME: Duration = Duration::from_secs(20);
/// How long something outside may take, whatever its own limit is.
const PERFORM_TIME: Duration = Duration::from_secs(15 * 60);
/// Most definitions that are kept in memory.
const DEFINITIONS_MAX: usize = 256;
/// How long is waited between two looks, so that a busy store is not looked at all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// How often is looked without a nudge.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Deepest nesting of runs in runs.
const DEPTH_MAX: u32 = 8;

/// What the engine may use.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// How long a process says it has a run, in milliseconds: so long after its end another goes on.
    pub lease_ms: i64,
    /// How many runs this process goes on with at once.
    pub runs_at_once: usize,
    /// How many walks are computed at once.
    pub walks_at_once: usize,
    /// How long runs are kept after their end, in milliseconds; for ever if nothing is said.
    pub keep_ms: Option<i64>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { lease_ms: 5_000, runs_at_once: 64, walks_at_once: 2, keep_ms: None }
    }
}

/// The engine. Shared by whoever asks it and by its standing work.
pub struct Engine {
    clock: Clock,
    book: Book,
    bus: Arc<dyn Bus>,
    outside: Arc<dyn Outside>,
    programs: Arc<Programs>,
    gate: Gate,
    config: EngineConfig,
    /// What this process calls itself in leases.
    holder: String,
    version: &'static str,
    definitions: Mutex<HashMap<String, Arc<Definition>>>,
    live: Mutex<Live>,
    room: Arc<Semaphore>,
    checked: Mutex<HashMap<String, Cursors>>,
    /// The topics that runs and schedules listen to.
    listened: Mutex<BTreeSet<String>>,
}

impl Engine {
    /// An engine on these ports.
    pub fn new(ports: &Ports, outside: Arc<dyn Outside>, config: EngineConfig, version: &'static str) -> Arc<Self> {
        Arc::new(Self {
            clock: ports.clock.clone(),
            book: Book { store: Arc::clone(&ports.store) },
            bus: Arc::clone(&ports.bus),

            outside,
            programs: Arc::default(),
            gate: Gate::new(ports.tasks.clone(), config.walks_at_once, WALK_TIME),
            room: Arc::new(Semaphore::new(config.runs_at_once)),
            config,
            holder: kernel::ids::new_id("engine"),
            version,
            definitions: Mutex::default(),
            live: Mutex::default(),
            checked: Mutex::default(),
            listened: Mutex::default(),
        })
    }

    fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.book.store
    }

    /// Begins to go on with runs, under `tasks`.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        self.start_purging(tasks);
        let (engine, owner) = (Arc::clone(self), tasks.clone());
        tasks.spawn("workflow engine", OnEnd::StopOwner, async move {
            let stopping = owner.stopping();
            while !stopping.is_cancelled() {
                let topics = engine.listened.lock().clone();
                let named: Vec<&str> = topics.iter().map(String::as_str).collect();
                // Asked for before looking, so that what comes meanwhile is not missed.
                let changed = engine.store().changed(&[NUDGES, DUE, LISTENING, SCHEDULES]);
                let published = engine.bus.published(&named);
                let until = match engine.look(&owner).await {
                    Ok(until) => until,
                    Err(fault) => {
                        tracing::warn!(%fault, "workflows could not be looked at");
                        LOOK_EVERY
                    }
                };
                if *engine.listened.lock() != topics {
                    // Somebody listens elsewhere now: what is published there is to be heard too.
                    continue;
                }
                tokio::select! {
                    () = changed => {}
                    () = published => {}
                    () = tokio::time::sleep(until) => {}
                    () = stopping.cancelled() => {}
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        });
    }

    /// Looks once for what is to be done. Returns when to look again.
    async fn look(self: &Arc<Self>, tasks: &Tasks) -> Result<Duration> {
        let now_ms = self.now_ms();
        let mut until = LOOK_EVERY;
        for entry in self.store().list(NUDGES, "", None, LIST_MAX).await? {
            self.go_on(&entry.key, tasks);
        }
        for entry in self.store().list(DUE, "", None, LIST_MAX).await? {
            let Some((at, run)) = entry.key.split_once('/') else { continue };
            let at_ms: UnixMs = at.parse().unwrap_or(0);
            if at_ms > now_ms {
                until = until.min(Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0)));
                break;
            }
            self.go_on(run, tasks);
        }
        let mut listened = self.look_for_events(tasks).await?;
        listened.append(&mut self.look_at_schedules(now_ms).await?);
        *self.listened.lock() = listened;
        Ok(until)
    }

    /// Goes on with a run, or tells whoever does so here to look again.
    fn go_on(self: &Arc<Self>, run: &str, tasks: &Tasks) {
        let mut live = self.live.lock();
        if let Some(nudge) = live.get(run) {
            nudge.notify_waiters();
            return;
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let nudge = Arc::new(Notify::new());
        live.insert(run.to_owned(), Arc::clone(&nudge));
        let (engine, run, owner) = (Arc::clone(self), run.to_owned(), tasks.clone());
        tasks.spawn("workflow run", OnEnd::Done, async move {
            let _permit = permit;
            let outcome = engine.hold(&run, nudge, owner).await;
            engine.live.lock().remove(&run);
            if let Err(fault) = outcome {
                tracing::warn!(%fault, run, "a workflow run could not be gone on with");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }

    async fn hold(self: &Arc<Self>, run: &str, nudge: Arc<Notify>, tasks: Tasks) -> Result<()> {
        let stopping = tasks.stopping();
        match Drive::take(self, run, nudge, tasks).await? {
            Some(drive) => drive.go(stopping).await,
            None => Ok(()),
        }
    }

    /// Takes out what says that a run is to be looked at: it is over.
    async fn forget(&self, run: &str) -> Result<()> {
        self.store().commit(vec![Write::delete(NUDGES, run)]).await.map(|_| ())
    }

    /// Goes on with runs that wait for what was published. Gives the topics that are waited for.
    async fn look_for_events(self: &Arc<Self>, tasks: &Tasks) -> Result<BTreeSet<String>> {
        let listening = self.store().list(LISTENING, "", None, LIST_MAX).await?;
        self.checked.lock().retain(|run, _| listening.iter().any(|entry| entry.key == *run));
        let wanted: Vec<Listening> =
            listening.iter().map(|entry| parsed(&entry.value, "a listening run")).collect::<Result<_>>()?;
        let topics = wanted.iter().flat_map(|wanted| wanted.topics.keys().cloned()).collect();
        if listening.is_empty() {
            return Ok(topics);
        }
        let reach: Cursors = self.bus.topics().await?.into_iter().map(|topic| (topic.name, topic.last_seq)).collect();
        for (entry, wanted) in listening.into_iter().zip(wanted) {
            let from = self.checked.lock().get(&entry.key).cloned().unwrap_or_else(|| wanted.topics.clone());
            let mut matched = false;
            for (topic, seq) in &from {
                let reach = reach.get(topic).copied().unwrap_or(*seq);
                if reach <= *seq || matched {
                    continue;
                }
                let page = self.bus.read(topic, *seq, READ_MAX).await?;
                matched = page.len() == READ_MAX || page.iter().any(|event| wanted.takes(&cloud_event(event)));
            }
            let next =
                from.iter().map(|(topic, seq)| (topic.clone(), reach.get(topic).copied().unwrap_or(*seq).max(*seq)));
            if matched {
                self.checked.lock().remove(&entry.key);
                self.go_on(&entry.key, tasks);
            } else {
                self.checked.lock().insert(entry.key, next.collect());
            }
        }
        Ok(topics)
    }

    /// A definition, read and checked.
    async fn definition(&self, namespace: &str, name: &str, version: &str) -> Result<Arc<Definition>> {
        let key = book::definition_key(namespace, name, version);
        if let Some(known) = self.definitions.lock().get(&key) {
            return Ok(Arc::clone(known));
        }
        let stored = self.book.definition(namespace, name, version).await?;
        let stored = stored.ok_or_else(|| {
            Fault::not_found(format!("no workflow `{namespace}/{name}` of version {version}"))
                .hint("list_workflows has them")
        })?;
        let read =
            self.gate.run("definition", crate::jq::STACK, move || validate(&stored.text)?.into_definition()).await?;
        let read = Arc::new(read);
        let mut known = self.definitions.lock();
        if known.len() >= DEFINITIONS_MAX {
            known.clear();
        }
        known.insert(key, Arc::clone(&read));
        Ok(read)
    }

    /// Does something for a run.
    async fn perform(&self, head: &Head, key: &str, effect: &Effect) -> Result<Value, Error> {
        match effect {
            Effect::Emit { event, topic } => {
                self.emit(head, event, topic).await.map_err(|fault| Error::of_call(&fault, "communication"))
            }
            Effect::Workflow { .. } => {
                let begun = self.begin_child(head, key, effect).await;
                begun.map(|()| Value::Null).map_err(|fault| Error::of_call(&fault, "runtime"))
            }
            effect => {
                let order = Order { run: head.id.clone(), key: key.to_owned(), caller: head.caller.clone() };
                let limit = match effect {
                    Effect::Tool { limit_ms: Some(ms), .. } => {
                        Duration::from_millis(u64::try_from(*ms).unwrap_or(0)).min(PERFORM_TIME)
                    }
                    _ => PERFORM_TIME,
                };
                let late = || Error::timeout(format!("the call has taken longer than {} ms", limit.as_millis()));
                tokio::time::timeout(limit, self.outside.perform(effect, &order)).await.unwrap_or_else(|_| Err(late()))
            }
        }
    }

    /// Publishes an event for a run, under its role.
    async fn emit(&self, head: &Head, event: &Value, topic: &str) -> Result<Value> {
        head.caller.require(Access::Operate, "emit")?;
        if ["fleet", "chain", "_"].iter().any(|own| topic.starts_with(own)) {
            return Err(Fault::denied(format!("topic `{topic}` is the fleet's own"))
                .hint("a topic of your own, or none: `workflows`"));
        }
        let text = |name: &str| event[name].as_str().unwrap_or_default().chars().take(100).collect::<String>();
        let trace_id = None;
        let (kind, source) = (text("type"), text("source"));
        self.bus.publish(NewEvent { topic: topic.to_owned(), kind, source, trace_id, data: event.clone() }).await?;
        Ok(event.clone())
    }

    /// Tells whoever listens how a run ended. Events of the language's own types.
    async fn tell(&self, head: &Head, ending: Option<&Ending>) -> Result<()> {
        let at = kernel::clock::timestamp(self.now_ms());
        let name = format!("{}-{}.{}", head.name, head.id, head.namespace);
        let (word, data) = match ending {
            Some(Ending::Completed { output }) => {
                ("completed", json!({ "name": name, "completedAt": at, "output": output }))
            }
            Some(Ending::Faulted { error, .. }) => {
                ("faulted", json!({ "name": name, "faultedAt": at, "error": error }))
            }
            Some(Ending::Cancelled { .. }) => ("cancelled", json!({ "name": name, "cancelledAt": at })),
            None => return Ok(()),
        };
        let kind = format!("io.serverlessworkflow.workflow.{word}.v1");
        let event = json!({
            "specversion": "1.0", "id": format!("{}/{word}", head.id), "source": "https://flotilla/orchestration", "type": kind,
            "time": at, "subject": head.id, "datacontenttype": "application/json", "data": data,
        });
        let event =
            NewEvent { topic: EVENTS_TOPIC.into(), kind, source: "orchestration".into(), trace_id: None, data: event };
        self.bus.publish(event).await.map(|_| ())
    }

    /// Begins a run for another one, once.
    async fn begin_child(&self, head: &Head, key: &str, effect: &Effect) -> Result<()> {
        let Effect::Workflow { namespace, name, version, input, .. } = effect else { return Ok(()) };
        let id = child_id(key);
        if self.book.head(&id).await?.is_some() {
            return Ok(());
        }
        if head.depth + 1 > DEPTH_MAX {
            return Err(Fault::too_large(format!("runs are nested more than {DEPTH_MAX} deep"))
                .hint("run fewer workflows in workflows"));
        }
        let version = match version {
            Some(version) => version.clone(),
            None => self.latest(namespace, name).await?.version,
        };
        let run = NewRun {
            id: Some(id),
            namespace: namespace.clone(),
            name: name.clone(),
            version: Some(version),
            input: input.clone(),
            parent: matches!(effect, Effect::Workflow { wait: true, .. }).then(|| head.id.clone()),
            depth: head.depth + 1,
        };
        // Under the same role: it does not widen on the way down.
        self.start_run(run, &head.caller).await.map(|_| ())
    }
}

/// The id of a run that a task runs: the same however often it is begun.
fn child_id(key: &str) -> String {
    let hash = super::hash_of(&Value::String(key.to_owned()));
    format!("run_{}", &hash[..32])
}

impl Listening {
    /// Whether an event is of a type that is waited for. What else a filter says, the run looks at.
    fn takes(&self, event: &Value) -> bool {
        self.kinds.iter().any(|kind| match kind {
            None => true,
            Some(kind) => super::walk::attribute_fits(&Value::String(kind.clone()), &event["type"]),
        })
    }
}

/// An event of the bus as a CloudEvent. What was one when it was published is that one again.
fn cloud_event(event: &Event) -> Value {
    if event.data["specversion"].is_string() && event.data["type"].is_string() {
        let mut own = event.data.clone();
        own["topic"] = event.topic.clone().into();
        return own;
    }
    json!({
        "specversion": "1.0",
        "id": format!("{}:{}", event.topic, event.seq),
        "source": event.source,
        "type": event.kind,
        "time": kernel::clock::timestamp(event.at_ms),
        "datacontenttype": "application/json",
        "topic": event.topic,
        "data": event.data,
    })
}

/// Whether a commit was lost to somebody else.
fn lost(fault: &Fault) -> bool {
    fault.code == Code::Conflict
}
