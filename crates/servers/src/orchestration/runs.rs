//! Runs: started, looked at, answered, ended.

use std::time::Duration;

use flow::workflow::engine::{Answer, Asked, Head, NewRun, Status};
use flow::workflow::error::Error;
use flow::workflow::history::{Ending, Entry};
use kernel::UnixMs;
use mcp::prelude::*;
use serde_json::Value;

use super::definitions::parts_of;
use super::{Orchestration, may_act};

/// How long a call waits for a run to come to an end or to a wait, when it may.
const WAIT_SECONDS_MAX: u64 = 45;
/// How long what was sent to a run may take to be taken, before the answer says how the run stood.
const TAKEN_TIME: Duration = Duration::from_secs(5);
/// Most runs of one list.
const RUNS_MAX: usize = 200;

/// What [`START`](super::START) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Which workflow: `namespace/name` for its latest version, or `namespace/name/version`.
    pub workflow: String,
    /// Its input: any JSON, at most 128 KiB; an empty object if nothing is said.
    #[serde(default)]
    pub input: Option<Value>,
    /// What this start is known by: the same key from the same caller is the same run.
    #[serde(default)]
    pub key: Option<String>,
    /// How long to wait for the run to end or to wait for something, at most 45 seconds.
    #[serde(default)]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
}

/// What [`STATUS`](super::STATUS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// The run.
    pub run: String,
    /// How long to wait for the run to end or to wait for something, at most 45 seconds.
    #[serde(default)]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub run: String,
    /// Which workflow, with its version.
    pub workflow: String,
    /// How it stands.
    pub status: Status,
    /// Who started it: it acts under their role.
    pub started_by: String,
    /// When, in milliseconds since the Unix epoch.
    pub started_ms: UnixMs,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<UnixMs>,
    /// How many tasks were done.
    pub steps: u64,
    /// What it gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Value>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Error>,
    /// Which task failed: for retry_step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed_step: Option<String>,
    /// What could not be undone.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_undone: Vec<Error>,
    /// What it asks people: for approve and reject.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub questions: Vec<Asked>,
    /// What it waits for, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waits_for: Vec<String>,
    /// The run that runs it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<String>,
}

impl From<Head> for Run {
    fn from(head: Head) -> Self {
        let mut run = Self {
            run: head.id,
            workflow: format!("{}/{}/{}", head.namespace, head.name, head.version),
            status: head.status,
            started_by: head.caller.name,
            started_ms: head.created_ms,
            ended_ms: head.ended_ms,
            steps: head.steps,
            output: None,
            error: None,
            failed_step: None,
            not_undone: Vec::new(),
            questions: head.questions,
            waits_for: head.waits,
            parent: head.parent,
        };
        match head.ending {
            Some(Ending::Completed { output }) => run.output = Some(output),
            Some(Ending::Faulted { error, path, not_undone }) => {
                (run.error, run.failed_step, run.not_undone) = (Some(error), path, not_undone);
            }
            Some(Ending::Cancelled { not_undone, .. }) => run.not_undone = not_undone,
            None => {}
        }
        run
    }
}

/// What [`SIGNAL`](super::SIGNAL) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The run.
    pub run: String,
    /// The event's type, as a listen task has it: `com.example.paid`.
    pub event_type: String,
    /// The event's data: any JSON.
    #[serde(default)]
    pub data: Value,
}

/// What [`APPROVE`](super::APPROVE) and [`REJECT`](super::REJECT) take.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    /// The run.
    pub run: String,
    /// The hash of the arguments that are answered for, as status tells it.
    pub hash: String,
    /// Which of its questions, when it asks several: the step, as status tells it.
    #[serde(default)]
    pub step: Option<String>,
    /// Why.
    #[serde(default)]
    pub comment: Option<String>,
}

/// What [`CANCEL`](super::CANCEL) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The run.
    pub run: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What [`RETRY_STEP`](super::RETRY_STEP) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryStepRequest {
    /// The run.
    pub run: String,
    /// Which task, as status tells it; the one that failed, if nothing is said.
    #[serde(default)]
    pub step: Option<String>,
}

/// What [`HISTORY`](super::HISTORY) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// The run.
    pub run: String,
    /// The `next` of the page before.
    #[serde(default)]
    pub after: u64,
}

/// What [`HISTORY`](super::HISTORY) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HistoryResponse {
    /// The transitions, oldest first. Fields that are named like secrets are hidden.
    pub transitions: Vec<Value>,
    /// Where to go on, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What [`LIST_RUNS`](super::LIST_RUNS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRunsRequest {
    /// Only of this workflow: `namespace/name`.
    #[serde(default)]
    pub workflow: Option<String>,
    /// Only those that stand so.
    #[serde(default)]
    pub status: Option<Status>,
    /// At most this many, 1 to 200.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
    /// The `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

fn fifty() -> usize {
    50
}

/// What [`LIST_RUNS`](super::LIST_RUNS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListRunsResponse {
    /// The runs, the newest first, without what they gave.
    pub runs: Vec<Run>,
    /// The cursor to go on with, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn wait(seconds: u64) -> Result<Duration, Fault> {
    if seconds <= WAIT_SECONDS_MAX {
        return Ok(Duration::from_secs(seconds));
    }
    Err(Fault::invalid(format!("wait_seconds is {seconds}"))
        .hint(format!("at most {WAIT_SECONDS_MAX}; status waits on")))
}

impl Orchestration {
    pub(super) async fn start(self: Arc<Self>, request: StartRequest, ctx: Ctx) -> Result<Run, ToolError> {
        may_act(&ctx.caller, "start")?;
        let limit = wait(request.wait_seconds)?;
        let (namespace, name, version) = parts_of(&request.workflow)?;
        let run = NewRun {
            id: request.key.as_deref().map(|key| flow::workflow::Engine::run_id(&ctx.caller, key)),
            namespace: namespace.into(),
            name: name.into(),
            version: version.map(Into::into),
            input: request.input.unwrap_or_else(|| serde_json::json!({})),
            parent: None,
            depth: 0,
        };
        let (head, _) = self.engine.start_run(run, &ctx.caller).await?;
        if limit.is_zero() {
            return Ok(head.into());
        }
        Ok(self.engine.settled(&head.id, limit).await?.into())
    }

    pub(super) async fn status(self: Arc<Self>, request: StatusRequest, _ctx: Ctx) -> Result<Run, ToolError> {
        let limit = wait(request.wait_seconds)?;
        if limit.is_zero() {
            return Ok(self.engine.run(&request.run).await?.into());
        }
        Ok(self.engine.settled(&request.run, limit).await?.into())
    }

    /// How a run stands once it has taken what was sent to it.
    async fn taken(&self, run: &str) -> Result<Run, ToolError> {
        Ok(self.engine.settled(run, TAKEN_TIME).await?.into())
    }

    pub(super) async fn signal(self: Arc<Self>, request: SignalRequest, ctx: Ctx) -> Result<Run, ToolError> {
        may_act(&ctx.caller, "signal")?;
        if request.event_type.is_empty() || request.event_type.len() > 128 {
            return Err(Fault::invalid("event_type").hint("1 to 128 bytes").into());
        }
        self.engine.signal(&request.run, &request.event_type, request.data, &ctx.caller).await?;
        self.taken(&request.run).await
    }

    async fn answer(&self, request: AnswerRequest, approved: bool, ctx: &Ctx) -> Result<Run, ToolError> {
        may_act(&ctx.caller, if approved { "approve" } else { "reject" })?;
        let AnswerRequest { run, hash, step, comment } = request;
        self.engine.answer(Answer { run: run.clone(), step, hash, approved, comment }, &ctx.caller).await?;
        self.taken(&run).await
    }

    pub(super) async fn approve(self: Arc<Self>, request: AnswerRequest, ctx: Ctx) -> Result<Run, ToolError> {
        self.answer(request, true, &ctx).await
    }

    pub(super) async fn reject(self: Arc<Self>, request: AnswerRequest, ctx: Ctx) -> Result<Run, ToolError> {
        self.answer(request, false, &ctx).await
    }

    pub(super) async fn cancel(self: Arc<Self>, request: CancelRequest, ctx: Ctx) -> Result<Run, ToolError> {
        may_act(&ctx.caller, "cancel")?;
        self.engine.cancel(&request.run, &ctx.caller, request.reason).await?;
        self.taken(&request.run).await
    }

    pub(super) async fn retry_step(self: Arc<Self>, request: RetryStepRequest, ctx: Ctx) -> Result<Run, ToolError> {
        may_act(&ctx.caller, "retry_step")?;
        self.engine.retry(&request.run, request.step, &ctx.caller).await?;
        self.taken(&request.run).await
    }

    pub(super) async fn history(
        self: Arc<Self>,
        request: HistoryRequest,
        _ctx: Ctx,
    ) -> Result<HistoryResponse, ToolError> {
        /// Batches of one page.
        const BATCHES: usize = 20;
        let (entries, next) = self.engine.history(&request.run, request.after, BATCHES).await?;
        let shown = |entry: &Entry| kernel::mask::masked(&serde_json::to_value(entry).unwrap_or_default());
        Ok(HistoryResponse { transitions: entries.iter().map(shown).collect(), next })
    }

    pub(super) async fn list_runs(
        self: Arc<Self>,
        request: ListRunsRequest,
        _ctx: Ctx,
    ) -> Result<ListRunsResponse, ToolError> {
        if !(1..=RUNS_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {RUNS_MAX}")).into());
        }
        let wanted = request.workflow.as_deref().map(parts_of).transpose()?;
        let fits = |head: &Head| {
            request.status.is_none_or(|status| status == head.status)
                && wanted.is_none_or(|(namespace, name, version)| {
                    head.namespace == namespace
                        && head.name == name
                        && version.is_none_or(|version| version == head.version)
                })
        };
        let (heads, next) = self.engine.runs(request.cursor.as_deref(), request.limit, fits).await?;
        let runs = heads.into_iter().map(|head| Run { output: None, ..head.into() });
        Ok(ListRunsResponse { runs: runs.collect(), next })
    }
}
