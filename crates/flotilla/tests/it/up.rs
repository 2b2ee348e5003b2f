//! `flotilla up`: what runs in which mode, on which ports, and what is said when it cannot.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use expect_test::{Expect, expect, expect_file};
use serde_json::Value;

use crate::harness::process::{self, Group};
use crate::harness::{Fleet, Home, LIMIT, Ran, http, wait_for};

/// The services of a start screen, as one text.
fn services(screen: &Value) -> String {
    let rows = screen["services"].as_array().unwrap();
    rows.iter().map(|row| row["service"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_service_answers_on_its_own_port() {
    let fleet = Fleet::plain();
    assert_eq!(fleet.process.screen["mode"], "full");
    for row in fleet.process.screen["services"].as_array().unwrap() {
        let (name, url) = (row["service"].as_str().unwrap(), row["url"].as_str().unwrap());
        assert_ne!(url, if name == "master-coordinator" { "" } else { fleet.url() }, "every service has its own port");
        let health = http::send("GET", &format!("{url}/health"), &[], b"").ok();
        assert_eq!(
            (&health["service"], health["version"].as_str()),
            (&row["service"], Some(env!("CARGO_PKG_VERSION")))
        );
        assert!(health["uptime_seconds"].is_u64() && health["checks"].is_array(), "{health}");
        // Without a chain the one server that stands on it says so, and all others are well.
        let wanted = if name == "blockchain-integration" { "degraded" } else { "healthy" };
        assert_eq!(health["status"], wanted, "{health}");
        assert_eq!(http::send("GET", &format!("{url}/health/live"), &[], b"").ok()["status"], "alive");
        assert_eq!(http::send("GET", &format!("{url}/health/ready"), &[], b"").ok()["service"], *name);
        let metrics = http::send("GET", &format!("{url}/metrics"), &[], b"");
        assert_eq!(metrics.status, 200);
        let gauge = format!("mcp_server_health{{server=\"{name}\"}}");
        assert!(metrics.body.contains(&gauge) && metrics.body.ends_with("# EOF\n"), "{gauge} in {}", metrics.body);
    }
}

#[test]
fn modes_start_what_they_say() {
    let check = |mode: &str, expected: Expect| {
        let fleet = Fleet::start(&["--no-sandbox", "--mode", mode], "");
        assert_eq!(fleet.process.screen["mode"], mode);
        assert_eq!(fleet.get("/status").ok()["mode"], mode);
        expected.assert_eq(&services(&fleet.process.screen));
    };
    check(
        "full",
        expect![
            "ai-integration blockchain-integration coordination data-providers dex-services execution foundry-integration legacy logging market-analysis master-coordinator monitoring orchestration production quality recovery risk-management scripts task-management ui utilities"
        ],
    );
    check("minimal", expect!["coordination logging master-coordinator monitoring utilities"]);
    check("dev", expect!["master-coordinator"]);
}

/// An address of loopback that no other test and no other fleet listens on.
fn own_address() -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{}", 64 + (pid >> 16) % 128, (pid >> 8) % 256, 1 + pid % 254)
}

#[test]
fn services_take_the_ports_of_the_catalog() {
    let home = Home::new("");
    let mut command = home.command(&["up", "--no-sandbox"]);
    command.env("FLOTILLA_HTTP__PORTS", "catalog").env("FLOTILLA_HTTP__BIND", own_address());
    let process = home.try_start(command).unwrap();
    let ports: Vec<String> = process.screen["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!("{} {}", row["url"].as_str().unwrap().rsplit(':').next().unwrap(), row["service"].as_str().unwrap())
        })
        .collect();
    expect![[r#"
        4001 ai-integration
        4002 blockchain-integration
        4003 coordination
        4004 data-providers
        4005 dex-services
        4006 execution
        4007 foundry-integration
        4018 legacy
        4020 logging
        4008 market-analysis
        4000 master-coordinator
        4009 monitoring
        4010 orchestration
        4011 production
        4012 quality
        4013 recovery
        4014 risk-management
        4019 scripts
        4015 task-management
        4016 ui
        4017 utilities"#]]
    .assert_eq(&ports.join("\n"));
    assert!(process.screen["dashboard"].as_str().unwrap().ends_with(":8080"), "{}", process.screen);
}

#[test]
fn a_taken_port_names_who_holds_it() {
    let address = own_address();
    let _held = TcpListener::bind(format!("{address}:4017")).unwrap();
    let home = Home::new("");
    let mut command = home.command(&["up", "--no-sandbox"]);
    command.env("FLOTILLA_HTTP__PORTS", "catalog").env("FLOTILLA_HTTP__BIND", &address);
    let ran = Ran::run(&mut command, "", LIMIT);
    let holder = std::fs::read_to_string("/proc/self/comm").unwrap();
    let shown = ran.shown().replace(holder.trim(), "HOLDER").replace(&std::process::id().to_string(), "PID");
    expect![[r#"
        exit 3
        -- stderr
        error: utilities: port 4017 is taken by HOLDER (pid PID) [unavailable]
          stop that process, or choose another port in flotilla.toml ([http])
    "#]]
    .assert_eq(&shown);
}

#[test]
fn the_data_folder_is_for_its_owner_only() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let mode = |path: &str| format!("{:o}", fleet.home.path(path).metadata().unwrap().permissions().mode() & 0o777);
    assert_eq!((mode("data"), mode("data/keys")), ("700".into(), "700".into()));
    assert_eq!((mode("data/keys/cli.key"), mode("data/keys/fleet.key")), ("600".into(), "600".into()));
}

#[test]
fn a_second_start_finds_the_same_keys() {
    let home = Home::new("");
    let first = home.start(&["up", "--no-sandbox", "--mode", "dev"]);
    let key = home.key();
    drop(first);
    let second = home.start(&["up", "--no-sandbox", "--mode", "dev"]);
    assert_eq!(home.key(), key);
    assert_eq!(home.cli(&["status", "--json"]).json()["status"], "healthy");
    drop(second);
}

#[test]
fn the_start_screen_says_where_everything_is() {
    let home = Home::new("");
    let said = home.path("said");
    let mut command = home.command(&["up", "--no-sandbox", "--mode", "minimal"]);
    command.stderr(std::fs::File::create(&said).unwrap()).process_group(0);
    let mut child = command.spawn().unwrap();
    let _group = Group::of(&child);
    let screen = wait_for("the screen", LIMIT, || {
        let text = std::fs::read_to_string(&said).unwrap();
        text.contains("Ctrl-C").then_some(text)
    });
    process::send(i32::try_from(child.id()).unwrap(), libc::SIGINT);
    assert_eq!(wait_for("it ends", LIMIT, || child.try_wait().unwrap()).code(), Some(0));
    let ports = regex::Regex::new(r"\b\d{4,5}\b").unwrap();
    // Off a terminal the log is on the same stream, a JSON object a line.
    let screen: String = screen.lines().filter(|line| !line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    let screen = screen.replace(&home.path("").display().to_string(), "HOME/");
    expect_file!["golden/screen.txt"].assert_eq(&ports.replace_all(&screen, "PORT"));
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_with_what_was_meant() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 12] = [
        ("[http]\nbnid = \"127.0.0.1\"", &[], &["up"]),
        ("[htp]", &[], &["up"]),
        ("[http]\nbind = 7", &[], &["up"]),
        ("[http", &[], &["up"]),
        ("", &[("FLOTILLA_HTTP__BIND", "localhost")], &["up"]),
        ("", &[("FLOTILLA_LIMITS__BRUST", "1")], &["up"]),
        ("[auth]\nanonymous_role = \"admin\"\n[http]\nbind = \"0.0.0.0\"", &[], &["up"]),
        ("", &[], &["serve", "utilites"]),
        ("", &[], &["serve", "nothing-like-it"]),
        ("", &[], &["up", "--mode", "ful"]),
        ("", &[], &["--config", "elsewhere.toml", "up"]),
        ("", &[("FLOTILLA_DATA_DIR", "/proc/nowhere")], &["up"]),
    ];
    let mut transcript = String::new();
    for (config, variables, arguments) in cases {
        let home = Home::new(config);
        let mut command = home.command(arguments);
        command.envs(variables.iter().copied());
        let ran = Ran::run(&mut command, "", LIMIT);
        let before: String = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let config = if config.is_empty() {
            String::new()
        } else {
            format!("# flotilla.toml: {}\n", config.replace('\n', " ; "))
        };
        transcript.push_str(&format!("{config}$ {before}flotilla {}\n{}\n", arguments.join(" "), ran.shown()));
    }
    expect_file!["golden/configuration.txt"].assert_eq(&transcript);
}
