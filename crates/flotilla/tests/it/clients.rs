//! The official clients, each on the whole fleet and on one server, in every era they know, over HTTP and over stdio.

use serde_json::{Value, json};

use crate::harness::{Fleet, LIMIT, tools, wait_for};

/// What `keccak256` answers to `hello`.
const HASH: &str = "0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8";

/// One way to a server.
struct Way<'a> {
    /// `url` and `key`, or `command` and `env`.
    target: Value,
    /// The tool, as it is named there.
    tool: &'a str,
    /// How many tools there are at least.
    tools: usize,
}

/// Every way to a fleet: all of it and one server, over HTTP and over stdio.
fn ways(fleet: &Fleet) -> Vec<Way<'static>> {
    let key = fleet.home.key();
    let program = env!("CARGO_BIN_EXE_flotilla");
    let data = fleet.home.path("data").display().to_string();
    let http = |url: String| json!({ "url": url, "key": key });
    let stdio = |more: &[&str]| {
        let command = [&[program, "--data-dir", &data, "mcp"], more].concat();
        json!({ "command": command, "env": {} })
    };
    vec![
        Way { target: http(format!("{}/mcp", fleet.url())), tool: "utilities__keccak256", tools: 40 },
        Way { target: http(format!("{}/mcp/utilities", fleet.url())), tool: "keccak256", tools: 10 },
        Way { target: http(format!("{}/mcp", fleet.url_of("utilities"))), tool: "keccak256", tools: 10 },
        Way { target: stdio(&[]), tool: "utilities__keccak256", tools: 40 },
        Way { target: stdio(&["utilities"]), tool: "keccak256", tools: 10 },
    ]
}

/// What a client found is what is there.
fn check(who: &str, way: &Way<'_>, revision: &str, found: &Value) {
    let context = format!("{who} at {}: {found}", way.target);
    // The older TypeScript SDK does not tell over stdio.
    assert!(found["revision"] == revision || found["revision"].is_null() && who.contains("v1"), "{context}");
    let names = found["tools"].as_array().unwrap();
    assert!(names.len() >= way.tools && names.contains(&way.tool.into()), "{context}");
    assert_eq!(found["result"]["structuredContent"]["hash"], HASH, "{context}");
    assert!(!found["resources"].as_array().unwrap().is_empty(), "{context}");
    assert!(found["prompts"].is_array() || way.tools < 40, "{context}");
    let text = found["read"]["contents"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("keccak256"), "{context}");
}

/// A job for a client script.
fn job(way: &Way<'_>, more: Value) -> String {
    let mut job = way.target.clone();
    job["tool"] = way.tool.into();
    job["arguments"] = json!({ "data": "hello" });
    job["read"] = "docs://utilities".into();
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job.to_string()
}

#[test]
fn the_typescript_sdk() {
    let fleet = Fleet::plain();
    for way in ways(&fleet) {
        for (era, revision) in [
            (json!({ "sdk": "v1" }), "2025-11-25"),
            (json!({ "sdk": "v2", "era": "legacy" }), "2025-11-25"),
            (json!({ "sdk": "v2", "era": "auto" }), "2026-07-28"),
        ] {
            let Some(mut script) = tools::node_script("clients/typescript.mjs") else { return };
            let found = tools::run(&mut script, &[&job(&way, era.clone())]).json();
            check(&format!("TypeScript {era}"), &way, revision, &found);
        }
    }
}

/// The transport of 2024-11-05, which clients that have not moved still speak.
#[test]
fn the_typescript_sdk_over_http_and_sse() {
    let fleet = Fleet::plain();
    for (url, tool, tools) in
        [(fleet.url().to_owned(), "utilities__keccak256", 40), (fleet.url_of("legacy"), "list_aliases", 5)]
    {
        let Some(mut script) = tools::node_script("clients/typescript.mjs") else { return };
        let arguments = if tool == "list_aliases" { json!({}) } else { json!({ "data": "hello" }) };
        let job = json!({
            "sdk": "sse", "url": format!("{url}/sse"), "key": fleet.home.key(), "tool": tool, "arguments": arguments,
        });
        let found = tools::run(&mut script, &[&job.to_string()]).json();
        assert!(found["tools"].as_array().unwrap().len() >= tools, "{found}");
        assert!(found["result"]["structuredContent"].is_object(), "{found}");
    }
    wait_for("who still uses it is known", LIMIT, || {
        let used = fleet.call("legacy__deprecations", json!({}));
        used.to_string().contains("http+sse").then_some(())
    });
}

#[test]
fn the_python_sdk() {
    let fleet = Fleet::plain();
    for way in ways(&fleet) {
        for (era, revision) in [("legacy", "2025-11-25"), ("auto", "2026-07-28")] {
            let Some(mut script) = tools::python_script("clients/python.py") else { return };
            let found = tools::run(&mut script, &[&job(&way, json!({ "era": era }))]).json();
            check(&format!("Python {era}"), &way, revision, &found);
        }
    }
}

#[test]
fn inspectors_command_line() {
    let fleet = Fleet::plain();
    for way in ways(&fleet) {
        for era in ["legacy", "auto", "modern"] {
            let run = |arguments: &[&str]| {
                let mut inspector = tools::inspector(&fleet.home.path(""))?;
                inspector.args(["--format", "json", "-q", "--protocol-era", era]);
                if let Some(command) = way.target["command"].as_array() {
                    inspector.args(arguments).args(["--transport", "stdio", "--"]);
                    inspector.args(command.iter().map(|word| word.as_str().unwrap()));
                } else {
                    let key = way.target["key"].as_str().unwrap();
                    inspector.arg(way.target["url"].as_str().unwrap()).args(["--transport", "http"]).args(arguments);
                    inspector.args(["--header", &format!("Authorization: Bearer {key}")]);
                }
                Some(tools::run(&mut inspector, &[]).json()["result"].take())
            };
            let Some(list) = run(&["--method", "tools/list"]) else { return };
            let names: Vec<&str> =
                list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
            assert!(names.len() >= way.tools && names.contains(&way.tool), "{era} at {}: {names:?}", way.target);
            let arguments =
                ["--method", "tools/call", "--tool-name", way.tool, "--tool-args-json", r#"{"data":"hello"}"#];
            let result = run(&arguments).unwrap();
            assert_eq!(result["structuredContent"]["hash"], HASH, "{era} at {}: {result}", way.target);
        }
    }
}

#[test]
fn inspector_finds_nothing_wrong_with_our_schemas() {
    let fleet = Fleet::plain();
    let Some(mut inspector) = tools::inspector(&fleet.home.path("")) else { return };
    let key = format!("Authorization: Bearer {}", fleet.home.key());
    let url = format!("{}/mcp", fleet.url());
    let ran = tools::run(
        &mut inspector,
        &[&url, "--transport", "http", "--header", &key, "--method", "tools/list", "--strict"],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}
