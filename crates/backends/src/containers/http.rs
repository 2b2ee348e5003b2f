//! One exchange with what runs containers: over TCP, TLS or a socket in the file system, on a connection of its own, because they are rare.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri, response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::{Fault, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Where somebody answers.
pub(super) struct Door {
    at: At,
    /// What the request says it is for.
    host: String,
    /// Who it is, for people: `Docker at docker-proxy:2375`.
    pub(super) name: String,
    /// The file of a token that goes with each request.
    token: Option<PathBuf>,
    answer_time: Duration,
}

enum At {
    Socket(PathBuf),
    Tcp(String, u16),
    Tls(String, u16, TlsConnector),
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<(&'static str, Value)>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, body: None }
    }
}

/// What is answered.
pub(super) struct Answer {
    head: response::Parts,
    body: Bytes,
}

/// A stream to talk over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Door {
    /// The door of `who` at an address, whose answers take so long at most. `certificates` is a file of those that vouch for it.
    pub(super) fn new(who: &str, address: &str, answer_time: Duration, certificates: Option<PathBuf>) -> Result<Self> {
        let wrong = |why: &str| {
            Fault::invalid(format!("{address} is no address of {who}: {why}"))
                .hint("http://host:port, https://host:port or unix:///path")
        };
        if let Some(path) = address.strip_prefix("unix://") {
            let name = format!("{who} at {path}");
            return Ok(Self { at: At::Socket(path.into()), host: "localhost".into(), name, token: None, answer_time });
        }
        let uri: Uri = address.parse().map_err(|_| wrong("it cannot be read"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("it has more than a host and a port"));
        }
        let host = authority.host().to_owned();
        let at = match uri.scheme_str() {
            Some("http") => At::Tcp(host, authority.port_u16().unwrap_or(80)),
            Some("https") => At::Tls(host, authority.port_u16().unwrap_or(443), connector(who, certificates)?),
            _ => return Err(wrong("it begins with none of http://, https:// and unix://")),
        };
        let name = format!("{who} at {authority}");
        Ok(Self { at, host: authority.to_string(), name, token: None, answer_time })
    }

    /// The same with a token in each request; never in clear to another machine.
    pub(super) fn with_token(mut self, token: PathBuf) -> Result<Self> {
        if let At::Tcp(host, _) = &self.at
            && !matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
        {
            return Err(Fault::invalid(format!("{} is to be told a token over http", self.name)).hint("https://…"));
        }
        self.token = Some(token);
        Ok(self)
    }

    /// Asks, and reads the answer. What was asked may have been done when it is not told of in time.
    ///
    /// # Errors
    /// [`Code::Unavailable`](kernel::Code::Unavailable) when nobody answers; [`Code::Timeout`](kernel::Code::Timeout) when it takes too long.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer> {
        let request = self.request(ask)?;
        let connected = timeout(CONNECT_TIME, self.connect()).await;
        let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let stream = connected.unwrap_or_else(|_| late()).map_err(|error| {
            Fault::unavailable(format!("{} cannot be reached: {error}", self.name)).hint("see whether it runs")
        })?;
        let answered = timeout(self.answer_time, exchange(stream, request)).await.map_err(|_| {
            Fault::timeout(format!("{} gave no answer within {} s", self.name, self.answer_time.as_secs()))
                .hint("it may go on; service_status shows how the service stands")
        })?;
        let (head, body) = answered
            .map_err(|why| Fault::unavailable(format!("{} broke off: {why}", self.name)).hint("see its log"))?;
        Ok(Answer { head, body })
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(ask.method).uri(ask.path).header(HOST, &self.host);
        if let Some(file) = &self.token {
            let token = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| Fault::not_configured(format!("{} holds no token", file.display())))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let mut bytes = Bytes::new();
        if let Some((kind, body)) = ask.body {
            request = request.header(CONTENT_TYPE, kind);
            bytes = Bytes::from(body.to_string());
        }
        request
            .body(Full::new(bytes))
            .map_err(|error| Fault::internal(format!("cannot make a request to {}: {error}", self.name)))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.at {
            At::Socket(path) => Box::new(UnixStream::connect(path).await?),
            At::Tcp(host, port) => Box::new(tcp(host, *port).await?),
            At::Tls(host, port, connector) => {
                let name = ServerName::try_from(bare(host).to_owned()).map_err(std::io::Error::other)?;
                Box::new(connector.connect(name, tcp(host, *port).await?).await?)
            }
        })
    }

    /// The refusal that an answer is, in our words; `what` it was about.
    pub(super) fn refusal(&self, answer: &Answer, what: &str, allow: &str) -> Fault {
        let said = |why: &str| format!("{} {why}: {what}: {}", self.name, answer.said());
        match answer.status() {
            StatusCode::NOT_FOUND => Fault::not_found(said("knows none")),
            StatusCode::CONFLICT => Fault::conflict(said("refuses")).hint("it is being changed; try again"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Fault::not_configured(said("does not let us")).hint(allow)
            }
            _ => Fault::unavailable(said("could not")).hint("see its log"),
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Reads what is said.
    pub(super) fn read<T: DeserializeOwned>(&self, who: &Door) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Fault::unavailable(format!("{} answers what cannot be read: {error}", who.name)))
    }

    /// What a refusal says: Docker and Kubernetes both have it in `message`.
    fn said(&self) -> String {
        const SHOWN_MAX: usize = 200;
        let message = serde_json::from_slice::<Value>(&self.body).ok();
        let message = message.as_ref().and_then(|body| body["message"].as_str()).unwrap_or("no reason");
        let shown: String = message.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
        format!("{} ({shown})", self.status().as_u16())
    }
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> std::result::Result<(response::Parts, Bytes), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let asking = async move {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok((head, body.to_bytes()))
    };
    // The connection moves the bytes of both; when there is nothing more to ask, it ends. How it ended is told to whoever asked.
    let (_ended, answered) = tokio::join!(connection, asking);
    answered
}

async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((bare(host), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A host without the brackets that addresses of version 6 have in URLs.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn connector(who: &str, certificates: Option<PathBuf>) -> Result<TlsConnector> {
    let file = certificates.ok_or_else(|| {
        Fault::invalid(format!("{who} has no certificates to be known by")).hint("http:// or unix://")
    })?;
    let pem = std::fs::read(&file).map_err(|error| unreadable(&file, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| Fault::not_configured(format!("{}: {error}", file.display())))?;
        roots.add(certificate).map_err(|error| Fault::not_configured(format!("{}: {error}", file.display())))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::internal(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

pub(super) fn unreadable(file: &std::path::Path, error: &std::io::Error) -> Fault {
    Fault::not_configured(format!("{} cannot be read: {error}", file.display()))
        .hint("the pod needs an account whose token is put into it, or containers.account another folder")
}
