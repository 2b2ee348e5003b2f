//! Each tool through the protocol, with workers played by the test.

use expect_test::expect;
use kernel::queue::{Claim, Ending, Failure, Holding, Outcome, State, Task};
use kernel::{Caller, Role};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Bench, admin, operator, viewer};

fn bench() -> Bench {
    Bench::new::<TaskManagement>()
}

async fn submit(bench: &Bench, arguments: Value) -> SubmitTaskResponse {
    let request = serde_json::from_value(arguments).unwrap();
    bench.call(&operator("ann"), SUBMIT_TASK, request).await.unwrap()
}

async fn claim(bench: &Bench, limit: usize) -> Vec<Task> {
    let claim =
        Claim { queue: "build".into(), types: vec!["compile".into()], limit, lease_ms: 30_000, worker: "w1".into() };
    bench.world.queue.claim(&claim).await.unwrap().tasks
}

async fn end(bench: &Bench, task: &Task, outcome: Outcome) -> State {
    let holding = Holding { id: task.id, attempt: task.attempts };
    bench.world.queue.finish(vec![Ending { holding, outcome }]).await.unwrap().remove(0).unwrap()
}

fn broken() -> Outcome {
    Outcome::Failed { failure: Failure { code: Code::Upstream, message: "linker gone".into() }, retry: false }
}

fn compile() -> Value {
    json!({ "queue": "build", "task_type": "compile", "payload": { "crate": "kernel" } })
}

#[tokio::test]
async fn a_task_is_submitted_done_and_looked_at() {
    let bench = bench();
    let keyed = json!({ "queue": "build", "task_type": "compile", "payload": 1, "key": "k", "priority": 9 });
    let submitted = submit(&bench, keyed.clone()).await;
    assert!(submitted.fresh && !submit(&bench, keyed).await.fresh);
    let held = claim(&bench, 1).await;
    assert_eq!((held[0].id, held[0].caller.as_str(), held[0].priority), (submitted.id, "ann", 9));
    assert_eq!(end(&bench, &held[0], Outcome::Done { result: json!({ "ok": true }), then: vec![] }).await, State::Done);
    let task: Value =
        serde_json::from_str(&bench.shown(&viewer("eve"), "get_task", json!({ "id": "task_1" })).await).unwrap();
    assert_eq!(
        (&task["state"], &task["result"], &task["attempts"]),
        (&json!("done"), &json!({ "ok": true }), &json!(1))
    );
    bench
        .check(
            "get_task",
            json!({ "id": "task_9" }),
            expect!["not_found: no task task_9 (it never was, or it ended and was purged)"],
        )
        .await;
    bench
        .check(
            "get_task",
            json!({ "id": "9" }),
            expect!["invalid_argument: `9` is not the id of a task (task_ and a number, as task_17)"],
        )
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_task_is_said() {
    let bench = bench();
    for (change, expected) in [
        (
            json!({ "queue": "a b" }),
            expect!["invalid_argument: `a b` cannot name a queue (1 to 64 characters of A-Z a-z 0-9 . _ : -)"],
        ),
        (json!({ "priority": 10 }), expect!["invalid_argument: a priority of 10 (0 to 9)"]),
        (json!({ "attempts_max": 0 }), expect!["invalid_argument: 0 attempts (1 to 100)"]),
        (
            json!({ "delay_seconds": 31_536_001 }),
            expect!["invalid_argument: delay_seconds is 31536001 (at most 31536000)"],
        ),
        (
            json!({ "key": "" }),
            expect!["invalid_argument: the key of a task has 0 bytes, or control characters (1 to 200 bytes of text)"],
        ),
    ] {
        let mut arguments = compile();
        arguments.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        bench.check("submit_task", arguments, expected).await;
    }
}

#[tokio::test]
async fn looking_is_for_all_and_changing_for_operators() {
    let bench = bench();
    let trader = Caller::new("tom", Role::Trader);
    let schedule = json!({ "name": "s", "when": { "every": { "seconds": 60 } }, "task": compile() });
    for (tool, arguments) in [
        ("submit_task", compile()),
        ("cancel_task", json!({ "id": "task_1" })),
        ("retry_task", json!({ "id": "task_1" })),
        ("requeue", json!({ "queue": "build" })),
        ("purge", json!({ "older_than_seconds": 0 })),
        ("schedule", schedule),
        ("pause_schedule", json!({ "name": "s" })),
        ("delete_schedule", json!({ "name": "s" })),
    ] {
        let seen = bench.shown(&trader, tool, arguments).await;
        assert!(seen.starts_with("permission_denied: role trader may not use"), "{tool}: {seen}");
    }
    for tool in ["list_tasks", "list_schedules", "queues", "workers", "dead_letters"] {
        let seen = bench.shown(&viewer("eve"), tool, json!({})).await;
        assert!(seen.starts_with('{'), "{tool}: {seen}");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let bench = bench();
    for n in 0..5 {
        let task_type = if n % 2 == 0 { "compile" } else { "package" };
        submit(&bench, json!({ "queue": "build", "task_type": task_type })).await;
    }
    submit(&bench, json!({ "queue": "test", "task_type": "unit", "delay_seconds": 60 })).await;
    let ids = async |arguments: Value| {
        let request = serde_json::from_value(arguments).unwrap();
        let page = bench.call(&viewer("eve"), LIST_TASKS, request).await.unwrap();
        (page.tasks.iter().map(|task| task.id.0).collect::<Vec<_>>(), page.next.map(|next| next.to_string()))
    };
    assert_eq!(ids(json!({ "state": "delayed" })).await, (vec![6], None));
    assert_eq!(ids(json!({ "queue": "build", "task_type": "compile" })).await, (vec![5, 3, 1], None));
    assert_eq!(ids(json!({ "queue": "build", "limit": 3 })).await, (vec![5, 4, 3], Some("task_3".into())));
    assert_eq!(ids(json!({ "queue": "build", "limit": 3, "cursor": "task_3" })).await, (vec![2, 1], None));
    assert_eq!(ids(json!({ "caller": "bob" })).await, (vec![], None));
    bench.check("list_tasks", json!({ "limit": 201 }), expect!["invalid_argument: limit is 201 (1 to 200)"]).await;
}

#[tokio::test]
async fn dead_letters_are_listed_requeued_and_purged() {
    let bench = bench();
    for _ in 0..3 {
        submit(&bench, compile()).await;
    }
    for task in claim(&bench, 3).await {
        assert_eq!(end(&bench, &task, broken()).await, State::Dead);
    }
    let dead = bench.call(&viewer("eve"), DEAD_LETTERS, serde_json::from_value(json!({})).unwrap()).await.unwrap();
    assert_eq!(dead.tasks[0].failure.as_ref().unwrap().message, "linker gone");
    bench
        .check("requeue", json!({ "queue": "build", "limit": 2 }), expect![[r#"{"requeued":["task_3","task_2"]}"#]])
        .await;
    let retried = bench.call(&operator("ann"), RETRY_TASK, TaskName { id: "task_1".into() }).await.unwrap();
    assert_eq!((retried.state, retried.attempts_max), (State::Queued, 6));
    bench
        .check(
            "retry_task",
            json!({ "id": "task_1" }),
            expect![
                "conflict: task_1 is queued and cannot be retried (only what is delayed, dead or cancelled can be)"
            ],
        )
        .await;
    let held = claim(&bench, 1).await;
    end(&bench, &held[0], broken()).await;
    bench
        .check(
            "purge",
            json!({ "state": "running", "older_than_seconds": 0 }),
            expect!["invalid_argument: state is running (done, dead or cancelled: what has ended)"],
        )
        .await;
    bench.check("purge", json!({ "older_than_seconds": 1 }), expect![[r#"{"removed":0}"#]]).await;
    bench.check("purge", json!({ "queue": "build", "older_than_seconds": 0 }), expect![[r#"{"removed":1}"#]]).await;
}

#[tokio::test]
async fn cancelling_stops_what_waits_and_asks_what_runs() {
    let bench = bench();
    for _ in 0..2 {
        submit(&bench, compile()).await;
    }
    claim(&bench, 1).await;
    let cancel = async |id: &str| bench.call(&operator("bob"), CANCEL_TASK, TaskName { id: id.into() }).await;
    let running = cancel("task_1").await.unwrap();
    assert_eq!((running.state, running.cancelling), (State::Running, true));
    assert_eq!(cancel("task_2").await.unwrap().state, State::Cancelled);
    assert_eq!(cancel("task_2").await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn queues_and_workers_are_shown() {
    let bench = bench();
    for _ in 0..3 {
        submit(&bench, compile()).await;
    }
    claim(&bench, 2).await;
    bench.world.clock.advance_ms(5_000);
    let queues = bench.call(&viewer("eve"), QUEUES, QueuesRequest::default()).await.unwrap().queues;
    let row = &queues[0];
    assert_eq!((row.queue.as_str(), row.queued, row.running, row.oldest_seconds), ("build", 1, 2, 5));
    assert_eq!((row.types.len(), row.types[0].policy.attempts_max), (1, 5));
    bench
        .check(
            "workers",
            json!({}),
            expect![[r#"{"workers":[{"worker":"w1","queue":"build","tasks":["task_1","task_2"],"lease_until_ms":1794729630000}]}"#]],
        )
        .await;
    bench
        .check("queues", json!({ "queue": "x" }), expect!["not_found: no queue `x` (it begins with its first task)"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn schedules_fire_by_themselves_and_show_what_comes() {
    let bench = bench();
    bench.start().await;
    let request = json!({ "name": "nightly", "when": { "every": { "seconds": 600 } }, "task": compile() });
    let made = bench.call(&operator("ann"), SCHEDULE, serde_json::from_value(request).unwrap()).await.unwrap();
    let now_ms = bench.world.clock.now_ms();
    assert_eq!(made.upcoming_ms, (1..=5).map(|n| now_ms + n * 600_000).collect::<Vec<_>>());
    bench.world.clock.advance_ms(600_000);
    while bench.world.queue.counts().await.unwrap().is_empty() {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(claim(&bench, 9).await[0].caller, "ann");
    let paused = PauseScheduleRequest { name: "nightly".into(), paused: true };
    assert!(bench.call(&operator("ann"), PAUSE_SCHEDULE, paused).await.unwrap().upcoming_ms.is_empty());
    let listed = bench.call(&viewer("eve"), LIST_SCHEDULES, ListSchedulesRequest {}).await.unwrap().schedules;
    assert_eq!((listed.len(), listed[0].schedule.fired, listed[0].schedule.paused), (1, 1, true));
    bench.call(&operator("ann"), DELETE_SCHEDULE, ScheduleName { name: "nightly".into() }).await.unwrap();
    bench
        .check(
            "delete_schedule",
            json!({ "name": "nightly" }),
            expect!["not_found: no schedule `nightly` (list_schedules has their names)"],
        )
        .await;
    let bad =
        json!({ "name": "s", "when": { "cron": { "expression": "* * * * *", "zone": "Mars" } }, "task": compile() });
    bench
        .check_as(
            &admin(),
            "schedule",
            bad,
            expect!["invalid_argument: `Mars` is not a time zone (an IANA name, as UTC or Europe/Berlin)"],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_ended_long_ago_is_forgotten_and_queues_are_measured() {
    let bench = bench();
    for _ in 0..2 {
        submit(&bench, compile()).await;
    }
    let held = claim(&bench, 1).await;
    end(&bench, &held[0], Outcome::Done { result: json!(1), then: vec![] }).await;
    bench.world.clock.advance_ms(7 * 24 * 3_600_000 + 1);
    bench.start().await;
    while bench.world.queue.get(held[0].id).await.unwrap().is_some() {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let figures = bench.world.metrics.render();
    assert!(figures.contains(r#"flotilla_queue_depth{queue="build"} 1"#), "{figures}");
    assert!(figures.contains(r#"flotilla_queue_oldest_seconds{queue="build"} 604800"#), "{figures}");
    let report = bench.service.health().await;
    expect![[r#"[{"name":"queue","status":"healthy","detail":"1 tasks wait, 0 dead letters"},{"name":"schedules","status":"healthy","detail":"0 schedules"}]"#]]
        .assert_eq(&serde_json::to_string(&report.checks).unwrap());
}

#[test]
fn keeping_nothing_is_refused() {
    let world = kernel::fake::World::default();
    let config = Config { keep_hours: 0, ..Config::default() };
    assert_eq!(TaskManagement::new(&world.ports(), config).err().map(|fault| fault.code), Some(Code::InvalidArgument));
}
