//! Talks to a running coordinator: finds it, brings the key, reads its answers.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kernel::catalog::COORDINATOR;
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::{Code, Fault, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Global;
use crate::data::DataDir;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// A way to the coordinator.
pub struct Api {
    /// The coordinator, without a slash at its end.
    pub url: String,
    /// The caller's API key.
    pub key: Option<Secret>,
    /// Keeps its connections, for commands that ask more than once.
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Api {
    /// Finds the coordinator and the key: flags, then environment, then the data folder.
    pub fn connect(global: &Global) -> Result<Self, Fault> {
        let loaded = global.load(Vec::new())?;
        let data = DataDir::open(&loaded.config.fleet.data_dir)?;
        // On this machine by the door for the fleet itself: over TLS it would have to trust a certificate that may be anybody's.
        let running = data.running().into_iter().find_map(|mut note| note.services.remove(COORDINATOR));
        let url = global.url.clone().or(running).unwrap_or_else(|| "http://127.0.0.1:4000".into());
        let key = global.token.clone().map(Secret::new).or_else(|| data.cli_key());
        Ok(Self::at(url.trim_end_matches('/').to_owned(), key))
    }

    /// The coordinator at `url`, as whoever has `key`.
    pub fn at(url: String, key: Option<Secret>) -> Self {
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Self { url, key, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// `GET path` as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.send(Method::GET, path, Bytes::new(), &[]).await
    }

    /// `POST path` with a JSON body, as JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.send(Method::POST, path, Bytes::from(body.to_string()), &[]).await
    }

    /// One MCP request to the whole fleet, in the current revision; its result.
    pub async fn mcp(&self, method: &str, mut params: Value) -> Result<Value, Fault> {
        let version = ::mcp::Revision::CURRENT.as_str();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "flotilla-cli", "version": env!("CARGO_PKG_VERSION") },
        });
        let mut headers = vec![("mcp-protocol-version", version.to_owned()), ("mcp-method", method.to_owned())];
        if let Some(name) = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str) {
            headers.push(("mcp-name", name.to_owned()));
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.send(Method::POST, "/mcp", Bytes::from(body.to_string()), &headers).await?;
        if let Some(error) = answer.get("error") {
            let code = Code::deserialize(&error["data"]["code"]).unwrap_or(Code::InvalidArgument);
            return Err(Fault::new(code, error["message"].as_str().unwrap_or("the request was refused")));
        }
        Ok(answer["result"].take())
    }

    /// Calls a tool; its structured content, or its content where it has no schema.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Fault> {
        let mut result = self.mcp("tools/call", json!({ "name": tool, "arguments": arguments })).await?;
        if result["isError"] == true {
            let error = &result["_meta"]["flotilla/error"];
            let code = Code::deserialize(&error["code"]).unwrap_or(Code::Upstream);
            let text = result["content"][0]["text"].as_str().unwrap_or("the tool refused");
            return Err(Fault::new(code, text.strip_prefix(&format!("{code}: ")).unwrap_or(text)));
        }
        Ok(if result["structuredContent"].is_null() {
            result["content"].take()
        } else {
            result["structuredContent"].take()
        })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes, headers: &[(&str, String)]) -> Result<Value, Fault> {
        let url = format!("{}{path}", self.url);
        let uri: Uri = url.parse().map_err(|_| Fault::invalid(format!("`{url}` is not a URL")))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| Fault::invalid(format!("request: {error}")))?;
        let answer = tokio::time::timeout(ANSWER_TIME, self.client.request(request))
            .await
            .map_err(|_| Fault::timeout(format!("{} did not answer", self.url)))?
            .map_err(|error| {
                Fault::unavailable(format!("no coordinator answers at {}: {}", self.url, cause(&error)))
                    .hint("start one with `flotilla up`, or name one with --url")
            })?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Fault::upstream(format!("answer of {}: {error}", self.url)))?
            .to_bytes();
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|_| Fault::upstream(format!("{} answered {status} and no JSON", self.url)))?;
        if status.is_success() || value.get("jsonrpc").is_some() { Ok(value) } else { Err(problem(&value)) }
    }
}

/// What is at the bottom of an error: "connection refused", not "client error".
fn cause(mut error: &dyn std::error::Error) -> String {
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

/// A problem document as the fault it tells of.
fn problem(value: &Value) -> Fault {
    let code = Code::deserialize(&value["code"]).unwrap_or(Code::Upstream);
    let mut fault = Fault::new(code, value["detail"].as_str().unwrap_or("the coordinator refused"));
    if let Some(hint) = value["hint"].as_str() {
        fault = fault.hint(hint);
    } else if code == Code::Unauthenticated {
        fault = fault.hint("give a key with --token, or run on the machine and data folder of the fleet");
    }
    fault
}
