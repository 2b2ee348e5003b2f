use std::collections::BTreeMap;

use expect_test::expect;
use kernel::Role;
use kernel::fake::FakeFleet;
use serde_json::{Value, json};

use crate::selector::Selector;
use crate::testing::Bench;

fn bench() -> Bench {
    let bench = Bench::full();
    bench.gateway.add_coordinator();
    bench.world.fleet.set(FakeFleet::server("utilities", "http://127.0.0.1:4017", bench.world.clock.now_ms()));
    bench
}

async fn call(bench: &Bench, role: Role, tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    let one = Selector::One("master-coordinator".into());
    let body = bench.ask(one, role, "tools/call", params).await.unwrap();
    if body["isError"] == true { body["content"][0]["text"].clone() } else { body["structuredContent"].clone() }
}

#[tokio::test]
async fn search_mode_has_three_tools_that_reach_all_others() {
    let bench = bench();
    assert_eq!(bench.tools(Selector::Search, Role::Viewer).await, ["call_tool", "describe_tool", "find_tools"]);
    let found = bench
        .ask(
            Selector::Search,
            Role::Viewer,
            "tools/call",
            json!({ "name": "find_tools", "arguments": { "query": "give text back", "server": "zebra" } }),
        )
        .await
        .unwrap();
    expect![[
        r#"{"tools":[{"name":"zebra__echo","description":"Gives text back.","parameters":"text: string"}],"total":1}"#
    ]]
    .assert_eq(&found["structuredContent"].to_string());
    let described = bench
        .ask(
            Selector::Search,
            Role::Viewer,
            "tools/call",
            json!({ "name": "describe_tool", "arguments": { "name": "zebra__echo" } }),
        )
        .await
        .unwrap();
    assert_eq!(described["structuredContent"]["definition"]["inputSchema"]["required"], json!(["text"]));
    let wrapped = json!({ "name": "call_tool", "arguments": { "name": "zebra__echo", "arguments": { "text": "hi" } } });
    let answer = bench.ask(Selector::Search, Role::Viewer, "tools/call", wrapped).await.unwrap();
    assert_eq!(answer["structuredContent"], json!({ "from": "zebra", "text": "hi" }));
    assert_eq!(bench.trail().await.last().unwrap(), "zebra.echo ok", "the call is the inner one, and recorded once");
}

#[tokio::test]
async fn call_tool_keeps_the_callers_role() {
    let bench = bench();
    let wrapped = json!({ "name": "call_tool", "arguments": { "name": "zebra__reset" } });
    let answer = bench.ask(Selector::Search, Role::Viewer, "tools/call", wrapped).await.unwrap();
    assert_eq!(answer["_meta"]["flotilla/error"]["code"], "permission_denied");
    let itself = json!({ "name": "call_tool", "arguments": { "name": "master-coordinator__call_tool" } });
    let error = bench.ask(Selector::Search, Role::Admin, "tools/call", itself).await.unwrap_err();
    assert_eq!(error.message, "call_tool cannot call itself");
    let found = call(&bench, Role::Viewer, "find_tools", json!({ "query": "reset" })).await;
    assert_eq!(found["total"], 0, "{found}");
    let missing = call(&bench, Role::Viewer, "describe_tool", json!({ "name": "zebra__reset" })).await;
    expect!["not_found: no tool `zebra__reset` (did you mean `zebra__echo`?)"].assert_eq(missing.as_str().unwrap());
}

#[tokio::test]
async fn status_counts_what_is_there_and_what_is_missing() {
    let bench = bench();
    let status = call(&bench, Role::Viewer, "system_status", json!({})).await;
    assert_eq!(status["servers"], json!({ "total": 4, "healthy": 4, "degraded": 0, "changing": 0, "down": 0 }));
    let parts: BTreeMap<String, Value> = serde_json::from_value(status["infrastructure"].clone()).unwrap();
    let seen: Vec<_> = parts.iter().map(|(name, part)| format!("{name} {}", part["status"])).collect();
    expect![[r#"["audit \"healthy\"", "bus \"healthy\"", "chain \"degraded\"", "logs \"healthy\"", "queue \"healthy\"", "registry \"healthy\"", "store \"healthy\""]"#]]
        .assert_eq(&format!("{seen:?}"));
    assert_eq!(status["status"], "healthy", "nothing here stands on a chain");
    bench.gateway.remove_local("logging");
    let status = call(&bench, Role::Viewer, "system_status", json!({})).await;
    assert_eq!(status["status"], "degraded");
    assert_eq!(status["servers"]["down"], 1, "what should run and does not is down, not gone");
    let rows = call(&bench, Role::Viewer, "list_services", json!({ "status": "down" })).await;
    expect![[r#"{"services":[{"name":"logging","kind":"server","about":"log intake, search, tail, patterns, retention","port":4020,"status":"down","instances":0,"uptime_seconds":0,"restarts":0,"tools":[]}]}"#]]
        .assert_eq(&rows.to_string());
}

#[tokio::test]
async fn a_service_tells_its_copies_and_a_slip_is_told() {
    let bench = bench();
    bench.world.clock.advance_ms(5_000);
    let detail = call(&bench, Role::Viewer, "service_status", json!({ "service": "utilities" })).await;
    assert_eq!(detail["copies"][0]["url"], "http://127.0.0.1:4017");
    assert_eq!((&detail["uptime_seconds"], &detail["instances"]), (&json!(5), &json!(1)));
    assert_eq!(detail["tools"], json!(["echo", "reset", "trust"]));
    let slip = call(&bench, Role::Viewer, "service_status", json!({ "service": "utilites" })).await;
    expect!["not_found: no service `utilites` (did you mean `utilities`?)"].assert_eq(slip.as_str().unwrap());
}

#[tokio::test]
async fn copies_are_restarted_and_scaled_by_the_supervisor() {
    let bench = bench();
    let restarted =
        call(&bench, Role::Operator, "restart_service", json!({ "service": "utilities", "reason": "test" })).await;
    assert_eq!(restarted["instances"][0]["restarts"], 1);
    let scaled = call(&bench, Role::Operator, "scale_service", json!({ "service": "utilities", "replicas": 3 })).await;
    assert_eq!(scaled["instances"].as_array().unwrap().len(), 3);
    for (arguments, want) in [
        (json!({ "service": "utilities", "replicas": 65 }), expect!["invalid_argument: replicas is 65 (0 to 64)"]),
        (
            json!({ "service": "nobody", "replicas": 1 }),
            expect!["not_found: no service `nobody` (one of master-coordinator, utilities, logging, zebra)"],
        ),
    ] {
        want.assert_eq(call(&bench, Role::Operator, "scale_service", arguments).await.as_str().unwrap());
    }
}

#[tokio::test]
async fn one_command_for_all_counts_both_ways() {
    let bench = bench();
    let answer = call(
        &bench,
        Role::Operator,
        "route_command",
        json!({ "target": ["servers"], "command": "echo", "args": ["hi"] }),
    )
    .await;
    assert_eq!((&answer["succeeded"], &answer["failed"]), (&json!(3), &json!(1)));
    let refused = call(&bench, Role::Viewer, "route_command", json!({ "target": "all", "command": "status" })).await;
    assert!(refused.as_str().unwrap().starts_with("permission_denied"), "{refused}");
}

#[tokio::test]
async fn events_are_read_by_cursor() {
    let bench = bench();
    let read = async |arguments: Value| call(&bench, Role::Viewer, "list_events", arguments).await;
    while read(json!({})).await["next_after"] != 4 {
        tokio::task::yield_now().await;
    }
    let events = read(json!({ "limit": 2, "kind": "service." })).await;
    assert_eq!(events["events"][1]["data"]["name"], "master-coordinator");
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
    let older = read(json!({ "limit": 2, "after": 0 })).await;
    assert_eq!((&older["events"][0]["seq"], &older["next_after"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn prompts_and_resources_show_the_fleet() {
    let bench = bench();
    let one = || Selector::One("master-coordinator".into());
    let get = json!({ "name": "find_a_tool", "arguments": { "job": "give text back" } });
    let prompt = bench.ask(one(), Role::Viewer, "prompts/get", get).await.unwrap();
    assert!(prompt["messages"][0]["content"]["text"].as_str().unwrap().contains("- utilities__echo\n"), "{prompt}");
    let get = json!({ "name": "why_unhealthy", "arguments": { "service": "utilities" } });
    let prompt = bench.ask(one(), Role::Viewer, "prompts/get", get).await.unwrap();
    assert!(prompt["messages"][0]["content"]["text"].as_str().unwrap().contains("\"status\": \"healthy\""));
    let read = json!({ "uri": "status://master-coordinator/services/zebra" });
    let answer = bench.ask(Selector::All, Role::Viewer, "resources/read", read).await.unwrap();
    let text: Value = serde_json::from_str(answer["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text["name"], "zebra");
    let params = json!({ "ref": { "type": "ref/prompt", "name": "why_unhealthy" }, "argument": { "name": "service", "value": "ut" } });
    let answer = bench.ask(one(), Role::Viewer, "completion/complete", params).await.unwrap();
    assert_eq!(answer["completion"]["values"], json!(["utilities"]));
}
