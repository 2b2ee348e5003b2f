//! `open`: the way into the dashboard from the command line.

use std::process::ExitCode;

use kernel::Fault;
use serde_json::json;

use super::{Global, api::Api, output};
use crate::data::DataDir;

/// Print a link that opens the dashboard in a browser, signed in.
#[derive(Debug, clap::Args)]
pub struct Open {
    /// Where browsers find the dashboard [default: where it runs on the data folder, or http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    dashboard: Option<String>,
}

impl Open {
    /// Runs the command. The link signs in as the key that it was asked for with: once, within two minutes.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        let loaded = global.load(Vec::new())?;
        let running = DataDir::open(&loaded.config.fleet.data_dir)?.running();
        let here = running.into_iter().find_map(|note| note.dashboard);
        let dashboard = self.dashboard.or(here).unwrap_or_else(|| "http://127.0.0.1:8080".into());
        let mut link = api.post("/sign-in-links", &json!({})).await?;
        let path = link["path"].as_str().ok_or_else(|| Fault::upstream("the coordinator gave no link"))?;
        let url = format!("{}{path}", dashboard.trim_end_matches('/'));
        if global.json {
            link["url"] = url.into();
            output::json(&link)?;
        } else {
            output::say("open this in a browser within two minutes; it works once");
            output::line(&url)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
