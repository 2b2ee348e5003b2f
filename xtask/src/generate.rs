//! `cargo xtask gen`: the files made from the binary itself (its types, its catalog, its command line).
//!
//! The binary's hidden `gen TOPIC` prints one file's whole content; this only knows where each goes.

use std::fs;
use std::process::Command;

use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::{cargo, command, say};

/// Each topic of `flotilla gen` and the file it becomes.
const FILES: [(&str, &str); 6] = [
    ("tools", "docs/generated/tools.md"),
    ("config", "docs/generated/config.md"),
    ("cli", "docs/generated/cli.md"),
    ("metrics", "docs/generated/metrics.md"),
    ("default-config", "flotilla.toml"),
    ("catalog", "docker/generated/services.json"),
];

/// Writes every generated file, or with `check` only tells which are stale.
pub(crate) fn generate(repo: &Repo, check: bool) -> Result {
    let binary = cargo::build_flotilla(repo, false)?;
    let mut stale = Vec::new();
    for (topic, path) in FILES {
        let content = command::output(Command::new(&binary).args(["gen", topic]))?;
        if content.trim().is_empty() {
            return Err(Problem::new(format!("`flotilla gen {topic}` printed nothing, so {path} cannot be made")));
        }
        let file = repo.root.join(path);
        if fs::read_to_string(&file).is_ok_and(|old| old == content) {
            continue;
        }
        stale.push(path);
        if !check {
            let folder = file.parent().unwrap_or(&repo.root);
            fs::create_dir_all(folder).map_err(Problem::io(folder.display()))?;
            fs::write(&file, content).map_err(Problem::io(path))?;
            say::line(&format!("wrote {path}"));
        }
    }
    match (check, stale.is_empty()) {
        (true, false) => Err(Problem::new(format!("stale: {}", stale.join(", "))).fix("cargo xtask gen")),
        (_, true) => {
            say::line("every generated file is current");
            Ok(())
        }
        (false, false) => Ok(()),
    }
}
