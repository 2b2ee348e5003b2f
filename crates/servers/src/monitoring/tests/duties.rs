//! The standing work, in time that stands still until all wait.

use std::time::Duration;

use kernel::health::Status;
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

/// Calls of the server `a` that the books have.
async fn booked(world: &World) -> Option<f64> {
    let (books, _) = super::super::slo::sum(&*world.store, world.clock.now_ms()).await.unwrap();
    books.get("a").map(|book| book.calls)
}

#[tokio::test(start_paused = true)]
async fn reads_books_and_stops() {
    let watch = Watch::new();
    watch.health("a", 1.0);
    watch.bench.start().await;
    let world = &watch.bench.world;
    run(world, 20).await;
    assert_eq!(watch.ask("targets", json!({})).await["targets"][0]["up"], true);
    world.metrics.call_ended("a", "x", "ok", Duration::from_millis(1));
    run(world, 10).await;
    world.metrics.call_ended("a", "x", "ok", Duration::from_millis(1));
    run(world, 30).await;
    assert_eq!(world.tasks.drain(Duration::from_secs(5)).await, 0);
    assert_eq!(booked(world).await, Some(2.0));
    let elections = Elections::new(world.store.clone(), world.clock.clone());
    assert_eq!(elections.leader("fleet.monitoring.books").await.unwrap(), None, "the lead is given up at the end");
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_one_keeps_the_books_and_the_other_takes_over() {
    let one = Watch::new();
    let mut world = World::default();
    world.clock = one.bench.world.clock.clone();
    world.store = one.bench.world.store.clone();
    // Both read the same figures, as they do of every process of a fleet.
    world.metrics = one.bench.world.metrics.clone();
    let two = Watch::on(world, Config::default());
    let world = &one.bench.world;
    let call = || world.metrics.call_ended("a", "x", "ok", Duration::from_millis(1));
    call();
    one.bench.start().await;
    run(world, 10).await;
    two.bench.start().await;
    call();
    run(world, 60).await;
    assert_eq!(booked(world).await, Some(1.0), "once, not twice");
    assert_eq!(world.tasks.drain(Duration::from_secs(5)).await, 0);
    run(world, 30).await;
    call();
    run(world, 60).await;
    assert_eq!(booked(world).await, Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn rules_that_nobody_evaluates_are_said() {
    let watch = Watch::new();
    watch.bench.start().await;
    let rules = async || watch.bench.service.health().await.checks.remove(1);
    run(&watch.bench.world, 50).await;
    assert_eq!(rules().await.status, Status::Healthy, "the agent may still be starting");
    run(&watch.bench.world, 10).await;
    assert_eq!(rules().await.status, Status::Degraded);
    let elections = Elections::new(watch.bench.world.store.clone(), watch.bench.world.clock.clone());
    let election = kernel::duties::election("monitoring");
    elections.campaign(&election, "agent", Duration::from_secs(60), Duration::ZERO).await.unwrap();
    assert_eq!(rules().await.status, Status::Healthy);
}
