//! Sinks that answer, do not answer, and come back: real requests to local servers.

use std::net::SocketAddr;

use expect_test::expect;
use http::StatusCode;
use kernel::health::Status;
use kernel::{OnEnd, Tasks};
use mcp::Features;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::monitoring::{Sink, SinkKind};
use crate::testing::{operator, viewer};

/// A server that keeps what it is told.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<String>>,
    _tasks: Tasks,
}

#[derive(Debug, Clone)]
struct Got {
    /// Method and path, then headers, each on a line.
    head: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Receiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (answer, tasks) = (Arc::new(Mutex::new("200 OK\r\n".to_owned())), Tasks::new());
        let (kept, says) = (Arc::clone(&got), Arc::clone(&answer));
        tasks.spawn("receiver", OnEnd::Done, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = says.lock().clone();
                let read = take(stream, answer).await;
                kept.lock().extend(read);
            }
        });
        Self { address, got, answer, _tasks: tasks }
    }

    /// From now on it answers so: a status, and a header.
    fn answers(&self, status: StatusCode, header: &str) {
        *self.answer.lock() = format!("{status}\r\n{header}");
    }

    fn all(&self) -> Vec<Got> {
        self.got.lock().clone()
    }
}

async fn take(mut stream: TcpStream, answer: String) -> Option<Got> {
    let (read, mut write) = stream.split();
    let (mut read, mut head) = (BufReader::new(read), String::new());
    while read.read_line(&mut head).await.ok()? > 2 {}
    let mut got = Got { head, body: String::new() };
    let len = got.header("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    read.read_exact(&mut body).await.ok()?;
    got.body = String::from_utf8(body).ok()?;
    write
        .write_all(format!("HTTP/1.1 {answer}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .ok()?;
    Some(got)
}

fn sink(kind: SinkKind, url: String) -> Sink {
    serde_json::from_value(json!({ "kind": kind, "url": url })).unwrap()
}

fn with(sinks: &[(&str, Sink)]) -> Config {
    let sinks = sinks.iter().map(|(name, sink)| ((*name).to_owned(), sink.clone())).collect();
    Config { sinks, ..Config::default() }
}

/// A server `a` is down.
async fn watch(config: Config) -> Watch {
    let watch = Watch::on(World::default(), config);
    watch.health("a", 1.0);
    watch.ask("set_rule", down(0)).await;
    watch.pass(10).await;
    watch.health("a", 0.0);
    watch.pass(5).await;
    watch
}

impl Watch {
    async fn deliver(&self) -> String {
        let told = self.ask("deliver_alerts", json!({ "evaluated_ms": self.bench.world.clock.now_ms() })).await;
        let one = |one: &Value| match one["error"].as_str() {
            None => format!("{} {}", one["sink"].as_str().unwrap(), one["alerts"]),
            Some(error) => format!("{} {}: {error}", one["sink"].as_str().unwrap(), one["alerts"]),
        };
        told["deliveries"].as_array().unwrap().iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

#[tokio::test]
async fn every_kind_of_sink_is_told_once() {
    let receiver = Receiver::new().await;
    let at = |path: &str| format!("http://{}{path}", receiver.address);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let watch = watch(with(&[
        ("alarms", Sink { token_file: file("token", "t-1\n"), ..sink(SinkKind::Alertmanager, at("")) }),
        ("beat", sink(SinkKind::Heartbeat, at("/ping/1"))),
        (
            "hook",
            Sink {
                url: None,
                url_file: file("url", &at("/hook?key=s3cret")),
                secret_file: file("key", "k"),
                ..sink(SinkKind::Webhook, String::new())
            },
        ),
        ("phone", sink(SinkKind::Ntfy, at("/my-topic"))),
    ]))
    .await;
    assert_eq!(watch.deliver().await, "alarms 1, beat 0, hook 1, phone 1");
    assert_eq!(watch.deliver().await, "");
    let mut got = receiver.all();
    got.sort_by(|a, b| a.head.cmp(&b.head));
    let heads: Vec<&str> = got.iter().map(|got| got.head.lines().next().unwrap()).collect();
    assert_eq!(
        heads,
        ["GET /ping/1 HTTP/1.1", "POST / HTTP/1.1", "POST /api/v2/alerts HTTP/1.1", "POST /hook?key=s3cret HTTP/1.1"]
    );
    assert_eq!((got[1].json()["topic"].as_str(), got[1].json()["priority"].as_i64()), (Some("my-topic"), Some(5)));
    assert_eq!(got[2].header("authorization"), Some("Bearer t-1"));
    assert_eq!(got[2].json()[0]["labels"]["alertname"], "down");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k");
    let signed = kernel::audit::hex(ring::hmac::sign(&key, got[3].body.as_bytes()).as_ref());
    assert_eq!(got[3].header("x-flotilla-signature"), Some(&*format!("sha256={signed}")));
    assert_eq!(got[3].json()["alerts"][0]["summary"], "a is down (0)");
    // An address that is a secret is not shown.
    let sinks = watch.ask("list_sinks", json!({})).await.to_string();
    assert!(
        sinks.contains("\"host\":\"127.0.0.1\"") && !sinks.contains("s3cret") && !sinks.contains("/hook"),
        "{sinks}"
    );
    watch.health("a", 1.0);
    watch.pass(10).await;
    assert_eq!(watch.deliver().await, "alarms 1, hook 1, phone 1");
}

#[tokio::test]
async fn a_sink_that_was_away_hears_of_everything_once() {
    let receiver = Receiver::new().await;
    let config = with(&[("hook", sink(SinkKind::Webhook, format!("http://{}/", receiver.address)))]);
    let watch = watch(config.clone()).await;
    receiver.answers(StatusCode::SERVICE_UNAVAILABLE, "retry-after: 120\r\n");
    assert_eq!(watch.deliver().await, "hook 1: answered with 503 Service Unavailable");
    // It asked to be left alone.
    watch.pass(100).await;
    assert_eq!(watch.deliver().await, "");
    watch.health("a", 1.0);
    watch.pass(30).await;
    watch.health("b", 0.0);
    watch.pass(5).await;
    for _ in 0..3 {
        assert_eq!(watch.deliver().await, "hook 2: answered with 503 Service Unavailable");
        watch.pass(310).await;
    }
    let row = watch.ask("list_sinks", json!({})).await["sinks"][0].clone();
    assert_eq!((&row["failures"], &row["waiting"], &row["messages"]), (&json!(4), &json!(2), &json!(0)), "{row}");
    let checks = watch.server.health().await;
    let check = checks.iter().find(|check| check.name == "alert sinks").unwrap();
    assert_eq!(check.status, Status::Degraded);
    assert_eq!(check.detail, "take no alerts: hook (answered with 503 Service Unavailable)");
    receiver.answers(StatusCode::NO_CONTENT, "");
    // Another process goes on where this one stopped.
    let watch = Watch::on(watch.bench.world, config);
    assert_eq!(watch.deliver().await, "hook 2");
    assert_eq!(watch.deliver().await, "");
    let told: Vec<Value> = receiver.all().iter().map(Got::json).collect();
    let last = told.last().unwrap();
    assert_eq!((&last["counts"]["firing"], &last["counts"]["resolved"]), (&json!(1), &json!(1)), "{last}");
    let keys: std::collections::BTreeSet<_> =
        receiver.all().iter().map(|got| got.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!((told.len(), keys.len()), (5, 2), "the same message has the same key");
    let health = watch.server.health().await;
    assert!(health.iter().any(|check| check.name == "alert sinks" && check.status == Status::Healthy));
}

#[tokio::test]
async fn two_at_once_tell_once_and_a_sink_that_is_gone_is_forgotten() {
    let receiver = Receiver::new().await;
    let config = with(&[("hook", sink(SinkKind::Webhook, format!("http://{}/", receiver.address)))]);
    let one = watch(config.clone()).await;
    let other = Watch::on(one.bench.world.clone(), config);
    let (a, b) = tokio::join!(one.deliver(), other.deliver());
    assert_eq!((a.len() + b.len(), receiver.all().len()), ("hook 1".len(), 1), "{a} {b}");
    let without = Watch::on(one.bench.world.clone(), Config::default());
    assert_eq!(without.deliver().await, "");
    assert_eq!(one.bench.world.store.list("alert_sinks", "", None, 10).await.unwrap().len(), 0);
    assert!(!without.server.health().await.iter().any(|check| check.name == "alert sinks"));
}

#[tokio::test]
async fn an_address_that_answers_to_nobody_is_an_error_that_names_the_host_alone() {
    let config = with(&[("hook", sink(SinkKind::Webhook, "http://127.0.0.1:1/s3cret".into()))]);
    let watch = watch(config).await;
    let told = watch.deliver().await;
    assert!(told.starts_with("hook 1: unavailable: 127.0.0.1") && !told.contains("s3cret"), "{told}");
    let missing = Sink { url: None, url_file: Some("/nowhere/url".into()), ..sink(SinkKind::Webhook, String::new()) };
    let watch = watch_of(missing).await;
    let told = watch.deliver().await;
    assert!(told.starts_with("hook 1: unavailable: url_file /nowhere/url: "), "{told}");
}

async fn watch_of(sink: Sink) -> Watch {
    watch(with(&[("hook", sink)])).await
}

#[tokio::test]
async fn who_may_tell() {
    let watch = Watch::new();
    let answer = watch.bench.shown(&viewer("eve"), "deliver_alerts", json!({})).await;
    assert!(answer.starts_with("permission_denied: "), "{answer}");
    assert_eq!(watch.bench.shown(&viewer("eve"), "list_sinks", json!({})).await, r#"{"sinks":[]}"#);
    assert_eq!(watch.bench.shown(&operator("ann"), "deliver_alerts", json!({})).await, r#"{"deliveries":[]}"#);
}

#[test]
fn sinks_that_cannot_be_are_refused() {
    let refused = |name: &str, sink: Value| {
        let sink: Sink = serde_json::from_value(sink).unwrap();
        with(&[(name, sink)]).check().unwrap_err().to_string()
    };
    let url = "http://x/t";
    let all = [
        refused("Ops", json!({ "kind": "webhook", "url": url })),
        refused("ops", json!({ "kind": "webhook" })),
        refused("ops", json!({ "kind": "webhook", "url": url, "url_file": "f" })),
        refused("ops", json!({ "kind": "webhook", "url": "ftp://s3cret@x" })),
        refused("ops", json!({ "kind": "ntfy", "url": "https://ntfy.sh/" })),
        refused("ops", json!({ "kind": "ntfy", "url": url, "secret_file": "f" })),
        refused("ops", json!({ "kind": "heartbeat", "url": url, "matchers": [{ "label": "a", "value": "b" }] })),
        refused(
            "ops",
            json!({ "kind": "webhook", "url": url, "matchers": [{ "label": "a", "op": "=~", "value": "(" }] }),
        ),
        refused("ops", json!({ "kind": "webhook", "url": url, "every_seconds": 0 })),
        refused("ops", json!({ "kind": "webhook", "url": url, "repeat_seconds": 5 })),
        refused("ops", json!({ "kind": "heartbeat", "url": url, "repeat_seconds": 0 })),
    ];
    expect![[r#"
        invalid_argument: servers.monitoring.sinks.Ops: no name for a sink (1 to 32 characters of a-z 0-9 -)
        invalid_argument: servers.monitoring.sinks.ops: give either url or url_file (url_file where the address is a secret)
        invalid_argument: servers.monitoring.sinks.ops: give either url or url_file (url_file where the address is a secret)
        invalid_argument: servers.monitoring.sinks.ops.url: no http or https address (like https://example.com/alerts)
        invalid_argument: servers.monitoring.sinks.ops.url: no topic after the server (like https://ntfy.sh/my-topic)
        invalid_argument: servers.monitoring.sinks.ops.secret_file: only a webhook's bodies are signed (leave it out)
        invalid_argument: servers.monitoring.sinks.ops.matchers: a heartbeat tells of no alerts (leave them out)
        invalid_argument: servers.monitoring.sinks.ops.matchers: matcher of `a`: regex parse error:
            ^(?:()$
             ^
        error: unclosed group (a regular expression)
        invalid_argument: servers.monitoring.sinks.ops.every_seconds is 0 (1 to 604,800)
        invalid_argument: servers.monitoring.sinks.ops.repeat_seconds is 5 (10 to 604,800, or 0 for never)
        invalid_argument: servers.monitoring.sinks.ops.repeat_seconds is 0 (10 to 604,800 for a heartbeat)"#]].assert_eq(&all.join("\n"));
    let many: Vec<(String, Sink)> = (0..17).map(|n| (format!("s{n}"), sink(SinkKind::Webhook, url.into()))).collect();
    let many = Config { sinks: many.into_iter().collect(), ..Config::default() };
    assert_eq!(many.check().unwrap_err().to_string(), "invalid_argument: 17 sinks of alerts (16 at most)");
    let inhibit = vec![crate::monitoring::Inhibition { source: vec![], target: vec![], equal: vec![] }];
    assert!(Config { inhibit, ..Config::default() }.check().is_err());
}
