//! Who may depend on whom, and which foreign packages only one crate may name.

use super::{Breach, Tree};

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Depends only on lower layers.
    Layer(u8),
    /// Makes ports of real things: depends on layers 0 and 1 only.
    Adapter,
    /// The binary: sees all.
    Root,
    /// Measures the binary from outside, and layers 0 and 1 and what adapters make of them directly.
    Benches,
    /// Depends on none of ours.
    Chores,
}

const PLACES: [(&str, Place); 14] = [
    ("kernel", Place::Layer(0)),
    ("market", Place::Layer(1)),
    ("mcp", Place::Layer(1)),
    ("flow", Place::Layer(1)),
    ("gateway", Place::Layer(2)),
    ("servers", Place::Layer(2)),
    ("agents", Place::Layer(3)),
    ("backends", Place::Adapter),
    ("evm", Place::Adapter),
    ("llm", Place::Adapter),
    ("web", Place::Adapter),
    ("flotilla", Place::Root),
    ("xtask", Place::Chores),
    ("benches", Place::Benches),
];

/// Foreign packages and the crates that may name them; a `*` at the end stands for any ending. The first that matches decides.
const FENCES: [(&str, &[&str]); 13] = [
    ("alloy-primitives", &["benches", "evm", "kernel", "market"]),
    ("alloy*", &["evm"]),
    // The market tests its pools against the contracts' bytecode.
    ("revm*", &["evm", "market"]),
    ("sqlx*", &["backends"]),
    ("redis", &["backends"]),
    ("lapin", &["backends"]),
    ("etcd-client", &["backends"]),
    ("axum*", &["web"]),
    ("maud", &["web"]),
    // Its tests have a server that speaks it.
    ("tokio-websockets", &["agents", "flotilla"]),
    ("clap*", &["flotilla", "xtask"]),
    ("indicatif", &["flotilla", "xtask"]),
    ("toml", &["flotilla"]),
];

/// Packages that nothing may bring in, with the reason.
const BANNED: [(&str, &str); 4] = [
    ("aws-lc-sys", "its C build is slow: choose the `ring` feature of whatever brings it in"),
    ("openssl-sys", "it needs the system's OpenSSL: choose rustls"),
    ("native-tls", "it needs the system's TLS: choose rustls"),
    (
        "serenity",
        "it falls back to the real service when a local one fails: crates/agents/src/discord speaks for itself",
    ),
];

fn place(name: &str) -> Option<Place> {
    PLACES.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, place)| *place)
}

fn may_depend(from: Place, to: Place) -> bool {
    match (from, to) {
        (Place::Layer(from), Place::Layer(to)) => to < from,
        (Place::Adapter | Place::Benches, Place::Layer(to)) => to <= 1,
        (Place::Benches, Place::Adapter) => true,
        (Place::Root, Place::Chores | Place::Benches) => false,
        (Place::Root, _) => true,
        _ => false,
    }
}

/// A crate depends only on lower layers; adapters on 0 and 1; only the binary sees all.
pub(super) fn layers(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in &tree.packages {
        let Some(from) = place(&package.name) else {
            let what = format!("`{}` has no layer: give it one in xtask/src/tidy/layers.rs", package.name);
            breaches.push(Breach::new(&package.manifest, 1, what));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.ours) {
            let to = &dependency.name;
            if place(to).is_some_and(|place| !may_depend(from, place)) {
                let what = format!(
                    "`{}` may not depend on `{to}`: move what both need to a lower layer, or put a port in kernel",
                    package.name
                );
                breaches.push(Breach::new(&package.manifest, tree.line_of(&package.manifest, to), what));
            }
        }
    }
    breaches
}

/// A fenced package is named only by the crate that keeps it.
pub(super) fn fences(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in &tree.packages {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.ours) {
            let name = &dependency.name;
            let fence = FENCES.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            });
            if let Some((_, crates)) = fence.filter(|(_, crates)| !crates.contains(&package.name.as_str())) {
                let what = format!("`{name}` belongs in {} only: reach it through a port in kernel", crates.join(", "));
                breaches.push(Breach::new(&package.manifest, tree.line_of(&package.manifest, name), what));
            }
        }
    }
    breaches
}

/// Nothing brings in a banned package.
pub(super) fn banned(tree: &Tree) -> Vec<Breach> {
    let lock = tree.file("Cargo.lock");
    let lines = lock.into_iter().flat_map(|lock| lock.lines());
    lines
        .filter_map(|(number, line)| {
            let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
            let (_, reason) = BANNED.iter().find(|(banned, _)| *banned == name)?;
            Some(Breach::new("Cargo.lock", number, format!("`{name}` is banned: {reason}")))
        })
        .collect()
}
