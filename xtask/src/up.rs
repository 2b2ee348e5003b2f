//! `cargo xtask up`: from a clean clone to a running fleet.

use std::process::Command;

use crate::problem::Result;
use crate::repo::{Repo, TOOLS_VARIABLE, variable};
use crate::{cargo, command, tools};

/// Fetches what the fleet needs, builds it in release and becomes `flotilla up`.
pub(crate) fn up(repo: &Repo, args: &[String]) -> Result {
    if sandbox(args, variable("ETHEREUM_RPC_URL").as_deref()) {
        tools::fetch(repo, &[tools::Set::Fleet])?;
    }
    let binary = cargo::build_flotilla(repo, true)?;
    let mut flotilla = Command::new(binary);
    flotilla.arg("up").args(args).env(TOOLS_VARIABLE, &repo.tools);
    Err(command::become_it(&mut flotilla))
}

/// Whether the sandbox chain, and so what comes from npm, will be needed: not when it is declined, nor with a node of one's own.
fn sandbox(args: &[String], rpc_url: Option<&str>) -> bool {
    rpc_url.is_none() && !args.iter().any(|arg| arg == "--no-sandbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_is_declined_by_flag_or_by_a_node_of_ones_own() {
        assert!(sandbox(&[], None));
        assert!(sandbox(&["--mode".into(), "dev".into()], None));
        assert!(!sandbox(&["--no-sandbox".into()], None));
        assert!(!sandbox(&[], Some("http://localhost:8545")));
    }
}
