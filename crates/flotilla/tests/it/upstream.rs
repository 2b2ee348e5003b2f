//! A third party's server as part of the fleet: its own bytes, its own deaths.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Fleet, LIMIT, process, tools, wait_for};

/// `flotilla.toml` with `upstreams/server.py` as the upstream `name`; nothing where there is no Python.
fn stdio(name: &str, more: &str) -> Option<String> {
    let python = tools::python()?;
    let script = tools::script("upstreams/server.py");
    Some(format!(
        "[upstreams.{name}]\ncommand = {}\nargs = [\"-S\", {}]\n{more}\n",
        json!(python.display().to_string()),
        json!(script.display().to_string()),
    ))
}

/// A fleet with that upstream under the name `third`, once its tools are there; nothing where there is no Python.
pub(crate) fn fleet(more: &str) -> Option<Fleet> {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], &stdio("third", more)?);
    joined(&fleet, "third");
    Some(fleet)
}

/// Waits until an upstream's tools are the fleet's.
pub(crate) fn joined(fleet: &Fleet, name: &str) {
    let start = format!("{name}__");
    let there = || fleet.mcp("/mcp").tool_names().iter().any(|tool| tool.starts_with(&start));
    wait_for("the upstream joins", LIMIT, || there().then_some(()));
}

/// Starts a call in a thread and waits until the upstream has begun to work on it.
pub(crate) fn begin(fleet: &Fleet, tool: &str, mut arguments: Value) -> JoinHandle<Result<Value, String>> {
    let started = fleet.home.path("started");
    arguments["started"] = started.display().to_string().into();
    let (mcp, tool) = (fleet.mcp("/mcp"), tool.to_owned());
    let call = thread::spawn(move || mcp.call(&tool, arguments));
    wait_for("the call begins", LIMIT, || started.exists().then_some(()));
    std::fs::remove_file(started).unwrap();
    call
}

/// The text of a tool's first content block.
#[track_caller]
fn text(fleet: &Fleet, tool: &str, arguments: Value) -> String {
    fleet.call(tool, arguments)[0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn its_tools_join_the_fleet_and_its_bytes_arrive_untouched() {
    let Some(fleet) = fleet("") else { return };
    assert_eq!(fleet.mcp("/mcp/third").tool_names(), ["echo", "pid", "wait_for_file", "hang", "die"]);
    let result =
        fleet.mcp("/mcp").result("tools/call", json!({ "name": "third__echo", "arguments": { "text": "hi" } }));
    assert_eq!(
        (&result["x-third-party"]["kept"], &result["resultType"]),
        (&json!(true), &json!("complete")),
        "{result}"
    );
    assert_eq!(text(&fleet, "third__echo", json!({ "text": "hi" })), "hi");
}

#[test]
fn a_killed_child_is_back_within_a_second_and_its_callers_are_told() {
    let Some(fleet) = fleet("") else { return };
    let refused = fleet.mcp("/mcp").call("third__die", json!({})).unwrap_err();
    assert!(refused.starts_with("unavailable: "), "{refused}");
    let pid: i32 = text(&fleet, "third__pid", json!({})).parse().unwrap();
    let hung = begin(&fleet, "third__hang", json!({}));
    process::send(pid, libc::SIGKILL);
    let killed = Instant::now();
    let refused = hung.join().unwrap().unwrap_err();
    assert!(refused.starts_with("unavailable: "), "{refused}");
    let fresh = wait_for("the child is back", LIMIT, || fleet.mcp("/mcp").call("third__pid", json!({})).ok());
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_ne!(fresh[0]["text"], pid.to_string());
}
