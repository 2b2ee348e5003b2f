//! Answers: what a handler returns before a door dresses it for its client's revision.

use kernel::Fault;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ctx::Question;
use crate::wire;

/// How a result is to be read (`resultType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// The whole answer.
    Complete,
    /// Questions first.
    InputRequired,
    /// The handle of a task that goes on.
    Task,
}

impl ResultType {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::InputRequired => "input_required",
            Self::Task => "task",
        }
    }
}

/// How long a result stays good and for whom (2026-07-28 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheHint {
    /// Milliseconds.
    pub ttl_ms: u64,
    /// Whether a cache may share it between users.
    pub public: bool,
}

/// A result, as a JSON object.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The object.
    pub body: Box<RawValue>,
    /// How it is to be read.
    pub kind: ResultType,
    /// Set on what may be cached.
    pub cache: Option<CacheHint>,
    /// The body comes from a server of the current revision and carries its own `resultType`, hints and server name already.
    pub dressed: bool,
}

impl Reply {
    /// A whole answer.
    pub fn complete(body: &impl Serialize) -> Self {
        Self::raw(wire::raw(body))
    }

    /// A whole answer that is JSON already. Must be an object.
    pub fn raw(body: Box<RawValue>) -> Self {
        Self { body, kind: ResultType::Complete, cache: None, dressed: false }
    }

    /// Adds how long it stays good.
    #[must_use]
    pub fn cached(mut self, ttl_ms: u64, public: bool) -> Self {
        self.cache = Some(CacheHint { ttl_ms, public });
        self
    }

    /// Questions to the client.
    pub fn input_required(requests: &std::collections::BTreeMap<String, Question>, request_state: &str) -> Self {
        let mut body = json!({ "requestState": request_state });
        if !requests.is_empty() {
            body["inputRequests"] = json!(requests);
        }
        Self { kind: ResultType::InputRequired, ..Self::complete(&body) }
    }

    /// The body as a client of `revision` expects it; `server_info` is the JSON of who answers.
    pub fn dressed_for(&self, modern: bool, server_info: &RawValue) -> Box<RawValue> {
        if self.dressed || !modern {
            return self.body.clone();
        }
        let body = self.body.get().trim();
        let Some(rest) = body.strip_prefix('{') else { return self.body.clone() };
        let mut text = String::with_capacity(body.len() + server_info.get().len() + 160);
        text.push_str(r#"{"resultType":""#);
        text.push_str(self.kind.as_str());
        text.push('"');
        if let Some(cache) = self.cache {
            let scope = if cache.public { "public" } else { "private" };
            text.push_str(&format!(r#","ttlMs":{},"cacheScope":"{scope}""#, cache.ttl_ms));
        }
        // A body that has its own `_meta` keeps it whole; naming the server is then its author's affair.
        if !has_meta(body) {
            text.push_str(r#","_meta":{"io.modelcontextprotocol/serverInfo":"#);
            text.push_str(server_info.get());
            text.push('}');
        }
        if rest.trim_start() != "}" {
            text.push(',');
        }
        text.push_str(rest);
        RawValue::from_string(text).unwrap_or_else(|_| self.body.clone())
    }
}

impl Reply {
    /// The reply of another process of this fleet as the handler there made it: without what its door added for the current revision.
    /// `server_info` is the JSON of who answers there. A reply that was not dressed so stays as it is.
    #[must_use]
    pub fn undressed(self, server_info: &RawValue) -> Self {
        match self.undress(server_info.get()) {
            Some(bare) => bare,
            None => self,
        }
    }

    fn undress(&self, server_info: &str) -> Option<Self> {
        let body = self.body.get();
        let kind = format!(r#"{{"resultType":"{}""#, self.kind.as_str());
        let mut rest = body.strip_prefix(kind.as_str())?;
        let mut cache = None;
        if let Some(hint) = rest.strip_prefix(r#","ttlMs":"#) {
            let (ttl_ms, hint) = hint.split_once(r#","cacheScope":""#)?;
            let (scope, hint) = hint.split_once('"')?;
            cache = Some(CacheHint { ttl_ms: ttl_ms.parse().ok()?, public: scope == "public" });
            rest = hint;
        }
        let info = rest.strip_prefix(r#","_meta":{"io.modelcontextprotocol/serverInfo":"#);
        if let Some(named) = info {
            rest = named.strip_prefix(server_info)?.strip_prefix('}')?;
        }
        let rest = rest.strip_prefix(',').unwrap_or(rest);
        let body = RawValue::from_string(format!("{{{rest}")).ok()?;
        Some(Self { body, kind: self.kind, cache, dressed: false })
    }
}

fn has_meta(body: &str) -> bool {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(rename = "_meta", borrow, default)]
        meta: Option<&'a RawValue>,
    }
    // The quick look first: most bodies do not have the word at all.
    body.contains(r#""_meta""#) && serde_json::from_str::<Probe<'_>>(body).is_ok_and(|probe| probe.meta.is_some())
}

/// One piece of a tool's or prompt's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Base64.
        data: String,
        /// Its type.
        #[serde(rename = "mimeType")]
        mime_type: String,
    },
    /// Sound.
    Audio {
        /// Base64.
        data: String,
        /// Its type.
        #[serde(rename = "mimeType")]
        mime_type: String,
    },
    /// A resource, whole.
    Resource {
        /// `{uri, mimeType, text | blob}`.
        resource: Value,
    },
    /// A resource, by reference: `{uri, name, …}`.
    ResourceLink {
        /// Where.
        uri: String,
        /// What it is called.
        name: String,
        /// What it is.
        #[serde(rename = "mimeType", skip_serializing_if = "Option::is_none", default)]
        mime_type: Option<String>,
    },
}

impl Content {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// What a tool call ends with: the body of a `CallToolResult`.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The body, a JSON object.
    pub body: Box<RawValue>,
    /// `ok`, or the stable code of the refusal.
    pub code: &'static str,
    /// How the body is to be read.
    pub kind: ResultType,
    /// See [`Reply::dressed`].
    pub dressed: bool,
}

impl Outcome {
    fn new(body: Box<RawValue>, code: &'static str) -> Self {
        Self { body, code, kind: ResultType::Complete, dressed: false }
    }

    /// The answer of another server to a call, as it came.
    pub fn forwarded(reply: Reply) -> Self {
        #[derive(Deserialize)]
        struct Probe {
            #[serde(rename = "isError", default)]
            is_error: bool,
        }
        let failed = || {
            // The quick look first: most answers do not have the word at all.
            let text = reply.body.get();
            text.contains(r#""isError""#) && serde_json::from_str::<Probe>(text).is_ok_and(|probe| probe.is_error)
        };
        let code = match reply.kind {
            ResultType::Complete if failed() => "refused",
            ResultType::Complete => "ok",
            other => other.as_str(),
        };
        Self { body: reply.body, code, kind: reply.kind, dressed: reply.dressed }
    }

    /// As a reply.
    pub fn into_reply(self) -> Reply {
        Reply { body: self.body, kind: self.kind, cache: None, dressed: self.dressed }
    }

    /// A typed answer: as structured content, and the same JSON as text for clients that only show text.
    pub fn typed(value: &impl Serialize) -> Result<Self, Fault> {
        Self::of_json(serde_json::to_string(value))
    }

    fn of_json(json: serde_json::Result<String>) -> Result<Self, Fault> {
        let body = json.and_then(|json| {
            let text = serde_json::to_string(&json)?;
            RawValue::from_string(format!(
                r#"{{"content":[{{"type":"text","text":{text}}}],"structuredContent":{json}}}"#
            ))
        });
        Ok(Self::new(body.map_err(|error| Fault::internal(format!("answer: {error}")))?, "ok"))
    }

    /// The same with what is meant for the client's screen and not for its model. The body has no `_meta` yet.
    #[must_use]
    pub fn with_meta(self, meta: &Value) -> Self {
        let body = self.body.get().strip_suffix('}').map(|body| format!(r#"{body},"_meta":{meta}}}"#));
        let body = body.and_then(|body| RawValue::from_string(body).ok()).unwrap_or(self.body);
        Self { body, ..self }
    }

    /// Content without a schema.
    pub fn contents(content: &[Content]) -> Self {
        Self::new(wire::raw(&json!({ "content": content })), "ok")
    }

    /// A refusal: says what is wrong and what would be right; the stable code is in `_meta` under `flotilla/error`.
    pub fn refused(fault: &Fault) -> Self {
        let mut error = json!({ "code": fault.code });
        if let Some(hint) = &fault.hint {
            error["hint"] = hint.as_str().into();
        }
        if let Some(data) = &fault.data {
            error["data"] = (**data).clone();
        }
        let body = json!({
            "content": [Content::text(fault.to_string())],
            "isError": true,
            "_meta": { "flotilla/error": error },
        });
        Self::new(wire::raw(&body), fault.code.as_str())
    }

    /// A refusal in words of the server's own.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(wire::raw(&json!({ "content": [Content::text(text)], "isError": true })), "refused")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_door_added_can_be_taken_off() {
        let info = wire::raw(&json!({ "name": "x", "title": "X \u{e9}", "version": "1" }));
        for body in ["{}", r#"{"content":[ 1.50 ]}"#, r#"{"a":1,"_meta":{"b":2}}"#] {
            let bare = Reply::raw(RawValue::from_string(body.into()).unwrap());
            let cached = bare.clone().cached(5, true);
            let asks = Reply { kind: ResultType::InputRequired, ..bare.clone() };
            for reply in [bare, cached, asks] {
                let (body, kind) = (reply.dressed_for(true, &info), reply.kind);
                let dressed = Reply { body, kind, cache: None, dressed: true };
                let back = dressed.undressed(&info);
                assert_eq!((back.body.get(), back.cache, back.dressed), (reply.body.get(), reply.cache, false));
            }
        }
        let foreign = Reply { dressed: true, ..Reply::raw(wire::raw(&json!({ "content": [] }))) };
        assert!(foreign.undressed(&info).dressed);
    }
}
