//! What the rules look at: the text files git knows or would add, and the workspace's packages.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command;
use crate::problem::{Problem, Result};
use crate::repo::variable;

/// A checkout as the rules see it.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Its text files.
    pub(crate) files: Vec<TextFile>,
    /// Paths of all its files, also those that are not text.
    pub(crate) paths: Vec<String>,
    /// The workspace's own packages.
    pub(crate) packages: Vec<Package>,
}

/// A file and its text.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Content.
    pub(crate) text: String,
}

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// Name.
    pub(crate) name: String,
    /// Path of its manifest from the root.
    pub(crate) manifest: String,
    /// What it needs to be built and run; not what only its tests need.
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a package depends on.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package's real name, whatever it is renamed to.
    pub(crate) name: String,
    /// Whether it is of this workspace.
    pub(crate) ours: bool,
}

impl TextFile {
    /// Lines with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Whether its name ends in one of these.
    pub(crate) fn is(&self, extensions: &[&str]) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
    }

    /// Whether a program wrote it.
    pub(crate) fn generated(&self) -> bool {
        self.path.contains("generated/") || self.path.ends_with(".lock") || self.path.ends_with("package-lock.json")
    }
}

impl Tree {
    /// The checkout in this folder.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = command::output(&mut git)?;
        // A file that was deleted but not yet committed is still listed.
        let paths: Vec<String> =
            listed.split_terminator('\0').filter(|path| root.join(path).is_file()).map(str::to_owned).collect();
        let mut files = Vec::new();
        for path in &paths {
            let bytes = std::fs::read(root.join(path)).map_err(Problem::io(path))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TextFile { path: path.clone(), text });
            }
        }
        let mut cargo = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
        cargo.current_dir(root).args(["metadata", "--no-deps", "--format-version=1"]);
        let metadata = serde_json::from_str(&command::output(&mut cargo)?).map_err(Problem::io("cargo metadata"))?;
        Ok(Self { files, paths, packages: packages(&metadata) })
    }

    /// The file at this path.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The line of `path` on which `word` first stands at the start; 1 when nowhere.
    pub(crate) fn line_of(&self, path: &str, word: &str) -> usize {
        let mut lines = self.file(path).into_iter().flat_map(TextFile::lines);
        lines.find(|(_, line)| line.starts_with(word)).map_or(1, |(number, _)| number)
    }
}

/// The packages in what `cargo metadata` prints.
fn packages(metadata: &Value) -> Vec<Package> {
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            manifest: text(&package["manifest_path"]).trim_start_matches(root).trim_start_matches('/').to_owned(),
            dependencies: list(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| Dependency { name: text(&dependency["name"]), ours: dependency["path"].is_string() })
                .collect(),
        })
        .collect()
}
