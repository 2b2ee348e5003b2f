//! Log lines: followed as they come, or as they stood at a moment; found by words, service, level, trace and time; grouped by what they say.
//!
//! All that narrows stands in the address. To pause is to look at what had been said until now (`?until=`): such a page stays as it is, and its
//! link shows others the same lines.

use maud::{Markup, html};
use serde_json::Value;

use super::service::words_of;
use super::traces;
use crate::dashboard::look::Look;
use crate::dashboard::page::Page;
use crate::dashboard::query::{Query, encoded};
use crate::dashboard::words::{self, items, shown, table, text};

/// Where it is.
pub const PATH: &str = "/ui/logs";
/// Where the lines are had as a file.
pub const DOWNLOAD_PATH: &str = "/ui/logs/download";
/// Lines of a page.
const LINES: usize = 200;
/// How many of the newest matching lines are grouped.
const SCANNED: usize = 5_000;
/// Longest text of a filter, in characters.
const TEXT_MAX: &str = "200";

/// The filters, as the address and the tools of `logging` both call them.
const FILTERS: [&str; 6] = ["text", "service", "level", "trace_id", "from", "until"];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The filters of an address as a tool's arguments.
pub fn filters(query: &Query) -> Value {
    let given = FILTERS.iter().filter_map(|name| Some(((*name).to_owned(), moment(name, query.get(name)?.trim()))));
    Value::Object(given.collect())
}

/// Times may be milliseconds, which are numbers.
fn moment(name: &str, text: &str) -> Value {
    let number = matches!(name, "from" | "until").then(|| text.parse::<i64>().ok()).flatten();
    number.map_or_else(|| text.into(), Into::into)
}

/// The address with one filter set, or taken away.
fn with(query: &Query, name: &str, value: Option<&str>) -> String {
    let kept = query.0.iter().filter(|(known, value)| known != name && known != "before" && !value.is_empty());
    let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
    let all = kept.chain(value.map(|value| (name, value)));
    let pairs: Vec<String> = all.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    if pairs.is_empty() { PATH.to_owned() } else { format!("{PATH}?{}", pairs.join("&")) }
}

/// The page.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let page = Page::new("Logs", PATH).still("filter", filter(&query));
    if query.get("show") == Some("patterns") {
        return page.still("patterns", patterns(look, &query).await);
    }
    let mut asked = filters(&query);
    asked["limit"] = LINES.into();
    let before = query.get("before").and_then(|before| before.parse::<u64>().ok());
    if let Some(before) = before {
        asked["before"] = before.into();
    }
    let found = look.read("logging", "search", asked).await;
    let stands = query.get("until").is_some() || before.is_some();
    let (head, lines) = (head(look, &query, stands), shown(&found, |found| lines(&query, found)));
    // Apart, because the moment at which it could be paused is another at every look, and the lines are mostly the same.
    if stands {
        page.still("follow", head).still("lines", lines)
    } else {
        page.live("follow", head).live("lines", lines)
    }
}

fn filter(query: &Query) -> Markup {
    let of = |name: &str| query.get(name).unwrap_or_default();
    let field = |name: &str, label: &str, hint: &str| {
        html! { label { (label) input type="text" name=(name) value=(of(name)) placeholder=(hint) maxlength=(TEXT_MAX) autocomplete="off"; } }
    };
    html! {
        form.filter action=(PATH) {
            @if query.get("show") == Some("patterns") { input type="hidden" name="show" value="patterns"; }
            (field("text", "Words", "all of them; \"a phrase\"; begin*"))
            (field("service", "Service", "any"))
            label { "Level" select name="level" {
                option value="" { "any" }
                @for level in LEVELS { option value=(level) selected[of("level") == level] { (level) " or graver" } }
            } }
            (field("trace_id", "Trace", "32 hexadecimal digits"))
            (field("from", "From", "-15m, or 2026-11-15T08:00:00Z"))
            (field("until", "Until", "now"))
            button { "Filter" }
            a href=(PATH) { "All lines" }
        }
    }
}

/// What can be done with what is shown.
fn head(look: &Look, query: &Query, stands: bool) -> Markup {
    let narrowed: Vec<(String, String)> =
        query.0.iter().filter(|(name, _)| FILTERS.contains(&&**name)).cloned().collect();
    let file = |format: &str| {
        let pairs = narrowed.iter().map(|(name, value)| format!("&{}={}", encoded(name), encoded(value)));
        format!("{DOWNLOAD_PATH}?format={format}{}", pairs.collect::<String>())
    };
    let now = look.now_ms.to_string();
    html! {
        p.acts {
            @if stands {
                b.fair { "◐ paused" } " " a href=(with(query, "until", None)) { "▶ Follow" }
            } @else {
                b.good { "● following" } " " a #pause href=(with(query, "until", Some(&now))) { "❚❚ Pause" }
            }
            " · " a href=(with(query, "show", Some("patterns"))) { "Patterns" }
            " · Download " a href=(file("ndjson")) download="lines.ndjson" { "NDJSON" } " " a href=(file("csv")) download="lines.csv" { "CSV" }
        }
    }
}

fn lines(query: &Query, found: &Value) -> Markup {
    if items(&found["lines"]).next().is_none() {
        return words::empty("No line is so. Take a filter away, or look further back: `From` takes -24h.");
    }
    html! {
        (words_of(&found["lines"]))
        @if let Some(next) = found["next"].as_u64() { p { a href=(with(query, "before", Some(&next.to_string()))) { "Older lines" } } }
    }
}

/// What is said most, without reading it all.
async fn patterns(look: &Look, query: &Query) -> Markup {
    let mut asked = filters(query);
    asked["scan"] = SCANNED.into();
    asked["limit"] = 50.into();
    let found = look.read("logging", "patterns", asked).await;
    html! {
        p.acts { a href=(with(query, "show", None)) { "Lines" } " · what follows is of the newest " (SCANNED) " lines that match; " a href=(look.here) { "look again" } }
        (shown(&found, |found| patterns_table(query, found)))
    }
}

fn patterns_table(query: &Query, found: &Value) -> Markup {
    let rows = items(&found["patterns"]).map(|pattern| {
        let services = pattern["services"].as_object().into_iter().flatten();
        let levels = pattern["levels"].as_object().into_iter().flatten();
        vec![
            html! { b { (text(&pattern["count"])) } },
            html! { code { (text(&pattern["template"])) } details { summary { "one of them" } (text(&pattern["example"])) } },
            html! { @for (level, count) in levels { span class=(level) { (level) } " " (text(count)) " " } },
            html! { @for (service, count) in services { a href=(with(query, "service", Some(service))) { (service) } " " (text(count)) " " } },
            words::when(&pattern["last_ms"]),
            html! { @for trace in items(&pattern["traces"]) { (traces::link(&text(trace))) " " } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("No line is so, so there is nothing to group.");
    }
    html! {
        p.dim { (text(&found["scanned"])) " lines looked at, " (text(&found["others"])) " of them in none of these patterns." }
        (table(&["lines", "what they have in common", "levels", "services", "newest", "traces"], rows))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_stand_in_the_address_and_go_to_the_tools() {
        let query = Query::of("text=a+b&level=warn&until=1700000000000&from=-15m&before=7&evil=%3Cx%3E&service=");
        let expected = json!({ "text": "a b", "level": "warn", "until": 1_700_000_000_000_i64, "from": "-15m" });
        assert_eq!(filters(&query), expected);
        assert_eq!(
            with(&query, "until", None),
            "/ui/logs?text=a%20b&level=warn&from=-15m&evil=%3Cx%3E",
            "the place of a page does not stay when the lines are others"
        );
        assert_eq!(with(&Query::default(), "until", Some("5")), "/ui/logs?until=5");
        assert_eq!(with(&Query::of("until=5"), "until", None), "/ui/logs");
    }
}
