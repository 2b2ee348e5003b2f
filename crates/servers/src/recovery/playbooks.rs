//! Playbooks: the shipped workflows, run under the caller's own role, and what came of those that were run for an incident.
//!
//! That one is begun stands on its incident before it begins, with the key that its run is known by: whoever does it again goes on with the same run.
//! How it goes on is looked at by this server, whoever began it.

use flow::workflow::engine::Status;
use kernel::{Caller, Role, Trace, UnixMs};
use mcp::wire;
use serde_json::{Value, json};

use super::Recovery;
use super::incidents::{Incident, shortened};
use crate::orchestration::Run;
use mcp::prelude::*;

/// The server that runs workflows.
const ORCHESTRATION: &str = "orchestration";
/// What another attempt would not change.
const REFUSALS: [Code; 5] =
    [Code::InvalidArgument, Code::NotFound, Code::PermissionDenied, Code::TooLarge, Code::Unsupported];
/// Most playbooks of one incident.
const PLAYBOOKS_MAX: usize = 20;

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
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
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
    /// The incident that it is run for; the open one of the input's `service`, if nothing is said. Its timeline tells how the run went.
    #[serde(default)]
    pub incident: Option<String>,
    /// How long to wait for it to end or to ask people, in seconds, at most 45.
    #[serde(default)]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
}

/// What [`RUN_PLAYBOOK`](super::RUN_PLAYBOOK) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunPlaybookResponse {
    /// The run of the workflow.
    pub run: Run,
    /// The incident that tells of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<String>,
}

/// A playbook that was run for an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookRun {
    /// The playbook.
    pub playbook: String,
    /// Who had it run.
    pub by: String,
    /// What its run is known by to them.
    pub key: String,
    /// The run, once it was begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// How it stood when it was last looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<Status>,
    /// What it asks people.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub asks: Vec<String>,
    /// When it was seen to have ended, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<UnixMs>,
}

impl Incident {
    fn playbook(&mut self, by: &str, key: &str) -> Option<&mut PlaybookRun> {
        self.playbooks.iter_mut().find(|one| one.by == by && one.key == key)
    }
}

/// How a run ended, in words.
fn ending(run: &Run) -> String {
    match (&run.output, &run.error) {
        (_, Some(error)) => format!("{}: {error}", run.run),
        (Some(output), None) => format!("{}: {output}", run.run),
        (None, None) => run.run.clone(),
    }
}

impl Recovery {
    /// Calls a tool of orchestration.
    async fn workflows(&self, tool: &str, arguments: Value, ctx: Ctx) -> Result<Value, Fault> {
        let reply = self.router.call(ORCHESTRATION, tool, wire::raw(&arguments), ctx).await?;
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
        let listed = self.workflows("list_workflows", json!({ "shipped": true }), within(&ctx)).await?;
        let playbooks = serde_json::from_value(listed["workflows"].clone())
            .map_err(|error| Fault::upstream(format!("the list of playbooks: {error}")))?;
        Ok(PlaybooksResponse { playbooks })
    }

    pub(super) async fn run_playbook(
        self: Arc<Self>,
        request: RunPlaybookRequest,
        ctx: Ctx,
    ) -> Result<RunPlaybookResponse, ToolError> {
        let RunPlaybookRequest { name, input, key, incident, wait_seconds } = request;
        let defined = self.workflows("define_workflow", json!({ "playbook": name }), within(&ctx)).await?;
        let text = |field: &str| defined[field].as_str().unwrap_or_default();
        let workflow = format!("{}/{}/{}", text("namespace"), text("name"), text("version"));
        let service = input.as_ref().and_then(|input| input["service"].as_str());
        let incident = match (incident, service) {
            (Some(id), _) => Some(id),
            (None, Some(service)) => self.open_of(service).await?,
            (None, None) => None,
        };
        let (by, key) = (&ctx.caller.name, key.unwrap_or_else(|| kernel::ids::new_id("playbook")));
        if let Some(id) = &incident {
            self.begins(id, &name, by, &key).await?;
        }
        let start = json!({ "workflow": workflow, "input": input, "key": key, "wait_seconds": wait_seconds });
        let started = self.workflows("start", start, within(&ctx)).await;
        let run = match (started, &incident) {
            (Ok(run), _) => run_of(run)?,
            (Err(fault), Some(id)) if REFUSALS.contains(&fault.code) => {
                self.refused(id, by, &key, &fault).await?;
                return Err(fault.into());
            }
            (Err(fault), _) => return Err(fault.into()),
        };
        if let Some(id) = &incident {
            self.saw(id, by, &key, &run).await?;
        }
        Ok(RunPlaybookResponse { run, incident })
    }

    /// Writes down that a playbook is about to be run for an incident, unless that stands there.
    async fn begins(&self, id: &str, playbook: &str, by: &str, key: &str) -> Result<(), Fault> {
        let moment = self.moment("playbook.begun", &format!("{playbook}, by {by}"));
        let begun = self.amend(id, |incident| {
            if incident.playbook(by, key).is_some() {
                return Ok(false);
            }
            if incident.playbooks.len() >= PLAYBOOKS_MAX {
                return Err(Fault::too_large(format!("{PLAYBOOKS_MAX} playbooks were run for {id}"))
                    .hint("orchestration's start runs one without an incident"));
            }
            incident.note(moment.clone());
            incident.playbooks.push(PlaybookRun {
                playbook: playbook.into(),
                by: by.into(),
                key: key.into(),
                run: None,
                status: None,
                asks: Vec::new(),
                ended_ms: None,
            });
            Ok(true)
        });
        begun.await.map(drop)
    }

    /// Writes down that a playbook could not be begun.
    async fn refused(&self, id: &str, by: &str, key: &str, fault: &Fault) -> Result<(), Fault> {
        let moment = self.moment("playbook.refused", &fault.to_string());
        // Asked for once more, a run that was begun goes on, whatever is wrong with the asking.
        let over = |one: &PlaybookRun| one.run.is_none() || fault.code == Code::NotFound;
        let refused = self.amend(id, |incident| match incident.playbook(by, key) {
            Some(one) if one.ended_ms.is_none() && over(one) => {
                one.ended_ms = Some(moment.at_ms);
                incident.note(moment.clone());
                Ok(true)
            }
            _ => Ok(false),
        });
        refused.await.map(drop)
    }

    /// Writes down how a run stands, if it stands otherwise than it did.
    async fn saw(&self, id: &str, by: &str, key: &str, run: &Run) -> Result<(), Fault> {
        let asks: Vec<String> = run.questions.iter().map(|asked| shortened(&asked.title)).collect();
        let end = run.status.is_end();
        let word = match run.status {
            Status::Completed => "playbook.completed",
            Status::Faulted => "playbook.faulted",
            Status::Cancelled => "playbook.cancelled",
            _ => "playbook.asks",
        };
        let moment = self.moment(word, &if end { ending(run) } else { format!("{}: {}", run.run, asks.join("; ")) });
        let seen = self.amend(id, |incident| {
            let Some(one) = incident.playbook(by, key) else { return Ok(false) };
            let before = one.clone();
            (one.run, one.status, one.asks) = (Some(run.run.clone()), Some(run.status), asks.clone());
            let asked_anew = !asks.is_empty() && asks != before.asks;
            if end && one.ended_ms.is_none() {
                one.ended_ms = Some(moment.at_ms);
            }
            let changed = *one != before;
            if (end && before.ended_ms.is_none()) || asked_anew {
                incident.note(moment.clone());
            }
            Ok(changed)
        });
        seen.await.map(drop)
    }

    /// Looks how the playbooks go on that were run for incidents and have not ended.
    pub(super) async fn follow_playbooks(&self) -> Result<(), Fault> {
        for incident in self.every_incident().await? {
            for one in incident.playbooks.iter().filter(|one| one.ended_ms.is_none()) {
                let Some(run) = &one.run else { continue };
                let ctx = Ctx::internal(Caller::standing(Self::NAME, Role::Viewer), Trace::root());
                match self.workflows("status", json!({ "run": run }), ctx).await {
                    Ok(run) => self.saw(&incident.id, &one.by, &one.key, &run_of(run)?).await?,
                    Err(fault) if fault.code == Code::NotFound => {
                        self.refused(&incident.id, &one.by, &one.key, &fault).await?;
                    }
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(())
    }
}

/// The caller's own role, in the caller's trace.
fn within(ctx: &Ctx) -> Ctx {
    Ctx::internal((*ctx.caller).clone(), ctx.trace.child())
}

fn run_of(run: Value) -> Result<Run, Fault> {
    serde_json::from_value(run).map_err(|error| Fault::upstream(format!("a run of {ORCHESTRATION}: {error}")))
}
