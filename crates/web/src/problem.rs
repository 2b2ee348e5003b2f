//! Errors of REST answers: RFC 9457 problem documents with our stable code.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kernel::{Code, Fault};
use serde_json::json;

/// A fault as an HTTP answer.
#[derive(Debug)]
pub struct Problem(pub Fault);

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.with_status(status)
    }
}

impl Problem {
    /// The answer, where HTTP has a better status than the code's own.
    pub fn with_status(self, status: StatusCode) -> Response {
        let fault = self.0;
        let mut body = json!({
            "type": format!("urn:flotilla:error:{}", fault.code),
            "title": fault.code.as_str().replace('_', " "),
            "status": status.as_u16(),
            "detail": fault.message,
            "code": fault.code,
        });
        if let Some(hint) = fault.hint {
            body["hint"] = hint.into();
        }
        if let Some(data) = fault.data {
            body["data"] = *data;
        }
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if fault.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flotilla\""));
        }
        response
    }
}
