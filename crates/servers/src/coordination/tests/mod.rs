//! Each tool through the protocol, alone and with several clients at once.

mod holding;
mod keys;
mod messages;

use expect_test::expect;
use kernel::store::Write;
use kernel::{Caller, Role};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Bench, admin, operator, viewer};

fn bench() -> Bench {
    Bench::new::<Coordination>()
}

#[tokio::test]
async fn looking_is_for_all_and_changing_for_operators() {
    let bench = bench();
    let denied = expect![
        "permission_denied: role viewer may not use coordination.publish (needs a key with role operator: `flotilla token create NAME --role operator`)"
    ];
    bench.check_as(&viewer("eve"), "publish", json!({ "topic": "news" }), denied).await;
    let trader = Caller::new("tom", Role::Trader);
    for (tool, arguments) in [
        ("request", json!({ "topic": "t" })),
        ("reply", json!({ "request_id": "req_1" })),
        ("acquire_lock", json!({ "name": "l" })),
        ("renew_lock", json!({ "name": "l", "token": 1 })),
        ("release_lock", json!({ "name": "l", "token": 1 })),
        ("campaign", json!({ "election": "e" })),
        ("resign", json!({ "election": "e", "token": 1 })),
        ("barrier", json!({ "name": "b", "parties": 1 })),
        ("kv_put", json!({ "key": "k", "value": 1 })),
        ("kv_delete", json!({ "key": "k" })),
    ] {
        let seen = bench.shown(&trader, tool, arguments).await;
        assert!(seen.starts_with("permission_denied: role trader may not use"), "{tool}: {seen}");
    }
    for (tool, arguments) in [
        ("read_topic", json!({ "topic": "t" })),
        ("list_topics", json!({})),
        ("list_locks", json!({})),
        ("leader", json!({ "election": "e" })),
        ("kv_get", json!({ "key": "k" })),
        ("kv_list", json!({})),
        ("kv_watch", json!({})),
    ] {
        let seen = bench.shown(&viewer("eve"), tool, arguments).await;
        assert!(seen.starts_with('{'), "{tool}: {seen}");
    }
}

#[tokio::test]
async fn the_fleets_own_names_are_not_written_even_by_an_administrator() {
    let bench = bench();
    for (tool, arguments) in [
        ("publish", json!({ "topic": "fleet" })),
        ("publish", json!({ "topic": "chain.heads" })),
        ("publish", json!({ "topic": "_replies.x" })),
        ("request", json!({ "topic": "fleet" })),
        ("acquire_lock", json!({ "name": "_supervisor" })),
        ("renew_lock", json!({ "name": "fleet/x", "token": 1 })),
        ("release_lock", json!({ "name": "fleet/x", "token": 1 })),
        ("campaign", json!({ "election": "fleet" })),
        ("resign", json!({ "election": "chain:1", "token": 1 })),
        ("barrier", json!({ "name": "_", "parties": 1 })),
        ("kv_put", json!({ "key": "_config", "value": 1 })),
        ("kv_delete", json!({ "key": "fleet.mode" })),
    ] {
        let seen = bench.shown(&admin(), tool, arguments).await;
        let ending = "belongs to the fleet (names that begin with fleet, chain or _ can be read, not written)";
        assert!(seen.starts_with("permission_denied:") && seen.ends_with(ending), "{tool}: {seen}");
    }
    bench.check("kv_get", json!({ "key": "_config" }), expect![[r#"{"entry":null}"#]]).await;
}

#[tokio::test]
async fn names_are_checked() {
    let bench = bench();
    bench
        .check(
            "publish",
            json!({ "topic": "" }),
            expect!["invalid_argument: `` cannot name a topic (1 to 128 characters of A-Z a-z 0-9 . _ : -)"],
        )
        .await;
    bench
        .check(
            "publish",
            json!({ "topic": "a b" }),
            expect!["invalid_argument: `a b` cannot name a topic (1 to 128 characters of A-Z a-z 0-9 . _ : -)"],
        )
        .await;
    bench
        .check(
            "publish",
            json!({ "topic": "a/b" }),
            expect!["invalid_argument: `a/b` cannot name a topic (1 to 128 characters of A-Z a-z 0-9 . _ : -)"],
        )
        .await;
    bench.check("publish", json!({ "topic": "x".repeat(129) }), expect!["invalid_argument: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` cannot name a topic (1 to 128 characters of A-Z a-z 0-9 . _ : -)"]).await;
    bench
        .check(
            "publish",
            json!({ "topic": "news", "kind": "a\nb" }),
            expect![[r#"invalid_argument: `a\nb` cannot name a kind (1 to 200 characters of A-Z a-z 0-9 . _ : / -)"#]],
        )
        .await;
    bench.check("kv_put", json!({ "key": "x".repeat(201), "value": 1 }), expect!["invalid_argument: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` cannot name a key (1 to 200 characters of A-Z a-z 0-9 . _ : / -)"]).await;
    bench
        .check(
            "kv_list",
            json!({ "prefix": "%" }),
            expect!["invalid_argument: `%` cannot name a key (1 to 200 characters of A-Z a-z 0-9 . _ : / -)"],
        )
        .await;
    bench
        .check(
            "acquire_lock",
            json!({ "name": "l", "owner": "root/x" }),
            expect!["invalid_argument: `root/x` cannot name a worker (1 to 64 characters of A-Z a-z 0-9 . _ : -)"],
        )
        .await;
    bench
        .check(
            "acquire_lock",
            json!({ "name": "l", "owner": "" }),
            expect!["invalid_argument: `` cannot name a worker (1 to 64 characters of A-Z a-z 0-9 . _ : -)"],
        )
        .await;
}

#[tokio::test]
async fn what_it_stands_on_is_its_health() {
    let bench = bench();
    bench.check("publish", json!({ "topic": "news" }), expect![[r#"{"topic":"news","seq":1}"#]]).await;
    let report = bench.service.health().await;
    expect![[r#"[{"name":"store","status":"healthy","detail":"answers"},{"name":"bus","status":"healthy","detail":"1 topics"}]"#]].assert_eq(&serde_json::to_string(&report.checks).unwrap());
}

#[tokio::test(start_paused = true)]
async fn old_events_are_forgotten_hour_by_hour() {
    let bench = bench();
    bench.check("publish", json!({ "topic": "news" }), expect![[r#"{"topic":"news","seq":1}"#]]).await;
    bench.start().await;
    bench.world.clock.advance_ms(7 * 24 * 3_600_000 + 1);
    bench.check("publish", json!({ "topic": "news" }), expect![[r#"{"topic":"news","seq":2}"#]]).await;
    while bench.world.bus.topics().await.unwrap()[0].events > 1 {
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    let request = serde_json::from_value(json!({ "topic": "news" })).unwrap();
    let left = bench.call(&admin(), READ_TOPIC, request).await.unwrap();
    assert_eq!((left.events.len(), left.events[0].seq, left.next), (1, 2, 2));
}

#[test]
fn retention_of_nothing_is_refused() {
    let world = kernel::fake::World::default();
    let config = Config { topic_retention_hours: 0 };
    assert_eq!(Coordination::new(&world.ports(), config).err().map(|fault| fault.code), Some(Code::InvalidArgument));
}

/// Runs a client beside the test.
#[expect(clippy::disallowed_methods, reason = "the test is the owner, and takes the end itself")]
fn spawned<T: Send + 'static>(client: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(client)
}
