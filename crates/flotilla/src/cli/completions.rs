//! `completions`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use kernel::Fault;

/// Print a completion script.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Fault> {
        let mut script = Vec::new();
        generate(self.shell, &mut super::Cli::command(), "flotilla", &mut script);
        super::output::line(String::from_utf8_lossy(&script).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}
