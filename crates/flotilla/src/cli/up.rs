//! `up` and `serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use kernel::{Fault, catalog};
use serde_json::json;

use super::{Global, output, runtime};
use crate::config::Mode;
use crate::fleet::{self, services_of};
use crate::telemetry;

/// Run the fleet in this process.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// What to start
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// What both take.
    #[command(flatten)]
    shared: Shared,
}

/// Run chosen services in this process; they find the others through the data folder.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The services; an agent is `agent:NAME`
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    /// What both take.
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, clap::Args)]
struct Shared {
    /// Start without a local chain
    #[arg(long)]
    no_sandbox: bool,
    /// Serve the coordinator and the dashboard over TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Show every log line
    #[arg(long, short)]
    verbose: bool,
}

impl Up {
    /// Runs the command until a signal.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let mut flags = self.shared.flags();
        if let Some(mode) = self.mode {
            flags.push(("fleet.mode", "--mode", json!(mode)));
        }
        let loaded = global.load(flags)?;
        let mode = loaded.config.fleet.mode;
        let name = json!(mode).as_str().unwrap_or_default().to_owned();
        run(global, &loaded, &name, services_of(mode), self.shared.verbose)
    }
}

impl Serve {
    /// Runs the command until a signal.
    pub fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let loaded = global.load(self.shared.flags())?;
        let all: Vec<_> = catalog::servers().chain(catalog::agents()).collect();
        let known: Vec<String> = all.iter().map(|service| service.role()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let mut services = Vec::new();
        for role in &self.roles {
            services.push(*all.iter().find(|service| service.role() == *role).ok_or_else(|| {
                let fault = Fault::invalid(format!("no service `{role}`"));
                match kernel::limits::nearest(role, &known) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint(format!("one of {}", known.join(", "))),
                }
            })?);
        }
        services.sort_by_key(|service| service.port);
        services.dedup();
        run(global, &loaded, fleet::SERVE, services, self.shared.verbose)
    }
}

impl Shared {
    /// The keys of the configuration that the flags set.
    fn flags(&self) -> Vec<(&'static str, &'static str, serde_json::Value)> {
        let mut flags = Vec::new();
        if self.no_sandbox {
            flags.push(("chain.sandbox.enabled", "--no-sandbox", json!(false)));
        }
        let files = [("http.tls_cert", "--tls-cert", &self.tls_cert), ("http.tls_key", "--tls-key", &self.tls_key)];
        flags.extend(files.into_iter().filter_map(|(key, flag, file)| Some((key, flag, json!(file.as_ref()?)))));
        flags
    }
}

fn run(
    global: &Global,
    loaded: &crate::config::Loaded,
    mode: &str,
    services: Vec<&'static catalog::Service>,
    verbose: bool,
) -> Result<ExitCode, Fault> {
    let logs = telemetry::install(loaded.config.logs.level, verbose);
    runtime()?.block_on(async {
        let running = fleet::start(loaded, mode, services, &logs).await?;
        let screen = running.screen().await;
        if global.json {
            output::json(&screen)?
        } else {
            output::say(&screen.text())
        }
        running.until_stopped().await
    })?;
    Ok(ExitCode::SUCCESS)
}
