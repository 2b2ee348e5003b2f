//! A small listener for a [`Door`]: what `web` does in the fleet, for tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kernel::audit::Record;
use kernel::{Fault, OnEnd, Tasks};
use mcp::Handler;
use mcp::http::Door;
use mcp::phases::Trail;
use tokio::net::TcpListener;

/// Serves `handler` through `door` on `listener` until `tasks` stop.
pub(crate) async fn listen(listener: TcpListener, door: Arc<Door>, handler: Arc<dyn Handler>, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let Ok((stream, remote)) = accepted else { continue };
        // An event on a stream must not wait for the client's acknowledgement of the one before.
        stream.set_nodelay(true).ok();
        let (door, handler) = (Arc::clone(&door), Arc::clone(&handler));
        tasks.spawn("connection", OnEnd::Done, async move {
            let service = service_fn(|request| answer(&door, &handler, request, remote));
            // An error is a client that left or that does not speak HTTP.
            let http =
                http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(kernel::limits::HEAD_TIME).clone();
            http.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(
    door: &Door,
    handler: &Arc<dyn Handler>,
    request: http::Request<hyper::body::Incoming>,
    remote: SocketAddr,
) -> Result<http::Response<mcp::http::Body>, Infallible> {
    Ok(door.serve(Arc::clone(handler), request, remote).await)
}

/// A trail that keeps nothing.
pub(crate) struct NoTrail;

#[async_trait]
impl Trail for NoTrail {
    async fn record(&self, _record: Record) -> Result<(), Fault> {
        Ok(())
    }
}
