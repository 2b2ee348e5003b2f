//! What people look at and are told, at the fleet's endpoint: views, charts, notifications, reports.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::receiver::Receiver;
use crate::harness::{Fleet, LIMIT, Mcp, wait_for};

/// A rule whose words mean harm and which fires as soon as somebody evaluates it.
const HOSTILE: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

fn contents(mcp: &Mcp, uri: &str) -> Value {
    mcp.result("resources/read", json!({ "uri": uri }))["contents"][0].take()
}

/// Waits for a task of an agent, and gives its result.
fn result_of(fleet: &Fleet, agent: &str, task_type: &str, payload: &str) -> Value {
    let asked = fleet.cli(&["agent", "submit", agent, task_type, payload, "--json"]).json();
    let task = asked["id"].as_str().unwrap().to_owned();
    let done = wait_for("the task ends", LIMIT, || {
        let row = fleet.cli(&["task", "get", &task, "--json"]).json();
        ["done", "dead"].iter().any(|state| row["state"] == *state).then_some(row)
    });
    assert_eq!(done["state"], "done", "{done}");
    done["result"].clone()
}

#[test]
fn views_are_resources_of_the_real_fleet_and_hostile_words_are_text_in_them() {
    let fleet = Fleet::start(&["--no-sandbox"], "[agents.monitoring]\nevaluate_seconds = 1");
    fleet.call("monitoring__set_rule", json!({ "name": "hostile", "expr": "vector(1)", "summary": HOSTILE }));
    let mcp = fleet.mcp("/mcp");
    let tools = mcp.tools();
    for tool in ["ui__view", "ui__overview"] {
        let entry = tools.iter().find(|entry| entry["name"] == tool).unwrap();
        let uri = entry["_meta"]["ui"]["resourceUri"].as_str().unwrap();
        let shell = contents(&mcp, uri);
        assert_eq!((shell["uri"].as_str(), shell["mimeType"].as_str()), (Some(uri), Some("text/html;profile=mcp-app")));
        assert_eq!(shell["_meta"]["ui"]["csp"]["connectDomains"], json!([]), "{shell}");
    }
    let listed = mcp.result("resources/list", json!({}));
    let uris: Vec<&str> =
        listed["resources"].as_array().unwrap().iter().filter_map(|one| one["uri"].as_str()).collect();
    assert!(uris.contains(&"ui://ui/views/alerts") && uris.contains(&"view://ui/alerts"), "{uris:?}");
    let alerts = wait_for("it fires", LIMIT, || {
        let page = contents(&mcp, "ui://ui/views/alerts");
        page["text"].as_str().filter(|html| html.contains("alert(1)")).map(ToOwned::to_owned)
    });
    assert!(alerts.contains("&lt;script&gt;alert(1)&lt;/script&gt;&lt;img"), "{alerts}");
    assert!(!alerts.contains("<script>alert") && !alerts.contains("<img"), "{alerts}");
    let services: Value = serde_json::from_str(contents(&mcp, "view://ui/services")["text"].as_str().unwrap()).unwrap();
    let rows = services["sections"][0]["body"]["table"]["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row[1] == "ui" && row[0] == "healthy"), "{services}");
    // Under the caller's own rights: a viewer sees what a viewer may read.
    let eve = fleet.cli(&["token", "create", "eve", "--role", "viewer", "--json"]).json();
    let eve = Mcp::new(&format!("{}/mcp/ui", fleet.url()), eve["token"].as_str().map(ToOwned::to_owned));
    for view in ["overview", "services", "activity", "alerts", "tasks", "trading", "notifications"] {
        let page = eve.call("view", json!({ "view": view })).unwrap();
        let untold =
            page["sections"].as_array().unwrap().iter().find(|section| section["body"].get("untold").is_some());
        assert!(untold.is_none_or(|section| !section.to_string().contains("permission_denied")), "{view}: {untold:?}");
    }
    let refused = eve.call("notify", json!({ "title": "x" })).unwrap_err();
    assert!(refused.starts_with("permission_denied"), "{refused}");
    let png = wait_for("there are figures to draw", LIMIT, || {
        // More series than a chart takes is refused with what would be right, once there are so many.
        let refused = mcp.call("ui__chart", json!({ "query": "mcp_server_health", "title": "Health" })).err()?;
        if !refused.starts_with("too_large: the query gives ") {
            return None;
        }
        let drawn = mcp
            .call("ui__chart", json!({ "query": "avg(mcp_server_health)", "title": "Health", "unit": "ratio" }))
            .unwrap();
        drawn[1]["text"].as_str().unwrap().contains("points").then(|| drawn[0]["data"].as_str().unwrap().to_owned())
    });
    assert!(STANDARD.decode(png).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn reports_are_rendered_by_the_clock_and_reach_people_and_sinks() {
    let hook = Receiver::start();
    let config = format!(
        "[servers.monitoring.sinks.hook]\nkind = \"webhook\"\nurl = \"{}/hook\"\nevery_seconds = 1\nseverity = \"info\"\n\
         [agents.monitoring]\nevaluate_seconds = 1\ndeliver_seconds = 1\n[agents.ui]\ndeliver_seconds = 1\n",
        hook.url
    );
    let fleet = Fleet::start(&["--no-sandbox"], &config);
    for report in ["overview", "trading", "incidents"] {
        let payload = json!({ "report": report, "hours": 1, "sinks": report == "overview" }).to_string();
        let made = result_of(&fleet, "ui", "report", &payload);
        let (markdown, html) = (made["markdown"].as_str().unwrap(), made["html"].as_str().unwrap());
        assert!(markdown.contains(" of the last 1 hours") && markdown.contains("\n## "), "{markdown}");
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains("</section>"), "{report}");
        assert!(
            !markdown.contains("invalid_argument") && !markdown.contains("permission_denied"),
            "{report}: {markdown}"
        );
        let kept = fleet.call("ui__notifications", json!({ "id": made["notification"] }));
        assert_eq!(kept["notifications"][0]["text"], markdown, "{report}");
    }
    hook.wait_for("the sink hears of the one that is meant for it", |_, message| {
        let alerts = message["alerts"].as_array()?;
        let notice = alerts.iter().find(|alert| alert["rule"] == "notice")?;
        let summary = notice["summary"].as_str().unwrap();
        assert_eq!(summary, "Overview of the last 1 hours", "{message}");
        Some(())
    });
    let schedule = json!({
        "name": "hourly", "when": { "every": { "seconds": 1 } },
        "task": { "queue": "ui", "task_type": "report", "payload": { "report": "incidents", "user": "cli" } },
    });
    fleet.call("task-management__schedule", schedule);
    let told = wait_for("the clock asks for one", LIMIT, || {
        let all = fleet.call("ui__notifications", json!({ "kind": "report", "limit": 200 }));
        all["notifications"].as_array().unwrap().iter().find(|one| one["user"] == "cli").cloned()
    });
    assert_eq!(told["title"], "Incidents of the last 24 hours", "{told}");
}
