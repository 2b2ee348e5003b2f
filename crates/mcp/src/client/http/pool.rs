//! Connections to one server: HTTP/1.1, kept and used again, each by one exchange at a time.
//!
//! An exchange that is dropped before its end closes its connection: that is how a server learns that nobody waits any more.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::ConfigBuilderExt;
use hyper_util::rt::TokioIo;
use kernel::{Fault, OnEnd, Tasks};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::guard;
use crate::client::LinkError;

/// How long a connection attempt may take, TLS included.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an unused connection is trusted: common servers close theirs after five seconds.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// Unused connections kept.
const IDLE_MAX: usize = 64;

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// The connections.
pub(super) struct Pool {
    host: String,
    port: u16,
    host_header: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    allow_private: bool,
    tasks: Tasks,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// Connections to the host of `url`, made under `tasks` when they are needed.
    ///
    /// # Errors
    /// When the URL is not `http://host…` or `https://host…`.
    pub(super) fn new(url: &Uri, allow_private: bool, tasks: Tasks) -> Result<Arc<Self>, Fault> {
        let bad = |what: &str| Fault::invalid(format!("{url}: {what}")).hint("like https://example.com/mcp");
        let host = url.host().ok_or_else(|| bad("no host"))?.to_owned();
        let (tls, default_port) = match url.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name).map_err(|_| bad("not a host name"))?;
                (Some((TlsConnector::from(tls_config()?), name)), 443)
            }
            _ => return Err(bad("neither http nor https")),
        };
        let authority = url.authority().ok_or_else(|| bad("no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("credentials in a URL").hint("put them into a header"));
        }
        let host_header = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("not a host name"))?;
        let port = url.port_u16().unwrap_or(default_port);
        Ok(Arc::new(Self { host, port, host_header, tls, allow_private, tasks, idle: Mutex::default() }))
    }

    /// Whether `authority` names this server.
    pub(super) fn is_at(&self, authority: &http::uri::Authority) -> bool {
        self.host_header.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// `unavailable` when there is no connection or it ended before the response began.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Full<Bytes>>) -> Result<Exchange, Fault> {
        request.headers_mut().insert(HOST, self.host_header.clone());
        loop {
            let kept = self.take();
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            if sender.ready().await.is_err() && !fresh {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(Exchange::new(Arc::clone(self), sender, response)),
                // The connection was closed while it lay idle: the request never left, so it may go out again.
                Err(mut unsent) => match unsent.take_message() {
                    Some(message) if !fresh => request = message,
                    _ => return Err(self.lost(unsent.error())),
                },
            }
        }
    }

    fn lost(&self, error: &hyper::Error) -> Fault {
        Fault::unavailable(format!("{}: connection lost before an answer: {}", self.host, innermost(error)))
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock();
        idle.retain(|kept| kept.since.elapsed() < IDLE_TIME && !kept.sender.is_closed());
        idle.pop().map(|kept| kept.sender)
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !sender.is_closed() && !self.tasks.stopping().is_cancelled() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let slow = |_| Fault::unavailable(format!("{}: no connection in {} s", self.host, CONNECT_TIME.as_secs()));
        let connected = tokio::time::timeout(CONNECT_TIME, self.connect_unbounded()).await.map_err(slow);
        connected.and_then(|connected| connected).map_err(LinkError::unsent)
    }

    async fn connect_unbounded(&self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let failed = |error: &dyn std::fmt::Display| Fault::unavailable(format!("{}: {error}", self.host));
        let addresses = guard::resolve(&self.host, self.port, self.allow_private).await?;
        let stream = TcpStream::connect(&*addresses).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        match &self.tls {
            None => self.shake_hands(TokioIo::new(stream)).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(|error| failed(&error))?;
                self.shake_hands(TokioIo::new(stream)).await
            }
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, Fault>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| Fault::unavailable(format!("{}: {}", self.host, innermost(&error))))?;
        let (host, stopping) = (self.host.clone(), self.tasks.stopping());
        self.tasks.spawn("http connection", OnEnd::Done, async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(host, %error, "connection ended");
                },
                () = stopping.cancelled() => {}
            }
        });
        Ok(sender)
    }
}

/// A request whose response has begun.
pub(in crate::client) struct Exchange {
    /// The response's head.
    pub(super) head: http::response::Parts,
    body: Incoming,
    pool: Arc<Pool>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Exchange {
    fn new(pool: Arc<Pool>, sender: SendRequest<Full<Bytes>>, response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self { head, body, pool, sender: Some(sender) }
    }

    /// The next piece of the body; `None` at its end, after which the connection is free for others.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| {
                Fault::unavailable(format!("{}: the answer broke off: {}", self.pool.host, innermost(&error)))
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        self.release();
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// `too_large` past `max` bytes.
    pub(super) async fn whole(mut self, max: usize) -> Result<Bytes, Fault> {
        let too_large = || Fault::too_large(format!("{}: the answer is larger than {max} bytes", self.pool.host));
        let announced = self.head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > max) {
            return Err(too_large());
        }
        let Some(first) = self.piece().await? else { return Ok(Bytes::new()) };
        if self.body.is_end_stream() {
            self.release();
            return Ok(first);
        }
        let mut whole = BytesMut::from(first);
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > max {
                return Err(Fault::too_large(format!("{}: the answer is larger than {max} bytes", self.pool.host)));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    fn release(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.keep(sender);
        }
    }
}

/// How TLS is spoken to others: by the system's roots of trust; where it has none, by those that browsers carry.
pub fn tls_config() -> Result<Arc<ClientConfig>, Fault> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::internal(format!("TLS: {error}")))?;
    let config = match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::info!(%error, "no roots of trust on this system; the built-in ones are used");
            builder.with_webpki_roots().with_no_client_auth()
        }
    };
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

/// hyper's errors say the least on the outside.
fn innermost(error: &hyper::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
