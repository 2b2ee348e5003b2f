//! An agent with its types erased, standing to its duties: leads or waits, does what is due, keeps what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::bus::Event;
use kernel::duties::{self, Cause, Run, Runs, Standing as RunStanding};
use kernel::health::{Check, Report, worst};
use kernel::lead::Lead;
use kernel::locks::Elections;
use kernel::tasks::catch_panic;
use kernel::{Caller, Fault, OnEnd, Ports, Role, Tasks, UnixMs};
use mcp::Toolbox;
use mcp::toolbox::Router;
use parking_lot::Mutex;
use servers::outbound::Reach;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Duties, Duty};
use crate::follow::Follow;
use crate::hands::Hands;
use crate::jobs::{self, BoundJob, Jobs};
use crate::notes::Notes;
use crate::presence::{Presence, Room, Secrets};
use crate::push;

/// How long one run may take.
const RUN_TIME: Duration = Duration::from_secs(60);
/// How often is looked for what is due, without a nudge.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a copy that does not lead waits before it tries again.
const CANDIDATE_WAIT: Duration = Duration::from_secs(3);
/// Runs between two looks for those too many.
const TRIM_EVERY: u64 = 50;

/// What an agent stands on.
#[derive(Clone)]
pub struct Means {
    /// Time, store and bus for the keeping of duties; the agent itself gets none of them.
    pub ports: Ports,
    /// How tools are reached.
    pub router: Arc<dyn Router>,
    /// The binary's version.
    pub version: &'static str,
    /// Which addresses may be told of tasks.
    pub reach: Reach,
    /// What no file of the fleet holds.
    pub secrets: Secrets,
}

/// The agent.
pub struct Standing {
    pub(crate) name: &'static str,
    duties: Vec<Duty>,
    pub(crate) jobs: Vec<BoundJob>,
    pub(crate) means: Means,
    gathered_for: Duration,
    presence: Presence,
    toolbox: Toolbox,
    runs: Runs,
    started_ms: UnixMs,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leads: bool,
    kept: u64,
    last: BTreeMap<&'static str, Last>,
}

/// How a duty went the last time.
struct Last {
    /// What came of it, or why it failed.
    ended: Result<String, String>,
    /// How often it has failed in a row.
    failures: u32,
}

/// How often in a row a duty may fail before its agent is not healthy: while a server is restarted, one call fails.
const FAILURES_MAX: u32 = 2;

impl Standing {
    /// Builds `A` and erases its types. Does no I/O.
    ///
    /// # Errors
    /// When its configuration is wrong.
    pub fn build<A: Agent>(config: A::Config, means: Means) -> Result<Arc<Self>, Fault> {
        let agent = Arc::new(A::new(config)?.given(&means.secrets)?);
        // Its own role, and never more: what the tools allow it, they allow it under this name.
        let role = Role::Agent(A::NAME.into());
        let caller = Caller::standing(role.to_string(), role);
        Ok(Arc::new(Self {
            name: A::NAME,
            duties: Duties::of(&agent),
            jobs: Jobs::of(&agent),
            gathered_for: A::GATHERED_FOR,
            presence: Presence::of(&agent),
            toolbox: Toolbox::new(Arc::clone(&means.router), caller),
            runs: Runs::new(Arc::clone(&means.ports.store)),
            started_ms: means.ports.clock.now_ms(),
            state: Mutex::default(),
            means,
        }))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its duties.
    pub fn duties(&self) -> &[Duty] {
        &self.duties
    }

    /// Its types of task.
    pub fn jobs(&self) -> &[BoundJob] {
        &self.jobs
    }

    /// Says what it does, so that whoever submits knows. To be said before it starts.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub async fn offer(&self) -> Result<(), Fault> {
        jobs::offer(self).await
    }

    /// Begins with its duties and takes tasks, under `tasks`.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        jobs::start(self, tasks);
        push::start(self, tasks);
        let (agent, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("duties of an agent", OnEnd::StopOwner, async move { agent.live(stopping).await });
    }

    /// The body of `/health`.
    pub fn health(&self) -> Report {
        let state = self.state.lock();
        let mut checks = vec![Check::healthy(
            "lead",
            if state.leads { "does the duties" } else { "another copy does the duties, or none yet" },
        )];
        for duty in self.duties.iter().filter(|_| state.leads) {
            checks.push(match state.last.get(duty.name) {
                None => Check::healthy(duty.name, format!("not due yet: {}", duty.when.words())),
                Some(Last { ended: Ok(outcome), .. }) => Check::healthy(duty.name, outcome),
                Some(Last { ended: Err(why), failures: ..FAILURES_MAX }) => Check::healthy(duty.name, why),
                Some(Last { ended: Err(why), .. }) => Check::degraded(duty.name, why),
            });
        }
        if !self.jobs.is_empty() {
            let names: Vec<&str> = self.jobs.iter().map(|bound| bound.job.name).collect();
            checks.push(Check::healthy("tasks", format!("does {}", names.join(", "))));
        }
        checks.extend(self.presence.checks());
        Report {
            status: worst(&checks),
            service: self.name.into(),
            version: self.means.version.into(),
            uptime_seconds: u64::try_from(self.now_ms() - self.started_ms).unwrap_or(0) / 1_000,
            checks,
        }
    }

    fn now_ms(&self) -> UnixMs {
        self.means.ports.clock.now_ms()
    }

    async fn live(self: &Arc<Self>, stopping: CancellationToken) {
        let ports = &self.means.ports;
        let elections = Elections::new(Arc::clone(&ports.leases), ports.clock.clone());
        let mut lead = Lead::new(elections, duties::election(self.name), self.name);
        while !stopping.is_cancelled() {
            let leads = lead.gain().await.unwrap_or_else(|fault| {
                tracing::warn!(%fault, agent = self.name, "duties not done, next try in a moment");
                false
            });
            if leads {
                self.state.lock().leads = true;
                let room = Room::new(self);
                // Whatever is under way when the lead is lost is left to the one who leads then.
                let ended = tokio::select! {
                    ended = self.do_duties(&stopping) => ended,
                    () = self.presence.keep(&room) => Ok(()),
                    () = lead.keep() => Ok(()),
                };
                self.state.lock().leads = false;
                if let Err(fault) = ended {
                    tracing::warn!(%fault, agent = self.name, "duties interrupted, next try in a moment");
                }
            }
            tokio::select! {
                () = sleep(CANDIDATE_WAIT) => {}
                () = stopping.cancelled() => {}
            }
        }
        lead.give_up().await;
    }

    /// Does what is due until `stopping`; the run that is under way then is ended first.
    async fn do_duties(&self, stopping: &CancellationToken) -> Result<(), Fault> {
        let ports = &self.means.ports;
        let topics: BTreeSet<_> =
            self.duties.iter().flat_map(|duty| &duty.when.topics).map(|(topic, _)| *topic).collect();
        let topics: Vec<&'static str> = topics.into_iter().collect();
        let mut follow =
            Follow::open(Arc::clone(&ports.store), Arc::clone(&ports.bus), self.name, topics.clone()).await?;
        let mut due_ms: Vec<UnixMs> = self.duties.iter().map(|duty| self.now_ms() + period_ms(duty)).collect();
        while !stopping.is_cancelled() {
            // Asked for before reading, so that what comes in between is not missed.
            let published = ports.bus.published(&topics);
            let events = follow.read(|event| self.duties.iter().any(|duty| duty.when.wants(event))).await?;
            for (duty, due_ms) in self.duties.iter().zip(&mut due_ms) {
                let (now_ms, period_ms) = (self.now_ms(), period_ms(duty));
                // A clock that was put back must not keep a duty waiting for longer than its period.
                *due_ms = (*due_ms).min(now_ms + period_ms);
                let wanted: Vec<Event> = events.iter().filter(|event| duty.when.wants(event)).cloned().collect();
                if (now_ms >= *due_ms || !wanted.is_empty()) && !stopping.is_cancelled() {
                    *due_ms = now_ms + period_ms;
                    self.run(duty, wanted).await;
                }
            }
            if !events.is_empty() && !stopping.is_cancelled() {
                follow.done().await?;
            }
            tokio::select! {
                () = async { published.await; sleep(self.gathered_for).await } => {}
                () = sleep(LOOK_EVERY) => {}
                () = stopping.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn run(&self, duty: &Duty, events: Vec<Event>) {
        let (cause, events): (_, Arc<[Event]>) = (cause(&events), events.into());
        let hands = self.hands(self.toolbox.clone(), duty.name, cause, None).seeing(events);
        let work = timeout(RUN_TIME, catch_panic((duty.work)(hands.clone()))).await;
        let ended = match work {
            Err(_) => Err(format!("not done within {} s", RUN_TIME.as_secs())),
            Ok(Err(panic)) => Err(format!("panicked: {panic}")),
            Ok(Ok(outcome)) => outcome.map_err(|fault| fault.to_string()),
        };
        let changed = self.note(duty.name, &ended);
        if let Err(why) = ended.as_ref()
            && changed
        {
            tracing::warn!(agent = self.name, duty = duty.name, why, "duty not done");
        }
        // A run that only looked, and found what the one before it found, says nothing new.
        if changed || hands.acted() {
            let standing = if ended.is_ok() { RunStanding::Done } else { RunStanding::Failed };
            if let Err(fault) = self.keep(&hands, standing, ended.unwrap_or_else(|why| why)).await {
                tracing::warn!(%fault, agent = self.name, duty = duty.name, "outcome of a duty not kept");
            }
        }
    }

    /// Notes how a duty went. Says whether it went otherwise than the last time.
    fn note(&self, duty: &'static str, ended: &Result<String, String>) -> bool {
        let mut state = self.state.lock();
        let before = state.last.get(duty);
        let failures = if ended.is_ok() { 0 } else { before.map_or(0, |last| last.failures) + 1 };
        let changed = before.is_none_or(|last| last.ended != *ended);
        state.last.insert(duty, Last { ended: ended.clone(), failures });
        changed
    }

    pub(crate) fn hands(&self, toolbox: Toolbox, what: &str, cause: Cause, input: Option<String>) -> Hands {
        let run = Run {
            id: kernel::ids::new_id("run"),
            agent: self.name.into(),
            duty: what.into(),
            cause,
            input,
            began_ms: self.now_ms(),
            ended_ms: None,
            standing: RunStanding::Begun,
            outcome: String::new(),
            calls: Vec::new(),
        };
        let notes = Notes::new(Arc::clone(&self.means.ports.store), self.name);
        Hands::new(toolbox, self.runs.clone(), notes, run, self.means.ports.clock.clone())
    }

    pub(crate) async fn keep(&self, hands: &Hands, standing: RunStanding, outcome: String) -> Result<(), Fault> {
        hands.end(standing, outcome);
        hands.write_down().await?;
        let kept = {
            let mut state = self.state.lock();
            state.kept += 1;
            state.kept
        };
        if kept % TRIM_EVERY == 1 { self.runs.trim(self.name).await } else { Ok(()) }
    }
}

fn period_ms(duty: &Duty) -> i64 {
    i64::try_from(duty.when.every.as_millis()).unwrap_or(i64::MAX)
}

fn cause(events: &[Event]) -> Cause {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Cause::Schedule };
    let mut kinds: Vec<String> = Vec::new();
    for event in events {
        if !kinds.contains(&event.kind) {
            kinds.push(event.kind.clone());
        }
    }
    Cause::Events { kinds, first_seq: first.seq, last_seq: last.seq }
}
