//! Responses.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use kernel::{Code, Fault};
use serde_json::json;

use super::body::Body;
use crate::error::{RpcError, codes};
use crate::wire::{self, Id};

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// A JSON-RPC message.
pub(super) fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Whole(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A JSON-RPC error.
pub(super) fn rpc(status: StatusCode, id: Option<&Id>, error: &RpcError) -> Response<Body> {
    json(status, wire::error_text(id, error))
}

/// Events, now or as they come.
pub(super) fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A proxy that collects before it passes on would hold every event back.
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A status and nothing more.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// A refusal before anything of the protocol was read: an RFC 9457 problem with our code.
pub(super) fn refused(status: StatusCode, fault: &Fault) -> Response<Body> {
    let mut problem = json!({
        "type": format!("urn:flotilla:error:{}", fault.code),
        "title": fault.code.as_str().replace('_', " "),
        "status": status.as_u16(),
        "detail": fault.message,
        "code": fault.code,
    });
    if let Some(hint) = &fault.hint {
        problem["hint"] = hint.as_str().into();
    }
    if let Some(data) = &fault.data {
        problem["data"] = (**data).clone();
    }
    let mut response = Response::new(Body::Whole(problem.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    response
}

/// A refusal with the status its code stands for.
pub(super) fn fault(fault: &Fault) -> Response<Body> {
    refused(StatusCode::from_u16(fault.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), fault)
}

/// A refusal for want of credentials; `given` tells that there were some.
pub(super) fn unauthenticated(refusal: &Fault, given: bool) -> Response<Body> {
    let mut response = fault(refusal);
    if refusal.code == Code::Unauthenticated {
        let challenge =
            if given { r#"Bearer realm="flotilla", error="invalid_token""# } else { r#"Bearer realm="flotilla""# };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// A refusal of an HTTP method.
pub(super) fn method_not_allowed() -> Response<Body> {
    let refusal = Fault::invalid("this endpoint takes POST, GET and DELETE");
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, &refusal);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    response
}

/// The HTTP status an error of the current revision has.
pub(super) fn status_of(error: &RpcError) -> StatusCode {
    match error.code {
        codes::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        codes::HEADER_MISMATCH | codes::MISSING_CAPABILITY | codes::UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}
