//! `token`: API keys.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::keys::Keys;
use kernel::{Clock, Fault, Role};
use serde_json::json;

use super::{Global, output};
use crate::data::DataDir;

/// Create, list and revoke API keys.
#[derive(Debug, clap::Args)]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a key and print it, once
    Create {
        /// Its name, unique among keys
        name: String,
        /// What it may do: viewer, operator, trader, admin, agent:NAME
        #[arg(long)]
        role: String,
        /// After how many days it stops working [default: never]
        #[arg(long)]
        days: Option<u32>,
    },
    /// List the keys: names and roles, never the keys themselves
    List,
    /// Revoke a key; it stops working within a second
    Revoke {
        /// Its name
        name: String,
    },
}

impl Token {
    /// Runs the command. Needs no running fleet: keys live in the data folder, or the fleet's database.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let loaded = global.load(Vec::new())?;
        let data = DataDir::open(&loaded.config.fleet.data_dir)?;
        let clock = Clock::system();
        let database = data.database(&loaded, clock.clone()).await?;
        let keys = Keys::new(database.store.clone(), clock.clone());
        let outcome = run(self.action, &keys, &clock, global.json).await;
        database.close().await;
        outcome.map(|()| ExitCode::SUCCESS)
    }
}

async fn run(action: Action, keys: &Keys, clock: &Clock, as_json: bool) -> Result<(), Fault> {
    match action {
        Action::Create { name, role, days } => {
            const DAY_MS: i64 = 86_400_000;
            let role: Role = role.parse()?;
            let expires_ms = days.map(|days| clock.now_ms() + i64::from(days) * DAY_MS);
            let key = keys.create(&name, role, expires_ms).await?;
            if as_json {
                return output::json(&json!({ "token": key.expose() }));
            }
            output::say("this key is shown once; keep it where your client reads it");
            output::line(key.expose())
        }
        Action::List => {
            let all = keys.list().await?;
            if as_json {
                return output::json(&all);
            }
            let time =
                |at: Option<i64>| at.map_or("-".to_owned(), |at| format!("{} s ago", (clock.now_ms() - at) / 1_000));
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|key| {
                    vec![key.name.clone(), key.role.to_string(), time(Some(key.created_ms)), time(key.last_used_ms)]
                })
                .collect();
            output::table(&["key", "role", "created", "last used"], &rows)
        }
        Action::Revoke { name } => {
            keys.revoke(&name).await?;
            if as_json {
                output::json(&json!({ "revoked": name }))
            } else {
                output::say(&format!("{name} is revoked"));
                Ok(())
            }
        }
    }
}
