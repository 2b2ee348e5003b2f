//! One service: how it stands and stood, how fast it answers, what it says, and its restart.

use kernel::catalog::of_role;
use kernel::fleet::Kind;
use kernel::{Code, Fault};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart::{number, strip};
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, Act, asked, facts, items, settled, shown, state, table, text};

/// Steps of the history, in seconds, and how many.
const STEP_SECONDS: usize = 60;
const STEPS: usize = 60;
/// How many of the newest log lines are shown.
const LINES: usize = 25;

/// The page of a server, or of an agent as `agent:NAME`.
///
/// # Errors
/// When there is no such service.
pub async fn page(look: &Look, role: &str) -> Result<Page, Fault> {
    let (kind, name) = of_role(role);
    let is_server = kind == Kind::Server;
    let kind = if is_server { "server" } else { "agent" };
    let metric = if is_server { "mcp_server_health{server" } else { "mcp_agent_health{agent" };
    let health = format!("min({metric}={}}})", json!(name));
    let range =
        json!({ "query": health, "start": format!("-{}s", STEP_SECONDS * STEPS), "step": format!("{STEP_SECONDS}s") });
    let (status, history, numbers, breakers, lines) = tokio::join!(
        look.read(COORDINATOR, "service_status", json!({ "service": name, "kind": kind })),
        look.read("monitoring", "query_range", range),
        numbers(look, is_server, name),
        look.read("recovery", "circuit_breakers", json!({})),
        look.read("logging", "search", json!({ "service": role, "limit": LINES })),
    );
    // While its coordinator is restarted there is a page all the same; for a name that nobody has there is none.
    if let Err(fault) = &status
        && fault.code == Code::NotFound
        && fault.message.starts_with("no service")
    {
        return Err(fault.clone());
    }
    let mut page = Page::new(role, super::services::PATH)
        .live("state", html! { (shown(&status, standing)) })
        .live("history", html! { h2 { "The last hour" } (shown(&history, history_strip)) })
        .live("numbers", html! { h2 { "The last five minutes" } (numbers) })
        .still("restart", restart(look, kind, name))
        .live("checks", html! { h2 { "What it depends on" } (shown(&status, checks)) })
        .live("copies", html! { h2 { "Copies" } (shown(&status, copies)) })
        .live("lines", html! { h2 { "What it says" } p { a href={ (super::logs::PATH) "?service=" (encoded(role)) } { "Follow its lines" } } (shown(&lines, |found| words_of(&found["lines"]))) });
    if is_server {
        page = page.live("breaker", html! { h2 { "Breaker" } (shown(&breakers, |all| breaker(all, name))) });
    }
    Ok(page.live("tools", html! { (shown(&status, tools)) }))
}

fn standing(status: &Value) -> Markup {
    let since = items(&status["copies"]).filter_map(|copy| copy["started_ms"].as_i64()).min();
    html! {
        p { (state(&text(&status["status"]))) " " (text(&status["about"])) }
        @if let Some(error) = status["last_error"].as_str() { p.trouble { "Last error: " (error) } }
        (facts(vec![
            ("port", html! { (text(&status["port"])) }),
            ("address", html! { code { (text(&status["url"])) } }),
            ("version", html! { (text(&status["version"])) }),
            ("running since", html! { @if let Some(since) = since { (words::moment(since)) } @else { "it does not run" } }),
            ("restarts", html! { (text(&status["restarts"])) }),
        ]))
    }
}

fn history_strip(history: &Value) -> Markup {
    let (start_ms, step_ms) = (history["start_ms"].as_i64().unwrap_or(0), (STEP_SECONDS * 1_000) as i64);
    let mut steps = vec![None; STEPS + 1];
    for sample in items(&history["series"][0]["samples"]) {
        let at = (sample[0].as_i64().unwrap_or(0) - start_ms).div_euclid(step_ms);
        if let Some(step) = usize::try_from(at).ok().and_then(|at| steps.get_mut(at)) {
            *step = Some(number(&sample[1])).filter(|value| value.is_finite());
        }
    }
    strip(&steps)
}

/// Latencies and rates of the last five minutes.
async fn numbers(look: &Look, is_server: bool, name: &str) -> Markup {
    let label = json!(name).to_string();
    let (seconds, total) = match is_server {
        true => (
            format!("mcp_response_time_seconds_bucket{{server={label}}}"),
            format!("mcp_commands_total{{server={label}"),
        ),
        false => (
            format!("agent_task_duration_seconds_bucket{{agent={label}}}"),
            format!("agent_tasks_total{{agent={label}"),
        ),
    };
    let quantile = |q: &str| format!("histogram_quantile({q}, sum by (le) (rate({seconds}[5m])))");
    let (p50, p95, p99, calls, failed) = tokio::join!(
        one(look, quantile("0.5")),
        one(look, quantile("0.95")),
        one(look, quantile("0.99")),
        one(look, format!("sum(rate({total}}}[5m]))")),
        one(look, format!("sum(rate({total},outcome!=\"ok\"}}[5m]))")),
    );
    let of = |answer: &Result<f64, Fault>, show: fn(f64) -> String| match answer {
        Ok(value) => html! { (show(*value)) },
        Err(fault) => html! { span.fair title=(fault.message) { "◐ unknown" } },
    };
    let rate = |value: f64| if value.is_finite() { format!("{value:.2}/s") } else { "none".into() };
    facts(vec![
        ("p50", of(&p50, words::latency)),
        ("p95", of(&p95, words::latency)),
        ("p99", of(&p99, words::latency)),
        (if is_server { "calls" } else { "tasks" }, of(&calls, rate)),
        ("refused or failed", of(&failed, rate)),
    ])
}

async fn one(look: &Look, query: String) -> Result<f64, Fault> {
    let answer = look.read("monitoring", "query_metrics", json!({ "query": query })).await?;
    Ok(number(&answer["series"][0]["value"]))
}

fn restart(look: &Look, kind: &str, name: &str) -> Markup {
    let act = Act {
        server: COORDINATOR,
        tool: "restart_service",
        label: "Restart",
        done: &format!("{name} was restarted and serves again"),
        grave: true,
    };
    let fields = html! { (settled("service", name)) (settled("kind", kind)) (asked("reason", "Why", "for the logs and whoever comes next")) };
    html! {
        h2 { "Restart" }
        p.dim { "Calls under way are finished or get a clear error; a failed service starts its count of failures anew." }
        (words::act(look, act, &fields))
    }
}

fn checks(status: &Value) -> Markup {
    let rows = items(&status["checks"]).map(|check| {
        vec![html! { b { (text(&check["name"])) } }, state(&text(&check["status"])), html! { (text(&check["detail"])) }]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        words::empty("It looks at nothing of its own.")
    } else {
        table(&["check", "state", "what was seen"], rows)
    }
}

fn copies(status: &Value) -> Markup {
    let rows = items(&status["copies"]).map(|copy| {
        vec![
            html! { code { (text(&copy["id"])) } },
            state(if copy["lost_ms"].is_null() { copy["status"].as_str().unwrap_or_default() } else { "lost" }),
            html! { (text(&copy["url"])) },
            words::when(&copy["started_ms"]),
            html! { (text(&copy["restarts"])) },
            html! { (text(&copy["last_error"])) },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("None runs.");
    }
    table(&["copy", "state", "address", "since", "restarts", "last error"], rows)
}

fn breaker(all: &Value, name: &str) -> Markup {
    let rows = items(&all["breakers"]).filter(|row| row["service"] == name).map(|row| {
        vec![
            html! { code { (text(&row["instance"])) } },
            state(if row["open"] == true { "open" } else { "closed" }),
            words::when(&row["since_ms"]),
            html! { (text(&row["opened"])) },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return html! { p { (state("closed")) ": calls from other processes have never been held back." } };
    }
    table(&["copy", "breaker", "since", "times opened"], rows)
}

fn tools(status: &Value) -> Markup {
    let list = |title: &str, all: &Value| {
        html! { @if items(all).next().is_some() {
            h2 { (title) }
            ul.tags { @for one in items(all) { li { code { (text(one)) } } } }
        } }
    };
    html! { (list("Tools", &status["tools"])) (list("Types of task", &status["task_types"])) }
}

/// Log lines, newest first.
pub(super) fn words_of(lines: &Value) -> Markup {
    if items(lines).next().is_none() {
        return words::empty("Nothing is said.");
    }
    html! { ul.lines { @for line in items(lines) {
        li {
            (words::when(&line["at_ms"])) " "
            span class=(text(&line["level"])) { (text(&line["level"])) } " "
            @let service = text(&line["service"]);
            b { a.plain href={ (super::logs::PATH) "?service=" (encoded(&service)) } { (service) } } " " (text(&line["message"]))
            @if line["fields"].as_object().is_some_and(|fields| !fields.is_empty()) { " " span.dim { (text(&line["fields"])) } }
            @if let Some(trace) = line["trace_id"].as_str() { " " span.dim { "trace " (super::traces::link(trace)) } }
        }
    } } }
}
