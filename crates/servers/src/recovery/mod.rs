//! `recovery`: what failed and how it came back, and the ways back: restarts, playbooks, snapshots of settings, backups of all, drills.
//!
//! It keeps incidents and snapshots in the store; all else it has through ports and tools: the supervisor, workflows, the vault, the breakers of
//! whoever routes calls. Invariants:
//! - An incident is what the fleet's events say, taken in order: where it is in them is written in the commit that takes them, so any number
//!   of copies write each incident once, and one that was away takes in what it missed.
//! - Whatever settings are put back, how they were just before is a snapshot first. Limits of risk, keys, pins and what is under way are no
//!   settings: nothing here puts those back.
//! - A backup that is torn or altered is refused, and putting one back never touches what the fleet has now.

mod acts;
mod breakers;
mod incidents;
mod playbooks;
mod snapshots;
#[cfg(test)]
mod tests;
mod vault;

use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::{Bus, FLEET_TOPIC};
use kernel::fleet::Fleet;
use kernel::health::Check;
use kernel::store::Store;
use kernel::vault::Vault;
use kernel::{Clock, OnEnd};
use mcp::prelude::*;
use mcp::toolbox::Router;

pub use acts::{DrillRequest, DrillResponse, ReasonedRequest, RestartRequest, RestartResponse};
pub use breakers::{
    BreakerRow, CircuitBreakersRequest, CircuitBreakersResponse, ResetCircuitBreakerRequest,
    ResetCircuitBreakerResponse,
};
pub use incidents::{Incident, IncidentRequest, IncidentsRequest, IncidentsResponse, Kind, Moment};
pub use playbooks::{
    PlaybookRow, PlaybookRun, PlaybooksRequest, PlaybooksResponse, RunPlaybookRequest, RunPlaybookResponse,
};
pub use snapshots::{
    CreateSnapshotRequest, ListSnapshotsRequest, ListSnapshotsResponse, PartChange, RestoreSnapshotRequest,
    RestoreSnapshotResponse, RollbackConfigRequest, Snapshot,
};
pub use vault::{BackupRequest, ListBackupsRequest, ListBackupsResponse, NamedBackupRequest};

use crate::MarketPorts;

/// How often it is looked for events without a nudge.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked how the playbooks of incidents go on.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// How long after settings that would not stand still they are looked at again: those of a fleet that has just begun are being written.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(30);
/// The time limit of what copies all that the fleet keeps.
const COPY_TIME: Duration = Duration::from_secs(15 * 60);
/// The time limit of what waits for a service to come back.
const RECOVERY_TIME: Duration = Duration::from_secs(150);

/// `[servers.recovery]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often the settings are looked at, to keep a snapshot of them by itself when they have changed, in minutes; 0 never does.
    pub snapshot_minutes: u32,
    /// How many of the snapshots that were made by itself are kept: 1 to 30.
    pub snapshots_kept: usize,
    /// How many backups are kept in the data folder: 1 to 100.
    pub backups_kept: usize,
    /// How long incidents that are over are kept, in days.
    pub incident_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { snapshot_minutes: 10, snapshots_kept: 20, backups_kept: 7, incident_days: 90 }
    }
}

/// The server.
pub struct Recovery {
    clock: Clock,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    fleet: Arc<dyn Fleet>,
    vault: Arc<dyn Vault>,
    router: Arc<dyn Router>,
    config: Config,
}

impl McpServer for Recovery {
    const NAME: &'static str = "recovery";
    const INSTRUCTIONS: &'static str = "What failed, and the ways back. incidents lists what failed and how long it took to come back; incident \
        has its timeline; escalate_incident hands one to people, resolve_incident closes one by hand. restart restarts a service; playbooks and \
        run_playbook run the shipped workflows, incident-response first, and its incident tells how it went. \
        create_snapshot keeps the settings (alert rules, aliases, price sources, log retention, scripts, workflows); rollback_config puts one \
        part back as it was before it changed, restore_snapshot all of it. backup puts all that the fleet keeps into one file of the data \
        folder, verify_backup reads it to its end, restore makes a new data folder of it. circuit_breakers shows to whom calls are held back, \
        reset_circuit_breaker lets them through. drill kills one service for real and measures how long it takes to recover.";
    type Config = Config;
    type Ports = MarketPorts;

    fn new(ports: &MarketPorts, config: Config) -> Result<Self, Fault> {
        for (name, figure, most) in [
            ("snapshots_kept", config.snapshots_kept, 30),
            ("backups_kept", config.backups_kept, 100),
            ("incident_days", config.incident_days as usize, 3_650),
        ] {
            if !(1..=most).contains(&figure) {
                return Err(Fault::invalid(format!("servers.recovery.{name} is {figure}")).hint(format!("1 to {most}")));
            }
        }
        let MarketPorts { kernel, router, vault, .. } = ports;
        Ok(Self {
            clock: kernel.clock.clone(),
            store: Arc::clone(&kernel.store),
            bus: Arc::clone(&kernel.bus),
            fleet: Arc::clone(&kernel.fleet),
            vault: Arc::clone(vault),
            router: Arc::clone(router),
            config,
        })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(INCIDENTS, Self::incidents);
        set.add(INCIDENT, Self::incident);
        set.add(ESCALATE_INCIDENT, Self::escalate_incident);
        set.add(RESOLVE_INCIDENT, Self::resolve_incident);
        set.add(RESTART, Self::restart);
        set.add(PLAYBOOKS, Self::playbooks);
        set.add(RUN_PLAYBOOK, Self::run_playbook);
        set.add(CREATE_SNAPSHOT, Self::create_snapshot);
        set.add(LIST_SNAPSHOTS, Self::list_snapshots);
        set.add(RESTORE_SNAPSHOT, Self::restore_snapshot);
        set.add(ROLLBACK_CONFIG, Self::rollback_config);
        set.add(CIRCUIT_BREAKERS, Self::circuit_breakers);
        set.add(RESET_CIRCUIT_BREAKER, Self::reset_circuit_breaker);
        set.add(BACKUP, Self::backup);
        set.add(LIST_BACKUPS, Self::list_backups);
        set.add(VERIFY_BACKUP, Self::verify_backup);
        set.add(RESTORE, Self::restore);
        set.add(DRILL, Self::drill);
    }
}

#[async_trait]
impl Features for Recovery {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        let (recovery, stopping) = (Arc::clone(&self), ports.tasks.stopping());
        ports.tasks.spawn("incidents", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                // Asked for before looking, so that what comes meanwhile is not missed.
                let published = recovery.bus.published(&[FLEET_TOPIC]);
                if let Err(fault) = recovery.take_events().await {
                    tracing::warn!(%fault, "incidents cannot be written, next try in a moment");
                }
                tokio::select! {
                    () = published => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
        let (recovery, stopping) = (Arc::clone(&self), ports.tasks.stopping());
        ports.tasks.spawn("playbooks of incidents", OnEnd::StopOwner, async move {
            while !stopping.is_cancelled() {
                if let Err(fault) = recovery.follow_playbooks().await {
                    tracing::warn!(%fault, "playbooks of incidents cannot be looked at, next try in a moment");
                }
                tokio::select! {
                    () = tokio::time::sleep(FOLLOW_EVERY) => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
        if self.config.snapshot_minutes > 0 {
            let every = Duration::from_secs(u64::from(self.config.snapshot_minutes) * 60);
            let stopping = ports.tasks.stopping();
            ports.tasks.spawn("snapshots", OnEnd::StopOwner, async move {
                while !stopping.is_cancelled() {
                    let kept = self.snapshot_by_itself().await;
                    if let Err(fault) = &kept {
                        tracing::warn!(%fault, "no snapshot kept, next try in a moment");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(if kept.is_ok() { every } else { SNAPSHOT_RETRY.min(every) }) => {}
                        () = stopping.cancelled() => {}
                    }
                }
            });
        }
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        vec![match self.open_incidents().await {
            Ok((open, 0)) => Check::healthy("incidents", format!("{open} open")),
            Ok((open, escalated)) => Check::healthy("incidents", format!("{open} open, {escalated} left to people")),
            Err(fault) => Check::down("incidents", fault.to_string()),
        }]
    }
}

tools! { Recovery::NAME;
    /// Lists incidents, newest first: what failed, was given up, lost its calls or was drilled; the open ones, or all.
    INCIDENTS = "incidents": fn(IncidentsRequest) -> IncidentsResponse, Hints::READ;
    /// The timeline of one incident: what failed, what was done about it, when it served again.
    INCIDENT = "incident": fn(IncidentRequest) -> Incident, Hints::READ;
    /// Hands an open incident to people, with the reason: it stands on its timeline and is told as an event, once.
    ESCALATE_INCIDENT = "escalate_incident": fn(ReasonedRequest) -> Incident, Hints::SET;
    /// Closes an incident by hand, with what ended it: for what never says itself that it serves again.
    RESOLVE_INCIDENT = "resolve_incident": fn(ReasonedRequest) -> Incident, Hints::SET;
    /// Restarts a service or an agent, with a reason, and waits until it serves again.
    RESTART = "restart": fn(RestartRequest) -> RestartResponse, Hints { destructive: true, ..Hints::OPERATE }.within(RECOVERY_TIME);
    /// Lists the shipped playbooks: workflows for incidents, deployments, reports.
    PLAYBOOKS = "playbooks": fn(PlaybooksRequest) -> PlaybooksResponse, Hints::READ;
    /// Runs a shipped playbook as a workflow, under your own role; the incident that it is run for tells how it goes on and ends.
    RUN_PLAYBOOK = "run_playbook": fn(RunPlaybookRequest) -> RunPlaybookResponse, Hints { destructive: true, ..Hints::OPERATE };
    /// Takes a snapshot of the settings, under a name: alerts, aliases, price sources, log retention, scripts, workflows.
    CREATE_SNAPSHOT = "create_snapshot": fn(CreateSnapshotRequest) -> Snapshot, Hints::OPERATE;
    /// Lists the snapshots of settings, newest first.
    LIST_SNAPSHOTS = "list_snapshots": fn(ListSnapshotsRequest) -> ListSnapshotsResponse, Hints::READ;
    /// Puts all settings, or some parts of them, back as they are in a snapshot; how they were is a snapshot before.
    RESTORE_SNAPSHOT = "restore_snapshot": fn(RestoreSnapshotRequest) -> RestoreSnapshotResponse, Hints::ADMIN;
    /// Rolls one part of the configuration back: these settings become as they were before they last changed; how they were is a snapshot first.
    ROLLBACK_CONFIG = "rollback_config": fn(RollbackConfigRequest) -> RestoreSnapshotResponse, Hints::ADMIN;
    /// Shows the circuit breakers of calls to other processes that have opened: to whom calls are held back, and since when.
    CIRCUIT_BREAKERS = "circuit_breakers": fn(CircuitBreakersRequest) -> CircuitBreakersResponse, Hints::READ;
    /// Closes the breakers to a service, so that calls go through at once.
    RESET_CIRCUIT_BREAKER = "reset_circuit_breaker": fn(ResetCircuitBreakerRequest) -> ResetCircuitBreakerResponse, Hints::SET;
    /// Takes a backup: puts all that the fleet keeps into one file of its data folder, while it runs; the oldest such file gives way.
    BACKUP = "backup": fn(BackupRequest) -> kernel::vault::Contents, Hints::OPERATE.within(COPY_TIME).long();
    /// Lists the backups in the data folder, newest first.
    LIST_BACKUPS = "list_backups": fn(ListBackupsRequest) -> ListBackupsResponse, Hints::READ;
    /// Verifies that a backup is intact: reads it to its end and compares it with what it says of itself; a torn or altered one is refused with the reason.
    VERIFY_BACKUP = "verify_backup": fn(NamedBackupRequest) -> kernel::vault::Contents, Hints::READ.within(COPY_TIME).long();
    /// Restores a backup into a new data folder and verifies its audit trail; the running fleet stays as it is, and is then started with the new folder.
    RESTORE = "restore": fn(NamedBackupRequest) -> kernel::vault::Restored, Hints::ADMIN.within(COPY_TIME).long();
    /// A chaos test: kills one service for real and measures how long it takes until it serves again.
    DRILL = "drill": fn(DrillRequest) -> DrillResponse, Hints { destructive: true, ..Hints::OPERATE }.within(RECOVERY_TIME);
}
