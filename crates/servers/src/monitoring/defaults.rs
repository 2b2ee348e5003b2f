//! The rules of a fresh fleet.

use std::collections::BTreeMap;

use kernel::UnixMs;

use super::rules::Severity::{Critical, Warning};
use super::rules::{Condition, Operator, Rule, Severity};
use super::slo::{FAILURES, WAITING};

/// Who wrote them.
pub(super) const BUILT_IN: &str = "built in";

struct Seed {
    name: &'static str,
    /// `FAILURES` and `WAITING` stand for the regular expressions of these names.
    expr: &'static str,
    condition: Condition,
    for_seconds: u32,
    severity: Severity,
    summary: &'static str,
    runbook: &'static str,
}

const fn is(value: f64) -> Condition {
    Condition::Threshold { op: Operator::Equal, value }
}

const fn above(value: f64) -> Condition {
    Condition::Threshold { op: Operator::Greater, value }
}

const SEEDS: &[Seed] = &[
    Seed {
        name: "service-down",
        expr: "mcp_server_health",
        condition: is(0.0),
        for_seconds: 30,
        severity: Critical,
        summary: "server {server} is down",
        runbook: "health of monitoring says why; error_summary of logging with this service says what went wrong; restart_service starts it anew",
    },
    Seed {
        name: "agent-down",
        expr: "mcp_agent_health",
        condition: is(0.0),
        for_seconds: 30,
        severity: Critical,
        summary: "agent {agent} is down",
        runbook: "health of monitoring says why; error_summary of logging says what went wrong",
    },
    Seed {
        name: "service-degraded",
        expr: "mcp_server_health",
        condition: is(0.5),
        for_seconds: 300,
        severity: Warning,
        summary: "server {server} serves, but something it needs is missing",
        runbook: "health of monitoring with this service names the check that fails",
    },
    Seed {
        name: "process-unreachable",
        expr: "up",
        condition: is(0.0),
        for_seconds: 30,
        severity: Critical,
        summary: "the process at {instance} does not answer",
        runbook: "targets of monitoring says why; look at the process itself",
    },
    Seed {
        name: "error-ratio",
        // A few failures of a few calls are no trend.
        expr: "sum by (server) (rate(mcp_commands_total{outcome=~\"FAILURES\"}[5m])) / sum by (server) (rate(mcp_commands_total[5m])) \
               and sum by (server) (increase(mcp_commands_total{outcome=~\"FAILURES\"}[5m])) >= 5",
        condition: above(0.05),
        for_seconds: 120,
        severity: Critical,
        summary: "calls of {server} fail: {value} of all",
        runbook: "error_summary of logging with this service; slo of monitoring says how much of the budget is left",
    },
    Seed {
        name: "latency",
        expr: "histogram_quantile(0.99, sum by (server, le) (rate(mcp_response_time_seconds_bucket{tool!~\"WAITING\"}[5m])))",
        condition: above(5.0),
        for_seconds: 300,
        severity: Warning,
        summary: "{server} is slow: one call in a hundred takes more than {value} s",
        runbook: "query_metrics of histogram_quantile(0.99, sum by (tool, le) (rate(mcp_response_time_seconds_bucket[5m]))) names the tools",
    },
    Seed {
        name: "log-errors",
        expr: "sum(increase(flotilla_log_lines_total{level=\"error\"}[5m]))",
        condition: above(50.0),
        for_seconds: 60,
        severity: Warning,
        summary: "{value} errors in the logs within 5 minutes",
        runbook: "error_summary of logging groups them",
    },
    Seed {
        name: "log-lines-lost",
        expr: "increase(flotilla_log_lines_lost_total[5m])",
        condition: above(0.0),
        for_seconds: 0,
        severity: Warning,
        summary: "{value} log lines were lost: the log store does not keep up",
        runbook: "stats of logging says who writes most; look at the disk",
    },
    Seed {
        name: "chain-head-stale",
        // A chain that makes blocks only when asked (the sandbox) was never steady, and so is never stale.
        expr: "changes(flotilla_chain_head_block[10m]) == 0 and changes(flotilla_chain_head_block[1h] offset 10m) > 120",
        condition: Condition::Any,
        for_seconds: 0,
        severity: Critical,
        summary: "no new block for 10 minutes",
        runbook: "chain_status of blockchain-integration names the endpoints and their heads",
    },
    Seed {
        name: "rpc-errors",
        expr: "sum by (endpoint) (rate(flotilla_rpc_requests_total{outcome!=\"ok\"}[5m])) \
               / sum by (endpoint) (rate(flotilla_rpc_requests_total[5m])) \
               and sum by (endpoint) (increase(flotilla_rpc_requests_total[5m])) >= 10",
        condition: above(0.5),
        for_seconds: 120,
        severity: Warning,
        summary: "the chain endpoint {endpoint} fails: {value} of its requests",
        runbook: "chain_status of blockchain-integration says with what",
    },
    Seed {
        name: "breaker-open",
        expr: "flotilla_route_breaker",
        condition: is(1.0),
        for_seconds: 60,
        severity: Warning,
        summary: "calls to {target} are held back: its breaker is open",
        runbook: "service_status of the coordinator; the breaker tries again by itself",
    },
    Seed {
        name: "upstream-failing",
        expr: "increase(flotilla_upstream_restarts_total[10m])",
        condition: above(3.0),
        for_seconds: 0,
        severity: Warning,
        summary: "the upstream {target} was restarted {value} times within 10 minutes",
        runbook: "list_upstreams of the coordinator shows its last error; search of logging with its name shows what it wrote",
    },
    Seed {
        name: "trade-differs",
        expr: "increase(flotilla_trade_differences_total[10m])",
        condition: above(0.0),
        for_seconds: 0,
        severity: Warning,
        summary: "{value} trades within 10 minutes came out otherwise than predicted or simulated",
        runbook: "trades of production with `differing` shows the three figures side by side; others traded in the same block, or a pool is not what it seems",
    },
    Seed {
        name: "trade-taken-back",
        expr: "increase(flotilla_trades_taken_back_total[10m])",
        condition: above(0.0),
        for_seconds: 0,
        severity: Critical,
        summary: "a reorganisation took {value} trades back",
        runbook: "history of execution says how they stand now: what was booked is taken off, and they are sent again while they hold",
    },
    Seed {
        name: "kill-switch-on",
        expr: "flotilla_kill_switch",
        condition: is(1.0),
        for_seconds: 0,
        severity: Critical,
        summary: "the kill switch is on: nothing is submitted",
        runbook: "kill_switch_state of risk-management says who pulled it and why; resume of production when it is safe again",
    },
];

/// The rules.
pub(super) fn rules(now_ms: UnixMs) -> Vec<Rule> {
    let rule = |seed: &Seed| Rule {
        name: seed.name.into(),
        expr: seed.expr.replace("FAILURES", FAILURES).replace("WAITING", WAITING),
        condition: seed.condition.clone(),
        for_seconds: seed.for_seconds,
        keep_firing_seconds: 60,
        severity: seed.severity,
        summary: seed.summary.into(),
        runbook: Some(seed.runbook.into()),
        labels: BTreeMap::new(),
        enabled: true,
        by: BUILT_IN.into(),
        updated_ms: now_ms,
    };
    SEEDS.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::promql::Query;

    #[test]
    fn can_be_kept_and_computed() {
        let rules = rules(0);
        for rule in &rules {
            rule.check().unwrap_or_else(|fault| panic!("{}: {fault}", rule.name));
            Query::parse(&rule.promql()).unwrap_or_else(|fault| panic!("{}: {fault}", rule.name));
        }
        let names: std::collections::BTreeSet<_> = rules.iter().map(|rule| &rule.name).collect();
        assert_eq!(names.len(), rules.len());
    }
}
