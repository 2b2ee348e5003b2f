//! One HTTP exchange: bounded in time and size. Errors name the endpoint's host and port, never its URL.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::{Code, Fault, Result, Secret};

/// A part of a URL's path this long may be a key.
const KEY_BYTES_MIN: usize = 8;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    authorization: Option<HeaderValue>,
    /// Host and port: all of it that may be shown.
    pub(crate) label: String,
    /// Parts of the URL that may be a key, for [`Target::scrub`].
    keys: Vec<String>,
}

impl Target {
    /// Reads an endpoint's URL. A fault never repeats it.
    pub(crate) fn parse(url: &Secret) -> Result<Self> {
        let wrong = |why: &str| {
            Fault::invalid(format!("an RPC endpoint's URL {why}"))
                .hint("like https://host/path or http://127.0.0.1:8545; several are parted by commas")
        };
        let uri: Uri = url.expose().trim().parse().map_err(|_| wrong("cannot be read"))?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            Some("ws" | "wss") => return Err(wrong("is a websocket's; give the node's http or https URL")),
            _ => return Err(wrong("must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?.clone();
        let label = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(port));
        let parts = uri.path_and_query().map_or("", |path| path.as_str()).split(['/', '?', '&', '=']);
        let keys = parts.filter(|part| part.len() >= KEY_BYTES_MIN).map(ToOwned::to_owned).collect();
        let Some((credentials, host)) = authority.as_str().rsplit_once('@') else {
            return Ok(Self { uri, authorization: None, label, keys });
        };
        let basic = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials)));
        let mut authorization = basic.map_err(|_| wrong("has credentials that no header can hold"))?;
        authorization.set_sensitive(true);
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(host.parse().map_err(|_| wrong("has no host"))?);
        let uri = Uri::from_parts(parts).map_err(|_| wrong("cannot be read"))?;
        Ok(Self { uri, authorization: Some(authorization), label, keys })
    }

    /// A node's own words, without the parts of our URL that it may have repeated.
    pub(crate) fn scrub(&self, words: &str) -> String {
        self.keys
            .iter()
            .fold(words.to_owned(), |words, key| words.replace(key, "***").replace(&key.to_lowercase(), "***"))
    }
}

/// The HTTP client, its connections kept alive.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    pub(crate) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Posts a JSON body, with a header more where there is one, and returns the answer's.
    pub(crate) async fn post(
        &self,
        target: &Target,
        header: Option<(HeaderName, HeaderValue)>,
        body: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<Bytes> {
        let label = &target.label;
        let mut request = Request::post(target.uri.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &target.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body.into()))
            .map_err(|error| Fault::internal(format!("cannot make a request to {label}: {error}")))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let doing = if error.is_connect() { "cannot connect to" } else { "lost the connection to" };
                Fault::unavailable(format!("{doing} endpoint {label}: {}", root_cause(&error)))
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| cut(label, &*error))?;
            check_status(label, status).map(|()| body.to_bytes())
        };
        let late = || Err(Fault::timeout(format!("endpoint {label} gave no answer within {} ms", limit.as_millis())));
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| late())
    }
}

fn cut(label: &str, error: &(dyn std::error::Error + Send + Sync + 'static)) -> Fault {
    if error.is::<LengthLimitError>() {
        return Fault::too_large(format!("endpoint {label} sent more than {ANSWER_BYTES_MAX} bytes"))
            .hint("ask for less: a narrower range, fewer contracts");
    }
    Fault::unavailable(format!("endpoint {label} broke off its answer: {}", root_cause(error)))
}

/// Some nodes put JSON-RPC errors under 4xx; a body that is one is read by the caller, so only what cannot hold one fails here.
fn check_status(label: &str, status: StatusCode) -> Result<()> {
    let refused =
        |code: Code, hint: &str| Err(Fault::new(code, format!("endpoint {label} answered HTTP {status}")).hint(hint));
    match status.as_u16() {
        200..=299 | 400 => Ok(()),
        401 | 403 => refused(Code::Upstream, "check the key in the endpoint's URL"),
        404 => refused(Code::Upstream, "check the path of the endpoint's URL"),
        429 => refused(Code::RateLimited, "the provider's limit is reached; add another endpoint"),
        _ => refused(Code::Upstream, "the node or its proxy is in trouble; add another endpoint"),
    }
}

/// The innermost cause, which is what tells people something. It holds no URL.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_are_ever_shown() {
        for (url, label) in [
            ("https://mainnet.example/v3/s3cret", "mainnet.example:443"),
            ("http://user:s3cret@127.0.0.1:8545/", "127.0.0.1:8545"),
            (" http://[::1]:8545 ", "[::1]:8545"),
        ] {
            assert_eq!(Target::parse(&Secret::new(url)).unwrap().label, label);
        }
        for url in ["", "s3cret", "ws://h/s3cret", "ftp://h/s3cret", "http://", "https://s3cret key@h/"] {
            let Err(fault) = Target::parse(&Secret::new(url)) else { panic!("{url} was read") };
            assert!(!fault.to_string().contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn a_key_that_the_node_repeats_is_hidden() {
        let target = Target::parse(&Secret::new("https://h/v3/A1b2C3d4e5")).unwrap();
        assert_eq!(target.scrub("invalid project id a1b2c3d4e5 (A1b2C3d4e5)"), "invalid project id *** (***)");
    }

    #[test]
    fn credentials_become_a_header_and_leave_the_uri() {
        let target = Target::parse(&Secret::new("http://user:pass@h:1/p")).unwrap();
        assert_eq!(target.uri.to_string(), "http://h:1/p");
        assert_eq!(target.authorization.unwrap().to_str().unwrap(), "Basic dXNlcjpwYXNz");
    }
}
