//! The outside of runs: tools, agents, web services, scripts, each under the role of who started the run.

use async_trait::async_trait;
use flow::workflow::engine::{Order, Outside};
use flow::workflow::error::Error;
use flow::workflow::history::Effect;
use kernel::{Code, Fault, Ports, Trace};
use mcp::phases::Phases;
use mcp::toolbox::{self, Router};
use mcp::{Ctx, wire};
use serde_json::{Map, Value, json};

use super::{agents, http, openapi};
use crate::outbound::Reach;

/// The server that runs scripts.
const SCRIPTS: &str = "scripts";
/// How long one call waits for a script's end, in seconds.
const WAIT_SECONDS: u64 = 45;

/// What acts.
pub(super) struct Hands {
    /// How tools are reached.
    pub(super) router: std::sync::Arc<dyn Router>,
    /// What agents of the fleet are spoken to over.
    pub(super) ports: Ports,
    /// What calls of them go through.
    pub(super) phases: Phases,
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
            Effect::Agent { call } => agents::perform(self, call, order).await,
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
        let (server, run_inline, run_output) = (SCRIPTS, "run_inline", "run_output");
        if self.router.takes(server, run_inline) == Some(None) {
            return Err(unsupported(
                "scripts run on the scripts server, which this fleet does not have",
                "call a tool instead",
            ));
        }
        let mut arguments = order_of(script).map_err(|fault| Error::of_call(&fault, "configuration"))?;
        arguments["idempotency_key"] = flow::workflow::idempotency_key(&order.key).into();
        arguments["wait_seconds"] = WAIT_SECONDS.into();
        let mut run = self.tool(server, run_inline, &arguments, order).await?["structuredContent"].take();
        // The engine ends this when it has taken too long; the run has a limit of its own.
        while run["ended_ms"].is_null() {
            let wanted = json!({ "run": run["run"], "wait_seconds": WAIT_SECONDS });
            run = self.tool(server, run_output, &wanted, order).await?["structuredContent"].take();
        }
        if let Some(fault) = went_wrong(&run) {
            return Err(Error::of_call(&fault, "runtime"));
        }
        Ok(json!({ "code": run["exit_code"], "stdout": run["stdout"], "stderr": run["stderr"] }))
    }
}

/// Why a run has no exit code, if it has none: one of any value is the script's own word.
fn went_wrong(run: &Value) -> Option<Fault> {
    let fault = match run["end"].as_str().or(run["state"].as_str()).unwrap_or_default() {
        "exited" | "signalled" => return None,
        "time_limit" => Fault::timeout("the script took longer than it may"),
        "cancelled" => Fault::cancelled("the script was cancelled"),
        "dead" => {
            let code = serde_json::from_value(run["failure"]["code"].clone()).unwrap_or(Code::Upstream);
            Fault::new(code, run["failure"]["message"].as_str().unwrap_or_default())
        }
        limit => Fault::too_large(format!("the script was ended: {limit}")),
    };
    Some(fault.hint(format!("run_output tells more of {}", run["run"].as_str().unwrap_or_default())))
}

/// What [`run_inline`](crate::scripts::RUN_INLINE) takes, of a script as definitions have it: what is no text there becomes its JSON.
fn order_of(script: &Value) -> Result<Value, Fault> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let language = text(&script["language"]);
    if matches!(&*language, "javascript" | "js") {
        return Err(Fault::unsupported("scripts in javascript are not run here").hint("python, sh or jq"));
    }
    let arguments: Vec<String> = match &script["arguments"] {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(text).collect(),
        _ => return Err(Fault::invalid("the arguments of a script are no list").hint("arguments: [ a, b ]")),
    };
    let environment: Map<String, Value> = match &script["environment"] {
        Value::Null => Map::new(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), text(value).into())).collect(),
        _ => return Err(Fault::invalid("the environment of a script is no map").hint("environment: { NAME: value }")),
    };
    let stdin = if script["stdin"].is_null() { String::new() } else { text(&script["stdin"]) };
    Ok(json!({
        "language": language, "code": script["code"], "arguments": arguments, "environment": environment, "stdin": stdin,
    }))
}
