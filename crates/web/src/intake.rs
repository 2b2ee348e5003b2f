//! Other programs' log lines: the Loki push API, OTLP over HTTP, and plain lines of containers, on the logging server's port.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
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
    let packed = is_packed(headers)?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect())
        .await
        .map_err(|_| Fault::timeout("the body did not arrive in time"))?
        .map_err(|error| Fault::too_large(format!("body: {error}")).hint(format!("at most {BODY_BYTES_MAX} bytes")))?
        .to_bytes();
    let body = if packed { unpacked(&body)? } else { body };
    for line in (door.reader)(&body, content_type, door.intake.clock.now_ms())? {
        door.intake.sink.push(line);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether the body is compressed with gzip, the one way that senders of log lines do.
fn is_packed(headers: &HeaderMap) -> Result<bool, Fault> {
    let encodings: Vec<&str> =
        headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    match encodings[..] {
        [] | ["identity"] => Ok(false),
        [one] if one.eq_ignore_ascii_case("gzip") || one.eq_ignore_ascii_case("x-gzip") => Ok(true),
        _ => Err(Fault::unsupported(format!(
            "bodies with Content-Encoding `{}` are not read here",
            encodings.join(", ")
        ))
        .hint("send gzip, or the body as it is")),
    }
}

/// What was compressed. A small body can stand for an endless one, so it is unpacked up to what a body may have and no further.
fn unpacked(body: &[u8]) -> Result<Bytes, Fault> {
    let limit = BODY_BYTES_MAX as u64;
    let mut whole = Vec::new();
    let read = MultiGzDecoder::new(body).take(limit + 1).read_to_end(&mut whole);
    read.map_err(|error| Fault::invalid(format!("the body is not gzip: {error}")))?;
    if whole.len() as u64 > limit {
        return Err(
            Fault::too_large("the body is too large once unpacked").hint(format!("at most {BODY_BYTES_MAX} bytes"))
        );
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_unpacked_has_a_bound() {
        assert_eq!(unpacked(&gzip(b"a line")).unwrap(), "a line");
        assert_eq!(unpacked(&[gzip(b"one "), gzip(b"two")].concat()).unwrap(), "one two", "members follow each other");
        assert_eq!(unpacked(&gzip(&vec![b'x'; BODY_BYTES_MAX])).unwrap().len(), BODY_BYTES_MAX);
        let bomb = gzip(&vec![b'x'; BODY_BYTES_MAX + 1]);
        assert!(bomb.len() < BODY_BYTES_MAX / 100);
        assert_eq!(unpacked(&bomb).unwrap_err().code, Code::TooLarge);
        let whole = gzip(b"a line");
        for bad in [&b"not gzip"[..], &whole[..whole.len() - 1], b""] {
            assert_eq!(unpacked(bad).unwrap_err().code, Code::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn encodings_that_are_read() {
        let packed = |encodings: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for encoding in encodings {
                headers.append(header::CONTENT_ENCODING, http::HeaderValue::from_static(encoding));
            }
            is_packed(&headers).map_err(|fault| fault.code)
        };
        assert_eq!([packed(&[]), packed(&["identity"]), packed(&["gzip"])], [Ok(false), Ok(false), Ok(true)]);
        for other in [&["zstd"][..], &["gzip, gzip"], &["gzip", "gzip"], &["deflate"]] {
            assert_eq!(packed(other), Err(Code::Unsupported), "{other:?}");
        }
    }
}
