//! What brings back, what tries whether it would, and what leaves it to people: restarts, drills, incidents handed over and closed.

use std::time::Duration;

use kernel::bus::NewEvent;
use kernel::catalog::COORDINATOR;
use kernel::fleet::Instance;
use serde_json::json;
use tokio::time::Instant;

use super::Recovery;
use super::incidents::{Incident, Kind, service_of};
use kernel::UnixMs;
use mcp::prelude::*;

/// How long a service may take to serve again after it was killed.
const DRILL_TIME: Duration = Duration::from_secs(120);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// What [`RESTART`](super::RESTART) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// A server's name, or `agent:` and an agent's.
    pub service: String,
    /// Why, for the logs, the events and its incident.
    pub reason: String,
    /// The incident that it is done for; the open one of the service, if nothing is said.
    #[serde(default)]
    pub incident: Option<String>,
}

/// What [`RESTART`](super::RESTART) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RestartResponse {
    /// The copies as they stand after it.
    pub instances: Vec<Instance>,
}

/// What [`ESCALATE_INCIDENT`](super::ESCALATE_INCIDENT) and [`RESOLVE_INCIDENT`](super::RESOLVE_INCIDENT) take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonedRequest {
    /// The incident's id, as `inc_00000017`.
    pub id: String,
    /// Why, for its timeline: at most 1,000 bytes.
    pub reason: String,
}

/// What [`DRILL`](super::DRILL) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// A server's name, or `agent:` and an agent's. Not the coordinator's or this one's: nobody would be left to answer.
    pub service: String,
    /// How fast it should be back, in milliseconds; the answer says whether it was.
    #[serde(default = "within_ms")]
    pub within_ms: u64,
}

fn within_ms() -> u64 {
    5_000
}

/// What [`DRILL`](super::DRILL) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DrillResponse {
    /// What was killed.
    pub service: String,
    /// When, in milliseconds since the Unix epoch.
    pub killed_ms: UnixMs,
    /// How long it took until every copy that was killed served again, in milliseconds.
    pub recovery_ms: u64,
    /// Whether that was as fast as it should be.
    pub in_time: bool,
    /// The copies as they stand after it.
    pub instances: Vec<Instance>,
    /// The incident that tells of it.
    pub incident: String,
}

impl Recovery {
    pub(super) async fn restart(
        self: Arc<Self>,
        request: RestartRequest,
        ctx: Ctx,
    ) -> Result<RestartResponse, ToolError> {
        let (kind, name) = service_of(&request.service)?;
        let detail = format!("by {}: {}", ctx.caller.name, request.reason);
        match &request.incident {
            Some(id) => {
                let moment = self.moment("recovery.restart", &detail);
                self.amend(id, |incident| {
                    incident.note(moment.clone());
                    Ok(true)
                })
                .await?;
            }
            None => self.note(&request.service, "recovery.restart", &detail).await?,
        }
        let instances = self.fleet.restart(kind, name, &request.reason).await?;
        Ok(RestartResponse { instances })
    }

    pub(super) async fn escalate_incident(
        self: Arc<Self>,
        request: ReasonedRequest,
        ctx: Ctx,
    ) -> Result<Incident, ToolError> {
        let ReasonedRequest { id, reason } = request;
        flow::bounded::check_size("reason", &reason, REASON_BYTES_MAX)?;
        let by = &ctx.caller.name;
        let moment = self.moment("incident.escalated", &format!("by {by}: {reason}"));
        let incident = self.amend(&id, |incident| {
            if incident.resolved_ms.is_some() {
                return Err(Fault::conflict(format!("{id} is over")).hint("incidents lists those that are open"));
            }
            if incident.escalated_ms.is_some() {
                return Ok(false);
            }
            incident.escalated_ms = Some(moment.at_ms);
            incident.note(moment.clone());
            Ok(true)
        });
        let incident = incident.await?;
        // Told by whoever wrote it down: people are handed it once.
        if incident.timeline.last() == Some(&moment) {
            let data = json!({ "incident": id, "subject": incident.subject, "reason": reason, "by": by });
            let event = NewEvent { trace_id: Some(ctx.trace.id()), ..NewEvent::fleet(&moment.what, Self::NAME, data) };
            self.bus.publish(event).await?;
        }
        Ok(incident)
    }

    pub(super) async fn resolve_incident(
        self: Arc<Self>,
        request: ReasonedRequest,
        ctx: Ctx,
    ) -> Result<Incident, ToolError> {
        let ReasonedRequest { id, reason } = request;
        flow::bounded::check_size("reason", &reason, REASON_BYTES_MAX)?;
        let moment = self.moment("incident.resolved", &format!("by {}: {reason}", ctx.caller.name));
        let resolved = self.amend(&id, |incident| {
            if incident.resolved_ms.is_none() {
                incident.close(moment.at_ms);
                incident.note(moment.clone());
                return Ok(true);
            }
            Ok(false)
        });
        Ok(resolved.await?)
    }

    pub(super) async fn drill(self: Arc<Self>, request: DrillRequest, ctx: Ctx) -> Result<DrillResponse, ToolError> {
        ctx.caller.require_person("recovery.drill")?;
        let role = request.service;
        let (kind, name) = service_of(&role)?;
        if role == COORDINATOR || role == Self::NAME {
            return Err(Fault::invalid(format!("{role} cannot be drilled from here"))
                .hint("any other service; these are tried by killing their process")
                .into());
        }
        let serving = |instances: &[Instance]| -> Vec<Instance> {
            let of_it = |instance: &&Instance| instance.kind == kind && instance.service == name;
            instances.iter().filter(of_it).filter(|instance| instance.status.serves()).cloned().collect()
        };
        let before = serving(&self.fleet.instances().await?);
        if before.is_empty() {
            return Err(Fault::unavailable(format!("{role} does not serve, so that it cannot be killed"))
                .hint("restart it first")
                .into());
        }
        let incident =
            self.begin(&role, Kind::Drill, "recovery.drill", &format!("killed by {}", ctx.caller.name)).await?;
        let (killed_ms, began) = (self.clock.now_ms(), Instant::now());
        self.fleet.fail(kind, name, &format!("killed by a drill of {}", ctx.caller.name)).await?;
        loop {
            let now = serving(&self.fleet.instances().await?);
            let anew = |old: &Instance| now.iter().any(|new| new.id == old.id && new.restarts > old.restarts);
            if before.iter().all(anew) {
                let recovery_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let in_time = recovery_ms <= request.within_ms;
                return Ok(DrillResponse { service: role, killed_ms, recovery_ms, in_time, instances: now, incident });
            }
            if began.elapsed() > DRILL_TIME {
                let text = format!("{role} does not serve again after {} s", DRILL_TIME.as_secs());
                return Err(Fault::timeout(text).hint(format!("its incident is {incident}; restart it")).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
