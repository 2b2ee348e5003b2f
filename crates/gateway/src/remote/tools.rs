//! What a remote server's tools are and how they may be called, as its copies tell it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Access, Caller, Fault, Role, Trace};
use mcp::handler::Identity;
use mcp::mirror::{self, Mirrored};
use mcp::tool::{MANNERS, Manners};
use mcp::wire::{Id, Params, Request};
use mcp::{Change, Ctx, Link, RpcError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{OTHER_TIME, Remote};
use crate::part::PartTool;

/// Most pages read.
const PAGES_MAX: usize = 100;

/// One tool.
pub(super) struct Tool {
    pub(super) access: Access,
    pub(super) idempotent: bool,
    pub(super) time: Duration,
    pub(super) mirrored: Option<Arc<[Mirrored]>>,
    listing: Box<RawValue>,
}

/// All tools, in the server's order.
#[derive(Default)]
pub(super) struct Tools {
    order: Vec<String>,
    by_name: HashMap<String, Tool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    #[serde(default)]
    input_schema: Value,
    #[serde(default)]
    annotations: Annotations,
    #[serde(rename = "_meta", default)]
    meta: HashMap<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(default)]
    idempotent_hint: bool,
}

impl Tools {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name)
    }

    pub(super) fn listed(&self) -> Vec<PartTool> {
        let tools = self.order.iter().filter_map(|name| Some((name, self.by_name.get(name)?)));
        tools
            .map(|(name, known)| PartTool {
                name: name.clone(),
                access: known.access,
                held: None,
                listing: known.listing.clone(),
            })
            .collect()
    }

    fn add(&mut self, listing: Box<RawValue>) -> Result<(), RpcError> {
        let bad = |what: String| RpcError::internal(format!("a tool's entry cannot be read: {what}"));
        let listed: Listed = serde_json::from_str(listing.get()).map_err(|error| bad(error.to_string()))?;
        let manners = listed.meta.get(MANNERS).ok_or_else(|| bad(format!("{} tells no manners", listed.name)))?;
        let manners = Manners::deserialize(manners).map_err(|error| bad(format!("{}: {error}", listed.name)))?;
        let mirrored = mirror::mirrored(&listed.input_schema).map_err(bad)?;
        let known = Tool {
            access: manners.access,
            idempotent: listed.annotations.idempotent_hint,
            time: Duration::from_millis(manners.time_ms),
            mirrored: (!mirrored.is_empty()).then(|| mirrored.into()),
            listing,
        };
        self.order.push(listed.name.clone());
        self.by_name.insert(listed.name, known);
        Ok(())
    }

    fn same_as(&self, other: &Self) -> bool {
        let text = |tools: &Self, name: &str| tools.by_name.get(name).map(|known| known.listing.get().to_owned());
        self.order == other.order && self.order.iter().all(|name| text(self, name) == text(other, name))
    }
}

impl Remote {
    /// Reads all tools from one copy, and tells when they are others than before.
    pub(super) async fn read_tools(&self, link: &dyn Link) -> Result<(), RpcError> {
        let _one = self.reading.lock().await;
        let mut tools = Tools::default();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let params = match &cursor {
                Some(cursor) => Params::of(&json!({ "cursor": cursor }))?,
                None => Params::of(&json!({}))?,
            };
            let request = Request { id: Id::Number(0), method: "tools/list".into(), params };
            // What a caller may see is decided for each caller anew; the whole is read as one who may see all.
            let ctx = Ctx::internal(Caller::new("gateway", Role::Admin), Trace::root());
            let reply = tokio::time::timeout(OTHER_TIME, link.request(&request, &ctx))
                .await
                .map_err(|_| Fault::timeout(format!("{} did not list its tools", self.name)))??;
            let page: Page = serde_json::from_str(reply.body.get())
                .map_err(|error| Fault::upstream(format!("{}: not a list of tools: {error}", self.name)))?;
            page.tools.into_iter().try_for_each(|listing| tools.add(listing))?;
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let identity = discovered(link).await.unwrap_or_else(|| link.identity());
        *self.identity.write() = super::Known::of(identity);
        let changed = !tools.same_as(&self.tools.read());
        *self.tools.write() = Arc::new(tools);
        if changed {
            [Change::Tools, Change::Prompts, Change::Resources].into_iter().for_each(|change| self.announce(change));
        }
        Ok(())
    }
}

/// Who a server says it is. `None` when nobody answers that: the link knows enough to go on.
async fn discovered(link: &dyn Link) -> Option<Arc<Identity>> {
    #[derive(Deserialize)]
    struct Discovered {
        capabilities: Value,
        #[serde(default)]
        instructions: Option<String>,
        #[serde(rename = "_meta", default)]
        meta: Value,
    }
    let request = Request { id: Id::Number(0), method: "server/discover".into(), params: Params::default() };
    let ctx = Ctx::internal(Caller::new("gateway", Role::Viewer), Trace::root());
    let reply = tokio::time::timeout(OTHER_TIME, link.request(&request, &ctx)).await.ok()?.ok()?;
    let Discovered { capabilities, instructions, meta } = serde_json::from_str(reply.body.get()).ok()?;
    let info = &meta["io.modelcontextprotocol/serverInfo"];
    let text = |key: &str| info[key].as_str().map(ToOwned::to_owned);
    let (name, title, version) = (text("name")?, text("title")?, text("version")?);
    Some(Arc::new(Identity { name, title, version, instructions, capabilities }))
}
