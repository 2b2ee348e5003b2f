//! Rows of tasks, to our words and back.

use std::collections::HashSet;

use kernel::queue::{Holding, NewTask, Policy, Renew, State, Task, TaskId};
use kernel::{Fault, Result, Role, UnixMs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::db::{Row, signed, unsigned};

/// A task with what only this backend knows of it.
pub(super) struct Kept {
    pub(super) task: Task,
    pub(super) turn: i64,
}

pub(super) fn number(state: State) -> i64 {
    match state {
        State::Delayed => 0,
        State::Queued => 1,
        State::Running => 2,
        State::Done => 3,
        State::Dead => 4,
        State::Cancelled => 5,
    }
}

/// Which holding a row is of.
pub(super) fn holding(seq: i64, attempt: i64) -> Holding {
    Holding { id: TaskId(unsigned(seq)), attempt: small(attempt) }
}

fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Reads a row of the statements' columns.
pub(super) fn kept(row: &Row) -> Result<Kept> {
    let seq = unsigned(row.get(0)?);
    read(row, seq)?.ok_or_else(|| Fault::internal(format!("{} is damaged", TaskId(seq))))
}

pub(super) fn task(row: &Row) -> Result<Task> {
    kept(row).map(|kept| kept.task)
}

fn read(row: &Row, seq: u64) -> Result<Option<Kept>> {
    let state: i64 = row.get(3)?;
    let state = State::ALL.into_iter().find(|known| number(*known) == state);
    let payload = serde_json::from_str(row.get(22)?).ok();
    let (Some(state), Some(payload)) = (state, payload) else { return Ok(None) };
    let task = Task {
        id: TaskId(seq),
        queue: row.get(1)?,
        task_type: row.get(2)?,
        state,
        payload,
        caller: row.get(14)?,
        // A role that this version does not know may nothing but look.
        role: row.get::<&str>(24)?.parse().unwrap_or(Role::Viewer),
        priority: u8::try_from(row.get::<i64>(4)?).unwrap_or(0),
        attempts: small(row.get(5)?),
        attempts_max: small(row.get(6)?),
        attempts_each: small(row.get(7)?),
        cancelling: row.get::<i64>(8)? != 0,
        submitted_ms: row.get(9)?,
        run_at_ms: row.get(10)?,
        started_ms: row.get(11)?,
        ended_ms: row.get(12)?,
        lease_until_ms: row.get(13)?,
        worker: row.get(15)?,
        progress: json_at(row, 19)?,
        result: json_at(row, 21)?,
        failure: json_at(row, 20)?,
        key: row.get(16)?,
        parent: row.get::<Option<i64>>(17)?.map(|seq| TaskId(unsigned(seq))),
        trace_id: row.get(18)?,
    };
    Ok(Some(Kept { task, turn: row.get(23)? }))
}

/// What somebody else wrote reads as absent.
fn json_at<T: DeserializeOwned>(row: &Row, column: usize) -> Result<Option<T>> {
    let text: Option<&str> = row.get(column)?;
    Ok(text.and_then(|text| serde_json::from_str(text).ok()))
}

/// The policy in four columns from `first` on.
pub(super) fn policy(row: &Row, first: usize) -> Result<Policy> {
    let Policy { attempts_max, backoff_first_ms, backoff_max_ms, running_max } = Policy::default();
    let get = |place: usize| row.get::<Option<i64>>(first + place);
    Ok(Policy {
        attempts_max: get(0)?.map_or(attempts_max, small),
        backoff_first_ms: get(1)?.map_or(backoff_first_ms, unsigned),
        backoff_max_ms: get(2)?.map_or(backoff_max_ms, unsigned),
        running_max: get(3)?.map_or(running_max, small),
    })
}

/// A value of ours as JSON text. They have no map with keys that are not text, so this cannot fail; an error would be stored as null.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}

/// The rows of a submission.
pub(super) fn submitted(tasks: &[NewTask], parent: Option<TaskId>, now_ms: UnixMs) -> String {
    let parent = parent.map(|parent| signed(parent.0));
    let mut keys = HashSet::new();
    let mut once: Vec<&NewTask> = Vec::with_capacity(tasks.len());
    for task in tasks {
        // A key that comes twice is one task, with one turn.
        if task.key.as_ref().is_none_or(|key| keys.insert((&task.queue, key))) {
            once.push(task);
        }
    }
    let rows = once.into_iter().enumerate().map(|(place, task)| {
        let run_at_ms = task.run_at_ms.unwrap_or(now_ms);
        let state = number(if run_at_ms > now_ms { State::Delayed } else { State::Queued });
        let NewTask { queue, task_type, priority, attempts_max, caller, role, key, trace_id, .. } = task;
        let payload = text(&task.payload);
        (
            place,
            queue,
            task_type,
            state,
            priority,
            attempts_max,
            run_at_ms,
            caller,
            key,
            parent,
            trace_id,
            payload,
            role,
        )
    });
    text(&rows.collect::<Vec<_>>())
}

/// The rows of endings of which each is simply done.
pub(super) fn done(endings: &[(&Holding, &Value)]) -> String {
    let rows = endings.iter().map(|(holding, result)| (signed(holding.id.0), holding.attempt, text(result)));
    text(&rows.collect::<Vec<_>>())
}

/// The rows of renewals.
pub(super) fn renewed(renewals: &[Renew]) -> String {
    let rows = renewals
        .iter()
        .map(|Renew { holding, progress }| (signed(holding.id.0), holding.attempt, progress.as_ref().map(text)));
    text(&rows.collect::<Vec<_>>())
}
