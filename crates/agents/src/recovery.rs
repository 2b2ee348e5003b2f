//! `recovery`: takes what failed from its incident to serving again, one measure after the other, and leaves to people what does not come back.
//!
//! What failed is the recovery server's word: its incidents. A service's own supervisor is left to itself first; then the playbook is run, or where none
//! can be, the service is restarted with growing pauses; then people are told what was tried. Invariants:
//! - It keeps nothing of its own. Each measure is on the incident's timeline before it is taken, and what comes next is worked out from that timeline
//!   alone: a crash in between, or another copy, repeats nothing.
//! - A playbook is known by its incident: however often it is asked for, it is one run.
//! - It never puts settings back and never drills: people do. Where settings changed shortly before, it says which snapshot has them as they were.

mod judge;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kernel::vault::Contents;
use kernel::{Access, Code, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use servers::orchestration;
use servers::recovery::{
    BACKUP, BackupRequest, CIRCUIT_BREAKERS, CircuitBreakersRequest, ESCALATE_INCIDENT, INCIDENT, INCIDENTS, Incident,
    IncidentRequest, IncidentsRequest, LIST_SNAPSHOTS, ListSnapshotsRequest, NamedBackupRequest, RESET_CIRCUIT_BREAKER,
    RESOLVE_INCIDENT, RESTART, RUN_PLAYBOOK, ReasonedRequest, ResetCircuitBreakerRequest, RestartRequest,
    RunPlaybookRequest, VERIFY_BACKUP,
};

use crate::agent::{Agent, Duties, When};
use crate::execution::jobs::follow;
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};
use judge::{Lately, Step};

/// The playbook for what failed.
const PLAYBOOK: &str = "incident-response";
/// Most incidents that one run takes further: as many as it may call tools for.
const INCIDENTS_MAX: usize = 10;
/// Most incidents that are listed.
const LISTED_MAX: usize = 200;
/// How long a recovery is followed unless its task says otherwise, in seconds.
const FOLLOW_SECONDS: u64 = 600;
/// The longest that one is followed, in seconds.
const FOLLOW_SECONDS_MAX: u64 = 840;
/// Longest reason that is given, in bytes: the tools take as much.
const REASON_BYTES_MAX: usize = 1_000;
/// What it means that no playbook can be run here and now.
const NO_WORKFLOWS: [Code; 3] = [Code::NotFound, Code::Unavailable, Code::NotConfigured];
/// How long a backup and its reading may take together.
const BACKUP_TIME: Duration = Duration::from_secs(30 * 60);

/// `[agents.recovery]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often open incidents are looked at, in seconds: 1 to 60. They are at once when something fails.
    pub watch_seconds: u32,
    /// How long what failed is left to its own supervisor, in seconds: 0 to 3,600. What the supervisor has given up is not waited for.
    pub patience_seconds: u32,
    /// How long something may take to serve again after a measure before the next is taken, in seconds: 1 to 600. After each restart twice as long.
    pub settle_seconds: u32,
    /// How often something is restarted for one incident where no playbook can be run: 1 to 10.
    pub restarts_max: u32,
    /// How often within an hour the same may be recovered before people are asked instead: 1 to 100.
    pub hourly_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { watch_seconds: 5, patience_seconds: 30, settle_seconds: 20, restarts_max: 3, hourly_max: 3 }
    }
}

/// The agent.
pub struct Recovery {
    config: Config,
}

impl Agent for Recovery {
    const NAME: &'static str = "recovery";
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        let bounds = [
            ("watch_seconds", config.watch_seconds, 1, 60),
            ("patience_seconds", config.patience_seconds, 0, 3_600),
            ("settle_seconds", config.settle_seconds, 1, 600),
            ("restarts_max", config.restarts_max, 1, 10),
            ("hourly_max", config.hourly_max, 1, 100),
        ];
        match bounds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            None => Ok(Self { config }),
            Some((name, value, min, max)) => {
                Err(Fault::invalid(format!("agents.recovery.{name} is {value}")).hint(format!("{min} to {max}")))
            }
        }
    }

    fn duties(&self, set: &mut Duties<Self>) {
        set.add(
            "incidents",
            "Takes every open incident one measure further: playbook, restart, breaker; and leaves it to people when nothing more helps.",
            When::every(Duration::from_secs(self.config.watch_seconds.into()))
                .or_on(&["service.failed", "service.given_up", "agent.failed", "agent.given_up", "breaker.opened"]),
            Self::incidents,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        let recover = "Runs the playbook for a server or agent that does not work as it should, once for each task, and follows it to its end.";
        let recover = Job::new("recover", recover, Access::Operate).text("service");
        set.add(recover.within(Duration::from_secs(FOLLOW_SECONDS_MAX + 60)), Self::recover);
        let backup = "Makes a backup of all that the fleet keeps, and reads it to its end.";
        set.add(Job::new("backup", backup, Access::Operate).within(BACKUP_TIME), Self::backup);
    }
}

/// What `recover` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// A server's name, or `agent:` and an agent's.
    pub service: String,
    /// How long the playbook is followed, in seconds, at most 840; what has not ended by then goes on, and the result says how it stands.
    #[serde(default = "follow_seconds")]
    #[schemars(range(max = 840))]
    pub follow_seconds: u64,
}

fn follow_seconds() -> u64 {
    FOLLOW_SECONDS
}

/// What `backup` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeBackup {}

impl Recovery {
    async fn incidents(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        let all = IncidentsRequest { open: false, subject: None, limit: LISTED_MAX };
        let all = hands.call(INCIDENTS, &all).await?.incidents;
        let open: Vec<&Incident> = all.iter().filter(|one| one.resolved_ms.is_none()).collect();
        if open.is_empty() {
            return Ok("no incident is open".into());
        }
        let mut words = Vec::new();
        let left = open.iter().filter(|one| one.escalated_ms.is_some()).count();
        // The oldest first, so that none waits for ever behind new ones.
        for brief in open.iter().rev().filter(|one| one.escalated_ms.is_none()).take(INCIDENTS_MAX) {
            let lately = Lately::of(brief, &all);
            // One that cannot be taken further must not hold up the others.
            let done = match self.further(&hands, &brief.id, lately).await {
                Ok(done) => done,
                Err(fault) => format!("failed: {fault}"),
            };
            words.push(format!("{} {}: {done}", brief.id, brief.subject));
        }
        if left > 0 {
            words.push(format!("{left} left to people"));
        }
        Ok(words.join("; "))
    }

    /// Takes one incident a measure further. Says which.
    async fn further(&self, hands: &Hands, id: &str, lately: Lately) -> Result<String, Fault> {
        let incident = hands.call(INCIDENT, &IncidentRequest { id: id.into() }).await?;
        let now_ms = hands.now_ms();
        let step = match incident.subject.strip_prefix(judge::COPY) {
            Some(copy) => {
                let known = hands.call(CIRCUIT_BREAKERS, &CircuitBreakersRequest {}).await?.breakers;
                let breaker = known.iter().find(|row| row.instance == copy);
                judge::copy(&incident, breaker, lately, &self.config, now_ms)
            }
            None => judge::service(&incident, lately, &self.config, now_ms),
        };
        let playbook = step == Step::Playbook;
        match take(hands, &incident, step).await {
            // No workflows in this fleet, or none now: it is done by hand.
            Err(fault) if playbook && NO_WORKFLOWS.contains(&fault.code) => {
                take(hands, &incident, judge::by_hand(&incident, &incident.subject, &self.config, now_ms)).await
            }
            done => done,
        }
    }

    async fn recover(self: Arc<Self>, asked: Recover, hands: Hands) -> Result<orchestration::Run, Fault> {
        if asked.follow_seconds > FOLLOW_SECONDS_MAX {
            return Err(Fault::invalid(format!("follow_seconds is {}", asked.follow_seconds))
                .hint(format!("at most {FOLLOW_SECONDS_MAX}")));
        }
        let run = run_playbook(&hands, &asked.service, hands.key(), None).await?;
        follow(&hands, run, Duration::from_secs(asked.follow_seconds)).await
    }

    async fn backup(self: Arc<Self>, _: MakeBackup, hands: Hands) -> Result<Contents, Fault> {
        let made = hands.call(BACKUP, &BackupRequest::default()).await?;
        hands.progress(0.5, format!("{} is made, and read", made.name));
        hands.call(VERIFY_BACKUP, &NamedBackupRequest { name: made.name }).await
    }
}

async fn run_playbook(
    hands: &Hands,
    service: &str,
    key: String,
    incident: Option<String>,
) -> Result<orchestration::Run, Fault> {
    let input = Some(json!({ "service": service }));
    let request = RunPlaybookRequest { name: PLAYBOOK.into(), input, key: Some(key), incident, wait_seconds: 0 };
    Ok(hands.call(RUN_PLAYBOOK, &request).await?.run)
}

/// Takes a measure. Says what was done.
async fn take(hands: &Hands, incident: &Incident, step: Step) -> Result<String, Fault> {
    let id = incident.id.clone();
    match step {
        Step::Rest(why) => Ok(why),
        Step::Playbook => {
            let run = run_playbook(hands, &incident.subject, judge::key(&id), Some(id.clone())).await?;
            Ok(format!("playbook {PLAYBOOK} runs as {}", run.run))
        }
        Step::Restart { service } => {
            let reason = format!("{id}: {}", judge::cause(incident));
            hands.call(RESTART, &RestartRequest { service, reason, incident: Some(id) }).await?;
            Ok("restarted".into())
        }
        Step::Reset { service, copy } => {
            let request = ResetCircuitBreakerRequest { service, instance: Some(copy) };
            hands.call(RESET_CIRCUIT_BREAKER, &request).await?;
            Ok("calls are let through again".into())
        }
        Step::Resolve(reason) => {
            hands.call(RESOLVE_INCIDENT, &ReasonedRequest { id, reason: reason.clone() }).await?;
            Ok(format!("closed: {reason}"))
        }
        Step::Escalate(mut reason) => {
            if judge::part_of(&incident.subject).is_some() {
                let listed = hands.call(LIST_SNAPSHOTS, &ListSnapshotsRequest {}).await?;
                reason.push_str(&judge::way_back(incident, &listed, hands.now_ms()).unwrap_or_default());
            }
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            hands.call(ESCALATE_INCIDENT, &ReasonedRequest { id, reason: reason.clone() }).await?;
            Ok(format!("left to people: {reason}"))
        }
    }
}
