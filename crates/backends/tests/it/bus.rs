//! The bus's contract.

use std::sync::Arc;

use kernel::bus::{ANY_TOPIC, Bus, EVENT_BYTES_MAX, NewEvent, READ_MAX};
use kernel::{Code, OnEnd};
use serde_json::json;

use crate::kit::{Kit, START_MS, on_every_backend, soon};

on_every_backend!(
    topics_count_their_events_apart,
    cursors_read_everything_once,
    contended_publishing_leaves_no_gap,
    what_is_forgotten_keeps_its_place,
    malformed_events_are_refused,
    waiters_are_nudged,
);

fn event(topic: &str, data: serde_json::Value) -> NewEvent {
    let trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
    NewEvent { topic: topic.into(), kind: "test.happened".into(), source: "suite".into(), trace_id, data }
}

async fn publish(bus: &Arc<dyn Bus>, topic: &str) -> u64 {
    bus.publish(event(topic, json!({"n": [1, null, "é\0"]}))).await.unwrap()
}

async fn topics_count_their_events_apart(kit: Kit) {
    assert_eq!(
        (publish(&kit.bus, "b").await, publish(&kit.other.bus, "b").await, publish(&kit.bus, "a").await),
        (1, 2, 1)
    );
    let read = kit.other.bus.read("b", 0, READ_MAX).await.unwrap();
    assert_eq!(read.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((read[0].at_ms, &read[0].data), (START_MS, &json!({"n": [1, null, "é\0"]})));
    assert_eq!(
        (read[0].kind.as_str(), read[0].source.as_str(), read[0].topic.as_str()),
        ("test.happened", "suite", "b")
    );
    assert_eq!(read[0].trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    let topics = kit.bus.topics().await.unwrap();
    let seen: Vec<_> = topics.iter().map(|t| (t.name.as_str(), t.events, t.first_seq, t.last_seq)).collect();
    assert_eq!(seen, [("a", 1, 1, 1), ("b", 2, 1, 2)]);
    assert_eq!(kit.other.bus.ends().await.unwrap(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
}

async fn cursors_read_everything_once(kit: Kit) {
    for _ in 0..7 {
        publish(&kit.bus, "t").await;
    }
    let mut seen = Vec::new();
    while let page = kit.bus.read("t", seen.last().copied().unwrap_or(0), 3).await.unwrap()
        && !page.is_empty()
    {
        seen.extend(page.into_iter().map(|event| event.seq));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(kit.bus.read("t", u64::MAX, 3).await.unwrap(), []);
    assert_eq!(kit.bus.read("unheard", 0, 3).await.unwrap(), []);
}

async fn contended_publishing_leaves_no_gap(kit: Kit) {
    for task in 0..6 {
        let bus = if task % 2 == 0 { kit.bus.clone() } else { kit.other.bus.clone() };
        kit.tasks.spawn("publisher", OnEnd::Done, async move {
            let mut last = 0;
            for _ in 0..20 {
                let seq = publish(&bus, "t").await;
                assert!(seq > last);
                last = seq;
            }
        });
    }
    assert_eq!(kit.tasks.drain(std::time::Duration::from_secs(30)).await, 0);
    let read = kit.bus.read("t", 0, READ_MAX).await.unwrap();
    assert!(read.iter().map(|event| event.seq).eq(1..=120));
}

async fn what_is_forgotten_keeps_its_place(kit: Kit) {
    publish(&kit.bus, "t").await;
    publish(&kit.bus, "old").await;
    kit.clock.advance_ms(10);
    publish(&kit.bus, "t").await;
    assert_eq!(kit.bus.forget(START_MS + 10).await.unwrap(), 2);
    assert_eq!(kit.bus.read("t", 0, 10).await.unwrap()[0].seq, 2);
    assert_eq!(publish(&kit.other.bus, "old").await, 2, "a cursor from before the forgetting still works");
    kit.clock.advance_ms(10);
    assert_eq!(kit.bus.forget(START_MS + 20).await.unwrap(), 2);
    let topics = kit.bus.topics().await.unwrap();
    let seen: Vec<_> = topics.iter().map(|t| (t.name.as_str(), t.events, t.first_seq, t.last_seq)).collect();
    assert_eq!(seen, [("old", 0, 3, 2), ("t", 0, 3, 2)]);
    assert_eq!(kit.bus.ends().await.unwrap(), [("old".to_owned(), 2), ("t".to_owned(), 2)]);
}

async fn malformed_events_are_refused(kit: Kit) {
    let code = async |event: NewEvent| kit.bus.publish(event).await.map_err(|fault| fault.code);
    for topic in ["", "with space", "ünï", "a/b", "a\0"] {
        assert_eq!(code(event(topic, json!(1))).await, Err(Code::InvalidArgument), "{topic}");
    }
    let nul = || "a\0b".to_owned();
    assert_eq!(code(NewEvent { kind: nul(), ..event("t", json!(1)) }).await, Err(Code::InvalidArgument));
    assert_eq!(code(NewEvent { source: nul(), ..event("t", json!(1)) }).await, Err(Code::InvalidArgument));
    assert_eq!(code(event(&"t".repeat(129), json!(1))).await, Err(Code::TooLarge));
    assert!(code(event(&"t".repeat(128), json!("x".repeat(EVENT_BYTES_MAX - 2)))).await.is_ok());
    assert_eq!(code(event("t", json!("x".repeat(EVENT_BYTES_MAX - 1)))).await, Err(Code::TooLarge));
    assert_eq!(kit.bus.read("t", 0, READ_MAX + 1).await.unwrap_err().code, Code::TooLarge);
}

async fn waiters_are_nudged(kit: Kit) {
    let here = kit.bus.published(&["s", "t"]);
    let there = kit.other.bus.published(&["t"]);
    let (all_here, all_there) = (kit.bus.published(&[ANY_TOPIC]), kit.other.bus.published(&[ANY_TOPIC]));
    publish(&kit.bus, "t").await;
    soon(async { tokio::join!(here, there, all_here, all_there) }).await;
    // Who waits for something else, or for nothing, is left alone.
    let (elsewhere, nothing) = (kit.bus.published(&["elsewhere"]), kit.bus.published(&[]));
    let heard = kit.bus.published(&["t"]);
    publish(&kit.bus, "t").await;
    tokio::select! {
        biased;
        () = elsewhere => panic!("woken by another topic"),
        () = nothing => panic!("woken by nothing"),
        () = heard => {}
    }
}
