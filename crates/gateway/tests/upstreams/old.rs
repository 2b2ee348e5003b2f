//! Servers over standard streams of one era, and clients of the other.

use std::sync::Arc;

use kernel::logs::Level;
use mcp::client::AboutUs;
use mcp::client::http::HttpServer;
use mcp::peer::Peer;
use mcp::reply::ResultType;
use mcp::wire::{Id, Params, Request};
use mcp::{Change, Ctx, Handler, Link, Revision};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, ask, call, ctx, until};
use crate::shop::{ANY, Era, answering, serve, target};

fn listening() -> (Ctx, mpsc::Receiver<String>) {
    let (out, said) = mpsc::channel(64);
    let mut ctx = ctx();
    ctx.peer = Peer::new(out);
    ctx.progress_token = Some(json!("mine"));
    (ctx, said)
}

fn said(receiver: &mut mpsc::Receiver<String>) -> Vec<String> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_resources_prompts_and_completion() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    let tools = ask(&*up, "tools/list", json!({}), ctx()).await.unwrap();
    assert!(tools.body.get().contains(r#""x-unknown": {"kept": 1.5}"#), "bytes in, bytes out: {}", tools.body);
    assert!(!tools.dressed && tools.cache.is_some(), "the door adds what the revision asks for");
    let reply = ask(&*up, "tools/call", json!({ "name": "echo", "arguments": { "text": "hi" } }), ctx()).await.unwrap();
    assert_eq!(
        reply.body.get(),
        r#"{"content": [{"type": "text", "text": "hi"}], "structuredContent": {"n": 1.5, "deep": [[[]]]}}"#
    );
    let list = ask(&*up, "resources/list", json!({}), ctx()).await.unwrap();
    assert_eq!(list.body.get(), r#"{"resources": [{"uri": "memo://1", "name": "memo"}]}"#);
    let read = ask(&*up, "resources/read", json!({ "uri": "memo://1" }), ctx()).await.unwrap();
    assert!(read.body.get().contains("remember") && read.cache.is_some());
    assert_eq!(ask(&*up, "resources/read", json!({ "uri": "x" }), ctx()).await.unwrap_err().code, -32002);
    let prompt =
        ask(&*up, "prompts/get", json!({ "name": "greet", "arguments": { "who": "ann" } }), ctx()).await.unwrap();
    assert!(prompt.body.get().contains("Greet ann."));
    let complete =
        json!({ "ref": { "type": "ref/prompt", "name": "greet" }, "argument": { "name": "who", "value": "" } });
    assert!(ask(&*up, "completion/complete", complete, ctx()).await.unwrap().body.get().contains("bob"));
    assert_eq!(ask(&*up, "no/such", json!({}), ctx()).await.unwrap_err().code, -32601);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_and_logs_come_back_under_the_callers_own_token() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    let (ctx, mut receiver) = listening();
    assert_eq!(call(&*up, "slow", json!({}), ctx).await, "done");
    let messages = said(&mut receiver);
    assert_eq!(messages.len(), 3);
    assert_eq!(
        messages[0],
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken": "mine", "progress": 1, "total": 3, "x-kept": 100.0}}"#
    );
    let (mut ctx, mut receiver) = listening();
    ctx.log_level = Some(Level::Info);
    assert_eq!(call(&*up, "log", json!({}), ctx).await, "info", "the server was told how much is wanted");
    let levels: Vec<Value> = said(&mut receiver)
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["params"]["level"].take())
        .collect();
    assert_eq!(levels, ["info", "error"]);
    let (ctx, mut receiver) = listening();
    call(&*up, "log", json!({}), ctx).await;
    assert!(said(&mut receiver).is_empty(), "who did not ask gets none");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_lists_and_resources_are_passed_on() {
    for mode in ["good", "current"] {
        changes_are_passed_on(mode).await;
    }
}

async fn changes_are_passed_on(mode: &str) {
    let bench = Bench::new().await;
    let up = bench.add(mode).await;
    let mut changes = up.changes();
    let first = up.watch("memo://1", &ctx()).await.unwrap();
    let second = up.watch("memo://1", &ctx()).await.unwrap();
    assert_eq!(call(&*up, "touch", json!({}), ctx()).await, "memo://1");
    until("the change came", async || matches!(changes.try_recv(), Ok(Change::Resource(uri)) if uri == "memo://1"))
        .await;
    drop(first);
    assert_eq!(call(&*up, "touch", json!({}), ctx()).await, "memo://1", "somebody still watches");
    drop(second);
    until("it is unsubscribed", async || call(&*up, "touch", json!({}), ctx()).await.is_empty()).await;
    call(&*up, "grow", json!({}), ctx()).await;
    until("prompts changed", async || matches!(changes.try_recv(), Ok(Change::Prompts))).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_to_a_client_that_cannot_be_asked_gets_a_clear_no() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    let answer = call(&*up, "ask", json!({}), ctx()).await;
    assert!(answer.contains("not carried across revisions yet"), "{answer}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_the_current_revision_serves_clients_of_both_eras() {
    let bench = Bench::new().await;
    let up = bench.add("current").await;
    assert_eq!(up.status().revision.as_deref(), Some("2026-07-28"), "{:?}", up.status());
    let (listening, mut receiver) = listening();
    assert_eq!(call(&*up, "slow", json!({}), listening).await, "done");
    assert_eq!(said(&mut receiver).len(), 3);
    let reply = ask(&*up, "tools/call", json!({ "name": "ask", "arguments": {} }), ctx()).await.unwrap();
    assert!(reply.kind == ResultType::InputRequired && reply.dressed, "{}", reply.body);
    let retry = json!({ "name": "ask", "arguments": {}, "requestState": "kept",
        "inputResponses": { "who": { "action": "accept", "content": { "value": "ann" } } } });
    let reply = ask(&*up, "tools/call", retry, ctx()).await.unwrap();
    assert!(reply.body.get().contains("kept: ann"), "{}", reply.body);
    let (peer, client) = answering(&bench.world.tasks);
    let old = Ctx { revision: Revision::V2025_06_18, peer, client, ..ctx() };
    assert_eq!(call(&*up, "ask", json!({}), old).await, "kept: who");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_current_client_comes_through_the_door_to_an_old_server() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    let tasks = bench.world.tasks.child();
    let (url, _) = serve(ANY, Arc::clone(&up) as Arc<dyn Handler>, Era::All, &tasks).await;
    let server = HttpServer::probe(&target(&url), AboutUs::new("current client"), tasks.child()).await.unwrap();
    let link = server.modern().unwrap();
    let request = |method: &str, params: Value| Request {
        id: Id::Number(1),
        method: method.into(),
        params: Params::of(&params).unwrap(),
    };
    let list = link.request(&request("tools/list", json!({})), &ctx()).await.unwrap();
    let list: Value = serde_json::from_str(list.body.get()).unwrap();
    assert_eq!((&list["resultType"], &list["cacheScope"]), (&json!("complete"), &json!("private")));
    assert_eq!(list["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "misbehaviour");
    let (listening, mut receiver) = listening();
    let slow = link.request(&request("tools/call", json!({ "name": "slow" })), &listening).await.unwrap();
    assert!(slow.body.get().contains("done"));
    assert_eq!(said(&mut receiver).len(), 3);
    let read = link.request(&request("resources/read", json!({ "uri": "memo://1" })), &ctx()).await.unwrap();
    assert!(read.body.get().contains("remember"));
    let mut changes = link.changes();
    let _watch = link.watch("memo://1", &ctx()).await.unwrap();
    let touch = link.request(&request("tools/call", json!({ "name": "touch" })), &ctx()).await.unwrap();
    assert!(touch.body.get().contains("memo://1"), "{}", touch.body);
    until("the change came", async || matches!(changes.try_recv(), Ok(Change::Resource(uri)) if uri == "memo://1"))
        .await;
    let hanging = Ctx { cancel: CancellationToken::new(), ..ctx() };
    let stuck = request("tools/call", json!({ "name": "stuck" }));
    let state = bench.state("good");
    tokio::select! {
        done = link.request(&stuck, &hanging) => panic!("{done:?}"),
        () = until("it is under way", async || std::fs::read_to_string(&state).is_ok_and(|text| text == "began\n")) => {}
    }
    until("the server heard", async || std::fs::read_to_string(&state).is_ok_and(|text| text.ends_with("cancelled\n")))
        .await;
    bench.stop().await;
}
