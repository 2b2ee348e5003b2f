//! The doors for everybody over TLS, with a certificate made for the test.

use std::io::{Read, Write};
use std::sync::Arc;

use expect_test::expect;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{Home, Process, http};

/// A certificate for these names of this machine in the home's folder, and a client's trust in it.
pub(crate) fn certificate(home: &Home, names: &[&str]) -> Arc<ClientConfig> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(home.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(home.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn up(home: &Home) -> Process {
    home.start(&["up", "--no-sandbox", "--mode", "minimal", "--tls-cert", "cert.pem", "--tls-key", "key.pem"])
}

/// Sends a request over TLS: the status and the body.
fn send(trust: &Arc<ClientConfig>, method: &str, url: &str, headers: &str, body: &str) -> (u16, String) {
    let (address, path) = http::split(url);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let client = ClientConnection::new(Arc::clone(trust), name).unwrap();
    let mut stream = StreamOwned::new(client, http::connect(address).unwrap());
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn everybody_comes_in_over_tls_and_the_fleet_itself_as_before() {
    let home = Home::new("");
    let trust = certificate(&home, &["127.0.0.1"]);
    let process = up(&home);
    let (public, page) = (&process.screen["coordinator"], &process.screen["dashboard"]);
    let (public, page) = (public.as_str().unwrap(), page.as_str().unwrap());
    assert!(public.starts_with("https://") && page.starts_with("https://"), "{public} {page}");
    assert_eq!(send(&trust, "GET", &format!("{public}/health"), "", "").0, 200);
    let (status, body) = send(&trust, "GET", &format!("{page}/"), "", "");
    assert!(status == 200 && body.contains("Flotilla"), "{status} {body}");

    let headers = format!(
        "authorization: Bearer {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: utilities__keccak256\r\n",
        home.key()
    );
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "utilities__keccak256", "arguments": { "data": "hello" }, "_meta": meta });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let (status, body) = send(&trust, "POST", &format!("{public}/mcp"), &headers, &call.to_string());
    assert!(status == 200 && body.contains("1c8aff950685c2ed"), "{status} {body}");

    // Without TLS there is nothing to be had at the same door.
    let plain = http::try_send("GET", &public.replacen("https", "http", 1), &[], b"");
    assert!(plain.is_err(), "{plain:?}");
    assert_eq!(home.cli(&["status", "--json"]).json()["status"], "healthy");
    for row in process.screen["services"].as_array().unwrap() {
        assert!(row["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "on this machine only: {row}");
    }
}

#[test]
fn a_certificate_that_cannot_serve_is_refused_at_the_start() {
    let home = Home::new("");
    certificate(&home, &["127.0.0.1"]);
    std::fs::copy(home.path("key.pem"), home.path("others.pem")).unwrap();
    certificate(&home, &["127.0.0.1"]);
    let mut transcript = String::new();
    for files in
        [("cert.pem", "others.pem"), ("nowhere.pem", "key.pem"), ("key.pem", "key.pem"), ("cert.pem", "cert.pem")]
    {
        let ran = home.cli(&["up", "--no-sandbox", "--tls-cert", files.0, "--tls-key", files.1]);
        transcript.push_str(&format!("{}, {}: {}", files.0, files.1, ran.shown()));
    }
    let half = Home::new("[http]\ntls_cert = \"cert.pem\"").cli(&["up", "--no-sandbox"]);
    transcript.push_str(&half.shown());
    expect![[r#"
        cert.pem, others.pem: exit 2
        -- stderr
        error: certificate cert.pem and its key do not serve: keys may not be consistent: KeyMismatch [invalid_argument]
          give the key that the certificate was made for
        nowhere.pem, key.pem: exit 2
        -- stderr
        error: nowhere.pem cannot be used: No such file or directory (os error 2) [invalid_argument]
          name a file with a certificate in PEM
        key.pem, key.pem: exit 2
        -- stderr
        error: key.pem cannot be used: it is not a certificate in PEM: NoItemsFound [invalid_argument]
          name a file with a certificate in PEM
        cert.pem, cert.pem: exit 2
        -- stderr
        error: cert.pem cannot be used: it is not a private key in PEM: NoItemsFound [invalid_argument]
          name a file with a private key in PEM
        exit 2
        -- stderr
        error: http.tls_cert is set and http.tls_key is not [invalid_argument]
          TLS needs both: --tls-cert FILE --tls-key FILE
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn processes_beside_it_find_each_other_without_trusting_anybody() {
    let home = Home::new("");
    certificate(&home, &["127.0.0.1"]);
    let process = up(&home);
    let beside = home.start(&["serve", "legacy", "--no-sandbox"]);
    crate::harness::wait_for("it is called", crate::harness::LIMIT, || {
        let ran = home.cli(&["tool", "call", "legacy__list_aliases", "--json"]);
        serde_json::from_str::<Value>(&ran.out).ok().filter(|_| ran.code == Some(0))
    });
    drop((process, beside));
}
