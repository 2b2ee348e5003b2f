//! A fleet of several processes on one data folder: the same answers as one process, and what dies comes back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, Mcp, Process, wait_for};

/// A fleet of three processes.
struct Several {
    coordinator: Process,
    core: Process,
    rest: Process,
    home: Home,
}

/// Every built server, split over the processes.
const COORDINATOR: [&str; 4] = ["serve", "master-coordinator", "utilities", "--no-sandbox"];
const CORE: [&str; 4] = ["serve", "coordination", "logging", "--no-sandbox"];
const REST: [&str; 19] = [
    "serve",
    "monitoring",
    "legacy",
    "ai-integration",
    "blockchain-integration",
    "data-providers",
    "dex-services",
    "execution",
    "foundry-integration",
    "market-analysis",
    "orchestration",
    "production",
    "quality",
    "recovery",
    "risk-management",
    "scripts",
    "task-management",
    "ui",
    "--no-sandbox",
];

impl Several {
    fn start() -> Self {
        let home = Home::new("");
        let (core, rest) = (home.start(&CORE), home.start(&REST));
        let coordinator = home.start(&COORDINATOR);
        Self { coordinator, core, rest, home }
    }

    fn mcp(&self) -> Mcp {
        Mcp::new(&format!("{}/mcp", self.coordinator.screen["coordinator"].as_str().unwrap()), Some(self.home.key()))
    }

    /// Whether the coordinator sees a healthy copy of a service.
    fn is_healthy(&self, service: &str) -> bool {
        let row = self.home.cli(&["server", "show", service, "--json"]);
        serde_json::from_str::<Value>(&row.out).is_ok_and(|row| row["status"] == "healthy")
    }
}

/// Calls with the same outcome whoever answers, and whatever was called before.
fn calls() -> Vec<(&'static str, Value)> {
    vec![
        ("utilities__keccak256", json!({ "data": "hello" })),
        ("utilities__keccak256", json!({ "daat": "hello" })),
        ("utilities__nothing", json!({})),
        ("nothing__nothing", json!({})),
        ("coordination__kv_put", json!({ "key": "a", "value": { "n": 1 } })),
        ("coordination__kv_get", json!({ "key": "a" })),
        ("coordination__kv_get", json!({ "key": "b" })),
        ("coordination__acquire_lock", json!({ "name": "l", "ttl_ms": 0 })),
        ("coordination__publish", json!({ "topic": "t", "kind": "k", "data": 1 })),
        ("blockchain-integration__get_balance", json!({ "account": "0x0000000000000000000000000000000000000001" })),
        ("legacy__protocol_versions", json!({})),
        ("legacy__list_aliases", json!({})),
        ("data-providers__sources", json!({ "source": "chainlink" })),
        ("master-coordinator__describe_tool", json!({ "name": "utilities__keccak256" })),
        ("master-coordinator__call_tool", json!({ "name": "utilities__keccak256", "arguments": { "data": "x" } })),
        ("master-coordinator__find_tools", json!({ "query": "hash a text" })),
        ("monitoring__query_metrics", json!({ "query": "1 + " })),
    ]
}

/// The outcomes, without what differs between any two fleets: times, places, revisions.
fn outcomes(mcp: &Mcp) -> BTreeMap<String, String> {
    let mut outcomes = BTreeMap::new();
    for (tool, arguments) in calls() {
        let outcome = match mcp.call(tool, arguments.clone()) {
            Ok(mut value) => {
                steady(&mut value);
                value.to_string()
            }
            Err(refused) => format!("refused: {refused}"),
        };
        outcomes.insert(format!("{tool} {arguments}"), outcome);
    }
    outcomes
}

fn steady(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                !(name.ends_with("_ms") || name.ends_with("revision") || name == "instance" || name == "seq")
            });
            fields.values_mut().for_each(steady);
        }
        Value::Array(items) => items.iter_mut().for_each(steady),
        _ => {}
    }
}

#[test]
fn several_processes_are_the_same_fleet_as_one() {
    let (one, several) = (Fleet::plain(), Several::start());
    let tools = one.mcp("/mcp").tools();
    assert!(tools.len() > 40, "{}", tools.len());
    let mcp = several.mcp();
    wait_for("every service is found", LIMIT, || (mcp.tool_names().len() == tools.len()).then_some(()));
    assert_eq!(mcp.tools(), tools, "the same tools in the same order with the same words");
    for method in ["resources/list", "resources/templates/list", "prompts/list"] {
        assert_eq!(mcp.result(method, json!({})), one.mcp("/mcp").result(method, json!({})), "{method}");
    }
    let (here, there) = (outcomes(&one.mcp("/mcp")), outcomes(&mcp));
    for (call, outcome) in &here {
        assert_eq!(&there[call], outcome, "{call}");
    }
    let status = |text: String| serde_json::from_str::<Value>(&text).unwrap()["servers"]["total"].take();
    let all = status(one.cli(&["status", "--json"]).out);
    assert_eq!(status(several.home.cli(&["status", "--json"]).out), all);
}

#[test]
fn a_process_that_dies_leaves_and_comes_back() {
    let mut several = Several::start();
    let mcp = several.mcp();
    let put = |value: u32| mcp.call("coordination__kv_put", json!({ "key": "k", "value": value }));
    wait_for("coordination is found", LIMIT, || put(1).ok());
    several.core.kill();
    let refused = put(2).unwrap_err();
    assert!(refused.starts_with("unavailable: "), "{refused}");
    assert!(mcp.call("utilities__keccak256", json!({ "data": "x" })).is_ok(), "nobody else is hurt");
    assert!(mcp.call("legacy__list_aliases", json!({})).is_ok(), "nobody else is hurt");
    let row = || {
        let rows = several.home.cli(&["ps", "--json"]).json();
        rows.as_array().unwrap().iter().find(|row| row["name"] == "coordination").cloned().unwrap()
    };
    let lost = wait_for("it is seen that it is lost", LIMIT, || Some(row()).filter(|row| !row["lost_ms"].is_null()));
    assert_eq!(
        (&lost["status"], &lost["instances"], &lost["url"]),
        (&json!("down"), &json!(0), &Value::Null),
        "{lost}"
    );
    assert!(several.home.cli(&["ps"]).out.contains("no sign of life since 20"));
    let status: Value = serde_json::from_str(&several.home.cli(&["status", "--json"]).out).unwrap();
    assert_eq!(status["servers"]["down"], 2, "{status}");
    let refused = put(2).unwrap_err();
    assert!(refused.starts_with("unavailable: "), "{refused}");
    let again = several.home.cli(&["restart", "coordination"]);
    assert!(again.err.contains("flotilla serve coordination"), "{again:?}");
    several.core = several.home.start(&CORE);
    wait_for("it is found again", LIMIT, || put(3).ok());
    assert_eq!(mcp.call("coordination__kv_get", json!({ "key": "k" })).unwrap()["entry"]["value"], 3);
    wait_for("its services are back", LIMIT, || several.is_healthy("coordination").then_some(()));
    assert_eq!(row()["lost_ms"], Value::Null);
}

#[test]
fn a_restart_reaches_the_process_that_runs_the_service() {
    let several = Several::start();
    let show = || several.home.cli(&["server", "show", "legacy", "--json"]).json();
    wait_for("legacy is found", LIMIT, || several.is_healthy("legacy").then_some(()));
    let before = show();
    several.home.cli(&["restart", "legacy", "--reason", "a test"]).ok();
    let after = show();
    assert_eq!(after["copies"][0]["process"], before["copies"][0]["process"]);
    assert_eq!(after["copies"][0]["restarts"], 1, "{after}");
    assert!(several.rest.log().contains("\"service\":\"legacy\""), "its own process says so");
}

#[test]
fn two_copies_of_a_service_share_the_work_and_one_may_die() {
    let home = Home::new("");
    let mut copy = home.start(&["serve", "utilities", "--no-sandbox"]);
    let coordinator = home.start(&COORDINATOR);
    let mcp = Mcp::new(&format!("{}/mcp", coordinator.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    let instances = || {
        let rows = home.cli(&["ps", "--json"]).json();
        rows.as_array().unwrap().iter().find(|row| row["name"] == "utilities").unwrap()["instances"].as_u64()
    };
    wait_for("both copies are found", LIMIT, || (instances() == Some(2)).then_some(()));
    copy.kill();
    for number in 0..50 {
        let answer = mcp.call("utilities__keccak256", json!({ "data": number.to_string() }));
        assert!(answer.is_ok(), "call {number}: {answer:?}");
    }
    wait_for("the dead copy leaves", LIMIT, || (instances() == Some(1)).then_some(()));
}

#[test]
fn processes_that_start_together_make_one_fleet() {
    let home = Home::new("");
    let processes: Vec<Process> = std::thread::scope(|scope| {
        let start = |arguments: &'static [&'static str]| {
            let home = &home;
            scope.spawn(move || home.start(arguments))
        };
        let threads = [start(&COORDINATOR), start(&CORE), start(&REST)];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mcp = Mcp::new(&format!("{}/mcp", processes[0].screen["coordinator"].as_str().unwrap()), Some(home.key()));
    let call =
        || mcp.call("coordination__kv_list", json!({})).and_then(|_| mcp.call("legacy__list_aliases", json!({})));
    wait_for("every service is found", LIMIT, || call().ok());
    assert_eq!(
        home.cli(&["token", "list", "--json"]).json().as_array().unwrap().len(),
        1,
        "one key for the command line"
    );
}
