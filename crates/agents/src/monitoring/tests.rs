//! The agent at its duties, on a real monitoring server.

use kernel::bus::{Bus, FLEET_TOPIC, NewEvent};
use kernel::duties::{Cause, Standing as RunStanding};
use kernel::fake::FakeFleet;
use kernel::health::Status;
use kernel::metrics::ServerLabel;
use serde_json::json;

use super::*;
use crate::testing::Bench;

async fn bench() -> Bench {
    Bench::new::<Monitoring>(Config::default(), &["monitoring"]).await
}

fn health(bench: &Bench, value: f64) {
    bench.world.metrics.server_health.get_or_create(&ServerLabel { server: "a".into() }).set(value);
}

/// The alerts told of on the fleet's bus.
async fn told(bench: &Bench) -> Vec<String> {
    let events = bench.world.bus.read(FLEET_TOPIC, 0, 1_000).await.unwrap();
    let alerts = events.iter().filter(|event| event.kind.starts_with("alert."));
    alerts.map(|event| format!("{} {}", event.kind, event.data["alert"]["summary"].as_str().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_alert_fires_and_is_over_and_only_what_was_done_is_recorded() {
    let bench = bench().await;
    health(&bench, 1.0);
    bench.start();
    bench.pass(60).await;
    assert_eq!((told(&bench).await.len(), bench.trail().await.len()), (0, 0), "a healthy fleet leaves no trace");
    assert_eq!(bench.outcomes("rules").await.len(), 1, "what stays the same is kept once");
    health(&bench, 0.0);
    bench.pass(60).await;
    health(&bench, 1.0);
    bench.pass(100).await;
    assert_eq!(told(&bench).await, ["alert.firing server a is down", "alert.resolved server a is down"]);
    let trail = bench.trail().await;
    assert!(trail.iter().all(|row| row == "agent:monitoring monitoring.settle_alerts ok"), "{trail:?}");
    let outcomes = bench.outcomes("rules").await.join(" | ");
    assert!(outcomes.contains("; fired: server a is down") && outcomes.contains("; resolved: server a"), "{outcomes}");
    let runs = bench.runs().await;
    let fired = runs.iter().find(|run| run.outcome.contains("; fired")).unwrap();
    let calls: Vec<_> = fired.calls.iter().map(|call| (call.tool.as_str(), call.outcome.as_deref())).collect();
    assert_eq!(calls, [("evaluate_rules", Some("ok")), ("settle_alerts", Some("ok"))]);
    assert_eq!((fired.standing, &fired.cause), (RunStanding::Done, &Cause::Schedule));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_summary_follows_services_and_alerts() {
    let bench = bench().await;
    let mut one = FakeFleet::server("a", "http://127.0.0.1:1", 0);
    bench.world.fleet.set(one.clone());
    bench.start();
    bench.pass(40).await;
    one.status = Status::Down;
    bench.world.fleet.set(one);
    let event = NewEvent::fleet("service.failed", "supervisor", json!({ "service": "a" }));
    let seq = bench.world.bus.publish(event).await.unwrap();
    bench.pass(2).await;
    let outcomes = bench.outcomes("summary").await;
    assert_eq!(outcomes, ["1 of 1 services serve", "0 of 1 services serve; down: a"]);
    let newest = bench.runs().await.remove(0);
    let cause = Cause::Events { kinds: vec!["service.failed".into()], first_seq: seq, last_seq: seq };
    assert_eq!((newest.duty.as_str(), newest.cause), ("summary", cause));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_server_it_says_so_and_goes_on_when_it_is_back() {
    let bench = bench().await;
    bench.start();
    bench.pass(40).await;
    assert_eq!(bench.agent.health().status, Status::Healthy);
    bench.stop_serving("monitoring");
    bench.pass(40).await;
    let report = bench.agent.health();
    assert_eq!(report.status, Status::Degraded);
    assert!(report.checks[1].detail.contains("monitoring does not serve now"), "{report:?}");
    bench.serve("monitoring").await;
    bench.pass(40).await;
    assert_eq!(bench.agent.health().status, Status::Healthy, "{:?}", bench.agent.health());
    let failed = bench.runs().await.into_iter().filter(|run| run.standing == RunStanding::Failed).count();
    assert_eq!(failed, 3, "each duty's failure is kept once, however often it was tried");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_copies_one_works_and_the_other_takes_over() {
    let one = bench().await;
    let two = Bench::beside::<Monitoring>(Config::default(), &one.world, Arc::clone(&one.servers));
    health(&one, 0.0);
    one.start();
    one.pass(5).await;
    two.start();
    one.pass(60).await;
    assert_eq!(told(&one).await, ["alert.firing server a is down"], "once, not twice");
    let leads = |bench: &Bench| bench.agent.health().checks[0].detail == "does the duties";
    assert!(leads(&one) && !leads(&two));
    one.stop().await;
    health(&one, 1.0);
    one.pass(100).await;
    assert!(leads(&two));
    assert_eq!(told(&one).await.len(), 2, "resolved by the other");
    two.stop().await;
}

#[test]
fn an_outcome_is_short_whatever_it_tells_of() {
    let names = |count: usize| (1..=count).map(|n| n.to_string()).collect();
    let line = |count| {
        let mut line = "x".to_owned();
        append(&mut line, "down", names(count));
        line
    };
    assert_eq!([line(0), line(2)], ["x", "x; down: 1, 2"]);
    assert_eq!(line(12), "x; down: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
}

#[test]
fn periods_have_bounds() {
    let refused = Monitoring::new(Config { evaluate_seconds: 0, ..Config::default() }).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "invalid_argument: agents.monitoring.evaluate_seconds is 0 (1 to 300)");
}
