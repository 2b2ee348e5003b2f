//! Host and Origin: a page of some web site must not reach a door through the user's own browser (DNS rebinding).

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Uri};
use kernel::Fault;

/// The names and origins a door answers to, beside those of this machine itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub(super) fn new(hosts: &[String], origins: &[String]) -> Self {
        let lower = |all: &[String]| all.iter().map(|name| name.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { hosts: lower(hosts), origins: lower(origins) }
    }

    /// Lets a request pass; gives back its origin if it comes from a web page.
    pub(super) fn admit(&self, headers: &HeaderMap, uri: &Uri) -> Result<Option<HeaderValue>, Fault> {
        let authority = match headers.get(HOST) {
            Some(host) => host.to_str().ok(),
            None => uri.authority().map(http::uri::Authority::as_str),
        };
        let authority = authority.unwrap_or_default().to_ascii_lowercase();
        if !self.host_allowed(&authority) {
            return Err(Fault::denied(format!("this door does not answer to the host `{authority}`"))
                .hint("add it to `hosts` under [http] in flotilla.toml if it is yours"));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        if !self.origin_allowed(&text, &authority) {
            return Err(Fault::denied(format!("web pages from `{text}` may not use this door"))
                .hint("add the origin to `origins` under [http] in flotilla.toml if it is yours"));
        }
        Ok(Some(origin.clone()))
    }

    fn host_allowed(&self, authority: &str) -> bool {
        let name = without_port(authority);
        // An address cannot be rebound: only names are looked up.
        is_loopback_name(name)
            || parse_ip(name).is_some()
            || self.hosts.iter().any(|host| host == "*" || host == name || host == authority)
    }

    fn origin_allowed(&self, origin: &str, authority: &str) -> bool {
        let Some((scheme, from)) = origin.split_once("://") else { return false };
        let name = without_port(from);
        matches!(scheme, "http" | "https")
            && (is_loopback_name(name)
                || from == authority
                || self.origins.iter().any(|allowed| allowed == "*" || allowed == origin))
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        // The colons inside an IPv6 address are no port's.
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

fn parse_ip(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || parse_ip(name).is_some_and(|ip| ip.is_loopback())
}

/// Tells a browser that the page at `origin` may read the answer.
pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    let exposed = "mcp-session-id, mcp-protocol-version, www-authenticate";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    if preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, DELETE"));
        // `*` does not cover Authorization.
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, *"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(guard: &Guard, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        guard.admit(&headers, &Uri::from_static("/mcp")).is_ok()
    }

    #[test]
    fn only_this_machine_and_what_is_configured() {
        let guard = Guard::default();
        for host in ["localhost:4000", "127.0.0.1", "[::1]:4000", "LOCALHOST", "192.168.1.5:4000"] {
            assert!(pass(&guard, host, None), "{host}");
        }
        for host in ["evil.example.com", "localhost.evil.com", "", "127.0.0.1.evil.com:80"] {
            assert!(!pass(&guard, host, None), "{host}");
        }
        assert!(pass(&guard, "localhost:4000", Some("http://localhost:6274")));
        assert!(pass(&guard, "192.168.1.5:4000", Some("http://192.168.1.5:4000")));
        for origin in ["http://evil.example.com", "null", "https://localhost.evil.com", "file://localhost", "é"] {
            assert!(!pass(&guard, "localhost:4000", Some(origin)), "{origin}");
        }
        let guard = Guard::new(&["fleet.example".into()], &["https://app.example/".into()]);
        assert!(pass(&guard, "Fleet.example:4000", Some("https://app.example")));
        assert!(!pass(&guard, "fleet.example", Some("http://app.example")));
    }
}
