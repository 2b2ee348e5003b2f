//! Old names, old messages, old habits.

use expect_test::{Expect, expect};
use kernel::deprecations::{Deprecations, Surface};
use mcp::Revision;
use serde_json::json;

use super::*;
use crate::testing::{Bench, admin, operator, viewer};

#[tokio::test]
async fn aliases_are_added_listed_and_removed() {
    let bench = Bench::new::<Legacy>();
    bench.check("list_aliases", json!({"name": "mcp-logging"}), expect![[r#"{"aliases":[{"name":"mcp-logging","target":"logging","note":"the original container's name","by":"built in","since_ms":0}]}"#]]).await;
    let built_in = bench.call(&viewer("eve"), LIST_ALIASES, ListAliasesRequest::default()).await.unwrap().aliases;
    assert_eq!(built_in.iter().filter(|alias| alias.name.starts_with("mcp-")).count(), 21);
    let add = json!({"name": "utilities__keccak", "target": "utilities__keccak256", "note": "renamed in 2.0"});
    bench.check_as(&operator("ann"), "add_alias", add.clone(), expect!["permission_denied: role operator may not use legacy.add_alias (needs a key with role admin: `flotilla token create NAME --role admin`)"]).await;
    bench.check("add_alias", add.clone(), expect![[r#"{"name":"utilities__keccak","target":"utilities__keccak256","note":"renamed in 2.0","by":"root","since_ms":1794729600000}"#]]).await;
    bench.check("add_alias", add, expect![[r#"{"name":"utilities__keccak","target":"utilities__keccak256","note":"renamed in 2.0","by":"root","since_ms":1794729600000}"#]]).await;
    bench.check("list_aliases", json!({"added_only": true}), expect![[r#"{"aliases":[{"name":"utilities__keccak","target":"utilities__keccak256","note":"renamed in 2.0","by":"root","since_ms":1794729600000}]}"#]]).await;
    bench.check("add_alias", json!({"name": "a", "target": "b__c"}), expect!["invalid_argument: `a` and `b__c` are not of one kind (a service for a service, service__tool for service__tool)"]).await;
    bench
        .check(
            "add_alias",
            json!({"name": "logging", "target": "x"}),
            expect!["invalid_argument: `logging` is a service's name (an alias is an old name)"],
        )
        .await;
    bench.check("add_alias", json!({"name": "x", "target": "x"}), expect!["invalid_argument: `x` would lead back to itself (remove_alias the other one first, or give the newest name as the target)"]).await;
    bench.check("remove_alias", json!({"name": "utilities__keccak"}), expect![[r#"{"name":"utilities__keccak","target":"utilities__keccak256","note":"renamed in 2.0","by":"root","since_ms":1794729600000}"#]]).await;
    bench
        .check(
            "remove_alias",
            json!({"name": "utilities__keccak"}),
            expect!["not_found: no alias `utilities__keccak` (list_aliases names them)"],
        )
        .await;
    bench
        .check(
            "remove_alias",
            json!({"name": "mcp-ui"}),
            expect!["unsupported: the alias `mcp-ui` is built in (add_alias with this name replaces it)"],
        )
        .await;
}

/// What is understood, each step as `to method name: params`, and why.
async fn check(message: Value, want: Expect) {
    let bench = Bench::new::<Legacy>();
    let request = TranslateRequest { message, server: None };
    let answer = match bench.call(&viewer("eve"), TRANSLATE, request).await {
        Ok(answer) => answer,
        Err(fault) => return want.assert_eq(&fault.to_string()),
    };
    let mut text = format!("{}\n", answer.understood_as);
    for step in answer.steps {
        let mut params = step.body["params"].clone();
        let meta = params.as_object_mut().and_then(|params| params.remove("_meta")).unwrap_or_default();
        assert_eq!(step.headers["Mcp-Method"], step.body["method"].as_str().unwrap(), "headers and body must agree");
        assert_eq!(step.headers["MCP-Protocol-Version"], Revision::CURRENT.as_str());
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], Revision::CURRENT.as_str());
        assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
        let name = step.headers.get("Mcp-Name").map_or("-", String::as_str);
        text.push_str(&format!("{} {} {name}: {params}\n", step.to, step.body["method"]));
    }
    for line in answer.explanation {
        text.push_str(&format!("- {line}\n"));
    }
    want.assert_eq(&text);
}

#[tokio::test]
async fn v1_commands() {
    check(json!({"command": "status"}), expect![[r#"
        v1-execute
        POST /mcp "tools/call" master-coordinator__system_status: {"name":"master-coordinator__system_status","arguments":{}}
        - POST /execute is the v1 form: commands are tools now, called by tools/call on POST /mcp
        - `master-coordinator__status` is called `master-coordinator__system_status` today
        - whether `master-coordinator__system_status` takes these arguments, describe_tool of the coordinator says
        - on the coordinator's port a tool is called server__tool; on a server's own port by its name alone
    "#]]).await;
    check(json!({"command": "getBlock", "args": {"number": 5}, "server": "mcp-blockchain-integration"}), expect![[r#"
        v1-execute
        POST /mcp "tools/call" blockchain-integration__get_block: {"name":"blockchain-integration__get_block","arguments":{"number":5}}
        - POST /execute is the v1 form: commands are tools now, called by tools/call on POST /mcp
        - `mcp-blockchain-integration__get_block` is called `blockchain-integration__get_block` today
        - whether `blockchain-integration__get_block` takes these arguments, describe_tool of the coordinator says
        - on the coordinator's port a tool is called server__tool; on a server's own port by its name alone
    "#]])
        .await;
    check(
        json!({"command": "uuid", "args": ["count=3", "now"], "target": "utilities"}),
        expect![[r#"
        v1-execute
        POST /mcp "tools/call" utilities__uuid: {"name":"utilities__uuid","arguments":{"count":3}}
        - POST /execute is the v1 form: commands are tools now, called by tools/call on POST /mcp
        - whether `utilities__uuid` takes these arguments, describe_tool of the coordinator says
        - arguments have names today: give `now` under the names that the tool's inputSchema has
        - on the coordinator's port a tool is called server__tool; on a server's own port by its name alone
    "#]],
    )
    .await;
    check(json!({"command": "run", "args": "a b=c", "server": "no_such"}), expect![[r#"
        v1-execute
        POST /mcp "tools/call" no-such__run: {"name":"no-such__run","arguments":{"b":"c"}}
        - POST /execute is the v1 form: commands are tools now, called by tools/call on POST /mcp
        - no server `no-such` is built in this version: list_services and list_upstreams of the coordinator name those there are
        - arguments have names today: give `a` under the names that the tool's inputSchema has
        - on the coordinator's port a tool is called server__tool; on a server's own port by its name alone
    "#]]).await;
    check(
        json!({"command": 5}),
        expect![[r#"invalid_argument: `command` is not text ({"command": "system_status", "args": {}})"#]],
    )
    .await;
    check(
        json!({"command": " "}),
        expect![[r#"invalid_argument: `command` is not text ({"command": "system_status", "args": {}})"#]],
    )
    .await;
}

#[tokio::test]
async fn chat_commands() {
    check("!status".into(), expect![[r#"
        chat-command
        POST /mcp "tools/call" master-coordinator__system_status: {"name":"master-coordinator__system_status","arguments":{}}
        - chat commands go on; a program calls the tool behind them
        - `master-coordinator__status` is called `master-coordinator__system_status` today
        - whether `master-coordinator__system_status` takes these arguments, describe_tool of the coordinator says
    "#]]).await;
    check("!execute all status".into(), expect![[r#"
        chat-command
        POST /mcp "tools/call" master-coordinator__route_command: {"name":"master-coordinator__route_command","arguments":{"target":"all","command":"status"}}
        - chat commands go on; a program calls the tool behind them
        - `master-coordinator__execute` is called `master-coordinator__route_command` today
        - whether `master-coordinator__route_command` takes these arguments, describe_tool of the coordinator says
    "#]]).await;
    check("!restart server execution".into(), expect![[r#"
        chat-command
        POST /mcp "tools/call" master-coordinator__restart_service: {"name":"master-coordinator__restart_service","arguments":{"service":"execution","kind":"server"}}
        - chat commands go on; a program calls the tool behind them
        - `master-coordinator__restart` is called `master-coordinator__restart_service` today
        - whether `master-coordinator__restart_service` takes these arguments, describe_tool of the coordinator says
    "#]]).await;
    check("!logs mcp-execution 50".into(), expect![[r#"
        chat-command
        POST /mcp "tools/call" logging__search: {"name":"logging__search","arguments":{"service":"execution","limit":50}}
        - chat commands go on; a program calls the tool behind them
        - `mcp-execution` is called `execution` today
        - `master-coordinator__logs` is called `logging__search` today
        - whether `logging__search` takes these arguments, describe_tool of the coordinator says
    "#]]).await;
    check("/alert warning".into(), expect![[r#"
        chat-command
        POST /mcp "tools/call" monitoring__test_alert: {"name":"monitoring__test_alert","arguments":{"severity":"warning"}}
        - chat commands go on; a program calls the tool behind them
        - `master-coordinator__alert` is called `monitoring__test_alert` today
        - whether `monitoring__test_alert` takes these arguments, describe_tool of the coordinator says
    "#]]).await;
    check("!logs".into(), expect!["invalid_argument: the command lacks a word (!logs <service> [lines])"]).await;
    check("!dance".into(), expect!["invalid_argument: `!dance` is no command (!status, !servers, !agents, !execute, !restart, !logs, !metrics or !alert)"]).await;
    check("".into(), expect!["invalid_argument: `` is no command (!status, !servers, !agents, !execute, !restart, !logs, !metrics or !alert)"]).await;
}

#[tokio::test]
async fn messages_of_older_revisions() {
    let message = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let info = json!({"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "x", "version": "1"}});
    check(
        message("initialize", info),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "server/discover" -: {}
        - there is no handshake and no session: what initialize said goes into _meta of every request
        - server/discover says what the server can do; it may be left out
        - do not send Mcp-Session-Id
    "#]],
    )
    .await;
    check(
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        expect![[r#"
        mcp-handshake-era
        - there is no handshake any more, so nothing follows it
    "#]],
    )
    .await;
    check(
        message("ping", json!({})),
        expect![[r#"
        mcp-handshake-era
        - ping was removed: GET /health/live says whether the server lives, any request whether it works
    "#]],
    )
    .await;
    check(
        message("logging/setLevel", json!({"level": "debug"})),
        expect![[r#"
        mcp-handshake-era
        - the level goes with each request that wants log messages: _meta["io.modelcontextprotocol/logLevel"] = "debug"
    "#]],
    )
    .await;
    check(
        message("resources/subscribe", json!({"uri": "logs://recent"})),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "subscriptions/listen" -: {"notifications":{"resourceSubscriptions":["logs://recent"]}}
        - one long request carries all notifications wanted: its stream starts with an acknowledgement and stays open
        - toolsListChanged, promptsListChanged and resourcesListChanged can be asked for in the same request
    "#]],
    )
    .await;
    check(
        message("resources/unsubscribe", json!({"uri": "logs://recent"})),
        expect![[r#"
        mcp-handshake-era
        - end the subscriptions/listen request that named the resource: close its stream
    "#]],
    )
    .await;
}

#[tokio::test]
async fn requests_that_are_still_there() {
    let message = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    check(
        message("tools/call", json!({"name": "mcp-utilities__uuid", "arguments": {"count": 1}})),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "tools/call" utilities__uuid: {"name":"utilities__uuid","arguments":{"count":1}}
        - every request names its revision and the client's capabilities in _meta
        - headers repeat what the body says, so that it can be routed without being read; they must agree
        - `mcp-utilities__uuid` is called `utilities__uuid` today
    "#]],
    )
    .await;
    check(
        message("tools/list", json!({"cursor": "100"})),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "tools/list" -: {"cursor":"100"}
        - every request names its revision and the client's capabilities in _meta
        - headers repeat what the body says, so that it can be routed without being read; they must agree
    "#]],
    )
    .await;
    check(
        message("resources/read", json!({"uri": "docs://utilities"})),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "resources/read" docs://utilities: {"uri":"docs://utilities"}
        - every request names its revision and the client's capabilities in _meta
        - headers repeat what the body says, so that it can be routed without being read; they must agree
    "#]],
    )
    .await;
    check(message("tasks/result", json!({"taskId": "t"})), expect![[r#"
        mcp-handshake-era
        - tasks are an extension: tasks/get with the taskId says how a task stands and, once it is over, its result; there is no list
    "#]]).await;
    check(
        message("tasks/get", json!({"taskId": "t"})),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "tasks/get" t: {"taskId":"t"}
        - every request names its revision and the client's capabilities in _meta
        - headers repeat what the body says, so that it can be routed without being read; they must agree
    "#]],
    )
    .await;
    check(message("elicitation/create", json!({})), expect![[r#"
        mcp-handshake-era
        - a server does not ask by requests of its own any more: its answer has resultType input_required with inputRequests; send the same request again with inputResponses and the requestState as it came
    "#]]).await;
    check(json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}}), expect![[r#"
        mcp-handshake-era
        - an answer to the server travels in the request that it asked about: send that request again with inputResponses under the key of the question (its result is the inputResponse) and the requestState as it came
    "#]]).await;
    check(message("tools/destroy", json!({})), expect!["invalid_argument: no revision has the method `tools/destroy` (one of tools/list, tools/call, prompts/list, prompts/get, resources/list, resources/templates/list, resources/read, completion/complete, or a method of an older revision)"]).await;
    check(
        message("tools/list", json!([1])),
        expect!["invalid_argument: params is not an object (MCP has named parameters only)"],
    )
    .await;
}

#[tokio::test]
async fn batches_texts_and_nonsense() {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    check(
        json!([call, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call]),
        expect![[r#"
        json-rpc-batch
        POST /mcp "tools/list" -: {}
        POST /mcp "tools/list" -: {}
        - batches existed in revision 2025-03-26 only: each message goes by itself
        - every request names its revision and the client's capabilities in _meta
        - headers repeat what the body says, so that it can be routed without being read; they must agree
        - there is no handshake any more, so nothing follows it
    "#]],
    )
    .await;
    check(
        call.to_string().into(),
        expect![[r#"
        mcp-handshake-era
        POST /mcp "tools/list" -: {}
        - every request names its revision and the client's capabilities in _meta
        - headers repeat what the body says, so that it can be routed without being read; they must agree
    "#]],
    )
    .await;
    check(json!([[]]), expect!["invalid_argument: a batch inside a batch (a list of messages)"]).await;
    check(json!(vec![call.clone(); 51]), expect!["too_large: a batch of 51 messages (at most 50)"]).await;
    check(json!(5), expect![[r#"invalid_argument: neither a v1 command, nor a chat command, nor a JSON-RPC message ({"command": …, "args": …}, "!status", or {"jsonrpc": "2.0", …})"#]]).await;
    check(json!({}), expect![[r#"invalid_argument: neither a v1 command, nor a chat command, nor a JSON-RPC message ({"command": …, "args": …}, "!status", or {"jsonrpc": "2.0", …})"#]]).await;
    check(
        json!({"command": "x".repeat(300_000)}),
        expect!["too_large: a message of 300014 bytes (shorten its arguments; their names suffice)"],
    )
    .await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": Revision::CURRENT.as_str(), "io.modelcontextprotocol/clientCapabilities": {}});
    check(
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}),
        expect![[r#"
        mcp-current
        POST /mcp "tools/list" -: {}
        - this is a message of 2026-07-28 already
    "#]],
    )
    .await;
}

#[tokio::test]
async fn deprecations_say_who_and_what_instead() {
    let bench = Bench::new::<Legacy>();
    let counters = Deprecations::new(bench.world.store.clone(), bench.world.clock.clone());
    counters.saw("ann", &Surface::V1Execute);
    counters.flush().await.unwrap();
    bench.world.clock.advance_ms(3 * 86_400_000);
    for surface in [
        Surface::HttpSse,
        Surface::Batch,
        Surface::Alias("mcp-logging".into()),
        Surface::Alias("gone".into()),
        Surface::Revision("2025-03-26".into()),
    ] {
        counters.saw("bob", &surface);
    }
    counters.flush().await.unwrap();
    let shown = async |arguments| {
        let answer: Value =
            serde_json::from_str(&bench.shown(&viewer("eve"), "deprecations", arguments).await).unwrap();
        let line =
            |one: &Value| format!("{} {} {} -> {}\n", one["surface"], one["caller"], one["count"], one["instead"]);
        answer["uses"].as_array().unwrap().iter().map(line).collect::<String>()
    };
    expect![[r#"
        "alias:gone" "bob" 1 -> "the alias is gone; ask list_aliases"
        "alias:mcp-logging" "bob" 1 -> "call it `logging`"
        "http+sse" "bob" 1 -> "Streamable HTTP: POST /mcp, revision 2026-07-28"
        "json-rpc-batch" "bob" 1 -> "one request a POST"
        "revision:2025-03-26" "bob" 1 -> "revision 2026-07-28; protocol_versions says what it demands"
        "v1-execute" "ann" 1 -> "tools/call on POST /mcp; translate shows the message"
    "#]]
    .assert_eq(&shown(json!({})).await);
    expect![[r#"
        "v1-execute" "ann" 1 -> "tools/call on POST /mcp; translate shows the message"
    "#]]
    .assert_eq(&shown(json!({"caller": "ann"})).await);
    expect![[r#"
        "alias:gone" "bob" 1 -> "the alias is gone; ask list_aliases"
        "alias:mcp-logging" "bob" 1 -> "call it `logging`"
    "#]]
    .assert_eq(&shown(json!({"surface": "alias:", "days": 1})).await);
    expect![""].assert_eq(&shown(json!({"caller": "ann", "days": 2})).await);
    bench.check("deprecations", json!({"days": 91}), expect!["invalid_argument: days is 91 (1 to 90)"]).await;
}

#[tokio::test]
async fn every_revision_is_told_of_once() {
    let bench = Bench::new::<Legacy>();
    let versions = bench.call(&admin(), PROTOCOL_VERSIONS, ProtocolVersionsRequest {}).await.unwrap().versions;
    let told: Vec<_> = versions.iter().map(|version| (version.revision.as_str(), version.status.as_str())).collect();
    let want = [
        ("2026-07-28", "current"),
        ("2025-11-25", "served"),
        ("2025-06-18", "served"),
        ("2025-03-26", "served"),
        ("2024-11-05", "deprecated"),
    ];
    assert_eq!(told, want);
    bench.check("protocol_versions", json!({"x": 1}), expect!["invalid_argument: arguments.x: unknown field `x`, there are no fields (the tool's inputSchema says what it takes)"]).await;
    assert_eq!(bench.service.health().await.status, kernel::health::Status::Healthy);
}
