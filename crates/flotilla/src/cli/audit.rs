//! `audit`: the trail of calls.

use std::process::ExitCode;

use clap::Subcommand;
use kernel::audit::AuditQuery;
use kernel::{Clock, Fault};

use super::{Global, output};
use crate::data::DataDir;

/// List and verify the audit trail.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List calls, newest first
    List {
        /// Only calls of this key
        #[arg(long)]
        caller: Option<String>,
        /// Only calls of this server
        #[arg(long)]
        server: Option<String>,
        /// Only calls that ended so: ok, permission_denied, …
        #[arg(long)]
        outcome: Option<String>,
        /// Only calls of this trace
        #[arg(long)]
        trace: Option<String>,
        /// How many
        #[arg(default_value_t = 50)]
        limit: usize,
    },
    /// Recompute the chain of hashes: proves that no row was changed, removed or put in
    Verify,
}

impl Audit {
    /// Runs the command. Needs no running fleet: the trail lives in the data folder, or the fleet's database.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let loaded = global.load(Vec::new())?;
        let data = DataDir::open(&loaded.config.fleet.data_dir)?;
        let database = data.database(&loaded, Clock::system()).await?;
        let outcome = self.act(&database, global.json).await;
        database.close().await;
        outcome
    }

    async fn act(self, database: &backends::Database, as_json: bool) -> Result<ExitCode, Fault> {
        match self.action {
            Action::List { caller, server, outcome, trace, limit } => {
                let query = AuditQuery { caller, server, outcome, trace_id: trace, before_seq: None, limit };
                let rows = database.audit.list(query).await?;
                if as_json {
                    output::json(&rows)?;
                    return Ok(ExitCode::SUCCESS);
                }
                let rows: Vec<Vec<String>> = rows
                    .iter()
                    .map(|row| {
                        let call = format!("{}.{}", row.record.server, row.record.action);
                        let took = format!("{} µs", row.record.took_us);
                        vec![
                            row.seq.to_string(),
                            row.record.caller.clone(),
                            call,
                            row.record.outcome.clone(),
                            took,
                            row.record.arguments.clone(),
                        ]
                    })
                    .collect();
                output::table(&["row", "caller", "call", "outcome", "took", "arguments"], &rows)?;
                Ok(ExitCode::SUCCESS)
            }
            Action::Verify => {
                let verdict = database.audit.verify().await?;
                if as_json {
                    output::json(&verdict)?;
                } else {
                    match (&verdict.broken_at, &verdict.reason) {
                        (Some(seq), reason) => output::say(&format!(
                            "row {seq} does not fit: {}",
                            reason.as_deref().unwrap_or("its hash is wrong"),
                        )),
                        (None, _) => output::say(&format!("{} rows verified, head {}", verdict.rows, verdict.head)),
                    }
                }
                Ok(if verdict.broken_at.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    }
}
