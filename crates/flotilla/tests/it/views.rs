//! Parts of the fleet behind the one endpoint: search mode, toolsets, one server.

use serde_json::json;

use crate::harness::Fleet;

#[test]
fn search_mode_has_three_tools_that_reach_all_others() {
    let fleet = Fleet::plain();
    let search = fleet.mcp("/mcp?mode=search");
    assert_eq!(search.tool_names(), ["call_tool", "describe_tool", "find_tools"]);
    let found = search.call("find_tools", json!({ "query": "keccak hash of a text" })).unwrap();
    let names: Vec<&str> =
        found["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names[..3].contains(&"utilities__keccak256"), "{names:?}");
    let told = search.call("describe_tool", json!({ "name": "utilities__keccak256" })).unwrap();
    assert!(told.to_string().contains("encoding"), "{told}");
    let call = json!({ "name": "utilities__keccak256", "arguments": { "data": "hello" } });
    assert_eq!(search.call("call_tool", call).unwrap()["bytes"], 5);
}

#[test]
fn a_toolset_shows_its_tools_and_only_those_can_be_called() {
    let fleet =
        Fleet::start(&["--no-sandbox"], "[gateway.toolsets]\nmine = [\"utilities__hash\", \"coordination__kv_*\"]");
    let mine = fleet.mcp("/mcp?toolset=mine");
    assert_eq!(
        mine.tool_names(),
        [
            "coordination__kv_delete",
            "coordination__kv_get",
            "coordination__kv_list",
            "coordination__kv_put",
            "coordination__kv_watch",
            "utilities__hash"
        ]
    );
    assert!(mine.call("utilities__hash", json!({ "data": "x" })).is_ok());
    assert!(mine.call("utilities__uuid", json!({})).unwrap_err().starts_with("not_found: "));
    let unknown = fleet.mcp("/mcp?toolset=mnie").send("tools/list", json!({}));
    assert_eq!(unknown.problem(), (404, "not_found".into()));
    assert!(unknown.body.contains("did you mean `mine`"), "{}", unknown.body);
}

#[test]
fn one_server_has_its_tools_under_their_own_names_wherever_it_is_reached() {
    let fleet = Fleet::plain();
    for service in ["utilities", "coordination", "logging", "monitoring", "legacy", "blockchain-integration"] {
        let own = fleet.mcp(&format!("/mcp/{service}")).tools();
        let direct =
            crate::harness::Mcp::new(&format!("{}/mcp", fleet.url_of(service)), Some(fleet.home.key())).tools();
        assert_eq!(own, direct, "{service}");
        assert!(!own.is_empty() && own.iter().all(|tool| !tool["name"].as_str().unwrap().contains("__")), "{own:?}");
    }
    assert_eq!(fleet.mcp("/mcp/nothing").send("tools/list", json!({})).problem().0, 404);
}
