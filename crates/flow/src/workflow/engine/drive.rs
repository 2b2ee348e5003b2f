//! One run, held by this process: walk, write down, do, and again, until there is nothing to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kernel::store::{Expect, Write};
use kernel::tasks::catch_panic;
use kernel::{Code, OnEnd, Result, Tasks};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::book::{
    Asked, DUE, EVENTS, Head, INBOX, INBOX_AT_ONCE, LISTENING, Listening, Message, NUDGES, RUNS, Status, due_key, text,
};
use crate::workflow::Definition;
use crate::workflow::error::Error;
use crate::workflow::history::{Cursors, Effect, Ending, Entry, Transition};
use crate::workflow::state::State;
use crate::workflow::walk::{Decided, Ground, News, walk};

/// Most bytes of one run's transitions.
const RUN_BYTES_MAX: u64 = 32 << 20;

/// The result of something outside: the task's path, what it is known by, and how it ended.
type Ended = (String, String, Result<Value, Error>);

/// Most results that wait to be taken in.
const RESULTS_MAX: usize = 64;

/// Something outside under way. It is a task of its own: it may hold what this run's commits need, so it must not wait for them. It ends when
/// nobody wants it any more.
struct Doing(JoinHandle<()>);

impl Drop for Doing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A run that this process goes on with.
pub(super) struct Drive {
    pub(super) engine: Arc<Engine>,
    pub(super) head: Head,
    revision: u64,
    pub(super) definition: Arc<Definition>,
    input: Arc<Value>,
    pub(super) state: State,
    pub(super) news: News,
    tasks: Tasks,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
    /// Runs that were begun for this one, by what they are known by.
    begun: BTreeSet<String>,
    /// What is under way: by path, what it is known by.
    under_way: BTreeMap<String, (String, Doing)>,
    nudge: Arc<Notify>,
}

/// Whether there is more for this process to do.
enum Stand {
    Going,
    /// Until something happens, or at this time at the latest.
    Waits(Option<i64>),
    Over,
}

impl Drive {
    /// Takes a run over. `None` when another process holds it, or it is over.
    pub(super) async fn take(
        engine: &Arc<Engine>,
        run: &str,
        nudge: Arc<Notify>,
        tasks: Tasks,
    ) -> Result<Option<Self>> {
        let Some((mut head, revision)) = engine.book.head(run).await? else {
            engine.forget(run).await?;
            return Ok(None);
        };
        let now_ms = engine.now_ms();
        let lease_ms = engine.config.lease_ms;
        // A lease that ends later than any that could have been taken now was taken before the clock went back.
        let held = head.lease.as_ref().is_some_and(|(holder, until_ms)| {
            *holder != engine.holder && (now_ms..=now_ms.saturating_add(lease_ms)).contains(until_ms)
        });
        let finished = head.told && engine.book.inbox(run).await?.is_empty();
        if held || finished {
            if finished {
                engine.forget(run).await?;
            }
            return Ok(None);
        }
        let before = head.due.take();
        head.lease = Some((engine.holder.clone(), now_ms.saturating_add(lease_ms)));
        let due = due_key(now_ms.saturating_add(lease_ms), run);
        head.due = Some(due.clone());
        let mut writes = vec![
            Write::put(RUNS, run, text(&head)?).expecting(Expect::Revision(revision)),
            Write::put(DUE, &due, ""),
            Write::delete(NUDGES, run),
        ];
        writes.extend(before.filter(|before| *before != due).map(|before| Write::delete(DUE, &before)));
        let revision = match engine.book.store.commit(writes).await {
            Ok(revision) => revision,
            Err(fault) if fault.code == Code::Conflict => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let definition = engine.definition(&head.namespace, &head.name, &head.version).await?;
        let input = Arc::new(engine.book.input(run).await?);
        let state = State::of(&engine.book.transitions(run).await?);
        let engine = Arc::clone(engine);
        let (news, under_way) = (News::default(), BTreeMap::new());
        Ok(Some(Self {
            engine,
            head,
            revision,
            definition,
            input,
            state,
            news,
            tasks,
            ended: mpsc::channel(RESULTS_MAX),
            begun: BTreeSet::new(),
            under_way,
            nudge,
        }))
    }

    /// Goes on until there is nothing to do here, this process stops, or another has taken the run over.
    pub(super) async fn go(mut self, stopping: CancellationToken) -> Result<()> {
        loop {
            let nudge = Arc::clone(&self.nudge);
            let nudged = nudge.notified();
            match self.step().await {
                Ok(Stand::Over) => return Ok(()),
                Ok(Stand::Going) if stopping.is_cancelled() => return self.let_go().await,
                Ok(Stand::Going) => continue,
                Ok(Stand::Waits(wake_ms)) => {
                    let now_ms = self.engine.now_ms();
                    let renew = Duration::from_millis(u64::try_from(self.engine.config.lease_ms / 3).unwrap_or(1));
                    let until = wake_ms.map_or(renew, |wake_ms| {
                        Duration::from_millis(u64::try_from(wake_ms - now_ms).unwrap_or(0)).min(renew)
                    });
                    tokio::select! {
                        // There is always a sender: ours.
                        Some((path, key, result)) = self.ended.1.recv() => {
                            if self.under_way.get(&path).is_some_and(|(known_by, _)| *known_by == key) {
                                self.under_way.remove(&path);
                                self.news.results.insert((path, key), result);
                            }
                        }
                        // Before what was sent is looked at, so that what comes meanwhile nudges anew.
                        () = nudged => self.engine.forget(&self.head.id).await?,
                        () = tokio::time::sleep(until) => self.renew().await?,
                        () = stopping.cancelled() => return self.let_go().await,
                    }
                }
                // Another process went on with it: what is under way here is known by the same keys there.
                Err(fault) if fault.code == Code::Conflict => {
                    tracing::info!(run = self.head.id, "another process went on with the run");
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// One walk, written down; then what it asks for is begun.
    async fn step(&mut self) -> Result<Stand> {
        let inbox = self.engine.book.inbox(&self.head.id).await?;
        // What is left nobody would nudge for.
        let more_mail = inbox.len() == INBOX_AT_ONCE;
        let (mut entries, mut taken) = (Vec::new(), Vec::new());
        for (key, message) in inbox {
            entries.extend(self.received(message));
            taken.push(key);
        }
        for entry in &entries {
            self.state.apply(entry);
        }
        self.read_events().await?;
        self.read_children().await?;
        let decided = self.walk().await?;
        entries.extend(decided.entries.iter().cloned());
        entries.extend(self.seen(&decided));
        if !decided.more {
            self.news.results.retain(|(path, _), _| decided.effects.contains_key(path));
        }
        let over = self.state.ending.is_some();
        let children = self.children(&decided);
        let idle = !decided.more
            && !more_mail
            && children.is_empty()
            && decided.effects.values().all(|(_, effect)| self.is_elsewhere(effect));
        if !entries.is_empty() || !taken.is_empty() || idle {
            self.write_down(&entries, taken, &decided, over, idle).await?;
        }
        if over {
            self.tell_of_the_end().await?;
            return Ok(Stand::Over);
        }
        let begun = !children.is_empty();
        for (key, effect) in children {
            self.begin_child(key, &effect).await?;
        }
        self.begin(&decided);
        if decided.more || begun || more_mail {
            return Ok(Stand::Going);
        }
        // What it waits for wakes whoever looks: nobody has to hold it meanwhile.
        if idle { Ok(Stand::Over) } else { Ok(Stand::Waits(decided.wake_ms)) }
    }

    /// What a message makes of the run; nothing when it comes too late.
    fn received(&self, message: Message) -> Option<Entry> {
        let over = self.state.ending.is_some();
        let what = match message {
            Message::Cancel { by, reason } if !over => Transition::CancelAsked { by, reason },
            Message::Signal { event } if !over => Transition::Signalled { event },
            Message::Answer { by, step, hash, approved, comment } if !over => {
                let frame = self.state.frames.get(&step)?;
                let open = frame.outcome.is_none() && frame.answer.is_none();
                frame.question.as_ref().filter(|question| open && question.hash == hash)?;
                Transition::Answered { path: step, by, approved, comment }
            }
            Message::Retry { by, step } => {
                let faulted = matches!(self.state.ending, Some(Ending::Faulted { .. })) && self.state.undoing.is_none();
                let waits = self
                    .state
                    .frames
                    .get(&step)
                    .is_some_and(|frame| frame.caught.last().is_some_and(|(_, due)| due.is_some()));
                (faulted || (!over && waits)).then_some(Transition::Retried { path: step, by })?
            }
            _ => return None,
        };
        Some(Entry { at_ms: self.engine.now_ms(), what })
    }

    async fn walk(&mut self) -> Result<Decided> {
        let engine = Arc::clone(&self.engine);
        let (definition, input, run) = (Arc::clone(&self.definition), Arc::clone(&self.input), self.head.id.clone());
        let (mut state, news) = (std::mem::take(&mut self.state), std::mem::take(&mut self.news));
        let now_ms = engine.now_ms();
        let work = move || {
            let ground = Ground {
                definition: &definition,
                run: &run,
                input: &input,
                programs: &engine.programs,
                version: engine.version,
                now_ms,
            };
            let decided = walk(ground, &mut state, &news);
            Ok((state, news, decided))
        };
        let (state, news, decided) = self.engine.gate.run("workflow", crate::jq::STACK, work).await?;
        (self.state, self.news) = (state, news);
        self.news.events.clear();
        Ok(decided)
    }

    /// Everything that changed, in one commit.
    async fn write_down(
        &mut self,
        entries: &[Entry],
        taken: Vec<String>,
        decided: &Decided,
        over: bool,
        idle: bool,
    ) -> Result<()> {
        let now_ms = self.engine.now_ms();
        let run = self.head.id.clone();
        let mut head = self.head.clone();
        let mut writes: Vec<Write> = taken.iter().map(|key| Write::delete(INBOX, key)).collect();
        if !entries.is_empty() {
            head.batches += 1;
            let batch = text(&entries)?;
            head.bytes += batch.len() as u64;
            writes.push(Write::put(EVENTS, &format!("{run}/{:010}", head.batches), batch));
        }
        head.steps = self.state.steps;
        head.ending.clone_from(&self.state.ending);
        head.questions = self.questions(decided);
        head.waits = waits(decided);
        head.status = status(&self.state, idle);
        head.ended_ms = over.then(|| head.ended_ms.filter(|_| entries.is_empty()).unwrap_or(now_ms));
        // An end that was told stays so when all that came were words too late.
        head.told &= over && entries.is_empty();
        let (over_and_told, lease_ms) = (over && head.told, self.engine.config.lease_ms);
        let held = !over_and_told && (over || !idle);
        head.lease = held.then(|| (self.engine.holder.clone(), now_ms.saturating_add(lease_ms)));
        let due = match (over_and_told, idle && !over) {
            (true, _) => None,
            (_, true) => decided.wake_ms.map(|wake_ms| due_key(wake_ms, &run)),
            _ => Some(due_key(now_ms.saturating_add(lease_ms), &run)),
        };
        if due != head.due {
            writes.extend(head.due.iter().map(|before| Write::delete(DUE, before)));
            writes.extend(due.iter().map(|due| Write::put(DUE, due, "")));
            head.due = due;
        }
        let listening = Listening {
            topics: decided.listening.iter().flat_map(|(_, cursors)| cursors.clone()).fold(
                Cursors::new(),
                |mut all, (topic, seq)| {
                    let least = all.entry(topic).or_insert(seq);
                    *least = seq.min(*least);
                    all
                },
            ),
            kinds: decided.kinds.clone(),
        };
        let listens = idle && !over && !decided.listening.is_empty();
        if listens {
            writes.push(Write::put(LISTENING, &run, text(&listening)?));
        } else if head.listening {
            writes.push(Write::delete(LISTENING, &run));
        }
        head.listening = listens;
        writes.extend(head.parent.iter().filter(|_| over).map(|parent| Write::put(NUDGES, parent, "child")));
        writes.push(Write::put(RUNS, &run, text(&head)?).expecting(Expect::Revision(self.revision)));
        self.revision = self.engine.book.store.commit(writes).await?;
        self.head = head;
        if self.head.bytes > RUN_BYTES_MAX && !over && self.state.cancel.is_none() {
            let reason = Some(format!("its history has more than {RUN_BYTES_MAX} bytes"));
            self.engine.book.send(&run, &Message::Cancel { by: "flotilla".into(), reason }, now_ms).await?;
        }
        Ok(())
    }

    /// Tells whoever has to know of the run's end: runs that it runs, and who listens. Whoever dies before that leaves it to be found.
    async fn tell_of_the_end(&mut self) -> Result<()> {
        if self.head.told {
            return Ok(());
        }
        self.tell_children().await?;
        self.engine.tell(&self.head, self.state.ending.as_ref()).await?;
        let mut head = self.head.clone();
        let mut writes: Vec<Write> = head.due.take().iter().map(|due| Write::delete(DUE, due)).collect();
        (head.lease, head.told) = (None, true);
        writes.push(Write::put(RUNS, &head.id, text(&head)?).expecting(Expect::Revision(self.revision)));
        self.revision = self.engine.book.store.commit(writes).await?;
        self.head = head;
        Ok(())
    }

    /// Leaves the run to whoever looks next.
    async fn let_go(self) -> Result<()> {
        let mut head = self.head;
        let due = due_key(self.engine.now_ms(), &head.id);
        let mut writes: Vec<Write> =
            head.due.iter().filter(|before| **before != due).map(|before| Write::delete(DUE, before)).collect();
        writes.push(Write::put(DUE, &due, ""));
        (head.lease, head.due) = (None, Some(due));
        writes.push(Write::put(RUNS, &head.id, text(&head)?).expecting(Expect::Revision(self.revision)));
        self.engine.book.store.commit(writes).await.map(|_| ())
    }

    /// Says again that this process has the run.
    async fn renew(&mut self) -> Result<()> {
        let now_ms = self.engine.now_ms();
        let Some((_, until_ms)) = self.head.lease.as_ref() else { return Ok(()) };
        let lease_ms = self.engine.config.lease_ms;
        if until_ms - now_ms > lease_ms / 2 && until_ms - now_ms <= lease_ms {
            return Ok(());
        }
        let mut head = self.head.clone();
        head.lease = Some((self.engine.holder.clone(), now_ms.saturating_add(lease_ms)));
        let due = due_key(now_ms.saturating_add(lease_ms), &head.id);
        let mut writes: Vec<Write> =
            head.due.iter().filter(|before| **before != due).map(|before| Write::delete(DUE, before)).collect();
        writes.push(Write::put(DUE, &due, ""));
        head.due = Some(due);
        writes.push(Write::put(RUNS, &head.id, text(&head)?).expecting(Expect::Revision(self.revision)));
        self.revision = self.engine.book.store.commit(writes).await?;
        self.head = head;
        Ok(())
    }

    fn questions(&self, decided: &Decided) -> Vec<Asked> {
        let asked = decided.questions.iter().filter_map(|path| {
            let question = self.state.frames.get(path)?.question.clone()?;
            Some(Asked {
                step: path.clone(),
                title: question.title,
                arguments: question.arguments,
                hash: question.hash,
                access: question.access,
                others: question.others,
            })
        });
        asked.collect()
    }

    /// Whether something is done by another run: nobody here has to wait for it.
    fn is_elsewhere(&self, effect: &Effect) -> bool {
        matches!(effect, Effect::Workflow { wait: true, .. })
    }

    /// Runs that are to be begun for this one. It is not left alone before they are.
    fn children(&self, decided: &Decided) -> Vec<(String, Effect)> {
        let unbegun = |(key, effect): &&(String, Effect)| self.is_elsewhere(effect) && !self.begun.contains(key);
        let elsewhere = decided.effects.values().filter(unbegun);
        elsewhere.cloned().collect()
    }

    async fn begin_child(&mut self, key: String, effect: &Effect) -> Result<()> {
        let begun = self.engine.begin_child(&self.head, &key, effect).await;
        match begun {
            Ok(()) => {}
            // It cannot be begun: that is how its task ends. What the store says is no end of anything.
            Err(fault) if matches!(fault.code, Code::NotFound | Code::TooLarge | Code::InvalidArgument) => {
                let paths = self
                    .state
                    .frames
                    .iter()
                    .filter(|(_, frame)| frame.asked.as_ref().is_some_and(|(asked, _)| *asked == key));
                let paths: Vec<String> = paths.map(|(path, _)| path.clone()).collect();
                let error = Error::of_call(&fault, "runtime");
                self.news.results.extend(paths.into_iter().map(|path| ((path, key.clone()), Err(error.clone()))));
            }
            Err(fault) => return Err(fault),
        }
        self.begun.insert(key);
        Ok(())
    }

    /// Begins what is to be done, and ends what is not wanted any more.
    fn begin(&mut self, decided: &Decided) {
        let unwanted: Vec<String> = self
            .under_way
            .iter()
            .filter(|(path, (key, _))| {
                !decided.more && decided.effects.get(*path).is_none_or(|(wanted, _)| wanted != key)
            })
            .map(|(path, _)| path.clone())
            .collect();
        for path in unwanted {
            self.under_way.remove(&path);
        }
        for (path, (key, effect)) in &decided.effects {
            if self.under_way.contains_key(path) || self.is_elsewhere(effect) {
                continue;
            }
            let (engine, head) = (Arc::clone(&self.engine), self.head.clone());
            let (path_of, key_of, effect) = (path.clone(), key.clone(), effect.clone());
            let ended = self.ended.0.clone();
            let doing = self.tasks.spawn("workflow effect", OnEnd::Done, async move {
                let result = catch_panic(async { engine.perform(&head, &key_of, &effect).await }).await;
                let result = result.unwrap_or_else(|what| Err(Error::standard("runtime", 500, "internal", what)));
                // Nobody takes it when the run was let go: whoever has it does this again, known by the same key.
                ended.send((path_of, key_of, result)).await.ok();
            });
            self.under_way.insert(path.clone(), (key.clone(), Doing(doing)));
        }
    }

    /// A run that is over needs no other any more.
    async fn tell_children(&mut self) -> Result<()> {
        for frame in self.state.frames.values().filter(|frame| frame.outcome.is_none()) {
            let Some((key, Effect::Workflow { wait: true, .. })) = &frame.asked else { continue };
            let child = super::child_id(key);
            if self.engine.book.head(&child).await?.is_some_and(|(child, _)| !child.status.is_end()) {
                let message =
                    Message::Cancel { by: self.head.id.clone(), reason: Some("the run that runs it is over".into()) };
                self.engine.book.send(&child, &message, self.engine.now_ms()).await?;
            }
        }
        Ok(())
    }
}

fn status(state: &State, idle: bool) -> Status {
    match &state.ending {
        Some(Ending::Completed { .. }) => Status::Completed,
        Some(Ending::Faulted { .. }) => Status::Faulted,
        Some(Ending::Cancelled { .. }) => Status::Cancelled,
        None if idle => Status::Waiting,
        None => Status::Running,
    }
}

/// What a run waits for, in words.
fn waits(decided: &Decided) -> Vec<String> {
    /// Most that are told.
    const TOLD: usize = 32;
    let events = decided.listening.iter().map(|(path, _)| format!("events at {path}"));
    let people = decided.questions.iter().map(|path| format!("people at {path}"));
    let outside = decided.effects.keys().map(|path| format!("the outside at {path}"));
    let time = decided.wake_ms.map(|wake_ms| kernel::clock::timestamp(wake_ms).to_string());
    people.chain(events).chain(outside).chain(time).take(TOLD).collect()
}

/// Runs that this process goes on with, and how each is told to look again.
pub(super) type Live = HashMap<String, Arc<Notify>>;
