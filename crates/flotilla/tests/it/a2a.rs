//! A2A on agents' ports: the official Python client on a real fleet, hooks, refusals, and workflows that speak to agents.

use serde_json::{Value, json};

use crate::harness::receiver::Receiver;
use crate::harness::{Fleet, http, tools};

/// Hooks may go to this machine here.
const HOOKS_HERE: &str = "[a2a]\nprivate_addresses = [\"127.0.0.1\"]";

fn fleet() -> Fleet {
    Fleet::start(&["--no-sandbox"], HOOKS_HERE)
}

/// What the Python client found at an agent.
fn found(fleet: &Fleet, agent: &str, what: &str, hook: &str) -> Option<Value> {
    let mut script = tools::python_script("clients/peer.py")?;
    let url = fleet.url_of(&format!("agent:{agent}"));
    let job = json!({ "url": url, "key": fleet.home.key(), "do": what, "hook": hook });
    Some(tools::run(&mut script, &[&job.to_string()]).json())
}

#[test]
fn the_official_client_sends_gets_lists_and_keeps_hooks() {
    let fleet = fleet();
    let Some(found) = found(&fleet, "monitoring", "whole", "") else { return };
    let card = &found["card"];
    assert_eq!((&card["name"], &card["skills"][0]["id"]), (&json!("monitoring"), &json!("summary")), "{card}");
    assert_eq!(card["supportedInterfaces"][0]["url"], format!("{}/a2a", fleet.url_of("agent:monitoring")));
    let sent = &found["sent"];
    assert_eq!(sent["status"]["state"], "TASK_STATE_COMPLETED", "{found}");
    let summary = sent["artifacts"][0]["parts"][0]["data"]["summary"].as_str().unwrap();
    assert!(summary.contains("services serve"), "{summary}");
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(&found["got"][name], value, "{name} of {found}");
    }
    assert_eq!(
        (&found["listed"]["totalSize"], &found["listed"]["tasks"][0]["id"]),
        (&json!(1), &sent["id"]),
        "{found}"
    );
    let hook = json!({ "id": "h1", "taskId": sent["id"], "url": "https://example.com/hook" });
    assert_eq!(found["hook"], json!([hook, hook, 1, 0]));
    // It is the queue's task, and the call was one like any other.
    let task = fleet.get(&format!("/tasks/{}", sent["id"].as_str().unwrap())).ok();
    assert_eq!(
        (&task["queue"], &task["task_type"], &task["role"]),
        (&json!("monitoring"), &json!("summary"), &json!("admin"))
    );
    let rows = fleet.cli(&["audit", "list", "--json"]).ok();
    assert!(rows.contains(r#""server":"agent:monitoring","action":"SendMessage""#), "{rows}");
}

#[test]
fn the_official_client_follows_a_message_to_its_end_and_a_hook_is_told() {
    let (fleet, hook) = (fleet(), Receiver::start());
    let Some(found) = found(&fleet, "monitoring", "stream", &format!("{}/hook", hook.url)) else { return };
    let events = found["events"].as_array().unwrap();
    let first = &events[0]["task"];
    assert_eq!(first["contextId"], "a-conversation", "{found}");
    // What ended before the stream began is told of in its first event.
    let (last, artifact) = match events.as_slice() {
        [_] => (&first["status"], &first["artifacts"][0]),
        [.., artifact, last] => (&last["statusUpdate"]["status"], &artifact["artifactUpdate"]["artifact"]),
        [] => panic!("{found}"),
    };
    assert!(artifact["parts"][0]["data"]["summary"].is_string(), "{found}");
    assert_eq!(last["state"], "TASK_STATE_COMPLETED", "{found}");
    let told = hook.wait_for("the hook is told of the end", |path, body| {
        let end = body["task"]["status"]["state"] == "TASK_STATE_COMPLETED";
        (path == "/hook" && end).then(|| body.clone())
    });
    assert_eq!((&told["task"]["id"], &told["task"]["contextId"]), (&first["id"], &json!("a-conversation")));
    assert!(told["task"]["artifacts"][0]["parts"][0]["data"]["summary"].is_string(), "{told}");
}

#[test]
fn the_official_client_cancels_what_it_follows() {
    let fleet = fleet();
    let waits = "document: { dsl: '1.0.3', namespace: test, name: waits, version: '0.1.0' }\ndo:\n- s: { listen: { to: { one: { with: { type: paid } } } } }";
    fleet.call("orchestration__define_workflow", json!({ "definition": waits }));
    let Some(found) = found(&fleet, "execution", "cancel", "") else { return };
    assert_eq!(found["cancelled"]["status"]["state"], "TASK_STATE_CANCELED", "{found}");
    let followed = found["followed"].as_array().unwrap();
    assert_eq!(followed[0]["task"]["status"]["state"], "TASK_STATE_WORKING", "{found}");
    assert_eq!(followed.last().unwrap()["statusUpdate"]["status"]["state"], "TASK_STATE_CANCELED", "{found}");
}

#[test]
fn the_official_client_is_told_why_not() {
    let fleet = fleet();
    let Some(found) = found(&fleet, "execution", "refused", "") else { return };
    let told: Vec<&str> = found["told"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let begins = ["TaskNotFoundError: ", "TaskNotFoundError: ", "InvalidParamsError: ", "TaskNotFoundError: "];
    assert!(told.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{told:?}");
    assert!(told[2].contains("it has execute_opportunity, run_job, run_workflow"), "{told:?}");
}

#[test]
fn whoever_speaks_is_known_and_speaks_this_version() {
    let fleet = fleet();
    let url = format!("{}/a2a", fleet.url_of("agent:execution"));
    let viewer = fleet.cli(&["token", "create", "vera", "--role", "viewer", "--json"]).json();
    let viewer = viewer["token"].as_str().unwrap().to_owned();
    let body = |method: &str, text: &str| {
        let message = json!({ "messageId": "m", "role": "ROLE_USER", "parts": [{ "text": text }] });
        json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": { "message": message } }).to_string()
    };
    let post = |headers: &[(&str, &str)], body: &str| {
        let headers = [&[("content-type", "application/json")], headers].concat();
        let answer = http::send("POST", &url, &headers, body.as_bytes());
        (answer.status, answer.json())
    };
    let bearer = format!("Bearer {viewer}");
    let key = ("authorization", bearer.as_str());
    assert_eq!(post(&[], &body("SendMessage", "run_workflow a/b")).0, 401, "not even on this machine");
    assert_eq!(post(&[key, ("origin", "https://evil.example")], "{}").0, 403);
    for (headers, body, code, data) in [
        (vec![key], body("SendMessage", "run_workflow a/b"), -32000, "PERMISSION_DENIED"),
        (vec![key, ("a2a-version", "0.3")], body("SendMessage", "x"), -32009, "UNSUPPORTED"),
        (vec![key], body("message/send", "x"), -32601, "UNSUPPORTED"),
        (vec![key], "{".into(), -32700, "INVALID_ARGUMENT"),
        (vec![key], "[]".into(), -32600, "INVALID_ARGUMENT"),
        (vec![key], "[".repeat(100), -32600, "INVALID_ARGUMENT"),
    ] {
        let (status, answer) = post(&headers, &body);
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(code)), "{answer}");
        let reasons: Vec<&Value> =
            answer["error"]["data"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
        assert!(reasons.contains(&&json!(data)), "{answer}");
    }
    let card = http::send("GET", &format!("{}/.well-known/agent-card.json", fleet.url_of("agent:risk")), &[], b"").ok();
    assert_eq!((&card["name"], &card["skills"][0]["id"]), (&json!("risk"), &json!("assess")));
}

/// Runs a workflow of these tasks to its end.
fn ran(fleet: &Fleet, name: &str, tasks: &str) -> Value {
    let text = format!("document: {{ dsl: '1.0.3', namespace: test, name: {name}, version: '0.1.0' }}\n{tasks}");
    fleet.call("orchestration__define_workflow", json!({ "definition": text }));
    fleet.call("orchestration__start", json!({ "workflow": format!("test/{name}"), "wait_seconds": 45 }))
}

#[test]
fn workflows_speak_to_agents_of_the_fleet_and_of_others() {
    let fleet = Fleet::start(&["--no-sandbox"], "[servers.orchestration]\nprivate_addresses = [\"127.0.0.1\"]");
    let call = |at: &str, text: &str, more: &str| {
        format!(
            "do:\n- c: {{ call: a2a, with: {{ method: message/send, {at}, parameters: {{ message: {{ parts: [ {{ kind: text, text: '{text}' }} ] }} }} }}{more} }}"
        )
    };
    let output = ", output: { as: '{ state: .task.status.state, said: .task.artifacts[0].parts[0].data.summary }' }";
    let summary = |run: &Value| {
        assert_eq!(
            (&run["status"], &run["output"]["state"]),
            (&json!("completed"), &json!("TASK_STATE_COMPLETED")),
            "{run}"
        );
        assert!(run["output"]["said"].as_str().unwrap().contains("services serve"), "{run}");
    };
    summary(&ran(&fleet, "inside", &call("server: 'fleet://agent:monitoring'", "summary", output)));
    // The same agent as a stranger would find it: by its card, with a key.
    let card = format!("{}/.well-known/agent-card.json", fleet.url_of("agent:monitoring"));
    let key = fleet.home.key();
    let there =
        format!("agentCard: {{ endpoint: {{ uri: '{card}', authentication: {{ bearer: {{ token: '{key}' }} }} }} }}");
    summary(&ran(&fleet, "outside", &call(&there, "summary", output)));
    let failed = ran(&fleet, "failing", &call("server: 'fleet://agent:execution'", "run_workflow nobody/knows", ""));
    assert_eq!(failed["status"], "faulted", "{failed}");
    assert!(failed["error"]["detail"].as_str().unwrap().contains("TASK_STATE_FAILED: not_found: "), "{failed}");
    let unknown = ran(&fleet, "unknown", &call("server: 'fleet://agent:nobody'", "hello", ""));
    assert!(unknown["error"]["detail"].as_str().unwrap().contains("no agent `nobody`"), "{unknown}");
}
