//! The queue, on every backend.

mod crash;
mod machine;

use std::sync::Arc;

pub(crate) use crash::{all_ended, hold, prove, submit_all, work as work_until_done};
use kernel::queue::{
    Claim, Ending, Failure, Filter, Holding, LEASE_MS_MIN, NewTask, Outcome, PAYLOAD_BYTES_MAX, Policy, Progress,
    QUEUE_TYPES_MAX, Queue, Renew, Renewal, SUBMIT_MAX, State, Task, TaskId,
};
use kernel::{Caller, Code, Fault, Role};
use serde_json::{Value, json};

use crate::kit::{DEPTH_MAX, Kit, START_MS, on_every_backend, soon};

on_every_backend!(
    callers_take_turns_and_each_keeps_its_order,
    a_higher_priority_goes_first_and_types_are_kept_apart,
    what_is_for_later_waits_for_its_time,
    a_key_makes_one_task,
    a_full_queue_refuses_and_says_when,
    a_result_is_kept_and_said_again_is_no_harm,
    a_late_ending_is_refused,
    failures_are_tried_again_later_and_then_are_dead_letters,
    a_lapsed_lease_is_taken_over_until_the_attempts_are_used_up,
    cancelling_reaches_what_waits_and_what_runs,
    successors_are_submitted_with_the_ending_or_not_at_all,
    what_is_given_back_costs_no_attempt,
    retrying_by_hand_gives_new_attempts,
    no_more_run_at_once_than_may,
    counts_are_true_and_purging_keeps_them_so,
    waiters_are_nudged_by_what_can_be_claimed,
    a_task_keeps_what_its_caller_may_do,
    a_queue_has_a_bounded_number_of_types,
    out_of_range_arguments_are_refused,
);

const LEASE_MS: i64 = 1_000;

pub(crate) fn task(caller: &str, n: u64) -> NewTask {
    NewTask::new("q", "t", json!({ "n": n }), &Caller::new(caller, Role::Operator))
}

fn claim_of(limit: usize) -> Claim {
    Claim { queue: "q".into(), types: vec!["t".into()], limit, lease_ms: LEASE_MS, worker: "w".into() }
}

async fn claim(queue: &Arc<dyn Queue>, limit: usize) -> Vec<Task> {
    queue.claim(&claim_of(limit)).await.unwrap().tasks
}

async fn submit(queue: &Arc<dyn Queue>, task: NewTask) -> TaskId {
    let submitted = queue.submit(vec![task]).await.unwrap();
    assert!(submitted[0].fresh);
    submitted[0].id
}

fn holding(task: &Task) -> Holding {
    Holding { id: task.id, attempt: task.attempts }
}

pub(crate) fn done(result: Value) -> Outcome {
    Outcome::Done { result, then: Vec::new() }
}

fn failed(retry: bool) -> Outcome {
    Outcome::Failed { failure: Failure { code: Code::Upstream, message: "no answer".into() }, retry }
}

pub(crate) async fn end(queue: &Arc<dyn Queue>, task: &Task, outcome: Outcome) -> Result<State, Fault> {
    let mut ended = queue.finish(vec![Ending { holding: holding(task), outcome }]).await.unwrap();
    assert_eq!(ended.len(), 1);
    ended.remove(0)
}

async fn seen(queue: &Arc<dyn Queue>, id: TaskId) -> Task {
    queue.get(id).await.unwrap().unwrap()
}

fn numbers(tasks: &[Task]) -> Vec<(String, u64)> {
    tasks.iter().map(|task| (task.caller.clone(), task.payload["n"].as_u64().unwrap())).collect()
}

async fn callers_take_turns_and_each_keeps_its_order(kit: Kit) {
    let many: Vec<NewTask> = (0..6).map(|n| task("ann", n)).collect();
    kit.queue.submit(many).await.unwrap();
    let first = claim(&kit.other.queue, 2).await;
    assert_eq!(numbers(&first), [("ann".into(), 0), ("ann".into(), 1)]);
    // Whoever comes later does not wait behind all that was there before.
    kit.other.queue.submit(vec![task("bob", 10), task("bob", 11)]).await.unwrap();
    submit(&kit.queue, task("cleo", 20)).await;
    let next = numbers(&claim(&kit.queue, 4).await);
    assert_eq!(next.iter().map(|(caller, _)| caller.as_str()).collect::<Vec<_>>(), ["ann", "bob", "cleo", "ann"]);
    let last = numbers(&claim(&kit.other.queue, 9).await);
    assert_eq!(last, [("bob".into(), 11), ("ann".into(), 4), ("ann".into(), 5)]);
}

async fn a_higher_priority_goes_first_and_types_are_kept_apart(kit: Kit) {
    kit.queue.submit(vec![task("ann", 0), task("ann", 1).priority(9), task("ann", 2).priority(0)]).await.unwrap();
    submit(&kit.queue, NewTask { task_type: "u".into(), ..task("ann", 3).priority(7) }).await;
    submit(&kit.queue, NewTask { task_type: "v".into(), ..task("ann", 4).priority(9) }).await;
    submit(&kit.queue, NewTask { queue: "p".into(), ..task("ann", 5).priority(9) }).await;
    let both = Claim { types: vec!["u".into(), "t".into(), "t".into()], ..claim_of(9) };
    let claimed = numbers(&kit.other.queue.claim(&both).await.unwrap().tasks);
    assert_eq!(claimed.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 3, 0, 2]);
}

async fn a_task_keeps_what_its_caller_may_do(kit: Kit) {
    let agent = Caller::new("agent:execution", Role::Agent("execution".into()));
    for (caller, role) in [
        (Caller::new("ann", Role::Admin), "admin"),
        (agent.clone(), "agent:execution"),
        // What an agent does for somebody stays within what they may do, also when it hands it on.
        (agent.within(Role::Operator), "operator"),
    ] {
        let id = submit(&kit.queue, NewTask::new("q", "t", json!({ "n": 0 }), &caller)).await;
        assert_eq!(seen(&kit.other.queue, id).await.role.to_string(), role);
    }
    let claimed = claim(&kit.other.queue, 9).await;
    let roles: Vec<String> = claimed.iter().map(|task| task.role.to_string()).collect();
    assert_eq!(roles, ["admin", "agent:execution", "operator"]);
}

async fn a_queue_has_a_bounded_number_of_types(kit: Kit) {
    let typed = |n: usize| NewTask { task_type: format!("t{n}"), ..task("ann", 0) };
    for some in (0..QUEUE_TYPES_MAX - 1).collect::<Vec<_>>().chunks(100) {
        kit.queue.submit(some.iter().map(|n| typed(*n)).collect()).await.unwrap();
    }
    kit.other.queue.set_policy("q", "treated", Policy::default()).await.unwrap();
    let refused = |fault: Fault| fault.code;
    assert_eq!(kit.queue.submit(vec![typed(0), typed(999)]).await.map_err(refused), Err(Code::TooLarge));
    assert_eq!(kit.queue.set_policy("q", "other", Policy::default()).await.map_err(refused), Err(Code::TooLarge));
    kit.queue.set_policy("q", "t1", Policy::default()).await.unwrap();
    submit(&kit.queue, typed(0)).await;
    submit(&kit.queue, NewTask { queue: "p".into(), ..typed(999) }).await;
    // A task that would submit one type too many does not end so, and may end otherwise.
    let one = Claim { types: vec!["t2".into()], ..claim_of(1) };
    let held = kit.queue.claim(&one).await.unwrap().tasks.remove(0);
    let then = Outcome::Done { result: json!(1), then: vec![typed(999)] };
    assert_eq!(end(&kit.queue, &held, then).await.map_err(refused), Err(Code::TooLarge));
    assert_eq!(end(&kit.queue, &held, done(json!(1))).await, Ok(State::Done));
    // A type is forgotten with the last of its tasks.
    kit.clock.advance_ms(1);
    assert_eq!(kit.queue.purge(&Filter::default(), kit.clock.now_ms(), 10).await.unwrap(), 1);
    submit(&kit.other.queue, typed(999)).await;
}

async fn what_is_for_later_waits_for_its_time(kit: Kit) {
    let late = submit(&kit.queue, task("ann", 0).at(START_MS + 60_000)).await;
    submit(&kit.queue, task("ann", 1).at(START_MS)).await;
    assert_eq!(seen(&kit.other.queue, late).await.state, State::Delayed);
    assert_eq!(numbers(&claim(&kit.queue, 9).await), [("ann".into(), 1)]);
    let nothing = kit.other.queue.claim(&claim_of(9)).await.unwrap();
    assert_eq!((nothing.tasks.len(), nothing.next_ms), (0, Some(START_MS + LEASE_MS)));
    kit.clock.advance_ms(60_000);
    let due = claim(&kit.other.queue, 9).await;
    // The first one's lease is over as well, and its turn was earlier.
    assert_eq!(numbers(&due), [("ann".into(), 1), ("ann".into(), 0)]);
    assert_eq!(due[1].started_ms, Some(START_MS + 60_000));
}

async fn a_key_makes_one_task(kit: Kit) {
    let keyed = || task("ann", 0).key("order-1");
    let first = submit(&kit.queue, keyed()).await;
    for queue in [&kit.queue, &kit.other.queue] {
        let again = queue.submit(vec![keyed(), task("ann", 1), keyed()]).await.unwrap();
        assert_eq!((again[0].id, again[0].fresh, again[1].fresh, again[2].id), (first, false, true, first));
    }
    let elsewhere = submit(&kit.queue, NewTask { queue: "p".into(), ..keyed() }).await;
    assert_ne!(elsewhere, first);
    for other in [task("ann", 7).key("order-1"), NewTask { task_type: "u".into(), ..keyed() }] {
        let fault = kit.queue.submit(vec![task("ann", 8), other]).await.unwrap_err();
        assert_eq!((fault.code, fault.data), (Code::Conflict, Some(Box::new(json!({ "id": first })))));
    }
    let twice = kit.queue.submit(vec![task("ann", 1).key("new"), task("ann", 2).key("new")]).await.unwrap_err();
    assert_eq!(twice.code, Code::Conflict);
    let all = kit.queue.list(&Filter { queue: Some("q".into()), ..Filter::default() }, None, 100).await.unwrap();
    assert_eq!(all.len(), 3, "a refused submission leaves nothing");
    // Whatever became of it, as long as it is kept.
    let held = claim(&kit.queue, 9).await;
    end(&kit.queue, &held[0], done(json!(1))).await.unwrap();
    assert_eq!(kit.queue.submit(vec![keyed()]).await.unwrap()[0].id, first);
    kit.clock.advance_ms(1_000);
    assert_eq!(kit.queue.purge(&Filter::default(), kit.clock.now_ms(), 10).await.unwrap(), 1);
    assert_ne!(submit(&kit.queue, keyed()).await, first);
}

async fn a_full_queue_refuses_and_says_when(kit: Kit) {
    let first = submit(&kit.queue, task("ann", 0).key("k")).await;
    kit.queue.submit((1..500).map(|n| task("ann", n)).collect()).await.unwrap();
    let over = (500..DEPTH_MAX + 1).map(|n| task("bob", n)).collect();
    let fault = kit.other.queue.submit(over).await.unwrap_err();
    assert_eq!(fault.code, Code::RateLimited);
    let data = json!({ "queue": "q", "depth_max": DEPTH_MAX, "retry_after_ms": 1_000 });
    assert_eq!(*fault.data.unwrap(), data);
    kit.other.queue.submit((500..DEPTH_MAX).map(|n| task("bob", n)).collect()).await.unwrap();
    assert_eq!(kit.queue.submit(vec![task("cleo", 0)]).await.unwrap_err().code, Code::RateLimited);
    assert_eq!(kit.queue.submit(vec![task("ann", 0).key("k")]).await.unwrap()[0].id, first, "nothing new");
    submit(&kit.queue, NewTask { queue: "p".into(), ..task("cleo", 0) }).await;
    // What runs does not wait, and what follows from it is never refused.
    let held = claim(&kit.queue, 2).await;
    submit(&kit.queue, task("cleo", 0)).await;
    let then = vec![task("cleo", 1), task("cleo", 2), task("cleo", 3)];
    assert_eq!(end(&kit.queue, &held[0], Outcome::Done { result: json!(1), then }).await, Ok(State::Done));
    assert_eq!(kit.queue.submit(vec![task("cleo", 9)]).await.unwrap_err().code, Code::RateLimited);
}

async fn a_result_is_kept_and_said_again_is_no_harm(kit: Kit) {
    let id = submit(&kit.queue, task("ann", 0)).await;
    let held = claim(&kit.queue, 1).await.remove(0);
    assert_eq!((held.state, held.attempts, held.worker.as_deref()), (State::Running, 1, Some("w")));
    assert_eq!(held.lease_until_ms, Some(START_MS + LEASE_MS));
    let then = || vec![task("ann", 1)];
    for queue in [&kit.queue, &kit.other.queue] {
        let outcome = Outcome::Done { result: json!({ "gain": "17" }), then: then() };
        assert_eq!(end(queue, &held, outcome).await, Ok(State::Done));
        assert_eq!(end(queue, &held, done(json!("other"))).await, Ok(State::Done));
    }
    let ended = seen(&kit.other.queue, id).await;
    assert_eq!((ended.result, ended.ended_ms), (Some(json!({ "gain": "17" })), Some(START_MS)));
    assert_eq!(claim(&kit.queue, 9).await.len(), 1, "its successor once");
}

async fn a_late_ending_is_refused(kit: Kit) {
    let id = submit(&kit.queue, task("ann", 0)).await;
    let slow = claim(&kit.queue, 1).await.remove(0);
    kit.clock.advance_ms(LEASE_MS);
    let quick = claim(&kit.other.queue, 1).await.remove(0);
    assert_eq!((quick.id, quick.attempts), (id, 2));
    for outcome in [done(json!(1)), failed(true), Outcome::Cancelled, Outcome::Returned] {
        let fault = end(&kit.queue, &slow, outcome).await.unwrap_err();
        let data = json!({ "state": "running", "attempts": 2 });
        assert_eq!((fault.code, fault.data), (Code::Conflict, Some(Box::new(data))));
    }
    let renew = |task: &Task| Renew { holding: holding(task), progress: None };
    let heard = kit.queue.renew(&[renew(&slow), renew(&quick)], LEASE_MS).await.unwrap();
    assert_eq!(heard, [Renewal::Lost, Renewal::Held]);
    // One that is late does not keep the others from ending.
    let other = submit(&kit.queue, task("ann", 1)).await;
    let third = claim(&kit.queue, 1).await.remove(0);
    let endings =
        [&slow, &third, &quick].map(|task| Ending { holding: holding(task), outcome: done(json!(task.attempts)) });
    let ended = kit.queue.finish(endings.into()).await.unwrap();
    assert_eq!(ended.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(
        (seen(&kit.queue, id).await.result, seen(&kit.queue, other).await.result),
        (Some(json!(2)), Some(json!(1)))
    );
    let unknown = Task { id: TaskId(999), ..third };
    assert_eq!(end(&kit.queue, &unknown, done(json!(1))).await.unwrap_err().code, Code::NotFound);
}

async fn failures_are_tried_again_later_and_then_are_dead_letters(kit: Kit) {
    let policy = Policy { attempts_max: 3, backoff_first_ms: 1_000, backoff_max_ms: 1_500, running_max: 9 };
    kit.other.queue.set_policy("q", "t", policy).await.unwrap();
    let id = submit(&kit.queue, task("ann", 0)).await;
    for bound_ms in [1_000, 1_500] {
        let held = claim(&kit.queue, 1).await.remove(0);
        assert_eq!(end(&kit.queue, &held, failed(true)).await, Ok(State::Delayed));
        let wait_ms = seen(&kit.queue, id).await.run_at_ms - kit.clock.now_ms();
        assert!((1..=bound_ms).contains(&wait_ms), "{wait_ms}");
        assert_eq!(kit.other.queue.claim(&claim_of(1)).await.unwrap().next_ms, Some(kit.clock.now_ms() + wait_ms));
        kit.clock.advance_ms(wait_ms + 100);
    }
    let held = claim(&kit.queue, 1).await.remove(0);
    assert_eq!((held.attempts, held.attempts_max), (3, 3));
    assert_eq!(end(&kit.queue, &held, failed(true)).await, Ok(State::Dead));
    let dead = kit.queue.list(&Filter { state: Some(State::Dead), ..Filter::default() }, None, 10).await.unwrap();
    assert_eq!((dead[0].id, dead[0].failure.as_ref().unwrap().code), (id, Code::Upstream));
    submit(&kit.queue, task("ann", 1)).await;
    let held = claim(&kit.queue, 1).await.remove(0);
    assert_eq!(end(&kit.queue, &held, failed(false)).await, Ok(State::Dead), "no attempt would help");
}

async fn a_lapsed_lease_is_taken_over_until_the_attempts_are_used_up(kit: Kit) {
    let id = submit(&kit.queue, NewTask { attempts_max: Some(2), ..task("ann", 0) }).await;
    let first = claim(&kit.queue, 1).await.remove(0);
    kit.clock.advance_ms(LEASE_MS - 1);
    let renewed = kit.queue.renew(&[Renew { holding: holding(&first), progress: None }], LEASE_MS).await.unwrap();
    assert_eq!(renewed, [Renewal::Held]);
    kit.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(claim(&kit.other.queue, 1).await, []);
    kit.clock.advance_ms(1_000);
    let second = claim(&kit.other.queue, 1).await.remove(0);
    assert_eq!((second.attempts, second.failure.unwrap().code), (2, Code::Unavailable));
    kit.clock.advance_ms(LEASE_MS);
    assert_eq!(claim(&kit.queue, 1).await, []);
    let dead = seen(&kit.queue, id).await;
    assert_eq!((dead.state, dead.ended_ms), (State::Dead, Some(kit.clock.now_ms())));
    // Late as it is, nobody else has it: what was done counts.
    submit(&kit.queue, task("ann", 1)).await;
    let held = claim(&kit.queue, 1).await.remove(0);
    kit.clock.advance_ms(10 * LEASE_MS);
    assert_eq!(end(&kit.queue, &held, done(json!(1))).await, Ok(State::Done));
}

async fn cancelling_reaches_what_waits_and_what_runs(kit: Kit) {
    let ids = [task("ann", 0), task("ann", 1).at(START_MS + 9_000), task("ann", 2)];
    let ids: Vec<TaskId> = kit.queue.submit(ids.into()).await.unwrap().iter().map(|new| new.id).collect();
    let held = claim(&kit.queue, 1).await.remove(0);
    for (id, state) in ids.iter().zip([State::Running, State::Cancelled, State::Cancelled]) {
        assert_eq!(kit.other.queue.cancel(*id).await.unwrap().state, state);
    }
    assert_eq!(kit.queue.cancel(ids[2]).await.unwrap_err().code, Code::Conflict);
    assert_eq!(kit.queue.cancel(TaskId(99)).await.unwrap_err().code, Code::NotFound);
    let progress = Progress { fraction: 0.5, message: "half".into() };
    let renew = Renew { holding: holding(&held), progress: Some(progress.clone()) };
    assert_eq!(kit.queue.renew(&[renew], LEASE_MS).await.unwrap(), [Renewal::Cancel]);
    let running = seen(&kit.queue, ids[0]).await;
    assert_eq!((running.cancelling, running.progress), (true, Some(progress)));
    assert_eq!(end(&kit.queue, &held, failed(true)).await, Ok(State::Cancelled), "not tried again");
    // A worker that died does not keep it from being cancelled.
    let id = submit(&kit.queue, task("ann", 3)).await;
    claim(&kit.queue, 1).await;
    kit.queue.cancel(id).await.unwrap();
    kit.clock.advance_ms(LEASE_MS);
    assert_eq!(claim(&kit.queue, 1).await, []);
    let gone = seen(&kit.queue, id).await;
    assert_eq!((gone.state, gone.cancelling), (State::Cancelled, false));
}

async fn successors_are_submitted_with_the_ending_or_not_at_all(kit: Kit) {
    let id = submit(&kit.queue, task("ann", 0)).await;
    submit(&kit.queue, NewTask { queue: "p".into(), ..task("ann", 1) }.key("k")).await;
    let held = claim(&kit.queue, 1).await.remove(0);
    let then = vec![task("bob", 2), NewTask { queue: "p".into(), ..task("ann", 9) }.key("k")];
    let fault = end(&kit.queue, &held, Outcome::Done { result: json!(1), then }).await.unwrap_err();
    assert_eq!((fault.code, seen(&kit.queue, id).await.state), (Code::Conflict, State::Running));
    assert_eq!(claim(&kit.queue, 9).await, []);
    let then = vec![task("bob", 2), NewTask { queue: "p".into(), ..task("ann", 1) }.key("k")];
    assert_eq!(end(&kit.queue, &held, Outcome::Done { result: json!(1), then }).await, Ok(State::Done));
    let followed = claim(&kit.other.queue, 9).await;
    assert_eq!((numbers(&followed), followed[0].parent), (vec![("bob".into(), 2)], Some(id)));
}

async fn what_is_given_back_costs_no_attempt(kit: Kit) {
    submit(&kit.queue, NewTask { attempts_max: Some(1), ..task("ann", 0) }).await;
    for attempt in 1..=3 {
        let held = claim(&kit.queue, 1).await.remove(0);
        assert_eq!(held.attempts, attempt);
        assert_eq!(end(&kit.queue, &held, Outcome::Returned).await, Ok(State::Queued));
    }
    let held = claim(&kit.other.queue, 1).await.remove(0);
    assert_eq!(end(&kit.queue, &held, failed(true)).await, Ok(State::Dead));
}

async fn retrying_by_hand_gives_new_attempts(kit: Kit) {
    let id = submit(&kit.queue, NewTask { attempts_max: Some(2), ..task("ann", 0) }).await;
    assert_eq!(kit.queue.retry(id).await.unwrap_err().code, Code::Conflict);
    let held = claim(&kit.queue, 1).await.remove(0);
    end(&kit.queue, &held, failed(false)).await.unwrap();
    let again = kit.other.queue.retry(id).await.unwrap();
    assert_eq!((again.state, again.attempts_max, again.ended_ms), (State::Queued, 3, None));
    for state in [State::Delayed, State::Dead] {
        let held = claim(&kit.queue, 1).await.remove(0);
        assert_eq!(end(&kit.queue, &held, failed(true)).await, Ok(state));
        if state == State::Delayed {
            assert_eq!(kit.queue.retry(id).await.unwrap().attempts_max, 3, "sooner, not more often");
        }
    }
    let later = submit(&kit.queue, task("ann", 1).at(START_MS + 99_000)).await;
    assert_eq!(kit.queue.retry(later).await.unwrap().state, State::Queued);
    assert_eq!(claim(&kit.queue, 9).await[0].id, later);
    assert_eq!(kit.queue.retry(TaskId(99)).await.unwrap_err().code, Code::NotFound);
}

async fn no_more_run_at_once_than_may(kit: Kit) {
    kit.queue.set_policy("q", "t", Policy { running_max: 2, ..Policy::default() }).await.unwrap();
    kit.queue.submit((0..5).map(|n| task("ann", n)).collect()).await.unwrap();
    submit(&kit.queue, NewTask { task_type: "u".into(), ..task("ann", 9) }).await;
    let held = claim(&kit.queue, 4).await;
    assert_eq!((held.len(), claim(&kit.other.queue, 4).await.len()), (2, 0));
    let both = Claim { types: vec!["t".into(), "u".into()], ..claim_of(4) };
    assert_eq!(kit.queue.claim(&both).await.unwrap().tasks.len(), 1, "others may");
    end(&kit.queue, &held[0], done(json!(1))).await.unwrap();
    assert_eq!(numbers(&claim(&kit.other.queue, 4).await), [("ann".into(), 2)]);
    kit.queue.set_policy("q", "t", Policy { running_max: 1, ..Policy::default() }).await.unwrap();
    assert_eq!(claim(&kit.queue, 4).await, [], "fewer than run already");
}

async fn counts_are_true_and_purging_keeps_them_so(kit: Kit) {
    kit.queue.submit((0..6).map(|n| task("ann", n)).collect()).await.unwrap();
    submit(&kit.queue, task("ann", 6).at(START_MS + 90_000)).await;
    kit.clock.advance_ms(500);
    let held = claim(&kit.queue, 4).await;
    for (task, outcome) in held.iter().zip([done(json!(1)), failed(false), Outcome::Cancelled]) {
        end(&kit.queue, task, outcome).await.unwrap();
    }
    let counts = kit.other.queue.counts().await.unwrap();
    let of = |c: &kernel::queue::Counts| (c.delayed, c.queued, c.running, c.done, c.dead, c.cancelled);
    assert_eq!((counts.len(), of(&counts[0])), (1, (1, 2, 1, 1, 1, 1)));
    assert_eq!((counts[0].oldest_ms, counts[0].ended_per_minute), (Some(START_MS), 3));
    assert_eq!(kit.queue.purge(&Filter::default(), kit.clock.now_ms(), 10).await.unwrap(), 0, "not old enough");
    kit.clock.advance_ms(120_000);
    let dead = Filter { state: Some(State::Dead), ..Filter::default() };
    assert_eq!(kit.queue.purge(&dead, kit.clock.now_ms(), 10).await.unwrap(), 1);
    assert_eq!(of(&kit.queue.counts().await.unwrap()[0]), (1, 2, 1, 1, 0, 1));
    assert_eq!(kit.queue.counts().await.unwrap()[0].ended_per_minute, 0);
    assert_eq!(kit.queue.purge(&Filter::default(), kit.clock.now_ms(), 1).await.unwrap(), 1, "at most so many");
    assert_eq!(kit.queue.purge(&Filter::default(), kit.clock.now_ms(), 10).await.unwrap(), 1);
    let left = kit.queue.list(&Filter::default(), None, 100).await.unwrap();
    assert!(left.iter().all(|task| !task.state.is_ended()) && left.len() == 4);
    let page = kit.queue.list(&Filter::default(), Some(left[1].id), 2).await.unwrap();
    assert_eq!(page, left[2..4]);
    for state in [State::Delayed, State::Queued, State::Running] {
        let filter = Filter { state: Some(state), task_type: Some("t".into()), ..Filter::default() };
        let listed = kit.queue.list(&filter, None, 100).await.unwrap();
        let wanted: Vec<_> = left.iter().filter(|task| task.state == state).cloned().collect();
        assert_eq!(listed, wanted);
    }
}

async fn waiters_are_nudged_by_what_can_be_claimed(kit: Kit) {
    let (here, there) = (kit.queue.claimable(), kit.other.queue.claimable());
    submit(&kit.queue, task("ann", 0)).await;
    soon(async { tokio::join!(here, there) }).await;
    let held = claim(&kit.queue, 1).await.remove(0);
    let (here, there) = (kit.queue.claimable(), kit.other.queue.claimable());
    end(&kit.queue, &held, Outcome::Returned).await.unwrap();
    soon(async { tokio::join!(here, there) }).await;
}

async fn out_of_range_arguments_are_refused(kit: Kit) {
    let code = async |task: NewTask| kit.queue.submit(vec![task]).await.map_err(|fault| fault.code).err();
    for (bad, wanted) in [
        (NewTask { queue: String::new(), ..task("ann", 0) }, Code::InvalidArgument),
        (NewTask { queue: "a b".into(), ..task("ann", 0) }, Code::InvalidArgument),
        (NewTask { task_type: "x".repeat(65), ..task("ann", 0) }, Code::InvalidArgument),
        (NewTask { caller: "a\0".into(), ..task("ann", 0) }, Code::InvalidArgument),
        (NewTask { attempts_max: Some(0), ..task("ann", 0) }, Code::InvalidArgument),
        (NewTask { attempts_max: Some(101), ..task("ann", 0) }, Code::InvalidArgument),
        (task("ann", 0).priority(10), Code::InvalidArgument),
        (task("ann", 0).key(""), Code::InvalidArgument),
        (NewTask { payload: json!("x".repeat(PAYLOAD_BYTES_MAX - 1)), ..task("ann", 0) }, Code::TooLarge),
    ] {
        assert_eq!(code(bad.clone()).await, Some(wanted), "{:.200}", format!("{bad:?}"));
    }
    assert_eq!(code(NewTask { payload: json!("x\0".repeat(100)), ..task("ann", 0) }).await, None);
    assert_eq!(claim(&kit.queue, 1).await[0].payload, json!("x\0".repeat(100)));
    let many = vec![task("ann", 0); SUBMIT_MAX + 1];
    assert_eq!(kit.queue.submit(many).await.unwrap_err().code, Code::TooLarge);
    assert_eq!(kit.queue.submit(Vec::new()).await.unwrap(), []);
    for bad in [
        Claim { types: Vec::new(), ..claim_of(1) },
        claim_of(0),
        Claim { lease_ms: LEASE_MS_MIN - 1, ..claim_of(1) },
        Claim { worker: String::new(), ..claim_of(1) },
    ] {
        assert_eq!(kit.queue.claim(&bad).await.unwrap_err().code, Code::InvalidArgument, "{bad:?}");
    }
    let none = Policy { running_max: 0, ..Policy::default() };
    assert_eq!(kit.queue.set_policy("q", "t", none).await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(kit.queue.list(&Filter::default(), None, 501).await.unwrap_err().code, Code::TooLarge);
}
