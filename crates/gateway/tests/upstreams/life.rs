//! Starting, dying, hanging, flooding, ending.

use std::time::{Duration, Instant};

use gateway::upstream::State;
use serde_json::json;

use crate::bench::{Bench, admin, aside, ask, call, children, ctx, lives, open_files, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_child_serves_all_callers() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    let status = up.status();
    assert_eq!(status.state, State::Ready, "{status:?}");
    assert_eq!((status.revision.as_deref(), status.server.as_deref()), (Some("2025-06-18"), Some("misbehaviour 1")));
    let calls = (0..50).map(|n| {
        let up = up.clone();
        async move { call(&*up, "echo", json!({ "text": n.to_string() }), ctx()).await }
    });
    let said = futures_util::future::join_all(calls).await;
    assert_eq!(said, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    let pid = call(&*up, "pid", json!({}), ctx()).await;
    assert_eq!(pid, call(&*up, "pid", json!({}), ctx()).await);
    assert_eq!(status.pid.unwrap().to_string(), pid);
    bench.stop().await;
    assert!(!lives(pid.parse().unwrap()), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_child_fails_its_calls_at_once_and_is_back_within_a_second() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    let stuck = aside(&up, "stuck", json!({}), ctx());
    let state = bench.state("good");
    until("it is under way", async || std::fs::read_to_string(&state).is_ok_and(|text| text == "began\n")).await;
    let died = Instant::now();
    let dying = ask(&*up, "tools/call", json!({ "name": "die", "arguments": {} }), ctx()).await.unwrap();
    assert!(died.elapsed() < Duration::from_millis(500), "{:?}", died.elapsed());
    assert!(dying.body.get().contains("going down"), "its last words are told: {}", dying.body);
    assert_eq!(stuck.await.unwrap(), "refused: unavailable");
    // Callers do nothing: the next call waits until it is back.
    assert_eq!(call(&*up, "echo", json!({ "text": "again" }), ctx()).await, "again");
    assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    let pid = up.status().pid.unwrap();
    let killed = Instant::now();
    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    until("it has another process", async || up.status().pid.is_some_and(|now| now != pid)).await;
    assert!(killed.elapsed() < Duration::from_secs(1));
    assert_eq!(up.status().restarts, 2);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_or_crashes_at_start_is_told_and_hurts_nobody() {
    let bench = Bench::new().await;
    let crash = bench.add("crash").await;
    let hang = bench.upstreams.add(bench.spec("hang", json!({ "timeout_seconds": 1 })), &admin()).await.unwrap();
    let good = bench.add("good").await;
    assert_eq!(call(&*good, "echo", json!({ "text": "fine" }), ctx()).await, "fine");
    let refusal = ask(&*crash, "resources/list", json!({}), ctx()).await.unwrap_err();
    assert!(refusal.message.contains("cannot find my configuration"), "{refusal}");
    assert_eq!(call(&*crash, "echo", json!({}), ctx()).await, "error -32602", "no tool was ever seen");
    until("the one that hangs was given up for now", async || hang.status().failures > 0).await;
    assert!(hang.status().last_error.unwrap().contains("did not answer initialize"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_never_comes_up_is_given_up_and_heard_of() {
    let bench = Bench::new().await;
    let spec =
        json!({ "name": "absent", "url": "https://example.com", "headers": { "Authorization": "Bearer env:NO" } });
    let up = bench.upstreams.add(serde_json::from_value(spec).unwrap(), &admin()).await.unwrap();
    until("it is given up", async || up.status().state == State::Failed).await;
    assert_eq!(up.status().failures, 10);
    until("the fleet heard", async || !bench.events("upstream.failed").await.is_empty()).await;
    assert_eq!(bench.events("upstream.failed").await[0]["error"], "not_configured: env:NO: nothing there");
    assert_eq!(
        ask(&*up, "prompts/list", json!({}), ctx()).await.unwrap_err().message,
        "upstream absent failed too often: env:NO: nothing there"
    );
    up.restart();
    until("it begins anew", async || up.status().failures < 10).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_floods_do_not_stop_the_answers() {
    let bench = Bench::new().await;
    for mode in ["garbage", "flood", "silent"] {
        let up = bench.add(mode).await;
        assert_eq!(up.status().state, State::Ready, "{mode}: {:?}", up.status());
        for n in 0..10 {
            assert_eq!(call(&*up, "echo", json!({ "text": n.to_string() }), ctx()).await, n.to_string(), "{mode}");
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_fails_its_call_and_no_other() {
    let bench = Bench::new().await;
    let up = bench.add("good").await;
    assert_eq!(call(&*up, "big", json!({ "text": "1000000" }), ctx()).await.len(), 1_000_000);
    let other = aside(&up, "slow", json!({}), ctx());
    assert_eq!(call(&*up, "big", json!({ "text": "20000000" }), ctx()).await, "refused: too_large");
    assert_eq!(other.await.unwrap(), "done");
    assert_eq!(up.status().restarts, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_call_times_out_and_is_taken_back() {
    let bench = Bench::new().await;
    let up = bench.add_with("good", json!({ "timeout_seconds": 1 })).await;
    assert_eq!(call(&*up, "stuck", json!({}), ctx()).await, "refused: timeout");
    let state = bench.state("good");
    until("the server heard", async || std::fs::read_to_string(&state).is_ok_and(|text| text.ends_with("cancelled\n")))
        .await;
    let ctx = ctx();
    let cancel = ctx.cancel.clone();
    let taken_back = aside(&up, "stuck", json!({}), ctx);
    until("it is under way", async || std::fs::read_to_string(&state).is_ok_and(|text| text.ends_with("began\n")))
        .await;
    cancel.cancel();
    assert_eq!(taken_back.await.unwrap(), "refused: cancelled");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deaf_and_their_children_end_too() {
    let bench = Bench::new().await;
    let (deaf, parent) = (bench.add("deaf").await, bench.add("parent").await);
    let pids = [deaf.status().pid.unwrap(), parent.status().pid.unwrap()];
    let grandchild: u32 = std::fs::read_to_string(bench.state("parent")).unwrap().parse().unwrap();
    assert!(pids.iter().chain([&grandchild]).all(|pid| lives(*pid)));
    bench.upstreams.remove("parent", &admin()).await.unwrap();
    until("the grandchild ended", async || !lives(grandchild) && !lives(pids[1])).await;
    bench.stop().await;
    assert!(!lives(pids[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_comings_and_goings_leave_nothing_behind() {
    const AT_ONCE: usize = 10;
    let bench = Bench::new().await;
    let once = async |name: String| {
        let up = bench.add_with("good", json!({ "name": name })).await;
        assert_eq!(call(&*up, "echo", json!({ "text": "x" }), ctx()).await, "x");
        let pid = up.status().pid.unwrap();
        bench.upstreams.remove(&name, &admin()).await.unwrap();
        assert!(!lives(pid), "{name}");
    };
    once("first".into()).await;
    let (files, children) = (open_files(), children());
    for round in 0..1_000 / AT_ONCE {
        let names = (0..AT_ONCE).map(|n| format!("up-{round}-{n}"));
        futures_util::future::join_all(names.map(&once)).await;
    }
    until("no file is left open", async || open_files() <= files).await;
    assert_eq!(self::children(), children);
    bench.stop().await;
}
