//! Runs forge on a project, shut in: the project and Foundry to be read, its folder of built things to be written, no network, and limits.

use kernel::Result;
use kernel::jail::Ran;
use mcp::prelude::*;

use super::FoundryIntegration;
pub(super) use crate::workshop::cut;
use crate::workshop::places::{Kept, Project};
use crate::workshop::{Run, last_words, mount, solidity};

/// What to run.
pub(super) struct Chore<'a> {
    /// The shell's words; `$FORGE` is forge.
    pub(super) text: &'a str,
    /// `$1` and on.
    pub(super) arguments: Vec<String>,
    pub(super) stdin: String,
    /// How much it may write, in bytes.
    pub(super) stdout_bytes: usize,
    /// How long it may take; as long as the configuration says when absent.
    pub(super) seconds: Option<u32>,
    /// A profile of the project's foundry.toml.
    pub(super) profile: Option<String>,
}

impl FoundryIntegration {
    /// Runs a chore to its end.
    ///
    /// # Errors
    /// It was ended by a limit or taken back, or this machine cannot shut it in.
    pub(super) async fn run(&self, project: &Project, kept: &Kept, chore: Chore<'_>, ctx: &Ctx) -> Result<Ran> {
        let kit = self.foundry.kit()?;
        let mut environment = solidity::environment(&kit, &project.path);
        if let Some(profile) = chore.profile {
            environment.insert("FOUNDRY_PROFILE".into(), profile);
        }
        let run = Run {
            text: format!("{}{}", solidity::PRELUDE, chore.text),
            arguments: chore.arguments,
            environment,
            stdin: chore.stdin,
            mounts: vec![
                mount(&kit.folder, "tools", false),
                mount(&project.path, "project", false),
                mount(&kept.folder, "keep", true),
            ],
            stdout_bytes: chore.stdout_bytes,
            seconds: chore.seconds,
        };
        self.workshop.run(run, ctx).await
    }
}

/// The fault of forge that ended without what it was asked for.
pub(super) fn refused(ran: &Ran) -> Fault {
    let words = last_words(&ran.stderr);
    let fault = Fault::invalid(format!("forge: {words}"));
    if words.contains("offline mode") || words.contains("No solc version") || words.contains("missing solc") {
        return fault.hint("toolchain tells which compilers there are; nothing is downloaded");
    }
    fault
}
