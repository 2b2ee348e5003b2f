//! The agents, one file (or folder) each: what the fleet does by itself, without being asked.
//!
//! To add one: write `src/<name>.rs`, then add its `mod` line and its line in the table below. Configuration, start-up, documentation,
//! metrics and the catalog's "built" mark follow from the table (a test holds the catalog to it).
//!
//! Invariants:
//! - An agent acts only through tools ([`Hands`]), under its own role; it is given no port.
//! - Of an agent's copies one does its duties, one thing at a time; all of them do tasks of the queue.
//! - A task is done within the rights of its submitter as well as the agent's own.
//! - What an agent does is written down before it does it ([`kernel::duties`]).

pub mod agent;
pub mod build;
pub mod code_analysis;
pub mod discord;
pub mod execution;
mod follow;
pub mod hands;
pub mod jobs;
pub mod master_coordinator;
pub mod monitoring;
pub mod notes;
pub mod presence;
mod push;
pub mod recovery;
pub mod risk;
pub mod standing;
pub mod test;
#[cfg(test)]
mod testing;
pub mod ui;

use std::sync::Arc;

use kernel::Fault;

pub use agent::{Agent, Duties, When};
pub use hands::Hands;
pub use jobs::{Job, Jobs};
pub use presence::{Room, Secrets};
pub use standing::{Means, Standing};

/// Lists the agents once; makes `[agents]` of `flotilla.toml` and the builder from the list.
macro_rules! agents {
    ($($module:ident: $agent:ident,)*) => {
        /// `[agents]` in `flotilla.toml`: a table per agent, by its name.
        #[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct AgentsConfig {
            $(#[doc = concat!("`[agents.", stringify!($module), "]`, with `-` for `_`.")]
            pub $module: <$module::$agent as Agent>::Config,)*
        }

        /// The names of the agents in this crate.
        pub const NAMES: &[&str] = &[$(<$module::$agent as Agent>::NAME),*];

        /// Builds the agent of this name.
        ///
        /// # Errors
        /// When there is no such agent here, or its configuration is wrong.
        pub fn build(name: &str, config: &AgentsConfig, means: Means) -> Result<Arc<Standing>, Fault> {
            $(if name == <$module::$agent as Agent>::NAME {
                return Standing::build::<$module::$agent>(config.$module.clone(), means);
            })*
            Err(Fault::not_found(format!("no agent `{name}`")).hint(format!("one of {}", NAMES.join(", "))))
        }
    };
}

agents! {
    build: Build,
    code_analysis: CodeAnalysis,
    discord: Discord,
    execution: Execution,
    master_coordinator: MasterCoordinator,
    monitoring: Monitoring,
    recovery: Recovery,
    risk: Risk,
    test: Test,
    ui: Ui,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_catalog_and_the_table_name_the_same_agents() {
        let mut table = super::NAMES.to_vec();
        table.sort_unstable();
        let mut built: Vec<_> = kernel::catalog::agents().map(|agent| agent.name).collect();
        built.sort_unstable();
        assert_eq!(table, built);
    }
}
