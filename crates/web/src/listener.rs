//! Listeners: bind, bound, serve, drain.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use kernel::limits::{CONNECTIONS_MAX, HEAD_TIME};
use kernel::metrics::Metrics;
use kernel::{Fault, OnEnd, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::tls::Tls;

/// How long requests under way may take to end once a listener stops.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A port held, not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// The address, with the port the system chose if 0 was asked for.
    pub address: SocketAddr,
}

/// Takes a port.
///
/// # Errors
/// When it is taken: the fault names the process that holds it, where the system tells.
pub async fn bind(address: SocketAddr) -> Result<Bound, Fault> {
    let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = crate::listener::holder(address.port());
            Fault::unavailable(format!(
                "port {} is taken{}",
                address.port(),
                holder.map(|by| format!(" by {by}")).unwrap_or_default()
            ))
            .hint("stop that process, or choose another port in flotilla.toml ([http])")
        }
        ErrorKind::PermissionDenied => Fault::denied(format!("port {} may not be opened by this user", address.port()))
            .hint("choose a port above 1023"),
        _ => Fault::unavailable(format!("cannot listen on {address}: {error}")),
    })?;
    let address = listener.local_addr().map_err(|error| Fault::internal(format!("address of {address}: {error}")))?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// Serves `router` until `tasks` stop; then finishes what is under way. Over TLS when given a certificate.
    pub fn serve(self, router: Router, tls: Option<Tls>, tasks: &Tasks, metrics: Metrics) {
        let owner = tasks.clone();
        tasks.spawn("listener", OnEnd::StopOwner, async move { self.run(router, tls, owner, metrics).await });
    }

    async fn run(self, router: Router, tls: Option<Tls>, tasks: Tasks, metrics: Metrics) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let stopping = tasks.stopping();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopping.cancelled() => break,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: wait for some to come back rather than spin.
                    tracing::warn!(%error, address = %self.address, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Past the limit the connection is closed at once: a client sees that, and a queue would only hide it.
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
            // Without this an event on a stream waits 40 ms for the client's acknowledgement.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY not set");
            }
            let (router, watcher, tls) = (router.clone(), graceful.watcher(), tls.clone());
            let connection = async move {
                match tls {
                    Some(tls) => connection(tls.greet(stream).await?, remote, router, watcher).await,
                    None => connection(stream, remote, router, watcher).await,
                }
            };
            let metrics = metrics.clone();
            tasks.spawn("connection", OnEnd::Done, async move {
                metrics.connections.inc();
                if let Err(error) = connection.await {
                    tracing::debug!(%error, %remote, "connection ended");
                }
                metrics.connections.dec();
                drop(permit);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
            tracing::warn!(address = %self.address, "requests were cut: they did not end in time");
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn connection<S>(stream: S, remote: SocketAddr, router: Router, watcher: Watcher) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(remote));
            Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await
}

/// The process that listens on `port`, as `name (pid N)`.
#[cfg(target_os = "linux")]
pub fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listening_inode(table, port))?;
    let socket = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors.flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == socket.as_str())
        });
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

#[cfg(target_os = "linux")]
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let here = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        (here == port && *fields.get(3)? == LISTEN).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// The process that listens on `port`: this system does not tell without help.
#[cfg(not(target_os = "linux"))]
pub fn holder(_port: u16) -> Option<String> {
    None
}
