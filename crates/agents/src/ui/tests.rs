//! The agent at its duties and its reports, on real servers.

use kernel::Role;
use kernel::bus::{Bus, FLEET_TOPIC};
use kernel::queue::{NewTask, Queue};
use serde_json::{Value, json};
use servers::monitoring;

use super::*;
use crate::testing::Bench;

async fn bench() -> Bench {
    Bench::new::<Ui>(Config::default(), &["ui", "monitoring"]).await
}

async fn call(bench: &Bench, server: &str, tool: &str, arguments: Value) -> Value {
    use mcp::toolbox::{Router, structured};
    let ctx = mcp::Ctx::internal(kernel::Caller::new("root", Role::Admin), kernel::Trace::root());
    let reply = bench.servers.call(server, tool, mcp::wire::raw(&arguments), ctx).await.unwrap();
    serde_json::from_str(structured(&reply).unwrap().get()).unwrap()
}

/// The alerts told of on the fleet's bus.
async fn told(bench: &Bench) -> Vec<String> {
    let events = bench.world.bus.read(FLEET_TOPIC, 0, 1_000).await.unwrap();
    let firing = events.iter().filter(|event| event.kind == "alert.firing");
    firing.map(|event| event.data["alert"]["summary"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_announced_once_where_it_is_meant_to_be() {
    let bench = bench().await;
    call(&bench, "ui", "notify", json!({ "title": "for the page alone" })).await;
    call(&bench, "ui", "notify", json!({ "title": "for all", "text": "two\nlines", "sinks": true, "user": "eve" }))
        .await;
    bench.start();
    bench.pass(60).await;
    assert_eq!(told(&bench).await, ["for all: two lines"]);
    bench.stop().await;
    // Another copy, with the same notes.
    let next = Bench::beside::<Ui>(Config::default(), &bench.world, Arc::clone(&bench.servers));
    next.start();
    next.pass(60).await;
    assert_eq!(told(&next).await, ["for all: two lines"], "a restart tells nothing twice");
    let outcomes = next.outcomes("deliver").await;
    assert!(outcomes.contains(&"1 notifications passed on".to_owned()), "{outcomes:?}");
    let trail = next.trail().await;
    assert!(trail.contains(&"agent:ui monitoring.announce ok".to_owned()), "{trail:?}");
    assert!(!trail.iter().any(|row| row.contains("ui.notifications")), "it looks without filling the trail: {trail:?}");
    next.stop().await;
}

#[tokio::test]
async fn an_announcement_stands_once_under_its_key_and_its_name_is_no_rules() {
    let bench = bench().await;
    for _ in 0..2 {
        call(&bench, "monitoring", "announce", json!({ "key": "k", "summary": "so" })).await;
    }
    let alerts = call(&bench, "monitoring", "list_alerts", json!({ "rule": "notice" })).await;
    assert_eq!(alerts["alerts"].as_array().unwrap().len(), 1, "{alerts}");
    let announce = monitoring::ANNOUNCE;
    assert!(announce.hints.idempotent && announce.hints.access == Access::Operate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_rendered_and_kept_as_a_notification() {
    let bench = bench().await;
    bench.agent.offer().await.unwrap();
    bench.start();
    let payload = json!({ "report": "incidents", "hours": 2, "user": "ann" });
    let task = NewTask::new("ui", "report", payload, &kernel::Caller::new("ann", Role::Operator));
    let id = bench.world.queue.submit(vec![task]).await.unwrap()[0].id;
    let done = loop {
        let task = bench.world.queue.get(id).await.unwrap().unwrap();
        if task.state.is_ended() {
            break task;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let result = done.result.unwrap_or_else(|| panic!("{:?}", done.failure));
    let markdown = result["markdown"].as_str().unwrap();
    assert!(markdown.starts_with("# Incidents of the last 2 hours\n"), "{markdown}");
    // No recovery server serves here: that is said, and the rest is there.
    assert!(markdown.contains("Cannot be told: unavailable: recovery does not serve now"), "{markdown}");
    assert!(markdown.contains("## Alerts\n\nNothing fired."), "{markdown}");
    assert!(result["html"].as_str().unwrap().starts_with("<!DOCTYPE html>"));
    let kept = call(&bench, "ui", "notifications", json!({ "id": result["notification"], "all": true })).await;
    assert_eq!(
        (&kept["notifications"][0]["text"], &kept["notifications"][0]["user"]),
        (&result["markdown"], &json!("ann"))
    );
    assert_eq!(kept["notifications"][0]["by"], "agent:ui");
}
