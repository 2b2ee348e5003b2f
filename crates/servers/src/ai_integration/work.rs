//! One call that a model wants: looked at, allowed or refused, written down, made.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::models::ToolCall;
use kernel::pattern::matches;
use kernel::{Access, Caller, Code, Fault};
use mcp::ctx::Question;
use mcp::phases::CallSpec;
use mcp::rounds::canonical;
use mcp::toolbox::{Offered, structured};
use mcp::{Ctx, McpServer, Reply, ToolError, wire};
use serde_json::{Map, Value, json};

use super::AiIntegration;
use super::ask::Told;
use super::run::SAME;
use super::state::{Event, Open};

/// Most bytes of a tool's answer that a model is told.
const RESULT_BYTES_MAX: usize = 32 << 10;
/// Longest name of a tool that is repeated, in characters.
const NAME_CHARS_MAX: usize = 100;
/// How often a call may be made with the same arguments.
const SAME_MAX: usize = 2;
/// Most characters of arguments that a person is shown.
const SHOWN_CHARS_MAX: usize = 1_000;
/// What a refused call is in the audit trail: a name of ours, since the model's own could be anything.
const ATTEMPT: &str = "model_call";
/// The argument by which a tool knows a call again.
const KEY: &str = "idempotency_key";

impl AiIntegration {
    /// Does what a model wants, or tells it why not.
    ///
    /// # Errors
    /// A question to the user; a run that cannot be written down.
    pub(super) async fn work(
        &self,
        open: &mut Open,
        call: &ToolCall,
        caller: &Caller,
        ctx: &Ctx,
        told: &Told<'_>,
    ) -> Result<(), ToolError> {
        let name: String = call.name.chars().take(NAME_CHARS_MAX).collect();
        told.note(&format!("\n[{name}]\n")).await;
        let (text, failed) = match self.made(open, call, caller, ctx).await {
            Ok(answer) => (foreign(&open.head.mark, &answer), false),
            Err(Refusal::Ours(fault)) => (fault.to_string(), true),
            Err(Refusal::Theirs(fault)) => (foreign(&open.head.mark, &fault.to_string()), true),
            Err(Refusal::Again(why)) => (format!("{SAME}{why}"), true),
            Err(Refusal::Stop(error)) => return Err(error),
        };
        let at_ms = self.clock.now_ms();
        open.note(Event::Got { at_ms, id: call.id.clone(), name, text, failed }).await?;
        Ok(())
    }

    async fn made(&self, open: &mut Open, call: &ToolCall, caller: &Caller, ctx: &Ctx) -> Result<String, Refusal> {
        // Looked at now, not when it was offered: rights and tools may have changed.
        let tool = self.allowed(&open.head, caller).into_iter().find(|tool| tool.name == call.name);
        let Some(tool) = tool else {
            let fault =
                Fault::denied("no tool of this name may be called in this run").hint("call only what is offered");
            return Err(self.attempted(open, call, ctx, fault).await);
        };
        let arguments = arguments_of(call)?;
        if times_before(open, call, &arguments) >= SAME_MAX {
            return Err(Refusal::Again("this was called with the same arguments twice; use what it answered".into()));
        }
        let begun = open.begun_call(&call.id).cloned();
        let arguments = match begun {
            Some(Event::Calling { repeatable: true, arguments, .. }) => arguments,
            Some(_) => {
                let fault = Fault::new(
                    Code::Unavailable,
                    "the run was interrupted during this call, and nobody knows how it ended",
                )
                .hint("it is not made again: look whether it was done");
                return Err(Refusal::Ours(fault));
            }
            None => self.admitted(open, call, &tool, arguments, ctx).await?,
        };
        let ctx =
            Ctx { cancel: ctx.cancel.clone(), trace: ctx.trace.child(), ..Ctx::internal(caller.clone(), ctx.trace) };
        let reply = self.router.call(&tool.server, &tool.tool, wire::raw(&arguments), ctx).await;
        reply.and_then(|reply| words_of(&reply)).map_err(Refusal::Theirs)
    }

    /// Has a call allowed that changes something, and writes it down.
    async fn admitted(
        &self,
        open: &mut Open,
        call: &ToolCall,
        tool: &Offered,
        mut arguments: Map<String, Value>,
        ctx: &Ctx,
    ) -> Result<Value, Refusal> {
        let allowed = open.head.order.tools.allow_changes.iter().any(|pattern| matches(pattern, &tool.name));
        if tool.changes && !allowed && !self.approved(open, tool, &arguments, ctx).await? {
            let fault = Fault::denied(format!("{} changes something, and nobody has allowed that", tool.name))
                .hint("the request may allow it (tools.allow_changes), or the user, where the client can ask");
            return Err(self.attempted(open, call, ctx, fault).await);
        }
        let keyed = tool.takes["properties"].get(KEY).is_some();
        if keyed && !arguments.contains_key(KEY) {
            // The same however often the run goes on from here.
            arguments.insert(KEY.into(), format!("{}-{}", open.head.id, open.head.entries).into());
        }
        let arguments = Value::Object(arguments);
        let calling = Event::Calling {
            at_ms: self.clock.now_ms(),
            id: call.id.clone(),
            server: tool.server.clone(),
            tool: tool.tool.clone(),
            arguments: arguments.clone(),
            repeatable: tool.repeatable || keyed || !tool.changes,
        };
        open.note(calling).await.map_err(|fault| Refusal::Stop(fault.into()))?;
        Ok(arguments)
    }

    /// Asks the user whether something may be changed, where the client can.
    async fn approved(
        &self,
        open: &Open,
        tool: &Offered,
        arguments: &Map<String, Value>,
        ctx: &Ctx,
    ) -> Result<bool, Refusal> {
        if !ctx.client.can("elicitation") {
            return Ok(false);
        }
        let shown = kernel::mask::masked(&Value::Object(arguments.clone())).to_string();
        let shown: String = shown.chars().take(SHOWN_CHARS_MAX).collect();
        let question = Question::form(
            &format!("The model wants to call {}, which changes something, with {shown}", tool.name),
            json!({
                "type": "object",
                "properties": { "allow": { "type": "boolean", "title": "Allow this call", "default": false } },
                "required": ["allow"],
            }),
        );
        let key = format!("allow_{}", open.head.entries);
        let asked = BTreeMap::from([(key.clone(), question)]);
        let answers = ctx.ask_all(asked, json!({ "run": open.head.id })).await.map_err(Refusal::Stop)?;
        let answer = answers.get(&key).cloned().unwrap_or_default();
        Ok(answer["action"] == "accept" && answer["content"]["allow"] == true)
    }

    /// Has the audit trail show what a model tried.
    async fn attempted(&self, open: &Open, call: &ToolCall, ctx: &Ctx, fault: Fault) -> Refusal {
        let given: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| call.arguments.as_str().into());
        let name: String = call.name.chars().take(NAME_CHARS_MAX).collect();
        let arguments = wire::raw(&json!({ "run": open.head.id, "tool": name, "arguments": given }));
        let spec = CallSpec { server: Self::NAME, tool: ATTEMPT, access: Access::Operate, time: Duration::ZERO };
        self.phases.record(&spec, Some(&arguments), ctx, fault.code.as_str(), "", Duration::ZERO).await;
        Refusal::Ours(fault)
    }
}

/// Why a model does not get what it wants.
enum Refusal {
    /// In our words.
    Ours(Fault),
    /// In those of a tool.
    Theirs(Fault),
    /// It was called before.
    Again(String),
    /// The run stands still.
    Stop(ToolError),
}

fn arguments_of(call: &ToolCall) -> Result<Map<String, Value>, Refusal> {
    let bad = |what: String| {
        Refusal::Ours(Fault::invalid(format!("arguments: {what}")).hint("a JSON object, as the tool takes it"))
    };
    kernel::limits::check_json_depth(call.arguments.as_bytes(), kernel::limits::JSON_DEPTH_MAX)
        .map_err(|fault| bad(fault.message))?;
    match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(bad("not an object".into())),
        Err(error) => Err(bad(format!("not JSON: {error}"))),
    }
}

/// How often the model has wanted the same before.
fn times_before(open: &Open, call: &ToolCall, arguments: &Map<String, Value>) -> usize {
    let wanted = canonical(&Value::Object(arguments.clone()));
    let same = |other: &&ToolCall| {
        let given = || serde_json::from_str(&other.arguments).map(|value: Value| canonical(&value)).ok();
        other.name == call.name && other.id != call.id && given().as_ref() == Some(&wanted)
    };
    let calls = open.events.iter().flat_map(|event| match event {
        Event::Said { calls, .. } => calls.as_slice(),
        _ => &[],
    });
    calls.filter(same).count()
}

/// What a tool answered, as text.
fn words_of(reply: &Reply) -> Result<String, Fault> {
    let body: Value = serde_json::from_str(reply.body.get())
        .map_err(|error| Fault::upstream(format!("the answer cannot be read: {error}")))?;
    if body["isError"] == true {
        return Err(structured(reply).err().unwrap_or_else(|| Fault::upstream("it failed")));
    }
    if let Some(content) = body.get("structuredContent") {
        return Ok(content.to_string());
    }
    let parts = body["content"].as_array().into_iter().flatten();
    let words = |part: &Value| match part["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("[{}]", part["type"].as_str().unwrap_or("content")),
    };
    Ok(parts.map(words).collect::<Vec<_>>().join("\n"))
}

/// Text from outside between its marks, which it cannot forge.
fn foreign(mark: &str, text: &str) -> String {
    let end = text.floor_char_boundary(RESULT_BYTES_MAX);
    let cut = if end < text.len() { format!("\n[cut: {} bytes more]", text.len() - end) } else { String::new() };
    let text = text[..end].replace(mark, "");
    format!("<<data {mark}>>\n{text}{cut}\n<<end {mark}>>")
}
