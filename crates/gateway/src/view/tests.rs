use expect_test::expect;
use kernel::{Code, Role};
use mcp::toolbox::Router;
use serde_json::{Value, json};

use super::*;
use crate::gateway::Config;
use crate::testing::{Bench, ctx, request};

#[tokio::test]
async fn tools_of_all_parts_in_the_catalogs_order() {
    let bench = Bench::full();
    let names = bench.tools(Selector::All, Role::Admin).await;
    let want = ["utilities", "logging", "zebra"]
        .iter()
        .flat_map(|part| ["echo", "reset", "trust"].map(|tool| format!("{part}__{tool}")))
        .collect::<Vec<_>>();
    assert_eq!(names, want);
}

#[tokio::test]
async fn a_viewer_sees_no_tool_that_operates_and_cannot_call_one() {
    let bench = Bench::full();
    let names = bench.tools(Selector::All, Role::Viewer).await;
    assert_eq!(names, ["utilities__echo", "logging__echo", "zebra__echo"]);
    let call = json!({ "name": "utilities__reset", "arguments": {} });
    let answer = bench.ask(Selector::All, Role::Viewer, "tools/call", call).await.unwrap();
    expect![[r#"
        {"isError":true,"code":"permission_denied"}"#]]
    .assert_eq(&json!({ "isError": answer["isError"], "code": answer["_meta"]["flotilla/error"]["code"] }).to_string());
    assert_eq!(bench.trail().await, ["utilities.reset permission_denied"]);
}

#[tokio::test]
async fn a_call_reaches_its_server_under_every_view() {
    let config = Config { toolsets: [("logs".to_owned(), vec!["log*__*".to_owned()])].into() };
    let bench = Bench::with(config);
    bench.add(0);
    bench.add(1);
    for (selector, name) in [
        (Selector::All, "logging__echo"),
        (Selector::One("logging".into()), "echo"),
        (Selector::Toolset("logs".into()), "logging__echo"),
        (Selector::Toolset("operations".into()), "logging__echo"),
    ] {
        let call = json!({ "name": name, "arguments": { "text": "hi" } });
        let answer = bench.ask(selector, Role::Viewer, "tools/call", call).await.unwrap();
        assert_eq!(answer["structuredContent"], json!({ "from": "logging", "text": "hi" }));
    }
    let call = json!({ "name": "utilities__echo", "arguments": { "text": "hi" } });
    let error = bench.ask(Selector::Toolset("logs".into()), Role::Viewer, "tools/call", call).await.unwrap_err();
    expect!["unknown tool: utilities__echo (-32602)"].assert_eq(&error.to_string());
}

#[tokio::test]
async fn a_slip_in_a_name_is_told() {
    let bench = Bench::full();
    let call = json!({ "name": "utilities__ecko", "arguments": {} });
    let error = bench.ask(Selector::All, Role::Viewer, "tools/call", call).await.unwrap_err();
    expect!["unknown tool: utilities__ecko; did you mean `utilities__echo`? (-32602)"].assert_eq(&error.to_string());
    assert_eq!(error.data.unwrap()["phase"], "find");
    for (selector, want) in [
        (Selector::One("loging".into()), expect!["not_found: no server `loging` (did you mean `logging`?)"]),
        (Selector::Toolset("chian".into()), expect!["not_found: no toolset `chian` (did you mean `chain`?)"]),
    ] {
        want.assert_eq(&bench.gateway.handler(selector).err().unwrap().to_string());
    }
}

#[tokio::test]
async fn resources_keep_one_address_each() {
    let bench = Bench::full();
    let uris = bench.names(Selector::All, Role::Viewer, "resources/list", "resources", "uri").await;
    expect![[r#"
        docs://utilities
        box://utilities/1
        utilities+loose://x
        docs://logging
        box://logging/1
        logging+loose://x
        docs://zebra
        box://zebra/1
        zebra+loose://x"#]]
    .assert_eq(&uris.join("\n"));
    for (uri, text) in
        [("box://logging/9", "logging"), ("zebra+loose://x", "zebra"), ("utilities+loose://x", "utilities")]
    {
        let answer = bench.ask(Selector::All, Role::Viewer, "resources/read", json!({ "uri": uri })).await.unwrap();
        assert_eq!(answer["contents"][0]["text"], text);
    }
    for uri in ["loose://x", "box://nobody/1", "box://logging", "x"] {
        let error = bench.ask(Selector::All, Role::Viewer, "resources/read", json!({ "uri": uri })).await.unwrap_err();
        assert_eq!(error.message, "resource not found", "{uri}");
    }
    let templates =
        bench.names(Selector::All, Role::Viewer, "resources/templates/list", "resourceTemplates", "uriTemplate").await;
    assert_eq!(templates, ["box://utilities/{id}", "box://logging/{id}", "box://zebra/{id}"]);
}

#[tokio::test]
async fn prompts_and_completions_find_their_server() {
    let bench = Bench::full();
    let names = bench.names(Selector::All, Role::Viewer, "prompts/list", "prompts", "name").await;
    assert_eq!(names, ["utilities__greet", "logging__greet", "zebra__greet"]);
    let get = json!({ "name": "logging__greet", "arguments": { "who": "bob" } });
    let answer = bench.ask(Selector::All, Role::Viewer, "prompts/get", get).await.unwrap();
    assert_eq!(answer["messages"][0]["content"]["text"], "logging greets bob");
    for (reference, want) in [
        (json!({ "type": "ref/prompt", "name": "zebra__greet" }), "zebra:greet:who:b"),
        (json!({ "type": "ref/resource", "uri": "box://logging/{id}" }), "logging:box://logging/{id}:who:b"),
    ] {
        let params = json!({ "ref": reference, "argument": { "name": "who", "value": "b" } });
        let answer = bench.ask(Selector::All, Role::Viewer, "completion/complete", params).await.unwrap();
        assert_eq!(answer["completion"]["values"], json!([want]));
    }
}

#[tokio::test]
async fn who_joins_and_leaves_is_told_to_clients_and_to_the_bus() {
    let bench = Bench::empty();
    bench.add(0);
    let all = bench.handler(Selector::All);
    let one = bench.handler(Selector::One("utilities".into()));
    let (mut heard, mut heard_alone) = (all.changes(), one.changes());
    bench.add(1);
    assert_eq!(heard.recv().await.unwrap(), Change::Tools);
    assert!(bench.tools(Selector::All, Role::Viewer).await.contains(&"logging__echo".to_owned()));
    assert!(heard_alone.try_recv().is_err(), "another server's coming is none of its affair");
    bench.gateway.remove_local("utilities");
    assert_eq!(heard_alone.recv().await.unwrap(), Change::Tools);
    let error = request(&*one, "tools/list", json!({}), ctx(Role::Viewer)).await.unwrap_err();
    assert_eq!(error.data.unwrap()["code"], "unavailable");
    let mut events = Vec::new();
    while events.len() < 3 {
        events = bench.gateway.ports.bus.read("fleet", 0, 10).await.unwrap();
        tokio::task::yield_now().await;
    }
    let told: Vec<Value> = events.iter().map(|event| json!([event.kind, event.data["name"]])).collect();
    assert_eq!(
        json!(told),
        json!([["service.joined", "utilities"], ["service.joined", "logging"], ["service.left", "utilities"],])
    );
}

#[tokio::test]
async fn a_parts_own_changes_come_through() {
    let bench = Bench::full();
    let mut heard = bench.handler(Selector::All).changes();
    let mut heard_alone = bench.handler(Selector::One("zebra".into())).changes();
    bench.gateway.local("zebra").unwrap().announce(Change::Resource("loose://x".into()));
    assert_eq!(heard.recv().await.unwrap(), Change::Resource("zebra+loose://x".into()));
    assert_eq!(heard_alone.recv().await.unwrap(), Change::Resource("loose://x".into()));
}

#[tokio::test]
async fn a_process_that_does_not_know_the_others_says_of_none_that_its_tools_are_not() {
    let bench = Bench::of_one_process();
    bench.add(2);
    for (tool, expected) in [
        ("logging__echo", expect!["logging does not serve now"]),
        ("zebra__ecko", expect!["unknown tool: zebra__ecko; did you mean `zebra__echo`?"]),
        ("nobody__echo", expect!["unknown tool: nobody__echo"]),
    ] {
        let params = json!({ "name": tool, "arguments": {} });
        let error = bench.ask(Selector::All, Role::Admin, "tools/call", params).await.unwrap_err();
        expected.assert_eq(&error.message);
    }
    // What calls from inside the fleet tries again.
    let arguments = serde_json::value::to_raw_value(&json!({})).unwrap();
    let called = bench.gateway.call("logging", "echo", arguments, ctx(Role::Admin)).await;
    assert_eq!(called.err().map(|fault| fault.code), Some(Code::Unavailable));
}
