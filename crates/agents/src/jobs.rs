//! The types of task that an agent does when it is asked to, and the worker that has them done.
//!
//! A task is done under the agent's own role and within that of whoever submitted it: what either may not do, is not done for it. Every copy of
//! an agent takes tasks, whichever of them leads; what a task was given, the tools it called and what came of it are kept as a run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flow::worker::{Done, Handler, Means, Worker};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::duties::{Cause, Standing as RunStanding};
use kernel::offers::{Offers, TaskType};
use kernel::queue::Policy;
use kernel::tasks::catch_panic;
use kernel::{Access, Caller, Fault, OnEnd, Role, Tasks};
use mcp::{Toolbox, typed};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::hands::Hands;
use crate::standing::Standing;

/// How many tasks one copy of an agent does at once.
const AT_ONCE: usize = 4;
/// How long a task is held without a sign of life: so long after a sudden end another copy takes over.
const LEASE: Duration = Duration::from_secs(15);
/// How long a task that is asked to stop may take to tidy up.
const TIDY: Duration = Duration::from_secs(1);
/// Longest outcome that a run keeps, in characters; the whole result is the task's.
const OUTCOME_CHARS_MAX: usize = 2_000;

/// What is known of a type of task before it is done.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// What its submitter must be allowed.
    pub access: Access,
    /// The field of its payload that plain text goes into, for who speaks in sentences.
    pub text: Option<&'static str>,
    /// How long one may take.
    pub time: Duration,
    /// Attempts before it is a dead letter.
    pub attempts_max: u32,
}

impl Job {
    /// One that looks: a minute, three attempts.
    pub const fn new(name: &'static str, about: &'static str, access: Access) -> Self {
        Self { name, about, access, text: None, time: Duration::from_secs(60), attempts_max: 3 }
    }

    /// The field that plain text goes into.
    #[must_use]
    pub const fn text(self, field: &'static str) -> Self {
        Self { text: Some(field), ..self }
    }

    /// How long it may take.
    #[must_use]
    pub const fn within(self, time: Duration) -> Self {
        Self { time, ..self }
    }
}

type Work = Arc<dyn Fn(Value, Hands) -> BoxFuture<'static, Result<Value, Fault>> + Send + Sync>;
type Bind<A> = Box<dyn FnOnce(&Arc<A>) -> Work>;

/// A type of task, its types erased.
#[derive(Clone)]
pub struct BoundJob {
    /// What is known of it.
    pub job: Job,
    /// JSON Schema of its payload.
    pub payload: Value,
    work: Work,
}

impl BoundJob {
    /// As it is offered.
    pub fn offer(&self) -> TaskType {
        TaskType {
            name: self.job.name.into(),
            about: self.job.about.into(),
            access: self.job.access,
            payload: Some(self.payload.clone()),
            text: self.job.text.map(Into::into),
        }
    }
}

/// An agent's types of task, as it declares them.
pub struct Jobs<A> {
    all: Vec<(Job, Value, Bind<A>)>,
}

impl<A: Agent> Jobs<A> {
    pub(crate) fn of(agent: &Arc<A>) -> Vec<BoundJob> {
        let mut set = Self { all: Vec::new() };
        agent.jobs(&mut set);
        set.all.into_iter().map(|(job, payload, bind)| BoundJob { job, payload, work: bind(agent) }).collect()
    }

    /// Declares a type of task and how it is done. It may be done again after a crash or a failure that passes: what it does must be safe to
    /// do twice, or carry [`Hands::key`].
    pub fn add<I, O, F, R>(&mut self, job: Job, work: F)
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(Arc<A>, I, Hands) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Fault>> + Send + 'static,
    {
        let bind: Bind<A> = Box::new(move |agent: &Arc<A>| {
            let (agent, work) = (Arc::clone(agent), Arc::new(work));
            Arc::new(move |payload, hands| {
                let (agent, work) = (Arc::clone(&agent), Arc::clone(&work));
                async move {
                    let payload: I = read(payload, job.name)?;
                    let result = work(agent, payload, hands).await?;
                    serde_json::to_value(result).map_err(|error| Fault::internal(format!("result: {error}")))
                }
                .boxed()
            })
        });
        self.all.push((job, mcp::schema::input::<I>(), bind));
    }
}

/// A payload as its type. Nothing at all stands for no fields.
fn read<I: DeserializeOwned>(payload: Value, what: &str) -> Result<I, Fault> {
    let payload = if payload.is_null() { Value::Object(serde_json::Map::new()) } else { payload };
    typed::read(&payload.to_string()).map_err(|misfit| {
        Fault::invalid(format!("payload{} of {what}: {}", misfit.place(), misfit.message))
            .hint("`flotilla agent show NAME --json` has the schema")
    })
}

/// Says what the agent does.
pub(crate) async fn offer(agent: &Standing) -> Result<(), Fault> {
    let ports = &agent.means.ports;
    let offers = Offers::new(Arc::clone(&ports.store), ports.clock.clone());
    offers.put(agent.name, agent.jobs.iter().map(BoundJob::offer).collect()).await
}

/// Has the agent's tasks done until `tasks` stop.
pub(crate) fn start(agent: &Arc<Standing>, tasks: &Tasks) {
    let (agent, owner) = (Arc::clone(agent), tasks.clone());
    tasks.spawn("tasks of an agent", OnEnd::StopOwner, async move {
        if let Err(fault) = run(&agent, &owner).await {
            owner.stop_because(format!("takes no tasks: {fault}"));
        }
    });
}

async fn run(agent: &Arc<Standing>, owner: &Tasks) -> Result<(), Fault> {
    let ports = &agent.means.ports;
    if agent.jobs.is_empty() {
        owner.stopping().cancelled_owned().await;
        return Ok(());
    }
    let mut worker = Worker::new(agent.name, kernel::ids::new_id("agent")).at_once(AT_ONCE).lease(LEASE);
    for bound in &agent.jobs {
        let policy = Policy { attempts_max: bound.job.attempts_max, ..Policy::default() };
        let handler = Doing { agent: Arc::clone(agent), bound: bound.clone() };
        // Its own limit ends it a little earlier, so that what it did is kept.
        worker = worker.takes(bound.job.name, policy, bound.job.time + TIDY * 2, handler);
    }
    let means = Means {
        queue: Arc::clone(&ports.queue),
        clock: ports.clock.clone(),
        metrics: ports.metrics.clone(),
        tasks: owner.clone(),
    };
    worker.run(means).await
}

/// Has tasks of one type done.
struct Doing {
    agent: Arc<Standing>,
    bound: BoundJob,
}

#[async_trait]
impl Handler for Doing {
    async fn run(&self, held: flow::worker::Job) -> Result<Done, Fault> {
        let (agent, job) = (&self.agent, &self.bound.job);
        let task = held.task.clone();
        let role = Role::Agent(agent.name.into());
        let caller = Caller::new(role.to_string(), role).within(task.role.clone());
        let toolbox = Toolbox::new(Arc::clone(&agent.means.router), caller);
        let cause =
            Cause::Task { id: task.id, attempt: task.attempts, caller: task.caller.clone(), role: task.role.clone() };
        let input = kernel::audit::kept_arguments(&task.payload.to_string());
        let hands = agent.hands(toolbox, job.name, cause, Some(input)).holding(held.clone());
        let ended = match task.role.allows(job.access) {
            true => self.work(task.payload, &held, hands.clone()).await,
            false => Err(denied(agent.name, job, &task.role)),
        };
        let (standing, outcome) = match &ended {
            Ok(result) => (RunStanding::Done, result.to_string()),
            Err(fault) => (RunStanding::Failed, fault.to_string()),
        };
        let outcome = outcome.chars().take(OUTCOME_CHARS_MAX).collect();
        if let Err(fault) = agent.keep(&hands, standing, outcome).await {
            tracing::warn!(%fault, agent = agent.name, task = %task.id, "what a task did is not kept");
        }
        ended.map(Done::from)
    }
}

impl Doing {
    /// Does the work, within its time and until it is asked to stop.
    async fn work(&self, payload: Value, held: &flow::worker::Job, hands: Hands) -> Result<Value, Fault> {
        let job = &self.bound.job;
        let work = timeout(job.time, catch_panic((self.bound.work)(payload, hands)));
        let asked = async {
            held.cancelled.cancelled().await;
            sleep(TIDY).await;
        };
        tokio::select! {
            ended = work => match ended {
                Err(_) => Err(Fault::timeout(format!("{} not done within {} s", job.name, job.time.as_secs()))),
                Ok(Err(panic)) => Err(Fault::internal(format!("{} panicked: {panic}", job.name))),
                Ok(Ok(ended)) => ended,
            },
            () = asked => Err(Fault::cancelled(format!("{} was asked to stop", job.name))),
        }
    }
}

fn denied(agent: &str, job: &Job, role: &Role) -> Fault {
    Fault::denied(format!("role {role} may not ask agent:{agent} for {}", job.name))
        .hint("a task is done with no more rights than its submitter has")
}

#[cfg(test)]
mod tests;
