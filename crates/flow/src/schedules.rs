//! Tasks that are submitted by the clock: by cron expression, every so often, or once.
//!
//! A schedule is one entry of the store. Firing submits its task under a key made of the schedule and the time it was due, and then moves
//! the entry on by compare-and-set: whichever replica is first, and wherever one dies in between, each time fires once.

mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kernel::queue::{NewTask, Queue, check_name, check_submit};
use kernel::store::{Entry, Expect, LIST_MAX, Store, Write};
use kernel::{Caller, Clock, Code, Fault, OnEnd, Result, Role, Tasks, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use spec::{Missed, Spec};

/// Where schedules are kept in the store.
const SPACE: &str = "schedules";
/// Most schedules of a fleet.
pub const SCHEDULES_MAX: usize = 500;
/// Most times that were missed and are made up for at once.
pub const CATCH_UP_MAX: usize = 100;
/// A time that is this late, in milliseconds, was missed.
pub const LATE_MS: i64 = 60_000;
/// How long the scheduler looks away at most: so long until it sees what another process changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a schedule submits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The agent, or the pool of workers, that does it.
    pub queue: String,
    /// What kind of task.
    pub task_type: String,
    /// What it is to be done with.
    #[serde(default)]
    pub payload: Value,
    /// 0 to 9; a higher one goes first.
    #[serde(default = "priority")]
    #[schemars(range(max = 9))]
    pub priority: u8,
    /// Attempts, in place of its type's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
}

/// What a schedule of before roles were kept may do.
fn viewer() -> Role {
    Role::Viewer
}

fn priority() -> u8 {
    kernel::queue::PRIORITY
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub spec: Spec,
    /// What becomes of times at which nobody could fire it.
    pub missed: Missed,
    /// What it submits.
    pub task: Template,
    /// Who made it: the caller of its tasks.
    pub caller: String,
    /// What they may do.
    #[serde(default = "viewer")]
    pub role: Role,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: UnixMs,
    /// Whether it rests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// When it fires next; none when it never will again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<UnixMs>,
    /// The time it fired for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<UnixMs>,
    /// How often it has fired.
    pub fired: u64,
}

impl Schedule {
    /// The next times, at most `count`.
    pub fn upcoming(&self, count: usize) -> Vec<UnixMs> {
        let mut times = Vec::with_capacity(count);
        let mut next = self.next_ms.filter(|_| !self.paused);
        while let Some(at_ms) = next.filter(|_| times.len() < count) {
            times.push(at_ms);
            next = self.spec.after(at_ms);
        }
        times
    }

    fn firing(&self, due_ms: UnixMs) -> NewTask {
        let Template { queue, task_type, payload, priority, attempts_max } = self.task.clone();
        NewTask {
            priority,
            attempts_max,
            // The making is part of it: another schedule of this name is another schedule.
            key: Some(format!("schedule:{}:{}:{due_ms}", self.name, self.created_ms)),
            ..NewTask::new(&queue, &task_type, payload, &Caller::new(&*self.caller, self.role.clone()))
        }
    }
}

/// The schedules of a fleet. Cloning shares them.
#[derive(Clone)]
pub struct Schedules {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    clock: Clock,
}

impl Schedules {
    /// The schedules in `store`, whose tasks go to `queue`.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>, clock: Clock) -> Self {
        Self { store, queue, clock }
    }

    /// Makes a schedule, or makes the one of this name anew.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when it could never fire; [`Code::TooLarge`] past [`SCHEDULES_MAX`].
    pub async fn put(
        &self,
        name: &str,
        spec: Spec,
        missed: Missed,
        task: Template,
        caller: &Caller,
    ) -> Result<Schedule> {
        check_name("schedule", name)?;
        let now_ms = self.clock.now_ms();
        let spec = spec.checked(now_ms)?;
        let schedule = Schedule {
            name: name.into(),
            next_ms: spec.after(now_ms - 1),
            spec,
            missed,
            task,
            caller: caller.name.clone(),
            role: caller.rights(),
            created_ms: now_ms,
            paused: false,
            last_ms: None,
            fired: 0,
        };
        check_submit(&[schedule.firing(now_ms)])?;
        if schedule.next_ms.is_none() {
            return Err(Fault::invalid(format!("schedule `{name}` would never fire")).hint("a time to come"));
        }
        let others = self.store.list(SPACE, "", None, LIST_MAX).await?;
        if others.len() >= SCHEDULES_MAX && others.iter().all(|entry| entry.key != name) {
            return Err(
                Fault::too_large(format!("there are {SCHEDULES_MAX} schedules")).hint("delete one that is not needed")
            );
        }
        self.store.commit(vec![Write::put(SPACE, name, text(&schedule)?)]).await?;
        Ok(schedule)
    }

    /// All schedules, by name.
    pub async fn list(&self) -> Result<Vec<Schedule>> {
        let entries = self.store.list(SPACE, "", None, LIST_MAX).await?;
        Ok(entries.iter().filter_map(read).collect())
    }

    /// The schedule of this name.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn get(&self, name: &str) -> Result<Schedule> {
        Ok(self.entry(name).await?.1)
    }

    async fn entry(&self, name: &str) -> Result<(Entry, Schedule)> {
        let entry = if name.is_empty() { None } else { self.store.get(SPACE, name).await? };
        let schedule = entry.as_ref().and_then(read);
        entry.zip(schedule).ok_or_else(|| {
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            Fault::not_found(format!("no schedule `{shown}`")).hint("list_schedules has their names")
        })
    }

    /// Lets a schedule rest, or go on from now; what it would have fired while it rested is not made up for.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn pause(&self, name: &str, paused: bool) -> Result<Schedule> {
        loop {
            let (entry, mut schedule) = self.entry(name).await?;
            if schedule.paused && !paused {
                schedule.next_ms = schedule.spec.after(self.clock.now_ms() - 1);
            }
            schedule.paused = paused;
            match self.write(&entry, &schedule).await {
                Err(fault) if fault.code == Code::Conflict => {}
                other => return other.map(|()| schedule),
            }
        }
    }

    /// Deletes a schedule; what it submitted stays.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn delete(&self, name: &str) -> Result<Schedule> {
        let schedule = self.get(name).await?;
        self.store.commit(vec![Write::delete(SPACE, name)]).await?;
        Ok(schedule)
    }

    async fn write(&self, entry: &Entry, schedule: &Schedule) -> Result<()> {
        let write = Write::put(SPACE, &entry.key, text(schedule)?).expecting(Expect::Revision(entry.revision));
        self.store.commit(vec![write]).await.map(|_| ())
    }

    /// Fires what is due. Returns when there will be more.
    ///
    /// # Errors
    /// When the store cannot be read. A schedule whose task is refused is logged, and due again the next time.
    pub async fn fire(&self) -> Result<Option<UnixMs>> {
        let now_ms = self.clock.now_ms();
        let mut next: Option<UnixMs> = None;
        for entry in self.store.list(SPACE, "", None, LIST_MAX).await? {
            let Some(mut schedule) = read(&entry).filter(|schedule| !schedule.paused) else { continue };
            if schedule.next_ms.is_some_and(|due_ms| due_ms <= now_ms)
                && let Err(fault) = self.fire_one(&entry, &mut schedule, now_ms).await
            {
                tracing::warn!(%fault, schedule = schedule.name, "schedule not fired, next try in a moment");
            }
            next = next.into_iter().chain(schedule.next_ms).min();
        }
        Ok(next)
    }

    async fn fire_one(&self, entry: &Entry, schedule: &mut Schedule, now_ms: UnixMs) -> Result<()> {
        let Some(from_ms) = schedule.next_ms else { return Ok(()) };
        let due = schedule.spec.due(from_ms, now_ms, schedule.missed);
        let tasks: Vec<NewTask> = due.iter().map(|due_ms| schedule.firing(*due_ms)).collect();
        self.queue.submit(tasks).await?;
        if due.first() != Some(&from_ms) {
            tracing::warn!(schedule = schedule.name, since_ms = from_ms, made_up = due.len(), "times were missed");
        }
        schedule.fired += due.len() as u64;
        schedule.last_ms = due.last().copied().or(schedule.last_ms);
        schedule.next_ms = schedule.spec.after(now_ms);
        match self.write(entry, schedule).await {
            // Another replica was quicker, or somebody changed it: then it is as they left it.
            Err(fault) if fault.code == Code::Conflict => Ok(()),
            other => other,
        }
    }

    /// Fires what is due for as long as `tasks` go on. Several may do so at once.
    pub fn start(&self, tasks: &Tasks) {
        let (schedules, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("scheduler", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                let next = schedules.fire().await.unwrap_or_else(|fault| {
                    tracing::warn!(%fault, "schedules cannot be read, next try in a moment");
                    None
                });
                let wait_ms = next.map(|next_ms| u64::try_from(next_ms - schedules.clock.now_ms()).unwrap_or(0).max(1));
                let wait = wait_ms.map_or(LOOK_EVERY, |wait_ms| LOOK_EVERY.min(Duration::from_millis(wait_ms)));
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
    }
}

/// Another version's words must not hide the others.
fn read(entry: &Entry) -> Option<Schedule> {
    let read = serde_json::from_str(&entry.value);
    read.inspect_err(|error| tracing::warn!(%error, key = entry.key, "stored schedule cannot be read")).ok()
}

fn text(schedule: &Schedule) -> Result<String> {
    serde_json::to_string(schedule).map_err(|error| Fault::internal(format!("schedule: {error}")))
}
