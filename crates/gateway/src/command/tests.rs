use expect_test::{Expect, expect};
use kernel::Role;
use kernel::fake::FakeFleet;
use serde_json::json;

use super::*;
use crate::testing::{Bench, ctx};

fn bench() -> Bench {
    let bench = Bench::full();
    bench.gateway.add_coordinator();
    let instance = FakeFleet::server("utilities", "http://127.0.0.1:4017", bench.world.clock.now_ms());
    bench.world.fleet.set(instance);
    bench
}

async fn run(bench: &Bench, role: Role, target: &str, command: &str, args: Value) -> Result<Vec<TargetAnswer>, Fault> {
    let command = Command { target: Target::One(target.into()), command: command.into(), args, time_limit_ms: None };
    bench.gateway.command(&command, &ctx(role)).await
}

async fn check(bench: &Bench, role: Role, target: &str, command: &str, args: Value, want: Expect) {
    let lines = match run(bench, role, target, command, args).await {
        Ok(answers) => answers
            .into_iter()
            .map(|answer| match (answer.result, answer.error) {
                (Some(result), _) => format!("{}: {result}", answer.target),
                (_, Some(error)) => {
                    let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                    format!("{}: {} {}{hint}", answer.target, error.code, error.message)
                }
                _ => "neither".into(),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Err(fault) => fault.to_string(),
    };
    want.assert_eq(&lines);
}

#[tokio::test]
async fn each_target_answers_for_itself() {
    let bench = bench();
    check(
        &bench,
        Role::Operator,
        "all",
        "echo",
        json!({ "text": "hi" }),
        expect![[r#"
        master-coordinator: not_found master-coordinator has no tool `echo` (the command `tools` lists what it has; status, health, tools and restart work everywhere)
        utilities: {"from":"utilities","text":"hi"}
        logging: {"from":"logging","text":"hi"}
        zebra: {"from":"zebra","text":"hi"}"#]],
    )
    .await;
    check(&bench, Role::Viewer, "utilities, zebra", "reset", json!(null), expect![[r#"
        utilities: permission_denied role viewer may not use utilities.reset (needs a key with role operator: `flotilla token create NAME --role operator`)
        zebra: permission_denied role viewer may not use zebra.reset (needs a key with role operator: `flotilla token create NAME --role operator`)"#]])
    .await;
    check(&bench, Role::Viewer, "zebra", "echo", json!(["hi"]), expect![[r#"zebra: {"from":"zebra","text":"hi"}"#]])
        .await;
    check(
        &bench,
        Role::Viewer,
        "zebra",
        "echo",
        json!(["text=a", "b"]),
        expect!["zebra: invalid_argument more words than the tool has parameters: 1 too many (it takes text)"],
    )
    .await;
}

#[tokio::test]
async fn words_that_all_understand() {
    let bench = bench();
    let answers = run(&bench, Role::Viewer, "all", "status", json!([])).await.unwrap();
    let seen: Vec<_> = answers
        .iter()
        .map(|answer| format!("{} {}", answer.target, answer.result.as_ref().unwrap()["status"]))
        .collect();
    assert_eq!(
        seen,
        ["master-coordinator \"healthy\"", "utilities \"healthy\"", "logging \"healthy\"", "zebra \"healthy\""]
    );
    check(&bench, Role::Viewer, "zebra", "tools", json!(null), expect![[r#"zebra: {"tools":["echo"]}"#]]).await;
    check(
        &bench,
        Role::Viewer,
        "zebra",
        "health",
        json!(null),
        expect![[r#"zebra: {"status":"healthy","uptime_seconds":0,"checks":[]}"#]],
    )
    .await;
}

#[tokio::test]
async fn labels_and_unknown_names() {
    let bench = bench();
    for (target, want) in [
        ("helpers", "utilities"),
        ("operations", "master-coordinator logging"),
        ("zebra,utilities,zebra", "utilities zebra"),
        ("agents", ""),
        ("down", ""),
    ] {
        let answers = run(&bench, Role::Viewer, target, "health", json!(null)).await.unwrap();
        let names: Vec<_> = answers.iter().map(|answer| answer.target.as_str()).collect();
        assert_eq!(names.join(" "), want, "{target}");
    }
    check(
        &bench,
        Role::Viewer,
        "loging",
        "health",
        json!(null),
        expect!["not_found: no target `loging` (did you mean `logging`?)"],
    )
    .await;
}

#[tokio::test]
async fn a_restart_needs_its_role_and_leaves_its_row() {
    let bench = bench();
    check(&bench, Role::Viewer, "utilities", "restart", json!(null), expect!["utilities: permission_denied role viewer may not use master-coordinator.restart_service (needs a key with role operator: `flotilla token create NAME --role operator`)"]).await;
    run(&bench, Role::Operator, "utilities", "restart", json!({ "reason": "stuck" })).await.unwrap();
    assert_eq!(bench.world.fleet.restarts(), [("utilities".to_owned(), "stuck".to_owned())]);
    assert_eq!(
        bench.trail().await,
        ["master-coordinator.restart_service permission_denied", "master-coordinator.restart_service ok",]
    );
}
