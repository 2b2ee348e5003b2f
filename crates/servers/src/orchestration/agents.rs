//! `call: a2a`: an agent of the fleet, through its desk, or one elsewhere that speaks A2A 1.0 over JSON-RPC.
//!
//! The language has the method names of A2A 0.3; they stand for those of 1.0. A message is known by the key of its step, so however often it is sent it
//! is one task; it is waited for until that has ended, and a task that failed is a call that failed.

use std::time::Duration;

use flow::a2a::{Answer, CALL_TIME, Desk, Refusal, VERSION, VERSION_HEADER};
use flow::workflow::FLEET_SCHEME;
use flow::workflow::engine::Order;
use flow::workflow::error::Error;
use kernel::catalog::AGENT;
use kernel::{Access, Caller, Code, Fault, Trace};
use mcp::Ctx;
use mcp::phases::{CallSpec, Phases};
use mcp::reply::Outcome;
use serde_json::{Map, Value, json};

use super::http::{Request, send, shown};
use super::outside::Hands;
use crate::outbound::Reach;

/// How often a task that goes on is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often one elsewhere is.
const LOOK_ELSEWHERE_EVERY: Duration = Duration::from_secs(2);

/// The names of the language and those of the protocol.
const METHODS: [(&str, &str); 11] = [
    ("message/send", "SendMessage"),
    // What is wanted of a stream is where it ends.
    ("message/stream", "SendMessage"),
    ("tasks/get", "GetTask"),
    ("tasks/list", "ListTasks"),
    ("tasks/cancel", "CancelTask"),
    ("tasks/resubscribe", "GetTask"),
    ("tasks/pushNotificationConfig/set", "CreateTaskPushNotificationConfig"),
    ("tasks/pushNotificationConfig/get", "GetTaskPushNotificationConfig"),
    ("tasks/pushNotificationConfig/list", "ListTaskPushNotificationConfigs"),
    ("tasks/pushNotificationConfig/delete", "DeleteTaskPushNotificationConfig"),
    ("agent/getAuthenticatedExtendedCard", "GetExtendedAgentCard"),
];

/// The way to an agent.
enum Way<'a> {
    /// One of the fleet's, by its name after `agent:`. It is spoken to as at its own door: through every phase of a call.
    Here { desk: Desk, label: String, phases: &'a Phases, ctx: Box<Ctx> },
    /// One that answers at a URL.
    There { reach: &'a Reach, uri: String, authentication: Option<Value>, key: &'a str },
}

/// Speaks to the agent of an effect.
pub(super) async fn perform(hands: &Hands, call: &Value, order: &Order) -> Result<Value, Error> {
    let said = call["method"].as_str().unwrap_or_default();
    let method = METHODS.iter().find(|(name, _)| *name == said).map(|(_, method)| *method);
    let method = method.ok_or_else(|| wrong(format!("no method `{said}` of A2A"), "message/send"))?;
    let way = way(hands, call, order).await?;
    let mut params = call["parameters"].clone();
    if !params.is_object() {
        params = json!({});
    }
    let sends = said.starts_with("message/");
    let at_once = params["configuration"]["returnImmediately"] == true || params["configuration"]["blocking"] == false;
    if sends {
        dress(&mut params, &flow::workflow::idempotency_key(&order.key))?;
    }
    let mut result = way.ask(method, &params).await?;
    if (sends && !at_once) || said == "tasks/resubscribe" {
        result = way.followed(result, sends).await?;
    }
    Ok(result)
}

fn wrong(what: impl Into<String>, hint: &str) -> Error {
    Error::of_call(&Fault::invalid(what).hint(hint), "configuration")
}

/// A message as A2A 1.0 has it, known by `key`.
fn dress(params: &mut Value, key: &str) -> Result<(), Error> {
    if let Some(configuration) = params["configuration"].as_object_mut()
        && let Some(blocking) = configuration.remove("blocking")
    {
        configuration.insert("returnImmediately".into(), (blocking == false).into());
    }
    if params["configuration"].is_null() {
        params.as_object_mut().map(|fields| fields.remove("configuration"));
    }
    let Some(message) = params.get_mut("message").and_then(Value::as_object_mut) else {
        return Err(wrong("no `message` in the parameters", "parameters: { message: { parts: [ { text: … } ] } }"));
    };
    message.remove("kind");
    message.entry("messageId").or_insert_with(|| key.into());
    let role = message.get("role").and_then(Value::as_str).unwrap_or("user").to_owned();
    let role = match role.as_str() {
        "user" => "ROLE_USER",
        "agent" => "ROLE_AGENT",
        other => other,
    };
    message.insert("role".into(), role.into());
    for part in message.get_mut("parts").and_then(Value::as_array_mut).into_iter().flatten() {
        part.as_object_mut().map(|fields| fields.remove("kind"));
    }
    Ok(())
}

async fn way<'a>(hands: &'a Hands, call: &Value, order: &'a Order) -> Result<Way<'a>, Error> {
    let Hands { ports, phases, reach, .. } = hands;
    let endpoint = if call["server"].is_null() { &call["agentCard"] } else { &call["server"] };
    let uri = endpoint["uri"].as_str().unwrap_or_default();
    if let Some(named) = uri.strip_prefix(FLEET_SCHEME) {
        let named = named.trim_end_matches('/');
        let agent = named.strip_prefix(AGENT).unwrap_or(named);
        // What one says to another is recorded whoever began the run: it is no look that the fleet takes all the time.
        let ctx = Box::new(Ctx::internal(Caller { standing: false, ..order.caller.clone() }, Trace::root()));
        return Ok(Way::Here { desk: Desk::new(agent, ports), label: format!("{AGENT}{agent}"), phases, ctx });
    }
    let mut authentication = endpoint.get("authentication").cloned();
    let at = uri;
    let uri = match call["server"].is_null() {
        false => uri.to_owned(),
        true => {
            let card = asked(reach, "get", uri, Value::Null, authentication.as_ref(), &order.key).await?;
            let interfaces = card["supportedInterfaces"].as_array().cloned().unwrap_or_default();
            let speaks = |one: &&Value| {
                one["protocolBinding"] == "JSONRPC"
                    && one["protocolVersion"].as_str().is_none_or(|version| version.starts_with('1'))
            };
            let found = interfaces.iter().find(speaks).and_then(|one| one["url"].as_str());
            found.map(str::to_owned).ok_or_else(|| {
                wrong(
                    format!("the card at {uri} names no interface over JSON-RPC of A2A {VERSION}"),
                    "an agent that has one",
                )
            })?
        }
    };
    if authority(&uri) != authority(at) {
        // What a card leads to elsewhere is not given what was meant for where the card is.
        authentication = None;
    }
    Ok(Way::There { reach, uri, authentication, key: &order.key })
}

fn authority(uri: &str) -> Option<String> {
    let uri: http::Uri = uri.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

/// Makes a request and gives the JSON that it is answered with.
async fn asked(
    reach: &Reach,
    method: &str,
    uri: &str,
    body: Value,
    authentication: Option<&Value>,
    key: &str,
) -> Result<Value, Error> {
    let headers = Map::from_iter([(VERSION_HEADER.to_owned(), Value::from(VERSION))]);
    let request = Request { method: method.into(), uri: uri.into(), authentication, headers, query: Map::new(), body };
    let told = send(reach, &request, key).await?;
    shown(&request, &told, &json!({ "output": "content" }))
}

impl Way<'_> {
    async fn ask(&self, method: &str, params: &Value) -> Result<Value, Error> {
        match self {
            Way::Here { desk, label, phases, ctx } => {
                let spec = CallSpec { server: label, tool: method, access: Access::Read, time: CALL_TIME };
                let arguments = mcp::wire::raw(params);
                let work = desk.call(method, params.clone(), &ctx.caller);
                let shown = |answer: &Answer| match answer {
                    Answer::Whole(result) => Outcome::typed(result),
                    Answer::Follow(task) => Outcome::typed(&json!({ "task": task.id })),
                };
                let refused = |refusal: &Refusal| refusal.fault.clone();
                whole(label, phases.around(&spec, Some(&arguments), ctx, work, (shown, refused)).await)
            }
            Way::There { reach, uri, authentication, key } => {
                let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
                let mut answer = asked(reach, "post", uri, body, authentication.as_ref(), key).await?;
                match &answer["error"] {
                    Value::Null => Ok(answer["result"].take()),
                    error => {
                        let text = error["message"].as_str().unwrap_or("no reason given").to_owned();
                        let fault = Fault::upstream(format!("{uri} refuses {method}: {text} ({})", error["code"]));
                        Err(Error::of_call(&fault, "runtime"))
                    }
                }
            }
        }
    }

    /// A task that goes on. Looking at it is part of the call that it came from.
    async fn look(&self, id: &str) -> Result<Value, Error> {
        let params = json!({ "id": id });
        match self {
            Way::Here { desk, label, ctx, .. } => whole(label, desk.call("GetTask", params, &ctx.caller).await),
            Way::There { .. } => self.ask("GetTask", &params).await,
        }
    }

    /// The task of an answer when it has ended. How long that may take is the engine's affair.
    async fn followed(&self, mut result: Value, sent: bool) -> Result<Value, Error> {
        loop {
            let task = if sent { &result["task"] } else { &result };
            let (Some(id), Some(state)) = (task["id"].as_str(), task["status"]["state"].as_str()) else {
                // A message is an answer of its own.
                return Ok(result);
            };
            match state {
                "TASK_STATE_SUBMITTED" | "TASK_STATE_WORKING" => {}
                "TASK_STATE_FAILED" | "TASK_STATE_REJECTED" | "TASK_STATE_CANCELED" if sent => {
                    let why = task["status"]["message"]["parts"][0]["text"].as_str().unwrap_or("no reason given");
                    let fault = Fault::new(Code::Upstream, format!("task {id} of the agent: {state}: {why}"));
                    return Err(Error::of_call(&fault, "runtime"));
                }
                _ => return Ok(result),
            }
            let pause = if matches!(self, Way::Here { .. }) { LOOK_EVERY } else { LOOK_ELSEWHERE_EVERY };
            tokio::time::sleep(pause).await;
            let looked = self.look(id).await?;
            result = if sent { json!({ "task": looked }) } else { looked };
        }
    }
}

/// An agent's answer, in one piece.
fn whole(label: &str, ended: Result<Answer, Refusal>) -> Result<Value, Error> {
    match ended {
        Ok(Answer::Whole(result)) => Ok(result),
        Ok(Answer::Follow(_)) => Err(wrong("an answer that is a stream", "message/send")),
        Err(Refusal { fault, .. }) => Err(Error::of_call(&fault.context(label.to_owned()), "runtime")),
    }
}
