//! HTTP/1.1 as a few lines: what is sent is exactly what a test wrote, and what comes back is kept whole.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::LIMIT;
use super::stream::Body;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{} is not JSON ({error}): {}", self.status, self.body))
    }

    /// The body as JSON, given that the request succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The status and the stable code of a problem document.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        (self.status, body["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// An answer whose body is read as it comes.
#[derive(Debug)]
pub(crate) struct Open {
    /// The status.
    pub(crate) status: u16,
    /// The headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Body,
}

impl Open {
    /// Reads the rest.
    pub(crate) fn finish(mut self) -> std::io::Result<Answer> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status: self.status, headers: self.headers, body })
    }
}

/// Sends a request and reads the whole answer.
#[track_caller]
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_send(method, url, headers, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// The same where the other side may not be there.
pub(crate) fn try_send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    open(method, url, headers, body)?.finish()
}

/// Sends a request and reads the answer's head.
pub(crate) fn open(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Open> {
    open_within(LIMIT, method, url, headers, body)
}

/// The same where an answer may take so long.
pub(crate) fn open_within(
    limit: Duration,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Open> {
    let (address, path) = split(url);
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
    answer(stream)
}

/// `http://ADDRESS/PATH`, or the same with another scheme, as address and path.
pub(crate) fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").unwrap_or_else(|| panic!("{url} is no URL")).1;
    rest.find('/').map_or((rest, "/"), |at| rest.split_at(at))
}

/// A connection on which nothing waits for ever.
pub(crate) fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads the head of what comes on `stream`.
pub(crate) fn answer(stream: TcpStream) -> std::io::Result<Open> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = head(&mut reader)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("no status line"))?;
    let chunked = find(&headers, "transfer-encoding").eq_ignore_ascii_case("chunked");
    let length = find(&headers, "content-length").parse().ok();
    Ok(Open { status, headers, body: Body::new(reader, chunked, length) })
}

/// The first line and the headers of a message, names in lower case.
pub(crate) fn head(reader: &mut impl BufRead) -> std::io::Result<(String, Vec<(String, String)>)> {
    let (mut first, mut headers) = (String::new(), Vec::new());
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok((first.trim_end().to_owned(), headers));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}
