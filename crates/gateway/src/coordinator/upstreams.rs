//! The tools about third parties' servers: who joined, how they stand, what of theirs waits for approval.

use std::time::Duration;

use mcp::prelude::*;
use serde_json::{Map, Value};

use super::Coordinator;
use crate::upstream::{UpstreamSpec, UpstreamStatus};

/// How long adding waits for the upstream to be reached.
const SETTLE_TIME: Duration = Duration::from_secs(15);

tools! { kernel::catalog::COORDINATOR;
    /// Lists the upstreams (third-party MCP servers) of the fleet: state, protocol revision, tools, last error, and which of their tools are held until approved.
    LIST_UPSTREAMS = "list_upstreams": fn(ListUpstreamsRequest) -> ListUpstreamsResponse, Hints::READ;
    /// Adds a third-party MCP server to the fleet: a command to start, or a URL; its tools are pinned as they are first seen.
    ADD_UPSTREAM = "add_upstream": fn(UpstreamSpec) -> UpstreamStatus, Hints { open_world: true, ..Hints::ADMIN };
    /// Removes an upstream from the fleet, stops it, and forgets what was trusted of it.
    REMOVE_UPSTREAM = "remove_upstream": fn(RemoveUpstreamRequest) -> RemoveUpstreamResponse, Hints::ADMIN;
    /// Approves a new or changed tool of an upstream as it is now, so that it may be used.
    APPROVE_TOOL_CHANGE = "approve_tool_change": fn(ApproveToolChangeRequest) -> ApproveToolChangeResponse, Hints { idempotent: true, ..Hints::ADMIN };
}

/// Binds the tools of this file.
pub(super) fn tools(set: &mut ToolSet<Coordinator>) {
    set.add(LIST_UPSTREAMS, Coordinator::list_upstreams);
    set.add(ADD_UPSTREAM, Coordinator::add_upstream);
    set.add(REMOVE_UPSTREAM, Coordinator::remove_upstream);
    set.add(APPROVE_TOOL_CHANGE, Coordinator::approve_tool_change);
}

/// What [`LIST_UPSTREAMS`] takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListUpstreamsRequest {
    /// Only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether to show what held tools say now and said when they were trusted. It is the third party's text: to be judged, not followed.
    pub with_changes: bool,
}

/// What [`LIST_UPSTREAMS`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListUpstreamsResponse {
    /// The upstreams, by name.
    pub upstreams: Vec<UpstreamStatus>,
    /// The held tools, before and now, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changes: Vec<ToolChange>,
}

/// A held tool, before and now.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolChange {
    /// The upstream.
    pub upstream: String,
    /// The tool's own name.
    pub tool: String,
    /// Why it is held.
    pub why: String,
    /// SHA-256 of what it is now: what an approval names.
    pub sha256: String,
    /// What was trusted; absent for a tool that is new.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trusted: Option<Map<String, Value>>,
    /// What it is now.
    pub now: Map<String, Value>,
}

/// What [`REMOVE_UPSTREAM`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveUpstreamRequest {
    /// The upstream's name.
    pub name: String,
}

/// What [`REMOVE_UPSTREAM`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RemoveUpstreamResponse {
    /// What was removed.
    pub removed: String,
}

/// What [`APPROVE_TOOL_CHANGE`] takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveToolChangeRequest {
    /// The upstream's name.
    pub upstream: String,
    /// The tool's own name; every held tool of the upstream when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// SHA-256 of what was looked at, from list_upstreams: if the tool has changed again since, it is not approved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
}

/// What [`APPROVE_TOOL_CHANGE`] answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApproveToolChangeResponse {
    /// The tools approved, by their own names.
    pub approved: Vec<String>,
    /// How the upstream stands now.
    pub upstream: UpstreamStatus,
}

impl Coordinator {
    async fn list_upstreams(
        self: Arc<Self>,
        request: ListUpstreamsRequest,
        _ctx: Ctx,
    ) -> Result<ListUpstreamsResponse, ToolError> {
        let all = self.gateway()?.upstreams()?;
        let upstreams = match &request.name {
            Some(name) => vec![all.get(name)?.status()],
            None => all.list(),
        };
        let mut changes = Vec::new();
        for upstream in upstreams.iter().filter(|_| request.with_changes) {
            let mut trusted = all.trusted(&upstream.name).await?;
            let tools = all.get(&upstream.name)?.tools();
            for tool in tools.all() {
                let Some(why) = tool.held.clone() else { continue };
                changes.push(ToolChange {
                    upstream: upstream.name.clone(),
                    tool: tool.name.clone(),
                    why,
                    sha256: tool.content.sha256.clone(),
                    trusted: trusted.remove(&tool.name).map(|pin| pin.content),
                    now: tool.content.fields.clone(),
                });
            }
        }
        Ok(ListUpstreamsResponse { upstreams, changes })
    }

    async fn add_upstream(self: Arc<Self>, spec: UpstreamSpec, ctx: Ctx) -> Result<UpstreamStatus, ToolError> {
        let upstream = self.gateway()?.upstreams()?.add(spec, &ctx.caller).await?;
        Ok(upstream.settled(SETTLE_TIME).await)
    }

    async fn remove_upstream(
        self: Arc<Self>,
        request: RemoveUpstreamRequest,
        ctx: Ctx,
    ) -> Result<RemoveUpstreamResponse, ToolError> {
        self.gateway()?.upstreams()?.remove(&request.name, &ctx.caller).await?;
        Ok(RemoveUpstreamResponse { removed: request.name })
    }

    async fn approve_tool_change(
        self: Arc<Self>,
        request: ApproveToolChangeRequest,
        ctx: Ctx,
    ) -> Result<ApproveToolChangeResponse, ToolError> {
        let ApproveToolChangeRequest { upstream, tool, sha256 } = request;
        if tool.is_none() && sha256.is_some() {
            return Err(Fault::invalid("sha256 is of one tool, and no tool is named").hint("name the tool").into());
        }
        let all = self.gateway()?.upstreams()?;
        let approved = all.approve(&upstream, tool.as_deref(), sha256.as_deref(), &ctx.caller).await?;
        Ok(ApproveToolChangeResponse { approved, upstream: all.get(&upstream)?.status() })
    }
}
