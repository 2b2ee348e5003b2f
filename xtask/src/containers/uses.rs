//! The system used as people use it: services, tools, tasks, a workflow, the doors in front.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::World;
use super::client::request;
use super::images::DEBIAN_IMAGE;
use super::system::{LIMIT, until};
use crate::command;
use crate::problem::{Problem, Result};

/// What a service says that serves all the same where no chain is given.
const NO_CHAIN: &str = "not_configured: no EVM node is configured";
/// How often a tool of a server is tried that may need what is not there.
const TRIES_MAX: usize = 8;

/// A task for each agent: its type, and what it is to be done with.
fn task_of(agent: &str) -> Option<(&'static str, Value)> {
    Some(match agent {
        "master-coordinator" => ("assign", json!({ "task_type": "summary" })),
        "execution" => {
            ("run_job", json!({ "server": "utilities", "tool": "keccak256", "arguments": { "data": "hello" } }))
        }
        "monitoring" => ("summary", json!({})),
        "risk" => ("assess", json!({ "trade": trade() })),
        "recovery" => ("recover", json!({ "service": "utilities" })),
        "ui" => ("report", json!({ "report": "overview", "hours": 1 })),
        _ => return None,
    })
}

/// A trade that the rules have an opinion of.
fn trade() -> Value {
    json!({
        "strategy": "e2e", "pair": "WETH/USDC", "notional": "1000", "at_risk": "1", "gross": "5", "gas_cost": "1",
        "gas_price_wei": "1000000000", "slippage_bps": 10, "tokens": [], "protocols": [], "pools": [],
    })
}

/// Puts three keys, waiting in between.
const WORKFLOW: &str = "
document: { dsl: '1.0.3', namespace: e2e, name: counted, version: 1.0.0 }
do:
- each:
    for: { in: '[range(3)]', at: i }
    do:
    - put:
        call: mcp
        with:
          method: tools/call
          parameters: { name: coordination__kv_put, arguments: { key: '${ \"e2e-workflow/\\($i)\" }', value: '${ $task.idempotencyKey }' } }
        output: { as: .structuredContent.key }
    - rest: { wait: { milliseconds: 200 } }
";

/// Rows of the fleet, by kind.
fn rows(world: &World<'_>, path: &str) -> Result<Vec<Value>> {
    Ok(world.client.rest("GET", path, None)?.as_array().cloned().unwrap_or_default())
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Every container of the fleet is a service that the coordinator calls healthy.
pub(crate) fn health(world: &World<'_>) -> Result<String> {
    let containers = world.system.containers()?;
    let wanted: BTreeSet<&str> =
        containers.iter().filter(|container| container.ours()).map(|container| &*container.service).collect();
    until("every service healthy", LIMIT, || {
        let (servers, agents) = (rows(world, "/servers")?, rows(world, "/agents")?);
        let named = |kind: &str, row: &Value| format!("{kind}-{}", text(row, "name"));
        let all = servers
            .iter()
            .map(|row| (named("mcp", row), row))
            .chain(agents.iter().map(|row| (named("agent", row), row)));
        let mut chainless = 0;
        let mut found = BTreeSet::new();
        for (name, row) in all {
            let no_chain = text(row, "status") == "degraded" && text(row, "last_error").starts_with(NO_CHAIN);
            chainless += usize::from(no_chain);
            if text(row, "status") == "healthy" || no_chain {
                found.insert(name);
            }
        }
        let whole = wanted.iter().all(|name| found.contains(*name));
        Ok(whole.then(|| {
            let without = if chainless == 0 { String::new() } else { format!("; {chainless} of them without a chain") };
            format!("{} servers and {} agents{without}", servers.len(), agents.len())
        }))
    })
}

/// Through Nginx with TLS and a key comes the status, without a key nothing; Prometheus reaches all that it is told of.
pub(crate) fn doors(world: &World<'_>) -> Result<String> {
    // The key comes by the environment: what is run is shown when it fails.
    let fetch = "wget --quiet --no-check-certificate --output-document=- --header 'host: localhost' --header \"authorization: Bearer $KEY\" https://nginx/status";
    let mut run = world.system.docker.command(&["run", "--rm", "--network", "mcp_edge", "--env", "KEY"]);
    run.args([DEBIAN_IMAGE, "sh", "-c", fetch]).env("KEY", &world.key);
    let status = command::output(&mut run)?;
    if !status.contains("\"servers\"") {
        return Err(Problem::new(format!("https://nginx/status answers {status}")));
    }
    let refused = request("127.0.0.1:4000", "GET", "/status", &[], "")?.status;
    let moved = request("127.0.0.1:80", "GET", "/status", &[], "")?.status;
    if (refused, moved) != (401, 308) {
        return Err(Problem::new(format!("without a key: {refused}, not 401; without TLS: {moved}, not 308")));
    }
    let targets = until("Prometheus reaches all that it is told of", LIMIT, || {
        let answer = request("127.0.0.1:9090", "GET", "/api/v1/targets?state=active", &[], "")?;
        let told: Value = serde_json::from_str(&answer.body).map_err(Problem::io("Prometheus' targets"))?;
        let targets = told["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let down = targets.iter().any(|target| target["health"] != "up");
        Ok((!down && !targets.is_empty()).then_some(targets.len()))
    })?;
    Ok(format!("TLS, keys, {targets} targets of Prometheus up"))
}

/// A tool of each server that only reads and asks for nothing.
pub(crate) fn tools(world: &World<'_>) -> Result<String> {
    let tools = world.client.tools()?;
    let mut answered = Vec::new();
    for server in rows(world, "/servers")? {
        let prefix = format!("{}__", text(&server, "name"));
        let plain = |tool: &&Value| {
            let asks = tool["inputSchema"]["required"].as_array().is_some_and(|required| !required.is_empty());
            text(tool, "name").starts_with(&prefix) && tool["annotations"]["readOnlyHint"] == true && !asks
        };
        let mut refusal = Problem::new("it has no tool that only reads and asks for nothing");
        let candidates = tools.iter().filter(plain).take(TRIES_MAX).map(|tool| text(tool, "name"));
        let mut found = None;
        for name in candidates {
            match world.client.call(name, &json!({})) {
                Ok(_) => {
                    found = Some(name.to_owned());
                    break;
                }
                Err(problem) => refusal = problem,
            }
        }
        answered
            .push(found.ok_or_else(|| Problem::new(format!("{}: {}", text(&server, "name"), refusal.in_one_line())))?);
    }
    Ok(format!("{} servers: {}", answered.len(), answered.join(", ")))
}

/// Each agent does a task.
pub(crate) fn tasks(world: &World<'_>) -> Result<String> {
    let mut done = Vec::new();
    for agent in rows(world, "/agents")? {
        let name = text(&agent, "name");
        // Without a token there is nobody whom the bot could tell, and without a project nothing to build.
        if name == "discord" || name == "build" {
            continue;
        }
        let (task_type, payload) = task_of(name)
            .ok_or_else(|| Problem::new(format!("no task is known for {name}")).fix("xtask/src/containers/uses.rs"))?;
        let body = json!({ "task_type": task_type, "payload": payload });
        let task = world.client.rest("POST", &format!("/agents/{name}/tasks"), Some(&body))?;
        let path = format!("/tasks/{}", text(&task, "id"));
        let row = until(&format!("{name} does {task_type}"), LIMIT, || {
            let row = world.client.rest("GET", &path, None)?;
            Ok(["done", "dead", "cancelled"].contains(&text(&row, "state")).then_some(row))
        })?;
        if text(&row, "state") != "done" {
            return Err(Problem::new(format!("{name} did not do {task_type}: {row}")));
        }
        done.push(format!("{name} {task_type}"));
    }
    Ok(done.join(", "))
}

/// A workflow is defined, started, and done.
pub(crate) fn workflow(world: &World<'_>) -> Result<String> {
    let client = &world.client;
    client.call("orchestration__define_workflow", &json!({ "definition": WORKFLOW }))?;
    let started = client.call("orchestration__start", &json!({ "workflow": "e2e/counted" }))?;
    let run = text(&started, "run").to_owned();
    let ended = until("the run ends", LIMIT, || {
        let row = client.call("orchestration__status", &json!({ "run": run, "wait_seconds": 5 }))?;
        Ok(row["ended_ms"].is_i64().then_some(row))
    })?;
    let keys = client.call("coordination__kv_list", &json!({ "prefix": "e2e-workflow/" }))?;
    let count = keys["entries"].as_array().map_or(0, Vec::len);
    if text(&ended, "status") != "completed" || count != 3 {
        return Err(Problem::new(format!("{count} keys of 3, and the run: {ended}")));
    }
    Ok(format!("{run} put {count} keys"))
}
