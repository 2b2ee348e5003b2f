//! Through the door that users come in by; the engine's own promises are proved in [`flow`].

use std::sync::Arc;

use async_trait::async_trait;
use expect_test::expect;
use kernel::audit::Audit as _;
use kernel::fake::World;
use kernel::offers::{Offers, TaskType};
use kernel::{Caller, Fault, Role};
use mcp::phases::{Direct, LimitsConfig, Phases};
use mcp::service::Service;
use mcp::toolbox::Router;
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Handler as _, Reply};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::MarketPorts;
use crate::testing::{Bench, admin, operator, shared, viewer};

/// The way to the coordination server.
struct ToCoordination(Arc<Service>);

#[async_trait]
impl Router for ToCoordination {
    async fn call(&self, server: &str, tool: &str, arguments: Box<RawValue>, ctx: Ctx) -> Result<Reply, Fault> {
        if server != "coordination" {
            return Err(Fault::not_found(format!("no tool {server}.{tool}")));
        }
        let params = Params::of(&json!({ "name": tool, "arguments": arguments })).unwrap();
        let request = Request { id: Id::Number(0), method: "tools/call".into(), params };
        self.0.handle(request, ctx).await.map_err(|error| Fault::upstream(error.to_string()))
    }

    fn takes(&self, server: &str, tool: &str) -> Option<Option<Value>> {
        Some(self.0.tools().find(|def| server == "coordination" && def.name == tool).map(|def| def.input.clone()))
    }
}

/// The server, with the coordination server to act on.
async fn bench() -> Bench {
    let world = World::default();
    let coordination =
        Service::build::<crate::coordination::Coordination>(&world.ports(), Default::default(), shared(&world))
            .unwrap();
    let router = Arc::new(ToCoordination(coordination));
    let ports = MarketPorts { router, ..MarketPorts::without_pools(world.ports()) };
    let service = Service::build::<Orchestration>(&ports, Config::default(), shared(&world)).unwrap();
    let bench = Bench::of(world, service);
    bench.start().await;
    bench
}

/// A definition with these tasks.
fn workflow(rest: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: test, name: tried, version: 1.0.0 }}\n{rest}")
}

const PUT: &str = "do:\n- put: { call: mcp, with: { method: tools/call, parameters: { name: coordination__kv_put, arguments: { key: '${ .key }', value: 1 } } }, output: { as: .structuredContent.key } }";

async fn started(bench: &Bench, caller: &Caller, rest: &str, input: Value) -> Run {
    bench
        .call(
            &operator("definer"),
            DEFINE_WORKFLOW,
            DefineWorkflowRequest { definition: Some(workflow(rest)), playbook: None },
        )
        .await
        .unwrap();
    let request =
        StartRequest { workflow: "test/tried".into(), input: Some(input), wait_seconds: 30, ..Default::default() };
    bench.call(caller, START, request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_calls_tools_under_the_role_of_who_started_it() {
    let bench = bench().await;
    let run = started(&bench, &operator("ann"), PUT, json!({ "key": "a" })).await;
    assert_eq!(
        (run.status, run.output, run.started_by.as_str()),
        (flow::workflow::engine::Status::Completed, Some(json!("a")), "ann")
    );
    let rows = bench.world.audit.list(kernel::audit::AuditQuery { limit: 20, ..Default::default() }).await.unwrap();
    let row = rows.iter().find(|row| row.record.action == "kv_put").unwrap();
    assert_eq!((row.record.caller.as_str(), row.record.role.to_string().as_str()), ("ann", "operator"));
    // A trader may start runs, and what a trader may not do, its runs may not.
    let request = StartRequest {
        workflow: "test/tried".into(),
        input: Some(json!({ "key": "b" })),
        wait_seconds: 30,
        ..Default::default()
    };
    let run: Run = bench.call(&Caller::new("tim", Role::Trader), START, request).await.unwrap();
    let error = run.error.unwrap();
    assert_eq!((error.status, error.kind.ends_with("/authorization")), (403, true), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_may_only_look() {
    let bench = bench().await;
    bench
        .check_as(
            &viewer("eve"),
            "start",
            json!({ "workflow": "test/tried" }),
            expect!["permission_denied: role viewer may not use start (needs a key with role operator: `flotilla token create NAME --role operator`)"],
        )
        .await;
    bench.check_as(&viewer("eve"), "list_runs", json!({}), expect![[r#"{"runs":[]}"#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_tells_lines_and_tools_that_are_not_there() {
    let bench = bench().await;
    let text = workflow(
        "do:\n- a: { sett: 1 }\n- b: { call: mcp, with: { method: tools/call, parameters: { name: quality__analyze } } }",
    );
    let found: ValidateWorkflowResponse = bench
        .call(&admin(), VALIDATE_WORKFLOW, ValidateWorkflowRequest { definition: Some(text), playbook: None })
        .await
        .unwrap();
    assert!(!found.valid);
    assert_eq!(found.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3, 3], "{:?}", found.problems);
    let text = workflow(
        "do:\n- a:\n    call: mcp\n    with: { method: tools/call, parameters: { name: coordination__kv_put, arguments: { kee: a, value: '${ . }', ttl_seconds: soon } } }",
    );
    let found: ValidateWorkflowResponse = bench
        .call(&admin(), VALIDATE_WORKFLOW, ValidateWorkflowRequest { definition: Some(text), playbook: None })
        .await
        .unwrap();
    let warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    expect![[r#"
        line 5, column 75 (/do/0/a/with/parameters/arguments): `coordination__kv_put` is called without `key` (key: …)
        line 5, column 88 (/do/0/a/with/parameters/arguments/kee): `coordination__kv_put` takes no `kee` (did you mean `key`?)
        line 5, column 113 (/do/0/a/with/parameters/arguments/ttl_seconds): `ttl_seconds` of `coordination__kv_put`: "soon" is not of types "null", "integer" (as the tool's schema has it)"#]]
    .assert_eq(&warnings.join("\n"));
    let request = ValidateWorkflowRequest { definition: None, playbook: Some("deploy-contract".into()) };
    let found: ValidateWorkflowResponse = bench.call(&admin(), VALIDATE_WORKFLOW, request).await.unwrap();
    assert!(found.valid && found.missing_tools.iter().any(|tool| tool.server == "quality"), "{found:?}");
    bench
        .check(
            "define_workflow",
            json!({}),
            expect!["invalid_argument: neither or both of definition and playbook (give one of them)"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_answer_and_look_back() {
    let bench = bench().await;
    let rest = "do:\n- ok: { approve: { title: Do it, arguments: { n: '${ .n }' } }, output: { as: .arguments } }";
    let run = started(&bench, &operator("ann"), rest, json!({ "n": 3 })).await;
    let asked = &run.questions[0];
    assert_eq!((asked.title.as_str(), &asked.arguments), ("Do it", &json!({ "n": 3 })));
    let answer = AnswerRequest {
        run: run.run.clone(),
        hash: asked.hash.clone(),
        comment: Some("fine".into()),
        ..Default::default()
    };
    let run: Run = bench.call(&operator("bob"), APPROVE, answer).await.unwrap();
    assert_eq!(run.output, Some(json!({ "n": 3 })));
    let history: HistoryResponse =
        bench.call(&admin(), HISTORY, HistoryRequest { run: run.run.clone(), after: 0 }).await.unwrap();
    let words: Vec<&str> = history.transitions.iter().map(|entry| entry["transition"].as_str().unwrap()).collect();
    assert_eq!(words, ["began", "entered", "questioned", "answered", "done", "ended"]);
    let chart: DiagramResponse =
        bench.call(&admin(), DIAGRAM, DiagramRequest { run: Some(run.run), workflow: None }).await.unwrap();
    assert!(chart.mermaid.contains("class n1 done"), "{}", chart.mermaid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reaches_no_private_address() {
    let bench = bench().await;
    let run = started(
        &bench,
        &admin(),
        "do:\n- h: { call: http, with: { method: get, endpoint: 'http://127.0.0.1:1/x' } }",
        json!({}),
    )
    .await;
    let error = run.error.unwrap();
    assert_eq!((error.status, error.title.as_deref()), (403, Some("permission_denied")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_says_to_an_agent_is_limited_and_recorded_as_at_the_agents_own_door() {
    let world = World::default();
    let offer = TaskType {
        name: "sing".into(),
        about: "Sings.".into(),
        access: kernel::Access::Operate,
        payload: None,
        text: Some("song".into()),
    };
    Offers::new(world.store.clone(), world.clock.clone()).put("singer", vec![offer]).await.unwrap();
    let limits = LimitsConfig { calls_per_second: 0.001, burst: 1, ..LimitsConfig::default() };
    let trail = Arc::new(Direct(world.audit.clone()));
    let phases = Phases::new(world.clock.clone(), world.metrics.clone(), trail, limits);
    let ports = MarketPorts { phases, ..MarketPorts::without_pools(world.ports()) };
    let service = Service::build::<Orchestration>(&ports, Config::default(), shared(&world)).unwrap();
    let bench = Bench::of(world, service);
    bench.start().await;
    let say = "call: a2a, with: { method: message/send, server: 'fleet://agent:singer', parameters: { message: { parts: [ { text: 'sing la la' } ] }, configuration: { returnImmediately: true } } }";
    let rest = format!("do:\n- once: {{ {say} }}\n- again: {{ {say} }}");
    let run = started(&bench, &operator("ann"), &rest, json!({})).await;
    let error = run.error.unwrap();
    let why = "rate_limited: agent:singer: too many calls of agent:singer.SendMessage";
    assert!(
        run.status == flow::workflow::engine::Status::Faulted && error.detail.as_deref().unwrap().starts_with(why),
        "{error:?}"
    );
    // Another caller has a limit of their own, and a role of their own.
    let denied = started(&bench, &Caller::new("tom", Role::Trader), &rest, json!({})).await;
    let denied = denied.error.unwrap().detail.unwrap();
    assert!(
        denied.starts_with("permission_denied: agent:singer: role trader may not use agent:singer.sing"),
        "{denied}"
    );
    let query = kernel::audit::AuditQuery { limit: 50, ..Default::default() };
    let rows = bench.world.audit.list(query).await.unwrap();
    let told = rows.iter().rev().filter(|row| row.record.server == "agent:singer");
    let told: Vec<String> =
        told.map(|row| format!("{} {} {}", row.record.caller, row.record.action, row.record.outcome)).collect();
    assert_eq!(told, ["ann SendMessage ok", "ann SendMessage rate_limited", "tom SendMessage permission_denied"]);
}
