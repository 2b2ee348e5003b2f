//! How agents, workflows and servers' duties call tools: typed, under their own caller, through the router.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Access, Caller, Code, Fault, Trace};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ctx::Ctx;
use crate::reply::Reply;
use crate::tool::Tool;
use crate::wire;

/// A tool as a model may be offered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Its name in the aggregate.
    pub name: String,
    /// The server that has it.
    pub server: String,
    /// Its name there.
    pub tool: String,
    /// What it is for.
    pub about: String,
    /// The JSON Schema of what it takes.
    pub takes: Value,
    /// Whether it may change anything. Of third parties' servers nothing is believed but what the fleet's own rules make of them.
    pub changes: bool,
    /// Whether a second call is the same as one.
    pub repeatable: bool,
}

/// Reaches any tool of the fleet. Implemented by the gateway; in tests by one [`Service`](crate::Service).
#[async_trait]
pub trait Router: Send + Sync {
    /// Calls `tool` of `server`, with the permissions of `ctx`'s caller.
    async fn call(&self, server: &str, tool: &str, arguments: Box<RawValue>, ctx: Ctx) -> Result<Reply, Fault>;

    /// The JSON Schema of what a tool takes, if there is such a tool now; `None` where that cannot be told.
    fn takes(&self, _server: &str, _tool: &str) -> Option<Option<Value>> {
        None
    }

    /// The tools that `caller` may use now and whose names in the aggregate match one of `patterns`, in the order of lists.
    fn offered(&self, _caller: &Caller, _patterns: &[String]) -> Vec<Offered> {
        Vec::new()
    }

    /// The patterns of the toolset of this name.
    fn toolset(&self, _name: &str) -> Option<Vec<String>> {
        None
    }

    /// What a tool asks of its caller, if there is such a tool now: for showing people what they may do. Whether they may is the call's to say.
    fn asks(&self, _server: &str, _tool: &str) -> Option<Access> {
        None
    }
}

/// A caller's view of all tools.
#[derive(Clone)]
pub struct Toolbox {
    router: Arc<dyn Router>,
    caller: Caller,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(default)]
    is_error: bool,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(rename = "_meta", default)]
    meta: Option<Value>,
}

impl Toolbox {
    /// All tools, for `caller`.
    pub fn new(router: Arc<dyn Router>, caller: Caller) -> Self {
        Self { router, caller }
    }

    /// Calls a tool by its typed name, in a new trace.
    pub async fn call<I: Serialize, O: DeserializeOwned>(&self, tool: Tool<I, O>, input: &I) -> Result<O, Fault> {
        let ctx = Ctx::internal(self.caller.clone(), Trace::root());
        let reply = self.router.call(tool.server, tool.name, wire::raw(input), ctx).await?;
        let structured = structured(&reply).map_err(|fault| fault.context(format!("{}.{}", tool.server, tool.name)))?;
        serde_json::from_str(structured.get()).map_err(|error| {
            Fault::upstream(format!("{}.{}: answer is not of its type: {error}", tool.server, tool.name))
        })
    }
}

impl Toolbox {
    /// Calls a tool by its names, in a new trace.
    ///
    /// # Errors
    /// What the tool refuses or fails with.
    pub async fn call_named(&self, server: &str, tool: &str, arguments: Box<RawValue>) -> Result<Value, Fault> {
        let ctx = Ctx::internal(self.caller.clone(), Trace::root());
        let reply = self.router.call(server, tool, arguments, ctx).await?;
        let structured = structured(&reply).map_err(|fault| fault.context(format!("{server}.{tool}")))?;
        serde_json::from_str(structured.get())
            .map_err(|error| Fault::upstream(format!("{server}.{tool}: answer is not JSON: {error}")))
    }
}

/// The structured content of a tool's answer, or the fault it tells of.
pub fn structured(reply: &Reply) -> Result<Box<RawValue>, Fault> {
    let answer: Answer<'_> = serde_json::from_str(reply.body.get())
        .map_err(|error| Fault::upstream(format!("not a tool result: {error}")))?;
    if answer.is_error {
        return Err(fault_of(&answer));
    }
    answer
        .structured_content
        .map(ToOwned::to_owned)
        .ok_or_else(|| Fault::upstream("the answer has no structured content"))
}

fn fault_of(answer: &Answer<'_>) -> Fault {
    #[derive(Deserialize)]
    struct Text {
        #[serde(default)]
        text: String,
    }
    let parts: Vec<Text> = answer.content.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let text = parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n");
    let error = answer.meta.as_ref().and_then(|meta| meta.get("flotilla/error"));
    let code = error.and_then(|error| Code::deserialize(&error["code"]).ok()).unwrap_or(Code::Upstream);
    // The text is the fault as people read it: code, message, and the hint in brackets.
    let hint = error.and_then(|error| error["hint"].as_str());
    let message = text.strip_prefix(&format!("{code}: ")).unwrap_or(&text);
    let message = hint.and_then(|hint| message.strip_suffix(&format!(" ({hint})"))).unwrap_or(message);
    let mut fault = Fault::new(code, message);
    if let Some(hint) = hint {
        fault = fault.hint(hint);
    }
    if let Some(data) = error.and_then(|error| error.get("data")) {
        fault = fault.data(data.clone());
    }
    fault
}
