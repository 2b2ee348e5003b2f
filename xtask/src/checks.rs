//! `cargo xtask test`: lints first, tests last, so that the output ends with the test runner's own summary.

use std::process::{Command, Stdio};

use crate::problem::{Problem, Result};
use crate::repo::{Repo, in_ci};
use crate::{cargo, command, host, say, tools};

/// Fetches the tools, lints, and becomes the test runner.
pub(crate) fn test(repo: &Repo, no_lint: bool, args: &[String]) -> Result {
    for set in tools::Set::ALL {
        optional(tools::fetch(repo, &[set]), &format!("tests that need {}", set.about()))?;
    }
    for program in &host::PROGRAMS {
        optional(program.ensure(repo), &format!("tests that need {}", program.name))?;
    }
    if !no_lint {
        lint(repo)?;
    }
    let mut tests = runner(repo)?;
    tests.args(args);
    say::line(&format!("xtask: {}", command::shown(&tests)));
    Err(command::become_it(&mut tests))
}

/// Formatting and clippy.
fn lint(repo: &Repo) -> Result {
    for (words, component) in [
        (&["fmt", "--all", "--check"][..], "rustfmt"),
        (&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"][..], "clippy"),
    ] {
        if !has(repo, words[0])? {
            let missing = Problem::new(format!("cargo has no `{}`", words[0]))
                .fix(format!("rustup component add {component}, or --no-lint"));
            optional(Err(missing), &format!("`cargo {}`", words[0]))?;
            continue;
        }
        let mut step = cargo::cargo(repo);
        step.args(words);
        say::line(&format!("xtask: {}", command::shown(&step)));
        command::run(&mut step)?;
    }
    Ok(())
}

/// cargo-nextest, or `cargo test` where it is not installed.
fn runner(repo: &Repo) -> Result<Command> {
    let mut tests = cargo::cargo(repo);
    if has(repo, "nextest")? {
        tests.args(["nextest", "run", "--workspace"]);
        if in_ci() {
            tests.args(["--profile", "ci"]);
        }
    } else {
        say::line("xtask: cargo-nextest is not installed (cargo install cargo-nextest): using the slower `cargo test`");
        tests.args(["test", "--workspace"]);
    }
    Ok(tests)
}

/// Whether cargo has this subcommand.
fn has(repo: &Repo, subcommand: &str) -> Result<bool> {
    let mut ask = cargo::cargo(repo);
    ask.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(ask.status().map_err(Problem::io(command::shown(&ask)))?.success())
}

/// On a build server a missing tool fails; on a laptop what needs it is skipped, and that is said.
fn optional(outcome: Result, what: &str) -> Result {
    match outcome {
        Err(problem) if !in_ci() => {
            say::line(&format!("xtask: skipped {what}: {}", problem.in_one_line()));
            Ok(())
        }
        outcome => outcome,
    }
}
