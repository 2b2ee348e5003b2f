//! The audit trail: who called what with which arguments, how it ended, and whether the chain of hashes holds.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::traces;
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::{Query, encoded};
use crate::dashboard::words::{self, items, outcome, shown, table, text};

/// Where it is.
pub const PATH: &str = "/ui/audit";
/// Where rows are had as a file.
pub const DOWNLOAD_PATH: &str = "/ui/audit/download";
/// Rows of one file.
pub const FILE_ROWS: usize = 1_000;
/// Rows of a page.
const ROWS: usize = 100;
/// A trail of at most so many rows is proved by itself when the page is loaded; a longer one when somebody asks.
const PROVED_MAX: u64 = 20_000;

const FILTERS: [&str; 4] = ["caller", "server", "outcome", "trace_id"];

/// The filters of an address as `list_audit` takes them.
pub fn filters(query: &Query) -> Value {
    let given = FILTERS.iter().filter_map(|name| Some(((*name).to_owned(), query.get(name)?.trim().into())));
    let mut all = Value::Object(given.collect());
    if let Some(before) = query.get("before").and_then(|before| before.parse::<u64>().ok()) {
        all["before"] = before.into();
    }
    all
}

/// The page.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let mut asked = filters(&query);
    asked["limit"] = ROWS.into();
    let older = query.get("before").is_some();
    let (found, newest) = tokio::join!(
        look.read(COORDINATOR, "list_audit", asked),
        look.read(COORDINATOR, "list_audit", json!({ "limit": 1 })),
    );
    let length = newest.ok().and_then(|newest| newest["rows"][0]["seq"].as_u64()).unwrap_or(0);
    let page = Page::new("Audit", PATH)
        .still("filter", filter(&query))
        .still("chain", chain(look, length, query.get("verify") == Some("1")).await);
    let rows = html! { h2 { "Calls" } (downloads(&query)) (shown(&found, |found| rows(&query, found))) };
    if older { page.still("rows", rows) } else { page.live("rows", rows) }
}

fn filter(query: &Query) -> Markup {
    let of = |name: &str| query.get(name).unwrap_or_default();
    html! {
        form.filter action=(PATH) {
            @for (name, label) in [("caller", "Caller"), ("server", "Server"), ("outcome", "Outcome"), ("trace_id", "Trace")] {
                label { (label) input type="text" name=(name) value=(of(name)) maxlength="100" autocomplete="off"; }
            }
            button { "Filter" }
            a href=(PATH) { "All calls" }
        }
    }
}

/// Whether the trail is whole, as of when the page was loaded.
async fn chain(look: &Look, length: u64, asked: bool) -> Markup {
    if let Err(why) = look.may(COORDINATOR, "verify_audit") {
        return html! { h2 { "Chain of hashes" } p.barred { "⊘ Verify: " (why) } };
    }
    if !asked && length > PROVED_MAX {
        return html! {
            h2 { "Chain of hashes" }
            p { "○ not verified yet: the trail has " (length) " rows. " a href={ (PATH) "?verify=1" } { "Verify it now" } }
        };
    }
    let verdict = look.read(COORDINATOR, "verify_audit", json!({})).await;
    html! {
        h2 { "Chain of hashes" }
        (shown(&verdict, |verdict| html! {
            @match verdict["broken_at"].as_u64() {
                None => { p { b.good { "✔ verified" } " " (text(&verdict["rows"])) " rows, " (words::moment(look.now_ms)) ", head " code { (text(&verdict["head"])) } } }
                Some(seq) => { p.trouble { b { "■ broken at row " (seq) } ": " (text(&verdict["reason"])) } }
            }
        }))
        p.dim { "Note the head elsewhere: with it a trail that was cut is found out." }
    }
}

fn downloads(query: &Query) -> Markup {
    let pairs = query.0.iter().filter(|(name, _)| FILTERS.contains(&&**name));
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    html! { p.acts { "Export " a href={ (DOWNLOAD_PATH) "?" (pairs.join("&")) } download="audit.ndjson" { "NDJSON" } span.dim { " (the newest " (FILE_ROWS) " that match)" } } }
}

fn rows(query: &Query, found: &Value) -> Markup {
    let cells = items(&found["rows"]).map(|row| {
        let arguments = text(&row["arguments"]);
        vec![
            html! { (text(&row["seq"])) },
            words::when(&row["at_ms"]),
            html! { b { (text(&row["caller"])) } " " span.dim { (text(&row["role"])) } },
            html! { b { (text(&row["server"])) } "." (text(&row["action"])) },
            html! { details { summary { code { (kernel::ids::digest(arguments.as_bytes())) } } pre { (arguments) } } },
            outcome(&text(&row["outcome"])),
            html! { (words::latency(row["took_us"].as_f64().unwrap_or(f64::NAN) / 1e6)) },
            html! { details { summary { code { (start(&row["hash"])) } } "row " code { (text(&row["hash"])) } br; "result " code { (text(&row["result_sha256"])) } } },
            traces::link(&text(&row["trace_id"])),
        ]
    });
    let cells: Vec<_> = cells.collect();
    if cells.is_empty() {
        return words::empty(
            "No call is so. What is recorded is what anybody does; what pages and agents look at over and over is counted only.",
        );
    }
    let kept = query.0.iter().filter(|(name, value)| FILTERS.contains(&&**name) && !value.is_empty());
    let kept: String = kept.map(|(name, value)| format!("{}={}&", encoded(name), encoded(value))).collect();
    html! {
        (table(&["row", "ended", "actor", "action", "arguments", "result", "took", "hash", "trace"], cells))
        @if let Some(next) = found["next"].as_u64() { p { a href={ (PATH) "?" (kept) "before=" (next) } { "Older calls" } } }
    }
}

fn start(hash: &Value) -> String {
    text(hash).chars().take(12).collect()
}
