//! Any sequence of operations, from two processes, does to a queue what it does to a simple model of one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::queue::{
    Claim, Ending, Failure, Filter, Holding, NewTask, Outcome, Policy, Queue, Renew, Renewal, State, TaskId,
};
use kernel::{Caller, Code, Role};
use proptest::prelude::*;
use serde_json::json;

use crate::kit::{self, Kit};

const TYPES: [&str; 3] = ["a", "b", "c"];
const CALLERS: [&str; 3] = ["ann", "bob", "cleo"];
const LEASE_MS: i64 = 1_000;
/// Of type `c` only so many run at once.
const RUNNING_MAX: usize = 2;

#[derive(Debug, Clone)]
enum Op {
    Submit(Vec<New>),
    Claim {
        types: Vec<usize>,
        limit: usize,
    },
    End {
        which: usize,
        stale: bool,
        how: How,
    },
    Renew {
        which: usize,
        stale: bool,
    },
    Cancel(usize),
    Retry(usize),
    /// In tenths of a second: a busy queue looks for what is due that often.
    Advance(i64),
}

#[derive(Debug, Clone)]
struct New {
    task_type: usize,
    caller: usize,
    priority: u8,
    delay: i64,
    attempts: u32,
    key: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    Followed,
    Again,
    Never,
    Cancelled,
    Returned,
}

fn op() -> impl Strategy<Value = Op> {
    let new = (
        0usize..3,
        0usize..3,
        4u8..6,
        prop_oneof![3 => Just(0i64), 1 => 1i64..20],
        1u32..4,
        prop::option::weighted(0.2, 0u8..3),
    )
        .prop_map(|(task_type, caller, priority, delay, attempts, key)| New {
            task_type,
            caller,
            priority,
            delay,
            attempts,
            key,
        });
    let how = prop_oneof![
        3 => Just(How::Done), 2 => Just(How::Followed), 3 => Just(How::Again), 1 => Just(How::Never),
        1 => Just(How::Cancelled), 1 => Just(How::Returned)
    ];
    prop_oneof![
        4 => prop::collection::vec(new, 1..5).prop_map(Op::Submit),
        5 => (prop::collection::vec(0usize..3, 1..4), 1usize..5).prop_map(|(types, limit)| Op::Claim { types, limit }),
        5 => (any::<usize>(), prop::bool::weighted(0.15), how).prop_map(|(which, stale, how)| Op::End { which, stale, how }),
        2 => (any::<usize>(), prop::bool::weighted(0.15)).prop_map(|(which, stale)| Op::Renew { which, stale }),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => any::<usize>().prop_map(Op::Retry),
        3 => (1i64..15).prop_map(Op::Advance),
    ]
}

/// What the model knows of a task.
#[derive(Debug, Clone)]
struct Held {
    new: New,
    state: State,
    attempts: u32,
    attempts_max: u32,
    cancelling: bool,
    run_at_ms: i64,
    lease_ms: i64,
    turn: Option<u64>,
}

#[derive(Default)]
struct Model {
    tasks: BTreeMap<TaskId, Held>,
    own: BTreeMap<(u8, usize), u64>,
    given: BTreeMap<u8, u64>,
}

impl Model {
    fn stamp(&mut self, id: TaskId) {
        let held = self.tasks.get_mut(&id).unwrap();
        if held.state == State::Queued && held.turn.is_none() {
            let own = self.own.entry((held.new.priority, held.new.caller)).or_default();
            *own = (*own).max(self.given.get(&held.new.priority).copied().unwrap_or(0)) + 1;
            held.turn = Some(*own);
        }
    }

    fn add(&mut self, id: TaskId, new: New, now_ms: i64) {
        let run_at_ms = now_ms + new.delay * 100;
        let state = if new.delay > 0 { State::Delayed } else { State::Queued };
        let attempts_max = new.attempts;
        let held =
            Held { new, state, attempts: 0, attempts_max, cancelling: false, run_at_ms, lease_ms: 0, turn: None };
        self.tasks.insert(id, held);
        self.stamp(id);
    }

    fn with_key(&self, key: u8) -> Option<TaskId> {
        self.tasks.iter().find(|(_, held)| held.new.key == Some(key)).map(|(id, _)| *id)
    }

    fn nth(&self, which: usize) -> Option<TaskId> {
        self.tasks.keys().nth(which % self.tasks.len().max(1)).copied()
    }

    /// What a claim does first: time has its way.
    fn sweep(&mut self, now_ms: i64) {
        for held in self.tasks.values_mut() {
            if held.state == State::Running && held.lease_ms <= now_ms {
                held.state = match () {
                    () if held.cancelling => State::Cancelled,
                    () if held.attempts < held.attempts_max => State::Queued,
                    () => State::Dead,
                };
                held.cancelling &= held.state == State::Queued;
            }
        }
        let mut due: Vec<_> = (self.tasks.iter())
            .filter(|(_, held)| held.state == State::Delayed && held.run_at_ms <= now_ms)
            .map(|(id, held)| (held.run_at_ms, *id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            self.tasks.get_mut(&id).unwrap().state = State::Queued;
            self.stamp(id);
        }
    }

    fn claim(&mut self, types: &[usize], limit: usize, now_ms: i64) -> Vec<(TaskId, u32)> {
        self.sweep(now_ms);
        let running =
            self.tasks.values().filter(|held| held.new.task_type == 2 && held.state == State::Running).count();
        let mut room = RUNNING_MAX.saturating_sub(running);
        let mut free: Vec<_> = (self.tasks.iter())
            .filter(|(_, held)| held.state == State::Queued && types.contains(&held.new.task_type))
            .map(|(id, held)| (Reverse(held.new.priority), held.turn, *id))
            .collect();
        free.sort_unstable();
        let mut claimed = Vec::new();
        for (_, turn, id) in free {
            let held = self.tasks.get_mut(&id).unwrap();
            if claimed.len() == limit || (held.new.task_type == 2 && room == 0) {
                continue;
            }
            room -= usize::from(held.new.task_type == 2);
            (held.state, held.attempts, held.lease_ms) = (State::Running, held.attempts + 1, now_ms + LEASE_MS);
            let given = self.given.entry(held.new.priority).or_default();
            *given = (*given).max(turn.unwrap());
            claimed.push((id, held.attempts));
        }
        claimed
    }

    fn end(&mut self, id: TaskId, attempt: u32, how: How) -> Result<State, Code> {
        let Some(held) = self.tasks.get_mut(&id) else { return Err(Code::NotFound) };
        let said_again = held.state == State::Done && held.attempts == attempt;
        if said_again && matches!(how, How::Done | How::Followed) {
            return Ok(State::Done);
        }
        if held.state != State::Running || held.attempts != attempt {
            return Err(Code::Conflict);
        }
        held.state = match how {
            How::Done | How::Followed => State::Done,
            How::Cancelled => State::Cancelled,
            _ if held.cancelling => State::Cancelled,
            How::Again if held.attempts < held.attempts_max => State::Delayed,
            How::Again | How::Never => State::Dead,
            How::Returned => {
                held.attempts_max += 1;
                State::Queued
            }
        };
        held.cancelling &= !held.state.is_ended();
        Ok(held.state)
    }
}

fn outcome(how: How, follower: &NewTask) -> Outcome {
    let failure = Failure { code: Code::Upstream, message: "no".into() };
    match how {
        How::Done => Outcome::Done { result: json!(1), then: Vec::new() },
        How::Followed => Outcome::Done { result: json!(1), then: vec![follower.clone()] },
        How::Again => Outcome::Failed { failure, retry: true },
        How::Never => Outcome::Failed { failure, retry: false },
        How::Cancelled => Outcome::Cancelled,
        How::Returned => Outcome::Returned,
    }
}

fn real(new: &New, now_ms: i64) -> NewTask {
    NewTask {
        key: new.key.map(|key| format!("k{key}")),
        run_at_ms: (new.delay > 0).then_some(now_ms + new.delay * 100),
        attempts_max: Some(new.attempts),
        priority: new.priority,
        // What is keyed is otherwise the same, so that the key fits.
        ..NewTask::new("q", TYPES[new.task_type], json!(0), &Caller::new(CALLERS[new.caller], Role::Operator))
    }
}

const FOLLOWER: New = New { task_type: 0, caller: 0, priority: 5, delay: 0, attempts: 2, key: None };

async fn run(kit: &Kit, ops: Vec<Op>) {
    let mut model = Model::default();
    let policy = Policy { running_max: RUNNING_MAX as u32, ..Policy::default() };
    kit.queue.set_policy("q", "c", policy).await.unwrap();
    for (index, op) in ops.into_iter().enumerate() {
        let queue = if index % 3 == 0 { &kit.other.queue } else { &kit.queue };
        let now_ms = kit.clock.now_ms();
        match op {
            Op::Submit(mut news) => {
                for new in news.iter_mut().filter(|new| new.key.is_some()) {
                    new.task_type = 0;
                }
                let submitted = queue.submit(news.iter().map(|new| real(new, now_ms)).collect()).await.unwrap();
                for (new, answer) in news.into_iter().zip(submitted) {
                    let had = new.key.and_then(|key| model.with_key(key));
                    assert_eq!(had.unwrap_or(answer.id), answer.id);
                    assert_eq!(answer.fresh, had.is_none());
                    if answer.fresh {
                        model.add(answer.id, new, now_ms);
                    }
                }
            }
            Op::Claim { types, limit } => {
                let names = types.iter().map(|of| TYPES[*of].to_owned()).collect();
                let claim = Claim { queue: "q".into(), types: names, limit, lease_ms: LEASE_MS, worker: "w".into() };
                let claimed = queue.claim(&claim).await.unwrap();
                let seen: Vec<_> = claimed.tasks.iter().map(|task| (task.id, task.attempts)).collect();
                assert_eq!(seen, model.claim(&types, limit, now_ms));
            }
            Op::End { which, stale, how } => end(&mut model, queue, (which, stale), how, now_ms).await,
            Op::Renew { which, stale } => renew(&mut model, queue, (which, stale), now_ms).await,
            Op::Cancel(which) => cancel(&mut model, queue, which).await,
            Op::Retry(which) => retry(&mut model, queue, which).await,
            Op::Advance(tenths) => kit.clock.advance_ms(tenths * 100),
        }
    }
    compare(kit, &model).await;
}

async fn end(model: &mut Model, queue: &Arc<dyn Queue>, (which, stale): (usize, bool), how: How, now_ms: i64) {
    let Some(id) = model.nth(which) else { return };
    let attempt = model.tasks[&id].attempts.saturating_sub(u32::from(stale));
    let holding = Holding { id, attempt };
    let ended = queue.finish(vec![Ending { holding, outcome: outcome(how, &real(&FOLLOWER, now_ms)) }]).await;
    let wanted = model.end(id, attempt, how);
    let was_done = model.tasks[&id].state == State::Done;
    assert_eq!(ended.unwrap()[0].as_ref().map(|state| *state).map_err(|fault| fault.code), wanted);
    if wanted == Ok(State::Delayed) {
        // The wait is random, within a bound that doubles.
        let task = queue.get(id).await.unwrap().unwrap();
        let held = model.tasks.get_mut(&id).unwrap();
        let failures = held.attempts + held.new.attempts - held.attempts_max;
        assert!((1..=1_000 << (failures - 1)).contains(&(task.run_at_ms - now_ms)));
        held.run_at_ms = task.run_at_ms;
    }
    if let (Ok(State::Done), How::Followed, true) = (&wanted, how, was_done) {
        follow(model, queue, id, now_ms).await;
    }
}

async fn renew(model: &mut Model, queue: &Arc<dyn Queue>, (which, stale): (usize, bool), now_ms: i64) {
    let Some(id) = model.nth(which) else { return };
    let held = model.tasks.get_mut(&id).unwrap();
    let attempt = held.attempts.saturating_sub(u32::from(stale));
    let renew = Renew { holding: Holding { id, attempt }, progress: None };
    let wanted = match held.state == State::Running && held.attempts == attempt {
        false => Renewal::Lost,
        true if held.cancelling => Renewal::Cancel,
        true => Renewal::Held,
    };
    if wanted != Renewal::Lost {
        held.lease_ms = now_ms + LEASE_MS;
    }
    assert_eq!(queue.renew(&[renew], LEASE_MS).await.unwrap(), [wanted]);
}

async fn cancel(model: &mut Model, queue: &Arc<dyn Queue>, which: usize) {
    let Some(id) = model.nth(which) else { return };
    let held = model.tasks.get_mut(&id).unwrap();
    let done = queue.cancel(id).await.map(|task| task.state).map_err(|fault| fault.code);
    match held.state {
        State::Running => held.cancelling = true,
        State::Delayed | State::Queued => held.state = State::Cancelled,
        _ => {
            assert_eq!(done, Err(Code::Conflict));
            return;
        }
    }
    assert_eq!(done, Ok(held.state));
}

async fn retry(model: &mut Model, queue: &Arc<dyn Queue>, which: usize) {
    let Some(id) = model.nth(which) else { return };
    let held = model.tasks.get_mut(&id).unwrap();
    let done = queue.retry(id).await.map(|task| task.state).map_err(|fault| fault.code);
    if !matches!(held.state, State::Delayed | State::Dead | State::Cancelled) {
        assert_eq!(done, Err(Code::Conflict));
        return;
    }
    if held.state != State::Delayed {
        held.attempts_max = held.attempts + held.new.attempts;
    }
    held.state = State::Queued;
    model.stamp(id);
    assert_eq!(done, Ok(State::Queued));
}

/// The successor of a task that was just done is in the model too, once.
async fn follow(model: &mut Model, queue: &Arc<dyn Queue>, parent: TaskId, now_ms: i64) {
    let newest = queue.list(&Filter::default(), None, 1).await.unwrap().remove(0);
    if newest.parent == Some(parent) && !model.tasks.contains_key(&newest.id) {
        model.add(newest.id, FOLLOWER, now_ms);
    }
}

async fn compare(kit: &Kit, model: &Model) {
    let listed = kit.queue.list(&Filter::default(), None, 500).await.unwrap();
    assert_eq!(listed.len(), model.tasks.len());
    for task in &listed {
        let held = &model.tasks[&task.id];
        let seen = (task.state, task.attempts, task.attempts_max, task.cancelling);
        assert_eq!(seen, (held.state, held.attempts, held.attempts_max, held.cancelling), "{}", task.id);
        assert_eq!(task.ended_ms.is_some(), task.state.is_ended());
        assert_eq!(task.lease_until_ms.is_some(), task.state == State::Running);
    }
    for counts in kit.other.queue.counts().await.unwrap() {
        let count = |state| {
            let all = listed.iter().filter(|task| task.task_type == counts.task_type);
            all.filter(|task| task.state == state).count() as u64
        };
        let seen = [counts.delayed, counts.queued, counts.running, counts.done, counts.dead, counts.cancelled];
        assert_eq!(seen, State::ALL.map(count));
    }
}

fn on_a_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn memory_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        on_a_runtime(async { run(&kit::memory().await, ops).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        on_a_runtime(async { run(&kit::sqlite().await, ops).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn postgres_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        on_a_runtime(async {
            if let Some(kit) = kit::postgres().await {
                run(&kit, ops).await;
            }
        });
    }
}
