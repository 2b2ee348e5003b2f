//! Each tool on a day's lines.

use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use kernel::Trace;
use kernel::fake::{FakeFleet, World};
use kernel::logs::{DAY_MS, Level, Line, LogQuery, Logs};
use mcp::Ctx;
use mcp::peer::Peer;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::testing::{Bench, admin, operator};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn line(at_ms: i64, level: Level, service: &str, message: &str) -> Line {
    let trace_id = (service == "gateway").then(|| TRACE.to_owned());
    Line { seq: 0, at_ms, level, service: service.into(), message: message.into(), trace_id, fields: Value::Null }
}

/// Six lines a minute apart, the newest a minute ago.
async fn bench() -> Bench {
    let bench = Bench::new::<Logging>();
    let at = |n: i64| bench.world.clock.now_ms() - 360_000 + n * 60_000;
    bench
        .world
        .logs
        .append(&[
            line(at(0), Level::Info, "gateway", "request 1 took 12 ms"),
            line(at(1), Level::Error, "evm", "node \"a\" refused: connection reset"),
            line(at(2), Level::Info, "gateway", "request 2 took 7 ms"),
            line(at(3), Level::Warn, "evm", "slow answer"),
            line(at(4), Level::Error, "evm", "node \"b\" refused: connection reset"),
            line(at(5), Level::Info, "shop", "sold, 3 left"),
        ])
        .await
        .unwrap();
    bench
}

/// The messages of an answer's lines.
async fn messages(bench: &Bench, tool: &str, arguments: Value) -> Vec<String> {
    let answer: Value = serde_json::from_str(&bench.shown(&admin(), tool, arguments).await).unwrap();
    answer["lines"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn search_by_everything() {
    let bench = bench().await;
    let found = async |arguments| messages(&bench, "search", arguments).await.join(" | ");
    expect!["request 2 took 7 ms | request 1 took 12 ms"].assert_eq(&found(json!({"text": "took"})).await);
    expect![[r#"node "b" refused: connection reset | node "a" refused: connection reset"#]]
        .assert_eq(&found(json!({"text": "\"connection reset\" node", "level": "warn"})).await);
    expect![[r#"node "b" refused: connection reset | slow answer"#]]
        .assert_eq(&found(json!({"service": "evm", "from": "-200s"})).await);
    expect!["request 1 took 12 ms"].assert_eq(&found(json!({"trace_id": TRACE.to_uppercase(), "until": "-5m"})).await);
    expect![[r#"node "b" refused: connection reset"#]].assert_eq(&found(json!({"text": "conn*", "limit": 1})).await);
    expect![[r#"sold, 3 left | node "b" refused: connection reset | slow answer | request 2 took 7 ms | node "a" refused: connection reset | request 1 took 12 ms"#]].assert_eq(&found(json!({"text": " "})).await);
    bench.check("search", json!({"limit": 0}), expect!["invalid_argument: limit is 0 (1 to 1000)"]).await;
    bench
        .check(
            "search",
            json!({"from": "now", "until": "-1h"}),
            expect!["invalid_argument: `until` is not after `from` (from is the older end of the range)"],
        )
        .await;
    bench.check("search", json!({"from": "soon"}), expect!["invalid_argument: arguments.from: `soon` is not a time: write 2026-11-15T08:00:00Z, -15m (or s, h, d), now, or milliseconds since the Unix epoch (the tool's inputSchema says what it takes)"]).await;
    bench.check("search", json!({"level": "loud"}), expect!["invalid_argument: arguments.level: unknown variant `loud`, expected one of `trace`, `debug`, `info`, `warn`, `error` (the tool's inputSchema says what it takes)"]).await;
    bench.check("search", json!({"txet": "x"}), expect!["invalid_argument: arguments.txet: unknown field `txet`, expected one of `text`, `service`, `level`, `trace_id`, `from`, `until`, `limit`, `before` (the tool's inputSchema says what it takes)"]).await;
    bench.check("search", json!({"text": "- !"}), expect![[r#"invalid_argument: no word to search for in `- !` (words, "a phrase" or a prefix*, of letters and digits)"#]]).await;
}

#[tokio::test]
async fn pages_of_a_search_are_the_whole() {
    let bench = bench().await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let request = SearchRequest { limit: Some(4), before, ..SearchRequest::default() };
        let page = bench.call(&admin(), SEARCH, request).await.unwrap();
        seen.extend(page.lines.into_iter().map(|line| line.seq));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let all = bench.world.logs.all();
    assert!(seen.iter().copied().eq(all.iter().rev().map(|line| line.seq)));
    let exact = bench.call(&admin(), SEARCH, SearchRequest { limit: Some(6), ..Default::default() }).await.unwrap();
    assert_eq!(exact.next, None, "a full last page has none after it");
}

#[tokio::test]
async fn context_is_what_stands_around() {
    let bench = bench().await;
    let seq = bench.world.logs.all()[3].seq;
    let request = |all_services| ContextRequest { seq, lines: Some(1), all_services };
    let text = |lines: &[Line]| lines.iter().map(|line| line.message.clone()).collect::<Vec<_>>().join("|");
    let own = bench.call(&admin(), CONTEXT, request(false)).await.unwrap();
    expect![[r#"node "a" refused: connection reset > slow answer > node "b" refused: connection reset"#]]
        .assert_eq(&format!("{} > {} > {}", text(&own.before), own.line.message, text(&own.after)));
    let all = bench.call(&admin(), CONTEXT, request(true)).await.unwrap();
    expect![[r#"request 2 took 7 ms > slow answer > node "b" refused: connection reset"#]].assert_eq(&format!(
        "{} > {} > {}",
        text(&all.before),
        all.line.message,
        text(&all.after)
    ));
    bench
        .check(
            "context",
            json!({"seq": 7}),
            expect!["not_found: no line 7 (`seq` of a line from search or tail; old lines are forgotten)"],
        )
        .await;
    bench
        .check("context", json!({"seq": seq, "lines": 201}), expect!["invalid_argument: lines is 201 (1 to 200)"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn tail_goes_on_where_it_was() {
    let bench = bench().await;
    let first = bench.call(&admin(), TAIL, TailRequest { lines: Some(2), ..Default::default() }).await.unwrap();
    assert_eq!(
        first.lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(),
        ["node \"b\" refused: connection reset", "sold, 3 left"]
    );
    let next = |wait| TailRequest { after: Some(first.cursor), wait_seconds: Some(wait), ..Default::default() };
    let none = bench.call(&admin(), TAIL, next(0)).await.unwrap();
    assert_eq!((none.lines.len(), none.cursor), (0, first.cursor));
    let later = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        bench.world.logs.append(&[line(1, Level::Info, "shop", "sold out")]).await.unwrap();
    };
    let caller = admin();
    let (came, ()) = tokio::join!(bench.call(&caller, TAIL, next(60)), later);
    assert_eq!(came.unwrap().lines[0].message, "sold out");
    let filtered = TailRequest { service: Some("nobody".into()), ..Default::default() };
    let filtered = bench.call(&admin(), TAIL, filtered).await.unwrap();
    assert_eq!(
        (filtered.lines.len(), filtered.cursor),
        (0, bench.world.logs.all()[6].seq),
        "does not look at old lines again"
    );
    bench
        .check(
            "tail",
            json!({"wait_seconds": 301}),
            expect!["invalid_argument: wait_seconds is 301 (0 to 300; call again with the cursor to go on)"],
        )
        .await;
    bench.check("tail", json!({"lines": 1001}), expect!["invalid_argument: lines is 1001 (0 to 1000)"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_followed_tail_reports_each_line_and_stays() {
    let bench = bench().await;
    let (out, mut told) = mpsc::channel(64);
    let mut ctx = Ctx::internal(admin(), Trace::root());
    (ctx.peer, ctx.progress_token) = (Peer::new(out), Some("t".into()));
    let arguments = json!({"lines": 1, "wait_seconds": 10, "follow": true, "service": "shop"});
    let request = bench.request("tools/call", json!({"name": "tail", "arguments": arguments}), ctx);
    let writer = async {
        for n in 0..2 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            bench.world.logs.append(&[line(n, Level::Warn, "shop", &format!("late {n}"))]).await.unwrap();
        }
    };
    let began = tokio::time::Instant::now();
    let (reply, ()) = tokio::join!(request, writer);
    assert_eq!(began.elapsed().as_secs(), 10);
    let answer: Value = serde_json::from_str(reply.unwrap().body.get()).unwrap();
    assert_eq!(answer["structuredContent"]["lines"].as_array().unwrap().len(), 3);
    let mut progress = String::new();
    while let Ok(text) = told.try_recv() {
        let message: Value = serde_json::from_str(&text).unwrap();
        progress.push_str(&format!("{} {}\n", message["params"]["progress"], message["params"]["message"]));
    }
    expect![[r#"
        1.0 "info shop: sold, 3 left"
        2.0 "warn shop: late 0"
        3.0 "warn shop: late 1"
    "#]]
    .assert_eq(&progress);
}

#[tokio::test]
async fn stats_count_and_say_what_is_kept() {
    let bench = bench().await;
    bench.check("stats", json!({"from": "-1h", "buckets": 3}), expect![[r#"{"from_ms":1794726000000,"until_ms":1794729600001,"total":{"lines":6,"errors":2,"warnings":1},"services":[{"service":"evm","lines":3,"errors":2,"warnings":1,"last_ms":1794729480000},{"service":"gateway","lines":2,"errors":0,"warnings":0,"last_ms":1794729360000},{"service":"shop","lines":1,"errors":0,"warnings":0,"last_ms":1794729540000}],"timeline":[{"from_ms":1794726000000,"lines":0,"errors":0,"warnings":0},{"from_ms":1794727200000,"lines":0,"errors":0,"warnings":0},{"from_ms":1794728400000,"lines":6,"errors":2,"warnings":1}],"kept":{"lines":6,"bytes":130,"oldest_ms":1794729240000,"days":["2026-11-15"]},"retention_days":14}"#]]).await;
    bench.check("stats", json!({"from": "-150s", "until": "-90s", "service": "evm"}), expect![[r#"{"from_ms":1794729450000,"until_ms":1794729510000,"total":{"lines":1,"errors":1,"warnings":0},"services":[{"service":"evm","lines":1,"errors":1,"warnings":0,"last_ms":1794729480000}],"kept":{"lines":6,"bytes":130,"oldest_ms":1794729240000,"days":["2026-11-15"]},"retention_days":14}"#]]).await;
    bench.check("stats", json!({"buckets": 61}), expect!["invalid_argument: buckets is 61 (0 to 60)"]).await;
}

#[tokio::test]
async fn patterns_and_errors() {
    let bench = bench().await;
    bench.check("patterns", json!({"limit": 2}), expect![[r#"{"scanned":6,"patterns":[{"template":"node <text> refused: connection reset","count":2,"first_ms":1794729300000,"last_ms":1794729480000,"levels":{"error":2},"services":{"evm":2},"example":"node \"b\" refused: connection reset"},{"template":"request <num> took <num> ms","count":2,"first_ms":1794729240000,"last_ms":1794729360000,"levels":{"info":2},"services":{"gateway":2},"example":"request 2 took 7 ms","traces":["0af7651916cd43dd8448eb211c80319c"]}],"others":2}"#]]).await;
    bench.check("patterns", json!({"scan": 10_001}), expect!["invalid_argument: scan is 10001 (1 to 10000)"]).await;
    bench.check("error_summary", json!({"from": "-200s"}), expect![[r#"{"from_ms":1794729400000,"until_ms":1794729600001,"errors":1,"warnings":1,"errors_before":1,"services":[{"service":"evm","errors":1,"warnings":1,"errors_before":1}],"patterns":[{"template":"node <text> refused: connection reset","count":1,"first_ms":1794729480000,"last_ms":1794729480000,"levels":{"error":1},"services":{"evm":1},"example":"node \"b\" refused: connection reset"}],"others":0}"#]]).await;
    bench.check("error_summary", json!({"warnings": true, "service": "evm", "limit": 1}), expect![[r#"{"from_ms":1794726000001,"until_ms":1794729600001,"errors":2,"warnings":1,"errors_before":0,"services":[{"service":"evm","errors":2,"warnings":1,"errors_before":0}],"patterns":[{"template":"node <text> refused: connection reset","count":2,"first_ms":1794729300000,"last_ms":1794729480000,"levels":{"error":2},"services":{"evm":2},"example":"node \"b\" refused: connection reset"}],"others":1}"#]]).await;
    bench.check("error_summary", json!({"service": "nobody"}), expect![[r#"{"from_ms":1794726000001,"until_ms":1794729600001,"errors":0,"warnings":0,"errors_before":0,"services":[],"patterns":[],"others":0}"#]]).await;
}

#[tokio::test]
async fn exports_embedded_and_linked() {
    let bench = bench().await;
    bench.check("export", json!({"service": "gateway"}), expect![[r#"[{"type":"text","text":"{\"lines\":2,\"bytes\":321}"},{"type":"resource","resource":{"uri":"logs://export?service=gateway","mimeType":"application/x-ndjson","text":"{\"seq\":5709763883040771,\"at_ms\":1794729360000,\"level\":\"info\",\"service\":\"gateway\",\"message\":\"request 2 took 7 ms\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n{\"seq\":5709763883040769,\"at_ms\":1794729240000,\"level\":\"info\",\"service\":\"gateway\",\"message\":\"request 1 took 12 ms\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n"}}]"#]]).await;
    bench.check("export", json!({"format": "csv", "text": "node", "limit": 1}), expect![[r#"[{"type":"text","text":"{\"lines\":1,\"bytes\":130,\"next\":5709763883040773}"},{"type":"resource","resource":{"uri":"logs://export?text=node&format=csv&limit=1","mimeType":"text/csv","text":"seq,at_ms,level,service,message,trace_id,fields\n5709763883040773,1794729480000,error,evm,\"node \"\"b\"\" refused: connection reset\",,\n"}}]"#]]).await;
    let linked = bench
        .shown(&admin(), "export", json!({"format": "csv", "text": "\"b\" refused", "delivery": "link", "from": "-1d"}))
        .await;
    expect![[r#"[{"type":"resource_link","uri":"logs://export?text=%22b%22%20refused&from=-86400000ms&format=csv","name":"exported log lines","mimeType":"text/csv"}]"#]].assert_eq(&linked);
    let linked: Value = serde_json::from_str(&linked).unwrap();
    let read = async |uri: &Value| {
        let ctx = Ctx::internal(operator("ann"), Trace::root());
        match bench.request("resources/read", json!({"uri": uri}), ctx).await {
            Ok(reply) => serde_json::from_str::<Value>(reply.body.get()).unwrap()["contents"][0]["text"]
                .as_str()
                .unwrap()
                .to_owned(),
            Err(error) => error.to_string(),
        }
    };
    expect![[r#"
        seq,at_ms,level,service,message,trace_id,fields
        5709763883040773,1794729480000,error,evm,"node ""b"" refused: connection reset",,
    "#]]
    .assert_eq(&read(&linked[0]["uri"]).await);
    assert_eq!(read(&"logs://recent".into()).await.lines().count(), 6);
    assert_eq!(read(&"logs://export".into()).await.lines().count(), 6);
    expect!["limit is 0 (-32602)"].assert_eq(&read(&"logs://export?limit=0".into()).await);
    expect!["logs://export: unknown field `wat`, expected one of `text`, `service`, `level`, `trace_id`, `from`, `until`, `format`, `delivery`, `limit`, `before` (-32602)"].assert_eq(&read(&"logs://export?wat=1".into()).await);
    expect!["`%zz` is not percent-encoded (-32602)"].assert_eq(&read(&"logs://export?text=%zz".into()).await);
    expect!["resource not found (-32602)"].assert_eq(&read(&"logs://other".into()).await);
}

#[tokio::test]
async fn an_export_ends_at_its_size_and_goes_on() {
    let bench = Bench::new::<Logging>();
    let long = "x".repeat(30_000);
    let lines: Vec<Line> = (0..50).map(|n| line(n, Level::Info, "a", &format!("{n} {long}"))).collect();
    bench.world.logs.append(&lines).await.unwrap();
    let (mut total, mut before) = (0, None);
    loop {
        let mut arguments = json!({"limit": 1000});
        if let Some(before) = before {
            arguments["before"] = before;
        }
        let content: Value = serde_json::from_str(&bench.shown(&admin(), "export", arguments).await).unwrap();
        let summary: Value = serde_json::from_str(content[0]["text"].as_str().unwrap()).unwrap();
        assert!(summary["bytes"].as_u64().unwrap() <= 1 << 20);
        total += summary["lines"].as_u64().unwrap();
        before = summary.get("next").cloned();
        if before.is_none() {
            break;
        }
    }
    assert_eq!(total, 50);
}

#[tokio::test]
async fn an_answer_stays_bounded_and_goes_on() {
    let bench = Bench::new::<Logging>();
    let long = "x".repeat(30_000);
    let lines: Vec<Line> = (0..300).map(|n| line(n, Level::Info, "a", &format!("{n} {long}"))).collect();
    bench.world.logs.append(&lines).await.unwrap();
    let page = bench.call(&admin(), SEARCH, SearchRequest { limit: Some(300), ..Default::default() }).await.unwrap();
    assert!((100..200).contains(&page.lines.len()) && page.next == page.lines.last().map(|line| line.seq));
    let request = |after| TailRequest { after: Some(after), limit: Some(300), ..Default::default() };
    let (mut after, mut seen) = (0, 0);
    for _ in 0..3 {
        let page = bench.call(&admin(), TAIL, request(after)).await.unwrap();
        (after, seen) = (page.cursor, seen + page.lines.len());
    }
    assert_eq!(seen, 300);
}

#[tokio::test]
async fn retention_removes_old_days_and_survives_a_restart() {
    let bench = bench().await;
    for _ in 0..3 {
        bench.world.clock.advance_ms(DAY_MS);
        bench.world.logs.append(&[line(0, Level::Info, "a", "another day")]).await.unwrap();
    }
    bench.check_as(&operator("ann"), "set_retention", json!({"days": 1}), expect!["permission_denied: role operator may not use logging.set_retention (needs a key with role admin: `flotilla token create NAME --role admin`)"]).await;
    bench
        .check("set_retention", json!({"days": 0}), expect!["invalid_argument: a retention of 0 days (1 to 3650)"])
        .await;
    bench.check("set_retention", json!({"days": 1}), expect![[r#"{"previous_days":14,"days":1,"removed_days":2,"kept":{"lines":2,"bytes":22,"oldest_ms":0,"days":["2026-11-17","2026-11-18"]}}"#]]).await;
    let again = Bench::on::<Logging>(bench.world, Config::default());
    let kept = again.call(&admin(), STATS, StatsRequest::default()).await.unwrap();
    assert_eq!((kept.retention_days, kept.kept.days.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_duty_forgets_every_hour() {
    let bench = Bench::on::<Logging>(World::default(), Config { retention_days: 1 });
    bench.world.logs.append(&[line(0, Level::Info, "a", "old")]).await.unwrap();
    bench.world.clock.advance_ms(2 * DAY_MS);
    bench.start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.world.logs.search(LogQuery { limit: 1, ..LogQuery::default() }).await.unwrap(), []);
    bench.world.logs.append(&[line(0, Level::Info, "a", "newer")]).await.unwrap();
    bench.world.clock.advance_ms(2 * DAY_MS);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.world.logs.search(LogQuery { limit: 1, ..LogQuery::default() }).await.unwrap(), []);
    assert_eq!(bench.world.tasks.drain(Duration::from_secs(1)).await, 0, "stops when asked");
}

#[tokio::test]
async fn sources_are_who_spoke_and_who_should() {
    let bench = bench().await;
    bench.world.fleet.set(FakeFleet::server("utilities", "http://127.0.0.1:4017", 0));
    bench.check("sources", json!({}), expect![[r#"{"sources":[{"service":"evm","fleet":false,"running":false,"lines":3,"errors":2,"warnings":1,"last_ms":1794729480000},{"service":"gateway","fleet":false,"running":false,"lines":2,"errors":0,"warnings":0,"last_ms":1794729360000},{"service":"shop","fleet":false,"running":false,"lines":1,"errors":0,"warnings":0,"last_ms":1794729540000},{"service":"utilities","fleet":true,"running":true,"lines":0,"errors":0,"warnings":0}],"intake":["POST /loki/api/v1/push: the Loki push API, JSON or Snappy protobuf","POST /v1/logs: OTLP logs, JSON or protobuf","POST /ingest: container output, one JSON object or text a line"]}"#]]).await;
    bench.check("sources", json!({"hours": 0}), expect!["invalid_argument: hours is 0 (1 to 720)"]).await;
}

#[tokio::test]
async fn refuses_a_bad_configuration_and_says_how_it_stands() {
    let world = World::default();
    let shared = crate::testing::shared(&world);
    let bad = mcp::Service::build::<Logging>(&world.ports(), Config { retention_days: 0 }, shared);
    expect!["invalid_argument: a retention of 0 days (1 to 3650)"].assert_eq(&bad.err().unwrap().to_string());
    let report = bench().await.service.health().await;
    assert_eq!(report.status, kernel::health::Status::Healthy);
    assert!(report.checks[0].detail.starts_with("6 lines"), "{:?}", report.checks);
}

#[tokio::test]
async fn the_prompt_leads_through_the_tools() {
    let bench = Arc::new(bench().await);
    let ctx = Ctx::internal(admin(), Trace::root());
    let params = json!({"name": "explain_errors", "arguments": {"service": "evm"}});
    let reply = bench.request("prompts/get", params, ctx).await.unwrap();
    assert!(reply.body.get().contains("error_summary") && reply.body.get().contains("`evm`"));
}
