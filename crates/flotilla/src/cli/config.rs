//! `config`: show, explain, validate, default.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::Fault;

use super::{Global, output};
use crate::config::{explain, show, template};

/// Show, explain and check the configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the configuration in effect, secrets masked
    Show,
    /// Say what a key is, what it means and where its value came from
    Explain {
        /// The dotted key, as `http.bind`
        key: String,
    },
    /// Check the configuration
    Validate,
    /// Print the default configuration file
    Default,
}

impl ConfigCommand {
    /// Runs the command.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        match self.action {
            Action::Default => output::line(template().trim_end())?,
            Action::Show => {
                let shown = show(&global.load(Vec::new())?);
                if global.json {
                    output::json(&shown)?;
                } else {
                    let text =
                        toml::to_string(&without_nulls(shown)).map_err(|error| Fault::internal(error.to_string()))?;
                    output::line(text.trim_end())?;
                }
            }
            Action::Explain { key } => {
                let explained = explain(&global.load(Vec::new())?, &key)?;
                if global.json {
                    output::json(&explained)?;
                } else {
                    output::line(&format!(
                        "{} = {}\n  from: {}\n  {}",
                        explained.key, explained.value, explained.origin, explained.about
                    ))?;
                }
            }
            Action::Validate => {
                let loaded = global.load(Vec::new())?;
                if global.json {
                    output::json(&serde_json::json!({ "valid": true, "set": loaded.origins.len() }))?;
                } else {
                    output::say(&format!("the configuration is valid; {} values are set", loaded.origins.len()));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// TOML has no null.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        other => other,
    }
}
