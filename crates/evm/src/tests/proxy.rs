//! A node that misbehaves as told: everything it is not told about is the real node's.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use kernel::{OnEnd, Secret, Tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::world::Sandbox;
use crate::rpc::http::{Http, Target};

/// What becomes of a request.
pub(super) enum Act {
    /// It is the node's.
    Pass,
    /// It is the node's, but nobody hears the answer.
    PassAndStall,
    /// Nobody hears it, and there is no answer.
    Stall,
    /// There is an answer of the test's own.
    Answer(Value),
    /// There is an error of the test's own.
    Error(i64, &'static str),
}

type Rule = Box<dyn Fn(&str, &Value) -> Act + Send>;

/// A server on a port of its own.
pub(super) struct Proxy {
    pub(super) url: Secret,
    rule: Arc<Mutex<Rule>>,
}

impl Proxy {
    pub(super) async fn start(sandbox: &Sandbox) -> Self {
        let label = sandbox.node.rpc.endpoints()[0].endpoint.clone();
        let node = Target::parse(&Secret::new(format!("http://{label}"))).unwrap();
        let rule = Arc::new(Mutex::new(Box::new(|_: &str, _: &Value| Act::Pass) as Rule));
        let rules = Arc::clone(&rule);
        let url = serve(&sandbox.tasks, move |_, body| {
            let (node, rules) = (node.clone(), Arc::clone(&rules));
            async move { answer(&node, &rules, body).await }
        });
        Self { url: url.await, rule }
    }

    pub(super) fn rule(&self, rule: impl Fn(&str, &Value) -> Act + Send + 'static) {
        *self.rule.lock() = Box::new(rule);
    }
}

async fn answer(node: &Target, rules: &Mutex<Rule>, body: Vec<u8>) -> Value {
    let request: Value = serde_json::from_slice(&body).unwrap();
    if let Value::Array(requests) = request {
        // Many at once, each as if it were alone. Where the rule says so of all of them, there is one answer to all.
        if let Act::Error(code, message) = rules.lock()("batch", &Value::Null) {
            return json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
        }
        let each = requests.into_iter().map(|request| async move {
            let mut answer = Box::pin(answer(node, rules, request.to_string().into_bytes())).await;
            answer["id"] = request["id"].clone();
            answer
        });
        return Value::Array(futures_util::future::join_all(each).await);
    }
    let act = rules.lock()(request["method"].as_str().unwrap(), &request["params"]);
    let pass = async || -> Value {
        let answer = Http::new().post(node, None, body, Duration::from_secs(10)).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    };
    match act {
        Act::Pass => pass().await,
        Act::PassAndStall => {
            pass().await;
            std::future::pending().await
        }
        Act::Stall => std::future::pending().await,
        Act::Answer(result) => json!({ "jsonrpc": "2.0", "id": 1, "result": result }),
        Act::Error(code, message) => {
            json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": message } })
        }
    }
}

/// Serves JSON over HTTP until `tasks` stops; returns the URL.
pub(super) async fn serve<F>(
    tasks: &Tasks,
    handler: impl Fn(HeaderMap, Vec<u8>) -> F + Clone + Send + Sync + 'static,
) -> Secret
where
    F: Future<Output = Value> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Secret::new(format!("http://{}", listener.local_addr().unwrap()));
    let spawner = tasks.clone();
    let stopping = tasks.stopping();
    tasks.spawn("server", OnEnd::Done, async move {
        while let Some(Ok((stream, _))) = stopping.run_until_cancelled(listener.accept()).await {
            let (handler, stopping) = (handler.clone(), stopping.clone());
            spawner.spawn("connection", OnEnd::Done, async move {
                stopping.run_until_cancelled(connection(stream, handler)).await;
            });
        }
    });
    url
}

async fn connection<F>(mut stream: TcpStream, handler: impl Fn(HeaderMap, Vec<u8>) -> F)
where
    F: Future<Output = Value>,
{
    let mut buffer = Vec::new();
    while let Some((headers, body)) = request(&mut stream, &mut buffer).await {
        let answer = handler(headers, body).await.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(HeaderMap, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut headers = HeaderMap::new();
            for line in head.lines().skip(1) {
                let (name, value) = line.split_once(": ")?;
                headers.insert(http::HeaderName::try_from(name).ok()?, value.parse().ok()?);
            }
            let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some((headers, body));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
