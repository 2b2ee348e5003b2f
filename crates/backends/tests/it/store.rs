//! The store's contract.

use std::sync::Arc;

use kernel::store::{COMMIT_MAX, Expect, KEY_BYTES_MAX, LIST_MAX, Store, VALUE_BYTES_MAX, Write};
use kernel::{Code, OnEnd};
use serde_json::json;

use crate::kit::{Kit, START_MS, on_every_backend, soon};

on_every_backend!(
    reads_what_was_written,
    a_commit_is_all_or_nothing,
    a_conflict_says_what_is_there,
    every_commit_has_a_higher_revision,
    contended_compare_and_set_loses_nothing,
    lists_by_prefix_and_page,
    entries_expire_by_the_clock,
    changes_tell_writes_deletions_and_expiries,
    changes_never_cut_a_commit,
    deletions_are_forgotten_after_an_hour,
    limits_are_refused,
    waiters_are_nudged,
);

async fn put(store: &Arc<dyn Store>, key: &str, value: &str) -> u64 {
    store.commit(vec![Write::put("s", key, value)]).await.unwrap()
}

async fn keys(store: &Arc<dyn Store>, prefix: &str) -> Vec<String> {
    store.list("s", prefix, None, LIST_MAX).await.unwrap().into_iter().map(|entry| entry.key).collect()
}

async fn reads_what_was_written(kit: Kit) {
    let revision = put(&kit.store, "k", "v").await;
    let entry = kit.other.store.get("s", "k").await.unwrap().unwrap();
    assert_eq!((entry.key.as_str(), entry.value.as_str(), entry.revision), ("k", "v", revision));
    assert_eq!((entry.updated_ms, entry.expires_ms), (START_MS, None));
    assert_eq!(kit.store.get("other", "k").await.unwrap(), None);
    kit.store.commit(vec![Write::delete("s", "k")]).await.unwrap();
    assert_eq!(kit.other.store.get("s", "k").await.unwrap(), None);
}

async fn a_commit_is_all_or_nothing(kit: Kit) {
    put(&kit.store, "a", "1").await;
    let writes = vec![Write::put("s", "b", "2"), Write::put("s", "a", "2").expecting(Expect::Absent)];
    assert_eq!(kit.store.commit(writes).await.unwrap_err().code, Code::Conflict);
    assert_eq!(keys(&kit.store, "").await, ["a"]);
    let writes = vec![Write::put("s", "b", "2"), Write::delete("s", "a").expecting(Expect::Revision(1))];
    assert_eq!(kit.store.commit(writes).await.unwrap(), 2, "a refused commit takes no revision");
    assert_eq!(keys(&kit.store, "").await, ["b"]);
}

async fn a_conflict_says_what_is_there(kit: Kit) {
    let revision = put(&kit.store, "a", "1").await;
    let fault = kit.store.commit(vec![Write::put("s", "a", "2").expecting(Expect::Absent)]).await.unwrap_err();
    assert_eq!(fault.data.as_deref(), Some(&json!({"space": "s", "key": "a", "revision": revision})));
    let fault = kit.store.commit(vec![Write::put("s", "b", "2").expecting(Expect::Revision(1))]).await.unwrap_err();
    assert_eq!(fault.data.as_deref(), Some(&json!({"space": "s", "key": "b", "revision": null})));
    // No entry is at revision 0, which is not to be absent.
    let nobodys = Write::put("s", "b", "2").expecting(Expect::Revision(0));
    for writes in [vec![nobodys.clone()], vec![nobodys, Write::put("s", "c", "3")]] {
        let fault = kit.store.commit(writes).await.unwrap_err();
        assert_eq!(fault.data.as_deref(), Some(&json!({"space": "s", "key": "b", "revision": null})));
    }
    assert_eq!(keys(&kit.store, "").await, ["a"]);
}

async fn every_commit_has_a_higher_revision(kit: Kit) {
    let mut last = 0;
    for round in 0..10 {
        let store = if round % 2 == 0 { &kit.store } else { &kit.other.store };
        let revision = store.commit(vec![Write::put("s", "k", "v"), Write::delete("s", "never")]).await.unwrap();
        assert!(revision > last);
        last = revision;
    }
    let nothing = kit.store.commit(vec![Write::delete("s", "never")]).await.unwrap();
    assert!(nothing > last);
}

async fn contended_compare_and_set_loses_nothing(kit: Kit) {
    const TASKS: u32 = 8;
    const EACH: u32 = 20;
    put(&kit.store, "n", "0").await;
    for task in 0..TASKS {
        let store = if task % 2 == 0 { kit.store.clone() } else { kit.other.store.clone() };
        kit.tasks.spawn("adder", OnEnd::Done, async move {
            for _ in 0..EACH {
                while !add_one(&store).await {}
            }
        });
    }
    assert_eq!(soon(finish(&kit)).await, 0);
    let entry = kit.store.get("s", "n").await.unwrap().unwrap();
    assert_eq!(entry.value, (TASKS * EACH).to_string());
}

async fn finish(kit: &Kit) -> usize {
    kit.tasks.drain(std::time::Duration::from_secs(30)).await
}

async fn add_one(store: &Arc<dyn Store>) -> bool {
    let entry = store.get("s", "n").await.unwrap().unwrap();
    let next = entry.value.parse::<u32>().unwrap() + 1;
    let write = Write::put("s", "n", next.to_string()).expecting(Expect::Revision(entry.revision));
    match store.commit(vec![write]).await {
        Ok(_) => true,
        Err(fault) if fault.code == Code::Conflict => false,
        Err(fault) => panic!("{fault}"),
    }
}

async fn lists_by_prefix_and_page(kit: Kit) {
    let all =
        ["%", "%a", "A", "_", "_a", "a", "a%", "a%b", "a_", "a_b", "ab", "é", "éa", "ê", "\u{10ffff}", "\u{10ffff}z"];
    for key in all.iter().rev() {
        put(&kit.store, key, "v").await;
    }
    assert_eq!(keys(&kit.store, "").await, all, "in the order of the bytes");
    for (prefix, want) in [
        ("%", &["%", "%a"][..]),
        ("_", &["_", "_a"]),
        ("a%", &["a%", "a%b"]),
        ("a_", &["a_", "a_b"]),
        ("é", &["é", "éa"]),
        ("\u{10ffff}", &["\u{10ffff}", "\u{10ffff}z"]),
        ("b", &[]),
    ] {
        assert_eq!(keys(&kit.store, prefix).await, want, "{prefix}");
    }
    let mut paged = Vec::new();
    while let page = kit.store.list("s", "a", paged.last().map(String::as_str), 2).await.unwrap()
        && !page.is_empty()
    {
        paged.extend(page.into_iter().map(|entry| entry.key));
    }
    assert_eq!(paged, ["a", "a%", "a%b", "a_", "a_b", "ab"]);
    assert_eq!(kit.store.list("s", "a", Some("A"), 1).await.unwrap()[0].key, "a", "`after` may lie before the prefix");
    assert_eq!(kit.store.list("s", "a", Some("b"), 1).await.unwrap(), [], "or after it");
    assert_eq!(kit.store.list("s", "", None, 0).await.unwrap(), []);
}

async fn entries_expire_by_the_clock(kit: Kit) {
    let write = |value: &str| Write::put("s", "k", value).expiring_at(START_MS + 100);
    let revision = kit.store.commit(vec![write("1")]).await.unwrap();
    kit.clock.advance_ms(99);
    assert_eq!(kit.store.get("s", "k").await.unwrap().unwrap().expires_ms, Some(START_MS + 100));
    kit.clock.advance_ms(1);
    assert_eq!(kit.store.get("s", "k").await.unwrap(), None);
    assert_eq!(keys(&kit.store, "").await, [""; 0]);
    let late = vec![Write::put("s", "k", "2").expecting(Expect::Revision(revision))];
    assert_eq!(kit.store.commit(late).await.unwrap_err().code, Code::Conflict);
    kit.store.commit(vec![Write::put("s", "k", "3").expecting(Expect::Absent)]).await.unwrap();
    let entry = kit.other.store.get("s", "k").await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.expires_ms), ("3", None), "a new write lives by its own rules");
}

async fn changes_tell_writes_deletions_and_expiries(kit: Kit) {
    let changes = async |revision: u64| {
        let changes = kit.other.store.changes("s", "k", revision, 10).await.unwrap();
        let last = changes.last().map_or(revision, |change| change.revision);
        (changes.into_iter().map(|change| (change.key, change.value)).collect::<Vec<_>>(), last)
    };
    let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let store = kit.store.clone();
    let write = Write::put("s", "k1", "1").expiring_at(START_MS + 100);
    store.commit(vec![write, Write::put("s", "k2", "2"), Write::put("s", "x", "x")]).await.unwrap();
    put(&store, "k3", "3").await;
    put(&store, "k3", "4").await;
    let (seen, last) = changes(0).await;
    assert_eq!(seen, [pair("k1", Some("1")), pair("k2", Some("2")), pair("k3", Some("4"))]);
    store.commit(vec![Write::delete("s", "k2")]).await.unwrap();
    let (seen, last) = changes(last).await;
    assert_eq!(seen, [pair("k2", None)]);
    kit.clock.advance_ms(100);
    let (seen, last) = changes(last).await;
    assert_eq!(seen, [pair("k1", None)], "an expiry is a change of its own");
    assert_eq!(changes(last).await.0, []);
    assert_eq!(changes(0).await.0.len(), 3, "the newest change of each key");
}

async fn changes_never_cut_a_commit(kit: Kit) {
    for commit in 0..3 {
        let writes = (0..5).map(|n| Write::put("s", &format!("{commit}{n}"), "v")).collect();
        kit.store.commit(writes).await.unwrap();
    }
    let mut sizes = Vec::new();
    let mut last = 0;
    while let page = kit.store.changes("s", "", last, 6).await.unwrap()
        && !page.is_empty()
    {
        sizes.push(page.len());
        last = page[page.len() - 1].revision;
    }
    assert_eq!(sizes, [10, 5]);
    assert_eq!(kit.store.changes("s", "", 0, 0).await.unwrap(), []);
}

async fn deletions_are_forgotten_after_an_hour(kit: Kit) {
    put(&kit.store, "k", "v").await;
    kit.store.commit(vec![Write::delete("s", "k")]).await.unwrap();
    kit.clock.advance_ms(3_600_000);
    put(&kit.store, "a", "v").await;
    assert_eq!(kit.store.changes("s", "k", 0, 10).await.unwrap().len(), 1);
    kit.clock.advance_ms(20_000);
    let revision = put(&kit.store, "a", "v").await;
    assert_eq!(kit.store.changes("s", "k", 0, 10).await.unwrap(), []);
    assert!(put(&kit.store, "k", "v").await > revision);
}

async fn limits_are_refused(kit: Kit) {
    let code = async |writes: Vec<Write>| kit.store.commit(writes).await.map_err(|fault| fault.code);
    let key = "k".repeat(KEY_BYTES_MAX);
    let value = "v".repeat(VALUE_BYTES_MAX);
    assert!(code(vec![Write::put("s", &key, value.clone())]).await.is_ok());
    assert_eq!(code(vec![Write::put("s", &format!("{key}k"), "v")]).await, Err(Code::TooLarge));
    assert_eq!(code(vec![Write::put("s", "k", value + "v")]).await, Err(Code::TooLarge));
    assert_eq!(code(vec![Write::put("s", "", "v")]).await, Err(Code::InvalidArgument));
    assert_eq!(code(vec![Write::put("s", "a\0b", "v")]).await, Err(Code::InvalidArgument));
    assert_eq!(code(vec![Write::put("s", "k", "a\0b")]).await, Err(Code::InvalidArgument));
    assert_eq!(code(vec![]).await, Err(Code::InvalidArgument));
    assert_eq!(code(vec![Write::put("s", "k", "1"), Write::delete("s", "k")]).await, Err(Code::InvalidArgument));
    let many = |count: usize| (0..count).map(|n| Write::put("s", &n.to_string(), "v")).collect::<Vec<_>>();
    assert!(code(many(COMMIT_MAX)).await.is_ok());
    assert_eq!(code(many(COMMIT_MAX + 1)).await, Err(Code::TooLarge));
    let fault = kit.store.list("s", "", None, LIST_MAX + 1).await.unwrap_err();
    assert_eq!(fault.to_string(), "too_large: a page's limit is 1001, past 1000 (at most 1000)");
    assert_eq!(kit.store.changes("s", "", 0, LIST_MAX + 1).await.unwrap_err().code, Code::TooLarge);
}

async fn waiters_are_nudged(kit: Kit) {
    // A change between the call and the first poll counts.
    let here = kit.store.changed(&["r", "s"]);
    let there = kit.other.store.changed(&["s"]);
    put(&kit.store, "k", "v").await;
    soon(async { tokio::join!(here, there) }).await;
    // Who waits for something else, or for nothing, is left alone.
    let (elsewhere, nothing) = (kit.store.changed(&["elsewhere"]), kit.store.changed(&[]));
    let heard = kit.store.changed(&["s"]);
    put(&kit.store, "k", "w").await;
    tokio::select! {
        biased;
        () = elsewhere => panic!("woken by another space"),
        () = nothing => panic!("woken by nothing"),
        () = heard => {}
    }
    // So does an expiry, although nobody writes.
    kit.store.commit(vec![Write::put("s", "k", "v").expiring_at(START_MS + 10)]).await.unwrap();
    let revision = kit.store.get("s", "k").await.unwrap().unwrap().revision;
    kit.clock.advance_ms(10);
    soon(async {
        while kit.store.changes("s", "k", revision, 1).await.unwrap().is_empty() {
            kit.store.changed(&["s"]).await;
        }
    })
    .await;
}
