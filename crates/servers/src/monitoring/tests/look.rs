//! Health, probes, targets: over real sockets.

use std::net::SocketAddr;

use expect_test::expect;
use kernel::fake::FakeFleet;
use kernel::fleet::Instance;
use kernel::health::Status;
use kernel::{OnEnd, Tasks};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers every connection with what `answer` makes of its request. Returns where.
pub(super) async fn served(tasks: &Tasks, answer: fn(&str) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("test server", OnEnd::Done, async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut piece) = (Vec::new(), [0u8; 4_096]);
            while !whole(&request) {
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&piece[..read]),
                }
            }
            let answer = answer(&String::from_utf8_lossy(&request));
            if stream.write_all(answer.as_bytes()).await.is_err() {
                continue;
            }
        }
    });
    address
}

/// Whether a request's head and the body it announces are there.
fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

fn page(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: /there\r\n\r\n{body}", body.len())
}

/// A service of another process.
fn service(request: &str) -> String {
    if request.starts_with("GET /health ") {
        return page(
            "503 Service Unavailable",
            r#"{"status":"down","service":"utilities","version":"1","uptime_seconds":5,"checks":[{"name":"disk","status":"down","detail":"full"}]}"#,
        );
    }
    if request.starts_with("GET /metrics ") {
        return page("200 OK", "mcp_server_health{server=\"utilities\"} 0.5\n");
    }
    page("302 Found", "elsewhere")
}

fn elsewhere(name: &str, url: &str) -> Instance {
    Instance { process: "other".into(), ..FakeFleet::server(name, url, 1_794_729_590_000) }
}

/// Addresses have another port in every run.
fn without_port(text: &str, address: SocketAddr) -> String {
    let text = text.replace(&format!(":{}", address.port()), ":PORT");
    let took = regex::Regex::new(r#""(connect_ms|took_ms)":[0-9.]+"#).unwrap();
    took.replace_all(&text, "\"$1\":0").into_owned()
}

#[tokio::test]
async fn health_is_the_registrys_word_or_the_services_own() {
    let watch = Watch::new();
    let fleet = &watch.bench.world.fleet;
    let address = served(&watch.bench.world.tasks, service).await;
    fleet.set(elsewhere("utilities", &format!("http://{address}")));
    fleet.set(Instance { status: Status::Degraded, ..elsewhere("logging", "http://127.0.0.1:1") });
    let shown = async |arguments| without_port(&watch.bench.shown(&admin(), "health", arguments).await, address);
    expect![[r#"{"status":"degraded","serving":2,"total":2,"services":[{"service":"logging","kind":"server","status":"degraded","instances":[{"id":"logging-1","url":"http://127.0.0.1:1","status":"degraded","uptime_seconds":10,"restarts":0}]},{"service":"utilities","kind":"server","status":"healthy","instances":[{"id":"utilities-1","url":"http://127.0.0.1:PORT","status":"healthy","uptime_seconds":10,"restarts":0}]}],"alerts":[]}"#]].assert_eq(&shown(json!({})).await);
    expect![[r#"{"status":"down","serving":0,"total":1,"services":[{"service":"utilities","kind":"server","status":"down","instances":[{"id":"utilities-1","url":"http://127.0.0.1:PORT","status":"down","uptime_seconds":10,"restarts":0,"checks":[{"name":"disk","status":"down","detail":"full"}]}]}],"alerts":[]}"#]].assert_eq(&shown(json!({"service": "utilities"})).await);
    let deep = watch.ask("health", json!({"deep": true})).await;
    assert_eq!((&deep["status"], &deep["serving"]), (&json!("down"), &json!(0)));
    expect!["not_found: no instance of service `nobody` (one of logging, utilities)"]
        .assert_eq(&shown(json!({"service": "nobody"})).await);
    fleet.fail(Some(kernel::Fault::unavailable("the registry is away")));
    expect!["unavailable: the registry is away"].assert_eq(&shown(json!({})).await);
}

#[tokio::test]
async fn probes_reach_the_fleet_and_what_is_allowed_and_nothing_else_private() {
    let watch = Watch::new();
    let address = served(&watch.bench.world.tasks, service).await;
    let shown = async |arguments| without_port(&watch.bench.shown(&admin(), "probe", arguments).await, address);
    expect!["permission_denied: 127.0.0.1:PORT is a private address (127.0.0.1) (services of the fleet may be reached by their registered addresses; others must be allowed in the configuration)"].assert_eq(&shown(json!({"target": format!("http://{address}/")})).await);
    expect!["permission_denied: 127.0.0.1:PORT is a private address (127.0.0.1) (services of the fleet may be reached by their registered addresses; others must be allowed in the configuration)"].assert_eq(&shown(json!({"target": format!("tcp://{address}")})).await);
    watch.bench.world.fleet.set(elsewhere("utilities", &format!("http://{address}")));
    expect![[r#"{"target":"http://127.0.0.1:PORT/x","ok":true,"address":"127.0.0.1:PORT","status":302,"connect_ms":0,"took_ms":0,"bytes":9,"location":"/there"}"#]].assert_eq(&shown(json!({"target": format!("http://{address}/x")})).await);
    expect![[r#"{"target":"tcp://127.0.0.1:PORT","ok":true,"address":"127.0.0.1:PORT","connect_ms":0,"took_ms":0}"#]]
        .assert_eq(&shown(json!({"target": format!("tcp://{address}")})).await);
    expect![[r#"{"target":"http://127.0.0.1:PORT/health","ok":false,"reason":"status 503","address":"127.0.0.1:PORT","status":503,"connect_ms":0,"took_ms":0,"bytes":131,"location":"/there"}"#]].assert_eq(&shown(json!({"target": "utilities"})).await);
    expect![[r#"{"target":"http://127.0.0.1:PORT/health","ok":false,"reason":"the page does not contain `all is well`","address":"127.0.0.1:PORT","status":503,"connect_ms":0,"took_ms":0,"bytes":131,"location":"/there"}"#]]
        .assert_eq(&shown(json!({"target": "utilities", "expect_status": [503], "contains": "all is well"})).await);
    assert_eq!(
        watch.ask("probe", json!({"target": "utilities", "expect_status": [503], "contains": "full"})).await["ok"],
        true
    );
    for target in ["", "utilitys", "ftp://example.com", "tcp://x", "tcp://x:99999", "tcp://a/b:1", "http://u@h/"] {
        let refused = watch.bench.shown(&admin(), "probe", json!({"target": target})).await;
        assert!(refused.starts_with("invalid_argument: "), "{target}: {refused}");
    }
    watch
        .bench
        .check(
            "probe",
            json!({"target": "utilities", "timeout_seconds": 31}),
            expect!["invalid_argument: timeout_seconds is 31 (1 to 30)"],
        )
        .await;
    let metadata = watch.bench.shown(&admin(), "probe", json!({"target": "http://169.254.169.254/latest"})).await;
    assert!(metadata.starts_with("permission_denied: "), "{metadata}");
}

#[tokio::test]
async fn probes_go_where_the_configuration_allows_and_say_what_is_closed() {
    let config = Config { allow: vec!["127.0.0.0/8".into()], ..Config::default() };
    let watch = Watch::on(World::default(), config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(watch.ask("probe", json!({"target": format!("tcp://{address}")})).await["ok"], true);
    drop(listener);
    let closed = watch.ask("probe", json!({"target": format!("tcp://{address}")})).await;
    assert!(!closed["ok"].as_bool().unwrap() && closed["reason"].as_str().unwrap().contains("refused"), "{closed}");
    let bad = Config { allow: vec!["not an address".into()], ..Config::default() };
    assert!(Monitoring::new(&World::default().ports(), bad).is_err());
    let bad = Config { scrape_seconds: 0, ..Config::default() };
    expect!["invalid_argument: servers.monitoring.scrape_seconds is 0 (1 to 300)"]
        .assert_eq(&Monitoring::new(&World::default().ports(), bad).err().unwrap().to_string());
}

#[tokio::test]
async fn every_process_is_read_once() {
    let watch = Watch::new();
    let world = &watch.bench.world;
    let address = served(&world.tasks, service).await;
    // Ports that sort before and after whatever the other one got.
    world.fleet.set(FakeFleet::server("monitoring", "http://127.0.0.1:9", 0));
    world.fleet.set(elsewhere("utilities", &format!("http://{address}")));
    world.fleet.set(Instance {
        id: "utilities-2".into(),
        service: "zzz".into(),
        ..elsewhere("utilities", "http://zzz:1")
    });
    world.fleet.set(Instance { process: "third".into(), ..elsewhere("gone", "http://127.0.0.1:1") });
    watch.health("monitoring", 1.0);
    watch.pass(5).await;
    let shown = without_port(&watch.bench.shown(&admin(), "targets", json!({})).await, address);
    expect![[r#"{"source":"recorder","targets":[{"instance":"127.0.0.1:1","url":"http://127.0.0.1:1/metrics","local":false,"services":["gone"],"up":false,"last_scrape_ms":1794729605000,"took_ms":0,"samples":0,"refused":0,"error":"127.0.0.1: Connection refused (os error 111)"},{"instance":"127.0.0.1:PORT","url":"http://127.0.0.1:PORT/metrics","local":false,"services":["utilities","zzz"],"up":true,"last_scrape_ms":1794729605000,"took_ms":0,"samples":1,"refused":0},{"instance":"127.0.0.1:9","url":"http://127.0.0.1:9/metrics","local":true,"services":["monitoring"],"up":true,"last_scrape_ms":1794729605000,"took_ms":0,"samples":56,"refused":0}],"series":66,"oldest_ms":1794729605000}"#]].assert_eq(&shown);
    let query = async |query: &str| {
        let answer = watch.ask("query_metrics", json!({"query": query})).await;
        let show = |one: &Value| format!("{} {}", one["metric"]["instance"], one["value"]);
        let shown: Vec<String> = answer["series"].as_array().unwrap().iter().map(show).collect();
        without_port(&shown.join(", "), address)
    };
    expect![[r#""127.0.0.1:1" 0.0, "127.0.0.1:PORT" 1.0, "127.0.0.1:9" 1.0"#]].assert_eq(&query("sort(up)").await);
    expect![[r#""127.0.0.1:PORT" 0.5, "127.0.0.1:9" 1.0"#]].assert_eq(&query("sort(mcp_server_health)").await);
    world.fleet.remove("utilities-1");
    world.fleet.remove("utilities-2");
    watch.pass(5).await;
    expect![[r#""127.0.0.1:1" 0.0, "127.0.0.1:9" 1.0, "127.0.0.1:9" 1.0"#]]
        .assert_eq(&query("sort(mcp_server_health or up)").await);
}
