//! Traces and logs that leave: OTLP over HTTP with JSON bodies (OpenTelemetry protocol 1.x), in batches, never in a caller's way.
//!
//! What the receiver does not take in time is dropped and counted (`flotilla_otlp_dropped_total`): telemetry must not hold up the fleet.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kernel::logs::Line;
use kernel::metrics::Metrics;
use kernel::trace::Span;
use kernel::{Fault, OnEnd, Result, Tasks};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What waits to be sent, at most.
const QUEUE_MAX: usize = 8_192;
/// Entries of one request.
const BATCH_MAX: usize = 512;
/// How long entries wait for company.
const LINGER: Duration = Duration::from_secs(1);
/// How long the receiver may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Something to send.
enum Item {
    Span(Box<Span>),
    Line(Box<Line>),
}

/// The way out. Cloning shares it.
#[derive(Clone)]
pub struct Exporter {
    queue: mpsc::Sender<Item>,
    dropped: Counter,
}

impl Exporter {
    /// Starts sending to `endpoint`, as `http://host:4318`.
    pub fn start(endpoint: &str, metrics: &Metrics, tasks: &Tasks) -> Result<Self> {
        let base = endpoint.trim_end_matches('/');
        let uri = |path: &str| {
            format!("{base}{path}").parse::<Uri>().ok().filter(|uri| uri.host().is_some()).ok_or_else(|| {
                Fault::invalid("telemetry.otlp_endpoint is not a URL").hint("write it as http://host:4318")
            })
        };
        let dropped = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "flotilla_otlp_dropped",
                "Spans and log lines that the receiver did not take",
                dropped.clone(),
            );
        });
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let sender = Sender {
            traces: uri("/v1/traces")?,
            logs: uri("/v1/logs")?,
            client: Client::builder(TokioExecutor::new()).build(
                hyper_rustls::HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build(),
            ),
            dropped: dropped.clone(),
        };
        let stopping = tasks.stopping();
        tasks.spawn("OTLP export", OnEnd::StopOwner, async move { sender.run(items, stopping).await });
        Ok(Self { queue, dropped })
    }

    /// Sends a log line, if there is room.
    pub fn line(&self, line: &Line) {
        self.push(Item::Line(Box::new(line.clone())));
    }

    /// Sends a span, if there is room.
    pub fn span(&self, span: Span) {
        self.push(Item::Span(Box::new(span)));
    }

    fn push(&self, item: Item) {
        if self.queue.try_send(item).is_err() {
            self.dropped.inc();
        }
    }
}

struct Sender {
    traces: Uri,
    logs: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    dropped: Counter,
}

impl Sender {
    async fn run(self, mut items: mpsc::Receiver<Item>, stopping: tokio_util::sync::CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let more = tokio::select! {
                count = items.recv_many(&mut batch, BATCH_MAX) => count > 0,
                () = stopping.cancelled() => false,
            };
            if !more {
                items.close();
                while items.recv_many(&mut batch, BATCH_MAX).await > 0 {}
                self.send(&mut batch).await;
                return;
            }
            if batch.len() < BATCH_MAX {
                tokio::select! {
                    () = tokio::time::sleep(LINGER) => {}
                    () = stopping.cancelled() => {}
                }
            }
            self.send(&mut batch).await;
        }
    }

    async fn send(&self, batch: &mut Vec<Item>) {
        let (mut spans, mut lines) = (Vec::new(), Vec::new());
        for item in batch.drain(..) {
            match item {
                Item::Span(item) => spans.push(span(&item)),
                Item::Line(item) => lines.push(line(&item)),
            }
        }
        let resource =
            json!({ "attributes": [text("service.name", "flotilla"), text("service.version", crate::VERSION)] });
        let scope = json!({ "name": "flotilla" });
        if !spans.is_empty() {
            let count = spans.len();
            let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": scope, "spans": spans }] }] });
            self.post(&self.traces, &body, count).await;
        }
        if !lines.is_empty() {
            let count = lines.len();
            let body = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "scope": scope, "logRecords": lines }] }] });
            self.post(&self.logs, &body, count).await;
        }
    }

    async fn post(&self, uri: &Uri, body: &Value, count: usize) {
        let request = Request::post(uri.clone())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())));
        let sent = async {
            let request = request.map_err(|error| error.to_string())?;
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            // The body is read so that the connection can be used again.
            const BODY_MAX: usize = 64 << 10;
            Limited::new(answer.into_body(), BODY_MAX).collect().await.map_err(|error| error.to_string())?;
            if status.is_success() { Ok(()) } else { Err(format!("the receiver answered {status}")) }
        };
        let outcome = tokio::time::timeout(ANSWER_TIME, sent).await.unwrap_or_else(|_| Err("no answer in time".into()));
        if let Err(error) = outcome {
            self.dropped.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
            // At debug level: at a higher one, every failure to send would make lines to send.
            tracing::debug!(error, host = uri.host(), count, "telemetry not sent");
        }
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn span(span: &Span) -> Value {
    const SERVER: u8 = 2;
    let (ok, error) = (1, 2);
    let nanos = |ms: i64| (ms * 1_000_000).to_string();
    let end = (span.start_ms * 1_000_000 + i64::try_from(span.took.as_nanos()).unwrap_or(i64::MAX / 2)).to_string();
    let mut value = json!({
        "traceId": span.trace.id(),
        "spanId": format!("{:016x}", span.trace.span_id),
        "name": format!("{}.{}", span.server, span.tool),
        "kind": SERVER,
        "startTimeUnixNano": nanos(span.start_ms),
        "endTimeUnixNano": end,
        "attributes": [text("flotilla.server", &span.server), text("flotilla.tool", &span.tool), text("flotilla.outcome", &span.outcome)],
        "status": { "code": if span.outcome == "ok" { ok } else { error } },
    });
    if span.trace.parent_id != 0 {
        value["parentSpanId"] = format!("{:016x}", span.trace.parent_id).into();
    }
    value
}

fn line(line: &Line) -> Value {
    // OpenTelemetry's severity numbers: trace 1, debug 5, info 9, warn 13, error 17.
    let severity = 1 + 4 * line.level.rank();
    let mut attributes = vec![text("service", &line.service)];
    for (name, field) in line.fields.as_object().into_iter().flatten() {
        attributes.push(text(name, field.as_str().unwrap_or(&field.to_string())));
    }
    let mut value = json!({
        "timeUnixNano": (line.at_ms * 1_000_000).to_string(),
        "severityNumber": severity,
        "severityText": line.level.as_str().to_uppercase(),
        "body": { "stringValue": line.message },
        "attributes": attributes,
    });
    if let Some(trace_id) = &line.trace_id {
        value["traceId"] = trace_id.as_str().into();
    }
    value
}
