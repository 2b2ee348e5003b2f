//! Upstreams over HTTP: what every revision of the transport shares.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::{Caller, Code, Fault, Tasks};
use serde_json::json;

use super::sse::{self, Event};
use crate::wire::{Message, Unreadable};

mod fleet;
mod follow;
pub mod guard;
mod legacy;
mod listen;
mod modern;
mod plain;
mod pool;
mod probe;
mod sse2024;
mod standing;

pub use fleet::FleetHost;
pub use legacy::LegacyLink;
pub use modern::ModernLink;
pub use plain::{Begun, Plain};
pub use pool::tls_config;

use pool::{Exchange, Pool};
pub use probe::HttpServer;
pub use sse2024::SseLink;

/// Repeats the revision of a request.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Bytes of a refusal that are read for its reason.
const REASON_BYTES_MAX: usize = 64 << 10;

/// An upstream's address and how to treat it.
#[derive(Clone)]
pub struct Target {
    /// Its endpoint.
    pub url: Uri,
    /// Headers that go with every request: credentials, mostly. Mark those as sensitive.
    pub headers: HeaderMap,
    /// Whether it may be on this machine or its own network.
    pub allow_private: bool,
    /// How long it may be silent on a call.
    pub timeout: Duration,
    /// Headers that speak for the caller of a request; none to keep callers to ourselves.
    pub credentials: Option<Credentials>,
}

/// Makes headers that speak for a caller.
pub type Credentials = Arc<dyn Fn(&Caller) -> Result<HeaderMap, Fault> + Send + Sync>;

/// One endpoint over pooled connections.
#[derive(Clone)]
pub(super) struct Endpoint {
    pool: Arc<Pool>,
    path: PathAndQuery,
    headers: HeaderMap,
    credentials: Option<Credentials>,
    /// The host, for messages.
    pub(super) host: String,
    /// How long it may be silent on a call.
    pub(super) timeout: Duration,
}

impl Endpoint {
    pub(super) fn new(target: &Target, tasks: Tasks) -> Result<Self, Fault> {
        let pool = Pool::new(&target.url, target.allow_private, tasks)?;
        let path = target.url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut headers = target.headers.clone();
        headers.insert(USER_AGENT, HeaderValue::from_static("flotilla"));
        let host = target.url.host().unwrap_or_default().to_owned();
        let credentials = target.credentials.clone();
        Ok(Self { pool, path, headers, credentials, host, timeout: target.timeout })
    }

    /// Adds the headers that speak for `caller`, where such are sent.
    pub(super) fn sign(&self, headers: &mut HeaderMap, caller: &Caller) -> Result<(), Fault> {
        if let Some(credentials) = &self.credentials {
            headers.extend(credentials(caller)?);
        }
        Ok(())
    }

    /// Sends a message.
    pub(super) async fn post(&self, text: String, headers: HeaderMap) -> Result<Exchange, Fault> {
        let mut request = self.request(Method::POST, headers, Full::new(Bytes::from(text)));
        let own = request.headers_mut();
        own.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        own.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        self.pool.send(request).await
    }

    /// Asks for a stream of events.
    pub(super) async fn get(&self, headers: HeaderMap) -> Result<Exchange, Fault> {
        let mut request = self.request(Method::GET, headers, Full::default());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.pool.send(request).await
    }

    /// Ends a session.
    pub(super) async fn delete(&self, headers: HeaderMap) -> Result<Exchange, Fault> {
        self.pool.send(self.request(Method::DELETE, headers, Full::default())).await
    }

    /// Whether `authority` names this server.
    pub(super) fn is_at(&self, authority: &http::uri::Authority) -> bool {
        self.pool.is_at(authority)
    }

    /// The same server at another path.
    fn at(&self, path: PathAndQuery) -> Self {
        Self { path, ..self.clone() }
    }

    fn request(&self, method: Method, mut headers: HeaderMap, body: Full<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(self.path.clone());
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        *request.headers_mut() = headers;
        request
    }

    /// What came instead of an answer, as a fault.
    pub(super) fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Fault {
        let host = &self.host;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Fault::upstream(format!("{host} refuses our credentials: {status}"))
                    .hint("they are headers in the upstream's definition")
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let seconds =
                    headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
                let retry_after_ms = seconds.unwrap_or(1).min(3_600) * 1_000;
                Fault::new(Code::RateLimited, format!("{host} wants fewer requests"))
                    .hint(format!("try again in {retry_after_ms} ms"))
                    .data(json!({ "retry_after_ms": retry_after_ms }))
            }
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Fault::unavailable(format!("{host} answers {status}"))
            }
            _ => Fault::upstream(format!("{host} answers {status}{}", excerpt(body))),
        }
    }
}

/// The beginning of a body as far as a person can read it.
fn excerpt(body: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(body).chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// A response to a message.
pub(super) enum Posted {
    /// Taken; there is nothing to say.
    Accepted,
    /// One message.
    Message(StatusCode, Box<Message>),
    /// Messages as they come.
    Stream(Box<Events>),
    /// No message at all.
    Refused(StatusCode, Fault),
}

/// Sorts a response.
///
/// # Errors
/// When it breaks off or is too large.
pub(super) async fn sort(endpoint: &Endpoint, exchange: Exchange) -> Result<Posted, Fault> {
    let (status, kind) = (exchange.head.status, exchange.head.headers.get(CONTENT_TYPE).cloned());
    let kind = kind.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if status.is_success() && essence.eq_ignore_ascii_case("text/event-stream") {
        return Ok(Posted::Stream(Box::new(Events::new(exchange))));
    }
    let headers = if status.is_success() { HeaderMap::new() } else { exchange.head.headers.clone() };
    let max = if status.is_success() { ANSWER_BYTES_MAX } else { REASON_BYTES_MAX };
    let body = exchange.whole(max).await?;
    if essence.eq_ignore_ascii_case("application/json") {
        match Message::read(&body) {
            Ok(message) => return Ok(Posted::Message(status, Box::new(message))),
            Err(unreadable) if status.is_success() => return Err(not_a_message(&endpoint.host, &unreadable)),
            // A refusal in words of its own.
            Err(_) => {}
        }
    }
    if status == StatusCode::ACCEPTED || (status.is_success() && body.is_empty()) {
        return Ok(Posted::Accepted);
    }
    if status.is_success() {
        let what = format!(
            "{} answers with {} instead of JSON or events",
            endpoint.host,
            if essence.is_empty() { "nothing" } else { essence }
        );
        return Ok(Posted::Refused(status, Fault::upstream(what)));
    }
    Ok(Posted::Refused(status, endpoint.refusal(status, &headers, &body)))
}

fn not_a_message(host: &str, unreadable: &Unreadable) -> Fault {
    Fault::upstream(format!("{host}: not an answer: {}", unreadable.error.message))
}

/// The messages of a stream.
pub(super) struct Events {
    exchange: Exchange,
    reader: sse::Reader,
    /// The place this stream was taken up at.
    taken_up_at: Option<String>,
}

impl Events {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, reader: sse::Reader::new(ANSWER_BYTES_MAX), taken_up_at: None }
    }

    /// This stream as the continuation of one that broke.
    pub(super) fn going_on_from(mut self, broken: &Self) -> Self {
        self.taken_up_at = broken.last_id().map(ToOwned::to_owned);
        self
    }

    /// The next event; `None` when the stream is over.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.reader.next_event() {
                return Ok(Some(event));
            }
            let Some(piece) = self.exchange.piece().await? else { return Ok(None) };
            self.reader
                .push(&piece)
                .map_err(|_| Fault::too_large(format!("an event is larger than {ANSWER_BYTES_MAX} bytes")))?;
        }
    }

    /// The next message; `None` when the stream is over.
    pub(super) async fn message(&mut self, host: &str) -> Result<Option<Message>, Fault> {
        while let Some(event) = self.next().await? {
            if !event.name.is_empty() && event.name != "message" {
                continue;
            }
            // An event without data only names a place to go on from.
            if event.data.is_empty() {
                continue;
            }
            return Message::read(&event.data).map(Some).map_err(|unreadable| not_a_message(host, &unreadable));
        }
        Ok(None)
    }

    /// Where to go on from after a break.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.reader.last_id().or(self.taken_up_at.as_deref())
    }

    /// How long to wait before that, if the server said.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.reader.retry()
    }
}
