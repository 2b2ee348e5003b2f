//! REST of the coordinator: what it tells, whom it refuses, and that its own description of itself is true.

use expect_test::{expect, expect_file};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::{Fleet, Home, http};

/// The names of an object's fields, as one text.
fn fields(value: &Value) -> String {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_read_only_pages_need_no_key_on_this_machine() {
    let fleet = Fleet::plain();
    let status = fleet.get("/status").ok();
    expect!["status mode version uptime_seconds servers agents upstreams infrastructure alerts"]
        .assert_eq(&fields(&status));
    expect!["audit bus chain logs queue registry store"].assert_eq(&fields(&status["infrastructure"]));
    assert_eq!(status["servers"]["total"], fleet.process.screen["services"].as_array().unwrap().len());
    let servers = fleet.get("/servers").ok();
    let utilities = servers.as_array().unwrap().iter().find(|row| row["name"] == "utilities").unwrap();
    assert_eq!(
        (&utilities["status"], &utilities["port"], &utilities["instances"]),
        (&json!("healthy"), &json!(4017), &json!(1))
    );
    assert!(utilities["tools"].as_array().unwrap().contains(&json!("keccak256")), "{utilities}");
    let agents = fleet.get("/agents").ok();
    let agents: Vec<&Value> = agents.as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(
        agents,
        [
            "master-coordinator",
            "code-analysis",
            "build",
            "test",
            "execution",
            "monitoring",
            "risk",
            "recovery",
            "ui",
            "discord"
        ],
        "what is not built does not appear"
    );
    let index = fleet.get("/");
    assert!(index.status == 200 && index.body.contains("/mcp?mode=search"), "{index:?}");
}

#[test]
fn who_may_not_is_told_so_in_a_problem_document() {
    let fleet = Fleet::plain();
    let viewer = fleet.cli(&["token", "create", "reader", "--role", "viewer", "--json"]).json();
    let keys = [
        ("viewer", viewer["token"].as_str().unwrap().to_owned()),
        ("admin", fleet.home.key()),
        ("wrong", "flt_wrong".into()),
    ];
    let requests = [
        ("GET", "/status", "wrong", ""),
        ("POST", "/servers/utilities/restart", "", ""),
        ("POST", "/servers/utilities/restart", "viewer", ""),
        ("POST", "/mcp", "", "{}"),
        ("GET", "/nowhere", "", ""),
        ("POST", "/servers/utilitis/restart", "admin", ""),
        ("POST", "/command", "admin", "{"),
        ("POST", "/command", "admin", r#"{"target":"utilities"}"#),
        ("POST", "/command", "admin", r#"{"target":"utilities","command":"uuid","arg":{}}"#),
    ];
    let mut transcript = String::new();
    for (method, path, who, body) in requests {
        let key = keys.iter().find(|(name, _)| *name == who).map(|(_, key)| format!("Bearer {key}"));
        let headers: Vec<_> = key.iter().map(|key| ("authorization", key.as_str())).collect();
        let answer = http::send(method, &format!("{}{path}", fleet.url()), &headers, body.as_bytes());
        let (status, code) = answer.problem();
        let problem = answer.json();
        let hint = problem["hint"].as_str().map(|hint| format!("\n  {hint}")).unwrap_or_default();
        let who = if who.is_empty() { "nobody" } else { who };
        transcript.push_str(&format!(
            "{method} {path} {body} ({who})\n{status} {code}: {}{hint}\n\n",
            problem["detail"].as_str().unwrap()
        ));
    }
    expect_file!["golden/problems.txt"].assert_eq(&transcript);
    let answer = http::send("POST", &format!("{}/mcp", fleet.url()), &[], b"{}");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
}

#[test]
fn only_our_own_names_and_pages_reach_us() {
    let fleet = Fleet::plain();
    let with = |headers: &[(&str, &str)]| http::send("GET", &format!("{}/status", fleet.url()), headers, b"");
    assert_eq!(with(&[("host", "evil.example")]).problem(), (403, "permission_denied".into()));
    assert_eq!(with(&[("origin", "https://evil.example")]).problem(), (403, "permission_denied".into()));
    assert_eq!(with(&[("host", "localhost:4000"), ("origin", "http://localhost:8080")]).status, 200);
}

#[test]
fn a_command_goes_to_one_service_to_several_and_to_all() {
    let fleet = Fleet::plain();
    let command = |target: &str| {
        let body = json!({ "target": target, "command": "keccak256", "args": { "data": "hello" } });
        fleet.rest("POST", "/command", &body.to_string())
    };
    let mut one = command("utilities").ok();
    assert!(one[0]["took_ms"].take().is_u64());
    expect![[r#"[{"target":"utilities","kind":"server","ok":true,"result":{"algorithm":"keccak256","hash":"0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8","bytes":5},"took_ms":null}]"#]].assert_eq(&one.to_string());
    let several = command("utilities,logging").ok();
    let ok = |answers: &Value| answers.as_array().unwrap().iter().filter(|answer| answer["ok"] == true).count();
    assert_eq!(ok(&several), 1, "one answers, the other says why not: {several}");
    assert_eq!(command("utilitys").problem(), (404, "not_found".into()));
}

#[test]
fn the_v1_form_is_served_on_every_port() {
    let fleet = Fleet::plain();
    let (url, key) = (fleet.url_of("utilities"), format!("Bearer {}", fleet.home.key()));
    let send = |body: &str| http::send("POST", &format!("{url}/execute"), &[("authorization", &key)], body.as_bytes());
    let answer = send(r#"{"command":"keccak256","args":{"data":"hello"}}"#).ok();
    assert_eq!((&answer["status"], &answer["service"]), (&json!("success"), &json!("utilities")));
    assert_eq!(answer["result"]["hash"], "0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8");
    assert_eq!(send(r#"{"command":"kecak256"}"#).problem().1, "invalid_argument");
}

#[test]
fn events_are_streamed_and_read_on_from_where_one_stopped() {
    let fleet = Fleet::plain();
    let events =
        |headers: &[(&str, &str)]| http::open("GET", &format!("{}/events", fleet.url()), headers, b"").unwrap();
    let mut live = events(&[]);
    assert_eq!(fleet.rest("POST", "/servers/utilities/restart", r#"{"reason":"a test"}"#).status, 200);
    // What happened at the start may still be on its way.
    let first = loop {
        let event = live.body.event().unwrap().unwrap();
        if event.kind == "service.restarting" {
            break event;
        }
    };
    assert_eq!(
        (&first.json()["data"]["service"], &first.json()["data"]["reason"]),
        (&json!("utilities"), &json!("a test"))
    );
    let second = live.body.event().unwrap().unwrap();
    let again = events(&[("last-event-id", &first.id)]).body.event().unwrap().unwrap();
    assert_eq!((again.id, again.data), (second.id, second.data));
}

/// A key is refused within a second of its revocation by whatever process; see `keys.rs` for the rest of keys.
#[test]
fn nothing_is_open_off_loopback() {
    let home = Home::new("[http]\nbind = \"0.0.0.0\"\nhosts = [\"fleet.example\"]");
    let process = home.start(&["up", "--no-sandbox", "--mode", "dev"]);
    let url = process.screen["coordinator"].as_str().unwrap();
    // Still from loopback, so that pages are shown; the host name is one that was allowed.
    assert_eq!(http::send("GET", &format!("{url}/status"), &[("host", "fleet.example")], b"").status, 200);
    assert_eq!(http::send("POST", &format!("{url}/mcp"), &[("host", "fleet.example")], b"{}").status, 401);
}

#[test]
fn a_task_goes_to_an_agent_that_is_known_and_does_it() {
    let fleet = Fleet::plain();
    fleet.rest("POST", "/agents/somebody/register", r#"{"worker":"w","task_types":["look","listen"]}"#).ok();
    let asked = |agent: &str, body: &str| {
        let answer = fleet.rest("POST", &format!("/agents/{agent}/tasks"), body);
        let told = answer.json();
        format!(
            "{} {}: {}",
            answer.status,
            told["detail"].as_str().unwrap_or_default(),
            told["hint"].as_str().unwrap_or_default()
        )
    };
    for (agent, body, want) in [
        (
            "somebodi",
            r#"{"task_type":"look"}"#,
            "404 no agent `somebodi`: did you mean `somebody`? there are build, code-analysis, discord, execution, master-coordinator, monitoring, recovery, risk, somebody, test, ui",
        ),
        (
            "nobody-at-all-here",
            r#"{"task_type":"look"}"#,
            "404 no agent `nobody-at-all-here`: one of build, code-analysis, discord, execution, master-coordinator, monitoring, recovery, risk, somebody, test, ui",
        ),
        (
            "somebody",
            r#"{"task_type":"sing"}"#,
            "404 agent `somebody` does no tasks of type `sing`: one of listen, look",
        ),
    ] {
        assert_eq!(asked(agent, body), want);
    }
    let rows = fleet.get("/agents").ok();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "somebody").unwrap();
    assert_eq!(row["task_types"], json!(["listen", "look"]));
}

#[test]
fn the_openapi_document_is_whole_and_true() {
    let fleet = Fleet::plain();
    let document = fleet.get("/openapi.json").ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    references(&document, &document);
    // So that there is one to tell of.
    fleet.rest("POST", "/agents/somebody/register", r#"{"worker":"w","task_types":["look"]}"#).ok();
    let submitted = fleet.rest("POST", "/agents/somebody/tasks", r#"{"task_type":"look"}"#).ok();
    assert_eq!(submitted, json!({ "id": "task_1", "fresh": true }));
    let mut seen = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(["get", "post", "put", "delete", "parameters"].contains(&method.as_str()), "{method} {path}");
            for (code, response) in operation["responses"].as_object().unwrap_or_else(|| panic!("{method} {path}")) {
                assert!(response["description"].is_string() || response["$ref"].is_string(), "{method} {path} {code}");
                let in_json = response["content"]["application/json"].is_object();
                if method == "get" && code == "200" && in_json {
                    truthful(&fleet, &document, path);
                }
            }
            seen.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    expect![[r#"
        GET /status
        GET /servers
        GET /agents
        GET /upstreams
        GET /health
        GET /health/live
        GET /health/ready
        GET /metrics
        GET /events
        POST /command
        POST /servers/{name}/restart
        POST /agents/{name}/restart
        POST /agents/{name}/tasks
        POST /agents/{name}/register
        POST /agents/{name}/lease
        POST /agents/{name}/heartbeat
        POST /agents/{name}/finish
        POST /agents/{name}/leave
        POST /sign-in-links
        GET /tasks/{name}
        POST /execute"#]]
    .assert_eq(&seen.join("\n"));
    let docs = fleet.get("/docs");
    assert!(docs.status == 200 && docs.header("content-security-policy").contains("default-src 'none'"), "{docs:?}");
    assert!(docs.body.contains("/servers/{name}/restart"), "{}", docs.body);
}

/// What a path answers is as the document says.
fn truthful(fleet: &Fleet, document: &Value, path: &str) {
    let pointer = format!("#/paths/{}/get/responses/200/content/application~1json/schema", path.replace('/', "~1"));
    let pointer = pointer.replace('{', "%7B").replace('}', "%7D");
    let mut schema = document.clone();
    schema["$ref"] = pointer.into();
    let validator = Validator::new(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
    let answer = fleet.get(&path.replace("{name}", "task_1")).ok();
    let errors: Vec<String> =
        validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{path} answers {answer}");
}

/// Every reference leads somewhere.
fn references(root: &Value, here: &Value) {
    match here {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let found = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                assert!(found.is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(|value| references(root, value));
        }
        Value::Array(items) => items.iter().for_each(|value| references(root, value)),
        _ => {}
    }
}
