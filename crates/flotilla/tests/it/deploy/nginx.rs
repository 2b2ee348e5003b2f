//! Nginx: its configuration as generated, and clients through a real one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use regex::Regex;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::kept;
use crate::harness::daemon::Daemon;
use crate::harness::{Fleet, Home, LIMIT, http, tools, wait_for};
use crate::tls;

/// How often other ports are tried when somebody was quicker.
const TRIES: usize = 10;

/// A running Nginx: where it speaks plain HTTP and TLS.
struct Nginx {
    daemon: Daemon,
    plain: String,
    secure: String,
    trust: Arc<ClientConfig>,
}

/// The generated configuration with this test's places in it. Everything that is replaced must be there.
struct Adapted(String);

impl Adapted {
    fn new() -> Self {
        Self(kept("docker/nginx/nginx.conf"))
    }

    fn with(self, there: &str, here: &str) -> Self {
        assert!(self.0.contains(there), "no {there}");
        Self(self.0.replace(there, here))
    }

    /// Files of its own in `home`, with the certificate there.
    fn at_home(self, home: &Home, plain: u16, secure: u16) -> Self {
        let folder = home.path("").display().to_string();
        self.with(" /tmp/", &format!(" {folder}"))
            .with("listen 80 ", &format!("listen 127.0.0.1:{plain} "))
            .with("listen 443 ", &format!("listen 127.0.0.1:{secure} "))
            .with("/run/secrets/tls_certificate", &format!("{folder}cert.pem"))
            .with("/run/secrets/tls_key", &format!("{folder}key.pem"))
    }

    /// What it leads to is this fleet.
    fn to(self, fleet: &Fleet) -> Self {
        let address = |url: &str| http::split(url).0.to_owned();
        let page = address(fleet.process.screen["dashboard"].as_str().unwrap());
        let mut adapted = self
            .with("mcp-master-coordinator:4000", &address(fleet.url()))
            .with("mcp-master-coordinator:8080", &page)
            .with("http://$service:$service_port", "http://127.0.0.1:$service_port");
        for (kind, family, prefix) in [("mcp", "services", ""), ("agent", "agents", "agent:")] {
            for row in fleet.process.screen[family].as_array().into_iter().flatten() {
                let name = row["service"].as_str().unwrap();
                let url = fleet.url_of(&format!("{prefix}{name}"));
                let port = address(&url).rsplit_once(':').unwrap().1.to_owned();
                let line = Regex::new(&format!(r"(?m)^(\s+{kind}-{name}\s+)\d+;")).unwrap();
                assert!(line.is_match(&adapted.0), "no {kind}-{name}");
                adapted = Self(line.replace(&adapted.0, format!("${{1}}{port};")).into_owned());
            }
        }
        adapted
    }
}

pub(super) fn program(config: &Path) -> Option<Command> {
    let mut command = Command::new(tools::debian("sbin/nginx")?);
    // Where it is root its workers are too: the test's folder is its owner's alone.
    command.arg("-c").arg(config).args(["-g", "daemon off; user root;"]);
    Some(command)
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts it, on other ports when these were taken meanwhile.
fn start(fleet: &Fleet, change: impl Fn(Adapted) -> Adapted) -> Option<Nginx> {
    let home = &fleet.home;
    let trust = tls::certificate(home, &["localhost", "127.0.0.1"]);
    let config = home.path("nginx.conf");
    for _ in 0..TRIES {
        let (plain, secure) = (free_port(), free_port());
        let adapted = change(Adapted::new().at_home(home, plain, secure).to(fleet));
        std::fs::write(&config, adapted.0).unwrap();
        let mut daemon = Daemon::start(&mut program(&config)?, &home.path("nginx.log"));
        let plain = format!("http://127.0.0.1:{plain}");
        let serves = daemon.says(LIMIT, |_| {
            let answer = http::try_send("GET", &format!("{plain}/healthz"), &[], b"").ok()?;
            (answer.body == "ok\n").then_some(())
        });
        if serves.is_some() {
            return Some(Nginx { daemon, plain, secure: format!("https://localhost:{secure}"), trust });
        }
        assert!(daemon.log().contains("bind()"), "it ended: {}", daemon.log());
    }
    panic!("no free ports");
}

impl Nginx {
    /// Sends a request over TLS.
    fn open(&self, path: &str, headers: &str) -> BufReader<StreamOwned<ClientConnection, std::net::TcpStream>> {
        let (host, _) = http::split(&self.secure);
        let address = host.replace("localhost", "127.0.0.1");
        let client =
            ClientConnection::new(Arc::clone(&self.trust), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, http::connect(&address).unwrap());
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n").unwrap();
        BufReader::new(stream)
    }

    /// The whole answer over TLS: its head in lower case, and its body.
    fn get(&self, path: &str, headers: &str) -> (String, String) {
        let mut text = String::new();
        self.open(path, headers).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }
}

#[test]
fn its_configuration_is_what_it_takes() {
    let home = Home::new("");
    tls::certificate(&home, &["localhost"]);
    let config = home.path("nginx.conf");
    std::fs::write(&config, Adapted::new().at_home(&home, free_port(), free_port()).0).unwrap();
    let Some(mut command) = program(&config) else { return };
    let ran = tools::run(command.arg("-t"), &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn the_official_client_works_through_tls() {
    let fleet = Fleet::plain();
    let Some(nginx) = start(&fleet, |config| config) else { return };
    let all = (format!("{}/mcp", nginx.secure), "utilities__keccak256");
    let one = (format!("{}/services/mcp-utilities/mcp", nginx.secure), "keccak256");
    for ((url, tool), sdk) in [
        (&all, json!({ "sdk": "v2", "era": "modern" })),
        (&all, json!({ "sdk": "v1" })),
        (&one, json!({ "sdk": "v2" })),
    ] {
        let Some(mut script) = tools::node_script("clients/typescript.mjs") else { return };
        let mut job = json!({ "url": url, "key": fleet.home.key(), "tool": tool, "arguments": { "data": "hello" } });
        job.as_object_mut().unwrap().extend(sdk.as_object().unwrap().clone());
        script.env("NODE_EXTRA_CA_CERTS", fleet.home.path("cert.pem"));
        let found = tools::run(&mut script, &[&job.to_string()]).json();
        assert!(
            found["result"]["structuredContent"]["hash"].as_str().is_some_and(|hash| hash.starts_with("0x1c8aff95")),
            "{found}"
        );
    }
    drop(nginx.daemon);
}

#[test]
fn a_stream_passes_as_it_comes_and_every_path_leads_where_it_should() {
    let fleet = Fleet::plain();
    let Some(nginx) = start(&fleet, |config| config) else { return };
    let key = format!("authorization: Bearer {}\r\n", fleet.home.key());

    // An event is read while the answer that it is part of goes on.
    let mut stream = nginx.open("/events", &format!("{key}accept: text/event-stream\r\n"));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the answer has no end of its head");
    }
    fleet.cli(&["restart", "utilities", "--reason", "a test"]).ok();
    while !line.contains("utilities") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended");
    }

    let (head, body) = nginx.get("/status", &key);
    assert!(head.starts_with("http/1.1 200") && body.contains("\"servers\""), "{head}\n{body}");
    for header in [
        "strict-transport-security: max-age",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: same-origin",
    ] {
        assert!(head.contains(header), "no {header} in {head}");
    }
    let (head, body) = nginx.get("/", &key);
    assert!(head.starts_with("http/1.1 200") && body.contains("<title>Overview · Flotilla"), "{head}\n{body}");
    // The origin of its own forms must reach the dashboard, which refuses those of nowhere.
    assert!(!head.contains("no-referrer"), "{head}");
    assert!(nginx.get("/ui/services", &key).0.starts_with("http/1.1 200"));
    // A key may come as a password too.
    let browser = |key: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("me:{key}"));
        nginx.get("/", &format!("authorization: Basic {pair}\r\n")).0
    };
    let (known, wrong) = (browser(&fleet.home.key()), browser("flt_wrong"));
    assert!(known.starts_with("http/1.1 200"), "{known}");
    assert!(wrong.starts_with("http/1.1 401") && wrong.contains("www-authenticate: basic realm="), "{wrong}");
    let (head, body) = nginx.get("/services/agent-monitoring/health", "");
    assert!(head.starts_with("http/1.1 200") && body.contains("\"monitoring\""), "{head}\n{body}");
    for unknown in ["/services/mcp-nothing/health", "/services/localhost/health"] {
        assert!(nginx.get(unknown, &key).0.starts_with("http/1.1 404"), "{unknown}");
    }
    let moved = http::send("GET", &format!("{}/mcp?mode=search", nginx.plain), &[], b"");
    assert_eq!((moved.status, moved.header("location")), (308, "https://127.0.0.1/mcp?mode=search"));

    // What it logs is JSON, and holds no key.
    let log = nginx.daemon.log();
    assert!(!log.contains(&fleet.home.key()), "{log}");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["path"] == "/status" && line["status"] == 200), "{log}");
}

#[test]
fn who_asks_too_much_is_told_so() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let slow = |config: Adapted| config.with("rate=50r/s", "rate=1r/m").with("burst=100", "burst=2");
    let Some(nginx) = start(&fleet, slow) else { return };
    let answers: Vec<String> = (0..5).map(|_| nginx.get("/health", "").0).collect();
    let refused = answers.iter().filter(|head| head.starts_with("http/1.1 429")).count();
    assert_eq!(refused, 2, "one is let through, two beyond it, and no more within a minute: {answers:?}");
    wait_for("it is logged", LIMIT, || nginx.daemon.log().contains("\"status\":429").then_some(()));
}
