use std::path::Path;

use super::tree::{Dependency, Package, TextFile};
use super::*;

fn tree(files: &[(&str, &str)]) -> Tree {
    let files: Vec<_> =
        files.iter().map(|(path, text)| TextFile { path: (*path).into(), text: (*text).into() }).collect();
    Tree { paths: files.iter().map(|file| file.path.clone()).collect(), files, packages: Vec::new() }
}

fn with_package(mut tree: Tree, name: &str, dependencies: &[(&str, bool)]) -> Tree {
    let dependencies =
        dependencies.iter().map(|(name, ours)| Dependency { name: (*name).into(), ours: *ours }).collect();
    tree.packages.push(Package { name: name.into(), manifest: format!("crates/{name}/Cargo.toml"), dependencies });
    tree
}

#[track_caller]
fn check(rule: Rule, tree: &Tree, places: &[(&str, usize)]) {
    let breaches = rule(tree);
    let found: Vec<_> = breaches.iter().map(|breach| (breach.path.as_str(), breach.line)).collect();
    assert_eq!(found, places, "{breaches:#?}");
}

#[test]
fn this_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tree = Tree::read(root).unwrap();
    let breaches: Vec<_> = RULES
        .iter()
        .flat_map(|(name, rule)| rule(&tree).into_iter().map(move |breach| format!("{breach} [{name}]")))
        .collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
    assert!(tree.packages.iter().any(|package| package.name == "kernel"), "cargo metadata was not understood");
}

#[test]
fn layers_point_down() {
    let manifest = "[dependencies]\nkernel.workspace = true\nservers.workspace = true\n";
    let gateway =
        |dependencies| with_package(tree(&[("crates/gateway/Cargo.toml", manifest)]), "gateway", dependencies);
    check(layers::layers, &gateway(&[("kernel", true), ("mcp", true), ("servers", false)]), &[]);
    check(layers::layers, &gateway(&[("servers", true)]), &[("crates/gateway/Cargo.toml", 3)]);
    check(layers::layers, &gateway(&[("evm", true)]), &[("crates/gateway/Cargo.toml", 1)]);
    let adapter = |dependency| with_package(tree(&[]), "web", &[(dependency, true)]);
    check(layers::layers, &adapter("mcp"), &[]);
    check(layers::layers, &adapter("gateway"), &[("crates/web/Cargo.toml", 1)]);
    check(layers::layers, &adapter("evm"), &[("crates/web/Cargo.toml", 1)]);
    check(layers::layers, &with_package(tree(&[]), "flotilla", &[("gateway", true), ("web", true)]), &[]);
    check(
        layers::layers,
        &with_package(tree(&[]), "flotilla", &[("xtask", true)]),
        &[("crates/flotilla/Cargo.toml", 1)],
    );
    check(layers::layers, &with_package(tree(&[]), "xtask", &[("kernel", true)]), &[("crates/xtask/Cargo.toml", 1)]);
    check(layers::layers, &with_package(tree(&[]), "novelty", &[]), &[("crates/novelty/Cargo.toml", 1)]);
}

#[test]
fn fenced_packages_stay_in_their_crate() {
    let uses = |name, dependency| with_package(tree(&[]), name, &[(dependency, false)]);
    check(layers::fences, &uses("evm", "alloy-provider"), &[]);
    check(layers::fences, &uses("kernel", "alloy-primitives"), &[]);
    check(layers::fences, &uses("kernel", "alloy-provider"), &[("crates/kernel/Cargo.toml", 1)]);
    check(layers::fences, &uses("servers", "sqlx"), &[("crates/servers/Cargo.toml", 1)]);
    check(layers::fences, &uses("servers", "redis-like"), &[]);
}

#[test]
fn banned_packages_are_found_in_the_lock_file() {
    let lock = "[[package]]\nname = \"ring\"\n\n[[package]]\nname = \"openssl-sys\"\n";
    check(layers::banned, &tree(&[("Cargo.lock", lock)]), &[("Cargo.lock", 5)]);
}

#[test]
fn versions_and_lints_come_from_the_root() {
    let member = |text| with_package(tree(&[("crates/mcp/Cargo.toml", text)]), "mcp", &[]);
    let good =
        "[lints]\nworkspace = true\n\n[dependencies]\na.workspace = true\nb = { workspace = true, optional = true }\n";
    check(manifests::versions, &member(good), &[]);
    check(manifests::lints, &member(good), &[]);
    let bad = "[dependencies]\na = \"1\"\n[dev-dependencies.b]\nversion = \"1\"\n[package]\nname = \"mcp\"\n";
    check(manifests::versions, &member(bad), &[("crates/mcp/Cargo.toml", 2), ("crates/mcp/Cargo.toml", 3)]);
    check(manifests::lints, &member(bad), &[("crates/mcp/Cargo.toml", 1)]);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let long = "//! Long.\n".repeat(501);
    let files = tree(&[
        ("a.rs", &long),
        ("docs/generated/b.md", &long),
        ("c/tests.rs", "use super::*;"),
        ("d.rs", "\n//! Late."),
    ]);
    check(sources::length, &files, &[("a.rs", 501)]);
    check(sources::module_docs, &files, &[("d.rs", 1)]);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = concat!("// TO", "DO: x\nlet mastoTO", "DOn;\n#[ig", "nore]\nto", "do!()\n");
    check(sources::unfinished, &tree(&[("a.rs", marks)]), &[("a.rs", 1), ("a.rs", 3), ("a.rs", 4)]);
}

#[test]
fn no_address_of_a_registry_or_a_machine() {
    let text = concat!(
        "see crates",
        ".io\n",
        "cd /wo",
        "rk/main\n",
        "`/ho",
        "me/you/bin`\n",
        "http://host/wo",
        "rk/main\n",
        "\"/ho",
        "me/ann\"\n",
        "a /wo",
        "rk/ alone\n",
    );
    check(sources::addresses, &tree(&[("a.md", text)]), &[("a.md", 1), ("a.md", 2), ("a.md", 5)]);
    check(sources::addresses, &tree(&[("Cargo.lock", text)]), &[]);
}

#[test]
fn links_inside_the_repository_lead_somewhere() {
    let text = "[a](b.md) [b](../README.md#the-two-commands) [c](https://example.org/x.md) [d](#here)\n# Here\n\
        ```\n[e](nowhere.md)\n```\n[f](nowhere.md \"title\")\n[g](b.md#nowhere)\n[h](../../out.md)\n[i]: nowhere.md\n\
        [j](../docs) <img src=\"no.png\">\n";
    let files =
        tree(&[("README.md", "## The two: `commands`\n## The two commands\n"), ("docs/a.md", text), ("docs/b.md", "")]);
    check(links::links, &files, &[6, 7, 8, 9, 10].map(|line| ("docs/a.md", line)));
}
