//! `server` and `restart`.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::fleet::Kind;
use kernel::{Code, Fault, catalog};
use serde_json::json;

use super::{Global, api::Api, output, status};

/// Look at servers and restart them.
#[derive(Debug, clap::Args)]
pub struct Server {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the servers
    List,
    /// Show one server: state, instances, checks
    Show {
        /// Its name
        name: String,
    },
    /// Print a server's documentation, in Markdown
    Docs {
        /// Its name
        name: String,
    },
    /// Restart a server
    Restart(Restart),
}

/// Restart a service.
#[derive(Debug, clap::Args)]
pub struct Restart {
    /// The service; an agent is `agent:NAME`
    name: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
}

impl Server {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        match self.action {
            Action::List => status::list(global, &["/servers"]).await,
            Action::Show { name } => {
                let api = Api::connect(global)?;
                let answer = api.call("master-coordinator__service_status", json!({ "service": name })).await?;
                output::json(&answer)?;
                Ok(ExitCode::SUCCESS)
            }
            Action::Docs { name } => {
                let api = Api::connect(global)?;
                let uri = format!("docs://{name}");
                let answer =
                    api.mcp("resources/read", json!({ "uri": uri })).await.map_err(|fault| match fault.code {
                        Code::InvalidArgument => Fault::not_found(format!("no documentation of `{name}`"))
                            .hint("`flotilla server list` shows the servers"),
                        _ => fault,
                    })?;
                output::line(answer["contents"][0]["text"].as_str().unwrap_or_default())?;
                Ok(ExitCode::SUCCESS)
            }
            Action::Restart(restart) => restart.run(global).await,
        }
    }
}

impl Restart {
    /// A restart of a service; an agent is `agent:NAME`.
    pub fn of(name: String, reason: String) -> Self {
        Self { name, reason }
    }

    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let body = json!({ "reason": self.reason });
        let (kind, name) = catalog::of_role(&self.name);
        let family = if kind == Kind::Agent { "agents" } else { "servers" };
        let answer = api.post(&format!("/{family}/{name}/restart"), &body).await?;
        if global.json {
            output::json(&answer)?
        } else {
            output::say(&format!("{} runs again", self.name))
        }
        Ok(ExitCode::SUCCESS)
    }
}
