//! Topics, requests and replies.

use super::*;

#[tokio::test]
async fn a_reader_with_a_cursor_misses_nothing_and_sees_nothing_twice() {
    let bench = bench();
    let ann = operator("ann");
    for n in 1..=5 {
        let request = PublishRequest { topic: "news".into(), kind: "story.told".into(), data: json!({ "n": n }) };
        assert_eq!(bench.call(&ann, PUBLISH, request).await.unwrap().seq, n);
    }
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let request = serde_json::from_value(json!({ "topic": "news", "after": after, "limit": 2 })).unwrap();
        let page = bench.call(&viewer("bob"), READ_TOPIC, request).await.unwrap();
        if page.events.is_empty() {
            break;
        }
        after = page.next;
        seen.extend(page.events.into_iter().map(|event| (event.seq, event.source, event.data["n"].clone())));
    }
    let expected: Vec<_> = (1..=5).map(|n| (n, "ann".to_owned(), json!(n))).collect();
    assert_eq!((seen, after), (expected, 5));
    bench.check("read_topic", json!({ "topic": "nowhere", "after": 7 }), expect![[r#"{"events":[],"next":7}"#]]).await;
    bench
        .check(
            "list_topics",
            json!({ "prefix": "n" }),
            expect![[
                r#"{"topics":[{"name":"news","events":5,"first_seq":1,"last_seq":5,"last_at_ms":1794729600000}]}"#
            ]],
        )
        .await;
    bench.check("list_topics", json!({ "cursor": "news" }), expect![[r#"{"topics":[]}"#]]).await;
}

#[tokio::test]
async fn the_newest_can_be_asked_for() {
    let bench = bench();
    for n in 1..=3 {
        bench.shown(&admin(), "publish", json!({ "topic": "news", "data": n })).await;
    }
    let trimmed = |text: String| {
        let answer: Value = serde_json::from_str(&text).unwrap();
        let data: Vec<String> =
            answer["events"].as_array().unwrap().iter().map(|event| event["data"].to_string()).collect();
        format!("{} {}", data.join(","), answer["next"])
    };
    for (last, seen) in [(2, "2,3 3"), (9, "1,2,3 3"), (0, " 3")] {
        let page = bench.shown(&admin(), "read_topic", json!({ "topic": "news", "last": last })).await;
        assert_eq!(trimmed(page), seen);
    }
    bench
        .check(
            "read_topic",
            json!({ "topic": "news", "last": 1, "after": 1 }),
            expect!["invalid_argument: after and last (give one of the two)"],
        )
        .await;
    bench
        .check(
            "read_topic",
            json!({ "topic": "news", "limit": 0 }),
            expect!["invalid_argument: limit is 0 (1 to 1000)"],
        )
        .await;
    bench
        .check(
            "read_topic",
            json!({ "topic": "news", "limit": 1001 }),
            expect!["invalid_argument: limit is 1001 (1 to 1000)"],
        )
        .await;
    bench
        .check(
            "read_topic",
            json!({ "topic": "news", "wait_seconds": 301 }),
            expect!["invalid_argument: a wait of 301 s (at most 300 s; call again to wait on)"],
        )
        .await;
}

#[tokio::test]
async fn large_events_come_a_few_at_a_time() {
    let bench = bench();
    let data = "x".repeat(250 << 10);
    for _ in 0..20 {
        bench.shown(&admin(), "publish", json!({ "topic": "big", "data": data })).await;
    }
    let request = serde_json::from_value(json!({ "topic": "big" })).unwrap();
    let page = bench.call(&admin(), READ_TOPIC, request).await.unwrap();
    assert_eq!((page.events.len(), page.next), (16, 16));
    bench
        .check(
            "publish",
            json!({ "topic": "big", "data": "x".repeat(300 << 10) }),
            expect!["too_large: the size of an event's data in bytes is 307202, past 262144 (at most 262144)"],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn reading_waits_for_the_next_event() {
    let bench = Arc::new(bench());
    let reader = Arc::clone(&bench);
    let waiting = spawned(async move {
        reader.shown(&viewer("bob"), "read_topic", json!({ "topic": "news", "wait_seconds": 300 })).await
    });
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(!waiting.is_finished());
    bench.check("publish", json!({ "topic": "other" }), expect![[r#"{"topic":"other","seq":1}"#]]).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(!waiting.is_finished());
    bench
        .check("publish", json!({ "topic": "news", "data": "at last" }), expect![[r#"{"topic":"news","seq":1}"#]])
        .await;
    assert!(waiting.await.unwrap().contains("at last"));
    let began = Instant::now();
    bench
        .check(
            "read_topic",
            json!({ "topic": "news", "after": 1, "wait_seconds": 30 }),
            expect![[r#"{"events":[],"next":1}"#]],
        )
        .await;
    assert_eq!(began.elapsed().as_secs(), 30);
}

/// Asks, and gives the request's id when it can be read from the topic.
async fn asked(bench: &Arc<Bench>, arguments: Value) -> (tokio::task::JoinHandle<String>, String) {
    let before =
        bench.world.bus.topics().await.unwrap().iter().find(|topic| topic.name == "prices").map_or(0, |it| it.last_seq);
    let requester = Arc::clone(bench);
    let waiting = spawned(async move { requester.shown(&operator("ann"), "request", arguments).await });
    let request = serde_json::from_value(json!({ "topic": "prices", "after": before, "wait_seconds": 5 })).unwrap();
    let page = bench.call(&viewer("bob"), READ_TOPIC, request).await.unwrap();
    let id = page.events[0].data["request"]["id"].as_str().unwrap().to_owned();
    (waiting, id)
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_one_reply() {
    let bench = Arc::new(bench());
    let (waiting, id) = asked(&bench, json!({ "topic": "prices", "data": { "pair": "WETH/DAI" } })).await;
    let reply = json!({ "request_id": id, "data": { "price": "3000.5" } });
    let first = bench.shown(&operator("bob"), "reply", reply.clone()).await.replace(&id, "ID");
    expect![[r#"{"request_id":"ID","topic":"_replies.prices","seq":1}"#]].assert_eq(&first);
    expect![[r#"{"request_id":"ID","data":{"price":"3000.5"},"from":"bob"}"#]]
        .assert_eq(&waiting.await.unwrap().replace(&id, "ID"));
    let late = bench.shown(&operator("carol"), "reply", reply).await.replace(&id, "ID");
    expect![
        "not_found: nobody waits for a reply to `ID` (its time is over, it was answered, or there was no such request)"
    ]
    .assert_eq(&late);
    let followed = bench.shown(&admin(), "read_topic", json!({ "topic": "_replies.prices" })).await;
    assert!(followed.contains(r#""source":"bob""#) && followed.contains("3000.5"), "{followed}");
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_replies_loses() {
    let bench = Arc::new(bench());
    let (waiting, id) = asked(&bench, json!({ "topic": "prices" })).await;
    let (first, second) = (operator("bob"), operator("carol"));
    let reply = |n: u32| json!({ "request_id": id, "data": n });
    let outcomes = tokio::join!(bench.shown(&first, "reply", reply(1)), bench.shown(&second, "reply", reply(2)));
    let lost = [&outcomes.0, &outcomes.1].into_iter().filter(|seen| !seen.starts_with('{')).count();
    assert_eq!(lost, 1, "{outcomes:?}");
    let winner = if outcomes.0.starts_with('{') { (1, "bob") } else { (2, "carol") };
    let answer: RequestResponse = serde_json::from_str(&waiting.await.unwrap()).unwrap();
    assert_eq!((answer.data, answer.from.as_str()), (json!(winner.0), winner.1));
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_its_time_or_with_the_responders_reason() {
    let bench = Arc::new(bench());
    let began = Instant::now();
    bench
        .check(
            "request",
            json!({ "topic": "prices", "wait_seconds": 7 }),
            expect![
                "timeout: nobody replied on topic `prices` within 7 s (see with read_topic whether anybody reads it)"
            ],
        )
        .await;
    assert_eq!(began.elapsed().as_secs(), 7);
    let (waiting, id) = asked(&bench, json!({ "topic": "prices" })).await;
    bench.shown(&operator("bob"), "reply", json!({ "request_id": id, "error": "no source for this pair" })).await;
    expect!["upstream: `bob` cannot answer: no source for this pair (the reason is the responder's)"]
        .assert_eq(&waiting.await.unwrap());
    bench.check("reply", json!({ "request_id": "req_none" }), expect!["not_found: nobody waits for a reply to `req_none` (its time is over, it was answered, or there was no such request)"]).await;
    bench
        .check(
            "reply",
            json!({ "request_id": "req_none", "data": 1, "error": "x" }),
            expect!["invalid_argument: data and error (give one of the two)"],
        )
        .await;
    bench
        .check(
            "request",
            json!({ "topic": "x".repeat(120) }),
            expect!["invalid_argument: the topic's name is too long for requests (at most 119 characters)"],
        )
        .await;
    bench
        .check(
            "request",
            json!({ "topic": "t", "wait_seconds": 0 }),
            expect!["invalid_argument: wait_seconds is 0 (1 to 300)"],
        )
        .await;
    bench
        .check(
            "request",
            json!({ "topic": "t", "data": "x".repeat(201 << 10) }),
            expect!["too_large: data has 205826 bytes (at most 204800)"],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_requester_who_left_is_not_waited_for_forever() {
    let bench = Arc::new(bench());
    let (waiting, id) = asked(&bench, json!({ "topic": "prices", "wait_seconds": 20 })).await;
    waiting.abort();
    bench.world.clock.advance_ms(20_001);
    let seen = bench.shown(&operator("bob"), "reply", json!({ "request_id": id })).await.replace(&id, "ID");
    expect![
        "not_found: nobody waits for a reply to `ID` (its time is over, it was answered, or there was no such request)"
    ]
    .assert_eq(&seen);
}
