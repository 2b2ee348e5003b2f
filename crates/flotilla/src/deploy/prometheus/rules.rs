//! The alert rules.

use serde_json::{Map, Value, json};

/// A rule and its unit test. `{{ $labels.NAME }}` in the summary stands for a label of what fires.
pub(super) struct Rule {
    /// The alert's name.
    pub(super) name: &'static str,
    expr: &'static str,
    /// For how long it must hold; at once when empty.
    hold: &'static str,
    severity: &'static str,
    summary: &'static str,
    /// The heading of `docs/operating.md` that tells what to do.
    runbook: &'static str,
    /// Labels of the alert that `fires` brings about, beside its severity.
    labels: &'static [(&'static str, &'static str)],
    /// Series, by the minute, that make it fire.
    pub(super) fires: &'static [(&'static str, &'static str)],
    /// Series that must not.
    pub(super) quiet: &'static [(&'static str, &'static str)],
}

impl Rule {
    pub(super) fn written(&self) -> Value {
        let mut rule = Map::new();
        rule.insert("alert".into(), self.name.into());
        rule.insert("expr".into(), self.expr.into());
        if !self.hold.is_empty() {
            rule.insert("for".into(), self.hold.into());
        }
        rule.insert("labels".into(), json!({ "severity": self.severity }));
        rule.insert("annotations".into(), json!({ "summary": self.summary, "runbook": self.runbook() }));
        Value::Object(rule)
    }

    fn runbook(&self) -> String {
        format!("docs/operating.md#{}", self.runbook)
    }

    pub(super) fn expected_labels(&self) -> Value {
        let labels = self.labels.iter().copied().chain([("severity", self.severity)]);
        Value::Object(labels.map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
    }

    pub(super) fn expected_annotations(&self) -> Value {
        let summary = self.labels.iter().fold(self.summary.to_owned(), |summary, (name, value)| {
            summary.replace(&format!("{{{{ $labels.{name} }}}}"), value)
        });
        json!({ "summary": summary, "runbook": self.runbook() })
    }
}

const CRITICAL: &str = "critical";
const WARNING: &str = "warning";

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "ServerDown",
        expr: "max by (server) (mcp_server_health) < 0.5",
        hold: "1m",
        severity: CRITICAL,
        summary: "no copy of {{ $labels.server }} serves",
        runbook: "services-not-starting",
        labels: &[("server", "utilities")],
        fires: &[(r#"mcp_server_health{server="utilities",instance="a"}"#, "0+0x30")],
        quiet: &[
            (r#"mcp_server_health{server="utilities",instance="a"}"#, "0+0x30"),
            (r#"mcp_server_health{server="utilities",instance="b"}"#, "1+0x30"),
        ],
    },
    Rule {
        name: "ServerDegraded",
        expr: "max by (server) (mcp_server_health) == 0.5",
        hold: "5m",
        severity: WARNING,
        summary: "{{ $labels.server }} serves with something missing",
        runbook: "health",
        labels: &[("server", "logging")],
        fires: &[(r#"mcp_server_health{server="logging"}"#, "0.5+0x30")],
        quiet: &[(r#"mcp_server_health{server="logging"}"#, "1+0x23 0.5+0x5")],
    },
    Rule {
        name: "AgentDown",
        expr: "max by (agent) (mcp_agent_health) < 0.5",
        hold: "1m",
        severity: CRITICAL,
        summary: "no copy of the agent {{ $labels.agent }} works",
        runbook: "services-not-starting",
        labels: &[("agent", "risk")],
        fires: &[(r#"mcp_agent_health{agent="risk"}"#, "0+0x30")],
        quiet: &[(r#"mcp_agent_health{agent="risk"}"#, "1+0x30")],
    },
    Rule {
        name: "TargetDown",
        expr: "up == 0",
        hold: "2m",
        severity: WARNING,
        summary: "{{ $labels.job }} at {{ $labels.instance }} gives no figures",
        runbook: "services-not-starting",
        labels: &[("job", "etcd"), ("instance", "etcd:2379")],
        fires: &[(r#"up{job="etcd",instance="etcd:2379"}"#, "0+0x30")],
        quiet: &[(r#"up{job="etcd",instance="etcd:2379"}"#, "1+0x30")],
    },
    Rule {
        name: "CallsFailing",
        expr: "sum by (server) (rate(mcp_commands_total{outcome=~\"internal|timeout|unavailable|upstream\"}[5m])) \
               / sum by (server) (rate(mcp_commands_total[5m])) > 0.05",
        hold: "5m",
        severity: WARNING,
        summary: "more than 5 of 100 calls of {{ $labels.server }} fail, and not by their callers' fault",
        runbook: "a-call-is-refused",
        labels: &[("server", "execution")],
        fires: &[
            (r#"mcp_commands_total{server="execution",outcome="ok"}"#, "0+60x30"),
            (r#"mcp_commands_total{server="execution",outcome="timeout"}"#, "0+6x30"),
        ],
        quiet: &[
            (r#"mcp_commands_total{server="execution",outcome="ok"}"#, "0+60x30"),
            (r#"mcp_commands_total{server="execution",outcome="invalid_argument"}"#, "0+60x30"),
        ],
    },
    Rule {
        name: "CallsSlow",
        expr: "histogram_quantile(0.95, sum by (server, le) (rate(mcp_response_time_seconds_bucket[5m]))) > 5",
        hold: "10m",
        severity: WARNING,
        summary: "5 of 100 calls of {{ $labels.server }} take more than 5 s",
        runbook: "figures",
        labels: &[("server", "data-providers")],
        fires: &[
            (r#"mcp_response_time_seconds_bucket{server="data-providers",le="5.0"}"#, "0+0x30"),
            (r#"mcp_response_time_seconds_bucket{server="data-providers",le="15.0"}"#, "0+60x30"),
            (r#"mcp_response_time_seconds_bucket{server="data-providers",le="+Inf"}"#, "0+60x30"),
        ],
        quiet: &[
            (r#"mcp_response_time_seconds_bucket{server="data-providers",le="5.0"}"#, "0+60x30"),
            (r#"mcp_response_time_seconds_bucket{server="data-providers",le="15.0"}"#, "0+60x30"),
            (r#"mcp_response_time_seconds_bucket{server="data-providers",le="+Inf"}"#, "0+60x30"),
        ],
    },
    Rule {
        name: "TasksFailing",
        expr: "sum by (agent) (rate(agent_tasks_total{outcome!~\"ok|returned\"}[15m])) \
               / sum by (agent) (rate(agent_tasks_total[15m])) > 0.2",
        hold: "5m",
        severity: WARNING,
        summary: "more than a fifth of the tasks of {{ $labels.agent }} fail",
        runbook: "figures",
        labels: &[("agent", "execution")],
        fires: &[
            (r#"agent_tasks_total{agent="execution",outcome="ok"}"#, "0+6x30"),
            (r#"agent_tasks_total{agent="execution",outcome="lost"}"#, "0+6x30"),
        ],
        quiet: &[
            (r#"agent_tasks_total{agent="execution",outcome="ok"}"#, "0+6x30"),
            (r#"agent_tasks_total{agent="execution",outcome="returned"}"#, "0+6x30"),
        ],
    },
    Rule {
        name: "TasksWaiting",
        expr: "max by (queue) (flotilla_queue_oldest_seconds) > 300",
        hold: "5m",
        severity: WARNING,
        summary: "a task in the queue {{ $labels.queue }} has waited for more than 5 minutes",
        runbook: "figures",
        labels: &[("queue", "build")],
        fires: &[(r#"flotilla_queue_oldest_seconds{queue="build"}"#, "0+60x30")],
        quiet: &[(r#"flotilla_queue_oldest_seconds{queue="build"}"#, "30+0x30")],
    },
    Rule {
        name: "LogLinesLost",
        expr: "sum(increase(flotilla_log_lines_lost_total[5m])) > 0",
        hold: "",
        severity: WARNING,
        summary: "log lines were dropped because their store could not keep up",
        runbook: "logs",
        labels: &[],
        fires: &[("flotilla_log_lines_lost_total", "0+0x22 5+0x8")],
        quiet: &[("flotilla_log_lines_lost_total", "5+0x30")],
    },
    Rule {
        name: "RouteBroken",
        expr: "max by (target) (flotilla_route_breaker) == 1",
        hold: "2m",
        severity: WARNING,
        summary: "calls are no longer sent to {{ $labels.target }}",
        runbook: "services-not-starting",
        labels: &[("target", "weather")],
        fires: &[(r#"flotilla_route_breaker{target="weather"}"#, "1+0x30")],
        quiet: &[(r#"flotilla_route_breaker{target="weather"}"#, "0.5+0x30")],
    },
    Rule {
        name: "UpstreamRestarting",
        expr: "sum by (target) (increase(flotilla_upstream_restarts_total[15m])) > 3",
        hold: "",
        severity: WARNING,
        summary: "the upstream {{ $labels.target }} is started again and again",
        runbook: "services-not-starting",
        labels: &[("target", "weather")],
        fires: &[(r#"flotilla_upstream_restarts_total{target="weather"}"#, "0+1x30")],
        quiet: &[(r#"flotilla_upstream_restarts_total{target="weather"}"#, "0+0x20 1+0x10")],
    },
    Rule {
        name: "ChainStalled",
        expr: "max(flotilla_chain_head_block) > 0 and max(delta(flotilla_chain_head_block[5m])) == 0",
        hold: "2m",
        severity: CRITICAL,
        summary: "no new block for 5 minutes: the node, or the way to it, stands still",
        runbook: "services-not-starting",
        labels: &[],
        fires: &[("flotilla_chain_head_block", "100+0x30")],
        quiet: &[("flotilla_chain_head_block", "100+5x30")],
    },
    Rule {
        name: "RpcFailing",
        expr: "sum by (endpoint) (rate(flotilla_rpc_requests_total{outcome!=\"ok\"}[5m])) \
               / sum by (endpoint) (rate(flotilla_rpc_requests_total[5m])) > 0.2",
        hold: "5m",
        severity: WARNING,
        summary: "more than a fifth of the requests to {{ $labels.endpoint }} fail",
        runbook: "services-not-starting",
        labels: &[("endpoint", "node:8545")],
        fires: &[
            (r#"flotilla_rpc_requests_total{endpoint="node:8545",outcome="ok"}"#, "0+6x30"),
            (r#"flotilla_rpc_requests_total{endpoint="node:8545",outcome="timeout"}"#, "0+6x30"),
        ],
        quiet: &[
            (r#"flotilla_rpc_requests_total{endpoint="node:8545",outcome="ok"}"#, "0+60x30"),
            (r#"flotilla_rpc_requests_total{endpoint="node:8545",outcome="timeout"}"#, "0+6x30"),
        ],
    },
    Rule {
        name: "KillSwitchOn",
        expr: "max(flotilla_kill_switch) == 1",
        hold: "",
        severity: WARNING,
        summary: "the kill switch is on: nothing is submitted until a person resumes",
        runbook: "figures",
        labels: &[],
        fires: &[("flotilla_kill_switch", "0+0x23 1+0x7")],
        quiet: &[("flotilla_kill_switch", "1+0x20 0+0x10")],
    },
    Rule {
        name: "TradeTakenBack",
        expr: "sum(increase(flotilla_trades_taken_back_total[10m])) > 0",
        hold: "",
        severity: CRITICAL,
        summary: "a reorganisation took a trade back; its booking was reversed",
        runbook: "figures",
        labels: &[],
        fires: &[("flotilla_trades_taken_back_total", "0+0x20 1+0x10")],
        quiet: &[("flotilla_trades_taken_back_total", "1+0x30")],
    },
    Rule {
        name: "TradeDiffers",
        expr: "sum(increase(flotilla_trade_differences_total[10m])) > 0",
        hold: "",
        severity: WARNING,
        summary: "a trade came out otherwise than predicted",
        runbook: "figures",
        labels: &[],
        fires: &[("flotilla_trade_differences_total", "0+0x20 1+0x10")],
        quiet: &[("flotilla_trade_differences_total", "1+0x30")],
    },
    Rule {
        name: "TradesFailing",
        expr: "sum(rate(flotilla_trades_total{outcome=\"failed\"}[15m])) / sum(rate(flotilla_trades_total[15m])) > 0.5",
        hold: "5m",
        severity: WARNING,
        summary: "more than half of the trades fail",
        runbook: "figures",
        labels: &[],
        fires: &[
            (r#"flotilla_trades_total{outcome="filled"}"#, "0+1x30"),
            (r#"flotilla_trades_total{outcome="failed"}"#, "0+2x30"),
        ],
        quiet: &[
            (r#"flotilla_trades_total{outcome="filled"}"#, "0+2x30"),
            (r#"flotilla_trades_total{outcome="failed"}"#, "0+1x30"),
        ],
    },
    Rule {
        name: "PostgresDown",
        expr: "pg_up == 0",
        hold: "1m",
        severity: CRITICAL,
        summary: "PostgreSQL does not answer",
        runbook: "services-not-starting",
        labels: &[("instance", "postgres-exporter:9187")],
        fires: &[(r#"pg_up{instance="postgres-exporter:9187"}"#, "0+0x30")],
        quiet: &[(r#"pg_up{instance="postgres-exporter:9187"}"#, "1+0x30")],
    },
    Rule {
        name: "RedisDown",
        expr: "redis_up == 0",
        hold: "1m",
        severity: CRITICAL,
        summary: "Redis does not answer",
        runbook: "services-not-starting",
        labels: &[("instance", "redis-exporter:9121")],
        fires: &[(r#"redis_up{instance="redis-exporter:9121"}"#, "0+0x30")],
        quiet: &[(r#"redis_up{instance="redis-exporter:9121"}"#, "1+0x30")],
    },
    Rule {
        name: "BackendAway",
        expr: "min by (port) (flotilla_backend_up) == 0",
        hold: "1m",
        severity: WARNING,
        summary: "what serves {{ $labels.port }} from outside does not answer, and the fleet does without it",
        runbook: "a-server-beside-the-fleet-is-away",
        labels: &[("port", "events")],
        fires: &[
            (r#"flotilla_backend_up{port="events",instance="a"}"#, "1+0x30"),
            (r#"flotilla_backend_up{port="events",instance="b"}"#, "0+0x30"),
            (r#"flotilla_backend_up{port="fanout",instance="b"}"#, "1+0x30"),
        ],
        quiet: &[
            (r#"flotilla_backend_up{port="events",instance="a"}"#, "1+0x30"),
            (r#"flotilla_backend_up{port="limits",instance="b"}"#, "1+0x30"),
        ],
    },
    Rule {
        name: "EventsWait",
        expr: "max(flotilla_events_waiting) > 1000",
        hold: "10m",
        severity: WARNING,
        summary: "events wait to be passed on to RabbitMQ",
        runbook: "a-server-beside-the-fleet-is-away",
        labels: &[],
        fires: &[
            (r#"flotilla_events_waiting{instance="a"}"#, "0+0x30"),
            (r#"flotilla_events_waiting{instance="b"}"#, "1001+1x30"),
        ],
        quiet: &[(r#"flotilla_events_waiting{instance="b"}"#, "1000+0x30")],
    },
    Rule {
        name: "RabbitMemory",
        expr: "max(rabbitmq_alarms_memory_used_watermark) == 1",
        hold: "1m",
        severity: CRITICAL,
        summary: "RabbitMQ is out of memory and takes no messages",
        runbook: "memory",
        labels: &[],
        fires: &[("rabbitmq_alarms_memory_used_watermark", "1+0x30")],
        quiet: &[("rabbitmq_alarms_memory_used_watermark", "0+0x30")],
    },
    Rule {
        name: "RabbitDisk",
        expr: "max(rabbitmq_alarms_free_disk_space_watermark) == 1",
        hold: "1m",
        severity: CRITICAL,
        summary: "RabbitMQ is out of disk and takes no messages",
        runbook: "disk",
        labels: &[],
        fires: &[("rabbitmq_alarms_free_disk_space_watermark", "1+0x30")],
        quiet: &[("rabbitmq_alarms_free_disk_space_watermark", "0+0x30")],
    },
    Rule {
        name: "EtcdLeaderless",
        expr: "max(etcd_server_has_leader) == 0",
        hold: "1m",
        severity: CRITICAL,
        summary: "etcd has no leader: locks and elections stand still",
        runbook: "services-not-starting",
        labels: &[],
        fires: &[("etcd_server_has_leader", "0+0x30")],
        quiet: &[("etcd_server_has_leader", "1+0x30")],
    },
];
