//! Alerts on their way to people, from the real fleet.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::daemon::Daemon;
use crate::harness::receiver::Receiver;
use crate::harness::{Fleet, Home, LIMIT, http, tools, wait_for};

/// The states that a message tells of an alert.
fn told<'a>(message: &'a Value, id: &Value) -> Vec<&'a str> {
    let alerts = message["alerts"].as_array().into_iter().flatten();
    alerts.filter(|alert| alert["id"] == *id).filter_map(|alert| alert["state"].as_str()).collect()
}

#[test]
fn an_alert_reaches_people_once_and_a_fleet_that_was_killed_goes_on_where_it_stopped() {
    let (hook, beat) = (Receiver::start(), Receiver::start());
    let config = format!(
        "[servers.monitoring.sinks.hook]\nkind = \"webhook\"\nurl = \"{}/hook\"\nevery_seconds = 1\n\
         [servers.monitoring.sinks.beat]\nkind = \"heartbeat\"\nurl = \"{}/beat\"\nrepeat_seconds = 10\n\
         [agents.monitoring]\nevaluate_seconds = 1\ndeliver_seconds = 1\n",
        hook.url, beat.url
    );
    let mut fleet = Fleet::start(&["--no-sandbox"], &config);
    let beats = |what| beat.wait_for(what, |path, _| (path == "/beat").then_some(()));
    beats("the rules are evaluated");
    let test =
        |fleet: &Fleet, seconds: u32| fleet.call("monitoring__test_alert", json!({ "seconds": seconds }))["id"].clone();
    let short = test(&fleet, 5);
    hook.wait_for("it fires", |_, message| told(message, &short).contains(&"firing").then_some(()));
    hook.wait_for("it is over", |_, message| told(message, &short).contains(&"resolved").then_some(()));
    let long = test(&fleet, 3_600);
    hook.wait_for("another fires", |_, message| told(message, &long).contains(&"firing").then_some(()));
    let row = |fleet: &Fleet| fleet.call("monitoring__list_sinks", json!({}))["sinks"][1].clone();
    wait_for("that it was told is written down", LIMIT, || (row(&fleet)["waiting"] == 0).then_some(()));
    fleet.process.kill();
    fleet.process = fleet.home.start(&["up", "--no-sandbox"]);
    let last = test(&fleet, 3_600);
    hook.wait_for("the fleet goes on", |_, message| {
        let again = told(message, &short).len() + told(message, &long).len();
        assert_eq!(again, 0, "told before: {message}");
        told(message, &last).contains(&"firing").then_some(())
    });
    beats("and so does the heart");
}

/// Debian's Alertmanager reads its templates where its package puts them; a package that is only unpacked is shown to it there.
fn with_its_templates(program: &Path) -> Command {
    const TEMPLATES: &str = "usr/share/prometheus/alertmanager";
    if Path::new("/").join(TEMPLATES).exists() {
        return Command::new(program);
    }
    let unpacked = program.ancestors().map(|above| above.join(TEMPLATES)).find(|place| place.exists());
    let script = "mount -t tmpfs none /usr/share && mkdir -p /usr/share/prometheus && cp -r \"$1\" /usr/share/prometheus/ && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).args(unpacked).arg(program);
    command
}

/// An Alertmanager that tells nobody. Returns its URL.
fn alertmanager(home: &Home) -> Option<(Daemon, String)> {
    let program = tools::debian("bin/prometheus-alertmanager")?;
    let config = json!({ "route": { "receiver": "nobody" }, "receivers": [{ "name": "nobody" }] });
    // JSON is YAML.
    std::fs::write(home.path("alertmanager.yml"), config.to_string()).unwrap();
    let mut command = with_its_templates(&program);
    command.arg("--config.file").arg(home.path("alertmanager.yml"));
    command.arg("--storage.path").arg(home.path("alerts"));
    command.args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address=", "--log.format=logfmt"]);
    let mut daemon = Daemon::start(&mut command, &home.path("alertmanager.log"));
    let address = daemon.says(LIMIT, |log| {
        let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
        line.split("address=").nth(1).map(|rest| rest.split(' ').next().unwrap_or(rest).to_owned())
    });
    let address = address.unwrap_or_else(|| panic!("Alertmanager ended: {}", daemon.log()));
    Some((daemon, format!("http://{address}")))
}

#[test]
fn a_real_alertmanager_has_an_alert_from_its_beginning_to_its_end() {
    let beside = Home::new("");
    let Some((_daemon, url)) = alertmanager(&beside) else { return };
    let config =
        format!("[servers.monitoring.sinks.am]\nkind = \"alertmanager\"\nurl = \"{url}\"\nevery_seconds = 1\n");
    let fleet = Fleet::start(&["--no-sandbox"], &config);
    fleet.call("monitoring__test_alert", json!({ "seconds": 8, "summary": "is anybody there?" }));
    let alerts = || {
        let answer = http::send("GET", &format!("{url}/api/v2/alerts"), &[], b"").json();
        answer
            .as_array()
            .unwrap()
            .iter()
            .filter(|alert| alert["labels"]["alertname"] == "test")
            .cloned()
            .collect::<Vec<_>>()
    };
    let alert = wait_for("it fires there", LIMIT, || alerts().pop());
    assert_eq!(alert["annotations"]["summary"], "is anybody there?");
    assert_eq!(
        (&alert["labels"]["severity"], &alert["status"]["state"]),
        (&json!("warning"), &json!("active")),
        "{alert}"
    );
    wait_for("it is over there", LIMIT, || alerts().is_empty().then_some(()));
}

#[test]
fn the_command_line_has_what_is_done_with_alerts() {
    let fleet = Fleet::start(&["--no-sandbox"], "");
    let said = |arguments: &[&str]| fleet.cli(&[&["alert"], arguments].concat()).ok();
    let id = said(&["test", "--seconds", "3600", "--severity", "critical"]).trim().to_owned();
    let listed = said(&["list"]);
    assert!(listed.contains(&id) && listed.contains("critical") && listed.contains("nothing is wrong"), "{listed}");
    said(&["ack", &id, "--comment", "on it"]);
    let known = fleet.cli(&["alert", "list", "--state", "acknowledged", "--json"]).json();
    assert_eq!(known["alerts"][0]["acknowledged"]["comment"], "on it", "{known}");
    let silence = said(&["silence", "alertname=test", "--reason", "a test", "--minutes", "5"]).trim().to_owned();
    let (silences, listed) = (said(&["silences"]), said(&["list"]));
    assert!(silences.contains("alertname=test") && silences.contains("a test"), "{silences}");
    assert!(listed.contains("acknowledged, silent"), "{listed}");
    said(&["unsilence", &silence]);
    assert!(!said(&["silences"]).contains(&silence));
    assert!(said(&["rules"]).contains("service-down"));
    let sinks = fleet.cli(&["alert", "sinks"]);
    assert!(sinks.err.contains("nobody is told: docs/alerts.md says how"), "{}", sinks.shown());
    let codes = [&["ack", "nobody"][..], &["silence", "bad", "--reason", "x"], &["unsilence", "nothing"], &["ack"]]
        .map(|arguments| fleet.cli(&[&["alert"], arguments].concat()).code);
    assert_eq!(codes, [Some(4), Some(2), Some(4), Some(2)]);
}
