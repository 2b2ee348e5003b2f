//! Pages that show and do nothing: the coordinator's index, and REST to browse. The dashboard is in [`crate::dashboard`].

use maud::{DOCTYPE, html};

/// Nothing runs on our pages, and nothing is loaded from elsewhere.
pub const CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One style for all pages, light and dark.
pub const STYLE: &str = "
:root { color-scheme: light dark; --edge: #8884; --dim: #888; --ok: #197a3e; --warn: #9a6700; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ok: #5bd68a; --warn: #e3b341; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--edge); }
th { color: var(--dim); font-weight: 600; } code { font-family: ui-monospace, monospace; }
.healthy { color: var(--ok); } .degraded, .starting, .stopping { color: var(--warn); } .down, .failed { color: var(--bad); }
.strip { display: flex; flex-wrap: wrap; gap: 1.5rem; } .strip div b { display: block; font-size: 1.3rem; }
.wide { overflow-x: auto; } .notice { border-left: 4px solid var(--warn); padding: .3rem .8rem; }
";

/// `/` of the coordinator: a short list of what is there.
pub fn index() -> String {
    let rows = [
        ("/mcp", "the whole fleet as one MCP endpoint"),
        ("/mcp/{server}", "one server or upstream"),
        ("/mcp?toolset=NAME", "a named part of the tools"),
        ("/mcp?mode=search", "three tools that find and call all others"),
        ("/status", "the system's state"),
        ("/servers", "every MCP server"),
        ("/agents", "every agent"),
        ("/upstreams", "every third party's server"),
        ("/health", "health of the coordinator"),
        ("/metrics", "figures for Prometheus"),
        ("/events", "events as they come (SSE)"),
        ("/docs", "all of REST; /openapi.json for machines"),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Flotilla coordinator" } style { (STYLE) } }
            body {
                h1 { "Flotilla coordinator" }
                table { tbody { @for (path, what) in rows { tr { td { code { (path) } } td { (what) } } } } }
            }
        }
    }
    .into_string()
}
