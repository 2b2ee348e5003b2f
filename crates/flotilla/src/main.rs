//! `flotilla`: alone the whole fleet in one process, or chosen services of it; and the command line that steers it.

#![expect(unreachable_pub, reason = "in a binary `pub` says what other modules may use")]

mod cli;
mod config;
mod data;
mod deploy;
mod fleet;
mod memory;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

/// The binary's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    memory::settle();
    cli::run(cli::Cli::parse())
}
