//! A client of the fleet: HTTP as few lines, and MCP's current revision by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::problem::{Problem, Result};

/// Where the coordinator is published.
pub(crate) const COORDINATOR: &str = "127.0.0.1:4000";
/// MCP's current revision.
const REVISION: &str = "2026-07-28";
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much of one is read.
const ANSWER_MAX_BYTES: u64 = 16 << 20;

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

/// Sends a request in HTTP/1.0, so that the answer ends with the connection.
pub(crate) fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let sent = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        let mut head = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = sent().map_err(Problem::io(format!("{method} {path} at {address}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Problem::new(format!("{method} {path} at {address}: no answer in HTTP")))?;
    Ok(Answer { status, body: body.to_owned() })
}

/// A caller with a key.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    authorization: String,
}

impl Client {
    /// A caller.
    pub(crate) fn new(key: &str) -> Self {
        Self { authorization: format!("Bearer {key}") }
    }

    /// REST: a JSON body, or none.
    pub(crate) fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let headers = [("authorization", &*self.authorization), ("content-type", "application/json")];
        let text = body.map(Value::to_string).unwrap_or_default();
        let answer = request(COORDINATOR, method, path, &headers, &text)?;
        if answer.status != 200 {
            return Err(Problem::new(format!("{method} {path}: {} {}", answer.status, answer.body)));
        }
        serde_json::from_str(&answer.body).map_err(Problem::io(format!("{method} {path}: {}", answer.body)))
    }

    /// Calls a tool: its structured answer.
    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        let mut result = self.ask("tools/call", tool, json!({ "name": tool, "arguments": arguments }))?;
        if result["isError"] == true {
            return Err(Problem::new(format!("{tool}: {}", result["content"][0]["text"])));
        }
        Ok(result["structuredContent"].take())
    }

    /// All tools, page after page.
    pub(crate) fn tools(&self) -> Result<Vec<Value>> {
        let (mut tools, mut params) = (Vec::new(), json!({}));
        loop {
            let mut page = self.ask("tools/list", "", params)?;
            tools.extend(page["tools"].as_array_mut().map(std::mem::take).unwrap_or_default());
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(tools),
            }
        }
    }

    fn ask(&self, method: &str, name: &str, mut params: Value) -> Result<Value> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "e2e-containers", "version": "1" },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let mut headers = vec![
            ("authorization", &*self.authorization),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", REVISION),
            ("mcp-method", method),
        ];
        if !name.is_empty() {
            headers.push(("mcp-name", name));
        }
        let answer = request(COORDINATOR, "POST", "/mcp", &headers, &body)?;
        let mut message = message(&answer.body).map_err(Problem::io(format!("{method} {name}: {}", answer.body)))?;
        match message.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(Problem::new(format!("{method} {name}: {message}"))),
        }
    }
}

/// The JSON-RPC message that ends an answer, sent whole or as the last of a stream's events.
fn message(body: &str) -> serde_json::Result<Value> {
    let mut events = body.lines().filter_map(|line| line.strip_prefix("data:"));
    serde_json::from_str(events.next_back().unwrap_or(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_as_a_stream() {
        for body in [r#"{"result":1}"#, "event: message\ndata: {\"method\":\"p\"}\n\ndata: {\"result\":1}\n\n"] {
            assert_eq!(message(body).unwrap()["result"], 1, "{body}");
        }
        assert!(message("gone").is_err());
    }
}
