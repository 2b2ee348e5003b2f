//! The fleet's own dashboards: all of it, its servers, its agents.
//!
//! Several copies of a service, or several services of one process, may say the same of the whole: gauges are taken by `max`.

use super::Kind::{Lines, Number, States, Table};
use super::{Dashboard, Panel};

pub(super) const OVERVIEW: Dashboard = Dashboard {
    uid: "flotilla-overview",
    title: "System Overview",
    about: "Overall health and performance.",
    variables: &[],
    rows: &[
        (
            "Now",
            &[
                Panel(
                    "Servers healthy",
                    Number,
                    "short",
                    4,
                    &[("count(max by (server) (mcp_server_health) == 1)", "")],
                ),
                Panel(
                    "Servers not healthy",
                    Number,
                    "short",
                    4,
                    &[("count(max by (server) (mcp_server_health) < 1) or vector(0)", "")],
                ),
                Panel("Agents healthy", Number, "short", 4, &[("count(max by (agent) (mcp_agent_health) == 1)", "")]),
                Panel(
                    "Alerts firing",
                    Number,
                    "short",
                    4,
                    &[("count(ALERTS{alertstate=\"firing\"}) or vector(0)", "")],
                ),
                Panel("Connections", Number, "short", 4, &[("sum(flotilla_connections)", "")]),
                Panel("Kill switch", Number, "bool_on_off", 4, &[("max(flotilla_kill_switch)", "")]),
            ],
        ),
        (
            "Calls",
            &[
                Panel(
                    "Calls by server",
                    Lines,
                    "reqps",
                    8,
                    &[("sum by (server) (rate(mcp_commands_total[$__rate_interval]))", "{{server}}")],
                ),
                Panel(
                    "Time of a call",
                    Lines,
                    "s",
                    8,
                    &[
                        (
                            "histogram_quantile(0.5, sum by (le) (rate(mcp_response_time_seconds_bucket[$__rate_interval])))",
                            "half",
                        ),
                        (
                            "histogram_quantile(0.95, sum by (le) (rate(mcp_response_time_seconds_bucket[$__rate_interval])))",
                            "95 of 100",
                        ),
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(mcp_response_time_seconds_bucket[$__rate_interval])))",
                            "99 of 100",
                        ),
                    ],
                ),
                Panel(
                    "Share of calls that did not end well",
                    Lines,
                    "percentunit",
                    8,
                    &[(
                        "sum by (outcome) (rate(mcp_commands_total{outcome!=\"ok\"}[$__rate_interval])) / ignoring(outcome) group_left sum(rate(mcp_commands_total[$__rate_interval]))",
                        "{{outcome}}",
                    )],
                ),
            ],
        ),
        (
            "Health",
            &[
                Panel("Servers", States, "short", 12, &[("max by (server) (mcp_server_health)", "{{server}}")]),
                Panel("Agents", States, "short", 12, &[("max by (agent) (mcp_agent_health)", "{{agent}}")]),
            ],
        ),
        (
            "Work and words",
            &[
                Panel("Tasks waiting", Lines, "short", 8, &[("max by (queue) (flotilla_queue_depth)", "{{queue}}")]),
                Panel(
                    "Log lines by level",
                    Lines,
                    "cps",
                    8,
                    &[("sum by (level) (rate(flotilla_log_lines_total[$__rate_interval]))", "{{level}}")],
                ),
                Panel(
                    "Log lines lost",
                    Lines,
                    "short",
                    8,
                    &[("sum(increase(flotilla_log_lines_lost_total[$__rate_interval]))", "lost")],
                ),
            ],
        ),
    ],
};

pub(super) const SERVERS: Dashboard = Dashboard {
    uid: "flotilla-servers",
    title: "MCP Servers",
    about: "Each server: its health, its calls by tool and outcome, their time, and the ways to it.",
    variables: &[("server", "mcp_commands_total")],
    rows: &[
        (
            "Health",
            &[
                Panel(
                    "Copies",
                    Lines,
                    "short",
                    8,
                    &[("count by (server) (mcp_server_health{server=~\"$server\"} > 0)", "{{server}}")],
                ),
                Panel(
                    "Health of the worst copy",
                    States,
                    "short",
                    16,
                    &[("min by (server) (mcp_server_health{server=~\"$server\"})", "{{server}}")],
                ),
            ],
        ),
        (
            "Calls",
            &[
                Panel(
                    "Calls by tool",
                    Lines,
                    "reqps",
                    12,
                    &[(
                        "sum by (server, tool) (rate(mcp_commands_total{server=~\"$server\"}[$__rate_interval]))",
                        "{{server}} {{tool}}",
                    )],
                ),
                Panel(
                    "Calls by outcome",
                    Lines,
                    "reqps",
                    12,
                    &[(
                        "sum by (server, outcome) (rate(mcp_commands_total{server=~\"$server\"}[$__rate_interval]))",
                        "{{server}} {{outcome}}",
                    )],
                ),
                Panel(
                    "Time of a call, 95 of 100",
                    Lines,
                    "s",
                    12,
                    &[(
                        "histogram_quantile(0.95, sum by (server, le) (rate(mcp_response_time_seconds_bucket{server=~\"$server\"}[$__rate_interval])))",
                        "{{server}}",
                    )],
                ),
                Panel(
                    "Mean time by tool",
                    Lines,
                    "s",
                    12,
                    &[(
                        "sum by (server, tool) (rate(mcp_response_time_seconds_sum{server=~\"$server\"}[$__rate_interval])) / sum by (server, tool) (rate(mcp_response_time_seconds_count{server=~\"$server\"}[$__rate_interval]))",
                        "{{server}} {{tool}}",
                    )],
                ),
                Panel(
                    "Most called tools",
                    Table,
                    "short",
                    12,
                    &[(
                        "topk(10, sum by (server, tool) (increase(mcp_commands_total{server=~\"$server\"}[$__range])))",
                        "{{server}} {{tool}}",
                    )],
                ),
                Panel(
                    "Calls that did not end well",
                    Table,
                    "short",
                    12,
                    &[(
                        "topk(10, sum by (server, tool, outcome) (increase(mcp_commands_total{server=~\"$server\",outcome!=\"ok\"}[$__range])))",
                        "{{server}} {{tool}}: {{outcome}}",
                    )],
                ),
            ],
        ),
        (
            "Ways",
            &[
                Panel(
                    "Breakers: 0 closed, 1 open",
                    Lines,
                    "short",
                    12,
                    &[("max by (target) (flotilla_route_breaker) or vector(0)", "{{target}}")],
                ),
                Panel(
                    "Restarts of upstreams",
                    Lines,
                    "short",
                    12,
                    &[("sum by (target) (increase(flotilla_upstream_restarts_total[$__rate_interval]))", "{{target}}")],
                ),
            ],
        ),
    ],
};

pub(super) const AGENTS: Dashboard = Dashboard {
    uid: "flotilla-agents",
    title: "Agent Performance",
    about: "The agents: their health, the tasks they do, and those that wait for them.",
    variables: &[("agent", "mcp_agent_health")],
    rows: &[
        (
            "Now",
            &[
                Panel(
                    "Agents healthy",
                    Number,
                    "short",
                    6,
                    &[("count(max by (agent) (mcp_agent_health{agent=~\"$agent\"}) == 1)", "")],
                ),
                Panel("Tasks done", Number, "short", 6, &[("sum(increase(agent_tasks_total[$__range]))", "")]),
                Panel("Tasks under way", Number, "short", 6, &[("sum(max by (queue) (flotilla_queue_running))", "")]),
                Panel("Tasks waiting", Number, "short", 6, &[("sum(max by (queue) (flotilla_queue_depth))", "")]),
                Panel(
                    "Health",
                    States,
                    "short",
                    24,
                    &[("max by (agent) (mcp_agent_health{agent=~\"$agent\"})", "{{agent}}")],
                ),
            ],
        ),
        (
            "Tasks",
            &[
                Panel(
                    "Tasks by agent and type",
                    Lines,
                    "ops",
                    12,
                    &[("sum by (agent, type) (rate(agent_tasks_total[$__rate_interval]))", "{{agent}} {{type}}")],
                ),
                Panel(
                    "Tasks by outcome",
                    Lines,
                    "ops",
                    12,
                    &[("sum by (agent, outcome) (rate(agent_tasks_total[$__rate_interval]))", "{{agent}} {{outcome}}")],
                ),
                Panel(
                    "Time of a task",
                    Lines,
                    "s",
                    12,
                    &[
                        (
                            "histogram_quantile(0.5, sum by (agent, le) (rate(agent_task_duration_seconds_bucket[$__rate_interval])))",
                            "{{agent}} half",
                        ),
                        (
                            "histogram_quantile(0.95, sum by (agent, le) (rate(agent_task_duration_seconds_bucket[$__rate_interval])))",
                            "{{agent}} 95 of 100",
                        ),
                    ],
                ),
                Panel(
                    "Mean time by type",
                    Table,
                    "s",
                    12,
                    &[(
                        "sum by (agent, type) (rate(agent_task_duration_seconds_sum[$__range])) / sum by (agent, type) (rate(agent_task_duration_seconds_count[$__range]))",
                        "{{agent}} {{type}}",
                    )],
                ),
            ],
        ),
        (
            "Queues",
            &[
                Panel("Waiting", Lines, "short", 8, &[("max by (queue) (flotilla_queue_depth)", "{{queue}}")]),
                Panel("Under way", Lines, "short", 8, &[("max by (queue) (flotilla_queue_running)", "{{queue}}")]),
                Panel(
                    "Age of the oldest",
                    Lines,
                    "s",
                    8,
                    &[("max by (queue) (flotilla_queue_oldest_seconds)", "{{queue}}")],
                ),
            ],
        ),
    ],
};
