//! Servers that speak HTTP and not MCP, over the same kept connections: what adapters talk to theirs with.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body_util::Full;
use kernel::{Fault, Tasks};

use super::pool::Exchange;
use super::{Endpoint, Target};

/// One server. Redirects are answers like any other: its headers go nowhere else. Where it is stands in the configuration, so it may be anywhere.
pub struct Plain {
    endpoint: Endpoint,
    base: String,
}

/// A response that has begun.
pub struct Begun(Exchange);

impl Plain {
    /// The server at `base`, to which `headers` go with every request. Its connections are closed when `tasks` stop.
    ///
    /// # Errors
    /// When it is no `http://host…` or `https://host…`.
    pub fn new(base: &Uri, headers: HeaderMap, tasks: Tasks) -> Result<Self, Fault> {
        // How long an answer may take is said by whoever waits for it.
        let timeout = std::time::Duration::ZERO;
        let target = Target { url: base.clone(), headers, allow_private: true, timeout, credentials: None };
        let base = base.path().trim_end_matches('/').to_owned();
        Ok(Self { endpoint: Endpoint::new(&target, tasks)?, base })
    }

    /// Sends JSON, or asks where there is none, and waits for the head of the response.
    ///
    /// # Errors
    /// `unavailable` when there is no connection, or it ended before the response began.
    pub async fn send(&self, path: &str, json: Option<Bytes>) -> Result<Begun, Fault> {
        let bad = |_| Fault::invalid(format!("{}{path} is no path", self.base));
        let path: PathAndQuery = format!("{}{path}", self.base).parse().map_err(bad)?;
        let endpoint = self.endpoint.at(path);
        let (method, body) = json.map_or((Method::GET, Bytes::new()), |json| (Method::POST, json));
        let mut request = endpoint.request(method, HeaderMap::new(), Full::new(body));
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        endpoint.pool.send(request).await.map(Begun)
    }
}

impl Begun {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.0.head.status.as_u16()
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.head.headers
    }

    /// The next piece of its body; `None` at the end.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        self.0.piece().await
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it breaks off, or `too_large` past `max` bytes.
    pub async fn whole(self, max: usize) -> Result<Bytes, Fault> {
        self.0.whole(max).await
    }
}
