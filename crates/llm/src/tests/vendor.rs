//! A server on this machine that speaks as those who serve models do, Anthropic's words and OpenAI's, with their failures. What it answers is put there
//! by the test, one answer for each request; what it was asked it keeps.

use std::collections::VecDeque;
use std::sync::Arc;

use kernel::{OnEnd, Tasks};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// As they came, names in lower case.
    pub(crate) headers: String,
    pub(crate) body: Value,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A stream of events, each its data; whole or cut off.
    Stream(Vec<Value>, bool),
    /// Something else: status, headers (each with its line end), body.
    Plain(u16, &'static str, String),
    /// Nothing, for as long as somebody waits.
    Silence,
    /// Nothing, and the connection is closed.
    Cut,
}

#[derive(Default)]
struct Inner {
    acts: VecDeque<Act>,
    requests: Vec<Request>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Vendor {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Vendor {
    /// Starts it under `tasks`.
    pub(crate) async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (inner, own) = (Arc::<Mutex<Inner>>::default(), tasks.clone());
        let vendor = Self { url, inner };
        let server = vendor.clone();
        tasks.spawn("models of a test", OnEnd::Done, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                own.spawn("connection of a test", OnEnd::Done, async move {
                    let _ = server.serve(stream).await;
                });
            }
        });
        vendor
    }

    /// What is answered next, after what was put there before.
    pub(crate) fn then(&self, act: Act) -> &Self {
        self.inner.lock().acts.push_back(act);
        self
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.inner.lock().requests.clone()
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut read = Vec::new();
        loop {
            let head = loop {
                if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                    break String::from_utf8_lossy(&read.drain(..end + 4).collect::<Vec<_>>()).into_owned();
                }
                more(&mut stream, &mut read).await?;
            };
            let headers = head.to_lowercase();
            let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            while read.len() < length.unwrap_or(0) {
                more(&mut stream, &mut read).await?;
            }
            let body: Vec<u8> = read.drain(..length.unwrap_or(0)).collect();
            let request = Request {
                path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
                // A key keeps its case.
                headers: head.lines().skip(1).collect::<Vec<_>>().join("\n"),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            };
            let act = {
                let mut inner = self.inner.lock();
                inner.requests.push(request);
                inner.acts.pop_front().unwrap_or_else(|| Act::Plain(599, "", "the test has no answer for this".into()))
            };
            match act {
                Act::Stream(events, whole) => {
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                    stream.write_all(head.as_bytes()).await?;
                    for event in events {
                        let kind = event["type"].as_str().map_or(String::new(), |kind| format!("event: {kind}\n"));
                        let data = event.as_str().map_or_else(|| event.to_string(), ToOwned::to_owned);
                        let text = format!("{kind}data: {data}\n\n");
                        stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await?;
                    }
                    if !whole {
                        return Ok(());
                    }
                    stream.write_all(b"0\r\n\r\n").await?;
                }
                Act::Plain(status, headers, body) => {
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).await?;
                    stream.write_all(body.as_bytes()).await?;
                }
                Act::Silence => while more(&mut stream, &mut read).await.is_ok() {},
                Act::Cut => return Ok(()),
            }
        }
    }
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<()> {
    let mut some = [0; 8_192];
    let count = stream.read(&mut some).await?;
    read.extend_from_slice(&some[..count]);
    if count == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Anthropic's events of an answer: words, and calls as `(id, name, arguments)`.
pub(crate) fn messages(words: &[&str], calls: &[(&str, &str, &str)], (input, output): (u64, u64)) -> Vec<Value> {
    let mut events = vec![
        json!({ "type": "message_start", "message": { "id": "msg_1", "usage": { "input_tokens": input, "output_tokens": 1 } } }),
    ];
    let mut index = 0;
    if !words.is_empty() {
        events.push(
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        );
        events.push(json!({ "type": "ping" }));
        for word in words {
            events.push(
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } }),
            );
        }
        events.push(json!({ "type": "content_block_stop", "index": 0 }));
        index = 1;
    }
    for (id, name, arguments) in calls {
        events.push(json!({ "type": "content_block_start", "index": index, "content_block": { "type": "tool_use", "id": id, "name": name, "input": {} } }));
        let (first, second) = arguments.split_at(arguments.len() / 2);
        for piece in [first, second].into_iter().filter(|piece| !piece.is_empty()) {
            events.push(json!({ "type": "content_block_delta", "index": index, "delta": { "type": "input_json_delta", "partial_json": piece } }));
        }
        events.push(json!({ "type": "content_block_stop", "index": index }));
        index += 1;
    }
    let reason = if calls.is_empty() { "end_turn" } else { "tool_use" };
    events.push(
        json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": output } }),
    );
    events.push(json!({ "type": "message_stop" }));
    events
}

/// OpenAI's events of the same.
pub(crate) fn completion(words: &[&str], calls: &[(&str, &str, &str)], (input, output): (u64, u64)) -> Vec<Value> {
    let chunk = |delta: Value, reason: Value| json!({ "id": "c1", "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
    for word in words {
        events.push(chunk(json!({ "content": word }), Value::Null));
    }
    for (index, (id, name, arguments)) in calls.iter().enumerate() {
        let (first, second) = arguments.split_at(arguments.len() / 2);
        events.push(chunk(json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": first } }] }), Value::Null));
        events.push(chunk(
            json!({ "tool_calls": [{ "index": index, "function": { "arguments": second } }] }),
            Value::Null,
        ));
    }
    events.push(chunk(json!({}), if calls.is_empty() { "stop" } else { "tool_calls" }.into()));
    events.push(json!({ "id": "c1", "choices": [], "usage": { "prompt_tokens": input, "completion_tokens": output, "prompt_tokens_details": { "cached_tokens": 0 } } }));
    events.push("[DONE]".into());
    events
}
