//! `call: http`: a request to a public address, or to a private one that the configuration names.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flow::workflow::error::Error;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Uri};
use kernel::{Code, Fault};
use serde_json::{Map, Value, json};

use crate::outbound::{Ask, Reach, Told, fetch};

/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// What a request is made of, evaluated.
pub(super) struct Request<'c> {
    /// How.
    pub(super) method: String,
    /// Where.
    pub(super) uri: String,
    /// Who asks.
    pub(super) authentication: Option<&'c Value>,
    /// Names and values.
    pub(super) headers: Map<String, Value>,
    /// Names and values.
    pub(super) query: Map<String, Value>,
    /// What is sent; null for nothing.
    pub(super) body: Value,
}

fn wrong(what: impl Into<String>, hint: &str) -> Error {
    Error::of_call(&Fault::invalid(what).hint(hint), "configuration")
}

/// Makes the request of an effect.
pub(super) async fn perform(reach: &Reach, call: &Value, key: &str) -> Result<Value, Error> {
    let fields = |name: &str| call[name].as_object().cloned().unwrap_or_default();
    let request = Request {
        method: call["method"].as_str().unwrap_or("get").to_owned(),
        uri: call["endpoint"]["uri"].as_str().unwrap_or_default().to_owned(),
        authentication: call["endpoint"].get("authentication"),
        headers: fields("headers"),
        query: fields("query"),
        body: call["body"].clone(),
    };
    let told = send(reach, &request, key).await?;
    shown(&request, &told, call)
}

/// Sends a request.
pub(super) async fn send(reach: &Reach, request: &Request<'_>, key: &str) -> Result<Told, Error> {
    let ask = ask(request, key)?;
    fetch(reach, ask).await.map_err(|fault| Error::of_call(&fault, "communication"))
}

fn ask(request: &Request<'_>, key: &str) -> Result<Ask, Error> {
    let method: Method = request
        .method
        .to_uppercase()
        .parse()
        .map_err(|_| wrong(format!("`{}` is no method", request.method), "get, post, put, patch, delete"))?;
    let url: Uri = with_query(&request.uri, &request.query)
        .parse()
        .map_err(|_| wrong(format!("`{}` is no URL", request.uri), "https://example.com/path"))?;
    if request.headers.len() > HEADERS_MAX {
        return Err(wrong(format!("{} headers", request.headers.len()), "at most 64"));
    }
    let mut headers = Vec::new();
    let mut put = |name: &str, value: &str| {
        let name: HeaderName = name.parse().map_err(|_| wrong(format!("`{name}` is no header"), "a name of HTTP"))?;
        let value: HeaderValue =
            value.parse().map_err(|_| wrong(format!("the value of header `{name}`"), "visible ASCII"))?;
        headers.push((name, value));
        Ok::<_, Error>(())
    };
    let body = match &request.body {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::from(text.clone()),
        other => Bytes::from(other.to_string()),
    };
    let typed = request.headers.keys().any(|name| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()));
    if !typed && !request.body.is_null() {
        put(
            CONTENT_TYPE.as_str(),
            if request.body.is_string() { "text/plain; charset=utf-8" } else { "application/json" },
        )?;
    }
    if !matches!(method, Method::GET | Method::HEAD)
        && !request.headers.keys().any(|name| name.eq_ignore_ascii_case("idempotency-key"))
    {
        // The same however often it is sent.
        put("idempotency-key", &flow::workflow::idempotency_key(key))?;
    }
    if let Some(authorization) = request.authentication.and_then(authorization) {
        put(AUTHORIZATION.as_str(), &authorization)?;
    }
    for (name, value) in &request.headers {
        put(name, &plain(value))?;
    }
    Ok(Ask { method, url, headers, body, time: REQUEST_TIME, bytes_max: ANSWER_BYTES_MAX })
}

/// What an authentication policy says of who asks.
fn authorization(policy: &Value) -> Option<String> {
    if let Some(token) = policy["bearer"]["token"].as_str() {
        return Some(format!("Bearer {token}"));
    }
    let (name, word) = (policy["basic"]["username"].as_str()?, policy["basic"]["password"].as_str()?);
    Some(format!("Basic {}", STANDARD.encode(format!("{name}:{word}"))))
}

/// A value as it stands in a URL or a header.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn with_query(uri: &str, query: &Map<String, Value>) -> String {
    let mut text = uri.to_owned();
    for (name, value) in query.iter().filter(|(_, value)| !value.is_null()) {
        let values = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(&format!("{}={}", encoded(name), encoded(&plain(value))));
        }
    }
    text
}

/// Percent-encoded, but for what never needs to be.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
        all
    })
}

/// What of an answer is the task's output.
pub(super) fn shown(request: &Request<'_>, told: &Told, call: &Value) -> Result<Value, Error> {
    let redirect = call["redirect"] == true;
    let good = if redirect { 200..400 } else { 200..300 };
    if !good.contains(&told.status) {
        let fault = Fault::new(Code::Upstream, format!("{} {} answered {}", request.method, request.uri, told.status));
        let mut error = Error::of_call(&fault, "communication");
        error.status = told.status;
        return Err(error);
    }
    let header =
        |name: &HeaderName| told.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let is_json = header(&CONTENT_TYPE).split(';').next().is_some_and(|kind| kind.trim().ends_with("json"));
    let content = || match std::str::from_utf8(&told.body) {
        Ok(text) if is_json => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Ok("") => Value::Null,
        Ok(text) => text.into(),
        Err(_) => STANDARD.encode(&told.body).into(),
    };
    Ok(match call["output"].as_str() {
        Some("raw") => STANDARD.encode(&told.body).into(),
        Some("response") => {
            let named = |(name, value): (&HeaderName, &HeaderValue)| {
                Some((name.to_string(), Value::from(value.to_str().ok()?)))
            };
            let headers: Map<String, Value> = told.headers.iter().filter_map(named).collect();
            let asked = json!({ "method": request.method, "uri": request.uri, "headers": request.headers });
            json!({ "request": asked, "statusCode": told.status, "headers": headers, "content": content() })
        }
        _ => content(),
    })
}
