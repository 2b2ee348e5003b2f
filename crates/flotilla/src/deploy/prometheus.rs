//! Prometheus: what it scrapes, when it alarms, and the unit tests of that.
//!
//! A rule and its test are one entry: what makes it fire and what must leave it quiet stand beside its expression.

use kernel::catalog::{self, Service};
use serde_json::{Value, json};

use super::{File, MADE, host, yaml};

mod rules;

use rules::{RULES, Rule};

/// Where Prometheus finds RabbitMQ's figures.
const RABBITMQ_METRICS_PORT: u16 = 15692;
/// How often targets are scraped and rules evaluated.
const EVERY: &str = "15s";
/// The rules' tests look at this moment.
const LOOK: &str = "25m";

/// Prometheus' files.
pub fn files() -> Vec<File> {
    vec![
        File::new("docker/prometheus/prometheus.yml", yaml::document(&[MADE], &scraping())),
        File::new("docker/prometheus/rules.yml", yaml::document(&[MADE], &alerting())),
        File::new(
            "docker/prometheus/rules.test.yml",
            yaml::document(&[MADE, "`promtool test rules docker/prometheus/rules.test.yml` runs it."], &tests()),
        ),
        File::new(
            "docker/prometheus/alertmanager.yml",
            yaml::document(&[MADE, "Put your own receivers here; without one, alerts are only shown."], &receiving()),
        ),
    ]
}

/// A job that finds every copy of a host by its name in the network's own name service. What is not started is not there.
fn found_by_name(job: &str, hosts: &[(String, u16)]) -> Value {
    let places: Vec<Value> =
        hosts.iter().map(|(name, port)| json!({ "names": [name], "type": "A", "port": port })).collect();
    json!({
        "job_name": job,
        "dns_sd_configs": places,
        "relabel_configs": [{ "source_labels": ["__meta_dns_name"], "target_label": "host" }],
    })
}

fn scraping() -> Value {
    let places = |services: Vec<&Service>| -> Vec<(String, u16)> {
        services.into_iter().map(|service| (host(service), service.port)).collect()
    };
    let one = |name: &str, port| vec![(name.to_owned(), port)];
    json!({
        "global": { "scrape_interval": EVERY, "evaluation_interval": EVERY },
        "rule_files": ["rules.yml"],
        "alerting": { "alertmanagers": [{ "dns_sd_configs": [{ "names": ["alertmanager"], "type": "A", "port": 9093 }] }] },
        "scrape_configs": [
            found_by_name("mcp-servers", &places(catalog::servers().collect())),
            found_by_name("mcp-agents", &places(catalog::agents().collect())),
            { "job_name": "prometheus", "static_configs": [{ "targets": ["localhost:9090"] }] },
            found_by_name("grafana", &one("grafana", 3000)),
            found_by_name("rabbitmq", &one("rabbitmq", RABBITMQ_METRICS_PORT)),
            found_by_name("etcd", &one("etcd", 2379)),
            found_by_name("postgres", &one("postgres-exporter", 9187)),
            found_by_name("redis", &one("redis-exporter", 9121)),
        ],
    })
}

fn receiving() -> Value {
    json!({
        "route": { "receiver": "shown", "group_by": ["alertname"], "group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h" },
        "inhibit_rules": [{
            "source_matchers": ["severity = critical"], "target_matchers": ["severity = warning"], "equal": ["server"],
        }],
        "receivers": [{ "name": "shown" }],
    })
}

fn alerting() -> Value {
    let rules: Vec<Value> = RULES.iter().map(Rule::written).collect();
    json!({ "groups": [{ "name": "flotilla", "rules": rules }] })
}

fn tests() -> Value {
    let mut tests = Vec::new();
    for rule in RULES {
        let fired = json!([{ "exp_labels": rule.expected_labels(), "exp_annotations": rule.expected_annotations() }]);
        for (name, series, expected) in [("fires", rule.fires, fired), ("is quiet", rule.quiet, json!([]))] {
            let series: Vec<Value> =
                series.iter().map(|(series, values)| json!({ "series": series, "values": values })).collect();
            tests.push(json!({
                "name": format!("{} {name}", rule.name),
                "interval": "1m",
                "input_series": series,
                "alert_rule_test": [{ "eval_time": LOOK, "alertname": rule.name, "exp_alerts": expected }],
            }));
        }
    }
    json!({ "rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests })
}
