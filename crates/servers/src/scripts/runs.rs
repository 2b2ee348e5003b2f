//! Runs: tasks of the queue `scripts`, as scripts' users see them.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::schedules::{Missed, Spec, Template};
use kernel::UnixMs;
use kernel::jail::{self, End};
use kernel::queue::{Failure, Filter, NewTask, State, Task, TaskId, step};
use mcp::prelude::*;
use serde_json::Value;

use super::work::{Order, Outcome, What};
use super::{Language, QUEUE, RUN, Scripts, TIME_SECONDS_MAX};
use crate::task_management::ScheduleRow;

/// How long a call waits for a run to end, when it may.
const WAIT_SECONDS_MAX: u64 = 45;
/// How long it waits if nothing is said.
const WAIT_SECONDS: u64 = 30;
/// Most runs of one list.
const RUNS_MAX: usize = 200;
/// How often a run is looked at that is waited for: first, and at the slowest.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_SLOWEST: Duration = Duration::from_millis(250);

/// What [`RUN_SCRIPT`](super::RUN_SCRIPT) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunScriptRequest {
    /// The script's name.
    pub name: String,
    /// Which version; the latest at this moment if nothing is said.
    #[serde(default)]
    pub version: Option<u32>,
    /// Its arguments, at most 64.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Variables of its environment, at most 64. No secrets: everybody with a key can read them.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What it reads, at most 64 KiB.
    #[serde(default)]
    pub stdin: String,
    /// How long it may take, in seconds, 1 to 900; `servers.scripts.time_seconds` if nothing is said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
    /// How long to wait for its end, in seconds, at most 45; 0 does not wait.
    #[serde(default = "wait_seconds")]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
    /// What this run is known by: the same key from the same caller is the same run.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// A folder of the machine for sh and python: it is seen as /project, to be read; /keep is there to write, and stays until the next run with
    /// the same project. An absolute path under one of `servers.scripts.roots`, or one from a root on.
    #[serde(default)]
    pub project: Option<String>,
}

/// What [`RUN_INLINE`](super::RUN_INLINE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunInlineRequest {
    /// What it is written in.
    pub language: Language,
    /// Its text, at most 64 KiB.
    pub code: String,
    /// Its arguments, at most 64.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Variables of its environment, at most 64. No secrets: everybody with a key can read them.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What it reads, at most 64 KiB.
    #[serde(default)]
    pub stdin: String,
    /// How long it may take, in seconds, 1 to 900; `servers.scripts.time_seconds` if nothing is said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
    /// How long to wait for its end, in seconds, at most 45; 0 does not wait.
    #[serde(default = "wait_seconds")]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
    /// What this run is known by: the same key from the same caller is the same run.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// A folder of the machine for sh and python: it is seen as /project, to be read; /keep is there to write, and stays until the next run with
    /// the same project. An absolute path under one of `servers.scripts.roots`, or one from a root on.
    #[serde(default)]
    pub project: Option<String>,
}

fn wait_seconds() -> u64 {
    WAIT_SECONDS
}

/// What [`RUNS`](super::RUNS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsRequest {
    /// Only of this caller.
    #[serde(default)]
    pub caller: Option<String>,
    /// Only in this state.
    #[serde(default)]
    pub state: Option<State>,
    /// Only of this script. What is not of it is left out of a page, so that a page may have fewer than `limit`.
    #[serde(default)]
    pub script: Option<String>,
    /// Only those before this one: the last answer's `next`.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many, 1 to 200.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: usize,
}

fn fifty() -> usize {
    50
}

/// What [`RUNS`](super::RUNS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunsResponse {
    /// The runs, newest first, without their output.
    pub runs: Vec<ScriptRun>,
    /// The cursor to go on with, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<TaskId>,
}

/// What [`RUN_OUTPUT`](super::RUN_OUTPUT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOutputRequest {
    /// The run, as `task_17`.
    pub run: String,
    /// How long to wait for its end, in seconds, at most 45.
    #[serde(default)]
    #[schemars(range(max = 45))]
    pub wait_seconds: u64,
}

/// What [`CANCEL_RUN`](super::CANCEL_RUN) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRunRequest {
    /// The run, as `task_17`.
    pub run: String,
}

/// A run of a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptRun {
    /// Its id: a task of the queue `scripts`.
    pub run: TaskId,
    /// How it stands: `done` when it was run to an end, whatever its exit code; `dead` when it could not be run.
    pub state: State,
    /// Which script; none if it was inline.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub script: Option<String>,
    /// Which version of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u32>,
    /// Who wanted it.
    pub caller: String,
    /// When, in milliseconds since the Unix epoch.
    pub submitted_ms: UnixMs,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_ms: Option<UnixMs>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<UnixMs>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<End>,
    /// Its exit code: 0 when it went well; over 128 when a signal ended it; none when it was killed for going past a bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// What it wrote, at most 64 KiB; control characters are shown as `�`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stdout: Option<String>,
    /// What it complained, at most 12 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stderr: Option<String>,
    /// What a jq script put out: the one value, or a list of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
    /// The most memory that its processes were seen to have together, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_peak_bytes: Option<u64>,
    /// Where what it wrote into /keep is, on the machine that ran it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_in: Option<String>,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
}

impl From<Task> for ScriptRun {
    fn from(task: Task) -> Self {
        let (script, version) = match serde_json::from_value(task.payload) {
            Ok(Order { what: What::Kept { name, version }, .. }) => (Some(name), version),
            _ => (None, None),
        };
        let outcome: Option<Outcome> = task.result.and_then(|result| serde_json::from_value(result).ok());
        let mut run = Self {
            run: task.id,
            state: task.state,
            script,
            version,
            caller: task.caller,
            submitted_ms: task.submitted_ms,
            started_ms: task.started_ms,
            ended_ms: task.ended_ms,
            end: None,
            exit_code: None,
            stdout: None,
            stderr: None,
            result: None,
            memory_peak_bytes: None,
            kept_in: None,
            failure: task.failure,
        };
        if let Some(outcome) = outcome {
            run.version = outcome.version.or(run.version);
            (run.end, run.exit_code) = (Some(outcome.end), outcome.exit_code);
            (run.stdout, run.stderr) = (Some(outcome.stdout), Some(outcome.stderr));
            (run.result, run.memory_peak_bytes) = (outcome.result, outcome.memory_peak_bytes);
            run.kept_in = outcome.kept_in;
        }
        run
    }
}

/// What [`SCHEDULE_SCRIPT`](super::SCHEDULE_SCRIPT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleScriptRequest {
    /// The script's name. Its schedule is called `script:NAME`.
    pub name: String,
    /// When it is run.
    pub when: Spec,
    /// What becomes of times at which nobody could run it.
    #[serde(default)]
    pub missed: Missed,
    /// Which version; the latest of each time if nothing is said.
    #[serde(default)]
    pub version: Option<u32>,
    /// Its arguments, at most 64.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Variables of its environment, at most 64. No secrets: everybody with a key can read them.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What it reads, at most 64 KiB.
    #[serde(default)]
    pub stdin: String,
    /// How long it may take, in seconds, 1 to 900; `servers.scripts.time_seconds` if nothing is said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

fn wait(seconds: u64) -> Result<Duration, Fault> {
    if seconds <= WAIT_SECONDS_MAX {
        return Ok(Duration::from_secs(seconds));
    }
    Err(Fault::invalid(format!("wait_seconds is {seconds}"))
        .hint(format!("at most {WAIT_SECONDS_MAX}; run_output waits on")))
}

/// Refuses an order that could never be run.
fn checked(order: &Order) -> Result<(), Fault> {
    let text = match &order.what {
        What::Inline { code, .. } => code,
        What::Kept { .. } => "",
    };
    jail::check(text, &order.arguments, &order.environment, &order.stdin)?;
    match order.time_limit_seconds {
        Some(seconds) if !(1..=TIME_SECONDS_MAX).contains(&seconds) => {
            Err(Fault::invalid(format!("time_limit_seconds is {seconds}")).hint(format!("1 to {TIME_SECONDS_MAX}")))
        }
        _ => Ok(()),
    }
}

fn payload(order: &Order) -> Result<Value, Fault> {
    checked(order)?;
    serde_json::to_value(order).map_err(|error| Fault::internal(format!("a run: {error}")))
}

impl Scripts {
    pub(super) async fn run_script(
        self: Arc<Self>,
        request: RunScriptRequest,
        ctx: Ctx,
    ) -> Result<ScriptRun, ToolError> {
        let RunScriptRequest {
            name,
            version,
            arguments,
            environment,
            stdin,
            time_limit_seconds,
            wait_seconds,
            idempotency_key,
            project,
        } = request;
        // What it is now is what will be run, whatever is saved while it waits; a key that was used stands for the run of then.
        let known = self.text(&name, version).await?;
        let version = if idempotency_key.is_some() { version } else { Some(known.version.version) };
        let what = What::Kept { name, version };
        let order = Order { what, arguments, environment, stdin, time_limit_seconds, project };
        self.submit(order, wait_seconds, idempotency_key, &ctx).await
    }

    pub(super) async fn run_inline(
        self: Arc<Self>,
        request: RunInlineRequest,
        ctx: Ctx,
    ) -> Result<ScriptRun, ToolError> {
        let RunInlineRequest {
            language,
            code,
            arguments,
            environment,
            stdin,
            time_limit_seconds,
            wait_seconds,
            idempotency_key,
            project,
        } = request;
        let what = What::Inline { language, code };
        let order = Order { what, arguments, environment, stdin, time_limit_seconds, project };
        self.submit(order, wait_seconds, idempotency_key, &ctx).await
    }

    async fn submit(
        &self,
        order: Order,
        wait_seconds: u64,
        key: Option<String>,
        ctx: &Ctx,
    ) -> Result<ScriptRun, ToolError> {
        let limit = wait(wait_seconds)?;
        let task = NewTask {
            // The caller is part of it: nobody is given another's run.
            key: key.map(|key| format!("{}:{key}", ctx.caller.name)),
            trace_id: Some(ctx.trace.id()),
            attempts_max: Some(1),
            ..NewTask::new(QUEUE, RUN, payload(&order)?, &ctx.caller)
        };
        let submitted = self.queue.submit(vec![task]).await?;
        let id = submitted.first().ok_or_else(|| Fault::internal("a submission without an answer"))?.id;
        let run: ScriptRun = self.ended(id, limit).await?.into();
        match run.failure {
            // What could not be run is a refusal to who waits for it.
            Some(Failure { code, message }) if run.state == State::Dead => {
                Err(Fault::new(code, message).data(serde_json::json!({ "run": id })).into())
            }
            _ => Ok(run),
        }
    }

    /// The task of a run.
    async fn run_of(&self, id: TaskId) -> Result<Task, Fault> {
        let task = self.queue.get(id).await?.ok_or_else(|| step::unknown(id))?;
        if task.queue == QUEUE && task.task_type == RUN {
            return Ok(task);
        }
        Err(Fault::not_found(format!("{id} is no run of a script")).hint("runs lists those"))
    }

    /// The task of a run once it has ended, or as it is after `limit`.
    async fn ended(&self, id: TaskId, limit: Duration) -> Result<Task, Fault> {
        let until = tokio::time::Instant::now() + limit;
        let mut pause = LOOK_FIRST;
        loop {
            let task = self.run_of(id).await?;
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if task.state.is_ended() || left.is_zero() {
                return Ok(task);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LOOK_SLOWEST);
        }
    }

    pub(super) async fn runs(self: Arc<Self>, request: RunsRequest, _ctx: Ctx) -> Result<RunsResponse, ToolError> {
        let RunsRequest { caller, state, script, cursor, limit } = request;
        if !(1..=RUNS_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("limit is {limit}")).hint(format!("1 to {RUNS_MAX}")).into());
        }
        let filter = Filter { queue: Some(QUEUE.into()), task_type: Some(RUN.into()), state, caller };
        let before = cursor.map(|cursor| cursor.parse()).transpose()?;
        let tasks = self.queue.list(&filter, before, limit).await?;
        let next = tasks.last().filter(|_| tasks.len() == limit).map(|last| last.id);
        let runs = tasks.into_iter().map(ScriptRun::from).filter(|run| script.is_none() || run.script == script);
        let runs = runs.map(|run| ScriptRun { stdout: None, stderr: None, result: None, ..run }).collect();
        Ok(RunsResponse { runs, next })
    }

    pub(super) async fn run_output(
        self: Arc<Self>,
        request: RunOutputRequest,
        _ctx: Ctx,
    ) -> Result<ScriptRun, ToolError> {
        let limit = wait(request.wait_seconds)?;
        Ok(self.ended(request.run.parse()?, limit).await?.into())
    }

    pub(super) async fn cancel_run(
        self: Arc<Self>,
        request: CancelRunRequest,
        _ctx: Ctx,
    ) -> Result<ScriptRun, ToolError> {
        let task = self.run_of(request.run.parse()?).await?;
        Ok(self.queue.cancel(task.id).await?.into())
    }

    pub(super) async fn schedule_script(
        self: Arc<Self>,
        request: ScheduleScriptRequest,
        ctx: Ctx,
    ) -> Result<ScheduleRow, ToolError> {
        let ScheduleScriptRequest { name, when, missed, version, arguments, environment, stdin, time_limit_seconds } =
            request;
        // Said now rather than each night.
        self.text(&name, version).await?;
        let schedule = format!("script:{name}");
        let what = What::Kept { name, version };
        let order = Order { what, arguments, environment, stdin, time_limit_seconds, project: None };
        let task = Template {
            queue: QUEUE.into(),
            task_type: RUN.into(),
            payload: payload(&order)?,
            priority: kernel::queue::PRIORITY,
            attempts_max: Some(1),
        };
        Ok(self.schedules.put(&schedule, when, missed, task, &ctx.caller).await?.into())
    }
}
