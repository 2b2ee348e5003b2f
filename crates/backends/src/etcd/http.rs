//! etcd's JSON gateway over HTTP: one exchange, or a stream of lines, with the member that answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::{Code, Fault, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wire::Refusal;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long connecting to one member may take.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Most members that are tried.
const ENDPOINTS_MAX: usize = 16;

/// The members, and the connections to them.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoints: Vec<String>,
    /// Which member is asked first: the one that answered last.
    current: AtomicUsize,
    place: String,
}

/// Lines of an answer that goes on.
pub(super) struct Lines {
    body: Incoming,
    read: BytesMut,
    gone: Fault,
}

impl Http {
    /// For members parted by commas.
    pub(super) fn new(endpoints: &str) -> Result<Self> {
        let mut members = Vec::new();
        let mut places = Vec::new();
        for endpoint in endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty()) {
            let (url, place) = member(endpoint)?;
            members.push(url);
            places.push(place);
        }
        if members.is_empty() || members.len() > ENDPOINTS_MAX {
            return Err(wrong(&format!("names {} members", members.len())));
        }
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            endpoints: members,
            current: AtomicUsize::new(0),
            place: places.join(","),
        })
    }

    /// Hosts and ports, for people.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when no member answers, or the one that does has no leader; [`Code::NotFound`] when etcd knows no such thing;
    /// [`Code::NotConfigured`] when it wants a login.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let exchange = async {
            let response = self.send(path, body).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.gone(&format!("broke off its answer: {error}")))?.to_bytes();
            if !status.is_success() {
                return Err(self.refusal(&body));
            }
            serde_json::from_slice(&body).map_err(|error| self.gone(&format!("answers what cannot be read: {error}")))
        };
        let late = || self.gone(&format!("gave no answer within {} s", ANSWER_TIME.as_secs()));
        let answer = tokio::time::timeout(ANSWER_TIME, exchange).await.unwrap_or_else(|_| Err(late()));
        if answer.as_ref().is_err_and(|fault: &Fault| fault.code == Code::Unavailable) {
            // Another one next time. What was asked may have been done, so it is not said again.
            self.current.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Asks for an answer that goes on.
    pub(super) async fn open(&self, path: &str, body: &Value) -> Result<Lines> {
        let response = self.send(path, body).await?;
        if !response.status().is_success() {
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            return Err(self.refusal(&body.map(|body| body.to_bytes()).unwrap_or_default()));
        }
        Ok(Lines { body: response.into_body(), read: BytesMut::new(), gone: self.gone("broke off the watch") })
    }

    /// Sends to the first member that can be connected to.
    async fn send(&self, path: &str, body: &Value) -> Result<Response<Incoming>> {
        let body = Bytes::from(body.to_string());
        let first = self.current.load(Ordering::Relaxed);
        let mut why = String::new();
        for turn in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[(first + turn) % self.endpoints.len()];
            let request = Request::post(format!("{endpoint}/v3/{path}"))
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()))
                .map_err(|error| Fault::internal(format!("cannot make a request to etcd: {error}")))?;
            match self.client.request(request).await {
                Ok(response) => {
                    self.current.store(first + turn, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(error) if error.is_connect() => why = root_cause(&error),
                Err(error) => return Err(self.gone(&format!("cannot be reached: {}", root_cause(&error)))),
            }
        }
        Err(self.gone(&format!("cannot be reached: {why}")))
    }

    /// That it does not answer as it should.
    pub(super) fn gone(&self, what: &str) -> Fault {
        Fault::unavailable(format!("etcd at {} {what}", self.place)).hint("it is looked for")
    }

    fn refusal(&self, body: &[u8]) -> Fault {
        const INVALID: u32 = 3;
        const NOT_FOUND: u32 = 5;
        const DENIED: u32 = 7;
        const UNAUTHENTICATED: u32 = 16;
        let refusal = serde_json::from_slice(body).unwrap_or(Refusal { error: String::new(), code: 0 });
        let said = format!("etcd at {} refuses: {}", self.place, refusal.error);
        let wants_login = refusal.code == INVALID && refusal.error.contains("user name");
        match refusal.code {
            NOT_FOUND => Fault::not_found(said),
            DENIED | UNAUTHENTICATED => login(said),
            _ if wants_login => login(said),
            _ => Fault::unavailable(said).hint("look at its log, its disk and its members"),
        }
    }
}

fn login(said: String) -> Fault {
    Fault::not_configured(said).hint("the fleet logs in to no etcd: keep it in a network of its own, without users")
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1).freeze();
                return Ok(Some(line.slice(..end)));
            }
            if self.read.len() > ANSWER_BYTES_MAX {
                return Err(self.gone.clone());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
                Some(Err(_)) => return Err(self.gone.clone()),
                None => return Ok(None),
            }
        }
    }
}

/// A member's URL without a slash at its end, and its host and port.
fn member(endpoint: &str) -> Result<(String, String)> {
    let endpoint = endpoint.trim_end_matches('/');
    let uri: Uri = endpoint.parse().map_err(|_| wrong("has a member that is no URL"))?;
    let authority = uri.authority().ok_or_else(|| wrong("has a member that is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("has a member that begins with neither http:// nor https://"));
    }
    if authority.as_str().contains('@') {
        return Err(wrong("has a login in it, and the fleet logs in to no etcd"));
    }
    Ok((endpoint.to_owned(), authority.to_string()))
}

fn wrong(why: &str) -> Fault {
    Fault::invalid(format!("ETCD_ENDPOINTS {why}"))
        .hint(format!("http://host:2379, or several parted by commas, at most {ENDPOINTS_MAX}"))
}

/// The innermost cause, which is what tells people something.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
