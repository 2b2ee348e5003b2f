//! The views: what each shows, and of which tools' answers it is made.

use serde_json::{Value, json};

use super::Ui;
use super::look::{Answer, COORDINATOR, Look, items};
use super::notices::Wanted;
use super::page::{Body, Figure, Page, Section, Table, Tone, cell, shown, utc};
use kernel::Result;
use mcp::prelude::*;

/// A view, as lists name it: its name, its title, and what it shows.
pub(super) const VIEWS: [(&str, &str, &str); 8] = [
    ("overview", "Overview", "is it well, what is broken, what goes on"),
    ("services", "Services", "every server and agent: how it stands, restarts, its last error"),
    ("activity", "Activity", "calls, errors, latency and tasks of the last hour as charts"),
    ("alerts", "Alerts and incidents", "what fires, what is silenced, what failed lately"),
    ("tasks", "Tasks and workflows", "queues, dead letters, runs and what they ask people"),
    ("trading", "Trading and risk", "mode, kill switch, profit and loss, limits and how much of them is used"),
    ("market", "Market", "opportunities as they are now, and what is left of each after all costs"),
    ("notifications", "Notifications", "what you were told, newest first"),
];

/// Refuses the name of no view.
pub(super) fn check(name: &str) -> Result<&'static str> {
    let found = VIEWS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, title, _)| *title).ok_or_else(|| {
        let known = VIEWS.map(|(name, ..)| name);
        let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
        let near = kernel::limits::nearest(name, &known).map(|near| format!("did you mean `{near}`? "));
        Fault::not_found(format!("no view `{shown}`")).hint(format!(
            "{}one of {}",
            near.unwrap_or_default(),
            known.join(", ")
        ))
    })
}

impl Ui {
    /// A view, made now for whoever looks.
    pub(super) async fn page(&self, name: &str, look: &Look) -> Result<Page> {
        let title = check(name)?;
        let sections = match name {
            "overview" => overview(look).await,
            "services" => services(look).await,
            "activity" => activity(look).await,
            "alerts" => alerts(look).await,
            "tasks" => tasks(look).await,
            "trading" => trading(look).await,
            "market" => market(look).await,
            _ => self.told(look).await,
        };
        Ok(Page { view: name.into(), title: title.into(), made_ms: look.now_ms, sections })
    }

    async fn told(&self, look: &Look) -> Vec<Section> {
        let all = self.notices.list(&look.caller, &Wanted::default()).await;
        let body = |all: &Vec<super::notices::Notification>| {
            let row = |one: &super::notices::Notification| {
                let read = if one.read { "read" } else { "new" };
                vec![
                    utc(one.at_ms),
                    one.level.as_str().into(),
                    read.into(),
                    one.title.clone(),
                    one.text.clone(),
                    one.by.clone(),
                ]
            };
            let columns = ["when", "level", "read", "title", "text", "from"];
            Body::Table(Table::of(&columns, all.iter().map(row), "Nothing was told."))
        };
        vec![Section::told("notifications", "Notifications", &all, body)]
    }
}

/// A table of rows that JSON gives, in these fields.
pub fn table(list: &Value, columns: &[&str], fields: &[&str], empty: &str) -> Body {
    let row = |item: &Value| fields.iter().map(|field| field_of(item, field)).collect();
    Body::Table(Table::of(columns, items(list).map(row), empty))
}

/// A field of an item as a cell shows it: times that end in `_ms` are dates.
fn field_of(item: &Value, field: &str) -> String {
    let value = field.split('.').fold(item, |value, part| &value[part]);
    match value.as_i64().filter(|_| field.ends_with("_ms")) {
        Some(at_ms) => utc(at_ms),
        None => shown(value),
    }
}

fn tally(status: &Value, what: &str) -> Figure {
    let count = |name: &str| status[what][name].as_u64().unwrap_or(0);
    let (total, healthy) = (count("total"), count("healthy"));
    let note = format!("{} down, {} degraded, {} changing", count("down"), count("degraded"), count("changing"));
    let tone = if healthy == total { Tone::Good } else { Tone::Bad };
    Figure::new(what, format!("{healthy} of {total}"), note, tone)
}

async fn overview(look: &Look) -> Vec<Section> {
    let (status, services, agents, queues, alerts, incidents, runs, risk) = tokio::join!(
        look.plain(COORDINATOR, "system_status"),
        look.plain(COORDINATOR, "list_services"),
        look.plain(COORDINATOR, "list_agents"),
        look.plain("task-management", "queues"),
        look.plain("monitoring", "list_alerts"),
        look.read("recovery", "incidents", json!({ "open": true })),
        look.read("orchestration", "list_runs", json!({ "status": "waiting", "limit": 200 })),
        look.plain("risk-management", "risk_report"),
    );
    let mut figures = match &status {
        Ok(status) => vec![tally(status, "servers"), tally(status, "agents")],
        Err(fault) => vec![Figure::new("fleet", "?", fault.to_string(), Tone::Bad)],
    };
    figures.extend(work(&queues, &alerts, &runs));
    figures.extend(money(&risk));
    let mut broken: Vec<Vec<String>> = Vec::new();
    for (list, answer) in [("services", &services), ("agents", &agents)] {
        let rows = answer.as_ref().map(|answer| &answer[list]).unwrap_or(&Value::Null);
        let wrong = items(rows).filter(|row| row["status"] != "healthy");
        broken.extend(wrong.map(|row| {
            vec![shown(&row["status"]), shown(&row["kind"]), shown(&row["name"]), shown(&row["last_error"])]
        }));
    }
    for (list, kind, answer) in [("alerts", "alert", &alerts), ("incidents", "incident", &incidents)] {
        let rows = answer.as_ref().map(|answer| &answer[list]).unwrap_or(&Value::Null);
        // What was announced is no trouble.
        for row in items(rows).filter(|row| row["rule"] != "notice") {
            let (state, name, why) = match kind {
                "alert" => (&row["state"], &row["rule"], &row["summary"]),
                _ => (&json!("open"), &row["subject"], &row["cause"]),
            };
            broken.push(vec![shown(state), kind.into(), shown(name), shown(why)]);
        }
    }
    let infrastructure = |status: &Value| {
        let parts = status["infrastructure"].as_object().into_iter().flatten();
        let row = |(name, part): (&String, &Value)| {
            vec![shown(&part["status"]), name.clone(), shown(&part["detail"]), shown(&part["backend"])]
        };
        Body::Table(Table::of(&["state", "part", "what was seen", "on"], parts.map(row), "None is known."))
    };
    let columns = ["state", "kind", "what", "why"];
    vec![
        Section::new("figures", "Now", Body::Figures(figures)),
        Section::new("broken", "What is broken", Body::Table(Table::of(&columns, broken, "Nothing is broken."))),
        Section::told("infrastructure", "Infrastructure", &status, infrastructure),
    ]
}

fn work(queues: &Answer, alerts: &Answer, runs: &Answer) -> Vec<Figure> {
    let untold = |name: &str, fault: &Fault| Figure::new(name, "?", fault.to_string(), Tone::Fair);
    let tasks = queues.as_ref().map_or_else(
        |fault| untold("tasks waiting", fault),
        |queues| {
            let sum = |name: &str| -> u64 { items(&queues["queues"]).filter_map(|queue| queue[name].as_u64()).sum() };
            let (dead, note) = (sum("dead"), format!("{} running, {} dead letters", sum("running"), sum("dead")));
            let tone = if dead > 0 { Tone::Fair } else { Tone::Plain };
            Figure::new("tasks waiting", (sum("queued") + sum("delayed")).to_string(), note, tone)
        },
    );
    let firing = alerts.as_ref().map_or_else(
        |fault| untold("alerts", fault),
        |alerts| {
            let of = |severity: &str| items(&alerts["alerts"]).filter(|row| row["severity"] == severity).count();
            let (critical, warning, all) = (of("critical"), of("warning"), items(&alerts["alerts"]).count());
            let tone = [Tone::Good, Tone::Fair, Tone::Bad][usize::from(warning > 0).max(2 * usize::from(critical > 0))];
            Figure::new("alerts", all.to_string(), format!("{critical} critical, {warning} warnings"), tone)
        },
    );
    let asked = runs.as_ref().map_or_else(
        |fault| untold("approvals waiting", fault),
        |runs| {
            let asked: usize = items(&runs["runs"]).map(|run| items(&run["questions"]).count()).sum();
            let tone = if asked > 0 { Tone::Fair } else { Tone::Plain };
            Figure::new("approvals waiting", asked.to_string(), "asked of people by workflows", tone)
        },
    );
    vec![tasks, firing, asked]
}

fn money(risk: &Answer) -> Option<Figure> {
    let risk = risk.as_ref().ok()?;
    let limit = items(&risk["limits"]).find(|limit| limit["limit"] == "daily_loss_max");
    let note = limit.map_or_else(String::new, |limit| {
        format!("lost today {} of {} allowed", shown(&limit["figure"]), shown(&limit["bound"]))
    });
    let used = limit.and_then(|limit| limit["used_bps"].as_u64()).unwrap_or(0);
    let tone = if used >= 7_000 { Tone::Bad } else { Tone::Plain };
    Some(Figure::new(
        "profit and loss",
        format!("{} {}", shown(&risk["total_net"]), shown(&risk["currency"])),
        note,
        tone,
    ))
}

async fn services(look: &Look) -> Vec<Section> {
    let (servers, agents, upstreams) = tokio::join!(
        look.plain(COORDINATOR, "list_services"),
        look.plain(COORDINATOR, "list_agents"),
        look.plain(COORDINATOR, "list_upstreams"),
    );
    let columns = ["state", "name", "port", "copies", "restarts", "last error"];
    let fields = ["status", "name", "port", "instances", "restarts", "last_error"];
    vec![
        Section::told("servers", "Servers", &servers, |all| table(&all["services"], &columns, &fields, "None serves.")),
        Section::told("agents", "Agents", &agents, |all| table(&all["agents"], &columns, &fields, "None works.")),
        Section::told("upstreams", "Upstreams", &upstreams, |all| {
            let columns = ["state", "name", "tools", "last error"];
            table(&all["upstreams"], &columns, &["status", "name", "tools", "last_error"], "None has joined.")
        }),
    ]
}

async fn activity(look: &Look) -> Vec<Section> {
    let (calls, errors, slow, tasks) = tokio::join!(
        look.chart("calls", "Calls by server", "calls/s", "topk(8, sum by (server) (rate(mcp_commands_total[5m])))"),
        look.chart(
            "errors",
            "Calls that failed, by server",
            "calls/s",
            "topk(8, sum by (server) (rate(mcp_commands_total{outcome!=\"ok\"}[5m])) > 0)"
        ),
        look.chart(
            "latency",
            "How long the slowest twentieth takes",
            "seconds",
            "topk(8, histogram_quantile(0.95, sum by (server, le) (rate(mcp_response_time_seconds_bucket[5m]))))"
        ),
        look.chart("tasks", "Tasks by agent", "tasks/s", "topk(8, sum by (agent) (rate(agent_tasks_total[5m])))"),
    );
    vec![calls, errors, slow, tasks]
}

async fn alerts(look: &Look) -> Vec<Section> {
    let (alerts, silences, incidents) = tokio::join!(
        look.plain("monitoring", "list_alerts"),
        look.plain("monitoring", "list_silences"),
        look.read("recovery", "incidents", json!({ "limit": 50 })),
    );
    let columns = ["state", "severity", "rule", "summary", "what to do", "since"];
    let fields = ["state", "severity", "rule", "summary", "runbook", "since_ms"];
    vec![
        Section::told("alerts", "Alerts", &alerts, |all| table(&all["alerts"], &columns, &fields, "Nothing fires.")),
        Section::told("silences", "Silences", &silences, |all| {
            table(&all["silences"], &["by", "why", "until"], &["by", "reason", "until_ms"], "Nothing is silenced.")
        }),
        Section::told("incidents", "Incidents", &incidents, |all| {
            let columns = ["what failed", "began", "served again", "cause"];
            table(&all["incidents"], &columns, &["subject", "opened_ms", "resolved_ms", "cause"], "Nothing failed.")
        }),
    ]
}

async fn tasks(look: &Look) -> Vec<Section> {
    let (queues, dead, runs) = tokio::join!(
        look.plain("task-management", "queues"),
        look.read("task-management", "dead_letters", json!({ "limit": 50 })),
        look.read("orchestration", "list_runs", json!({ "limit": 50 })),
    );
    vec![
        Section::told("queues", "Queues", &queues, |all| {
            let columns = ["queue", "waiting", "later", "running", "dead", "oldest s", "ended a minute"];
            let fields = ["queue", "queued", "delayed", "running", "dead", "oldest_seconds", "ended_per_minute"];
            table(&all["queues"], &columns, &fields, "No task was ever submitted.")
        }),
        Section::told("dead", "Dead letters", &dead, |all| {
            let columns = ["task", "queue", "type", "attempts", "why"];
            table(
                &all["tasks"],
                &columns,
                &["id", "queue", "task_type", "attempts", "failure.message"],
                "None failed for good.",
            )
        }),
        Section::told("runs", "Workflow runs", &runs, |all| {
            let columns = ["state", "run", "workflow", "began", "steps", "waits for"];
            table(
                &all["runs"],
                &columns,
                &["status", "run", "workflow", "started_ms", "steps", "waits_for"],
                "None was started.",
            )
        }),
    ]
}

async fn trading(look: &Look) -> Vec<Section> {
    let (gate, report, risk, days, trades) = tokio::join!(
        look.plain("risk-management", "kill_switch_state"),
        look.plain("production", "report"),
        look.plain("risk-management", "risk_report"),
        look.read("production", "pnl", json!({ "by": ["day"] })),
        look.read("production", "trades", json!({ "since": "-1h", "limit": 60 })),
    );
    vec![
        Section::told("standing", "May it trade?", &gate, standing),
        Section::told("results", "Profit and loss", &report, results),
        Section::told("equity", "Realised by day", &days, equity),
        Section::told("limits", "Limits", &risk, |risk| {
            let row = |limit: &Value| {
                let used = limit["used_bps"].as_u64().unwrap_or(0) as f64 / 100.0;
                vec![shown(&limit["limit"]), shown(&limit["figure"]), shown(&limit["bound"]), format!("{used:.0} %")]
            };
            Body::Table(Table::of(
                &["limit", "figure", "bound", "used"],
                items(&risk["limits"]).map(row),
                "No limit is set.",
            ))
        }),
        Section::told("trades", "Trades of the last hour", &trades, |all| {
            let columns = ["ended", "strategy", "pair", "state", "net", "gas"];
            table(
                &all["trades"],
                &columns,
                &["ended_ms", "strategy", "pair", "outcome", "net", "gas"],
                "None ended in the last hour.",
            )
        }),
    ]
}

fn standing(gate: &Value) -> Body {
    let killed = gate["on"] == true;
    let why = format!("{} by {}", shown(&gate["kill"]["reason"]), shown(&gate["kill"]["by"]));
    let switch = match killed {
        true => Figure::new("kill switch", "on", why, Tone::Bad),
        false => Figure::new("kill switch", "off", "", Tone::Good),
    };
    let trading = shown(&gate["trading"]);
    Body::Figures(vec![
        switch,
        Figure::new("trading", trading.clone(), "", Tone::of(&trading)),
        Figure::new("mode", shown(&gate["mode"]), shown(&gate["mode_set"]["reason"]), Tone::Plain),
    ])
}

/// What was earned, as production reports it.
pub fn results(report: &Value) -> Body {
    let sum = |field: &str, name: &str| {
        let row = &report[field];
        let note = format!(
            "{} of {} trades filled; gas {}, fees {}",
            shown(&row["filled"]),
            shown(&row["trades"]),
            shown(&row["gas"]),
            shown(&row["fees"])
        );
        let net = shown(&row["net"]);
        let tone = if net.starts_with('-') { Tone::Bad } else { Tone::Plain };
        Figure::new(name, format!("{net} {}", shown(&report["currency"])), note, tone)
    };
    Body::Figures(vec![sum("today", "today"), sum("seven_days", "seven days"), sum("thirty_days", "thirty days")])
}

/// What was earned in all, day after day.
pub fn equity(days: &Value) -> Body {
    use super::chart::{Chart, ChartKind, ChartSeries};
    // For the drawing only: sums for people are the fleet's own.
    let mut sum = 0.0;
    let point = |(at, row): (usize, &Value)| {
        sum += row["net"].as_str().and_then(|net| net.parse::<f64>().ok()).unwrap_or(0.0);
        (at as f64 + 1.0, Some(sum))
    };
    let points = std::iter::once((0.0, Some(0.0))).chain(items(&days["rows"]).enumerate().map(point)).collect();
    let title = format!("days from {} to {}", shown(&days["from"]), shown(&days["to"]));
    Body::Chart(Chart {
        kind: ChartKind::Area,
        title: cell(&title),
        unit: shown(&days["currency"]).chars().take(16).collect(),
        series: vec![ChartSeries { name: "realised".into(), points }],
        ..Chart::default()
    })
}

async fn market(look: &Look) -> Vec<Section> {
    let (now, pools) = tokio::join!(
        look.read("market-analysis", "scan_opportunities", json!({ "limit": 40 })),
        look.read("market-analysis", "top_pools", json!({ "limit": 40 })),
    );
    vec![
        Section::told("opportunities", "Opportunities", &now, |all| {
            let row = |one: &Value| {
                let hops: Vec<String> = items(&one["hops"]).map(|hop| shown(&hop["dex"])).collect();
                let net = format!("{} {}", shown(&one["net"]["units"]), shown(&one["funding"]["symbol"]));
                vec![
                    shown(&one["id"]),
                    hops.join(" → "),
                    shown(&one["amount_in"]["units"]),
                    net,
                    shown(&one["net_in_reference"]),
                ]
            };
            let columns = ["id", "route", "in", "net after all costs", "worth"];
            Body::Table(Table::of(&columns, items(&all["opportunities"]).map(row), "None gains after all costs now."))
        }),
        Section::told("pools", "Largest pools", &pools, |all| {
            let row = |pool: &Value| {
                let pair: Vec<String> = items(&pool["tokens"]).map(|token| shown(&token["symbol"])).collect();
                vec![
                    pair.join("/"),
                    shown(&pool["dex"]),
                    shown(&pool["depth"]["units"]),
                    shown(&pool["swaps"]),
                    shown(&pool["pool"]),
                ]
            };
            let columns = ["pair", "dex", "depth in the native coin", "swaps", "pool"];
            Body::Table(Table::of(&columns, items(&all["pools"]).map(row), "No pool is followed."))
        }),
    ]
}
