//! `logs`: search and follow.

use std::process::ExitCode;

use kernel::Fault;
use serde_json::{Value, json};

use super::{Global, api::Api, output};

/// Search and follow log lines.
#[derive(Debug, clap::Args)]
pub struct Logs {
    /// Only this service
    service: Option<String>,
    /// How many lines
    #[arg(default_value_t = 50)]
    lines: u32,
    /// Words to look for
    #[arg(long, short = 's')]
    search: Option<String>,
    /// This level or graver: trace, debug, info, warn, error
    #[arg(long)]
    level: Option<String>,
    /// Only this trace
    #[arg(long)]
    trace: Option<String>,
    /// Go on as lines come
    #[arg(long, short = 'f')]
    follow: bool,
}

impl Logs {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let mut query = json!({ "limit": self.lines });
        let filters =
            [("service", &self.service), ("text", &self.search), ("level", &self.level), ("trace_id", &self.trace)];
        for (name, value) in filters {
            if let Some(value) = value {
                query[name] = value.as_str().into();
            }
        }
        let found = api.call("logging__search", query.clone()).await?;
        let mut lines = found["lines"].as_array().cloned().unwrap_or_default();
        // The newest come first; people read downwards.
        lines.reverse();
        let mut after = lines.iter().filter_map(|line| line["seq"].as_u64()).max().unwrap_or(0);
        print(&lines, global.json)?;
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        /// How long one look may wait for lines.
        const WAIT_SECONDS: u32 = 20;
        query["wait_seconds"] = WAIT_SECONDS.into();
        loop {
            query["after"] = after.into();
            let found = api.call("logging__tail", query.clone()).await?;
            after = found["cursor"].as_u64().unwrap_or(after);
            print(found["lines"].as_array().map_or(&[], Vec::as_slice), global.json)?;
        }
    }
}

fn print(lines: &[Value], as_json: bool) -> Result<(), Fault> {
    for line in lines {
        if as_json {
            output::line(&line.to_string())?;
            continue;
        }
        let cell = |name: &str| output::cell(&line[name]);
        let fields = if line["fields"].is_null() { String::new() } else { format!(" {}", line["fields"]) };
        output::line(&format!(
            "{} {:<5} {:<22} {}{fields}",
            time(&line["at_ms"]),
            cell("level"),
            cell("service"),
            cell("message")
        ))?;
    }
    Ok(())
}

/// Milliseconds since the epoch as a time of day, UTC.
fn time(at_ms: &Value) -> String {
    let ms = at_ms.as_i64().unwrap_or(0);
    let day_ms = ms.rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}Z", day_ms / 3_600_000, day_ms / 60_000 % 60, day_ms / 1_000 % 60, day_ms % 1_000)
}
