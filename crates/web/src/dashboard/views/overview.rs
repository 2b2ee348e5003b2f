//! The first look at three in the morning: is it well, what is broken, what changed.

use kernel::Fault;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart;
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, figure, items, service_path, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/";
/// How many of the newest events are shown.
const EVENTS: usize = 15;
/// Longest detail of an event, in characters.
const DETAIL_CHARS_MAX: usize = 200;

type Answer = Result<Value, Fault>;

/// The page.
pub async fn page(look: &Look) -> Page {
    let none = || json!({});
    // All at once: a page takes as long as its slowest look.
    let (status, servers, agents, upstreams, queues, alerts, incidents, breakers, events, risk, runs) = tokio::join!(
        look.status(),
        look.read(COORDINATOR, "list_services", none()),
        look.read(COORDINATOR, "list_agents", none()),
        look.read(COORDINATOR, "list_upstreams", none()),
        look.read("task-management", "queues", none()),
        look.read("monitoring", "list_alerts", none()),
        look.read("recovery", "incidents", json!({ "open": true })),
        look.read("recovery", "circuit_breakers", none()),
        look.read(COORDINATOR, "list_events", json!({ "limit": EVENTS })),
        look.read("risk-management", "risk_report", none()),
        look.read("orchestration", "list_runs", json!({ "status": "waiting", "limit": 200 })),
    );
    let mut broken = services_broken(&servers, "services");
    broken.extend(services_broken(&agents, "agents"));
    broken.extend(rest_broken(status, &alerts, &incidents, &breakers, &queues));
    let figures = html! {
        h2 { "Now" }
        ul.figures {
            (tally(status, "servers", "/ui/services")) (tally(status, "agents", super::agents::PATH))
            (queue(&queues)) (dead(&queues)) (approvals(&runs)) (loss(&risk)) (up(status))
        }
    };
    Page::new("Overview", PATH)
        .live("figures", figures)
        .live("broken", html! { h2 { "What is broken" } (broken_table(broken)) })
        .live("events", html! { h2 { "What changed" } (shown(&events, events_table)) })
        .live("servers", html! { h2 { "Servers" } (shown(&servers, |all| tiles(&all["services"], "server"))) })
        .live("agents", html! { h2 { "Agents" } (shown(&agents, |all| tiles(&all["agents"], "agent"))) })
        .live("upstreams", html! { h2 { "Upstreams" } (shown(&upstreams, |all| upstreams_of(&all["upstreams"]))) })
        .live("infrastructure", html! { h2 { "Infrastructure" } (shown(status, infrastructure)) })
}

fn tally(status: &Answer, what: &str, to: &str) -> Markup {
    let Ok(status) = status else { return figure(what, "?", "cannot be told", None, "fair") };
    let count = |name: &str| status[what][name].as_u64().unwrap_or(0);
    let (total, healthy) = (count("total"), count("healthy"));
    let tone = if healthy == total { "good" } else { "bad" };
    let note = match (count("degraded"), count("changing"), count("down")) {
        (0, 0, 0) => "all healthy".to_owned(),
        (degraded, changing, down) => format!("{down} down, {degraded} degraded, {changing} changing"),
    };
    figure(what, &format!("{healthy} of {total}"), &note, Some(to), tone)
}

fn sum(queues: &Value, name: &str) -> u64 {
    items(&queues["queues"]).filter_map(|queue| queue[name].as_u64()).sum()
}

fn queue(queues: &Answer) -> Markup {
    let Ok(queues) = queues else { return figure("tasks waiting", "?", "cannot be told", None, "fair") };
    let oldest = items(&queues["queues"]).filter_map(|queue| queue["oldest_seconds"].as_u64()).max().unwrap_or(0);
    let waiting = sum(queues, "queued") + sum(queues, "delayed");
    let note = format!("oldest {}, {} running", words::duration(oldest), sum(queues, "running"));
    figure("tasks waiting", &waiting.to_string(), &note, Some(super::agents::PATH), "")
}

fn dead(queues: &Answer) -> Markup {
    let Ok(queues) = queues else { return figure("dead letters", "?", "cannot be told", None, "fair") };
    let dead = sum(queues, "dead");
    let tone = if dead == 0 { "good" } else { "bad" };
    figure("dead letters", &dead.to_string(), "failed for good", Some("/ui/agents#dead"), tone)
}

fn approvals(runs: &Answer) -> Markup {
    let Ok(runs) = runs else { return figure("approvals waiting", "?", "cannot be told", None, "fair") };
    let asked: usize = items(&runs["runs"]).map(|run| items(&run["questions"]).count()).sum();
    let tone = if asked == 0 { "" } else { "fair" };
    figure("approvals waiting", &asked.to_string(), "asked of people by workflows", Some(super::workflows::PATH), tone)
}

fn loss(risk: &Answer) -> Markup {
    let Ok(risk) = risk else { return figure("profit and loss", "?", "cannot be told", None, "fair") };
    let limit = items(&risk["limits"]).find(|limit| limit["limit"] == "daily_loss_max");
    let used = limit.and_then(|limit| limit["used_bps"].as_u64()).unwrap_or(0);
    let lost = limit.map_or_else(String::new, |limit| {
        format!(
            "lost today {} of {} allowed ({:.0} %)",
            text(&limit["figure"]),
            text(&limit["bound"]),
            used as f64 / 100.0
        )
    });
    let net = format!("{} {}", text(&risk["total_net"]), text(&risk["currency"]));
    figure("profit and loss", &net, &lost, Some(super::trading::PATH), if used >= 7_000 { "bad" } else { "" })
}

fn up(status: &Answer) -> Markup {
    let Ok(status) = status else { return html! {} };
    let seconds = status["uptime_seconds"].as_u64().unwrap_or(0);
    figure("up for", &words::duration(seconds), &format!("version {}", text(&status["version"])), None, "")
}

/// A row of what is broken: how, what, why, and where its fix is.
type Broken = (String, Markup, String, Option<String>);

fn services_broken(all: &Answer, list: &str) -> Vec<Broken> {
    let Ok(all) = all else { return Vec::new() };
    let broken = items(&all[list]).filter(|row| row["status"] != "healthy");
    let row = |row: &Value| {
        let (kind, name) = (text(&row["kind"]), text(&row["name"]));
        let to = service_path(&kind, &name);
        (text(&row["status"]), html! { (kind) " " b { (name) } }, text(&row["last_error"]), Some(to))
    };
    broken.map(row).collect()
}

fn rest_broken(
    status: &Answer,
    alerts: &Answer,
    incidents: &Answer,
    breakers: &Answer,
    queues: &Answer,
) -> Vec<Broken> {
    let mut rows = Vec::new();
    let none = Value::Null;
    let of = |answer: &Answer, name: &str| answer.as_ref().unwrap_or(&none)[name].clone();
    for (name, part) in of(status, "infrastructure").as_object().into_iter().flatten() {
        // A chain that was never configured is missing, not broken.
        if part["status"] != "healthy" && !(name == "chain" && part["status"] == "degraded") {
            rows.push((text(&part["status"]), html! { "infrastructure " b { (name) } }, text(&part["detail"]), None));
        }
    }
    for alert in items(&of(alerts, "alerts")) {
        let why = format!("{}. {}", text(&alert["summary"]), text(&alert["runbook"]));
        rows.push((
            text(&alert["severity"]),
            html! { "alert " b { (text(&alert["rule"])) } " " (text(&alert["state"])) },
            why,
            Some(super::alerts::PATH.to_owned()),
        ));
    }
    for incident in items(&of(incidents, "incidents")) {
        let subject = text(&incident["subject"]);
        let to = format!("/ui/services/{}", encoded(&subject));
        rows.push((
            "open".into(),
            html! { "incident " b { (subject) } " since " (words::when(&incident["opened_ms"])) },
            text(&incident["cause"]),
            Some(to),
        ));
    }
    for breaker in items(&of(breakers, "breakers")).filter(|breaker| breaker["open"] == true) {
        let service = text(&breaker["service"]);
        let to = service_path("server", &service);
        rows.push((
            "open".into(),
            html! { "breaker of " b { (service) } " since " (words::when(&breaker["since_ms"])) },
            format!("calls to {} are held back", text(&breaker["instance"])),
            Some(to),
        ));
    }
    for queue in items(&of(queues, "queues")).filter(|queue| queue["dead"].as_u64() > Some(0)) {
        rows.push((
            "dead".into(),
            html! { "queue " b { (text(&queue["queue"])) } },
            format!("{} dead letters", text(&queue["dead"])),
            Some(format!("{}?queue={}", super::agents::PATH, encoded(&text(&queue["queue"])))),
        ));
    }
    rows
}

fn broken_table(rows: Vec<Broken>) -> Markup {
    if rows.is_empty() {
        return html! { p { span.good { "● " } "Nothing is broken." } };
    }
    let cells = rows.into_iter().map(|(how, what, why, to)| {
        let fix = html! { @if let Some(to) = to { a href=(to) { "look and mend" } } @else { "–" } };
        vec![state(&how), what, html! { (why) }, fix]
    });
    table(&["state", "what", "why", "fix"], cells.collect())
}

fn events_table(events: &Value) -> Markup {
    let mut rows: Vec<&Value> = items(&events["events"]).collect();
    rows.reverse();
    if rows.is_empty() {
        return words::empty("Nothing has happened yet.");
    }
    let cells = rows.into_iter().map(|event| {
        let data = &event["data"];
        let (kind, name) = match (data["agent"].as_str(), data["service"].as_str().or_else(|| data["name"].as_str())) {
            (Some(agent), _) => ("agent", agent),
            (None, Some(name)) => ("server", name),
            (None, None) => ("", ""),
        };
        let of_service = text(&event["kind"]).starts_with("service.") || kind == "agent";
        let subject = html! { @if name.is_empty() { "–" } @else if of_service { a href=(service_path(kind, name)) { (name) } } @else { (name) } };
        let detail = ["reason", "error", "cause", "summary"].iter().find_map(|field| data[*field].as_str());
        let detail: String = detail.map_or_else(|| data.to_string(), ToOwned::to_owned).chars().take(DETAIL_CHARS_MAX).collect();
        vec![words::when(&event["at_ms"]), html! { b { (text(&event["kind"])) } }, subject, html! { (detail) }]
    });
    table(&["when", "what", "of", "detail"], cells.collect())
}

fn tiles(services: &Value, kind: &str) -> Markup {
    if items(services).next().is_none() {
        return words::empty("There are none in this mode: `flotilla up --mode full` starts all.");
    }
    html! { ul.tiles { @for row in items(services) {
        li { (state(&text(&row["status"]))) " " a href=(service_path(kind, &text(&row["name"]))) { (text(&row["name"])) } }
    } } }
}

fn upstreams_of(all: &Value) -> Markup {
    if items(all).next().is_none() {
        return words::empty("None has joined: `add_upstream` of the coordinator takes a command or a URL.");
    }
    let cells = items(all).map(|row| {
        let held = items(&row["held"]).count();
        vec![
            html! { b { (text(&row["name"])) } },
            state(&text(&row["status"])),
            html! { (text(&row["tools"])) },
            html! { @if held > 0 { span.fair { "▲ " (held) " to approve" } } @else { "–" } },
            html! { (text(&row["last_error"])) },
        ]
    });
    table(&["upstream", "state", "tools", "held", "last error"], cells.collect())
}

fn infrastructure(status: &Value) -> Markup {
    let parts = status["infrastructure"].as_object().into_iter().flatten();
    let cells = parts.map(|(name, part)| {
        let took = chart::number(&part["latency_us"]) / 1e6;
        vec![
            html! { b { (name) } },
            state(&text(&part["status"])),
            html! { (text(&part["detail"])) },
            html! { (text(&part["backend"])) },
            html! { (words::latency(took)) },
        ]
    });
    table(&["part", "state", "what was seen", "on", "look took"], cells.collect())
}
