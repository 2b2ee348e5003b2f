//! Agents that are asked: on real servers, through the queue.

use std::time::Instant;

use kernel::queue::{NewTask, Queue, State, Task, TaskId};
use mcp::toolbox::{Router, structured};
use mcp::{Ctx, wire};
use serde_json::json;

use super::*;
use crate::execution::Execution;
use crate::monitoring::Monitoring;
use crate::testing::Bench;

/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(60);

async fn submit(bench: &Bench, task_type: &str, payload: Value, role: Role) -> TaskId {
    let task = NewTask::new(bench.agent.name(), task_type, payload, &Caller::new("ann", role));
    bench.world.queue.submit(vec![task]).await.unwrap()[0].id
}

async fn until(bench: &Bench, id: TaskId, wanted: impl Fn(&Task) -> bool) -> Task {
    let began = Instant::now();
    loop {
        let task = bench.world.queue.get(id).await.unwrap().unwrap();
        if wanted(&task) {
            return task;
        }
        assert!(began.elapsed() < LIMIT, "{task:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn ended(bench: &Bench, task_type: &str, payload: Value, role: Role) -> Task {
    let id = submit(bench, task_type, payload, role).await;
    until(bench, id, |task| task.state.is_ended()).await
}

/// A failed task in a line.
fn failure(task: &Task) -> String {
    let failure = task.failure.as_ref().unwrap();
    format!("{} {}: {}", task.state, failure.code, failure.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_within_the_rights_of_both_and_all_of_it_is_kept() {
    let bench = Bench::new::<Monitoring>(crate::monitoring::Config::default(), &["monitoring"]).await;
    bench.agent.offer().await.unwrap();
    bench.start();
    let done = ended(&bench, "summary", Value::Null, Role::Operator).await;
    assert_eq!(done.result, Some(json!({ "summary": "0 of 0 services serve" })));
    let runs = bench.runs().await;
    let run = runs.iter().find(|run| matches!(run.cause, Cause::Task { .. })).unwrap();
    assert_eq!((run.duty.as_str(), run.standing, run.input.as_deref()), ("summary", RunStanding::Done, Some("null")));
    assert_eq!(run.cause, Cause::Task { id: done.id, attempt: 1, caller: "ann".into(), role: Role::Operator });
    let calls: Vec<_> = run.calls.iter().map(|call| format!("{} {:?}", call.tool, call.outcome)).collect();
    assert_eq!(calls, [r#"health Some("ok")"#, r#"targets Some("ok")"#]);
    assert_eq!(run.outcome, r#"{"summary":"0 of 0 services serve"}"#);
    // Who was asked looks like anybody else: it is recorded.
    let trail = bench.trail().await;
    assert!(trail.contains(&"agent:monitoring monitoring.targets ok".to_owned()), "{trail:?}");

    let refused = ended(&bench, "summary", json!({}), Role::Viewer).await;
    assert_eq!(
        failure(&refused),
        "dead permission_denied: role viewer may not ask agent:monitoring for summary (a task is done with no more rights than its submitter has)"
    );
    let unfit = ended(&bench, "summary", json!({ "more": 1 }), Role::Admin).await;
    assert!(
        failure(&unfit).starts_with("dead invalid_argument: payload.more of summary: unknown field `more`"),
        "{unfit:?}"
    );
    let offer = Offers::new(bench.world.store.clone(), bench.world.clock.clone()).need("monitoring").await.unwrap();
    assert_eq!((offer.types.len(), offer.any), (1, false));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_tool_can_be_called_but_not_with_more_rights_than_its_submitter_has() {
    let bench = Bench::new::<Execution>(crate::execution::Config::default(), &["coordination", "production"]).await;
    bench.start();
    let job = |tool: &str, arguments: Value| {
        let (server, tool) = tool.split_once('.').unwrap();
        json!({ "server": server, "tool": tool, "arguments": arguments })
    };
    let publish = job("coordination.publish", json!({ "topic": "t", "kind": "k", "data": 1 }));
    let done = ended(&bench, "run_job", publish, Role::Operator).await;
    assert_eq!((done.state, done.result.unwrap()["seq"].as_u64()), (State::Done, Some(1)));
    // The agent may trade, and an operator may not: nor may the agent for an operator.
    let start = || job("production.start_strategy", json!({ "name": "flash-arbitrage" }));
    let refused = ended(&bench, "run_job", start(), Role::Operator).await;
    assert_eq!(
        failure(&refused),
        "dead permission_denied: production.start_strategy: `agent:execution` may not use production.start_strategy for role operator (a task is done with no more rights than its submitter has)"
    );
    let refused = ended(&bench, "execute_opportunity", json!({ "id": "x" }), Role::Operator).await;
    assert!(failure(&refused).starts_with("dead permission_denied: role operator may not ask"), "{refused:?}");
    let unknown = ended(&bench, "run_job", job("nobody.at_all", json!({})), Role::Operator).await;
    assert_eq!(unknown.state, State::Dead, "a job is tried once: {unknown:?}");
    bench.stop().await;
}

async fn define(bench: &Bench, rest: &str) {
    let text = format!("document: {{ dsl: '1.0.3', namespace: test, name: tried, version: '0.1.0' }}\n{rest}");
    let ctx = Ctx::internal(Caller::new("ann", Role::Operator), kernel::Trace::root());
    let arguments = wire::raw(&json!({ "definition": text }));
    let reply = bench.servers.call("orchestration", "define_workflow", arguments, ctx).await.unwrap();
    structured(&reply).unwrap();
}

async fn run_status(bench: &Bench, run: &str) -> Value {
    let ctx = Ctx::internal(Caller::new("ann", Role::Operator), kernel::Trace::root());
    let reply = bench.servers.call("orchestration", "status", wire::raw(&json!({ "run": run })), ctx).await.unwrap();
    serde_json::from_str(structured(&reply).unwrap().get()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_followed_to_its_end_and_ends_with_its_task() {
    let bench = Bench::new::<Execution>(crate::execution::Config::default(), &["orchestration"]).await;
    bench.start();
    define(&bench, "do:\n- s: { set: { n: '${ .n + 1 }' } }").await;
    let done =
        ended(&bench, "run_workflow", json!({ "workflow": "test/tried", "input": { "n": 1 } }), Role::Operator).await;
    let result = done.result.unwrap();
    assert_eq!((&result["status"], &result["output"]), (&json!("completed"), &json!({ "n": 2 })));
    assert_eq!(result["started_by"], "agent:execution");

    let waits = json!({ "workflow": "test/waits" });
    let unknown = ended(&bench, "run_workflow", waits, Role::Operator).await;
    assert!(
        failure(&unknown).starts_with("dead not_found: orchestration.start: no workflow `test/waits`"),
        "{unknown:?}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_the_task_cancels_the_run_that_it_follows() {
    let bench = Bench::new::<Execution>(crate::execution::Config::default(), &["orchestration"]).await;
    bench.start();
    define(&bench, "do:\n- s: { listen: { to: { one: { with: { type: paid } } } } }").await;
    let id = submit(&bench, "run_workflow", json!({ "workflow": "test/tried" }), Role::Operator).await;
    let run = flow::workflow::Engine::run_id(&Caller::new("agent:execution", Role::Viewer), &id.to_string());
    until(&bench, id, |task| task.state == State::Running).await;
    let began = Instant::now();
    loop {
        let ctx = Ctx::internal(Caller::new("ann", Role::Operator), kernel::Trace::root());
        let asked = wire::raw(&json!({ "run": run }));
        let reply = bench.servers.call("orchestration", "status", asked, ctx).await.unwrap();
        if structured(&reply).is_ok_and(|status| status.get().contains("waiting")) {
            break;
        }
        assert!(began.elapsed() < LIMIT, "the run does not wait");
        sleep(Duration::from_millis(10)).await;
    }
    bench.world.queue.cancel(id).await.unwrap();
    until(&bench, id, |task| task.state == State::Cancelled).await;
    let began = Instant::now();
    while run_status(&bench, &run).await["status"] != "cancelled" {
        assert!(began.elapsed() < LIMIT, "the run goes on");
        sleep(Duration::from_millis(10)).await;
    }
    bench.stop().await;
}
