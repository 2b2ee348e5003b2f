//! API keys: made, listed and revoked beside a running fleet, and what each role may do.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use serde_json::json;

use crate::harness::{Fleet, Home, LIMIT, Mcp, wait_for};

/// A new key.
fn create(home: &Home, name: &str, role: &str) -> String {
    home.cli(&["token", "create", name, "--role", role, "--json"]).json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_key_works_at_once_and_is_refused_within_a_second_of_its_revocation() {
    let fleet = Fleet::plain();
    let key = create(&fleet.home, "laptop", "viewer");
    let mcp = Mcp::new(&format!("{}/mcp", fleet.url()), Some(key));
    let hash = || mcp.call("utilities__keccak256", json!({ "data": "hello" }));
    assert!(hash().is_ok());
    let listed = fleet.cli(&["token", "list", "--json"]).ok();
    assert!(listed.contains("\"laptop\"") && !listed.contains("flt_"), "names, never keys: {listed}");
    fleet.cli(&["token", "revoke", "laptop"]).ok();
    let revoked = Instant::now();
    let refused = wait_for("the key is refused", LIMIT, || hash().err());
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
    assert!(refused.contains("unauthenticated") && refused.contains("unknown key"), "{refused}");
}

#[test]
fn every_process_refuses_a_revoked_key() {
    let home = Home::new("");
    let process = home.start(&["serve", "utilities", "--no-sandbox"]);
    let url = process.screen["services"][0]["url"].as_str().unwrap();
    let mcp = Mcp::new(&format!("{url}/mcp"), Some(create(&home, "laptop", "viewer")));
    assert!(mcp.call("keccak256", json!({ "data": "hello" })).is_ok());
    home.cli(&["token", "revoke", "laptop"]).ok();
    wait_for("the key is refused", Duration::from_secs(1), || mcp.call("keccak256", json!({ "data": "hello" })).err());
}

#[test]
fn a_role_does_what_it_may_and_no_more() {
    let fleet = Fleet::plain();
    let check = |role: &str, expected: Expect| {
        let key = create(&fleet.home, role, role);
        let mcp = Mcp::new(&format!("{}/mcp", fleet.url()), Some(key));
        let calls = [
            ("utilities__keccak256", json!({ "data": "hello" })),
            ("coordination__kv_put", json!({ "key": "k", "value": 1 })),
            ("master-coordinator__restart_service", json!({ "service": "legacy", "reason": "a test" })),
            ("master-coordinator__add_upstream", json!({ "name": "x", "url": "http://192.0.2.1/mcp" })),
            // A tool that calls tools gives nobody more than they have.
            (
                "master-coordinator__call_tool",
                json!({ "name": "coordination__kv_put", "arguments": { "key": "k", "value": 1 } }),
            ),
        ];
        let outcome = |(tool, arguments): (&str, serde_json::Value)| {
            let outcome = mcp.call(tool, arguments).map_or_else(|refused| refused, |_| "ok".into());
            format!("{tool}: {}", outcome.split(": ").next().unwrap_or_default())
        };
        expected.assert_eq(&calls.map(outcome).join("\n"));
    };
    check(
        "viewer",
        expect![[r#"
            utilities__keccak256: ok
            coordination__kv_put: permission_denied
            master-coordinator__restart_service: permission_denied
            master-coordinator__add_upstream: permission_denied
            master-coordinator__call_tool: permission_denied"#]],
    );
    check(
        "operator",
        expect![[r#"
            utilities__keccak256: ok
            coordination__kv_put: ok
            master-coordinator__restart_service: ok
            master-coordinator__add_upstream: permission_denied
            master-coordinator__call_tool: ok"#]],
    );
    check(
        "trader",
        expect![[r#"
            utilities__keccak256: ok
            coordination__kv_put: permission_denied
            master-coordinator__restart_service: permission_denied
            master-coordinator__add_upstream: permission_denied
            master-coordinator__call_tool: permission_denied"#]],
    );
    check(
        "admin",
        expect![[r#"
            utilities__keccak256: ok
            coordination__kv_put: ok
            master-coordinator__restart_service: ok
            master-coordinator__add_upstream: permission_denied
            master-coordinator__call_tool: ok"#]],
    );
}

#[test]
fn what_is_wrong_with_a_key_command_is_said() {
    let home = Home::new("");
    let check = |arguments: &[&str], expected: Expect| expected.assert_eq(&home.cli(arguments).shown());
    assert!(create(&home, "laptop", "viewer").starts_with("flt_"));
    check(
        &["token", "create", "laptop", "--role", "viewer"],
        expect![[r#"
        exit 1
        -- stderr
        error: there is a key `laptop` already [already_exists]
          another name, or revoke that one first
    "#]],
    );
    check(
        &["token", "create", "desk", "--role", "viwer"],
        expect![[r#"
        exit 2
        -- stderr
        error: unknown role `viwer` [invalid_argument]
          one of viewer, operator, trader, admin, agent:NAME
    "#]],
    );
    check(
        &["token", "create", "a b", "--role", "viewer"],
        expect![[r#"
        exit 2
        -- stderr
        error: `a b` cannot name a key [invalid_argument]
          1 to 64 characters of A-Z a-z 0-9 . _ -
    "#]],
    );
    check(
        &["token", "revoke", "nobody"],
        expect![[r#"
        exit 4
        -- stderr
        error: no key `nobody` [not_found]
          `flotilla token list` shows the keys
    "#]],
    );
    check(
        &["token", "revoke", "laptop"],
        expect![[r#"
        exit 0
        -- stderr
        laptop is revoked
    "#]],
    );
    check(
        &["token", "list", "--json"],
        expect![[r#"
        exit 0
        -- stdout
        []
    "#]],
    );
}
