//! What the execution agent does when it is asked to: an opportunity to its receipt, any tool of the fleet, a workflow to its end.

use std::sync::Arc;
use std::time::Duration;

use flow::workflow::engine::Status as RunStatus;
use kernel::{Access, Code, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servers::execution::{HISTORY, HistoryRequest, IntentView, STATUS, StatusRequest};
use servers::market_analysis::{OpportunityView, SCAN_OPPORTUNITIES, ScanRequest};
use servers::orchestration::{self, CANCEL, CancelRequest, START, StartRequest};

use super::{Execution, LOOKED_AT, submit};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};

/// How often it is looked whether a submission is in a block.
const RECEIPT_EVERY: Duration = Duration::from_secs(2);
/// How often at most: all within one task's calls.
const RECEIPT_LOOKS_MAX: u32 = 50;
/// How long one look at a run waits for it, in seconds.
const RUN_LOOK_SECONDS: u64 = 20;
/// The longest pause between two looks at a run that waits.
const RUN_PAUSE_MAX: Duration = Duration::from_secs(16);
/// How long a run is followed unless its task says otherwise, in seconds.
const FOLLOW_SECONDS: u64 = 600;
/// The longest that a run is followed, in seconds.
const FOLLOW_SECONDS_MAX: u64 = 840;

/// Declares them.
pub(super) fn declare(set: &mut Jobs<Execution>) {
    let opportunity = Job::new(
        "execute_opportunity",
        "Submits an opportunity that market-analysis sees now, as the risk rules allow, and follows it until it is in a block or is given up.",
        Access::Trade,
    );
    set.add(opportunity.text("id").within(Duration::from_secs(180)), Execution::execute_opportunity);
    let job = Job::new("run_job", "Calls one tool of the fleet, once, and keeps its answer.", Access::Operate);
    // Nobody here knows whether it may be called twice.
    set.add(Job { attempts_max: 1, ..job }.within(Duration::from_secs(300)), Execution::run_job);
    let workflow = Job::new(
        "run_workflow",
        "Starts a run of a workflow, once for each task, and follows it to its end; cancelling the task cancels the run.",
        Access::Operate,
    );
    set.add(workflow.text("workflow").within(Duration::from_secs(FOLLOW_SECONDS_MAX + 60)), Execution::run_workflow);
}

/// What `execute_opportunity` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecuteOpportunity {
    /// The opportunity, as `scan_opportunities` names it.
    pub id: String,
}

/// What `run_job` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunJob {
    /// The server whose tool it is.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// Its arguments: an object.
    #[serde(default)]
    pub arguments: Value,
}

/// What `run_workflow` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunWorkflow {
    /// Which workflow: `namespace/name` for its latest version, or `namespace/name/version`.
    pub workflow: String,
    /// Its input.
    #[serde(default)]
    pub input: Option<Value>,
    /// How long the run is followed, in seconds, at most 840; what has not ended by then goes on, and the result says how it stands.
    #[serde(default = "follow_seconds")]
    #[schemars(range(max = 840))]
    pub follow_seconds: u64,
}

fn follow_seconds() -> u64 {
    FOLLOW_SECONDS
}

impl Execution {
    async fn execute_opportunity(
        self: Arc<Self>,
        asked: ExecuteOpportunity,
        hands: Hands,
    ) -> Result<IntentView, Fault> {
        let key = format!("opportunity-{}", hands.key());
        let mut view = match hands.call(STATUS, &StatusRequest { key: key.clone() }).await {
            Ok(view) => view,
            Err(fault) if fault.code == Code::NotFound => {
                let (one, block) = opportunity(&hands, &asked.id).await?;
                let pools = one.hops.iter().map(|hop| hop.pool).collect();
                submit(&hands, &one, block, pools, key.clone()).await?;
                hands.call(STATUS, &StatusRequest { key: key.clone() }).await?
            }
            Err(fault) => return Err(fault),
        };
        for _ in 0..RECEIPT_LOOKS_MAX {
            if view.transaction.is_some() || !view.open {
                return Ok(view);
            }
            hands.progress(0.5, format!("{key} waits for its block"));
            tokio::select! {
                () = tokio::time::sleep(RECEIPT_EVERY) => {}
                () = hands.cancelled() => return Err(Fault::cancelled(format!("no longer following {key}"))
                    .hint("it is submitted: execution's cancel takes it back, status tells how it stands")),
            }
            view = hands.call(STATUS, &StatusRequest { key: key.clone() }).await?;
        }
        Err(Fault::timeout(format!("{key} is in no block yet")).hint("another attempt follows the same submission"))
    }

    async fn run_job(self: Arc<Self>, asked: RunJob, hands: Hands) -> Result<Value, Fault> {
        let arguments = if asked.arguments.is_null() { serde_json::json!({}) } else { asked.arguments };
        hands.call_named(&asked.server, &asked.tool, &arguments).await
    }

    async fn run_workflow(self: Arc<Self>, asked: RunWorkflow, hands: Hands) -> Result<orchestration::Run, Fault> {
        if asked.follow_seconds > FOLLOW_SECONDS_MAX {
            return Err(Fault::invalid(format!("follow_seconds is {}", asked.follow_seconds))
                .hint(format!("at most {FOLLOW_SECONDS_MAX}")));
        }
        let start =
            StartRequest { workflow: asked.workflow, input: asked.input, key: Some(hands.key()), wait_seconds: 0 };
        let run = hands.call(START, &start).await?;
        follow(&hands, run, Duration::from_secs(asked.follow_seconds)).await
    }
}

/// The opportunity of this id, as it is now, and at which block.
async fn opportunity(hands: &Hands, id: &str) -> Result<(OpportunityView, u64), Fault> {
    let scan = hands.call(SCAN_OPPORTUNITIES, &ScanRequest { funding: None, min_net: None, limit: LOOKED_AT }).await?;
    let block = scan.at.block;
    let known: Vec<String> = scan.opportunities.iter().map(|one| one.id.clone()).collect();
    let found = scan.opportunities.into_iter().find(|one| one.id == id).ok_or_else(|| {
        let hint =
            if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
        Fault::not_found(format!("no opportunity `{id}` at this block")).hint(hint)
    })?;
    let open = hands.call(HISTORY, &HistoryRequest { open: true, ..HistoryRequest::default() }).await?;
    let waiting = open.submissions.iter().filter(|one| one.transaction.is_none());
    let busy: Vec<_> = waiting.flat_map(|one| one.pools.clone()).collect();
    if found.hops.iter().any(|hop| busy.contains(&hop.pool)) {
        return Err(
            Fault::conflict("a submission through the same pools is under way").hint("try again after its block")
        );
    }
    Ok((found, block))
}

/// Follows a run to its end, for so long. How it stands then.
pub(crate) async fn follow(
    hands: &Hands,
    mut run: orchestration::Run,
    time: Duration,
) -> Result<orchestration::Run, Fault> {
    let until = tokio::time::Instant::now() + time;
    let mut pause = Duration::from_millis(250);
    loop {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if run.status.is_end() || left.is_zero() {
            return ended(run);
        }
        let asks: Vec<&str> = run.questions.iter().map(|asked| &*asked.title).collect();
        let says = if asks.is_empty() { format!("{} steps", run.steps) } else { format!("asks: {}", asks.join("; ")) };
        hands.progress(0.5, format!("{}: {says}", run.run));
        let look = async {
            if run.status == RunStatus::Waiting {
                tokio::time::sleep(pause.min(left)).await;
            }
            let wait_seconds = RUN_LOOK_SECONDS.min(left.as_secs());
            let request = orchestration::StatusRequest { run: run.run.clone(), wait_seconds };
            hands.call(orchestration::STATUS, &request).await
        };
        let looked = tokio::select! {
            looked = look => Some(looked),
            () = hands.cancelled() => None,
        };
        let Some(looked) = looked else {
            let reason = Some("the task that followed it was cancelled".into());
            hands.call(CANCEL, &CancelRequest { run: run.run.clone(), reason }).await?;
            return Err(Fault::cancelled(format!("run {} was asked to end", run.run)));
        };
        run = looked?;
        pause = (pause * 2).min(RUN_PAUSE_MAX);
    }
}

/// A run that failed is a task that failed. Another attempt follows the same run, which somebody may have gone on with.
fn ended(run: orchestration::Run) -> Result<orchestration::Run, Fault> {
    match run.status {
        RunStatus::Faulted => {
            let why = run.error.as_ref().map_or_else(|| "no reason given".to_owned(), ToString::to_string);
            Err(Fault::upstream(format!("run {} failed: {why}", run.run))
                .hint("orchestration's history tells the steps; retry_step goes on"))
        }
        RunStatus::Cancelled => Err(Fault::cancelled(format!("run {} was cancelled", run.run))),
        _ => Ok(run),
    }
}
