//! An upstream as a part of the gateway: its tools keep their names, its answers their bytes.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Access, Code, Fault};
use mcp::handler::{Identity, Watch};
use mcp::mirror::Mirrored;
use mcp::peer::CLIENT_ANSWER_TIME;
use mcp::phases::CallSpec;
use mcp::service::page;
use mcp::wire::{Notification, Params, Request};
use mcp::{Change, Ctx, Handler, LinkError, Outcome, Reply, RpcError, ToolError};
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use super::Upstream;
use super::tools::UpstreamTool;
use crate::part::{Origin, Part, PartTool};

/// Methods that look at something. Any other needs a caller who may change things: who knows what an upstream's own methods do.
const READS: [&str; 8] = [
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "tasks/get",
];

impl Upstream {
    async fn send(&self, request: &Request, ctx: &Ctx) -> Result<Reply, LinkError> {
        let live = self.live().await?;
        let link = live.link_for(ctx).await?;
        let mut sent = link.request(request, ctx).await;
        // It died before the supervisor knew: what never left may wait for the next one.
        if let Err(error) = &sent
            && error.is_unsent()
            && Arc::ptr_eq(&link, &live.shared)
            && let Some(next) = self.live_after(&live).await
        {
            sent = next.link_for(ctx).await?.request(request, ctx).await;
        }
        if let Err(LinkError::Fault(fault)) = &sent
            && fault.code == Code::Unavailable
        {
            self.look_after();
        }
        sent
    }

    fn list_tools(&self, params: &Params, ctx: &Ctx) -> Result<Reply, RpcError> {
        let tools = self.tools();
        let visible = |tool: &&UpstreamTool| tool.held.is_none() && ctx.caller.allows(tool.access);
        page("tools", tools.all().iter().filter(visible).map(|tool| &*tool.listing), params.cursor.as_deref())
    }

    async fn call(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        let name = request.params.name.as_deref().ok_or_else(|| RpcError::invalid_params("params.name is missing"))?;
        let tools = self.tools();
        let tool = tools.get(name).ok_or_else(|| unknown(name, tools.all()))?;
        // Its own limit is kept by the link, which knows when it is not the upstream that takes the time, but the user who is asked.
        let time = self.spec.timeout() + CLIENT_ANSWER_TIME;
        let spec = CallSpec { server: &self.spec.name, tool: name, access: tool.access, time };
        let work = async {
            if let Some(why) = &tool.held {
                return Err(quarantined(&self.spec.name, name, why).into());
            }
            Ok(Outcome::forwarded(self.send(&request, &ctx).await.map_err(ToolError::from)?))
        };
        let arguments = request.params.arguments.as_deref();
        Ok(self.means.phases.run(&spec, arguments, &ctx, work).await?)
    }
}

fn quarantined(upstream: &str, tool: &str, why: &str) -> Fault {
    Fault::new(Code::Quarantined, format!("tool `{tool}` of upstream {upstream} is held: {why}"))
        .hint("an admin can look at it with list_upstreams and allow it with approve_tool_change")
}

fn unknown(name: &str, tools: &[UpstreamTool]) -> RpcError {
    let known: Vec<&str> = tools.iter().filter(|tool| tool.held.is_none()).map(|tool| tool.name.as_str()).collect();
    let hint = kernel::limits::nearest(name, &known).map(|near| format!("; did you mean `{near}`?"));
    RpcError::invalid_params(format!("unknown tool: {name}{}", hint.unwrap_or_default()))
}

#[async_trait]
impl Handler for Upstream {
    fn identity(&self) -> Arc<Identity> {
        self.seen_identity()
    }

    async fn handle(&self, request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
        match request.method.as_str() {
            "tools/call" => self.call(request, ctx).await,
            "tools/list" => self.list_tools(&request.params, &ctx),
            method => {
                let access = if READS.contains(&method) { Access::Read } else { Access::Operate };
                ctx.caller.require(access, &format!("{} of {}", method, self.spec.name))?;
                Ok(self.send(&request, &ctx).await?)
            }
        }
    }

    async fn watch(&self, uri: &str, ctx: &Ctx) -> Result<Watch, RpcError> {
        ctx.caller.require(Access::Read, &format!("resources of {}", self.spec.name))?;
        let live = self.live().await?;
        Ok(live.link_for(ctx).await?.watch(uri, ctx).await?)
    }

    fn mirrored(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.tools().get(tool)?.mirrored.clone()
    }

    async fn notified(&self, notification: Notification, ctx: Ctx) {
        let sent = async {
            let link = self.live().await?.link_for(&ctx).await?;
            link.notify(&notification, &ctx).await
        };
        if let Err(error) = sent.await {
            tracing::debug!(upstream = self.spec.name, method = notification.method, %error, "notification not delivered");
        }
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.heard_changes()
    }
}

impl Part for Upstream {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn origin(&self) -> Origin {
        Origin::Upstream
    }

    fn is_in_toolset(&self, toolset: &str) -> bool {
        self.spec.toolsets.contains(toolset)
    }

    fn tools(&self) -> Vec<PartTool> {
        let part = |tool: &UpstreamTool| PartTool {
            name: tool.name.clone(),
            access: tool.access,
            held: tool.held.clone(),
            listing: Box::<RawValue>::clone(&tool.listing),
        };
        Self::tools(self).all().iter().map(part).collect()
    }
}
