//! Restarts and copies of containers: a coordinator, a real Nginx with the proxy's configuration as generated, and an engine behind its socket.

use std::io::{BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::kept;
use super::nginx::{free_port, program};
use crate::harness::daemon::Daemon;
use crate::harness::{Fleet, Home, LIMIT, Mcp, http};

/// How often other ports are tried when somebody was quicker.
const TRIES: usize = 10;

/// What the engine was asked, and no more than its first line.
type Asked = Arc<Mutex<Vec<String>>>;

/// The id of a container.
fn id(number: u32) -> String {
    format!("{number:064x}")
}

/// An engine with two containers of `utilities` and none of any other service.
fn engine(socket: &Path) -> Asked {
    let (listener, asked) = (UnixListener::bind(socket).unwrap(), Asked::default());
    let keep = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, keep) = (stream.unwrap(), Arc::clone(&keep));
            std::thread::spawn(move || answer(&mut BufReader::new(stream), &keep));
        }
    });
    asked
}

fn answer(stream: &mut BufReader<UnixStream>, keep: &Asked) {
    while let Ok((first, _)) = http::head(stream) {
        if first.is_empty() {
            return;
        }
        let request = first.trim_end_matches(" HTTP/1.1").to_owned();
        let listed = |number: u32| {
            let labels = json!({
                "com.docker.compose.project": "mcp", "com.docker.compose.service": "mcp-utilities",
                "com.docker.compose.container-number": number.to_string(), "com.docker.compose.oneoff": "False",
            });
            json!({ "Id": id(number), "State": "running", "Labels": labels })
        };
        let (status, body) = match &*request {
            "GET /_ping" => ("200 OK\r\nApi-Version: 1.47", "OK".to_owned()),
            list if list.contains("mcp-utilities%22") => ("200 OK", json!([listed(1), listed(2)]).to_string()),
            list if list.starts_with("GET ") => ("200 OK", "[]".to_owned()),
            _ => ("204 No Content", String::new()),
        };
        keep.lock().unwrap().push(request);
        let length =
            if status.starts_with("204") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        if write!(stream.get_mut(), "HTTP/1.1 {status}\r\n{length}\r\n{body}").is_err() {
            return;
        }
    }
}

/// The proxy before that socket: itself, and where it answers. `None` where Nginx is not installed, which is said.
fn proxy(home: &Home, socket: &Path) -> Option<(Daemon, String)> {
    let config = home.path("docker-proxy.conf");
    let replaced = |text: String, there: &str, here: &str| {
        assert!(text.contains(there), "no {there}");
        text.replace(there, here)
    };
    for _ in 0..TRIES {
        let port = free_port();
        let text = replaced(kept("docker/nginx/docker-proxy.conf"), " /tmp/", &format!(" {}", home.path("").display()));
        let text = replaced(text, "listen 2375;", &format!("listen 127.0.0.1:{port};"));
        let text = replaced(text, "unix:/var/run/docker.sock:", &format!("unix:{}:", socket.display()));
        std::fs::write(&config, text).unwrap();
        let mut daemon = Daemon::start(&mut program(&config)?, &home.path("docker-proxy.log"));
        let url = format!("http://127.0.0.1:{port}");
        let serves = daemon.says(LIMIT, |_| {
            http::try_send("GET", &format!("{url}/_ping"), &[], b"")
                .ok()
                .filter(|answer| answer.status == 200)
                .map(drop)
        });
        if serves.is_some() {
            return Some((daemon, url));
        }
        assert!(daemon.log().contains("bind()"), "it ended: {}", daemon.log());
    }
    panic!("no free ports");
}

#[test]
fn restarts_and_copies_are_the_containers_where_the_engine_may_be_asked() {
    let home = Home::new("");
    let socket = home.path("docker.sock");
    let asked = engine(&socket);
    let Some((_proxy, url)) = proxy(&home, &socket) else { return };
    home.configure(&format!("[containers]\ndocker = \"{url}\""));
    let process = home.start(&["serve", "master-coordinator", "--no-sandbox"]);
    // Its own process reads other settings, as the containers beside the coordinator do.
    home.configure("");
    let _others = home.start(&["serve", "utilities", "coordination", "--no-sandbox"]);
    let fleet = Fleet { process, home };
    let heard = || std::mem::take(&mut *asked.lock().unwrap());
    heard();
    let ids = [id(1), id(2)];
    let post = |id: &str, what: &str| format!("POST /v1.47/containers/{id}/{what}");
    let restarted = fleet.call("master-coordinator__restart_service", json!({ "service": "utilities" }));
    assert_eq!(restarted["instances"][0]["service"], "utilities", "{restarted}");
    let all = heard();
    assert!(all[0] == "GET /_ping" && all[1].starts_with("GET /v1.47/containers/json?all=true&filters="), "{all:?}");
    assert_eq!(all[2..], [post(&ids[0], "restart?t=30"), post(&ids[1], "restart?t=30")]);
    fleet.call("master-coordinator__scale_service", json!({ "service": "utilities", "replicas": 1 }));
    assert_eq!(heard()[2..], [post(&ids[1], "stop?t=30")]);
    let refused =
        |mcp: &Mcp, tool: &str, arguments| mcp.call(&format!("master-coordinator__{tool}"), arguments).unwrap_err();
    let mcp = fleet.mcp("/mcp");
    let more = refused(&mcp, "scale_service", json!({ "service": "utilities", "replicas": 3 }));
    assert!(more.starts_with("unsupported: ") && more.contains("--scale mcp-utilities=3"), "{more}");
    let none = refused(&mcp, "restart_service", json!({ "service": "coordination" }));
    assert!(none.starts_with("not_found: ") && none.contains("mcp-coordination"), "{none}");
    heard();
    // What is asked restarts within its process, and stops itself for nobody.
    fleet.call("master-coordinator__restart_service", json!({ "service": "master-coordinator" }));
    let own = refused(&mcp, "scale_service", json!({ "service": "master-coordinator", "replicas": 0 }));
    assert!(own.starts_with("unsupported: "), "{own}");
    // Who may not, does not.
    let key = fleet.cli(&["token", "create", "looker", "--role", "viewer", "--json"]).json();
    let looker = Mcp::new(&format!("{}/mcp", fleet.url()), Some(key["token"].as_str().unwrap().to_owned()));
    for (tool, arguments) in [
        ("restart_service", json!({ "service": "utilities" })),
        ("scale_service", json!({ "service": "utilities", "replicas": 0 })),
    ] {
        let refused = refused(&looker, tool, arguments);
        assert!(refused.starts_with("permission_denied: "), "{refused}");
    }
    assert_eq!(heard(), [""; 0], "the engine hears of none of it");
    // The proxy lets nothing else through, whoever asks it.
    let list = "/v1.47/containers/json?all=true&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3Dmcp%22%2C";
    for (method, path) in [
        ("GET", "/v1.47/containers/json".to_owned()),
        ("GET", "/v1.47/containers/json?all=true".to_owned()),
        (
            "GET",
            format!(
                "{list}%22com.docker.compose.service%3Dpostgres%22%2C%22com.docker.compose.oneoff%3DFalse%22%5D%7D"
            ),
        ),
        ("GET", format!("/v1.47/containers/{}/archive?path=/run/secrets", ids[0])),
        ("GET", format!("/v1.47/containers/{}/json", ids[0])),
        ("GET", "/v1.47/info".to_owned()),
        ("POST", "/v1.47/containers/create".to_owned()),
        ("POST", format!("/v1.47/containers/{}/exec", ids[0])),
        ("POST", format!("/v1.47/containers/{}/kill", ids[0])),
        ("POST", format!("/v1.47/containers/{}/start/../../x", ids[0])),
        ("POST", "/v1.47/containers/postgres/stop?t=1".to_owned()),
        ("DELETE", format!("/v1.47/containers/{}", ids[0])),
    ] {
        assert_eq!(http::send(method, &format!("{url}{path}"), &[], b"").status, 403, "{method} {path}");
    }
    assert_eq!(heard(), [""; 0]);
}
