//! An upstream's tools: read from it whole, judged against the pins, kept until they change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kernel::{Access, Caller, Fault, Role, Trace};
use mcp::mirror::{Mirrored, mirrored};
use mcp::splice;
use mcp::wire::{Id, Params, Request};
use mcp::{Ctx, Link, LinkError, Reply};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::pins::{Content, Pins, verdict};

/// Pages of one list.
const PAGES_MAX: usize = 100;
/// Tools of one upstream.
const TOOLS_MAX: usize = 2_000;
/// Bytes of all entries of one upstream's tools.
const TOOLS_BYTES_MAX: usize = 16 << 20;

/// A tool as it is now.
#[derive(Debug, Clone)]
pub struct UpstreamTool {
    /// Its own name.
    pub name: String,
    /// Its entry in the upstream's list, as it came.
    pub listing: Box<RawValue>,
    /// Its content, as pins see it.
    pub content: Content,
    /// What a caller's role must allow.
    pub access: Access,
    /// Why it may not be used, if it may not.
    pub held: Option<String>,
    /// Its arguments that clients repeat in headers.
    pub mirrored: Option<Arc<[Mirrored]>>,
}

/// A tool that is held, for whoever may approve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldTool {
    /// Its own name.
    pub name: String,
    /// Why it is held.
    pub why: String,
    /// SHA-256 of what it is now: an approval names it, so that what is approved is what was looked at.
    pub sha256: String,
}

/// All tools of an upstream.
#[derive(Debug, Default)]
pub struct Tools {
    all: Vec<UpstreamTool>,
    by_name: HashMap<String, usize>,
}

impl Tools {
    /// In the upstream's order.
    pub fn all(&self) -> &[UpstreamTool] {
        &self.all
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&UpstreamTool> {
        self.by_name.get(name).map(|at| &self.all[*at])
    }

    /// Those that are held.
    pub fn held(&self) -> Vec<HeldTool> {
        let held = |tool: &UpstreamTool| {
            let (name, sha256) = (tool.name.clone(), tool.content.sha256.clone());
            tool.held.clone().map(|why| HeldTool { name, why, sha256 })
        };
        self.all.iter().filter_map(held).collect()
    }

    /// Whether clients would see a difference between these and `others`.
    pub fn look_like(&self, others: &Self) -> bool {
        let look = |tool: &UpstreamTool| (tool.held.is_some(), tool.access, tool.listing.get().to_owned());
        self.all.len() == others.all.len() && self.all.iter().zip(&others.all).all(|(a, b)| look(a) == look(b))
    }
}

/// The context of requests that nobody in particular makes.
pub(super) fn own_ctx() -> Ctx {
    Ctx::internal(Caller::new("flotilla", Role::Viewer), Trace::root())
}

/// A request of the gateway's own.
pub(super) async fn ask(link: &dyn Link, method: &str, params: &Value) -> Result<Reply, LinkError> {
    let request = Request { id: Id::Number(0), method: method.into(), params: Params::of(params)? };
    link.request(&request, &own_ctx()).await
}

/// Reads all tools of an upstream and judges them. At first sight they are trusted and pinned.
///
/// # Errors
/// When the upstream does not list them, or the pins cannot be read: then nothing is trusted.
pub(super) async fn read(link: &dyn Link, name: &str, pins: &Pins, trust: bool) -> Result<Tools, Fault> {
    let mut tools =
        if link.identity().capabilities.get("tools").is_some() { list(link, name).await? } else { Vec::new() };
    let mut names = BTreeSet::new();
    tools.retain(|tool| {
        let first = names.insert(tool.name.clone());
        if !first {
            tracing::warn!(upstream = name, tool = tool.name, "two tools of one name; the first is kept");
        }
        first
    });
    for tool in &mut tools {
        tool.access = access(&tool.content, trust);
    }
    judged(tools, name, pins).await
}

/// Says which tools are held.
///
/// # Errors
/// When the pins cannot be read.
pub(super) async fn judged(mut tools: Vec<UpstreamTool>, name: &str, pins: &Pins) -> Result<Tools, Fault> {
    let there: BTreeSet<String> = tools.iter().map(|tool| tool.name.clone()).collect();
    let mut known = pins.of(name).await?;
    if known.is_none() {
        let trusted: Vec<&Content> =
            tools.iter().map(|tool| &tool.content).filter(|tool| verdict(None, tool, |_| true).is_none()).collect();
        if !pins.first_sight(name, &trusted).await? {
            tracing::info!(upstream = name, "another process saw it first");
        }
        known = pins.of(name).await?;
    }
    for tool in &mut tools {
        tool.held = verdict(known.as_ref(), &tool.content, |name| there.contains(name));
    }
    let by_name = tools.iter().enumerate().map(|(at, tool)| (tool.name.clone(), at)).collect();
    Ok(Tools { all: tools, by_name })
}

fn access(content: &Content, trust: bool) -> Access {
    let annotations = content.fields.get("annotations");
    let reads = annotations.and_then(|annotations| annotations.get("readOnlyHint")) == Some(&json!(true));
    if trust && reads { Access::Read } else { Access::Operate }
}

async fn list(link: &dyn Link, name: &str) -> Result<Vec<UpstreamTool>, Fault> {
    let mut tools = Vec::new();
    let mut cursor: Option<String> = None;
    let mut size = 0;
    for _ in 0..PAGES_MAX {
        let params = cursor.as_ref().map_or(json!({}), |cursor| json!({ "cursor": cursor }));
        let reply = ask(link, "tools/list", &params).await.map_err(as_fault)?;
        let body = reply.body.get();
        let unreadable = |error| Fault::upstream(format!("{name}: not a list of tools: {error}"));
        let entries: Vec<&RawValue> =
            serde_json::from_str(splice::get(body, "tools").unwrap_or("[]")).map_err(unreadable)?;
        for entry in entries {
            size += entry.get().len();
            tools.push(tool(entry).map_err(unreadable)?);
        }
        cursor = splice::get(body, "nextCursor").and_then(|text| serde_json::from_str(text).ok()).flatten();
        if cursor.is_none() {
            return Ok(tools);
        }
        if tools.len() >= TOOLS_MAX || size >= TOOLS_BYTES_MAX {
            break;
        }
    }
    tracing::warn!(upstream = name, tools = tools.len(), "its list of tools is too long and was cut");
    tools.truncate(TOOLS_MAX);
    Ok(tools)
}

fn tool(entry: &RawValue) -> serde_json::Result<UpstreamTool> {
    let fields: Map<String, Value> = serde_json::from_str(entry.get())?;
    let content = Content::of(&fields);
    let name = content.fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mirrored = content.fields.get("inputSchema").and_then(|schema| mirrored(schema).ok());
    let mirrored = mirrored.filter(|found| !found.is_empty()).map(Into::into);
    Ok(UpstreamTool { name, listing: entry.to_owned(), content, access: Access::Operate, held: None, mirrored })
}

/// An upstream's own no, where it concerns us and not a caller.
pub(super) fn as_fault(error: LinkError) -> Fault {
    match error {
        LinkError::Fault(fault) => *fault,
        LinkError::Rpc(error) => Fault::upstream(error.to_string()),
    }
}
