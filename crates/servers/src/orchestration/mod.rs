//! `orchestration`: durable workflows, in the CNCF Serverless Workflow DSL.
//!
//! The engine is [`flow::workflow`]; this server gives it tools, and the outside through which runs act: the fleet's own tools, web services
//! behind the guard of [`crate::outbound`], scripts. Runs act under the role of who started them. Any number of copies go on with the same
//! runs. A caller who may only look may only look: what changes something asks for a role that operates or trades, and an approval for the
//! role that its task names.

mod agents;
mod definitions;
mod http;
mod openapi;
mod outside;
mod runs;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use flow::workflow::{Engine, EngineConfig};
use kernel::Caller;
use kernel::health::Check;
use mcp::prelude::*;
use mcp::toolbox::Router;

pub use definitions::*;
pub use runs::*;

use crate::MarketPorts;
use crate::outbound::{Allowed, Reach};

/// `[servers.orchestration]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many runs one process goes on with at once; more wait for their turn: 1 to 1,024.
    pub runs_at_once: usize,
    /// How long a process may be silent before another goes on with its runs, in milliseconds: 500 to 60,000.
    pub lease_ms: u32,
    /// Private addresses that `call: http` and `call: openapi` may reach, like `10.0.0.5`, `10.1.0.0/16` or `internal:8080`. Public ones they
    /// may reach always.
    pub private_addresses: Vec<String>,
    /// How long runs are kept after their end, in hours: 1 to 87,600. As long as one is kept, its key stands for it.
    pub keep_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { runs_at_once: 64, lease_ms: 5_000, private_addresses: Vec::new(), keep_hours: 30 * 24 }
    }
}

/// The server.
pub struct Orchestration {
    engine: Arc<Engine>,
    router: Arc<dyn Router>,
}

impl McpServer for Orchestration {
    const NAME: &'static str = "orchestration";
    const INSTRUCTIONS: &'static str = "Workflows that survive: a definition is a CNCF Serverless Workflow (YAML or JSON, jq \
        expressions), and a run of it goes on after any crash where it was. validate_workflow tells every problem with its line; \
        define_workflow keeps a version; start begins a run under your own role; status tells how it stands, what it asks and what it waits \
        for. An approval is for exact arguments: read them in status, then approve or reject with their hash. cancel undoes what was done, \
        the last first. retry_step has a failed task done again. Tools are called with `call: mcp` and names like \
        `coordination__publish`. Shipped playbooks: list_workflows with shipped.";
    type Config = Config;
    type Ports = MarketPorts;

    fn new(ports: &MarketPorts, config: Config) -> Result<Self, Fault> {
        let bad = |name: &str, hint: &str| {
            Fault::invalid(format!("servers.orchestration.{name} is out of its bounds")).hint(hint)
        };
        if !(1..=1_024).contains(&config.runs_at_once) {
            return Err(bad("runs_at_once", "1 to 1,024"));
        }
        if !(500..=60_000).contains(&config.lease_ms) {
            return Err(bad("lease_ms", "500 to 60,000"));
        }
        if !(1..=87_600).contains(&config.keep_hours) {
            return Err(bad("keep_hours", "1 to 87,600"));
        }
        let allowed = config.private_addresses.iter().map(|text| text.parse::<Allowed>()).collect::<Result<_, _>>()?;
        let reach = Reach { anywhere: false, allowed };
        let router = Arc::clone(&ports.router);
        let (kernel, phases) = (ports.kernel.clone(), ports.phases.clone());
        let outside = Arc::new(outside::Hands { router: Arc::clone(&router), ports: kernel, phases, reach });
        let engine = EngineConfig {
            lease_ms: i64::from(config.lease_ms),
            runs_at_once: config.runs_at_once,
            keep_ms: Some(i64::from(config.keep_hours) * 3_600_000),
            ..EngineConfig::default()
        };
        Ok(Self { engine: Engine::new(&ports.kernel, outside, engine, env!("CARGO_PKG_VERSION")), router })
    }

    fn tools(set: &mut ToolSet<Self>) {
        set.add(VALIDATE_WORKFLOW, Self::validate_workflow);
        set.add(DEFINE_WORKFLOW, Self::define_workflow);
        set.add(LIST_WORKFLOWS, Self::list_workflows);
        set.add(START, Self::start);
        set.add(STATUS, Self::status);
        set.add(SIGNAL, Self::signal);
        set.add(APPROVE, Self::approve);
        set.add(REJECT, Self::reject);
        set.add(CANCEL, Self::cancel);
        set.add(RETRY_STEP, Self::retry_step);
        set.add(HISTORY, Self::history);
        set.add(LIST_RUNS, Self::list_runs);
        set.add(DIAGRAM, Self::diagram);
    }
}

#[async_trait]
impl Features for Orchestration {
    async fn start(self: Arc<Self>, ports: Ports) -> Result<(), Fault> {
        self.engine.start(&ports.tasks);
        Ok(())
    }

    async fn health(&self) -> Vec<Check> {
        vec![match self.engine.runs(None, 1, |_| true).await {
            Ok(_) => Check::healthy("store", "answers"),
            Err(fault) => Check::down("store", fault.to_string()),
        }]
    }
}

/// Refuses who may only look.
fn may_act(caller: &Caller, what: &str) -> Result<(), Fault> {
    if caller.allows(Access::Trade) { Ok(()) } else { caller.require(Access::Operate, what) }
}

/// A tool whose role depends on what it is asked: it refuses who may only look by itself.
const ACT: Hints = Hints { access: Access::Read, destructive: true, idempotent: false, ..Hints::READ };

tools! { Orchestration::NAME;
    /// Checks a workflow definition (CNCF Serverless Workflow DSL 1.0, YAML or JSON) without keeping it: every problem with its line, path and what would be right, and which tools it calls that are not there.
    VALIDATE_WORKFLOW = "validate_workflow": fn(ValidateWorkflowRequest) -> ValidateWorkflowResponse, Hints::READ;
    /// Defines a workflow: keeps a version of its definition, or of a shipped playbook. Runs keep the version they began with.
    DEFINE_WORKFLOW = "define_workflow": fn(DefineWorkflowRequest) -> DefineWorkflowResponse, ACT;
    /// Lists workflow definitions with their versions, or the playbooks that are shipped; one in full with its text.
    LIST_WORKFLOWS = "list_workflows": fn(ListWorkflowsRequest) -> ListWorkflowsResponse, Hints::READ;
    /// Starts a run of a workflow under your own role. With a key, the same start twice is one run.
    START = "start": fn(StartRequest) -> Run, ACT;
    /// Tells how a workflow's run stands: what it gave or how it failed, what it asks people, what it waits for.
    STATUS = "status": fn(StatusRequest) -> Run, Hints::READ;
    /// Sends an event to one run of a workflow, for its listen tasks.
    SIGNAL = "signal": fn(SignalRequest) -> Run, ACT;
    /// Approves what a workflow's run asks people, for exactly the arguments whose hash you give.
    APPROVE = "approve": fn(AnswerRequest) -> Run, ACT;
    /// Rejects what a workflow's run asks people: its task fails with an authorization error.
    REJECT = "reject": fn(AnswerRequest) -> Run, ACT;
    /// Cancels a workflow's run; what it did is undone, the last first.
    CANCEL = "cancel": fn(CancelRequest) -> Run, ACT;
    /// Retries the failed step of a workflow's run, or one that waits for its next attempt at once.
    RETRY_STEP = "retry_step": fn(RetryStepRequest) -> Run, ACT;
    /// Shows the history of a workflow's run, transition by transition.
    HISTORY = "history": fn(HistoryRequest) -> HistoryResponse, Hints::READ;
    /// Lists the runs of workflows, the newest first: of one workflow, of one status, or all.
    LIST_RUNS = "list_runs": fn(ListRunsRequest) -> ListRunsResponse, Hints::READ;
    /// Draws a workflow as a Mermaid flowchart; of a run, with how far each task has come.
    DIAGRAM = "diagram": fn(DiagramRequest) -> DiagramResponse, Hints::READ;
}
