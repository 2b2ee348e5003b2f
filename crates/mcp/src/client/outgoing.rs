//! What goes to an upstream: the caller's parameters byte for byte, with the metadata of this hop.

use kernel::logs::Level;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ctx::Ctx;
use crate::error::RpcError;
use crate::revision::Revision;
use crate::splice::{Edit, edited};
use crate::wire::Params;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const TRACE: &str = "traceparent";
const PROGRESS: &str = "progressToken";

/// How we name ourselves where no client stands behind a request.
#[derive(Debug, Clone)]
pub struct AboutUs(String);

impl AboutUs {
    /// The fleet, at the binary's version.
    pub fn new(version: &str) -> Self {
        Self(serde_json::json!({ "name": "flotilla", "title": "Flotilla", "version": version }).to_string())
    }

    /// `clientInfo`, as JSON text.
    pub fn info(&self) -> &str {
        &self.0
    }
}

/// Parameters for an upstream of the current revision.
///
/// A client of that revision is quoted as it described itself, so that its upstream may ask it. Of an older one goes along what it can
/// be asked, if there is a way to ask it.
pub(super) fn modern(params: &Params, ctx: &Ctx, token: i64, about_us: &AboutUs) -> Result<Box<RawValue>, RpcError> {
    let version = format!("\"{}\"", Revision::CURRENT);
    let (token, trace) = (token.to_string(), quoted_trace(ctx));
    let capabilities = capabilities(ctx).to_string();
    let info = if ctx.client.info.is_object() { ctx.client.info.to_string() } else { about_us.info().to_owned() };
    let level = ctx.log_level.map(|level| format!("\"{}\"", level_text(level)));
    let quoted = ctx.revision.is_modern();
    let edits = [
        (VERSION, Edit::Set(&version)),
        (INFO, if quoted { Edit::Default(&info) } else { Edit::Set(&info) }),
        (CAPABILITIES, if quoted { Edit::Default(&capabilities) } else { Edit::Set(&capabilities) }),
        (LOG_LEVEL, level.as_deref().map_or(Edit::Remove, if quoted { Edit::Default } else { Edit::Set })),
        (PROGRESS, if ctx.progress_token.is_some() { Edit::Set(&token) } else { Edit::Remove }),
        (TRACE, Edit::Set(&trace)),
    ];
    with_meta(params, &edits)
}

fn capabilities(ctx: &Ctx) -> Value {
    let mut all = match &ctx.client.capabilities {
        Value::Object(all) => all.clone(),
        _ => serde_json::Map::new(),
    };
    if !ctx.revision.is_modern() {
        all.retain(|name, _| {
            ctx.peer.takes_requests() && matches!(name.as_str(), "elicitation" | "sampling" | "roots")
        });
    }
    Value::Object(all)
}

/// Parameters for an upstream of a session: it was told who asks when the session began.
pub(super) fn legacy(params: &Params, ctx: &Ctx, token: i64) -> Result<Box<RawValue>, RpcError> {
    let (token, trace) = (token.to_string(), quoted_trace(ctx));
    let edits = [
        (VERSION, Edit::Remove),
        (INFO, Edit::Remove),
        (CAPABILITIES, Edit::Remove),
        (LOG_LEVEL, Edit::Remove),
        (PROGRESS, if ctx.progress_token.is_some() { Edit::Set(&token) } else { Edit::Remove }),
        (TRACE, Edit::Set(&trace)),
    ];
    with_meta(params, &edits)
}

fn quoted_trace(ctx: &Ctx) -> String {
    format!("\"{}\"", ctx.trace)
}

/// One of our levels in the protocol's words.
pub(super) fn level_text(level: Level) -> &'static str {
    match level {
        Level::Trace | Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warning",
        Level::Error => "error",
    }
}

fn with_meta(params: &Params, edits: &[(&str, Edit<'_>)]) -> Result<Box<RawValue>, RpcError> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(rename = "_meta", borrow, default)]
        meta: Option<&'a RawValue>,
    }
    let bad = |error: serde_json::Error| RpcError::invalid_params(format!("params: {error}"));
    let raw = params.raw.as_deref();
    let head: Head<'_> = raw.map_or(Ok(Head { meta: None }), |raw| serde_json::from_str(raw.get())).map_err(bad)?;
    let meta = edited(head.meta.filter(|meta| meta.get() != "null"), edits).map_err(bad)?;
    RawValue::from_string(edited(raw, &[("_meta", Edit::Set(&meta))]).map_err(bad)?).map_err(bad)
}

/// A notification's parameters with another progress token.
pub(super) fn with_token(params: &RawValue, token: &Value) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(edited(Some(params), &[(PROGRESS, Edit::Set(&token.to_string()))])?)
}

#[cfg(test)]
mod tests {
    use kernel::{Caller, Role, Trace};
    use serde_json::json;

    use super::*;

    fn ctx(revision: Revision) -> Ctx {
        let mut ctx = Ctx::internal(Caller::new("ann", Role::Viewer), Trace { trace_id: 1, span_id: 2, parent_id: 0 });
        ctx.revision = revision;
        ctx.progress_token = Some(json!("theirs"));
        ctx
    }

    #[test]
    fn the_payload_stays_and_the_metadata_is_of_this_hop() {
        let raw = r#"{"name":"x","_meta":{"com.example/k": [1.0],"progressToken":"theirs","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}},"arguments":{"n": 1e400}}"#;
        let raw: Box<RawValue> = serde_json::from_str(raw).unwrap();
        let params = Params::parse(Some(&raw)).unwrap();
        let us = AboutUs::new("1.0");
        let modern_text = modern(&params, &ctx(Revision::CURRENT), 7, &us).unwrap();
        let meta: Value =
            serde_json::from_str::<Value>(modern_text.get().replace("1e400", "1").as_str()).unwrap()["_meta"].take();
        assert_eq!(meta[CAPABILITIES], json!({ "elicitation": {} }));
        assert_eq!((&meta[VERSION], &meta[PROGRESS]), (&json!("2026-07-28"), &json!(7)));
        assert!(modern_text.get().starts_with(r#"{"name":"x","_meta":{"com.example/k": [1.0],"#));
        let old = ctx(Revision::V2025_06_18);
        let from_old = modern(&params, &old, 7, &us).unwrap();
        assert!(from_old.get().contains(r#""io.modelcontextprotocol/clientCapabilities":{}"#));
        let to_old = legacy(&params, &old, 7).unwrap();
        assert_eq!(
            to_old.get(),
            r#"{"name":"x","_meta":{"com.example/k": [1.0],"progressToken":7,"traceparent":"00-00000000000000000000000000000001-0000000000000002-01"},"arguments":{"n": 1e400}}"#
        );
        assert!(legacy(&Params::default(), &old, 7).is_ok());
    }
}
