//! Who is there: `server/discover` of the current revision, `initialize` of the older ones.

use std::sync::Arc;

use kernel::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::LinkError;
use super::outgoing::AboutUs;
use crate::ctx::Client;
use crate::error::{RpcError, codes};
use crate::handler::Identity;
use crate::revision::Revision;
use crate::wire;

/// Longest instructions taken from an upstream, in bytes.
const INSTRUCTIONS_BYTES_MAX: usize = 64 << 10;

/// What `server/discover` told.
#[derive(Debug, Clone)]
pub(super) struct Discovered {
    /// Who is there.
    pub(super) identity: Arc<Identity>,
    /// The revisions it says it speaks.
    pub(super) versions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult {
    supported_versions: Vec<String>,
    capabilities: Value,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult {
    protocol_version: String,
    capabilities: Value,
    server_info: Value,
    #[serde(default)]
    instructions: Option<String>,
}

/// Reads the result of `server/discover`.
///
/// # Errors
/// When it is not one: then whoever answered does not speak the current revision.
pub(super) fn discovered(result: &RawValue) -> Result<Discovered, Fault> {
    let told: DiscoverResult = serde_json::from_str(result.get())
        .map_err(|error| Fault::upstream(format!("the answer to server/discover is not one: {error}")))?;
    let info = &told.meta["io.modelcontextprotocol/serverInfo"];
    let identity = identity(info, told.capabilities, told.instructions);
    Ok(Discovered { identity, versions: told.supported_versions })
}

/// Parameters of `server/discover`.
pub(super) fn discover_params(about_us: &AboutUs) -> Box<RawValue> {
    let info: Value = serde_json::from_str(about_us.info()).unwrap_or_default();
    wire::raw(&json!({ "_meta": {
        "io.modelcontextprotocol/protocolVersion": Revision::CURRENT.as_str(),
        "io.modelcontextprotocol/clientInfo": info,
        "io.modelcontextprotocol/clientCapabilities": {},
    } }))
}

/// Parameters of `initialize`: `client` is who will use the session, or nobody in particular.
pub(super) fn initialize_params(revision: Revision, client: Option<&Client>, about_us: &AboutUs) -> Box<RawValue> {
    let ours: Value = serde_json::from_str(about_us.info()).unwrap_or_default();
    let info = client.map(|client| &client.info).filter(|info| info.is_object()).unwrap_or(&ours);
    let none = json!({});
    let capabilities = client.map(|client| &client.capabilities).filter(|value| value.is_object()).unwrap_or(&none);
    wire::raw(&json!({ "protocolVersion": revision.as_str(), "capabilities": capabilities, "clientInfo": info }))
}

/// Reads the result of `initialize`.
///
/// # Errors
/// When it is not one, or it wants a revision nobody here speaks.
pub(super) fn initialized(result: &RawValue) -> Result<(Revision, Arc<Identity>), Fault> {
    let told: InitializeResult = serde_json::from_str(result.get())
        .map_err(|error| Fault::upstream(format!("the answer to initialize is not one: {error}")))?;
    let revision = Revision::parse(&told.protocol_version).filter(|revision| !revision.is_modern());
    let revision = revision.ok_or_else(|| {
        let offered = Revision::ALL.map(Revision::as_str).join(", ");
        Fault::new(kernel::Code::Unsupported, format!("it wants revision {:.40}", told.protocol_version))
            .hint(format!("spoken here: {offered}"))
    })?;
    Ok((revision, identity(&told.server_info, told.capabilities, told.instructions)))
}

fn identity(info: &Value, capabilities: Value, instructions: Option<String>) -> Arc<Identity> {
    let text = |key: &str| info[key].as_str().unwrap_or_default().chars().take(200).collect::<String>();
    let name = text("name");
    let title = Some(text("title")).filter(|title| !title.is_empty()).unwrap_or_else(|| name.clone());
    let instructions = instructions.filter(|text| text.len() <= INSTRUCTIONS_BYTES_MAX);
    let capabilities = if capabilities.is_object() { capabilities } else { json!({}) };
    Arc::new(Identity { name, title, version: text("version"), instructions, capabilities })
}

/// What an answer to `server/discover` says of whoever gave it. `None`: it does not speak the current revision, try an older one.
///
/// # Errors
/// When it is a server of the new kind that we cannot talk to: any other error of its is taken for an older server's way of not
/// knowing the question.
pub(super) fn spoken(name: &str, outcome: Result<Box<RawValue>, RpcError>) -> Result<Option<Discovered>, LinkError> {
    let error = match outcome {
        Ok(result) => match discovered(&result) {
            Ok(found) if found.versions.iter().any(|version| version == Revision::CURRENT.as_str()) => {
                return Ok(Some(found));
            }
            Ok(found) => return older(name, &found.versions),
            Err(_) => return Ok(None),
        },
        Err(error) => error,
    };
    match error.code {
        codes::UNSUPPORTED_VERSION => older(name, &supported(&error)),
        codes::HEADER_MISMATCH | codes::MISSING_CAPABILITY => Err(error.into()),
        _ => {
            tracing::debug!(name, %error, "a server of an older revision");
            Ok(None)
        }
    }
}

/// A server of the new kind, but not of the current revision: older ones may still be common ground.
fn older(name: &str, versions: &[String]) -> Result<Option<Discovered>, LinkError> {
    if versions.iter().any(|version| Revision::parse(version).is_some()) {
        return Ok(None);
    }
    let spoken: Vec<String> = versions.iter().take(10).map(|version| version.chars().take(40).collect()).collect();
    let fault = Fault::new(kernel::Code::Unsupported, format!("{name} speaks only {}", spoken.join(", ")));
    Err(fault.hint(format!("spoken here: {}", Revision::ALL.map(Revision::as_str).join(", "))).into())
}

/// The revisions an error says are supported.
fn supported(error: &RpcError) -> Vec<String> {
    let listed = error.data.as_ref().and_then(|data| data.get("supported")?.as_array());
    listed.into_iter().flatten().filter_map(|version| version.as_str().map(Into::into)).collect()
}

/// Whether a server refuses a request for its revision and offers the very same: then it may be sent again.
pub(super) fn is_offered_again(error: &RpcError) -> bool {
    error.code == codes::UNSUPPORTED_VERSION
        && supported(error).iter().any(|version| version == Revision::CURRENT.as_str())
}
