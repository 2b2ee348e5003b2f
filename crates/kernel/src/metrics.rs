//! The fleet's figures, under the Prometheus names that users' dashboards rely on.

pub mod trading;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use std::sync::atomic::AtomicU64;

/// Labels of a server's gauge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ServerLabel {
    /// The server.
    pub server: String,
}

/// Labels of an agent's gauge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AgentLabel {
    /// The agent.
    pub agent: String,
}

/// Labels of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// The server.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// `ok`, or the stable error code.
    pub outcome: String,
}

/// Labels of a call's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TimeLabels {
    /// The server.
    pub server: String,
    /// The tool.
    pub tool: String,
}

/// Labels of a task that left its worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskLabels {
    /// The queue: the agent, or the pool of workers, that did it.
    pub agent: String,
    /// The type of task.
    pub r#type: String,
    /// `ok`, the stable error code, `returned` or `lost`.
    pub outcome: String,
}

/// Labels of a task's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskTimeLabels {
    /// The queue: the agent, or the pool of workers, that did it.
    pub agent: String,
    /// The type of task.
    pub r#type: String,
}

/// Labels of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabel {
    /// The queue.
    pub queue: String,
}

/// Labels of log lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LevelLabel {
    /// The level.
    pub level: String,
}

/// Labels of what an RPC endpoint did.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabels {
    /// The endpoint's host and port, never its path or key.
    pub endpoint: String,
    /// `ok`, or the stable error code.
    pub outcome: String,
}

/// Labels of what the fleet stands on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BackendLabel {
    /// What it serves: `limits`, `fanout`, …
    pub port: String,
}

/// Labels of a route's breaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The server or upstream.
    pub target: String,
}

type TimeHistogram = Family<TimeLabels, Histogram, fn() -> Histogram>;

/// A gauge of a fraction.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// All figures. Cloning shares them, at the price of one count: doors do so for every request.
#[derive(Clone)]
pub struct Metrics(Arc<Figures>);

/// What is measured, by name.
pub struct Figures {
    registry: RwLock<Registry>,
    /// `mcp_server_health{server}`: 1 healthy, 0.5 degraded, 0 down.
    pub server_health: Family<ServerLabel, FloatGauge>,
    /// `mcp_agent_health{agent}`: the same.
    pub agent_health: Family<AgentLabel, FloatGauge>,
    /// `mcp_commands_total{server,tool,outcome}`.
    pub commands: Family<CallLabels, Counter>,
    /// `mcp_response_time_seconds{server,tool}`.
    pub response_time: TimeHistogram,
    /// `flotilla_log_lines_total{level}`.
    pub log_lines: Family<LevelLabel, Counter>,
    /// `flotilla_log_lines_lost_total`: lines dropped because the store could not keep up.
    pub log_lines_lost: Counter,
    /// `flotilla_rpc_requests_total{endpoint,outcome}`.
    pub rpc_requests: Family<EndpointLabels, Counter>,
    /// `flotilla_rpc_seconds{server="<endpoint>",tool="<method>"}`.
    pub rpc_time: TimeHistogram,
    /// `flotilla_chain_head_block`: the newest block seen.
    pub chain_head: Gauge,
    /// `flotilla_chain_reorgs_total`.
    pub chain_reorgs: Counter,
    /// `flotilla_route_breaker{target}`: 0 closed, 0.5 half-open, 1 open.
    pub breaker: Family<RouteLabel, FloatGauge>,
    /// `flotilla_backend_up{port}`: 1 while what serves a port from outside answers, 0 while the fleet does without it.
    pub backend_up: Family<BackendLabel, FloatGauge>,
    /// `flotilla_events_passed_on_total`: events that the broker took, for programs outside the fleet.
    pub events_passed_on: Counter,
    /// `flotilla_events_waiting`: those that it has not taken yet, in the process that passes them on.
    pub events_waiting: Gauge,
    /// `flotilla_upstream_restarts_total{target}`.
    pub upstream_restarts: Family<RouteLabel, Counter>,
    /// `agent_tasks_total{agent,type,outcome}`.
    pub tasks: Family<TaskLabels, Counter>,
    /// `agent_task_duration_seconds{agent,type}`.
    pub task_time: Family<TaskTimeLabels, Histogram, fn() -> Histogram>,
    /// `flotilla_queue_depth{queue}`: tasks that have not begun.
    pub queue_depth: Family<QueueLabel, Gauge>,
    /// `flotilla_queue_running{queue}`: tasks that workers hold.
    pub queue_running: Family<QueueLabel, Gauge>,
    /// `flotilla_queue_oldest_seconds{queue}`: how long the oldest task that could begin has been there.
    pub queue_oldest: Family<QueueLabel, Gauge>,
    /// `flotilla_connections`: open client connections.
    pub connections: Gauge,
    /// Those of trading.
    pub trading: trading::Trading,
}

impl std::ops::Deref for Metrics {
    type Target = Figures;

    fn deref(&self) -> &Figures {
        &self.0
    }
}

/// Bounds in seconds: 0.1 ms to 60 s.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self(Arc::new(Figures {
            registry: RwLock::new(Registry::default()),
            server_health: Family::default(),
            agent_health: Family::default(),
            commands: Family::default(),
            response_time: Family::new_with_constructor(seconds),
            log_lines: Family::default(),
            log_lines_lost: Counter::default(),
            rpc_requests: Family::default(),
            rpc_time: Family::new_with_constructor(seconds),
            chain_head: Gauge::default(),
            chain_reorgs: Counter::default(),
            breaker: Family::default(),
            backend_up: Family::default(),
            events_passed_on: Counter::default(),
            events_waiting: Gauge::default(),
            upstream_restarts: Family::default(),
            tasks: Family::default(),
            task_time: Family::new_with_constructor(seconds),
            queue_depth: Family::default(),
            queue_running: Family::default(),
            queue_oldest: Family::default(),
            connections: Gauge::default(),
            trading: trading::Trading::default(),
        }));
        metrics.register_all();
        metrics
    }
}

impl Metrics {
    fn register_all(&self) {
        let mut registry = self.registry.write();
        let r = &mut *registry;
        r.register("mcp_server_health", "Server health: 1 healthy, 0.5 degraded, 0 down", self.server_health.clone());
        r.register("mcp_agent_health", "Agent health: 1 healthy, 0.5 degraded, 0 down", self.agent_health.clone());
        r.register("mcp_commands", "Calls by server, tool and outcome", self.commands.clone());
        r.register("mcp_response_time_seconds", "Time from request to answer", self.response_time.clone());
        r.register("flotilla_log_lines", "Log lines by level", self.log_lines.clone());
        r.register("flotilla_log_lines_lost", "Log lines dropped, store too slow", self.log_lines_lost.clone());
        r.register("flotilla_rpc_requests", "Requests to EVM endpoints", self.rpc_requests.clone());
        r.register("flotilla_rpc_seconds", "Time of requests to EVM endpoints", self.rpc_time.clone());
        r.register("flotilla_chain_head_block", "Newest block seen", self.chain_head.clone());
        r.register("flotilla_chain_reorgs", "Reorganisations seen", self.chain_reorgs.clone());
        r.register("flotilla_route_breaker", "Breaker: 0 closed, 0.5 half-open, 1 open", self.breaker.clone());
        r.register(
            "flotilla_backend_up",
            "What serves a port from outside answers: 1 yes, 0 no",
            self.backend_up.clone(),
        );
        r.register("flotilla_events_passed_on", "Events that the broker took", self.events_passed_on.clone());
        r.register("flotilla_events_waiting", "Events that the broker has not taken", self.events_waiting.clone());
        r.register("flotilla_upstream_restarts", "Restarts of upstream servers", self.upstream_restarts.clone());
        r.register("agent_tasks", "Tasks that left their workers", self.tasks.clone());
        r.register("agent_task_duration_seconds", "Time from claim to end", self.task_time.clone());
        r.register("flotilla_queue_depth", "Tasks that have not begun", self.queue_depth.clone());
        r.register("flotilla_queue_running", "Tasks that workers hold", self.queue_running.clone());
        r.register("flotilla_queue_oldest_seconds", "Age of the oldest that could begin", self.queue_oldest.clone());
        r.register("flotilla_connections", "Open client connections", self.connections.clone());
        self.trading.register(r);
    }

    /// Adds figures that one crate alone knows of, under the names it gives.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.write());
    }

    /// Counts a call that ended.
    pub fn call_ended(&self, server: &str, tool: &str, outcome: &str, took: Duration) {
        let labels = CallLabels { server: server.into(), tool: tool.into(), outcome: outcome.into() };
        self.commands.get_or_create(&labels).inc();
        let labels = TimeLabels { server: server.into(), tool: tool.into() };
        self.response_time.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a task that left its worker.
    pub fn task_ended(&self, agent: &str, task_type: &str, outcome: &str, took: Duration) {
        let labels = TaskLabels { agent: agent.into(), r#type: task_type.into(), outcome: outcome.into() };
        self.tasks.get_or_create(&labels).inc();
        let labels = TaskTimeLabels { agent: agent.into(), r#type: task_type.into() };
        self.task_time.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Notes how a queue stands.
    pub fn queue_measured(&self, queue: &str, depth: u64, running: u64, oldest_seconds: u64) {
        let label = QueueLabel { queue: queue.into() };
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.queue_depth.get_or_create(&label).set(gauge(depth));
        self.queue_running.get_or_create(&label).set(gauge(running));
        self.queue_oldest.get_or_create(&label).set(gauge(oldest_seconds));
    }

    /// Gives every family a sample, so that [`Metrics::render`] describes them all: for documentation.
    pub fn touch(&self) {
        let text = String::new;
        let (server, agent) = (ServerLabel { server: text() }, AgentLabel { agent: text() });
        self.server_health.get_or_create(&server).set(0.0);
        self.agent_health.get_or_create(&agent).set(0.0);
        self.call_ended("", "", "", Duration::ZERO);
        self.task_ended("", "", "", Duration::ZERO);
        self.queue_measured("", 0, 0, 0);
        drop(self.log_lines.get_or_create(&LevelLabel { level: text() }));
        drop(self.rpc_requests.get_or_create(&EndpointLabels { endpoint: text(), outcome: text() }));
        drop(self.rpc_time.get_or_create(&TimeLabels { server: text(), tool: text() }));
        self.breaker.get_or_create(&RouteLabel { target: text() }).set(0.0);
        self.backend_up.get_or_create(&BackendLabel { port: text() }).set(0.0);
        drop(self.upstream_restarts.get_or_create(&RouteLabel { target: text() }));
        self.trading.touch();
    }

    /// Everything in the OpenMetrics text format, which Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail; an error here would be a metric that refuses to be written.
        if let Err(error) = text::encode(&mut text, &self.registry.read()) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}
