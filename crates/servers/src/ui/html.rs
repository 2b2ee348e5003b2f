//! A page as one HTML document that needs nothing else: no host is asked for anything, and whatever the data says, it is text.
//!
//! It is an interactive view of MCP Apps: in a chat client its script takes what the tool answered and can ask for it anew; everywhere else the
//! page stands as it was made. The script puts nothing into the page but what this module has escaped.

use std::fmt::Write;

use serde_json::{Value, json};

use super::page::{Body, Figure, Page, Table, Tone, utc};
use super::svg::{COMMON, Dress, escaped, rules, svg};

/// What interactive views are, for clients.
pub(super) const MIME: &str = "text/html;profile=mcp-app";
/// Under which key a tool's answer carries what its view shows.
pub(super) const HTML_META: &str = "flotilla/html";
/// The size of a chart in a page, in pixels.
const CHART: (u32, u32) = (640, 260);

const STYLE: &str = include_str!("view.css");
const SCRIPT: &str = include_str!("view.js");

/// What a view may reach, as MCP Apps say it: nothing.
pub(super) fn meta() -> Value {
    let none: [&str; 0] = [];
    let csp = json!({ "connectDomains": none, "resourceDomains": none, "frameDomains": none, "baseUriDomains": none });
    json!({ "ui": { "csp": csp, "prefersBorder": true } })
}

/// The document; without a page it waits for what its tool answers.
pub(super) fn document(page: Option<&Page>) -> String {
    let title = page.map_or("Flotilla", |page| page.title.as_str());
    let main = page.map_or_else(|| r#"<p class="dim">Waiting for what the fleet says.</p>"#.to_owned(), content);
    // What runs and what dresses is in the page; nothing is loaded, sent, framed or posted anywhere.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"><title>{}</title><style>{}</style></head>\
         <body><header><button id=\"again\" hidden>Refresh</button> <span id=\"said\" role=\"status\"></span></header>\
         <main id=\"view\">{main}</main><script>{SCRIPT}</script></body></html>\n",
        escaped(title),
        style(),
    )
}

/// The rules: light, and dark where the client or the system is.
fn style() -> String {
    let (light, dark) = (rules(false), rules(true));
    let dark_root = dark.replace("svg .", ":root[data-theme=dark] svg .");
    let light_root = light.replace("svg .", ":root[data-theme=light] svg .");
    format!("{STYLE}{COMMON}{light}@media (prefers-color-scheme:dark){{{dark}}}{light_root}{dark_root}")
}

/// What the page says, as it stands in the document.
pub(super) fn content(page: &Page) -> String {
    let mut out = format!("<h1>{}</h1><p class=\"dim\">as of {}</p>", escaped(&page.title), utc(page.made_ms));
    for section in &page.sections {
        // Writing to a string cannot fail.
        write!(out, "<section><h2>{}</h2>", escaped(&section.title)).ok();
        match &section.body {
            Body::Figures(figures) => figures_in(&mut out, figures),
            Body::Table(table) => table_in(&mut out, table),
            Body::Chart(chart) => {
                write!(out, "<figure>{}</figure>", svg(&chart.scene(CHART.0, CHART.1), Dress::Page)).ok();
            }
            Body::Text(text) => {
                write!(out, "<p class=\"text\">{}</p>", escaped(text)).ok();
            }
            Body::Untold(why) => {
                write!(out, "<p class=\"bad\">▲ Cannot be told: {}</p>", escaped(why)).ok();
            }
        }
        out.push_str("</section>");
    }
    out
}

fn figures_in(out: &mut String, figures: &[Figure]) {
    out.push_str("<ul class=\"figures\">");
    for Figure { name, value, note, tone } in figures {
        let (name, value, note) = (escaped(name), escaped(value), escaped(note));
        let (mark, class) = (tone.mark(), tone.word());
        write!(out, "<li class=\"{class}\"><span class=\"dim\">{name}</span> <b>{mark}{value}</b> <span class=\"dim\">{note}</span></li>")
            .ok();
    }
    out.push_str("</ul>");
}

fn table_in(out: &mut String, table: &Table) {
    if table.rows.is_empty() {
        write!(out, "<p class=\"dim\">{}</p>", escaped(&table.empty)).ok();
        return;
    }
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in &table.columns {
        write!(out, "<th scope=\"col\">{}</th>", escaped(column)).ok();
    }
    out.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        out.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let stands = table.columns.get(at).is_some_and(|column| column == "state");
            let tone = if stands { Tone::of(cell) } else { Tone::Plain };
            write!(out, "<td class=\"{}\">{}{}</td>", tone.word(), tone.mark(), escaped(cell)).ok();
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    if table.omitted > 0 {
        write!(out, "<p class=\"dim\">and {} more</p>", table.omitted).ok();
    }
}

impl Page {
    /// The page as an HTML document.
    pub fn html(&self) -> String {
        document(Some(self))
    }
}
