//! Layouts: what somebody wants to see together, kept under their own name.

use kernel::store::{Store, Write};
use kernel::{Caller, Clock, Result, UnixMs};
use mcp::prelude::*;

use super::chart::{Chart, ChartKind, check_query};
use super::look::Look;
use super::page::{Body, Page, SECTIONS_MAX, Section};
use super::{Ui, views};
use crate::monitoring::QueryRangeRequest;

/// Where they are kept in the store: `CALLER/NAME`.
const SPACE: &str = "ui_layouts";
/// Most layouts of one caller, and most of all.
const OWN_MAX: usize = 20;
const ALL_MAX: usize = 900;
/// Most parts of one.
const PARTS_MAX: usize = 12;
/// Longest name, in bytes, and longest title, in characters.
const NAME_BYTES_MAX: usize = 40;
const TITLE_CHARS_MAX: usize = 120;

/// A part of a layout: sections of a view, or a chart of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Part {
    /// A view, as list_views names it; instead of `query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Which of its sections, by name; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<String>,
    /// PromQL whose last hour is drawn; instead of `view`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What the chart is called, at most 120 characters.
    pub title: String,
    /// What its figures are in.
    pub unit: String,
}

/// What [`SAVE_LAYOUT`](super::SAVE_LAYOUT) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveLayoutRequest {
    /// Its name among yours: 1 to 40 of `a-z 0-9 -`. One of this name is replaced.
    pub name: String,
    /// What it shows, at most 12 parts in their order; without parts it is deleted.
    pub parts: Vec<Part>,
}

/// What [`LOAD_LAYOUT`](super::LOAD_LAYOUT) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadLayoutRequest {
    /// Which of yours; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layout {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub parts: Vec<Part>,
    /// When it was saved, in milliseconds since the Unix epoch.
    pub saved_ms: UnixMs,
}

/// What [`SAVE_LAYOUT`](super::SAVE_LAYOUT) and [`LOAD_LAYOUT`](super::LOAD_LAYOUT) answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LayoutsResponse {
    /// By name.
    pub layouts: Vec<Layout>,
}

impl SaveLayoutRequest {
    fn check(&self) -> Result<()> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.bytes().all(fits) {
            return Err(Fault::invalid("the name of a layout").hint(format!("1 to {NAME_BYTES_MAX} of a-z 0-9 -")));
        }
        if self.parts.len() > PARTS_MAX {
            return Err(Fault::too_large(format!("{} parts", self.parts.len())).hint(format!("at most {PARTS_MAX}")));
        }
        for (at, part) in self.parts.iter().enumerate() {
            let place = |fault: Fault| fault.context(format!("parts[{at}]"));
            match (&part.view, &part.query) {
                (Some(view), None) => views::check(view).map(|_| ()).map_err(place)?,
                (None, Some(query)) => check_query(query).map_err(place)?,
                _ => {
                    return Err(
                        Fault::invalid(format!("parts[{at}] has both view and query, or neither")).hint("one of them")
                    );
                }
            }
            if part.sections.len() > SECTIONS_MAX
                || part.title.chars().count() > TITLE_CHARS_MAX
                || part.unit.len() > 16
            {
                return Err(Fault::too_large(format!(
                    "parts[{at}] has too many sections, or a title or unit too long"
                ))
                .hint(format!("{SECTIONS_MAX} sections, {TITLE_CHARS_MAX} characters, 16 bytes")));
            }
        }
        Ok(())
    }
}

/// The layouts of a fleet.
pub(super) struct Layouts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
}

impl Layouts {
    pub(super) async fn save(&self, caller: &Caller, request: SaveLayoutRequest) -> Result<LayoutsResponse> {
        request.check()?;
        let key = key(caller, &request.name);
        if request.parts.is_empty() {
            self.store.commit(vec![Write::delete(SPACE, &key)]).await?;
            return self.load(caller, None).await;
        }
        let own = self.load(caller, None).await?.layouts;
        let new = own.iter().all(|layout| layout.name != request.name);
        if new && (own.len() >= OWN_MAX || self.store.list(SPACE, "", None, ALL_MAX).await?.len() >= ALL_MAX) {
            return Err(Fault::too_large(format!("you have {} layouts", own.len()))
                .hint(format!("at most {OWN_MAX} each: save one without parts to delete it")));
        }
        let layout = Layout { name: request.name, parts: request.parts, saved_ms: self.clock.now_ms() };
        let text = serde_json::to_string(&layout).map_err(|error| Fault::internal(format!("layout: {error}")))?;
        self.store.commit(vec![Write::put(SPACE, &key, text)]).await?;
        Ok(LayoutsResponse { layouts: vec![layout] })
    }

    pub(super) async fn load(&self, caller: &Caller, name: Option<&str>) -> Result<LayoutsResponse> {
        let entries = self.store.list(SPACE, &key(caller, ""), None, OWN_MAX).await?;
        let read = |value: &str| {
            serde_json::from_str::<Layout>(value)
                .map_err(|error| Fault::internal(format!("a layout is damaged: {error}")))
        };
        let layouts: Vec<Layout> = entries.iter().map(|entry| read(&entry.value)).collect::<Result<_>>()?;
        let Some(name) = name else { return Ok(LayoutsResponse { layouts }) };
        let known: Vec<String> = layouts.iter().map(|layout| layout.name.clone()).collect();
        let found: Vec<Layout> = layouts.into_iter().filter(|layout| layout.name == name).collect();
        if found.is_empty() {
            let hint = if known.is_empty() {
                "you have none: save_layout".to_owned()
            } else {
                format!("one of {}", known.join(", "))
            };
            return Err(Fault::not_found(format!("no layout `{}` of yours", super::page::cell(name))).hint(hint));
        }
        Ok(LayoutsResponse { layouts: found })
    }
}

/// A caller's name may have any character: its digest cannot be mistaken for another's beginning.
fn key(caller: &Caller, name: &str) -> String {
    format!("{}/{name}", kernel::ids::digest(caller.name.as_bytes()))
}

impl Ui {
    /// What a layout shows now.
    pub(super) async fn laid_out(&self, name: &str, look: &Look) -> Result<Page> {
        let layout = self.layouts.load(&look.caller, Some(name)).await?.layouts.remove(0);
        let mut sections: Vec<Section> = Vec::new();
        for part in &layout.parts {
            match (&part.view, &part.query) {
                (Some(view), _) => {
                    let page = self.page(view, look).await?;
                    let wanted = |section: &Section| part.sections.is_empty() || part.sections.contains(&section.name);
                    sections.extend(page.sections.into_iter().filter(wanted));
                }
                (None, Some(query)) => {
                    let title = if part.title.is_empty() { query.as_str() } else { &part.title };
                    let blank = Chart {
                        kind: ChartKind::Line,
                        title: title.chars().take(TITLE_CHARS_MAX).collect(),
                        unit: part.unit.clone(),
                        ..Chart::default()
                    };
                    let request = QueryRangeRequest {
                        query: query.clone(),
                        limit: Some(super::chart::SERIES_MAX as u32),
                        ..QueryRangeRequest::default()
                    };
                    let body = look
                        .metrics(blank, &request, true)
                        .await
                        .map_or_else(|fault| Body::Untold(fault.to_string()), Body::Chart);
                    sections.push(Section::new("chart", title, body));
                }
                (None, None) => {}
            }
        }
        sections.truncate(SECTIONS_MAX);
        Ok(Page { view: format!("layout:{name}"), title: name.to_owned(), made_ms: look.now_ms, sections })
    }
}
