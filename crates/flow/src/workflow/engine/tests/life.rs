//! What people do with runs: answers, signals, cancelling, trying again; sub-workflows, schedules, roles.

use std::sync::Arc;

use kernel::bus::{Bus as _, NewEvent};
use kernel::fake::World;
use kernel::{Caller, Code, Role};
use serde_json::{Value, json};

use super::{Fate, Process, Recorded, ann, begin, line, over, until};
use crate::workflow::engine::{Answer, NewRun, Status};

fn world() -> (World, Arc<Recorded>, Process) {
    let (world, outside) = (World::default(), Arc::new(Recorded::default()));
    let process = Process::start(&world, &outside, Fate::Lives);
    (world, outside, process)
}

const CALL: &str = "call: mcp, with: { method: tools/call, parameters: { name: s__a, arguments: '${ . }' } }";

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_takes_the_right_role_and_exactly_these_arguments() {
    let (world, outside, process) = world();
    let rest = format!(
        "do:\n- ok: {{ approve: {{ title: t, role: trader, others: true }}, output: {{ as: .arguments }} }}\n- a: {{ {CALL} }}"
    );
    let run = begin(&process.engine, &rest, json!({ "n": 1 })).await.unwrap();
    let head = until(&world, &process.engine, &run, |head| !head.questions.is_empty()).await;
    assert_eq!(head.status, Status::Waiting);
    let hash = head.questions[0].hash.clone();
    let answer = |hash: &str| Answer { run: run.clone(), step: None, hash: hash.into(), approved: true, comment: None };
    let code = |result: kernel::Result<String>| result.unwrap_err().code;
    let trader = Caller::new("tim", Role::Trader);
    assert_eq!(code(process.engine.answer(answer("00"), &trader).await), Code::Conflict);
    assert_eq!(
        code(process.engine.answer(answer(&hash), &Caller::new("op", Role::Operator)).await),
        Code::PermissionDenied
    );
    assert_eq!(
        code(process.engine.answer(answer(&hash), &Caller::new("ann", Role::Admin)).await),
        Code::PermissionDenied,
        "who started it"
    );
    let agent = Caller::new("agent:execution", Role::Agent("execution".into()));
    assert_eq!(code(process.engine.answer(answer(&hash), &agent).await), Code::PermissionDenied, "not a person");
    process.engine.answer(answer(&hash), &trader).await.unwrap();
    let head = until(&world, &process.engine, &run, over).await;
    assert!(line(&head).contains(r#""with":{"n":1}"#), "{}", line(&head));
    assert_eq!(*outside.callers.lock(), ["ann:operator"], "under the role of who started it, not of who approved");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_approval_is_an_error_that_can_be_caught() {
    let (world, _, process) = world();
    let rest = "do:\n- t: { try: [ { ok: { approve: { title: t } } } ], catch: { errors: { with: { status: 403 } }, do: [ { no: { set: { why: '${ $error.detail }' } } } ] } }";
    let run = begin(&process.engine, rest, json!({})).await.unwrap();
    let head = until(&world, &process.engine, &run, |head| !head.questions.is_empty()).await;
    let answer = Answer {
        run: run.clone(),
        step: None,
        hash: head.questions[0].hash.clone(),
        approved: false,
        comment: Some("too risky".into()),
    };
    process.engine.answer(answer, &ann()).await.unwrap();
    let head = until(&world, &process.engine, &run, over).await;
    assert!(line(&head).contains("ann rejected `t`: too risky"), "{}", line(&head));
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_what_is_under_way_and_undoes_what_was_done() {
    let (world, outside, process) = world();
    let rest = format!(
        "do:\n- a: {{ {CALL}, undo: [ {{ u: {{ call: mcp, with: {{ method: tools/call, parameters: {{ name: s__u, arguments: {{}} }} }} }} }} ] }}\n- h: {{ call: mcp, with: {{ method: tools/call, parameters: {{ name: s__hang, arguments: {{}} }} }} }}"
    );
    let run = begin(&process.engine, &rest, json!({})).await.unwrap();
    until(&world, &process.engine, &run, |head| head.steps == 1).await;
    process.engine.cancel(&run, &ann(), Some("enough".into())).await.unwrap();
    let head = until(&world, &process.engine, &run, over).await;
    assert_eq!(line(&head), r#"{"status":"cancelled","by":"ann","reason":"enough"}"#);
    let done: Vec<String> = outside.effects.lock().values().map(|(_, what)| what.clone()).collect();
    assert_eq!(done, ["a{}", "u{}"]);
    assert_eq!(process.engine.cancel(&run, &ann(), None).await.unwrap_err().code, Code::Conflict);
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_events_of_the_bus_wake_who_listens() {
    let (world, _, process) = world();
    let rest = "do:\n- s: { listen: { to: { one: { with: { type: paid } } } } }\n- e: { listen: { to: { one: { with: { type: service.failed, data: { service: x } } } } }, output: { as: '{ signal: $input, event: . }' } }";
    let run = begin(&process.engine, rest, json!({})).await.unwrap();
    until(&world, &process.engine, &run, |head| head.status == Status::Waiting).await;
    let stranger = Caller::new("bob", Role::Operator);
    assert_eq!(
        process.engine.signal(&run, "paid", json!(5), &stranger).await.unwrap_err().code,
        Code::PermissionDenied
    );
    process.engine.signal(&run, "paid", json!(5), &ann()).await.unwrap();
    until(&world, &process.engine, &run, |head| head.status == Status::Waiting && head.steps == 1).await;
    for service in ["y", "x"] {
        world.bus.publish(NewEvent::fleet("service.failed", "test", json!({ "service": service }))).await.unwrap();
    }
    let head = until(&world, &process.engine, &run, over).await;
    assert_eq!(line(&head), r#"{"status":"completed","output":{"signal":[5],"event":[{"service":"x"}]}}"#);
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_is_tried_again_at_somebodys_wish() {
    let (world, outside, process) = world();
    outside.failures.lock().insert("a".into(), "!1");
    let run = begin(&process.engine, &format!("do:\n- s: {{ set: {{ n: 1 }} }}\n- a: {{ {CALL} }}"), json!({}))
        .await
        .unwrap();
    let head = until(&world, &process.engine, &run, over).await;
    assert_eq!(head.status, Status::Faulted);
    assert_eq!(
        process.engine.retry(&run, None, &Caller::new("bob", Role::Operator)).await.unwrap_err().code,
        Code::PermissionDenied
    );
    assert_eq!(process.engine.retry(&run, None, &ann()).await.unwrap(), "/do/1/a");
    let head = until(&world, &process.engine, &run, |head| head.status == Status::Completed).await;
    assert!(line(&head).contains(r#""done":"a""#), "{}", line(&head));
    let keys: Vec<String> = outside.effects.lock().keys().cloned().collect();
    assert_eq!(keys, ["run_fixed/do/1/a!0", "run_fixed/do/1/a!1"], "another attempt, another key");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_run_workflows_under_the_same_role() {
    let (world, outside, process) = world();
    let child =
        format!("document: {{ dsl: 1.0.3, namespace: test, name: child, version: 1.0.0 }}\ndo:\n- a: {{ {CALL} }}");
    process.engine.define(child, &Caller::new("root", Role::Admin)).await.unwrap();
    let rest = "do:\n- c: { run: { workflow: { namespace: test, name: child, version: latest, input: { x: 1 } } }, output: { as: .with } }";
    let run = begin(&process.engine, rest, json!({})).await.unwrap();
    let head = until(&world, &process.engine, &run, over).await;
    assert_eq!(line(&head), r#"{"status":"completed","output":{"x":1}}"#);
    assert_eq!(*outside.callers.lock(), ["ann:operator"], "not of who defined it");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_run_keeps_its_version() {
    let (world, _, process) = world();
    let run = begin(&process.engine, "do:\n- w: { wait: PT1H }\n- s: { set: { is: old } }", json!({})).await.unwrap();
    until(&world, &process.engine, &run, |head| head.status == Status::Waiting).await;
    let new = "document: { dsl: 1.0.3, namespace: test, name: tried, version: 0.2.0 }\ndo:\n- s: { set: { is: new } }";
    process.engine.define(new.into(), &ann()).await.unwrap();
    let other =
        "document: { dsl: 1.0.3, namespace: test, name: tried, version: 0.2.0 }\ndo:\n- s: { set: { is: other } }";
    assert_eq!(process.engine.define(other.into(), &ann()).await.unwrap_err().code, Code::AlreadyExists);
    assert_eq!(process.engine.latest("test", "tried").await.unwrap().version, "0.2.0");
    world.clock.advance_ms(3_600_000);
    let head = until(&world, &process.engine, &run, over).await;
    assert_eq!(line(&head), r#"{"status":"completed","output":{"is":"old"}}"#);
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_its_first_definers() {
    let (_, _, process) = world();
    let text = |name: &str, version: &str| {
        format!("document: {{ dsl: 1.0.3, namespace: {name}, version: {version} }}\ndo:\n- s: {{ set: {{ n: 1 }} }}")
    };
    let shipped = crate::workflow::playbooks::named("nightly-report").unwrap().to_owned();
    let (ann, bob, root) = (ann(), Caller::new("bob", Role::Operator), Caller::new("root", Role::Admin));
    for (text, by, may) in [
        (text("team, name: job", "1.0.0"), &ann, true),
        (text("team, name: job", "1.1.0"), &bob, false),
        (text("team, name: job", "1.1.0"), &ann, true),
        (text("team, name: job", "1.2.0"), &root, true),
        (text("team, name: other", "1.0.0"), &bob, true),
        (shipped.clone(), &bob, true),
        (text("playbooks, name: nightly-report", "9.0.0"), &bob, false),
        (text("playbooks, name: mine", "1.0.0"), &ann, false),
        (text("playbooks, name: ours", "1.0.0"), &root, true),
        (text("playbooks, name: ours", "1.1.0"), &root, true),
    ] {
        let defined = process.engine.define(text.clone(), by).await;
        let code = defined.err().map(|fault| fault.code);
        assert_eq!(code, (!may).then_some(Code::PermissionDenied), "{} defines {text}", by.name);
    }
    process.kill().await;
}

async fn runs_of(process: &Process, name: &str) -> usize {
    process.engine.runs(None, 100, |head| head.name == name).await.unwrap().0.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_fire_once_whoever_sees_them() {
    let (world, outside, one) = world();
    let two = Process::start(&world, &outside, Fate::Lives);
    let define = |name: &'static str, schedule: &'static str| {
        let text = format!(
            "document: {{ dsl: 1.0.3, namespace: test, name: {name}, version: 1.0.0 }}\nschedule: {schedule}\ndo:\n- s: {{ set: {{ n: '${{ $workflow.input }}' }} }}"
        );
        let engine = Arc::clone(&one.engine);
        async move { engine.define(text, &ann()).await.map(|_| ()) }
    };
    define("each", "{ every: PT10S }").await.unwrap();
    define("daily", "{ cron: 'CRON_TZ=Europe/Berlin 30 6 * * *' }").await.unwrap();
    let daily = world.store.list("workflow-schedules", "test/daily", None, 1).await.unwrap()[0].value.clone();
    // Half past six in Berlin on the day after the world's.
    let at_ms = "2026-11-16T05:30:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    assert!(daily.contains(&format!(r#""at_ms":{at_ms}"#)), "{daily}");
    define("on", "{ on: { one: { with: { type: order, topic: orders } } } }").await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    // The schedule that is for events has begun to listen.
    while world.store.list("workflow-schedules", "test/on", None, 1).await.unwrap()[0].value.contains(r#""cursors":{}"#)
    {
        assert!(tokio::time::Instant::now() < deadline);
        world.store.changed(&["workflow-schedules"]).await;
    }
    world.clock.advance_ms(10_000);
    let order = NewEvent {
        topic: "orders".into(),
        kind: "order".into(),
        source: "shop".into(),
        trace_id: None,
        data: json!({ "id": 3 }),
    };
    world.bus.publish(order).await.unwrap();
    while runs_of(&one, "each").await < 1 || runs_of(&one, "on").await < 1 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What was missed while nobody looked is one run.
    world.clock.advance_ms(95_000);
    while runs_of(&two, "each").await < 2 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!((runs_of(&one, "each").await, runs_of(&one, "on").await), (2, 1));
    // A clock that jumps over several of its times fires it once.
    world.clock.advance_ms(3 * 86_400_000);
    while runs_of(&two, "daily").await < 1 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (heads, _) = one.engine.runs(None, 1, |head| head.name == "on").await.unwrap();
    let head = until(&world, &one.engine, &heads[0].id, over).await;
    let output: Value = serde_json::to_value(&head.ending).unwrap();
    assert_eq!(output["output"]["n"][0]["data"], json!({ "id": 3 }));
    one.kill().await;
    two.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_run() {
    let (_, _, process) = world();
    begin(&process.engine, "do:\n- s: { set: { n: 1 } }", json!({})).await.unwrap();
    let start = || {
        let id = Some(crate::workflow::Engine::run_id(&ann(), "k"));
        NewRun {
            id,
            namespace: "test".into(),
            name: "tried".into(),
            version: None,
            input: json!({}),
            parent: None,
            depth: 0,
        }
    };
    let (first, created) = process.engine.start_run(start(), &ann()).await.unwrap();
    let (second, again) = process.engine.start_run(start(), &ann()).await.unwrap();
    assert_eq!((first.id == second.id, created, again), (true, true, false));
    process.kill().await;
}
