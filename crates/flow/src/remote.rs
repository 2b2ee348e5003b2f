//! Workers in other programs: what they say over HTTP, put to the queue and the registry.
//!
//! A worker says everything anew with each request, so that it never needs a session: any process that has the coordinator's door answers the next
//! one, after a restart as well. What it holds is the queue's to know, whether it lives the registry's.

use std::sync::Arc;
use std::time::Duration;

use kernel::catalog::SERVICES;
use kernel::fleet::{Instance, Kind};
use kernel::health::Status;
use kernel::offers::Offers;
use kernel::queue::{
    CLAIM_MAX, Claim, Claimed, Ending, Failure, Filter, Holding, LEASE_MS_MAX, LEASE_MS_MIN, LIST_MAX, NewTask,
    Outcome, Policy, Progress, Queue, Renew, Renewal, State, TYPES_MAX, Task, TaskId, check_name, worth_retrying,
};
use kernel::registry::Registry;
use kernel::{Caller, Clock, Code, Fault, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a task is held without a sign of life, in milliseconds, unless the worker says otherwise.
pub const LEASE_MS: i64 = 30_000;
/// The longest a request for tasks waits for one, in milliseconds: less than what proxies cut off.
pub const WAIT_MS_MAX: u64 = 20_000;
/// How many times within its lease a worker should be heard.
const SIGNS_PER_LEASE: i64 = 3;
/// How long a worker without a sign of life stays in the registry, at least.
const PRESENCE_MIN: Duration = Duration::from_secs(15);
/// Between two looks of a request that waits, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest version a worker may say that it has, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// The workers. Cloning shares them.
#[derive(Clone)]
pub struct Workers {
    queue: Arc<dyn Queue>,
    registry: Registry,
    offers: Offers,
    clock: Clock,
}

fn lease_ms() -> i64 {
    LEASE_MS
}

/// `POST /agents/{name}/register`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The worker's own name, one for each running copy: 1 to 64 characters of A-Z a-z 0-9 . _ : -
    pub worker: String,
    /// How long it holds tasks without a sign of life, in milliseconds: 500 to 3,600,000.
    #[serde(default = "lease_ms")]
    #[schemars(range(min = 500, max = 3_600_000))]
    pub lease_ms: i64,
    /// The types of task it does, at most 32; whatever its queue has when there are none.
    #[serde(default)]
    pub task_types: Vec<TaskType>,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// A type of task that a worker does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TaskType {
    /// Treated as it was before, or as usual.
    Name(String),
    /// With how it is treated from now on.
    WithPolicy {
        /// Its name.
        name: String,
        /// How its tasks are treated.
        policy: Policy,
    },
}

impl TaskType {
    fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::WithPolicy { name, .. } => name,
        }
    }
}

/// What a worker is told when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    /// How long its tasks are held without a sign of life, in milliseconds.
    pub lease_ms: i64,
    /// How often it should say that it lives, in milliseconds.
    pub heartbeat_ms: i64,
    /// The longest it may wait for tasks in one request, in milliseconds.
    pub wait_ms_max: u64,
}

/// `POST /agents/{name}/lease`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The worker's own name, one for each running copy: 1 to 64 characters of A-Z a-z 0-9 . _ : -
    pub worker: String,
    /// How long it holds tasks without a sign of life, in milliseconds: 500 to 3,600,000.
    #[serde(default = "lease_ms")]
    #[schemars(range(min = 500, max = 3_600_000))]
    pub lease_ms: i64,
    /// Of which types, at most 32; of all that wait in its queue when there are none.
    #[serde(default)]
    pub task_types: Vec<String>,
    /// At most so many, 1 to 100.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: usize,
    /// How long to wait for one, in milliseconds, 20,000 at most.
    #[serde(default)]
    #[schemars(range(max = 20_000))]
    pub wait_ms: u64,
}

fn one() -> usize {
    1
}

/// `POST /agents/{name}/leave`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The worker's own name.
    pub worker: String,
}

/// Tasks that the worker holds now. `attempts` is the fencing number to give back with each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leased {
    /// The tasks, in the order they should begin; none when none came in time.
    pub tasks: Vec<Task>,
}

/// `POST /agents/{name}/heartbeat`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The worker's own name, one for each running copy: 1 to 64 characters of A-Z a-z 0-9 . _ : -
    pub worker: String,
    /// How long it holds tasks without a sign of life, in milliseconds: 500 to 3,600,000.
    #[serde(default = "lease_ms")]
    #[schemars(range(min = 500, max = 3_600_000))]
    pub lease_ms: i64,
    /// What it holds, 100 tasks at most.
    #[serde(default)]
    pub tasks: Vec<Held>,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// A task that a worker holds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Its id.
    pub id: TaskId,
    /// Its `attempts` when it was leased.
    pub attempt: u32,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// What a worker hears of what it holds, in the order it named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// For each task: it holds on, it is asked to stop, or the task is not its any more.
    pub tasks: Vec<Renewal>,
}

/// `POST /agents/{name}/finish`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// The worker's own name.
    pub worker: String,
    /// What ended, 1 to 100.
    pub endings: Vec<End>,
}

/// How one task ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Its id.
    pub id: TaskId,
    /// Its `attempts` when it was leased.
    pub attempt: u32,
    /// How.
    pub outcome: How,
}

/// How a task ended: `{"done": {…}}`, `{"failed": {…}}`, `"cancelled"` or `"returned"`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum How {
    /// It is done.
    Done {
        /// What came of it, at most 256 KiB of JSON.
        #[serde(default)]
        result: Value,
        /// What follows from it, submitted in the same commit.
        #[serde(default)]
        then: Vec<Next>,
    },
    /// It failed.
    Failed {
        /// The stable code.
        #[serde(default = "internal")]
        code: Code,
        /// What went wrong, and on what.
        message: String,
        /// Whether another attempt may help; what its code says when absent.
        #[serde(default)]
        retry: Option<bool>,
    },
    /// The worker stopped because it was asked to.
    Cancelled,
    /// The worker gives it back unfinished; that does not count as an attempt.
    Returned,
}

fn internal() -> Code {
    Code::Internal
}

/// A task that follows from one that ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// The queue; the worker's own when absent.
    #[serde(default)]
    pub queue: Option<String>,
    /// What kind of task.
    pub task_type: String,
    /// What it is to be done with.
    #[serde(default)]
    pub payload: Value,
    /// Its idempotency key.
    #[serde(default)]
    pub key: Option<String>,
}

/// What came of endings, in the order they were named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finished {
    /// For each ending.
    pub endings: Vec<Written>,
}

/// What came of an ending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// It is written; the task stands like this.
    State(State),
    /// It was refused: `conflict` when the task is somebody else's by now.
    Error(Failure),
}

impl Workers {
    /// Workers over a queue, a registry and what agents say that they do.
    pub fn new(queue: Arc<dyn Queue>, registry: Registry, offers: Offers, clock: Clock) -> Self {
        Self { queue, registry, offers, clock }
    }

    /// Makes a worker known as a copy of the agent `name`, and how its types of task are treated.
    ///
    /// # Errors
    /// When a name or a policy is past its limits, or the name is one of the fleet's own.
    pub async fn register(&self, name: &str, asked: Register) -> Result<Registered> {
        check_worker(name, &asked.worker)?;
        check_lease(asked.lease_ms)?;
        check_number("task_types", asked.task_types.len(), 0, TYPES_MAX)?;
        asked.task_types.iter().try_for_each(|of| check_name("task type", of.name()))?;
        let names: Vec<&str> = asked.task_types.iter().map(TaskType::name).collect();
        self.offers.add(name, &names).await?;
        for of in &asked.task_types {
            let known = self.known(name, of.name()).await?;
            let policy = match of {
                TaskType::WithPolicy { policy, .. } => *policy,
                TaskType::Name(_) => known.unwrap_or_default(),
            };
            if known != Some(policy) {
                self.queue.set_policy(name, of.name(), policy).await?;
            }
        }
        self.lives(name, &asked.worker, asked.lease_ms, &asked.version).await?;
        tracing::info!(agent = name, worker = asked.worker, "a worker has joined");
        let lease_ms = asked.lease_ms;
        Ok(Registered { lease_ms, heartbeat_ms: (lease_ms / SIGNS_PER_LEASE).max(1), wait_ms_max: WAIT_MS_MAX })
    }

    async fn known(&self, queue: &str, task_type: &str) -> Result<Option<Policy>> {
        let counts = self.queue.counts().await?;
        let found = counts.into_iter().find(|of| of.queue == queue && of.task_type == task_type);
        Ok(found.map(|of| of.policy))
    }

    /// Tasks for a worker, as soon as there are some, or none when none came in the time it would wait, or before `stopping`.
    ///
    /// # Errors
    /// When what it asks for is past the limits.
    pub async fn lease(&self, name: &str, asked: Lease, stopping: &CancellationToken) -> Result<Leased> {
        check_worker(name, &asked.worker)?;
        check_lease(asked.lease_ms)?;
        if asked.wait_ms > WAIT_MS_MAX {
            return Err(Fault::invalid(format!("wait_ms is {}", asked.wait_ms)).hint(format!("at most {WAIT_MS_MAX}")));
        }
        let until = Instant::now() + Duration::from_millis(asked.wait_ms);
        let all_types = asked.task_types.is_empty();
        let mut claim = Claim {
            queue: name.to_owned(),
            types: asked.task_types,
            limit: asked.limit,
            lease_ms: asked.lease_ms,
            worker: asked.worker,
        };
        loop {
            // Asked for before claiming, so that what comes in between is not missed.
            let claimable = self.queue.claimable();
            if all_types {
                claim.types = self.waiting(name).await?;
            }
            let claimed = match claim.types.is_empty() {
                true => Claimed::default(),
                false => self.queue.claim(&claim).await?,
            };
            if !claimed.tasks.is_empty() || Instant::now() >= until || stopping.is_cancelled() {
                return Ok(Leased { tasks: claimed.tasks });
            }
            let due = claimed.next_ms.map(|next_ms| u64::try_from(next_ms - self.clock.now_ms()).unwrap_or(0).max(1));
            let look = Instant::now() + due.map_or(LOOK_EVERY, Duration::from_millis).min(LOOK_EVERY);
            tokio::select! {
                () = claimable => {}
                () = sleep_until(look.min(until)) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// The types of which tasks wait, or are held by workers that may be dead.
    async fn waiting(&self, queue: &str) -> Result<Vec<String>> {
        let counts = self.queue.counts().await?.into_iter();
        let mut of_it: Vec<_> =
            counts.filter(|of| of.queue == queue && of.queued + of.delayed + of.running > 0).collect();
        // Those that could begin first, if they are more than one claim may name.
        of_it.sort_by_key(|of| std::cmp::Reverse(of.queued));
        Ok(of_it.into_iter().take(TYPES_MAX).map(|of| of.task_type).collect())
    }

    /// A sign of life: holds on to what the worker holds, and says what it should know of it.
    ///
    /// # Errors
    /// When what it says is past the limits.
    pub async fn heartbeat(&self, name: &str, said: Heartbeat) -> Result<Heard> {
        check_worker(name, &said.worker)?;
        check_lease(said.lease_ms)?;
        check_number("tasks", said.tasks.len(), 0, CLAIM_MAX)?;
        let renewals: Vec<Renew> = said
            .tasks
            .into_iter()
            .map(|Held { id, attempt, progress }| Renew { holding: Holding { id, attempt }, progress })
            .collect();
        let tasks = match renewals.is_empty() {
            true => Vec::new(),
            false => self.queue.renew(&renewals, said.lease_ms).await?,
        };
        self.lives(name, &said.worker, said.lease_ms, &said.version).await?;
        self.offers.lives(name).await?;
        Ok(Heard { tasks })
    }

    /// Ends tasks; each for itself.
    ///
    /// # Errors
    /// When what it says is past the limits: nothing is written then.
    pub async fn finish(&self, name: &str, said: Finish, caller: &Caller) -> Result<Finished> {
        check_worker(name, &said.worker)?;
        check_number("endings", said.endings.len(), 1, CLAIM_MAX)?;
        let endings = said.endings.into_iter().map(|end| ending(name, end, caller)).collect();
        let ended = self.queue.finish(endings).await?;
        let written = |ended: Result<State>| ended.map_or_else(|fault| Written::Error(fault.into()), Written::State);
        Ok(Finished { endings: ended.into_iter().map(written).collect() })
    }

    /// Takes a worker out of the registry and gives back what it holds: it stops in order. It may not know of tasks whose handing-out it no longer
    /// waited for.
    ///
    /// # Errors
    /// When a name is past its limits.
    pub async fn leave(&self, name: &str, said: &Leave) -> Result<()> {
        check_worker(name, &said.worker)?;
        let filter = Filter { queue: Some(name.to_owned()), state: Some(State::Running), ..Filter::default() };
        let running = self.queue.list(&filter, None, LIST_MAX).await?.into_iter();
        let endings: Vec<Ending> = running
            .filter(|task| task.worker.as_deref() == Some(&said.worker))
            .map(|task| Holding { id: task.id, attempt: task.attempts })
            .map(|holding| Ending { holding, outcome: Outcome::Returned })
            .collect();
        for some in endings.chunks(CLAIM_MAX) {
            // One that is refused is somebody else's by now.
            self.queue.finish(some.to_vec()).await?;
        }
        self.registry.remove(&self.instance(name, &said.worker, "")).await?;
        tracing::info!(agent = name, worker = said.worker, "a worker has left");
        Ok(())
    }

    async fn lives(&self, name: &str, worker: &str, lease_ms: i64, version: &str) -> Result<()> {
        if version.len() > VERSION_BYTES_MAX || version.chars().any(char::is_control) {
            return Err(Fault::invalid("version: not one").hint(format!("at most {VERSION_BYTES_MAX} bytes of text")));
        }
        let mut instance = self.instance(name, worker, version);
        let known = self.registry.get(&instance.id).await?;
        instance.started_ms = known.map_or(instance.started_ms, |known| known.started_ms);
        let lease = Duration::from_millis(lease_ms.unsigned_abs());
        self.registry.register(instance, lease.max(PRESENCE_MIN)).await.map(|_| ())
    }

    /// The worker as a copy of its agent. It has no address: it asks, and is never asked.
    fn instance(&self, name: &str, worker: &str, version: &str) -> Instance {
        let id = format!("{name}@{worker}");
        Instance {
            process: id.clone(),
            id,
            service: name.to_owned(),
            kind: Kind::Agent,
            url: String::new(),
            version: version.to_owned(),
            status: Status::Healthy,
            started_ms: self.clock.now_ms(),
            restarts: 0,
            last_error: None,
            lost_ms: None,
        }
    }
}

fn ending(name: &str, End { id, attempt, outcome }: End, caller: &Caller) -> Ending {
    let outcome = match outcome {
        How::Done { result, then } => {
            let next = |next: Next| NewTask {
                key: next.key,
                ..NewTask::new(next.queue.as_deref().unwrap_or(name), &next.task_type, next.payload, caller)
            };
            Outcome::Done { result, then: then.into_iter().map(next).collect() }
        }
        How::Failed { code, message, retry } => {
            let retry = retry.unwrap_or_else(|| worth_retrying(code));
            Outcome::Failed { failure: Failure { code, message }, retry }
        }
        How::Cancelled => Outcome::Cancelled,
        How::Returned => Outcome::Returned,
    };
    Ending { holding: Holding { id, attempt }, outcome }
}

/// Refuses what cannot be a worker of an agent: also one of an agent that the fleet brings itself.
fn check_worker(name: &str, worker: &str) -> Result<()> {
    check_name("agent", name)?;
    check_name("worker", worker)?;
    if SERVICES.iter().any(|service| service.name == name) {
        return Err(Fault::conflict(format!("`{name}` is the name of a service of the fleet's own"))
            .hint("give the agent a name of its own"));
    }
    Ok(())
}

fn check_number(what: &str, number: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    Err(Fault::invalid(format!("{what} has {number} entries")).hint(format!("{least} to {most}")))
}

fn check_lease(lease_ms: i64) -> Result<()> {
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
        return Ok(());
    }
    Err(Fault::invalid(format!("lease_ms is {lease_ms}")).hint(format!("{LEASE_MS_MIN} to {LEASE_MS_MAX}")))
}
