//! Traces: one call through gateway, servers and the chain's node as a waterfall, with what was said meanwhile; and the newest calls to begin with.

use std::collections::{HashMap, HashSet};

use kernel::Fault;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::service::words_of;
use crate::dashboard::chart;
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, facts, items, outcome, shown, table, text};

/// Where it is.
pub const PATH: &str = "/ui/traces";
/// Calls of the list.
const CALLS: usize = 100;
/// Lines of a trace that are shown.
const LINES: usize = 200;
/// How far in a piece may be drawn, in steps.
const DEPTH_MAX: usize = 12;

/// A link to a trace.
pub fn link(id: &str) -> Markup {
    html! { a href={ (PATH) "/" (encoded(id)) } title=(id) { code { (id.chars().take(8).collect::<String>()) "…" } } }
}

/// The newest calls, one row each; `?slow=1` the slowest of them first, `?outcome=`, `?caller=`, `?server=` narrow.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let mut asked = super::audit::filters(&query);
    asked["limit"] = CALLS.into();
    let found = look.read(COORDINATOR, "list_audit", asked).await;
    let slow = query.get("slow") == Some("1");
    let of = |name: &str| query.get(name).unwrap_or_default();
    let filter = html! {
        form.filter action=(PATH) {
            @for (name, label) in [("caller", "Caller"), ("server", "Server"), ("outcome", "Outcome")] {
                label { (label) input type="text" name=(name) value=(of(name)) maxlength="100" autocomplete="off"; }
            }
            label.tick { input type="checkbox" name="slow" value="1" checked[slow]; " the slowest first" }
            button { "Filter" }
        }
        form.filter action={ (PATH) "/by-id" } {
            label { "Trace" input type="text" name="id" required maxlength="64" pattern="[0-9a-fA-F]{32}" placeholder="32 hexadecimal digits" autocomplete="off"; }
            button { "Show" }
        }
    };
    Page::new("Traces", PATH)
        .still("filter", filter)
        .live("calls", html! { h2 { "The newest calls" } (shown(&found, |found| calls(found, slow))) })
}

fn calls(found: &Value, slow: bool) -> Markup {
    let mut rows: Vec<&Value> = items(&found["rows"]).collect();
    if slow {
        rows.sort_by_key(|row| std::cmp::Reverse(row["took_us"].as_u64()));
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            vec![
                words::when(&row["at_ms"]),
                html! { b { (text(&row["server"])) } "." (text(&row["action"])) },
                html! { (text(&row["caller"])) },
                outcome(&text(&row["outcome"])),
                html! { (words::latency(row["took_us"].as_f64().unwrap_or(f64::NAN) / 1e6)) },
                link(&text(&row["trace_id"])),
            ]
        })
        .collect();
    if rows.is_empty() {
        return words::empty("No call is so. What anybody calls stands here: try a tool in the playground.");
    }
    table(&["ended", "what", "caller", "outcome", "took", "trace"], rows)
}

/// One trace.
///
/// # Errors
/// When its name is none.
pub async fn one(look: &Look, id: &str) -> Result<Page, Fault> {
    let (found, lines) = tokio::join!(
        look.read(COORDINATOR, "spans", json!({ "trace_id": id })),
        look.read("logging", "search", json!({ "trace_id": id, "limit": LINES })),
    );
    if let Err(fault) = &found
        && fault.code == kernel::Code::InvalidArgument
    {
        return Err(fault.clone());
    }
    let said = html! {
        h2 { "What was said meanwhile" }
        p { a href={ (super::logs::PATH) "?trace_id=" (encoded(id)) } { "In the logs" } }
        (shown(&lines, |found| words_of(&found["lines"])))
    };
    Ok(Page::new(format!("Trace {id}"), PATH)
        .live("waterfall", html! { (shown(&found, |found| waterfall(items(&found["pieces"]).collect()))) })
        .live("lines", said))
}

fn waterfall(pieces: Vec<&Value>) -> Markup {
    let start = |piece: &Value| piece["start_ms"].as_i64().unwrap_or(0) * 1_000;
    let end = |piece: &Value| start(piece) + piece["took_us"].as_i64().unwrap_or(0);
    let (Some(from), Some(until)) = (pieces.iter().map(|p| start(p)).min(), pieces.iter().map(|p| end(p)).max()) else {
        return words::empty(
            "Nothing is kept of it: the fleet keeps the newest calls of this process, and the audit trail those that somebody made.",
        );
    };
    let whole = (until - from).max(1);
    let rows = in_order(&pieces).into_iter().map(|(depth, piece)| {
        let ended = text(&piece["outcome"]);
        let span = (start(piece) - from, end(piece) - from);
        vec![
            html! { span.indent.{ "in" (depth.min(DEPTH_MAX)) } { b { (text(&piece["server"])) } " " (text(&piece["what"])) } },
            outcome(&ended),
            chart::span(span, whole, "µs", if ended == "ok" { "done" } else { "failed" }),
            html! { (words::latency(piece["took_us"].as_f64().unwrap_or(f64::NAN) / 1e6)) },
        ]
    });
    html! {
        (facts(vec![
            ("pieces", html! { (pieces.len()) }),
            ("began", words::moment(from / 1_000)),
            ("took", html! { (words::latency(whole as f64 / 1e6)) }),
        ]))
        (table(&["what", "outcome", "when", "took"], rows.collect()))
    }
}

/// The pieces as a tree is read: each under the one that led to it. Whose is not known stands at the root.
fn in_order<'a>(pieces: &[&'a Value]) -> Vec<(usize, &'a Value)> {
    let known: HashSet<&str> = pieces.iter().filter_map(|piece| piece["id"].as_str()).collect();
    let mut under: HashMap<Option<&str>, Vec<&'a Value>> = HashMap::new();
    for piece in pieces {
        let parent = piece["parent"].as_str().filter(|parent| known.contains(parent) && piece["id"] != *parent);
        under.entry(parent).or_default().push(*piece);
    }
    // What is told first is taken last off the stack.
    let begun = |of: Vec<&'a Value>, depth: usize| of.into_iter().rev().map(move |piece| (depth, piece));
    let mut left: Vec<(usize, &'a Value)> = begun(under.remove(&None).unwrap_or_default(), 0).collect();
    let mut ordered = Vec::with_capacity(pieces.len());
    while let Some((depth, piece)) = left.pop() {
        ordered.push((depth, piece));
        if let Some(id) = piece["id"].as_str() {
            left.extend(begun(under.remove(&Some(id)).unwrap_or_default(), depth + 1));
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_from_its_root_and_loops_end() {
        let piece = |id: &str, parent: &str| json!({ "id": id, "parent": parent, "what": id });
        let pieces = [piece("a", "client"), piece("b", "a"), piece("c", "b"), piece("d", "a"), piece("e", "e")];
        let alone = json!({ "what": "f" });
        let all: Vec<&Value> = pieces.iter().chain([&alone]).collect();
        let read: Vec<String> =
            in_order(&all).iter().map(|(depth, piece)| format!("{depth}{}", text(&piece["what"]))).collect();
        assert_eq!(read.join(" "), "0a 1b 2c 1d 0e 0f");
        let round = [piece("x", "y"), piece("y", "x")];
        assert!(in_order(&round.iter().collect::<Vec<_>>()).is_empty(), "what leads to itself ends");
    }

    #[test]
    fn a_waterfall_says_how_long_and_hostile_names_stay_text() {
        let call =
            json!({ "id": "1", "server": "<script>", "what": "t", "outcome": "ok", "start_ms": 5, "took_us": 2_500 });
        let shown = waterfall(vec![&call]).into_string();
        assert!(shown.contains("2.5 ms") && shown.contains("&lt;script&gt;") && !shown.contains("<script>"), "{shown}");
        assert!(waterfall(Vec::new()).into_string().contains("Nothing is kept"));
    }
}
