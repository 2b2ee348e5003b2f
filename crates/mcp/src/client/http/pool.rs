//! Connections to one server: HTTP/1.1, kept and used again, each by one exchange at a time.
//!
//! An exchange that is dropped before its end closes its connection: that is how a server learns that nobody waits any more.
//!
//! A connection is driven by whoever uses it, inside the wait for its answer: a task of its own would have to be woken for every step, and
//! each waking is dearer than the step.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
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
use tokio::time::Instant;
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

/// One connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

impl Connection {
    /// Whether the server has closed it. What came while nobody used it is looked at now.
    fn is_closed(&mut self) -> bool {
        self.driver.advance(&mut Context::from_waker(Waker::noop()));
        self.sender.is_closed()
    }
}

/// What moves a connection's bytes; nothing once it has ended. Never locked: the lock only says that two threads cannot poll it at once.
struct Driver(Mutex<Option<BoxFuture<'static, ()>>>);

impl Driver {
    fn advance(&mut self, cx: &mut Context<'_>) {
        let running = self.0.get_mut();
        if running.as_mut().is_some_and(|running| running.as_mut().poll(cx).is_ready()) {
            *running = None;
        }
    }

    /// Waits for `work`, which the connection brings about.
    async fn until<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            self.advance(cx);
            work.as_mut().poll(cx)
        })
        .await
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Default)]
struct Kept {
    idle: Vec<Idle>,
    /// Whether a task is there that closes them in time.
    watched: bool,
}

/// The connections.
pub(super) struct Pool {
    host: String,
    port: u16,
    host_header: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    allow_private: bool,
    tasks: Tasks,
    kept: Mutex<Kept>,
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
        Ok(Arc::new(Self { host, port, host_header, tls, allow_private, tasks, kept: Mutex::default() }))
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
            let mut connection = match kept {
                Some(connection) => connection,
                // Apart, as everything is here that is large and seldom: what is waited for in place is carried by every call.
                None => Box::pin(self.connect()).await?,
            };
            let Connection { sender, driver } = &mut connection;
            if driver.until(sender.ready()).await.is_err() && !fresh {
                continue;
            }
            match driver.until(sender.try_send_request(request)).await {
                Ok(response) => return Ok(Exchange::new(Arc::clone(self), connection, response)),
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

    fn take(&self) -> Option<Connection> {
        let mut kept = self.kept.lock();
        while let Some(mut idle) = kept.idle.pop() {
            if idle.since.elapsed() < IDLE_TIME && !idle.connection.is_closed() {
                return Some(idle.connection);
            }
        }
        None
    }

    fn keep(self: &Arc<Self>, connection: Connection) {
        let mut kept = self.kept.lock();
        if kept.idle.len() >= IDLE_MAX || self.tasks.stopping().is_cancelled() {
            return;
        }
        kept.idle.push(Idle { connection, since: Instant::now() });
        if !std::mem::replace(&mut kept.watched, true) {
            self.close_in_time();
        }
    }

    /// Closes what nobody used for long, until nothing is kept.
    fn close_in_time(self: &Arc<Self>) {
        let (pool, stopping) = (Arc::downgrade(self), self.tasks.stopping());
        self.tasks.spawn("idle http connections", OnEnd::Done, async move {
            loop {
                let stopped = tokio::time::timeout(IDLE_TIME, stopping.cancelled()).await.is_ok();
                let Some(pool) = pool.upgrade() else { return };
                let mut kept = pool.kept.lock();
                kept.idle.retain(|idle| !stopped && idle.since.elapsed() < IDLE_TIME);
                kept.watched = !kept.idle.is_empty();
                if !kept.watched {
                    return;
                }
            }
        });
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let slow = |_| Fault::unavailable(format!("{}: no connection in {} s", self.host, CONNECT_TIME.as_secs()));
        let connected = tokio::time::timeout(CONNECT_TIME, self.connect_unbounded()).await.map_err(slow);
        connected.and_then(|connected| connected).map_err(LinkError::unsent)
    }

    async fn connect_unbounded(&self) -> Result<Connection, Fault> {
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

    async fn shake_hands<S>(&self, stream: S) -> Result<Connection, Fault>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| Fault::unavailable(format!("{}: {}", self.host, innermost(&error))))?;
        let (host, stopping) = (self.host.clone(), self.tasks.stopping());
        let running = async move {
            tokio::select! {
                biased;
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(host, %error, "connection ended");
                },
                () = stopping.cancelled() => {}
            }
        };
        Ok(Connection { sender, driver: Driver(Mutex::new(Some(Box::pin(running)))) })
    }
}

/// A request whose response has begun.
pub(in crate::client) struct Exchange {
    /// The response's head.
    pub(super) head: http::response::Parts,
    body: Incoming,
    pool: Arc<Pool>,
    /// Until it is free for others.
    connection: Option<Connection>,
}

impl Exchange {
    fn new(pool: Arc<Pool>, connection: Connection, response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self { head, body, pool, connection: Some(connection) }
    }

    /// The next piece of the body; `None` at its end, after which the connection is free for others.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(connection) = &mut self.connection
            && let Some(frame) = connection.driver.until(self.body.frame()).await
        {
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
        if let Some(connection) = self.connection.take() {
            self.pool.keep(connection);
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    /// Answers every request on one connection, until `ends` or the other side closes it; then says how many there were.
    async fn serve(listener: &TcpListener, ends: oneshot::Receiver<()>) -> usize {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut seen, mut requests) = (Vec::new(), 0);
        let answering = async {
            loop {
                let mut some = [0; 1_024];
                let count = stream.read(&mut some).await.unwrap();
                if count == 0 {
                    return;
                }
                seen.extend_from_slice(&some[..count]);
                if seen.ends_with(b"\r\n\r\n") {
                    seen.clear();
                    requests += 1;
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                }
            }
        };
        tokio::select! {
            () = answering => {}
            Ok(()) = ends => {}
        }
        requests
    }

    async fn ask(pool: &Arc<Pool>) -> Bytes {
        let request = Request::get("/").body(Full::default()).unwrap();
        pool.send(request).await.unwrap().whole(10).await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_used_again_replaced_and_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let tasks = Tasks::new();
        let pool = Pool::new(&url, true, tasks.child()).unwrap();

        let (end, ends) = oneshot::channel();
        let calls = async {
            assert_eq!((ask(&pool).await, ask(&pool).await), ("hi".into(), "hi".into()));
            end.send(()).unwrap();
        };
        let (served, ()) = tokio::join!(serve(&listener, ends), calls);
        assert_eq!(served, 2, "both on one connection");

        // The server has closed it. That is seen before it is used, and costs nobody an answer.
        while !pool.kept.lock().idle[0].connection.is_closed() {
            tokio::task::yield_now().await;
        }
        let (_never, ends) = oneshot::channel();
        let again = async {
            assert_eq!(ask(&pool).await, "hi");
            assert_eq!(pool.kept.lock().idle.len(), 1);
            // Nobody wants it any more: the server sees it end, without a word from us.
            tokio::time::pause();
        };
        let (served, ()) = tokio::join!(serve(&listener, ends), again);
        assert_eq!(served, 1);
        assert!(pool.kept.lock().idle.is_empty());
    }

    #[tokio::test]
    async fn whoever_owns_them_closes_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let tasks = Tasks::new();
        let pool = Pool::new(&url, true, tasks.child()).unwrap();
        let (_never, ends) = oneshot::channel();
        let calls = async {
            ask(&pool).await;
            tasks.stop_because("the test ends");
        };
        let (served, ()) = tokio::join!(serve(&listener, ends), calls);
        assert_eq!(served, 1);
    }
}
