//! Keys and their last use, what each role may do, and the configuration in effect with where each value came from. Secrets are masked by the tool.

use kernel::{Access, Role};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::look::{COORDINATOR, Look};
use crate::dashboard::page::Page;
use crate::dashboard::words::{self, items, shown, table, text};

/// Where it is.
pub const PATH: &str = "/ui/settings";

/// What a tool may ask of its caller, and what that means.
const ACCESS: [(Access, &str, &str); 4] = [
    (Access::Read, "read", "looks, changes nothing"),
    (Access::Operate, "operate", "restarts, messages, alerts, keys and values"),
    (Access::Trade, "trade", "moves or risks funds"),
    (Access::Admin, "admin", "changes who may do what, or what the fleet trusts"),
];

/// The page. `?q=` narrows the configuration by key.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let sought = query.get("q").unwrap_or_default().to_lowercase();
    let set_only = query.get("set") == Some("1");
    let settings = look.read(COORDINATOR, "effective_config", json!({})).await;
    let filter = html! {
        form.filter action=(PATH) {
            label { "Key of the configuration" input type="text" name="q" value=(sought) maxlength="100" autocomplete="off"; }
            label.tick { input type="checkbox" name="set" value="1" checked[set_only]; " only what is set" }
            button { "Filter" }
        }
    };
    Page::new("Settings", PATH)
        .still("roles", html! { h2 { "Roles" } (roles(look)) })
        .still("keys-of-callers", html! { h2 { "API keys" } (shown(&settings, keys)) })
        .still("filter", filter)
        .still(
            "configuration",
            html! { h2 { "Configuration in effect" } (shown(&settings, |all| configuration(all, &sought, set_only))) },
        )
}

fn roles(look: &Look) -> Markup {
    let named = ["execution", "monitoring"].map(|name| Role::Agent(name.into()));
    let all = [Role::Viewer, Role::Operator, Role::Trader, Role::Admin].into_iter().chain(named);
    let rows = all.map(|role| {
        let mut cells = vec![html! { b { (role) } @if look.caller().role == role { " " span.dim { "(yours)" } } }];
        cells.extend(ACCESS.map(
            |(access, ..)| html! { @if role.allows(access) { span.good { "✔ yes" } } @else { span.dim { "✘ no" } } },
        ));
        cells
    });
    html! {
        (table(&["role", "read", "operate", "trade", "admin"], rows.collect()))
        dl.facts { @for (_, name, about) in ACCESS { div { dt { (name) } dd { (about) } } } }
        p.dim { "Other agents may do what " code { "agent:monitoring" } " may. A task is done within the rights of its submitter." }
    }
}

fn keys(all: &Value) -> Markup {
    let rows = items(&all["keys"]).map(|key| {
        vec![
            html! { b { (text(&key["name"])) } },
            html! { (text(&key["role"])) },
            words::when(&key["created_ms"]),
            html! { @if key["last_used_ms"].is_null() { "never" } @else { (words::when(&key["last_used_ms"])) } },
            html! { @if key["expires_ms"].is_null() { "–" } @else { (words::when(&key["expires_ms"])) } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    html! {
        @if rows.is_empty() { (words::empty("There is none: `flotilla token create NAME --role ROLE` makes one.")) }
        @else { (table(&["key", "role", "made", "last used (to the minute)", "ends"], rows)) }
        p.dim { code { "flotilla token create NAME --role ROLE" } " makes a key and shows it once; " code { "flotilla token revoke NAME" } " ends one within a second." }
    }
}

fn configuration(all: &Value, sought: &str, set_only: bool) -> Markup {
    let wanted =
        |row: &&Value| text(&row["key"]).to_lowercase().contains(sought) && !(set_only && row["origin"] == "default");
    let rows = items(&all["configuration"]).filter(wanted).map(|row| {
        let is_default = row["origin"] == "default";
        vec![
            html! { code { (text(&row["key"])) } },
            html! { code { (text(&row["value"])) } },
            html! { @if is_default { span.dim { "default" } } @else { b { (text(&row["origin"])) } } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("No key is so.");
    }
    html! {
        p.dim { "Of the coordinator's process, as it was started. " code { "flotilla config explain KEY" } " says what a key means." }
        (table(&["key", "value", "from"], rows))
    }
}
