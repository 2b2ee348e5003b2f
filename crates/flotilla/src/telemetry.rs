//! The fleet's own log lines: structured, into the log store, and in short form to the terminal.

mod otlp;

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;

use kernel::Clock;
use kernel::logs::{Level, Line, LogSink};
use kernel::mask::{MASK, is_secret_name};
use kernel::metrics::{LevelLabel, Metrics};
use parking_lot::RwLock;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use otlp::Exporter;

/// Where lines go once the log store is open; before that they only reach the terminal.
#[derive(Clone, Default)]
pub struct Output(Arc<RwLock<Option<Sinks>>>);

struct Sinks {
    clock: Clock,
    metrics: Metrics,
    sink: Arc<LogSink>,
    exporter: Option<Exporter>,
}

impl Output {
    /// Opens the way to the log store.
    pub fn connect(&self, clock: Clock, metrics: Metrics, sink: Arc<LogSink>, exporter: Option<Exporter>) {
        *self.0.write() = Some(Sinks { clock, metrics, sink, exporter });
    }
}

/// Installs the process's subscriber. On a terminal people see warnings in short form; elsewhere every line is JSON on stderr.
pub fn install(level: Level, verbose: bool) -> Output {
    let output = Output::default();
    let ours = format!("warn,{}", OURS.map(|name| format!("{name}={}", level.as_str())).join(","));
    let store = StoreLayer { output: output.clone() }.with_filter(EnvFilter::new(&ours));
    let terminal = std::io::stderr().is_terminal();
    let shown = if terminal && !verbose { "warn" } else { &ours };
    let short = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).compact();
    let json = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true);
    let registry = tracing_subscriber::registry().with(store);
    let installed = if terminal {
        registry.with(short.with_filter(EnvFilter::new(shown))).try_init()
    } else {
        registry.with(json.with_filter(EnvFilter::new(shown))).try_init()
    };
    if installed.is_err() {
        // Only a second call in one process gets here: the first subscriber stays.
        tracing::debug!("logging was set up already");
    }
    output
}

/// Our crates, whose lines are kept from the configured level on; of others, warnings.
const OURS: [&str; 8] = ["flotilla", "kernel", "mcp", "gateway", "servers", "backends", "evm", "web"];

struct StoreLayer {
    output: Output,
}

/// What a span tells its events.
#[derive(Clone, Default)]
struct Told {
    service: Option<String>,
    trace_id: Option<String>,
}

#[derive(Default)]
struct Fields {
    message: String,
    fields: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a `String` cannot fail.
            write!(self.message, "{value:?}").ok();
        } else {
            self.put(field, Value::from(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { self.message.push_str(value) } else { self.put(field, Value::from(value)) }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let value = if is_secret_name(field.name()) { Value::from(MASK) } else { value };
        self.fields.insert(field.name().to_owned(), value);
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name).and_then(|value| value.as_str().map(ToOwned::to_owned))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for StoreLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let told = Told { service: fields.take("service"), trace_id: fields.take("trace_id") };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(told);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let sinks = self.output.0.read();
        let Some(sinks) = sinks.as_ref() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut told = Told { service: fields.take("service"), trace_id: fields.take("trace_id") };
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Told>() {
                told.service = told.service.or_else(|| outer.service.clone());
                told.trace_id = told.trace_id.or_else(|| outer.trace_id.clone());
            }
        }
        let level = level(event.metadata().level());
        sinks.metrics.log_lines.get_or_create(&LevelLabel { level: level.as_str().into() }).inc();
        let line = Line {
            seq: 0,
            at_ms: sinks.clock.now_ms(),
            level,
            service: told.service.unwrap_or_else(|| "flotilla".into()),
            message: fields.message,
            trace_id: told.trace_id,
            fields: if fields.fields.is_empty() { Value::Null } else { Value::Object(fields.fields) },
        };
        if let Some(exporter) = &sinks.exporter {
            exporter.line(&line);
        }
        sinks.sink.push(line);
    }
}

fn level(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}
