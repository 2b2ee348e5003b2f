//! Requests that servers make to addresses that callers or configuration name.
//!
//! An address is resolved once, checked, and that very address is connected to. Private ones (this machine, its networks) are refused
//! unless the [`Reach`] says otherwise; redirects are not followed. Every answer is bounded in time and size.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::header::{HOST, HeaderName, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kernel::Fault;
use mcp::client::http::guard::is_private;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// A private address that may be reached: `host`, `host:port`, an IP address or a network (`10.0.0.0/8`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A name or address as it is written in URLs, on one port or on all.
    Host(String, Option<u16>),
    /// A network: an address in it and how many of its leading bits count.
    Net(IpAddr, u8),
}

impl FromStr for Allowed {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad =
            || Fault::invalid(format!("`{text}` names no address")).hint("host, host:port, 10.0.0.5 or 10.0.0.0/8");
        if let Some((address, bits)) = text.split_once('/') {
            let (address, bits): (IpAddr, u8) = (address.parse().map_err(|_| bad())?, bits.parse().map_err(|_| bad())?);
            let width = if address.is_ipv4() { 32 } else { 128 };
            return if bits <= width { Ok(Self::Net(address, bits)) } else { Err(bad()) };
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Net(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        if host.is_empty() || !host.bytes().all(fits) { Err(bad()) } else { Ok(Self::Host(host.to_lowercase(), port)) }
    }
}

impl Allowed {
    fn covers(&self, host: &str, address: SocketAddr) -> bool {
        match self {
            Self::Host(name, port) => name == host && port.is_none_or(|port| port == address.port()),
            Self::Net(network, bits) => match (network, address.ip().to_canonical()) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    same_prefix(u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96, *bits)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.to_bits(), b.to_bits(), *bits),
                _ => false,
            },
        }
    }
}

fn same_prefix(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
}

/// Which addresses may be reached.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Whether all may: the address comes from the configuration, not from a caller.
    pub anywhere: bool,
    /// Private addresses that may; public ones always may.
    pub allowed: Vec<Allowed>,
}

impl Reach {
    /// Anywhere.
    pub const ANYWHERE: Self = Self { anywhere: true, allowed: Vec::new() };

    fn check(&self, host: &str, address: SocketAddr) -> bool {
        self.anywhere || !is_private(address.ip()) || self.allowed.iter().any(|allowed| allowed.covers(host, address))
    }

    /// The addresses of `host` that may be connected to.
    ///
    /// # Errors
    /// [`Code::Unavailable`](kernel::Code::Unavailable) when it does not resolve,
    /// [`Code::PermissionDenied`](kernel::Code::PermissionDenied) when none of its addresses may be reached.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port))
            .await
            .map_err(|error| Fault::unavailable(format!("{host} does not resolve: {error}")))?
            .collect();
        let first = *found.first().ok_or_else(|| Fault::unavailable(format!("{host} has no address")))?;
        let reachable: Vec<SocketAddr> = found.into_iter().filter(|address| self.check(&host, *address)).collect();
        if reachable.is_empty() {
            return Err(Fault::denied(format!("{host}:{port} is a private address ({})", first.ip()))
                .hint("services of the fleet may be reached by their registered addresses; others must be allowed in the configuration"));
        }
        Ok(reachable)
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How.
    pub method: Method,
    /// Where: `http` or `https`.
    pub url: Uri,
    /// With what headers, beside the host and, unless one is among them, the user agent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// With what body.
    pub body: Bytes,
    /// How long everything together may take.
    pub time: Duration,
    /// Largest answer, in bytes.
    pub bytes_max: usize,
}

impl Ask {
    /// A GET with bounds.
    pub fn get(url: Uri, time: Duration, bytes_max: usize) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), time, bytes_max }
    }
}

/// What came back, whatever its status.
#[derive(Debug)]
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Which address answered.
    pub address: SocketAddr,
    /// How long the connection took, TLS included.
    pub connect_time: Duration,
    /// How long all took.
    pub time: Duration,
}

/// A URL's host and port.
///
/// # Errors
/// When it is not `http://host…` or `https://host…`, or holds credentials.
pub fn host_port(url: &Uri) -> Result<(String, u16), Fault> {
    let bad = |what: &str| Fault::invalid(format!("{url}: {what}")).hint("like https://example.com/health");
    let default_port = match url.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(bad("neither http nor https")),
    };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(bad("credentials in a URL"));
    }
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("no host"))?;
    Ok((host.to_lowercase(), url.port_u16().unwrap_or(default_port)))
}

/// Opens a connection, for nothing but to see that it opens. Returns who answered and how long it took.
///
/// # Errors
/// As of [`Reach::resolve`]; `unavailable` or `timeout` when nothing answers.
pub async fn connect(reach: &Reach, host: &str, port: u16, time: Duration) -> Result<(SocketAddr, Duration), Fault> {
    within(time, host, async {
        let began = Instant::now();
        let addresses = reach.resolve(host, port).await?;
        let stream = open(host, &addresses).await?;
        Ok((stream.peer_addr().map_err(|error| lost(host, &error))?, began.elapsed()))
    })
    .await
}

/// Makes a request over a connection of its own.
///
/// # Errors
/// As of [`host_port`] and [`Reach::resolve`]; `unavailable`, `timeout` or `too_large` for what goes wrong after that.
pub async fn fetch(reach: &Reach, ask: Ask) -> Result<Told, Fault> {
    let (host, port) = host_port(&ask.url)?;
    within(ask.time, &host, async {
        let began = Instant::now();
        let addresses = reach.resolve(&host, port).await?;
        let stream = open(&host, &addresses).await?;
        let address = stream.peer_addr().map_err(|error| lost(&host, &error))?;
        if ask.url.scheme_str() != Some("https") {
            return exchange(TokioIo::new(stream), &host, address, began, &ask).await;
        }
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| Fault::invalid(format!("{host} is not a host name")))?;
        let connector = TlsConnector::from(mcp::client::http::tls_config()?);
        let stream = connector.connect(name, stream).await.map_err(|error| lost(&host, &error))?;
        exchange(TokioIo::new(stream), &host, address, began, &ask).await
    })
    .await
}

async fn within<T>(time: Duration, host: &str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let slow = |_| Fault::timeout(format!("{host} did not answer within {} ms", time.as_millis()));
    tokio::time::timeout(time, work).await.map_err(slow)?
}

fn lost(host: &str, error: &dyn std::error::Error) -> Fault {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    Fault::unavailable(format!("{host}: {inner}"))
}

async fn open(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, Fault> {
    TcpStream::connect(addresses).await.map_err(|error| lost(host, &error))
}

async fn exchange<S>(stream: S, host: &str, address: SocketAddr, began: Instant, ask: &Ask) -> Result<Told, Fault>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let connect_time = began.elapsed();
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| lost(host, &error))?;
    let request = request(ask)?;
    let answer = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| lost(host, &error))?;
        let (head, body) = response.into_parts();
        let body = whole(body, host, ask.bytes_max).await?;
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(Told { status, headers, body, address, connect_time, time: began.elapsed() })
    });
    match select(answer, pin!(connection)).await {
        Either::Left((told, _)) => told,
        // The connection may end with the answer's last byte: what came is still to be read.
        Either::Right((_, answer)) => answer.await,
    }
}

fn request(ask: &Ask) -> Result<Request<Full<Bytes>>, Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::invalid(format!("{}: {error}", ask.url));
    let path = ask.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = ask.url.authority().map_or("", http::uri::Authority::as_str);
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(path)
        .body(Full::new(ask.body.clone()))
        .map_err(|error| bad(&error))?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(authority).map_err(|error| bad(&error))?);
    headers.extend(ask.headers.iter().cloned());
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("flotilla"));
    Ok(request)
}

async fn whole(mut body: Incoming, host: &str, bytes_max: usize) -> Result<Bytes, Fault> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| lost(host, &error))?.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(Fault::too_large(format!("{host}: the answer is larger than {bytes_max} bytes")));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use kernel::Code;
    use kernel::{OnEnd, Tasks};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_that_are_allowed() {
        let covers = |allowed: &str, host: &str, address: &str| {
            allowed.parse::<Allowed>().unwrap().covers(host, address.parse().unwrap())
        };
        assert!(covers("10.0.0.0/8", "x", "10.1.2.3:80"));
        assert!(!covers("10.0.0.0/8", "x", "11.1.2.3:80"));
        assert!(covers("127.0.0.1", "localhost", "127.0.0.1:9"));
        assert!(covers("127.0.0.1", "x", "[::ffff:127.0.0.1]:9"), "mapped");
        assert!(covers("fd00::/8", "x", "[fd12::1]:80"));
        assert!(!covers("fd00::/8", "x", "[fe80::1]:80"));
        assert!(covers("0.0.0.0/0", "x", "192.168.0.1:80"));
        assert!(covers("Prometheus:9090", "prometheus", "10.0.0.1:9090"));
        assert!(!covers("prometheus:9090", "prometheus", "10.0.0.1:22"));
        assert!(!covers("prometheus", "evil", "10.0.0.1:80"), "the name counts, not where it leads");
        for bad in ["", "a b", "host:port", "10.0.0.0/33", "x/8", ":80", "a:99999"] {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }

    /// Answers every connection with `answer` as it is; returns where.
    async fn server(tasks: &Tasks, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("test server", OnEnd::Done, async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0u8; 4_096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        address
    }

    fn ask(address: SocketAddr) -> Ask {
        Ask::get(format!("http://{address}/x?y").parse().unwrap(), Duration::from_secs(5), 100)
    }

    #[tokio::test]
    async fn private_addresses_need_leave() {
        let tasks = Tasks::new();
        let address = server(&tasks, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let refused = fetch(&Reach::default(), ask(address)).await.unwrap_err();
        assert_eq!(refused.code, Code::PermissionDenied);
        let refused =
            connect(&Reach::default(), "127.0.0.1", address.port(), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.code, Code::PermissionDenied);
        let reach = Reach { anywhere: false, allowed: vec![format!("{address}").parse().unwrap()] };
        let told = fetch(&reach, ask(address)).await.unwrap();
        assert_eq!((told.status, &told.body[..], told.address), (200, &b"ok"[..], address));
        connect(&reach, "127.0.0.1", address.port(), Duration::from_secs(5)).await.unwrap();
        for url in
            ["http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://localhost/", "http://169.254.169.254/"]
        {
            let ask = Ask::get(url.parse().unwrap(), Duration::from_secs(5), 1);
            let code = fetch(&Reach::default(), ask).await.unwrap_err().code;
            assert!(matches!(code, Code::PermissionDenied | Code::Unavailable), "{url}: {code}");
        }
        for url in ["ftp://example.com/", "http://user@example.com/", "/x"] {
            let ask = Ask::get(url.parse().unwrap(), Duration::from_secs(5), 1);
            assert_eq!(fetch(&Reach::default(), ask).await.unwrap_err().code, Code::InvalidArgument, "{url}");
        }
    }

    #[tokio::test]
    async fn answers_are_bounded_and_ends_are_told() {
        let tasks = Tasks::new();
        let code = async |answer: &'static [u8]| {
            let address = server(&tasks, answer).await;
            fetch(&Reach::ANYWHERE, ask(address)).await.map(|told| told.body).map_err(|fault| fault.code)
        };
        let long = b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(code(long).await, Err(Code::TooLarge));
        assert_eq!(code(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end").await.unwrap(), "until the end");
        assert_eq!(code(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nbroken").await, Err(Code::Unavailable));
        assert_eq!(code(b"garbage\r\n\r\n").await, Err(Code::Unavailable));
        assert_eq!(code(b"").await, Err(Code::Unavailable));
        let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slow = Ask { time: Duration::from_millis(50), ..ask(deaf.local_addr().unwrap()) };
        assert_eq!(fetch(&Reach::ANYWHERE, slow).await.unwrap_err().code, Code::Timeout);
    }
}
