//! MCP of the current revision by hand: one request, one answer. The official clients are tested in [`crate::clients`].

use serde_json::{Value, json};

use super::http::{self, Answer, Open};

/// The current revision.
pub(crate) const CURRENT: &str = "2026-07-28";

/// An endpoint and the key for it.
#[derive(Debug, Clone)]
pub(crate) struct Mcp {
    url: String,
    key: Option<String>,
}

impl Mcp {
    /// An endpoint.
    pub(crate) fn new(url: &str, key: Option<String>) -> Self {
        Self { url: url.to_owned(), key }
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) fn open(&self, method: &str, params: Value) -> std::io::Result<Open> {
        self.post(method, params, &[])
    }

    fn post(&self, method: &str, mut params: Value, more: &[(&str, &str)]) -> std::io::Result<Open> {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = CURRENT.into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "tests", "version": "1" });
        let name = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str).map(ToOwned::to_owned);
        let key = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", CURRENT),
            ("mcp-method", method),
        ];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        headers.extend(key.as_deref().map(|key| ("authorization", key)));
        headers.extend(more);
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        http::open("POST", &self.url, &headers, body.to_string().as_bytes())
    }

    /// Sends a request and reads its whole answer as it is.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, params: Value) -> Answer {
        self.send_with(method, params, &[])
    }

    /// The same with more headers.
    #[track_caller]
    pub(crate) fn send_with(&self, method: &str, params: Value, headers: &[(&str, &str)]) -> Answer {
        let open = self.post(method, params, headers);
        open.and_then(Open::finish).unwrap_or_else(|error| panic!("{method} at {}: {error}", self.url))
    }

    /// The result of a request.
    #[track_caller]
    pub(crate) fn result(&self, method: &str, params: Value) -> Value {
        let mut message = message(&self.send(method, params));
        assert!(message["error"].is_null(), "{method}: {message}");
        message["result"].take()
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// Code and text of a refusal: of the tool, of a phase of the call, of the protocol, or of the door.
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        let open = self.open("tools/call", json!({ "name": tool, "arguments": arguments }));
        let answer = open.and_then(Open::finish).map_err(|error| format!("no answer: {error}"))?;
        let mut message = message(&answer);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        if let Some(error) = message.get("error") {
            let code = error.pointer("/data/code").unwrap_or(&error["code"]);
            return Err(format!("{}: {}", text(code), text(&error["message"])));
        }
        let Some(result) = message.get_mut("result") else {
            return Err(format!("{}: {}", text(&message["code"]), text(&message["detail"])));
        };
        if result["isError"] == true {
            return Err(text(&result["content"][0]["text"]));
        }
        let content = if result["structuredContent"].is_null() { "content" } else { "structuredContent" };
        Ok(result[content].take())
    }

    /// The names of all tools, page after page.
    pub(crate) fn tool_names(&self) -> Vec<String> {
        self.tools().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// All tools, page after page.
    pub(crate) fn tools(&self) -> Vec<Value> {
        let (mut tools, mut params) = (Vec::new(), json!({}));
        loop {
            let mut page = self.result("tools/list", params);
            tools.append(page["tools"].as_array_mut().unwrap());
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return tools,
            }
        }
    }
}

/// The JSON-RPC message that ends an answer, however it was sent.
#[track_caller]
pub(crate) fn message(answer: &Answer) -> Value {
    if !answer.header("content-type").starts_with("text/event-stream") {
        return answer.json();
    }
    let events =
        answer.body.split("\n\n").filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data:")));
    let last = events.last().unwrap_or_else(|| panic!("no event in {answer:?}"));
    serde_json::from_str(last).unwrap_or_else(|error| panic!("not JSON ({error}): {last}"))
}
