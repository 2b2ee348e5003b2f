//! `cargo xtask gen`: the files made from the binary itself (its types, its catalog, its command line).
//!
//! The binary's hidden `gen TOPIC` prints one file's whole content; this only knows where each goes. The files around the fleet come all at
//! once, with their paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::{cargo, command, say};

/// The topic whose answer is many files: a JSON object of text by path.
const MANY: &str = "deployment";
/// Each other topic of `flotilla gen` and the file it becomes.
const FILES: [(&str, &str); 7] = [
    ("tools", "docs/generated/tools.md"),
    ("agents", "docs/generated/agents.md"),
    ("config", "docs/generated/config.md"),
    ("cli", "docs/generated/cli.md"),
    ("metrics", "docs/generated/metrics.md"),
    ("default-config", "flotilla.toml"),
    ("catalog", "docker/generated/services.json"),
];

/// Writes every generated file, or with `check` only tells which are stale.
pub(crate) fn generate(repo: &Repo, check: bool) -> Result {
    let binary = cargo::build_flotilla(repo, false)?;
    write(&repo.root, check, |topic| command::output(Command::new(&binary).args(["gen", topic])))
}

/// The same with any source of contents. Nothing is written unless every content can be had.
fn write(root: &Path, check: bool, content: impl Fn(&str) -> Result<String>) -> Result {
    let mut contents = Vec::new();
    for (topic, path) in FILES {
        contents.push((path.to_owned(), content(topic)?));
    }
    let many: BTreeMap<String, String> = serde_json::from_str(&content(MANY)?)
        .map_err(|error| Problem::new(format!("`flotilla gen {MANY}` did not print text by path: {error}")))?;
    contents.extend(many);
    let mut stale = Vec::new();
    for (path, content) in contents {
        if content.trim().is_empty() {
            return Err(Problem::new(format!("`flotilla gen` printed nothing for {path}")));
        }
        if !fs::read_to_string(root.join(&path)).is_ok_and(|old| old == content) {
            stale.push((path, content));
        }
    }
    if stale.is_empty() {
        say::line("every generated file is current");
        return Ok(());
    }
    if check {
        let paths: Vec<_> = stale.iter().map(|(path, _)| path.as_str()).collect();
        return Err(Problem::new(format!("stale: {}", paths.join(", "))).fix("cargo xtask gen"));
    }
    for (path, content) in stale {
        let file = root.join(&path);
        fs::create_dir_all(file.parent().unwrap_or(root)).map_err(Problem::io(&path))?;
        fs::write(&file, content).map_err(Problem::io(&path))?;
        say::line(&format!("wrote {path}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_is_stale_and_tells_of_it_when_only_checking() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let about = |topic: &str| match topic {
            MANY => "{\"docker/a.yml\":\"a\\n\"}".to_owned(),
            topic => format!("about {topic}\n"),
        };
        let first = |topic: &str| Ok(about(topic));
        let refused = write(root, true, first).unwrap_err().in_one_line();
        assert!(refused.contains("docs/generated/tools.md, ") && refused.ends_with("(cargo xtask gen)"), "{refused}");
        assert!(!root.join("docs").exists());
        write(root, false, first).unwrap();
        assert_eq!(fs::read_to_string(root.join("flotilla.toml")).unwrap(), "about default-config\n");
        assert_eq!(fs::read_to_string(root.join("docker/a.yml")).unwrap(), "a\n");
        write(root, true, first).unwrap();

        let then = |topic: &str| Ok(if topic == "cli" { "new\n".into() } else { about(topic) });
        assert_eq!(
            write(root, true, then).unwrap_err().in_one_line(),
            "stale: docs/generated/cli.md (cargo xtask gen)"
        );
    }

    #[test]
    fn an_empty_file_is_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let empty = |topic: &str| {
            Ok(match topic {
                "catalog" => "\n",
                MANY => "{}",
                _ => "text",
            }
            .to_owned())
        };
        let refused = write(folder.path(), false, empty).unwrap_err().in_one_line();
        assert_eq!(refused, "`flotilla gen` printed nothing for docker/generated/services.json");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
