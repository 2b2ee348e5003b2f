//! Resources and prompts of many parts: lists gathered from all at once, single requests sent to the part that owns the name.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kernel::Fault;
use mcp::error::codes;
use mcp::handler::Watch;
use mcp::service::page;
use mcp::wire::{Params, Request};
use mcp::{Ctx, Reply, RpcError};
use serde_json::json;
use serde_json::value::RawValue;

use crate::part::{Origin, Part};
use crate::{names, readdress, uris};
use mcp::splice;

/// How long one part may take to list: a part that hangs is left out, the others are served.
const LIST_TIME: Duration = Duration::from_secs(5);
/// Most pages taken from one part.
const PAGES_MAX: usize = 100;

/// A list that parts have.
#[derive(Clone, Copy)]
pub(crate) struct Listing {
    method: &'static str,
    /// The field of the answer.
    field: &'static str,
    /// The field of an entry that names it.
    key: &'static str,
    outward: fn(&dyn Part, &str) -> String,
}

/// `resources/list`.
pub(crate) const RESOURCES: Listing =
    Listing { method: "resources/list", field: "resources", key: "uri", outward: outward_uri };
/// `resources/templates/list`.
pub(crate) const TEMPLATES: Listing = Listing {
    method: "resources/templates/list",
    field: "resourceTemplates",
    key: "uriTemplate",
    outward: outward_uri,
};
/// `prompts/list`.
pub(crate) const PROMPTS: Listing = Listing {
    method: "prompts/list",
    field: "prompts",
    key: "name",
    outward: |part, name| names::prompt(part.name(), name),
};

fn outward_uri(part: &dyn Part, uri: &str) -> String {
    uris::outward(part.name(), part.origin(), uri)
}

/// One page of the list over all `parts`, in their order.
pub(crate) async fn list(
    listing: Listing,
    parts: &[Arc<dyn Part>],
    request: &Request,
    ctx: &Ctx,
) -> Result<Reply, RpcError> {
    let all = join_all(parts.iter().map(|part| async move {
        match tokio::time::timeout(LIST_TIME, list_one(listing, &**part, request, ctx)).await {
            Ok(Ok(entries)) => entries,
            // A part that has no such list at all has nothing to add to it.
            Ok(Err(error)) if error.code == codes::METHOD_NOT_FOUND => Vec::new(),
            Ok(Err(error)) => left_out(&**part, listing.method, &error.to_string()),
            Err(_) => left_out(&**part, listing.method, "it took too long"),
        }
    }))
    .await;
    page(listing.field, all.iter().flatten().map(AsRef::as_ref), request.params.cursor.as_deref())
}

fn left_out(part: &dyn Part, method: &str, why: &str) -> Vec<Box<RawValue>> {
    tracing::warn!(part = part.name(), method, why, "part left out of a list");
    Vec::new()
}

/// Everything one part lists, under the aggregate's names.
async fn list_one(
    listing: Listing,
    part: &dyn Part,
    request: &Request,
    ctx: &Ctx,
) -> Result<Vec<Box<RawValue>>, RpcError> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let params = match &cursor {
            Some(cursor) => Params::of(&json!({ "cursor": cursor }))?,
            None => Params::default(),
        };
        let asked = Request { id: request.id.clone(), method: listing.method.into(), params };
        let reply = part.handle(asked, ctx.clone()).await?;
        let body = reply.body.get();
        let entries = splice::get(body, listing.field).unwrap_or("[]");
        let entries: Vec<&RawValue> = serde_json::from_str(entries).map_err(|error| unreadable(part, &error))?;
        for entry in entries {
            let name = splice::get(entry.get(), listing.key).unwrap_or("null");
            let name: String = serde_json::from_str(name).map_err(|error| unreadable(part, &error))?;
            let outward = splice::quoted(&(listing.outward)(part, &name));
            all.push(splice::set_raw(entry, &[(listing.key, &outward)])?);
        }
        cursor = splice::get(body, "nextCursor").and_then(|text| serde_json::from_str(text).ok()).flatten();
        if cursor.is_none() {
            return Ok(all);
        }
    }
    tracing::warn!(part = part.name(), method = listing.method, "a list was cut: it has too many pages");
    Ok(all)
}

fn unreadable(part: &dyn Part, error: &serde_json::Error) -> RpcError {
    Fault::upstream(format!("{}: not a list: {error}", part.name())).into()
}

/// Watches a resource at the part that owns its address.
pub(crate) async fn watch(parts: &[Arc<dyn Part>], uri: &str, ctx: &Ctx) -> Result<Watch, RpcError> {
    match owner_of(parts, uri) {
        Some((part, own)) => part.watch(&own, ctx).await,
        None => Err(not_found(uri, ctx)),
    }
}

fn not_found(uri: &str, ctx: &Ctx) -> RpcError {
    let code = if ctx.revision.is_modern() { codes::INVALID_PARAMS } else { codes::LEGACY_RESOURCE_NOT_FOUND };
    RpcError::new(code, "resource not found").data(json!({ "uri": uri }))
}

/// Sends `resources/read` to the part that owns the address.
pub(crate) async fn resource(parts: &[Arc<dyn Part>], request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
    let uri = request.params.uri.as_deref().ok_or_else(|| RpcError::invalid_params("params.uri is missing"))?;
    let (part, own) = owner_of(parts, uri).ok_or_else(|| not_found(uri, &ctx))?;
    let mut request = request;
    if request.params.uri.as_deref() != Some(&own) {
        request.params = replaced(request.params, "uri", &own)?;
    }
    let reply = part.handle(request, ctx).await?;
    Ok(readdress::contents(&**part, reply))
}

/// Sends `prompts/get` to the part that has the prompt.
pub(crate) async fn prompt(parts: &[Arc<dyn Part>], request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
    let name = request.params.name.as_deref().ok_or_else(|| RpcError::invalid_params("params.name is missing"))?;
    let (part, own) = prompt_owner(parts, name)?;
    let own = own.to_owned();
    let params = replaced(request.params, "name", &own)?;
    let reply = part.handle(Request { params, ..request }, ctx).await?;
    Ok(readdress::prompt_result(&**part, reply))
}

/// Sends `completion/complete` to the part that has the prompt or template.
pub(crate) async fn complete(parts: &[Arc<dyn Part>], request: Request, ctx: Ctx) -> Result<Reply, RpcError> {
    let raw = request.params.raw.as_deref().map_or("{}", RawValue::get);
    let bad = || RpcError::invalid_params("params.ref needs a name or a uri");
    let reference = splice::get(raw, "ref").ok_or_else(bad)?;
    let text = |key| splice::get(reference, key).and_then(|text| serde_json::from_str::<String>(text).ok());
    let (part, key, own) = if let Some(name) = text("name") {
        let (part, own) = prompt_owner(parts, &name)?;
        (part, "name", own.to_owned())
    } else {
        let uri = text("uri").ok_or_else(bad)?;
        let (part, own) = owner_of(parts, &uri)
            .ok_or_else(|| RpcError::invalid_params("no such resource template").data(json!({ "uri": uri })))?;
        (part, "uri", own)
    };
    let reference = splice::set(reference, &[(key, &splice::quoted(&own))])?;
    let raw = splice::set(raw, &[("ref", &reference)])?;
    let raw = RawValue::from_string(raw).map_err(|error| RpcError::internal(error.to_string()))?;
    part.handle(Request { params: Params::parse(Some(&raw))?, ..request }, ctx).await
}

fn prompt_owner<'a, 'n>(parts: &'a [Arc<dyn Part>], name: &'n str) -> Result<(&'a Arc<dyn Part>, &'n str), RpcError> {
    names::split(name)
        .and_then(|(part, own)| Some((parts.iter().find(|there| there.name() == part)?, own)))
        .ok_or_else(|| RpcError::invalid_params(format!("unknown prompt: {name}")))
}

fn owner_of<'a>(parts: &'a [Arc<dyn Part>], uri: &str) -> Option<(&'a Arc<dyn Part>, String)> {
    let find = |name: &str| parts.iter().find(|part| part.name() == name);
    let origin = |name: &str| -> Option<Origin> { find(name).map(|part| part.origin()) };
    let (name, own) = uris::inward(uri, origin)?;
    Some((find(name)?, own.into_owned()))
}

fn replaced(params: Params, key: &str, value: &str) -> Result<Params, RpcError> {
    let raw = params.raw.as_deref().ok_or_else(|| RpcError::invalid_params("params are missing"))?;
    Params::parse(Some(&splice::set_raw(raw, &[(key, &splice::quoted(value))])?))
}
