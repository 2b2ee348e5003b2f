//! What a third party's server says reaches clients byte for byte, under names and addresses of the aggregate.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Access, Role};
use mcp::handler::Identity;
use mcp::reply::ResultType;
use mcp::wire::Request;
use mcp::{Change, Ctx, Handler, Reply, RpcError};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::part::{Origin, Part, PartTool};
use crate::selector::Selector;
use crate::testing::{Bench, ctx, request};

/// A third party's server that answers as the test says.
struct Foreign {
    name: &'static str,
    tools: Mutex<Vec<(&'static str, Option<&'static str>)>>,
    answer: Mutex<(ResultType, String)>,
    heard: Mutex<Vec<String>>,
    changes: broadcast::Sender<Change>,
}

impl Foreign {
    fn named(name: &'static str) -> Arc<Self> {
        let tools = Mutex::new(vec![("do.it", None), ("held", Some("its description changed"))]);
        let answer = Mutex::new((ResultType::Complete, "{}".to_owned()));
        Arc::new(Self { name, tools, answer, heard: Mutex::default(), changes: broadcast::channel(8).0 })
    }

    fn join(bench: &Bench, name: &'static str) -> Arc<Self> {
        let foreign = Self::named(name);
        bench.gateway.add_part(Arc::clone(&foreign) as Arc<dyn Part>).unwrap();
        foreign
    }

    fn answers(&self, kind: ResultType, body: &str) {
        *self.answer.lock() = (kind, body.to_owned());
    }

    fn heard(&self) -> String {
        self.heard.lock().last().unwrap().clone()
    }
}

#[async_trait]
impl Handler for Foreign {
    fn identity(&self) -> Arc<Identity> {
        let (name, version) = (self.name.to_owned(), "1".to_owned());
        Arc::new(Identity { title: name.clone(), name, version, instructions: None, capabilities: json!({}) })
    }

    async fn handle(&self, request: Request, _: Ctx) -> Result<Reply, RpcError> {
        let params = request.params.raw.map_or_else(String::new, |raw| raw.get().to_owned());
        self.heard.lock().push(format!("{} {params}", request.method));
        let (kind, body) = self.answer.lock().clone();
        Ok(Reply { kind, ..Reply::raw(RawValue::from_string(body).unwrap()) })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

impl Part for Foreign {
    fn name(&self) -> &str {
        self.name
    }

    fn origin(&self) -> Origin {
        Origin::Upstream
    }

    fn tools(&self) -> Vec<PartTool> {
        let listing = |name: &str| {
            let text = format!(
                r#"{{ "name":"{name}" ,"x-future":1.0, "_meta":{{"ui":{{"resourceUri":"ui://board","k":[ ]}}}}}}"#
            );
            RawValue::from_string(text).unwrap()
        };
        let tool = |(name, held): &(&str, Option<&str>)| PartTool {
            name: (*name).into(),
            access: Access::Operate,
            held: held.map(Into::into),
            listing: listing(name),
        };
        self.tools.lock().iter().map(tool).collect()
    }

    fn is_in_toolset(&self, toolset: &str) -> bool {
        toolset == "helpers"
    }
}

async fn raw(bench: &Bench, selector: Selector, method: &str, params: Value) -> String {
    let reply = request(&*bench.handler(selector), method, params, ctx(Role::Operator)).await.unwrap();
    reply.body.get().to_owned()
}

#[tokio::test]
async fn entries_keep_their_bytes_and_what_is_held_is_not_listed() {
    let bench = Bench::empty();
    Foreign::join(&bench, "up");
    let list = raw(&bench, Selector::All, "tools/list", json!({})).await;
    assert_eq!(
        list,
        r#"{"tools":[{ "name":"up__do_it_94431f49" ,"x-future":1.0, "_meta":{"ui":{"resourceUri":"ui://up/board","k":[ ]}}}]}"#
    );
    assert_eq!(bench.tools(Selector::Toolset("helpers".into()), Role::Operator).await, ["up__do_it_94431f49"]);
    assert!(bench.tools(Selector::All, Role::Viewer).await.is_empty());
}

#[tokio::test]
async fn calls_go_under_their_own_names_and_links_come_back_under_the_aggregates() {
    let bench = Bench::empty();
    let up = Foreign::join(&bench, "up");
    up.answers(
        ResultType::Complete,
        r#"{"content":[ {"type":"resource_link","uri":"file:///a", "n":1e400},{"type":"resource","resource":{"uri":"ui://x","text":"\u00e9"}},{"type":"text","text":"uri"}],"z":1.0}"#,
    );
    let call = json!({ "name": "up__do_it_94431f49", "arguments": { "name": "up__do_it_94431f49" } });
    let answer = raw(&bench, Selector::All, "tools/call", call).await;
    assert_eq!(up.heard(), r#"tools/call {"name":"do.it","arguments":{"name":"up__do_it_94431f49"}}"#);
    assert_eq!(
        answer,
        r#"{"content":[{"type":"resource_link","uri":"up+file:///a", "n":1e400},{"type":"resource","resource":{"uri":"ui://up/x","text":"\u00e9"}},{"type":"text","text":"uri"}],"z":1.0}"#
    );
    let own = json!({ "name": "do.it", "arguments": {} });
    let alone = raw(&bench, Selector::One("up".into()), "tools/call", own).await;
    assert!(alone.contains(r#""uri":"file:///a""#), "seen alone, everything is its own: {alone}");
    raw(&bench, Selector::All, "tools/call", json!({ "name": "up__held", "arguments": {} })).await;
    assert!(up.heard().starts_with(r#"tools/call {"name":"held""#), "the part itself refuses what is held");
}

#[tokio::test]
async fn resources_and_prompts_come_back_under_the_aggregates_addresses() {
    let bench = Bench::empty();
    let up = Foreign::join(&bench, "up");
    up.answers(ResultType::Complete, r#"{"contents":[{"uri":"file:///a","blob":"AA=="}],"ttlMs":5}"#);
    let answer = raw(&bench, Selector::All, "resources/read", json!({ "uri": "up+file:///a" })).await;
    assert_eq!(up.heard(), r#"resources/read {"uri":"file:///a"}"#);
    assert_eq!(answer, r#"{"contents":[{"uri":"up+file:///a","blob":"AA=="}],"ttlMs":5}"#);
    up.answers(
        ResultType::Complete,
        r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x:y"}}},{"content":"odd"}]}"#,
    );
    let answer = raw(&bench, Selector::All, "prompts/get", json!({ "name": "up__p__q" })).await;
    assert_eq!(up.heard(), r#"prompts/get {"name":"p__q"}"#);
    assert!(answer.contains(r#""uri":"up+x:y""#), "{answer}");
}

#[tokio::test]
async fn a_task_of_an_upstream_is_found_again() {
    let bench = Bench::empty();
    let up = Foreign::join(&bench, "up");
    up.answers(ResultType::Task, r#"{"taskId":"7~x","status":"working"}"#);
    let call = json!({ "name": "up__do_it_94431f49", "arguments": {} });
    assert_eq!(raw(&bench, Selector::All, "tools/call", call).await, r#"{"taskId":"up~7~x","status":"working"}"#);
    let answer = raw(&bench, Selector::All, "tasks/get", json!({ "taskId": "up~7~x" })).await;
    assert_eq!(up.heard(), r#"tasks/get {"taskId":"7~x"}"#);
    assert_eq!(answer, r#"{"taskId":"up~7~x","status":"working"}"#);
    let handler = bench.handler(Selector::All);
    let error = request(&*handler, "tasks/get", json!({ "taskId": "task_1" }), ctx(Role::Viewer)).await.unwrap_err();
    assert_eq!(error.code, mcp::error::codes::METHOD_NOT_FOUND, "this fleet keeps no tasks");
}

#[tokio::test]
async fn names_of_the_fleet_are_not_given_away() {
    let bench = Bench::full();
    for (name, want) in [
        ("utilities", "already_exists"),
        ("execution", "already_exists"),
        ("zebra", "already_exists"),
        ("Up", "invalid_argument"),
        ("a__b", "invalid_argument"),
    ] {
        assert_eq!(bench.gateway.add_part(Foreign::named(name)).unwrap_err().code.as_str(), want, "{name}");
    }
}

#[tokio::test]
async fn a_changed_list_shows_at_once() {
    let bench = Bench::empty();
    let up = Foreign::join(&bench, "up");
    let mut heard = bench.handler(Selector::All).changes();
    up.tools.lock().push(("new", None));
    up.changes.send(Change::Tools).unwrap();
    assert_eq!(heard.recv().await.unwrap(), Change::Tools);
    assert_eq!(bench.tools(Selector::All, Role::Admin).await, ["up__do_it_94431f49", "up__new"]);
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_fit_together() {
    let bench = Bench::full();
    let up = Foreign::named("up");
    let names: Vec<&'static str> = (0..250).map(|n| &*Box::leak(format!("t{n:03}").into_boxed_str())).collect();
    *up.tools.lock() = names.iter().map(|name| (*name, None)).collect();
    bench.gateway.add_part(up).unwrap();
    let (mut pages, mut all, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let params = cursor.map_or(json!({}), |cursor: String| json!({ "cursor": cursor }));
        let page = bench.ask(Selector::All, Role::Admin, "tools/list", params).await.unwrap();
        let tools = page["tools"].as_array().unwrap();
        pages.push(tools.len());
        all.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        cursor = page["nextCursor"].as_str().map(ToOwned::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, [100, 100, 59]);
    assert_eq!((all[0].as_str(), all[9].as_str(), all[258].as_str()), ("utilities__echo", "up__t000", "up__t249"));
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 259);
    let wrong = bench.ask(Selector::All, Role::Admin, "tools/list", json!({ "cursor": "x" })).await.unwrap_err();
    assert_eq!(wrong.message, "unknown cursor");
}
