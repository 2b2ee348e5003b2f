//! A small HTTP server that keeps what it is sent: the far end of an export.

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver as Queue};
use std::thread;

use serde_json::Value;

use super::{LIMIT, http};

/// The server. Its thread ends with the test.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) url: String,
    requests: Queue<(String, Value)>,
}

impl Receiver {
    /// Starts one that answers everything with 200 and `{}`.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (keep, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let keep = keep.clone();
                thread::spawn(move || serve(&mut BufReader::new(stream.unwrap()), &keep));
            }
        });
        Self { url, requests }
    }

    /// Takes requests until one is as wanted, and returns what `want` made of it.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, want: impl Fn(&str, &Value) -> Option<T>) -> T {
        loop {
            let (path, body) = self.requests.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what}: nothing came"));
            if let Some(found) = want(&path, &body) {
                return found;
            }
        }
    }
}

/// Serves a kept-alive connection until it closes.
fn serve(stream: &mut BufReader<std::net::TcpStream>, keep: &mpsc::Sender<(String, Value)>) {
    while let Ok((first, headers)) = http::head(stream) {
        let Some(path) = first.split(' ').nth(1) else { return };
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        // The test may have all it wanted.
        keep.send((path.to_owned(), body)).ok();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        if stream.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}
