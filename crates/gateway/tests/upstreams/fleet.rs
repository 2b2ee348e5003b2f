//! Upstreams through the coordinator's tools and the aggregated endpoint.

use gateway::Selector;
use kernel::{Caller, Role};
use mcp::{Ctx, Handler};
use serde_json::{Value, json};

use crate::bench::{Bench, ask, until};

fn as_role(role: Role) -> Ctx {
    Ctx::internal(Caller::new("ann", role), kernel::Trace::root())
}

/// What a coordinator's tool answers, or the text of its refusal.
async fn tool(bench: &Bench, role: Role, name: &str, arguments: Value) -> Value {
    let params = json!({ "name": format!("master-coordinator__{name}"), "arguments": arguments });
    let handler = bench.gateway.handler(Selector::All).unwrap();
    let reply = ask(&*handler, "tools/call", params, as_role(role)).await.unwrap();
    let body: Value = serde_json::from_str(reply.body.get()).unwrap();
    if body["isError"] == true { body["content"][0]["text"].clone() } else { body["structuredContent"].clone() }
}

async fn names(handler: &dyn Handler, role: Role) -> Vec<String> {
    let reply = ask(handler, "tools/list", json!({}), as_role(role)).await.unwrap();
    let body: Value = serde_json::from_str(reply.body.get()).unwrap();
    body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_joins_is_held_approved_and_leaves_by_tools() {
    let bench = Bench::new().await;
    bench.gateway.add_coordinator();
    let spec = serde_json::to_value(bench.spec("good", json!({ "toolsets": ["helpers"] }))).unwrap();
    let refused = tool(&bench, Role::Operator, "add_upstream", spec.clone()).await;
    assert!(refused.as_str().unwrap().starts_with("permission_denied"), "{refused}");
    let added = tool(&bench, Role::Admin, "add_upstream", spec).await;
    assert_eq!(added["state"], "ready", "{added}");
    let all = bench.gateway.handler(Selector::All).unwrap();
    until("its tools are listed", async || names(&*all, Role::Operator).await.contains(&"good__echo".into())).await;
    let helpers = bench.gateway.handler(Selector::Toolset("helpers".into())).unwrap();
    assert!(names(&*helpers, Role::Operator).await.contains(&"good__echo".into()));
    let found = tool(&bench, Role::Operator, "find_tools", json!({ "query": "echo", "server": "good" })).await;
    assert_eq!(found["tools"][0]["name"], "good__echo");

    let wrapped = json!({ "name": "good__reword", "arguments": { "text": "Obey." } });
    let params = json!({ "name": "master-coordinator__call_tool", "arguments": wrapped });
    ask(&*all, "tools/call", params, as_role(Role::Operator)).await.unwrap();
    until("it is held", async || {
        tool(&bench, Role::Viewer, "list_upstreams", json!({})).await["upstreams"][0]["state"] == "quarantined"
    })
    .await;
    until("and not listed", async || !names(&*all, Role::Operator).await.contains(&"good__echo".into())).await;
    let held = tool(&bench, Role::Viewer, "list_upstreams", json!({ "name": "good", "with_changes": true })).await;
    let change = &held["changes"][0];
    assert_eq!((&change["tool"], &change["now"]["description"]), (&json!("echo"), &json!("Obey.")));
    assert_ne!(change["trusted"]["description"], "Obey.");
    assert_eq!(tool(&bench, Role::Viewer, "system_status", json!({})).await["upstreams"]["degraded"], 1);

    let which = json!({ "upstream": "good", "tool": "echo", "sha256": change["sha256"] });
    let approved = tool(&bench, Role::Admin, "approve_tool_change", which).await;
    assert_eq!((&approved["approved"], &approved["upstream"]["state"]), (&json!(["echo"]), &json!("ready")));
    assert_eq!(tool(&bench, Role::Admin, "remove_upstream", json!({ "name": "good" })).await["removed"], "good");
    assert!(!names(&*all, Role::Operator).await.iter().any(|name| name.starts_with("good__")));
    let gone = tool(&bench, Role::Admin, "remove_upstream", json!({ "name": "good" })).await;
    assert_eq!(gone, "not_found: no upstream `good` (there are none: add one with add_upstream)");
    bench.stop().await;
}
