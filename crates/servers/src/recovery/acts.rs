//! What brings back, and what tries whether it would: restarts, playbooks, drills.

use std::time::Duration;

use kernel::catalog::COORDINATOR;
use kernel::fleet::Instance;
use mcp::wire;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Recovery;
use super::incidents::{Kind, service_of};
use kernel::UnixMs;
use mcp::prelude::*;

/// How long a service may take to serve again after it was killed.
const DRILL_TIME: Duration = Duration::from_secs(120);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The server that runs workflows.
const ORCHESTRATION: &str = "orchestration";

/// What [`RESTART`](super::RESTART) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// A server's name, or `agent:` and an agent's.
    pub service: String,
    /// Why, for the logs, the events and its incident.
    pub reason: String,
}

/// What [`RESTART`](super::RESTART) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RestartResponse {
    /// The copies as they stand after it.
    pub instances: Vec<Instance>,
}

/// What [`PLAYBOOKS`](super::PLAYBOOKS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaybooksRequest {}

/// A playbook.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookRow {
    /// Its name.
    pub name: String,
    /// Which version is shipped.
    pub version: String,
    /// For people.
    pub title: Option<String>,
}

/// What [`PLAYBOOKS`](super::PLAYBOOKS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlaybooksResponse {
    /// The playbooks, by name.
    pub playbooks: Vec<PlaybookRow>,
}

/// What [`RUN_PLAYBOOK`](super::RUN_PLAYBOOK) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPlaybookRequest {
    /// Its name, as `incident-response`.
    pub name: String,
    /// Its input, as its schema has it: for incident-response `{"service": "logging"}`.
    #[serde(default)]
    pub input: Option<Value>,
    /// What this run is known by: the same key from the same caller is the same run.
    #[serde(default)]
    pub key: Option<String>,
    /// How long to wait for it to end or to ask people, in seconds, at most 45.
    #[serde(default)]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
}

/// What [`RUN_PLAYBOOK`](super::RUN_PLAYBOOK) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunPlaybookResponse {
    /// The run of the workflow, as orchestration tells it: its id, status, output, questions.
    pub run: Value,
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
        self.note(&request.service, "recovery.restart", &detail).await?;
        let instances = self.fleet.restart(kind, name, &request.reason).await?;
        Ok(RestartResponse { instances })
    }

    /// Calls a tool of orchestration under the caller's own role.
    async fn workflows(&self, tool: &str, arguments: Value, ctx: &Ctx) -> Result<Value, Fault> {
        let own = Ctx::internal((*ctx.caller).clone(), ctx.trace.child());
        let reply = self.router.call(ORCHESTRATION, tool, wire::raw(&arguments), own).await?;
        let structured =
            mcp::toolbox::structured(&reply).map_err(|fault| fault.context(format!("{ORCHESTRATION}.{tool}")))?;
        serde_json::from_str(structured.get())
            .map_err(|error| Fault::upstream(format!("{ORCHESTRATION}.{tool}: {error}")))
    }

    pub(super) async fn playbooks(
        self: Arc<Self>,
        _request: PlaybooksRequest,
        ctx: Ctx,
    ) -> Result<PlaybooksResponse, ToolError> {
        let listed = self.workflows("list_workflows", json!({ "shipped": true }), &ctx).await?;
        let playbooks = serde_json::from_value(listed["workflows"].clone())
            .map_err(|error| Fault::upstream(format!("the list of playbooks: {error}")))?;
        Ok(PlaybooksResponse { playbooks })
    }

    pub(super) async fn run_playbook(
        self: Arc<Self>,
        request: RunPlaybookRequest,
        ctx: Ctx,
    ) -> Result<RunPlaybookResponse, ToolError> {
        let RunPlaybookRequest { name, input, key, wait_seconds } = request;
        let defined = self.workflows("define_workflow", json!({ "playbook": name }), &ctx).await?;
        let text = |field: &str| defined[field].as_str().unwrap_or_default();
        let workflow = format!("{}/{}/{}", text("namespace"), text("name"), text("version"));
        let start = json!({ "workflow": workflow, "input": input, "key": key, "wait_seconds": wait_seconds });
        let run = self.workflows("start", start, &ctx).await?;
        Ok(RunPlaybookResponse { run })
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
