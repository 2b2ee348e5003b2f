//! The name table: every tool of every part under its name in the aggregate, in a fixed order.
//!
//! Built anew when a part joins, leaves or changes, and shared by all calls until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

use kernel::{Access, catalog};
use serde_json::value::RawValue;

use crate::part::{Origin, Part};
use crate::search::Index;
use crate::{names, uris};
use mcp::splice;

/// A tool in the table.
pub struct Entry {
    /// Its name in the aggregate.
    pub name: String,
    /// Its name on its part.
    pub own: String,
    /// The part that has it.
    pub part: Arc<dyn Part>,
    /// What a caller's role must allow.
    pub access: Access,
    /// Why it may not be used, if it may not.
    pub held: Option<String>,
    /// Its entry in the aggregate's `tools/list`.
    pub listing: Box<RawValue>,
}

impl Entry {
    /// Whether it is the coordinator's `call_tool`, which stands for the call it wraps.
    pub(crate) fn is_call_tool(&self) -> bool {
        self.own == "call_tool" && self.part.name() == catalog::COORDINATOR
    }
}

/// All tools at one time.
pub struct Table {
    /// In the order of lists: the catalog's servers in its order, other servers by name, upstreams by name; each part's tools in its own order.
    pub entries: Vec<Entry>,
    /// In the same order.
    pub parts: Vec<Arc<dyn Part>>,
    by_name: HashMap<String, usize>,
    index: OnceLock<Index>,
}

impl Table {
    /// The table of these parts.
    pub fn of(mut parts: Vec<Arc<dyn Part>>) -> Self {
        parts.sort_by_cached_key(|part| rank(&**part));
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_name = HashMap::new();
        for part in &parts {
            for tool in part.tools() {
                let name = names::tool(part.name(), &tool.name);
                if by_name.contains_key(&name) {
                    tracing::warn!(%name, part = part.name(), "two tools of one name; the first is kept");
                    continue;
                }
                let listing = match listed_as(&**part, &name, &tool.listing) {
                    Ok(listing) => listing,
                    Err(error) => {
                        tracing::warn!(%name, %error, "tool left out: its entry cannot be read");
                        continue;
                    }
                };
                by_name.insert(name.clone(), entries.len());
                let part = Arc::clone(part);
                entries.push(Entry { name, own: tool.name, part, access: tool.access, held: tool.held, listing });
            }
        }
        Self { entries, parts, by_name, index: OnceLock::new() }
    }

    /// The tool of this name in the aggregate.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|at| &self.entries[*at])
    }

    /// The part of this name.
    pub fn part(&self, name: &str) -> Option<&Arc<dyn Part>> {
        self.parts.iter().find(|part| part.name() == name)
    }

    /// What kind of part a name belongs to.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.part(name).map(|part| part.origin())
    }

    /// The search index over all tools, made at its first use.
    pub fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.entries.iter().map(|entry| (entry.name.as_str(), &*entry.listing))))
    }
}

/// A part's place in lists.
fn rank(part: &dyn Part) -> (Origin, usize, String) {
    let place = catalog::SERVICES.iter().position(|service| service.name == part.name());
    (part.origin(), place.unwrap_or(usize::MAX), part.name().to_owned())
}

/// A tool's entry under its name in the aggregate.
fn listed_as(part: &dyn Part, name: &str, listing: &RawValue) -> Result<Box<RawValue>, mcp::RpcError> {
    let quoted = splice::quoted(name);
    match moved_view(part, listing.get())? {
        Some(meta) => splice::set_raw(listing, &[("name", &quoted), ("_meta", &meta)]),
        None => splice::set_raw(listing, &[("name", &quoted)]),
    }
}

/// The `_meta` of a tool whose interactive view has another address in the aggregate.
fn moved_view(part: &dyn Part, listing: &str) -> Result<Option<String>, mcp::RpcError> {
    let Some(meta) = splice::get(listing, "_meta") else { return Ok(None) };
    let Some(ui) = splice::get(meta, "ui") else { return Ok(None) };
    let uri = splice::get(ui, "resourceUri").and_then(|uri| serde_json::from_str::<String>(uri).ok());
    let Some(uri) = uri else { return Ok(None) };
    let uri = splice::quoted(&uris::outward(part.name(), part.origin(), &uri));
    splice::set(meta, &[("ui", &splice::set(ui, &[("resourceUri", &uri)])?)]).map(Some)
}
