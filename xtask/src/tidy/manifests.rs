//! Cargo manifests: versions and lints are chosen once, in the root.

use super::tree::TextFile;
use super::{Breach, Tree};

/// Members take every dependency, with its version and features, from the root manifest.
pub(super) fn versions(tree: &Tree) -> Vec<Breach> {
    const FIX: &str = "put the version and features in the root manifest's [workspace.dependencies] and write `workspace = true` here";
    let mut breaches = Vec::new();
    for file in members(tree) {
        let mut section = "";
        for (number, line) in file.lines() {
            if let Some(header) = line.strip_prefix('[') {
                section = header.split(']').next().unwrap_or_default();
                if section.contains("dependencies.") {
                    breaches.push(Breach::new(
                        &file.path,
                        number,
                        format!("a dependency with a section of its own: {FIX}"),
                    ));
                }
                continue;
            }
            let dependency = section.ends_with("dependencies") && line.contains('=') && !line.starts_with('#');
            if dependency && !line.contains("workspace = true") {
                let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
                breaches.push(Breach::new(
                    &file.path,
                    number,
                    format!("`{name}` is not taken from the workspace: {FIX}"),
                ));
            }
        }
    }
    breaches
}

/// Members take their lints from the root manifest.
pub(super) fn lints(tree: &Tree) -> Vec<Breach> {
    members(tree)
        .filter(|file| {
            let mut lines = file.text.lines().skip_while(|line| *line != "[lints]").skip(1);
            lines.next() != Some("workspace = true")
        })
        .map(|file| Breach::new(&file.path, 1, "no workspace lints: add `[lints]` with `workspace = true`"))
        .collect()
}

/// The manifests of the workspace's members.
fn members(tree: &Tree) -> impl Iterator<Item = &TextFile> {
    tree.packages.iter().filter_map(|package| tree.file(&package.manifest))
}
