//! Messages, in the words of each kind of sink.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Uri, uri};
use kernel::{Fault, UnixMs};
use ring::hmac;
use serde_json::{Value, json};

use super::due::Due;
use crate::monitoring::alerts::{Alert, State};
use crate::monitoring::rules::Severity;
use crate::monitoring::sinks::{Sink, SinkKind, topic};

/// The same for the same alerts in the same states, so that a receiver can tell a message that comes twice.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `sha256=` and the HMAC of the body, in hexadecimal digits.
const SIGNATURE: HeaderName = HeaderName::from_static("x-flotilla-signature");
/// What the body of a webhook is.
const VERSION: u32 = 1;
/// How many of its reminders an alert outlives at an Alertmanager that hears of it no more.
const REMINDERS: i64 = 4;
/// Longest text that an ntfy server takes for a message, in bytes; with more it would make a file of it.
const NTFY_BYTES_MAX: usize = 3_500;

/// Longest text of a Discord webhook's message, in bytes, before it is made inert: 4,096 characters are taken. And of its title, of 256, in characters.
const DISCORD_BYTES_MAX: usize = 2_000;
const DISCORD_TITLE_MAX: usize = 80;

/// A request to a sink.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// What is told of `due`. `url` is the sink's, `key` signs a webhook's body.
pub(super) fn message(
    name: &str,
    sink: &Sink,
    url: Uri,
    key: Option<&str>,
    due: &Due,
    now_ms: UnixMs,
) -> Result<Message, Fault> {
    let (method, url, body) = match sink.kind {
        SinkKind::Heartbeat => (Method::GET, url, None),
        SinkKind::Webhook => (Method::POST, url, Some(webhook(name, due, now_ms))),
        SinkKind::Ntfy => {
            let topic = topic(&url).unwrap_or_default().to_owned();
            let path = url.path().trim_end_matches('/');
            let server = &path[..path.len() - topic.len()];
            (Method::POST, at(&url, server)?, Some(ntfy(&topic, due)))
        }
        SinkKind::Discord => (Method::POST, url, Some(discord(due))),
        SinkKind::Alertmanager => {
            let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
            (Method::POST, at(&url, &path)?, Some(alertmanager(sink, due, now_ms)))
        }
    };
    let mut headers = Vec::new();
    let body = Bytes::from(body.map(|body| body.to_string()).unwrap_or_default());
    if method == Method::POST {
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        headers.push((KEY, header(idempotency_key(name, due))?));
    }
    if let Some(key) = key {
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &body);
        headers.push((SIGNATURE, header(format!("sha256={}", kernel::audit::hex(signature.as_ref())))?));
    }
    Ok(Message { method, url, headers, body })
}

fn header(text: String) -> Result<HeaderValue, Fault> {
    HeaderValue::try_from(text).map_err(|error| Fault::internal(format!("header: {error}")))
}

/// The same server, another path.
fn at(url: &Uri, path: &str) -> Result<Uri, Fault> {
    let mut parts = url.clone().into_parts();
    let path = if path.is_empty() { "/" } else { path };
    parts.path_and_query =
        Some(uri::PathAndQuery::try_from(path).map_err(|error| Fault::internal(format!("path of a sink: {error}")))?);
    Uri::from_parts(parts).map_err(|error| Fault::internal(format!("address of a sink: {error}")))
}

fn idempotency_key(name: &str, due: &Due) -> String {
    let stands = due.alerts.iter().map(|alert| format!("{} {}", alert.id, alert.state.as_str()));
    // What is repeated is another message each time.
    let round = if due.repeated { due.after.messages } else { 0 };
    let text = format!("{name}\n{round}\n{}", stands.collect::<Vec<_>>().join("\n"));
    kernel::ids::digest(text.as_bytes())
}

fn counts(due: &Due) -> [(State, usize); 3] {
    [State::Firing, State::Acknowledged, State::Resolved]
        .map(|state| (state, due.alerts.iter().filter(|alert| alert.state == state).count()))
}

/// `2 firing, 1 resolved: server a is down`.
fn title(due: &Due) -> String {
    let counted = counts(due).into_iter().filter(|(_, count)| *count > 0);
    let counted: Vec<String> = counted.map(|(state, count)| format!("{count} {}", state.as_str())).collect();
    let again = if due.repeated { "still " } else { "" };
    let first = due.alerts.first().map_or("", |alert| alert.summary.as_str());
    format!("{again}{}: {first}", counted.join(", "))
}

fn webhook(name: &str, due: &Due, now_ms: UnixMs) -> Value {
    let counts: BTreeMap<&str, usize> = counts(due).into_iter().map(|(state, count)| (state.as_str(), count)).collect();
    json!({
        "version": VERSION, "sink": name, "sent_ms": now_ms, "repeated": due.repeated, "title": title(due), "counts": counts,
        "alerts": due.alerts,
    })
}

/// Each alert on a line, as many as fit.
fn lines(due: &Due, bytes_max: usize) -> String {
    let line = |alert: &Alert| {
        let (severity, state) = (alert.severity.as_str(), alert.state.as_str());
        let by = alert.acknowledged.as_ref().filter(|_| alert.state == State::Acknowledged);
        let by = by.map(|by| format!(" by {}", by.by)).unwrap_or_default();
        let runbook = alert.runbook.as_ref().filter(|_| alert.state == State::Firing);
        let runbook = runbook.map(|runbook| format!("\n  {runbook}")).unwrap_or_default();
        format!("{severity}, {state}{by}: {}{runbook}", alert.summary)
    };
    let mut text = String::new();
    for (told, alert) in due.alerts.iter().enumerate() {
        let line = line(alert);
        if text.len() + line.len() > bytes_max {
            text.push_str(&format!("and {} more", due.alerts.len() - told));
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// How bad the worst is of what is not over.
fn worst(due: &Due) -> Option<Severity> {
    due.alerts.iter().filter(|alert| alert.state != State::Resolved).map(|alert| alert.severity).max()
}

fn ntfy(topic: &str, due: &Due) -> Value {
    let text = lines(due, NTFY_BYTES_MAX);
    let (priority, tag) = match worst(due) {
        Some(Severity::Critical) => (5, "rotating_light"),
        Some(Severity::Warning) => (4, "warning"),
        Some(Severity::Info) => (3, "information_source"),
        None => (3, "white_check_mark"),
    };
    json!({ "topic": topic, "title": title(due), "message": text, "priority": priority, "tags": [tag] })
}

/// A message of a Discord webhook, which pings nobody and has no markup but its frame, whatever stands in it.
fn discord(due: &Due) -> Value {
    // A mark of no width: neither the end of a code block nor a mention.
    let inert = |text: &str| text.replace('`', "`\u{200b}").replace('@', "@\u{200b}");
    let colour = match worst(due) {
        Some(Severity::Critical) => 0xda_36_33,
        Some(Severity::Warning) => 0xd2_99_22,
        Some(Severity::Info) => 0x3b_82_f6,
        None => 0x2e_a0_43,
    };
    let markup = |c: char| if "*_~|<>[]()#\\".contains(c) { format!("\\{c}") } else { c.to_string() };
    let title: String = title(due).chars().take(DISCORD_TITLE_MAX).map(markup).collect();
    let text = inert(&lines(due, DISCORD_BYTES_MAX));
    let embed = json!({ "title": inert(&title), "description": format!("```\n{text}\n```"), "color": colour });
    json!({ "username": "Flotilla", "allowed_mentions": { "parse": [] }, "embeds": [embed] })
}

/// `postableAlerts` of Alertmanager's API, version 2.
fn alertmanager(sink: &Sink, due: &Due, now_ms: UnixMs) -> Value {
    let time =
        |ms: UnixMs| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| Value::Null, |time| time.to_string().into());
    let forgotten_ms = now_ms.saturating_add(sink.repeat_ms().unwrap_or(i64::from(u32::MAX)).saturating_mul(REMINDERS));
    let one = |alert: &Alert| {
        let mut annotations = BTreeMap::from([("summary", alert.summary.clone())]);
        annotations.extend(alert.runbook.clone().map(|runbook| ("runbook", runbook)));
        json!({
            "labels": alert.labels,
            "annotations": annotations,
            "startsAt": time(alert.fired_ms.unwrap_or(alert.since_ms)),
            "endsAt": time(alert.resolved_ms.unwrap_or(forgotten_ms)),
        })
    };
    due.alerts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::Told;
    use super::super::due::tests::{alert, sink};
    use super::*;

    fn due() -> Due {
        let firing = alert("a", "service-down", "a", State::Firing, Severity::Critical);
        let over =
            Alert { resolved_ms: Some(90_000), ..alert("b", "latency", "b", State::Resolved, Severity::Warning) };
        Due { alerts: vec![firing, over], repeated: false, after: Told::default() }
    }

    fn check(kind: SinkKind, url: &str, want: Expect) {
        let sink = Sink { url: Some(url.into()), ..sink(kind) };
        let message = message("ops", &sink, url.parse().unwrap(), Some("k"), &due(), 100_000).unwrap();
        let body = serde_json::from_slice::<Value>(&message.body).map_or(String::new(), |body| format!("{body:#}"));
        let headers = message.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        want.assert_eq(&format!("{} {}\n{}{body}", message.method, message.url, headers.collect::<String>()));
    }

    #[test]
    fn a_webhook_gets_all_there_is() {
        check(
            SinkKind::Webhook,
            "https://example.com/alerts?x=y",
            expect![[r#"
            POST https://example.com/alerts?x=y
            content-type: application/json
            idempotency-key: ea467cb0f8a580e6
            x-flotilla-signature: sha256=4319ecd97e272246840b141e478a7d614b53809e3ea92b206b50def582012e5c
            {
              "version": 1,
              "sink": "ops",
              "sent_ms": 100000,
              "repeated": false,
              "title": "1 firing, 1 resolved: service-down of a",
              "counts": {
                "acknowledged": 0,
                "firing": 1,
                "resolved": 1
              },
              "alerts": [
                {
                  "id": "a",
                  "rule": "service-down",
                  "labels": {
                    "alertname": "service-down",
                    "server": "a",
                    "severity": "critical"
                  },
                  "severity": "critical",
                  "summary": "service-down of a",
                  "runbook": "look",
                  "state": "firing",
                  "value": 1.0,
                  "since_ms": 0,
                  "fired_ms": 1000,
                  "updated_ms": 1000
                },
                {
                  "id": "b",
                  "rule": "latency",
                  "labels": {
                    "alertname": "latency",
                    "server": "b",
                    "severity": "warning"
                  },
                  "severity": "warning",
                  "summary": "latency of b",
                  "runbook": "look",
                  "state": "resolved",
                  "value": 1.0,
                  "since_ms": 0,
                  "fired_ms": 1000,
                  "resolved_ms": 90000,
                  "updated_ms": 1000
                }
              ]
            }"#]],
        );
    }

    #[test]
    fn ntfy_gets_a_message() {
        check(
            SinkKind::Ntfy,
            "https://ntfy.sh/my-topic",
            expect![[r#"
            POST https://ntfy.sh/
            content-type: application/json
            idempotency-key: ea467cb0f8a580e6
            x-flotilla-signature: sha256=18ee1b560ef823740aef187bdc451b97aa1df3533cd26f8af54fb2ae20e25e05
            {
              "topic": "my-topic",
              "title": "1 firing, 1 resolved: service-down of a",
              "message": "critical, firing: service-down of a\n  look\nwarning, resolved: latency of b",
              "priority": 5,
              "tags": [
                "rotating_light"
              ]
            }"#]],
        );
        check(
            SinkKind::Ntfy,
            "https://example.com/under/my-topic/",
            expect![[r#"
            POST https://example.com/under/
            content-type: application/json
            idempotency-key: ea467cb0f8a580e6
            x-flotilla-signature: sha256=18ee1b560ef823740aef187bdc451b97aa1df3533cd26f8af54fb2ae20e25e05
            {
              "topic": "my-topic",
              "title": "1 firing, 1 resolved: service-down of a",
              "message": "critical, firing: service-down of a\n  look\nwarning, resolved: latency of b",
              "priority": 5,
              "tags": [
                "rotating_light"
              ]
            }"#]],
        );
    }

    #[test]
    fn a_discord_webhook_gets_a_message_that_is_no_markup() {
        check(
            SinkKind::Discord,
            "https://discord.com/api/webhooks/1/token",
            expect![[r#"
                POST https://discord.com/api/webhooks/1/token
                content-type: application/json
                idempotency-key: ea467cb0f8a580e6
                x-flotilla-signature: sha256=fd6fe07bc3b8094f9ec43b1d7e591a201a9f9569adf853382ebe696bc0e1da44
                {
                  "username": "Flotilla",
                  "allowed_mentions": {
                    "parse": []
                  },
                  "embeds": [
                    {
                      "title": "1 firing, 1 resolved: service-down of a",
                      "description": "```\ncritical, firing: service-down of a\n  look\nwarning, resolved: latency of b\n```",
                      "color": 14300723
                    }
                  ]
                }"#]],
        );
        let mut due = due();
        due.alerts[0].summary = "`@everyone <@1> [x](y)".repeat(200);
        due.alerts = vec![due.alerts[0].clone(); 50];
        let body = discord(&due);
        let embed = &body["embeds"][0];
        let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
        assert!(length(&embed["description"]) <= 4_096 && length(&embed["title"]) <= 256, "{embed}");
        let said = body.to_string();
        assert!(!said.contains("@everyone") && !said.contains("<@1>"), "{said}");
        assert!(!embed["title"].as_str().unwrap().contains("](y"), "{embed}");
    }

    #[test]
    fn alertmanager_gets_labels_and_times() {
        check(
            SinkKind::Alertmanager,
            "http://alertmanager:9093/",
            expect![[r#"
            POST http://alertmanager:9093/api/v2/alerts
            content-type: application/json
            idempotency-key: ea467cb0f8a580e6
            x-flotilla-signature: sha256=fd9ad11415ed6fd5d7fb7e9e7dc25554dd1652dcf4c238beaae5ae19743fb1f5
            [
              {
                "labels": {
                  "alertname": "service-down",
                  "server": "a",
                  "severity": "critical"
                },
                "annotations": {
                  "runbook": "look",
                  "summary": "service-down of a"
                },
                "startsAt": "1970-01-01T00:00:01Z",
                "endsAt": "1970-01-01T00:05:40Z"
              },
              {
                "labels": {
                  "alertname": "latency",
                  "server": "b",
                  "severity": "warning"
                },
                "annotations": {
                  "runbook": "look",
                  "summary": "latency of b"
                },
                "startsAt": "1970-01-01T00:00:01Z",
                "endsAt": "1970-01-01T00:01:30Z"
              }
            ]"#]],
        );
    }

    #[test]
    fn a_heartbeat_is_only_asked_for() {
        check(
            SinkKind::Heartbeat,
            "https://hc.example/ping/123?x",
            expect![[r#"
            GET https://hc.example/ping/123?x
            x-flotilla-signature: sha256=8bb990c40a7d61cb97597a942125025be50ac8beb74436e3735b98893a7f6620
        "#]],
        );
    }

    #[test]
    fn the_key_is_of_what_is_told() {
        let one = due();
        let other = Due { alerts: one.alerts[..1].to_vec(), ..due() };
        let again = |messages| Due { repeated: true, after: Told { messages, ..Told::default() }, ..due() };
        let keys = [one, other, again(1), again(2)].map(|due| idempotency_key("ops", &due));
        assert_eq!(std::collections::BTreeSet::from(keys.clone()).len(), 4, "{keys:?}");
        assert_eq!(keys[0], idempotency_key("ops", &due()));
        assert_ne!(keys[0], idempotency_key("others", &due()));
    }

    #[test]
    fn what_is_too_long_for_ntfy_says_how_much_is_left_out() {
        let mut due = due();
        due.alerts[0].summary = "é".repeat(1_000);
        due.alerts = vec![due.alerts[0].clone(); 5];
        let body = ntfy("t", &due);
        let text = body["message"].as_str().unwrap();
        assert!(text.len() < 4_000 && text.ends_with("and 4 more"), "{}", text.len());
    }
}
