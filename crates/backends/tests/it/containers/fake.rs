//! A server that speaks as much of HTTP as is asked of it here, over TCP, TLS or a socket in the file system: it writes down what it was asked,
//! and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A status, headers and a body; nothing when it never answers.
pub(super) type Said = Option<(u16, &'static str, String)>;

/// The server.
pub(super) struct Fake {
    pub(super) address: String,
    /// `METHOD path`, then what goes with it: the token, the body and its type.
    asked: Arc<Mutex<Vec<String>>>,
    /// Raised at each request that is not answered.
    pub(super) left: Arc<Notify>,
}

trait Answers: Fn(&str) -> Said + Send + 'static {}

impl<T: Fn(&str) -> Said + Send + 'static> Answers for T {}

impl Fake {
    pub(super) fn start(answer: impl Fn(&str) -> Said + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(address, move || listener.accept().map(|(stream, _)| stream), answer)
    }

    /// On a socket in a folder.
    pub(super) fn on_socket(folder: &Path, answer: impl Fn(&str) -> Said + Send + 'static) -> Self {
        let path = folder.join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let address = format!("unix://{}", path.display());
        Self::serve(address, move || listener.accept().map(|(stream, _)| stream), answer)
    }

    /// Over TLS; the certificate that vouches for it is `ca.crt` in the folder.
    pub(super) fn over_tls(folder: &TempDir, answer: impl Fn(&str) -> Said + Send + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.crt"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let accept = move || {
            let (stream, _) = listener.accept()?;
            Ok(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream))
        };
        Self::serve(address, accept, answer)
    }

    fn serve<S: Read + Write + Send + 'static>(
        address: String,
        accept: impl Fn() -> std::io::Result<S> + Send + 'static,
        answer: impl Answers,
    ) -> Self {
        let (asked, left) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Notify>::default());
        let (writes, leaves) = (Arc::clone(&asked), Arc::clone(&left));
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut open = Vec::new();
            while let Ok(stream) = accept() {
                let mut stream = BufReader::new(stream);
                // A client that does not trust us says nothing.
                let Some(request) = read(&mut stream) else { continue };
                let said = answer(&request);
                writes.lock().unwrap().push(request);
                match said {
                    Some((status, headers, body)) => {
                        let head = format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                        stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
                        stream.get_mut().flush().unwrap();
                    }
                    None => {
                        open.push(stream);
                        leaves.notify_one();
                    }
                }
            }
        });
        Self { address, asked, left }
    }

    /// What it was asked since it was last looked at.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A request, in a line.
fn read(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut request = line.strip_suffix(" HTTP/1.1\r\n").unwrap().to_owned();
    let (mut length, mut hosts) = (0, 0);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" | "authorization" => request.push_str(&format!(" | {value}")),
            "host" => hosts += 1,
            _ => {}
        }
    }
    assert_eq!(hosts, 1, "{request}");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    if length > 0 {
        request.push_str(&format!(" | {}", String::from_utf8(body).unwrap()));
    }
    Some(request)
}
