//! Other programs' log lines: the Loki push API, OTLP over HTTP, and plain lines of containers, on the logging server's port.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kernel::limits::{BODY_BYTES_MAX, BODY_TIME};
use kernel::logs::{Line, LogSink};
use kernel::{Access, Clock, Code, Fault, UnixMs};

use crate::access::Guard;
use crate::problem::Problem;
use crate::service::ServiceDoors;

/// Reads a body of some content type into lines; the time is for lines that have none.
pub type Reader = fn(&[u8], &str, UnixMs) -> Result<Vec<Line>, Fault>;

/// What takes lines in.
#[derive(Clone)]
pub struct Intake {
    /// Where lines go.
    pub sink: Arc<LogSink>,
    /// Time.
    pub clock: Clock,
    /// A path, and how what is posted there is read.
    pub readers: Vec<(&'static str, Reader)>,
}

#[derive(Clone)]
struct Door {
    intake: Intake,
    guard: Guard,
    reader: Reader,
}

/// The routes, on the service that has an intake.
pub fn routes(doors: &ServiceDoors) -> Router {
    let mut router = Router::new();
    if let Some(intake) = &doors.intake {
        for (path, reader) in &intake.readers {
            let door = Door { intake: intake.clone(), guard: doors.guard.clone(), reader: *reader };
            router = router.route(path, post(take).with_state(door));
        }
    }
    router
}

async fn take(
    State(door): State<Door>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    accept(&door, remote, &headers, body).await.map_err(|fault| {
        // Here that code means one thing: a form of body that is not read (RFC 9110, 15.5.16).
        match fault.code {
            Code::Unsupported => Problem(fault).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            _ => Problem(fault).into_response(),
        }
    })
}

async fn accept(door: &Door, remote: SocketAddr, headers: &HeaderMap, body: Body) -> Result<Response, Fault> {
    door.guard.admit(headers, remote, Access::Operate, "log intake").await?;
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Fault::unsupported("compressed bodies are not read here").hint("send the body as it is"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect())
        .await
        .map_err(|_| Fault::timeout("the body did not arrive in time"))?
        .map_err(|error| Fault::too_large(format!("body: {error}")).hint(format!("at most {BODY_BYTES_MAX} bytes")))?
        .to_bytes();
    for line in (door.reader)(&body, content_type, door.intake.clock.now_ms())? {
        door.intake.sink.push(line);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
