//! A client for the official conformance suite's client scenarios: connects, lists, and uses whatever it finds.
//!
//! `conformance_client URL`, with the scenario's context and revision in the environment, as the suite starts it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use kernel::{Caller, OnEnd, Role, Tasks, Trace};
use mcp::client::http::{HttpServer, Target};
use mcp::client::{AboutUs, User};
use mcp::ctx::{Client, Session};
use mcp::mirror::mirrored;
use mcp::peer::{Calls, Peer};
use mcp::wire::{Id, Message, Params, Request, Response};
use mcp::{Ctx, Link, Revision};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = std::env::args().next_back().ok_or("usage: conformance_client URL")?;
    let revision = env("MCP_CONFORMANCE_PROTOCOL_VERSION").and_then(|text| Revision::parse(&text));
    let tasks = Tasks::new();
    let ctx = context(revision.unwrap_or(Revision::CURRENT), &tasks);
    let timeout = Duration::from_secs(20);
    let target =
        Target { url: url.parse()?, headers: HeaderMap::new(), allow_private: true, timeout, credentials: None };
    let server =
        HttpServer::probe(&target, AboutUs::new("1.0.0"), tasks.clone()).await.map_err(|error| error.to_string())?;
    let link: Arc<dyn Link> = match server.modern().filter(|_| revision.is_none_or(Revision::is_modern)) {
        Some(link) => link,
        None => {
            let user = User { client: Some(Arc::clone(&ctx.client)), revision, session: ctx.session.clone() };
            server.session(user).await.map_err(|error| error.to_string())?
        }
    };
    use_all(&*link, &ctx).await;
    link.close().await;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the suite gives its context this way")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A user of an older revision, so that questions are put to it whatever the server speaks; it accepts every form as it is.
fn context(revision: Revision, tasks: &Tasks) -> Ctx {
    let (out, mut said) = mpsc::channel::<String>(64);
    let calls = Arc::<Calls>::default();
    let peer = Peer::with_calls(out, Arc::clone(&calls));
    tasks.spawn("user", OnEnd::Done, async move {
        while let Some(text) = said.recv().await {
            let Ok(Message::Request(asked)) = Message::parse(text.as_bytes()) else { continue };
            let outcome = Ok(mcp::wire::raw(&answer(&asked)));
            calls.answered(Response { id: Some(asked.id), outcome });
        }
    });
    let capabilities = json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} });
    let client = Arc::new(Client { capabilities, info: json!({ "name": "flotilla-conformance", "version": "1.0.0" }) });
    let session = Session { id: "conformance".into(), ended: CancellationToken::new(), peer: peer.clone() };
    let ctx = Ctx::internal(Caller::new("conformance", Role::Admin), Trace::root());
    let revision = if revision.is_modern() { Revision::NEWEST_LEGACY } else { revision };
    Ctx { revision, client, peer, session: Some(session), ..ctx }
}

fn answer(asked: &Request) -> Value {
    let params: Value = asked.params.read().unwrap_or_default();
    match asked.method.as_str() {
        "sampling/createMessage" => {
            json!({ "role": "assistant", "content": { "type": "text", "text": "fine" }, "model": "none" })
        }
        "roots/list" => json!({ "roots": [] }),
        _ => {
            let fields = params["requestedSchema"]["properties"].as_object().cloned().unwrap_or_default();
            let content: serde_json::Map<String, Value> =
                fields.iter().map(|(name, schema)| (name.clone(), example(schema))).collect();
            json!({ "action": "accept", "content": content })
        }
    }
}

/// A value that a schema takes.
fn example(schema: &Value) -> Value {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(1),
        Some("array") => json!([]),
        Some("object") => arguments(schema),
        _ => schema["enum"][0].as_str().map_or(json!("text"), Value::from),
    }
}

fn arguments(schema: &Value) -> Value {
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    Value::Object(fields.iter().map(|(name, schema)| (name.clone(), example(schema))).collect())
}

/// A call of a tool. A field `schema` asks what the client made of the other tool's schema: it goes back as it came.
fn call(tool: &Value, tools: &[Value]) -> Value {
    let mut arguments = arguments(&tool["inputSchema"]);
    if arguments.get("schema").is_some() {
        arguments["schema"] = tools[0]["inputSchema"].clone();
    }
    json!({ "name": tool["name"], "arguments": arguments })
}

async fn use_all(link: &dyn Link, ctx: &Ctx) {
    let tools = ask(link, ctx, "tools/list", json!({})).await;
    // A tool whose schema asks for headers it may not ask for is none.
    let tools = tools["tools"].as_array().cloned().unwrap_or_default();
    let fit: Vec<&Value> = tools.iter().filter(|tool| mirrored(&tool["inputSchema"]).is_ok()).collect();
    let context: Value =
        env("MCP_CONFORMANCE_CONTEXT").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let calls: Vec<Value> = match context["toolCalls"].as_array() {
        Some(calls) => calls.clone(),
        None => fit.iter().map(|tool| call(tool, &tools)).collect(),
    };
    join_all(calls.into_iter().map(|call| ask(link, ctx, "tools/call", call))).await;
    let can = |name: &str| link.identity().capabilities.get(name).is_some();
    if can("resources") {
        let listed = ask(link, ctx, "resources/list", json!({})).await;
        ask(link, ctx, "resources/read", json!({ "uri": listed["resources"][0]["uri"] })).await;
    }
    if can("prompts") {
        let listed = ask(link, ctx, "prompts/list", json!({})).await;
        ask(link, ctx, "prompts/get", json!({ "name": listed["prompts"][0]["name"], "arguments": {} })).await;
    }
}

#[expect(clippy::print_stderr, reason = "the suite keeps what its clients say")]
async fn ask(link: &dyn Link, ctx: &Ctx, method: &str, params: Value) -> Value {
    let Ok(params) = Params::of(&params) else { return Value::Null };
    let request = Request { id: Id::Number(0), method: method.into(), params };
    match link.request(&request, ctx).await {
        Ok(reply) => serde_json::from_str(reply.body.get()).unwrap_or_default(),
        Err(error) => {
            eprintln!("{method}: {error}");
            Value::Null
        }
    }
}
