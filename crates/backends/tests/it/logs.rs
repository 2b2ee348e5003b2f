//! The log store's contract.

use std::sync::Arc;

use kernel::logs::{DAY_MS, Level, Line, LogQuery, Logs, SEARCH_MAX, TEXT_BYTES_MAX};
use kernel::{Code, OnEnd};
use serde_json::{Value, json};

use crate::kit::{Kit, START_MS, in_memory_and_files, soon};

in_memory_and_files!(
    keeps_lines_as_they_are,
    finds_by_words_phrases_and_prefixes,
    hostile_text_finds_nothing_and_breaks_nothing,
    filters_all_hold_together,
    tails_by_place_across_days,
    counts_exactly_in_any_range,
    forgets_whole_days_but_never_the_current_one,
    too_long_lines_are_cut,
    contended_appending_orders_all,
    a_clock_set_back_over_midnight_keeps_places_growing,
    waiters_are_nudged,
);

pub(crate) fn line(message: &str) -> Line {
    let (service, message) = ("utilities".into(), message.into());
    Line { seq: 0, at_ms: START_MS, level: Level::Info, service, message, trace_id: None, fields: Value::Null }
}

async fn append(logs: &Arc<dyn Logs>, messages: &[&str]) {
    let lines: Vec<Line> = messages.iter().map(|message| line(message)).collect();
    logs.append(&lines).await.unwrap();
}

async fn search(logs: &Arc<dyn Logs>, query: LogQuery) -> Vec<String> {
    let query = LogQuery { limit: query.limit.max(100), ..query };
    logs.search(query).await.unwrap().into_iter().map(|line| line.message).collect()
}

fn text(text: &str) -> LogQuery {
    LogQuery { text: Some(text.into()), ..LogQuery::default() }
}

async fn keeps_lines_as_they_are(kit: Kit) {
    let given = Line {
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        fields: json!({"a": [1, "é\0", null], "b": {"c": 1.5}}),
        level: Level::Warn,
        ..line("it's \"odd\" \0 ☃")
    };
    kit.logs.append(&[]).await.unwrap();
    kit.logs.append(&[given.clone(), line("plain")]).await.unwrap();
    let found = kit.other.logs.search(LogQuery { limit: 10, ..LogQuery::default() }).await.unwrap();
    let seqs: Vec<u64> = found.iter().map(|line| line.seq).collect();
    assert!(seqs[0] > seqs[1] && seqs[0] < 1 << 53, "newest first, and countable by JavaScript: {seqs:?}");
    assert_eq!(found[1], Line { seq: seqs[1], ..given });
    assert_eq!(found[0], Line { seq: seqs[0], ..line("plain") });
    assert_eq!(kit.logs.search(LogQuery::default()).await.unwrap(), []);
}

async fn finds_by_words_phrases_and_prefixes(kit: Kit) {
    append(&kit.logs, &["Connection refused by anvil", "refused connection", "reconnecting to master-coordinator"])
        .await;
    let fields = json!({"peer": "anvil", "attempts": 42});
    kit.logs.append(&[Line { fields, ..line("zażółć gęślą") }]).await.unwrap();
    for (query, want) in [
        ("refused", &["refused connection", "Connection refused by anvil"][..]),
        ("REFUSED connection", &["refused connection", "Connection refused by anvil"]),
        ("\"connection refused\"", &["Connection refused by anvil"]),
        ("conn", &[]),
        ("conn*", &["refused connection", "Connection refused by anvil"]),
        ("\"refused conn\"*", &["refused connection"]),
        ("master-coordinator", &["reconnecting to master-coordinator"]),
        ("coordinator-master", &[]),
        ("anvil", &["zażółć gęślą", "Connection refused by anvil"]),
        ("42", &["zażółć gęślą"]),
        ("GĘŚLĄ", &["zażółć gęślą"]),
        ("gesla", &[]),
        ("anvil refused", &["Connection refused by anvil"]),
        (
            "",
            &[
                "zażółć gęślą",
                "reconnecting to master-coordinator",
                "refused connection",
                "Connection refused by anvil",
            ],
        ),
    ] {
        assert_eq!(search(&kit.logs, text(query)).await, want, "{query}");
    }
    assert_eq!(search(&kit.logs, text("utilities")).await, [""; 0], "a service's name is not text");
}

async fn hostile_text_finds_nothing_and_breaks_nothing(kit: Kit) {
    append(&kit.logs, &["all is well"]).await;
    for query in [
        "nope\" OR \"well",
        "well AND nope",
        "NEAR(well nope)",
        "message:well nope",
        "{message} : nope",
        "well\0\" nope",
        "^nope",
        "nope + well",
        "-nope",
        "'; DROP TABLE lines; --nope",
        "nope* *",
        "(((((nope",
        "well NOT well",
        "\\\"nope\\",
        "\"unclosed nope",
        "a\u{301}nope \u{93f}\u{93e}",
        "\u{e000}nope\u{10ffff}",
    ] {
        assert_eq!(search(&kit.logs, text(query)).await, [""; 0], "{query}");
    }
    for query in ["\"", "***", "' -- ;", "\0", "()"] {
        let fault = kit.logs.search(LogQuery { limit: 1, ..text(query) }).await.unwrap_err();
        assert_eq!(fault.code, Code::InvalidArgument, "{query}");
    }
    let hostile = |value: &str| Some(value.to_owned());
    for value in ["\" OR \"", "utilities\" OR message : \"well", "\0", "'", "*", "", "Utilities", "util*"] {
        let query = LogQuery { service: hostile(value), ..LogQuery::default() };
        assert_eq!(search(&kit.logs, query).await, [""; 0], "{value}");
        let query = LogQuery { trace_id: hostile(value), ..LogQuery::default() };
        assert_eq!(search(&kit.logs, query).await, [""; 0], "{value}");
    }
    let fault = kit.logs.search(LogQuery { limit: SEARCH_MAX + 1, ..LogQuery::default() }).await.unwrap_err();
    assert_eq!(fault.code, Code::TooLarge);
    assert_eq!(search(&kit.logs, text("well")).await, ["all is well"]);
}

async fn filters_all_hold_together(kit: Kit) {
    let lines: Vec<Line> = (0..60i64)
        .map(|n| Line {
            at_ms: START_MS + n * 10_000,
            level: Level::ALL[n as usize % 5],
            service: ["a", "a-b", "--", "A"][n as usize % 4].into(),
            trace_id: (n % 3 == 0).then(|| format!("{:032x}", n % 2)),
            ..line(&format!("line {n}"))
        })
        .collect();
    kit.logs.append(&lines).await.unwrap();
    let expect = async |query: LogQuery, fits: &dyn Fn(&Line) -> bool| {
        let want: Vec<&str> = lines.iter().rev().filter(|line| fits(line)).map(|line| line.message.as_str()).collect();
        assert_eq!(search(&kit.logs, query.clone()).await, want, "{query:?}");
    };
    for service in ["a", "a-b", "--", "A", "b"] {
        let query = LogQuery { service: Some(service.into()), ..LogQuery::default() };
        expect(query, &|line| line.service == service).await;
    }
    for level in Level::ALL {
        let query = LogQuery { level: Some(level), ..LogQuery::default() };
        expect(query, &|line| line.level >= level).await;
    }
    let trace_id = Some(format!("{:032x}", 1));
    let query = LogQuery { trace_id: trace_id.clone(), level: Some(Level::Info), ..LogQuery::default() };
    expect(query, &|line| line.trace_id == trace_id && line.level >= Level::Info).await;
    let (from_ms, until_ms) = (START_MS + 55_000, START_MS + 310_000);
    let query = LogQuery { from_ms: Some(from_ms), until_ms: Some(until_ms), ..text("line") };
    expect(query, &|line| (from_ms..until_ms).contains(&line.at_ms)).await;
    let query = LogQuery { from_ms: Some(until_ms), service: Some("a-b".into()), ..LogQuery::default() };
    expect(query, &|line| line.at_ms >= until_ms && line.service == "a-b").await;
    let query = LogQuery { until_ms: Some(START_MS), ..LogQuery::default() };
    expect(query, &|_| false).await;
}

async fn tails_by_place_across_days(kit: Kit) {
    let mut written = Vec::new();
    for day in 0..3 {
        for n in 0..3 {
            written.push(format!("day {day} line {n}"));
            append(if n == 1 { &kit.other.logs } else { &kit.logs }, &[&written[written.len() - 1]]).await;
        }
        kit.clock.advance_ms(DAY_MS);
    }
    for query in [LogQuery::default(), text("line")] {
        let (mut seen, mut after) = (Vec::new(), 0);
        while let page = kit.logs.search(LogQuery { after_seq: Some(after), limit: 2, ..query.clone() }).await.unwrap()
            && !page.is_empty()
        {
            after = page[page.len() - 1].seq;
            seen.extend(page.into_iter().map(|line| line.message));
        }
        assert_eq!(seen, written);
        let (mut seen, mut before) = (Vec::new(), None);
        while let page =
            kit.other.logs.search(LogQuery { before_seq: before, limit: 4, ..query.clone() }).await.unwrap()
            && !page.is_empty()
        {
            before = Some(page[page.len() - 1].seq);
            seen.extend(page.into_iter().map(|line| line.message));
        }
        assert!(seen.iter().eq(written.iter().rev()));
    }
    let end = LogQuery { after_seq: Some(u64::MAX), limit: 1, ..LogQuery::default() };
    assert_eq!(kit.logs.search(end).await.unwrap(), []);
}

async fn counts_exactly_in_any_range(kit: Kit) {
    let at = |n: i64| START_MS - 90_000 + n * 7_000;
    for batch in 0..4i64 {
        let new = |n: i64| Line {
            at_ms: at(n),
            level: Level::ALL[n as usize % 2],
            service: ["a", "b", "c"][n as usize % 3].into(),
            ..line("x")
        };
        let lines: Vec<Line> = (batch * 10..batch * 10 + 10).rev().map(new).collect();
        kit.logs.append(&lines).await.unwrap();
        kit.clock.advance_ms(DAY_MS / 2);
    }
    for (from_ms, until_ms) in [
        (i64::MIN, i64::MAX),
        (START_MS, START_MS + 60_000),
        (START_MS - 1, START_MS + 60_001),
        (START_MS - 20_000, START_MS + 100_000),
        (START_MS + 1_000, START_MS + 20_000),
        (START_MS + 20_000, START_MS + 1_000),
        (at(5), at(5) + 1),
        (at(5) + 1, at(6)),
    ] {
        let counts = kit.logs.counts(from_ms, until_ms).await.unwrap();
        let mut want = Vec::new();
        for (index, service) in ["a", "b", "c"].into_iter().enumerate() {
            for level in [Level::Trace, Level::Debug] {
                let fits = |n: &i64| {
                    *n as usize % 3 == index
                        && Level::ALL[*n as usize % 2] == level
                        && (from_ms..until_ms).contains(&at(*n))
                };
                let of: Vec<i64> = (0..40).filter(fits).collect();
                if let Some(last) = of.last() {
                    want.push((service.to_owned(), level, of.len() as u64, at(*last)));
                }
            }
        }
        let seen: Vec<_> = counts.into_iter().map(|c| (c.service, c.level, c.lines, c.last_ms)).collect();
        assert_eq!(seen, want, "{from_ms}..{until_ms}");
    }
}

async fn forgets_whole_days_but_never_the_current_one(kit: Kit) {
    append(&kit.logs, &["first day"]).await;
    kit.clock.advance_ms(DAY_MS);
    append(&kit.logs, &["second day"]).await;
    kit.clock.advance_ms(DAY_MS);
    append(&kit.logs, &["third day"]).await;
    let usage = kit.other.logs.usage().await.unwrap();
    assert_eq!((usage.lines, usage.oldest_ms), (3, Some(START_MS)));
    assert_eq!(usage.days, ["2026-11-15", "2026-11-16", "2026-11-17"]);
    assert!(usage.bytes > 0);
    let midnight = START_MS.div_euclid(DAY_MS) * DAY_MS + DAY_MS;
    assert_eq!(kit.logs.forget(midnight - 1).await.unwrap(), 0, "the first day had not ended");
    assert_eq!(kit.logs.forget(midnight).await.unwrap(), 1);
    assert_eq!(search(&kit.other.logs, LogQuery::default()).await, ["third day", "second day"]);
    assert_eq!(kit.other.logs.forget(i64::MAX).await.unwrap(), 1);
    assert_eq!(search(&kit.logs, LogQuery::default()).await, ["third day"]);
    append(&kit.logs, &["still writing"]).await;
    assert_eq!(search(&kit.other.logs, text("writing")).await, ["still writing"]);
}

async fn too_long_lines_are_cut(kit: Kit) {
    let long = "é".repeat(TEXT_BYTES_MAX);
    let given =
        Line { service: long.clone(), fields: json!({ "x": long }), trace_id: Some(long.clone()), ..line(&long) };
    kit.logs.append(&[given]).await.unwrap();
    let kept = kit.logs.search(LogQuery { limit: 1, ..LogQuery::default() }).await.unwrap().remove(0);
    assert!(kept.message.len() <= TEXT_BYTES_MAX && kept.message.ends_with("é…"));
    assert!(kept.service.len() <= 128 && kept.trace_id.unwrap().len() <= 128);
    assert_eq!(kept.fields, json!({"cut": "more than 32768 bytes of fields"}));
}

async fn contended_appending_orders_all(kit: Kit) {
    for task in 0..6 {
        let logs = if task % 2 == 0 { kit.logs.clone() } else { kit.other.logs.clone() };
        kit.tasks.spawn("appender", OnEnd::Done, async move {
            for n in 0..10 {
                append(&logs, &[&format!("{n}"), &format!("{n}+")]).await;
            }
        });
    }
    assert_eq!(kit.tasks.drain(std::time::Duration::from_secs(30)).await, 0);
    let lines = kit.logs.search(LogQuery { limit: 1_000, ..LogQuery::default() }).await.unwrap();
    assert_eq!(lines.len(), 120);
    assert!(lines.is_sorted_by(|a, b| a.seq > b.seq));
    let together = lines.chunks(2).all(|pair| pair[0].message == format!("{}+", pair[1].message));
    assert!(together, "a batch is not torn");
}

async fn a_clock_set_back_over_midnight_keeps_places_growing(kit: Kit) {
    kit.clock.advance_ms(DAY_MS);
    append(&kit.logs, &["tomorrow"]).await;
    kit.clock.advance_ms(-DAY_MS);
    append(&kit.other.logs, &["today"]).await;
    assert_eq!(search(&kit.logs, LogQuery::default()).await, ["today", "tomorrow"]);
}

async fn waiters_are_nudged(kit: Kit) {
    let here = kit.logs.appended();
    let there = kit.other.logs.appended();
    append(&kit.logs, &["news"]).await;
    soon(async { tokio::join!(here, there) }).await;
}
