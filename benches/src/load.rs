//! A client that costs little: prepared requests on kept connections, one call at a time on each.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Fallible;

/// How long one measurement may take at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which revision the calls are made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2026-07-28: every request stands alone.
    Modern,
    /// 2025-11-25: each connection opens a session first.
    Legacy,
}

/// What is called, and where.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// The path of the endpoint.
    pub(crate) path: &'static str,
    /// The tool's name there.
    pub(crate) tool: String,
    /// The key sent as a bearer token.
    pub(crate) key: String,
    /// The revision.
    pub(crate) era: Era,
}

/// What a measurement gave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Calls made.
    pub(crate) calls: u64,
    /// From the first call to the last answer.
    pub(crate) took: Duration,
    /// Half of the calls took no longer.
    pub(crate) p50: Duration,
    /// 99 of 100 calls took no longer.
    pub(crate) p99: Duration,
}

impl Load {
    /// Calls a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }
}

/// The tool's argument, and what a right answer to it holds.
const ARGUMENTS: &str = r#"{"data":"hello"}"#;
const HELD: &[u8] = b"0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8";
const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"benches","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

impl Target {
    fn request(&self, more: &str, body: &str) -> Vec<u8> {
        let Self { address, path, key, .. } = self;
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\n{more}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn call(&self, session: Option<&str>) -> Vec<u8> {
        let tool = &self.tool;
        if self.era == Era::Modern {
            let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"benches","version":"1"}}"#;
            let headers = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n");
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{ARGUMENTS},"_meta":{meta}}}}}"#
            );
            return self.request(&headers, &body);
        }
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{ARGUMENTS}}}}}"#
        );
        self.request(&in_session(session), &body)
    }

    /// A connection ready to call.
    async fn connect(&self) -> Fallible<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream, request: Vec::new(), answer: Vec::with_capacity(8_192) };
        let mut session = None;
        if self.era == Era::Legacy {
            connection.exchange(&self.request("", HELLO)).await?;
            session = connection.header("mcp-session-id");
            connection.exchange(&self.request(&in_session(session.as_deref()), INITIALIZED)).await?;
        }
        connection.request = self.call(session.as_deref());
        Ok(connection)
    }

    /// `connections` connections make `calls` calls together, after `warm_up` others that do not count.
    pub(crate) async fn load(&self, connections: u64, warm_up: u64, calls: u64) -> Fallible<Loaded> {
        let mut open = try_join_all((0..connections).map(|_| self.connect())).await?;
        let each = warm_up.div_ceil(connections);
        timeout(PATIENCE, try_join_all(open.iter_mut().map(|connection| connection.calls(each))))
            .await
            .map_err(|_| "the warm-up took too long")??;
        Ok(Loaded { open, each: calls.div_ceil(connections) })
    }
}

/// Connections that are warm.
pub(crate) struct Loaded {
    open: Vec<Connection>,
    each: u64,
}

impl Loaded {
    /// Makes the calls that count.
    pub(crate) async fn measure(mut self) -> Fallible<Load> {
        let began = Instant::now();
        let each = self.each;
        let times = timeout(PATIENCE, try_join_all(self.open.iter_mut().map(|connection| connection.calls(each))))
            .await
            .map_err(|_| "the calls took too long")??;
        let took = began.elapsed();
        let mut times = times.concat();
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        Ok(Load { calls: times.len() as u64, took, p50: at(50), p99: at(99) })
    }
}

fn in_session(session: Option<&str>) -> String {
    let session = session.map(|id| format!("mcp-session-id: {id}\r\n")).unwrap_or_default();
    format!("mcp-protocol-version: 2025-11-25\r\n{session}")
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Makes `count` calls and holds each answer to what it must be; how long each took.
    async fn calls(&mut self, count: u64) -> Fallible<Vec<Duration>> {
        let mut times = Vec::with_capacity(usize::try_from(count)?);
        let request = std::mem::take(&mut self.request);
        for _ in 0..count {
            let began = Instant::now();
            self.exchange(&request).await?;
            times.push(began.elapsed());
            if find(&self.answer, HELD).is_none() {
                return Err(format!("a wrong answer: {}", String::from_utf8_lossy(&self.answer)).into());
            }
        }
        self.request = request;
        Ok(times)
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(&mut self, request: &[u8]) -> Fallible<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed in an answer".into());
            }
            if is_whole(&self.answer) {
                break;
            }
        }
        if self.answer.starts_with(b"HTTP/1.1 2") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&self.answer).into_owned().into())
    }

    fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.answer);
        let lines = text.split("\r\n").take_while(|line| !line.is_empty());
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

/// Whether an HTTP response is there to its end: as long as it says, or with its last chunk.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = find(answer, b"\r\n\r\n") else { return false };
    let mut length = None;
    for line in answer[..end].split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return answer.ends_with(b"\r\n0\r\n\r\n");
        }
    }
    answer.len() >= end + 4 + length.unwrap_or(0)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
