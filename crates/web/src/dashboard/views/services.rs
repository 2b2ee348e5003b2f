//! Every server and agent in a row: how it stands, how fast it answers, what went wrong.

use std::collections::HashMap;

use kernel::Fault;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart::number;
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::words::{self, items, service_path, state, table, text, trouble};

/// Where it is.
pub const PATH: &str = "/ui/services";

/// Figures by server.
type Figures = HashMap<String, f64>;

/// The page. `?q=` narrows by name, `?state=broken` to what does not stand well.
pub async fn page(look: &Look) -> Page {
    let p95 = "histogram_quantile(0.95, sum by (le, server) (rate(mcp_response_time_seconds_bucket[5m])))";
    let (servers, agents, calls, errors, p95) = tokio::join!(
        look.read(COORDINATOR, "list_services", json!({})),
        look.read(COORDINATOR, "list_agents", json!({})),
        figures(look, "sum by (server) (rate(mcp_commands_total[5m]))"),
        figures(look, "sum by (server) (rate(mcp_commands_total{outcome!=\"ok\"}[5m]))"),
        figures(look, p95),
    );
    let query = look.query();
    let (name, only) = (query.get("q").unwrap_or_default().to_lowercase(), query.get("state") == Some("broken"));
    let kept =
        |row: &&Value| text(&row["name"]).to_lowercase().contains(&name) && !(only && row["status"] == "healthy");
    let lists: [(&str, &str, &Result<Value, Fault>); 2] =
        [("services", "Servers", &servers), ("agents", "Agents", &agents)];
    let tables = html! { @for (list, title, answer) in lists {
        h2 { (title) }
        @match answer {
            Err(fault) => { (trouble(fault)) }
            Ok(answer) => { (rows(items(&answer[list]).filter(kept), &calls, &errors, &p95)) }
        }
    } };
    let filter = html! {
        form.filter action=(PATH) {
            label { "Name" input type="text" name="q" value=(name) maxlength="100"; }
            label { "State" select name="state" { option value="" { "all" } option value="broken" selected[only] { "broken only" } } }
            button { "Filter" }
        }
    };
    Page::new("Services", PATH).still("filter", filter).live("services", tables)
}

async fn figures(look: &Look, query: &str) -> Figures {
    // Without monitoring the rows stand without figures, and its own row says why.
    let answer = look.read("monitoring", "query_metrics", json!({ "query": query })).await.unwrap_or_default();
    items(&answer["series"]).map(|one| (text(&one["metric"]["server"]), number(&one["value"]))).collect()
}

fn rows<'a>(all: impl Iterator<Item = &'a Value>, calls: &Figures, errors: &Figures, p95: &Figures) -> Markup {
    let cells = all.map(|row| {
        let (name, kind) = (text(&row["name"]), text(&row["kind"]));
        let of = |figures: &Figures| figures.get(&name).copied().filter(|_| kind == "server").unwrap_or(f64::NAN);
        let per_second = |value: f64| if value.is_finite() { format!("{value:.2}/s") } else { "–".into() };
        let failed = of(errors);
        vec![
            html! { a href=(service_path(&kind, &name)) { b { (name) } } },
            state(&text(&row["status"])),
            html! { (text(&row["instances"])) },
            html! { (words::duration(row["uptime_seconds"].as_u64().unwrap_or(0))) },
            html! { (text(&row["restarts"])) },
            html! { (per_second(of(calls))) },
            html! { @if failed > 0.0 { span.bad { "▲ " (per_second(failed)) } } @else { "–" } },
            html! { (words::latency(of(p95))) },
            html! { (text(&row["last_error"])) },
        ]
    });
    let cells: Vec<_> = cells.collect();
    if cells.is_empty() {
        return words::empty("None is so.");
    }
    let heads = ["service", "state", "copies", "up for", "restarts", "calls", "refused or failed", "p95", "last error"];
    table(&heads, cells)
}
