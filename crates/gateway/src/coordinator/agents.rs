//! The tools about agents: which there are, and what they did.

use kernel::duties::{RUNS_MAX, Run, Runs};
use kernel::fleet::Kind;
use kernel::offers::TaskType;
use mcp::prelude::*;

use super::Coordinator;
use crate::status::ServiceRow;

tools! { kernel::catalog::COORDINATOR;
    /// Lists the fleet's agents with their state.
    LIST_AGENTS = "list_agents": fn(ListAgentsRequest) -> ListAgentsResponse, Hints::READ;
    /// Describes an agent: how it stands, and each type of task that it does, with what it takes and whom it takes it from.
    DESCRIBE_AGENT = "describe_agent": fn(DescribeAgentRequest) -> DescribeAgentResponse, Hints::READ;
    /// What an agent did by itself and for tasks, newest first: why, which tools it called, what came of it. Runs that found nothing new are not kept.
    AGENT_RUNS = "agent_runs": fn(AgentRunsRequest) -> AgentRunsResponse, Hints::READ;
}

/// Binds the tools of this file.
pub(super) fn tools(set: &mut ToolSet<Coordinator>) {
    set.add(LIST_AGENTS, Coordinator::list_agents);
    set.add(DESCRIBE_AGENT, Coordinator::describe_agent);
    set.add(AGENT_RUNS, Coordinator::agent_runs);
}

/// What [`LIST_AGENTS`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAgentsRequest {}

/// What [`LIST_AGENTS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListAgentsResponse {
    /// The agents, by port.
    pub agents: Vec<ServiceRow>,
}

/// What [`DESCRIBE_AGENT`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribeAgentRequest {
    /// The agent's name.
    pub agent: String,
}

/// What [`DESCRIBE_AGENT`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DescribeAgentResponse {
    /// How it stands; absent of one that is known and does not run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<ServiceRow>,
    /// The types of task that it does, by name.
    pub task_types: Vec<TaskType>,
    /// Whether it takes tasks of other types as well.
    pub any: bool,
}

/// What [`AGENT_RUNS`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentRunsRequest {
    /// The agent's name.
    pub agent: String,
    /// Only runs of this duty, or of tasks of this type.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duty: Option<String>,
    /// At most this many, 1 to 500.
    #[serde(default = "runs_limit")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: usize,
}

fn runs_limit() -> usize {
    20
}

/// What [`AGENT_RUNS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentRunsResponse {
    /// The runs, newest first.
    pub runs: Vec<Run>,
}

impl Coordinator {
    async fn list_agents(self: Arc<Self>, _: ListAgentsRequest, _ctx: Ctx) -> Result<ListAgentsResponse, ToolError> {
        Ok(ListAgentsResponse { agents: self.gateway()?.services(Kind::Agent).await })
    }

    async fn describe_agent(
        self: Arc<Self>,
        request: DescribeAgentRequest,
        _ctx: Ctx,
    ) -> Result<DescribeAgentResponse, ToolError> {
        let gateway = self.gateway()?;
        let offer = gateway.offered().need(&request.agent).await?;
        let agent = gateway.services(Kind::Agent).await.into_iter().find(|row| row.name == request.agent);
        Ok(DescribeAgentResponse { agent, task_types: offer.types, any: offer.any })
    }

    async fn agent_runs(self: Arc<Self>, request: AgentRunsRequest, _ctx: Ctx) -> Result<AgentRunsResponse, ToolError> {
        if !(1..=RUNS_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {RUNS_MAX}")).into());
        }
        let known: Vec<&str> = kernel::catalog::agents().map(|agent| agent.name).collect();
        if !known.contains(&request.agent.as_str()) {
            return Err(Fault::not_found(format!("no agent `{}`", request.agent))
                .hint(format!("one of {}", known.join(", ")))
                .into());
        }
        let runs = Runs::new(self.gateway()?.ports.store.clone());
        Ok(AgentRunsResponse { runs: runs.newest(&request.agent, request.duty.as_deref(), request.limit).await? })
    }
}
