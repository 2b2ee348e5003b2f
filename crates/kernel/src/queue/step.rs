//! How a task goes from state to state: pure, and the same whatever keeps it.

use serde_json::json;

use super::{Failure, Outcome, Policy, State, Task};
use crate::{Code, Fault, Result, UnixMs};

/// The task after an attempt of it ended. The successors of a done one are for the caller to submit in the same commit.
///
/// # Errors
/// [`Code::Conflict`] when that attempt is not the newest one that runs.
pub fn end(mut task: Task, attempt: u32, outcome: Outcome, policy: &Policy, now_ms: UnixMs) -> Result<Task> {
    if task.state != State::Running || task.attempts != attempt {
        return Err(late(&task, attempt));
    }
    match outcome {
        Outcome::Done { result, .. } => {
            task.result = Some(result);
            task.state = State::Done;
        }
        Outcome::Cancelled => task.state = State::Cancelled,
        Outcome::Failed { failure, retry } => {
            task.failure = Some(failure);
            task.state = after_failure(&task, retry);
            if task.state == State::Delayed {
                task.run_at_ms = now_ms.saturating_add(policy.wait_ms(failures(&task)));
            }
        }
        Outcome::Returned if task.cancelling => task.state = State::Cancelled,
        Outcome::Returned => {
            task.attempts_max = task.attempts_max.saturating_add(1);
            task.state = State::Queued;
        }
    }
    task.lease_until_ms = None;
    if task.state.is_ended() {
        (task.ended_ms, task.cancelling) = (Some(now_ms), false);
    }
    Ok(task)
}

fn after_failure(task: &Task, retry: bool) -> State {
    match () {
        () if task.cancelling => State::Cancelled,
        () if retry && task.attempts < task.attempts_max => State::Delayed,
        () => State::Dead,
    }
}

/// Whether an ending says again what is known: an answer that was lost on its way makes its worker ask twice.
pub fn said_again(task: &Task, attempt: u32, outcome: &Outcome) -> bool {
    task.state == State::Done && task.attempts == attempt && matches!(outcome, Outcome::Done { .. })
}

/// How often it has failed since it was submitted or retried by hand.
fn failures(task: &Task) -> u32 {
    (task.attempts + task.attempts_each).saturating_sub(task.attempts_max).max(1)
}

/// The failure of a task whose worker was not heard of in time.
pub fn lapse_failure() -> Failure {
    Failure { code: Code::Unavailable, message: "its worker was not heard of before the lease was over".into() }
}

/// The task after its lease was over: free again at once, unless its attempts are used up.
#[must_use]
pub fn lapse(mut task: Task, now_ms: UnixMs) -> Task {
    task.state = match after_failure(&task, true) {
        State::Delayed => State::Queued,
        ended => ended,
    };
    task.failure = Some(lapse_failure());
    task.lease_until_ms = None;
    if task.state.is_ended() {
        (task.ended_ms, task.cancelling) = (Some(now_ms), false);
    }
    task
}

/// The task after somebody wants it cancelled.
///
/// # Errors
/// [`Code::Conflict`] when it has ended.
pub fn cancel(mut task: Task, now_ms: UnixMs) -> Result<Task> {
    match task.state {
        State::Delayed | State::Queued => (task.state, task.ended_ms) = (State::Cancelled, Some(now_ms)),
        State::Running => task.cancelling = true,
        State::Done | State::Dead | State::Cancelled => {
            return Err(unfit(&task, "cannot be cancelled").hint("only what has not ended can be"));
        }
    }
    Ok(task)
}

/// The task after somebody wants it tried at once.
///
/// # Errors
/// [`Code::Conflict`] when it could begin already, runs, or is done.
pub fn retry(mut task: Task, now_ms: UnixMs) -> Result<Task> {
    match task.state {
        State::Delayed => {}
        State::Dead | State::Cancelled => {
            task.attempts_max = task.attempts.saturating_add(task.attempts_each);
            task.ended_ms = None;
        }
        State::Queued | State::Running | State::Done => {
            return Err(unfit(&task, "cannot be retried").hint("only what is delayed, dead or cancelled can be"));
        }
    }
    (task.state, task.run_at_ms) = (State::Queued, now_ms);
    Ok(task)
}

fn unfit(task: &Task, what: &str) -> Fault {
    Fault::conflict(format!("{} is {} and {what}", task.id, task.state)).data(json!({ "state": task.state }))
}

/// The refusal of an ending that comes too late.
pub fn late(task: &Task, attempt: u32) -> Fault {
    let Task { id, state, attempts, .. } = task;
    Fault::conflict(format!("attempt {attempt} of {id} does not hold it: it is {state}, at attempt {attempts}"))
        .hint("its lease was over and it was taken over, or it ended; what this attempt did must not count")
        .data(json!({ "state": state, "attempts": attempts }))
}

/// The refusal of an id that names no task.
pub fn unknown(id: super::TaskId) -> Fault {
    Fault::not_found(format!("no task {id}")).hint("it never was, or it ended and was purged")
}

/// The refusal of a key that another task has.
pub fn other_use(queue: &str, key: &str, id: super::TaskId) -> Fault {
    Fault::conflict(format!("key `{key}` of queue `{queue}` belongs to {id}, another task"))
        .hint("a key stands for one type and one payload")
        .data(json!({ "id": id }))
}
