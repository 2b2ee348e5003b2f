//! A model that uses tools of the real fleet, through its gateway and as its caller.

use serde_json::{Value, json};

use crate::harness::{Fleet, Mcp};

#[path = "../../../llm/src/tests/vendor.rs"]
#[expect(dead_code, reason = "the adapter's own tests use all of it")]
mod vendor;

use vendor::{Act, Vendor, completion};

const KEY: &str = "sk-S3cret-key";

/// A server of models on a thread of its own, which ends with the tests.
fn vendor() -> Vendor {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tasks = kernel::Tasks::new();
            tell.send(Vendor::start(&tasks).await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

#[test]
fn a_model_uses_the_fleets_tools_as_its_caller_and_its_key_is_nowhere() {
    let vendor = vendor();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    let config = format!(
        "[models]\ndefault_model = \"m-1\"\n[models.providers.local]\nurl = \"{}/v1\"\nmodels = [\"m-*\"]\nkey = \"file:{}\"\n",
        vendor.url,
        key.display()
    );
    let fleet = Fleet::start(&["--no-sandbox"], &config);
    let calls = [
        ("a", "utilities__keccak256", r#"{"data":"hello"}"#),
        ("b", "master-coordinator__restart_service", r#"{"service":"logging"}"#),
        ("c", "risk-management__kill_switch_state", "{}"),
        ("d", "coordination__kv_put", r#"{"key":"k","value":"v"}"#),
    ];
    vendor.then(Act::Stream(completion(&[], &calls, (900, 20)), true));
    vendor.then(Act::Stream(completion(&["Done ", "what I may."], &[], (1_200, 8)), true));
    let operator = fleet.cli(&["token", "create", "ann", "--role", "operator", "--json"]).json();
    let ann = Mcp::new(&format!("{}/mcp", fleet.url()), operator["token"].as_str().map(ToOwned::to_owned));
    let tools = json!({ "toolset": "helpers", "names": ["coordination__kv_*"] });
    let answer = ann.call("ai-integration__chat", json!({ "prompt": "do it", "tools": tools })).unwrap();
    assert_eq!((&answer["text"], &answer["ended"]), (&json!("Done what I may."), &json!("end")), "{answer}");
    let outcomes: Vec<&str> =
        answer["steps"].as_array().unwrap().iter().map(|step| step["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes[0], "ok");
    assert!(outcomes[1..].iter().all(|outcome| outcome.starts_with("permission_denied: ")), "{outcomes:?}");
    let found = ann.call("coordination__kv_get", json!({ "key": "k" })).unwrap();
    assert_eq!(found["entry"], Value::Null, "nothing was put there");
    let audit = fleet.cli(&["audit", "list", "--caller", "ann", "--json"]).ok();
    assert!(
        audit.contains("keccak256") && audit.contains("model_call") && audit.contains("restart_service"),
        "{audit}"
    );
    let sent = vendor.asked();
    assert!(sent.iter().all(|request| request.headers.contains(KEY) && !request.body.to_string().contains(KEY)));
    let used = fleet.call("ai-integration__usage", json!({}));
    assert_eq!((&used["rows"][0]["caller"], &used["rows"][0]["calls"]), (&json!("ann"), &json!(2)), "{used}");
    vendor.then(Act::Plain(401, "", format!(r#"{{"error":{{"message":"bad key {KEY}"}}}}"#)));
    let refused = ann.call("ai-integration__chat", json!({ "prompt": "x" })).unwrap_err();
    assert!(refused.contains("bad key ***"), "{refused}");
    let missing = ann.call("ai-integration__chat", json!({ "prompt": "x", "model": "claude-x" })).unwrap_err();
    assert!(missing.contains("ANTHROPIC_API_KEY"), "{missing}");
    let found: Value = fleet.call("logging__search", json!({ "text": "S3cret" }));
    assert_eq!(found["lines"].as_array().map_or(0, Vec::len), 0, "{found}");
}
