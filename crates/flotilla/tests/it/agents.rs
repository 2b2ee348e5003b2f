//! Agents: they stand beside the servers, work by themselves, and act only through tools.

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, Mcp, http, wait_for};

/// An agent that looks often, for tests that wait for it.
const QUICK: &str = "[agents.monitoring]\nevaluate_seconds = 1\n[servers.monitoring]\nscrape_seconds = 1";

/// A rule that fires as soon as somebody evaluates it.
fn rule(name: &str) -> Value {
    json!({ "name": name, "expr": "vector(1)", "summary": "it is so" })
}

/// Waits until an alert of a rule fires.
fn fires(mcp: &Mcp, rule: &str) -> Value {
    wait_for("the alert fires", LIMIT, || {
        let alerts = mcp.call("monitoring__list_alerts", json!({})).ok()?;
        alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["rule"] == rule).cloned()
    })
}

/// The row of the monitoring agent, which is named in this field.
fn of_monitoring<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row[name] == "monitoring").unwrap()
}

#[test]
fn an_agent_has_its_own_port_and_appears_wherever_services_do() {
    let fleet = Fleet::plain();
    let rows = fleet.process.screen["agents"].as_array().unwrap().clone();
    assert_eq!(
        rows.iter().map(|row| row["service"].as_str().unwrap()).collect::<Vec<_>>(),
        [
            "build",
            "code-analysis",
            "discord",
            "execution",
            "master-coordinator",
            "monitoring",
            "recovery",
            "risk",
            "test",
            "ui"
        ]
    );
    let url = of_monitoring(&rows, "service")["url"].as_str().unwrap();
    assert_ne!(url, fleet.url_of("monitoring"), "the agent and the server of this name are two");
    let health = http::send("GET", &format!("{url}/health"), &[], b"").ok();
    assert_eq!((&health["service"], &health["status"]), (&json!("monitoring"), &json!("healthy")), "{health}");
    assert_eq!(http::send("GET", &format!("{url}/health/live"), &[], b"").ok()["status"], "alive");
    let metrics = http::send("GET", &format!("{url}/metrics"), &[], b"");
    assert!(metrics.body.contains("mcp_agent_health{agent=\"monitoring\"} 1"), "{}", metrics.body);
    // What is not built is not promised.
    for path in ["/mcp", "/execute"] {
        assert_eq!(http::send("GET", &format!("{url}{path}"), &[], b"").problem().0, 404, "{path}");
    }
    let listed = fleet.get("/agents").ok();
    assert_eq!(of_monitoring(listed.as_array().unwrap(), "name")["status"], "healthy", "{listed}");
    // The same but for the second that may have passed in between.
    let steady = |mut rows: Value| {
        rows.as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|row| drop(row.as_object_mut().unwrap().remove("uptime_seconds")));
        rows
    };
    let by_tool = fleet.call("master-coordinator__list_agents", json!({}))["agents"].clone();
    assert_eq!(steady(by_tool), steady(listed));
    assert_eq!(fleet.get("/status").ok()["agents"]["healthy"], 10);
    let ps = fleet.cli(&["ps"]).ok();
    assert!(ps.lines().any(|line| line.starts_with("agent:monitoring ")), "{ps}");
    assert!(fleet.cli(&["status"]).out.contains("agents    10 of 10 healthy"));
    let one = fleet.cli(&["status", "agent:monitoring", "--json"]).json();
    assert_eq!((&one["kind"], &one["checks"][0]["name"]), (&json!("agent"), &json!("lead")), "{one}");
}

#[test]
fn alerts_fire_by_the_agents_work_which_is_kept_and_recorded() {
    let fleet = Fleet::start(&["--no-sandbox"], QUICK);
    fleet.call("monitoring__set_rule", rule("so"));
    fires(&fleet.mcp("/mcp"), "so");
    let rows = fleet.cli(&["audit", "list", "--json", "100"]).json();
    let of_agent: Vec<&Value> =
        rows.as_array().unwrap().iter().filter(|row| row["caller"] == "agent:monitoring").collect();
    assert!(of_agent.iter().any(|row| row["action"] == "settle_alerts" && row["role"] == "agent:monitoring"), "{rows}");
    assert!(of_agent.iter().all(|row| row["action"] == "settle_alerts"), "it looks without filling the trail: {rows}");
    let runs = fleet.call("master-coordinator__agent_runs", json!({ "agent": "monitoring", "duty": "rules" }));
    let fired =
        runs["runs"].as_array().unwrap().iter().find(|run| run["outcome"].as_str().unwrap().contains("it is so"));
    let fired = fired.unwrap_or_else(|| panic!("{runs}"));
    assert_eq!((&fired["standing"], &fired["calls"][1]["tool"]), (&json!("done"), &json!("settle_alerts")), "{fired}");
    let refused =
        fleet.mcp("/mcp").call("master-coordinator__agent_runs", json!({ "agent": "nobody-at-all" })).unwrap_err();
    assert!(
        refused.contains(
            "one of master-coordinator, code-analysis, build, test, execution, monitoring, risk, recovery, ui, discord"
        ),
        "{refused}"
    );
}

#[test]
fn an_agent_is_restarted_and_its_server_is_not() {
    let fleet = Fleet::start(&["--no-sandbox"], QUICK);
    let restarts_of_agent = || of_monitoring(fleet.get("/agents").ok().as_array().unwrap(), "name")["restarts"].clone();
    let restarts = || (restarts_of_agent(), restarts_of_server(&fleet));
    fleet.cli(&["restart", "agent:monitoring", "--reason", "a test"]).ok();
    assert_eq!(restarts(), (json!(1), json!(0)));
    assert_eq!(fleet.rest("POST", "/agents/monitoring/restart", "").status, 200);
    fleet.call("master-coordinator__restart_service", json!({ "service": "monitoring", "kind": "agent" }));
    assert_eq!(restarts(), (json!(3), json!(0)));
    fleet.cli(&["restart", "monitoring"]).ok();
    assert_eq!(restarts(), (json!(3), json!(1)));
    fleet.call("monitoring__set_rule", rule("after"));
    fires(&fleet.mcp("/mcp"), "after");
}

fn restarts_of_server(fleet: &Fleet) -> Value {
    let rows = fleet.get("/servers").ok();
    rows.as_array().unwrap().iter().find(|row| row["name"] == "monitoring").unwrap()["restarts"].clone()
}

#[test]
fn an_agent_in_a_process_of_its_own_works_through_the_others() {
    let home = Home::new(QUICK);
    let server = home.start(&["serve", "monitoring", "--no-sandbox"]);
    let mut agent = home.start(&["serve", "agent:monitoring", "--no-sandbox"]);
    let coordinator = home.start(&["serve", "master-coordinator", "--no-sandbox"]);
    assert_eq!(agent.screen["agents"][0]["service"], "monitoring");
    let mcp = Mcp::new(&format!("{}/mcp", coordinator.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    wait_for("the server is found", LIMIT, || mcp.call("monitoring__set_rule", rule("so")).ok());
    fires(&mcp, "so");
    agent.kill();
    let second = home.start(&["serve", "agent:monitoring", "--no-sandbox"]);
    mcp.call("monitoring__set_rule", rule("again")).unwrap();
    fires(&mcp, "again");
    drop((server, second));
}

#[test]
fn the_coordinators_own_tools_are_found_from_other_processes() {
    let home = Home::new("");
    let coordinator = home.start(&["serve", "master-coordinator", "task-management", "--no-sandbox"]);
    let _agents = home.start(&["serve", "agent:master-coordinator", "agent:monitoring", "monitoring", "--no-sandbox"]);
    let mcp = Mcp::new(&format!("{}/mcp", coordinator.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    wait_for("both agents are known", LIMIT, || {
        let agents = mcp.call("master-coordinator__list_agents", json!({})).ok()?["agents"].take();
        (agents.as_array().unwrap().len() == 2).then_some(())
    });
    // It asks the coordinator for the agents, and task-management to take a task.
    let payload = r#"{"task_type":"summary"}"#;
    let asked = home.cli(&["agent", "submit", "master-coordinator", "assign", payload, "--json"]).json();
    let task = asked["id"].as_str().unwrap().to_owned();
    let done = wait_for("the task is handed on", LIMIT, || {
        let row = home.cli(&["task", "get", &task, "--json"]).json();
        ["done", "dead"].iter().any(|state| row["state"] == *state).then_some(row)
    });
    assert_eq!((&done["state"], &done["result"]["agent"]), (&json!("done"), &json!("monitoring")), "{done}");
}
