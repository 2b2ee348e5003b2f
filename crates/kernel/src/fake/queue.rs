//! The queue made of memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::queue::{
    self, Claim, Claimed, Counts, DEPTH_MAX, Ending, Filter, NewTask, Outcome, Policy, QUEUE_TYPES_MAX, Queue, Renew,
    Renewal, State, Submitted, Task, TaskId, step,
};
use crate::signal::Signal;
use crate::{Clock, Result, UnixMs};

/// The span over which endings are counted, in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    clock: Clock,
    depth_max: u64,
    state: Mutex<Kept>,
    claimable: Signal,
    news: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    tasks: BTreeMap<TaskId, Row>,
    keys: BTreeMap<(String, String), TaskId>,
    policies: BTreeMap<(String, String), Policy>,
    /// The newest turn by queue, priority and caller; `None` is what was handed out.
    turns: BTreeMap<(String, u8, Option<String>), u64>,
}

#[derive(Debug, Clone)]
struct Row {
    task: Task,
    /// Its turn in its queue and priority; none until it may begin for the first time.
    turn: Option<u64>,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(clock: Clock) -> Self {
        Self { clock, depth_max: DEPTH_MAX, ..Self::default() }
    }

    /// Refuses more than so many tasks that have not begun.
    #[must_use]
    pub fn depth_max(mut self, depth_max: u64) -> Self {
        self.depth_max = depth_max;
        self
    }

    fn announce(&self) {
        self.claimable.raise(self.news.fetch_add(1, Ordering::AcqRel) + 1);
    }
}

impl Kept {
    fn policy(&self, queue: &str, task_type: &str) -> Policy {
        self.policies.get(&(queue.to_owned(), task_type.to_owned())).copied().unwrap_or_default()
    }

    fn of_type<'a>(&'a self, queue: &'a str, task_type: &'a str) -> impl Iterator<Item = &'a Task> {
        let tasks = self.tasks.values().map(|row| &row.task);
        tasks.filter(move |task| task.queue == queue && task.task_type == task_type)
    }

    fn take_turn(&mut self, queue: &str, priority: u8, caller: &str) -> u64 {
        let given = self.turns.get(&(queue.to_owned(), priority, None)).copied().unwrap_or(0);
        let own = self.turns.entry((queue.to_owned(), priority, Some(caller.to_owned()))).or_default();
        *own = given.max(*own) + 1;
        *own
    }

    fn with_key(&self, queue: &str, key: &str) -> Option<&Task> {
        let id = self.keys.get(&(queue.to_owned(), key.to_owned()))?;
        self.tasks.get(id).map(|row| &row.task)
    }

    fn refuse_overfull(&self, tasks: &[NewTask], depth_max: u64) -> Result<()> {
        let mut more: BTreeMap<&str, u64> = BTreeMap::new();
        for task in tasks {
            *more.entry(&task.queue).or_default() += 1;
        }
        for (queue, more) in more {
            let waits =
                |row: &&Row| row.task.queue == queue && matches!(row.task.state, State::Delayed | State::Queued);
            if self.tasks.values().filter(waits).count() as u64 + more > depth_max {
                return Err(queue::full(queue, depth_max));
            }
        }
        Ok(())
    }

    /// The types of a queue: what it has tasks of, and what is treated in a way of its own.
    fn types_of(&self, queue: &str) -> BTreeSet<&str> {
        let kept = self.tasks.values().map(|row| &row.task).filter(|task| task.queue == queue);
        let treated = self.policies.keys().filter(|(of, _)| of == queue);
        kept.map(|task| &*task.task_type).chain(treated.map(|(_, task_type)| &**task_type)).collect()
    }

    fn refuse_many_types<'a>(&self, new: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        let mut more: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (queue, task_type) in new {
            more.entry(queue).or_default().insert(task_type);
        }
        for (queue, more) in more {
            let known = self.types_of(queue);
            if known.union(&more).count() > QUEUE_TYPES_MAX.max(known.len()) {
                return Err(queue::many_types());
            }
        }
        Ok(())
    }

    fn refuse_other_use(&self, tasks: &[NewTask]) -> Result<()> {
        let mut first: BTreeMap<(&str, &str), &NewTask> = BTreeMap::new();
        for task in tasks {
            let Some(key) = &task.key else { continue };
            if let Some(other) = self.with_key(&task.queue, key)
                && (other.task_type != task.task_type || other.payload != task.payload)
            {
                return Err(step::other_use(&task.queue, key, other.id));
            }
            let before = first.entry((&task.queue, key)).or_insert(task);
            if before.task_type != task.task_type || before.payload != task.payload {
                return Err(queue::twice(task));
            }
        }
        Ok(())
    }

    fn put(&mut self, new: NewTask, parent: Option<TaskId>, now_ms: UnixMs) -> Submitted {
        if let Some(had) = new.key.as_ref().and_then(|key| self.with_key(&new.queue, key)) {
            return Submitted { id: had.id, fresh: false };
        }
        self.last += 1;
        let id = TaskId(self.last);
        let attempts_each = new.attempts_max.unwrap_or_else(|| self.policy(&new.queue, &new.task_type).attempts_max);
        let run_at_ms = new.run_at_ms.unwrap_or(now_ms);
        let delayed = run_at_ms > now_ms;
        let turn = if delayed { None } else { Some(self.take_turn(&new.queue, new.priority, &new.caller)) };
        let task = Task {
            id,
            queue: new.queue,
            task_type: new.task_type,
            state: if delayed { State::Delayed } else { State::Queued },
            payload: new.payload,
            caller: new.caller,
            role: new.role,
            priority: new.priority,
            attempts: 0,
            attempts_max: attempts_each,
            attempts_each,
            cancelling: false,
            submitted_ms: now_ms,
            run_at_ms,
            started_ms: None,
            ended_ms: None,
            lease_until_ms: None,
            worker: None,
            progress: None,
            result: None,
            failure: None,
            key: new.key,
            parent,
            trace_id: new.trace_id,
        };
        if let Some(key) = &task.key {
            self.keys.insert((task.queue.clone(), key.clone()), id);
        }
        self.tasks.insert(id, Row { task, turn });
        Submitted { id, fresh: true }
    }

    /// Frees what is held for too long and what has come of time.
    fn sweep(&mut self, now_ms: UnixMs) {
        for row in self.tasks.values_mut() {
            if row.task.state == State::Running && row.task.lease_until_ms.is_some_and(|end| end <= now_ms) {
                row.task = step::lapse(row.task.clone(), now_ms);
            }
        }
        let mut due: Vec<(UnixMs, TaskId)> = (self.tasks.values().map(|row| &row.task))
            .filter(|task| task.state == State::Delayed && task.run_at_ms <= now_ms)
            .map(|task| (task.run_at_ms, task.id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            let Some(mut row) = self.tasks.remove(&id) else { continue };
            row.task.state = State::Queued;
            self.stamp(&mut row);
            self.tasks.insert(id, row);
        }
    }

    fn stamp(&mut self, row: &mut Row) {
        if row.task.state == State::Queued && row.turn.is_none() {
            row.turn = Some(self.take_turn(&row.task.queue, row.task.priority, &row.task.caller));
        }
    }

    fn claim(&mut self, claim: &Claim, now_ms: UnixMs) -> Claimed {
        self.sweep(now_ms);
        let mut heads = Vec::new();
        let types: BTreeSet<&String> = claim.types.iter().collect();
        for task_type in types {
            let running = self.of_type(&claim.queue, task_type).filter(|task| task.state == State::Running).count();
            let room = (self.policy(&claim.queue, task_type).running_max as usize).saturating_sub(running);
            let fits = |row: &&Row| {
                let Task { queue, task_type: of, state, .. } = &row.task;
                (queue, of, *state) == (&claim.queue, task_type, State::Queued)
            };
            let mut free: Vec<_> = (self.tasks.values().filter(fits))
                .map(|row| (Reverse(row.task.priority), row.turn, row.task.id))
                .collect();
            free.sort_unstable();
            heads.extend(free.into_iter().take(room));
        }
        heads.sort_unstable();
        heads.truncate(claim.limit);
        let next_ms = (heads.len() < claim.limit).then(|| self.next_ms()).flatten();
        let mut tasks = Vec::with_capacity(heads.len());
        for (_, turn, id) in heads {
            let Some(row) = self.tasks.get_mut(&id) else { continue };
            let task = &mut row.task;
            (task.state, task.attempts) = (State::Running, task.attempts + 1);
            (task.started_ms, task.lease_until_ms) = (Some(now_ms), Some(now_ms + claim.lease_ms));
            (task.worker, task.progress) = (Some(claim.worker.clone()), None);
            let given = self.turns.entry((task.queue.clone(), task.priority, None)).or_default();
            *given = (*given).max(turn.unwrap_or(0));
            tasks.push(task.clone());
        }
        Claimed { tasks, next_ms }
    }

    fn next_ms(&self) -> Option<UnixMs> {
        let free_at = |task: &Task| match task.state {
            State::Delayed => Some(task.run_at_ms),
            State::Running => task.lease_until_ms,
            _ => None,
        };
        self.tasks.values().filter_map(|row| free_at(&row.task)).min()
    }

    fn finish(&mut self, Ending { holding, outcome }: Ending, now_ms: UnixMs) -> Result<State> {
        let row = self.tasks.get(&holding.id).ok_or_else(|| step::unknown(holding.id))?;
        if step::said_again(&row.task, holding.attempt, &outcome) {
            return Ok(row.task.state);
        }
        let policy = self.policy(&row.task.queue, &row.task.task_type);
        let after = step::end(row.task.clone(), holding.attempt, outcome.clone(), &policy, now_ms)?;
        if let Outcome::Done { then, .. } = outcome {
            self.refuse_other_use(&then)?;
            self.refuse_many_types(types(&then))?;
            for new in then {
                self.put(new, Some(holding.id), now_ms);
            }
        }
        let state = after.state;
        if let Some(row) = self.tasks.get_mut(&holding.id) {
            row.task = after;
        }
        Ok(state)
    }

    fn change(&mut self, id: TaskId, change: impl FnOnce(Task) -> Result<Task>) -> Result<Task> {
        let mut row = self.tasks.get(&id).cloned().ok_or_else(|| step::unknown(id))?;
        row.task = change(row.task)?;
        self.stamp(&mut row);
        let task = row.task.clone();
        self.tasks.insert(id, row);
        Ok(task)
    }

    fn counts_of(&self, queue: &str, task_type: &str, now_ms: UnixMs) -> Counts {
        let count = |state| self.of_type(queue, task_type).filter(|task| task.state == state).count() as u64;
        let queued = self.of_type(queue, task_type).filter(|task| task.state == State::Queued);
        let ended = self.of_type(queue, task_type).filter_map(|task| task.ended_ms);
        Counts {
            queue: queue.into(),
            task_type: task_type.into(),
            delayed: count(State::Delayed),
            queued: count(State::Queued),
            running: count(State::Running),
            done: count(State::Done),
            dead: count(State::Dead),
            cancelled: count(State::Cancelled),
            oldest_ms: queued.map(|task| task.submitted_ms).min(),
            ended_per_minute: ended.filter(|ended_ms| *ended_ms > now_ms - MINUTE_MS).count() as u64,
            policy: self.policy(queue, task_type),
        }
    }
}

fn types(tasks: &[NewTask]) -> impl Iterator<Item = (&str, &str)> {
    tasks.iter().map(|task| (&*task.queue, &*task.task_type))
}

fn fits(filter: &Filter, task: &Task) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    same(&filter.queue, &task.queue)
        && same(&filter.task_type, &task.task_type)
        && same(&filter.caller, &task.caller)
        && filter.state.is_none_or(|state| state == task.state)
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn submit(&self, tasks: Vec<NewTask>) -> Result<Vec<Submitted>> {
        queue::check_submit(&tasks)?;
        let now_ms = self.clock.now_ms();
        let submitted = {
            let mut kept = self.state.lock();
            kept.refuse_other_use(&tasks)?;
            kept.refuse_many_types(types(&tasks))?;
            let known = |task: &NewTask| task.key.as_ref().is_some_and(|key| kept.with_key(&task.queue, key).is_some());
            if !tasks.iter().all(known) {
                kept.refuse_overfull(&tasks, self.depth_max)?;
            }
            tasks.into_iter().map(|task| kept.put(task, None, now_ms)).collect()
        };
        self.announce();
        Ok(submitted)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        queue::check_claim(claim)?;
        Ok(self.state.lock().claim(claim, self.clock.now_ms()))
    }

    async fn renew(&self, renewals: &[Renew], lease_ms: i64) -> Result<Vec<Renewal>> {
        queue::check_renewals(renewals, lease_ms)?;
        let now_ms = self.clock.now_ms();
        let mut kept = self.state.lock();
        let renew = |Renew { holding, progress }: &Renew| {
            let Some(Row { task, .. }) = kept.tasks.get_mut(&holding.id) else { return Renewal::Lost };
            if task.state != State::Running || task.attempts != holding.attempt {
                return Renewal::Lost;
            }
            task.lease_until_ms = Some(now_ms + lease_ms);
            if progress.is_some() {
                task.progress.clone_from(progress);
            }
            if task.cancelling { Renewal::Cancel } else { Renewal::Held }
        };
        Ok(renewals.iter().map(renew).collect())
    }

    async fn finish(&self, endings: Vec<Ending>) -> Result<Vec<Result<State>>> {
        queue::check_endings(&endings)?;
        let now_ms = self.clock.now_ms();
        let ended = {
            let mut kept = self.state.lock();
            endings.into_iter().map(|ending| kept.finish(ending, now_ms)).collect()
        };
        self.announce();
        Ok(ended)
    }

    async fn get(&self, id: TaskId) -> Result<Option<Task>> {
        Ok(self.state.lock().tasks.get(&id).map(|row| row.task.clone()))
    }

    async fn list(&self, filter: &Filter, before: Option<TaskId>, limit: usize) -> Result<Vec<Task>> {
        queue::check_page(limit)?;
        let kept = self.state.lock();
        let tasks = kept.tasks.values().rev().map(|row| &row.task);
        let wanted = |task: &&Task| before.is_none_or(|before| task.id < before) && fits(filter, task);
        Ok(tasks.filter(wanted).take(limit).cloned().collect())
    }

    async fn cancel(&self, id: TaskId) -> Result<Task> {
        let now_ms = self.clock.now_ms();
        self.state.lock().change(id, |task| step::cancel(task, now_ms))
    }

    async fn retry(&self, id: TaskId) -> Result<Task> {
        let now_ms = self.clock.now_ms();
        let task = self.state.lock().change(id, |task| step::retry(task, now_ms))?;
        self.announce();
        Ok(task)
    }

    async fn purge(&self, filter: &Filter, ended_before_ms: UnixMs, limit: usize) -> Result<u64> {
        let mut kept = self.state.lock();
        let gone = |task: &&Task| fits(filter, task) && task.ended_ms.is_some_and(|ended| ended < ended_before_ms);
        let mut ids: Vec<_> =
            (kept.tasks.values().map(|row| &row.task)).filter(gone).map(|task| (task.ended_ms, task.id)).collect();
        ids.sort_unstable();
        ids.truncate(limit);
        for (_, id) in &ids {
            let gone = kept.tasks.remove(id);
            if let Some(Row { task: Task { queue, key: Some(key), .. }, .. }) = gone {
                kept.keys.remove(&(queue, key));
            }
        }
        Ok(ids.len() as u64)
    }

    async fn counts(&self) -> Result<Vec<Counts>> {
        let kept = self.state.lock();
        let mut names: Vec<_> =
            kept.tasks.values().map(|row| (row.task.queue.clone(), row.task.task_type.clone())).collect();
        names.extend(kept.policies.keys().cloned());
        names.sort_unstable();
        names.dedup();
        let now_ms = self.clock.now_ms();
        Ok(names.iter().map(|(queue, task_type)| kept.counts_of(queue, task_type, now_ms)).collect())
    }

    async fn set_policy(&self, queue: &str, task_type: &str, policy: Policy) -> Result<()> {
        queue::check_name("queue", queue)?;
        queue::check_name("task type", task_type)?;
        queue::check_policy(&policy)?;
        let mut kept = self.state.lock();
        kept.refuse_many_types(std::iter::once((queue, task_type)))?;
        kept.policies.insert((queue.into(), task_type.into()), policy);
        drop(kept);
        self.announce();
        Ok(())
    }

    fn claimable<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        // Nobody else can submit here, so there is nothing to look for.
        self.claimable.wait(std::future::pending)
    }
}
