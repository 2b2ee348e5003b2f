//! `doctor`: what is wrong is found, said with its fix, and mended where no decision is needed.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::{Fleet, Home, LIMIT, Ran};

/// What `doctor` found of one thing: state and detail.
fn finding(findings: &Value, name: &str) -> (String, String) {
    let row = findings.as_array().unwrap().iter().find(|row| row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("nothing of {name}: {findings}"));
    assert_eq!(row["state"] == "ok", row["fix"].is_null(), "a finding that is not ok has a fix: {row}");
    (row["state"].as_str().unwrap().to_owned(), row["detail"].as_str().unwrap().to_owned())
}

#[test]
fn a_running_fleet_is_seen() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let findings = fleet.cli(&["doctor", "--json"]);
    let findings: Value = serde_json::from_str(&findings.out).unwrap();
    assert_eq!(finding(&findings, "running").1, format!("process {} runs on this data folder", fleet.process.pid()));
    for name in ["configuration", "data folder", "ports"] {
        assert_eq!(finding(&findings, name).0, "ok", "{findings}");
    }
}

#[test]
fn keys_that_others_may_read_are_found_and_mended() {
    let home = Home::new("");
    drop(home.start(&["up", "--no-sandbox", "--mode", "dev"]));
    let key = home.path("data/keys/cli.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let run = |arguments: &[&str]| serde_json::from_str::<Value>(&home.cli(arguments).out).unwrap();
    let (state, detail) = finding(&run(&["doctor", "--json"]), "data folder");
    assert!(state == "problem" && detail.contains("cli.key"), "{state}: {detail}");
    assert_eq!(finding(&run(&["doctor", "--fix", "--json"]), "data folder").0, "ok");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_wrong_configuration_and_absent_tools_are_problems() {
    let home = Home::new("[http]\nbnid = 1");
    let ran = home.cli(&["doctor"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("✗ configuration") && ran.out.contains("did you mean `bind`"), "{}", ran.out);
    let home = Home::new("");
    let mut command = home.command(&["doctor", "--json"]);
    command.env("FLOTILLA_TOOLS_DIR", home.path("no-tools"));
    let ran = Ran::run(&mut command, "", LIMIT);
    assert_eq!(ran.code, Some(1));
    assert_eq!(finding(&serde_json::from_str(&ran.out).unwrap(), "anvil").0, "problem");
}

#[test]
fn who_holds_a_port_is_named() {
    let pid = std::process::id();
    let address = format!("127.{}.{}.{}", 64 + (pid >> 16) % 64, (pid >> 8) % 256, 1 + pid % 254);
    let _held = TcpListener::bind(format!("{address}:4020")).unwrap();
    let home = Home::new("");
    let mut command = home.command(&["doctor", "--json"]);
    command.env("FLOTILLA_HTTP__PORTS", "catalog").env("FLOTILLA_HTTP__BIND", address);
    let findings = serde_json::from_str(&Ran::run(&mut command, "", LIMIT).out).unwrap();
    let (state, detail) = finding(&findings, "port 4020");
    assert!(state == "problem" && detail.contains(&format!("(pid {pid})")), "{state}: {detail}");
}
