//! Prometheus: its configuration, the alert rules and their tests, and every expression of the dashboards on a real fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};

use super::{expressions, kept};
use crate::harness::daemon::Daemon;
use crate::harness::{Fleet, Home, LIMIT, http, tools, wait_for};

/// How long it may take until all that is looked for was scraped twice, on a machine that has more to do.
const TIME: Duration = Duration::from_secs(120);
/// A fleet that trades soon, has an upstream that fails, and is in a hurry with its figures.
const CONFIG: &str = "[chain.sandbox]\ntrader_ms = 150\ntrader_seed = 7\n[upstreams.broken]\ncommand = \"false\"\n";

/// What a name of a figure looks like, ours or of what the fleet stands on.
const NAME: &str = r"\b(?:mcp|agent|flotilla|pg|redis|rabbitmq|etcd)_[a-z0-9_]+\b";

fn promtool(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tools::debian("bin/promtool")?);
    command.current_dir(tools::root().join("docker/prometheus"));
    let ran = tools::run(&mut command, arguments);
    assert_eq!(ran.code, Some(0), "promtool {arguments:?}\n{}\n{}", ran.out, ran.err);
    Some(ran.out + &ran.err)
}

#[test]
fn its_configuration_and_rules_are_what_it_takes() {
    let Some(said) = promtool(&["check", "config", "prometheus.yml"]) else { return };
    assert!(said.contains("SUCCESS") && said.contains("rules found"), "{said}");
}

#[test]
fn every_rule_fires_when_it_should_and_only_then() {
    let Some(said) = promtool(&["test", "rules", "rules.test.yml"]) else { return };
    assert!(said.contains("SUCCESS"), "{said}");
    let named = |text: &str, mark: &str| {
        text.lines().filter_map(|line| Some(line.split_once(mark)?.1.to_owned())).collect::<BTreeSet<_>>()
    };
    let rules = named(&kept("docker/prometheus/rules.yml"), "alert: ");
    assert!(rules.len() > 15 && rules == named(&kept("docker/prometheus/rules.test.yml"), "alertname: "), "{rules:?}");
}

/// The names in `text`, without what Prometheus puts behind those of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(NAME).unwrap();
    let bare = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        histogram.filter(|bare| bare.ends_with("_seconds")).unwrap_or(name).to_owned()
    };
    name.find_iter(text).map(|found| bare(found.as_str())).collect()
}

#[test]
fn every_figure_that_is_asked_for_exists() {
    let mut known = names(&kept("docs/generated/metrics.md"));
    // What real servers of Debian 12 exported through their exporters, or by themselves.
    known.extend(names(include_str!("../golden/infrastructure_figures.txt")));
    let asked = expressions().into_keys().collect::<Vec<_>>().join("\n") + &kept("docker/prometheus/rules.yml");
    let unknown: Vec<_> = names(&asked).difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_heading_that_a_rule_points_to_exists() {
    let page = kept("docs/operating.md");
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<String> =
        headings.map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-")).collect();
    for line in kept("docker/prometheus/rules.yml").lines() {
        if let Some((_, anchor)) = line.trim_end_matches('"').split_once("docs/operating.md#") {
            assert!(anchors.contains(anchor), "{anchor}");
        }
    }
}

/// A Prometheus that scrapes `target` once a second, and the rules. Returns its URL.
fn prometheus(home: &Home, target: &str) -> Option<(Daemon, String)> {
    let program = tools::debian("bin/prometheus")?;
    let config = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [tools::root().join("docker/prometheus/rules.yml")],
        "scrape_configs": [{ "job_name": "mcp-servers", "static_configs": [{ "targets": [target] }] }],
    });
    // JSON is YAML.
    std::fs::write(home.path("prometheus.yml"), config.to_string()).unwrap();
    let mut command = Command::new(program);
    command.arg("--config.file").arg(home.path("prometheus.yml"));
    command.arg("--storage.tsdb.path").arg(home.path("series"));
    command.args(["--web.listen-address=127.0.0.1:0", "--log.format=logfmt"]);
    let mut daemon = Daemon::start(&mut command, &home.path("prometheus.log"));
    let address = daemon.says(LIMIT, |log| {
        let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
        line.split("address=").nth(1).map(|rest| rest.split(' ').next().unwrap_or(rest).to_owned())
    });
    let address = address.unwrap_or_else(|| panic!("Prometheus ended: {}", daemon.log()));
    Some((daemon, format!("http://{address}")))
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// How many series an expression of a dashboard gives now.
fn rows(url: &str, expression: &str) -> Result<usize, String> {
    let asked = expression.replace("$__rate_interval", "5m").replace("$__range", "5m");
    let asked = ["$server", "$agent"].iter().fold(asked, |asked, variable| asked.replace(variable, ".*"));
    let answer = http::send("GET", &format!("{url}/api/v1/query?query={}", escaped(&asked)), &[], b"").json();
    match answer["data"]["result"].as_array() {
        Some(rows) => Ok(rows.len()),
        None => Err(answer["error"].to_string()),
    }
}

#[test]
fn every_expression_about_the_fleet_returns_data_from_a_real_prometheus() {
    let Some(()) = tools::anvil() else { return };
    if tools::debian("bin/prometheus").is_none() {
        return;
    }
    let fleet = Fleet::start(&[], CONFIG);
    let target = fleet.url().trim_start_matches("http://").to_owned();
    let Some((prometheus, url)) = prometheus(&fleet.home, &target) else { return };
    // By name alone where other servers' figures are asked for: `every_figure_that_is_asked_for_exists`.
    let other = Regex::new(r"\b(pg|redis|rabbitmq|etcd|prometheus)_|process_resident").unwrap();
    let mut waiting: BTreeMap<String, String> = expressions();
    waiting.retain(|expression, _| !other.is_match(expression));
    assert!(waiting.len() > 45, "{waiting:?}");
    let task = fleet.cli(&["agent", "submit", "monitoring", "summary", "--json"]);
    assert_eq!(task.code, Some(0), "{task:?}");
    let started = std::time::Instant::now();
    while !waiting.is_empty() {
        fleet.call("utilities__keccak256", json!({ "data": "hello" }));
        fleet.mcp("/mcp").call("utilities__keccak256", json!({})).unwrap_err();
        waiting.retain(|expression, place| match rows(&url, expression) {
            Ok(rows) => rows == 0,
            Err(error) => panic!("{place}: {expression}: {error}"),
        });
        assert!(started.elapsed() < TIME, "no data: {waiting:#?}");
    }
    the_rules_are_evaluated(&url);
    drop((prometheus, fleet));
}

/// Every rule was evaluated, and none of them failed.
fn the_rules_are_evaluated(url: &str) {
    wait_for("the rules are evaluated", TIME, || {
        let groups = http::send("GET", &format!("{url}/api/v1/rules"), &[], b"").json();
        let rules: Vec<Value> = groups["data"]["groups"][0]["rules"].as_array()?.clone();
        (rules.len() > 15 && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    });
}
