//! Calling cargo.

use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::problem::{Problem, Result};
use crate::repo::{Repo, TOOLS_VARIABLE, variable};

/// The same cargo that runs us, in the workspace's root, with the tools folder told.
pub(crate) fn cargo(repo: &Repo) -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.current_dir(&repo.root).env(TOOLS_VARIABLE, &repo.tools);
    command
}

/// Builds the `flotilla` binary and returns where it is.
pub(crate) fn build_flotilla(repo: &Repo, release: bool) -> Result<PathBuf> {
    let mut build = cargo(repo);
    build.args(["build", "--package", "flotilla", "--bin", "flotilla", "--message-format=json-render-diagnostics"]);
    if release {
        build.arg("--release");
    }
    executable(&command::output(&mut build)?)
        .ok_or_else(|| Problem::new("cargo built flotilla without saying where it is"))
}

/// The executable named in cargo's JSON messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "flotilla")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"flotilla"},"executable":"/t/release/flotilla"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/flotilla")));
        assert_eq!(executable(""), None);
    }
}
