//! The playground: any tool of the fleet by a form made from its JSON Schema, or by raw JSON, as whoever is signed in.

use std::time::Duration;

use kernel::Fault;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::traces;
use crate::dashboard::arguments::{PREFIX, choices, types_of};
use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::query::encoded;
use crate::dashboard::words::{self, items, outcome, shown, table, text};

/// Where it is.
pub const PATH: &str = "/ui/playground";
/// Where its forms go.
pub const CALL_PATH: &str = "/ui/playground-call";
/// Tools that a search shows.
const FOUND: usize = 50;
/// Calls of the history.
const PAST: usize = 20;
/// Rows of the audit trail that are looked through for them.
const LOOKED_THROUGH: usize = 500;
/// Longest arguments that a link of the history has, in bytes: an address has its limit, too.
const LINK_BYTES_MAX: usize = 2_048;

/// What a call came to.
pub struct Told {
    /// The answer, as it is shown.
    pub answer: Result<String, Fault>,
    /// Its trace; empty when nothing was called.
    pub trace: String,
    /// How long it took.
    pub took: Duration,
}

/// A tool's name as the server's and its own.
///
/// # Errors
/// When it is none.
pub fn split(name: &str) -> Result<(&str, &str), Fault> {
    name.split_once("__").filter(|(server, tool)| !server.is_empty() && !tool.is_empty()).ok_or_else(|| {
        Fault::not_found("no tool is called so")
            .hint("tools are named server__tool: the playground's search finds them")
    })
}

/// The page: `?q=` has the words by which a tool is found; without them every server's tools.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let sought = query.get("q").unwrap_or_default();
    let search = html! {
        form.filter action=(PATH) role="search" {
            label { "What do you want to do?" input type="text" name="q" value=(sought) maxlength="200" placeholder="balance of an account" autocomplete="off"; }
            button { "Find tools" }
        }
    };
    let page = Page::new("Playground", PATH).still("search-tools", search);
    if sought.is_empty() {
        let servers = look.read(COORDINATOR, "list_services", json!({})).await;
        return page.still(
            "servers",
            html! { h2 { "Every server's tools" } (shown(&servers, |all| by_server(&all["services"]))) },
        );
    }
    let found = look.read(COORDINATOR, "find_tools", json!({ "query": sought, "limit": FOUND })).await;
    page.still("found", html! { h2 { "Tools" } (shown(&found, found_tools)) })
}

fn tool_path(name: &str) -> String {
    format!("{PATH}/{}", encoded(name))
}

fn by_server(all: &Value) -> Markup {
    let link =
        |server: &str, tool: &str| html! { a href=(tool_path(&format!("{server}__{tool}"))) { code { (tool) } } };
    html! { @for server in items(all).filter(|server| items(&server["tools"]).next().is_some()) {
        @let name = text(&server["name"]);
        details { summary { b { (name) } " " span.dim { (items(&server["tools"]).count()) " tools: " (text(&server["about"])) } }
            ul.tags { @for tool in items(&server["tools"]) { li { (link(&name, &text(tool))) } } }
        }
    } }
}

fn found_tools(found: &Value) -> Markup {
    let rows = items(&found["tools"]).map(|tool| {
        let name = text(&tool["name"]);
        vec![
            html! { a href=(tool_path(&name)) { code { (name) } } },
            html! { (text(&tool["description"])) },
            html! { code { (text(&tool["parameters"])) } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty(
            "No tool that you may use does that. Other words, or an API key with another role, may find one.",
        );
    }
    table(&["tool", "what it does", "what it takes"], rows)
}

/// One tool; `?args=` fills its form with arguments as JSON.
///
/// # Errors
/// When there is no such tool for this caller.
pub async fn tool(look: &Look, name: &str) -> Result<Page, Fault> {
    let query = look.query();
    let given = query.get("args").and_then(|args| serde_json::from_str(args).ok()).unwrap_or_else(|| json!({}));
    built(look, name, given, None).await
}

/// The same with what a call came to.
///
/// # Errors
/// When there is no such tool for this caller.
pub async fn told(look: &Look, name: &str, given: Value, told: Told) -> Result<Page, Fault> {
    built(look, name, given, Some(told)).await
}

async fn built(look: &Look, name: &str, given: Value, told: Option<Told>) -> Result<Page, Fault> {
    let (server, _) = split(name)?;
    let own = json!({ "caller": look.caller().name, "server": server, "limit": LOOKED_THROUGH });
    let (described, past) = tokio::join!(
        look.read(COORDINATOR, "describe_tool", json!({ "name": name })),
        look.read(COORDINATOR, "list_audit", own),
    );
    // A call that nobody may make is told of all the same: by its own refusal.
    let described = match (described, &told) {
        (Ok(described), _) => described,
        (Err(_), Some(Told { answer: Err(fault), .. })) => return Err(fault.clone()),
        (Err(fault), _) => return Err(fault),
    };
    let mut page = Page::new(name, PATH).still("about", about(look, name, &described));
    if let Some(told) = &told {
        page = page.still("answer", answered(told));
        // What was no JSON is no call.
        if !given.is_string() {
            page = page.still("copy", copies(name, &given));
        }
    }
    let schema = &described["definition"]["inputSchema"];
    Ok(page
        .still("form", html! { h2 { "Call it" } (form(look, name, schema, &given, &described)) })
        .still(
            "raw",
            html! { details open[given.is_string()] { summary { "Raw JSON" } (raw(look, name, &given, &described)) } },
        )
        .live("past", html! { h2 { "Your newest calls of it" } (shown(&past, |past| history(name, past))) })
        .still("schema", html! { details { summary { "Its schemas" } pre { (pretty(&described["definition"])) } } }))
}

fn about(look: &Look, name: &str, described: &Value) -> Markup {
    let definition = &described["definition"];
    html! {
        p { (badge(described)) " " (text(&definition["description"])) }
        p.dim { "of " b { (text(&described["server"])) } ", needs " b { (text(&described["access"])) } ", called as " b { (look.caller().name) } " (" (look.caller().role) ")"
            @if let Ok((server, tool)) = split(name) { @if let Err(why) = look.may(server, tool) { " " span.bad { "⊘ " (why) } } }
        }
    }
}

/// How dangerous a tool is: by what it asks of its caller, which is the fleet's own word, and then by what it says of itself.
fn badge(described: &Value) -> Markup {
    let hints = &described["definition"]["annotations"];
    let destroys = hints["destructiveHint"] == true;
    let (tone, sign, word) = match described["access"].as_str() {
        Some("read") => ("good", "●", "only looks"),
        Some("trade") => ("bad", "■", "moves or risks funds"),
        Some("admin") => ("bad", "■", "changes who may do what, or what the fleet trusts"),
        _ if destroys => ("bad", "■", "may take something away"),
        _ => ("fair", "▲", "changes something"),
    };
    html! { span.badge.(tone) { (sign) " " (word) } @if hints["openWorldHint"] == true { " " span.badge.dim { "○ reaches outside of the fleet" } } }
}

/// Whether a call must be confirmed.
fn changes(described: &Value) -> bool {
    described["access"] != "read"
}

fn send(look: &Look, name: &str, described: &Value, fields: &Markup) -> Markup {
    let may = split(name).map_err(|fault| fault.message).and_then(|(server, tool)| look.may(server, tool));
    if let Err(why) = may {
        return html! { p.barred { "⊘ Call it: " (why) } };
    }
    let grave = changes(described);
    html! {
        form.tall method="post" action=(CALL_PATH) {
            (words::token(look))
            input type="hidden" name="name" value=(name);
            (fields)
            @if grave { label.tick { input type="checkbox" name="sure" value="1" required; " do it" } }
            div { button.grave[grave] { "Call " (name) } }
        }
    }
}

fn form(look: &Look, name: &str, schema: &Value, given: &Value, described: &Value) -> Markup {
    let required: Vec<&str> = items(&schema["required"]).filter_map(Value::as_str).collect();
    let mut all: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
    // What must be given first.
    all.sort_by_key(|(name, _)| !required.contains(&name.as_str()));
    let fields = html! {
        @if all.is_empty() { (words::empty("It takes nothing.")) }
        @for (field_name, property) in all { (field(schema, (field_name.as_str(), property), given.get(field_name), required.contains(&field_name.as_str()))) }
    };
    send(look, name, described, &fields)
}

fn field(schema: &Value, (name, property): (&str, &Value), given: Option<&Value>, required: bool) -> Markup {
    let types = types_of(schema, property);
    let takes = |kind: &str| types.contains(&kind);
    let (named, value) = (format!("{PREFIX}{name}"), given.map(as_typed).unwrap_or_default());
    let offered = choices(schema, property);
    let hint = match &property["default"] {
        Value::Null => String::new(),
        default => format!("{default} when left out"),
    };
    html! {
        label {
            span { b { (name) } @if required { " " span.fair { "✱ needed" } } " " span.dim { (types.iter().filter(|kind| **kind != "null").copied().collect::<Vec<_>>().join(" or ")) } }
            @if let Some(about) = property["description"].as_str() { span.dim { (about) } }
            @if !offered.is_empty() && !takes("array") {
                select name=(named) required[required] {
                    option value="" { "–" }
                    @for one in &offered { option value=(one) selected[*one == value] { (one) } }
                }
            } @else if takes("boolean") && types.iter().all(|kind| matches!(*kind, "boolean" | "null")) {
                select name=(named) required[required] {
                    option value="" { "–" }
                    @for one in ["true", "false"] { option value=(one) selected[one == value] { (one) } }
                }
            } @else if takes("object") || takes("array") || types.is_empty() {
                textarea name=(named) rows="3" spellcheck="false" required[required] placeholder=(if takes("array") { "JSON, or one a line" } else { "JSON" }) { (value) }
            } @else if takes("string") && value.contains('\n') {
                textarea name=(named) rows="5" spellcheck="false" required[required] { (value) }
            } @else {
                input type="text" name=(named) value=(value) placeholder=(hint) required[required] inputmode=[(!takes("string")).then_some("decimal")] autocomplete="off" spellcheck="false";
            }
        }
    }
}

/// A value as it would be typed.
fn as_typed(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => pretty(value),
        other => text(other),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn raw(look: &Look, name: &str, given: &Value, described: &Value) -> Markup {
    // What was no JSON comes back as it was typed.
    let typed = given.as_str().map_or_else(|| pretty(given), ToOwned::to_owned);
    send(
        look,
        name,
        described,
        &html! { label { "Arguments" textarea name="raw" rows="8" spellcheck="false" required { (typed) } } },
    )
}

fn answered(told: &Told) -> Markup {
    html! {
        h2 { "Answer" }
        @match &told.answer {
            Ok(answer) => {
                p { b.good { "✔ ok" } " in " (words::latency(told.took.as_secs_f64())) ", trace " (traces::link(&told.trace)) }
                pre #answer-text tabindex="0" { (answer) }
            }
            Err(fault) => {
                (words::trouble(fault))
                @if !told.trace.is_empty() { p { "after " (words::latency(told.took.as_secs_f64())) ", trace " (traces::link(&told.trace)) } }
            }
        }
    }
}

/// The same call from elsewhere.
fn copies(name: &str, given: &Value) -> Markup {
    let all = [("curl", curl(name, given)), ("command line", cli(name, given)), ("Python SDK", python(name, given))];
    html! {
        h2 { "The same call from elsewhere" }
        p.dim { "Its key is yours to fill in: " code { "FLOTILLA_TOKEN" } "." }
        @for (place, (how, text)) in all.iter().enumerate() {
            details { summary { (how) } pre id={ "copy-" (place) } { (text) } button.quiet type="button" hidden data-copy={ "copy-" (place) } { "Copy" } }
        }
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn curl(name: &str, given: &Value) -> String {
    let version = mcp::Revision::CURRENT.as_str();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "curl", "version": "1" },
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": given, "_meta": meta } });
    let headers = [
        "content-type: application/json".to_owned(),
        "accept: application/json, text/event-stream".to_owned(),
        format!("mcp-protocol-version: {version}"),
        "mcp-method: tools/call".to_owned(),
        format!("mcp-name: {name}"),
    ];
    let headers: String = headers.iter().map(|header| format!(" \\\n  -H {}", quoted(header))).collect();
    format!(
        "curl -sS \"${{FLOTILLA_URL:-http://127.0.0.1:4000}}/mcp\" \\\n  -H \"authorization: Bearer $FLOTILLA_TOKEN\"{headers} \\\n  -d {}",
        quoted(&body.to_string())
    )
}

fn cli(name: &str, given: &Value) -> String {
    format!("flotilla tool call {} --args {}", quoted(name), quoted(&given.to_string()))
}

fn python(name: &str, given: &Value) -> String {
    let (server, tool) = name.split_once("__").unwrap_or(("", name));
    let text = |text: &str| Value::from(text).to_string();
    format!("await self.call_tool({}, {}, {})", text(server), text(tool), literal(given))
}

/// JSON as Python writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(all) => format!("[{}]", all.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(all) => {
            let pairs = all.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), literal(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn history(name: &str, past: &Value) -> Markup {
    let tool = name.split_once("__").map_or(name, |(_, tool)| tool);
    let rows = items(&past["rows"]).filter(|row| row["action"] == tool).take(PAST).map(|row| {
        let arguments = text(&row["arguments"]);
        // What was cut, or masked, is no longer what was given.
        let whole = serde_json::from_str::<Value>(&arguments).is_ok() && !arguments.contains(kernel::mask::MASK);
        let again = (whole && arguments.len() <= LINK_BYTES_MAX)
            .then(|| format!("{}?args={}", tool_path(name), encoded(&arguments)));
        vec![
            words::when(&row["at_ms"]),
            html! { code { (arguments.chars().take(200).collect::<String>()) } },
            outcome(&text(&row["outcome"])),
            traces::link(&text(&row["trace_id"])),
            html! { @if let Some(again) = again { a href=(again) { "fill in" } } @else { "–" } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("None yet.");
    }
    table(&["when", "arguments", "outcome", "trace", ""], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_copied_as_one_word_whatever_is_in_it() {
        let given = json!({ "a": "it's <b>$(x)`y`", "n": [1, true, null] });
        assert_eq!(
            cli("utilities__hash", &given),
            "flotilla tool call 'utilities__hash' --args '{\"a\":\"it'\\''s <b>$(x)`y`\",\"n\":[1,true,null]}'"
        );
        assert_eq!(
            python("utilities__hash", &given),
            "await self.call_tool(\"utilities\", \"hash\", {\"a\": \"it's <b>$(x)`y`\", \"n\": [1, True, None]})"
        );
        assert!(curl("x__y", &given).contains("it'\\''s"));
    }

    #[test]
    fn a_form_is_what_the_schema_says_and_hostile_schemas_stay_text() {
        let hostile = "\"><script>alert(1)</script>";
        let schema = json!({ "$defs": { "L": { "oneOf": [{ "const": "warn" }, { "const": hostile }] } } });
        let made =
            |property: Value, given: Option<&Value>| field(&schema, (hostile, &property), given, true).into_string();
        let made = [
            made(json!({ "$ref": "#/$defs/L", "description": hostile }), Some(&json!("warn"))),
            made(json!({ "type": "boolean" }), Some(&json!(true))),
            made(json!({ "type": "object" }), Some(&json!({ "x": hostile }))),
            made(json!({ "type": "integer", "default": 5 }), None),
        ];
        assert!(made.iter().all(|html| !html.contains("<script")), "{made:?}");
        assert!(made[0].contains("<option value=\"warn\" selected>"), "{}", made[0]);
        assert!(made[1].contains("<option value=\"true\" selected>"), "{}", made[1]);
        assert!(made[2].contains("<textarea") && made[3].contains("5 when left out"), "{made:?}");
    }

    #[test]
    fn a_badge_says_in_words_how_grave_a_tool_is() {
        let told = |access: &str, destroys: bool| {
            badge(&json!({ "access": access, "definition": { "annotations": { "destructiveHint": destroys } } }))
                .into_string()
        };
        assert!(told("read", true).contains("only looks"), "the fleet's own word counts");
        assert!(told("operate", false).contains("changes something"));
        assert!(told("operate", true).contains("may take something away"));
        assert!(told("trade", false).contains("moves or risks funds"));
    }
    #[test]
    fn a_name_is_two() {
        assert_eq!(split("a-b__c__d").unwrap(), ("a-b", "c__d"));
        assert!(split("x").is_err() && split("__x").is_err() && split("x__").is_err());
    }
}
