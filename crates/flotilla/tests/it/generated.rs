//! The generated files are fresh: what people read is what the binary does.

use crate::harness::{Home, tools};

/// A file is what `flotilla gen TOPIC` prints.
fn fresh(topic: &str, path: &str) {
    let printed = Home::new("").cli(&["gen", topic]).ok();
    let kept = std::fs::read_to_string(tools::root().join(path)).unwrap_or_default();
    assert!(printed.lines().count() > 5, "{printed}");
    // A difference is long: say which file, not all of it.
    assert!(printed == kept, "{path} is stale: `cargo xtask gen`");
}

#[test]
fn tools_page() {
    fresh("tools", "docs/generated/tools.md");
}

#[test]
fn agents_page() {
    fresh("agents", "docs/generated/agents.md");
}

#[test]
fn configuration_page() {
    fresh("config", "docs/generated/config.md");
}

#[test]
fn command_line_page() {
    fresh("cli", "docs/generated/cli.md");
}

#[test]
fn metrics_page() {
    fresh("metrics", "docs/generated/metrics.md");
}

#[test]
fn default_configuration() {
    fresh("default-config", "flotilla.toml");
}

#[test]
fn the_default_configuration_changes_nothing() {
    let home = Home::new("");
    let shown = || home.cli(&["config", "show", "--json"]).json();
    let bare = shown();
    home.configure(&home.cli(&["config", "default"]).ok());
    assert_eq!(shown(), bare);
}

#[test]
fn services_for_containers() {
    fresh("catalog", "docker/generated/services.json");
}

#[test]
fn everything_around_the_fleet() {
    let files = Home::new("").cli(&["gen", "deployment"]).json();
    let files = files.as_object().unwrap();
    assert!(files.len() > 8, "{:?}", files.keys());
    for (path, text) in files {
        let kept = std::fs::read_to_string(tools::root().join(path)).unwrap_or_default();
        assert!(text == &kept, "{path} is stale: `cargo xtask gen`");
    }
}
