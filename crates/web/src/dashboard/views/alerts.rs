//! Alerts: what fires and who knows of it, what is kept quiet by whom, why and until when, what was, the rules with their runbooks, and whether
//! people are told at all.

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::look::Look;
use crate::dashboard::page::Page;
use crate::dashboard::words::{self, Act, asked, items, settled, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/ui/alerts";
/// The server whose tools do all of it.
const MONITORING: &str = "monitoring";
/// Alerts of the history.
const PAST: usize = 50;

/// The page. `?severity=` (that or worse) and `?rule=` narrow what fires and what was.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let (severity, rule) = (query.get("severity"), query.get("rule"));
    let alerts = |states: &[&str], limit: usize| {
        let asked = json!({ "states": states, "severity": severity, "rule": rule, "limit": limit });
        look.read(MONITORING, "list_alerts", asked)
    };
    let (open, past, silences, rules, sinks) = tokio::join!(
        alerts(&["firing", "acknowledged", "pending"], 200),
        alerts(&["resolved"], PAST),
        look.read(MONITORING, "list_silences", json!({ "ended": true })),
        look.read(MONITORING, "list_rules", json!({})),
        look.read(MONITORING, "list_sinks", json!({})),
    );
    let of = |how: &'static str| {
        let silenced = |row: &Value| items(&row["silenced_by"]).next().is_some();
        let fits = move |row: &&Value| match how {
            "silenced" => silenced(row),
            how => row["state"] == how && !silenced(row),
        };
        shown(&open, |all| open_table(look, items(&all["alerts"]).filter(fits).collect(), how))
    };
    Page::new("Alerts", PATH)
        .still("filter", filter(severity.unwrap_or_default(), rule.unwrap_or_default()))
        .live("firing", html! { h2 { "Firing" } (of("firing")) })
        .live("acknowledged", html! { h2 { "Acknowledged" } (of("acknowledged")) })
        .live("silenced", html! { h2 { "Silenced" } (of("silenced")) })
        .live("pending", html! { h2 { "Pending: the reason is there, not yet for long enough" } (of("pending")) })
        .live("silences", html! { h2 { "Silences" } (shown(&silences, |all| silences_table(look, all))) })
        .still("test", test(look))
        .live("sinks", html! { h2 { "Who is told" } (shown(&sinks, sinks_table)) })
        .live("past", html! { h2 { "History" } (shown(&past, past_table)) })
        .live("rules", html! { h2 { "Rules" } (shown(&rules, rules_table)) })
}

fn filter(severity: &str, rule: &str) -> Markup {
    html! {
        form.filter action=(PATH) {
            label { "Severity" select name="severity" {
                option value="" { "any" }
                @for one in ["warning", "critical"] { option value=(one) selected[severity == one] { (one) " or worse" } }
            } }
            label { "Rule" input type="text" name="rule" value=(rule) maxlength="64" autocomplete="off"; }
            button { "Filter" }
            a href=(PATH) { "All alerts" }
        }
    }
}

/// What to do about an alert: a text, or a link when it is an address of the web and nothing else.
fn runbook(row: &Value) -> Markup {
    let book = text(&row["runbook"]);
    let address = book.starts_with("https://") || book.starts_with("http://");
    html! {
        @if address { a href=(book) rel="noreferrer noopener" { "runbook" } } @else { (book) }
    }
}

fn acts(look: &Look, row: &Value, how: &str) -> Markup {
    let id = text(&row["id"]);
    let rule = text(&row["rule"]);
    let (known, undone) = (format!("{rule} is acknowledged"), format!("{rule} fires again for everybody"));
    let quiet = format!("{rule} is silenced");
    let acknowledge =
        Act { server: MONITORING, tool: "acknowledge_alert", label: "Acknowledge", done: &known, grave: false };
    let undo = Act { label: "Take it back", done: &undone, ..acknowledge };
    let silence = Act { server: MONITORING, tool: "silence", label: "Silence", done: &quiet, grave: false };
    html! {
        @if how == "firing" {
            (words::act(look, acknowledge, &html! {
                (settled("id", &id))
                label { "Comment" input type="text" name="arg.comment" maxlength="500" placeholder="what you do about it" autocomplete="off"; }
            }))
        }
        @if how == "acknowledged" { (words::act(look, undo, &html! { (settled("id", &id)) (settled("undo", "true")) })) }
        @if how != "silenced" {
            details { summary { "Silence" }
                (words::act(look, silence, &html! {
                    (settled("alert", &id))
                    (asked("reason", "Why", "others will read it"))
                    label { "For, in minutes" input type="number" name="arg.minutes" value="60" min="1" max="43200"; }
                }))
            }
        }
    }
}

fn open_table(look: &Look, alerts: Vec<&Value>, how: &'static str) -> Markup {
    if alerts.is_empty() {
        return match how {
            "firing" => html! { p { span.good { "● " } "Nothing fires." } },
            "acknowledged" => words::empty("None: whoever takes an alert up says so here, and others know."),
            "silenced" => words::empty("No alert is kept quiet now."),
            _ => words::empty("None."),
        };
    }
    let rows = alerts.into_iter().map(|row| {
        let who = &row["acknowledged"];
        vec![
            state(&text(&row["severity"])),
            html! { b { (text(&row["rule"])) } " " (text(&row["summary"])) br; span.dim { (labels(&row["labels"])) } },
            html! { (text(&row["value"])) },
            words::when(&row["since_ms"]),
            runbook(row),
            html! {
                @if let Some(by) = who["by"].as_str() { "known to " b { (by) } " " (words::when(&who["at_ms"])) " " (text(&who["comment"])) }
                (acts(look, row, how))
            },
        ]
    });
    table(&["severity", "what", "value", "since", "runbook", "who"], rows.collect())
}

fn labels(labels: &Value) -> String {
    let all = labels.as_object().into_iter().flatten();
    let told = all.filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"));
    told.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(", ")
}

fn silences_table(look: &Look, all: &Value) -> Markup {
    let rows = items(&all["silences"]).map(|row| {
        let id = text(&row["id"]);
        let end = Act { server: MONITORING, tool: "expire_silence", label: "End it", done: "the silence is over: what it kept quiet is told of", grave: false };
        let matchers = items(&row["matchers"])
            .map(|one| format!("{}{}{}", text(&one["label"]), one["op"].as_str().unwrap_or("="), text(&one["value"])));
        let active = row["active"] == true;
        vec![
            state(if active { "held" } else { "over" }),
            html! { code { (matchers.collect::<Vec<_>>().join(" ")) } },
            html! { b { (text(&row["by"])) } },
            html! { (text(&row["reason"])) },
            words::when(&row["until_ms"]),
            html! { (text(&row["alerts"])) },
            html! { @if active { (words::act(look, end, &settled("id", &id))) } @else if let Some(by) = row["ended_by"].as_str() { "ended by " (by) } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("None, and none in the last week.");
    }
    table(&["state", "alerts with", "by", "why", "until", "quiet now", ""], rows)
}

fn test(look: &Look) -> Markup {
    let act = Act {
        server: MONITORING,
        tool: "test_alert",
        label: "Send a test",
        done: "a test fires, and resolves itself: see that it arrives",
        grave: false,
    };
    html! {
        h2 { "Test" }
        p.dim { "An alert that says nothing is wrong, fires at once, goes to every sink, and resolves itself." }
        (words::act(look, act, &html! {
            label { "Severity" select name="arg.severity" { @for one in ["info", "warning", "critical"] { option value=(one) selected[one == "warning"] { (one) } } } }
            label { "What to tell" input type="text" name="arg.summary" maxlength="500" placeholder="nothing is wrong" autocomplete="off"; }
            label { "Resolves after, in seconds" input type="number" name="arg.seconds" value="60" min="5" max="3600"; }
        }))
    }
}

fn sinks_table(all: &Value) -> Markup {
    let rows = items(&all["sinks"]).map(|row| {
        let failures = row["failures"].as_u64().unwrap_or(0);
        vec![
            html! { b { (text(&row["name"])) } " " span.dim { (text(&row["kind"])) " " (text(&row["host"])) } },
            state(if failures == 0 { "ok" } else { "failed" }),
            html! { (text(&row["waiting"])) },
            html! { (text(&row["messages"])) },
            words::when(&row["told_ms"]),
            html! { @if failures > 0 { span.bad { "▲ " (failures) " times: " } (text(&row["error"])) } @else { "–" } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty(
            "Nobody but who looks here: `[servers.monitoring.sinks.NAME]` adds a webhook, ntfy, Discord or Alertmanager.",
        );
    }
    table(&["sink", "state", "waiting", "messages", "told last", "failures"], rows)
}

fn past_table(all: &Value) -> Markup {
    let rows = items(&all["alerts"]).map(|row| {
        vec![
            state(&text(&row["severity"])),
            html! { b { (text(&row["rule"])) } " " (text(&row["summary"])) },
            words::when(&row["since_ms"]),
            words::when(&row["resolved_ms"]),
            html! { (text(&row["resolution"])) },
            html! { (text(&row["acknowledged"]["by"])) },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("No alert has been resolved yet.");
    }
    table(&["severity", "what", "began", "resolved", "how", "who knew"], rows)
}

fn rules_table(all: &Value) -> Markup {
    let rows = items(&all["rules"]).map(|row| {
        let firing = row["firing"].as_u64().unwrap_or(0);
        vec![
            html! { b { (text(&row["name"])) } @if row["enabled"] == false { " " span.fair { "○ off" } } },
            state(&text(&row["severity"])),
            html! { code { (text(&row["promql"])) } @if let Some(error) = row["error"].as_str() { br; span.bad { "▲ " (error) } } },
            html! { (words::duration(row["for_seconds"].as_u64().unwrap_or(0))) },
            html! { @if firing > 0 { span.bad { "■ " (firing) " firing" } } @else { "–" } },
            runbook(row),
        ]
    });
    let rows: Vec<_> = rows.collect();
    html! { details { summary { (rows.len()) " rules" } (table(&["rule", "severity", "when", "for", "now", "runbook"], rows)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_is_a_link_only_where_it_leads_to_the_web() {
        let shown = |book: &str| runbook(&json!({ "runbook": book })).into_string();
        assert!(shown("https://example.org/book").contains("<a href=\"https://example.org/book\""));
        for text in ["javascript:alert(1)", "//evil", "data:text/html,x", "restart it"] {
            assert_eq!(shown(text), text);
        }
        assert!(!shown("https://\"onclick=x").contains("\"onclick"));
    }
}
