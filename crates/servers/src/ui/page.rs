//! A page: what a view or a report says, as data. It is JSON as it is, and HTML or Markdown when somebody wants to read it.

use kernel::UnixMs;
use mcp::prelude::*;
use serde_json::Value;

use super::chart::Chart;

/// Most sections of a page.
pub(super) const SECTIONS_MAX: usize = 24;
/// Most rows of a table; how many more there are is said.
pub(super) const ROWS_MAX: usize = 60;
/// Longest text in a cell or a figure, in characters.
const CELL_CHARS_MAX: usize = 400;

/// A page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The view that it is, `layout:NAME` of a layout, or `report:NAME`.
    pub view: String,
    /// What it is, for people.
    pub title: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_ms: UnixMs,
    /// What it says.
    pub sections: Vec<Section>,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// Its name in the page.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// What it says.
    pub body: Body,
}

/// What a section says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A few figures.
    Figures(Vec<Figure>),
    /// A table.
    Table(Table),
    /// A chart.
    Chart(Chart),
    /// A text.
    Text(String),
    /// Why it cannot be told.
    Untold(String),
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// What stands in its columns. Under `state` are words that people know: healthy, down, firing.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
    /// How many more rows there are.
    #[serde(default)]
    pub omitted: usize,
    /// What it says when it has none.
    #[serde(default)]
    pub empty: String,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Of what.
    pub name: String,
    /// The figure.
    pub value: String,
    /// What belongs to it.
    pub note: String,
    /// How it stands.
    pub tone: Tone,
}

/// How something stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Fair,
    /// Wrong.
    Bad,
}

impl Tone {
    /// How a word that a service, an alert or a task stands by is to be taken.
    pub fn of(word: &str) -> Self {
        match word {
            "healthy" | "alive" | "done" | "ok" | "resolved" | "ACTIVE" | "running" => Self::Good,
            "degraded" | "changing" | "warning" | "acknowledged" | "waiting" | "REDUCING" | "pending" => Self::Fair,
            "down" | "critical" | "firing" | "dead" | "failed" | "open" | "HALTED" | "faulted" => Self::Bad,
            _ => Self::Plain,
        }
    }

    /// Its mark: not by colour alone.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "● ",
            Self::Fair => "▲ ",
            Self::Bad => "■ ",
        }
    }

    /// In lower case.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Bad => "bad",
        }
    }
}

impl Figure {
    /// A figure that stands as it stands.
    pub fn new(name: &str, value: impl Into<String>, note: impl Into<String>, tone: Tone) -> Self {
        Self { name: name.into(), value: cell(&value.into()), note: cell(&note.into()), tone }
    }
}

/// A text as a cell holds it.
pub fn cell(text: &str) -> String {
    let mut kept: String = text.chars().take(CELL_CHARS_MAX).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

/// A value of JSON as a cell shows it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => cell(text),
        other => cell(&other.to_string()),
    }
}

impl Table {
    /// A table of these rows; those past [`ROWS_MAX`] are counted.
    pub fn of(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>, empty: &str) -> Self {
        let mut rows: Vec<Vec<String>> = rows.into_iter().collect();
        let omitted = rows.len().saturating_sub(ROWS_MAX);
        rows.truncate(ROWS_MAX);
        Self { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows, omitted, empty: empty.into() }
    }
}

impl Section {
    /// A section.
    pub fn new(name: &str, title: &str, body: Body) -> Self {
        Self { name: name.into(), title: title.into(), body }
    }

    /// A section of an answer, or why there is none.
    pub fn told<T>(name: &str, title: &str, answer: &Result<T, Fault>, body: impl FnOnce(&T) -> Body) -> Self {
        Self::new(name, title, answer.as_ref().map_or_else(|fault| Body::Untold(cell(&fault.to_string())), body))
    }
}

impl Page {
    /// The page as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n{}\n", inline(&self.title), utc(self.made_ms));
        for section in &self.sections {
            out.push_str(&format!("\n## {}\n\n", inline(&section.title)));
            match &section.body {
                Body::Figures(figures) => {
                    for Figure { name, value, note, tone } in figures {
                        let note = if note.is_empty() { String::new() } else { format!(" ({})", inline(note)) };
                        out.push_str(&format!("- {}**{}**: {}{note}\n", tone.mark(), inline(name), inline(value)));
                    }
                }
                Body::Table(table) => table_in(&mut out, table),
                Body::Chart(chart) => {
                    chart.words().lines().skip(1).for_each(|line| out.push_str(&format!("- {}\n", inline(line))));
                }
                Body::Text(text) => out.push_str(&format!("{}\n", inline(text))),
                Body::Untold(why) => out.push_str(&format!("Cannot be told: {}\n", inline(why))),
            }
        }
        out
    }
}

/// A time as people read it, in UTC.
pub fn utc(at_ms: UnixMs) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms);
    at.map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A time as documents write it (RFC 3339), in UTC.
pub fn rfc3339(at_ms: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| String::new(), |at| at.to_string())
}

/// Foreign text in Markdown: on one line, and without markup.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' | '>' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn table_in(out: &mut String, table: &Table) {
    if table.rows.is_empty() {
        out.push_str(&format!("{}\n", inline(&table.empty)));
        return;
    }
    let line =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| inline(cell)).collect::<Vec<_>>().join(" | "));
    out.push_str(&line(&table.columns));
    out.push_str(&format!("|{}\n", " --- |".repeat(table.columns.len())));
    table.rows.iter().for_each(|row| out.push_str(&line(row)));
    if table.omitted > 0 {
        out.push_str(&format!("\nand {} more\n", table.omitted));
    }
}
