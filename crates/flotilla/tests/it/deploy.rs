//! The files around the fleet, held against the programs they are for: a real Prometheus and Nginx, and the published schemas.

mod containers;
mod control;
mod nginx;
mod prometheus;
mod schemas;

use std::collections::BTreeMap;

use crate::harness::tools;

/// A file of the repository.
fn kept(path: &str) -> String {
    std::fs::read_to_string(tools::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every expression of every dashboard, with the panel it is in.
fn expressions() -> BTreeMap<String, String> {
    let folder = tools::root().join("docker/grafana/dashboards");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let dashboard: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{} / {}", dashboard["title"], panel["title"]).replace('"', "");
                found.insert(target["expr"].as_str().unwrap().to_owned(), place);
            }
        }
    }
    assert!(found.len() > 80, "{}", found.len());
    found
}
