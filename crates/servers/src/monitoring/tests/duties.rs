//! The standing work, in time that stands still until all wait.

use std::time::Duration;

use kernel::locks::Elections;
use serde_json::json;

use super::*;

/// Lets the duties of a started server run for so many seconds.
async fn run(world: &World, seconds: u64) {
    for _ in 0..seconds {
        world.clock.advance_ms(1_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn reads_evaluates_books_and_stops() {
    let watch = Watch::new();
    watch.health("a", 1.0);
    watch.bench.start().await;
    let world = &watch.bench.world;
    run(world, 20).await;
    assert_eq!(watch.ask("targets", json!({})).await["targets"][0]["up"], true);
    watch.health("a", 0.0);
    run(world, 60).await;
    assert_eq!(watch.alerts(&["firing"]).await, "service-down a firing");
    world.metrics.call_ended("a", "x", "ok", Duration::from_millis(1));
    run(world, 10).await;
    world.metrics.call_ended("a", "x", "ok", Duration::from_millis(1));
    run(world, 70).await;
    assert_eq!(world.tasks.drain(Duration::from_secs(5)).await, 0);
    let (books, _) = super::super::slo::sum(&*world.store, world.clock.now_ms()).await.unwrap();
    assert_eq!(books["a"].calls, 2.0);
    let elections = Elections::new(world.store.clone(), world.clock.clone());
    assert_eq!(elections.leader("fleet.monitoring.rules").await.unwrap(), None, "the lead is given up at the end");
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_one_evaluates_and_the_other_takes_over() {
    let one = Watch::new();
    let mut world = World::default();
    world.clock = one.bench.world.clock.clone();
    world.store = one.bench.world.store.clone();
    world.bus = one.bench.world.bus.clone();
    let two = Watch::on(world, Config::default());
    one.bench.start().await;
    one.health("a", 0.0);
    two.health("a", 0.0);
    run(&one.bench.world, 10).await;
    two.bench.start().await;
    run(&one.bench.world, 60).await;
    assert_eq!(one.told().await, "alert.firing service-down", "once, not twice");
    let evaluated = async |watch: &Watch| {
        let rules = watch.ask("list_rules", json!({})).await;
        rules["rules"].as_array().unwrap().iter().filter(|rule| rule.get("evaluated_ms").is_some()).count()
    };
    assert!(evaluated(&one).await > 0 && evaluated(&two).await == 0);
    assert_eq!(one.bench.world.tasks.drain(Duration::from_secs(5)).await, 0);
    run(&two.bench.world, 20).await;
    assert!(evaluated(&two).await > 0);
    two.health("a", 1.0);
    run(&two.bench.world, 90).await;
    assert_eq!(two.told().await, "alert.firing service-down, alert.resolved service-down");
}
