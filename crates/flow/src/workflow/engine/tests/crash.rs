//! A process is cut off at every commit it makes, with and without the last one's taking effect; another goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel::bus::{Bus as _, Event, READ_MAX};
use kernel::fake::World;
use serde_json::json;

use super::{Engine, EngineConfig, Fate, Head, Process, Recorded, begin, line, over, until, until_taken_over};
use crate::workflow::tests::replay::definitions;

/// How many definitions are made up beside those that are written here.
const MADE_UP: usize = 12;
/// How many commits their runs take: enough to be of interest, and no more than there is time for.
const COMMITS: std::ops::RangeInclusive<u32> = 8..=40;
/// Calls, a loop, a fork, a retry, a timer, an event, compensation, a sub-list and a failure at the end of it all.
const MATRIX: &[&str] = &[
    "do:\n- a: { call: mcp, with: { method: tools/call, parameters: { name: s__a, arguments: { n: '${ .n }' } } }, output: { as: .with } }\n- l: { for: { in: '[1, 2, 3]' }, do: [ { b: { call: mcp, with: { method: tools/call, parameters: { name: s__b, arguments: { i: '${ $item }', n: '${ .n }' } } }, output: { as: .with } } } ] }\n- f: { fork: { branches: [ { x: { call: mcp, with: { method: tools/call, parameters: { name: s__x, arguments: '${ . }' } } } }, { y: { wait: PT1S } } ] } }",
    "do:\n- t: { try: [ { flaky: { call: mcp, with: { method: tools/call, parameters: { name: s__flaky, arguments: {} } } } } ], catch: { retry: { delay: PT1S, limit: { attempt: { count: 5 } } } } }\n- e: { emit: { event: { with: { source: 'https://e.com', type: done, data: 1 } } }, output: { as: .type } }",
    "do:\n- a: { call: mcp, with: { method: tools/call, parameters: { name: s__a, arguments: {} } }, undo: [ { ua: { call: mcp, with: { method: tools/call, parameters: { name: s__ua, arguments: {} } } } } ] }\n- b: { set: { n: 1 }, undo: [ { ub: { call: mcp, with: { method: tools/call, parameters: { name: s__ub, arguments: '${ .output }' } } } } ] }\n- c: { raise: { error: { type: 'https://e.com/no', status: 400 } } }",
];

/// Which effects there were, calls and events, whatever how often each.
async fn effects(world: &World, outside: &Recorded) -> BTreeSet<String> {
    let calls: Vec<String> = outside.effects.lock().iter().map(|(key, (_, what))| format!("{key} {what}")).collect();
    let events = world.bus.read("workflows", 0, READ_MAX).await.unwrap();
    // An end has the time in it.
    let shown = |event: Event| match event.kind.as_str() {
        "t" => format!("{} {}", event.data["id"], event.data["data"]),
        kind => format!("{} {kind}", event.data["id"]),
    };
    calls.into_iter().chain(events.into_iter().map(shown)).collect()
}

/// How a run ended, what it knew then, and what it had done.
async fn end(engine: &Engine, head: &Head) -> String {
    let state = engine.state(&head.id).await.unwrap();
    // Which of two branches ends first is chance.
    let mut done: Vec<String> = state.done.iter().map(|done| format!("{done:?}")).collect();
    done.sort();
    format!("{} after {} steps, context {}, to undo {done:?}", line(head), head.steps, state.context)
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Ended {
    end: String,
    effects: BTreeSet<String>,
}

/// What a run comes to when its first process has this fate, and how many commits that one tried.
async fn ended(rest: &str, fate: Fate) -> (Ended, u32) {
    let (world, outside) = (World::default(), Arc::new(Recorded::default()));
    outside.failures.lock().insert("flaky".into(), "~3");
    // Defined and started by one that does nothing else, so that every commit is one of the engine's own.
    let starter = Engine::new(&world.ports(), outside.clone(), EngineConfig::default(), "0.0.0-test");
    let run = begin(&starter, rest, json!({ "n": 7 })).await.unwrap();
    let first = Process::start(&world, &outside, fate);
    let made = || first.store.commits.load(Ordering::SeqCst);
    let dead = || matches!(fate, Fate::Dies { commits, .. } if made() > commits);
    until(&world, &first.engine, &run, |head| head.told || dead()).await;
    let made = made();
    first.kill().await;
    let second = Process::start(&world, &outside, Fate::Lives);
    let head = until_taken_over(&world, &second.engine, &run, |head| head.told).await;
    let end = end(&second.engine, &head).await;
    second.kill().await;
    (Ended { end, effects: effects(&world, &outside).await }, made)
}

/// Holds every cell to what becomes of the run when nothing happens to it.
async fn check(rest: &str, wanted: &Ended, fates: impl Iterator<Item = Fate>) {
    // Each has its own world, and mostly waits.
    let cells = fates.map(|fate| async move { (fate, ended(rest, fate).await.0) });
    for (fate, ended) in futures_util::future::join_all(cells).await {
        assert_eq!(ended, *wanted, "{fate:?}: {rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cut_off_at_every_commit_ends_the_same_with_the_same_effects() {
    let written = MATRIX.iter().map(|rest| (*rest).to_owned());
    let mut made_up = 0;
    for (place, rest) in written.chain(definitions(4 * MADE_UP)).enumerate() {
        let (wanted, all) = ended(&rest, Fate::Lives).await;
        if place >= MATRIX.len() {
            if made_up == MADE_UP || !COMMITS.contains(&all) {
                continue;
            }
            made_up += 1;
        }
        let fates = (0..all).flat_map(|commits| [false, true].map(|lose_answer| Fate::Dies { commits, lose_answer }));
        check(&rest, &wanted, fates).await;
    }
    assert_eq!(made_up, MADE_UP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_at_any_commit_moves_no_effect() {
    const HOUR_MS: i64 = 3_600_000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
    for rest in MATRIX {
        let (wanted, all) = ended(rest, Fate::Lives).await;
        let jumps = [HOUR_MS, -HOUR_MS, YEAR_MS, -YEAR_MS];
        let fates = (0..all).flat_map(|commits| jumps.map(|by_ms| Fate::Jumps { commits, by_ms }));
        check(rest, &wanted, fates).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_together_do_everything_once() {
    let (world, outside) = (World::default(), Arc::new(Recorded::default()));
    let (one, two) = (Process::start(&world, &outside, Fate::Lives), Process::start(&world, &outside, Fate::Lives));
    let run = begin(&one.engine, MATRIX[0], json!({ "n": 1 })).await.unwrap();
    let head = until(&world, &two.engine, &run, over).await;
    assert!(line(&head).contains("completed"), "{}", line(&head));
    let often: Vec<u32> = outside.effects.lock().values().map(|(often, _)| *often).collect();
    assert!(often.iter().all(|often| *often == 1), "{often:?}");
    one.kill().await;
    two.kill().await;
}
