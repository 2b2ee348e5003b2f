//! What a few words lead to: services, tools, and what was said.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::service::words_of;
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, items, service_path, shown, state, table, text};

/// How much of each is shown.
const MOST: usize = 10;

/// The page; `?q=` has the words.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let Some(sought) = query.get("q").map(str::trim).filter(|sought| !sought.is_empty()) else {
        return Page::new("Search", "")
            .still("found", words::empty("Type what you look for: a service, a tool, a word of a log line."));
    };
    let (servers, agents, tools, lines) = tokio::join!(
        look.read(COORDINATOR, "list_services", json!({})),
        look.read(COORDINATOR, "list_agents", json!({})),
        look.read(COORDINATOR, "find_tools", json!({ "query": sought, "limit": MOST })),
        look.read("logging", "search", json!({ "text": sought, "limit": MOST })),
    );
    let lower = sought.to_lowercase();
    let matching = |all: &Value, kind: &str| {
        let hits = items(all)
            .filter(|row| text(&row["name"]).contains(&lower) || text(&row["about"]).to_lowercase().contains(&lower));
        html! { @for row in hits {
            li { (state(&text(&row["status"]))) " " a href=(service_path(kind, &text(&row["name"]))) { (text(&row["name"])) } span.dim { " " (text(&row["about"])) } }
        } }
    };
    let services = html! {
        ul.tiles { (shown(&servers, |all| matching(&all["services"], "server"))) (shown(&agents, |all| matching(&all["agents"], "agent"))) }
    };
    Page::new(format!("Search: {sought}"), "")
        .still("services", html! { h2 { "Services" } (services) })
        .still("tools", html! { h2 { "Tools" } (shown(&tools, found_tools)) })
        .still("lines", html! { h2 { "Log lines" } (shown(&lines, |found| words_of(&found["lines"]))) })
}

fn found_tools(found: &Value) -> Markup {
    let rows = items(&found["tools"]).map(|tool| {
        vec![
            html! { a href={ (super::playground::PATH) "/" (encoded(&text(&tool["name"]))) } { code { (text(&tool["name"])) } } },
            html! { (text(&tool["description"])) },
            html! { code { (text(&tool["parameters"])) } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        words::empty("No tool does that.")
    } else {
        table(&["tool", "what it does", "what it takes"], rows)
    }
}
