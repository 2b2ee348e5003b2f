//! Project chores: set-up, tests, tidiness, generated files, skeletons. `cargo xtask help` lists them.
//!
//! Invariants:
//! - Depends on none of the workspace's crates: it is the first thing a newcomer compiles.
//! - What it downloads is pinned in `xtask/tools/` and lands in the tools folder, never elsewhere.
//! - A problem is told with its fix.

mod cargo;
mod checks;
mod command;
mod containers;
mod generate;
mod host;
mod problem;
mod repo;
mod say;
mod skeleton;
mod tidy;
mod tools;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use repo::Repo;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Flotilla's chores", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Fetch what the fleet needs, build in release and run `flotilla up`
    Up {
        /// Passed to `flotilla up`, for example `--no-sandbox`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Fetch what the tests need, then lint and run every test
    Test {
        /// Only the tests: no formatting check, no clippy
        #[arg(long)]
        no_lint: bool,
        /// Passed to the test runner, for example a test's name or `-E 'package(mcp)'`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Only fetch the pinned tools
    Fetch {
        /// Which set; all of them when none is named
        set: Option<tools::Set>,
    },
    /// Start the container system with a Docker engine, and see what is promised of it; needs root, and no registry of images
    E2eContainers(containers::Asked),
    /// Check the house rules: layers, fences, sizes, module docs, links
    Tidy,
    /// Write the generated files from the built binary
    Gen {
        /// Write nothing; fail when a file is stale
        #[arg(long)]
        check: bool,
    },
    /// Write the skeleton of an MCP server, running and tested
    NewServer(NewService),
    /// Write the skeleton of an agent, running and tested
    NewAgent(NewService),
}

#[derive(Debug, clap::Args)]
struct NewService {
    /// Its name, such as `tide-tables`
    name: String,
    /// What it is for, in a few words; not needed for a name that the catalog has
    #[arg(long)]
    about: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Repo::find().and_then(|repo| match cli.chore {
        Chore::Up { args } => up::up(&repo, &args),
        Chore::Test { no_lint, args } => checks::test(&repo, no_lint, &args),
        Chore::Fetch { set } => {
            let sets = set.map_or(tools::Set::ALL.to_vec(), |set| vec![set]);
            tools::fetch(&repo, &sets)
                .map(|()| say::line(&format!("the tools in {} are current", repo.tools.display())))
        }
        Chore::E2eContainers(asked) => containers::run(&repo, &asked),
        Chore::Tidy => tidy::tidy(&repo),
        Chore::Gen { check } => generate::generate(&repo, check),
        Chore::NewServer(new) => skeleton::write(&repo.root, &skeleton::SERVER, &new.name, new.about.as_deref()),
        Chore::NewAgent(new) => skeleton::write(&repo.root, &skeleton::AGENT, &new.name, new.about.as_deref()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say::problem(&problem);
            ExitCode::FAILURE
        }
    }
}
