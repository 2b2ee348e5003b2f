//! The audit trail: one row for each call, whichever way it came and however many processes it crossed; and no row can be changed unseen.

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::{Fleet, Home, LIMIT, Mcp, http, tools, wait_for};

/// The rows of a trace. The trail is written behind the calls, so they are waited for.
fn rows(home: &Home, trace: &str, calls: usize) -> Vec<Value> {
    let look = || home.cli(&["audit", "list", "--trace", trace, "--json"]).json().as_array().unwrap().clone();
    wait_for("the rows are written", LIMIT, || Some(look()).filter(|rows| rows.len() >= calls))
}

/// A call under a trace of its own, and the trace.
fn call(mcp: &Mcp, number: u32, tool: &str, arguments: Value) -> String {
    let trace = format!("{number:032x}");
    let parent = format!("00-{trace}-{number:016x}-01");
    mcp.send_with("tools/call", json!({ "name": tool, "arguments": arguments }), &[("traceparent", &parent)]);
    trace
}

/// Each way a call can come in leaves one row, with the words of the tool's own server.
fn one_row_each(home: &Home, mcp: &Mcp) {
    wait_for("every service is found", LIMIT, || mcp.call("coordination__kv_list", json!({})).ok());
    let calls = [
        ("utilities__keccak256", json!({ "data": "x" }), "cli utilities.keccak256 ok"),
        ("utilities__keccak256", json!({ "no": "x" }), "cli utilities.keccak256 invalid_argument"),
        ("coordination__kv_get", json!({ "key": "k" }), "cli coordination.kv_get ok"),
        (
            "coordination__kv_put",
            json!({ "key": "k", "value": { "password": "hunter2" } }),
            "cli coordination.kv_put ok",
        ),
        ("master-coordinator__system_status", json!({}), "cli master-coordinator.system_status ok"),
    ];
    for (number, (tool, arguments, expected)) in (1..).zip(calls) {
        let trace = call(mcp, number, tool, arguments);
        let rows = rows(home, &trace, 1);
        let told: Vec<String> = rows
            .iter()
            .map(|row| {
                let cell = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                format!("{} {}.{} {}", cell("caller"), cell("server"), cell("action"), cell("outcome"))
            })
            .collect();
        assert_eq!(told, [expected], "{tool}");
        assert!(!rows[0].to_string().contains("hunter2"), "{rows:?}");
    }
    assert_eq!(home.cli(&["audit", "verify"]).code, Some(0));
}

#[test]
fn one_process_leaves_one_row_for_each_call() {
    let fleet = Fleet::plain();
    one_row_each(&fleet.home, &fleet.mcp("/mcp"));
}

#[test]
fn several_processes_leave_one_row_for_each_call() {
    let home = Home::new("");
    let _other = home.start(&["serve", "coordination", "utilities", "--no-sandbox"]);
    let coordinator = home.start(&["serve", "master-coordinator", "--no-sandbox"]);
    let mcp = Mcp::new(&format!("{}/mcp", coordinator.screen["coordinator"].as_str().unwrap()), Some(home.key()));
    one_row_each(&home, &mcp);
}

#[test]
fn a_call_through_call_tool_is_the_call_it_stands_for() {
    let fleet = Fleet::plain();
    let arguments = json!({ "name": "utilities__keccak256", "arguments": { "data": "x" } });
    let trace = call(&fleet.mcp("/mcp"), 9, "master-coordinator__call_tool", arguments);
    let rows = rows(&fleet.home, &trace, 1);
    assert_eq!((rows.len(), &rows[0]["server"], &rows[0]["action"]), (1, &json!("utilities"), &json!("keccak256")));
}

#[test]
fn one_row_whichever_door_a_call_came_in_by() {
    let fleet = Fleet::plain();
    let (url, port) = (fleet.url().to_owned(), fleet.url_of("utilities"));
    let key = format!("Bearer {}", fleet.home.key());
    let rest = |url: String, body: Value| {
        assert_eq!(http::send("POST", &url, &[("authorization", &key)], body.to_string().as_bytes()).status, 200);
    };
    let data = |door: &str| json!({ "data": format!("by the {door}") });
    fleet.call("utilities__hash", data("aggregate"));
    fleet.mcp("/mcp/utilities").call("hash", data("one server")).unwrap();
    Mcp::new(&format!("{port}/mcp"), Some(fleet.home.key())).call("hash", data("own port")).unwrap();
    fleet
        .mcp("/mcp?mode=search")
        .call("call_tool", json!({ "name": "utilities__hash", "arguments": data("search") }))
        .unwrap();
    rest(format!("{port}/execute"), json!({ "command": "hash", "args": data("v1 form") }));
    rest(format!("{url}/command"), json!({ "target": "utilities", "command": "hash", "args": data("command") }));
    fleet.cli(&["tool", "call", "utilities__hash", "data=by the command line"]).ok();
    let doors = ["aggregate", "one server", "own port", "search", "v1 form", "command", "command line"];
    let rows = wait_for("the rows are written", LIMIT, || {
        let rows = fleet.cli(&["audit", "list", "--server", "utilities", "--json"]).json();
        (rows.as_array().unwrap().len() >= doors.len()).then_some(rows)
    });
    let mut seen: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["arguments"].as_str().unwrap()).collect();
    let mut wanted: Vec<String> = doors.iter().map(|door| data(door).to_string()).collect();
    seen.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(seen, wanted);
}

#[test]
fn a_restart_by_rest_is_a_row_and_so_is_a_refused_one() {
    let fleet = Fleet::plain();
    let restart = |name: &str| fleet.rest("POST", &format!("/servers/{name}/restart"), r#"{"reason":"a test"}"#).status;
    assert_eq!((restart("utilities"), restart("utilitis")), (200, 404));
    let outcomes = wait_for("the rows are written", LIMIT, || {
        let rows = fleet.cli(&["audit", "list", "--server", "master-coordinator", "--json"]).json();
        let rows = rows.as_array().unwrap().iter().filter(|row| row["action"] == "restart_service");
        let outcomes: Vec<String> = rows.map(|row| row["outcome"].as_str().unwrap().to_owned()).collect();
        (outcomes.len() >= 2).then_some(outcomes)
    });
    assert_eq!(outcomes, ["not_found", "ok"], "newest first");
}

#[test]
fn every_refusal_is_a_row() {
    let fleet = Fleet::plain();
    let key = fleet.cli(&["token", "create", "reader", "--role", "viewer", "--json"]).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mcp = Mcp::new(&format!("{}/mcp", fleet.url()), Some(key));
    let trace = call(&mcp, 5, "coordination__kv_put", json!({ "key": "k", "value": 1 }));
    let rows = rows(&fleet.home, &trace, 1);
    assert_eq!((&rows[0]["outcome"], &rows[0]["caller"]), (&json!("permission_denied"), &json!("reader")), "{rows:?}");
}

/// Changes the trail behind the fleet's back; nothing where there is no Python.
fn tamper(home: &Home, statement: &str) -> Option<()> {
    let database = home.path("data/flotilla.db").display().to_string();
    let mut script = tools::python_script("clients/sqlite.py")?;
    tools::run(&mut script, &[&database, statement]).ok();
    Some(())
}

#[test]
fn a_changed_a_removed_and_a_moved_row_are_found() {
    for (statement, expected) in [
        (
            "UPDATE audit SET outcome = 'ok' WHERE seq = 3",
            expect![[r#"
            exit 1
            -- stderr
            row 3 does not fit: row 3 was changed, or stands in another's place
        "#]],
        ),
        (
            "DELETE FROM audit WHERE seq = 3",
            expect![[r#"
            exit 1
            -- stderr
            row 3 does not fit: row 3 is missing: row 4 follows
        "#]],
        ),
        (
            "DELETE FROM audit WHERE seq = 5",
            expect![[r#"
            exit 1
            -- stderr
            row 5 does not fit: row 5 is missing: the trail was cut, it had 5 rows
        "#]],
        ),
        (
            "UPDATE audit SET seq = 9 WHERE seq = 3",
            expect![[r#"
            exit 1
            -- stderr
            row 3 does not fit: row 3 is missing: row 4 follows
        "#]],
        ),
    ] {
        let home = {
            let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
            for number in 1..=5 {
                call(&fleet.mcp("/mcp"), number, "utilities__keccak256", json!({ "no": number }));
            }
            rows(&fleet.home, &format!("{:032x}", 5), 1);
            let Fleet { home, .. } = fleet;
            home
        };
        assert_eq!(home.cli(&["audit", "verify", "--json"]).json()["rows"], 5);
        if tamper(&home, statement).is_none() {
            return;
        }
        expected.assert_eq(&home.cli(&["audit", "verify"]).shown());
    }
}
