//! `connect`: a client's configuration is written so that the client works, and what else is in it stays.

use serde_json::{Value, json};

use crate::harness::{Fleet, Home, tools};

fn read(home: &Home, path: &str) -> Value {
    serde_json::from_str(&home.read(path)).unwrap()
}

/// Where each client keeps its servers: the file, the table in it.
const CLIENTS: [(&str, &str, &str); 4] = [
    ("claude", ".config/Claude/claude_desktop_config.json", "mcpServers"),
    ("claude-code", ".mcp.json", "mcpServers"),
    ("cursor", ".cursor/mcp.json", "mcpServers"),
    ("vscode", ".vscode/mcp.json", "servers"),
];

#[test]
fn every_client_gets_an_entry_and_keeps_what_it_had() {
    for (client, path, table) in CLIENTS {
        let home = Home::new("");
        let file = home.path(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, json!({ "theme": "dark", table: { "other": { "command": "x" } } }).to_string()).unwrap();
        assert_eq!(home.cli(&["connect", client, "--json"]).json()["name"], "flotilla");
        let written = read(&home, path);
        assert_eq!(
            (&written["theme"], &written[table]["other"]),
            (&json!("dark"), &json!({ "command": "x" })),
            "{client}"
        );
        let entry = &written[table]["flotilla"];
        assert_eq!(entry["command"], env!("CARGO_BIN_EXE_flotilla"), "{client}");
        assert!(!written.to_string().contains("flt_"), "no key is written: {written}");
        // Once more changes nothing; another name adds.
        home.cli(&["connect", client]).ok();
        assert_eq!(read(&home, path), written, "{client}");
        home.cli(&["connect", client, "--server", "utilities", "--name", "utils"]).ok();
        let both = read(&home, path);
        assert_eq!(
            both[table].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["other", "flotilla", "utils"],
            "{client}"
        );
        assert_eq!(both[table]["utils"]["args"].as_array().unwrap().last().unwrap(), "utilities");
    }
}

#[test]
fn printing_writes_nothing_and_a_broken_file_is_left_alone() {
    let home = Home::new("");
    let printed = home.cli(&["connect", "cursor", "--print"]).json();
    assert!(printed["mcpServers"]["flotilla"].is_object() && !home.path(".cursor").exists(), "{printed}");
    std::fs::write(home.path(".mcp.json"), "{ // a comment\n}").unwrap();
    let ran = home.cli(&["connect", "claude-code"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains(".mcp.json is not a JSON object") && ran.err.contains("--print"), "{}", ran.err);
    assert_eq!(home.read(".mcp.json"), "{ // a comment\n}");
}

/// What is written works: a client that starts the command as written has the fleet's tools.
#[test]
fn an_entry_as_written_starts_a_working_server() {
    let fleet = Fleet::plain();
    fleet.cli(&["connect", "vscode"]).ok();
    let entry = read(&fleet.home, ".vscode/mcp.json")["servers"]["flotilla"].take();
    assert_eq!(entry["type"], "stdio");
    let mut command = vec![entry["command"].clone()];
    command.extend(entry["args"].as_array().unwrap().iter().cloned());
    let job = json!({
        "sdk": "v2", "command": command, "env": {}, "tool": "utilities__keccak256", "arguments": { "data": "hello" },
    });
    let Some(mut script) = tools::node_script("clients/typescript.mjs") else { return };
    let found = tools::run(&mut script, &[&job.to_string()]).json();
    assert_eq!(found["result"]["structuredContent"]["bytes"], 5, "{found}");
}
