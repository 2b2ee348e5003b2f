//! The current revision's rules for a request that stands alone, whatever transport it came by.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::conversation::{Made, log_floor};
use crate::ctx::Client;
use crate::error::{RpcError, codes};
use crate::handler::Identity;
use crate::reply::Reply;
use crate::revision::Revision;
use crate::wire::{Id, Meta};

/// How long what `server/discover` says stays good, in milliseconds.
const DISCOVER_TTL_MS: u64 = 300_000;
/// Methods of older revisions that went away with the handshake.
pub(crate) const REMOVED: [&str; 5] =
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// The revision a request says it is made in.
///
/// # Errors
/// When it says none.
pub(crate) fn stated(meta: &Meta) -> Result<&str, RpcError> {
    let stated = meta.protocol_version.as_ref().and_then(Value::as_str);
    stated.ok_or_else(|| missing("io.modelcontextprotocol/protocolVersion", "a string"))
}

/// Whether a request carries the metadata of a request that stands alone.
pub(crate) fn is_stated(meta: &Meta) -> bool {
    let older = |text: &str| Revision::parse(text).is_some_and(|revision| !revision.is_modern());
    meta.protocol_version.as_ref().is_some_and(|stated| !stated.as_str().is_some_and(older))
}

/// Reads what a request says of itself.
///
/// # Errors
/// When something required is missing or malformed, or the revision is not spoken here.
pub(crate) fn made_in(meta: &Meta, stated: &str) -> Result<Made, RpcError> {
    let revision =
        Revision::parse(stated).filter(|revision| revision.is_modern()).ok_or_else(|| unsupported(stated))?;
    let capabilities = meta.client_capabilities.clone().filter(Value::is_object);
    let capabilities =
        capabilities.ok_or_else(|| missing("io.modelcontextprotocol/clientCapabilities", "an object"))?;
    let log_level = match &meta.log_level {
        Some(level) => log_floor(level.as_str().unwrap_or_default())?,
        None => None,
    };
    let info = meta.client_info.clone().unwrap_or_default();
    Ok(Made { revision, client: Arc::new(Client { capabilities, info }), session: None, log_level })
}

fn missing(key: &str, kind: &str) -> RpcError {
    RpcError::invalid_params(format!("params._meta must have \"{key}\", {kind}"))
}

/// The refusal of a revision that is not spoken here.
pub(crate) fn unsupported(requested: &str) -> RpcError {
    let data = json!({ "supported": Revision::ALL.map(Revision::as_str), "requested": requested });
    RpcError::new(codes::UNSUPPORTED_VERSION, "unsupported protocol version").data(data)
}

/// The answer to `server/discover`.
pub(crate) fn discover(identity: &Identity) -> Reply {
    let mut body = json!({
        "supportedVersions": Revision::ALL.map(Revision::as_str),
        "capabilities": identity.capabilities,
    });
    if let Some(instructions) = &identity.instructions {
        body["instructions"] = instructions.as_str().into();
    }
    Reply::complete(&body).cached(DISCOVER_TTL_MS, true)
}

/// An answer's text.
pub(crate) fn answer_text(id: &Id, answer: &Result<Reply, RpcError>, identity: &Identity) -> String {
    match answer {
        Ok(reply) => crate::wire::result_text(id, &reply.dressed_for(true, &identity.server_info_text())),
        Err(error) => crate::wire::error_text(Some(id), error),
    }
}
