//! Bodies as their senders write them, and bodies that nobody should.

use expect_test::{Expect, expect};
use kernel::Code;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: UnixMs = 1_794_729_600_000;

fn show(lines: Result<Vec<Line>, Fault>) -> String {
    let lines = match lines {
        Ok(lines) => lines,
        Err(fault) => return fault.to_string(),
    };
    let show = |line: &Line| {
        let trace = line.trace_id.as_deref().map_or(String::new(), |id| format!(" trace={id}"));
        let fields = if line.fields.is_null() { String::new() } else { format!(" {}", line.fields) };
        format!("{:+} {} {}: {:?}{trace}{fields}\n", line.at_ms - NOW, line.level.as_str(), line.service, line.message)
    };
    lines.iter().map(show).collect()
}

fn check_loki(body: Value, want: Expect) {
    want.assert_eq(&show(loki(body.to_string().as_bytes(), "application/json; charset=utf-8", NOW)));
}

fn check_otlp(body: Value, want: Expect) {
    want.assert_eq(&show(otlp(body.to_string().as_bytes(), "application/json", NOW)));
}

fn check_lines(body: &str, want: Expect) {
    want.assert_eq(&show(ndjson(body.as_bytes(), "application/x-ndjson", NOW)));
}

#[test]
fn loki_as_json() {
    check_loki(
        json!({"streams": [
            {"stream": {"app": "shop", "env": "prod", "level": "warn"},
             "values": [["1794729600250000000", "slow query"], ["1794729601000000000", "error: gone", {"trace_id": "0AF7651916CD43DD8448EB211C80319C", "password": "x"}]]},
            {"stream": {"service_name": "api", "app": "shop"}, "values": [["1794729600000000000", "ERROR no\n"]]},
        ]}),
        expect![[r#"
            +250 warn shop: "slow query" {"app":"shop","env":"prod"}
            +1000 warn shop: "error: gone" trace=0af7651916cd43dd8448eb211c80319c {"app":"shop","env":"prod","password":"***"}
            +0 error api: "ERROR no" {"app":"shop"}
        "#]],
    );
    check_loki(json!({"streams": []}), expect![""]);
    check_loki(
        json!({}),
        expect![
            "invalid_argument: not a Loki push request: `streams` must be a list (Loki's HTTP API, POST /loki/api/v1/push)"
        ],
    );
    check_loki(
        json!({"streams": [{"values": [[1, 2]]}]}),
        expect![[
            r#"invalid_argument: not a Loki push request: a value must be ["nanoseconds", "line"] (Loki's HTTP API, POST /loki/api/v1/push)"#
        ]],
    );
    check_loki(
        json!({"streams": [{"values": [["soon", "x"]]}]}),
        expect![
            "invalid_argument: not a Loki push request: a time must be nanoseconds since the epoch, as text (Loki's HTTP API, POST /loki/api/v1/push)"
        ],
    );
    check_loki(
        json!({"streams": [{"stream": {}}]}),
        expect![
            "invalid_argument: not a Loki push request: `values` must be a list (Loki's HTTP API, POST /loki/api/v1/push)"
        ],
    );
    check_loki(
        json!([]),
        expect![
            "invalid_argument: not a Loki push request: `streams` must be a list (Loki's HTTP API, POST /loki/api/v1/push)"
        ],
    );
}

/// Protobuf written by hand: field number, wire type, bytes.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 16_384);
    let mut out = vec![number << 3 | 2];
    if bytes.len() < 128 {
        out.push(bytes.len() as u8);
    } else {
        out.extend([bytes.len() as u8 & 0x7f | 0x80, (bytes.len() >> 7) as u8]);
    }
    out.extend(bytes);
    out
}

fn varint_field(number: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn fixed64_field(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

#[test]
fn loki_as_snappy_protobuf() {
    let time = [varint_field(1, 1_794_729_600), varint_field(2, 5_000_000)].concat();
    let metadata = [bytes_field(1, b"user"), bytes_field(2, b"ann")].concat();
    let entry = [bytes_field(1, &time), bytes_field(2, b"hello"), bytes_field(3, &metadata)].concat();
    let stream = [bytes_field(2, &entry), bytes_field(1, br#"{job="cron", host="a\"b", }"#)].concat();
    let body = snap::raw::Encoder::new().compress_vec(&bytes_field(1, &stream)).unwrap();
    expect![[r#"
        +5 info cron: "hello" {"job":"cron","host":"a\"b","user":"ann"}
    "#]]
    .assert_eq(&show(loki(&body, "application/x-protobuf", NOW)));
    expect!["invalid_argument: the body is not a Snappy block: snappy: corrupt input (invalid header)"]
        .assert_eq(&show(loki(b"\xff\xff\xff\xff\xff", "application/x-protobuf", NOW)));
    // Says that it unpacks to 4 GB.
    expect!["too_large: a body of 4294967295 bytes once unpacked (at most 16777216 bytes)"].assert_eq(&show(loki(
        b"\xff\xff\xff\xff\x0f",
        "application/x-protobuf",
        NOW,
    )));
}

#[test]
fn otlp_as_json() {
    check_otlp(
        json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}, {"key": "pid", "value": {"intValue": "42"}}]},
        "scopeLogs": [{"scope": {"name": "lib"}, "logRecords": [
            {"timeUnixNano": "1794729600001000000", "severityNumber": 17, "severityText": "ERROR", "body": {"stringValue": "boom"},
             "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
             "attributes": [{"key": "tags", "value": {"arrayValue": {"values": [{"boolValue": true}, {"doubleValue": 1.5}]}}}]},
            {"observedTimeUnixNano": 1794729600002000000u64, "severityText": "Warning", "body": {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}},
            {}
        ]}]}]}),
        expect![[r#"
            +1 error checkout: "boom" trace=0af7651916cd43dd8448eb211c80319c {"pid":42,"scope":"lib","tags":[true,1.5],"span_id":"b7ad6b7169203331"}
            +2 warn checkout: "{\"a\":\"b\"}" {"pid":42,"scope":"lib"}
            +0 info checkout: "" {"pid":42,"scope":"lib"}
        "#]],
    );
    check_otlp(json!({}), expect![""]);
    check_otlp(
        json!({"resourceLogs": 1}),
        expect!["invalid_argument: not an OTLP logs export: `resourceLogs` must be a list (OTLP/HTTP, POST /v1/logs)"],
    );
    check_otlp(
        json!("x"),
        expect!["invalid_argument: not an OTLP logs export: it must be an object (OTLP/HTTP, POST /v1/logs)"],
    );
}

#[test]
fn otlp_as_protobuf() {
    let text = |text: &[u8]| bytes_field(1, text);
    let attribute = |name: &[u8], value: Vec<u8>| [bytes_field(1, name), bytes_field(2, &value)].concat();
    let list =
        bytes_field(5, &[bytes_field(1, &varint_field(2, 1)), bytes_field(1, &varint_field(3, u64::MAX))].concat());
    let record = [
        fixed64_field(1, 1_794_729_600_007_000_000),
        varint_field(2, 13),
        bytes_field(5, &text(b"low on disk")),
        bytes_field(6, &attribute(b"list", list)),
        bytes_field(6, &attribute(b"ratio", fixed64_field(4, 0.5f64.to_bits()))),
        bytes_field(9, &[0x0a; 16]),
    ]
    .concat();
    let resource = bytes_field(1, &attribute(b"service.name", text(b"disks")));
    let scope = [bytes_field(1, &bytes_field(1, b"lib")), bytes_field(2, &record)].concat();
    let body = bytes_field(1, &[bytes_field(1, &resource), bytes_field(2, &scope)].concat());
    expect![[r#"
        +7 warn disks: "low on disk" trace=0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a {"scope":"lib","list":[true,-1],"ratio":0.5}
    "#]]
    .assert_eq(&show(otlp(&body, "application/x-protobuf", NOW)));
    let mut deep = text(b"x");
    for _ in 0..20 {
        deep = bytes_field(5, &bytes_field(1, &deep));
    }
    let scope = bytes_field(2, &bytes_field(2, &bytes_field(5, &deep)));
    expect!["invalid_argument: not an OTLP logs export: values nest deeper than 16 levels (OTLP/HTTP, POST /v1/logs)"]
        .assert_eq(&show(otlp(&bytes_field(1, &scope), "application/x-protobuf", NOW)));
}

#[test]
fn container_output() {
    check_lines(
        concat!(
            "{\"timestamp\":\"2026-11-15T08:00:00.5Z\",\"level\":\"INFO\",\"fields\":{\"message\":\"started\",\"port\":4017},\"target\":\"flotilla\"}\n",
            "{\"log\":\"plain in docker\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-15T09:00:00.123456789+01:00\"}\r\n",
            "\n",
            "{\"level\":50,\"time\":1794729601000,\"msg\":\"pino\",\"name\":\"web\"}\n",
            "2026/11/15 WARN something is off\n",
            "{not json}\n",
            "{\"a\":1}\n",
            "{\"ts\":1794729600.25,\"msg\":\"zap\",\"logger\":\"ctl\",\"api_key\":\"s3cret\"}",
        ),
        expect![[r#"
            +500 info unknown: "started" {"port":4017,"target":"flotilla"}
            +123 info unknown: "plain in docker" {"stream":"stderr"}
            +1000 error web: "pino" {"name":"web"}
            +0 warn unknown: "2026/11/15 WARN something is off"
            +0 info unknown: "{not json}"
            +0 info unknown: "{\"a\":1}" {"a":1}
            +250 info ctl: "zap" {"api_key":"***","logger":"ctl"}
        "#]],
    );
    check_lines("", expect![""]);
    expect![[r#"
        +0 info x: "a"
        +0 info unknown: "b"
        +0 info unknown: "3"
    "#]]
    .assert_eq(&show(ndjson(br#"[{"msg":"a","service":"x"},"b",3]"#, "application/json", NOW)));
    expect![[r#"
        +0 info unknown: "a"
        +0 info unknown: "b"
    "#]]
    .assert_eq(&show(ndjson(b"{\"msg\":\"a\"}\n{\"msg\":\"b\"}\n", "application/json", NOW)));
    expect!["invalid_argument: the body is JSON, but not objects (an object a line, or an array of them)"]
        .assert_eq(&show(ndjson(b"17", "application/json", NOW)));
    expect![[r#"
        +0 info unknown: "bytes �� here"
    "#]]
    .assert_eq(&show(ndjson(b"bytes \xff\xfe here", "", NOW)));
}

#[test]
fn refuses_what_is_not_its_kind_and_what_is_too_much() {
    let code = |lines: Result<Vec<Line>, Fault>| lines.expect_err("refused").code;
    for kind in ["text/html", "application/xml"] {
        assert_eq!(code(loki(b"", kind, NOW)), Code::Unsupported);
        assert_eq!(code(otlp(b"", kind, NOW)), Code::Unsupported);
        assert_eq!(code(ndjson(b"", kind, NOW)), Code::Unsupported);
    }
    let big = vec![b'x'; BODY_BYTES_MAX + 1];
    assert_eq!(code(ndjson(&big, "", NOW)), Code::TooLarge);
    assert_eq!(code(ndjson("x\n".repeat(LINES_MAX + 1).as_bytes(), "", NOW)), Code::TooLarge);
    let deep = format!("{{\"streams\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(code(loki(deep.as_bytes(), "application/json", NOW)), Code::InvalidArgument);
    assert_eq!(code(loki(b"{", "application/json", NOW)), Code::InvalidArgument);
    let label = "z".repeat(20_000);
    let values: Vec<_> = (0..LINES_MAX).map(|_| json!(["1", "x"])).collect();
    let body = json!({"streams": [{"stream": {"a": label}, "values": values}]}).to_string();
    assert_eq!(code(loki(body.as_bytes(), "application/json", NOW)), Code::TooLarge, "a few bytes that stand for many");
    let long = ndjson(&vec![b'y'; 1 << 20], "", NOW).unwrap();
    assert!(long[0].message.len() <= kernel::logs::TEXT_BYTES_MAX);
}

#[test]
fn times() {
    for (text, want) in [
        (" 2026-11-15T08:00:00Z", Some(NOW)),
        ("1794729600", Some(NOW)),
        ("1794729600000", Some(NOW)),
        ("1794729600000000", Some(NOW)),
        ("1794729600000000000", Some(NOW)),
        ("-5", None),
        ("NaN", None),
        ("soon", None),
    ] {
        assert_eq!(time_of(&text.into()), want, "{text}");
    }
}

proptest! {
    /// Nothing that anybody may send breaks it, and what is answered keeps the limits.
    #[test]
    fn hostile_bytes(body in prop::collection::vec(any::<u8>(), 0..400), kind in 0usize..3) {
        let kind = ["application/json", "application/x-protobuf", "application/x-ndjson"][kind];
        for lines in [loki(&body, kind, NOW), otlp(&body, kind, NOW), ndjson(&body, kind, NOW)].into_iter().flatten() {
            prop_assert!(lines.len() <= LINES_MAX);
        }
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let _ = loki(&packed, "application/x-protobuf", NOW);
    }

    /// The same for JSON of every shape.
    #[test]
    fn hostile_json(text in r#"(\{|\}|\[|\]|,|:|"streams"|"stream"|"values"|"resourceLogs"|"scopeLogs"|"logRecords"|"body"|"attributes"|"key"|"value"|"msg"|"time"|"x"|1|null|"1794729600000000000"|\n){0,40}"#) {
        for kind in ["application/json", ""] {
            let _ = (loki(text.as_bytes(), kind, NOW), otlp(text.as_bytes(), kind, NOW), ndjson(text.as_bytes(), kind, NOW));
        }
    }
}
