//! The outside of runs: tools, agents, web services, scripts, each under the role of who started the run.

use async_trait::async_trait;
use flow::workflow::engine::{Order, Outside};
use flow::workflow::error::Error;
use flow::workflow::history::Effect;
use kernel::{Fault, Ports, Trace};
use mcp::toolbox::{self, Router};
use mcp::{Ctx, wire};
use serde_json::{Value, json};

use super::{agents, http, openapi};
use crate::outbound::Reach;

/// The server and the tool that run scripts.
const SCRIPTS: (&str, &str) = ("scripts", "run_inline");

/// What acts.
pub(super) struct Hands {
    /// How tools are reached.
    pub(super) router: std::sync::Arc<dyn Router>,
    /// What agents of the fleet are spoken to over.
    pub(super) ports: Ports,
    /// Which addresses may be reached.
    pub(super) reach: Reach,
}

#[async_trait]
impl Outside for Hands {
    async fn perform(&self, effect: &Effect, order: &Order) -> Result<Value, Error> {
        match effect {
            Effect::Tool { server, tool, arguments, .. } => self.tool(server, tool, arguments, order).await,
            Effect::Http { call } => http::perform(&self.reach, call, &order.key).await,
            Effect::OpenApi { call } => openapi::perform(&self.reach, call, &order.key).await,
            Effect::Script { script } => self.script(script, order).await,
            Effect::Agent { call } => agents::perform(&self.ports, &self.reach, call, order).await,
            // The engine's own.
            Effect::Emit { .. } | Effect::Workflow { .. } => Err(unsupported("not an effect of the outside", "")),
        }
    }
}

fn unsupported(what: &str, hint: &str) -> Error {
    Error::of_call(&Fault::unsupported(what).hint(hint), "configuration")
}

impl Hands {
    /// A tool's whole result; a refusal is an error.
    async fn tool(&self, server: &str, tool: &str, arguments: &Value, order: &Order) -> Result<Value, Error> {
        let failed = |fault: Fault| Error::of_call(&fault.context(format!("{server}.{tool}")), "runtime");
        let ctx = Ctx::internal(order.caller.clone(), Trace::root());
        let reply = self.router.call(server, tool, wire::raw(arguments), ctx).await.map_err(failed)?;
        let result: Value = serde_json::from_str(reply.body.get())
            .map_err(|error| failed(Fault::upstream(format!("not a tool result: {error}"))))?;
        if result["isError"] == true {
            let fault = toolbox::structured(&reply).err();
            return Err(failed(fault.unwrap_or_else(|| Fault::upstream("it failed and does not say why"))));
        }
        Ok(result)
    }

    async fn script(&self, script: &Value, order: &Order) -> Result<Value, Error> {
        let (server, tool) = SCRIPTS;
        if self.router.takes(server, tool) == Some(None) {
            return Err(unsupported(
                "scripts run on the scripts server, which this fleet does not have",
                "call a tool instead",
            ));
        }
        let mut arguments = script.clone();
        arguments["idempotency_key"] = flow::workflow::idempotency_key(&order.key).into();
        let result = self.tool(server, tool, &arguments, order).await?;
        let told = &result["structuredContent"];
        let code = if told["exit_code"].is_null() { &told["code"] } else { &told["exit_code"] };
        Ok(json!({ "code": code, "stdout": told["stdout"], "stderr": told["stderr"] }))
    }
}
