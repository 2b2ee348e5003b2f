//! What is kept of runs, and for how long; how much may wait for one.

use kernel::Code;
use kernel::store::LIST_MAX;

use super::super::book::{EVENTS, INBOX, INPUTS, NEWEST, RUNS};
use super::super::manage::SIGNALS_MAX;
use super::*;

const KEEP_MS: i64 = 1_000;
const WAITS: &str = "do:\n- s: { listen: { to: { one: { with: { type: paid } } } } }";

/// The spaces in which something of a run is kept.
async fn traces(world: &World, run: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for space in [RUNS, INPUTS, EVENTS, NEWEST, INBOX, "workflow-purging"] {
        let entries = world.store.list(space, "", None, LIST_MAX).await.unwrap();
        if entries.iter().any(|entry| entry.key.contains(run)) {
            found.push(space);
        }
    }
    found
}

/// A world in which a run has ended, and another waits.
async fn lived() -> (World, Arc<Recorded>, String) {
    let (world, outside) = (World::default(), Arc::<Recorded>::default());
    let process = Process::start(&world, &outside, Fate::Lives);
    let ended = begin(&process.engine, "do:\n- s: { set: { n: 1 } }", json!({ "in": 1 })).await.unwrap();
    until(&world, &process.engine, &ended, |head| head.told).await;
    process.kill().await;
    (world, outside, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_forgotten_so_long_after_its_end_and_one_that_goes_on_is_not() {
    let (world, outside, ended) = lived().await;
    let process = Process::start(&world, &outside, Fate::Lives);
    let engine = &process.engine;
    engine.define(crate::workflow::tests::head(WAITS).replace("tried", "waits"), &ann()).await.unwrap();
    let run = NewRun {
        id: Some("run_waiting".into()),
        namespace: "test".into(),
        name: "waits".into(),
        version: None,
        input: json!({}),
        parent: None,
        depth: 0,
    };
    engine.start_run(run, &ann()).await.unwrap();
    until(&world, engine, "run_waiting", |head| head.status == Status::Waiting).await;
    assert_eq!(engine.purge(KEEP_MS).await.unwrap(), 0, "it ended a moment ago");
    world.clock.advance_ms(KEEP_MS + 1);
    assert_eq!(engine.purge(KEEP_MS).await.unwrap(), 1);
    assert_eq!(engine.run(&ended).await.map(|head| head.id).map_err(|fault| fault.code), Err(Code::NotFound));
    assert_eq!(traces(&world, &ended).await, Vec::<&str>::new());
    assert_eq!(engine.run("run_waiting").await.unwrap().status, Status::Waiting);
    assert_eq!(engine.purge(KEEP_MS).await.unwrap(), 0);
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_is_cut_off_leaves_the_run_whole_or_is_ended_by_the_next() {
    for (commits, lose_answer) in (0..3).flat_map(|commits| [(commits, false), (commits, true)]) {
        let (world, outside, ended) = lived().await;
        world.clock.advance_ms(KEEP_MS + 1);
        let dies = Process::start(&world, &outside, Fate::Dies { commits, lose_answer });
        let purged = tokio::time::timeout(Duration::from_millis(100), dies.engine.purge(KEEP_MS)).await;
        assert!(purged.is_err(), "it was to die at commit {commits}");
        let left = traces(&world, &ended).await;
        let whole = left == [RUNS, INPUTS, EVENTS, NEWEST];
        assert!(whole || !left.contains(&RUNS), "{left:?}");
        dies.kill().await;
        let lives = Process::start(&world, &outside, Fate::Lives);
        assert_eq!(lives.engine.purge(KEEP_MS).await.unwrap(), usize::from(whole));
        assert_eq!(traces(&world, &ended).await, Vec::<&str>::new());
        lives.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_signals_wait_for_a_run_than_may_and_people_are_still_heard() {
    let (world, outside) = (World::default(), Arc::<Recorded>::default());
    let process = Process::start(&world, &outside, Fate::Lives);
    let run = begin(&process.engine, WAITS, json!({})).await.unwrap();
    until(&world, &process.engine, &run, |head| head.status == Status::Waiting).await;
    let engine = Arc::clone(&process.engine);
    // Nobody takes what is sent from here on.
    process.kill().await;
    for n in 0..SIGNALS_MAX {
        engine.signal(&run, "other", json!(n), &ann()).await.unwrap();
    }
    let refused = engine.signal(&run, "other", json!(0), &ann()).await.unwrap_err();
    assert_eq!(refused.code, Code::RateLimited, "{refused}");
    let large = json!("x".repeat(128 << 10));
    assert_eq!(engine.signal(&run, "other", large, &ann()).await.unwrap_err().code, Code::TooLarge);
    engine.cancel(&run, &ann(), None).await.unwrap();
    let process = Process::start(&world, &outside, Fate::Lives);
    until(&world, &process.engine, &run, |head| head.status == Status::Cancelled).await;
    process.kill().await;
}
