//! The command line against a running fleet: what people see, what scripts get, how each command ends.

use expect_test::expect_file;
use regex::Regex;
use serde_json::Value;

use crate::harness::{Fleet, Home, LIMIT, Ran, tools, wait_for};

/// What a command printed, without what differs between two runs: places, times, keys.
fn steady(home: &Home, text: &str) -> String {
    const VARIES: [(&str, &str); 8] = [
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"flt_[\w-]{43}", "KEY"),
        (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"\b[0-9a-f]{64}$", "HASH"),
        (r"\b\d+ (s ago|s|µs|rows|topics|types|lines|instances|values)\b", "N $1"),
        // The place of a row: the fleet's own calls are in the trail too.
        (r"^\d+ +(\S+ +\S+\.)", "N  $1"),
        // How many tools a service has.
        (r"(healthy +\d+ +\d+) +\d+", "$1  N"),
        // Columns are as wide as what is in them.
        (r"  +", "  "),
    ];
    let text = text.replace(&home.path("").display().to_string(), "HOME/");
    let steady = |text: String, (pattern, word): &(&str, &str)| {
        let pattern = Regex::new(&format!("(?m){pattern}")).unwrap();
        pattern.replace_all(&text, *word).into_owned()
    };
    VARIES.iter().fold(text, steady)
}

/// Runs commands one after another and writes down what people see.
fn transcript<'a>(home: &Home, commands: impl IntoIterator<Item = &'a [&'a str]>) -> String {
    let shown = |arguments: &[&str]| {
        let words = arguments
            .iter()
            .map(|word| if word.contains([' ', '"']) { format!("'{word}'") } else { (*word).to_owned() });
        let line = words.collect::<Vec<_>>().join(" ");
        steady(home, &format!("$ flotilla {line}\n{}\n", home.cli(arguments).shown()))
    };
    commands.into_iter().map(shown).collect()
}

#[test]
fn every_command_says_what_people_want_to_know() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let commands: [&[&str]; 15] = [
        &["version"],
        &["status"],
        &["ps"],
        &["server", "list"],
        &["tool", "call", "utilities__keccak256", "data=hello"],
        &["tool", "call", "utilities__keccak256", "--args", r#"{"data":"hello"}"#],
        &["restart", "utilities"],
        &["config", "validate"],
        &["config", "explain", "http.ports"],
        &["config", "explain", "fleet.mode"],
        &["audit", "verify"],
        &["audit", "list", "--caller", "cli", "--server", "utilities"],
        &["token", "list"],
        &["token", "create", "laptop", "--role", "viewer", "--days", "7"],
        &["token", "revoke", "laptop"],
    ];
    expect_file!["golden/commands.txt"].assert_eq(&transcript(&fleet.home, commands));
}

#[test]
fn every_read_is_json_when_asked() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let json = |arguments: &[&str]| fleet.cli(&[arguments, &["--json"]].concat()).json();
    assert_eq!(json(&["version"])["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json(&["status"])["status"], fleet.get("/status").ok()["status"], "the coordinator's /status");
    assert_eq!(json(&["status", "utilities"])["name"], "utilities");
    assert_eq!(json(&["ps"]).as_array().unwrap().len(), 6);
    assert_eq!(json(&["server", "list"]).as_array().unwrap().len(), 5);
    assert_eq!(json(&["server", "show", "utilities"])["name"], "utilities");
    assert!(json(&["tool", "list"]).as_array().unwrap().len() > 30);
    let utilities = json(&["tool", "list", "--server", "utilities"]);
    assert!(utilities.as_array().unwrap().iter().all(|tool| tool["name"].as_str().unwrap().starts_with("utilities__")));
    assert!(json(&["tool", "find", "hash"])["tools"].is_array());
    assert!(json(&["tool", "describe", "utilities__keccak256"]).to_string().contains("encoding"));
    assert_eq!(json(&["tool", "call", "utilities__keccak256", "data=hello"])["bytes"], 5);
    assert!(json(&["restart", "utilities"]).is_array());
    assert_eq!(json(&["config", "validate"])["valid"], true);
    assert_eq!(json(&["config", "explain", "http.ports"])["origin"], "environment variable FLOTILLA_HTTP__PORTS");
    assert_eq!(json(&["config", "show"])["http"]["ports"], "ephemeral");
    assert!(json(&["audit", "list"]).is_array());
    assert!(json(&["audit", "verify"])["rows"].is_u64());
    assert!(json(&["token", "create", "laptop", "--role", "viewer"])["token"].as_str().unwrap().starts_with("flt_"));
    assert!(json(&["token", "list"]).is_array());
    assert_eq!(json(&["token", "revoke", "laptop"])["revoked"], "laptop");
    let docs = fleet.cli(&["server", "docs", "utilities"]).ok();
    assert!(docs.starts_with("# ") && docs.contains("keccak256"), "{docs}");
    for line in fleet.cli(&["logs", "--json"]).ok().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_a_way_out_and_an_exit_code() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let commands: [&[&str]; 15] = [
        &["tool", "call", "utilities__kecak256"],
        &["tool", "call", "utilities__keccak256"],
        &["tool", "call", "utilities__keccak256", "data"],
        &["tool", "call", "utilities__keccak256", "--args", "{"],
        &["tool", "call", "blockchain-integration__chain_status"],
        &["tool", "describe", "nothing__at_all"],
        &["server", "show", "utilites"],
        &["server", "docs", "utilites"],
        &["restart", "utilites"],
        &["status", "utilites"],
        &["config", "explain", "http.bnid"],
        &["--token", "flt_wrong", "ps"],
        &["--token", "flt_wrong", "--json", "ps"],
        &["sattus"],
        &["--url", "not a url", "status"],
    ];
    expect_file!["golden/refusals.txt"].assert_eq(&transcript(&fleet.home, commands));
}

#[test]
fn without_a_fleet_the_next_command_is_named() {
    let home = Home::new("");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let commands: [&[&str]; 2] = [&["--url", &url, "status"], &["--url", &url, "mcp"]];
    expect_file!["golden/unreachable.txt"].assert_eq(&transcript(&home, commands));
}

#[test]
fn a_service_that_is_not_well_gives_the_status_its_exit_code() {
    let fleet = Fleet::plain();
    let ran = fleet.cli(&["status", "blockchain-integration", "--json"]);
    assert_eq!(ran.code, Some(6), "it has no chain: {}", ran.out);
    assert_eq!(fleet.cli(&["status", "utilities"]).code, Some(0));
}

#[test]
fn completions_are_scripts_for_every_shell() {
    let home = Home::new("");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.cli(&["completions", shell]).ok();
        for command in ["connect", "audit", "doctor"] {
            assert!(script.contains(command), "{shell} knows no {command}");
        }
    }
    let bash = home.path("completions.bash");
    std::fs::write(&bash, home.cli(&["completions", "bash"]).ok()).unwrap();
    let mut check = std::process::Command::new("bash");
    let ran = Ran::run(check.args(["-n"]).arg(bash), "", LIMIT);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn help_is_there_for_every_command_and_nothing_talks_on_stdout() {
    let home = Home::new("");
    let help = home.cli(&["--help"]).ok();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.map(|line| line.split_whitespace().next().unwrap()).collect();
    let wanted = "up serve status ps server tool task logs restart doctor config token connect mcp audit backup restore completions version";
    for name in wanted.split(' ') {
        assert!(names.contains(&name), "{name} in {names:?}");
        assert!(home.cli(&[name, "--help"]).ok().contains("Usage: flotilla "), "{name}");
    }
    let bare = home.cli(&[]);
    assert!(bare.code == Some(2) && bare.out.is_empty() && bare.err.contains("Commands:"), "{bare:?}");
}

#[test]
fn secrets_are_never_shown() {
    let home = Home::new("");
    let mut command = home.command(&["config", "show"]);
    command.env("ETHEREUM_RPC_URL", "https://node.example/v2/very-secret-key");
    let shown = Ran::run(&mut command, "", LIMIT);
    assert!(!shown.out.contains("very-secret-key") && !shown.err.contains("very-secret-key"), "{}", shown.out);
}

#[test]
fn later_layers_win_and_files_may_hold_values() {
    let home = Home::new("[logs]\nlevel = \"warn\"");
    std::fs::write(home.path(".env"), "export FLOTILLA_LIMITS__BURST=7 # few\n").unwrap();
    let explain =
        |key: &str| home.cli(&["config", "explain", key, "--json"]).json()["origin"].as_str().unwrap().to_owned();
    assert!(explain("logs.level").ends_with("flotilla.toml"), "{}", explain("logs.level"));
    assert_eq!(explain("limits.burst"), "FLOTILLA_LIMITS__BURST in .env");
    assert_eq!(explain("fleet.mode"), "default");
    assert_eq!(explain("fleet.data_dir"), "environment variable FLOTILLA_DATA_DIR");
    let moved = home.cli(&["--data-dir", "elsewhere", "config", "explain", "fleet.data_dir", "--json"]).json();
    assert_eq!((&moved["origin"], &moved["value"]), (&"flag --data-dir".into(), &"elsewhere".into()));
}

/// What `market` and `risk` show of a fleet: commands that change something, and what they then show.
#[test]
fn the_market_and_the_risks_are_looked_at_and_trading_is_stopped_and_resumed() {
    let fleet = Fleet::plain();
    let commands: [&[&str]; 15] = [
        &["risk", "status"],
        &["risk", "exposure"],
        &["risk", "set", "daily_loss_max=100", "slippage_max_bps=50", "--reason", "a quiet night"],
        &["risk", "set", "daily_loss=100", "--reason", "x"],
        &["risk", "limits"],
        &["risk", "pnl", "--by", "strategy", "--from", "2026-01-01", "--to", "2026-01-31"],
        &["risk", "halt", "--reason", "the oracle is wrong"],
        &["risk", "state", "halted", "--reason", "x"],
        &["risk", "resume", "--reason", "it is right again"],
        &["risk", "halt"],
        &["market", "opportunities"],
        &["market", "route", "WETH", "USDC", "1000"],
        &["market", "price", "ETHUSD"],
        &["market", "gas"],
        &["market", "spreads", "--limit", "0"],
    ];
    expect_file!["golden/market_and_risk.txt"].assert_eq(&transcript(&fleet.home, commands));
    let json = |arguments: &[&str]| fleet.cli(&[arguments, &["--json"]].concat()).json();
    assert_eq!(json(&["risk", "limits"])["limits"]["daily_loss_max"], "100");
    assert_eq!(json(&["risk", "status"])["states"]["on"], false);
}

#[test]
fn the_market_of_a_sandbox_is_shown() {
    let Some(()) = tools::anvil() else { return };
    let fleet = Fleet::start(&[], "[chain.sandbox]\ntrader_ms = 0\ntrades = false\n");
    wait_for("the pools are read", LIMIT, || (fleet.cli(&["market", "pools"]).code == Some(0)).then_some(()));
    let table = |arguments: &[&str], head: &str| {
        let shown = fleet.cli(&[&["market"], arguments].concat()).ok();
        let lines: Vec<&str> = shown.lines().collect();
        let place = lines.iter().position(|line| line.starts_with(head));
        let rows = place.map_or(&[][..], |place| &lines[place + 1..]);
        assert!(!rows.is_empty(), "{arguments:?} shows no row under {head}:\n{shown}");
        rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>()
    };
    let cycles = table(&["opportunities", "--all", "3"], "OPPORTUNITY");
    assert!(cycles.len() <= 3 && cycles[0].contains(" > "), "a cycle goes through pools: {cycles:?}");
    let pools = table(&["pools", "WETH"], "POOL");
    assert!(pools.iter().all(|row| row.starts_with("0x") && row.contains("WETH")), "{pools:?}");
    let way = table(&["route", "WETH", "USDC", "1000000000000000000"], "SHARE");
    assert!(way.iter().all(|row| row.contains("0x")), "{way:?}");
    table(&["spreads"], "PAIR");
    table(&["gas"], "PERCENTILE");
    let out = fleet.cli(&["market", "route", "WETH", "USDC", "1000000000000000000"]).ok();
    assert!(out.contains(" USDC for 1 WETH\n"), "{out}");
}
