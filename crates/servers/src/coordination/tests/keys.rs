//! Keys and values.

use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn a_value_is_put_read_listed_and_deleted() {
    let bench = bench();
    bench
        .check("kv_put", json!({ "key": "plan/a", "value": { "n": 1 } }), expect![[r#"{"key":"plan/a","revision":1}"#]])
        .await;
    bench
        .check(
            "kv_put",
            json!({ "key": "plan/b", "value": null, "ttl_seconds": 60 }),
            expect![[r#"{"key":"plan/b","revision":2}"#]],
        )
        .await;
    bench
        .check(
            "kv_get",
            json!({ "key": "plan/a" }),
            expect![[r#"{"entry":{"key":"plan/a","value":{"n":1},"revision":1,"updated_ms":1794729600000}}"#]],
        )
        .await;
    bench.check("kv_get", json!({ "key": "plan/b" }), expect![[r#"{"entry":{"key":"plan/b","value":null,"revision":2,"updated_ms":1794729600000,"expires_ms":1794729660000}}"#]]).await;
    bench.check("kv_list", json!({ "prefix": "plan/", "limit": 1 }), expect![[r#"{"entries":[{"key":"plan/a","value":{"n":1},"revision":1,"updated_ms":1794729600000}],"next":"plan/a"}"#]]).await;
    bench
        .check(
            "kv_list",
            json!({ "prefix": "plan/", "cursor": "plan/a", "values": false }),
            expect![[
                r#"{"entries":[{"key":"plan/b","revision":2,"updated_ms":1794729600000,"expires_ms":1794729660000}]}"#
            ]],
        )
        .await;
    bench.world.clock.advance_ms(60_000);
    bench.check("kv_get", json!({ "key": "plan/b" }), expect![[r#"{"entry":null}"#]]).await;
    bench.check("kv_delete", json!({ "key": "plan/a" }), expect![[r#"{"key":"plan/a","deleted":true}"#]]).await;
    bench.check("kv_delete", json!({ "key": "plan/a" }), expect![[r#"{"key":"plan/a","deleted":false}"#]]).await;
    bench.check("kv_list", json!({}), expect![[r#"{"entries":[]}"#]]).await;
}

#[tokio::test]
async fn a_lost_compare_and_set_says_the_revision_now() {
    let bench = bench();
    bench
        .check("kv_put", json!({ "key": "k", "value": 1, "if_revision": 0 }), expect![[r#"{"key":"k","revision":1}"#]])
        .await;
    bench
        .check(
            "kv_put",
            json!({ "key": "k", "value": 2, "if_revision": 0 }),
            expect![
                "conflict: key `k` is at revision 1 now (read it again, decide again, and retry with its revision)"
            ],
        )
        .await;
    bench
        .check("kv_put", json!({ "key": "k", "value": 2, "if_revision": 1 }), expect![[r#"{"key":"k","revision":2}"#]])
        .await;
    bench
        .check(
            "kv_put",
            json!({ "key": "k", "value": 3, "if_revision": 1 }),
            expect![
                "conflict: key `k` is at revision 2 now (read it again, decide again, and retry with its revision)"
            ],
        )
        .await;
    bench
        .check(
            "kv_put",
            json!({ "key": "gone", "value": 3, "if_revision": 1 }),
            expect!["conflict: there is no key `gone` now (read it again, decide again, and retry with its revision)"],
        )
        .await;
    bench
        .check(
            "kv_delete",
            json!({ "key": "k", "if_revision": 1 }),
            expect![
                "conflict: key `k` is at revision 2 now (read it again, decide again, and retry with its revision)"
            ],
        )
        .await;
    bench
        .check(
            "kv_delete",
            json!({ "key": "gone", "if_revision": 1 }),
            expect!["conflict: there is no key `gone` at revision 1 (it was deleted, or ended by itself)"],
        )
        .await;
    bench.check("kv_delete", json!({ "key": "k", "if_revision": 2 }), expect![[r#"{"key":"k","deleted":true}"#]]).await;
}

#[tokio::test]
async fn what_is_too_large_or_out_of_range_is_refused() {
    let bench = bench();
    bench
        .check(
            "kv_put",
            json!({ "key": "k", "value": "x".repeat(257 << 10) }),
            expect!["too_large: value has 263170 bytes (at most 262144)"],
        )
        .await;
    bench
        .check(
            "kv_put",
            json!({ "key": "k", "value": 1, "ttl_seconds": 0 }),
            expect!["invalid_argument: ttl_seconds is 0 (1 to 31,536,000)"],
        )
        .await;
    bench
        .check(
            "kv_put",
            json!({ "key": "k" }),
            expect!["invalid_argument: arguments: missing field `value` (the tool's inputSchema says what it takes)"],
        )
        .await;
    bench.check("kv_list", json!({ "limit": 201 }), expect!["invalid_argument: limit is 201 (1 to 200)"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_at_once_count_without_losing_one() {
    let bench = Arc::new(bench());
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let bench = Arc::clone(&bench);
        clients.spawn(async move {
            let caller = operator(&format!("client-{client}"));
            let mut done = 0;
            while done < 10 {
                let entry = bench.call(&caller, KV_GET, KvGetRequest { key: "count".into() }).await.unwrap().entry;
                let (value, revision) =
                    entry.map_or((0, 0), |entry| (entry.value.unwrap().as_u64().unwrap(), entry.revision));
                let key = "count".to_owned();
                let put = KvPutRequest { key, value: json!(value + 1), if_revision: Some(revision), ttl_seconds: None };
                match bench.call(&caller, KV_PUT, put).await {
                    Ok(_) => done += 1,
                    Err(fault) => assert_eq!(fault.code, Code::Conflict),
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let entry = bench.call(&admin(), KV_GET, KvGetRequest { key: "count".into() }).await.unwrap().entry.unwrap();
    assert_eq!(entry.value, Some(json!(60)));
}

fn watch(after_revision: u64, wait_seconds: u64) -> KvWatchRequest {
    KvWatchRequest { prefix: "plan/".into(), after_revision, wait_seconds }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_with_a_revision_hears_of_every_key() {
    let bench = Arc::new(bench());
    bench.shown(&admin(), "kv_put", json!({ "key": "plan/a", "value": 1 })).await;
    bench.shown(&admin(), "kv_put", json!({ "key": "other", "value": 1 })).await;
    let start = bench.call(&viewer("bob"), KV_WATCH, watch(0, 0)).await.unwrap();
    assert_eq!((start.changes.len(), start.revision), (1, 1));
    let watcher = Arc::clone(&bench);
    let after = start.revision;
    let waiting = spawned(async move { watcher.call(&viewer("bob"), KV_WATCH, watch(after, 300)).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(100)).await;
    bench.shown(&admin(), "kv_put", json!({ "key": "other", "value": 2 })).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!waiting.is_finished());
    bench.shown(&admin(), "kv_delete", json!({ "key": "plan/a" })).await;
    let heard = waiting.await.unwrap();
    expect![[r#"{"changes":[{"key":"plan/a","deleted":true,"revision":4}],"revision":4}"#]]
        .assert_eq(&serde_json::to_string(&heard).unwrap());
    let began = Instant::now();
    let silent = bench.call(&viewer("bob"), KV_WATCH, watch(heard.revision, 25)).await.unwrap();
    assert_eq!((silent.changes.len(), silent.revision, began.elapsed().as_secs()), (0, heard.revision, 25));
    bench
        .check(
            "kv_watch",
            json!({ "wait_seconds": 301 }),
            expect!["invalid_argument: a wait of 301 s (at most 300 s; call again to wait on)"],
        )
        .await;
}

#[tokio::test]
async fn an_end_of_life_is_a_change_and_what_is_large_comes_in_parts() {
    let bench = bench();
    bench.shown(&admin(), "kv_put", json!({ "key": "plan/a", "value": null, "ttl_seconds": 5 })).await;
    let seen = bench.call(&admin(), KV_WATCH, watch(0, 0)).await.unwrap();
    assert_eq!(seen.changes[0].value, Some(Value::Null));
    bench.world.clock.advance_ms(5_000);
    let ended = bench.call(&admin(), KV_WATCH, watch(seen.revision, 0)).await.unwrap();
    assert_eq!((ended.changes.len(), ended.changes[0].deleted), (1, true));
    let value = "x".repeat(250 << 10);
    for n in 0..20 {
        bench.shown(&admin(), "kv_put", json!({ "key": format!("plan/{n:02}"), "value": value })).await;
    }
    let mut heard = Vec::new();
    let mut after = ended.revision;
    loop {
        let part = bench.call(&admin(), KV_WATCH, watch(after, 0)).await.unwrap();
        if part.changes.is_empty() {
            break;
        }
        after = part.revision;
        heard.push(part.changes.len());
    }
    assert_eq!(heard, [16, 4]);
    let list = KvListRequest { prefix: "plan/".into(), cursor: None, limit: 200, values: true };
    let first = bench.call(&admin(), KV_LIST, list).await.unwrap();
    assert_eq!((first.entries.len(), first.next.as_deref()), (16, Some("plan/15")));
}

#[tokio::test]
async fn a_value_that_is_no_json_is_said_to_be_damaged() {
    let bench = bench();
    bench.world.store.commit(vec![Write::put("kv", "k", "{")]).await.unwrap();
    bench
        .check(
            "kv_get",
            json!({ "key": "k" }),
            expect!["internal: the value of key `k` is damaged: EOF while parsing an object at line 1 column 1"],
        )
        .await;
}
